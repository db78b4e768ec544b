//! From how the copies stand to the status, and the events that tell of it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keyferry_crds::{Condition, CopierStatus, FailedNamespace, condition, names};
use keyferry_limits::{FAILED_NAMESPACES, REFRESH_RATE};

use super::copier::{Copier, CopierKind};
use super::plan::Plan;
use crate::record::{Note, Severity};
use crate::time::seconds;
use crate::told;
use crate::told::{Spec, Told};

/// What is told where a namespace has no copy.
const FAILED: &str = "one or more namespaces failed";

/// How many namespaces an event names.
const NAMED: usize = 5;

/// The status of a copier whose copies stand as `plan` says now.
pub fn status(copier: &Copier, plan: &Plan, now: Timestamp) -> CopierStatus {
    let mut status = copier.status.clone();
    let why_not = match &plan.fault {
        Some(fault) => Some(fault.clone()),
        None => {
            let name = Some(copier.copy_name.clone());
            match copier.id.kind {
                CopierKind::ClusterExternalSecret => status.external_secret_name = name,
                CopierKind::ClusterPushSecret => status.push_secret_name = name,
            }
            let failed = plan.failed.iter().take(FAILED_NAMESPACES.size());
            let failed = failed.map(|(namespace, reason)| FailedNamespace {
                namespace: namespace.clone(),
                reason: reason.to_string(),
            });
            status.failed_namespaces = failed.collect();
            status.provisioned_namespaces = plan.provisioned.iter().cloned().collect();
            match plan.failed.len() {
                0 => None,
                many if many > FAILED_NAMESPACES.size() => {
                    Some(told!("{}, {} in all: {}", FAILED, many, FAILED_NAMESPACES))
                }
                _ => Some(Told::from(FAILED)),
            }
        }
    };
    set_ready(copier, &mut status.conditions, why_not, plan.fault.is_some(), now);
    status
}

/// As External Secrets Operator writes it: without reason; a ClusterExternalSecret's without a time.
fn set_ready(copier: &Copier, all: &mut Vec<Condition>, why_not: Option<Told>, is_fault: bool, now: Timestamp) {
    let status = if why_not.is_none() { "True" } else { "False" };
    let before = condition::find(all, names::CONDITION_READY).filter(|before| before.status == status);
    let since = before.and_then(|before| before.last_transition_time.clone()).unwrap_or(Time(seconds(now)));
    let is_push = copier.id.kind == CopierKind::ClusterPushSecret;
    let slowed_down = || copier.is_slowed_down().then(|| told!("spec.refreshTime: {}", REFRESH_RATE));
    let ready = Condition {
        type_: names::CONDITION_READY.to_owned(),
        status: status.to_owned(),
        reason: (is_push && is_fault).then(|| "Errored".to_owned()),
        message: why_not.or_else(slowed_down).map(Told::into_string),
        last_transition_time: is_push.then_some(since),
    };
    all.retain(|condition| condition.type_ != names::CONDITION_READY);
    all.push(ready);
}

/// The events that tell of a status that was written. What was so before is not told again.
pub fn note(copier: &Copier, plan: &Plan, status: &CopierStatus) -> Option<Note> {
    let ready = |status: &CopierStatus| {
        let ready = condition::find(&status.conditions, names::CONDITION_READY);
        ready.map(|ready| (ready.is_true(), ready.message.clone()))
    };
    let (before, after) = (ready(&copier.status), ready(status)?);
    let is_news = before.as_ref() != Some(&after) || copier.status.failed_namespaces != status.failed_namespaces;
    match (&plan.fault, after.0) {
        _ if !is_news => None,
        (Some(fault), _) => Some(Note::new(Severity::Warning, "Errored", fault.clone())),
        (None, false) => Some(Note::new(Severity::Warning, "Errored", failed(plan))),
        (None, true) => {
            let message =
                told!("{} {} is in all selected namespaces", copier.id.kind.copied(), Spec(&copier.copy_name));
            Some(Note::new(Severity::Normal, "Synced", message))
        }
    }
}

fn failed(plan: &Plan) -> Told {
    let named = plan.failed.iter().take(NAMED).map(|(namespace, why)| told!("{}: {}", Spec(namespace), why));
    let named = Told::join(named, "; ");
    match plan.failed.len().saturating_sub(NAMED) {
        0 => told!("{}: {}", FAILED, named),
        more => told!("{}: {}; and {} more", FAILED, named, more),
    }
}
