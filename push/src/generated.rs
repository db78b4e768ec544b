//! The states of what a generator made for a push: which is in use, by when that is to be replaced, and which are to be
//! revoked.

use jiff::Timestamp;
use keyferry_crds::PushUpdatePolicy;
use keyferry_sync::make::UnderWay;
use keyferry_sync::states;
use keyferry_sync::time::later;

use crate::look::{Look, World};
use crate::outcome::Outcome;
use crate::refers::{is_generated, namespace};
use crate::schedule;

/// By when what the stores hold is to be replaced, since it ends soon after. Where nothing is replaced, never.
pub fn refresh_by(look: &Look) -> Option<Timestamp> {
    if !is_generated(&look.ps) || look.ps.spec.update_policy == PushUpdatePolicy::IfNotExists {
        return None;
    }
    match &look.memory.made {
        // While the watch has not told of it, nothing is known.
        Some(made) => look.states.iter().find(|state| state.name == *made)?.refresh_by,
        None => states::newest(&look.states)?.refresh_by,
    }
}

/// By when what was made in this look is to be replaced.
pub fn replaced_by(look: &Look, under_way: &UnderWay, outcome: &Outcome) -> Option<Timestamp> {
    let is_replaced =
        look.ps.spec.update_policy != PushUpdatePolicy::IfNotExists && schedule::interval(&look.ps).is_some();
    if is_replaced && matches!(outcome, Outcome::Done(_)) { under_way.refresh_by() } else { None }
}

/// Sees to what the generator made, now that it is known what came of the look: what the stores held before is revoked
/// after the grace, and what nobody uses is at once. What is not everywhere yet is pushed by the next try.
pub async fn settle(world: &World, look: &mut Look, under_way: &UnderWay, outcome: &Outcome) {
    let Some(grace) = world.settings.generator_grace else { return };
    let now = (world.settings.now)();
    let made = under_way.made().into_values().next();
    match outcome {
        // Where something was there before, that is still in use: no more is known than that nothing of this is.
        Outcome::Done(done) if look.ps.spec.update_policy == PushUpdatePolicy::IfNotExists => {
            if done.pushed == 0 {
                flag(world, look, made.as_slice(), now).await;
            }
        }
        Outcome::Done(_) => {
            if !is_generated(&look.ps) {
                look.memory.made = None;
            }
            let outdated = look.states.iter().filter(|state| state.deadline.is_none());
            let outdated = outdated.map(|state| state.name.clone());
            let outdated: Vec<String> = outdated.filter(|name| Some(name) != look.memory.made.as_ref()).collect();
            flag(world, look, &outdated, later(now, grace)).await;
        }
        _ => {
            let unused = made.filter(|name| Some(name) != look.memory.made.as_ref());
            flag(world, look, unused.as_slice(), now).await;
        }
    }
}

async fn flag(world: &World, look: &Look, names: &[String], deadline: Timestamp) {
    let namespace = namespace(&look.ps);
    for name in names {
        // The next push that succeeds tries again.
        if let Err(problem) = world.ports.sync.states.flag(namespace, name, deadline).await
            && !problem.is_not_found
        {
            tracing::warn!(namespace, name, %problem, "could not say when a GeneratorState is to be revoked");
        }
    }
}
