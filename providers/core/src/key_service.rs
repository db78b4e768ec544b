//! Keys that never leave the service that keeps them: what documents are encrypted with, where not with a key of the user's own.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{BuildContext, Error, SecretBytes};

/// A data key as a service encrypted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrapped {
    /// What the service calls the key that it is encrypted with.
    pub key: String,
    /// What it gave for the data key, in its own form.
    pub ciphertext: SecretBytes,
    /// What was to be told along, where the service takes such.
    pub context: BTreeMap<String, String>,
}

/// A service that keeps keys, logged in and ready. It lives as long as the provider that has it.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// Decrypts a data key.
    ///
    /// - `wrapped` stands in a document that anybody may have written: it leads nowhere but to the service, and to no other
    ///   call of it.
    /// - No error is [`NotFound`](crate::ErrorKind::NotFound): that a key is not there says nothing about a secret.
    async fn unwrap(&self, wrapped: &Wrapped) -> Result<SecretBytes, Error>;

    /// Checks that the login is good.
    async fn check(&self) -> Result<(), Error>;

    /// As [`Provider::identity_note`](crate::Provider::identity_note).
    fn identity_note(&self) -> Option<String>;
}

/// The future that [`KeyServiceRegistration::build`] gives.
pub type KeyServiceFuture<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn KeyService>, Error>> + Send + 'a>>;

/// How a crate presents a service to the registry.
#[derive(Clone, Copy)]
pub struct KeyServiceRegistration {
    /// The key under which a store that needs it has its spec, which is of the form of the store's of this name.
    pub name: &'static str,
    /// Builds it from its spec. Errors name fields as those of that store.
    pub build: for<'a> fn(&'a serde_json::Value, BuildContext) -> KeyServiceFuture<'a>,
}

/// The services of this build, by name.
pub type KeyServices = fn(&str) -> Option<&'static KeyServiceRegistration>;
