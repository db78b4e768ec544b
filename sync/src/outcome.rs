//! What a sync came to. Status, events, metrics and schedule read this and nothing else.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use keyferry_crds::{CreationPolicy, DeletionPolicy, ExternalSecret};
use keyferry_provider_core::ErrorKind;

use crate::told;
use crate::told::Told;

/// What a sync came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was due; look again then.
    Waiting(Option<Timestamp>),
    /// A store is still being checked; its check will wake us.
    Holding,
    /// Another controller class looks after this ExternalSecret.
    Ignored,
    /// Whoever mounts it logs in to its stores, and has it resolved: nobody else does.
    MountOnly,
    /// The ExternalSecret is going, and we have done our part.
    Released,
    /// Data was fetched and the target is as it should be.
    Synced(Synced),
    /// The last attempt failed, and what it left undone is done: all is as the last refresh, of that time, left it.
    Settled {
        /// When that refresh began.
        at: Timestamp,
    },
    /// It could not be done.
    Failed(Failure),
}

/// A sync that fetched and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What became of the target.
    pub result: SyncResult,
    /// What was written, for events.
    pub change: TargetChange,
    /// Entries that the store does not have, passed over by deletionPolicy.
    pub missing: Vec<Told>,
    /// The keys of a Secret that was somebody else's and is now ours.
    pub adopted: Option<Vec<String>>,
    /// Where functions of templates failed, and left a complaint in what was written.
    pub complaints: Vec<Told>,
    /// When data that we had written last made room for others, as far as that is noted: who uses them may want to be restarted.
    pub rotated: Option<Timestamp>,
}

impl Synced {
    /// All is as it should be, and nothing was written.
    pub fn unchanged() -> Self {
        Self {
            result: SyncResult::Synced,
            change: TargetChange::Nothing,
            missing: Vec::new(),
            adopted: None,
            complaints: Vec::new(),
            rotated: None,
        }
    }
}

/// What became of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncResult {
    /// It holds what was fetched.
    Synced,
    /// creationPolicy None: fetched, and nothing to write.
    Unwritten,
    /// The store said that nothing of it is there, and deletionPolicy Delete removed it.
    Deleted,
    /// creationPolicy Merge, and there is nothing to merge into.
    Missing,
}

impl SyncResult {
    /// What becomes of a target of which the store says that nothing is there, by deletionPolicy; `None` where it is
    /// written all the same.
    pub fn without_data(es: &ExternalSecret) -> Result<Option<Self>, Failure> {
        match (&es.spec.target.deletion_policy, &es.spec.target.creation_policy) {
            (DeletionPolicy::Delete, CreationPolicy::Owner) => Ok(Some(Self::Deleted)),
            // It speaks of files, of those who mount: there is no Secret to go.
            (DeletionPolicy::Delete, CreationPolicy::None) => Ok(Some(Self::Unwritten)),
            (DeletionPolicy::Delete, policy) => {
                let cause = told!("deletionPolicy=Delete needs creationPolicy=Owner, not {}", policy);
                Err(Failure::new(Headline::Delete, cause, Retry::OnChange))
            }
            // Each missing secret is a failure of its own there.
            (DeletionPolicy::Retain | DeletionPolicy::Unknown(_), _) => {
                Err(Failure::new(Headline::Fetch, "there is nothing to write", Retry::Late))
            }
            (DeletionPolicy::Merge, _) => Ok(None),
        }
    }
}

/// What was done to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetChange {
    /// It was created.
    Created,
    /// It was changed.
    Updated,
    /// It was deleted.
    Deleted,
    /// It was as it should be.
    Nothing,
}

/// A sync that failed: the ExternalSecret is not Ready, and its target was left as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What could not be done, in the words that External Secrets Operator uses for it.
    pub headline: Headline,
    /// Why. A pure function of the causes: no times, attempts or request ids.
    pub causes: Vec<Told>,
    /// When to try again.
    pub retry: Retry,
    /// Whether the target is there and it was to be written: External Secrets Operator notes it in the status then too.
    pub bound: bool,
    /// Whether the target is somebody else's.
    pub theirs: bool,
    /// Whether a store denied who asked a secret.
    pub denied: bool,
}

