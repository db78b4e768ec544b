//! CyberArk Conjur: logins by API key, JWT and certificate, variables with versions and annotations, batches, lists in
//! pages, and policies as far as they declare variables.
//!
//! As the server does, it says "not found" of what is not there, of what the login may not see, and of what has no value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use crate::text::{decoded, pairs};
use crate::trusted::Trusted;
use crate::{ClientCertificate, Server};

/// The one account.
pub const ACCOUNT: &str = "lab";
/// The one host that may log in.
pub const HOST: &str = "host/apps/keyferry";
/// The name of the authenticators by JWT and by certificate.
pub const SERVICE: &str = "dev";
/// The versions of a value that are kept.
const VERSIONS: usize = 20;

/// A running double; clones are handles of the same one.
#[derive(Clone)]
pub struct Double {
    server: Server,
    shared: Arc<Mutex<Store>>,
}

struct Store {
    keys: Trusted,
    jwt: String,
    life: Duration,
    tokens: BTreeMap<String, Instant>,
    variables: BTreeMap<String, Variable>,
    policies: BTreeSet<String>,
    forbidden: BTreeSet<String>,
    hidden: BTreeSet<String>,
    /// The answer to every call but logins, where that is not the store's.
    always: Option<(u16, String)>,
    /// How many lists are answered before all others are answered so.
    lists: Option<(usize, u16, String)>,
}

#[derive(Clone, Default)]
struct Variable {
    annotations: BTreeMap<String, String>,
    versions: Vec<Vec<u8>>,
}

impl Double {
    /// Served by plain HTTP. The host logs in with this API key, or this JWT.
    pub fn start(key: &str, jwt: &str) -> Self {
        Self::begin(key, jwt, Server::start)
    }

    /// The same by TLS, which logins by certificate need: any of its CA is the host's.
    pub fn start_tls(key: &str, jwt: &str) -> Self {
        Self::begin(key, jwt, Server::start_tls)
    }

    fn begin(key: &str, jwt: &str, start: impl FnOnce(Router) -> Server) -> Self {
        let shared = Arc::new(Mutex::new(Store {
            keys: Trusted::one(key),
            jwt: jwt.to_owned(),
            life: Duration::from_secs(480),
            tokens: BTreeMap::new(),
            variables: BTreeMap::new(),
            policies: BTreeSet::from(["root".to_owned(), "apps".to_owned()]),
            forbidden: BTreeSet::new(),
            hidden: BTreeSet::new(),
            always: None,
            lists: None,
        }));
        let router = Router::new().fallback(answer).with_state(shared.clone());
        Self { server: start(router), shared }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared)
    }

    /// Gives a variable this value, as a new version.
    pub fn put(&self, name: &str, value: &[u8]) {
        self.lock().put(name, value.to_vec());
    }

    /// Writes this on a variable, which there is without a value where there was none.
    pub fn annotate(&self, name: &str, annotations: &[(&str, &str)]) {
        let mut store = self.lock();
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        store.variables.entry(name.to_owned()).or_default().annotations.extend(annotations);
    }

    /// Takes a variable out of its policy.
    pub fn delete(&self, name: &str) {
        self.lock().variables.remove(name);
    }

    /// The host sees this variable, and may not read it.
    pub fn forbid(&self, name: &str) {
        self.lock().forbidden.insert(name.to_owned());
    }

    /// The host has no right to this variable, so that it is as if it were not there.
    pub fn hide(&self, name: &str) {
        self.lock().hidden.insert(name.to_owned());
    }

    /// The versions of a variable, oldest first.
    pub fn versions(&self, name: &str) -> Vec<Vec<u8>> {
        self.lock().variables.get(name).map(|variable| variable.versions.clone()).unwrap_or_default()
    }

    /// Whether this is written on a variable.
    pub fn bears(&self, name: &str, annotation: &str, value: &str) -> bool {
        let store = self.lock();
        let annotations = store.variables.get(name).map(|variable| &variable.annotations);
        annotations.and_then(|annotations| annotations.get(annotation)).is_some_and(|own| own == value)
    }

    /// Rotates the API key.
    pub fn set_key(&self, key: &str) {
        self.lock().keys = Trusted::one(key);
    }

    /// Lets in whoever has this API key, too.
    pub fn trust(&self, key: &str) {
        self.lock().keys.add(key);
    }

    /// Lets in nobody any more but with the last API key that was trusted.
    pub fn retire(&self) {
        self.lock().keys.retire();
    }

    /// Tokens are good for so long from now on.
    pub fn set_life(&self, life: Duration) {
        self.lock().life = life;
    }

    /// All tokens have ended.
    pub fn end_sessions(&self) {
        self.lock().tokens.clear();
    }

    /// Answers so whatever is asked from now on, but logins.
    pub fn answer_always(&self, status: u16, body: &str) {
        self.lock().always = Some((status, body.to_owned()));
    }

    /// Answers so many lists, and from then on with this.
    pub fn answer_lists_after(&self, lists: usize, status: u16, body: &str) {
        self.lock().lists = Some((lists, status, body.to_owned()));
    }

    /// How many logins were let in.
    pub fn logins(&self) -> usize {
        let is_login = |call: &&crate::Call| call.path.ends_with("/authenticate") && call.status == 200;
        self.server.calls().iter().filter(is_login).count()
    }
}

