//! A 1Password Connect server: vaults, items and files, as <https://developer.1password.com/docs/connect/api-reference>
//! has them. It may lag behind what is written through it, as the real one does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use crate::Server;
use crate::trusted::Trusted;

/// A running one; clones are the same.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    tokens: Trusted,
    vaults: Vec<Vault>,
    made: usize,
    /// Calls that still see what was there before the last write.
    lag: usize,
    behind: Option<(Vec<Vault>, usize)>,
    /// Answers to the next calls whose path holds this.
    refused: Option<(String, u16, usize)>,
    always: Option<(Vec<String>, u16, String)>,
}

#[derive(Clone)]
struct Vault {
    id: String,
    name: String,
    granted: bool,
    items: Vec<Value>,
    contents: BTreeMap<String, Vec<u8>>,
}

impl Double {
    /// A server that lets in whoever has this token.
    pub fn start(token: &str) -> Self {
        let state = Arc::new(Mutex::new(State {
            tokens: Trusted::one(token),
            vaults: Vec::new(),
            made: 0,
            lag: 0,
            behind: None,
            refused: None,
            always: None,
        }));
        let router = Router::new().fallback(handle).with_state(state.clone());
        Self { server: Server::start(router), state }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Makes a vault that the token may use; gives its id.
    pub fn vault(&self, name: &str) -> String {
        let mut state = self.lock();
        let id = state.new_id();
        let vault = Vault {
            id: id.clone(),
            name: name.to_owned(),
            granted: true,
            items: Vec::new(),
            contents: BTreeMap::new(),
        };
        state.vaults.push(vault);
        id
    }

    /// Whether the token may use the vault from now on.
    pub fn grant(&self, vault: &str, granted: bool) {
        self.lock().vault(vault).granted = granted;
    }

    /// Makes an item of this category with fields of these labels and values; gives its id.
    pub fn add(&self, vault: &str, category: &str, title: &str, fields: &[(&str, &str)], tags: &[&str]) -> String {
        let mut state = self.lock();
        let id = state.new_id();
        let mut all = Vec::new();
        for (label, value) in fields {
            all.push(json!({"id": state.new_id(), "type": "CONCEALED", "label": label, "value": value}));
        }
        let vault = state.vault(vault);
        vault.items.push(json!({
            "id": id, "title": title, "version": 1, "category": category, "tags": tags,
            "vault": {"id": vault.id, "name": vault.name}, "fields": all, "sections": [], "urls": [],
        }));
        id
    }

    /// Makes an item with a field `password`, or gives the one of this title another value of it.
    pub fn put(&self, vault: &str, title: &str, value: &str) {
        {
            let mut state = self.lock();
            let there = state.vault(vault).items.iter_mut().find(|item| item["title"] == title);
            if let Some(item) = there {
                item["fields"] = json!([{"id": "password", "type": "CONCEALED", "label": "password", "value": value}]);
                item["version"] = json!(item["version"].as_u64().unwrap_or_default() + 1);
                return;
            }
        }
        self.add(vault, "LOGIN", title, &[("password", value)], &[]);
    }

    /// Adds a file to an item; its size is told as `size` where that is given.
    pub fn attach(&self, vault: &str, item: &str, name: &str, content: &[u8], size: Option<u64>) {
        let mut state = self.lock();
        let id = state.new_id();
        let vault = state.vault(vault);
        let path = format!("/v1/vaults/{}/items/{item}/files/{id}/content", vault.id);
        let size = size.unwrap_or(content.len() as u64);
        let there = vault.items.iter_mut().find(|there| there["id"] == item).expect("the item");
        let file = json!({"id": id, "name": name, "size": size, "content_path": path});
        match there["files"].as_array_mut() {
            Some(files) => files.push(file),
            None => there["files"] = json!([file]),
        }
        vault.contents.insert(id, content.to_vec());
    }

    /// Removes the items of this title.
    pub fn remove(&self, vault: &str, title: &str) {
        self.lock().vault(vault).items.retain(|item| item["title"] != title);
    }

    /// The items of this title, as they are.
    pub fn items(&self, vault: &str, title: &str) -> Vec<Value> {
        self.lock().vault(vault).items.iter().filter(|item| item["title"] == title).cloned().collect()
    }

    /// So many calls after each write see what was there before it.
    pub fn lag(&self, calls: usize) {
        self.lock().lag = calls;
    }

    /// Answers the next `times` calls whose path holds `part` with this status.
    pub fn refuse(&self, part: &str, status: u16, times: usize) {
        self.lock().refused = Some((part.to_owned(), status, times));
    }

    /// Answers all calls whose path ends with one of these, or holds one that ends with a slash, so from now on.
    pub fn answer_always(&self, paths: Vec<String>, status: u16, body: &str) {
        self.lock().always = Some((paths, status, body.to_owned()));
    }

    /// The id of a vault.
    pub fn vault_id(&self, name: &str) -> String {
        self.lock().vault(name).id.clone()
    }

    /// Gives a vault another name.
    pub fn rename(&self, vault: &str, name: &str) {
        self.lock().vault(vault).name = name.to_owned();
    }

    /// Lets in whoever has this token, and nobody else.
    pub fn set_token(&self, token: &str) {
        self.lock().tokens = Trusted::one(token);
    }

    /// Lets in whoever has this token, too.
    pub fn trust(&self, token: &str) {
        self.lock().tokens.add(token);
    }

    /// Lets in nobody any more but with the last token that was trusted.
    pub fn retire(&self) {
        self.lock().tokens.retire();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Answer = (u16, Vec<u8>);

async fn handle(Shared(state): Shared<Arc<Mutex<State>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 16 << 20).await.unwrap_or_default();
    let (status, body) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answer(head.method.as_str(), &head.uri, &head.headers, &body)
    };
    let status = StatusCode::from_u16(status).expect("a status");
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .expect("an answer")
}

fn error(status: u16, message: &str) -> Answer {
    (status, json!({"status": status, "message": message}).to_string().into_bytes())
}

fn ok(value: &Value) -> Answer {
    (200, value.to_string().into_bytes())
}

impl State {
    fn new_id(&mut self) -> String {
        self.made += 1;
        format!("{:a>26}", self.made)
    }

