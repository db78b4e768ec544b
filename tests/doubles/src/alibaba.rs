//! Alibaba Cloud: KMS as far as it keeps secrets, and STS as far as it lends keys for a token. Both answer at one address,
//! and are told apart by the operation.
//!
//! Every signature is checked, with the key's own secret and the token that belongs to it; no nonce is taken twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use crate::Server;
use crate::text::{decoded, pairs};

/// The role that STS lends keys for.
pub const ROLE: &str = "acs:ram::1:role/keyferry";
/// Who vouches for the tokens.
pub const PROVIDER: &str = "acs:ram::1:oidc-provider/lab";

/// A running double; clones are handles of the same one.
#[derive(Clone)]
pub struct Double {
    server: Server,
    shared: Arc<Mutex<Store>>,
}

struct Store {
    keys: BTreeMap<String, Key>,
    token: String,
    life: Duration,
    nonces: BTreeSet<String>,
    secrets: BTreeMap<String, Secret>,
    forbidden: BTreeSet<String>,
    has_batches: bool,
    may_list: bool,
    always: Option<(u16, String)>,
    lists: Option<(usize, u16, String)>,
}

struct Key {
    secret: String,
    token: Option<String>,
    end: Option<Instant>,
}

#[derive(Default)]
struct Secret {
    versions: Vec<(String, String)>,
    tags: BTreeMap<String, String>,
    is_deleted: bool,
}

impl Double {
    /// A user has this access key; STS lends keys to whoever brings this token.
    pub fn start(id: &str, secret: &str, token: &str) -> Self {
        let key = Key { secret: secret.to_owned(), token: None, end: None };
        let shared = Arc::new(Mutex::new(Store {
            keys: BTreeMap::from([(id.to_owned(), key)]),
            token: token.to_owned(),
            life: Duration::from_secs(3600),
            nonces: BTreeSet::new(),
            secrets: BTreeMap::new(),
            forbidden: BTreeSet::new(),
            has_batches: true,
            may_list: true,
            always: None,
            lists: None,
        }));
        Self { server: Server::start(Router::new().fallback(answer).with_state(shared.clone())), shared }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared)
    }

    /// Writes a secret, as a new version, whose id is answered.
    pub fn put(&self, name: &str, value: &str) -> String {
        let mut store = self.lock();
        let versions = &mut store.secrets.entry(name.to_owned()).or_default().versions;
        let id = format!("v{}", versions.len() + 1);
        versions.push((id.clone(), value.to_owned()));
        id
    }

    /// Puts tags on a secret.
    pub fn tag(&self, name: &str, tags: &[(&str, &str)]) {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.lock().secrets.entry(name.to_owned()).or_default().tags.extend(tags);
    }

    /// Deletes a secret for good.
    pub fn delete(&self, name: &str) {
        self.lock().secrets.remove(name);
    }

    /// Marks a secret as deleted: it can be restored for a while.
    pub fn mark_deleted(&self, name: &str) {
        if let Some(secret) = self.lock().secrets.get_mut(name) {
            secret.is_deleted = true;
        }
    }

    /// Nobody may read this secret.
    pub fn forbid(&self, name: &str) {
        self.lock().forbidden.insert(name.to_owned());
    }

    /// This region has no batches.
    pub fn refuse_batches(&self) {
        self.lock().has_batches = false;
    }

    /// Nobody may list secrets.
    pub fn refuse_lists(&self) {
        self.lock().may_list = false;
    }

    /// The user has this access key, too.
    pub fn add_key(&self, id: &str, secret: &str) {
        let key = Key { secret: secret.to_owned(), token: None, end: None };
        self.lock().keys.insert(id.to_owned(), key);
    }

    /// Replaces all access keys by this one.
    pub fn set_key(&self, id: &str, secret: &str) {
        let key = Key { secret: secret.to_owned(), token: None, end: None };
        self.lock().keys = BTreeMap::from([(id.to_owned(), key)]);
    }

    /// Keys are lent for so long from now on.
    pub fn set_life(&self, life: Duration) {
        self.lock().life = life;
    }

    /// Answers so whatever KMS is asked from now on.
    pub fn answer_always(&self, status: u16, body: &str) {
        self.lock().always = Some((status, body.to_owned()));
    }

    /// Answers so many lists, and from then on with this.
    pub fn answer_lists_after(&self, lists: usize, status: u16, body: &str) {
        self.lock().lists = Some((lists, status, body.to_owned()));
    }
}