fn lock(shared: &Mutex<Store>) -> MutexGuard<'_, Store> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(shared): State<Arc<Mutex<Store>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 16 << 20).await.unwrap_or_default();
    let segments: Vec<String> = head.uri.path().split('/').skip(1).map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let query = pairs(head.uri.query().unwrap_or_default());
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let certificate = head.extensions.get::<ClientCertificate>().is_some();
    let mut store = lock(&shared);
    if let [kind, .., "authenticate"] = segments[..] {
        return store.log_in(kind, &segments[1..segments.len() - 1], &body, certificate);
    }
    if !store.knows(header("authorization")) {
        return status(401);
    }
    if let Some((status, body)) = store.always.clone() {
        return with_type(status, "application/json", body.into());
    }
    match (head.method.as_str(), &segments[..]) {
        ("GET", ["secrets"]) => store.batch(&query, header("accept-encoding")),
        ("GET", ["secrets", ACCOUNT, "variable", name]) => store.value(name, &query),
        ("POST", ["secrets", ACCOUNT, "variable", name]) => store.add(name, &body),
        ("GET", ["resources", ACCOUNT]) => store.list(&query),
        ("GET" | "HEAD", ["resources", ACCOUNT, kind, name]) => store.resource(kind, name),
        ("POST", ["policies", ACCOUNT, "policy", branch]) => store.load(branch, &body),
        _ => status(404),
    }
}

impl Store {
    fn put(&mut self, name: &str, value: Vec<u8>) {
        let versions = &mut self.variables.entry(name.to_owned()).or_default().versions;
        versions.push(value);
        if versions.len() > VERSIONS {
            versions.remove(0);
        }
    }

