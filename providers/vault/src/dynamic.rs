//! VaultDynamicSecret: what an engine makes up at each request, mostly with a lease.
//!
//! A lease hangs on the token that asked for it, and ends with that. So each making has a login of its own, whose accessor
//! is written down before the engine is asked: whatever is made after that is revoked with it, even where nobody came to
//! know of the lease. What has no lease needs none of this, and its login ends at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use keyferry_provider_core::{
    BuildContext, Built, Error, ErrorKind, Generator, Keep, Made, SecretBytes, State, Term, filled, json,
};
use keyferry_provider_http::path::{clean, segment};
use keyferry_provider_session::Source as _;
use reqwest::Method as Verb;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Call, Client, Complaint, Response, Ticket};
use crate::config::Config;
use crate::login::Logins;
use crate::method::Method;
use crate::product::Product;

/// The spec. Nulls are taken as absent, as the API server leaves them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    path: Option<String>,
    method: Option<String>,
    parameters: Option<Value>,
    get_parameters: Option<BTreeMap<String, Vec<String>>>,
    result_type: Option<String>,
    allow_empty_response: Option<bool>,
    #[serde(default)]
    provider: Value,
}

struct Dynamic {
    spec: Spec,
    ctx: BuildContext,
}

/// Builds the generator.
pub fn build(spec: &Value, ctx: BuildContext) -> Built {
    let spec =
        Spec::deserialize(spec).map_err(|_| Error::invalid("spec is not of the form that a VaultDynamicSecret has"))?;
    Ok(Arc::new(Dynamic { spec, ctx }))
}

/// The fields of an object.
type Fields<'a> = BTreeMap<String, &'a serde_json::value::RawValue>;

/// What of an answer is wanted.
#[derive(Clone, Copy)]
enum Part {
    Data,
    Auth,
    Raw,
}

/// A login for one making, or one revocation.
struct Visit {
    logins: Logins,
    ticket: Ticket,
    /// By what it is revoked later; `None` where it is a token of somebody else's.
    accessor: Option<String>,
    /// When it ends.
    end: Option<SystemTime>,
    namespace: Option<HeaderValue>,
}

impl Visit {
    async fn new(spec: &Value, ctx: &BuildContext) -> Result<Self, Error> {
        let at = |error: Error| error.at("spec.provider.vault", "spec.provider");
        let config = Config::new(Product::Vault, spec).map_err(at)?;
        let client = Arc::new(Client::new(&config, ctx).await.map_err(at)?);
        let logins = Arc::new(Logins {
            client,
            ctx: ctx.clone(),
            method: config.method,
            namespace: config.auth_namespace,
            read_your_writes: config.read_your_writes,
        });
        let token = logins.get().await.map_err(at)?.value;
        let length = token.length();
        let (ticket, accessor) = (token.ticket.clone(), token.accessor.clone());
        let logins = Arc::into_inner(logins).ok_or_else(|| Error::new(ErrorKind::Unavailable, "the login goes on"))?;
        let visit = Self { logins, ticket, accessor, end: length.map(in_future), namespace: config.namespace };
        match visit.logins.method {
            Method::Token(_) => visit.on_its_own().await,
            _ => Ok(visit),
        }
    }

