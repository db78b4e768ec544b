//! ngrok: vaults, and secrets in them that nobody is shown again. The vendor's client for Python works against it.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};
use crate::trusted::Trusted;

/// The API key that logs in.
pub const KEY: &str = "canary-of-the-api-key";
/// The one vault that there is.
pub const VAULT: &str = "production";

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    keys: Trusted,
    vaults: Vec<(String, String)>,
    secrets: Vec<Secret>,
    last: usize,
}

struct Secret {
    id: String,
    vault: String,
    name: String,
    value: String,
    metadata: String,
    description: String,
}

impl Double {
    /// One with a vault without secrets.
    pub fn start() -> Self {
        let state = State { keys: Trusted::one(KEY), vaults: Vec::new(), secrets: Vec::new(), last: 0 };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let router = Router::new().fallback(move |request: Request| {
            let state = shared.clone();
            async move { answer(&Asked::of(request).await, &mut state.lock().expect("no test panics with it")) }
        });
        let double = Self { server: Server::start(router), state };
        double.vault(VAULT);
        double
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// Makes a vault.
    pub fn vault(&self, name: &str) {
        let mut state = self.state();
        let id = format!("vault_{:03}", state.vaults.len());
        state.vaults.push((id, name.to_owned()));
    }

    /// Writes a secret into the one vault.
    pub fn put(&self, name: &str, value: &str) {
        let mut state = self.state();
        state.secrets.retain(|secret| secret.name != name);
        make(&mut state, &json!({"name": name, "value": value, "vault_id": "vault_000"}));
    }

    /// What a secret holds, with its metadata and its description.
    pub fn held(&self, name: &str) -> Option<(String, String, String)> {
        let state = self.state();
        let secret = state.secrets.iter().find(|secret| secret.name == name)?;
        Some((secret.value.clone(), secret.metadata.clone(), secret.description.clone()))
    }

    /// Removes a secret.
    pub fn delete(&self, name: &str) {
        self.state().secrets.retain(|secret| secret.name != name);
    }

    /// Another key in place of the one that there is.
    pub fn set_key(&self, key: &str) {
        self.state().keys = Trusted::one(key);
    }

    /// Lets in whoever has this key, too.
    pub fn trust(&self, key: &str) {
        self.state().keys.add(key);
    }

    /// Lets in nobody any more but with the last key that was trusted.
    pub fn retire(&self) {
        self.state().keys.retire();
    }
}

fn wrong(status: u16, message: &str) -> Response {
    asked::json(
        status,
        &json!({"error_code": "ERR_NGROK_1", "status_code": status, "msg": message, "details": {"operation_id": "op"}}),
    )
}

fn make(state: &mut State, body: &Value) -> usize {
    state.last += 1;
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    state.secrets.push(Secret {
        id: format!("secret_{:05}", state.last),
        vault: text("vault_id"),
        name: text("name"),
        value: text("value"),
        metadata: text("metadata"),
        description: text("description"),
    });
    state.secrets.len() - 1
}

fn shown(secret: &Secret) -> Value {
    let Secret { id, vault, name, metadata, description, .. } = secret;
    json!({
        "id": id, "uri": format!("https://api.ngrok.com/vault_secrets/{id}"), "name": name, "metadata": metadata,
        "description": description, "vault": {"id": vault, "uri": format!("https://api.ngrok.com/vaults/{vault}")},
    })
}

fn answer(asked: &Asked, state: &mut State) -> Response {
    let key = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    if !state.keys.holds(key) {
        return wrong(401, "The API authentication you specified does not look like a valid credential.");
    }
    if asked.header("ngrok-version") != "2" {
        return wrong(400, "You must specify the API version.");
    }
    let (method, path) = asked.what();
    let all = |vault: &str| state.secrets.iter().filter(|secret| secret.vault == vault).map(shown).collect();
    match (method, &path[..]) {
        ("GET", ["vaults"]) => {
            let vaults = state.vaults.iter().map(|(id, name)| json!({"id": id, "name": name})).collect();
            page(asked, "vaults", vaults)
        }
        ("GET", ["vaults", id, "secrets"]) => page(asked, "secrets", all(id)),
        ("POST", ["vault_secrets"]) => {
            let at = make(state, &asked.body);
            asked::json(201, &shown(&state.secrets[at]))
        }
        (_, ["vault_secrets", id]) => match state.secrets.iter().position(|secret| secret.id == *id) {
            Some(at) => one(asked, state, at),
            None => wrong(404, "Resource not found"),
        },
        _ => wrong(404, "Resource not found"),
    }
}

/// The latest come first; what follows is before them.
fn page(asked: &Asked, list: &str, mut all: Vec<Value>) -> Response {
    let id = |one: &Value| one["id"].as_str().unwrap_or_default().to_owned();
    all.sort_by_key(|one| std::cmp::Reverse(id(one)));
    let before = asked.query("before_id");
    all.retain(|one| before.is_empty() || id(one).as_str() < before);
    let limit: usize = asked.query("limit").parse().unwrap_or(100).min(100);
    let more = all.len() > limit;
    all.truncate(limit);
    let host = asked.header("host");
    let next = all
        .last()
        .filter(|_| more)
        .map(|last| format!("http://{host}/{}?before_id={}&limit={limit}", asked.path.join("/"), id(last)));
    asked::json(200, &json!({list: all, "uri": "https://api.ngrok.com", "next_page_uri": next}))
}

fn one(asked: &Asked, state: &mut State, at: usize) -> Response {
    match asked.method.as_str() {
        "GET" => asked::json(200, &shown(&state.secrets[at])),
        "PATCH" => {
            let secret = &mut state.secrets[at];
            let fields = [
                ("value", &mut secret.value),
                ("metadata", &mut secret.metadata),
                ("description", &mut secret.description),
            ];
            for (name, field) in fields {
                if let Some(text) = asked.body[name].as_str() {
                    text.clone_into(field);
                }
            }
            asked::json(200, &shown(&state.secrets[at]))
        }
        "DELETE" => {
            state.secrets.remove(at);
            asked::with(204, "application/json", String::new(), &[])
        }
        _ => wrong(405, "Method not allowed"),
    }
}