    fn log_in(&mut self, kind: &str, rest: &[&str], body: &[u8], certificate: bool) -> Response {
        let may = match (kind, rest) {
            ("authn", [ACCOUNT, HOST]) => std::str::from_utf8(body).is_ok_and(|key| self.keys.holds(key)),
            ("authn-jwt", [SERVICE, ACCOUNT] | [SERVICE, ACCOUNT, HOST]) => {
                body == format!("jwt={}", self.jwt).as_bytes()
            }
            ("authn-cert", [SERVICE, ACCOUNT] | [SERVICE, ACCOUNT, HOST]) => certificate,
            _ => false,
        };
        if !may {
            return status(401);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let payload = json!({"sub": HOST, "iat": now, "exp": now + self.life.as_secs()});
        let number: u64 = rand::random();
        let token = json!({
            "protected": URL_SAFE.encode(r#"{"alg":"conjur.org/slosilo/v2","kid":"lab"}"#),
            "payload": URL_SAFE.encode(payload.to_string()),
            "signature": format!("canary-of-a-token-{number:x}"),
        })
        .to_string();
        self.tokens.insert(STANDARD.encode(&token), Instant::now() + self.life);
        with_type(200, "application/json", token.into())
    }

    /// Whether a header holds a token that is good.
    fn knows(&self, header: &str) -> bool {
        let token = header.strip_prefix("Token token=\"").and_then(|rest| rest.strip_suffix('"'));
        token.and_then(|token| self.tokens.get(token)).is_some_and(|end| *end > Instant::now())
    }

    fn visible(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name).filter(|_| !self.hidden.contains(name))
    }

    fn value(&self, name: &str, query: &BTreeMap<String, String>) -> Response {
        let Some(variable) = self.visible(name) else { return missing(name) };
        if self.forbidden.contains(name) {
            return status(403);
        }
        let value = match query.get("version").map(|version| version.parse::<usize>()) {
            None => variable.versions.last(),
            Some(Ok(version)) => variable.versions.get(version.wrapping_sub(1)),
            Some(Err(_)) => return problem(422, "argument_error", "invalid version"),
        };
        value.map_or_else(|| missing(name), |value| with_type(200, "application/octet-stream", value.clone().into()))
    }

    fn batch(&self, query: &BTreeMap<String, String>, encoding: &str) -> Response {
        let list = query.get("variable_ids").map(String::as_str).unwrap_or_default();
        let ids: Vec<&str> = list.split(',').collect();
        if ids.iter().any(|id| id.is_empty()) {
            return problem(422, "argument_error", "variable_ids");
        }
        if ids.iter().collect::<BTreeSet<_>>().len() != ids.len() {
            return problem(422, "duplicate_variable", "CONJ00XXE duplicate variable");
        }
        let names: Vec<&str> = ids.iter().map(|id| id.splitn(3, ':').nth(2).unwrap_or_default()).collect();
        if let Some(name) = names.iter().find(|name| self.visible(name).is_none()) {
            return missing(name);
        }
        if names.iter().any(|name| self.forbidden.contains(*name)) {
            return status(403);
        }
        let mut values = serde_json::Map::new();
        for (id, name) in ids.iter().zip(&names) {
            let Some(value) = self.visible(name).and_then(|variable| variable.versions.last()) else {
                return missing(name);
            };
            let text = if encoding.eq_ignore_ascii_case("base64") {
                in_lines(&STANDARD.encode(value))
            } else {
                let Ok(text) = String::from_utf8(value.clone()) else { return status(406) };
                text
            };
            values.insert((*id).to_owned(), text.into());
        }
        let mut answer = with_type(200, "application/json", Value::from(values).to_string().into());
        if encoding.eq_ignore_ascii_case("base64") {
            answer.headers_mut().insert("content-encoding", axum::http::HeaderValue::from_static("base64"));
        }
        answer
    }

    fn add(&mut self, name: &str, body: &[u8]) -> Response {
        if self.visible(name).is_none() {
            return missing(name);
        }
        if self.forbidden.contains(name) {
            return status(403);
        }
        if body.is_empty() {
            return problem(422, "argument_error", "'value' may not be empty");
        }
        self.put(name, body.to_vec());
        status(201)
    }

    fn list(&mut self, query: &BTreeMap<String, String>) -> Response {
        match &mut self.lists {
            Some((0, status, body)) => return with_type(*status, "application/json", body.clone().into()),
            Some((left, ..)) => *left -= 1,
            None => {}
        }
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
        if query.get("kind").is_some_and(|kind| kind != "variable") {
            return with_type(200, "application/json", "[]".into());
        }
        let all = self.variables.keys().filter(|name| self.visible(name).is_some());
        let page = all.skip(number("offset").unwrap_or(0)).take(number("limit").unwrap_or(usize::MAX));
        let page: Vec<Value> = page.map(|name| described(name, &self.variables[name])).collect();
        with_type(200, "application/json", Value::from(page).to_string().into())
    }

    fn resource(&self, kind: &str, name: &str) -> Response {
        let found = match kind {
            "variable" => self.visible(name).map(|variable| described(name, variable)),
            "policy" if self.policies.contains(name) => {
                Some(json!({"id": format!("{ACCOUNT}:policy:{name}"), "annotations": []}))
            }
            _ => None,
        };
        found.map_or_else(
            || problem(404, "not_found", &format!("{kind} '{name}' not found in account '{ACCOUNT}'")),
            |found| with_type(200, "application/json", found.to_string().into()),
        )
    }

    fn load(&mut self, branch: &str, body: &[u8]) -> Response {
        if !self.policies.contains(branch) {
            return problem(404, "not_found", &format!("Policy '{branch}' not found in account '{ACCOUNT}'"));
        }
        let Some(declared) = std::str::from_utf8(body).ok().and_then(|text| declared(branch, text)) else {
            return problem(422, "policy_invalid", "unexpected end of the document");
        };
        for Declared { kind, name, annotations } in declared {
            match kind.as_str() {
                "policy" => _ = self.policies.insert(name),
                "variable" => self.variables.entry(name).or_default().annotations.extend(annotations),
                _ => {}
            }
        }
        with_type(201, "application/json", json!({"created_roles": {}, "version": 1}).to_string().into())
    }
}

fn described(name: &str, variable: &Variable) -> Value {
    let policy = format!("{ACCOUNT}:policy:root");
    let annotations: Vec<Value> = variable
        .annotations
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value, "policy": policy}))
        .collect();
    let versions: Vec<Value> =
        (1..=variable.versions.len()).map(|n| json!({"version": n, "expires_at": null})).collect();
    json!({
        "id": format!("{ACCOUNT}:variable:{name}"),
        "owner": policy,
        "policy": policy,
        "permissions": [],
        "annotations": annotations,
        "secrets": versions,
    })
}

