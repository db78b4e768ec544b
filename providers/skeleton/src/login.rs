//! Who we are to the server. A key is exchanged for a token, which a session holds: it is replaced early, or when the
//! server refuses it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{Credentials, Error, SecretBuf, SecretRef, json};
use keyferry_provider_session::{Grant, Held, Life, Session, Source};
use reqwest::Method;
use reqwest::header::HeaderValue;

use crate::client::{Call, Client, Response};

/// A client, logged in.
pub struct Login {
    client: Arc<Client>,
    session: Session<HeaderValue>,
}

/// Where tokens come from.
struct Key {
    client: Arc<Client>,
    credentials: Arc<dyn Credentials>,
    reference: SecretRef,
}

#[async_trait]
impl Source<HeaderValue> for Key {
    async fn get(&self) -> Result<Grant<HeaderValue>, Error> {
        let field = "spec.provider.cellar.auth.keySecretRef";
        let key = self.credentials.secret(&self.reference, None).await.map_err(|error| error.context(field))?;
        let key = key.expose_str().ok_or_else(|| Error::invalid(format!("{field}: the key is not text")))?;
        let mut body = SecretBuf::default();
        body.extend(b"{\"key\":");
        json::write_string(key.trim_end(), &mut body); // files that keys were read from often end with a line
        body.push(b'}');
        let body = Some(body.into());
        let call = Call { name: "Login", method: Method::POST, path: "login", query: Vec::new(), body };
        let answer = self.client.send(&call, None).await?;
        match answer.status {
            200 => grant(&answer).ok_or_else(|| self.client.malformed(&answer)),
            _ => Err(self.client.refusal(&answer, &"a login")),
        }
    }
}

fn grant(answer: &Response) -> Option<Grant<HeaderValue>> {
    let fields = json::object(answer.body.expose())?;
    let mut header = SecretBuf::default();
    header.extend(b"Bearer ");
    header.extend(json::to_bytes(fields.get("token")?).expose());
    let mut value = HeaderValue::from_bytes(header.expose()).ok()?;
    value.set_sensitive(true);
    let seconds = fields.get("seconds")?.get().parse().ok()?;
    Some(Grant { value, life: Life::of(Duration::from_secs(seconds)) })
}

impl Login {
    /// Logs in: a store whose key is wrong says so when it is built.
    pub async fn new(client: Client, credentials: Arc<dyn Credentials>, reference: SecretRef) -> Result<Self, Error> {
        let client = Arc::new(client);
        let session = Session::new(Key { client: client.clone(), credentials, reference });
        session.get().await?;
        Ok(Self { client, session })
    }

    /// The client, for its errors.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a call; where a token seems to have ended early, once more with another.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        let make = async |token: Held<HeaderValue>| self.client.send(call, Some(&token)).await;
        self.session.call(make, |answer| answer.status == 401).await
    }
}
