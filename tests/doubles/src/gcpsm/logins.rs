//! The servers by which users log in, and the tokens that they gave.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::signed::{Pair, asked_by};
use super::{ACCOUNT, Asked, NUMBER, PROJECT, Said, decoded, error, fields, text};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const OF_AWS: &str = "urn:ietf:params:aws:token-type:aws4_request";

/// The account's key, and one that was taken from it. Keys take their time: all doubles of a program have the same.
static KEYS: LazyLock<[Arc<Pair>; 2]> = LazyLock::new(|| [Pair::new(), Pair::new()].map(Arc::new));

/// Who may log in, and who has.
pub(super) struct Logins {
    /// Where the double is.
    pub url: String,
    /// The keys of the account, the newest last.
    keys: Vec<Arc<Pair>>,
    pub tokens: HashMap<String, Instant>,
    pub length: Duration,
    /// Tokens of others, and whom they are shown for.
    pub subjects: HashSet<(String, String)>,
    /// Secret access keys of AWS by their ids.
    pub aws: HashMap<String, String>,
    /// Service accounts that may be acted as.
    pub accounts: HashSet<String>,
    /// What somebody else gives.
    pub given: String,
    /// Whether the machine has a service account.
    pub is_machine: bool,
    count: u64,
}

impl Logins {
    pub fn new() -> Self {
        Self {
            url: String::new(),
            keys: vec![KEYS[0].clone()],
            tokens: HashMap::new(),
            length: Duration::from_secs(3599),
            subjects: HashSet::new(),
            aws: HashMap::new(),
            accounts: HashSet::new(),
            given: String::new(),
            is_machine: true,
            count: 0,
        }
    }

    /// The account has another key from now on, and what it logged in with the one before has ended.
    pub fn rotate(&mut self) {
        self.add_key();
        self.retire_keys();
        self.tokens.clear();
    }

    /// A key file, with the account's newest key or one that it had.
    pub fn key_file(&self, is_good: bool) -> String {
        let pair = self.keys.last().filter(|_| is_good).unwrap_or(&KEYS[1]);
        json!({
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "0a1b2c3d",
            "private_key": pair.pem,
            "client_email": ACCOUNT,
            "client_id": "112233445566778899",
            "token_uri": format!("{}/token", self.url),
            "universe_domain": "googleapis.com",
        })
        .to_string()
    }

    /// Another key of the account.
    pub fn add_key(&mut self) {
        self.keys.push(Arc::new(Pair::new()));
    }

    /// Deletes all keys but the newest.
    pub fn retire_keys(&mut self) {
        self.keys.drain(..self.keys.len().saturating_sub(1));
    }

    /// What an assertion claims, where a key of the account has signed it.
    fn claims(&self, assertion: &str) -> Option<Value> {
        self.keys.iter().find_map(|pair| pair.claims(assertion))
    }

    /// Whether a call bears a token that is good, or what the account's key itself has signed for the API.
    pub fn knows(&self, asked: &Asked) -> bool {
        let Some(token) = asked.bearer() else { return false };
        let is_signed = || {
            let claims = self.claims(token).unwrap_or_default();
            let apis = ["https://secretmanager.googleapis.com/", "https://cloudkms.googleapis.com/"];
            let is_for_api = apis.iter().any(|api| claims["aud"] == *api) || claims["scope"].is_string();
            is_for_api && claims["sub"] == ACCOUNT && in_time(&claims)
        };
        self.tokens.get(token).map_or_else(is_signed, |until| *until > Instant::now())
    }

