//! The operator's side of sealing, asked from elsewhere: the certificate, values sealed anew, and in a pod what is sealed for it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use keyferry_limits::DOCUMENT_SIZE;
use keyferry_node::identity::OwnTokens;
use keyferry_provider_core::{Blame, Error, ErrorKind, Scope, SecretBuf, SecretBytes, Unseal};
use keyferry_sealing::{PublicKey, Sealed};
use kube::config::AuthInfo;
use kube::{Api, Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::timeout;
use zeroize::{Zeroize as _, Zeroizing};

use super::serve::{AUDIENCE, Asked, Came, MOST_VALUES, Refused};

/// How long a request may take: the other side lets one compute at a time.
const TIME: Duration = Duration::from_secs(60);

/// The operator, and how it is reached.
pub struct Remote {
    client: Client,
    /// What stands before the path.
    base: String,
    /// For messages.
    name: String,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.name).finish()
    }
}

/// Why it did not answer.
#[derive(Debug)]
pub struct Unanswered {
    /// In words of ours.
    pub message: String,
    kind: ErrorKind,
}

impl Remote {
    /// At this URL. `ca` holds authorities to trust besides none, `token` what is shown.
    pub fn at(url: &str, ca: Option<&Path>, token: Option<&Path>) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| format!("{url:?} is not a URL"))?;
        if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(format!("{url:?} is not a URL of http or https"));
        }
        if token.is_some() && uri.scheme_str() != Some("https") {
            return Err(format!("{url:?}: a token is shown over https only"));
        }
        let mut config = Config::new(uri);
        (config.connect_timeout, config.read_timeout) = (Some(TIME), Some(TIME));
        config.proxy_url = None;
        if let Some(ca) = ca {
            let all = CertificateDer::pem_file_iter(ca).and_then(|all| all.collect::<Result<Vec<_>, _>>());
            let all = all.map_err(|_| format!("can't read certificates from {}", ca.display()))?;
            config.root_cert = Some(all.into_iter().map(|one| one.to_vec()).collect());
        }
        if let Some(token) = token {
            let token = token.to_str().ok_or("the path of the token is no text")?;
            config.auth_info = AuthInfo { token_file: Some(token.to_owned()), ..AuthInfo::default() };
        }
        let client =
            Client::try_from(config).map_err(|_| format!("no client can be made for {url}: check the token's file"))?;
        Ok(Self { client, base: String::new(), name: url.to_owned() })
    }

    /// At this URL, for pods each of which shows a token of its own.
    pub fn for_pods(url: &str, ca: Option<&Path>) -> Result<Self, String> {
        let is_https = url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https"));
        if !is_https {
            return Err(format!("{url:?} is no URL of https, over which alone tokens are shown"));
        }
        Self::at(url, ca, None)
    }

    /// Behind a Service, through the API server, as `kubeseal` reaches it: by the first of its ports.
    pub async fn behind(client: Client, namespace: &str, service: &str) -> Self {
        let services = Api::<Service>::namespaced(client.clone(), namespace);
        // Who may not read it may reach it where its port has no name.
        let found = timeout(TIME, services.get(service)).await.ok().and_then(Result::ok);
        let port = found.and_then(|found| found.spec?.ports?.into_iter().next()?.name).unwrap_or_default();
        let base = format!("/api/v1/namespaces/{namespace}/services/http:{service}:{port}/proxy");
        Self { client, base, name: format!("Service {service:?} in namespace {namespace:?}") }
    }

    /// The certificate that seals: PEM.
    pub async fn certificate(&self) -> Result<String, String> {
        let text = self.ask(Method::GET, "/v1/cert.pem", Vec::new(), None).await.map_err(|problem| problem.message)?;
        PublicKey::of_certificate(text.expose()).map_err(|error| format!("{}: {error}", self.name))?;
        Ok(text.expose_str().unwrap_or_default().to_owned())
    }

    /// The same values, sealed with the `latest` key, each for whom it was; what is answered is for nothing else than that.
    pub async fn reseal(&self, sealed: Vec<String>, latest: &str) -> Result<Vec<Result<String, String>>, String> {
        let came = self.values("/v1/reseal", sealed.clone(), None).await.map_err(|problem| problem.message)?;
        let one = |(mut one, before): (Came, String)| {
            let text = one.value.take().ok_or_else(|| why(&one).to_string())?;
            anew(&before, &text, latest).ok_or_else(|| {
                format!(
                    "{} answered something else than the value, sealed for whom it was with its latest key",
                    self.name
                )
            })
        };
        Ok(came.into_iter().zip(sealed).map(one).collect())
    }

    async fn values(
        &self,
        path: &str,
        sealed: Vec<String>,
        token: Option<&SecretBytes>,
    ) -> Result<Vec<Came>, Unanswered> {
        let mut all = Vec::new();
        for part in sealed.chunks(MOST_VALUES) {
            let body = serde_json::to_vec(&Asked { sealed: part.to_vec() }).unwrap_or_default();
            let text = self.ask(Method::POST, path, body, token).await?;
            let came: Vec<Came> = serde_json::from_slice(text.expose()).unwrap_or_default();
            if came.len() != part.len() {
                let message = format!("{} answered something else than what became of each value", self.name);
                return Err(Unanswered { message, kind: ErrorKind::Malformed });
            }
            all.extend(came);
        }
        Ok(all)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        token: Option<&SecretBytes>,
    ) -> Result<SecretBytes, Unanswered> {
        let unanswered = |kind, why: &str| Unanswered { message: format!("{} {why}", self.name), kind };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = token {
            let shown = Zeroizing::new([b"Bearer ", token.expose()].concat());
            let mut shown = HeaderValue::from_bytes(&shown).map_err(|_| {
                unanswered(ErrorKind::Invalid, "is shown no token: the pod's is not of the form of one")
            })?;
            shown.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, shown);
        }
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body.into());
        let request = request.map_err(|_| unanswered(ErrorKind::Invalid, "is not of the form of a URL"))?;
        let unreached =
            || unanswered(ErrorKind::Unavailable, "can't be reached: check the URL, the network and the certificate");
        let asked = async {
            let answer = self.client.send(request).await.map_err(|_| unreached())?;
            match answer.status().as_u16() {
                200..=299 => read(answer).await.ok_or_else(unreached),
                401 => Err(unanswered(
                    ErrorKind::Unauthenticated,
                    "does not know the token: it must be the pod's own, of the audience keyferry",
                )),
                403 => Err(unanswered(ErrorKind::Denied, "may not be reached: the API server forbids it")),
                404 => Err(unanswered(
                    ErrorKind::Invalid,
                    "has nothing there: is the operator run with --sealing-keys and --seal-listen?",
                )),
                408 | 429 | 500..=599 => Err(unanswered(ErrorKind::Unavailable, "can't answer now")),
                code => Err(unanswered(ErrorKind::Invalid, &format!("refused the request with status {code}"))),
            }
        };
        timeout(TIME, asked).await.map_err(|_| unanswered(ErrorKind::Timeout, "did not answer in time"))?
    }
}

