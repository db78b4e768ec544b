//! Who we are to the API server, and the life of tokens: one of a ServiceAccount is replaced when two thirds of it are
//! over, or when the server refuses it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use keyferry_provider_core::{Credentials, Error, SecretBytes, ServiceAccountRef, json};
use reqwest::header::HeaderValue;
use serde_json::json;
use tokio::time::Instant;

use crate::client::{Answer, Call, Client};
use crate::config::{Identity, invalid};

/// How old a token must be before a refusal is taken for its end.
const TOO_YOUNG_TO_END: Duration = Duration::from_secs(10);

const RULES: &str = "apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
const ACCESS: &str = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// A client, logged in.
pub struct Login {
    client: Client,
    credentials: Arc<dyn Credentials>,
    means: Means,
}

enum Means {
    /// A client certificate is shown with every connection.
    Connection,
    Token(HeaderValue),
    Account {
        account: ServiceAccountRef,
        held: Mutex<Option<Held>>,
        /// Held by the one who gets a token.
        gate: tokio::sync::Mutex<()>,
    },
}

/// Times are those of a clock that nobody sets: one that is set back would keep a token that is long over.
#[derive(Clone)]
struct Held {
    token: HeaderValue,
    since: Instant,
    /// `None` where the time would be past all counting.
    renew_at: Option<Instant>,
}

impl Login {
    /// Gets a token where one is needed.
    pub async fn new(client: Client, credentials: Arc<dyn Credentials>, identity: Identity) -> Result<Self, Error> {
        let means = match identity {
            Identity::Certificate { .. } => Means::Connection,
            Identity::Token(token) => Means::Token(header(&token)?),
            Identity::ServiceAccount(account) => {
                let (held, gate) = Default::default();
                Means::Account { account, held, gate }
            }
        };
        let login = Self { client, credentials, means };
        login.token().await?;
        Ok(login)
    }

    /// The client, for its errors.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a call; where a token seems to have ended early, once more with another.
    pub async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let token = self.token().await?;
        let answer = self.client.send(call, token.as_ref()).await?;
        match answer.status {
            401 if self.forget(token.as_ref()) => self.client.send(call, self.token().await?.as_ref()).await,
            _ => Ok(answer),
        }
    }

    /// Whether we may get Secrets of this namespace; asked as External Secrets Operator does.
    pub async fn review(&self, namespace: &str) -> Result<bool, Error> {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace},
        });
        let answer = self.reviewed("CreateSelfSubjectRulesReview", RULES, &body).await?;
        if rules(&answer).ok_or_else(|| self.client.malformed())?.iter().any(Rule::lets_get_secrets) {
            return Ok(true);
        }
        let attributes = json!({"namespace": namespace, "verb": "get", "resource": "secrets"});
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        });
        let answer = self.reviewed("CreateSelfSubjectAccessReview", ACCESS, &body).await?;
        let allowed = || {
            json::object(json::object(answer.expose())?.get("status")?.get().as_bytes())?
                .get("allowed")
                .map(|allowed| allowed.get() == "true")
        };
        allowed().ok_or_else(|| self.client.malformed())
    }

    async fn reviewed(&self, name: &'static str, path: &str, body: &serde_json::Value) -> Result<SecretBytes, Error> {
        let answer = self.send(&Call::review(name, path, body)).await?;
        match answer.status {
            200 | 201 => Ok(answer.body),
            _ => Err(self.client.refusal(&answer, "reviews of our own access", "ask what we may do")),
        }
    }

    async fn token(&self) -> Result<Option<HeaderValue>, Error> {
        let (account, held, gate) = match &self.means {
            Means::Connection => return Ok(None),
            Means::Token(token) => return Ok(Some(token.clone())),
            Means::Account { account, held, gate } => (account, held, gate),
        };
        let good = || lock(held).clone().filter(Held::is_good).map(|held| held.token);
        if let Some(token) = good() {
            return Ok(Some(token));
        }
        let _gate = gate.lock().await;
        if let Some(token) = good() {
            return Ok(Some(token)); // while we waited
        }
        let (since, now) = (Instant::now(), SystemTime::now());
        let token = self.credentials.service_account_token(account, &[]).await;
        let token = token.map_err(|error| error.context("spec.provider.kubernetes.auth.serviceAccount"))?;
        let life = token.expires.duration_since(now).unwrap_or_default();
        let next = Held { token: header(&token.secret)?, since, renew_at: since.checked_add(life / 3 * 2) };
        *lock(held) = Some(next.clone());
        Ok(Some(next.token))
    }

    /// Forgets the token that was refused, where it can be replaced and nobody did so meanwhile. Answers whether that is
    /// worth another try.
    fn forget(&self, used: Option<&HeaderValue>) -> bool {
        let Means::Account { held, .. } = &self.means else { return false };
        let mut held = lock(held);
        match held.as_ref().filter(|held| Some(&held.token) == used).map(|held| held.since.elapsed()) {
            Some(age) if age < TOO_YOUNG_TO_END => false,
            Some(_) => {
                *held = None;
                true
            }
            // Of several calls that one token was refused to, another came first.
            None => true,
        }
    }
}

