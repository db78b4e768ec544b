//! What is served of the sealing keys: to anybody the certificate and whether and as what something opens, never a value; to a pod
//! what is sealed for the ServiceAccount that it runs as.
//!
//! Whoever reaches a listener may send what they like: a few requests are there at once, of bounded size and time; one at a time
//! is computed, and that for a part of the time only.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_cluster::reviews;
use keyferry_cluster::turns::{Lanes, Permit};
use keyferry_limits::DOCUMENT_SIZE;
use keyferry_provider_core::names::{is_label, is_name};
use keyferry_provider_core::{Error, ErrorKind, Scope, SecretBytes};
use keyferry_sealing::manifest::{SealedSecret, latest, put};
use keyferry_sealing::{Sealed, SealingKeys, Tries, seal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::ring::Ring;
use crate::metrics::Metrics;
use crate::server::Connection;
use crate::server::readers::{Answers, bearer};

/// The audience of tokens that pods show.
pub const AUDIENCE: &str = keyferry_node::tokens::UNSEAL;

/// The most values in one request.
pub const MOST_VALUES: usize = 100;

/// How many requests are there at once, and how long a body, or waiting for a place, may take.
const PLACES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);

/// How many of them pods may have, with those that wait; less than there are connections. One namespace's get no more than are
/// left then: half of them where it is alone.
const CROWD: usize = 32;

/// What stands around a value in an answer is shorter.
const ENTRY: usize = 64;

/// For each second that is computed others compute for so many.
const REST: u32 = 3;

/// But no longer than this: some of the time was waiting, for the API server, say, and the next has less patience than
/// [`PATIENCE`] left.
const LONGEST_REST: Duration = Duration::from_secs(8);

/// The lane of those of whom nobody knows who they are.
const ANYBODY: &str = "";

/// Why a request is not answered.
type Refusal = (StatusCode, String);

/// What may be asked for.
const PATHS: [&str; 6] = ["/healthz", "/v1/cert.pem", "/v1/verify", "/v1/rotate", "/v1/reseal", "/v1/unseal"];

/// What the handlers share.
struct Desk {
    ring: Arc<Ring>,
    /// Who knows tokens.
    client: kube::Client,
    accounts: Answers<(String, String)>,
    /// Of those whom nobody knows: who finds none is sent away.
    places: Arc<Semaphore>,
    /// Of pods, by namespaces: they wait.
    crowd: Arc<Crowd>,
    lanes: Arc<Lanes>,
    turns: Arc<Lanes>,
}

/// How many requests of each namespace's pods are there.
#[derive(Default)]
struct Crowd(Mutex<HashMap<String, usize>>);

/// One of them; until it is dropped.
struct Present {
    crowd: Arc<Crowd>,
    namespace: String,
}

impl Crowd {
    /// `None` where there are too many already: nobody's pods may hold all connections.
    fn enter(self: &Arc<Self>, namespace: &str) -> Option<Present> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = CROWD.saturating_sub(all.values().sum());
        if all.get(namespace).copied().unwrap_or_default() >= free {
            return None;
        }
        *all.entry(namespace.to_owned()).or_default() += 1;
        Some(Present { crowd: self.clone(), namespace: namespace.to_owned() })
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut all = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.namespace) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.namespace);
            }
        }
    }
}

/// A request's place, and its turn, which lasts longer than it computes, whether or not anybody waits for the answer.
struct Turn {
    began: Instant,
    permit: Option<Permit>,
    _place: Box<dyn Send>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (rest, permit) = ((self.began.elapsed() * REST).min(LONGEST_REST), self.permit.take());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                sleep(rest).await;
                drop(permit);
            });
        }
    }
}

impl Turn {
    /// Works where nobody else is served. The turn goes along: it is over when the work is.
    async fn work<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<(Self, T), Refusal> {
        let done = spawn_blocking(move || {
            let done = work();
            (self, done)
        });
        done.await.map_err(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR, "it failed, which is a fault of keyferry"))
    }
}

/// Values in a request: each as `keyferry seal --for` printed it.
#[derive(Serialize, Deserialize)]
pub struct Asked {
    /// Those.
    pub sealed: Vec<String>,
}

