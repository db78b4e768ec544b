//! bitwarden-sdk-server, as its README has it. Nobody's own client vouches for this one: the server it stands for is itself
//! a wrapper around the vendor's library, whose answers are encrypted from end to end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
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
    organization: String,
    secrets: Vec<Value>,
    made: u64,
    /// Answers all calls whose path ends so with this.
    always: Option<(String, u16, String)>,
    is_read_only: bool,
}

impl Double {
    /// A server, by TLS as the real one insists on, that lets in whoever has this token.
    pub fn start(token: &str, organization: &str) -> Self {
        let (tokens, organization) = (Trusted::one(token), organization.to_owned());
        let state = State { tokens, organization, secrets: Vec::new(), made: 0, always: None, is_read_only: false };
        let state = Arc::new(Mutex::new(state));
        let router = Router::new().fallback(handle).with_state(state.clone());
        Self { server: Server::start_tls(router), state }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Makes a secret; gives its id.
    pub fn add(&self, project: &str, name: &str, value: &str, note: &str) -> String {
        self.lock().make(&json!({"key": name, "value": value, "note": note, "projectIds": [project]}))
    }

    /// Gives the secret of this name another value, or makes it.
    pub fn put(&self, project: &str, name: &str, value: &str) {
        {
            let mut state = self.lock();
            let there = state.secrets.iter_mut().find(|secret| secret["key"] == name && secret["projectId"] == project);
            if let Some(secret) = there {
                secret["value"] = json!(value);
                return;
            }
        }
        self.add(project, name, value, "");
    }

    /// Removes what bears this name.
    pub fn remove(&self, name: &str) {
        self.lock().secrets.retain(|secret| secret["key"] != name);
    }

    /// The secrets of this name.
    pub fn secrets(&self, name: &str) -> Vec<Value> {
        self.lock().secrets.iter().filter(|secret| secret["key"] == name).cloned().collect()
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

    /// Answers calls whose path ends so with this from now on.
    pub fn answer_always(&self, path: &str, status: u16, body: &str) {
        self.lock().always = Some((path.to_owned(), status, body.to_owned()));
    }

    /// Whether the machine account may read only.
    pub fn read_only(&self, is_read_only: bool) {
        self.lock().is_read_only = is_read_only;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn handle(Shared(state): Shared<Arc<Mutex<State>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 16 << 20).await.unwrap_or_default();
    let token = head.headers.get("warden-access-token").and_then(|token| token.to_str().ok()).unwrap_or_default();
    let (status, body) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answer(head.method.as_str(), head.uri.path(), token, &body)
    };
    Response::builder()
        .status(StatusCode::from_u16(status).expect("a status"))
        .body(Body::from(body))
        .expect("an answer")
}

fn missing() -> (u16, String) {
    let message = r#"failed: API error: Received error message from server: [404 Not Found] {"message":"canary"}"#;
    (400, message.to_owned())
}

impl State {
    fn make(&mut self, written: &Value) -> String {
        self.made += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.made);
        self.secrets.push(json!({
            "id": id, "key": written["key"], "value": written["value"], "note": written["note"],
            "organizationId": self.organization, "projectId": written["projectIds"][0],
            "creationDate": "2026-01-01", "revisionDate": format!("2026-01-01T00:00:00.{}Z", self.made),
        }));
        id
    }

    fn answer(&mut self, method: &str, path: &str, token: &str, body: &[u8]) -> (u16, String) {
        if !self.tokens.holds(token) {
            return (400, "failed to login to bitwarden using access token: canary".to_owned());
        }
        if let Some((end, status, body)) = self.always.as_ref().filter(|(end, ..)| path.ends_with(end.as_str())) {
            let _ = end;
            return (*status, body.clone());
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return (400, "canary of a body".to_owned()) };
        let at = |id: &Value, secrets: &[Value]| secrets.iter().position(|secret| secret["id"] == *id);
        match (method, path) {
            ("GET", "/rest/api/1/secrets") if body["organizationId"] == self.organization.as_str() => {
                let data: Vec<Value> = self
                    .secrets
                    .iter()
                    .map(
                        |secret| json!({"id": secret["id"], "key": secret["key"], "organizationId": self.organization}),
                    )
                    .collect();
                (200, json!({"data": data}).to_string())
            }
            ("GET", "/rest/api/1/secrets") => missing(),
            ("GET", "/rest/api/1/secret") => {
                at(&body["id"], &self.secrets).map_or_else(missing, |at| (200, self.secrets[at].to_string()))
            }
            ("POST" | "PUT" | "DELETE", "/rest/api/1/secret") => self.write(method, &body),
            _ => (404, "404 page not found".to_owned()),
        }
    }

    fn write(&mut self, method: &str, body: &Value) -> (u16, String) {
        if method == "DELETE" {
            let id = body["ids"][0].clone();
            let error = if self.is_read_only { json!("canary: access denied") } else { Value::Null };
            if !self.is_read_only {
                self.secrets.retain(|secret| secret["id"] != id);
            }
            return (200, json!({"data": [{"id": id, "error": error}]}).to_string());
        }
        if self.is_read_only {
            return (400, "Received error message from server: [403 Forbidden] canary".to_owned());
        }
        if method == "POST" {
            let id = self.make(body);
            let made = self.secrets.iter().find(|secret| secret["id"] == id.as_str());
            return (200, made.map(Value::to_string).unwrap_or_default());
        }
        let Some(there) = self.secrets.iter_mut().find(|secret| secret["id"] == body["id"]) else { return missing() };
        for key in ["key", "value", "note"] {
            there[key] = body[key].clone();
        }
        there["projectId"] = body["projectIds"][0].clone();
        (200, there.to_string())
    }
}
