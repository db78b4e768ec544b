//! Secrets that hold pairs of sealing keys, in one namespace, by their label.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keyferry_provider_core::SecretBytes;
use keyferry_sync::ports::Problem;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};

use crate::client::{LiveSecret, Turns, timely};

/// The keys of such a Secret: the certificate, and the private key.
const PARTS: (&str, &str) = ("tls.crt", "tls.key");

/// How many are read at once.
const PAGE: u32 = 100;

/// A pair, as it is kept.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The name of its Secret.
    pub name: String,
    /// When that was made, in seconds.
    pub since: i64,
    /// The certificate: PEM.
    pub certificate: SecretBytes,
    /// The private key: PEM.
    pub private: SecretBytes,
}

/// The Secrets of a namespace that bear the label.
#[derive(Clone)]
pub struct Pairs {
    /// The client.
    pub client: kube::Client,
    /// The namespace.
    pub namespace: String,
    /// The label, and its value.
    pub label: (&'static str, &'static str),
}

impl Pairs {
    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// All that there are. What lacks a part is none.
    pub async fn all(&self) -> Result<Vec<Pair>, Problem> {
        let (label, value) = self.label;
        let read = |secret: Secret| {
            let mut secret = LiveSecret::new(secret);
            let metadata = secret.get().metadata.clone();
            let since = metadata.creation_timestamp.map_or(0, |at| at.0.as_second());
            let (certificate, private) = (secret.take(PARTS.0)?, secret.take(PARTS.1)?);
            Some(Pair { name: metadata.name.unwrap_or_default(), since, certificate, private })
        };
        let (params, mut found) = (ListParams::default().labels(&format!("{label}={value}")), Vec::new());
        let mut params = params.limit(PAGE);
        loop {
            let list = timely(self.api().list(&params)).await?;
            found.extend(list.items.into_iter().filter_map(read));
            params.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Keeps another one, as Sealed Secrets' own controller would: whoever goes back to that finds it.
    pub async fn add(&self, turns: &Turns, certificate: &str, private: &SecretBytes) -> Result<(), Problem> {
        let (label, value) = self.label;
        let data = [(PARTS.0, certificate.as_bytes()), (PARTS.1, private.expose())];
        let secret = Secret {
            metadata: ObjectMeta {
                generate_name: Some("sealed-secrets-key".to_owned()),
                labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(data.map(|(key, value)| (key.to_owned(), ByteString(value.to_vec()))).into()),
            ..Secret::default()
        };
        let secret = LiveSecret::new(secret);
        let made = turns.run(async || self.api().create(&PostParams::default(), secret.get()).await).await?;
        drop(LiveSecret::new(made));
        Ok(())
    }
}
