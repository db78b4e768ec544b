//! OVHcloud Secret Manager: JSON objects by their paths, with versions. Written from the vendor's documents alone: no client of
//! theirs has spoken to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::asked::{self, Asked};
use crate::trusted::Trusted;
use crate::{ClientCertificate, Server};

/// The token that logs in.
pub const TOKEN: &str = "canary-of-the-token";
/// The id of the domain.
pub const DOMAIN: &str = "734b9b45-8b1a-469c-b140-b10bd6540017";

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    tokens: Trusted,
    /// By path: the versions of each, of which some have no data any more.
    secrets: BTreeMap<String, Vec<Option<Value>>>,
    denied: BTreeSet<String>,
    /// Whether writes must name the version that they follow.
    wants_version: bool,
}

impl Double {
    /// One without secrets.
    pub fn start() -> Self {
        Self::begin(Server::start)
    }

    /// The same by TLS: whoever shows a certificate of its CA needs no token.
    pub fn start_tls() -> Self {
        Self::begin(Server::start_tls)
    }

    fn begin(start: impl FnOnce(Router) -> Server) -> Self {
        let (secrets, denied) = (BTreeMap::new(), BTreeSet::new());
        let state = State { tokens: Trusted::one(TOKEN), secrets, denied, wants_version: false };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let router = Router::new().fallback(move |request: Request| {
            let state = shared.clone();
            async move {
                let is_known = request.extensions().get::<ClientCertificate>().is_some();
                answer(&Asked::of(request).await, is_known, &mut state.lock().expect("no test panics with it"))
            }
        });
        Self { server: start(router), state }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// Writes a secret, as a new version where there was one. Gives the number of the version.
    pub fn put(&self, path: &str, data: Value) -> usize {
        let mut state = self.state();
        let versions = state.secrets.entry(path.to_owned()).or_default();
        versions.push(Some(data));
        versions.len()
    }

    /// What the last version of a secret holds.
    pub fn held(&self, path: &str) -> Option<Value> {
        self.state().secrets.get(path)?.last()?.clone()
    }

    /// Takes the data from the last version of a secret.
    pub fn deactivate(&self, path: &str) {
        *self.state().secrets.get_mut(path).and_then(|all| all.last_mut()).expect("it is there") = None;
    }

    /// Removes a secret.
    pub fn delete(&self, path: &str) {
        self.state().secrets.remove(path);
    }

    /// Lets nobody read a secret.
    pub fn deny(&self, path: &str) {
        self.state().denied.insert(path.to_owned());
    }

    /// Takes no write from now on that does not name the version that it follows.
    pub fn want_version(&self) {
        self.state().wants_version = true;
    }

    /// Another token in place of the one that there is.
    pub fn set_token(&self, token: &str) {
        self.state().tokens = Trusted::one(token);
    }

    /// Lets in whoever has this token, too.
    pub fn trust(&self, token: &str) {
        self.state().tokens.add(token);
    }

    /// Lets in nobody any more but with the last token that was trusted.
    pub fn retire(&self) {
        self.state().tokens.retire();
    }
}

/// An error of this category (1 internal, 3 authentication, 4 authorization, 5 not found, 8 bad argument) and number.
fn wrong(status: u16, category: u64, number: u64) -> Response {
    let code = 0x0105_0000 | (category << 12) | number;
    asked::json(status, &json!({"error_code": code, "error_id": "x", "errors": ["something"], "request_id": "y"}))
}

fn answer(asked: &Asked, is_known: bool, state: &mut State) -> Response {
    let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    if !is_known && !state.tokens.holds(token) {
        return wrong(401, 3, 1);
    }
    let (method, path) = asked.what();
    match (method, &path[..]) {
        (_, ["api", domain, ..]) if *domain != DOMAIN => wrong(404, 5, 9),
        ("GET", ["api", _, "v1", "secret", "metadata"]) => list("", state),
        ("GET", ["api", _, "v1", "secret", "metadata", folder]) => list(&format!("{folder}/"), state),
        ("POST", ["api", _, "v2", "secret"]) => {
            let path = asked.text("path").to_owned();
            if state.secrets.contains_key(&path) {
                return wrong(400, 8, 3);
            }
            state.secrets.insert(path.clone(), vec![Some(asked.body["version"]["data"].clone())]);
            asked::json(200, &json!({"path": path, "metadata": {"currentVersion": 1}}))
        }
        (method, ["api", _, "v2", "secret", path]) => one(asked, method, path, state),
        _ => wrong(404, 5, 8),
    }
}

fn one(asked: &Asked, method: &str, path: &str, state: &mut State) -> Response {
    if state.denied.contains(path) {
        return wrong(401, 4, 1);
    }
    let wants_version = state.wants_version;
    let Some(versions) = state.secrets.get_mut(path) else { return wrong(404, 5, 1) };
    let last = versions.len();
    match method {
        "GET" => {
            let number = asked.query.get("version").map_or(Some(last), |number| number.parse().ok());
            let Some(number) = number.filter(|number| (1..=last).contains(number)) else { return wrong(404, 5, 2) };
            let data = versions[number - 1].clone().filter(|_| asked.query("includeData") == "true");
            let state = if versions[number - 1].is_some() { "active" } else { "deactivated" };
            let version = json!({"id": number, "state": state, "createdAt": "2026-01-01T00:00:00Z", "data": data});
            asked::json(200, &json!({"path": path, "metadata": {"currentVersion": last}, "version": version}))
        }
        "PUT" if wants_version && asked.query("cas") != last.to_string() => wrong(400, 8, 4),
        "PUT" => {
            versions.push(Some(asked.body["version"]["data"].clone()));
            asked::json(200, &json!({"path": path, "metadata": {"currentVersion": last + 1}}))
        }
        "DELETE" => {
            state.secrets.remove(path);
            asked::with(204, "application/json", String::new(), &[])
        }
        _ => wrong(404, 5, 8),
    }
}

/// The next part of all paths below a folder; one that is a folder itself ends with a slash.
fn list(folder: &str, state: &State) -> Response {
    let below = state.secrets.keys().filter_map(|path| path.strip_prefix(folder));
    let part = |rest: &str| rest.split_once('/').map_or_else(|| rest.to_owned(), |(name, _)| format!("{name}/"));
    let names: BTreeSet<String> = below.map(part).collect();
    if names.is_empty() { wrong(404, 5, 1) } else { asked::json(200, &json!({"data": {"keys": names}})) }
}
