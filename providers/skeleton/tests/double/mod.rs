//! A server that does what Cellar would do, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use keyferry_doubles::Server;
use serde_json::{Value, json};

/// Names on one page of a list.
pub const PAGE: usize = 10;

#[derive(Default)]
struct Cellar {
    key: String,
    logins: usize,
    /// The logins whose tokens are no good any more.
    ended: usize,
    /// Each version of each secret, with its owner.
    secrets: BTreeMap<String, Vec<(String, String)>>,
    always: Option<(u16, String)>,
    /// After so many pages of lists, what is answered in place of more.
    after_pages: Option<(usize, (u16, String))>,
    pages: usize,
    /// Who asks for these is told so.
    refused: BTreeMap<String, &'static str>,
}

pub struct Double {
    server: Server,
    cellar: Arc<Mutex<Cellar>>,
}

impl Double {
    /// A server that lets in whoever has this key.
    pub fn start(key: &str) -> Self {
        let cellar = Arc::new(Mutex::new(Cellar { key: key.to_owned(), ..Cellar::default() }));
        let server = Server::start(Router::new().fallback(handle).with_state(cellar.clone()));
        Self { server, cellar }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn server(&self) -> Server {
        self.server.clone()
    }

    /// The key that it lets in.
    pub fn key(&self) -> String {
        self.lock().key.clone()
    }

    /// Lets in another key from now on, and ends no session.
    pub fn change_key(&self, key: &str) {
        self.lock().key = key.to_owned();
    }

    /// Refuses to show a secret, in this word of the server's.
    pub fn refuse(&self, name: &str, word: &'static str) {
        self.lock().refused.insert(name.to_owned(), word);
    }

    /// Writes a secret by somebody else's hand. Gives its version.
    pub fn write(&self, name: &str, value: &str) -> String {
        let mut server = self.lock();
        let versions = server.secrets.entry(name.to_owned()).or_default();
        versions.push((value.to_owned(), "somebody".to_owned()));
        versions.len().to_string()
    }

    pub fn remove(&self, name: &str) {
        self.lock().secrets.remove(name);
    }

    /// Accepts no token that there is.
    pub fn end_sessions(&self) {
        let mut server = self.lock();
        server.ended = server.logins;
    }

    pub fn logins(&self) -> usize {
        self.lock().logins
    }

    /// Answers everything like this from now on.
    pub fn answer_always(&self, status: u16, body: &str) {
        self.lock().always = Some((status, body.to_owned()));
    }

    /// Answers lists like this from now on, after so many pages.
    pub fn answer_lists_after(&self, pages: usize, status: u16, body: &str) {
        let mut server = self.lock();
        server.after_pages = Some((pages, (status, body.to_owned())));
        server.pages = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Cellar> {
        self.cellar.lock().unwrap()
    }
}

async fn handle(State(cellar): State<Arc<Mutex<Cellar>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 16 << 20).await.unwrap();
    let url = reqwest::Url::parse(&format!("http://x{}", head.uri)).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let token = head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let mut cellar = cellar.lock().unwrap();
    let (status, body) = match cellar.always.clone() {
        Some(always) => always,
        None => cellar.answer(&head.method, url.path(), &query, token, &body),
    };
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::from(body)).unwrap()
}

impl Cellar {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: &BTreeMap<String, String>,
        token: Option<String>,
        body: &[u8],
    ) -> (u16, String) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if path == "/login" {
            return self.login(&body);
        }
        if token.is_none_or(|token| token != format!("Bearer {}", self.logins) || self.ended == self.logins) {
            return (401, String::new());
        }
        let name = query.get("name").cloned().unwrap_or_default();
        match (method.as_str(), path) {
            ("GET", "/me") => (200, "{}".to_owned()),
            ("GET", "/secrets") => self.list(query.get("from").map_or("", String::as_str)),
            ("GET", "/secret") => self.get(&name, query.get("version").map(String::as_str)),
            ("PUT", "/secret") => self.put(name, &body),
            ("DELETE", "/secret") => {
                if self.secrets.remove(&name).is_some() {
                    (200, "{}".to_owned())
                } else {
                    error("no-secret")
                }
            }
            _ => (404, String::new()),
        }
    }

    fn login(&mut self, body: &Value) -> (u16, String) {
        if body["key"] != self.key.as_str() {
            return (401, String::new());
        }
        self.logins += 1;
        (200, json!({"token": self.logins.to_string(), "seconds": 600}).to_string())
    }

    fn list(&mut self, from: &str) -> (u16, String) {
        self.pages += 1;
        if let Some((_, answer)) = self.after_pages.as_ref().filter(|(pages, _)| self.pages > *pages) {
            return answer.clone();
        }

        let mut names = self.secrets.keys().filter(|name| name.as_str() >= from);
        let page: Vec<&String> = names.by_ref().take(PAGE).collect();
        (200, json!({"names": page, "next": names.next()}).to_string())
    }

    fn get(&self, name: &str, version: Option<&str>) -> (u16, String) {
        if let Some(word) = self.refused.get(name) {
            return (403, json!({"error": word}).to_string());
        }
        let Some(versions) = self.secrets.get(name) else { return error("no-secret") };
        let number = version.map_or(Some(versions.len()), |version| version.parse().ok());
        let found = number.and_then(|number| Some((number, versions.get(number.checked_sub(1)?)?)));
        let Some((number, (value, owner))) = found else { return error("no-version") };
        (200, json!({"value": value, "version": number, "owner": owner}).to_string())
    }

    fn put(&mut self, name: String, body: &Value) -> (u16, String) {
        let versions = self.secrets.entry(name).or_default();
        if body["was"] != versions.len() {
            return (409, String::new());
        }
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        versions.push((text("value"), text("owner")));
        (200, json!({"version": versions.len()}).to_string())
    }
}

fn error(word: &str) -> (u16, String) {
    (404, json!({"error": word}).to_string())
}
