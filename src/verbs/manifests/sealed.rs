//! Manifests that are encrypted in git: Secrets are opened with the identities that lie beside them, or are named; a document that
//! is encrypted and no manifest is told as what it is, since a store may read it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use keyferry_documents::sops::{Encrypted, Key, Service, data_key, too_few};
use keyferry_documents::{Format, Identities, Tries, envelope, open, values};
use keyferry_provider_core::{Error, ErrorKind, SecretBytes};
use serde_json::Value;

use crate::verbs::keyring::{With, folder_of};

/// What opens, by the folders that it lies beside.
pub struct Opener<'a> {
    with: Option<&'a With>,
    known: HashMap<PathBuf, Result<Identities, String>>,
}

/// Who encrypted a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// age, as a whole or value by value.
    Age,
    /// SOPS.
    Sops,
}

impl By {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Sops => "SOPS",
        }
    }
}

/// That a document is passed over; for a person.
pub fn passed_over(file: &Path, by: By) -> String {
    let (name, shown) = (file.file_name().unwrap_or_default().to_string_lossy(), file.display());
    let store = by.name().to_lowercase();
    format!(
        "{shown}: note: {} encrypted it, and it is no manifest: it is passed over; a store of the kind {store} reads it by \
         `documents: [{{file: {name}}}]`",
        by.name()
    )
}

/// Whether age encrypted a file as a whole.
pub fn is_whole(bytes: &[u8]) -> bool {
    envelope::is_sealed(bytes)
}

/// Whether SOPS encrypted a document.
pub fn is_of_sops(object: &Value) -> bool {
    object.get("sops").is_some_and(|sops| sops.get("mac").is_some() || sops.get("lastmodified").is_some())
}

/// Whether it has a value that age encrypted.
pub fn has_sealed(object: &Value) -> bool {
    match object {
        Value::String(text) => values::is_sealed(text),
        Value::Array(all) => all.iter().any(has_sealed),
        Value::Object(all) => all.values().any(has_sealed),
        _ => false,
    }
}

impl<'a> Opener<'a> {
    /// With these, or what lies beside what is opened; nothing is opened where there are none.
    pub fn new(with: Option<&'a With>) -> Self {
        Self { with, known: HashMap::new() }
    }

    /// Whether anything is opened.
    pub fn opens(&self) -> bool {
        self.with.is_some()
    }

    fn identities(&mut self, file: &Path) -> Result<&Identities, String> {
        let folder = folder_of(file).to_owned();
        let with = self.with;
        let find = |folder: &PathBuf| {
            with.map_or_else(|| Err("no keys are asked for".to_owned()), |with| with.identities(folder))
        };
        let known = self.known.entry(folder).or_insert_with_key(find);
        known.as_ref().map_err(Clone::clone)
    }

    /// What a file holds that age encrypted as a whole.
    pub fn whole(&mut self, file: &Path, sealed: &[u8]) -> Result<SecretBytes, String> {
        open(sealed, self.identities(file)?, &mut Tries::default()).map_err(|error| error.to_string())
    }

    /// The manifest of a text that SOPS encrypted.
    pub fn of_sops(&mut self, file: &Path, text: &str) -> Result<Value, String> {
        let is_json = file.extension().is_some_and(|extension| extension == "json");
        let format = if is_json { Format::Json } else { Format::Yaml };
        let encrypted = Encrypted::read(text.as_bytes(), format).map_err(|error| error.to_string())?;
        let identities = self.identities(file)?;
        let opened = opened(encrypted, identities).map_err(|error| error.to_string())?;
        serde_json::from_slice(opened.expose()).map_err(|_| "it is no manifest".to_owned())
    }

    /// Opens the values of a Secret that age encrypted, in place.
    pub fn values(&mut self, file: &Path, secret: &mut Value) -> Result<(), String> {
        let identities = self.identities(file)?;
        let mut tries = Tries::default();
        for field in ["data", "stringData"] {
            for (key, value) in secret.get_mut(field).and_then(Value::as_object_mut).into_iter().flatten() {
                let Some(plain) = value.as_str().and_then(|text| values::open_value(text, identities, &mut tries))
                else {
                    continue;
                };
                let plain = plain.map_err(|error| format!("{field}[{key:?}]: {error}"))?;
                let text =
                    plain.expose_str().ok_or_else(|| format!("{field}[{key:?}] is no text when it is opened"))?;
                *value = Value::String(text.to_owned());
            }
        }
        Ok(())
    }
}

/// Opens a document with keys that we have ourselves: nobody is asked.
fn opened(document: Encrypted, identities: &Identities) -> Result<SecretBytes, Error> {
    let (groups, needed, mut tries) = (document.groups().len(), document.threshold(), Tries::default());
    let (mut parts, mut why) = (Vec::new(), Vec::new());
    for group in document.groups() {
        if parts.len() == needed {
            break;
        }
        let mut open_one = |key: &Key| match key.service {
            Service::Age => open(key.bytes().expose(), identities, &mut tries),
            Service::Pgp => identities.open_pgp(key.bytes().expose(), &mut tries),
            _ => Err(Error::new(
                ErrorKind::Denied,
                format!(
                    "{:?}: no service is asked for the keys of a manifest: add a recipient of age with `sops updatekeys`",
                    key.name
                ),
            )),
        };
        match group.iter().map(&mut open_one).find_map(|tried| tried.map_err(|error| why.push(error)).ok()) {
            Some(part) => parts.push(part),
            None if group.is_empty() => why.push(Error::invalid("a key group without keys")),
            None => {}
        }
    }
    if parts.len() < needed {
        return Err(too_few(parts.len(), needed, groups, &why));
    }
    let key = data_key(&parts, groups)?;
    document.open(&key)
}
