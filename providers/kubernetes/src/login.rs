//! Who we are to the API server, and the life of tokens: one of a ServiceAccount is replaced when two thirds of it are
//! over, or when the server refuses it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use keyferry_provider_core::{Credentials, Error, SecretBytes, ServiceAccountRef, json};
use reqwest::header::HeaderValue;
use serde_json::json;

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

#[derive(Clone)]
struct Held {
    token: HeaderValue,
    since: SystemTime,
    renew_at: SystemTime,
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
            401 if self.forget() => self.client.send(call, self.token().await?.as_ref()).await,
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
        let good = || lock(held).clone().filter(|held| SystemTime::now() < held.renew_at).map(|held| held.token);
        if let Some(token) = good() {
            return Ok(Some(token));
        }
        let _gate = gate.lock().await;
        if let Some(token) = good() {
            return Ok(Some(token)); // while we waited
        }
        let since = SystemTime::now();
        let token = self.credentials.service_account_token(account, &[]).await;
        let token = token.map_err(|error| error.context("spec.provider.kubernetes.auth.serviceAccount"))?;
        let life = token.expires.duration_since(since).unwrap_or_default();
        let next = Held { token: header(&token.secret)?, since, renew_at: since + life * 2 / 3 };
        *lock(held) = Some(next.clone());
        Ok(Some(next.token))
    }

    /// Forgets a token that can be replaced. Answers whether that is worth another try.
    fn forget(&self) -> bool {
        let Means::Account { held, .. } = &self.means else { return false };
        let mut held = lock(held);
        let old = held.as_ref().is_some_and(|held| SystemTime::now() >= held.since + TOO_YOUNG_TO_END);
        if old {
            *held = None;
        }
        old
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
    use super::*;

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
