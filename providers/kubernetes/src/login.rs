//! Who we are to the API server. A token of a ServiceAccount is held in a session, which replaces it early, or when the
//! server refuses it.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{Credentials, Error, SecretBytes, ServiceAccountRef, json};
use keyferry_provider_session::{Grant, Life, Session, Source};
use reqwest::header::HeaderValue;
use serde_json::json;

use crate::client::{Call, Client, Response};
use crate::config::Identity;

const RULES: &str = "apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
const ACCESS: &str = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// A client, logged in.
pub struct Login {
    client: Client,
    means: Means,
}

enum Means {
    /// A client certificate is shown with every connection.
    Connection,
    Token(HeaderValue),
    Account(Session<HeaderValue>),
}

/// The tokens of a ServiceAccount.
struct Account {
    account: ServiceAccountRef,
    /// The field that names it.
    field: String,
    credentials: Arc<dyn Credentials>,
}

#[async_trait]
impl Source<HeaderValue> for Account {
    async fn get(&self) -> Result<Grant<HeaderValue>, Error> {
        let token = self.credentials.service_account_token(&self.account, &[]).await;
        let token = token.map_err(|error| error.context(&self.field))?;
        Ok(Grant { value: header(&token.secret)?, life: Life::until(token.expires) })
    }
}

impl Login {
    /// Gets a token where one is needed.
    pub async fn new(client: Client, credentials: Arc<dyn Credentials>, identity: Identity) -> Result<Self, Error> {
        let means = match identity {
            Identity::Certificate { .. } => Means::Connection,
            Identity::Token(token) => Means::Token(header(&token)?),
            Identity::ServiceAccount { account, field } => {
                let session = Session::new(Account { account, field, credentials });
                session.get().await?;
                Means::Account(session)
            }
        };
        Ok(Self { client, means })
    }

    /// The client, for its errors.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a call; where a token seems to have ended early, once more with another.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        let session = match &self.means {
            Means::Connection => return self.client.send(call, None).await,
            Means::Token(token) => return self.client.send(call, Some(token)).await,
            Means::Account(session) => session,
        };
        session.call(async |token| self.client.send(call, Some(&token)).await, |answer| answer.status == 401).await
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
        self.may(&json!({"namespace": namespace, "verb": "get", "resource": "secrets"})).await
    }

    /// Whether we may do this.
    pub async fn may(&self, attributes: &serde_json::Value) -> Result<bool, Error> {
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
}

