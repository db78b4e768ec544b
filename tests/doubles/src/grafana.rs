//! Grafana: service accounts and their tokens, behind a token or a user.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};

/// The token that logs in.
pub const TOKEN: &str = "glsa_canary-of-the-token";
/// The user and password that log in, as HTTP has them: `admin:canary-of-the-password`.
pub const BASIC: &str = "Basic YWRtaW46Y2FuYXJ5LW9mLXRoZS1wYXNzd29yZA==";

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Ids and names of accounts.
    accounts: Vec<(i64, String)>,
    /// Accounts, ids, names and lives of tokens.
    tokens: Vec<(i64, i64, String, Value)>,
    last: i64,
}

impl Double {
    /// One without accounts.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
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

    /// The names of all accounts.
    pub fn accounts(&self) -> Vec<String> {
        self.state().accounts.iter().map(|(_, name)| name.clone()).collect()
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.state().tokens.len()
    }

    /// The names of all tokens.
    pub fn token_names(&self) -> Vec<String> {
        self.state().tokens.iter().map(|(_, _, name, _)| name.clone()).collect()
    }

    /// Makes a token of the first account behind everybody's back, under this name.
    pub fn token(&self, name: &str) {
        let mut state = self.state();
        state.last += 1;
        let (account, id) = (state.accounts[0].0, state.last);
        state.tokens.push((account, id, name.to_owned(), Value::Null));
    }
}

fn shown((id, name): &(i64, String)) -> Value {
    json!({"id": id, "name": name, "login": format!("sa-1-{name}"), "orgId": 1, "isDisabled": false, "tokens": 0})
}

fn answer(asked: &Asked, state: &mut State) -> Response {
    let shows = asked.header("authorization");
    if shows != format!("Bearer {TOKEN}") && shows != BASIC {
        return asked::json(401, &json!({"message": "Invalid API key", "messageId": "api-key.invalid"}));
    }
    let (method, path) = asked.what();
    let number = |text: &str| text.parse::<i64>().unwrap_or_default();
    match (method, &path[..]) {
        ("GET", ["api", "serviceaccounts", "search"]) => {
            let query = asked.query("query");
            let found: Vec<_> = state.accounts.iter().filter(|(_, name)| name.contains(query)).map(shown).collect();
            let of = |name: &str, default: usize| asked.query(name).parse().ok().filter(|n| *n > 0).unwrap_or(default);
            let (page, size) = (of("page", 1), of("perpage", 1000));
            let some: Vec<_> = found.iter().skip((page - 1) * size).take(size).collect();
            let told = json!({"totalCount": found.len(), "serviceAccounts": some, "page": page, "perPage": size});
            asked::json(200, &told)
        }
        ("POST", ["api", "serviceaccounts"]) => {
            state.last += 1;
            let account = (state.last, asked.text("name").to_owned());
            let body = shown(&account);
            state.accounts.push(account);
            asked::json(201, &body)
        }
        (_, ["api", "serviceaccounts", account, ..])
            if !state.accounts.iter().any(|(id, _)| *id == number(account)) =>
        {
            asked::json(404, &json!({"message": "service account not found"}))
        }
        ("GET", ["api", "serviceaccounts", account]) => {
            let found = state.accounts.iter().find(|(id, _)| *id == number(account));
            asked::json(200, &found.map(shown).unwrap_or_default())
        }
        ("DELETE", ["api", "serviceaccounts", account]) => {
            state.accounts.retain(|(id, _)| *id != number(account));
            state.tokens.retain(|token| token.0 != number(account));
            asked::json(200, &json!({"message": "Service account deleted"}))
        }
        ("GET", ["api", "serviceaccounts", account, "tokens"]) => {
            let tokens = state.tokens.iter().filter(|token| token.0 == number(account));
            asked::json(200, &tokens.map(|token| json!({"id": token.1, "name": token.2})).collect())
        }
        ("POST", ["api", "serviceaccounts", account, "tokens"]) => {
            state.last += 1;
            let (id, name) = (state.last, asked.text("name").to_owned());
            state.tokens.push((number(account), id, name.clone(), asked.body["secondsToLive"].clone()));
            asked::json(200, &json!({"id": id, "name": name, "key": format!("glsa_canary-{id}")}))
        }
        ("DELETE", ["api", "serviceaccounts", account, "tokens", id]) => {
            let before = state.tokens.len();
            state.tokens.retain(|token| (token.0, token.1) != (number(account), number(id)));
            if state.tokens.len() < before {
                asked::json(200, &json!({"message": "Service account token deleted"}))
            } else {
                asked::json(404, &json!({"message": "service account token not found"}))
            }
        }
        _ => asked::with(404, "text/plain", "Not found".to_owned(), &[]),
    }
}