    /// With a token that somebody gave us: a child of it takes its place, where it may have one. Revoking the given one would
    /// take more along than what was made here.
    async fn on_its_own(mut self) -> Result<Self, Error> {
        let call = self.logins.call("CreateToken", "auth/token/create", Some(r#"{"display_name":"keyferry"}"#.into()));
        let answer = self.logins.client.send(&call, &self.ticket).await?;
        match answer.status {
            // It has none of its own: a policy does not let it, or it is of a kind that has no children.
            400 | 403 => return Ok(self),
            200..300 => {}
            // What is only so now would have a lease made that nobody can revoke.
            _ => return Err(self.logins.client.status_error(&answer).at("spec.provider.vault", "spec.provider")),
        }
        let grant = self.logins.granted(&answer, None).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, "the answer to a request for a token is not of the form that Vault gives")
        })?;
        self.end = grant.value.length().map(in_future);
        (self.ticket, self.accessor) = (grant.value.ticket.clone(), grant.value.accessor.clone());
        Ok(self)
    }

    /// Has the login end after that long, and with it all that hangs on it, where it would live longer and the server lets us.
    async fn ends_within(&mut self, longest: Duration) -> Result<(), Error> {
        if self.accessor.is_none() || self.end.is_some_and(|end| end <= in_future(longest)) {
            return Ok(());
        }
        let body = serde_json::json!({"increment": increment(longest)}).to_string().as_str().into();
        let answer = self.send(&self.logins.call("RenewSelf", "auth/token/renew-self", Some(body))).await?;
        if let Some(lease) = Some(&answer).filter(|answer| answer.status == 200).and_then(lease_of)
            && !lease.length.is_zero()
        {
            self.end = Some(in_future(lease.length));
        }
        Ok(())
    }

    fn call(&self, name: &'static str, method: Verb, path: &str, body: Option<SecretBytes>) -> Call {
        Call { name, method, body, path: path.to_owned(), query: None, namespace: self.namespace.clone() }
    }

    async fn send(&self, call: &Call) -> Result<Response, Error> {
        self.logins.client.send(call, &self.ticket).await
    }

    /// Asks something of the server itself, in the namespace of the login.
    async fn ask(&self, name: &'static str, path: &str, body: Value) -> Result<Response, Error> {
        let body = body.to_string().as_str().into();
        let call = self.logins.call(name, path, Some(body));
        self.send(&call).await
    }

    /// Asks something about a lease, in the namespace where it was made.
    async fn ask_of_lease(&self, name: &'static str, path: &str, body: Value) -> Result<Response, Error> {
        let body = body.to_string().as_str().into();
        self.send(&self.call(name, Verb::POST, path, Some(body))).await
    }

    /// Ends the login, and with it all that hangs on it. Nobody need know where that fails: it has its end.
    async fn leave(&self) {
        if self.accessor.is_some() {
            let call = self.logins.call("RevokeSelf", "auth/token/revoke-self", Some("{}".into()));
            let _ = self.send(&call).await;
        }
    }

    fn refusal(&self, answer: &Response, path: &str) -> Error {
        let host = self.logins.client.host();
        match (answer.status, answer.complaint()) {
            (403, _) => Error::new(
                ErrorKind::Denied,
                format!(
                    "{host} does not let us use {path}: allow it in a policy of whom spec.provider.auth stands for"
                ),
            ),
            (404, Complaint::NoRoute) => {
                Error::invalid(format!("no engine is mounted where {path} leads: check spec.path"))
            }
            (404, Complaint::NoNamespace) => {
                Error::invalid("the namespace does not exist: check spec.provider.namespace")
            }
            (400 | 404 | 405, complaint) if complaint != Complaint::NotAList => Error::invalid(format!(
                "{host} takes the request to {path} for none that makes sense: check spec.path, method and parameters"
            )),
            _ => self.logins.client.status_error(answer).at("spec.provider.vault", "spec.provider"),
        }
    }
}

fn in_future(length: Duration) -> SystemTime {
    SystemTime::now().checked_add(length).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// How long something is asked to live from now on.
fn increment(length: Duration) -> String {
    format!("{}s", length.as_secs())
}

/// What names something, and how long it is asked to live where that is bounded.
fn named(field: &str, id: &str, longest: Option<Duration>) -> Value {
    let mut body = serde_json::json!({ field: id });
    if let Some(longest) = longest {
        body["increment"] = increment(longest).into();
    }
    body
}

fn seconds(time: Option<SystemTime>) -> Option<u64> {
    time?.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

fn time_of(seconds: &Value) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.as_u64()?))
}

/// A lease, or a token that was asked for, as an answer tells of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lease {
    /// Empty where it is a token.
    id: String,
    /// Of a token that was asked for.
    accessor: Option<String>,
    length: Duration,
    renews: bool,
}

fn lease_of(answer: &Response) -> Option<Lease> {
    let body = json::object(answer.body.expose())?;
    let text = |fields: &BTreeMap<String, String>, name: &str| fields.get(name).cloned().unwrap_or_default();
    let known = |fields: &Fields<'_>| -> BTreeMap<String, String> {
        ["lease_id", "accessor", "lease_duration", "renewable"]
            .into_iter()
            .filter_map(|name| {
                let value = json::to_bytes(fields.get(name)?);
                Some((name.to_owned(), value.expose_str()?.to_owned()))
            })
            .collect()
    };
    let length =
        |fields: &BTreeMap<String, String>| Duration::from_secs(text(fields, "lease_duration").parse().unwrap_or(0));
    let whole = known(&body);
    if let Some(auth) = body.get("auth").and_then(|auth| json::object(auth.get().as_bytes())) {
        let auth = known(&auth);
        let accessor = filled(Some(text(&auth, "accessor")));
        return Some(Lease {
            id: String::new(),
            length: length(&auth),
            renews: text(&auth, "renewable") == "true" && accessor.is_some(),
            accessor,
        });
    }
    let id = filled(Some(text(&whole, "lease_id")))?;
    Some(Lease { id, accessor: None, length: length(&whole), renews: text(&whole, "renewable") == "true" })
}

