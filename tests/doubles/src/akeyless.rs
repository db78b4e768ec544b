//! Akeyless: items of several kinds, each with versions and tags, and the logins of access ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};
use crate::signature;
use crate::trusted::Trusted;

/// The id and the key that log in.
pub const ACCESS: (&str, &str) = ("p-access", "canary-of-the-key");
/// The id of a login with a token of Kubernetes, or of a cloud, and the token.
pub const MACHINE: (&str, &str) = ("p-machine", "canary-of-the-jwt");
/// The configuration of a gateway that knows the cluster.
pub const CONFIGURATION: &str = "the-cluster";

/// How many items are on a page.
pub const PAGE: usize = 10;

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The keys of the access id that logs in with one.
    keys: Trusted,
    items: BTreeMap<String, Item>,
    denied: BTreeSet<String>,
    sessions: BTreeMap<String, SystemTime>,
    logins: usize,
    life: Duration,
    /// What is before the paths of the API: a gateway has it at its root, or below `v2`.
    base: &'static [&'static str],
    /// Whether names are kept as they were written, where the vendor puts a slash before each.
    plain_names: bool,
}

struct Item {
    kind: &'static str,
    /// Texts of static secrets, JSON of all others.
    versions: Vec<Value>,
    tags: Vec<String>,
}

impl Double {
    /// One without items, with the API at its root.
    pub fn start() -> Self {
        Self::with(&[], false)
    }

    /// One with the API below `v2`.
    pub fn start_below_v2() -> Self {
        Self::with(&["v2"], false)
    }

    /// One that shows names as they were written, where the vendor puts a slash before each: for tests of many stores, which
    /// know nothing of slashes.
    pub fn start_with_plain_names() -> Self {
        Self::with(&[], true)
    }

    fn with(base: &'static [&'static str], plain_names: bool) -> Self {
        let life = Duration::from_secs(1800);
        let (keys, items, sessions) = (Trusted::one(ACCESS.1), BTreeMap::new(), BTreeMap::new());
        let denied = BTreeSet::new();
        let state = State { keys, items, denied, sessions, logins: 0, life, base, plain_names };
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

    /// Writes a static secret with these tags, as a new version where there was one. Gives the number of the version.
    pub fn put(&self, name: &str, value: &str, tags: &[&str]) -> usize {
        let mut state = self.state();
        let name = state.name(name);
        let item =
            state.items.entry(name).or_insert(Item { kind: "STATIC_SECRET", versions: Vec::new(), tags: Vec::new() });
        item.versions.push(json!(value));
        item.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        item.versions.len()
    }

    /// Writes an item of another kind: `DYNAMIC_SECRET`, `ROTATED_SECRET`, `CERTIFICATE`, ... with what its value is.
    pub fn put_other(&self, name: &str, kind: &'static str, value: Value) {
        let mut state = self.state();
        let name = state.name(name);
        state.items.insert(name, Item { kind, versions: vec![value], tags: Vec::new() });
    }

    /// Removes an item.
    pub fn delete(&self, name: &str) {
        let mut state = self.state();
        let name = state.name(name);
        state.items.remove(&name);
    }

    /// The tags of an item.
    pub fn tags(&self, name: &str) -> Vec<String> {
        let state = self.state();
        state.items.get(&state.name(name)).map(|item| item.tags.clone()).unwrap_or_default()
    }

    /// Another key in place of the one that there is; all logins have ended.
    pub fn set_key(&self, key: &str) {
        let mut state = self.state();
        state.keys = Trusted::one(key);
        state.sessions.clear();
    }

    /// Lets nobody read this static secret.
    pub fn deny(&self, name: &str) {
        let mut state = self.state();
        let name = state.name(name);
        state.denied.insert(name);
    }

    /// How long the tokens of logins are good from now on.
    pub fn logins_last(&self, life: Duration) {
        self.state().life = life;
    }

    /// Lets in whoever has this key, too.
    pub fn trust(&self, key: &str) {
        self.state().keys.add(key);
    }

    /// Lets in nobody any more but with the last key that was trusted.
    pub fn retire(&self) {
        self.state().keys.retire();
    }

    /// How many logins there were.
    pub fn logins(&self) -> usize {
        self.state().logins
    }
}

