//! What a SecretProviderClass says, as plain data, and where it says it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A SecretProviderClass.
pub struct Class {
    /// The file, where it is of one.
    pub file: Option<String>,
    /// The line that its document begins in.
    pub line: usize,
    /// Its document.
    pub text: String,
    /// What it says.
    pub manifest: Value,
}

/// An entry of its objects.
pub type Entry = Map<String, Value>;

impl Class {
    /// Its name.
    pub fn name(&self) -> &str {
        self.manifest["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.manifest["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    /// The provider.
    pub fn provider(&self) -> &str {
        self.manifest["spec"]["provider"].as_str().unwrap_or_default()
    }

    /// Where it says this word: the line of that, where it is found, else where it begins.
    pub fn place(&self, word: &str) -> String {
        let found = self.text.lines().position(|line| !word.is_empty() && line.contains(word));
        let name = format!("SecretProviderClass {}/{}", self.namespace(), self.name());
        match &self.file {
            Some(file) => format!("{file}:{}: {name}", self.line + found.unwrap_or_default()),
            None => name,
        }
    }

    /// A parameter, where it says something.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.manifest["spec"]["parameters"][name].as_str().map(str::trim).filter(|value| !value.is_empty())
    }

    /// Whether a parameter says yes, as Go reads that.
    pub fn is_set(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| ["1", "t", "T", "true", "TRUE", "True"].contains(&value))
    }

    /// The parameters that are none of these.
    pub fn others(&self, known: &[&str]) -> Vec<&str> {
        let all = self.manifest["spec"]["parameters"].as_object().into_iter().flatten();
        all.map(|(name, _)| name.as_str()).filter(|name| !known.contains(name)).collect()
    }

    /// The entries of a parameter that is YAML of its own: a list, or a map of `array`, whose elements may be YAML once more.
    pub fn entries(&self, name: &str) -> Result<Vec<Entry>, String> {
        let Some(text) = self.parameter(name) else { return Err(format!("parameters.{name} is missing")) };
        let wrong = || format!("parameters.{name} is no YAML list of objects");
        let mut read: Value = from_yaml(text).ok_or_else(wrong)?;
        if let Some(array) = read.get_mut("array") {
            read = array.take();
        }
        let Value::Array(all) = read else { return Err(wrong()) };
        let entry = |element: Value| match element {
            Value::Object(entry) => Ok(entry),
            Value::String(text) => from_yaml(&text).ok_or_else(wrong),
            _ => Err(wrong()),
        };
        all.into_iter().map(entry).collect()
    }
}

/// As the providers read it, to whom 0400 is a mode.
fn from_yaml<T: DeserializeOwned>(text: &str) -> Option<T> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(text, options).ok()
}

/// A text of an entry, where it says something; numbers are taken as they are written.
pub fn text(entry: &Entry, name: &str) -> Option<String> {
    let text = match entry.get(name)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// The fields of an entry that are none of these.
pub fn others<'a>(entry: &'a Entry, known: &[&str]) -> Vec<&'a str> {
    entry.keys().map(String::as_str).filter(|name| !known.contains(name)).collect()
}

/// A mode of files, in octal, as four digits: a text is in octal, and a number is one.
pub fn mode(entry: &Entry, name: &str) -> Option<Result<String, String>> {
    let written = text(entry, name)?;
    let mode = match entry.get(name)? {
        Value::Number(number) => number.as_u64().and_then(|mode| u32::try_from(mode).ok()),
        _ => u32::from_str_radix(written.trim_start_matches("0o"), 8).ok(),
    };
    Some(match mode {
        Some(mode) if mode <= 0o777 && mode & 0o400 != 0 => Ok(format!("{mode:04o}")),
        _ => Err(format!("{name} {written:?} is no mode that lets the owner read")),
    })
}
