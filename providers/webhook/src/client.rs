//! HTTP to the service, and what its statuses mean.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Blame, BuildContext, Calls, Credentials, Error, ErrorKind, Room, SecretBytes, SecretRef};
use keyferry_provider_http::{Fields, Way, retry_after, shared};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::tls::TlsInfo;
use reqwest::{Certificate, Method, RequestBuilder, Url};

use crate::config::{self, Config};
use crate::ntlm::{self, Fresh, Login, Offer, Peer, Scheme, Wrong};

/// What messages call the fields that lead to the server.
pub const FIELDS: Fields = Fields {
    server: "spec.provider.webhook.url",
    ca: "spec.provider.webhook.caBundle or caProvider",
    identity: "spec.provider.webhook",
};

/// A request, rendered.
pub struct Call {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: SecretBytes,
    /// The headers.
    pub headers: Vec<(HeaderName, SecretBytes)>,
    /// The body.
    pub body: SecretBytes,
}

/// What the service answered.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    host: String,
    retry_after: Option<Duration>,
    /// Where the spec has what was logged in with.
    login: &'static str,
}

/// What the service answered, with what it says of logins.
struct Answer {
    response: Response,
    headers: HeaderMap,
    /// The server's certificate, where a login may hold for it.
    certificate: Option<Vec<u8>>,
}

/// A client for whatever server the URL leads to.
pub struct Client {
    addresses: Addresses,
    ca: Option<Vec<Certificate>>,
    timeout: Duration,
    /// Who logs in by NTLM, if anybody does.
    login: Option<Login>,
    /// The server that was called last, and the client for it: mostly there is one.
    last: Mutex<Option<(String, reqwest::Client)>>,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

impl Client {
    /// Prepares all that a call needs. Connects nowhere yet.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let ca = config.ca.certificates(&*ctx.credentials).await?;
        let login = match &config.ntlm {
            Some(ntlm) => Some(login(ntlm, &*ctx.credentials).await?),
            None => None,
        };
        Ok(Self {
            addresses: ctx.addresses.clone(),
            ca,
            timeout: config.timeout,
            login,
            last: Mutex::default(),
            calls: ctx.calls.clone(),
            room: ctx.room.clone(),
        })
    }

