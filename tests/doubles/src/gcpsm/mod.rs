//! Google Cloud Secret Manager and Cloud KMS (REST, version 1), and the servers of Google by which its users log in: OAuth, the token
//! service, IAM credentials, the metadata server, and somebody else's who gives tokens for a federation.
//!
//! Modules, in reading order: `kept` what is kept, `filter` what a list is asked for, `secrets` the API, `keys` that of KMS, `signed` what a login
//! has signed, `logins` the other servers.

mod kept;
mod filter;
mod secrets;
mod keys;
mod signed;
mod logins;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use crate::Server;
use kept::Kept;
pub use kept::VersionState;
use keys::Keys;
use logins::Logins;

/// The one project there is, by its id and its number.
pub const PROJECT: &str = "p-1";
/// See [`PROJECT`].
pub const NUMBER: &str = "123456789012";
/// Whose key files are.
pub const ACCOUNT: &str = "app@p-1.iam.gserviceaccount.com";

/// The servers, and what they keep.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<All>>,
}

struct All {
    kept: Kept,
    keys: Keys,
    logins: Logins,
}

/// A call, as the parts of the double see it.
struct Asked {
    method: String,
    /// Decoded.
    path: String,
    /// Decoded.
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Status and body.
type Said = (u16, Value);

impl Double {
    /// Starts it, empty.
    ///
    /// # Panics
    /// Where there is no loopback network.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(All { kept: Kept::new(), keys: Keys::default(), logins: Logins::new() }));
        let server = Server::start(Router::new().fallback(answer).with_state(state.clone()));
        lock(&state).logins.url = server.url();
        Self { server, state }
    }

    /// Where it is, and what it was asked.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A new version of a secret that is kept everywhere; gives its number.
    pub fn put(&self, id: &str, value: &[u8]) -> String {
        self.put_in(None, id, value, &[])
    }

    /// The same for one that bears labels, in one location or everywhere.
    pub fn put_in(&self, location: Option<&str>, id: &str, value: &[u8], labels: &[(&str, &str)]) -> String {
        lock(&self.state).kept.put(location, id, value, labels)
    }

    /// Notes something on a secret.
    ///
    /// # Panics
    /// Where there is none.
    pub fn annotate(&self, id: &str, name: &str, value: &str) {
        let mut all = lock(&self.state);
        let secret = all.kept.secret(None, id).expect("there is such a secret");
        secret.annotations.insert(name.to_owned(), value.to_owned());
    }

    /// Gives a version another name.
    ///
    /// # Panics
    /// Where there is no such secret.
    pub fn alias(&self, id: &str, alias: &str, version: u64) {
        self.alias_in(None, id, alias, version);
    }

    /// The same in one location or everywhere.
    ///
    /// # Panics
    /// Where there is no such secret.
    pub fn alias_in(&self, location: Option<&str>, id: &str, alias: &str, version: u64) {
        let mut all = lock(&self.state);
        let secret = all.kept.secret(location, id).expect("there is such a secret");
        secret.aliases.insert(alias.to_owned(), version);
    }

    /// Enables, disables or destroys a version.
    ///
    /// # Panics
    /// Where there is none.
    pub fn set_state(&self, id: &str, version: u64, state: VersionState) {
        self.set_state_in(None, id, version, state);
    }

    /// The same in one location or everywhere.
    ///
    /// # Panics
    /// Where there is none.
    pub fn set_state_in(&self, location: Option<&str>, id: &str, version: u64, state: VersionState) {
        let mut all = lock(&self.state);
        let secret = all.kept.secret(location, id).expect("there is such a secret");
        secret.version(version).expect("there is such a version").state = state;
    }

    /// Damages the values that are answered from now on, on their way.
    pub fn damage(&self) {
        lock(&self.state).kept.damages = true;
    }

    /// Deletes a secret.
    pub fn remove(&self, id: &str) {
        lock(&self.state).kept.remove(None, id);
    }

    /// Deletes a secret of one location.
    pub fn remove_in(&self, location: &str, id: &str) {
        lock(&self.state).kept.remove(Some(location), id);
    }

    /// A secret as the server shows it; null where there is none.
    pub fn shown(&self, location: Option<&str>, id: &str) -> Value {
        lock(&self.state).kept.shown(location, id).unwrap_or_default()
    }

    /// How many versions a secret has.
    pub fn versions(&self, id: &str) -> usize {
        lock(&self.state).kept.secret(None, id).map_or(0, |secret| secret.versions.len())
    }

    /// Takes all versions from a secret, as one has none that was just made.
    pub fn drop_versions(&self, id: &str) {
        lock(&self.state).kept.secret(None, id).into_iter().for_each(|secret| secret.versions.clear());
    }

    /// Lists in pages of so many, whatever is asked for.
    pub fn pages_of(&self, count: usize) {
        lock(&self.state).kept.page = count;
    }

    /// Denies everybody a permission, such as `secretmanager.secrets.get`, or that to one secret, as in
    /// `secretmanager.versions.access NAME`.
    pub fn deny(&self, permission: &str) {
        lock(&self.state).kept.denied.insert(permission.to_owned());
    }

