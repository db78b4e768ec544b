//! Who may read `/metrics` (`--metrics-auth`): those whom the API server knows and lets GET that path. What it answers is
//! kept for a moment, since readers ask again and again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use keyferry_cluster::reviews::{self, Reader};
use sha3::{Digest as _, Sha3_256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long an answer is good: a right that is taken away ends so much later.
const KEPT: Duration = Duration::from_secs(30);

/// How many answers are kept. Where more ask, the API server is asked each time.
const MOST: usize = 100;

/// No token of Kubernetes is longer.
const LONGEST_TOKEN: usize = 8 << 10;

/// How many are asked about at once: whoever reaches us may send tokens that nobody knows.
const ASKED_AT_ONCE: usize = 4;

/// Knows who may read.
pub struct Readers {
    client: kube::Client,
    /// By the digest of their token.
    known: Mutex<HashMap<[u8; 32], (Instant, Reader)>>,
    asking: Semaphore,
}

impl Readers {
    /// Asks this API server.
    pub fn new(client: kube::Client) -> Self {
        Self { client, known: Mutex::default(), asking: Semaphore::new(ASKED_AT_ONCE) }
    }

    /// Nothing where the request may be answered, or what to answer instead.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<(), Response> {
        let Some(token) = bearer(headers) else { return Err(refuse(StatusCode::UNAUTHORIZED)) };
        let digest: [u8; 32] = Sha3_256::digest(token).into();
        let reader = match self.known(&digest) {
            Some(known) => known,
            None => {
                let _turn = self.asking.acquire().await;
                let answer = reviews::may_get(&self.client, token, "/metrics").await.map_err(|problem| {
                    tracing::warn!(%problem, "can't ask the API server who reads /metrics");
                    refuse(StatusCode::INTERNAL_SERVER_ERROR)
                })?;
                self.keep(digest, answer);
                answer
            }
        };
        match reader {
            Reader::Allowed => Ok(()),
            Reader::Forbidden => Err(refuse(StatusCode::FORBIDDEN)),
            Reader::Unknown => Err(refuse(StatusCode::UNAUTHORIZED)),
        }
    }

    fn known(&self, digest: &[u8; 32]) -> Option<Reader> {
        let known = self.lock();
        known.get(digest).filter(|(since, _)| since.elapsed() < KEPT).map(|(_, reader)| *reader)
    }

    fn keep(&self, digest: [u8; 32], reader: Reader) {
        let mut known = self.lock();
        known.retain(|_, (since, _)| since.elapsed() < KEPT);
        // Those who are let in are those who come again.
        if known.len() < MOST && reader != Reader::Unknown {
            known.insert(digest, (Instant::now(), reader));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Instant, Reader)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = Some(token.trim()).filter(|token| !token.is_empty() && token.len() <= LONGEST_TOKEN);
    token.filter(|_| scheme.eq_ignore_ascii_case("bearer"))
}

fn refuse(status: StatusCode) -> Response {
    let name = status.canonical_reason().unwrap_or_default();
    (status, format!("{name}\n")).into_response()
}

#[cfg(test)]
#[path = "readers_tests.rs"]
mod tests;
