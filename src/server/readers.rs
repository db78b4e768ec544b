//! Who may read `/metrics` (`--metrics-auth`): those whom the API server knows and lets GET that path. What it answers is
//! kept for a moment, since readers ask again and again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use keyferry_cluster::client::ApiProblem;
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

/// What the API server says of tokens, for a moment.
pub(crate) struct Answers<T> {
    /// By the digest of the token.
    known: Mutex<HashMap<[u8; 32], (Instant, T)>>,
    asking: Semaphore,
}

impl<T: Clone> Answers<T> {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { known: Mutex::default(), asking: Semaphore::new(ASKED_AT_ONCE) }
    }

    /// What is known of a token, or else what `ask` comes to: of one that nobody knows nothing, which is not kept.
    pub(crate) async fn of<E>(
        &self,
        token: &str,
        ask: impl Future<Output = Result<Option<T>, E>>,
    ) -> Result<Option<T>, E> {
        let digest: [u8; 32] = Sha3_256::digest(token).into();
        if let Some(known) = self.known(&digest) {
            return Ok(Some(known));
        }
        let _turn = self.asking.acquire().await;
        // Another request may have asked meanwhile.
        if let Some(known) = self.known(&digest) {
            return Ok(Some(known));
        }
        let answer = ask.await?;
        if let Some(answer) = &answer {
            self.keep(digest, answer.clone());
        }
        Ok(answer)
    }

    fn known(&self, digest: &[u8; 32]) -> Option<T> {
        let known = self.lock();
        known.get(digest).filter(|(since, _)| since.elapsed() < KEPT).map(|(_, answer)| answer.clone())
    }

    fn keep(&self, digest: [u8; 32], answer: T) {
        let mut known = self.lock();
        known.retain(|_, (since, _)| since.elapsed() < KEPT);
        // Those who are known are those who come again.
        if known.len() < MOST {
            known.insert(digest, (Instant::now(), answer));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Instant, T)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Knows who may read.
pub struct Readers {
    client: kube::Client,
    answers: Answers<Reader>,
}

impl Readers {
    /// Asks this API server.
    pub fn new(client: kube::Client) -> Self {
        Self { client, answers: Answers::new() }
    }

    /// Nothing where the request may be answered, or what to answer instead.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<(), Response> {
        let Some(token) = bearer(headers) else { return Err(refuse(StatusCode::UNAUTHORIZED)) };
        let ask = async {
            let reader = reviews::may_get(&self.client, token, "/metrics").await?;
            Ok(Some(reader).filter(|reader| *reader != Reader::Unknown))
        };
        let reader = self.answers.of(token, ask).await.map_err(|problem: ApiProblem| {
            tracing::warn!(%problem, "can't ask the API server who reads /metrics");
            refuse(StatusCode::INTERNAL_SERVER_ERROR)
        })?;
        match reader {
            Some(Reader::Allowed) => Ok(()),
            Some(Reader::Forbidden) => Err(refuse(StatusCode::FORBIDDEN)),
            Some(Reader::Unknown) | None => Err(refuse(StatusCode::UNAUTHORIZED)),
        }
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