/// How many causes a message names before it counts.
pub(crate) const NAMED_CAUSES: usize = 10;

impl Failure {
    /// With one cause.
    pub fn new(headline: Headline, cause: impl Into<Told>, retry: Retry) -> Self {
        Self { headline, causes: vec![cause.into()], retry, bound: false, theirs: false, denied: false }
    }

    /// All of it, for a condition or an event: nothing but its causes and words of ours.
    pub fn told(&self) -> Told {
        Told::without_values(self.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.headline.as_str())?;
        let separators = [": "].into_iter().chain(std::iter::repeat("; "));
        for (separator, cause) in separators.zip(self.causes.iter().take(NAMED_CAUSES)) {
            write!(f, "{separator}{cause}")?;
        }
        match self.causes.len().checked_sub(NAMED_CAUSES) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "; and {more} more"),
        }
    }
}

/// When a failed sync is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// When the ExternalSecret itself changes: the fault lies in its own spec.
    OnChange,
    /// With exponential back-off.
    Soon,
    /// The same, beginning later: keys and permissions often arrive late, and hammering does not bring them.
    Late,
    /// Not before the time that the store asked for.
    After(Duration),
}

impl Retry {
    /// When a store's error of this kind is worth another try.
    pub fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound | ErrorKind::NoVersion | ErrorKind::Denied | ErrorKind::Unauthenticated => Self::Late,
            ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Tls
            | ErrorKind::Invalid
            | ErrorKind::Malformed
            | ErrorKind::BatchDenied
            | ErrorKind::Unsupported
            | ErrorKind::Referent
            | ErrorKind::Unverified => Self::Soon,
        }
    }
}

/// Headlines of failures: the messages of External Secrets Operator's conditions, which go before the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headline {
    /// The store has no answer, or not the answer that was asked for.
    Fetch,
    /// The target can't be written.
    Update,
    /// The target is immutable and would have to change.
    Immutable,
    /// The target can't be deleted.
    Delete,
    /// Targets under former names can't be deleted.
    Orphans,
    /// The target is controlled by something that is not an ExternalSecret.
    Ownership,
    /// The target is controlled by another ExternalSecret.
    Owned,
    /// The target can't be of this kind, or not with these flags.
    ManifestKind,
    /// The target, which is not a Secret, can't be read.
    ManifestGet,
    /// The target, which is not a Secret, can't be made of what was fetched.
    Manifest,
    /// The target, which is not a Secret, can't be deleted.
    ManifestDelete,
    /// The spec can't be carried out.
    Spec,
    /// The spec asks for something that is not built yet.
    Unsupported,
}

impl Headline {
    /// Every headline.
    pub const ALL: [Self; 13] = [
        Self::Fetch,
        Self::Update,
        Self::Immutable,
        Self::Delete,
        Self::Orphans,
        Self::Ownership,
        Self::Owned,
        Self::ManifestKind,
        Self::ManifestGet,
        Self::Manifest,
        Self::ManifestDelete,
        Self::Spec,
        Self::Unsupported,
    ];

    /// The words of the condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "could not get secret data from provider",
            Self::Update => "could not update secret",
            Self::Immutable => "could not update secret, target is immutable",
            Self::Delete => "could not delete secret",
            Self::Orphans => "could not delete orphaned secrets",
            Self::Ownership => "failed to take ownership of target secret",
            Self::Owned => "target is owned by another ExternalSecret",
            Self::ManifestKind => "invalid generic target",
            Self::ManifestGet => "could not get target resource",
            Self::Manifest => "could not apply template to manifest",
            Self::ManifestDelete => "could not delete resource",
            Self::Spec => "invalid spec",
            Self::Unsupported => "not supported by this version of keyferry",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_ten_causes_and_counts_the_rest() {
        let mut failure = Failure::new(Headline::Fetch, "c0", Retry::Soon);
        assert_eq!(failure.to_string(), "could not get secret data from provider: c0");
        failure.causes = (0..12).map(|n: usize| told!("c{}", n)).collect();
        assert_eq!(
            failure.to_string(),
            "could not get secret data from provider: c0; c1; c2; c3; c4; c5; c6; c7; c8; c9; and 2 more"
        );
    }
}
