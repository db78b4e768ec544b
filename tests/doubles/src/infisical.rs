//! Infisical: one environment of a project, in folders that may import others, and the logins of machine identities.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::asked::{self, Asked};
use crate::signature::{self, OracleRequest, OracleUser};
use crate::trusted::Trusted;
use crate::{Account, Server};

/// The id and the secret of a universal login.
pub const CLIENT: (&str, &str) = ("a1b2-client", "canary-of-the-client-secret");
/// An identity, and what shows it: a JWT of whoever issued it, or the operator's own of Kubernetes, Azure or Google.
pub const IDENTITY: (&str, &str) = ("c3d4-identity", "canary-of-the-jwt");
/// The user and the password of a login by LDAP.
pub const USER: (&str, &str) = ("machine", "canary-of-the-password");
/// A token that somebody made.
pub const TOKEN: &str = "canary-of-a-made-token";

const SLUG: &str = "shop";
/// The id of the project `shop`.
pub const PROJECT: &str = "9e51c2d8-project";
const ENVIRONMENT: &str = "dev";

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The secrets of the universal login's client.
    secrets_of_client: Trusted,
    folders: BTreeSet<String>,
    /// By folder and name.
    secrets: BTreeMap<(String, String), Secret>,
    /// What folders import, by folder.
    imports: BTreeMap<String, Vec<String>>,
    /// A service account of Google, and a user of Oracle's cloud, that are the identity.
    google: Arc<Account>,
    oracle: Arc<OracleUser>,
    sessions: BTreeMap<String, SystemTime>,
    logins: Vec<String>,
    life: Duration,
    hides_values: bool,
    /// Names of secrets that nobody may read.
    denied: BTreeSet<String>,
    environment: String,
}

#[derive(Clone)]
struct Secret {
    value: String,
    version: u64,
}

