//! HashiCorp Vault, as far as nobody has a server of it that we may run: logins by LDAP, by a user's password, by AWS's word
//! and by Google's, and the clouds that give their word, on one server.
//!
//! Written from Vault's API documents (auth/ldap, auth/userpass, auth/aws, auth/gcp), AWS's of STS and of signatures, and
//! Google's of IAM credentials, token exchange and the metadata server. A token of it reads an engine of version 2 at
//! `secret`, and ends.
//!
//! Modules, in reading order: `logins` what Vault answers, `clouds` what they answer.

mod logins;
mod clouds;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::Server;
pub use crate::jwt::Account;

/// A running Vault and the clouds around it. A clone is a handle of the same one.
#[derive(Clone)]
pub struct Double {
    server: Server,
    world: World,
}

pub(crate) type World = Arc<Mutex<State>>;

/// What there is.
pub(crate) struct State {
    /// Secrets by their path below `secret/`.
    secrets: BTreeMap<String, Value>,
    /// Passwords by mount and user.
    users: BTreeMap<(String, String), String>,
    /// Tokens of ours by when they end.
    tokens: BTreeMap<String, Instant>,
    revoked: Vec<String>,
    lease: Duration,
    made: u32,
    /// AWS: keys by their id, and what assuming a role takes.
    keys: BTreeMap<String, AwsKey>,
    roles: BTreeMap<String, Trust>,
    server_id: Option<String>,
    /// Google: service accounts by email, and tokens by whose they are.
    accounts: BTreeMap<String, Arc<Account>>,
    google_tokens: BTreeMap<String, String>,
    kubernetes_token: String,
    /// Who may log in, by the role of the login.
    bound: BTreeMap<String, String>,
}

pub(crate) struct AwsKey {
    secret: String,
    token: Option<String>,
    arn: String,
}

/// Who may assume a role of AWS.
pub(crate) enum Trust {
    /// Who shows this token.
    Token(String),
    /// This identity, with this external id.
    Identity { arn: String, external_id: Option<String> },
}

impl Double {
    /// A new one, without TLS.
    ///
    /// # Panics
    /// Where there is no loopback network.
    pub fn start() -> Self {
        let state = State {
            secrets: BTreeMap::new(),
            users: BTreeMap::new(),
            tokens: BTreeMap::new(),
            revoked: Vec::new(),
            lease: Duration::from_secs(3600),
            made: 0,
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
            server_id: None,
            accounts: BTreeMap::new(),
            google_tokens: BTreeMap::new(),
            kubernetes_token: String::new(),
            bound: BTreeMap::new(),
        };
        let world = Arc::new(Mutex::new(state));
        let router = Router::new().merge(logins::routes()).merge(clouds::routes()).with_state(world.clone());
        Self { server: Server::start(router), world }
    }

    /// The server: its address, its calls, and what it does wrong.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Writes a secret of `secret/`: an object.
    pub fn put(&self, path: &str, value: Value) {
        lock(&self.world).secrets.insert(path.to_owned(), value);
    }

    /// Lets a user log in at `ldap` or `userpass`.
    pub fn user(&self, mount: &str, name: &str, password: &str) {
        lock(&self.world).users.insert((mount.to_owned(), name.to_owned()), password.to_owned());
    }

    /// How long tokens are good that logins give from now on.
    pub fn lease(&self, lease: Duration) {
        lock(&self.world).lease = lease;
    }

    /// The tokens that were revoked.
    pub fn revoked(&self) -> Vec<String> {
        lock(&self.world).revoked.clone()
    }

    /// Ends every token, as a restart without storage would.
    pub fn forget_tokens(&self) {
        lock(&self.world).tokens.clear();
    }

    /// Keys of AWS, of this identity.
    pub fn aws_key(&self, id: &str, secret: &str, arn: &str) {
        let key = AwsKey { secret: secret.to_owned(), token: None, arn: arn.to_owned() };
        lock(&self.world).keys.insert(id.to_owned(), key);
    }

    /// A role of AWS that whoever shows this token may assume.
    pub fn aws_role_of_token(&self, role: &str, token: &str) {
        lock(&self.world).roles.insert(role.to_owned(), Trust::Token(token.to_owned()));
    }

    /// A role of AWS that this identity may assume, with this external id.
    pub fn aws_role_of(&self, role: &str, arn: &str, external_id: Option<&str>) {
        let trust = Trust::Identity { arn: arn.to_owned(), external_id: external_id.map(str::to_owned) };
        lock(&self.world).roles.insert(role.to_owned(), trust);
    }

    /// What logins by AWS's word must have signed beside the call.
    pub fn server_id(&self, id: &str) {
        lock(&self.world).server_id = Some(id.to_owned());
    }

    /// Binds a role of the login to an identity: an ARN, or the email of a service account.
    pub fn bind(&self, role: &str, identity: &str) {
        lock(&self.world).bound.insert(role.to_owned(), identity.to_owned());
    }

    /// A service account of Google with a key.
    pub fn google_account(&self, email: &str) -> Arc<Account> {
        let account = Arc::new(Account::new(email));
        lock(&self.world).accounts.insert(email.to_owned(), account.clone());
        account
    }

    /// The token of Kubernetes that Google changes for one of its own.
    pub fn kubernetes_token(&self, token: &str) {
        lock(&self.world).kubernetes_token = token.to_owned();
    }
}

fn reply(status: StatusCode, body: &Value) -> Response {
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

pub(crate) fn lock(world: &World) -> MutexGuard<'_, State> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Something that was never there before, which begins so.
    fn fresh(&mut self, begin: &str) -> String {
        self.made += 1;
        format!("{begin}{:04}", self.made)
    }

    /// The answer to a login that is good.
    fn grant(&mut self) -> Value {
        let token = self.fresh("hvs.canary-of-a-token-");
        self.tokens.insert(token.clone(), Instant::now() + self.lease);
        json!({"auth": {"client_token": token, "accessor": format!("accessor-of-{token}"), "policies": ["default"],
            "lease_duration": self.lease.as_secs(), "renewable": true, "token_type": "service", "num_uses": 0}})
    }
}
