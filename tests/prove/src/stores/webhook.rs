//! A service of ours, as any HTTP service is one for this store.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use async_trait::async_trait;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use keyferry_doubles::Server;
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::made;

#[derive(Default)]
struct Service {
    value: String,
    /// What lets in, the newest last.
    tokens: Vec<String>,
}

pub struct Webhook {
    server: Server,
    service: Arc<Mutex<Service>>,
}

impl Webhook {
    pub fn new() -> Self {
        let service = Arc::<Mutex<Service>>::default();
        let served = service.clone();
        let answer = move |headers: HeaderMap| {
            let service = served.lock().expect("nobody panics with it");
            let shown = headers.get("authorization").and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
            let is_known = shown.is_some_and(|token| service.tokens.iter().any(|known| known == token));
            let value = if is_known { Ok(service.value.clone()) } else { Err(StatusCode::UNAUTHORIZED) };
            async move { value }
        };
        Self { server: Server::start(Router::new().route("/proof", get(answer))), service }
    }
}

#[async_trait]
impl Counterpart for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.server)
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"webhook": {
            "url": format!("{}/{{{{ .remoteRef.key }}}}", self.server.url()),
            "headers": {"Authorization": "Bearer {{ .auth.token }}"},
            "result": {},
            "secrets": [{"name": "auth", "secretRef": {"name": secret}}],
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.service.lock().expect("nobody panics with it").value = value.to_owned();
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let token = made();
        self.service.lock().expect("nobody panics with it").tokens.push(token.clone());
        Ok(json!({ "token": token }))
    }

    async fn retire(&self) -> Result<()> {
        let tokens = &mut self.service.lock().expect("nobody panics with it").tokens;
        tokens.drain(..tokens.len().saturating_sub(1));
        Ok(())
    }
}