    /// Answers what is asked of the servers that give tokens; `None` where that is asked of another.
    pub fn answer(&mut self, asked: &Asked) -> Option<Said> {
        match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/token") => Some(self.oauth(asked)),
            ("POST", "/v1/token") => Some(self.exchange(asked)),
            ("POST", path) => {
                let email =
                    path.strip_prefix("/v1/projects/-/serviceAccounts/")?.strip_suffix(":generateAccessToken")?;
                let email = email.to_owned();
                Some(self.act_as(asked, &email))
            }
            _ => None,
        }
    }

    fn give(&mut self) -> String {
        self.count += 1;
        let token = format!("ya29.canary-of-a-token-{}", self.count);
        self.tokens.insert(token.clone(), Instant::now() + self.length);
        token
    }

    fn granted(&mut self) -> Said {
        let seconds = self.length.as_secs();
        (200, json!({"access_token": self.give(), "expires_in": seconds, "token_type": "Bearer"}))
    }

    /// Assertions of key files, and tokens of people.
    fn oauth(&mut self, asked: &Asked) -> Said {
        let form = fields(&String::from_utf8_lossy(&asked.body));
        let get = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        let refused = |why: &str| (400, json!({"error": "invalid_grant", "error_description": why}));
        match get("grant_type") {
            "refresh_token"
                if get("refresh_token") == "canary-of-a-person" && get("client_secret") == "canary-of-gcloud" =>
            {
                self.granted()
            }
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
                let Some(claims) = self.claims(get("assertion")) else { return refused("Invalid JWT Signature.") };
                // Google's own client names Google's place, wherever the key file leads it.
                let host = asked.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
                let is_place = [format!("http://{host}/token"), "https://oauth2.googleapis.com/token".to_owned()]
                    .iter()
                    .any(|place| claims["aud"] == *place);
                let is_for_us = is_place && claims["iss"] == ACCOUNT;
                if in_time(&claims) && is_for_us && claims["scope"].as_str().is_some_and(|scope| !scope.is_empty()) {
                    self.granted()
                } else {
                    refused("Invalid JWT: the claims are not good.")
                }
            }
            _ => refused("Bad Request"),
        }
    }

    /// Others' tokens.
    fn exchange(&mut self, asked: &Asked) -> Said {
        let form = fields(&String::from_utf8_lossy(&asked.body));
        let get = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        let (audience, token) = (get("audience"), get("subject_token"));
        let is_known = get("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange"
            && get("requested_token_type") == "urn:ietf:params:oauth:token-type:access_token"
            && match get("subject_token_type") {
                JWT => self.subjects.contains(&(token.to_owned(), audience.to_owned())),
                OF_AWS => {
                    let question: Value = serde_json::from_str(&decoded(token)).unwrap_or_default();
                    asked_by(&question, audience, |id| self.aws.get(id).cloned()).is_some()
                }
                _ => false,
            };
        if !is_known {
            let why = "The audience, or the subject token, is not known: canary-of-a-reason";
            return (400, json!({"error": "invalid_grant", "error_description": why}));
        }
        let (status, mut said) = self.granted();
        said["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:access_token");
        (status, said)
    }

    fn act_as(&mut self, asked: &Asked, email: &str) -> Said {
        if !self.knows(asked) {
            return error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
        }
        if !self.accounts.contains(email) {
            let message = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).";
            return error(403, "PERMISSION_DENIED", message);
        }
        let body = asked.json();
        let lifetime = body["lifetime"].as_str().and_then(|text| text.strip_suffix('s')?.parse().ok()).unwrap_or(3600);
        if body["scope"].as_array().is_none_or(Vec::is_empty) || !(1..=43_200).contains(&lifetime) {
            return error(400, "INVALID_ARGUMENT", "The scope or the lifetime is not good.");
        }
        let length = self.length.min(Duration::from_secs(lifetime));
        let end = Timestamp::try_from(SystemTime::now() + length).expect("a time");
        (200, json!({"accessToken": self.give(), "expireTime": end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}))
    }

    /// The metadata server.
    pub fn metadata(&mut self, asked: &Asked) -> Option<Response> {
        let path = asked.path.strip_prefix("/computeMetadata/v1/");
        if path.is_none() && asked.path != "/" {
            return None;
        }
        let account = "instance/service-accounts/default";
        let (status, body) = if asked.headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
            (403, "Missing Metadata-Flavor:Google header.".to_owned())
        } else {
            match path.unwrap_or_default() {
                "" => (200, "computeMetadata/".to_owned()),
                "project/project-id" => (200, PROJECT.to_owned()),
                "project/numeric-project-id" => (200, NUMBER.to_owned()),
                "instance/attributes/cluster-name" => (200, "c-1".to_owned()),
                "instance/attributes/cluster-location" => (200, "europe-west1".to_owned()),
                path if self.is_machine && path == format!("{account}/token") => (200, self.granted().1.to_string()),
                path if self.is_machine && path == format!("{account}/") => {
                    let scopes = ["https://www.googleapis.com/auth/cloud-platform"];
                    (200, json!({"aliases": ["default"], "email": ACCOUNT, "scopes": scopes}).to_string())
                }
                _ => (404, "404 page not found".to_owned()),
            }
        };
        let mut said = text(status, body);
        said.headers_mut().insert("metadata-flavor", axum::http::HeaderValue::from_static("Google"));
        Some(said)
    }

    /// What somebody else gives who asks well.
    pub fn other(&self, asked: &Asked) -> Option<String> {
        let is_asked = asked.path == "/subject" && asked.headers.get("x-ask").is_some_and(|value| value == "yes");
        is_asked.then(|| match asked.parameter("form") {
            Some("json") => json!({"token": self.given}).to_string(),
            _ => self.given.clone(),
        })
    }
}

/// Whether claims are good now, and for no longer than Google lets them.
fn in_time(claims: &Value) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (from, until) = (claims["iat"].as_u64().unwrap_or(u64::MAX), claims["exp"].as_u64().unwrap_or(0));
    from <= now + 60 && until > now && until <= from + 3600
}
