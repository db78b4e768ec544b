//! The one error of all providers.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use keyferry_limits::{Limit, RETRY_AFTER};

/// What went wrong, as far as anybody acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The secret does not exist. Exact: deletionPolicy removes what is not found, so that only the store's own word about
    /// the secret itself is this.
    NotFound,
    /// The secret is there, or may be, and what was asked for of it is not: a version, a stage, a label. Somebody wrote
    /// another than they meant, or it went, or is still to come; nothing is removed for it.
    NoVersion,
    /// We are known and may not do this.
    Denied,
    /// The store does not accept our login.
    Unauthenticated,
    /// The store asks us to slow down.
    Throttled,
    /// The store, or the way to it, is down.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// The certificate, or the TLS handshake, is not right.
    Tls,
    /// The store's spec, a credential it names, or the request is wrong and stays wrong until somebody changes it.
    Invalid,
    /// The answer is not what this store's API promises, or the value is not of the form that was asked for.
    Malformed,
    /// We may read secrets, but not several in one call: a permission of its own in some stores. The same keys, asked
    /// for one by one, may well be answered.
    BatchDenied,
    /// This store cannot do that.
    Unsupported,
    /// A credential of a ClusterSecretStore has no namespace and there is none to take it from: the store can be
    /// used from a namespace, but not checked by itself.
    Referent,
    /// The check of the store could not come to a result; the store may well be usable.
    Unverified,
}

impl ErrorKind {
    /// The name for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NoVersion => "no_version",
            Self::Denied => "denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Invalid => "invalid",
            Self::Malformed => "malformed",
            Self::BatchDenied => "batch_denied",
            Self::Unsupported => "unsupported",
            Self::Referent => "referent",
            Self::Unverified => "unverified",
        }
    }

    /// Whether the same request may well succeed in a moment, with nothing changed.
    pub fn is_temporary(self) -> bool {
        match self {
            Self::Throttled | Self::Unavailable | Self::Timeout => true,
            Self::NotFound
            | Self::NoVersion
            | Self::Denied
            | Self::Unauthenticated
            | Self::Tls
            | Self::Invalid
            | Self::Malformed
            | Self::BatchDenied
            | Self::Unsupported
            | Self::Referent
            | Self::Unverified => false,
        }
    }

    /// Whether it is about the store as a whole, so that another key would meet it too.
    pub fn concerns_store(self) -> bool {
        match self {
            Self::Unauthenticated
            | Self::Throttled
            | Self::Unavailable
            | Self::Timeout
            | Self::Tls
            | Self::Referent
            | Self::Unverified => true,
            Self::NotFound
            | Self::NoVersion
            | Self::Denied
            | Self::Invalid
            | Self::Malformed
            | Self::BatchDenied
            | Self::Unsupported => false,
        }
    }

    /// Whose fault it is where nobody knows better.
    fn blame(self) -> Blame {
        match self {
            Self::NotFound | Self::NoVersion | Self::Unsupported => Blame::Request,
            Self::Invalid | Self::Referent => Blame::Spec,
            Self::Denied | Self::Unauthenticated | Self::BatchDenied => Blame::Credentials,
            Self::Throttled | Self::Unavailable | Self::Malformed | Self::Unverified => Blame::Store,
            Self::Timeout | Self::Tls => Blame::Way,
        }
    }
}

/// Whose fault an error is: where to begin looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// What was asked for: the ExternalSecret, or whatever else names keys.
    Request,
    /// The store's spec, or the generator's.
    Spec,
    /// What the store logs in with: it is missing, not accepted, or lacks a permission.
    Credentials,
    /// The other side: the store itself, or what is kept there.
    Store,
    /// What lies between: names, networks, proxies, certificates.
    Way,
    /// We: our rights, the cluster that we run in, or a fault of ours.
    Keyferry,
}

impl Blame {
    /// The name for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Spec => "spec",
            Self::Credentials => "credentials",
            Self::Store => "store",
            Self::Way => "way",
            Self::Keyferry => "keyferry",
        }
    }
}

