//! What to do: which copies to make, to change and to delete, and whom to leave alone. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use keyferry_limits::COPIES_AT_ONCE;

use super::copier::{Copier, CopierKind};
use super::copy::{Place, Seen};
use crate::dependency::Name;
use crate::ports::Problem;
use crate::time::later;
use crate::told;
use crate::told::Told;

/// How long what a look left is believed where the watch has not told of it yet.
const LAG: Duration = Duration::from_secs(30);

/// The first wait after a failure: of what may pass in a moment, and of what takes somebody.
const FIRST: Duration = Duration::from_secs(1);
const FIRST_REFUSED: Duration = Duration::from_secs(15);

/// The longest wait between two tries, and between two repairs of a copy that somebody else changes again and again.
const LONGEST: Duration = Duration::from_secs(300);

/// Whoever leaves a copy alone for so long is not at odds with us any more.
const QUIET: Duration = Duration::from_secs(600);

/// What is known of the cluster, for one copier.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The namespaces that it selects, and whether each is being deleted.
    pub selected: BTreeMap<String, bool>,
    /// The places in these under the name of its copies, where anything is known of them.
    pub places: BTreeMap<String, Place>,
    /// Copies of it in other namespaces, or under other names.
    pub strays: BTreeMap<Name, Seen>,
    /// Namespaces with finalizers that External Secrets Operator put there for it.
    pub held: BTreeMap<String, Vec<String>>,
}

/// What is remembered of a copier between looks: what was done about each copy.
#[derive(Clone, Debug, Default)]
pub struct Memory(BTreeMap<Name, Trace>);

/// What was last done about a copy.
#[derive(Clone, Debug)]
struct Trace {
    /// What it was to be then.
    wanted: u64,
    /// When.
    at: Timestamp,
    /// What stands there since, or what was deleted.
    left: Left,
    /// How often in a row: failures, or repairs of what others changed.
    times: u32,
}

#[derive(Clone, Debug)]
enum Left {
    There(Seen),
    Deleted(String),
    Failed(Told, Timestamp),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take these finalizers off this namespace.
    Free(String, Vec<String>),
    /// Delete this copy, of this UID.
    Delete(Name, String),
    /// Make the copy in this namespace, where there is none as far as is known.
    Create(String),
    /// Make the copy in this namespace what it should be.
    Change(String),
}

/// What to do, and how all else stands.
#[derive(Debug, Default)]
pub struct Plan {
    /// What to do now, no more than [`COPIES_AT_ONCE`].
    pub steps: Vec<Step>,
    /// Whether there is more to do than that.
    pub more: bool,
    /// The namespaces whose copies are as they should be.
    pub provisioned: BTreeSet<String>,
    /// Those that have none, and why.
    pub failed: BTreeMap<String, Told>,
    /// When something is to be tried again, or made sure of.
    pub again: Option<Timestamp>,
    /// Why nothing is done at all.
    pub fault: Option<Told>,
}

/// What is told of a namespace where another object has the name of the copy.
pub fn conflict(kind: CopierKind) -> Told {
    Told::from(match kind {
        CopierKind::ClusterExternalSecret => "external secret already exists in namespace",
        CopierKind::ClusterPushSecret => "push secret already exists in namespace",
    })
}

/// What to do now.
pub fn plan(copier: &Copier, around: &Surroundings, memory: &Memory, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    for (namespace, finalizers) in &around.held {
        match memory.failing(&namespace_itself(namespace), copier, now) {
            Some((_, until)) => plan.look_again(until),
            None => plan.add(Step::Free(namespace.clone(), finalizers.clone())),
        }
    }
    // What it made goes with it.
    if copier.is_going() {
        return plan;
    }
    plan.fault = copier.fault();
    if plan.fault.is_some() {
        return plan;
    }
    // What somebody lost the right to goes first.
    for (name, seen) in &around.strays {
        if seen.is_controlled_by(copier) && !seen.is_going {
            memory.delete(name, seen, copier, now, &mut plan);
        }
    }
    for (namespace, is_going) in &around.selected {
        if !is_going {
            let place = around.places.get(namespace);
            memory.put((namespace.clone(), copier.copy_name.clone()), place, copier, now, &mut plan);
        }
    }
    plan
}