impl Dynamic {
    fn part(&self) -> Result<Part, Error> {
        match self.spec.result_type.as_deref() {
            None | Some("" | "Data") => Ok(Part::Data),
            Some("Auth") => Ok(Part::Auth),
            Some("Raw") => Ok(Part::Raw),
            Some(_) => Err(Error::invalid("spec.resultType must be Data, Auth or Raw")),
        }
    }

    fn path(&self) -> Result<String, Error> {
        let path = filled(self.spec.path.clone()).ok_or_else(|| Error::invalid("spec.path is missing"))?;
        let path = clean(&path).map_err(|error| error.context("spec.path"))?;
        if path.is_empty() { Err(Error::invalid("spec.path names nothing")) } else { Ok(path) }
    }

    fn request(&self, visit: &Visit, path: &str) -> Call {
        let call = |method| visit.call("ReadDynamicSecret", method, path, None);
        match self.spec.method.as_deref() {
            None | Some("" | "GET") => {
                let all = self.spec.get_parameters.iter().flatten();
                let pairs = all.flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
                let pairs: Vec<String> =
                    pairs.map(|(name, value)| format!("{}={}", segment(name), segment(value))).collect();
                Call { query: filled(Some(pairs.join("&"))), ..call(Verb::GET) }
            }
            Some("LIST") => Call { query: Some("list=true".to_owned()), ..call(Verb::GET) },
            Some("DELETE") => call(Verb::DELETE),
            // As in External Secrets Operator: whatever else it is called, it writes.
            Some(_) => {
                let body = self.spec.parameters.as_ref().filter(|parameters| parameters.is_object());
                let body = body.map_or_else(|| "{}".to_owned(), Value::to_string);
                Call { body: Some(body.as_str().into()), ..call(Verb::PUT) }
            }
        }
    }

    /// The values of an answer; `None` where it is empty.
    fn values(&self, answer: &Response) -> Result<Option<BTreeMap<String, SecretBytes>>, Error> {
        if answer.status == 204 || answer.body.is_empty() {
            return Ok(None);
        }
        let malformed = || Error::new(ErrorKind::Malformed, "the answer is not of the form that Vault gives");
        let body = json::object(answer.body.expose()).ok_or_else(malformed)?;
        let part = |name: &str| body.get(name).filter(|part| part.get() != "null");
        let wanted = match self.part()? {
            Part::Raw => Some(body.clone()),
            Part::Data => {
                part("data").map(|data| json::object(data.get().as_bytes()).ok_or_else(malformed)).transpose()?
            }
            Part::Auth => {
                part("auth").map(|auth| json::object(auth.get().as_bytes()).ok_or_else(malformed)).transpose()?
            }
        };
        let values = |all: Fields<'_>| all.iter().map(|(key, raw)| (key.to_string(), json::to_bytes(raw))).collect();
        Ok(wanted.map(values))
    }

    /// Asks for a lease that ends sooner, where it is longer than any may be. Nobody need know where that fails: it is revoked,
    /// and ends with its login.
    async fn shorten(&self, visit: &Visit, lease: &mut Lease) {
        let Some(longest) = self.ctx.longest_lease.filter(|longest| lease.length > *longest && lease.renews) else {
            return;
        };
        let asked = if lease.id.is_empty() {
            let Some(accessor) = &lease.accessor else { return };
            let body = named("accessor", accessor, Some(longest));
            visit.ask("RenewAccessor", "auth/token/renew-accessor", body).await
        } else {
            let body = named("lease_id", &lease.id, Some(longest));
            visit.ask_of_lease("RenewLease", "sys/leases/renew", body).await
        };
        let answer = asked.ok().filter(|answer| answer.status == 200);
        if let Some(shorter) = answer.as_ref().and_then(lease_of).filter(|shorter| !shorter.length.is_zero()) {
            lease.length = shorter.length;
        }
    }

    /// Asks the engine, and says what of it must be revoked.
    async fn ask(&self, visit: &Visit, path: &str) -> Result<(BTreeMap<String, SecretBytes>, Option<Lease>), Error> {
        let answer = visit.send(&self.request(visit, path)).await?;
        let is_empty = answer.status == 404 && answer.complaint() == Complaint::Nothing;
        if !matches!(answer.status, 200..300) && !is_empty {
            return Err(visit.refusal(&answer, path));
        }
        let values = if is_empty { None } else { self.values(&answer)? };
        let lease = lease_of(&answer);
        match values {
            Some(values) => Ok((values, lease)),
            None if self.spec.allow_empty_response == Some(true) => Ok((BTreeMap::new(), lease)),
            None => Err(Error::new(
                ErrorKind::Malformed,
                format!("nothing came of {path}: set spec.allowEmptyResponse where that is as it should be"),
            )),
        }
    }
}