    /// Where the URL may lead.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server, or a login that did not come to
    /// an end.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        let way = Way::new(url(&call.url)?, FIELDS).within(self.timeout);
        let Some(login) = &self.login else {
            let answer = self.ask(&way, request(&self.client(&way)?, &way, call)?).await?;
            return Ok(answer.response);
        };
        let limit = self.timeout;
        tokio::time::timeout(limit, self.send_logged_in(login, &way, call)).await.unwrap_or_else(|_| {
            let message = format!("no answer from {} within {limit:?}, with a login by NTLM", way.host());
            Err(Error::new(ErrorKind::Timeout, message).with_hint("see what keeps it busy"))
        })
    }

    /// The same on a connection of its own, since that is what the login holds for. Each request is the whole call: a server
    /// that wants no login answers the first.
    async fn send_logged_in(&self, login: &Login, way: &Way, call: &Call) -> Result<Response, Error> {
        let builder = way.client_builder(&self.addresses)?;
        let http = way.single_connection(builder, &self.addresses, self.ca.clone())?;
        let first = ntlm::negotiate();
        let mut scheme = Scheme::Ntlm;
        let mut answer = self.show(&http, way, call, scheme, &first).await?;
        if answer.offers(Scheme::Ntlm) == Offer::None && answer.offers(Scheme::Negotiate) != Offer::None {
            scheme = Scheme::Negotiate;
            answer = self.show(&http, way, call, scheme, &first).await?;
        }
        if answer.response.status != 401 {
            return Ok(answer.response);
        }
        let challenge = match answer.offers(scheme) {
            Offer::Token(challenge) => challenge,
            Offer::None => return Err(unoffered(way)),
            Offer::Begin => return Err(interrupted(way)),
            Offer::Broken => return Err(unread(way, Wrong::NoChallenge)),
        };
        let peer = Peer { host: way.server.host_str().unwrap_or_default(), certificate: answer.certificate.as_deref() };
        let fresh = Fresh::new().ok_or_else(|| Error::invalid("there are no random numbers to log in with"))?;
        let last = login.authenticate(&first, &challenge, &peer, &fresh).map_err(|wrong| unread(way, wrong))?;
        drop(answer);
        let answer = self.show(&http, way, call, scheme, last.expose()).await?;
        Ok(Response { login: "spec.provider.webhook.auth.ntlm", ..answer.response })
    }

    /// The call with a message of NTLM, which takes the place of another login.
    async fn show(
        &self,
        http: &reqwest::Client,
        way: &Way,
        call: &Call,
        scheme: Scheme,
        message: &[u8],
    ) -> Result<Answer, Error> {
        let shown = scheme.header(message).ok_or_else(|| Error::invalid("no header can hold a login by NTLM"))?;
        self.ask(way, request(http, way, call)?.headers(HeaderMap::from_iter([(AUTHORIZATION, shown)]))).await
    }

    /// Makes one request, and counts it.
    async fn ask(&self, way: &Way, request: RequestBuilder) -> Result<Answer, Error> {
        let start = Instant::now();
        let answer = self.exchange(way, request).await;
        let ok = answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.response.status) || answer.goes_on());
        self.calls.record("Webhook", "HTTPRequest", ok, start.elapsed());
        answer
    }

    async fn exchange(&self, way: &Way, request: RequestBuilder) -> Result<Answer, Error> {
        let answer = request.send().await.map_err(|error| way.error(&error))?;
        let certificate = answer.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate).map(<[u8]>::to_vec);
        let headers = answer.headers().clone();
        let response = Response {
            status: answer.status().as_u16(),
            host: way.host(),
            retry_after: retry_after(&answer),
            login: "spec.provider.webhook.headers and secrets",
            body: way.read_body(answer, &*self.room).await?,
        };
        Ok(Answer { response, headers, certificate })
    }

    /// The client for this server. One is kept, since making one reads certificates.
    fn client(&self, way: &Way) -> Result<reqwest::Client, Error> {
        let origin = way.server.origin().ascii_serialization();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = last.as_ref().filter(|(known, _)| *known == origin) {
            return Ok(client.clone());
        }
        let builder = way.client_builder(&self.addresses)?;
        let client = way.client(builder, self.ca.clone(), None)?;
        *last = Some((origin, client.clone()));
        Ok(client)
    }
}

impl Answer {
    /// What it offers of a scheme, where it wants a login.
    fn offers(&self, scheme: Scheme) -> Offer {
        if self.response.status == 401 { Offer::of(&self.headers, scheme) } else { Offer::None }
    }

    /// Whether it is a step of a login, and no refusal.
    fn goes_on(&self) -> bool {
        [Scheme::Ntlm, Scheme::Negotiate].iter().any(|scheme| matches!(self.offers(*scheme), Offer::Token(_)))
    }
}

/// The request of a call.
fn request(http: &reqwest::Client, way: &Way, call: &Call) -> Result<RequestBuilder, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in &call.headers {
        let mut value = HeaderValue::from_bytes(value.expose()).map_err(|_| {
            Error::invalid(format!("spec.provider.webhook.headers: {name} renders what no header can hold"))
        })?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    let request = http.request(call.method.clone(), way.server.clone()).headers(headers);
    Ok(if call.body.is_empty() { request } else { request.body(shared(&call.body)) })
}