impl Double {
    /// One without secrets, but with the root of the environment `dev` of the project `shop`.
    pub fn start() -> Self {
        let state = State {
            secrets_of_client: Trusted::one(CLIENT.1),
            folders: ["/".to_owned()].into(),
            secrets: BTreeMap::new(),
            imports: BTreeMap::new(),
            google: Arc::new(Account::new("app@p.iam.gserviceaccount.com")),
            oracle: Arc::new(OracleUser::new("ocid1.tenancy.x", "ocid1.user.x", "aa:bb")),
            sessions: BTreeMap::new(),
            logins: Vec::new(),
            life: Duration::from_secs(7200),
            hides_values: false,
            denied: BTreeSet::new(),
            environment: ENVIRONMENT.to_owned(),
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

    /// The service account of Google that is the identity.
    pub fn google(&self) -> Arc<Account> {
        self.state().google.clone()
    }

    /// The user of Oracle's cloud that is the identity.
    pub fn oracle(&self) -> Arc<OracleUser> {
        self.state().oracle.clone()
    }

    /// Writes a secret in a folder, which is made where it is not there.
    pub fn put(&self, folder: &str, name: &str, value: &str) {
        let mut state = self.state();
        state.make(folder);
        state.write(folder, name, value);
    }

    /// Removes a secret.
    pub fn delete(&self, folder: &str, name: &str) {
        self.state().secrets.remove(&(folder.to_owned(), name.to_owned()));
    }

    /// Lets in whoever has this client secret, too.
    pub fn trust(&self, secret: &str) {
        self.state().secrets_of_client.add(secret);
    }

    /// Lets in nobody any more but with the last client secret that was trusted.
    pub fn retire(&self) {
        self.state().secrets_of_client.retire();
    }

    /// Has a folder import another.
    pub fn import(&self, into: &str, from: &str) {
        let mut state = self.state();
        state.make(into);
        state.make(from);
        state.imports.entry(into.to_owned()).or_default().push(from.to_owned());
    }

    /// How long the tokens of logins are good from now on.
    pub fn logins_last(&self, life: Duration) {
        self.state().life = life;
    }

    /// The logins so far, by the path of their method.
    pub fn logins(&self) -> Vec<String> {
        self.state().logins.clone()
    }

    /// How many tokens of logins are good.
    pub fn sessions(&self) -> usize {
        self.state().sessions.len()
    }

    /// Another secret of the client in place of the one that it has; all logins have ended.
    pub fn set_secret(&self, secret: &str) {
        let mut state = self.state();
        state.secrets_of_client = Trusted::one(secret);
        state.sessions.clear();
    }

    /// Lets nobody read secrets of this name.
    pub fn deny(&self, name: &str) {
        self.state().denied.insert(name.to_owned());
    }

    /// Calls the environment otherwise from now on.
    pub fn rename_environment(&self, slug: &str) {
        slug.clone_into(&mut self.state().environment);
    }

    /// Shows values to nobody from now on.
    pub fn hide_values(&self) {
        self.state().hides_values = true;
    }
}

impl State {
    fn make(&mut self, folder: &str) {
        for (at, _) in folder.match_indices('/').filter(|(at, _)| *at > 0) {
            self.folders.insert(folder[..at].to_owned());
        }
        self.folders.insert(folder.to_owned());
    }

    fn write(&mut self, folder: &str, name: &str, value: &str) {
        let place = (folder.to_owned(), name.to_owned());
        let version = self.secrets.get(&place).map_or(0, |secret| secret.version) + 1;
        self.secrets.insert(place, Secret { value: value.to_owned(), version });
    }
}

fn wrong(status: u16, error: &str, message: &str) -> Response {
    asked::json(status, &json!({"reqId": "req-x", "statusCode": status, "message": message, "error": error}))
}

fn answer(asked: &Asked, state: &mut State) -> Response {
    let (method, path) = asked.what();
    let ["api", rest @ ..] = &path[..] else { return wrong(404, "Error", "Route not found") };
    if let ("POST", ["v1", "auth", login, "login"]) = (method, rest) {
        return log_in(asked, login, state);
    }
    let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    let is_session = state.sessions.get(token).is_some_and(|end| *end > SystemTime::now());
    if token != TOKEN && !is_session {
        return wrong(401, "Unauthorized", "Token missing or expired");
    }
    match (method, rest) {
        ("POST", ["v1", "auth", "token", "revoke"]) => {
            state.sessions.remove(asked.text("accessToken"));
            asked::json(200, &json!({"message": "Successfully revoked access token"}))
        }
        ("GET", ["v1", "projects", "slug", SLUG]) => asked::json(200, &json!({"id": PROJECT, "slug": SLUG})),
        ("GET", ["v1", "projects", "slug", _]) => wrong(404, "NotFound", "Project with slug 'that one' not found"),
        ("GET", ["v3", "secrets", "raw"]) => match place(asked, state) {
            Ok((folder, true)) => list(asked, &folder, state),
            // A list of what is not there is empty.
            Ok((_, false)) => asked::json(200, &json!({"secrets": [], "imports": []})),
            Err(answer) => *answer,
        },
        (_, ["v3", "secrets", "raw", name]) => match place(asked, state) {
            Ok((folder, true)) => one(asked, &folder, name, state),
            // The same where there is no such environment.
            Ok((folder, false)) => {
                let environment = given(asked, "environment");
                let message = format!("Folder with path '{folder}' in environment with slug '{environment}' not found");
                wrong(404, "NotFound", &message)
            }
            Err(answer) => *answer,
        },
        _ => wrong(404, "Error", "Route not found"),
    }
}

fn log_in(asked: &Asked, method: &str, state: &mut State) -> Response {
    let shown = |names: [&str; 2]| names.map(|name| asked.text(name));
    let fits = match method {
        "universal-auth" => {
            asked.text("clientId") == CLIENT.0 && state.secrets_of_client.holds(asked.text("clientSecret"))
        }
        "jwt-auth" | "kubernetes-auth" | "azure-auth" => shown(["identityId", "jwt"]) == [IDENTITY.0, IDENTITY.1],
        // A token of the metadata server's, or one that a service account signed for the identity.
        "gcp-auth" => {
            let signed = || state.google.read(asked.text("jwt")).is_some_and(|claims| claims["aud"] == IDENTITY.0);
            asked.text("identityId") == IDENTITY.0 && (asked.text("jwt") == IDENTITY.1 || signed())
        }
        "aws-auth" => asked.text("identityId") == IDENTITY.0 && is_by_machine(asked).unwrap_or(false),
        "oci-auth" => asked.text("identityId") == IDENTITY.0 && is_by_oracle(asked, state).unwrap_or(false),
        "ldap-auth" => shown(["username", "password"]) == [USER.0, USER.1] && asked.text("identityId") == IDENTITY.0,
        _ => return wrong(404, "Error", "Route not found"),
    };
    if !fits {
        return wrong(401, "Unauthorized", "Invalid credentials");
    }
    state.logins.push(method.to_owned());
    let token = format!("canary-of-session-{}", state.logins.len());
    state.sessions.insert(token.clone(), SystemTime::now() + state.life);
    let seconds = state.life.as_secs();
    let body = json!({"accessToken": token, "expiresIn": seconds, "accessTokenMaxTTL": seconds, "tokenType": "Bearer"});
    asked::json(200, &body)
}

/// Whether the machine signed a call to STS. Its host is of the region that the signature names.
fn is_by_machine(asked: &Asked) -> Option<bool> {
    let decoded = |name: &str| String::from_utf8(STANDARD.decode(asked.text(name)).ok()?).ok();
    let headers: Value = serde_json::from_str(&decoded("iamRequestHeaders")?).ok()?;
    let region = signature::region(headers["Authorization"].as_str()?)?;
    let host = format!("sts.{region}.amazonaws.com");
    let asks = signature::asks_for_machine(&host, &headers, &decoded("iamRequestBody")?);
    Some(asked.text("iamHttpRequestMethod") == "POST" && headers["Host"] == host.as_str() && asks)
}

/// Whether a user of Oracle's cloud signed a question for himself.
fn is_by_oracle(asked: &Asked, state: &State) -> Option<bool> {
    let header = |name: &str| asked.body["headers"][name].as_str().map(str::to_owned);
    let host = header("host")?;
    let region = host.strip_prefix("identity.")?.strip_suffix(".oraclecloud.com")?;
    let user = asked.text("userOcid");
    let target = format!("/20160918/users/{user}");
    let request = OracleRequest { method: "GET", target: &target, header: &header, body: b"" };
    let signed = state.oracle.has_signed(request);
    Some(region.split('-').count() == 3 && user == state.oracle.id() && signed)
}

fn given(asked: &Asked, name: &str) -> String {
    match asked.query.get(name) {
        Some(value) => value.clone(),
        None => asked.text(name).to_owned(),
    }
}

/// The folder that is asked for, and whether it is there, in the project that there is.
fn place(asked: &Asked, state: &State) -> Result<(String, bool), Box<Response>> {
    let given = |name: &str| given(asked, name);
    let (id, slug) = (given("workspaceId"), given("workspaceSlug") + &given("projectSlug"));
    if id != PROJECT && slug != SLUG {
        return Err(Box::new(wrong(404, "NotFound", "Project with slug 'that one' not found")));
    }
    let folder = given("secretPath");
    let folder = if folder.is_empty() { "/".to_owned() } else { folder };
    let is_of_environment = given("environment") == state.environment;
    if !is_of_environment && given("recursive") == "true" {
        return Err(Box::new(wrong(
            404,
            "NotFound",
            "Environment with slug 'that one' in project with ID x not found",
        )));
    }
    let is_there = is_of_environment && state.folders.contains(&folder);
    Ok((folder, is_there))
}

fn shown(state: &State, folder: &str, name: &str, secret: &Secret, asked: &Asked) -> Value {
    let hidden = state.hides_values || asked.query("viewSecretValue") == "false";
    let expanded = asked.query("expandSecretReferences") != "false";
    let value = if hidden {
        "<hidden-by-infisical>".to_owned()
    } else if expanded {
        expand(state, folder, &secret.value)
    } else {
        secret.value.clone()
    };
    json!({
        "id": format!("id-{name}"), "_id": format!("id-{name}"), "workspace": PROJECT, "environment": ENVIRONMENT,
        "version": secret.version, "type": "shared", "secretKey": name, "secretValue": value, "secretComment": "",
        "secretPath": folder, "secretValueHidden": hidden, "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z", "tags": [],
    })
}

/// References to secrets of the same folder, `${NAME}`, once.
fn expand(state: &State, folder: &str, value: &str) -> String {
    let own = state.secrets.iter().filter(|((of, _), _)| of == folder);
    own.fold(value.to_owned(), |value, ((_, name), secret)| value.replace(&format!("${{{name}}}"), &secret.value))
}

fn list(asked: &Asked, folder: &str, state: &State) -> Response {
    let below = format!("{}/", folder.trim_end_matches('/'));
    let is_in = |of: &str| of == folder || (asked.query("recursive") == "true" && of.starts_with(&below));
    let of = |is_in: &dyn Fn(&str) -> bool| {
        let found = state.secrets.iter().filter(|((of, _), _)| is_in(of));
        found.map(|((of, name), secret)| shown(state, of, name, secret, asked)).collect::<Vec<_>>()
    };
    let mut imports = Vec::new();
    if asked.query("include_imports") == "true" {
        for from in state.imports.get(folder).into_iter().flatten() {
            let secrets = of(&|of: &str| of == from);
            imports.push(json!({"secretPath": from, "environment": ENVIRONMENT, "folderId": "f", "secrets": secrets}));
        }
    }
    asked::json(200, &json!({"secrets": of(&is_in), "imports": imports}))
}

fn one(asked: &Asked, folder: &str, name: &str, state: &mut State) -> Response {
    let missing = || wrong(404, "NotFound", &format!("Secret with name '{name}' not found"));
    let place = (folder.to_owned(), name.to_owned());
    if asked.method == "GET" && state.denied.contains(name) {
        return wrong(403, "PermissionDenied", "You are not allowed to read on secrets");
    }
    let there = state.secrets.get(&place).cloned();
    match (asked.method.as_str(), there) {
        ("GET", Some(secret)) => asked::json(200, &json!({"secret": shown(state, folder, name, &secret, asked)})),
        ("GET", None) if asked.query("include_imports") == "true" => {
            let imported = state.imports.get(folder).into_iter().flatten();
            let found = imported.rev().find_map(|from| {
                let secret = state.secrets.get(&(from.clone(), name.to_owned()))?;
                Some(shown(state, from, name, secret, asked))
            });
            found.map_or_else(missing, |secret| asked::json(200, &json!({"secret": secret})))
        }
        ("POST", Some(_)) => wrong(400, "BadRequest", "Secret already exist"),
        ("POST", None) | ("PATCH", Some(_)) => {
            state.write(folder, name, asked.text("secretValue"));
            let secret = state.secrets[&place].clone();
            asked::json(200, &json!({"secret": shown(state, folder, name, &secret, asked)}))
        }
        ("DELETE", Some(secret)) => {
            state.secrets.remove(&place);
            asked::json(200, &json!({"secret": shown(state, folder, name, &secret, asked)}))
        }
        _ => missing(),
    }
}
