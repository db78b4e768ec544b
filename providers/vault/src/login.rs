//! Logging in, and what is known of a token. A session holds it: it is renewed when two thirds of its lease are over,
//! replaced by a new login when it can't be renewed, has expired or was revoked, and never otherwise.
//!
//! A server says the same of a token that it does not know and of one whose policies do not allow a call, so a token that
//! is refused is looked up before it is taken for ended.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, SecretBytes, json};
use keyferry_provider_http::shared;
use keyferry_provider_session::{Grant, Held, Life, Session, Source};
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use crate::client::{Call, Client, Complaint, Response, Ticket};
use crate::method::Method;
use crate::proof::{self, Proof};

/// How long a token that the server was seen to know is taken for good, when calls made with it are denied.
const SEEN_GOOD_FOR: Duration = Duration::from_secs(5);

/// How soon after a login that a refused token led to there may be another such, for tokens whose policies keep them
/// from looking themselves up, on a server that does not say so: of those we can't tell denied from revoked.
const BETWEEN_REPLACEMENTS: Duration = Duration::from_secs(60);

/// A client, logged in.
pub struct Login {
    logins: Arc<Logins>,
    session: Session<Token>,
    /// Held by the one who finds out whether a refused token has ended.
    judging: tokio::sync::Mutex<()>,
}

/// How logins are made, and where.
pub struct Logins {
    /// The way to the server.
    pub client: Arc<Client>,
    /// Where what a login needs is to be had.
    pub ctx: BuildContext,
    /// How.
    pub method: Method,
    /// The namespace of the login.
    pub namespace: Option<HeaderValue>,
    /// Whether servers must know the token before they answer.
    pub read_your_writes: bool,
}

/// A token and what is known about it.
pub(crate) struct Token {
    /// What calls are made with.
    pub ticket: Ticket,
    /// By what it can be revoked without it.
    pub accessor: Option<String>,
    /// `None` where it never ends.
    lease: Option<Lease>,
    /// How many calls the token is good for, where the server limits that.
    uses: Option<AtomicI64>,
    /// Whether a login of ours made it, and it can be revoked: what the server keeps no account of can't.
    is_ours: bool,
    since: Instant,
    /// The same for a token and what it was prolonged to.
    standing: Arc<Mutex<Standing>>,
}

#[derive(Clone, Copy)]
struct Lease {
    /// What the login gave. Renewals that give much less show that the token nears its last day.
    first: Duration,
    renewable: bool,
}

/// What helps to tell a token that has ended from one that is denied a call.
#[derive(Default)]
struct Standing {
    /// Whether it took the place of one that the server refused.
    replaces_refused: bool,
    /// When the server last said that it knows the token.
    seen_good: Option<Instant>,
}

impl Login {
    /// Logs in where the method needs it.
    pub async fn new(logins: Logins) -> Result<Self, Error> {
        let logins = Arc::new(logins);
        let session = Session::new(logins.clone());
        session.get().await?;
        Ok(Self { logins, session, judging: tokio::sync::Mutex::default() })
    }

