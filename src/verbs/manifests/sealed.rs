//! Manifests that are encrypted in git: they are opened with the identities that lie beside them, or are named, and by services
//! that keep keys; a document that is encrypted and no manifest is told as what it is, since a store may read it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use keyferry_documents::sops::{Calls, Encrypted, Key, Keyring, Service};
use keyferry_documents::{Format, Identities, Tries, envelope, open, values};
use keyferry_provider_core::{Error, ErrorKind, SecretBytes};
use keyferry_sync::data::SecretJson;
use serde_json::Value;

use super::services::Services;
use crate::verbs::keyring::{With, folder_of};

/// What opens, by the folders that it lies beside.
pub struct Opener<'a> {
    with: &'a With,
    known: HashMap<PathBuf, Result<Identities, String>>,
    services: Services,
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

/// The code of a document that SOPS encrypted: documents with the same one were encrypted together.
pub fn of_sops(object: &Value) -> Option<&Value> {
    let sops = object.get("sops")?;
    let is_metadata = sops.get("mac").is_some() || sops.get("lastmodified").is_some();
    is_metadata.then(|| &sops["mac"])
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
    /// With these, or what lies beside what is opened.
    pub fn new(with: &'a With) -> Self {
        Self { with, known: HashMap::new(), services: Services::default() }
    }

    fn identities(&mut self, file: &Path) -> Result<&Identities, String> {
        self.open_with(file).0
    }

    /// The identities for a file, and the services.
    fn open_with(&mut self, file: &Path) -> (Result<&Identities, String>, &mut Services) {
        let find = |folder: &PathBuf| self.with.identities(folder);
        let known = self.known.entry(folder_of(file).to_owned()).or_insert_with_key(find);
        (known.as_ref().map_err(Clone::clone), &mut self.services)
    }

    /// What a file holds that age encrypted as a whole.
    pub fn whole(&mut self, file: &Path, sealed: &[u8]) -> Result<SecretBytes, String> {
        open(sealed, self.identities(file)?, &mut Tries::default()).map_err(|error| error.to_string())
    }

    /// The documents of a text that SOPS encrypted, as many as there must be.
    pub async fn of_sops(&mut self, file: &Path, text: &str, count: usize) -> Result<Vec<SecretJson>, String> {
        let is_json = file.extension().is_some_and(|extension| extension == "json");
        let format = if is_json { Format::Json } else { Format::Yaml };
        let encrypted = Encrypted::read(text.as_bytes(), format).map_err(|error| error.to_string())?;
        let (identities, services) = self.open_with(file);
        let mut keys = Keys { identities, services, tries: Tries::default(), calls: Calls::default() };
        let key = encrypted.data_key(&mut keys).await.map_err(|error| error.to_string())?;
        let opened = encrypted.open_each(&key).map_err(|error| error.to_string())?;
        let opened = opened.iter().map(|one| serde_json::from_slice(one.expose()).map(SecretJson::new));
        let opened = opened.collect::<Result<Vec<_>, _>>().ok().filter(|opened| opened.len() == count);
        opened.ok_or_else(|| "it is no manifest".to_owned())
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

/// All keys that are at hand, for one document.
struct Keys<'a> {
    /// Those that are with us, or why there are none.
    identities: Result<&'a Identities, String>,
    services: &'a mut Services,
    tries: Tries,
    calls: Calls,
}

#[async_trait]
impl Keyring for Keys<'_> {
    async fn unwrap(&mut self, key: &Key) -> Result<SecretBytes, Error> {
        if key.service.asked().is_some() {
            let service = self.services.of(key).await?;
            return self.calls.unwrap(&*service, key).await;
        }
        let identities = self.identities.as_ref().map_err(|why| Error::new(ErrorKind::Denied, why.clone()));
        match key.service {
            Service::Age => open(key.bytes().expose(), identities?, &mut self.tries),
            Service::Pgp => identities?.open_pgp(key.bytes().expose(), &mut self.tries),
            Service::Other(_) | Service::Aws | Service::Vault | Service::Google | Service::Azure => Err(key.refusal()),
        }
    }
}
