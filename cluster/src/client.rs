//! Speaking to the API server: problems in our own words, and objects that zero themselves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use keyferry_provider_core::SecretBytes;
use keyferry_sync::data::zeroize;
use keyferry_sync::ports;
use kube::core::DynamicObject;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroize as _;

/// How long one request may take. The API server itself gives up after 60 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(65);

/// How many requests of syncs are under way at once. Requests that wait for a store hold none, so that a slow store
/// delays nobody else's writes.
#[derive(Clone)]
pub struct Slots {
    requests: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Slots {
    /// As many as this.
    pub fn new(slots: usize) -> Self {
        Self { requests: Arc::new(Semaphore::new(slots)), turns: Arc::new(Semaphore::new(slots)) }
    }

    /// Waits until there is likely to be room for the requests of one more sync. A request takes kilobytes before it is
    /// sent: thousands of syncs that all have their data at once must not all have begun theirs.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turns.clone().acquire_owned().await.ok()
    }

    /// Runs one request when there is room for it.
    pub async fn run<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Problem> {
        let _slot = self.requests.acquire().await;
        timely(request).await
    }
}

/// Runs one request, and gives up on a server that never answers.
pub async fn timely<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Problem> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(Problem::from),
        Err(_) => Err(Problem::NoAnswer),
    }
}

/// Why a request to the API server failed. Its own words are never passed on: a refusal may quote what it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The API server answered with a status: its code, reason, and the fields it blames.
    Status {
        /// The HTTP code.
        code: u16,
        /// The machine-readable reason, such as `Forbidden`.
        reason: String,
        /// Paths of the fields that it found fault with.
        fields: Vec<String>,
        /// The names of the causes, such as `NamespaceTerminating`.
        causes: Vec<String>,
    },
    /// The API server could not be reached.
    Unreachable,
    /// It took the request and never answered.
    NoAnswer,
    /// It answered with something that is not of its API.
    Malformed,
}

impl Problem {
    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether somebody else changed, created or removed the object meanwhile.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether the same request may succeed in a moment.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable | Self::NoAnswer | Self::Malformed => true,
            Self::Status { code, .. } => *code >= 500 || *code == 429 || *code == 409,
        }
    }

    /// Whether the server no longer has the history that was asked for.
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("the API server can't be reached"),
            Self::NoAnswer => f.write_str("the API server did not answer in time"),
            Self::Malformed => f.write_str("the API server's answer is not of its API"),
            Self::Status { causes, .. } if causes.iter().any(|cause| cause == "NamespaceTerminating") => {
                f.write_str("the namespace is being deleted")
            }
            Self::Status { code: 403, .. } => {
                f.write_str("the API server forbids it: check keyferry's RBAC, quotas, and admission policies")
            }
            Self::Status { code, reason, fields, .. } => {
                match (code, reason.as_str()) {
                    (404, _) => f.write_str("it does not exist")?,
                    (409, "AlreadyExists") => f.write_str("it exists already")?,
                    (409, _) => f.write_str("somebody else is changing it at the same time")?,
                    (429, _) => f.write_str("the API server asks for fewer requests")?,
                    (413, _) => f.write_str("it is too large for the API server")?,
                    (_, "") => write!(f, "the API server refuses it with status {code}")?,
                    (_, reason) => write!(f, "the API server refuses it with status {code} ({reason})")?,
                }
                if fields.is_empty() { Ok(()) } else { write!(f, "; it finds fault with {}", fields.join(", ")) }
            }
        }
    }
}

impl std::error::Error for Problem {}

impl From<Problem> for ports::Problem {
    fn from(problem: Problem) -> Self {
        let (is_temporary, is_not_found) = (problem.is_temporary(), problem.is_not_found());
        Self { message: problem.to_string(), is_temporary, is_not_found }
    }
}

impl From<kube::Error> for Problem {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let causes = status.details.map(|details| details.causes).unwrap_or_default();
                let named = |name: &String| (!name.is_empty()).then(|| name.clone());
                Self::Status {
                    code: status.code,
                    reason: status.reason,
                    fields: causes.iter().filter_map(|cause| named(&cause.field)).collect(),
                    causes: causes.iter().filter_map(|cause| named(&cause.reason)).collect(),
                }
            }
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) | kube::Error::LinesCodecMaxLineLengthExceeded => {
                Self::Malformed
            }
            _ => Self::Unreachable,
        }
    }
}

/// A Secret as the API server gave it; its values are zeroed when it goes.
#[derive(Clone)]
pub struct LiveSecret(Secret);

impl LiveSecret {
    /// Takes charge of a Secret.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// The Secret. A clone of it must find its way into another `LiveSecret`.
    pub fn get(&self) -> &Secret {
        &self.0
    }

    /// The Secret, to change.
    pub fn get_mut(&mut self) -> &mut Secret {
        &mut self.0
    }

    /// The names of its keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.data.iter().flat_map(|data| data.keys())
    }

    /// Its values by key, sorted.
    pub fn data(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()))
    }

    /// Takes one value out.
    pub fn take(&mut self, key: &str) -> Option<SecretBytes> {
        self.0.data.as_mut()?.remove(key).map(|value| SecretBytes::new(value.0))
    }
}

/// An object of any kind as the API server gave it; its texts are zeroed when it goes.
#[derive(Clone)]
pub struct LiveObject(DynamicObject);

impl LiveObject {
    /// Takes charge of an object.
    pub fn new(object: DynamicObject) -> Self {
        Self(object)
    }

    /// The object. A clone of it must find its way into another `LiveObject`.
    pub fn get(&self) -> &DynamicObject {
        &self.0
    }

    /// The object, to change.
    pub fn get_mut(&mut self) -> &mut DynamicObject {
        &mut self.0
    }
}

impl fmt::Debug for LiveObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {:?}", self.0.metadata.name)
    }
}

impl Drop for LiveObject {
    fn drop(&mut self) {
        zeroize(&mut self.0.data);
        for annotation in self.0.metadata.annotations.iter_mut().flat_map(|annotations| annotations.values_mut()) {
            annotation.zeroize();
        }
    }
}

impl fmt::Debug for LiveSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {:?}", self.0.metadata.name)
    }
}

impl Drop for LiveSecret {
    fn drop(&mut self) {
        for value in self.0.data.iter_mut().flat_map(|data| data.values_mut()) {
            value.0.zeroize();
        }
        // kubectl keeps what it applied, values included, in an annotation.
        for annotation in self.0.metadata.annotations.iter_mut().flat_map(|annotations| annotations.values_mut()) {
            annotation.zeroize();
        }
    }
}