/// An error of a store or generator.
///
/// Whoever shows it asks it for all that there is to tell: condition, event, log and command line give the same account.
/// The message is in our own words and a pure function of the cause: it holds no time, attempt or request id, and
/// no text from a response, since responses and parsers quote values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    blame: Blame,
    hint: Option<String>,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error of this kind; `message` says what is wrong and, where there is one, the next step.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), blame: kind.blame(), hint: None, retry_after: None }
    }

    /// The store's spec, a credential it names, or the request is wrong: [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// What the store can't do: `this store can't be searched`, `pushed to`, `deleted from`.
    pub fn cannot(done: &str) -> Self {
        Self::new(ErrorKind::Unsupported, format!("this store can't be {done}"))
    }

    /// What was asked for meets a limit, which its asker can stay below.
    pub fn limit(limit: &Limit) -> Self {
        Self::invalid(limit.to_string()).with_blame(Blame::Request)
    }

    /// The same error, where it is somebody else's fault than its kind suggests.
    pub fn with_blame(mut self, blame: Blame) -> Self {
        self.blame = blame;
        self
    }

    /// The same error with the next step, where the message does not say it already. In our own words, like the message.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with the time the store asked us to wait, as far as we let it: whoever counts with it can't be led
    /// past the end of time, and nobody is put off for good.
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after.map(|wait| wait.min(Duration::from_secs(RETRY_AFTER.most)));
        self
    }

    /// The same error, said in the context of something larger: `context: message`.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The same error where what it names stands elsewhere in the spec: a generator holds what a store does, under another
    /// path.
    pub fn at(mut self, path: &str, elsewhere: &str) -> Self {
        self.message = self.message.replace(path, elsewhere);
        self.hint = self.hint.map(|hint| hint.replace(path, elsewhere));
        self
    }

    /// The same error where deletionPolicy must not act on it: External Secrets Operator removes nothing for metadata
    /// that are not there, and nor do we.
    pub fn no_reason_to_delete(mut self) -> Self {
        if self.kind == ErrorKind::NotFound {
            self.kind = ErrorKind::Invalid;
        }
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What is wrong, for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        self.blame
    }

    /// The next step, where the message does not say it already.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether the same request may well succeed in a moment, with nothing changed. All else stays as it is until
    /// somebody changes something.
    pub fn is_temporary(&self) -> bool {
        self.kind.is_temporary()
    }

    /// How long the store asked us to wait, where it did; never longer than [`RETRY_AFTER`].
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Error {
    /// As conditions, events and the command line tell it: what is wrong, and the hint where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, ": {hint}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [ErrorKind; 14] = [
        ErrorKind::NotFound,
        ErrorKind::NoVersion,
        ErrorKind::Denied,
        ErrorKind::Unauthenticated,
        ErrorKind::Throttled,
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Tls,
        ErrorKind::Invalid,
        ErrorKind::Malformed,
        ErrorKind::BatchDenied,
        ErrorKind::Unsupported,
        ErrorKind::Referent,
        ErrorKind::Unverified,
    ];

    #[test]
    fn what_passes_by_itself_is_about_the_store_and_never_the_users_fault() {
        for kind in KINDS.into_iter().filter(|kind| kind.is_temporary()) {
            let error = Error::new(kind, "why");
            assert!(error.is_temporary() && kind.concerns_store(), "{kind:?}");
            assert!(matches!(error.blame(), Blame::Store | Blame::Way), "{kind:?}");
        }
        assert_eq!(KINDS.iter().filter(|kind| kind.is_temporary()).count(), 3);
    }

    #[test]
    fn an_error_in_context_keeps_all_that_it_tells() {
        let whole = Error::new(ErrorKind::Throttled, "slow down")
            .with_blame(Blame::Keyferry)
            .with_hint("ask for less")
            .with_retry_after(Some(Duration::from_secs(3)))
            .context("entry 1");
        assert_eq!(whole.message(), "entry 1: slow down");
        assert_eq!(whole.to_string(), "entry 1: slow down: ask for less");
        assert_eq!(
            (whole.kind(), whole.blame(), whole.hint()),
            (ErrorKind::Throttled, Blame::Keyferry, Some("ask for less"))
        );
        assert_eq!(whole.retry_after(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn no_store_puts_us_off_for_good() {
        let asked =
            |seconds| Error::new(ErrorKind::Throttled, "slow down").with_retry_after(Some(seconds)).retry_after();
        assert_eq!(asked(Duration::from_secs(7)), Some(Duration::from_secs(7)));
        for absurd in [Duration::from_secs(365 * 86400), Duration::from_secs(u64::MAX), Duration::MAX] {
            assert_eq!(asked(absurd), Some(Duration::from_secs(RETRY_AFTER.most)));
        }
    }

    #[test]
    fn an_error_names_where_it_stands() {
        let error = Error::invalid("spec.provider.x.url is empty").with_hint("set spec.provider.x.url");
        assert_eq!(error.at("spec.provider.x", "spec").to_string(), "spec.url is empty: set spec.url");
    }

    #[test]
    fn what_is_no_reason_to_delete_is_still_about_what_was_asked_for() {
        let gone = Error::new(ErrorKind::NotFound, "gone").no_reason_to_delete();
        assert_eq!((gone.kind(), gone.blame()), (ErrorKind::Invalid, Blame::Request));
        let down = Error::new(ErrorKind::Unavailable, "down");
        assert_eq!(down.clone().no_reason_to_delete(), down);
    }
}
