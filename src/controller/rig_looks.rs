//! What looks of a rig come to.

use std::collections::HashMap;

use keyferry_crds::ExternalSecretStatus;
use keyferry_sync::look::{Look, Looked, Remembered};
use keyferry_sync::outcome::{Failure, Headline, Outcome, Retry, SyncResult, Synced, TargetChange};
use keyferry_sync::time::later;

use super::rig::{Answer, HOUR};
use super::samples::at;

/// What a look comes to that is answered so, where these objects were `found`.
pub fn report(look: &Look, answer: &Answer, found: &HashMap<String, &'static str>) -> Looked {
    let mut memory = look.memory.clone();
    let synced = |change, result| Outcome::Synced(Synced { change, result, ..Synced::unchanged() });
    let next = Some(later(look.began, HOUR));
    let written = |revision| Some(Remembered { version: at(revision), intact: true, made: None });
    let outcome = match answer {
        Answer::Synced | Answer::Told(_) => Outcome::Synced(Synced::unchanged()),
        Answer::Wrote(revision) => {
            memory.target = written(revision);
            synced(TargetChange::Updated, SyncResult::Synced)
        }
        Answer::Settled(revision) => {
            memory.target = written(revision);
            Outcome::Settled { at: look.began }
        }
        Answer::Deleted => {
            (memory.target, memory.absence_is_fine) = (None, true);
            synced(TargetChange::Nothing, SyncResult::Deleted)
        }
        Answer::Waiting => Outcome::Waiting(next),
        Answer::Holding => Outcome::Holding,
        Answer::Ignored => Outcome::Ignored,
        Answer::Failed | Answer::Panics => Outcome::Failed(Failure::new(Headline::Fetch, "why", Retry::Soon)),
    };
    for (source, seen) in &look.sources {
        let found = || found.get(&source.name).map(|revision| at(revision));
        memory.sources.insert(source.clone(), seen.clone().unwrap_or_else(found));
    }
    let status = match answer {
        Answer::Told(revision) => Some((ExternalSecretStatus::default(), Some((*revision).to_owned()))),
        _ => None,
    };
    let next = next.filter(|_| !matches!(outcome, Outcome::Holding | Outcome::Ignored));
    Looked { outcome, memory, status, next }
}
