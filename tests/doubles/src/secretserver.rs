//! Delinea Secret Server: secrets of a template's fields in folders, behind a login with a user's password, or behind Delinea
//! Platform. The vendor's client for Python reads from both; what writes is written from their library for Go, which was not
//! tried with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};
use crate::text::pairs;
use crate::trusted::Trusted;

/// The user who logs in, with the password.
pub const USER: (&str, &str) = ("reader", "canary-of-the-password");
/// The domain of the user.
pub const DOMAIN: &str = "corp";
/// The one template that there is, by its number, and the slugs of its fields; the last is a file.
pub const TEMPLATE: (u64, [&str; 3]) = (60, ["data", "password", "file"]);
/// The folder that secrets are in where nothing else is said, by its number, and its name; and the other that there is.
pub const FOLDER: (u64, &str) = (73, "app");
/// See [`FOLDER`].
pub const OTHER: (u64, &str) = (74, "team");

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The passwords of the one user.
    passwords: Trusted,
    secrets: BTreeMap<u64, Secret>,
    sessions: BTreeMap<String, SystemTime>,
    denied: Vec<String>,
    logins: usize,
    life: Duration,
    last: u64,
    /// Whether it is behind Platform, which is at its root, and names no other where that has a default.
    platform: Option<bool>,
}

struct Secret {
    name: String,
    folder: u64,
    site: u64,
    /// What the fields hold, in the order of the template.
    values: [String; 3],
}

impl Double {
    /// One without secrets.
    pub fn start() -> Self {
        Self::start_as(None)
    }

    /// Delinea Platform, and a vault without secrets behind it.
    pub fn start_platform() -> Self {
        Self::start_as(Some(true))
    }

