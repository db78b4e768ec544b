//! Logging in, and the life of a token: it is renewed when two thirds of its lease are over, replaced by a new login
//! when it can't be renewed, has expired or was revoked, and never otherwise. Whoever needs a token while another is
//! being fetched waits for that one; whoever has a good one waits for nobody.
//!
//! Nothing happens in the background: a token that nobody asks for expires, and the next call logs in. Nothing is
//! revoked either, not even on drop, where there is no way to wait for it: a token that was replaced or dropped
//! lives on in the server until its lease ends.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyferry_provider_core::{Credentials, Error, ErrorKind, SecretBuf, SecretBytes, SecretRef, json};
use reqwest::header::HeaderValue;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use crate::client::{Answer, Call, Client, Complaint, Ticket, shared};
use crate::config::{Jwt, Method, RoleId, invalid};

/// How long a token that the server was seen to know is taken for good, when calls made with it are denied.
const SEEN_GOOD_FOR: Duration = Duration::from_secs(5);

/// How soon after a login that a refused token led to there may be another such, for tokens whose policies keep them
/// from looking themselves up, on a server that does not say so: of those we can't tell denied from revoked.
const BETWEEN_REPLACEMENTS: Duration = Duration::from_secs(60);

/// How long to go on with a token whose renewal failed for a passing reason, before renewing is tried again.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(10);

/// Gets tokens and keeps them good.
pub struct Auth {
    client: Arc<Client>,
    credentials: Arc<dyn Credentials>,
    method: Method,
    namespace: Option<HeaderValue>,
    read_your_writes: bool,
    session: Mutex<Option<Arc<Session>>>,
    /// Held by the one who logs in or renews.
    gate: tokio::sync::Mutex<()>,
}

/// A token and what is known about it.
struct Session {
    ticket: Ticket,
    /// `None` where it never ends.
    lease: Option<Lease>,
    /// How many calls the token is good for, where the server limits that.
    uses: Option<AtomicI64>,
    since: Instant,
    /// Whether it took the place of one that the server refused.
    replaces_refused: bool,
    /// When the server last said that it knows the token.
    seen_good: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy)]
struct Lease {
    /// What the login gave. Renewals that give much less show that the token nears its last day.
    first: Duration,
    renewable: bool,
    due: Instant,
    end: Instant,
}

/// What there is to do before a session can be used.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Renewal,
    NewLogin,
}

impl Session {
    fn need(&self, now: Instant) -> Need {
        match self.lease {
            _ if self.used_up() => Need::NewLogin,
            None => Need::Nothing,
            Some(lease) if now >= lease.end => Need::NewLogin,
            Some(lease) if now < lease.due => Need::Nothing,
            Some(Lease { renewable: true, .. }) => Need::Renewal,
            Some(_) => Need::NewLogin,
        }
    }

    fn ended(&self, now: Instant) -> bool {
        self.used_up() || self.lease.is_some_and(|lease| now >= lease.end)
    }

    /// Whether a refusal is taken for one of policies, without asking the server about the token.
    fn believed(&self, now: Instant) -> bool {
        match *lock(&self.seen_good) {
            Some(seen) => now < seen + SEEN_GOOD_FOR,
            None => self.replaces_refused && now < self.since + BETWEEN_REPLACEMENTS,
        }
    }

    fn used_up(&self) -> bool {
        self.uses.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) <= 0)
    }
}

impl Auth {
    /// Logs in where the method needs it.
    pub async fn new(
        client: Arc<Client>,
        credentials: Arc<dyn Credentials>,
        method: Method,
        namespace: Option<HeaderValue>,
        read_your_writes: bool,
    ) -> Result<Self, Error> {
        let (session, gate) = Default::default();
        let auth = Self { client, credentials, method, namespace, read_your_writes, session, gate };
        auth.session().await?;
        Ok(auth)
    }

