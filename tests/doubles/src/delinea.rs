//! Delinea DevOps Secrets Vault: secrets by path, behind a login with an id and a secret. Written from the vendor's documents
//! and their library for Go, which was not tried with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};
use crate::trusted::Trusted;

/// The id and the secret that log in.
pub const CLIENT: (&str, &str) = ("c1-client", "canary-of-the-client-secret");

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Those of the one client.
    known: Trusted,
    secrets: BTreeMap<String, Value>,
    sessions: BTreeMap<String, SystemTime>,
    logins: usize,
    life: Duration,
}

impl Double {
    /// One without secrets.
    pub fn start() -> Self {
        let (secrets, sessions) = (BTreeMap::new(), BTreeMap::new());
        let state =
            State { known: Trusted::one(CLIENT.1), secrets, sessions, logins: 0, life: Duration::from_secs(3600) };
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

    /// Writes a secret.
    pub fn put(&self, path: &str, data: Value) {
        self.state().secrets.insert(path.to_owned(), data);
    }

    /// Removes a secret.
    pub fn delete(&self, path: &str) {
        self.state().secrets.remove(path);
    }

    /// Another secret of the client in place of the one that it has; all logins have ended.
    pub fn set_secret(&self, secret: &str) {
        let mut state = self.state();
        state.known = Trusted::one(secret);
        state.sessions.clear();
    }

    /// Lets in the client with this secret, too.
    pub fn trust(&self, secret: &str) {
        self.state().known.add(secret);
    }

    /// Lets in nobody any more but with the last secret that was trusted.
    pub fn retire(&self) {
        self.state().known.retire();
    }

    /// How long the tokens of logins are good from now on.
    pub fn logins_last(&self, life: Duration) {
        self.state().life = life;
    }

    /// How many logins there were.
    pub fn logins(&self) -> usize {
        self.state().logins
    }
}

fn wrong(status: u16, message: &str) -> Response {
    asked::json(status, &json!({"code": status, "message": message}))
}

fn answer(asked: &Asked, state: &mut State) -> Response {
    let (method, path) = asked.what();
    if (method, &path[..]) == ("POST", &["tenant", "com", "v1", "token"]) {
        if asked.text("client_id") != CLIENT.0 || !state.known.holds(asked.text("client_secret")) {
            return wrong(401, "unable to authenticate");
        }
        state.logins += 1;
        let token = format!("canary-of-session-{}", state.logins);
        state.sessions.insert(token.clone(), SystemTime::now() + state.life);
        return asked::json(
            200,
            &json!({"accessToken": token, "tokenType": "bearer", "expiresIn": state.life.as_secs()}),
        );
    }
    let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    if state.sessions.get(token).is_none_or(|end| *end <= SystemTime::now()) {
        return wrong(401, "invalid token");
    }
    let ["tenant", "com", "v1", "secrets", secret @ ..] = &path[..] else { return wrong(400, "unknown resource") };
    match state.secrets.get(&secret.join("/")) {
        Some(data) if method == "GET" => asked::json(
            200,
            &json!({"id": "x", "path": secret.join(":"), "attributes": {}, "data": data, "version": "0"}),
        ),
        Some(_) => wrong(405, "unknown method"),
        None => wrong(404, "unable to find item with specified identifier"),
    }
}
