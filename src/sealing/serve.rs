//! What is served of the sealing keys: to anybody the certificate and whether and as what something opens, never a value; to a pod
//! what is sealed for the ServiceAccount that it runs as.
//!
//! Whoever reaches a listener may send what they like: bodies are bounded in size and time, one at a time is computed, and that
//! for a part of the time only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_cluster::reviews;
use keyferry_limits::DOCUMENT_SIZE;
use keyferry_provider_core::{Error, ErrorKind, Scope, SecretBytes};
use keyferry_sealing::manifest::{SealedSecret, latest};
use keyferry_sealing::{Sealed, seal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::ring::Ring;
use crate::server::readers::bearer;

/// The audience of tokens that pods show.
pub const AUDIENCE: &str = "keyferry";

/// The most values in one request.
pub const MOST_VALUES: usize = 100;

/// How many bodies are read at once, and how long each may take.
const BODIES: usize = 4;
const BODY_TIME: Duration = Duration::from_secs(10);

/// For each second that is computed others compute for so many.
const REST: u32 = 3;

/// Why a request is not answered.
type Refusal = (StatusCode, String);

/// What the handlers share.
struct Desk {
    ring: Arc<Ring>,
    /// Who knows tokens.
    client: kube::Client,
    bodies: Semaphore,
    turn: Semaphore,
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

fn desk(ring: Arc<Ring>, client: kube::Client) -> Arc<Desk> {
    Arc::new(Desk { ring, client, bodies: Semaphore::new(BODIES), turn: Semaphore::new(1) })
}

impl Desk {
    async fn body(&self, body: Body) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let _one = self.bodies.acquire().await;
        match timeout(BODY_TIME, to_bytes(body, 2 * DOCUMENT_SIZE.size())).await {
            Ok(Ok(bytes)) => Ok(Zeroizing::new(bytes.to_vec())),
            Ok(Err(_)) => {
                Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long, or was not read to its end"))
            }
            Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long")),
        }
    }

    /// Computes when it is this one's turn; the turn lasts longer than that.
    async fn in_turn<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> T {
        let turn = self.turn.acquire().await;
        let began = Instant::now();
        let done = work.await;
        let rest = began.elapsed() * REST;
        if let Ok(turn) = turn {
            turn.forget();
            let desk = self.clone();
            tokio::spawn(async move {
                sleep(rest).await;
                desk.turn.add_permits(1);
            });
        }
        done
    }

    /// The one SealedSecret of a body, as it stands there and as it is read.
    async fn manifest(&self, body: Body) -> Result<(Value, SealedSecret), Refusal> {
        let wrong = |error: Error| refuse(StatusCode::BAD_REQUEST, &error.to_string());
        let text = self.body(body).await?;
        let first = SealedSecret::manifests(&text).map_err(wrong)?.into_iter().next();
        let first = first.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "there is no SealedSecret in the request"))?;
        let read = SealedSecret::new(&first).map_err(wrong)?;
        Ok((first, read))
    }

    /// What a SealedSecret holds, by the Secret's keys.
    async fn open(&self, one: &SealedSecret) -> Result<Vec<(String, SecretBytes)>, Error> {
        let namespace = one.metadata.namespace.as_deref().unwrap_or_default();
        let (names, sealed): (Vec<&str>, Vec<Vec<u8>>) = one.values()?.into_iter().unzip();
        let opened = self.ring.open(namespace, &one.scope(namespace), &sealed).await;
        let named = names.into_iter().zip(opened);
        named.map(|(name, value)| Ok((name.to_owned(), value?))).collect()
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

async fn verify(State(desk): State<Arc<Desk>>, body: Body) -> Response {
    let (_, read) = match desk.manifest(body).await {
        Ok(manifest) => manifest,
        Err(refused) => return refused.into_response(),
    };
    match desk.in_turn(desk.open(&read)).await {
        Ok(_) => StatusCode::OK.into_response(),
        Err(error) => refuse(StatusCode::CONFLICT, &error.to_string()).into_response(),
    }
}

/// The same SealedSecret, sealed with the latest key.
async fn rotate(State(desk): State<Arc<Desk>>, body: Body) -> Response {
    let (mut manifest, read) = match desk.manifest(body).await {
        Ok(manifest) => manifest,
        Err(refused) => return refused.into_response(),
    };
    let keys = desk.ring.keys();
    let anew = desk.in_turn(async {
        let scope = read.scope(read.metadata.namespace.as_deref().unwrap_or_default());
        for (name, value) in desk.open(&read).await? {
            let sealed = seal(latest(&keys)?, &scope, value.expose())?;
            manifest["spec"]["encryptedData"][name] = json!(STANDARD.encode(sealed));
        }
        Ok::<_, Error>(manifest)
    });
    match anew.await {
        Ok(anew) => json_of(&anew),
        Err(error) => refuse(StatusCode::CONFLICT, &error.to_string()).into_response(),
    }
}

fn json_of(value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The values of a request. Not the parser's error, which quotes.
fn asked(body: &[u8]) -> Result<Vec<String>, Refusal> {
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|_| refuse(StatusCode::BAD_REQUEST, r#"the request must be {"sealed": ["sealed:..."]}"#))?;
    if asked.sealed.len() > MOST_VALUES {
        return Err(refuse(StatusCode::BAD_REQUEST, &format!("a request has at most {MOST_VALUES} values")));
    }
    Ok(asked.sealed)
}

/// Values of ours, sealed with the latest key, for whom they were.
async fn reseal(State(desk): State<Arc<Desk>>, body: Body) -> Response {
    let all = match desk.body(body).await.and_then(|body| asked(&body)) {
        Ok(all) => all,
        Err(refused) => return refused.into_response(),
    };
    let keys = desk.ring.keys();
    let anew = desk.in_turn(async {
        let mut anew = Vec::with_capacity(all.len());
        for text in &all {
            anew.push(Came::of(reseal_one(&desk, latest(&keys), text).await));
        }
        anew
    });
    json_of(&anew.await)
}

async fn reseal_one(
    desk: &Desk,
    latest: Result<&keyferry_sealing::PublicKey, Error>,
    text: &str,
) -> Result<String, Error> {
    let sealed: Sealed = text.parse()?;
    let namespace = sealed.scope.namespace().unwrap_or_default();
    let opened = desk.ring.open(namespace, &sealed.scope, std::slice::from_ref(&sealed.bytes)).await;
    let opened = opened.into_iter().next().unwrap_or_else(|| Err(Error::invalid("nothing was opened")))?;
    Ok(Sealed::new(latest?, sealed.scope.clone(), opened.expose())?.to_string())
}

/// What is sealed for the ServiceAccount that a token is of, or for its namespace.
async fn unseal(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Body) -> Response {
    let Some(token) = bearer(&headers) else {
        return refuse(StatusCode::UNAUTHORIZED, "show the pod's token of the audience keyferry").into_response();
    };
    let account = match desk.in_turn(reviews::account(&desk.client, token, AUDIENCE)).await {
        Ok(Some(account)) => account,
        Ok(None) => {
            return refuse(StatusCode::UNAUTHORIZED, "the token is not that of a pod for the audience keyferry")
                .into_response();
        }
        Err(problem) => {
            tracing::warn!(%problem, "can't ask the API server whose token it is");
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "the API server does not tell whose token it is")
                .into_response();
        }
    };
    let all = match desk.body(body).await.and_then(|body| asked(&body)) {
        Ok(all) => all,
        Err(refused) => return refused.into_response(),
    };
    let mut came = Vec::with_capacity(all.len());
    for text in &all {
        came.push(Came::of(desk.in_turn(unseal_one(&desk, &account, text)).await));
    }
    tracing::info!(namespace = account.0, serviceaccount = account.1, values = came.len(), "a pod had values unsealed");
    json_of(&came)
}

async fn unseal_one(desk: &Desk, (namespace, name): &(String, String), text: &str) -> Result<String, Error> {
    let sealed: Sealed = text.parse()?;
    let is_theirs = match &sealed.scope {
        Scope::ServiceAccount(of, account) => of == namespace && account == name,
        Scope::Namespace(of) => of == namespace,
        Scope::Secret(..) | Scope::Secrets(_) | Scope::AnySecret => false,
    };
    if !is_theirs {
        return Err(Error::new(ErrorKind::Unauthenticated, "it is for somebody else"));
    }
    let opened = desk.ring.open(namespace, &sealed.scope, std::slice::from_ref(&sealed.bytes)).await;
    let opened = opened.into_iter().next().unwrap_or_else(|| Err(Error::invalid("nothing was opened")))?;
    Ok(STANDARD.encode(opened.expose()))
}
