//! What the tests begin with: a store on a double of Google.

// Each test file is a program of its own and uses its part of this.
#![allow(dead_code, reason = "shared by several test programs")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyferry_doubles::gcpsm::{Double, PROJECT};
use keyferry_provider_core::{
    Answer, BuildContext, Caller, Calls, Environment, Error, Key, Origin, Payload, Provider, Push, Reach, Remote,
    SecretBytes,
};
use keyferry_provider_gcpsm::REGISTRATION;
use keyferry_provider_testkit::MapCredentials;
use serde_json::{Value, json};

/// Part of every value and credential of the tests.
pub const CANARY: &str = "canary";

/// The calls that were told, and whether they were good.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<(&'static str, bool)>>);

impl Calls for Told {
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, _: Duration) {
        assert_eq!(provider, "GCP/SecretManager");
        self.0.lock().unwrap().push((call, ok));
    }
}

impl Told {
    /// How often a call of this name was told.
    pub fn count(&self, call: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(told, _)| *told == call).count()
    }
}

/// The environment of an operator whose Google is the double, with more in it.
pub fn environment(double: &Double, more: &[(&str, &str)]) -> Environment {
    environment_at(double.server().url(), more)
}

/// The same where Google is at this URL.
pub fn environment_at(url: String, more: &[(&str, &str)]) -> Environment {
    let more: Vec<(String, String)> = more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Arc::new(move |name| match name {
        "GCE_METADATA_HOST" => Some(url.trim_start_matches("http://").to_owned()),
        name if name.starts_with("CLOUDSDK_API_ENDPOINT_OVERRIDES_") => Some(url.clone()),
        _ => more.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()),
    })
}

/// What a ClusterSecretStore is built with.
pub fn context(double: &Double, credentials: MapCredentials, calls: Arc<dyn Calls>) -> BuildContext {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    BuildContext {
        environment: environment(double, &[]),
        caller: Caller { store_kind: "ClusterSecretStore", store: "google".into(), namespace: Some("ns".into()) },
        ..BuildContext::new(Arc::new(credentials), calls).trusted()
    }
}

/// A spec with a login by key, and more in it.
pub fn spec(more: &Value) -> Value {
    let key = json!({"secretRef": {"secretAccessKeySecretRef": {"name": "google", "key": "key.json"}}});
    let mut spec = json!({"projectID": PROJECT, "auth": key});
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

pub async fn build(spec: &Value, context: BuildContext) -> Result<Arc<dyn Provider>, Error> {
    (REGISTRATION.build)(spec, context).await
}

/// A store that logs in by the account's key.
pub async fn store(double: &Double, more: &Value) -> Arc<dyn Provider> {
    let credentials = MapCredentials::new().with("google/key.json", double.key());
    build(&spec(more), context(double, credentials, Arc::new(()))).await.unwrap()
}

pub fn key(name: &str) -> Key {
    Key { name: name.to_owned(), version: None, metadata: false }
}

pub fn version(name: &str, version: &str) -> Key {
    Key { version: Some(version.to_owned()), ..key(name) }
}

/// One key's answer, whether it concerns the key or the store. No message holds a value.
pub async fn fetch(store: &dyn Provider, key: &Key) -> Answer {
    let answer = store.fetch(std::slice::from_ref(key)).await.and_then(|mut answers| answers.remove(0));
    if let Err(error) = &answer {
        assert!(!error.to_string().contains(CANARY), "{error}");
    }
    answer
}

pub fn remote(name: &str, property: Option<&str>) -> Remote {
    Remote { key: name.to_owned(), property: property.map(str::to_owned), metadata: None }
}

pub fn push(remote: Remote, value: &str, reach: Reach) -> Push {
    Push { remote, payload: Payload::Value(SecretBytes::from(value)), origin: Origin::default(), reach }
}

/// The value that is there, as text.
pub async fn text(store: &dyn Provider, name: &str) -> String {
    let fetched = fetch(store, &key(name)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    fetched.value.expose_str().unwrap().to_owned()
}
