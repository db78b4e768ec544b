//! What went wrong, in our own words: texts of AWS are looked at to know a cause, and never passed on.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use keyferry_provider_core::{Blame, Error, ErrorKind};
use keyferry_way::{Fault, causes};

/// Why a service of AWS did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is no such thing.
    NotFound,
    /// The secret is there, and the version that was asked for is not.
    NoSuchVersion,
    /// It is deleted, and can be restored for a while.
    MarkedForDeletion,
    /// No policy allows it, or one forbids it.
    Denied,
    /// The KMS key that it is encrypted with can't be used.
    Decryption,
    /// The session is over.
    Expired,
    /// AWS does not know the keys.
    UnknownKeys,
    /// The request was not signed with the secret that belongs to the access key.
    Signature,
    /// Too many requests.
    Throttled,
    /// AWS has a problem of its own.
    Down,
    /// There is such a thing already: somebody made it a moment ago.
    Exists,
    /// It is being changed by another request.
    Busy,
    /// Something uses it.
    InUse,
    /// The account, or the thing itself, has as many as it may have.
    Quota,
    /// The request makes no sense to the service.
    Invalid,
    /// The role can't be assumed with this token.
    IdentityToken,
    /// The region is not switched on for STS.
    RegionDisabled,
    /// Somebody answers who is not AWS, or AWS in a way that we don't know; with this status.
    Strange(u16),
}

/// What came of a call that brought no answer.
#[derive(Debug)]
pub enum Failure {
    /// The service said no.
    Refused(Cause, Option<Duration>),
    /// There was no answer, or none that could be read.
    Lost(Error),
}

/// What a call was about, for messages.
pub struct About<'a> {
    /// The service and where it is.
    pub service: &'a dyn fmt::Display,
    /// What has to be allowed for it, in the words of IAM.
    pub action: &'a str,
    /// What it was about.
    pub what: &'a dyn fmt::Display,
}

