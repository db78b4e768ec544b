//! Joins the life of a secret, which is one reconcile: plan, fetch, render, apply, record, schedule; first sync and refresh
//! alike.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keyferry_crds::{ExternalSecret, ExternalSecretStatus};
use keyferry_limits::Budget;

use crate::look::{Look, Looked, Memory};
use crate::outcome::{Outcome, Synced, TargetChange};
use crate::plan::Plan;
use crate::ports::{Outputs, Planning, Ports};
use crate::settings::Settings;
use crate::time::later;
use crate::work::Work;
use crate::{compute, hash, record, schedule};

/// When a status that could not be written is tried again.
const STATUS_RETRY: Duration = Duration::from_secs(5);

/// The version of an ExternalSecret: a hash of its labels and annotations, which may be a quarter of a MiB.
async fn version(ports: &Ports, es: &ExternalSecret, budget: &Arc<Budget>) -> String {
    let marks = [&es.metadata.labels, &es.metadata.annotations];
    if marks.into_iter().flatten().all(compute::are_short) {
        return hash::version_of(es);
    }
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    Box::pin(compute::in_turn(&*ports.compute, namespace, budget, || hash::version_of(es))).await
}

/// Looks at an ExternalSecret and does what is due. `planning` is let go once it is clear what is fetched.
///
/// Thousands of looks may wait for stores at once, so that what comes after is boxed: a request to the API server takes
/// kilobytes, which a look would hold all the time. So is what it takes along: a future has room for it wherever it is passed on.
pub async fn run(
    ports: &Ports,
    outputs: &dyn Outputs,
    settings: &Settings,
    look: Box<Look>,
    planning: Planning,
) -> Looked {
    let es = look.es.clone();
    let mut target = look.known_target();
    let version = version(ports, &es, &look.budget).await;
    let mut work = Work::new(ports, outputs.of(&es), settings, &es, version, look, planning);
    let done = loop {
        break match work.plan(target).await {
            Plan::Ignore => Ok(Outcome::Ignored),
            Plan::LeaveToMounts => Ok(Outcome::MountOnly),
            Plan::Hold => Ok(Outcome::Holding),
            Plan::Wait(until) => Ok(Outcome::Waiting(until)),
            Plan::Refuse(failure) => Err(failure),
            Plan::Settle => Box::pin(work.settle()).await,
            Plan::Release { delete_target } => Box::pin(work.release(delete_target)).await,
            Plan::Fetch(requests) => work.refresh(&requests).await,
            Plan::Observe => match Box::pin(work.observe()).await {
                Ok(seen) => {
                    target = seen;
                    continue;
                }
                Err(failure) => Err(failure),
            },
        };
    };
    Box::pin(work.settle_states(&done)).await;
    let outcome = match done {
        Ok(outcome) => outcome,
        Err(_) if work.is_cancelled() => Outcome::Waiting(None),
        Err(failure) => Outcome::Failed(work.give_up(failure).await),
    };
    let (refresh_by, replace_by) = (work.refresh_by(), work.replace_by(&outcome));
    // Holds its turn until the status is written.
    let (mut memory, began, version, _turn) = work.end();
    memory.came_to(&outcome, &version, began);
    memory.replace_by = replace_by;
    let mut next = schedule::next(&es, &outcome, memory.failures, began, (settings.now)());
    if let (Outcome::Synced(_), Some(end)) = (&outcome, refresh_by) {
        next = Some(next.map_or(end, |next| next.min(end)));
    }
    let telling = Telling::new(&outcome, version, began, memory.untold.take());
    let status = match record::status(&es, &telling.outcome, &telling.version, telling.began, memory.made_ends) {
        Some(status) => Box::pin(telling.write(ports, &es, status, &mut memory, &mut next, settings.now)).await,
        None => None,
    };
    for note in record::notes(&es, &outcome) {
        ports.journal.note(&es, note);
    }
    tell(&es, &outcome);
    Looked { outcome, memory, status, next }
}

/// What the status is to tell: what a look came to, or what could not be told of one before, where this one found nothing
/// to do itself.
struct Telling {
    outcome: Outcome,
    version: String,
    began: Timestamp,
}

impl Telling {
    fn new(
        outcome: &Outcome,
        version: String,
        began: Timestamp,
        untold: Option<Box<(Synced, String, Timestamp)>>,
    ) -> Self {
        match (outcome, untold.map(|untold| *untold)) {
            (Outcome::Waiting(_), Some((synced, version, began))) => {
                Self { outcome: Outcome::Synced(synced), version, began }
            }
            (Outcome::Settled { at }, _) => Self { outcome: Outcome::Synced(Synced::unchanged()), version, began: *at },
            (outcome, _) => Self { outcome: outcome.clone(), version, began },
        }
    }

    /// Writes the status. Where that fails, a sync is told by the next look, soon; a failure by the next attempt, which
    /// need not come sooner for it.
    async fn write(
        self,
        ports: &Ports,
        es: &ExternalSecret,
        status: ExternalSecretStatus,
        memory: &mut Memory,
        next: &mut Option<Timestamp>,
        now: fn() -> Timestamp,
    ) -> Option<(ExternalSecretStatus, Option<String>)> {
        let problem = match ports.journal.status(es, &status).await {
            Ok(version) => return Some((status, version)),
            Err(problem) => problem,
        };
        let (namespace, name) = (es.metadata.namespace.as_deref(), es.metadata.name.as_deref());
        tracing::warn!(namespace, name, %problem, "could not write the status");
        let synced = if let Outcome::Synced(synced) = self.outcome { Some(synced) } else { None };
        if !problem.is_not_found && (synced.is_some() || next.is_none()) {
            let again = later(now(), STATUS_RETRY);
            *next = Some(next.map_or(again, |next| next.min(again)));
            memory.untold = synced.map(|synced| Box::new((synced, self.version, self.began)));
        }
        None
    }
}

fn tell(es: &ExternalSecret, outcome: &Outcome) {
    let (namespace, name) = (es.metadata.namespace.as_deref(), es.metadata.name.as_deref());
    match outcome {
        Outcome::Failed(failure) => tracing::warn!(namespace, name, "{failure}"),
        Outcome::Synced(synced) if synced.change != TargetChange::Nothing => {
            tracing::info!(namespace, name, to = es.target_name(), change = ?synced.change, "synced");
        }
        outcome => tracing::debug!(namespace, name, ?outcome, "looked"),
    }
}