/// What came of one value: one of the two.
#[derive(Default, Serialize, Deserialize)]
pub struct Came {
    /// What it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why it came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// Why a value came to nothing: a word, so that nobody's text is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// It is for somebody else than the token is of.
    NotYours,
    /// No key opens it for whom it says it is.
    NoKey,
    /// It was changed, cut off, or is of another form.
    Damaged,
    /// Something else: it is to be asked for again.
    Failed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotYours => "it is sealed for somebody else than the pod's own ServiceAccount and namespace",
            Self::NoKey => {
                "no key of the operator opens it for whom it says it is: seal it anew with `keyferry seal --for`"
            }
            Self::Damaged => "it was changed or cut off, or is not what `keyferry seal --for` prints",
            Self::Failed => "the operator could not open it now",
        })
    }
}

impl Drop for Came {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.value);
    }
}

impl Came {
    fn of(result: Result<String, Error>) -> Self {
        match result {
            Ok(value) => Self { value: Some(value), refused: None },
            Err(error) => Self {
                value: None,
                refused: Some(match error.kind() {
                    ErrorKind::Unauthenticated => Refused::NotYours,
                    ErrorKind::Denied => Refused::NoKey,
                    ErrorKind::Malformed => Refused::Damaged,
                    _ => Refused::Failed,
                }),
            },
        }
    }
}

/// What `kubeseal` and `keyferry seal` ask for.
pub fn for_anybody(ring: Arc<Ring>, client: kube::Client) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/v1/cert.pem", get(certificate))
        .route("/v1/verify", post(verify))
        .route("/v1/rotate", post(rotate))
        .route("/v1/reseal", post(reseal))
        .with_state(desk(ring, client))
}

/// What `keyferry sync` in a pod asks for.
pub fn for_pods(ring: Arc<Ring>, client: kube::Client) -> Router {
    Router::new().route("/v1/unseal", post(unseal)).with_state(desk(ring, client))
}

/// Has each answer told. What is no path or method of ours is told as one of others, or a stranger could make series of them.
pub fn counted(router: Router, metrics: Arc<Metrics>) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let metrics = metrics.clone();
        async move {
            let path = PATHS.into_iter().find(|path| *path == request.uri().path()).unwrap_or("other");
            let method = ["GET", "POST"].into_iter().find(|method| *method == request.method().as_str());
            let answer = next.run(request).await;
            metrics.sealing.served(path, method.unwrap_or("other"), answer.status().as_u16());
            answer
        }
    }))
}

fn desk(ring: Arc<Ring>, client: kube::Client) -> Arc<Desk> {
    let (places, lanes, turns) = (Arc::new(Semaphore::new(PLACES)), Lanes::with_reserve(PLACES), Lanes::new(1));
    Arc::new(Desk { ring, client, accounts: Answers::new(), places, crowd: Arc::default(), lanes, turns })
}

impl Desk {
    /// A place for one of whom nobody knows who it is.
    fn place(&self) -> Result<Box<dyn Send>, Refusal> {
        match self.places.clone().try_acquire_owned() {
            Ok(place) => Ok(Box::new(place)),
            Err(_) => Err(refuse(StatusCode::TOO_MANY_REQUESTS, "others are being served: try again")),
        }
    }

    /// A place for a pod of this namespace.
    async fn place_of(&self, namespace: &str) -> Result<Box<dyn Send>, Refusal> {
        match timeout(PATIENCE, self.lanes.acquire(&Arc::from(namespace))).await {
            Ok(place) => Ok(Box::new(place)),
            Err(_) => Err(refuse(StatusCode::TOO_MANY_REQUESTS, "others are being served: try again")),
        }
    }

