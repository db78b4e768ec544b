//! GitHub Actions secrets of an organization, its repositories and their environments, behind the login of an App. Written from
//! the vendor's documents alone: no client of theirs has spoken to it. It opens what was sealed for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::SecretKey;
use crypto_box::aead::OsRng;
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};
use crate::github::{APP, INSTALLATION, claims};

/// The organization that there is, and its one repository.
pub const PLACE: (&str, &str) = ("shop", "app");

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The App's keys, the newest last.
    keys: Vec<RsaKeyPair>,
    /// What encrypts secrets.
    sealing: SecretKey,
    /// By the path of the place, and the name.
    secrets: BTreeMap<(String, String), Held>,
    tokens: Vec<String>,
    made: usize,
}

/// A secret.
#[derive(Clone)]
struct Held {
    value: Vec<u8>,
    visibility: Option<String>,
    repositories: Vec<u64>,
}

impl Double {
    /// One without secrets.
    ///
    /// # Panics
    /// Never: keys can be made.
    pub fn start() -> Self {
        let state = State {
            keys: vec![RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")],
            sealing: SecretKey::generate(&mut OsRng),
            secrets: BTreeMap::new(),
            tokens: Vec::new(),
            made: 0,
        };
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

    /// The App's last private key, as PEM.
    ///
    /// # Panics
    /// Never: there is one.
    pub fn key(&self) -> String {
        let state = self.state();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(state.keys.last().expect("a key")).expect("a key");
        crate::text::pem("PRIVATE KEY", der.as_ref())
    }

    /// Gives the App another key in place of those that it has; what was given for them has ended.
    ///
    /// # Panics
    /// Never: a key can be made.
    pub fn change_key(&self) {
        let mut state = self.state();
        state.keys = vec![RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")];
        state.tokens.clear();
    }

    /// Gives the App another key beside those that it has: [`key`](Double::key) is that one.
    ///
    /// # Panics
    /// Never: a key can be made.
    pub fn add_key(&self) {
        self.state().keys.push(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));
    }

    /// Takes no key any more but the last. What was given for another works on, as it does at GitHub.
    pub fn retire(&self) {
        let keys = &mut self.state().keys;
        keys.drain(..keys.len().saturating_sub(1));
    }

    /// Writes a secret of the organization, which these repositories see.
    pub fn put(&self, name: &str, value: &[u8], visibility: &str, repositories: &[u64]) {
        let held =
            Held { value: value.to_vec(), visibility: Some(visibility.to_owned()), repositories: repositories.into() };
        self.state().secrets.insert((format!("orgs/{}/actions", PLACE.0), name.to_owned()), held);
    }

    /// What a secret of a place holds (`orgs/O/actions`, `repos/O/R/actions`, `repos/O/R/environments/E`), who sees it, and
    /// which repositories do.
    pub fn held(&self, place: &str, name: &str) -> Option<(Vec<u8>, Option<String>, Vec<u64>)> {
        let held = self.state().secrets.get(&(place.to_owned(), name.to_owned()))?.clone();
        Some((held.value, held.visibility, held.repositories))
    }

    /// How many tokens of logins are good.
    pub fn tokens(&self) -> usize {
        self.state().tokens.len()
    }

    /// Removes a secret of the organization.
    pub fn delete(&self, name: &str) {
        self.state().secrets.remove(&(format!("orgs/{}/actions", PLACE.0), name.to_owned()));
    }
}

fn missing() -> Response {
    asked::json(404, &json!({"message": "Not Found", "documentation_url": "x"}))
}

fn answer(asked: &Asked, state: &mut State) -> Response {
    let (method, path) = asked.what();
    let ["api", "v3", path @ ..] = &path[..] else { return missing() };
    if (method, path) == ("POST", &["app", "installations", INSTALLATION, "access_tokens"]) {
        let of_app = |key: &RsaKeyPair| claims(asked, key.public_key().as_ref()).is_some_and(|of| of["iss"] == APP);
        if !state.keys.iter().any(of_app) {
            return asked::json(401, &json!({"message": "A JSON web token could not be decoded"}));
        }
        state.made += 1;
        let token = format!("ghs_canary-of-session-{}", state.made);
        state.tokens.push(token.clone());
        return asked::json(201, &json!({"token": token, "expires_at": "2099-01-01T00:00:00Z"}));
    }
    let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    if !state.tokens.iter().any(|known| known == token) {
        return asked::json(401, &json!({"message": "Bad credentials"}));
    }
    if (method, path) == ("DELETE", &["installation", "token"]) {
        let token = token.to_owned();
        state.tokens.retain(|known| *known != token);
        return asked::with(204, "application/json", String::new(), &[]);
    }
    let (place, rest) = match path {
        ["orgs", org, "actions", "secrets", rest @ ..] if *org == PLACE.0 => (format!("orgs/{org}/actions"), rest),
        ["repos", org, repo, "actions", "secrets", rest @ ..] if (*org, *repo) == PLACE => {
            (format!("repos/{org}/{repo}/actions"), rest)
        }
        ["repos", org, repo, "environments", environment, "secrets", rest @ ..] if (*org, *repo) == PLACE => {
            (format!("repos/{org}/{repo}/environments/{environment}"), rest)
        }
        _ => return missing(),
    };
    let of = |name: &str| (place.clone(), name.to_owned());
    match (method, rest) {
        ("GET", []) => asked::json(200, &json!({"total_count": state.secrets.len(), "secrets": []})),
        ("GET", ["public-key"]) => {
            let key = STANDARD.encode(state.sealing.public_key().as_bytes());
            asked::json(200, &json!({"key_id": "key-1", "key": key}))
        }
        ("GET", [name]) => state.secrets.get(&of(name)).map_or_else(missing, |held| {
            asked::json(
                200,
                &json!({"name": name, "visibility": held.visibility, "created_at": "2026-01-01T00:00:00Z"}),
            )
        }),
        ("GET", [name, "repositories"]) => state.secrets.get(&of(name)).map_or_else(missing, |held| list(asked, held)),
        ("PUT", [name]) => write(asked, of(name), state),
        ("DELETE", [name]) => match state.secrets.remove(&of(name)) {
            Some(_) => asked::with(204, "application/json", String::new(), &[]),
            None => missing(),
        },
        _ => missing(),
    }
}

fn list(asked: &Asked, held: &Held) -> Response {
    let number = |name: &str, default: usize| asked.query(name).parse().unwrap_or(default);
    let (size, page) = (number("per_page", 30), number("page", 1));
    let some = held.repositories.iter().skip((page - 1) * size).take(size);
    let some: Vec<Value> = some.map(|id| json!({"id": id, "name": "r"})).collect();
    asked::json(200, &json!({"total_count": held.repositories.len(), "repositories": some}))
}

fn write(asked: &Asked, place: (String, String), state: &mut State) -> Response {
    let opened =
        STANDARD.decode(asked.text("encrypted_value")).ok().and_then(|sealed| state.sealing.unseal(&sealed).ok());
    let Some(value) = opened.filter(|_| asked.text("key_id") == "key-1") else {
        return asked::json(422, &json!({"message": "the value was not encrypted with the public key"}));
    };
    let visibility = Some(asked.text("visibility").to_owned()).filter(|visibility| !visibility.is_empty());
    if place.0.starts_with("orgs/") != visibility.is_some() {
        return asked::json(422, &json!({"message": "visibility is for secrets of organizations"}));
    }
    // What is left out is none.
    let repositories = asked.body["selected_repository_ids"].as_array().into_iter().flatten();
    let repositories = repositories.filter_map(Value::as_u64).collect();
    let is_new = state.secrets.insert(place, Held { value, visibility, repositories }).is_none();
    asked::json(if is_new { 201 } else { 204 }, &json!({}))
}
