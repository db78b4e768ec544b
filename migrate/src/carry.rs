//! What the verbs share that carry manifests over from other operators: files and their documents, what is said of them, and stores of
//! which there is one where several ask the same, and names that only one may have.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// How it stands. The numbers are exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// All was carried over.
    Clear = 0,
    /// Something is left to do, or could not be carried over.
    Left = 1,
    /// Something could not be read or written.
    Failed = 2,
}

/// Larger files are no manifests.
const LARGEST: u64 = 16 << 20;

/// The documents of a text, each with the line that it begins in.
pub fn documents(text: &str) -> Vec<(usize, String)> {
    let mut all = vec![(1, String::new())];
    for (n, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            all.push((n + 2, String::new()));
        } else if let Some((_, last)) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    all
}

/// The files below a path, in order. Links are not followed, and what is hidden is left out.
pub fn collect(path: &Path, is_named: bool, files: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let here = |error| (path.to_owned(), error);
    let metadata = if is_named { fs::metadata(path) } else { fs::symlink_metadata(path) }.map_err(here)?;
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if metadata.is_file() && metadata.len() <= LARGEST && (is_named || ["yaml", "yml", "json"].contains(&ending)) {
        files.push(path.to_owned());
    } else if metadata.is_dir() && (is_named || !is_hidden) {
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(here)?;
        let mut inner: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        inner.sort();
        for path in inner {
            collect(&path, false, files)?;
        }
    }
    Ok(())
}

/// Something to be said.
pub struct Note {
    /// Of which manifest.
    pub place: String,
    /// How much it weighs.
    pub weight: Weight,
    /// What.
    pub text: String,
}

/// How much something weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It could not be carried over.
    Lost,
    /// Somebody has to do it before it works.
    ToDo,
    /// It is good to know.
    Note,
}

/// Says all of it, a line each; how much is lost, and how much is to do.
pub fn tell(notes: &[Note], err: &mut dyn Write) -> io::Result<(usize, usize)> {
    for note in notes {
        let weight = match note.weight {
            Weight::Lost => "lost",
            Weight::ToDo => "to do",
            Weight::Note => "note",
        };
        writeln!(err, "{}: {weight}: {}", note.place, note.text)?;
    }
    let count = |weight| notes.iter().filter(|note| note.weight == weight).count();
    Ok((count(Weight::Lost), count(Weight::ToDo)))
}

/// Annotations that are about the old object.
pub const LEFT_BEHIND: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];

/// Says something of one manifest.
pub struct Said<'a> {
    /// Which one.
    pub place: String,
    /// All that is said.
    pub notes: &'a mut Vec<Note>,
}

impl Said<'_> {
    /// One thing more.
    pub fn say(&mut self, weight: Weight, text: impl Into<String>) {
        self.notes.push(Note { place: self.place.clone(), weight, text: text.into() });
    }
}

/// What was made so far, and of what.
#[derive(Default)]
pub struct Taken(BTreeMap<(String, String, String), String>);

impl Taken {
    /// Takes a kind, a namespace and a name for a place. The error is the place that has them already.
    pub fn take(&mut self, kind: &str, namespace: &str, name: &str, place: &str) -> Result<(), &str> {
        match self.0.entry((kind.to_owned(), namespace.to_owned(), name.to_owned())) {
            Entry::Occupied(there) => Err(there.into_mut()),
            Entry::Vacant(free) => {
                free.insert(place.to_owned());
                Ok(())
            }
        }
    }
}

/// What tells a text from others of one name: FNV-1a, which stays the same from run to run.
pub fn short_hash(text: &str) -> String {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// The stores so far: of equal ones there is one, and where another spec has the name, a hash of the own is part of it.
#[derive(Default)]
pub struct Stores {
    /// Their manifests.
    pub manifests: Vec<Value>,
    /// Names by namespace and spec.
    known: BTreeMap<(String, String), String>,
}

impl Stores {
    /// The name of the store of this spec; whether it is new.
    pub fn put(&mut self, namespace: &str, kind: &str, name: &str, spec: Value) -> (String, bool) {
        let key = (namespace.to_owned(), spec.to_string());
        if let Some(known) = self.known.get(&key) {
            return (known.clone(), false);
        }
        let is_taken = |name: &str| self.known.iter().any(|((of, _), known)| of == namespace && known == name);
        let hashed = format!("{name}-{}", short_hash(&key.1));
        let numbered = (2..).map(|n| format!("{hashed}-{n}"));
        let mut names = [name.to_owned(), hashed.clone()].into_iter().chain(numbered);
        let named = names.find(|name| !is_taken(name)).unwrap_or_default();
        let mut metadata = json!({"name": named});
        if !namespace.is_empty() {
            metadata["namespace"] = json!(namespace);
        }
        self.manifests.push(json!({
            "apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": metadata, "spec": spec,
        }));
        self.known.insert(key, named.clone());
        (named, true)
    }
}

/// Names, labels and annotations; what the API server put there stays behind.
pub fn metadata(old: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels", "annotations"] {
        if let Some(value) = old["metadata"].get(field).filter(|value| !value.is_null()) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !LEFT_BEHIND.contains(&name.as_str()));
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    Value::Object(metadata)
}

/// A text that a template of ours comes to as it is.
pub fn escaped(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_another_spec_is_called_by_a_hash_of_its_own_wherever_it_stands() {
        let spec = |server: &str| json!({"provider": {"vault": {"server": server}}});
        let names = |servers: &[&str]| {
            let mut stores = Stores::default();
            let put = |server: &&str| stores.put("team", "SecretStore", "vault", spec(server));
            servers.iter().map(put).collect::<Vec<_>>()
        };
        let all = names(&["a", "b", "a", "c"]);
        let hashed = |server: &str| format!("vault-{}", short_hash(&spec(server).to_string()));
        let new = |name: String| (name, true);
        assert_eq!(all, [new("vault".into()), new(hashed("b")), ("vault".into(), false), new(hashed("c"))]);
        assert_eq!(names(&["a", "c"])[1], new(hashed("c")));
        let known = [("", "811c9dc5"), ("a", "e40c292c"), ("foobar", "bf9cf968")];
        assert!(known.iter().all(|(text, hash)| short_hash(text) == *hash));
    }

    #[test]
    fn a_name_is_taken_once() {
        let mut taken = Taken::default();
        assert_eq!(taken.take("ExternalSecret", "a", "x", "first"), Ok(()));
        assert_eq!(taken.take("ExternalSecret", "b", "x", "second"), Ok(()));
        assert_eq!(taken.take("ExternalSecret", "a", "x", "third"), Err("first"));
    }
}