/// Who logs in by NTLM, of the Secrets that say so.
async fn login(spec: &config::Ntlm, credentials: &dyn Credentials) -> Result<Login, Error> {
    let user = text(&spec.user, "usernameSecret", credentials).await?;
    let password = text(&spec.password, "passwordSecret", credentials).await?;
    let login = Login::new(user.expose_str().unwrap_or_default(), password.expose_str().unwrap_or_default());
    login.ok_or_else(|| {
        Error::invalid("spec.provider.webhook.auth.ntlm.usernameSecret: the name is longer than any that NTLM knows")
    })
}

/// A text of a Secret, without the end of the line that files often have.
async fn text(reference: &SecretRef, field: &str, credentials: &dyn Credentials) -> Result<SecretBytes, Error> {
    let field = format!("spec.provider.webhook.auth.ntlm.{field}");
    let secret = credentials.secret(reference, None).await.map_err(|error| error.context(&field))?;
    let text = secret.expose_str().map(|text| text.trim_end_matches(['\r', '\n'])).filter(|text| !text.is_empty());
    text.map(SecretBytes::from).ok_or_else(|| Error::invalid(format!("{field}: the secret is empty or no text")))
}

fn unoffered(way: &Way) -> Error {
    let message = format!("{} offers no login by NTLM, which spec.provider.webhook.auth.ntlm is for", way.host());
    let hint = "turn NTLM on there, or use the login that it offers";
    Error::new(ErrorKind::Unauthenticated, message).with_hint(hint)
}

fn interrupted(way: &Way) -> Error {
    let message = format!("{} begins the login by NTLM anew where it should go on with it", way.host());
    let hint = "what stands before it must keep a client's connection for that client";
    Error::new(ErrorKind::Unauthenticated, message).with_blame(Blame::Way).with_hint(hint)
}

fn unread(way: &Way, wrong: Wrong) -> Error {
    let problem = match wrong {
        Wrong::NoChallenge => "what it answers is no challenge",
        Wrong::Broken => "its challenge is broken",
        Wrong::NoUnicode => "it does not take names in Unicode",
        Wrong::TooLong => "its challenge is too long to be answered",
    };
    Error::new(ErrorKind::Malformed, format!("a login by NTLM at {} does not go on: {problem}", way.host()))
}

/// A URL that was rendered, which may hold secrets.
pub fn url(text: &SecretBytes) -> Result<Url, Error> {
    let wrong = |problem: &str| Error::invalid(format!("{} {problem}", FIELDS.server));
    let url = text.expose_str().and_then(|text| Url::parse(text.trim()).ok());
    match url {
        Some(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        Some(_) => Err(wrong("must begin with https:// or http:// once it is rendered")),
        None => Err(wrong("does not render a URL")),
    }
}

impl Response {
    /// The error for an answer that is no success, to a request about `key`.
    pub fn refusal(&self, key: &str) -> Error {
        let host = &self.host;
        let error = match self.status {
            404 => Error::new(ErrorKind::NotFound, format!("{host} has no {key:?}")),
            304 => Error::invalid(format!(
                "{host} answers that nothing was modified, and nothing is kept here: take If-None-Match and \
                 If-Modified-Since out of spec.provider.webhook.headers"
            )),
            300..=399 => Error::invalid(format!(
                "{host} redirects (status {}), which is not followed since secrets would go along: correct {}",
                self.status, FIELDS.server
            )),
            401 | 407 => Error::new(
                ErrorKind::Unauthenticated,
                format!("{host} does not accept the login: check {}", self.login),
            ),
            403 => Error::new(ErrorKind::Denied, format!("{host} does not let us use {key:?}")),
            429 => Error::new(ErrorKind::Throttled, format!("{host} asks for fewer requests")),
            408 | 504 => Error::new(ErrorKind::Timeout, format!("no answer from {host} in time")),
            status @ 500..600 => Error::new(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            status => Error::invalid(format!("{host} does not take the request for {key:?} (status {status})"))
                .with_blame(Blame::Request),
        };
        error.with_retry_after(self.retry_after)
    }
}
