//! Doppler: one config of one project, with a service token, or a token that a login with a ServiceAccount's token gave.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
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

/// The service token that logs in.
pub const TOKEN: &str = "dp.st.dev.canary-of-the-token";
/// The identity of a login, and the token of a ServiceAccount that shows it.
pub const IDENTITY: (&str, &str) = ("b7c1d5e2-identity", "canary-of-the-jwt");

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    tokens: Trusted,
    secrets: BTreeMap<String, String>,
    restricted: BTreeSet<String>,
    /// Tokens that logins gave, and until when.
    sessions: BTreeMap<String, SystemTime>,
    logins: usize,
    life: Duration,
}

impl Double {
    /// One without secrets but those that every config has.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            tokens: Trusted::one(TOKEN),
            secrets: BTreeMap::new(),
            restricted: BTreeSet::new(),
            sessions: BTreeMap::new(),
            logins: 0,
            life: Duration::from_secs(3600),
        }));
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
    pub fn put(&self, name: &str, value: &str) {
        self.state().secrets.insert(name.to_owned(), value.to_owned());
    }

    /// Removes a secret.
    pub fn delete(&self, name: &str) {
        self.state().secrets.remove(name);
    }

    /// Shows the value of a secret to nobody from now on.
    pub fn restrict(&self, name: &str) {
        self.state().restricted.insert(name.to_owned());
    }

    /// Lets in whoever has this service token, too.
    pub fn trust(&self, token: &str) {
        self.state().tokens.add(token);
    }

    /// Lets in nobody any more but with the last service token that was trusted.
    pub fn retire(&self) {
        self.state().tokens.retire();
    }

    /// Another service token in place of the one that there is.
    pub fn set_token(&self, token: &str) {
        self.state().tokens = Trusted::one(token);
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
    asked::json(status, &json!({"messages": [message], "success": false}))
}

/// Who asks: a token as the user of basic authentication, or as a bearer's.
fn token(asked: &Asked) -> String {
    let header = asked.header("authorization");
    if let Some(token) = header.strip_prefix("Bearer ") {
        return token.to_owned();
    }
    let plain = STANDARD.decode(header.strip_prefix("Basic ").unwrap_or_default()).unwrap_or_default();
    String::from_utf8_lossy(&plain).split(':').next().unwrap_or_default().to_owned()
}

fn answer(asked: &Asked, state: &mut State) -> Response {
    let (method, path) = asked.what();
    if (method, &path[..]) == ("POST", &["v3", "auth", "oidc"]) {
        return login(asked, state);
    }
    let token = token(asked);
    let is_session = state.sessions.get(&token).is_some_and(|end| *end > SystemTime::now());
    if !state.tokens.holds(&token) && !is_session {
        return wrong(401, "Invalid Auth token");
    }
    let place = |name: &str| asked.query.get(name).map(String::as_str).or(asked.body[name].as_str());
    if place("project").is_some_and(|project| project != "auth-api") {
        return wrong(404, "Could not find requested project 'that one'");
    }
    if place("config").is_some_and(|config| config != "dev") {
        return wrong(404, "Could not find requested config 'that one'");
    }
    match (method, &path[..]) {
        ("GET", ["v3", "projects"]) => asked::json(200, &json!({"projects": [{"id": "auth-api"}], "success": true})),
        ("GET", ["v3", "configs", "config", "secrets", "download"]) => download(asked, state),
        ("GET", ["v3", "configs", "config", "secrets", "names"]) => {
            let names: Vec<_> = all(state).into_keys().collect();
            asked::json(200, &json!({"names": names, "success": true}))
        }
        ("GET", ["v3", "configs", "config", "secrets"]) => {
            let secrets: serde_json::Map<String, Value> = chosen(asked, all(state))
                .into_iter()
                .map(|(name, value)| (name, json!({"raw": value, "computed": value, "note": ""})))
                .collect();
            asked::json(200, &json!({"secrets": secrets, "success": true}))
        }
        ("POST", ["v3", "configs", "config", "secrets"]) => change(asked, state),
        ("GET" | "DELETE", ["v3", "configs", "config", "secret"]) => one(asked, state),
        _ => wrong(404, "Not found"),
    }
}

fn login(asked: &Asked, state: &mut State) -> Response {
    if (asked.text("identity"), asked.text("token")) != IDENTITY {
        return wrong(401, "Unable to authenticate");
    }
    state.logins += 1;
    let (token, end) = (format!("dp.said.canary-{}", state.logins), SystemTime::now() + state.life);
    state.sessions.insert(token.clone(), end);
    let seconds = end.duration_since(SystemTime::UNIX_EPOCH).expect("a time of today").as_secs();
    asked::json(200, &json!({"success": true, "token": token, "expires_at": rfc3339(seconds)}))
}