    /// The body of a request, and its turn in this lane.
    async fn turn(&self, lane: &str, place: Box<dyn Send>, body: Body) -> Result<(Turn, Bytes), Refusal> {
        let bytes = match timeout(PATIENCE, to_bytes(body, 2 * DOCUMENT_SIZE.size())).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => {
                let why = "the request is too long, or was not read to its end";
                return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, why));
            }
            Err(_) => return Err(refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long")),
        };
        let permit = Some(self.turns.acquire(&Arc::from(lane)).await);
        Ok((Turn { began: Instant::now(), permit, _place: place }, bytes))
    }

    /// The SealedSecret of a request of anybody, and what it holds, by its names.
    async fn open(&self, body: Body) -> Result<(Turn, Manifest, Vec<SecretBytes>), Refusal> {
        let (turn, text) = self.turn(ANYBODY, self.place()?, body).await?;
        let (turn, manifest) = turn.work(move || Manifest::read(&text)).await?;
        let manifest = manifest?;
        let opened = self.ring.open(ANYBODY, &manifest.scope, &manifest.sealed, &mut Tries::default()).await;
        let opened: Result<Vec<_>, Error> = opened.into_iter().collect();
        let opened = opened.map_err(|error| refuse(StatusCode::CONFLICT, &error.to_string()))?;
        Ok((turn, manifest, opened))
    }

    /// One value, and whom it is for.
    async fn open_one(&self, lane: &str, sealed: &Sealed, tries: &mut Tries) -> Result<SecretBytes, Error> {
        tries.begin_with(&self.ring.keys(), &sealed.key);
        let opened = self.ring.open(lane, &sealed.scope, std::slice::from_ref(&sealed.bytes), tries).await;
        opened.into_iter().next().unwrap_or_else(|| Err(Error::invalid("nothing was opened")))
    }
}

/// The one SealedSecret of a request.
struct Manifest {
    /// As it stands there.
    text: Value,
    scope: Scope,
    /// The Secret's keys, and what is under them.
    names: Vec<String>,
    sealed: Vec<Vec<u8>>,
}

impl Manifest {
    fn read(text: &[u8]) -> Result<Self, Refusal> {
        let wrong = |error: Error| refuse(StatusCode::BAD_REQUEST, &error.to_string());
        let first = SealedSecret::manifests(text).map_err(wrong)?.into_iter().next();
        let text = first.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "there is no SealedSecret in the request"))?;
        let read = SealedSecret::new(&text).map_err(wrong)?;
        let namespace = read.metadata.namespace.as_deref().unwrap_or_default();
        // What is sealed for all may have neither.
        let is_namespace = namespace.is_empty() || is_label(namespace);
        if !is_namespace || !(read.name().is_empty() || is_name(read.name())) {
            return Err(refuse(StatusCode::BAD_REQUEST, "metadata.name or metadata.namespace is none of Kubernetes"));
        }
        let values = read.values().map_err(wrong)?;
        let (names, sealed) = values.into_iter().map(|(name, sealed)| (name.to_owned(), sealed)).unzip();
        Ok(Self { scope: read.scope(namespace), text, names, sealed })
    }

    /// The same with these values, sealed with the latest key.
    fn anew(mut self, keys: &SealingKeys, values: &[SecretBytes]) -> Result<String, Error> {
        for (name, value) in self.names.iter().zip(values) {
            let sealed = seal(latest(keys)?, &self.scope, value.expose())?;
            put(&mut self.text, name, &sealed);
        }
        Ok(self.text.to_string())
    }
}

fn refuse(status: StatusCode, why: &str) -> Refusal {
    (status, format!("{why}\n"))
}

async fn certificate(State(desk): State<Arc<Desk>>) -> Response {
    match desk.ring.keys().latest() {
        Some(latest) => {
            ([(header::CONTENT_TYPE, "application/x-pem-file")], latest.certificate().to_owned()).into_response()
        }
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "there is no sealing key yet").into_response(),
    }
}

async fn verify(State(desk): State<Arc<Desk>>, body: Body) -> Result<StatusCode, Refusal> {
    desk.open(body).await.map(|_| StatusCode::OK)
}

/// The same SealedSecret, sealed with the latest key.
async fn rotate(State(desk): State<Arc<Desk>>, body: Body) -> Result<Response, Refusal> {
    let (turn, manifest, values) = desk.open(body).await?;
    let keys = desk.ring.keys();
    let (_turn, anew) = turn.work(move || manifest.anew(&keys, &values)).await?;
    let anew = anew.map_err(|error| refuse(StatusCode::CONFLICT, &error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], anew).into_response())
}