    /// Answers calls of the API with this once it has answered so many.
    pub fn answer_after(&self, calls: usize, status: u16, body: &str) {
        lock(&self.state).kept.instead = Some((calls, status, body.to_owned()));
    }

    /// Lets somebody else change each secret that is shown, right after it is.
    pub fn change_meanwhile(&self) {
        lock(&self.state).kept.is_restless = true;
    }

    /// Takes the API off the project.
    pub fn switch_off(&self) {
        lock(&self.state).kept.is_off = true;
    }

    /// A new key of KMS of this name, `projects/P/locations/L/keyRings/R/cryptoKeys/K`, in place of the one there was.
    pub fn make_key(&self, name: &str) {
        lock(&self.state).keys.make(name);
    }

    /// Denies everybody what keys of KMS do, `encrypt` or `decrypt`.
    pub fn deny_keys(&self, verb: &str) {
        lock(&self.state).keys.denied.insert(verb.to_owned());
    }

    /// Damages what keys of KMS decrypt from now on, on its way.
    pub fn damage_keys(&self) {
        lock(&self.state).keys.damages = true;
    }

    /// A key file of [`ACCOUNT`], as JSON.
    pub fn key(&self) -> String {
        lock(&self.state).logins.key_file(true)
    }

    /// The same with a new key; those before stay good.
    pub fn new_key(&self) -> String {
        let logins = &mut lock(&self.state).logins;
        logins.add_key();
        logins.key_file(true)
    }

    /// Deletes all keys of the account but the newest.
    pub fn retire_keys(&self) {
        lock(&self.state).logins.retire_keys();
    }

    /// A key file of the same form, with a key that was taken from the account.
    pub fn deleted_key(&self) -> String {
        lock(&self.state).logins.key_file(false)
    }

    /// Makes another key of the account, and deletes the one that it had.
    pub fn rotate_key(&self) {
        lock(&self.state).logins.rotate();
    }

    /// Lets this token of somebody else's stand for somebody, where it is shown for `audience`.
    pub fn trust(&self, token: &str, audience: &str) {
        lock(&self.state).logins.subjects.insert((token.to_owned(), audience.to_owned()));
    }

    /// Lets these keys of AWS stand for somebody.
    pub fn trust_aws(&self, id: &str, secret: &str) {
        lock(&self.state).logins.aws.insert(id.to_owned(), secret.to_owned());
    }

    /// Lets whoever was let in by the token service act as this service account.
    pub fn allow_acting_as(&self, email: &str) {
        lock(&self.state).logins.accounts.insert(email.to_owned());
    }

    /// Gives this token to whoever asks `GET /subject` with the header `x-ask: yes`: as text, or with `?form=json` in the
    /// field `token`.
    pub fn give(&self, token: &str) {
        lock(&self.state).logins.given = token.to_owned();
    }

    /// Tokens last so long from now on.
    pub fn tokens_last(&self, length: Duration) {
        lock(&self.state).logins.length = length;
    }

    /// Ends all tokens.
    pub fn end_tokens(&self) {
        lock(&self.state).logins.tokens.clear();
    }

    /// Takes the service account from the machine that it runs on.
    pub fn leave_google(&self) {
        lock(&self.state).logins.is_machine = false;
    }
}

fn lock(state: &Mutex<All>) -> MutexGuard<'_, All> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(state): State<Arc<Mutex<All>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default().to_vec();
    let asked = Asked {
        method: head.method.to_string(),
        path: decoded(head.uri.path()),
        query: fields(head.uri.query().unwrap_or_default()),
        headers: head.headers,
        body,
    };
    let mut all = lock(&state);
    if let Some(said) = all.logins.metadata(&asked) {
        return said;
    }
    if let Some(token) = all.logins.other(&asked) {
        return text(200, token);
    }
    let All { kept, keys, logins } = &mut *all;
    if let Some((status, body)) = logins.answer(&asked) {
        return text(status, body.to_string());
    }
    if !logins.knows(&asked) {
        let (status, body) = error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
        return text(status, body.to_string());
    }
    if let Some((status, body)) = keys.answer(&asked) {
        return text(status, body.to_string());
    }
    match &mut kept.instead {
        Some((0, status, body)) => text(*status, body.clone()),
        instead => {
            instead.iter_mut().for_each(|(left, ..)| *left -= 1);
            let (status, body) = kept.answer(&asked);
            text(status, body.to_string())
        }
    }
}

fn text(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).header("content-type", "application/json").body(body.into()).expect("an answer")
}

impl Asked {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn bearer(&self) -> Option<&str> {
        self.headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
    }
}

/// What is wrong, as Google's APIs say it.
fn error(status: u16, word: &str, message: &str) -> Said {
    (status, json!({"error": {"code": status, "message": message, "status": word}}))
}

/// The fields of a form, or of a query.
fn fields(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| part.split_once('=').map(|(name, value)| (decoded(name), decoded(value)));
    text.split('&').filter_map(pair).collect()
}

fn decoded(text: &str) -> String {
    let plus = text.replace('+', " ");
    let mut parts = plus.split('%');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => out.extend_from_slice(part.as_bytes()),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
