//! Scaleway Secret Manager: secrets of a project in folders, with versions and tags. Written from the vendor's documents
//! alone: no client of theirs can be had here.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};
use crate::trusted::Trusted;

/// The secret part of the key that logs in.
pub const KEY: &str = "canary-of-the-secret-key";
/// The region and the project that there are.
pub const PLACE: (&str, &str) = ("fr-par", "6a1b-project");

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    keys: Arc<Mutex<Trusted>>,
    state: Arc<Mutex<Vec<Secret>>>,
}

struct Secret {
    id: String,
    name: String,
    folder: String,
    tags: Vec<String>,
    /// Bytes, and whether they are enabled.
    versions: Vec<(Vec<u8>, bool)>,
}

impl Double {
    /// One without secrets.
    pub fn start() -> Self {
        let (keys, state) = (Arc::new(Mutex::new(Trusted::one(KEY))), Arc::new(Mutex::new(Vec::new())));
        let shared = (keys.clone(), state.clone());
        let router = Router::new().fallback(move |request: Request| {
            let (keys, state) = shared.clone();
            async move {
                let asked = Asked::of(request).await;
                let is_known = keys.lock().expect("no test panics with it").holds(asked.header("x-auth-token"));
                answer(&asked, is_known, &mut state.lock().expect("no test panics with it"))
            }
        });
        Self { server: Server::start(router), keys, state }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn state(&self) -> MutexGuard<'_, Vec<Secret>> {
        self.state.lock().expect("no test panics with it")
    }

    /// Writes a secret with these tags, as a new version where there was one. Gives the number of the version.
    pub fn put(&self, folder: &str, name: &str, value: &[u8], tags: &[&str]) -> usize {
        let mut state = self.state();
        let at = state.iter().position(|secret| secret.name == name && secret.folder == folder);
        let at = at.unwrap_or_else(|| make(&mut state, folder, name));
        state[at].tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        state[at].versions.push((value.to_vec(), true));
        state[at].versions.len()
    }

    /// The id of a secret.
    pub fn id(&self, folder: &str, name: &str) -> String {
        let state = self.state();
        let found = state.iter().find(|secret| secret.name == name && secret.folder == folder);
        found.map(|secret| secret.id.clone()).unwrap_or_default()
    }

    /// Another key in place of the one that there is.
    pub fn set_key(&self, key: &str) {
        *self.keys() = Trusted::one(key);
    }

    /// Lets in whoever has this key, too.
    pub fn trust(&self, key: &str) {
        self.keys().add(key);
    }

    /// Lets in nobody any more but with the last key that was trusted.
    pub fn retire(&self) {
        self.keys().retire();
    }

    fn keys(&self) -> MutexGuard<'_, Trusted> {
        self.keys.lock().expect("no test panics with it")
    }

    /// Disables all versions of a secret.
    pub fn disable(&self, name: &str) {
        for secret in self.state().iter_mut().filter(|secret| secret.name == name) {
            secret.versions.iter_mut().for_each(|version| version.1 = false);
        }
    }

    /// Removes a secret.
    pub fn delete(&self, folder: &str, name: &str) {
        self.state().retain(|secret| secret.name != name || secret.folder != folder);
    }
}

/// Makes a secret without versions; gives where it is.
fn make(state: &mut Vec<Secret>, folder: &str, name: &str) -> usize {
    let number = state.last().and_then(|last| last.id.strip_prefix("id-")?.parse::<u64>().ok()).unwrap_or(0) + 1;
    let (folder, name) = (folder.to_owned(), name.to_owned());
    state.push(Secret { id: format!("id-{number}"), name, folder, tags: Vec::new(), versions: Vec::new() });
    state.len() - 1
}

fn missing(resource: &str) -> Response {
    asked::json(404, &json!({"message": "resource is not found", "resource": resource, "type": "not_found"}))
}

fn shown(secret: &Secret) -> Value {
    let Secret { id, name, folder, tags, versions } = secret;
    json!({"id": id, "name": name, "path": folder, "tags": tags, "version_count": versions.len(), "status": "ready"})
}

fn answer(asked: &Asked, is_known: bool, state: &mut Vec<Secret>) -> Response {
    if !is_known {
        return asked::json(401, &json!({"type": "denied_authentication", "message": "authentication is denied"}));
    }
    let (method, path) = asked.what();
    let ["secret-manager", "v1beta1", "regions", region, rest @ ..] = &path[..] else { return missing("route") };
    if *region != PLACE.0 {
        return missing("region");
    }
    let find = |id: &str| state.iter().position(|secret| secret.id == id);
    match (method, rest) {
        ("GET", ["secrets"]) => list(asked, state),
        ("POST", ["secrets"]) => {
            let folder = Some(asked.text("path")).filter(|folder| !folder.is_empty()).unwrap_or("/");
            let at = make(state, folder, asked.text("name"));
            asked::json(200, &shown(&state[at]))
        }
        (_, ["secrets", id, more @ ..]) => match find(id) {
            Some(at) => one(asked, state, at, more),
            None => missing("secret"),
        },
        _ => missing("route"),
    }
}

fn list(asked: &Asked, state: &[Secret]) -> Response {
    let given = |name: &str| Some(asked.query(name)).filter(|value| !value.is_empty());
    if given("project_id").is_some_and(|project| project != PLACE.1) {
        return asked::json(403, &json!({"type": "permissions_denied", "message": "insufficient permissions"}));
    }
    let fits = |secret: &&Secret| {
        given("name").is_none_or(|name| name == secret.name) && given("path").is_none_or(|path| path == secret.folder)
    };
    let found: Vec<&Secret> = state.iter().filter(fits).collect();
    let number = |name: &str, default: usize| given(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let (page, size) = (number("page", 1).max(1), number("page_size", 20).clamp(1, 100));
    let secrets: Vec<Value> = found.iter().skip((page - 1) * size).take(size).map(|secret| shown(secret)).collect();
    asked::json(200, &json!({"secrets": secrets, "total_count": found.len()}))
}

fn one(asked: &Asked, state: &mut Vec<Secret>, at: usize, more: &[&str]) -> Response {
    match (asked.method.as_str(), more) {
        ("GET", []) => asked::json(200, &shown(&state[at])),
        ("DELETE", []) => {
            state.remove(at);
            asked::with(204, "application/json", String::new(), &[])
        }
        ("POST", ["versions"]) => {
            if asked.body["disable_previous"] == true {
                state[at].versions.iter_mut().for_each(|version| version.1 = false);
            }
            state[at].versions.push((STANDARD.decode(asked.text("data")).unwrap_or_default(), true));
            asked::json(
                200,
                &json!({"revision": state[at].versions.len(), "secret_id": state[at].id, "status": "enabled"}),
            )
        }
        ("GET", ["versions", revision, "access"]) => {
            let versions = &state[at].versions;
            let number = match *revision {
                "latest" => versions.len(),
                "latest_enabled" => versions.iter().rposition(|version| version.1).map_or(0, |at| at + 1),
                revision => revision.parse().unwrap_or(0),
            };
            match number.checked_sub(1).and_then(|at| versions.get(at)) {
                Some((data, _)) => asked::json(
                    200,
                    &json!({"secret_id": state[at].id, "revision": number, "data": STANDARD.encode(data)}),
                ),
                None => missing("secret_version"),
            }
        }
        _ => missing("route"),
    }
}