#[async_trait]
impl Generator for Dynamic {
    async fn make(&self, keep: &dyn Keep) -> Result<Made, Error> {
        let path = self.path()?;
        self.part()?;
        let mut visit = Visit::new(&self.spec.provider, &self.ctx).await?;
        if let Some(longest) = self.ctx.longest_lease
            && let Err(error) = visit.ends_within(longest).await
        {
            visit.leave().await;
            return Err(error);
        }
        let begun = serde_json::json!({"accessor": visit.accessor, "tokenEnds": seconds(visit.end)});
        if let Err(error) = keep.keep(&begun, None).await {
            visit.leave().await;
            return Err(error);
        }
        match self.ask(&visit, &path).await {
            Err(error) => {
                visit.leave().await;
                if visit.accessor.is_none() && is_refusal(&error) {
                    // None was made, and none is to be looked for. What can't be written down now is looked for in vain.
                    let _ = keep.keep(&serde_json::json!({}), None).await;
                }
                Err(error)
            }
            Ok((values, None)) => {
                visit.leave().await;
                Ok(Made { values, state: None, term: None })
            }
            Ok((values, Some(mut lease))) => {
                self.shorten(&visit, &mut lease).await;
                let of_lease = (!lease.length.is_zero()).then(|| in_future(lease.length));
                let end = [of_lease, visit.end].into_iter().flatten().min();
                let state = serde_json::json!({
                    "accessor": visit.accessor, "tokenEnds": seconds(visit.end), "ends": seconds(end),
                    "leaseID": filled(Some(lease.id)), "madeAccessor": lease.accessor,
                });
                let term = end.map(|end| Term { end, renews: lease.renews });
                Ok(Made { values, state: Some(state), term })
            }
        }
    }

    async fn revoke(&self, state: &State) -> Result<(), Error> {
        let text = |name: &str| state[name].as_str().filter(|text| !text.is_empty());
        let (own, made, lease) = (text("accessor"), text("madeAccessor"), text("leaseID"));
        if own.is_none() && made.is_none() && lease.is_none() {
            if state.get("accessor").is_some() {
                // Others may hang on the token, so that it is not revoked.
                tracing::warn!(
                    path = self.spec.path,
                    "a lease of this path may have been made just before keyferry was stopped, with the token of \
                     spec.provider.auth: look for one that nobody uses, and allow auth/token/create so that the next is known"
                );
            }
            return Ok(());
        }
        let visit = Visit::new(&self.spec.provider, &self.ctx).await?;
        let revoked = revoke(&visit, own, made, lease).await;
        visit.leave().await;
        match revoked {
            // It ended by itself meanwhile.
            Err(error) if error.kind() == ErrorKind::Denied && has_ended(state) => Ok(()),
            revoked => revoked,
        }
    }

    async fn renew(&self, state: &State) -> Result<Option<(State, Term)>, Error> {
        let text = |name: &str| state[name].as_str().filter(|text| !text.is_empty());
        let visit = Visit::new(&self.spec.provider, &self.ctx).await?;
        let longest = self.ctx.longest_lease;
        let renewed = renew(&visit, longest, text("accessor"), text("madeAccessor"), text("leaseID")).await;
        visit.leave().await;
        let Some((length, renews, token)) = renewed? else { return Ok(None) };
        let token_end = token.map(in_future).or_else(|| time_of(&state["tokenEnds"]));
        let end = [Some(in_future(length)), token_end].into_iter().flatten().min().unwrap_or_else(|| in_future(length));
        // What the last day does not let grow any more has its end.
        let former = time_of(&state["ends"]);
        if former.is_some_and(|former| end <= former + Duration::from_secs(1)) {
            return Ok(None);
        }
        let mut state = state.clone();
        state["ends"] = serde_json::json!(seconds(Some(end)));
        state["tokenEnds"] = serde_json::json!(seconds(token_end));
        Ok(Some((state, Term { end, renews })))
    }
}

/// Whether the engine said that it makes nothing.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Denied | ErrorKind::Invalid)
}

fn has_ended(state: &State) -> bool {
    let ends = [time_of(&state["ends"]), time_of(&state["tokenEnds"])].into_iter().flatten().max();
    ends.is_some_and(|end| SystemTime::now() > end + Duration::from_secs(60))
}