    fn start_as(platform: Option<bool>) -> Self {
        let state = State {
            passwords: Trusted::one(USER.1),
            secrets: BTreeMap::new(),
            sessions: BTreeMap::new(),
            denied: Vec::new(),
            logins: 0,
            life: Duration::from_secs(1200),
            last: 0,
            platform,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let router = Router::new().fallback(move |request: Request| {
            let state = shared.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 16 << 20).await.unwrap_or_default();
                let sent = pairs(&String::from_utf8_lossy(&body));
                let asked = Asked::of(Request::from_parts(parts, Body::from(body))).await;
                answer(&asked, &sent, &mut state.lock().expect("no test panics with it"))
            }
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

    /// Writes a secret of the template into [`FOLDER`]. Gives its number.
    pub fn put(&self, name: &str, values: [&str; 3]) -> u64 {
        self.put_in(FOLDER.0, name, values)
    }

    /// The same in this folder.
    pub fn put_in(&self, folder: u64, name: &str, values: [&str; 3]) -> u64 {
        let mut state = self.state();
        let is_it = |secret: &Secret| secret.name == name && secret.folder == folder;
        let there = state.secrets.iter().find(|(_, secret)| is_it(secret)).map(|(id, _)| *id);
        let id = there.unwrap_or(state.last + 1);
        state.last = state.last.max(id);
        let secret = Secret { name: name.to_owned(), folder, site: 1, values: values.map(str::to_owned) };
        state.secrets.insert(id, secret);
        id
    }

    /// What a secret holds, with its folder and its site.
    pub fn held(&self, name: &str) -> Option<([String; 3], u64, u64)> {
        let state = self.state();
        let found = state.secrets.values().find(|secret| secret.name == name)?;
        Some((found.values.clone(), found.folder, found.site))
    }

    /// What a secret of this folder holds.
    pub fn held_in(&self, folder: u64, name: &str) -> Option<[String; 3]> {
        let state = self.state();
        let found = state.secrets.values().find(|secret| secret.name == name && secret.folder == folder)?;
        Some(found.values.clone())
    }

    /// How many secrets there are.
    pub fn count(&self) -> usize {
        self.state().secrets.len()
    }

    /// Shows a secret to nobody; a search passes over it.
    pub fn deny(&self, name: &str) {
        self.state().denied.push(name.to_owned());
    }

    /// Removes a secret.
    pub fn delete(&self, name: &str) {
        self.state().secrets.retain(|_, secret| secret.name != name);
    }

    /// Another password in place of the one that there is; all logins have ended.
    pub fn set_password(&self, password: &str) {
        let mut state = self.state();
        state.passwords = Trusted::one(password);
        state.sessions.clear();
    }

    /// Lets in the user with this password, too.
    pub fn trust(&self, password: &str) {
        self.state().passwords.add(password);
    }

    /// Lets in nobody any more but with the last password that was trusted.
    pub fn retire(&self) {
        self.state().passwords.retire();
    }

    /// How long the tokens of logins are good from now on.
    pub fn logins_last(&self, life: Duration) {
        self.state().life = life;
    }

    /// Platform's vault is its default no more.
    pub fn lead_nowhere(&self) {
        self.state().platform = Some(false);
    }

    /// How many logins there were.
    pub fn logins(&self) -> usize {
        self.state().logins
    }
}

fn wrong(status: u16, code: &str) -> Response {
    asked::json(status, &json!({"message": "what is wrong", "errorCode": code}))
}

fn answer(asked: &Asked, sent: &BTreeMap<String, String>, state: &mut State) -> Response {
    let (method, path) = asked.what();
    let path = match (state.platform, &path[..]) {
        (None, path) => path,
        (Some(_), ["vault", path @ ..]) => path,
        (Some(has_default), path) => return platform(asked, sent, state, (method, path), has_default),
    };
    match (method, path) {
        ("POST", ["oauth2", "token"]) => return log_in(sent, state),
        ("GET", ["api", "v1", "healthcheck"]) => return asked::json(200, &json!({"Healthy": true})),
        _ => {}
    }
    let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    if state.sessions.get(token).is_none_or(|end| *end <= SystemTime::now()) {
        return asked::json(401, &json!({"message": "Authentication failed or expired token."}));
    }
    match (method, path) {
        ("GET", ["api", "v1", "secret-templates", id]) if *id == TEMPLATE.0.to_string() => template(),
        ("GET", ["api", "v1", "secrets"]) => search(asked, state),
        ("POST", ["api", "v1", "secrets"]) => make(&asked.body, state),
        (_, ["api", "v1", "secrets", id, more @ ..]) => {
            // A path is written with either slash.
            let asked_for = asked.query("secretPath").replace('\\', "/");
            let folder = |id: u64| if id == OTHER.0 { OTHER.1 } else { FOLDER.1 };
            let by_path = |secret: &Secret| format!("/{}/{}", folder(secret.folder), secret.name) == asked_for;
            let found = match *id {
                "0" => state.secrets.iter().find(|(_, secret)| by_path(secret)).map(|(id, _)| *id),
                id => id.parse().ok().filter(|id| state.secrets.contains_key(id)),
            };
            match found.filter(|id| !state.denied.contains(&state.secrets[id].name)) {
                Some(id) => one(asked, state, id, more),
                None => wrong(400, "API_AccessDenied"),
            }
        }
        _ => wrong(404, "API_NotFound"),
    }
}

fn log_in(sent: &BTreeMap<String, String>, state: &mut State) -> Response {
    let sent = |name: &str| sent.get(name).map(String::as_str).unwrap_or_default();
    let is_known = [sent("grant_type"), sent("username")] == ["password", USER.0];
    if !is_known || !state.passwords.holds(sent("password")) || !["", DOMAIN].contains(&sent("domain")) {
        return asked::json(400, &json!({"error": "Login failed."}));
    }
    session(state)
}

fn session(state: &mut State) -> Response {
    state.logins += 1;
    let token = format!("canary-of-session-{}", state.logins);
    state.sessions.insert(token.clone(), SystemTime::now() + state.life);
    let seconds = state.life.as_secs();
    asked::json(
        200,
        &json!({"access_token": token, "refresh_token": "r", "token_type": "bearer", "expires_in": seconds}),
    )
}

/// What Delinea Platform answers: how it is, logins, and which vaults there are behind it.
fn platform(
    asked: &Asked,
    sent: &BTreeMap<String, String>,
    state: &mut State,
    what: (&str, &[&str]),
    has_default: bool,
) -> Response {
    let of_form = |name: &str| sent.get(name).map(String::as_str).unwrap_or_default();
    match what {
        ("GET", ["health"]) => asked::json(200, &json!({"Healthy": true})),
        ("POST", ["identity", "api", "oauth2", "token", "xpmplatform"]) => {
            let asks = ["grant_type", "scope", "client_id"].map(of_form);
            let is_known = asks == ["client_credentials", "xpmheadless", USER.0];
            if is_known && state.passwords.holds(of_form("client_secret")) {
                session(state)
            } else {
                asked::json(400, &json!({"error": "invalid_client"}))
            }
        }
        ("GET", ["vaultbroker", "api", "vaults"]) => {
            let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
            if !state.sessions.contains_key(token) {
                return asked::json(401, &json!({"message": "not logged in"}));
            }
            let vault = |is_default: bool, path: &str| {
                let url = format!("http://{}/{path}", asked.header("host"));
                json!({"isDefault": is_default, "isActive": true, "connection": {"url": url}})
            };
            asked::json(200, &json!({"vaults": [vault(false, "another"), vault(has_default, "vault")]}))
        }
        _ => asked::json(404, &json!({"message": "there is nothing"})),
    }
}

fn template() -> Response {
    let fields = TEMPLATE.1.iter().enumerate().map(|(n, slug)| {
        json!({"secretTemplateFieldId": n + 1, "fieldSlugName": slug, "name": name_of(slug), "isFile": *slug == "file"})
    });
    asked::json(200, &json!({"id": TEMPLATE.0, "name": "t", "fields": fields.collect::<Vec<_>>()}))
}

/// What people call a field.
fn name_of(slug: &str) -> String {
    slug[..1].to_uppercase() + &slug[1..]
}

fn shown(id: u64, secret: &Secret) -> Value {
    let item = |(n, slug): (usize, &&str)| {
        let (is_file, value) = (*slug == "file", &secret.values[n]);
        let has_file = is_file && !value.is_empty();
        json!({
            "itemId": 10 * id + n as u64, "fieldId": n + 1, "fileAttachmentId": has_file.then_some(7),
            "fieldName": name_of(slug), "slug": slug, "fieldDescription": "", "isFile": is_file, "isNotes": false,
            "filename": has_file.then_some("a.txt"), "isPassword": *slug == "password",
            "itemValue": if is_file { "*** Not Valid For Display ***" } else { value },
        })
    };
    json!({
        "id": id, "name": secret.name, "folderId": secret.folder, "siteId": secret.site, "secretTemplateId": TEMPLATE.0,
        "active": true, "checkedOut": false, "items": TEMPLATE.1.iter().enumerate().map(item).collect::<Vec<_>>(),
    })
}

fn search(asked: &Asked, state: &State) -> Response {
    let query = |name: &str| asked.query(&format!("paging.{name}"));
    let wanted = query("filter.searchText").to_lowercase();
    let fits = |secret: &Secret| {
        let name = secret.name.to_lowercase();
        if state.denied.contains(&secret.name) {
            return false;
        }
        if query("filter.isExactMatch") == "true" { name == wanted } else { name.contains(&wanted) }
    };
    let number = |name: &str, default: usize| query(name).parse().unwrap_or(default);
    let found = state.secrets.iter().filter(|(_, secret)| query("filter.searchField") == "Name" && fits(secret));
    let records = found.skip(number("skip", 0)).take(number("take", 10));
    let records: Vec<Value> =
        records.map(|(id, secret)| json!({"id": id, "name": secret.name, "folderId": secret.folder})).collect();
    asked::json(200, &json!({"records": records, "total": -1}))
}

fn make(body: &Value, state: &mut State) -> Response {
    let folder = [FOLDER.0, OTHER.0].into_iter().find(|folder| body["folderId"] == *folder);
    let folder = folder.filter(|_| body["secretTemplateId"] == TEMPLATE.0);
    let (Some(folder), Some(items)) = (folder, body["items"].as_array()) else { return wrong(400, "API_InvalidField") };
    let mut values: [String; 3] = Default::default();
    for item in items {
        let at = item["fieldId"].as_u64().unwrap_or_default() as usize;
        item["itemValue"].as_str().unwrap_or_default().clone_into(&mut values[at - 1]);
    }
    state.last += 1;
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    let secret = Secret { name, folder, site: body["siteId"].as_u64().unwrap_or_default(), values };
    let answer = asked::json(200, &shown(state.last, &secret));
    state.secrets.insert(state.last, secret);
    answer
}

fn one(asked: &Asked, state: &mut State, id: u64, more: &[&str]) -> Response {
    let secret = state.secrets.get_mut(&id).expect("it was found");
    let at = |slug: &str| TEMPLATE.1.iter().position(|known| *known == slug);
    match (asked.method.as_str(), more) {
        ("GET", []) => asked::json(200, &shown(id, secret)),
        ("GET", ["fields", slug]) => match at(slug) {
            Some(at) => asked::with(200, "application/octet-stream", secret.values[at].clone(), &[]),
            None => wrong(404, "API_NotFound"),
        },
        ("PATCH", ["general"]) => {
            for field in asked.body["data"]["secretFields"].as_array().into_iter().flatten() {
                let Some(at) = at(field["slug"].as_str().unwrap_or_default()) else {
                    return wrong(400, "API_InvalidField");
                };
                if field["dirty"] == true {
                    field["value"].as_str().unwrap_or_default().clone_into(&mut secret.values[at]);
                }
            }
            asked::json(200, &json!({"id": id}))
        }
        ("DELETE", []) => {
            state.secrets.remove(&id);
            asked::json(200, &json!({"id": id, "objectType": "Secret"}))
        }
        _ => wrong(404, "API_NotFound"),
    }
}