    /// Makes a call with a token. Where the server does not know the token any more, logs in anew and makes the call
    /// once more; so an answer with status 403 means that the token is good and its policies do not allow the call.
    pub async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let session = self.session().await?;
        let answer = self.send_as(&session, call).await?;
        if answer.status != 403 {
            return Ok(answer);
        }
        match self.after_refusal(&session).await? {
            None => Ok(answer),
            Some(next) => self.send_as(&next, call).await,
        }
    }

    /// Checks that the server knows the token.
    pub async fn check(&self) -> Result<(), Error> {
        let session = self.session().await?;
        let answer = self.look_up(&session).await?;
        match (answer.status, &self.method) {
            (200, _) => Ok(()),
            (403, _) if answer.complaint() == Complaint::Policies => Ok(()), // known, if not free to look
            (403, Method::None) => Err(Error::new(
                ErrorKind::Unauthenticated,
                format!("{} wants a token: set spec.provider.vault.auth", self.client.host()),
            )),
            // The new login itself shows that all is well.
            (403, _) => self.replace(&session, &self.gate.lock().await).await.map(|_| ()),
            _ => Err(self.path_error(&answer, "auth/token/lookup-self")),
        }
    }

    /// The session to use now.
    async fn session(&self) -> Result<Arc<Session>, Error> {
        let usable =
            |session: Option<Arc<Session>>| session.filter(|session| session.need(Instant::now()) == Need::Nothing);
        let current = self.current();
        if let Some(session) = usable(current.clone()) {
            return Ok(session);
        }
        let _gate = match (current, self.gate.try_lock()) {
            (_, Ok(gate)) => gate,
            // Somebody is at it already, and this one is good for a while yet.
            (Some(session), Err(_)) if !session.ended(Instant::now()) => return Ok(session),
            (_, Err(_)) => self.gate.lock().await,
        };
        let current = self.current();
        if let Some(session) = usable(current.clone()) {
            return Ok(session); // while we waited
        }
        let next = match &current {
            Some(session) if session.need(Instant::now()) == Need::Renewal => self.renew(session).await?,
            _ => None,
        };
        let next = match (next, current) {
            (Some(next), _) => next,
            (None, current) => match (self.log_in(false).await, current) {
                (Ok(next), _) => next,
                // A login that fails for a passing reason costs nothing while there is still a good token.
                (Err(error), Some(session)) if error.kind().is_temporary() && !session.ended(Instant::now()) => {
                    session.put_off()
                }
                (Err(error), _) => return Err(error),
            },
        };
        Ok(self.keep(next))
    }

    /// After a call was refused: the session to make it with again, or `None` where the token is not to blame.
    async fn after_refusal(&self, session: &Arc<Session>) -> Result<Option<Arc<Session>>, Error> {
        if matches!(self.method, Method::None) || session.believed(Instant::now()) {
            return Ok(None);
        }
        let gate = self.gate.lock().await;
        // While we waited the token may have been replaced, or looked up.
        match self.current() {
            Some(current) if current.ticket.token != session.ticket.token => return Ok(Some(current)),
            _ if session.believed(Instant::now()) => return Ok(None),
            _ => {}
        }
        let answer = self.look_up(session).await?;
        match (answer.status, answer.complaint()) {
            (200, _) | (403, Complaint::Policies) => {
                *lock(&session.seen_good) = Some(Instant::now());
                Ok(None)
            }
            (403, _) => self.replace(session, &gate).await.map(Some),
            _ => Err(self.path_error(&answer, "auth/token/lookup-self")),
        }
    }

    async fn look_up(&self, session: &Session) -> Result<Answer, Error> {
        let call = self.call("LookupSelf", "auth/token/lookup-self".into(), None);
        self.send_as(session, &call).await
    }

    async fn send_as(&self, session: &Session, call: &Call) -> Result<Answer, Error> {
        if let Some(left) = &session.uses {
            left.fetch_sub(1, Ordering::Relaxed);
        }
        self.client.send(call, &session.ticket).await
    }

    /// A new session in place of one that the server refuses, by a new login unless somebody else has just made it.
    async fn replace(&self, refused: &Session, _: &MutexGuard<'_, ()>) -> Result<Arc<Session>, Error> {
        if let Some(current) = self.current().filter(|current| current.ticket.token != refused.ticket.token) {
            return Ok(current);
        }
        let next = self.log_in(true).await?;
        if next.ticket.token == refused.ticket.token {
            // A token from a secret, which is still the same one.
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "the server does not accept the token of spec.provider.vault.auth.tokenSecretRef: it is wrong, has \
                 expired or was revoked",
            ));
        }
        // Whether it can look itself up decides how it is judged when a call is denied; a counted use is too dear.
        if next.uses.is_none() && self.look_up(&next).await.is_ok_and(|answer| answer.status == 200) {
            *lock(&next.seen_good) = Some(Instant::now());
        }
        Ok(self.keep(next))
    }

    fn current(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone()
    }

    fn keep(&self, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        *lock(&self.session) = Some(session.clone());
        session
    }

    async fn log_in(&self, replaces_refused: bool) -> Result<Session, Error> {
        let (path, body) = match &self.method {
            Method::None => return Ok(Session::endless(Ticket::default(), replaces_refused)),
            Method::Token(reference) => {
                let field = "spec.provider.vault.auth.tokenSecretRef";
                let token = self.secret(reference, None, field).await?;
                let ticket = Ticket { token: Some(token_header(&token, field)?), index: None };
                return Ok(Session::endless(ticket, replaces_refused));
            }
            Method::AppRole { mount, role, secret } => {
                let field = "spec.provider.vault.auth.appRole";
                let role = match role {
                    RoleId::Plain(id) => SecretBytes::from(id.as_str()),
                    RoleId::Ref(reference) => self.secret(reference, None, &format!("{field}.roleRef")).await?,
                };
                let secret = self.secret(secret, None, &format!("{field}.secretRef")).await?;
                (format!("auth/{mount}/login"), body([("role_id", &role), ("secret_id", &secret)], field)?)
            }
            Method::Kubernetes { mount, role, jwt } => {
                let field = "spec.provider.vault.auth.kubernetes";
                let jwt = match jwt {
                    Jwt::ServiceAccount(account) => self
                        .credentials
                        .service_account_token(account, &[])
                        .await
                        .map(|token| token.secret)
                        .map_err(|error| error.context(format!("{field}.serviceAccountRef"))),
                    Jwt::Secret(reference) => {
                        self.secret(reference, Some("token"), &format!("{field}.secretRef")).await
                    }
                    Jwt::Controller => self.credentials.controller_token().await.map_err(|error| error.context(field)),
                }?;
                (format!("auth/{mount}/login"), body([("role", &role.as_str().into()), ("jwt", &jwt)], field)?)
            }
        };
        let asked = Instant::now();
        let answer = self.client.send(&self.call("Login", path.clone(), Some(body)), &Ticket::default()).await?;
        match answer.status {
            200 => self.granted(&answer, asked, None, replaces_refused).ok_or_else(|| self.not_granted(&answer, &path)),
            400 | 403 if answer.complaint() != Complaint::NotAList => {
                // 400 is what the method itself can't accept. 403 may come from it too, but so does Vault answer
                // whoever has no token at any path that takes no logins.
                let mounted = match answer.status {
                    403 => "check that the method is mounted there, in the namespace of the login; ",
                    _ => "",
                };
                let hint = self.login_hint();
                let message = format!("the server refused the login at {path}: {mounted}{hint}");
                Err(Error::new(ErrorKind::Unauthenticated, message))
            }
            _ => Err(self.path_error(&answer, &path)),
        }
    }

    /// The session with a new lease; `None` where that is refused, so that a new login is needed.
    async fn renew(&self, session: &Arc<Session>) -> Result<Option<Session>, Error> {
        let call = self.call("RenewSelf", "auth/token/renew-self".into(), Some("{}".into()));
        let asked = Instant::now();
        match self.send_as(session, &call).await {
            Ok(answer) if answer.status == 200 => {
                Ok(self.granted(&answer, asked, Some(session), session.replaces_refused))
            }
            Ok(answer) if matches!(answer.status, 400..500) && answer.status != 429 => Ok(None),
            // The server has a bad moment; the token is good until its end.
            Ok(_) | Err(_) => Ok(Some(session.put_off())),
        }
    }

    /// The session that an answer grants, which is a new one or the `former` one prolonged.
    fn granted(
        &self,
        answer: &Answer,
        asked: Instant,
        former: Option<&Session>,
        replaces_refused: bool,
    ) -> Option<Session> {
        let body = json::object(answer.body.expose())?;
        let auth = json::object(body.get("auth")?.get().as_bytes())?;
        let token = json::to_bytes(auth.get("client_token")?);
        let seconds = auth.get("lease_duration")?.get().parse::<u64>().ok()?;
        let renewable = auth.get("renewable").is_some_and(|flag| flag.get() == "true");
        // An hour more or less of a century-long lease does not matter; an overflow would.
        let length = Duration::from_secs(seconds.min(100 * 365 * 24 * 3600));
        let first = former.and_then(|former| former.lease).map_or(length, |lease| lease.first);
        let index = answer.index.clone().filter(|_| self.read_your_writes);
        Some(Session {
            ticket: Ticket { token: Some(token_header(&token, "").ok()?), index },
            // A lease of zero never ends: that is how root tokens look.
            lease: (seconds > 0).then(|| Lease {
                first,
                renewable: renewable && length >= first / 2,
                due: asked + length * 2 / 3,
                end: asked + length,
            }),
            uses: auth
                .get("num_uses")
                .and_then(|uses| uses.get().parse().ok())
                .filter(|uses| *uses > 0)
                .map(AtomicI64::new),
            since: former.map_or(asked, |former| former.since),
            replaces_refused,
            seen_good: Mutex::default(),
        })
    }

    fn not_granted(&self, answer: &Answer, path: &str) -> Error {
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

    fn login_hint(&self) -> String {
        match &self.method {
            Method::None | Method::Token(_) => String::new(), // there is no login to refuse
            Method::AppRole { .. } => "check the role id and the secret id".into(),
            Method::Kubernetes { role, jwt, .. } => {
                let who = match jwt {
                    Jwt::ServiceAccount(account) => format!("the ServiceAccount {:?}", account.name),
                    Jwt::Secret(_) => "the ServiceAccount of the token in secretRef".into(),
                    Jwt::Controller => "the operator's own ServiceAccount".into(),
                };
                format!("check that the role {role:?} exists, is bound to {who}, and accepts its token's audience")
            }
        }
    }

    /// The error for an answer from a path of our own choice, which is only missing where somebody moved it.
    fn path_error(&self, answer: &Answer, path: &str) -> Error {
        let mount = path.trim_end_matches("/login");
        match (answer.status, answer.complaint()) {
            (404, Complaint::NoRoute) => invalid(format!("no login method is mounted at {mount}")),
            (404, Complaint::NoNamespace) => invalid(
                "the namespace of the login does not exist: check spec.provider.vault.auth.namespace and \
                 spec.provider.vault.namespace",
            ),
            _ => self.client.status_error(answer),
        }
    }

    fn call(&self, name: &'static str, path: String, body: Option<SecretBytes>) -> Call {
        Call { name, body, path, query: None, namespace: self.namespace.clone() }
    }

    async fn secret(&self, reference: &SecretRef, key: Option<&str>, field: &str) -> Result<SecretBytes, Error> {
        self.credentials.secret(reference, key).await.map_err(|error| error.context(field))
    }
}

