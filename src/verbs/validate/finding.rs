//! What is found, and where.

use std::fmt;

use serde::Serialize;

use super::super::manifests::lines::{Lines, Step};
use super::super::manifests::read::Place;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can't work.
    Error,
    /// It may not do what is wanted.
    Warning,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A field, or a key of a map.
    Key(String),
    /// An element of a list.
    Index(usize),
}

/// A path within an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At(pub Vec<Part>);

impl At {
    /// The path that a message begins with or names: `spec.data[0].remoteRef` and the like; empty where it names none.
    pub fn named_in(message: &str) -> Self {
        let Some(start) = message.find("spec.").or_else(|| message.find("metadata.")) else { return Self::default() };
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '[' | ']');
        let text = &message[start..];
        let text = &text[..text.find(|c| !is_part(c)).unwrap_or(text.len())];
        let mut parts = Vec::new();
        for field in text.split('.').filter(|field| !field.is_empty()) {
            let (name, rest) = field.split_once('[').unwrap_or((field, ""));
            parts.push(Part::Key(name.to_owned()));
            let numbers = rest.split('[').filter_map(|number| number.trim_end_matches(']').parse().ok());
            parts.extend(numbers.map(Part::Index));
        }
        Self(parts)
    }

    /// The same below another path: the first `spec` of this one is that.
    pub fn below(mut self, spec: &[&str]) -> Self {
        if self.0.first() == Some(&Part::Key("spec".to_owned())) {
            self.0.splice(..1, spec.iter().map(|name| Part::Key((*name).to_owned())));
        }
        self
    }

    /// Where it is in the file.
    pub fn line(&self, lines: &Lines) -> Option<u64> {
        lines.at(self.0.iter().map(|part| match part {
            Part::Key(name) => Step::Key(name),
            Part::Index(n) => Step::Index(*n),
        }))
    }
}

impl From<&[&str]> for At {
    fn from(names: &[&str]) -> Self {
        Self(names.iter().map(|name| Part::Key((*name).to_owned())).collect())
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        for (n, part) in self.0.iter().enumerate() {
            match part {
                Part::Key(name) if is_plain(name) && n > 0 => write!(f, ".{name}")?,
                Part::Key(name) if is_plain(name) => f.write_str(name)?,
                Part::Key(name) => write!(f, "[{name:?}]")?,
                Part::Index(n) => write!(f, "[{n}]")?,
            }
        }
        Ok(())
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: u64,
    /// How bad it is.
    pub severity: Severity,
    /// What found it: yaml, schema, pruned, rule, spec, template, reference or name.
    pub check: &'static str,
    /// The object: its kind, namespace and name; empty where it is none.
    pub object: String,
    /// The path within the object.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// The same path, to be looked up.
    #[serde(skip)]
    pub at: At,
}

impl Finding {
    /// Something at a path of an object; its place comes later.
    pub fn at(at: At, severity: Severity, check: &'static str, message: String) -> Self {
        let (file, object, path) = (String::new(), String::new(), at.to_string());
        Self { file, line: 0, severity, check, object, path, message, at }
    }

    /// What can't be read, as whoever reads manifests tells it: the place, and what is wrong there.
    pub fn unreadable(problem: &str) -> Self {
        let (place, message) = problem.split_once(": error: ").unwrap_or(("", problem));
        let numbered = place.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)));
        let (file, line) = numbered.unwrap_or((place, 0));
        let finding = Self::at(At::default(), Severity::Error, "yaml", message.to_owned());
        Self { file: file.to_owned(), line, ..finding }
    }

    /// Whether this, of the schema, tells of what the operator's own check found at a path: at the same place, or around it. What that
    /// names no place for, rules are for.
    pub fn says_the_same(&self, check: &str, at: &At) -> bool {
        let is_around = |a: &At, b: &At| !a.0.is_empty() && b.0.starts_with(&a.0);
        let is_of_spec = check == "spec" && at.0.len() < 2 && ["rule", "schema"].contains(&self.check);
        is_of_spec || is_around(at, &self.at) || is_around(&self.at, at) && self.at.0.len() > 1
    }

    /// The path and what is wrong there, where the message does not name the path itself.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let path = Some(self.path.as_str()).filter(|path| !self.message.starts_with(path));
        [Some(self.object.as_str()), path, Some(self.message.as_str())]
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
    }

    /// The same, found in an object that begins there.
    pub fn placed(mut self, object: &str, place: &Place, lines: &Lines) -> Self {
        self.file = place.file.display().to_string();
        self.line = self.at.line(lines).unwrap_or(place.line);
        object.clone_into(&mut self.object);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        f.write_str(&self.file)?;
        // What can't be read has none.
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {severity}: {}", self.parts().collect::<Vec<_>>().join(": "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_out_of_a_message_and_written_as_it_was() {
        for (message, path) in [
            ("spec.data[1].remoteRef.metadataPolicy is \"x\": use", "spec.data[1].remoteRef.metadataPolicy"),
            ("error processing spec.dataFrom[0].find (x): no", "spec.dataFrom[0].find"),
            ("nothing is named", ""),
        ] {
            assert_eq!(At::named_in(message).to_string(), path);
        }
        let at = At::named_in("spec.data[1] x").below(&["spec", "externalSecretSpec"]);
        assert_eq!(at.to_string(), "spec.externalSecretSpec.data[1]");
        assert_eq!(At(vec![Part::Key("data".into()), Part::Key("a.b".into())]).to_string(), "data[\"a.b\"]");
    }

    #[test]
    fn what_can_not_be_read_has_its_place() {
        let found = Finding::unreadable("dir/a.yaml:7: error: this is not YAML");
        assert_eq!((found.file.as_str(), found.line, found.message.as_str()), ("dir/a.yaml", 7, "this is not YAML"));
        assert_eq!(found.to_string(), "dir/a.yaml:7: error: this is not YAML");
        assert_eq!(Finding::unreadable("a: error: there is no such file or folder").line, 0);
    }
}