impl Held {
    fn is_good(&self) -> bool {
        self.renew_at.is_none_or(|due| Instant::now() < due)
    }
}

fn lock(held: &Mutex<Option<Held>>) -> std::sync::MutexGuard<'_, Option<Held>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn header(token: &SecretBytes) -> Result<HeaderValue, Error> {
    // Files that tokens were read from often end with a line.
    let text =
        token.expose_str().map(str::trim).filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()));
    let text =
        text.ok_or_else(|| invalid("the store's bearer token is empty, or holds what can't be part of a token"))?;
    let mut value = HeaderValue::try_from(format!("Bearer {text}"))
        .map_err(|_| invalid("the store's bearer token holds what can't be part of a token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A rule of a review.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    verbs: Option<Vec<String>>,
    api_groups: Option<Vec<String>>,
    resources: Option<Vec<String>>,
}

impl Rule {
    fn lets_get_secrets(&self) -> bool {
        let has =
            |list: &Option<Vec<String>>, word: &str| list.iter().flatten().any(|item| item == word || item == "*");
        let groups = self.api_groups.as_ref().is_none_or(Vec::is_empty) || has(&self.api_groups, "");
        groups && has(&self.resources, "secrets") && has(&self.verbs, "get")
    }
}

fn rules(review: &SecretBytes) -> Option<Vec<Rule>> {
    #[derive(serde::Deserialize)]
    struct Review {
        status: Status,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        resource_rules: Option<Vec<Rule>>,
    }
    let review: Review = serde_json::from_slice(review.expose()).ok()?;
    Some(review.status.resource_rules.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use keyferry_provider_core::{BuildContext, ErrorKind};
    use keyferry_provider_http::Way;
    use keyferry_provider_testkit::MapCredentials;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Barrier;

    use super::*;
    use crate::config::{Access, OF_SPEC};

    /// A login with the token of a ServiceAccount.
    async fn login(server: &str, credentials: Arc<MapCredentials>) -> Login {
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let account = ServiceAccountRef { name: "sa".into(), namespace: None, audiences: None };
        let access = Access {
            way: Way { server: server.parse().unwrap(), fields: OF_SPEC },
            ca: None,
            insecure: true,
            identity: Identity::ServiceAccount(account.clone()),
        };
        let client = Client::new(&access, &BuildContext::new(credentials.clone(), Arc::new(()))).unwrap();
        Login::new(client, credentials, access.identity).await.unwrap()
    }

    fn is_aged(login: &Login) {
        let Means::Account { held, .. } = &login.means else { panic!("another login") };
        let mut held = lock(held);
        let held = held.as_mut().unwrap();
        held.since = held.since.checked_sub(TOO_YOUNG_TO_END).unwrap();
    }

    /// Refuses the token `old` to all who come with it once all of them are there: to the first at once, to the others when
    /// another token was seen.
    struct Server {
        together: Barrier,
        refused: AtomicUsize,
        other: tokio::sync::watch::Sender<bool>,
    }

    impl Server {
        async fn start(old: usize) -> (String, Arc<Self>) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let (together, refused, other) = (Barrier::new(old), AtomicUsize::default(), Default::default());
            let server = Arc::new(Self { together, refused, other });
            let shared = server.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(shared.clone().serve(stream));
                }
            });
            (url, server)
        }

        async fn serve(self: Arc<Self>, stream: TcpStream) {
            let mut stream = BufReader::new(stream);
            let (mut line, mut is_old) = (String::new(), false);
            while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                let text = std::mem::take(&mut line).to_lowercase();
                is_old |= text.trim_end() == "authorization: bearer old";
                if text != "\r\n" {
                    continue;
                }
                let status = if std::mem::take(&mut is_old) { self.refuse().await } else { self.accept() };
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }

        async fn refuse(&self) -> u16 {
            self.together.wait().await;
            if self.refused.fetch_add(1, Ordering::SeqCst) > 0 {
                self.other.subscribe().wait_for(|seen| *seen).await.unwrap();
            }
            401
        }

        fn accept(&self) -> u16 {
            self.other.send_replace(true);
            200
        }
    }

    #[tokio::test]
    async fn all_calls_that_one_token_was_refused_to_are_made_again() {
        let (url, server) = Server::start(4).await;
        let credentials = Arc::new(MapCredentials::new().with("sa/token", "old"));
        let login = login(&url, credentials.clone()).await;
        is_aged(&login);
        credentials.set("sa/token", "new");
        let call = Call::get("GetSecret", "api/v1/namespaces/n/secrets/s".into());
        let (a, b, c, d) = tokio::join!(login.send(&call), login.send(&call), login.send(&call), login.send(&call));
        assert_eq!([a, b, c, d].map(|answer| answer.unwrap().status), [200; 4]);
        assert_eq!(server.refused.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn a_young_token_that_is_refused_is_wrong() {
        let (url, server) = Server::start(1).await;
        let login = login(&url, Arc::new(MapCredentials::new().with("sa/token", "old"))).await;
        let answer = login.send(&Call::get("GetSecret", "x".into())).await.unwrap();
        assert_eq!((answer.status, server.refused.load(Ordering::SeqCst)), (401, 1));
        assert_eq!(login.client().refusal(&answer, "x", "x").kind(), ErrorKind::Unauthenticated);
    }

    /// What a token's age is measured by is no clock of the day: this one stands still here.
    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_when_two_thirds_of_its_life_are_over() {
        let credentials = Arc::new(MapCredentials::new().with("sa/token", "one"));
        let login = login("http://127.0.0.1:1", credentials.clone()).await;
        credentials.set("sa/token", "two");
        for (seconds, expected) in [(390, "Bearer one"), (20, "Bearer two")] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(login.token().await.unwrap().unwrap(), expected);
        }
    }

    #[test]
    fn rules_that_let_us_read() {
        for (rule, expected) in [
            (r#"{"verbs":["get"],"apiGroups":[""],"resources":["secrets"]}"#, true),
            (r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#, true),
            (r#"{"verbs":["get"],"apiGroups":null,"resources":["secrets"]}"#, true),
            (r#"{"verbs":["list"],"apiGroups":[""],"resources":["secrets"]}"#, false),
            (r#"{"verbs":["get"],"apiGroups":["apps"],"resources":["secrets"]}"#, false),
            (r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}"#, false),
        ] {
            let review = format!("{{\"status\":{{\"resourceRules\":[{rule}]}}}}");
            assert_eq!(rules(&review.as_str().into()).unwrap()[0].lets_get_secrets(), expected, "{rule}");
        }
        assert!(rules(&"{}".into()).is_none());
    }
}
