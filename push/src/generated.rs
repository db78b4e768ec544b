//! What a generator made for a push: which value the stores hold, since when, by when that is to be replaced, and which states
//! are to be revoked.

use std::time::Duration;

use jiff::Timestamp;
use keyferry_crds::{PushDeletionPolicy, PushUpdatePolicy, names};
use keyferry_sync::data::StringMap;
use keyferry_sync::hash::synced_resource_version;
use keyferry_sync::make::UnderWay;
use keyferry_sync::settings::Settings;
use keyferry_sync::states::{self, Kept};
use keyferry_sync::store::StoreId;
use keyferry_sync::time::later;

use crate::chosen::{active, all_are_recorded, stores_changed};
use crate::each::Ended;
use crate::halfway::Halfway;
use crate::look::{Look, World, version_of};
use crate::memory::Generated;
use crate::outcome::Outcome;
use crate::refers::{is_generated, named_stores, namespace, store_key};
use crate::schedule;

/// What a value is made for: the spec of a PushSecret, the stores that it goes into, and whoever asked for another one. Labels
/// and other annotations are none of it, nor is whether a store that is named is there now. One that was made anew, of the
/// same name, is another.
pub fn asked_for(settings: &Settings, look: &Look) -> String {
    let metadata = &look.ps.metadata;
    let forced = metadata.annotations.iter().flatten().filter(|(key, _)| *key == names::ANNOTATION_FORCE_SYNC);
    let mut parts: StringMap = forced.map(|(key, value)| (key.clone(), value.clone())).collect();
    parts.insert("uid".to_owned(), metadata.uid.clone().unwrap_or_default());
    let stores = active(settings, look).map(|store| store.id.clone()).chain(named_stores(&look.ps));
    parts.extend(stores.map(|id| (store_key(&id), String::new())));
    synced_resource_version(metadata.generation.unwrap_or_default(), Some(&parts), None)
}

/// A note tells of a value at most so much later than the status: that is written after it, and for its time alone not
/// always. Who may edit a PushSecret can't put off the next value further than this.
const NOTED_LATER: Duration = Duration::from_secs(600);

/// The value that all stores hold, where that is known and it was made for what is asked for now.
pub fn kept(settings: &Settings, look: &Look) -> Option<Kept> {
    let (ps, asked_for) = (&look.ps, asked_for(settings, look));
    let note = ps.metadata.annotations.as_ref().and_then(|all| all.get(names::ANNOTATION_GENERATED));
    let noted = note.and_then(|note| Kept::parse(note));
    let told = ps.status.as_ref().and_then(|status| status.refresh_time.as_ref()).map(|time| time.0);
    let is_likely = |kept: &Kept| told.is_none_or(|told| kept.at <= later(told, NOTED_LATER));
    let is_good = |kept: &Kept| kept.asked_for == asked_for && kept.at <= look.began;
    if let Some(kept) = look.memory.kept.clone().filter(is_good).or(noted.filter(is_likely).filter(is_good)) {
        let is_lost = ps.status.as_ref().is_none_or(|status| status.synced_push_secrets.is_empty());
        // What is not recorded is not deleted one day; of entries of dataTo only the value tells what they are.
        let can_record = ps.spec.data_to.is_empty() || ps.spec.deletion_policy != PushDeletionPolicy::Delete;
        return Some(kept).filter(|_| if is_lost { can_record } else { all_are_recorded(settings, look) });
    }
    if note.is_some() {
        return None;
    }
    // Whoever was here before notes nothing.
    let last = look.last().filter(|last| last.version == version_of(ps) && last.at <= look.began)?;
    (!stores_changed(settings, look)).then_some(Kept { at: last.at, asked_for, made: None, until: None })
}

/// By when what the stores hold is to be replaced, since it ends soon after. Where nothing is replaced, never.
fn refresh_by(look: &Look, kept: &Kept) -> Option<Timestamp> {
    if look.ps.spec.update_policy == PushUpdatePolicy::IfNotExists {
        return None;
    }
    let newest = states::newest(&look.states);
    let Some(made) = &kept.made else {
        return newest.and_then(|newest| newest.refresh_by).into_iter().chain(kept.until).min();
    };
    // While the watch has not told of it, nothing is known.
    let held = look.states.iter().find(|state| state.name == *made)?;
    // A generation was broken off: some stores may hold what it made, and nobody else revokes that.
    if newest.is_some_and(|newest| held.is_older(newest)) { Some(look.began) } else { held.refresh_by }
}

/// When the next value is due, where one ever is: by the interval, or since this one ends.
pub fn due(look: &Look, kept: &Kept) -> Option<Timestamp> {
    let due = schedule::due(kept.at, schedule::interval(&look.ps)?);
    Some(refresh_by(look, kept).map_or(due, |by| by.min(due)))
}