/// Revokes what hangs on a login; where we may not do that, the lease alone.
async fn revoke(visit: &Visit, own: Option<&str>, made: Option<&str>, lease: Option<&str>) -> Result<(), Error> {
    let path = "auth/token/revoke-accessor";
    let mut denied = None;
    for accessor in [made, own].into_iter().flatten() {
        let answer = visit.ask("RevokeAccessor", path, named("accessor", accessor, None)).await?;
        match (answer.status, answer.complaint()) {
            (200..300, _) | (_, Complaint::NoAccessor) => {}
            (403, _) => denied = Some(path),
            _ => return Err(visit.refusal(&answer, path)),
        }
    }
    let is_revoked = denied.is_none() && own.is_some();
    if let Some(lease) = lease.filter(|_| !is_revoked) {
        let path = "sys/leases/revoke";
        let answer = visit.ask_of_lease("RevokeLease", path, named("lease_id", lease, None)).await?;
        match (answer.status, answer.complaint()) {
            // The login of it has its end.
            (200..300, _) => denied = None,
            // A lease that is not known is one that ended.
            (400, complaint) if complaint != Complaint::NotAList => denied = None,
            (403, _) => denied = Some(path),
            _ => return Err(visit.refusal(&answer, path)),
        }
    }
    match denied {
        None => Ok(()),
        Some(_) => Err(Error::new(
            ErrorKind::Denied,
            format!(
                "{} does not let us revoke: allow update on auth/token/revoke-accessor, or on sys/leases/revoke, in a \
                 policy of whom spec.provider.auth stands for",
                visit.logins.client.host()
            ),
        )),
    }
}

/// Prolongs the login, where we may, and what hangs on it. Answers how long that works now, whether it may be prolonged again,
/// and how long the login lives; `None` where it can't be prolonged.
async fn renew(
    visit: &Visit,
    longest: Option<Duration>,
    own: Option<&str>,
    made: Option<&str>,
    lease: Option<&str>,
) -> Result<Option<(Duration, bool, Option<Duration>)>, Error> {
    let path = "auth/token/renew-accessor";
    let mut token = None;
    if let Some(accessor) = own {
        let answer = visit.ask("RenewAccessor", path, named("accessor", accessor, longest)).await?;
        token = Some(&answer).filter(|answer| answer.status == 200).and_then(lease_of).map(|lease| lease.length);
        if matches!(answer.status, 429 | 500..) {
            return Err(visit.refusal(&answer, path));
        }
    }
    let answer = match (lease, made) {
        (Some(lease), _) => {
            visit.ask_of_lease("RenewLease", "sys/leases/renew", named("lease_id", lease, longest)).await?
        }
        (None, Some(made)) => visit.ask("RenewAccessor", path, named("accessor", made, longest)).await?,
        (None, None) => return Ok(None),
    };
    match answer.status {
        200 => Ok(lease_of(&answer).map(|lease| (lease.length, lease.renews, token))),
        429 | 500.. => Err(visit.refusal(&answer, "sys/leases/renew")),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Response {
        Response { status: 200, retry_after: None, index: None, body: body.into() }
    }

    #[test]
    fn a_lease_is_read_of_whatever_has_one() {
        let seconds = Duration::from_secs;
        let lease =
            lease_of(&answer(r#"{"lease_id":"database/creds/a/1","lease_duration":60,"renewable":true,"auth":null}"#));
        let expected = Lease { id: "database/creds/a/1".into(), accessor: None, length: seconds(60), renews: true };
        assert_eq!(lease, Some(expected));
        let token = r#"{"lease_id":"","auth":{"client_token":"s.canary","accessor":"acc","lease_duration":5,"renewable":true}}"#;
        let expected = Lease { id: String::new(), accessor: Some("acc".into()), length: seconds(5), renews: true };
        assert_eq!(lease_of(&answer(token)), Some(expected));
        assert_eq!(lease_of(&answer(r#"{"lease_id":"","data":{"a":1}}"#)), None);
        assert_eq!(lease_of(&answer("")), None);
    }

    #[test]
    fn what_has_ended_need_not_be_revoked() {
        let state = |ends: Option<u64>, token: Option<u64>| serde_json::json!({"ends": ends, "tokenEnds": token});
        let now = seconds(Some(SystemTime::now())).unwrap();
        assert!(has_ended(&state(Some(now - 100), None)) && has_ended(&state(Some(now - 100), Some(now - 200))));
        assert!(!has_ended(&state(Some(now - 100), Some(now + 5))) && !has_ended(&state(None, None)));
    }
}