fn lock(shared: &Mutex<Store>) -> MutexGuard<'_, Store> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

type Parameters = BTreeMap<String, String>;

async fn answer(State(shared): State<Arc<Mutex<Store>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    let mut asked = pairs(query);
    asked.extend(pairs(std::str::from_utf8(&body).unwrap_or_default()));
    let action = header(&head.headers, "x-acs-action").or_else(|| asked.get("Action").cloned()).unwrap_or_default();
    let mut store = lock(&shared);
    if action == "AssumeRoleWithOIDC" {
        return store.lend(&asked);
    }
    if let Err((status, code)) = store.check(head.method.as_str(), query, &head.headers, &body) {
        return problem(status, code);
    }
    if let Some((status, body)) = store.always.clone() {
        return with_body(status, body);
    }
    match action.as_str() {
        "GetSecretValue" => match store.value(&asked) {
            Ok(value) => with_body(200, value.to_string()),
            Err((status, code)) => problem(status, code),
        },
        "BatchGetSecretValue" => store.batch(&asked),
        "DescribeSecret" => store.describe(&asked),
        "ListSecretVersionIds" => store.versions(&asked),
        "ListSecrets" => store.list(&asked),
        _ => problem(404, "InvalidAction.NotFound"),
    }
}

impl Store {
    fn lend(&mut self, asked: &Parameters) -> Response {
        let of = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
        if of("OIDCToken") != self.token {
            return problem(400, "AuthenticationFail.OIDCToken.Invalid");
        }
        if (of("RoleArn"), of("OIDCProviderArn")) != (ROLE, PROVIDER) || of("RoleSessionName").is_empty() {
            return problem(403, "AuthenticationFail.NoPermission");
        }
        let number: u64 = rand::random();
        let (id, secret, token) =
            (format!("STS.{number:x}"), format!("canary-lent-{number:x}"), format!("canary-token-{number:x}"));
        let end = std::time::SystemTime::now() + self.life;
        let key = Key { secret: secret.clone(), token: Some(token.clone()), end: Some(Instant::now() + self.life) };
        self.keys.insert(id.clone(), key);
        let credentials = json!({
            "AccessKeyId": id,
            "AccessKeySecret": secret,
            "SecurityToken": token,
            "Expiration": timestamp(end),
        });
        with_body(200, json!({"RequestId": "lab", "Credentials": credentials}).to_string())
    }

