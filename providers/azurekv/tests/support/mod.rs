//! Stores in front of a double, and what stands between them.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use keyferry_doubles::Server;
use keyferry_doubles::azurekv::{CLIENT, Double, RESOURCE, SECRET, TENANT};
use keyferry_provider_azurekv::REGISTRATION;
use keyferry_provider_core::{Answer, BuildContext, Caller, Error, Key, Provider};
use keyferry_provider_testkit::{Fault, MapCredentials};
use serde_json::{Value, json};

/// A spec for the vault at this URL, whose logins are at the double.
pub fn spec(url: &str, double: &Double) -> Value {
    spec_at(url, &double.server().url())
}

/// The same whose logins are at that one.
pub fn spec_at(url: &str, logins: &str) -> Value {
    json!({
        "vaultUrl": url,
        "tenantId": TENANT,
        "environmentType": "AzureStackCloud",
        "useAzureSDK": true,
        "customCloudConfig": {"activeDirectoryEndpoint": logins, "keyVaultEndpoint": RESOURCE},
        "authSecretRef": {
            "clientId": {"name": "azure", "key": "id"},
            "clientSecret": {"name": "azure", "key": "secret"},
        },
    })
}

/// What it logs in with; files end with a line.
pub fn credentials() -> MapCredentials {
    with_secret(SECRET)
}

/// The same with another secret.
pub fn with_secret(secret: &str) -> MapCredentials {
    MapCredentials::new().with("azure/id", format!("{CLIENT}\n")).with("azure/secret", format!("{secret}\n"))
}

pub fn context(credentials: MapCredentials) -> BuildContext {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let caller = Caller { store_kind: "ClusterSecretStore", store: "vault".into(), namespace: None };
    BuildContext { caller, ..BuildContext::new(Arc::new(credentials), Arc::new(())).trusted() }
}

pub async fn build(spec: &Value, ctx: BuildContext) -> Result<Arc<dyn Provider>, Error> {
    (REGISTRATION.build)(spec, ctx).await
}

pub async fn store(double: &Double) -> Result<Arc<dyn Provider>, Error> {
    store_at(&double.server().url(), double).await
}

/// The same where the vault is reached at another URL.
pub async fn store_at(url: &str, double: &Double) -> Result<Arc<dyn Provider>, Error> {
    build(&spec(url, double), context(credentials())).await
}

pub fn key(name: &str) -> Key {
    Key { name: name.to_owned(), version: None, metadata: false }
}

pub async fn fetch(store: &dyn Provider, key: &Key) -> Answer {
    store.fetch(std::slice::from_ref(key)).await.and_then(|mut answers| answers.remove(0))
}

/// Something between a store and its double that answers in its place.
pub struct Front(Server);

impl Front {
    /// Always answers so.
    pub fn answering(_: &Double, status: u16, body: &str) -> Self {
        let body = body.to_owned();
        let answer = async move || Response::builder().status(status).body(Body::from(body)).unwrap();
        Self(Server::start(Router::new().fallback(answer)))
    }

    /// Passes on so many requests, and fails from then on.
    pub fn start(double: &Double, passed: usize, fault: Fault) -> Self {
        let (url, count) = (double.server().url(), Arc::new(AtomicUsize::new(0)));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let handler = move |request: Request| {
            let (url, count, http) = (url.clone(), count.clone(), http.clone());
            async move {
                if count.fetch_add(1, Ordering::SeqCst) >= passed {
                    return fail(fault);
                }
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let token = request.headers()["authorization"].clone();
                // The answer names whom it was asked of, and that is the front.
                let host = request.headers()["host"].clone();
                let sent = http.get(format!("{url}{path}")).header("authorization", token).header("host", host);
                let answer = sent.send().await.unwrap();
                let status = answer.status();
                Response::builder().status(status).body(Body::from(answer.bytes().await.unwrap())).unwrap()
            }
        };
        Self(Server::start(Router::new().fallback(handler)))
    }

    pub fn url(&self) -> String {
        self.0.url()
    }
}

fn fail(fault: Fault) -> Response {
    let page = r#"{"value":[{"id":"https://v/secrets/secret-1"},"#;
    match fault {
        Fault::Status(status) => Response::builder().status(status).body(Body::from("canary")).unwrap(),
        Fault::Garbage => Response::new(Body::from("<html>canary")),
        Fault::Cut => {
            let broken = futures::stream::iter([Ok(Bytes::from(page)), Err(std::io::Error::other("the end"))]);
            Response::new(Body::from_stream(broken))
        }
    }
}
