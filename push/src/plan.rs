//! What to do now, by all that is known without asking anybody. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use keyferry_limits::{PUSH_CANDIDATES, PUSH_STORES};
use keyferry_sync::outcome::Retry;
use keyferry_sync::settings::Settings;
use keyferry_sync::store::{Readiness, Store};
use keyferry_sync::told;
use keyferry_sync::told::Told;
use keyferry_sync::usable::{Usable, usable};

use crate::chosen::{active, all_is_theirs, may_undo, stores_changed};
use crate::generated;
use crate::look::{Look, version_of};
use crate::outcome::{Failure, Headline};
use crate::refers::{is_generated, named_stores, source_selector};
use crate::{parting, schedule, spec};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: other controllers look after its stores.
    Ignore,
    /// Nothing, until the check of a store wakes us.
    Hold,
    /// Nothing, until then.
    Wait(Option<Timestamp>),
    /// Nothing can be done.
    Refuse(Failure),
    /// The PushSecret is going.
    Release,
    /// Find out whether the stores still hold what was pushed.
    Check,
    /// Read the source, and push what is not there.
    Push,
    /// Say that all is well: the stores hold what was generated, and nothing is due.
    Keep,
}

/// Why a store can't be used now; `None` where it can.
pub fn unusable(settings: &Settings, look: &Look, store: &Store) -> Option<Told> {
    let namespace = look.ps.metadata.namespace.as_deref().unwrap_or_default();
    let ids = [store.id.clone()].into();
    match usable(&ids, &look.stores, namespace, look.namespace_labels.as_ref(), settings.flood_gate) {
        Usable::Yes => None,
        Usable::NotYet => Some("it is still being checked".into()),
        // Words of ours about the store.
        Usable::No(causes) => Some(Told::without_values(causes.join("; "))),
    }
}

/// Decides.
pub fn decide(settings: &Settings, look: &Look) -> Plan {
    let ps = &look.ps;
    if ps.metadata.deletion_timestamp.is_some() {
        // Whoever pushed it deletes it, and would not find a PushSecret without its finalizer.
        return if all_is_theirs(settings, look) { Plan::Ignore } else { Plan::Release };
    }
    let problems = spec::problems(ps);
    if !problems.is_empty() {
        let causes = problems.into_iter().map(Told::without_values).collect();
        return Plan::Refuse(Failure { headline: Headline::Spec, causes, retry: Retry::OnChange });
    }
    let is_missing = named_stores(ps).iter().any(|id| !look.stores.contains_key(id));
    let mut recorded = ps.status.iter().flat_map(|status| status.synced_push_secrets.keys());
    let holds_more = recorded.any(|key| may_undo(settings, look, key));
    if look.has_many_stores && !all_is_theirs(settings, look) {
        return Plan::Refuse(Failure::new(Headline::Spec, told!("{}", PUSH_CANDIDATES), Retry::Late));
    }
    if !is_missing && !holds_more && active(settings, look).next().is_none() {
        return Plan::Ignore;
    }
    if active(settings, look).count() > PUSH_STORES.size() {
        return Plan::Refuse(Failure::new(Headline::Spec, told!("{}", PUSH_STORES), Retry::Late));
    }
    let is_unchecked = |store: &&Arc<Store>| {
        let readiness = look.stores.get(&store.id).map(|(_, readiness)| readiness);
        let awaits_namespace = store.asks_for_labels() && look.namespace_labels.is_none();
        awaits_namespace || settings.flood_gate && readiness == Some(&Readiness::Unchecked)
    };
    if active(settings, look).any(|store| is_unchecked(&store)) {
        return Plan::Hold;
    }
    by_time(settings, look)
}

/// The same where values are generated: one is made when it is due, for what is asked for now, and where what its template is
/// taken from has changed, since only a value can be rendered anew; and not for anything else.
fn of_generator(settings: &Settings, look: &Look) -> Plan {
    let Some(kept) = generated::kept(settings, look) else { return Plan::Push };
    if look.sources_changed() {
        return Plan::Push;
    }
    let due = generated::due(look, &kept);
    // One that is not everywhere yet is pushed first.
    if look.memory.generated.is_some() || due.is_some_and(|due| due <= look.began) {
        return Plan::Push;
    }
    let is_told = look.last().is_some_and(|last| last.version == version_of(&look.ps));
    if is_told && look.memory.failures == 0 && !stores_changed(settings, look) { Plan::Wait(due) } else { Plan::Keep }
}

fn by_time(settings: &Settings, look: &Look) -> Plan {
    let (ps, now) = (&look.ps, look.began);
    if is_generated(ps) {
        return of_generator(settings, look);
    }
    let last = look.last().filter(|last| last.version == version_of(ps) && last.at <= now);
    let Some(last) = last else { return Plan::Push };
    if look.memory.failures > 0 || parting::is_due(look) {
        return Plan::Push;
    }
    // Zero pushes once.
    let Some(interval) = schedule::interval(ps) else { return Plan::Wait(None) };
    if look.sources_changed() || stores_changed(settings, look) {
        return Plan::Push;
    }
    let due = schedule::due(last.at, interval);
    if look.memory.read.is_none() {
        // The process before this one pushed; what has changed since then nobody has told.
        let first = schedule::first_check(ps, settings.started);
        return if first <= now { Plan::Push } else { Plan::Wait(Some(first.min(due))) };
    }
    if due > now {
        return Plan::Wait(parting::next(look).into_iter().chain([due]).min());
    }
    // Which Secrets bear the labels now, nobody may have told: they are selected anew.
    if source_selector(ps).is_some() { Plan::Push } else { Plan::Check }
}

/// Whether it is time to find out what is in the stores.
pub fn is_overdue(look: &Look) -> bool {
    let due = look.last().zip(schedule::interval(&look.ps)).map(|(last, interval)| schedule::due(last.at, interval));
    due.is_some_and(|due| due <= look.began)
}
