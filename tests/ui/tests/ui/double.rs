//! A double of an API server: lists, gets and watches of objects that it is given. It knows no rights; a real one is asked about those.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::broadcast;

/// It ends with the test's runtime.
pub struct Double {
    shared: Arc<Shared>,
    folder: TempDir,
}

struct Shared {
    /// By their plurals, as paths name them.
    objects: Mutex<BTreeMap<&'static str, Vec<Value>>>,
    /// The plural, and the event.
    changes: broadcast::Sender<(&'static str, String)>,
}

impl Double {
    pub async fn start(objects: BTreeMap<&'static str, Vec<Value>>) -> Self {
        let shared = Arc::new(Shared { objects: Mutex::new(objects), changes: broadcast::channel(64).0 });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        Self { shared, folder }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Puts an object in the place of the one of its name, or beside the others, and tells whoever watches.
    pub fn put(&self, plural: &'static str, object: Value) {
        let mut all = self.shared.objects.lock().unwrap();
        let of = all.entry(plural).or_default();
        let is_same = |other: &Value| {
            ["name", "namespace"].iter().all(|field| other["metadata"][field] == object["metadata"][field])
        };
        let event = match of.iter_mut().find(|other| is_same(other)) {
            Some(other) => {
                *other = object.clone();
                json!({"type": "MODIFIED", "object": object})
            }
            None => {
                of.push(object.clone());
                json!({"type": "ADDED", "object": object})
            }
        };
        let _ = self.shared.changes.send((plural, format!("{event}\n")));
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let query = request.uri().query().unwrap_or_default();
    // /api/v1/.. or /apis/GROUP/VERSION/.., and then a namespace perhaps.
    let rest = if parts[0] == "api" { &parts[2..] } else { parts.get(3..).unwrap_or_default() };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        rest => (None, rest),
    };
    let all = shared.objects.lock().unwrap();
    let Some((&plural, of)) = rest.first().and_then(|plural| all.get_key_value(*plural)) else { return absent() };
    if query.contains("watch=") {
        return watch(plural, shared.changes.subscribe());
    }
    let is_there = |object: &&Value| namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace);
    let mut found = of.iter().filter(is_there);
    match rest.get(1) {
        Some(name) => found.find(|object| object["metadata"]["name"] == *name).map_or_else(absent, json_of),
        None => {
            let about = query.split("involvedObject.name%3D").nth(1).and_then(|rest| rest.split(['&', '%']).next());
            let is_about = |object: &&Value| about.is_none_or(|name| object["involvedObject"]["name"] == name);
            let items: Vec<&Value> = found.filter(is_about).collect();
            json_of(&json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}))
        }
    }
}

fn json_of(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

fn absent() -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404});
    (StatusCode::NOT_FOUND, json_of(&status)).into_response()
}

fn watch(plural: &'static str, changes: broadcast::Receiver<(&'static str, String)>) -> Response {
    let events = stream::unfold(changes, move |mut changes| async move {
        loop {
            match changes.recv().await {
                Ok((of, event)) if of == plural => return Some((Ok::<_, Infallible>(Bytes::from(event)), changes)),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    });
    ([("content-type", "application/json")], Body::from_stream(events)).into_response()
}

/// An ExternalSecret that stands so.
pub fn external_secret(namespace: &str, name: &str, store: Value, message: Option<&str>, version: i64) -> Value {
    let (status, reason) = if message.is_none() { ("True", "SecretSynced") } else { ("False", "SecretSyncedError") };
    let message = message.unwrap_or("secret synced");
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "resourceVersion": version.to_string(), "generation": 1},
        "spec": {
            "refreshInterval": "1h", "secretStoreRef": store, "target": {"name": name},
            "data": [
                {"secretKey": "user", "remoteRef": {"key": format!("{namespace}/{name}"), "property": "user"}},
                {"secretKey": "password", "remoteRef": {"key": format!("{namespace}/{name}"), "property": "password"}},
            ],
        },
        "status": {
            "refreshTime": ago(version % 3000), "syncedResourceVersion": "1-x",
            "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": ago(version % 200_000 + 60)}],
        },
    })
}

/// A time so many seconds ago, or with a number below zero so many ahead.
pub fn ago(seconds: i64) -> String {
    let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap();
    (now - SignedDuration::from_secs(seconds)).to_string()
}
