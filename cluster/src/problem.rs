//! What went wrong with a request to the API server, in our own words: its own may quote what it refuses.

use std::fmt;
use std::time::Duration;

use keyferry_sync::address::NoAddress;
use keyferry_sync::ports;
use keyferry_way::Fault;

/// How long one request may take. The API server itself gives up after 60 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(65);

/// Runs one request, and gives up on a server that never answers.
pub async fn timely<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiProblem> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(ApiProblem::from),
        Err(_) => Err(ApiProblem::NoAnswer),
    }
}

/// Why a request to the API server failed. Its own words are never passed on: a refusal may quote what it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiProblem {
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
    /// The API server could not be reached; why, where that is known.
    Unreachable(Option<Fault>),
    /// It took the request and never answered.
    NoAnswer,
    /// It answered with something that is not of its API.
    Malformed,
    /// The credentials of the kubeconfig can't be had.
    Credentials,
    /// It was not asked: the Lease may be another's.
    NotLeading,
    /// What is asked for can't be there, and was not asked for: its name is none.
    NoAddress(NoAddress),
}

impl ApiProblem {
    /// That somebody else was there each time.
    pub fn conflict() -> Self {
        Self::Status { code: 409, reason: String::new(), fields: Vec::new(), causes: Vec::new() }
    }

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
            Self::Unreachable(_) | Self::NoAnswer | Self::Malformed | Self::Credentials | Self::NotLeading => true,
            Self::Status { code, .. } => *code >= 500 || *code == 429 || *code == 409,
            Self::NoAddress(_) => false,
        }
    }

    /// Whether the server no longer has the history that was asked for.
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    /// The same, for a person who asks with a kubeconfig.
    pub fn for_person(&self) -> String {
        match self {
            Self::Status { code: 401, .. } => {
                "the API server does not accept the credentials of the kubeconfig".to_owned()
            }
            Self::Status { code: 403, .. } => "the API server forbids it to this user".to_owned(),
            Self::Status { code: 409, .. } => "somebody else changed it at the same time".to_owned(),
            other => other.to_string(),
        }
    }

    /// Whether it is a status of this code.
    pub fn is_status(&self, code: u16) -> bool {
        self.code() == Some(code)
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// What is said where nothing can be made in a namespace any more.
pub const NAMESPACE_ENDS: &str = "the namespace is being deleted";

impl fmt::Display for ApiProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(fault) => f.write_str(unreachable(*fault)),
            Self::NoAnswer => f.write_str("the API server did not answer in time"),
            Self::Malformed => f.write_str("the API server's answer is not of its API"),
            Self::Credentials => f.write_str("the credentials of the kubeconfig can't be had"),
            Self::NotLeading => f.write_str("this process does not hold the Lease any more"),
            Self::NoAddress(problem) => problem.fmt(f),
            Self::Status { causes, .. } if causes.iter().any(|cause| cause == "NamespaceTerminating") => {
                f.write_str(NAMESPACE_ENDS)
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

/// What is said of the way to the API server. The kubeconfig is meant, or what a pod has in its place.
fn unreachable(fault: Option<Fault>) -> &'static str {
    match fault {
        Some(Fault::UnknownAuthority) => {
            "the API server's certificate is signed by an authority that the kubeconfig does not name: check its \
             certificate-authority"
        }
        Some(Fault::OtherName) => {
            "the API server's certificate is for another name: check server, or tls-server-name, in the kubeconfig"
        }
        Some(Fault::Expired) => "the API server's certificate has expired",
        Some(Fault::NotYetValid) => "the API server's certificate is not valid yet: check the clocks",
        Some(Fault::Revoked | Fault::Certificate) => "the API server's certificate can't be accepted",
        Some(Fault::NoTls) => {
            "what answers in the API server's place does not speak TLS: check server in the kubeconfig"
        }
        Some(Fault::ClientCertificate) => {
            "the API server does not accept the client certificate of the kubeconfig: renew it"
        }
        Some(Fault::NoAgreement | Fault::Handshake) => "the TLS handshake with the API server failed",
        Some(Fault::NoName) => "the API server can't be reached: its name can't be resolved",
        Some(Fault::Refused) => "the API server can't be reached: it refuses connections",
        Some(Fault::NoRoute) => "the API server can't be reached: there is no way to its network",
        Some(Fault::Timeout) => "the API server can't be reached: no connection in time",
        None => "the API server can't be reached",
    }
}

impl std::error::Error for ApiProblem {}

impl From<ApiProblem> for ports::Problem {
    fn from(problem: ApiProblem) -> Self {
        let (is_temporary, is_not_found) = (problem.is_temporary(), problem.is_not_found());
        Self { message: problem.to_string(), is_temporary, is_not_found }
    }
}

impl From<NoAddress> for ApiProblem {
    fn from(problem: NoAddress) -> Self {
        Self::NoAddress(problem)
    }
}

impl From<kube::Error> for ApiProblem {
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
            kube::Error::Auth(_) => Self::Credentials,
            other => Self::Unreachable(Fault::of(&other)),
        }
    }
}

/// Runs a request that may be repeated, again and again for a quarter of a minute while it fails for now. The API server
/// takes a moment to notice that a webhook is gone, and calls it until then. A conflict is for who asks to decide anew.
pub async fn patiently<T, F: Future<Output = Result<T, ApiProblem>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, ApiProblem> {
    let mut wait = Duration::from_millis(250);
    loop {
        match request().await {
            Err(problem) if problem.is_temporary() && !problem.is_conflict() && wait <= Duration::from_secs(8) => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_went_wrong_on_the_way_is_told_apart() {
        let told = |cause: io::Error| ApiProblem::from(kube::Error::Service(Box::new(cause))).for_person();
        let tls = |error: rustls::CertificateError| told(io::Error::other(rustls::Error::InvalidCertificate(error)));
        assert!(tls(rustls::CertificateError::UnknownIssuer).contains("check its certificate-authority"));
        assert!(tls(rustls::CertificateError::NotValidForName).contains("for another name"));
        assert!(tls(rustls::CertificateError::Expired).contains("has expired"));
        let of = |kind: io::ErrorKind| told(io::Error::from(kind));
        assert_eq!(of(io::ErrorKind::ConnectionRefused), "the API server can't be reached: it refuses connections");
        assert!(of(io::ErrorKind::TimedOut).contains("no connection in time"));
        assert!(told(io::Error::other("dns error")).contains("its name can't be resolved"));
        assert_eq!(of(io::ErrorKind::ConnectionReset), "the API server can't be reached");
    }
}