    fn vault(&mut self, name: &str) -> &mut Vault {
        self.vaults.iter_mut().find(|vault| vault.name == name || vault.id == name).expect("the vault")
    }

    fn answer(&mut self, method: &str, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Answer {
        let token = headers.get("authorization").and_then(|value| value.to_str().ok());
        if !token.and_then(|token| token.strip_prefix("Bearer ")).is_some_and(|token| self.tokens.holds(token)) {
            return error(401, "Invalid bearer token");
        }
        if let Some((part, status, times)) = &mut self.refused
            && *times > 0
            && uri.path().contains(part.as_str())
        {
            *times -= 1;
            return error(*status, "canary of a refusal");
        }
        if let Some((paths, status, body)) = &self.always {
            let is_meant = |part: &String| {
                if part.ends_with('/') {
                    uri.path().contains(part.as_str())
                } else {
                    uri.path().ends_with(part.as_str())
                }
            };
            if paths.iter().any(is_meant) {
                return (*status, body.clone().into_bytes());
            }
        }
        let path: Vec<String> = uri.path().split('/').skip(1).map(decoded).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let filter = uri.query().and_then(|query| query.strip_prefix("filter=")).map(decoded);
        match (method, path.as_slice()) {
            ("GET", ["v1", rest @ ..]) => self.read(rest, filter.as_deref()),
            ("POST" | "PUT" | "DELETE", ["v1", "vaults", vault, "items", item @ ..]) => {
                let before = self.vaults.clone();
                let answer = self.write(method, vault, item.first().copied(), body);
                self.behind = (self.lag > 0).then_some((before, self.lag));
                answer
            }
            _ => (404, b"404 page not found".to_vec()),
        }
    }

    fn read(&mut self, path: &[&str], filter: Option<&str>) -> Answer {
        let vaults = match &mut self.behind {
            Some((before, calls)) if *calls > 0 => {
                *calls -= 1;
                before.clone()
            }
            _ => self.vaults.clone(),
        };
        if path == ["vaults"] {
            let name = match filter.map(equal_to) {
                Some(None) => return error(400, "Invalid filter"),
                name => name.flatten(),
            };
            let seen = vaults.iter().filter(|vault| vault.granted);
            let seen = seen.filter(|vault| name.as_ref().is_none_or(|(_, name)| vault.name == *name));
            return ok(&seen.map(Vault::shown).collect());
        }
        let ["vaults", id, rest @ ..] = path else { return (404, b"404 page not found".to_vec()) };
        let Some(vault) = vaults.iter().find(|vault| vault.id == *id) else { return error(404, "vault not found") };
        if !vault.granted {
            return error(403, "Authorization: token does not have access to vault");
        }
        match rest {
            [] => ok(&vault.shown()),
            ["items"] => vault.list(filter),
            ["items", item] => vault.item(item).map_or_else(|| error(404, "item not found"), ok),
            ["items", item, "files"] => match vault.item(item) {
                Some(item) => ok(item.get("files").unwrap_or(&json!([]))),
                None => error(404, "item not found"),
            },
            ["items", _, "files", file, "content"] => match vault.contents.get(*file) {
                Some(content) => (200, content.clone()),
                None => error(404, "file not found"),
            },
            _ => (404, b"404 page not found".to_vec()),
        }
    }

    fn write(&mut self, method: &str, vault: &str, item: Option<&str>, body: &[u8]) -> Answer {
        let (new, fields) = (self.new_id(), self.made);
        self.made += 100;
        let Some(vault) = self.vaults.iter_mut().find(|there| there.id == vault) else {
            return error(404, "vault not found");
        };
        if !vault.granted {
            return error(403, "Authorization: token does not have access to vault");
        }
        let at = vault.items.iter().position(|there| Some(there["id"].as_str().unwrap_or_default()) == item);
        if method == "DELETE" {
            return match at {
                Some(at) => {
                    vault.items.remove(at);
                    (204, Vec::new())
                }
                None => error(404, "item not found"),
            };
        }
        let Ok(mut written) = serde_json::from_slice::<Value>(body) else { return error(400, "Invalid body") };
        let is_whole = ["title", "category"].iter().all(|key| written[*key].is_string())
            && written["vault"]["id"] == vault.id.as_str()
            && (item.is_none() || written["id"].as_str() == item);
        if !is_whole {
            return error(400, "Invalid item");
        }
        for (n, field) in written["fields"].as_array_mut().into_iter().flatten().enumerate() {
            if !field["label"].is_string() && !field["id"].is_string() {
                return error(400, "Invalid field");
            }
            if !field["id"].is_string() {
                field["id"] = json!(format!("{:b>26}", fields + n));
            }
        }
        match (item, at) {
            (None, _) => {
                written["id"] = json!(new);
                written["version"] = json!(1);
                vault.items.push(written.clone());
            }
            (Some(_), Some(at)) => {
                written["version"] = json!(vault.items[at]["version"].as_u64().unwrap_or_default() + 1);
                vault.items[at] = written.clone();
            }
            (Some(_), None) => return error(404, "item not found"),
        }
        ok(&written)
    }
}

impl Vault {
    fn shown(&self) -> Value {
        json!({"id": self.id, "name": self.name, "items": self.items.len(), "type": "USER_CREATED",
               "attributeVersion": 1, "contentVersion": 1})
    }

    fn item(&self, id: &str) -> Option<&Value> {
        self.items.iter().find(|item| item["id"] == id)
    }

    /// Summaries: neither fields nor files.
    fn list(&self, filter: Option<&str>) -> Answer {
        let title = match filter.map(equal_to) {
            Some(Some((attribute, title))) if attribute == "title" => Some(title),
            Some(_) => return error(400, "Invalid filter"),
            None => None,
        };
        let found = self.items.iter().filter(|item| title.as_ref().is_none_or(|title| item["title"] == title.as_str()));
        let summaries = found.map(|item| {
            let mut summary = item.clone();
            let fields = summary.as_object_mut().expect("an item");
            ["fields", "files", "sections"].into_iter().for_each(|key| _ = fields.remove(key));
            summary
        });
        ok(&summaries.collect())
    }
}

/// Reads `attribute eq "text"`, whose text is a string of JSON.
fn equal_to(filter: &str) -> Option<(String, String)> {
    let (attribute, text) = filter.split_once(" eq ")?;
    Some((attribute.to_owned(), serde_json::from_str(text).ok()?))
}

/// Takes the encoding of URLs off.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = || u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok();
        match (bytes[at], hex()) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
