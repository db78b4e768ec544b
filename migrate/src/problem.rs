//! What went wrong with a request to the API server, in our own words: its own may quote what it refuses.

use std::fmt;
use std::time::Duration;

/// How long one request may take. The API server itself gives up after 60 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(65);

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The API server answered with this code and reason.
    Status(u16, String),
    /// It can't be reached, or its certificate is not trusted.
    Unreachable,
    /// It took the request and never answered.
    NoAnswer,
    /// It answered with something that is not of its API.
    Malformed,
    /// The credentials of the kubeconfig can't be had.
    Credentials,
}

impl Problem {
    /// Whether there is no such object, or no such kind.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status(404, _))
    }

    /// Whether somebody else changed the object meanwhile.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Status(409, _))
    }

    /// Whether the same request may succeed in a moment.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Status(429 | 500..=599, _) | Self::Unreachable | Self::NoAnswer)
    }
}

impl From<kube::Error> for Problem {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Status(status.code, status.reason.clone()),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::Malformed,
            kube::Error::Auth(_) => Self::Credentials,
            _ => Self::Unreachable,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("the API server can't be reached, or its certificate is not trusted"),
            Self::NoAnswer => f.write_str("the API server did not answer in time"),
            Self::Malformed => f.write_str("the API server's answer is not of its API"),
            Self::Credentials => f.write_str("the credentials of the kubeconfig can't be had"),
            Self::Status(401, _) => f.write_str("the API server does not accept the credentials of the kubeconfig"),
            Self::Status(403, _) => f.write_str("the API server forbids it to this user"),
            Self::Status(404, _) => f.write_str("it does not exist"),
            Self::Status(409, _) => f.write_str("somebody else changed it at the same time"),
            Self::Status(code, reason) if reason.is_empty() => write!(f, "the API server answers with status {code}"),
            Self::Status(code, reason) => write!(f, "the API server answers with status {code} ({reason})"),
        }
    }
}

/// Runs one request, and gives up on a server that never answers.
pub async fn timely<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Problem> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(Problem::from),
        Err(_) => Err(Problem::NoAnswer),
    }
}

/// Runs a request that may be repeated, again and again for a quarter of a minute while it fails for now. The API server
/// takes a moment to notice that a webhook is gone, and calls it until then.
pub async fn patiently<T, F: Future<Output = Result<T, Problem>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, Problem> {
    let mut wait = Duration::from_millis(250);
    loop {
        match request().await {
            Err(problem) if problem.is_temporary() && wait <= Duration::from_secs(8) => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            result => return result,
        }
    }
}