impl State {
    /// A name as it is kept.
    fn name(&self, name: &str) -> String {
        let bare = name.trim_start_matches('/');
        if self.plain_names { bare.to_owned() } else { format!("/{bare}") }
    }
}

fn wrong(status: u16, message: &str) -> Response {
    asked::json(status, &json!({"error": message}))
}

fn answer(asked: &Asked, state: &mut State) -> Response {
    let (method, path) = asked.what();
    let path = match path.strip_prefix(state.base) {
        Some([""]) | None if method == "POST" && !state.base.is_empty() => return wrong(400, "bad gateway command"),
        Some(["", ..] | []) => return wrong(404, "unknown command"),
        Some(path) => path,
        None => return wrong(404, "not here"),
    };
    let [command] = path else { return wrong(404, "unknown command") };
    if *command == "auth" {
        return log_in(asked, state);
    }
    let token = [asked.text("token"), asked.text("uid-token")].concat();
    if state.sessions.get(&token).is_none_or(|end| *end <= SystemTime::now()) {
        return wrong(401, "unauthorized: token is missing or has expired");
    }
    match *command {
        "get-secret-value" => static_value(asked, state),
        "get-dynamic-secret-value" => other_value(asked, asked.text("name"), "DYNAMIC_SECRET", state),
        "get-rotated-secret-value" => other_value(asked, asked.text("names"), "ROTATED_SECRET", state),
        "get-certificate-value" => other_value(asked, asked.text("name"), "CERTIFICATE", state),
        "describe-item" => match state.items.get_key_value(&state.name(asked.text("name"))) {
            Some((name, item)) => asked::json(200, &described(name, item)),
            None => missing(),
        },
        "list-items" => list(asked, state),
        "create-secret" | "update-secret-val" | "update-item" | "delete-item" => change(asked, command, state),
        _ => wrong(404, "unknown command"),
    }
}

fn log_in(asked: &Asked, state: &mut State) -> Response {
    let encoded = STANDARD.encode(MACHINE.1);
    let fits = match asked.text("access-type") {
        "" | "access_key" | "api_key" => {
            asked.text("access-id") == ACCESS.0 && state.keys.holds(asked.text("access-key"))
        }
        "k8s" => {
            let shown =
                [asked.text("access-id"), asked.text("k8s-service-account-token"), asked.text("k8s-auth-config-name")];
            shown == [MACHINE.0, &encoded, CONFIGURATION]
        }
        "aws_iam" => asked.text("access-id") == MACHINE.0 && is_by_machine(asked.text("cloud-id")).unwrap_or(false),
        "azure_ad" | "gcp" => [asked.text("access-id"), asked.text("cloud-id")] == [MACHINE.0, &encoded],
        _ => false,
    };
    if !fits {
        return wrong(401, "authentication failed");
    }
    state.logins += 1;
    let end = SystemTime::now() + state.life;
    let seconds = end.duration_since(SystemTime::UNIX_EPOCH).expect("a time of today").as_secs();
    let payload = URL_SAFE_NO_PAD.encode(json!({"exp": seconds}).to_string());
    let token = format!("t-canary.{payload}.{}", state.logins);
    state.sessions.insert(token.clone(), end);
    asked::json(200, &json!({"token": token}))
}

/// Whether this is a call to STS that the machine signed.
fn is_by_machine(cloud_id: &str) -> Option<bool> {
    let decoded = |text: &str| String::from_utf8(STANDARD.decode(text).ok()?).ok();
    let call: Value = serde_json::from_str(&decoded(cloud_id)?).ok()?;
    let part = |name: &str| decoded(call[name].as_str()?);
    let url = part("sts_request_url")?;
    let host = url.strip_prefix("https://")?.strip_suffix('/')?;
    let headers: Value = serde_json::from_str(&part("sts_request_headers")?).ok()?;
    let is_list = headers["Authorization"].is_array();
    let asks = signature::asks_for_machine(host, &headers, &part("sts_request_body")?);
    Some(call["sts_request_method"] == "POST" && host == "sts.amazonaws.com" && is_list && asks)
}