/// What is remembered of a namespace itself: no copy has such a name.
pub(super) fn namespace_itself(namespace: &str) -> Name {
    (namespace.to_owned(), String::new())
}

impl Plan {
    fn add(&mut self, step: Step) {
        if self.steps.len() < COPIES_AT_ONCE.size() {
            self.steps.push(step);
        } else {
            self.more = true;
        }
    }

    fn look_again(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }
}

impl Memory {
    fn delete(&self, name: &Name, seen: &Seen, copier: &Copier, now: Timestamp, plan: &mut Plan) {
        if let Some((why, until)) = self.failing(name, copier, now) {
            plan.failed.insert(name.0.clone(), why.clone());
            plan.look_again(until);
            return;
        }
        match self.0.get(name) {
            Some(Trace { left: Left::Deleted(uid), at, .. }) if *uid == seen.uid && now < later(*at, LAG) => {
                plan.look_again(later(*at, LAG));
            }
            _ => plan.add(Step::Delete(name.clone(), seen.uid.clone())),
        }
    }

    fn put(&self, name: Name, place: Option<&Place>, copier: &Copier, now: Timestamp, plan: &mut Plan) {
        let trace = self.0.get(&name);
        let namespace = name.0.clone();
        if let Some((why, until)) = self.failing(&name, copier, now) {
            plan.failed.insert(namespace, why.clone());
            plan.look_again(until);
            return;
        }
        let (seen, is_believed) = believed(place, trace, now);
        if let (true, Some(trace)) = (is_believed, trace) {
            plan.look_again(later(trace.at, LAG));
        }
        let patience = trace.map(|trace| trace.patience(copier, now)).filter(|until| now < *until);
        let Some(seen) = seen else {
            match patience {
                Some(until) => plan.look_again(until),
                None => plan.add(Step::Create(namespace)),
            }
            return;
        };
        if !seen.is_copy_of(copier) {
            plan.failed.insert(namespace, conflict(copier.id.kind));
        } else if seen.is_going {
            // Its end is told, and then there is room for another.
        } else if seen.is_controlled_by(copier) && is_as_wanted(seen, copier, trace) {
            plan.provisioned.insert(namespace);
        } else {
            match patience {
                Some(until) => {
                    plan.provisioned.insert(namespace);
                    plan.look_again(until);
                }
                None => plan.add(Step::Change(namespace)),
            }
        }
    }

    /// Why something failed that is not to be tried again before then.
    fn failing(&self, name: &Name, copier: &Copier, now: Timestamp) -> Option<(&Told, Timestamp)> {
        let trace = self.0.get(name).filter(|trace| trace.wanted == copier.print)?;
        match &trace.left {
            Left::Failed(why, until) if now < *until => Some((why, *until)),
            _ => None,
        }
    }

    /// When the first of what was done is to be tried again, or should have been told by the watch.
    pub(super) fn earliest(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.0.values().map(|trace| match &trace.left {
            Left::Failed(_, until) => *until,
            Left::There(_) | Left::Deleted(_) => later(trace.at, LAG),
        });
        times.filter(|at| now < *at).min()
    }

    /// Takes that this stands there since.
    pub fn made(&mut self, name: &Name, seen: Seen, copier: &Copier, now: Timestamp) {
        let before = self.0.get(name).filter(|before| before.wanted == copier.print);
        let repaired = before.filter(|before| matches!(before.left, Left::There(_)) && now < later(before.at, QUIET));
        let times = repaired.map_or(0, |before| before.times.saturating_add(1));
        self.0.insert(name.clone(), Trace { wanted: copier.print, at: now, left: Left::There(seen), times });
    }