/// What codes stand for; those of one meaning differ by service and protocol.
const CODES: &[(Cause, &[&str])] = &[
    (Cause::NotFound, &["ResourceNotFoundException", "ParameterNotFound", "InvalidResourceId"]),
    (Cause::NoSuchVersion, &["ParameterVersionNotFound"]),
    (Cause::Denied, &["AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "UnauthorizedException"]),
    (
        Cause::Decryption,
        &[
            "DecryptionFailure",
            "EncryptionFailure",
            "InvalidKeyId",
            // KMS itself.
            "NotFoundException",
            "DisabledException",
            "IncorrectKeyException",
            "InvalidCiphertextException",
            "KMSInvalidStateException",
        ],
    ),
    (Cause::Exists, &["ResourceExistsException", "ParameterAlreadyExists"]),
    (Cause::Busy, &["TooManyUpdates", "RequestInProgressException", "ConflictException"]),
    (Cause::InUse, &["ResourceInUseException"]),
    (
        Cause::Quota,
        &[
            "LimitExceededException",
            "ParameterLimitExceeded",
            "ParameterMaxVersionLimitExceeded",
            "PoliciesLimitExceededException",
            "TooManyTagsException",
            "TooManyTagsError",
        ],
    ),
    (Cause::Expired, &["ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"]),
    (
        Cause::UnknownKeys,
        &[
            "UnrecognizedClientException",
            "UnrecognizedClient",
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "InvalidToken",
            "AuthFailure",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
        ],
    ),
    (
        Cause::Signature,
        &[
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "InvalidSignature",
            "IncompleteSignature",
            "IncompleteSignatureException",
        ],
    ),
    (
        Cause::Throttled,
        &[
            "ThrottlingException",
            "Throttling",
            "ThrottledException",
            "RequestThrottledException",
            "RequestThrottled",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "ProvisionedThroughputExceededException",
            "SlowDown",
            "PriorRequestNotComplete",
        ],
    ),
    (
        Cause::Down,
        &[
            "InternalServiceError",
            "InternalServiceErrorException",
            "InternalServerError",
            "InternalFailure",
            "InternalError",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "IDPCommunicationError",
        ],
    ),
    (
        Cause::Invalid,
        &[
            "ValidationException",
            "ValidationError",
            "InvalidParameterException",
            "InvalidRequestException",
            "InvalidParameterValue",
            "PackedPolicyTooLarge",
            "MalformedPolicyDocumentException",
            "PublicPolicyException",
            "PreconditionNotMetException",
            "InvalidArnException",
            "InvalidStateException",
            "InvalidTagException",
            "TagPolicyException",
            "HierarchyLevelLimitExceededException",
            "HierarchyTypeMismatchException",
            "IncompatiblePolicyException",
            "InvalidPolicyAttributeException",
            "InvalidPolicyTypeException",
            "ParameterPatternMismatchException",
            "UnsupportedParameterType",
        ],
    ),
    (Cause::IdentityToken, &["InvalidIdentityToken", "IDPRejectedClaim"]),
    (Cause::RegionDisabled, &["RegionDisabledException"]),
];

impl Cause {
    /// The cause that a code of AWS stands for.
    pub fn of(code: &str, message: &str, status: u16) -> Self {
        // `namespace#Code` and `Code:http://...` are forms of the JSON protocols.
        let code = code.rsplit('#').next().unwrap_or_default();
        let code = code.split(':').next().unwrap_or_default();
        let is_marked = matches!(code, "InvalidRequestException" | "InvalidParameterException")
            && message.contains("marked")
            && message.contains("delet");
        match CODES.iter().find(|(_, codes)| codes.contains(&code)) {
            Some(_) if is_marked => Self::MarkedForDeletion,
            // Secrets Manager says the same of a secret and of a version, but for its words.
            Some((Self::NotFound, _)) if message.contains("secret value for") => Self::NoSuchVersion,
            Some((Self::Denied, _)) if message.contains("KMS") || message.contains("kms:") => Self::Decryption,
            Some((cause, _)) => *cause,
            None if code.starts_with("KMS") => Self::Decryption,
            None => Self::of_status(status),
        }
    }

    fn of_status(status: u16) -> Self {
        match status {
            429 => Self::Throttled,
            500..600 => Self::Down,
            status => Self::Strange(status),
        }
    }

    /// The error that this cause is, in a call about `about`.
    pub fn error(self, about: &About<'_>) -> Error {
        let About { service, action, what } = about;
        let (kind, message) = match self {
            Self::NotFound => (ErrorKind::NotFound, format!("{service} has no {what}")),
            // What is there must not be taken for deleted.
            Self::NoSuchVersion => {
                (ErrorKind::NoVersion, format!("{service} has no {what}: there are other versions of it"))
            }
            Self::MarkedForDeletion => (
                ErrorKind::NotFound,
                format!("{what} is marked for deletion in {service}: restore it, or remove the entry"),
            ),
            Self::Denied => (
                ErrorKind::Denied,
                format!("{service} denies {action} on {what}: allow it in IAM, and in the policy of the resource"),
            ),
            Self::Decryption => (
                ErrorKind::Denied,
                format!("KMS does not decrypt {what}: allow kms:Decrypt on its key, and check that the key is enabled"),
            ),
            Self::Exists | Self::Busy | Self::InUse | Self::Quota => self.of_writing(about),
            Self::Expired => (
                ErrorKind::Unauthenticated,
                format!("the session of the credentials has expired, says {service}: renew them"),
            ),
            Self::UnknownKeys => (
                ErrorKind::Unauthenticated,
                format!("{service} does not know the access key, or not any more: check spec.provider.aws.auth"),
            ),
            Self::Signature => (
                ErrorKind::Unauthenticated,
                format!(
                    "{service} does not accept the signature: the secret access key belongs to another access key, or \
                     the clock of this machine is wrong"
                ),
            ),
            Self::Throttled => (ErrorKind::Throttled, format!("{service} asks us to slow down")),
            Self::Down => (ErrorKind::Unavailable, format!("{service} has an internal error")),
            Self::Invalid => (ErrorKind::Invalid, format!("{service} can't make sense of {what}")),
            Self::IdentityToken => (
                ErrorKind::Unauthenticated,
                format!(
                    "{service} does not accept the ServiceAccount's token for {what}: check the IAM identity provider \
                     of this cluster, and its audience"
                ),
            ),
            Self::RegionDisabled => {
                (ErrorKind::Invalid, format!("{service} is not switched on for the account of {what}"))
            }
            // With no word of AWS in it the answer is somebody else's: a proxy, a gateway, a firewall.
            Self::Strange(403) => {
                (ErrorKind::Denied, format!("something in front of {service} refuses the request (status 403)"))
            }
            Self::Strange(status) => {
                (ErrorKind::Malformed, format!("{service} does not answer as AWS does (status {status})"))
            }
        };
        self.blamed(Error::new(kind, message))
    }

    /// What is said of causes that only writing has.
    fn of_writing(self, about: &About<'_>) -> (ErrorKind, String) {
        let About { service, what, .. } = about;
        match self {
            // The next try looks again.
            Self::Exists => (ErrorKind::Unavailable, format!("{what} was made in {service} by somebody else just now")),
            Self::Busy => (ErrorKind::Unavailable, format!("{what} is being changed in {service} by another request")),
            Self::InUse => (
                ErrorKind::Invalid,
                format!("{what} is in use, says {service}: take it off what uses it, or leave it where it is"),
            ),
            _ => (
                ErrorKind::Invalid,
                format!("{service} has no room for more of {what}: it is at a quota of the account, or a limit of AWS"),
            ),
        }
    }

    /// The error, where it is somebody else's fault than its kind suggests.
    fn blamed(self, error: Error) -> Error {
        match self {
            Self::Invalid | Self::InUse => error.with_blame(Blame::Request),
            Self::Quota => error.with_blame(Blame::Store),
            Self::Strange(403) => error.with_blame(Blame::Way),
            _ => error,
        }
    }
}

impl Failure {
    /// What the SDK's error means. `service` is for messages.
    pub fn new<E>(error: &SdkError<E, HttpResponse>, service: &dyn fmt::Display) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        match error.raw_response() {
            Some(raw) => {
                let status = raw.status().as_u16();
                let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
                let body = raw.body().bytes().unwrap_or_default();
                let cause = match (meta.and_then(|meta| meta.code()), xml_code(body)) {
                    (Some(code), _) => {
                        Cause::of(code, meta.and_then(|meta| meta.message()).unwrap_or_default(), status)
                    }
                    // Gateways of AWS, and doubles of it, answer in XML to whoever speaks JSON.
                    (None, Some(code)) => Cause::of(code, &String::from_utf8_lossy(body), status),
                    (None, None) => Cause::of_status(status),
                };
                let wait = raw.headers().get("retry-after").and_then(|seconds| seconds.parse().ok());
                Self::Refused(cause, wait.map(Duration::from_secs))
            }
            None => Self::Lost(lost(error, service)),
        }
    }

    /// The error in a call about `about`.
    pub fn error(self, about: &About<'_>) -> Error {
        match self {
            Self::Refused(cause, wait) => cause.error(about).with_retry_after(wait),
            Self::Lost(error) => error,
        }
    }
}

/// The code of an error in XML.
fn xml_code(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    Some(rest.split_once("</Code>")?.0)
}

/// The error for a call that brought no answer. What can be known is below what the SDK shows.
fn lost<E: StdError + Send + Sync + 'static>(error: &SdkError<E, HttpResponse>, service: &dyn fmt::Display) -> Error {
    // Credentials that could not be had are our own error, with the cause in it.
    if let Some(own) = causes(error).find_map(|cause| cause.downcast_ref::<Error>()) {
        return own.clone();
    }
    let (of, message) = match (error, Fault::of(error)) {
        (
            _,
            Some(
                Fault::UnknownAuthority
                | Fault::OtherName
                | Fault::Expired
                | Fault::NotYetValid
                | Fault::Revoked
                | Fault::Certificate,
            ),
        ) => (
            ErrorKind::Tls,
            format!("{service} shows a certificate that can't be accepted: is there a proxy in between?"),
        ),
        (_, Some(Fault::NoTls | Fault::ClientCertificate | Fault::NoAgreement | Fault::Handshake)) => {
            (ErrorKind::Tls, format!("{service} and we can't agree on TLS: is there a proxy in between?"))
        }
        (SdkError::TimeoutError(_), _) | (_, Some(Fault::Timeout)) => {
            (ErrorKind::Timeout, format!("no answer from {service} in time"))
        }
        (SdkError::DispatchFailure(failure), _) if failure.is_timeout() => {
            (ErrorKind::Timeout, format!("no answer from {service} in time"))
        }
        (SdkError::ConstructionFailure(_), _) => (
            ErrorKind::Invalid,
            format!("a request to {service} can't be made of this spec: check the region and the credentials"),
        ),
        (_, Some(Fault::NoName)) => {
            (ErrorKind::Unavailable, format!("the name of {service} can't be resolved: check spec.provider.aws.region"))
        }
        (_, Some(Fault::Refused)) => (ErrorKind::Unavailable, format!("{service} refuses connections")),
        (_, Some(Fault::NoRoute)) => {
            (ErrorKind::Unavailable, format!("{service} can't be reached: there is no way to its network"))
        }
        (_, None) => (ErrorKind::Unavailable, format!("the connection to {service} failed")),
    };
    let error = Error::new(of, message);
    if of == ErrorKind::Unavailable { error.with_blame(Blame::Way) } else { error }
}

