//! Credentials out of a map, for tests of stores.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use keyferry_provider_core::{CaRef, Credentials, Error, SecretBytes, SecretRef, ServiceAccountRef, Token};

/// Answers `name/key` with what was set, for secrets, config maps and CA bundles; ServiceAccounts have the token under
/// `name/token` and annotations under `name/annotations/`. A secret bears the labels under `name/labels/`. The namespace of a reference is not looked at.
#[derive(Default)]
pub struct MapCredentials(Mutex<HashMap<String, SecretBytes>>);

impl MapCredentials {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a value.
    pub fn with(self, path: &str, value: impl AsRef<[u8]>) -> Self {
        self.set(path, value);
        self
    }

    /// Sets a value.
    pub fn set(&self, path: &str, value: impl AsRef<[u8]>) {
        let value = SecretBytes::new(value.as_ref().to_vec());
        self.0.lock().expect("no test panics with it").insert(path.to_owned(), value);
    }

    fn get(&self, name: &str, key: &str) -> Result<SecretBytes, Error> {
        let found = self.0.lock().expect("no test panics with it").get(&format!("{name}/{key}")).cloned();
        found.ok_or_else(|| Error::invalid(format!("the secret {name:?} has no key {key:?}")))
    }
}

#[async_trait]
impl Credentials for MapCredentials {
    async fn secret(&self, reference: &SecretRef, default_key: Option<&str>) -> Result<SecretBytes, Error> {
        let key = reference.key.as_deref().or(default_key).unwrap_or_default();
        self.get(reference.name.as_deref().unwrap_or_default(), key)
    }

    async fn labelled_secret(
        &self,
        reference: &SecretRef,
        label: &str,
        value: &str,
    ) -> Result<BTreeMap<String, SecretBytes>, Error> {
        let name = reference.name.as_deref().unwrap_or_default();
        if self.get(name, &format!("labels/{label}"))?.expose() != value.as_bytes() {
            return Err(Error::invalid(format!("the secret {name:?} does not bear the label {label}: {value}")));
        }
        let (prefix, all) = (format!("{name}/"), self.0.lock().expect("no test panics with it"));
        let own = all.iter().filter_map(|(path, value)| Some((path.strip_prefix(&prefix)?, value.clone())));
        Ok(own.filter(|(key, _)| !key.contains('/')).map(|(key, value)| (key.to_owned(), value)).collect())
    }

    async fn service_account_token(&self, reference: &ServiceAccountRef, _: &[&str]) -> Result<Token, Error> {
        let secret = self.get(&reference.name, "token")?;
        Ok(Token { secret, expires: SystemTime::now() + Duration::from_secs(600) })
    }

    async fn service_account_annotations(
        &self,
        reference: &ServiceAccountRef,
    ) -> Result<BTreeMap<String, String>, Error> {
        let prefix = format!("{}/annotations/", reference.name);
        let all = self.0.lock().expect("no test panics with it");
        let own = all.iter().filter_map(|(path, value)| Some((path.strip_prefix(&prefix)?, value.expose_str()?)));
        Ok(own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    async fn controller_token(&self) -> Result<SecretBytes, Error> {
        self.get("controller", "token")
    }

    async fn config_map(&self, reference: &SecretRef) -> Result<SecretBytes, Error> {
        self.secret(reference, None).await
    }

    async fn ca_bundle(&self, reference: &CaRef) -> Result<Vec<u8>, Error> {
        let key = reference.key.as_deref().unwrap_or_default();
        Ok(self.get(&reference.name, key)?.expose().to_vec())
    }
}
