//! Azure Key Vault, with Entra ID and the metadata service of a machine at the same address.
//!
//! Secrets, keys and certificates with their versions, tags and times; lists in pieces of 25; soft deletion and recovery;
//! the challenge to who comes without a token; logins with a secret, a certificate, a federated token and from the machine;
//! tokens that end, and are for one resource and one tenant.
//!
//! Modules, in reading order: `kept` what a vault keeps, `login` who is let in, `vault` the API, `keys` what keys decrypt.

mod kept;
mod login;
mod vault;
mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::response::Response;
use serde_json::{Value, json};

use crate::Server;
use crate::trusted::Trusted;
use kept::{Kept, Kind};
use keys::Keys;
use login::Logins;

/// The tenant that the vault belongs to.
pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
/// The application that may log in.
pub const CLIENT: &str = "66666666-7777-8888-9999-000000000000";
/// Its secret.
pub const SECRET: &str = "canary~of.the-client_secret+&=";
/// What tokens must be for.
pub const RESOURCE: &str = "https://vault.double";
/// And what they are for where somebody takes it for a vault of the public cloud.
const OF_CLOUD: &str = "https://vault.azure.net";

/// A running double; clones are handles of the same one.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

pub(crate) struct State {
    kept: Kept,
    keys: Keys,
    logins: Logins,
    /// Rights that nobody has, as in `secrets/get`.
    denied: BTreeSet<String>,
    /// Whether nobody's address is let in.
    is_walled: bool,
    /// How long a recovery takes.
    recovery: Duration,
    scheme: &'static str,
}

impl Double {
    /// Serves by TLS, as vendors' clients want it.
    pub fn start() -> Self {
        Self::begin("https", Server::start_tls)
    }

    /// Serves by plain HTTP.
    pub fn start_plain() -> Self {
        Self::begin("http", Server::start)
    }

    fn begin(scheme: &'static str, serve: impl FnOnce(Router) -> Server) -> Self {
        let state = State {
            kept: Kept::default(),
            keys: Keys::default(),
            logins: Logins::default(),
            denied: BTreeSet::new(),
            is_walled: false,
            recovery: Duration::ZERO,
            scheme,
        };
        let state = Arc::new(Mutex::new(state));
        let router = Router::new().fallback(serve_one).with_state(state.clone());
        Self { server: serve(router), state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Writes a secret, as a new version where there was one; gives the version's name.
    pub fn put(&self, name: &str, value: &str) -> String {
        self.put_with(name, json!({"value": value}))
    }

    /// The same with all that the API takes: `value`, `contentType`, `attributes`, `tags`.
    pub fn put_with(&self, name: &str, body: Value) -> String {
        self.lock().kept.put(Kind::Secret, name, body)
    }

    /// Writes a key, by its public half, and a certificate, by its DER as base64: `{"key": {..}}`, `{"cer": ".."}`.
    pub fn put_other(&self, collection: &str, name: &str, body: Value) -> String {
        let kind = Kind::of(collection).expect("secrets, keys or certificates");
        self.lock().kept.put(kind, name, body)
    }

    /// A new key of RSA that encrypts and decrypts; gives its version.
    pub fn make_key(&self, name: &str) -> String {
        self.lock().keys.make(name)
    }

    /// Has the keys of that one, too.
    pub fn take_keys(&self, other: &Self) {
        let keys = other.lock().keys.clone();
        self.lock().keys = keys;
    }

    /// Deletes as a user does: it can be recovered.
    pub fn delete(&self, name: &str) {
        self.lock().kept.delete(Kind::Secret, name);
    }

    /// Disables a version of a secret.
    pub fn disable(&self, name: &str, version: &str) {
        self.lock().kept.disable(name, version);
    }

    /// What the current version of something is, as the API shows it without its id.
    pub fn current(&self, collection: &str, name: &str) -> Option<Value> {
        self.lock().kept.current(Kind::of(collection)?, name)
    }

    /// How many versions there are of a secret.
    pub fn versions(&self, name: &str) -> usize {
        self.lock().kept.versions(name)
    }

    /// Takes a right from everybody, as in `secrets/list`, or that to one object, as in `secrets/get/NAME`.
    pub fn deny(&self, right: &str) {
        self.lock().denied.insert(right.to_owned());
    }

    /// Lets nobody's address in any more.
    pub fn wall(&self) {
        self.lock().is_walled = true;
    }

    /// Recoveries take this long from now on.
    pub fn recover_in(&self, recovery: Duration) {
        self.lock().recovery = recovery;
    }

    /// Lets the application log in with the key of this certificate (PEM).
    pub fn trust_certificate(&self, pem: &str) {
        self.lock().logins.trust_certificate(pem);
    }

    /// Lets the application log in with this token of somebody else.
    pub fn trust_token(&self, token: &str) {
        self.lock().logins.tokens_of_others.insert(token.to_owned());
    }

    /// Another secret of the application in place of the one that it has.
    pub fn set_secret(&self, secret: &str) {
        self.lock().logins.secrets = Trusted::one(secret);
    }

    /// Another secret of the application beside those that it has.
    pub fn trust_secret(&self, secret: &str) {
        self.lock().logins.secrets.add(secret);
    }

    /// Takes all secrets from the application but the last.
    pub fn retire_secrets(&self) {
        self.lock().logins.secrets.retire();
    }

    /// Tokens that are given from now on live so long.
    pub fn live_for(&self, life: Duration) {
        self.lock().logins.life = life;
    }

    /// Ends all tokens that were given.
    pub fn end_tokens(&self) {
        self.lock().logins.given.clear();
    }

    /// Puts the tokens that are given from now on into another tenant than the vault's.
    pub fn move_vault(&self) {
        self.lock().logins.vault_tenant = "another";
    }

    /// Lets nobody into the registry any more.
    pub fn refuse_at_the_registry(&self) {
        self.lock().logins.is_registry_closed = true;
    }

    /// How many tokens were given.
    pub fn logins(&self) -> usize {
        self.lock().logins.count
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request as the handlers read it.
pub(crate) struct Asked {
    method: String,
    segments: Vec<String>,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    base: String,
    at: Instant,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

async fn serve_one(Shared(state): Shared<Arc<Mutex<State>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap_or_default().to_vec();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: BTreeMap<_, _> =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect();
    let scheme = lock(&state).scheme;
    let asked = Asked {
        method: head.method.to_string(),
        segments: head.uri.path().split('/').filter(|part| !part.is_empty()).map(login::decoded).collect(),
        query: login::form(head.uri.query().unwrap_or_default()),
        base: format!("{scheme}://{}", headers.get("host").map_or("", String::as_str)),
        headers,
        body,
        at: Instant::now(),
    };
    let mut state = lock(&state);
    match login::answer_of(&mut state.logins, &asked) {
        Some(answer) => answer,
        None => vault::answer_of(&mut state, &asked),
    }
}

/// An answer in JSON.
pub(crate) fn answer(status: u16, body: &Value) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json; charset=utf-8")
        .body(body.to_string().into())
        .expect("an answer")
}