    /// Makes a call with a token. Where the server does not know the token any more, logs in anew and makes the call
    /// once more; so an answer with status 403 means that the token is good and its policies do not allow the call.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        let token = self.session.get().await?;
        let answer = self.send_as(&token, call).await?;
        if answer.status != 403 {
            return Ok(answer);
        }
        match self.after_refusal(&token).await? {
            None => Ok(answer),
            Some(next) => self.send_as(&next, call).await,
        }
    }

    /// Checks that the server knows the token.
    pub async fn check(&self) -> Result<(), Error> {
        let token = self.session.get().await?;
        let answer = self.look_up(&token).await?;
        match (answer.status, &self.logins.method) {
            (200, _) => Ok(()),
            (403, _) if answer.complaint() == Complaint::Policies => Ok(()), // known, if not free to look
            (403, Method::None) => Err(Error::new(
                ErrorKind::Unauthenticated,
                format!("{} wants a token: set {}.auth", self.logins.client.host(), self.logins.client.product),
            )),
            // The new login itself shows that all is well.
            (403, _) => self.replace(&token, &self.judging.lock().await).await.map(|_| ()),
            _ => Err(self.logins.path_error(&answer, "auth/token/lookup-self")),
        }
    }

    /// Whether it is the operator's own identity in a cloud that logs in, and which cloud's.
    pub fn cloud_of_operator(&self) -> Option<&'static str> {
        proof::is_of_operator(&self.logins.method)
    }

    /// After a call was refused: the token to make it with again, or `None` where the token is not to blame.
    async fn after_refusal(&self, token: &Held<Token>) -> Result<Option<Held<Token>>, Error> {
        if matches!(self.logins.method, Method::None) || token.is_believed() {
            return Ok(None);
        }
        let judging = self.judging.lock().await;
        // While we waited the token may have been replaced, or looked up.
        if self.session.held().is_none_or(|current| current.number() != token.number()) {
            return self.replace(token, &judging).await.map(Some);
        }
        if token.is_believed() {
            return Ok(None);
        }
        let answer = self.look_up(token).await?;
        match (answer.status, answer.complaint()) {
            (200, _) | (403, Complaint::Policies) => {
                token.standing().seen_good = Some(Instant::now());
                Ok(None)
            }
            (403, _) => self.replace(token, &judging).await.map(Some),
            _ => Err(self.logins.path_error(&answer, "auth/token/lookup-self")),
        }
    }

    /// A token in place of one that the server refuses, by a new login unless somebody else has just made it.
    async fn replace(&self, refused: &Held<Token>, _: &tokio::sync::MutexGuard<'_, ()>) -> Result<Held<Token>, Error> {
        let is_replaced = self.session.held().is_some_and(|current| current.number() != refused.number());
        self.session.forget(refused.number());
        let next = self.session.get().await?;
        if next.ticket.token == refused.ticket.token {
            // A token from a secret, which is still the same one.
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                format!(
                    "the server does not accept the token of {}.auth.tokenSecretRef: it is wrong, has expired or was revoked",
                    self.logins.client.product
                ),
            ));
        }
        if !is_replaced {
            next.standing().replaces_refused = true;
            // Whether it can look itself up decides how it is judged when a call is denied; a counted use is too dear.
            if next.uses.is_none() && self.look_up(&next).await.is_ok_and(|answer| answer.status == 200) {
                next.standing().seen_good = Some(Instant::now());
            }
        }
        Ok(next)
    }

    async fn look_up(&self, token: &Held<Token>) -> Result<Response, Error> {
        let call = self.logins.call("LookupSelf", "auth/token/lookup-self", None);
        self.send_as(token, &call).await
    }

    async fn send_as(&self, token: &Held<Token>, call: &Call) -> Result<Response, Error> {
        if token.count_call() {
            self.session.forget(token.number());
        }
        self.logins.client.send(call, &token.ticket).await
    }
}

/// What a login of ours made is of no use to anybody once the store is gone: it is revoked. Nobody waits for that, and what
/// comes of it changes nothing; a token that stays behind has its end.
impl Drop for Login {
    fn drop(&mut self) {
        let Some(token) = self.session.held().filter(|token| token.is_ours) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let logins = self.logins.clone();
        runtime.spawn(async move {
            let call = logins.call("RevokeSelf", "auth/token/revoke-self", Some("{}".into()));
            _ = logins.client.send(&call, &token.ticket).await;
        });
    }
}

impl Token {
    fn endless(ticket: Ticket) -> Grant<Self> {
        let standing = Arc::default();
        Grant {
            value: Self {
                ticket,
                accessor: None,
                lease: None,
                uses: None,
                is_ours: false,
                since: Instant::now(),
                standing,
            },
            life: Life::ENDLESS,
        }
    }

    /// How long it lives from when it was given; `None` where it never ends.
    pub fn length(&self) -> Option<Duration> {
        self.lease.map(|lease| lease.first)
    }

    /// Counts a call. Answers whether it is the last that the token is good for.
    fn count_call(&self) -> bool {
        self.uses.as_ref().is_some_and(|left| left.fetch_sub(1, Ordering::Relaxed) <= 1)
    }

