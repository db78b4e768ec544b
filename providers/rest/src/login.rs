//! Who we are to a server: what each call carries, held by a session, replaced early, or when the server refuses it.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{Credentials, Error, SecretBuf, SecretBytes, SecretRef};
use keyferry_provider_identity::oracle;
use keyferry_provider_session::{Grant, Held, Life, Session, Source};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::client::{Call, Client, Response};
use crate::config;
use crate::object::with_text;

/// What a call carries.
pub enum Pass {
    /// A header.
    Header(HeaderName, HeaderValue),
    /// Several headers.
    Headers(HeaderMap),
    /// A text in the body, under this name.
    Field(&'static str, SecretBytes),
    /// Oracle's signature of the call.
    Signed(oracle::Signer),
}

impl Pass {
    /// A header of this prefix and secret.
    ///
    /// # Errors
    /// `Invalid` where the secret holds what no header may; `field` is where it comes from.
    pub fn header(name: HeaderName, prefix: &str, secret: &SecretBytes, field: &str) -> Result<Self, Error> {
        Ok(Self::Header(name, header(prefix, secret, field)?))
    }
}

/// The value of a header of this prefix and secret.
///
/// # Errors
/// `Invalid` where the secret holds what no header may; `field` is where it comes from.
pub fn header(prefix: &str, secret: &SecretBytes, field: &str) -> Result<HeaderValue, Error> {
    let mut whole = SecretBuf::with_capacity(prefix.len() + secret.len());
    whole.extend(prefix.as_bytes());
    whole.extend(secret.expose());
    let mut value = HeaderValue::from_bytes(whole.expose())
        .map_err(|_| Error::invalid(format!("{field}: the secret holds characters that no token has")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A token that is kept in a secret, and needs no login.
pub struct Kept {
    /// Where it is read from.
    pub credentials: Arc<dyn Credentials>,
    /// Which secret it is.
    pub reference: SecretRef,
    /// The key where the reference names none.
    pub default_key: Option<&'static str>,
    /// What messages call the field that names it.
    pub field: &'static str,
    /// How a call carries it.
    pub pass: fn(&SecretBytes, &str) -> Result<Pass, Error>,
}

#[async_trait]
impl Source<Pass> for Kept {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let secret = config::secret(&*self.credentials, &self.reference, self.default_key, self.field).await?;
        Ok(Grant { value: (self.pass)(&secret, self.field)?, life: Life::ENDLESS })
    }
}

/// The headers of a call that is signed.
pub(crate) fn signed(signer: &oracle::Signer, client: &Client, call: &Call) -> Result<HeaderMap, Error> {
    let url = client.url(call);
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let body = call.body.as_ref().map(|body| ("application/json", body.expose()));
    let request = oracle::Request { method: call.method.as_str(), host: &host, target: &target, body };
    let value = |(name, value): (&'static str, String)| {
        Ok((HeaderName::from_static(name), header("", &value.as_str().into(), client.vendor.login)?))
    };
    signer.headers(request)?.into_iter().map(value).collect()
}

/// The call that ends the login by which something is passed; `None` where there is no such one.
pub type Ending = fn(&Pass) -> Option<Call>;

/// A client, logged in.
pub struct Access {
    client: Arc<Client>,
    session: Session<Pass>,
    ending: Option<Ending>,
}

impl Access {
    /// Logs in: a store whose credentials are wrong says so when it is built, where there is a login at all.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn new(client: Arc<Client>, source: impl Source<Pass> + 'static) -> Result<Self, Error> {
        let session = Session::new(source);
        session.get().await?;
        Ok(Self { client, session, ending: None })
    }

    /// The same whose last login is ended by a call when nobody needs it any more: for what logins of ours made.
    pub fn ended_by(mut self, ending: Ending) -> Self {
        self.ending = Some(ending);
        self
    }

    /// The client, for its errors.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sees to it that there is a login.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn log_in(&self) -> Result<(), Error> {
        self.session.get().await.map(drop)
    }

    /// Makes a call; where a login seems to have ended early, once more with another. Every status is an answer.
    ///
    /// # Errors
    /// Those of the login and of the way.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        let make = async |pass: Held<Pass>| attempt(&self.client, call, &pass).await;
        self.session.call(make, |answer| answer.status == 401).await
    }

    /// Makes a call, and takes its answer for a success or for an error about `what`.
    ///
    /// # Errors
    /// Those of [`send`](Self::send) and [`Client::refusal`].
    pub async fn ask(&self, call: &Call, what: &str) -> Result<Response, Error> {
        let answer = self.send(call).await?;
        if answer.is_good() { Ok(answer) } else { Err(self.client.refusal(&answer, &what)) }
    }
}

/// What a login of ours made is of no use to anybody once the store is gone. Nobody waits for its end, and what comes of it
/// changes nothing; what stays behind has an end of its own.
impl Drop for Access {
    fn drop(&mut self) {
        let Some(ending) = self.ending else { return };
        let (Some(pass), Ok(runtime)) = (self.session.held(), tokio::runtime::Handle::try_current()) else { return };
        let Some(call) = ending(&pass) else { return };
        let client = self.client.clone();
        runtime.spawn(async move { attempt(&client, &call, &pass).await.map(drop) });
    }
}

async fn attempt(client: &Client, call: &Call, pass: &Pass) -> Result<Response, Error> {
    match pass {
        Pass::Header(name, value) => client.send(call, &HeaderMap::from_iter([(name.clone(), value.clone())])).await,
        Pass::Headers(headers) => client.send(call, headers).await,
        Pass::Signed(signer) => client.send(call, &signed(signer, client, call)?).await,
        Pass::Field(name, secret) => {
            let body = call.body.as_ref().map(|body| with_text(body, name, secret));
            let Call { name, method, path, query, accept, .. } = call;
            let (method, path, query) = (method.clone(), path.clone(), query.clone());
            client.send(&Call { name, method, path, query, body, accept }, &HeaderMap::new()).await
        }
    }
}
