//! The port through which a provider gets what it logs in with.

use std::collections::BTreeMap;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::Deserialize;

use crate::{Error, SecretBytes};

/// Names a key of a secret that the user keeps beside the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SecretRef {
    /// The secret's name.
    pub name: Option<String>,
    /// The key inside it; some fields have a default.
    pub key: Option<String>,
    /// The namespace; a SecretStore may name only its own.
    pub namespace: Option<String>,
}

/// Names a ServiceAccount whose token logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ServiceAccountRef {
    /// The account's name.
    pub name: String,
    /// The namespace; a SecretStore may name only its own.
    pub namespace: Option<String>,
    /// Audiences of the token beside the ones that the login method asks for.
    pub audiences: Option<Vec<String>>,
}

/// What kind of object a CA bundle is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum CaSource {
    /// A secret.
    Secret,
    /// A config map.
    ConfigMap,
}

/// Names a CA bundle (`caProvider`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CaRef {
    /// The kind of object.
    #[serde(rename = "type")]
    pub source: CaSource,
    /// Its name.
    pub name: String,
    /// The key inside it.
    pub key: Option<String>,
    /// The namespace; a SecretStore may name only its own, a ClusterSecretStore must name one.
    pub namespace: Option<String>,
}

/// A token with its end.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token.
    pub secret: SecretBytes,
    /// When it stops working.
    pub expires: SystemTime,
}

/// Gives a provider the credentials that its spec refers to, and only those it may have.
///
/// Every error is one that a user can act on: it names the object and the key, never a value.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The value under `reference`, whose key is `default_key` where it names none.
    async fn secret(&self, reference: &SecretRef, default_key: Option<&str>) -> Result<SecretBytes, Error>;

    /// All values of a secret that bears this label with this value: its owner says thereby that a store may have it whole.
    /// The key of the reference means nothing.
    async fn labelled_secret(
        &self,
        reference: &SecretRef,
        label: &str,
        value: &str,
    ) -> Result<BTreeMap<String, SecretBytes>, Error>;

    /// A fresh token of a ServiceAccount for `audiences` and those of the reference together (the API server's own
    /// where both are empty).
    async fn service_account_token(&self, reference: &ServiceAccountRef, audiences: &[&str]) -> Result<Token, Error>;

    /// The annotations of a ServiceAccount: clouds keep there whom its tokens stand for.
    async fn service_account_annotations(
        &self,
        reference: &ServiceAccountRef,
    ) -> Result<BTreeMap<String, String>, Error>;

    /// The operator's own Kubernetes token. Refused to stores of a namespace, whose server could be anybody's.
    async fn controller_token(&self) -> Result<SecretBytes, Error>;

    /// The value under `reference` of a config map.
    async fn config_map(&self, reference: &SecretRef) -> Result<SecretBytes, Error>;

    /// A CA bundle, PEM.
    async fn ca_bundle(&self, reference: &CaRef) -> Result<Vec<u8>, Error>;
}
