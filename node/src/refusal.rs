//! Why a volume can't be had. Pure.

use std::fmt;

use keyferry_cluster::problem::ApiProblem;
use keyferry_sync::outcome::{Failure, Retry};
use keyferry_sync::told::Told;
use tonic::{Code, Status};

/// Whose fault it is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of which kind.
    pub kind: Kind,
    /// Why, and what to do.
    pub message: Told,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the pod, or the driver object, says can't be done.
    Invalid,
    /// The pod may not.
    Denied,
    /// The API server does not take the pod's token.
    Unknown,
    /// There is no such object.
    Absent,
    /// Something else has to be so first.
    Condition,
    /// It may work soon.
    Temporary,
    /// It took too long.
    Late,
    /// Neither the pod's nor anybody's but the node's.
    Node,
}

impl Refusal {
    /// With these words, in which no value is.
    pub fn new(kind: Kind, message: impl Into<Told>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What a pod, or the driver object, says can't be done.
    pub fn invalid(message: String) -> Self {
        Self::new(Kind::Invalid, Told::without_values(message))
    }

    /// What is wrong with the node.
    pub fn of_node(message: impl fmt::Display) -> Self {
        Self::new(Kind::Node, Told::without_values(message.to_string()))
    }
}

impl From<Kind> for Code {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Invalid => Self::InvalidArgument,
            Kind::Denied => Self::PermissionDenied,
            Kind::Unknown => Self::Unauthenticated,
            Kind::Absent => Self::NotFound,
            Kind::Condition => Self::FailedPrecondition,
            Kind::Temporary => Self::Unavailable,
            Kind::Late => Self::DeadlineExceeded,
            Kind::Node => Self::Internal,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.kind.into(), refusal.message.into_string())
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let kind = match failure.retry {
            Retry::OnChange | Retry::Late => Kind::Condition,
            Retry::Soon | Retry::After(_) => Kind::Temporary,
        };
        Self { kind, message: failure.told() }
    }
}

/// Of which kind a problem with the API server is.
impl From<&ApiProblem> for Kind {
    fn from(problem: &ApiProblem) -> Self {
        if problem.is_status(403) {
            Self::Denied
        } else if problem.is_status(401) {
            Self::Unknown
        } else if problem.is_not_found() {
            Self::Absent
        } else if problem.is_temporary() {
            Self::Temporary
        } else {
            Self::Condition
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_says_has_a_kind() {
        let status = |code| ApiProblem::Status { code, reason: String::new(), fields: vec![], causes: vec![] };
        for (problem, kind) in [
            (status(403), Kind::Denied),
            (status(401), Kind::Unknown),
            (status(404), Kind::Absent),
            (status(503), Kind::Temporary),
            (ApiProblem::NoAnswer, Kind::Temporary),
            (status(400), Kind::Condition),
        ] {
            assert_eq!(Kind::from(&problem), kind, "{problem}");
        }
    }
}