fn header(token: &SecretBytes) -> Result<HeaderValue, Error> {
    // Files that tokens were read from often end with a line.
    let text =
        token.expose_str().map(str::trim).filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()));
    let text = text
        .ok_or_else(|| Error::invalid("the store's bearer token is empty, or holds what can't be part of a token"))?;
    let mut value = HeaderValue::try_from(format!("Bearer {text}"))
        .map_err(|_| Error::invalid("the store's bearer token holds what can't be part of a token"))?;
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
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, SystemTime};

    use keyferry_provider_core::{BuildContext, CaRef, ErrorKind, SecretRef, Token};
    use keyferry_provider_http::Way;
    use keyferry_provider_session::TOO_YOUNG_TO_END;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Barrier;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::config::{Access, KUBERNETES};

    /// Whether a ServiceAccount has a token, and which.
    #[derive(Clone, Copy)]
    enum Mood {
        Token(&'static str),
        Failure,
        Silence,
    }

    /// A port that gives tokens for ten minutes, and nothing else.
    struct Port(Mutex<Mood>);

    impl Port {
        fn new(token: &'static str) -> Arc<Self> {
            Arc::new(Self(Mutex::new(Mood::Token(token))))
        }

        fn set(&self, mood: Mood) {
            *self.0.lock().unwrap() = mood;
        }
    }

    #[async_trait]
    impl Credentials for Port {
        async fn service_account_token(&self, _: &ServiceAccountRef, _: &[&str]) -> Result<Token, Error> {
            let mood = *self.0.lock().unwrap();
            match mood {
                Mood::Token(token) => {
                    Ok(Token { secret: token.into(), expires: SystemTime::now() + Duration::from_secs(600) })
                }
                Mood::Failure => Err(Error::new(ErrorKind::Unavailable, "the API server is down")),
                Mood::Silence => std::future::pending().await,
            }
        }

        async fn secret(&self, _: &SecretRef, _: Option<&str>) -> Result<SecretBytes, Error> {
            unreachable!("a ServiceAccount logs in")
        }

        async fn labelled_secret(
            &self,
            _: &SecretRef,
            _: &str,
            _: &str,
        ) -> Result<BTreeMap<String, SecretBytes>, Error> {
            unreachable!("a ServiceAccount logs in")
        }

        async fn service_account_annotations(&self, _: &ServiceAccountRef) -> Result<BTreeMap<String, String>, Error> {
            unreachable!("its token is all that counts")
        }

        async fn controller_token(&self) -> Result<SecretBytes, Error> {
            unreachable!("a ServiceAccount logs in")
        }

        async fn config_map(&self, _: &SecretRef) -> Result<SecretBytes, Error> {
            unreachable!("a ServiceAccount logs in")
        }

        async fn ca_bundle(&self, _: &CaRef) -> Result<Vec<u8>, Error> {
            unreachable!("the connection is plain")
        }
    }

    /// A login with the token of a ServiceAccount.
    async fn login(server: &str, port: Arc<Port>) -> Login {
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let account = ServiceAccountRef { name: "sa".into(), namespace: None, audiences: None };
        let access = Access {
            way: Way::new(server.parse().unwrap(), KUBERNETES.spec),
            ca: None,
            insecure: true,
            identity: Identity::ServiceAccount {
                account,
                field: "spec.provider.kubernetes.auth.serviceAccount".into(),
            },
        };
        let client = Client::new(&access, &BuildContext::new(port.clone(), Arc::new(())).trusted()).unwrap();
        Login::new(client, port, access.identity).await.unwrap()
    }

    /// Time goes by while nothing happens.
    async fn pass(time: Duration) {
        tokio::time::pause();
        sleep(time).await;
        tokio::time::resume();
    }

    /// Refuses the token `old` to all who come with it once all of them are there: to the first at once, to the others when
    /// another token was seen.
    struct Server {
        together: Barrier,
        refused: AtomicUsize,
        /// The token that was accepted last.
        accepted: tokio::sync::watch::Sender<String>,
    }

    impl Server {
        async fn start(old: usize) -> (String, Arc<Self>) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let (together, refused, accepted) = (Barrier::new(old), AtomicUsize::default(), Default::default());
            let server = Arc::new(Self { together, refused, accepted });
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
            let (mut line, mut token) = (String::new(), String::new());
            while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                let text = std::mem::take(&mut line).to_lowercase();
                if let Some(bearer) = text.trim_end().strip_prefix("authorization: bearer ") {
                    bearer.clone_into(&mut token);
                }
                if text != "\r\n" {
                    continue;
                }
                let status = if token == "old" { self.refuse().await } else { self.accept(&token) };
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }

        async fn refuse(&self) -> u16 {
            self.together.wait().await;
            if self.refused.fetch_add(1, Ordering::SeqCst) > 0 {
                self.accepted.subscribe().wait_for(|token| !token.is_empty()).await.unwrap();
            }
            401
        }

        fn accept(&self, token: &str) -> u16 {
            self.accepted.send_replace(token.to_owned());
            200
        }
    }

    fn call() -> Call {
        Call::get("GetSecret", "api/v1/namespaces/n/secrets/s".into())
    }

    #[tokio::test]
    async fn all_calls_that_one_token_was_refused_to_are_made_again() {
        let (url, server) = Server::start(4).await;
        let port = Port::new("old");
        let login = login(&url, port.clone()).await;
        pass(TOO_YOUNG_TO_END).await;
        port.set(Mood::Token("new"));
        let call = call();
        let (a, b, c, d) = tokio::join!(login.send(&call), login.send(&call), login.send(&call), login.send(&call));
        assert_eq!([a, b, c, d].map(|answer| answer.unwrap().status), [200; 4]);
        assert_eq!(server.refused.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn a_young_token_that_is_refused_is_wrong() {
        let (url, server) = Server::start(1).await;
        let login = login(&url, Port::new("old")).await;
        let answer = login.send(&call()).await.unwrap();
        assert_eq!((answer.status, server.refused.load(Ordering::SeqCst)), (401, 1));
        assert_eq!(login.client().refusal(&answer, "x", "x").kind(), ErrorKind::Unauthenticated);
    }

    /// What a token's age is measured by is no clock of the day: this one stands still here.
    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_when_two_thirds_of_its_life_are_over() {
        let port = Port::new("one");
        let login = login("http://127.0.0.1:1", port.clone()).await;
        port.set(Mood::Token("two"));
        let Means::Account(session) = &login.means else { panic!("another login") };
        // Who finds it due goes on with it: the next one has the other.
        for (seconds, expected) in [(390, "Bearer one"), (20, "Bearer one"), (1, "Bearer two")] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(*session.get().await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_token_that_can_not_be_replaced_is_used_until_its_end() {
        for trouble in [Mood::Failure, Mood::Silence] {
            let (url, server) = Server::start(1).await;
            let port = Port::new("one");
            let login = login(&url, port.clone()).await;
            port.set(trouble);
            pass(Duration::from_secs(410)).await;
            for _ in 0..3 {
                let answer = timeout(Duration::from_secs(10), login.send(&call())).await.expect("nobody waits");
                assert_eq!((answer.unwrap().status, server.accepted.borrow().as_str()), (200, "one"));
            }
            pass(Duration::from_secs(200)).await;
            port.set(Mood::Failure);
            let error = login.send(&call()).await.err().unwrap();
            assert_eq!(error.message(), "spec.provider.kubernetes.auth.serviceAccount: the API server is down");
            port.set(Mood::Token("two"));
            assert_eq!(login.send(&call()).await.unwrap().status, 200);
            assert_eq!(*server.accepted.borrow(), "two");
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