/// The error of a provider of credentials: our own where one of ours failed.
pub fn of_credentials(error: &CredentialsError) -> Error {
    match causes(error).find_map(|cause| cause.downcast_ref::<Error>()) {
        Some(own) => own.clone(),
        None => Error::new(
            ErrorKind::Unauthenticated,
            "the operator has no AWS identity of its own here (environment, web identity, pod identity, instance \
             metadata): set spec.provider.aws.auth",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_every_spelling() {
        let denied = "User: arn:aws:iam::1:user/x is not authorized to perform: secretsmanager:GetSecretValue";
        for (code, message, status, expected) in [
            ("ResourceNotFoundException", "", 400, Cause::NotFound),
            ("com.amazonaws.secretsmanager#ResourceNotFoundException", "", 400, Cause::NotFound),
            ("ParameterNotFound:http://internal.amazon.com/coral/", "", 400, Cause::NotFound),
            ("ParameterVersionNotFound", "", 400, Cause::NoSuchVersion),
            ("ResourceNotFoundException", "Secrets Manager can't find the specified secret.", 400, Cause::NotFound),
            (
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for staging label: latest",
                400,
                Cause::NoSuchVersion,
            ),
            (
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for VersionId: 6f3b0a51",
                400,
                Cause::NoSuchVersion,
            ),
            ("InvalidRequestException", "because it was marked for deletion.", 400, Cause::MarkedForDeletion),
            ("InvalidRequestException", "a secret that's currently marked deleted", 400, Cause::MarkedForDeletion),
            ("InvalidRequestException", "something else", 400, Cause::Invalid),
            ("AccessDeniedException", denied, 400, Cause::Denied),
            ("AccessDeniedException", "Access to KMS is not allowed", 400, Cause::Decryption),
            ("AccessDenied", "not authorized to perform: kms:Decrypt on resource", 403, Cause::Decryption),
            ("DecryptionFailure", "", 400, Cause::Decryption),
            ("KMSDisabledException", "", 400, Cause::Decryption),
            ("ExpiredTokenException", "", 400, Cause::Expired),
            ("UnrecognizedClientException", "", 400, Cause::UnknownKeys),
            ("InvalidClientTokenId", "", 403, Cause::UnknownKeys),
            ("InvalidSignatureException", "", 400, Cause::Signature),
            ("SignatureDoesNotMatch", "", 403, Cause::Signature),
            ("ThrottlingException", "", 400, Cause::Throttled),
            ("Whatever", "", 429, Cause::Throttled),
            ("InternalServiceError", "", 500, Cause::Down),
            ("Whatever", "", 503, Cause::Down),
            ("ValidationException", "", 400, Cause::Invalid),
            ("ResourceExistsException", "", 400, Cause::Exists),
            ("ParameterAlreadyExists", "", 400, Cause::Exists),
            ("TooManyUpdates", "", 400, Cause::Busy),
            ("ResourceInUseException", "", 400, Cause::InUse),
            ("LimitExceededException", "", 400, Cause::Quota),
            ("EncryptionFailure", "", 400, Cause::Decryption),
            ("Whatever", "", 400, Cause::Strange(400)),
        ] {
            assert_eq!(Cause::of(code, message, status), expected, "{code} {message} {status}");
        }
    }

    #[test]
    fn an_error_in_xml_has_a_code() {
        let body = b"<ErrorResponse><Errors><Error><Code>AccessDenied</Code></Error></Errors></ErrorResponse>";
        assert_eq!(xml_code(body), Some("AccessDenied"));
        assert_eq!(xml_code(b"{\"__type\":\"x\"}"), None);
        assert_eq!(xml_code(b"<Code>"), None);
        assert_eq!(xml_code(b"\xff"), None);
    }
}