    /// Who called, by the signature; else the status and code that say what is wrong with it.
    fn check(
        &mut self,
        method: &str,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), (u16, &'static str)> {
        let authorization = header(headers, "authorization").unwrap_or_default();
        let parts = authorization.strip_prefix("ACS3-HMAC-SHA256 ").ok_or((400, "MissingAccessKeyId"))?;
        let part = |name: &str| parts.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let incomplete = (400, "IncompleteSignature");
        let id = part("Credential").ok_or(incomplete)?;
        let signed = part("SignedHeaders").ok_or(incomplete)?;
        let signature = part("Signature").ok_or(incomplete)?;
        let key = self.keys.get(id).ok_or((404, "InvalidAccessKeyId.NotFound"))?;
        if key.end.is_some_and(|end| end <= Instant::now()) {
            return Err((400, "InvalidSecurityToken.Expired"));
        }
        if header(headers, "x-acs-security-token") != key.token {
            return Err((400, "InvalidSecurityToken.MismatchWithAccessKey"));
        }
        let names: Vec<&str> = signed.split(';').collect();
        for needed in
            ["host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"]
        {
            if !names.contains(&needed) {
                return Err(incomplete);
            }
        }
        if header(headers, "x-acs-version").as_deref() != Some("2016-01-20") {
            return Err((400, "InvalidVersion"));
        }
        let hash = hex(digest(&SHA256, body).as_ref());
        if header(headers, "x-acs-content-sha256").as_deref() != Some(&hash) {
            return Err((400, "SignatureDoesNotMatch"));
        }
        let canonical = canonical(method, query, headers, &names, &hash);
        let text = format!("ACS3-HMAC-SHA256\n{}", hex(digest(&SHA256, canonical.as_bytes()).as_ref()));
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.secret.as_bytes()), text.as_bytes());
        if signature != hex(expected.as_ref()) {
            return Err((400, "SignatureDoesNotMatch"));
        }
        let nonce = header(headers, "x-acs-signature-nonce").unwrap_or_default();
        if self.nonces.insert(nonce) { Ok(()) } else { Err((400, "SignatureNonceUsed")) }
    }

    fn known(&self, name: &str) -> Result<&Secret, (u16, &'static str)> {
        let secret = self.secrets.get(name).ok_or((404, "Forbidden.ResourceNotFound"))?;
        if self.forbidden.contains(name) { Err((403, "Forbidden.NoPermission")) } else { Ok(secret) }
    }

    fn value(&self, asked: &Parameters) -> Result<Value, (u16, &'static str)> {
        let name = asked.get("SecretName").filter(|name| takes(name)).ok_or((400, "InvalidParameter"))?;
        let secret = self.known(name)?;
        if secret.is_deleted {
            return Err((409, "Rejected.ResourceInDeleteWindow"));
        }
        let last = secret.versions.len();
        let index = match (asked.get("VersionId"), asked.get("VersionStage").map(String::as_str)) {
            (Some(id), _) => secret.versions.iter().position(|(own, _)| own == id),
            (None, None | Some("ACSCurrent")) => last.checked_sub(1),
            (None, Some("ACSPrevious")) => last.checked_sub(2),
            (None, Some(_)) => None,
        };
        let index = index.ok_or((404, "Forbidden.ResourceNotFound"))?;
        let (id, value) = &secret.versions[index];
        Ok(json!({
            "RequestId": "lab",
            "SecretName": name,
            "VersionId": id,
            "VersionStages": {"VersionStage": stages(index, last)},
            "SecretData": value,
            "SecretDataType": "text",
            "SecretType": "Generic",
            "CreateTime": "2026-01-01T00:00:00Z",
        }))
    }

    fn batch(&self, asked: &Parameters) -> Response {
        if !self.has_batches {
            return problem(404, "InvalidAction.NotFound");
        }
        let list = asked.get("SecretsList").and_then(|list| serde_json::from_str::<Vec<Parameters>>(list).ok());
        let Some(list) = list.filter(|list| (1..=20).contains(&list.len())) else {
            return problem(400, "InvalidParameter");
        };
        let names: BTreeSet<&str> = list.iter().filter_map(|one| one.get("SecretName").map(String::as_str)).collect();
        if names.len() != list.len() {
            return problem(400, "InvalidParameter");
        }
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for one in &list {
            match self.value(one) {
                Ok(value) => values.push(value),
                Err((status, code)) => errors.push(json!({
                    "SecretName": one["SecretName"],
                    "Code": code,
                    "HttpStatus": status.to_string(),
                    "Message": "canary-of-a-message",
                })),
            }
        }
        with_body(200, json!({"RequestId": "lab", "SecretValues": values, "Errors": errors}).to_string())
    }

    fn describe(&self, asked: &Parameters) -> Response {
        let name = asked.get("SecretName").map(String::as_str).unwrap_or_default();
        match self.known(name) {
            Ok(secret) => with_body(200, described(name, secret, asked).to_string()),
            Err((status, code)) => problem(status, code),
        }
    }

    fn versions(&self, asked: &Parameters) -> Response {
        let name = asked.get("SecretName").map(String::as_str).unwrap_or_default();
        let secret = match self.known(name) {
            Ok(secret) => secret,
            Err((status, code)) => return problem(status, code),
        };
        let last = secret.versions.len();
        let versions: Vec<Value> = (0..last)
            .map(|n| json!({"VersionId": secret.versions[n].0, "VersionStages": {"VersionStage": stages(n, last)}}))
            .collect();
        let answer =
            json!({"SecretName": name, "VersionIds": {"VersionId": versions}, "TotalCount": last, "PageNumber": 1});
        with_body(200, answer.to_string())
    }

    fn list(&mut self, asked: &Parameters) -> Response {
        if !self.may_list {
            return problem(403, "Forbidden.NoPermission");
        }
        match &mut self.lists {
            Some((0, status, body)) => return with_body(*status, body.clone()),
            Some((left, ..)) => *left -= 1,
            None => {}
        }
        let number = |name: &str, default| asked.get(name).map_or(Ok(default), |text| text.parse::<usize>());
        let (Ok(page), Ok(size @ 1..=100)) = (number("PageNumber", 1), number("PageSize", 10)) else {
            return problem(400, "InvalidParameter");
        };
        let from = page.saturating_sub(1) * size;
        let listed: Vec<Value> =
            self.secrets.iter().skip(from).take(size).map(|(name, secret)| described(name, secret, asked)).collect();
        let answer = json!({
            "RequestId": "lab",
            "PageNumber": page,
            "PageSize": size,
            "TotalCount": self.secrets.len(),
            "SecretList": {"Secret": listed},
        });
        with_body(200, answer.to_string())
    }
}