impl Session {
    fn endless(ticket: Ticket, replaces_refused: bool) -> Self {
        Self { ticket, lease: None, uses: None, since: Instant::now(), replaces_refused, seen_good: Mutex::default() }
    }

    /// The same session, with what is due put off a little.
    fn put_off(&self) -> Self {
        Self {
            ticket: self.ticket.clone(),
            lease: self.lease.map(|lease| Lease { due: Instant::now() + BETWEEN_RENEWALS, ..lease }),
            uses: self.uses.as_ref().map(|left| AtomicI64::new(left.load(Ordering::Relaxed))),
            since: self.since,
            replaces_refused: self.replaces_refused,
            seen_good: Mutex::new(*lock(&self.seen_good)),
        }
    }
}

/// A token as a header that shares its bytes. White space around it is an editor's.
fn token_header(token: &SecretBytes, field: &str) -> Result<HeaderValue, Error> {
    let text = token.expose().trim_ascii();
    if text.is_empty() {
        return Err(invalid(format!("{field}: the token is empty")));
    }
    let bytes = shared(token);
    let mut header = HeaderValue::from_maybe_shared(bytes.slice_ref(text))
        .map_err(|_| invalid(format!("{field}: the token holds control characters, so it is none of Vault's")))?;
    header.set_sensitive(true);
    Ok(header)
}

/// A JSON object of strings.
fn body<const N: usize>(fields: [(&str, &SecretBytes); N], field: &str) -> Result<SecretBytes, Error> {
    let mut out = SecretBuf::with_capacity(64 + fields.iter().map(|(_, value)| value.len()).sum::<usize>());
    for (n, (name, value)) in fields.into_iter().enumerate() {
        let text = value.expose_str().ok_or_else(|| invalid(format!("{field}: a credential is not UTF-8")))?;
        out.push(if n == 0 { b'{' } else { b',' });
        json::write_string(name, &mut out);
        out.push(b':');
        json::write_string(text.trim_ascii(), &mut out);
    }
    out.push(b'}');
    Ok(out.into())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
