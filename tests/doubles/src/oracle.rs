//! Oracle Cloud Infrastructure Vault: secrets of a vault, with versions and tags, for whoever signs; and the metadata service of a
//! machine, with who gives it tokens. Written from the vendor's documents alone: no client of theirs has spoken to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use crate::asked::{self, Asked};
use crate::signature::OracleRequest;
use crate::{OracleUser, Server};

/// The vault, the compartment that it is in, and the key that its secrets are encrypted with.
pub const PLACE: [&str; 3] = ["ocid1.vault.x", "ocid1.compartment.x", "ocid1.key.x"];
/// The tenancy, and the user who signs.
pub const USER: (&str, &str) = ("ocid1.tenancy.x", "ocid1.user.x");
/// The fingerprint of the key that there is at first.
pub const FINGERPRINT: &str = "aa:bb:01";

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Who may sign, the newest last.
    users: Vec<Arc<OracleUser>>,
    secrets: BTreeMap<String, Secret>,
    hidden: BTreeSet<String>,
    /// Names of secrets that wait for their deletion, and until when they do.
    going: BTreeMap<String, Value>,
    machine: Machine,
}

/// The machine that the metadata service speaks of.
struct Machine {
    /// Who signs with the key of its certificate.
    leaf: OracleUser,
    certificate: Vec<u8>,
    /// The tokens that are good, each with the key that it was given for.
    tokens: Vec<(String, Vec<u8>)>,
    given: usize,
    /// Whether no dynamic group has it.
    is_stranger: bool,
}

impl Machine {
    fn new() -> Self {
        let leaf = OracleUser::new(USER.0, "fed-x509", "");
        let key = KeyPair::from_pem(&leaf.private_key()).expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ocid1.instance.x");
        params.distinguished_name.push(DnType::OrganizationalUnitName, format!("opc-tenant:{}", USER.0));
        let certificate = params.self_signed(&key).expect("a certificate").der().to_vec();
        let print = digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        let print: Vec<String> = print.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let leaf = leaf.with_fingerprint(print.join(":"));
        Self { leaf, certificate, tokens: Vec::new(), given: 0, is_stranger: false }
    }

    /// What the metadata service has at this path.
    fn tell(&self, asked: &Asked, path: &[&str]) -> Response {
        let text = |text: String| asked::with(200, "text/plain", text, &[]);
        match path {
            _ if asked.header("authorization") != "Bearer Oracle" => wrong(401, "NotAuthenticated"),
            ["identity", "cert.pem" | "intermediate.pem"] => text(crate::text::pem("CERTIFICATE", &self.certificate)),
            ["identity", "key.pem"] => text(self.leaf.private_key()),
            ["instance", "regionInfo"] => asked::json(
                200,
                &json!({"realmKey": "oc1", "realmDomainComponent": "oraclecloud.com", "regionKey": "FRA",
                    "regionIdentifier": "eu-frankfurt-1"}),
            ),
            _ => missing(),
        }
    }

    /// Gives a token for the key that is shown, to whoever has the certificate's.
    fn federate(&mut self, asked: &Asked, request: OracleRequest<'_>) -> Response {
        let certificate = STANDARD.decode(asked.text("certificate")).unwrap_or_default();
        let public = STANDARD.decode(asked.text("publicKey")).unwrap_or_default();
        let is_it = certificate == self.certificate && asked.body["intermediateCertificates"][0].is_string();
        if self.is_stranger || !is_it || !self.leaf.has_signed(request) {
            return wrong(401, "NotAuthenticated");
        }
        self.given += 1;
        let claims = json!({"sub": "ocid1.instance.x", "exp": 4_102_444_800_u64, "n": self.given}).to_string();
        let token = format!("canary-of-a-header.{}.canary-of-a-signature", URL_SAFE_NO_PAD.encode(claims));
        self.tokens.push((token.clone(), public));
        asked::json(200, &json!({ "token": token }))
    }
}

struct Secret {
    versions: Vec<Vec<u8>>,
    tags: BTreeMap<String, String>,
}