/// By when a value that is not everywhere yet is replaced all the same, where it ever is.
fn ends(look: &Look, made: &Generated) -> Option<Timestamp> {
    let state = look.memory.made.as_ref().and_then(|name| look.states.iter().find(|state| state.name == *name));
    // It may have been prolonged since.
    let refresh_by = state.and_then(|state| state.refresh_by).or(made.refresh_by);
    // With `IfNotExists` a store that has it keeps it: the others are to get the same, however late.
    let replaces = look.ps.spec.update_policy != PushUpdatePolicy::IfNotExists;
    let interval = schedule::interval(&look.ps).filter(|_| replaces);
    let due = interval.map(|interval| schedule::due(made.at, interval));
    [refresh_by, due, state.and_then(|state| state.deadline)].into_iter().flatten().min()
}

/// Whether a value that is not everywhere yet may still be pushed.
pub fn is_good(look: &Look, made: &Generated) -> bool {
    ends(look, made).is_none_or(|end| end > look.began)
}

/// By when the value that the stores hold after this look, or are to hold, is to be replaced.
pub fn replaced_by(look: &Look, under_way: &UnderWay, outcome: &Outcome) -> Option<Timestamp> {
    if !is_generated(&look.ps) {
        return None;
    }
    let is_to_come = |at: &Timestamp| *at > look.began;
    match outcome {
        Outcome::Done(_) => {
            let interval = schedule::interval(&look.ps)?;
            let made = under_way.refresh_by().filter(|_| look.ps.spec.update_policy != PushUpdatePolicy::IfNotExists);
            let kept = look.memory.kept.as_ref();
            let due = kept.map(|kept| schedule::due(kept.at, interval));
            let known = [due, kept.and_then(|kept| refresh_by(look, kept))].into_iter().flatten().filter(is_to_come);
            known.chain(made).min()
        }
        Outcome::Failed(_) => look.memory.generated.as_ref().and_then(|made| ends(look, made)).filter(is_to_come),
        Outcome::Waiting(_) | Outcome::Holding | Outcome::Ignored | Outcome::Released | Outcome::SourceGone => None,
    }
}

/// By when what the stores hold after this look is to be replaced, where that is for us to do. Where it is not known which
/// value that is, any that stands may be.
pub fn replace_by(look: &Look, under_way: &UnderWay, outcome: &Outcome) -> Option<Timestamp> {
    let is_over = matches!(outcome, Outcome::Ignored | Outcome::Released | Outcome::SourceGone);
    let stays = look.ps.spec.update_policy == PushUpdatePolicy::IfNotExists || schedule::interval(&look.ps).is_none();
    if is_over || stays || !is_generated(&look.ps) {
        return None;
    }
    let made = under_way.refresh_by().filter(|_| matches!(outcome, Outcome::Done(_)));
    made.or_else(|| match &look.memory.kept {
        Some(kept) => refresh_by(look, kept),
        None => look.states.iter().filter(|state| state.deadline.is_none()).filter_map(|state| state.refresh_by).min(),
    })
}

/// Notes which value the stores hold: this one.
pub async fn note(world: &World, look: &mut Look, made: Generated) {
    // Under `IfNotExists` they may hold an earlier one.
    let state = look.memory.made.clone().filter(|_| look.ps.spec.update_policy != PushUpdatePolicy::IfNotExists);
    let until = made.refresh_by.filter(|_| state.is_none());
    let kept = Kept { at: made.at, asked_for: made.asked_for, made: state, until };
    let (namespace, name) = (namespace(&look.ps), look.ps.metadata.name.as_deref());
    if let Err(problem) = world.ports.journal.generated(&look.ps, &kept.to_string()).await
        && !problem.is_not_found
    {
        tracing::warn!(namespace, name, %problem, "could not note which generated value the stores hold");
    }
    look.memory.kept = Some(kept);
}

/// Since when all is well of which no more was found out than that: the status tells, or the note where that was lost. Else
/// whoever changes a label puts off the time up to which a note is taken for likely.
pub fn refreshed(look: &Look) -> Timestamp {
    let told = look.ps.status.as_ref().and_then(|status| status.refresh_time.as_ref()).map(|time| time.0);
    told.or(look.memory.kept.as_ref().map(|kept| kept.at)).unwrap_or(look.began)
}

/// Notes what pushing a generated value into a store came to: where it is, and where it may be.
pub fn placed(look: &mut Look, store: &StoreId, ended: &Ended) {
    let (Some(made), Some(_)) = (&look.memory.generated, &look.memory.made) else { return };
    let (at, halfway) = (made.at, &mut look.memory.halfway);
    let place = |place: &String| (store.clone(), place.clone());
    for problem in ended.problems.iter().filter(|problem| !problem.is_certain) {
        halfway.may_hold(place(&problem.place), at);
    }
    match look.ps.spec.update_policy {
        // Which of them were there before is not told.
        PushUpdatePolicy::IfNotExists if ended.pushed == 0 => {}
        PushUpdatePolicy::IfNotExists => ended.held.keys().for_each(|held| halfway.may_hold(place(held), at)),
        _ => ended.held.keys().for_each(|held| halfway.holds(place(held), at)),
    }
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
            look.memory.halfway = Halfway::default();
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
    // Stores that get no value keep nothing of those that the others have got over.
    let unused = look.memory.halfway.unused();
    flag(world, look, &unused, later(now, grace)).await;
    if matches!(outcome, Outcome::Done(_)) {
        look.memory.halfway = Halfway::default();
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