/// What a policy declares.
#[derive(Default)]
struct Declared {
    kind: String,
    name: String,
    annotations: BTreeMap<String, String>,
}

/// Reads as much of a policy as declares things: blocks of YAML, one field a line. `None` where it is nothing of the kind.
fn declared(branch: &str, text: &str) -> Option<Vec<Declared>> {
    let at_root = if branch == "root" { String::new() } else { format!("{branch}/") };
    // Where a policy's body begins, and what its names begin with.
    let mut scopes: Vec<(usize, String)> = Vec::new();
    let mut all: Vec<Declared> = Vec::new();
    let (mut at, mut annotations_at) = (0, None);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("- !") {
            let (kind, name) = rest.split_once(' ').unwrap_or((rest, ""));
            scopes.retain(|(scope, _)| *scope < indent);
            let prefix = scopes.last().map_or(&at_root, |(_, prefix)| prefix);
            let name = if name.is_empty() { prefix.clone() } else { format!("{prefix}{}", plain(name)) };
            all.push(Declared { kind: kind.to_owned(), name, annotations: BTreeMap::new() });
            (at, annotations_at) = (indent, None);
            continue;
        }
        let (field, value) = field(line)?;
        let current = all.last_mut()?;
        if annotations_at.is_some_and(|annotations_at| indent > annotations_at) {
            current.annotations.insert(field, value);
            continue;
        }
        annotations_at = (field == "annotations").then_some(indent);
        if field == "id" {
            current.name.push_str(&value);
        } else if field == "body" {
            scopes.push((at, format!("{}/", current.name)));
        }
    }
    (!all.is_empty()).then_some(all)
}

/// `name: value`, each with quotes or without.
fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = match line.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some((name, rest)) => (name, rest.strip_prefix(':')?),
        None => line.split_once(':')?,
    };
    Some((name.to_owned(), plain(value.trim())))
}

fn plain(text: &str) -> String {
    serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())
}

fn missing(name: &str) -> Response {
    problem(404, "not_found", &format!("CONJ00076E Variable {ACCOUNT}:variable:{name} is empty or not found."))
}

fn problem(code: u16, word: &str, message: &str) -> Response {
    with_type(code, "application/json", json!({"error": {"code": word, "message": message}}).to_string().into())
}

fn status(code: u16) -> Response {
    with_type(code, "text/plain", Body::empty())
}

fn with_type(code: u16, content_type: &str, body: Body) -> Response {
    Response::builder().status(code).header("content-type", content_type).body(body).expect("an answer")
}

/// Lines of sixty characters, as Ruby writes base64.
fn in_lines(text: &str) -> String {
    text.as_bytes().chunks(60).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
}
