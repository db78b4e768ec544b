//! Fortanix Data Security Manager: security objects behind a login with an API key. The vendor's client for Python works
//! against it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};
use crate::trusted::Trusted;

/// The API key that logs in: the id of an app and its secret, in base64.
pub const KEY: &str = "YXBwLTE6Y2FuYXJ5LW9mLXRoZS1hcHA=";

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    keys: Trusted,
    objects: BTreeMap<String, Sobject>,
    /// Tokens, each with its end and the key that it was given for.
    sessions: BTreeMap<String, (SystemTime, String)>,
    logins: usize,
    life: Duration,
}

struct Sobject {
    id: String,
    kind: &'static str,
    value: Vec<u8>,
    may_be_exported: bool,
}

impl Double {
    /// One without objects.
    pub fn start() -> Self {
        let (objects, sessions) = (BTreeMap::new(), BTreeMap::new());
        let state = State { keys: Trusted::one(KEY), objects, sessions, logins: 0, life: Duration::from_secs(600) };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let router = Router::new().fallback(move |request: Request| {
            let state = shared.clone();
            async move { answer(&Asked::of(request).await, &mut state.lock().expect("no test panics with it")) }
        });
        Self { server: Server::start(router), state }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// Writes a security object of a type: `SECRET`, `OPAQUE`, `AES` and others.
    pub fn put(&self, name: &str, kind: &'static str, value: &[u8]) {
        let mut state = self.state();
        let id = format!("kid-{}", state.objects.len() + 1);
        let there = state.objects.get(name).map(|there| there.id.clone());
        let object = Sobject { id: there.unwrap_or(id), kind, value: value.to_vec(), may_be_exported: true };
        state.objects.insert(name.to_owned(), object);
    }

    /// Takes the permission to export from an object.
    pub fn keep(&self, name: &str) {
        self.state().objects.get_mut(name).expect("it is there").may_be_exported = false;
    }

    /// Removes an object.
    pub fn delete(&self, name: &str) {
        self.state().objects.remove(name);
    }

    /// Another API key in place of the one that there is; all logins have ended.
    pub fn set_key(&self, key: &str) {
        let mut state = self.state();
        state.keys = Trusted::one(key);
        state.sessions.clear();
    }

    /// Another API key beside those that there are.
    pub fn trust(&self, key: &str) {
        self.state().keys.add(key);
    }

    /// Takes no key any more but the newest, nor what was given for another.
    pub fn retire(&self) {
        let mut state = self.state();
        let State { keys, sessions, .. } = &mut *state;
        keys.retire();
        sessions.retain(|_, (_, key)| keys.holds(key));
    }

    /// How long the tokens of logins are good from now on.
    pub fn logins_last(&self, life: Duration) {
        self.state().life = life;
    }

    /// How many tokens of logins are good.
    pub fn sessions(&self) -> usize {
        self.state().sessions.len()
    }

    /// How many logins there were.
    pub fn logins(&self) -> usize {
        self.state().logins
    }
}

fn wrong(status: u16, message: &str) -> Response {
    asked::with(status, "text/plain; charset=utf-8", message.to_owned(), &[])
}

fn answer(asked: &Asked, state: &mut State) -> Response {
    let (method, path) = asked.what();
    let sent = asked.header("authorization");
    if (method, &path[..]) == ("POST", &["sys", "v1", "session", "auth"]) {
        let Some(key) = sent.strip_prefix("Basic ").filter(|key| state.keys.holds(key)) else {
            return wrong(401, "Authentication failed");
        };
        state.logins += 1;
        let token = format!("canary-of-session-{}", state.logins);
        state.sessions.insert(token.clone(), (SystemTime::now() + state.life, key.to_owned()));
        let seconds = state.life.as_secs();
        return asked::json(
            200,
            &json!({"token_type": "Bearer", "expires_in": seconds, "access_token": token, "entity_id": "app-1"}),
        );
    }
    let token = sent.strip_prefix("Bearer ").unwrap_or_default();
    if state.sessions.get(token).is_none_or(|(end, _)| *end <= SystemTime::now()) {
        return wrong(401, "Session has expired");
    }
    match (method, &path[..]) {
        ("POST", ["sys", "v1", "session", "terminate"]) => {
            state.sessions.remove(token);
            asked::with(204, "text/plain", String::new(), &[])
        }
        ("POST", ["crypto", "v1", "keys", what @ ("info" | "export")]) => object(&asked.body, state, what),
        _ => wrong(404, "No such route"),
    }
}

fn object(descriptor: &Value, state: &State, what: &str) -> Response {
    let (name, id) = (descriptor["name"].as_str(), descriptor["kid"].as_str());
    let is_it = |(key, object): &(&String, &Sobject)| name == Some(key.as_str()) || id == Some(object.id.as_str());
    let Some((name, object)) = state.objects.iter().find(is_it) else { return wrong(404, "sobject does not exist") };
    let mut shown = json!({
        "kid": object.id, "name": name, "obj_type": object.kind, "enabled": true, "acct_id": "account", "origin": "External",
        "group_id": "group", "key_ops": ["EXPORT", "APPMANAGEABLE"], "never_exportable": false,
    });
    if what == "export" && !object.may_be_exported {
        return wrong(403, "Operation is not allowed by the key ops of the sobject");
    }
    if what == "export" || object.kind == "OPAQUE" {
        shown["value"] = json!(STANDARD.encode(&object.value));
    }
    asked::json(200, &shown)
}
