//! IBM Cloud Secrets Manager: secrets of several types in groups, and IAM, which gives tokens for API keys. Written from the
//! vendor's documents alone: no client of theirs has spoken to it. A trusted profile logs in with a token of the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};
use crate::text;
use crate::trusted::Trusted;

/// The API key that logs in.
pub const KEY: &str = "canary-of-the-api-key";

/// A trusted profile, and the token of the machine that it trusts.
pub const PROFILE: (&str, &str) = ("reader", "canary.of-the.machine");

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    keys: Trusted,
    /// By group, type and name: the id, and what a secret holds besides.
    secrets: BTreeMap<[String; 3], (String, Value)>,
    denied: BTreeSet<String>,
    sessions: BTreeMap<String, (SystemTime, String)>,
    logins: usize,
    life: Duration,
    made: usize,
}

impl Double {
    /// One without secrets.
    pub fn start() -> Self {
        let state = State {
            keys: Trusted::one(KEY),
            secrets: BTreeMap::new(),
            denied: BTreeSet::new(),
            sessions: BTreeMap::new(),
            logins: 0,
            life: Duration::from_secs(3600),
            made: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let router = Router::new().fallback(move |request: Request| {
            let state = shared.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 16 << 20).await.unwrap_or_default();
                let form = text::pairs(&String::from_utf8_lossy(&body));
                let asked = Asked::of(Request::from_parts(parts, Body::empty())).await;
                answer(&asked, &form, &mut state.lock().expect("no test panics with it"))
            }
        });
        Self { server: Server::start(router), state }
    }

    /// The server of both.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// Writes a secret of a type in a group, with what its type has. Gives its id.
    pub fn put(&self, group: &str, kind: &str, name: &str, holds: Value) -> String {
        let mut state = self.state();
        state.made += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", state.made);
        let place = [group, kind, name].map(str::to_owned);
        let id = state.secrets.get(&place).map_or(id, |(id, _)| id.clone());
        state.secrets.insert(place, (id.clone(), holds));
        id
    }

    /// Removes what has this name.
    pub fn delete(&self, name: &str) {
        self.state().secrets.retain(|[_, _, own], _| own != name);
    }

    /// Lets nobody read what has this name.
    pub fn deny(&self, name: &str) {
        self.state().denied.insert(name.to_owned());
    }

    /// Another API key in place of the one that there is; all logins have ended.
    pub fn set_key(&self, key: &str) {
        let mut state = self.state();
        state.keys = Trusted::one(key);
        state.sessions.clear();
    }

    /// Lets in whoever has this key, too.
    pub fn trust(&self, key: &str) {
        self.state().keys.add(key);
    }

    /// Lets in nobody any more but with the last key that was trusted, nor with what was given for another.
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

    /// How many logins there were.
    pub fn logins(&self) -> usize {
        self.state().logins
    }
}

fn wrong(status: u16, code: &str) -> Response {
    asked::json(
        status,
        &json!({"errors": [{"code": code, "message": "something"}], "status_code": status, "trace": "x"}),
    )
}

fn log_in(form: &BTreeMap<String, String>, state: &mut State) -> Response {
    let given = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let (is_in, who) = match given("grant_type") {
        "urn:ibm:params:oauth:grant-type:apikey" => (state.keys.holds(given("apikey")), given("apikey")),
        "urn:ibm:params:oauth:grant-type:cr-token" => {
            ((given("profile_name"), given("cr_token")) == PROFILE, given("profile_name"))
        }
        _ => (false, ""),
    };
    if !is_in {
        return asked::json(
            400,
            &json!({"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."}),
        );
    }
    state.logins += 1;
    let token = format!("canary-of-session-{}", state.logins);
    state.sessions.insert(token.clone(), (SystemTime::now() + state.life, who.to_owned()));
    let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": state.life.as_secs()});
    asked::json(200, &body)
}

fn answer(asked: &Asked, form: &BTreeMap<String, String>, state: &mut State) -> Response {
    let (method, path) = asked.what();
    if (method, &path[..]) == ("POST", &["identity", "token"]) {
        return log_in(form, state);
    }
    let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    if state.sessions.get(token).is_none_or(|(end, _)| *end <= SystemTime::now()) {
        return wrong(401, "unauthorized");
    }
    let found = match (method, &path[..]) {
        ("GET", ["api", "v2", "secrets", id]) => state.secrets.iter().find(|(_, (own, _))| own == id),
        ("GET", ["api", "v2", "secret_groups", group, "secret_types", kind, "secrets", name]) => {
            state.secrets.get_key_value(&[group, kind, name].map(|part| (*part).to_owned()))
        }
        _ => return wrong(404, "route_unknown"),
    };
    let Some(([group, kind, name], (id, holds))) = found else { return wrong(404, "secret_not_found") };
    if state.denied.contains(name) {
        return wrong(403, "forbidden");
    }
    let mut secret = json!({"id": id, "name": name, "secret_type": kind, "secret_group_id": group, "state": 1});
    for (name, value) in holds.as_object().into_iter().flatten() {
        secret[name] = value.clone();
    }
    asked::json(200, &secret)
}