/// What KMS takes for a name.
fn takes(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 192
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_/+=.@-".contains(&byte))
}

fn stages(index: usize, last: usize) -> Value {
    match last - index {
        1 => json!(["ACSCurrent"]),
        2 => json!(["ACSPrevious"]),
        _ => json!([]),
    }
}

fn described(name: &str, secret: &Secret, asked: &Parameters) -> Value {
    let mut all = json!({
        "SecretName": name,
        "SecretType": "Generic",
        "CreateTime": "2026-01-01T00:00:00Z",
        "UpdateTime": "2026-01-01T00:00:00Z",
    });
    if secret.is_deleted {
        all["PlannedDeleteTime"] = json!("2027-01-01T00:00:00Z");
    }
    if asked.get("FetchTags").is_some_and(|fetch| fetch == "true") {
        let tags: Vec<Value> =
            secret.tags.iter().map(|(key, value)| json!({"TagKey": key, "TagValue": value})).collect();
        all["Tags"] = json!({"Tag": tags});
    }
    all
}

/// The request as it is signed.
fn canonical(method: &str, query: &str, headers: &HeaderMap, names: &[&str], hash: &str) -> String {
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            format!("{}={}", encoded(&decoded(name)), encoded(&decoded(&value.replace('+', " "))))
        })
        .collect();
    parameters.sort_unstable();
    let lines: String =
        names.iter().map(|name| format!("{name}:{}\n", header(headers, name).unwrap_or_default().trim())).collect();
    format!("{method}\n/\n{}\n{lines}\n{}\n{hash}", parameters.join("&"), names.join(";"))
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// A time in the API's form.
fn timestamp(time: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn problem(status: u16, code: &str) -> Response {
    let body = json!({"RequestId": "lab", "HostId": "lab", "Code": code, "Message": "canary-of-a-message"});
    with_body(status, body.to_string())
}

fn with_body(status: u16, body: String) -> Response {
    Response::builder().status(status).header("content-type", "application/json").body(body.into()).expect("an answer")
}