    /// Takes that the copy of this UID was deleted.
    pub fn deleted(&mut self, name: &Name, uid: &str, copier: &Copier, now: Timestamp) {
        let left = Left::Deleted(uid.to_owned());
        self.0.insert(name.clone(), Trace { wanted: copier.print, at: now, left, times: 0 });
    }

    /// Takes that it failed.
    pub fn failed(&mut self, name: &Name, why: Told, problem: &Problem, copier: &Copier, now: Timestamp) {
        let before = self.0.get(name).filter(|before| before.wanted == copier.print);
        let before = before.filter(|before| matches!(before.left, Left::Failed(..)));
        let times = before.map_or(0, |before| before.times.saturating_add(1));
        let first = if problem.is_temporary { FIRST } else { FIRST_REFUSED };
        let until = later(now, grown(first, times));
        self.0.insert(name.clone(), Trace { wanted: copier.print, at: now, left: Left::Failed(why, until), times });
    }

    /// Forgets what is of no use any more: of namespaces that are not selected, what is older than the watch can be late.
    pub fn tidy(&mut self, around: &Surroundings, now: Timestamp) {
        self.0.retain(|name, trace| {
            let is_of_use = around.selected.contains_key(&name.0) || around.held.contains_key(&name.0);
            is_of_use || around.strays.contains_key(name) || now < later(trace.at, LAG)
        });
    }
}

impl Trace {
    /// Until when a copy that others change or delete is left as they did: each repair doubles the wait for the next.
    fn patience(&self, copier: &Copier, now: Timestamp) -> Timestamp {
        let is_repair = self.wanted == copier.print && matches!(self.left, Left::There(_));
        if is_repair && self.times > 0 && now < later(self.at, QUIET) {
            later(self.at, grown(FIRST, self.times - 1))
        } else {
            now
        }
    }
}

fn grown(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times)).min(LONGEST)
}

/// What stands in a place, by the watch or by what a look left there a moment ago; and whether it is the latter.
fn believed<'a>(place: Option<&'a Place>, trace: Option<&'a Trace>, now: Timestamp) -> (Option<&'a Seen>, bool) {
    let recent = trace.filter(|trace| now < later(trace.at, LAG)).map(|trace| &trace.left);
    let told = match place {
        Some(Place::Taken(seen)) => Some(seen),
        Some(Place::Left(_)) | None => None,
    };
    match (recent, place) {
        (Some(Left::There(left)), None) => (Some(left), true),
        (Some(Left::There(left)), Some(Place::Left(gone))) if *gone != left.uid => (Some(left), true),
        (Some(Left::There(left)), Some(Place::Taken(seen))) if seen.is_older(left) => (Some(left), true),
        _ => (told, false),
    }
}

/// Whether a copy is what it should be: as it is wanted, or as the API server made of that what was sent.
fn is_as_wanted(seen: &Seen, copier: &Copier, trace: Option<&Trace>) -> bool {
    let was_made_so = |trace: &Trace| {
        trace.wanted == copier.print && matches!(&trace.left, Left::There(left) if left.print == seen.print)
    };
    seen.print == copier.print || trace.is_some_and(was_made_so)
}

/// What is told of a copy that could not be made or changed.
pub fn could_not_put(kind: CopierKind, problem: &Problem) -> Told {
    let why = Told::without_values(problem.message.clone());
    match kind {
        CopierKind::ClusterExternalSecret => told!("could not create or update ExternalSecret: {}", why),
        CopierKind::ClusterPushSecret => told!("could not create or update push secret: {}", why),
    }
}

/// What is told of a copy that could not be deleted.
pub fn could_not_delete(problem: &Problem) -> Told {
    let why = Told::without_values(problem.message.clone());
    told!("external secret in non matching namespace could not be deleted: {}", why)
}