impl Double {
    /// One without secrets.
    pub fn start() -> Self {
        let users = vec![Arc::new(OracleUser::new(USER.0, USER.1, FINGERPRINT))];
        let (secrets, hidden, going) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let state = State { users, secrets, hidden, going, machine: Machine::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let router = Router::new().fallback(move |request: Request| {
            let state = shared.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 16 << 20).await.unwrap_or_default();
                let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
                let asked = Asked::of(Request::from_parts(parts, Body::from(body.clone()))).await;
                answer(&asked, &target, &body, &mut state.lock().expect("no test panics with it"))
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

    /// Who may sign since last.
    ///
    /// # Panics
    /// Never: somebody may.
    pub fn user(&self) -> Arc<OracleUser> {
        self.state().users.last().expect("somebody may sign").clone()
    }

    /// Gives the user another key beside those that there are, with this fingerprint.
    pub fn add_key(&self, fingerprint: &str) {
        self.state().users.push(Arc::new(OracleUser::new(USER.0, USER.1, fingerprint)));
    }

    /// Takes all keys from the user but the last.
    pub fn retire(&self) {
        let mut state = self.state();
        let old = state.users.len() - 1;
        state.users.drain(..old);
    }

    /// How many tokens machines were given.
    pub fn tokens_given(&self) -> usize {
        self.state().machine.given
    }

    /// Takes the machine out of every dynamic group.
    pub fn forget_machine(&self) {
        self.state().machine.is_stranger = true;
    }

    /// Writes a secret with these tags, as a new version where there was one. Gives the number of the version.
    pub fn put(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) -> usize {
        let mut state = self.state();
        let tags = tags.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned()));
        let secret =
            state.secrets.entry(name.to_owned()).or_insert(Secret { versions: Vec::new(), tags: BTreeMap::new() });
        secret.tags.extend(tags);
        secret.versions.push(value.to_vec());
        secret.versions.len()
    }

    /// Removes a secret.
    pub fn delete(&self, name: &str) {
        self.state().secrets.remove(name);
    }

    /// Takes the right to a secret from the user, so that it is as if it were not there.
    pub fn hide(&self, name: &str) {
        self.state().hidden.insert(name.to_owned());
    }

    /// When the secrets that wait for it will be deleted, as whoever asked said.
    pub fn going(&self) -> Vec<(String, Value)> {
        self.state().going.clone().into_iter().collect()
    }
}

fn wrong(status: u16, code: &str) -> Response {
    asked::json(status, &json!({"code": code, "message": "Authorization failed or requested resource not found."}))
}

fn answer(asked: &Asked, target: &str, body: &[u8], state: &mut State) -> Response {
    let header = |name: &str| asked.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request = OracleRequest { method: &asked.method, target, header: &header, body };
    let (method, path) = asked.what();
    match (method, &path[..]) {
        ("GET", ["opc", "v2", path @ ..]) => return state.machine.tell(asked, path),
        ("POST", ["v1", "x509"]) => return state.machine.federate(asked, request),
        _ => {}
    }
    let has_token = |(token, key): &(String, Vec<u8>)| request.is_signed_by(&format!("ST${token}"), key);
    if !state.users.iter().any(|user| user.has_signed(request)) && !state.machine.tokens.iter().any(has_token) {
        return wrong(401, "NotAuthenticated");
    }
    match (method, &path[..]) {
        ("POST", ["20190301", "secretbundles", "actions", "getByName"]) => bundle(asked, state),
        ("GET", ["20180608", "secrets"]) => list(asked, state),
        ("POST", ["20180608", "secrets"]) => make(asked, state),
        (method, ["20180608", "secrets", id, more @ ..]) => change(asked, method, id, more, state),
        _ => wrong(404, "NotFound"),
    }
}

fn missing() -> Response {
    wrong(404, "NotAuthorizedOrNotFound")
}

/// Which version is asked for; none where there is no such one.
fn version(asked: &Asked, secret: &Secret) -> Option<usize> {
    let last = secret.versions.len();
    let number = match (asked.query("versionNumber"), asked.query("stage")) {
        ("", "" | "CURRENT" | "LATEST") => last,
        ("", "PREVIOUS") => last.checked_sub(1)?,
        ("", _) => return None,
        (number, _) => number.parse().ok()?,
    };
    (1..=last).contains(&number).then_some(number)
}

fn bundle(asked: &Asked, state: &State) -> Response {
    let name = asked.query("secretName");
    let there = state.secrets.get(name).filter(|_| asked.query("vaultId") == PLACE[0] && !state.hidden.contains(name));
    let Some((secret, number)) = there.and_then(|secret| Some((secret, version(asked, secret)?))) else {
        return missing();
    };
    let content = STANDARD.encode(&secret.versions[number - 1]);
    asked::json(
        200,
        &json!({"secretId": format!("ocid1.secret.{name}"), "versionNumber": number, "stages": ["CURRENT", "LATEST"],
            "timeCreated": "2026-01-01T00:00:00Z", "secretBundleContent": {"contentType": "BASE64", "content": content}}),
    )
}

fn list(asked: &Asked, state: &State) -> Response {
    if [asked.query("vaultId"), asked.query("compartmentId")] != PLACE[..2] {
        return missing();
    }
    let shown = |name: &String, tags: &BTreeMap<String, String>, ends: Value| {
        let status = if ends.is_null() { "ACTIVE" } else { "PENDING_DELETION" };
        json!({"id": format!("ocid1.secret.{name}"), "secretName": name, "vaultId": PLACE[0], "compartmentId": PLACE[1],
            "lifecycleState": status, "timeOfDeletion": ends, "freeformTags": tags})
    };
    let active = state.secrets.iter().map(|(name, secret)| shown(name, &secret.tags, Value::Null));
    let going = state.going.keys().map(|name| shown(name, &BTreeMap::new(), json!("2036-01-01T00:00:00Z")));
    let named = asked.query("name");
    let all: Vec<Value> =
        active.chain(going).filter(|secret| named.is_empty() || secret["secretName"] == named).collect();
    let (first, size): (usize, usize) =
        (asked.query("page").parse().unwrap_or(0), asked.query("limit").parse().unwrap_or(10));
    let next = (first + size < all.len()).then(|| (first + size).to_string());
    let page: Vec<&Value> = all.iter().skip(first).take(size).collect();
    let headers: Vec<_> = next.into_iter().map(|next| ("opc-next-page", next)).collect();
    asked::with(200, "application/json", json!(page).to_string(), &headers)
}

fn content(asked: &Asked) -> Option<Vec<u8>> {
    let content = &asked.body["secretContent"];
    let encoded = content["content"].as_str().filter(|_| content["contentType"] == "BASE64")?;
    STANDARD.decode(encoded).ok()
}

fn make(asked: &Asked, state: &mut State) -> Response {
    let name = asked.text("secretName").to_owned();
    if [asked.text("vaultId"), asked.text("compartmentId"), asked.text("keyId")] != PLACE {
        return missing();
    }
    if state.secrets.contains_key(&name) || state.going.contains_key(&name) {
        return wrong(409, "NotAuthorizedOrResourceAlreadyExists");
    }
    let Some(value) = content(asked) else { return wrong(400, "InvalidParameter") };
    state.secrets.insert(name.clone(), Secret { versions: vec![value], tags: BTreeMap::new() });
    asked::json(200, &json!({"id": format!("ocid1.secret.{name}"), "secretName": name}))
}

fn change(asked: &Asked, method: &str, id: &str, more: &[&str], state: &mut State) -> Response {
    let Some(name) = id.strip_prefix("ocid1.secret.").filter(|name| state.secrets.contains_key(*name)) else {
        return missing();
    };
    match (method, more) {
        ("PUT", []) => {
            let Some(value) = content(asked) else { return wrong(400, "InvalidParameter") };
            state.secrets.get_mut(name).expect("it is there").versions.push(value);
            asked::json(200, &json!({"id": id, "secretName": name}))
        }
        ("POST", ["actions", "scheduleDeletion"]) => {
            state.secrets.remove(name);
            state.going.insert(name.to_owned(), asked.body["timeOfDeletion"].clone());
            asked::with(200, "application/json", String::new(), &[])
        }
        _ => wrong(404, "NotFound"),
    }
}