    /// Whether a refusal is taken for one of policies, without asking the server about the token.
    fn is_believed(&self) -> bool {
        let standing = self.standing();
        match standing.seen_good {
            Some(seen) => seen.elapsed() < SEEN_GOOD_FOR,
            None => standing.replaces_refused && self.since.elapsed() < BETWEEN_REPLACEMENTS,
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Source<Token> for Arc<Logins> {
    async fn get(&self) -> Result<Grant<Token>, Error> {
        let Proof { path, body } = match &self.method {
            Method::None => return Ok(Token::endless(Ticket::default())),
            Method::Token(reference) => {
                let field = format!("{}.auth.tokenSecretRef", self.client.product);
                let token = self.ctx.credentials.secret(reference, None).await;
                let token = token.map_err(|error| error.context(&field))?;
                let ticket = Ticket { token: Some(token_header(&token, &field)?), index: None };
                return Ok(Token::endless(ticket));
            }
            method => proof::of(self.client.product, method, &self.ctx).await?,
        };
        let answer = self.client.send(&self.call("Login", &path, Some(body)), &Ticket::default()).await?;
        match answer.status {
            200 => self.granted(&answer, None).ok_or_else(|| self.not_granted(&answer, &path)),
            400 | 403 if answer.complaint() != Complaint::NotAList => {
                // 400 is what the method itself can't accept. 403 may come from it too, but so does Vault answer
                // whoever has no token at any path that takes no logins.
                let mounted = match answer.status {
                    403 => "check that the method is mounted there, in the namespace of the login; ",
                    _ => "",
                };
                let hint = proof::hint(&self.method);
                let message = format!("the server refused the login at {path}: {mounted}{hint}");
                Err(Error::new(ErrorKind::Unauthenticated, message))
            }
            _ => Err(self.path_error(&answer, &path)),
        }
    }

    async fn renew(&self, held: &Token) -> Result<Option<Grant<Token>>, Error> {
        if !held.lease.is_some_and(|lease| lease.renewable) {
            return Ok(None);
        }
        _ = held.count_call();
        let call = self.call("RenewSelf", "auth/token/renew-self", Some("{}".into()));
        let answer = self.client.send(&call, &held.ticket).await?;
        match answer.status {
            200 => Ok(self.granted(&answer, Some(held))),
            // The server has a bad moment; the token is good until its end.
            429 => Err(self.client.status_error(&answer)),
            400..500 => Ok(None),
            _ => Err(self.client.status_error(&answer)),
        }
    }
}

impl Logins {
    /// The token that an answer grants, which is a new one or the `former` one prolonged.
    pub(crate) fn granted(&self, answer: &Response, former: Option<&Token>) -> Option<Grant<Token>> {
        let body = json::object(answer.body.expose())?;
        let auth = json::object(body.get("auth")?.get().as_bytes())?;
        let token = json::to_bytes(auth.get("client_token")?);
        let seconds = auth.get("lease_duration")?.get().parse::<u64>().ok()?;
        let renewable = auth.get("renewable").is_some_and(|flag| flag.get() == "true");
        let length = Duration::from_secs(seconds);
        let first = former.and_then(|former| former.lease).map_or(length, |lease| lease.first);
        let index = answer.index.clone().filter(|_| self.read_your_writes);
        let uses = auth.get("num_uses").and_then(|uses| uses.get().parse().ok()).filter(|uses| *uses > 0);
        let is_batch = auth.get("token_type").is_some_and(|kind| kind.get() == "\"batch\"");
        // A lease of zero never ends: that is how root tokens look.
        let ends = seconds > 0;
        let value = Token {
            ticket: Ticket { token: Some(token_header(&token, "").ok()?), index },
            accessor: auth
                .get("accessor")
                .map(|accessor| json::to_bytes(accessor))
                .and_then(|accessor| accessor.expose_str().filter(|accessor| !accessor.is_empty()).map(str::to_owned)),
            lease: ends.then_some(Lease { first, renewable: renewable && length >= first / 2 }),
            uses: uses.map(AtomicI64::new),
            is_ours: !is_batch,
            since: former.map_or_else(Instant::now, |former| former.since),
            standing: former.map(|former| former.standing.clone()).unwrap_or_default(),
        };
        let life = if ends { Life::of(length).renewed_after_two_thirds() } else { Life::ENDLESS };
        Some(Grant { value, life })
    }

    fn not_granted(&self, answer: &Response, path: &str) -> Error {
        let auth = json::object(answer.body.expose())
            .and_then(|body| json::object(body.get("auth")?.get().as_bytes()))
            .unwrap_or_default();
        match auth.get("mfa_requirement") {
            Some(mfa) if mfa.get() != "null" => Error::new(
                ErrorKind::Unauthenticated,
                format!("the login at {path} asks for a second factor, which an operator can't give"),
            ),
            _ => Error::new(ErrorKind::Malformed, format!("the answer to the login at {path} holds no token")),
        }
    }

    /// The error for an answer from a path of our own choice, which is only missing where somebody moved it.
    fn path_error(&self, answer: &Response, path: &str) -> Error {
        let mount = path.split_once("/login").map_or(path, |(mount, _)| mount);
        match (answer.status, answer.complaint()) {
            (404, Complaint::NoRoute) => Error::invalid(format!("no login method is mounted at {mount}")),
            (404, Complaint::NoNamespace) => Error::invalid(format!(
                "the namespace of the login does not exist: check {0}.auth.namespace and {0}.namespace",
                self.client.product
            )),
            _ => self.client.status_error(answer),
        }
    }

    pub(crate) fn call(&self, name: &'static str, path: &str, body: Option<SecretBytes>) -> Call {
        let method = if body.is_some() { reqwest::Method::POST } else { reqwest::Method::GET };
        Call { name, method, body, path: path.to_owned(), query: None, namespace: self.namespace.clone() }
    }
}

/// A token as a header that shares its bytes. White space around it is an editor's.
fn token_header(token: &SecretBytes, field: &str) -> Result<HeaderValue, Error> {
    let text = token.expose().trim_ascii();
    if text.is_empty() {
        return Err(Error::invalid(format!("{field}: the token is empty")));
    }
    let bytes = shared(token);
    let mut header = HeaderValue::from_maybe_shared(bytes.slice_ref(text)).map_err(|_| {
        Error::invalid(format!("{field}: the token holds control characters, so it is none of Vault's"))
    })?;
    header.set_sensitive(true);
    Ok(header)
}
