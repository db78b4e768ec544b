//! What a look came to, as it is told. Pure.

use keyferry_crds::ExternalSecret;
use keyferry_sync::outcome::{Failure, Headline, Outcome, Retry, SyncResult, TargetChange};
use keyferry_sync::record;

use super::report::Result as Came;
use crate::verbs::manifests::no_labels;

/// What came of a target, and why.
#[derive(Debug)]
pub struct Verdict {
    /// What came of it.
    pub came: Came,
    /// Why, or what else there is to say.
    pub message: Option<String>,
    /// What failed.
    pub failure: Option<Failure>,
}

impl Verdict {
    fn of(came: Came, message: Option<String>) -> Self {
        Self { came, message, failure: None }
    }

    fn failed(failure: Failure) -> Self {
        Self { came: Came::Failed, message: Some(failure.to_string()), failure: Some(failure) }
    }

    /// A look that ended before its end.
    pub fn bug() -> Self {
        let cause = "a bug of keyferry ended it; please report it";
        Self::failed(Failure::new(Headline::Update, cause, Retry::Late))
    }

    /// What failed, as it is told.
    pub fn trouble(&self) -> Option<String> {
        self.failure.as_ref().map(ToString::to_string)
    }

    /// Whether the target is another than before.
    pub fn is_changed(&self) -> bool {
        matches!(self.came, Came::Created | Came::Updated | Came::Removed)
    }
}

/// What `outcome` is told as.
pub fn verdict(es: &ExternalSecret, outcome: &Outcome) -> Verdict {
    let condition = || record::verdict(es, outcome).map(|(_, _, message)| message.into_string());
    match outcome {
        Outcome::Failed(failure) => Verdict::failed(failure.clone()),
        Outcome::Holding => Verdict::failed(no_labels(es.metadata.namespace.as_deref().unwrap_or_default())),
        Outcome::Ignored => Verdict::of(Came::Nothing, Some("it belongs to another controller class".to_owned())),
        Outcome::MountOnly => {
            Verdict::of(Came::Nothing, Some("its store has spec.loginBy: Mount: only who mounts it logs in".to_owned()))
        }
        Outcome::Released => Verdict::of(Came::Nothing, Some("it is being deleted".to_owned())),
        Outcome::Waiting(_) | Outcome::Settled { .. } => Verdict::of(Came::Unchanged, None),
        Outcome::Synced(synced) => match (synced.result, synced.change) {
            (SyncResult::Deleted, TargetChange::Deleted) => Verdict::of(Came::Removed, condition()),
            (SyncResult::Deleted | SyncResult::Missing, _) => Verdict::of(Came::Nothing, condition()),
            (SyncResult::Synced | SyncResult::Unwritten, change) => {
                let notes = record::notes(es, outcome).into_iter();
                let said = notes.filter(|note| !["Created", "Updated", "Deleted"].contains(&note.reason));
                let said: Vec<String> = said.map(|note| note.message.into_string()).collect();
                let came = match change {
                    TargetChange::Created => Came::Created,
                    TargetChange::Updated => Came::Updated,
                    TargetChange::Deleted => Came::Removed,
                    TargetChange::Nothing => Came::Unchanged,
                };
                Verdict::of(came, Some(said.join("; ")).filter(|said| !said.is_empty()))
            }
        },
    }
}
