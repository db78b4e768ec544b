//! Manifests out of files and standard input: each object with where it stands.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use keyferry_crds::names;
use keyferry_sync::data::SecretJson;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::lines::Lines;
use super::parts::{AS_TEXTS, Part, Piece, from_yaml, pieces};
use super::sealed::{self, By, Opener, passed_over};
use crate::verbs::keyring::With;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// An object of a manifest. It may be a Secret.
pub struct Document {
    /// Where it begins.
    pub place: Place,
    /// Where its parts stand.
    pub lines: Lines,
    /// What it says.
    pub object: SecretJson,
}

impl Document {
    /// A text of it.
    pub fn text(&self, pointer: &str) -> &str {
        self.object.get().pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its namespace, or the one that is meant where it names none.
    pub fn namespace(&self, default: &str) -> String {
        Some(self.text("/metadata/namespace")).filter(|named| !named.is_empty()).unwrap_or(default).to_owned()
    }

    /// The object as one of this type; the error is for a person.
    pub fn decode<K: DeserializeOwned>(&self) -> Result<K, String> {
        serde_json::from_value(self.object.get().clone()).map_err(|_| {
            let (kind, name) = (self.text("/kind"), self.text("/metadata/name"));
            self.problem(&format!(
                "{kind} {name:?} is not of the form that its kind has: compare it with `kubectl explain {}`",
                kind.to_lowercase()
            ))
        })
    }

    /// What is wrong with it, for a person.
    pub fn problem(&self, what: &str) -> String {
        format!("{}: error: {what}", self.place)
    }
}

/// What files hold.
#[derive(Default)]
pub struct Manifests {
    /// Their objects, in order.
    pub documents: Vec<Document>,
    /// What can't be read, and why; for a person.
    pub problems: Vec<String>,
    /// What is passed over, and why; for a person.
    pub notes: Vec<String>,
    /// Files that age encrypted as a whole and that do not open, and why.
    unopened: Vec<(PathBuf, String)>,
}

/// The folders that were looked into, by what they are and not by their names: links may lead back to them.
#[derive(Default)]
pub struct Visited(HashSet<(u64, u64)>);

impl Visited {
    /// Takes note of a folder; whether it was not looked into before. What can't be looked at is not held back here: whoever
    /// reads it finds out why.
    pub fn is_new(&mut self, folder: &Path) -> bool {
        std::fs::metadata(folder).ok().is_none_or(|stat| self.0.insert((stat.dev(), stat.ino())))
    }
}

/// Standard input, as kubectl names it.
const STDIN: &str = "-";

/// Reads files, folders and, where it is named `-`, `input`. As kubectl does: of a folder the files that end in .yaml,
/// .yml or .json, in the order of their names, and those of folders within where it is `recursive`, each folder once, wherever
/// links lead; what can't be read stops nothing else.
///
/// `with` opens what is encrypted, and so do services that keep keys, with the login that this machine has for them.
pub async fn read(paths: &[PathBuf], recursive: bool, input: &mut (dyn Read + Send), with: &With) -> Manifests {
    let (mut all, mut opener) = (Manifests::default(), Opener::new(with));
    for piece in all.gather(paths, recursive, input, Some(&mut opener)) {
        match piece {
            Piece::One(part) => all.lay_out(part, Some(&mut opener)),
            Piece::Problem(problem) => all.problems.push(problem),
            Piece::OfSops(parts, text) => all.open_of_sops(parts, &text, &mut opener).await,
        }
    }
    all.judge_unopened();
    all.judge_absent(paths, recursive);
    if all.problems.is_empty() && !all.documents.iter().any(|document| document.text("/kind") == "ExternalSecret") {
        all.notes.push(
            "note: there is no ExternalSecret among the manifests, so that there is nothing to do: `keyferry init` makes a sample, and \
             `keyferry migrate` knows what others left behind"
                .to_owned(),
        );
    }
    all
}

/// The same for whoever needs no values: what is encrypted stays so.
pub fn read_closed(paths: &[PathBuf], recursive: bool, input: &mut dyn Read) -> Manifests {
    let mut all = Manifests::default();
    for piece in all.gather(paths, recursive, input, None) {
        match piece {
            Piece::One(part) => all.lay_out(part, None),
            Piece::Problem(problem) => all.problems.push(problem),
            Piece::OfSops(parts, _) => {
                for part in parts {
                    if part.object.get().get("apiVersion").is_some() {
                        all.lay_out(part, None);
                    } else {
                        all.notes.push(passed_over(&part.place.file, By::Sops));
                    }
                }
            }
        }
    }
    all.judge_absent(paths, recursive);
    all
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        other => format!("it can't be read: {other}"),
    };
    format!("{}: error: {why}", path.display())
}

