//! Entra ID: an application logs in, and is given a token.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use keyferry_provider_core::{Blame, Credentials, Error, ErrorKind, SecretBytes, ServiceAccountRef, json};
use keyferry_provider_http::{form, shared};
use keyferry_provider_session::{Grant, Source};
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use crate::assertion::Signer;
use crate::endpoint::{Answer, Endpoint};
use crate::identity::Named;
use crate::tenant::Application;

/// What says that a client assertion is a JWT.
const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An application, ready to log in.
pub struct Entra {
    /// Where.
    pub endpoint: Endpoint,
    /// Who.
    pub application: Application,
    /// For what.
    pub scope: String,
    /// By what.
    pub credential: Named<Credential>,
}

/// What an application shows.
pub enum Credential {
    /// Its client secret.
    Secret(SecretBytes),
    /// What its certificate signs.
    Certificate(Box<Signer>),
    /// A token of a ServiceAccount, fresh for each login.
    Account { port: Arc<dyn Credentials>, account: ServiceAccountRef, audience: String },
    /// A token of the operator's own pod, which the kubelet keeps fresh in a file.
    File(String),
}

#[async_trait]
impl Source<HeaderValue> for Entra {
    async fn get(&self) -> Result<Grant<HeaderValue>, Error> {
        let url = self.url();
        let body = self.form(&url).await?;
        let answer = self.endpoint.ask(|http| {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            http.post(url).header(CONTENT_TYPE, form).body(shared(&body))
        });
        let answer = answer.await?;
        if answer.status == 200 { self.endpoint.token(&answer) } else { Err(self.refusal(&answer)) }
    }
}

impl Entra {
    fn url(&self) -> String {
        let server = self.endpoint.way.server.as_str().trim_end_matches('/');
        format!("{server}/{}/oauth2/v2.0/token", self.application.tenant.value)
    }

    async fn form(&self, url: &str) -> Result<SecretBytes, Error> {
        let (id, scope) = (self.application.client.value.as_bytes(), self.scope.as_bytes());
        let mut fields: Vec<(&str, &[u8])> =
            vec![("grant_type", b"client_credentials"), ("client_id", id), ("scope", scope)];
        let assertion = match &self.credential.value {
            Credential::Secret(secret) => {
                fields.push(("client_secret", secret.expose()));
                return Ok(form(&fields));
            }
            Credential::Certificate(signer) => signer.sign(url, &self.application.client.value, SystemTime::now())?,
            Credential::Account { port, account, audience } => {
                let token = port.service_account_token(account, &[audience]).await;
                token.map_err(|error| error.context(self.credential.field))?.secret
            }
            Credential::File(path) => SecretBytes::new(tokio::fs::read(path).await.map_err(|_| {
                let name = self.credential.field;
                Error::invalid(format!("{name}: the token of the operator's own pod can't be read"))
                    .with_blame(Blame::Keyferry)
            })?),
        };
        fields.push(("client_assertion_type", JWT.as_bytes()));
        fields.push(("client_assertion", assertion.expose().trim_ascii()));
        Ok(form(&fields))
    }

    /// The error for a login that was refused. Entra ID has a number for each cause.
    fn refusal(&self, answer: &Answer) -> Error {
        if let Some(error) = self.endpoint.status_error(answer) {
            return error;
        }
        let Some(word) = word(answer) else { return self.endpoint.malformed(answer) };
        let (tenant, client) = (self.application.tenant.field, self.application.client.field);
        let (by, host) = (self.credential.field, self.endpoint.way.host());
        let unknown = |message: String, blame| Error::new(ErrorKind::Unauthenticated, message).with_blame(blame);
        let error = match number(answer) {
            Some(90002 | 900_023 | 900_021) => {
                unknown(format!("{host} knows no such tenant: check {tenant}"), Blame::Spec)
            }
            Some(700_016) => unknown(
                format!("the tenant has no application with this client id: check {client} and {tenant}"),
                Blame::Spec,
            ),
            Some(7_000_215) => unknown(
                format!("the client secret is wrong: {by} must be its value, which is not its id"),
                Blame::Credentials,
            ),
            Some(7_000_222) => {
                unknown(format!("the client secret in {by} has expired: make another"), Blame::Credentials)
            }
            Some(700_027) => unknown(
                format!("the application does not know the certificate in {by}, or it has expired: upload it there"),
                Blame::Credentials,
            ),
            Some(700_024) => {
                unknown(format!("{host} takes our assertion for one of another time: compare the clocks"), Blame::Way)
            }
            Some(70_021 | 700_211 | 700_212 | 700_213 | 700_238) => unknown(
                format!(
                    "the application believes no such ServiceAccount: its federated credential must have the cluster's \
                     issuer, the subject system:serviceaccount:NAMESPACE:NAME of {by}, and the audience that we ask for"
                ),
                Blame::Credentials,
            ),
            Some(7_000_112) => unknown(format!("the application of {client} is disabled"), Blame::Credentials),
            Some(500_011) => {
                Error::invalid(format!("the tenant of {tenant} does not have the service that the token is for"))
            }
            Some(53_003) => {
                Error::new(ErrorKind::Denied, format!("a policy of the tenant keeps the application of {client} out"))
            }
            _ => match word {
                Word::Refused => unknown(
                    format!("{host} does not let the application in: check {tenant}, {client} and {by}"),
                    Blame::Credentials,
                ),
                Word::Later => Error::new(ErrorKind::Unavailable, format!("{host} can't give tokens at the moment")),
                Word::Request => {
                    Error::invalid(format!("{host} takes the login for none: check {tenant} and {client}"))
                }
            },
        };
        error.with_retry_after(answer.retry_after)
    }
}

/// What OAuth says is wrong.
#[derive(Clone, Copy)]
enum Word {
    Refused,
    Later,
    Request,
}

/// OAuth's own word, as one that we know: the text of an answer goes nowhere.
fn word(answer: &Answer) -> Option<Word> {
    let text = json::to_bytes(json::object(answer.body.expose())?.get("error")?);
    Some(match text.expose_str()? {
        "invalid_client" | "unauthorized_client" | "invalid_grant" | "access_denied" | "interaction_required" => {
            Word::Refused
        }
        "temporarily_unavailable" | "server_error" => Word::Later,
        "invalid_request" | "invalid_scope" | "invalid_resource" | "invalid_target" | "unsupported_grant_type" => {
            Word::Request
        }
        _ => return None,
    })
}

/// The first of Entra ID's own numbers (`AADSTS...`).
fn number(answer: &Answer) -> Option<u64> {
    let fields = json::object(answer.body.expose())?;
    let codes = json::array(fields.get("error_codes")?.get().as_bytes())?;
    codes.first()?.get().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_known_by_words_and_numbers() {
        let answer = |body: &str| Answer { status: 400, retry_after: None, body: body.into() };
        for (body, known, expected) in [
            (r#"{"error":"invalid_client","error_codes":[7000215],"error_description":"x"}"#, true, Some(7_000_215)),
            (r#"{"error":"invalid_client","error_codes":[]}"#, true, None),
            (r#"{"error":"invalid_client","error_codes":["7"]}"#, true, None),
            (r#"{"error":"canary"}"#, false, None),
            ("<html>", false, None),
        ] {
            let answer = answer(body);
            assert_eq!((word(&answer).is_some(), number(&answer)), (known, expected), "{body}");
        }
    }
}
