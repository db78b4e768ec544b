//! A look at a copier: the steps of its plan, a few at a time, and the status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use keyferry_crds::CopierStatus;

use super::copier::Copier;
use super::plan::{Memory, Plan, Step, conflict, could_not_delete, could_not_put, namespace_itself};
use super::ports::{Copies, Made};
use super::record;
use crate::dependency::Name;
use crate::ports::Problem;
use crate::time::later;
use crate::told::Told;

/// How many steps are under way at once: each holds what it sends.
const AT_ONCE: usize = 8;

/// What a look came to.
#[derive(Debug)]
pub struct Looked {
    /// What is remembered.
    pub memory: Memory,
    /// When something is to be tried again, or made sure of; at once where there is more to do.
    pub again: Option<Timestamp>,
    /// The status, where it was written.
    pub status: Option<CopierStatus>,
    /// Whether it ended early: its object has changed.
    pub is_cancelled: bool,
}

/// What became of a step.
enum Done {
    Put(String, Result<Made, Problem>),
    Deleted(Name, String, Result<(), Problem>),
    Freed(String, Result<(), Problem>),
    Skipped,
}

/// Carries out a plan. What has begun is ended, also once it is cancelled; nothing more is begun then.
pub async fn run(
    copies: &dyn Copies,
    copier: &Copier,
    mut plan: Plan,
    mut memory: Memory,
    cancelled: Arc<AtomicBool>,
    now: fn() -> Timestamp,
) -> Looked {
    let steps = std::mem::take(&mut plan.steps);
    let is_cancelled = || cancelled.load(Ordering::Relaxed);
    let carried_out = stream::iter(steps)
        .map(|step| async { if is_cancelled() { Done::Skipped } else { carry_out(copies, copier, step).await } });
    let done: Vec<Done> = carried_out.buffer_unordered(AT_ONCE).collect().await;
    let mut is_free = !plan.more && plan.again.is_none();
    for done in done {
        is_free &= !matches!(done, Done::Freed(_, Err(_)));
        note(copier, done, &mut plan, &mut memory, now());
    }
    if is_cancelled() {
        return Looked { memory, again: None, status: None, is_cancelled: true };
    }
    let written = if copier.is_going() {
        release(copies, copier, is_free).await
    } else if plan.more {
        Ok(None)
    } else {
        tell(copies, copier, &plan, now()).await
    };
    let retry = written.as_ref().err().filter(|problem| !problem.is_not_found).map(|problem| {
        tracing::warn!(copier = %copier.id, %problem, "could not write");
        later(now(), RETRY)
    });
    let next = [plan.again, memory.earliest(now()), retry].into_iter().flatten().min();
    let again = if plan.more { Some(now()) } else { next };
    Looked { memory, again, status: written.unwrap_or_default(), is_cancelled: false }
}

/// When a status that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(15);

/// Takes what became of a step.
fn note(copier: &Copier, done: Done, plan: &mut Plan, memory: &mut Memory, now: Timestamp) {
    match done {
        Done::Put(namespace, made) => put(copier, namespace, made, plan, memory, now),
        Done::Deleted(name, uid, Ok(())) => memory.deleted(&name, &uid, copier, now),
        Done::Deleted(name, _, Err(problem)) => {
            let why = could_not_delete(&problem);
            memory.failed(&name, why.clone(), &problem, copier, now);
            plan.failed.insert(name.0, why);
        }
        Done::Freed(namespace, Err(problem)) => {
            let why = Told::without_values(problem.message.clone());
            memory.failed(&namespace_itself(&namespace), why, &problem, copier, now);
            tracing::warn!(
                copier = %copier.id, namespace, %problem, "can't take a finalizer of External Secrets Operator off"
            );
        }
        Done::Freed(_, Ok(())) | Done::Skipped => {}
    }
}

async fn carry_out(copies: &dyn Copies, copier: &Copier, step: Step) -> Done {
    match step {
        Step::Free(namespace, finalizers) => {
            let freed = copies.free(copier, &namespace, &finalizers).await;
            Done::Freed(namespace, freed)
        }
        Step::Delete(name, uid) => {
            let deleted = copies.delete(copier, &name, &uid).await;
            Done::Deleted(name, uid, deleted)
        }
        Step::Create(namespace) => {
            let made = copies.create(copier, &namespace).await;
            Done::Put(namespace, made)
        }
        Step::Change(namespace) => {
            let made = copies.change(copier, &namespace).await;
            Done::Put(namespace, made)
        }
    }
}

fn put(
    copier: &Copier,
    namespace: String,
    made: Result<Made, Problem>,
    plan: &mut Plan,
    memory: &mut Memory,
    now: Timestamp,
) {
    let name = (namespace.clone(), copier.copy_name.clone());
    match made {
        Ok(Made::Copy(seen)) => {
            if !seen.is_going {
                plan.provisioned.insert(namespace);
            }
            memory.made(&name, seen, copier, now);
        }
        Ok(Made::Other(seen)) => {
            memory.made(&name, seen, copier, now);
            plan.failed.insert(namespace, conflict(copier.id.kind));
        }
        Err(problem) => {
            let why = could_not_put(copier.id.kind, &problem);
            memory.failed(&name, why.clone(), &problem, copier, now);
            plan.failed.insert(namespace, why);
        }
    }
}

async fn release(copies: &dyn Copies, copier: &Copier, is_free: bool) -> Result<Option<CopierStatus>, Problem> {
    if is_free && copier.is_held() {
        copies.release(copier).await?;
    }
    Ok(None)
}

async fn tell(
    copies: &dyn Copies,
    copier: &Copier,
    plan: &Plan,
    now: Timestamp,
) -> Result<Option<CopierStatus>, Problem> {
    let status = record::status(copier, plan, now);
    if status == copier.status {
        return Ok(None);
    }
    copies.status(copier, &status).await?;
    if let Some(note) = record::note(copier, plan, &status) {
        copies.note(copier, note);
    }
    Ok(Some(status))
}