/// Seconds since 1970 as a date and a time.
fn rfc3339(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86400, seconds % 86400);
    // Years begin in March, so that a leap day is a year's last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// All secrets, with those that every config has; a restricted one has no value.
fn all(state: &State) -> BTreeMap<String, Option<String>> {
    let own = [("DOPPLER_PROJECT", "auth-api"), ("DOPPLER_ENVIRONMENT", "dev"), ("DOPPLER_CONFIG", "dev")];
    let own = own.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    let secrets = state.secrets.iter().map(|(name, value)| {
        let value = (!state.restricted.contains(name)).then(|| value.clone());
        (name.clone(), value)
    });
    secrets.chain(own).collect()
}

/// Those that are asked for by name.
fn chosen(asked: &Asked, mut all: BTreeMap<String, Option<String>>) -> BTreeMap<String, Option<String>> {
    if let Some(names) = asked.query.get("secrets") {
        all.retain(|name, _| names.split(',').any(|chosen| chosen == name));
    }
    all
}

fn download(asked: &Asked, state: &State) -> Response {
    let transformer = asked.query("name_transformer");
    let named = chosen(asked, all(state)).into_iter().map(|(name, value)| (transformed(&name, transformer), value));
    let secrets: BTreeMap<String, Option<String>> = named.collect();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let lines = |between: &str, end: &str| {
        secrets.iter().fold(String::new(), |mut out, (name, value)| {
            let _ = writeln!(out, "{name}{between}{}{end}", text(value).replace('"', "\\\""));
            out
        })
    };
    let (form, body) = match asked.query("format") {
        "" | "json" => ("application/json", json!(secrets).to_string()),
        "env" => ("text/plain", lines("=\"", "\"")),
        "docker" => ("text/plain", lines("=", "")),
        "yaml" => ("text/plain", lines(": \"", "\"")),
        "dotnet-json" => ("text/plain", json!({"DotNet": secrets}).to_string()),
        _ => return wrong(400, "Invalid format"),
    };
    let etag = format!("W/\"{:x}\"", body.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte)));
    if asked.header("if-none-match") == etag {
        return asked::with(304, form, String::new(), &[("etag", etag)]);
    }
    asked::with(200, form, body, &[("etag", etag)])
}

fn transformed(name: &str, transformer: &str) -> String {
    let capital = |word: &str| {
        let lower = word.to_lowercase();
        lower[..1.min(lower.len())].to_uppercase() + lower.get(1..).unwrap_or_default()
    };
    let camel = |name: &str| name.split('_').map(capital).collect::<String>();
    match transformer {
        "upper-camel" => camel(name),
        "camel" => {
            let camel = camel(name);
            camel[..1.min(camel.len())].to_lowercase() + camel.get(1..).unwrap_or_default()
        }
        "lower-snake" => name.to_lowercase(),
        "tf-var" => format!("TF_VAR_{}", name.to_lowercase()),
        "dotnet-env" => name.split("__").map(camel).collect::<Vec<_>>().join("__"),
        "lower-kebab" => name.to_lowercase().replace('_', "-"),
        _ => name.to_owned(),
    }
}

fn one(asked: &Asked, state: &mut State) -> Response {
    let name = asked.query("name");
    let found = all(state).get(name).cloned();
    match (found, asked.method.as_str()) {
        (None, _) => wrong(404, &format!("Could not find requested secret: {name}")),
        (Some(_), "DELETE") => {
            state.secrets.remove(name);
            asked::json(204, &json!(null))
        }
        (Some(value), _) => {
            let value = json!({"raw": value, "computed": value, "note": ""});
            asked::json(200, &json!({"name": name, "value": value, "success": true}))
        }
    }
}

fn change(asked: &Asked, state: &mut State) -> Response {
    let secrets = asked.body["secrets"].as_object().into_iter().flatten();
    for (name, value) in secrets {
        match value.as_str() {
            Some(value) => drop(state.secrets.insert(name.clone(), value.to_owned())),
            None => drop(state.secrets.remove(name)),
        }
    }
    for change in asked.body["change_requests"].as_array().into_iter().flatten() {
        let name = change["name"].as_str().unwrap_or_default().to_owned();
        if change["shouldDelete"] == true {
            state.secrets.remove(&name);
        } else if let Some(value) = change["value"].as_str() {
            state.secrets.insert(name, value.to_owned());
        }
    }
    let secrets: serde_json::Map<String, Value> = all(state)
        .into_iter()
        .map(|(name, value)| (name, json!({"raw": value, "computed": value, "note": ""})))
        .collect();
    asked::json(200, &json!({"secrets": secrets, "success": true}))
}