/// What came of each value: zeroed when it is sent.
fn told(came: &[Came]) -> Response {
    let size: usize = came.iter().map(|one| one.value.as_ref().map_or(0, String::len) + ENTRY).sum();
    // Nothing of it is escaped: it does not grow, which would leave a copy.
    let mut text = Zeroizing::new(Vec::with_capacity(size + ENTRY));
    // Into memory all can be written.
    let _ = serde_json::to_writer(&mut *text, came);
    ([(header::CONTENT_TYPE, "application/json")], Bytes::from_owner(text)).into_response()
}

/// The values of a request. Not the parser's error, which quotes.
fn asked(body: &[u8]) -> Result<Vec<Result<Sealed, Error>>, Refusal> {
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|_| refuse(StatusCode::BAD_REQUEST, r#"the request must be {"sealed": ["sealed:..."]}"#))?;
    if asked.sealed.len() > MOST_VALUES {
        return Err(refuse(StatusCode::BAD_REQUEST, &format!("a request has at most {MOST_VALUES} values")));
    }
    Ok(asked.sealed.iter().map(|text| text.parse()).collect())
}

/// Values of ours, sealed with the latest key, for whom they were.
async fn reseal(State(desk): State<Arc<Desk>>, body: Body) -> Result<Response, Refusal> {
    let (turn, body) = desk.turn(ANYBODY, desk.place()?, body).await?;
    let (_turn, all) = turn.work(move || asked(&body)).await?;
    let (keys, mut tries, mut came) = (desk.ring.keys(), Tries::default(), Vec::new());
    for sealed in all? {
        let anew = async {
            let sealed = sealed?;
            let opened = desk.open_one(ANYBODY, &sealed, &mut tries).await?;
            Ok(Sealed::new(latest(&keys)?, sealed.scope, opened.expose())?.to_string())
        };
        came.push(Came::of(anew.await));
    }
    Ok(told(&came))
}

/// What is sealed for the ServiceAccount that a token is of, or for its namespace.
async fn unseal(
    State(desk): State<Arc<Desk>>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let unknown = |why: &str| refuse(StatusCode::UNAUTHORIZED, why);
    let token = bearer(&headers).ok_or_else(|| unknown("show the pod's token of the audience keyferry"))?;
    let account =
        desk.accounts.of(token, reviews::account(&desk.client, token, AUDIENCE)).await.map_err(|problem| {
            tracing::warn!(%problem, "can't ask the API server whose token it is");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "the API server does not tell whose token it is")
        })?;
    let account = account.ok_or_else(|| unknown("the token is not that of a pod for the audience keyferry"))?;
    let (namespace, serviceaccount) = &account;
    let crowded = || refuse(StatusCode::TOO_MANY_REQUESTS, "other pods of the namespace are being served: try again");
    let _present = desk.crowd.enter(namespace).ok_or_else(crowded)?;
    let _hold = connection.hold();
    let (turn, body) = desk.turn(namespace, desk.place_of(namespace).await?, body).await?;
    let (_turn, all) = turn.work(move || asked(&body)).await?;
    let (mut tries, mut came) = (Tries::default(), Vec::new());
    for sealed in all? {
        came.push(Came::of(unseal_one(&desk, &account, sealed, &mut tries).await));
    }
    let values = came.iter().filter(|one| one.value.is_some()).count();
    let refused = came.len() - values;
    tracing::info!(namespace, serviceaccount, values, refused, "a pod asked for values");
    Ok(told(&came))
}

async fn unseal_one(
    desk: &Desk,
    (namespace, name): &(String, String),
    sealed: Result<Sealed, Error>,
    tries: &mut Tries,
) -> Result<String, Error> {
    let sealed = sealed?;
    let is_theirs = match &sealed.scope {
        Scope::ServiceAccount(of, account) => of == namespace && account == name,
        Scope::Namespace(of) => of == namespace,
        Scope::Secret(..) | Scope::Secrets(_) | Scope::AnySecret => false,
    };
    if !is_theirs {
        return Err(Error::new(ErrorKind::Unauthenticated, "it is for somebody else"));
    }
    Ok(STANDARD.encode(desk.open_one(namespace, &sealed, tries).await?.expose()))
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
