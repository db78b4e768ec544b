//! Values that anybody may seal, and only who holds the private keys opens: the port to them.

use std::fmt;

use async_trait::async_trait;

use crate::{Error, SecretBytes};

/// For whom a value was sealed. It is bound to the ciphertext: what was sealed for one opens for no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// For a Secret of this namespace and name: SealedSecret, strict.
    Secret(String, String),
    /// For all Secrets of a namespace: SealedSecret, namespace-wide.
    Secrets(String),
    /// For any Secret: SealedSecret, cluster-wide.
    AnySecret,
    /// For whoever uses stores in a namespace.
    Namespace(String),
    /// For pods of a namespace that run as this ServiceAccount.
    ServiceAccount(String, String),
}

impl Scope {
    /// What is bound to the ciphertext. The first three are Sealed Secrets' own; no name of Kubernetes holds a blank, so that
    /// neither is taken for the other.
    pub fn label(&self) -> Vec<u8> {
        match self {
            Self::Secret(namespace, name) => format!("{namespace}/{name}"),
            Self::Secrets(namespace) => namespace.clone(),
            Self::AnySecret => String::new(),
            Self::Namespace(namespace) => format!("keyferry namespace {namespace}"),
            Self::ServiceAccount(namespace, name) => format!("keyferry serviceaccount {namespace}/{name}"),
        }
        .into_bytes()
    }

    /// The namespace that it is for; none where it is for all.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::AnySecret => None,
            Self::Secret(namespace, _)
            | Self::Secrets(namespace)
            | Self::Namespace(namespace)
            | Self::ServiceAccount(namespace, _) => Some(namespace),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(namespace, name) => write!(f, "Secret {name:?} in namespace {namespace:?}"),
            Self::Secrets(namespace) => write!(f, "Secrets in namespace {namespace:?}"),
            Self::AnySecret => f.write_str("any Secret"),
            Self::Namespace(namespace) => write!(f, "namespace {namespace:?}"),
            Self::ServiceAccount(namespace, name) => {
                write!(f, "ServiceAccount {name:?} in namespace {namespace:?}")
            }
        }
    }
}

/// Who holds the private keys.
#[async_trait]
pub trait Unseal: fmt::Debug + Send + Sync {
    /// Opens what was sealed for `scope`, on behalf of `namespace`; answers each, in their order.
    ///
    /// - What does not open is [`Denied`](crate::ErrorKind::Denied) or [`Malformed`](crate::ErrorKind::Malformed), and never
    ///   [`NotFound`](crate::ErrorKind::NotFound).
    /// - The outer error is for all of them; that of an operator where it is for a [ServiceAccount](Scope::ServiceAccount),
    ///   which is not whom it works for.
    async fn unseal(
        &self,
        namespace: &str,
        scope: &Scope,
        sealed: Vec<Vec<u8>>,
    ) -> Result<Vec<Result<SecretBytes, Error>>, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scope_is_taken_for_another() {
        let (namespace, name) = (|| "a".to_owned(), || "b".to_owned());
        let all = [
            Scope::Secret(namespace(), name()),
            Scope::Secrets(namespace()),
            Scope::AnySecret,
            Scope::Namespace(namespace()),
            Scope::ServiceAccount(namespace(), name()),
        ];
        let labels: std::collections::BTreeSet<_> = all.iter().map(Scope::label).collect();
        assert_eq!(labels.len(), all.len());
        assert_eq!(all[0].label(), b"a/b", "as kubeseal has it");
        assert_eq!(all.map(|scope| scope.namespace().is_some()), [true, true, false, true, true]);
    }
}