fn missing() -> Response {
    wrong(404, "item was not found")
}

/// The version of an item that is asked for; 0 is the last.
fn of_version<'a>(item: &'a Item, asked: &Asked) -> Option<&'a Value> {
    match asked.body["version"].as_u64().unwrap_or(0) {
        0 => item.versions.last(),
        version => item.versions.get(usize::try_from(version).ok()? - 1),
    }
}

fn static_value(asked: &Asked, state: &State) -> Response {
    let mut values = serde_json::Map::new();
    for name in asked.body["names"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let Some(item) = state.items.get(&state.name(name)) else { return missing() };
        if state.denied.contains(&state.name(name)) {
            return wrong(403, "unauthorized: no permission to read the item");
        }
        if item.kind != "STATIC_SECRET" {
            return wrong(400, "the item is no static secret");
        }
        let Some(value) = of_version(item, asked) else { return wrong(404, "version was not found") };
        values.insert(state.name(name), value.clone());
    }
    asked::json(200, &Value::Object(values))
}

fn other_value(asked: &Asked, name: &str, kind: &str, state: &State) -> Response {
    match state.items.get(&state.name(name)).filter(|item| item.kind == kind).map(|item| of_version(item, asked)) {
        Some(Some(value)) => asked::json(200, value),
        Some(None) => wrong(404, "version was not found"),
        None => missing(),
    }
}

fn described(name: &str, item: &Item) -> Value {
    let Item { kind, versions, tags } = item;
    json!({
        "item_name": name, "item_id": 1, "item_type": kind, "item_tags": tags, "last_version": versions.len(),
        "is_enabled": true, "item_metadata": "",
    })
}

fn list(asked: &Asked, state: &State) -> Response {
    let types: Vec<_> = asked.body["type"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_of = |item: &Item| types.is_empty() || types.contains(&item.kind.to_lowercase().replace('_', "-").as_str());
    let filter = asked.text("filter").trim_start_matches('/');
    let tag = asked.text("tag");
    let fits = |(name, item): &(&String, &Item)| {
        name.contains(filter) && is_of(item) && (tag.is_empty() || item.tags.iter().any(|own| own == tag))
    };
    let found: Vec<_> = state.items.iter().filter(fits).collect();
    let first: usize = asked.text("pagination-token").parse().unwrap_or(0);
    let paged = asked.text("auto-pagination") == "disabled";
    let size = if paged { PAGE } else { usize::MAX };
    let items: Vec<_> = found.iter().skip(first).take(size).map(|(name, item)| described(name, item)).collect();
    let next = if paged && first + PAGE < found.len() { (first + PAGE).to_string() } else { String::new() };
    asked::json(200, &json!({"items": items, "next_page": next}))
}

fn change(asked: &Asked, command: &str, state: &mut State) -> Response {
    let name = state.name(asked.text("name"));
    let texts = |name: &str| {
        let list = asked.body[name].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    match (command, state.items.get_mut(&name)) {
        ("create-secret", Some(_)) => return wrong(409, "the item exists already"),
        ("create-secret", None) => {
            let (versions, tags) = (vec![asked.body["value"].clone()], texts("tags"));
            state.items.insert(name.clone(), Item { kind: "STATIC_SECRET", versions, tags });
        }
        (_, None) => return missing(),
        ("update-secret-val", Some(item)) => item.versions.push(asked.body["value"].clone()),
        ("update-item", Some(item)) => item.tags.extend(texts("add-tag")),
        (_, Some(_)) => drop(state.items.remove(&name)),
    }
    asked::json(200, &json!({"name": name}))
}