impl Manifests {
    /// The files of a folder that are manifests.
    fn collect(&mut self, folder: &Path, recursive: bool, visited: &mut Visited, into: &mut Vec<PathBuf>) {
        if !visited.is_new(folder) {
            return;
        }
        let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut entries: Vec<PathBuf> = match entries {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
            Err(error) => return self.problems.push(unreadable(folder, &error)),
        };
        entries.sort();
        for entry in entries {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            let extension = entry.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if name.starts_with('.') {
                continue;
            }
            if entry.is_dir() {
                if recursive {
                    self.collect(&entry, recursive, visited, into);
                }
            } else if ["kustomization.yaml", "kustomization.yml"].contains(&name.as_ref()) {
                self.notes.push(format!(
                    "{}: note: it is passed over; `kubectl kustomize {} | keyferry render -f -` renders what it makes",
                    entry.display(),
                    folder.display()
                ));
            } else if ["yaml", "yml", "json"].contains(&extension) {
                into.push(entry);
            }
        }
    }

    /// What is in the files, in order.
    fn gather(
        &mut self,
        paths: &[PathBuf],
        recursive: bool,
        input: &mut dyn Read,
        mut opener: Option<&mut Opener<'_>>,
    ) -> Vec<Piece> {
        let (mut visited, mut pieces) = (Visited::default(), Vec::new());
        for path in paths {
            let mut files = Vec::new();
            if path.as_os_str() == STDIN {
                pieces.extend(self.pieces(Path::new("stdin"), input, opener.as_deref_mut()));
            } else if path.is_dir() {
                self.collect(path, recursive, &mut visited, &mut files);
            } else {
                files.push(path.clone());
            }
            for file in files {
                match std::fs::File::open(&file) {
                    Ok(mut opened) => pieces.extend(self.pieces(&file, &mut opened, opener.as_deref_mut())),
                    Err(error) => pieces.push(Piece::Problem(unreadable(&file, &error))),
                }
            }
        }
        pieces
    }

    fn pieces(&mut self, file: &Path, from: &mut dyn Read, opener: Option<&mut Opener<'_>>) -> Vec<Piece> {
        let mut bytes = Zeroizing::new(Vec::new());
        if let Err(error) = from.read_to_end(&mut bytes) {
            return vec![Piece::Problem(unreadable(file, &error))];
        }
        if !sealed::is_whole(&bytes) {
            return match std::str::from_utf8(&bytes) {
                Ok(text) => pieces(file, text),
                Err(_) => vec![Piece::Problem(format!("{}: error: it is not text in UTF-8", file.display()))],
            };
        }
        match opener.map(|opener| opener.whole(file, &bytes)) {
            Some(Ok(plain)) if plain.expose_str().is_some_and(|text| text.contains("apiVersion")) => {
                return pieces(file, plain.expose_str().unwrap_or_default());
            }
            None | Some(Ok(_)) => self.notes.push(passed_over(file, By::Age)),
            Some(Err(why)) => self.unopened.push((file.to_owned(), why)),
        }
        Vec::new()
    }

    /// That nothing was found.
    fn judge_absent(&mut self, paths: &[PathBuf], recursive: bool) {
        if self.documents.is_empty() && self.problems.is_empty() {
            let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            let hint = if recursive { "" } else { "; --recursive looks into folders within folders" };
            let names = names.join(", ");
            self.problems.push(format!("{names}: error: there are no manifests{hint}; `keyferry init` makes a sample"));
        }
    }

    /// What does not open may be a manifest: who takes it for none could remove what it asks for. One that a store names is a document
    /// of that, and may be for others to open.
    fn judge_unopened(&mut self) {
        for (file, why) in std::mem::take(&mut self.unopened) {
            if self.documents.iter().any(|document| names_file(document, &file)) {
                self.notes.push(format!("{}; it does not open here: {why}", passed_over(&file, By::Age)));
            } else {
                self.problems.push(format!(
                    "{}: error: age encrypted this file as a whole, and it does not open: {why}",
                    Place { file, line: 1 }
                ));
            }
        }
    }