/// A whole answer; `None` where it breaks off, or is longer than any.
async fn read(answer: Response<kube::client::Body>) -> Option<SecretBytes> {
    let said = answer.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let most = 4 * DOCUMENT_SIZE.size();
    let mut all = SecretBuf::with_capacity(said.unwrap_or(0).min(most));
    let mut parts = Body::new(answer.into_body()).into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.ok()?;
        if all.len() + part.len() > most {
            return None;
        }
        all.extend(&part);
        if let Ok(mut part) = part.try_into_mut() {
            part.zeroize();
        }
    }
    Some(all.into())
}

/// A value that was sealed anew, as it is written: for whom it was before, and with that key.
fn anew(before: &str, text: &str, latest: &str) -> Option<String> {
    let (before, text): (Sealed, Sealed) = (before.parse().ok()?, text.parse().ok()?);
    (text.scope == before.scope && text.key == latest).then(|| text.to_string())
}

fn why(one: &Came) -> Refused {
    one.refused.unwrap_or(Refused::Failed)
}

impl Remote {
    async fn open(
        &self,
        scope: &Scope,
        sealed: Vec<Vec<u8>>,
        token: Option<&SecretBytes>,
    ) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        if !matches!(scope, Scope::Namespace(_) | Scope::ServiceAccount(..)) {
            return Err(Error::invalid("SealedSecrets are opened by the operator, or by keys that the store names"));
        }
        // Which key it was means nothing to who opens.
        let text = |bytes| Sealed { key: "00000000".to_owned(), scope: scope.clone(), bytes }.to_string();
        let came = self.values("/v1/unseal", sealed.into_iter().map(text).collect(), token).await;
        let came = came.map_err(|problem| Error::new(problem.kind, problem.message))?;
        let value = |mut one: Came| match one.value.take().map(zeroize::Zeroizing::new) {
            Some(text) => STANDARD
                .decode(&*text)
                .map(SecretBytes::new)
                .map_err(|_| Error::new(ErrorKind::Malformed, format!("{} answered no value", self.name))),
            None => match why(&one) {
                Refused::Failed => Err(Error::new(ErrorKind::Unavailable, Refused::Failed.to_string())),
                why => Err(Error::new(ErrorKind::Denied, why.to_string()).with_blame(Blame::Request)),
            },
        };
        Ok(came.into_iter().map(value).collect())
    }
}

#[async_trait]
impl Unseal for Remote {
    async fn unseal(
        &self,
        _: &str,
        scope: &Scope,
        sealed: Vec<Vec<u8>>,
    ) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        self.open(scope, sealed, None).await
    }
}

/// The operator, asked for pods of one ServiceAccount that mount.
pub struct ForPods {
    /// The operator.
    pub remote: Arc<Remote>,
    /// The pod's token of an audience.
    pub token: OwnTokens,
}

impl fmt::Debug for ForPods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForPods").field(&self.remote).finish()
    }
}

#[async_trait]
impl Unseal for ForPods {
    async fn unseal(
        &self,
        _: &str,
        scope: &Scope,
        sealed: Vec<Vec<u8>>,
    ) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        let token = (self.token)(AUDIENCE).map_err(|place| {
            Error::invalid(format!(
                "the operator opens it for a pod that shows a token of the audience {AUDIENCE:?}, and none is given \
                 along: add it to {place}"
            ))
        })?;
        self.remote.open(scope, sealed, Some(&token.secret)).await
    }
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