    /// Opens manifests that SOPS encrypted together.
    async fn open_of_sops(&mut self, parts: Vec<Part>, text: &str, opener: &mut Opener<'_>) {
        let Place { file, line } = parts[0].place.clone();
        if parts.iter().all(|part| part.object.get().get("apiVersion").is_none()) {
            return self.notes.push(passed_over(&file, By::Sops));
        }
        match opener.of_sops(&file, text, parts.len()).await {
            Ok(opened) => {
                for (part, object) in parts.into_iter().zip(opened) {
                    // One that has nothing but comments.
                    if object.get().as_object().is_none_or(|all| !all.is_empty()) {
                        self.lay_out(Part { object, ..part }, Some(opener));
                    }
                }
            }
            Err(why) => self.problems.push(format!(
                "{}: error: SOPS encrypted this manifest, and it does not open: {why}",
                Place { file, line }
            )),
        }
    }

    /// Takes a document, or the items of one that is a list.
    fn lay_out(&mut self, part: Part, mut opener: Option<&mut Opener<'_>>) {
        let Part { place, mut lines, mut object } = part;
        let is_list = object.get()["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        let items = object.get_mut().get_mut("items").filter(|items| is_list && items.is_array()).map(Value::take);
        let Some(Value::Array(items)) = items else {
            return self.put(place, lines, object, opener);
        };
        let mut item_lines = lines.take_list("items").into_iter();
        for item in items {
            let lines = item_lines.next().unwrap_or_default();
            let place = Place { line: lines.line().unwrap_or(place.line), ..place.clone() };
            self.put(place, lines, SecretJson::new(item), opener.as_deref_mut());
        }
    }

    /// Takes an object, and says what is wrong with one that is none.
    fn put(&mut self, place: Place, lines: Lines, mut object: SecretJson, opener: Option<&mut Opener<'_>>) {
        if object.get()["kind"] == "Secret"
            && let Some(opener) = opener
            && sealed::has_sealed(object.get())
            && let Err(why) = opener.values(&place.file, object.get_mut())
        {
            return self.problems.push(format!("{place}: error: this Secret does not open: {why}"));
        }
        let document = Document { place, lines, object };
        if document.text("/apiVersion").is_empty() || document.text("/kind").is_empty() {
            let is_named = ["/apiVersion", "/kind"].iter().any(|field| !document.text(field).is_empty());
            if !is_named && sealed::has_sealed(document.object.get()) {
                return self.notes.push(passed_over(&document.place.file, By::Age));
            }
            let kind = document.text("/kind");
            let ours = keyferry_crds::kinds(names::GROUP).find(|(of, _)| *of == kind);
            let what = match ours.filter(|_| document.text("/apiVersion").is_empty()) {
                Some((_, version)) => format!("this {kind} has no apiVersion: use {}/{version}", names::GROUP),
                None => "an object has apiVersion and kind, and this has not".to_owned(),
            };
            self.problems.push(document.problem(&what));
        } else {
            self.documents.push(document);
        }
    }
}

/// Whether a document is a store that reads this file.
fn names_file(document: &Document, file: &Path) -> bool {
    let providers = document.object.get().pointer("/spec/provider").and_then(Value::as_object);
    let documents = providers.into_iter().flat_map(|all| all.values()).filter_map(|spec| spec["documents"].as_array());
    // It is looked for in each folder of manifests.
    documents.flatten().filter_map(|named| named["file"].as_str()).any(|named| file.ends_with(named))
}

/// Values that stand in for those of stores: a YAML map of key to text, or to anything else, which is answered as JSON.
pub fn values(path: &Path) -> Result<BTreeMap<String, SecretJson>, String> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| unreadable(path, &error))?;
    let read = from_yaml::<BTreeMap<String, Value>>(&text, AS_TEXTS).map_err(|(line, _)| {
        let place = Place { file: path.to_owned(), line: line.unwrap_or(1) };
        format!("{place}: error: this is not a YAML map of keys and values")
    })?;
    Ok(read.into_iter().map(|(key, value)| (key, SecretJson::new(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, Vec<String>) {
        let (with, mut all) = (With::default(), Manifests::default());
        let mut opener = Opener::new(&with);
        for piece in pieces(Path::new("a.yaml"), text) {
            match piece {
                Piece::One(part) => all.lay_out(part, Some(&mut opener)),
                Piece::Problem(problem) => all.problems.push(problem),
                Piece::OfSops(..) => panic!("nothing is encrypted"),
            }
        }
        let documents = all.documents.iter().map(|document| format!("{} {}", document.place, document.text("/kind")));
        (documents.collect(), all.problems)
    }

    #[test]
    fn each_object_has_its_line() {
        let text = "# head\n\nkind: A\napiVersion: v1\n---\n---\n# only words\n--- # more\nkind: B\napiVersion: v1\n";
        assert_eq!(parsed(text).0, ["a.yaml:3 A", "a.yaml:9 B"]);
        assert_eq!(parsed(&text.replace('\n', "\r\n")), parsed(text), "as Windows ends lines");
        assert_eq!(parsed(&format!("\u{feff}{text}")), parsed(text), "as Windows begins files");
        assert_eq!(parsed("--- {kind: A, apiVersion: v1}\n---\tkind\n").0, ["a.yaml:1 A"]);
        let list =
            "kind: SecretList\napiVersion: v1\nitems:\n- {kind: A, apiVersion: v1}\n- kind: B\n  apiVersion: v1\n";
        assert_eq!(parsed(list).0, ["a.yaml:4 A", "a.yaml:5 B"]);
        assert_eq!(parsed("{\n\t\"kind\": \"A\",\n\t\"apiVersion\": \"v1\"\n}\n").0, ["a.yaml:1 A"]);
        assert_eq!(parsed(""), parsed("# nothing\n---\n\n---\n"));
    }

    #[tokio::test]
    async fn a_file_that_does_not_open_may_be_a_manifest_unless_a_store_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("a.yaml", "kind: A\napiVersion: v1\n");
        put("doc.yaml", "age-encryption.org/v1\n-> X25519 for-somebody-else\n");
        let read = async || {
            let all = read(&[folder.path().to_owned()], false, &mut std::io::empty(), &With::default()).await;
            (all.problems, all.notes)
        };
        let (problems, _) = read().await;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].contains("doc.yaml:1: error: age encrypted this file as a whole, and it does not open: "),
            "{problems:?}"
        );
        put("s.yaml", "kind: SecretStore\napiVersion: v1\nspec: {provider: {age: {documents: [{file: doc.yaml}]}}}\n");
        let (problems, notes) = read().await;
        assert_eq!(problems, [""; 0]);
        assert!(
            notes
                .iter()
                .any(|note| note.contains("doc.yaml: note: age encrypted it") && note.contains("does not open here")),
            "{notes:?}"
        );
    }

    #[test]
    fn an_object_that_lacks_one_of_its_names_is_a_mistake_though_values_of_it_are_sealed() {
        let sealed = "spec: {a: 'age:YWdlLWVuY3J5cHRpb24ub3JnL3YxCg=='}\n";
        let (_, problems) = parsed(&format!("kind: ExternalSecret\n{sealed}"));
        assert!(problems.len() == 1 && problems[0].contains("has no apiVersion"), "{problems:?}");
        assert_eq!(parsed(sealed).1, [""; 0], "it is a document of a store");
    }

    #[tokio::test]
    async fn links_in_a_loop_end() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        std::fs::write(folder.path().join("in/a.yaml"), "kind: A\napiVersion: v1\n").unwrap();
        std::os::unix::fs::symlink("..", folder.path().join("in/loop")).unwrap();
        let all = read(&[folder.path().to_owned()], true, &mut std::io::empty(), &With::default()).await;
        assert_eq!((all.documents.len(), all.problems.len()), (1, 0), "{:?}", all.problems);
    }

    #[test]
    fn what_is_wrong_has_its_line_and_no_text_of_the_file() {
        let (documents, problems) = parsed("kind: A\napiVersion: v1\n---\na: 1\nb: [canary\n---\njust: words\n");
        assert_eq!(documents, ["a.yaml:1 A"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("a.yaml:") && problems[0].contains("not YAML"), "{problems:?}");
        assert!(problems[1].starts_with("a.yaml:7: error: an object has"), "{problems:?}");
        assert!(!problems.concat().contains("canary"));
        let (_, problems) = parsed("kind: A\n---\r\nkind: A\r\ncanary: 1\r\ncanary: 2\r\n");
        assert_eq!(problems[1], "a.yaml:5: error: this key is there twice");
        let (_, problems) = parsed("kind: A\nname: {{ .Values.name }}\n");
        assert!(problems[0].contains("`helm template"), "{problems:?}");
    }
}
