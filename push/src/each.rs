//! What is done in one store: find out what is there, and push what is not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use keyferry_crds::{PushData, PushDeletionPolicy, PushUpdatePolicy};
use keyferry_provider_core::{Answer, Error, ErrorKind, Fetched, Key, Payload, PropertyLookup, Reach, SecretBytes};
use keyferry_sync::asking::Asking;
use keyferry_sync::audit::{Action, Object};
use keyferry_sync::compute::{in_turn, is_little, is_plain_path};
use keyferry_sync::outcome::Retry;
use keyferry_sync::store::{Store, StoreId};
use keyferry_sync::told;
use keyferry_sync::told::Told;

use crate::audited;
use crate::compare::{holds, key_of};
use crate::expand::{self, Entry, Wanted, elsewhere, is_same_entry, is_same_place, overlapping, remote};
use crate::look::{Look, World};
use crate::memory::{Held, OPAQUE};
use crate::outcome::retry_of;
use crate::places::Sites;
use crate::ports::Opened;
use crate::refers::{found_in, namespace, store_key};

/// How many secrets of one store are written or deleted at once for one PushSecret.
pub const AT_ONCE: usize = 8;

/// So many bytes of answers are compared in no time, each with all that it may be.
const LITTLE: usize = 64 << 10;

/// One store, and what is known of it.
pub struct Task<'a> {
    /// What is asked.
    pub world: &'a World,
    /// For whom.
    pub look: &'a Look,
    /// The store.
    pub store: Arc<Store>,
    /// What goes into it.
    pub wanted: &'a Wanted,
    /// What is held there, as remembered.
    pub held: BTreeMap<String, Held>,
    /// What was pushed, as the status has it.
    pub recorded: BTreeMap<String, PushData>,
    /// Places where the store has answered something else than before; `None` where it was not asked.
    pub suspects: Option<BTreeSet<String>>,
    /// Whether it is time to find out what is there.
    pub is_due: bool,
}

/// What keeps something from being pushed.
#[derive(Debug)]
pub struct Problem {
    /// The place.
    pub place: String,
    /// Why.
    pub cause: Told,
    /// When to try again.
    pub retry: Retry,
    /// Whether nothing was written for certain.
    pub is_certain: bool,
}

/// A store that let us in.
pub struct Prepared {
    opened: Arc<dyn Opened>,
    /// Places where something is that stays.
    pub existing: BTreeSet<String>,
    /// Places where something may be that we did not make, and that is ours once it is written over.
    pub doubtful: BTreeSet<String>,
    /// Places where others keep a part of what is there: that is written over in part alone, and never ours to delete.
    pub shared: BTreeSet<String>,
    /// What could not be found out.
    pub problems: Vec<Problem>,
}

impl Prepared {
    /// Places where something is that was, or may have been, there before us.
    pub fn there(&self) -> impl Iterator<Item = &String> {
        [&self.existing, &self.doubtful, &self.shared].into_iter().flatten()
    }
}

/// What it came to.
#[derive(Default)]
pub struct Ended {
    /// What is held now.
    pub held: BTreeMap<String, Held>,
    /// What is not.
    pub problems: Vec<Problem>,
    /// How many entries were handed over to be written.
    pub pushed: usize,
}

impl Task<'_> {
    /// Logs in, and finds out what is there where that is to stay.
    pub async fn prepare(&self) -> Result<Prepared, Error> {
        let opened = self.world.ports.stores.open(&self.store, namespace(&self.look.ps)).await?;
        let mut prepared = Prepared {
            opened,
            existing: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            shared: BTreeSet::new(),
            problems: Vec::new(),
        };
        self.leave(&mut prepared).await;
        if self.look.ps.spec.update_policy != PushUpdatePolicy::IfNotExists {
            self.doubt(&mut prepared).await;
            return Ok(prepared);
        }
        let is_asked = |place: &String, entry: &Entry| !self.is_held(place, entry);
        for (place, entry, exists) in self.whether_there(&prepared, is_asked).await {
            match exists {
                Ok(true) => _ = prepared.existing.insert(place.clone()),
                Ok(false) => {}
                Err(error) => prepared.problems.push(self.unverified(place, entry, &error)),
            }
        }
        Ok(prepared)
    }

    /// Of what is there, what was pushed through another store that leads to the same place for certain: it is ours, by
    /// whichever of the two it is deleted one day.
    pub fn ours(&self, prepared: &Prepared) -> BTreeSet<String> {
        let (look, class) = (self.look, &self.world.settings.class);
        if prepared.there().next().is_none() {
            return BTreeSet::new();
        }
        // Of a store of another class nobody here knows who pushed.
        let stores = look.stores.values().map(|(store, _)| store).filter(|store| store.is_of_class(class));
        let sites = Sites::recorded(look, stores);
        let from = sites.leaving(&self.store);
        let is_pushed = |store: &StoreId, place: &str| {
            !found_in(look.ps.status.as_ref(), &store_key(store)).iter().any(|found| found == place)
        };
        let is_ours = |place: &&String| {
            self.wanted.entries.get(*place).is_some_and(|entry| from.is_among(place, &entry.data, is_pushed))
        };
        prepared.there().filter(is_ours).cloned().collect()
    }

    /// Whether anything is at these places, but at those that nothing is pushed to now.
    async fn whether_there(
        &self,
        prepared: &Prepared,
        is_asked: impl Fn(&String, &Entry) -> bool,
    ) -> Vec<(&String, &Entry, Result<bool, Error>)> {
        // Gathered before any is asked: what lies in wait must not borrow who gathers.
        let mut asked = Vec::new();
        for (place, entry) in &self.wanted.entries {
            let is_stuck = prepared.problems.iter().any(|problem| problem.place == *place);
            if !is_stuck && is_asked(place, entry) {
                let opened = &prepared.opened;
                asked.push(async move { (place, entry, opened.exists(&entry.push.remote).await) }.boxed());
            }
        }
        stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
    }

    /// Finds out what is at places that nothing was pushed to yet, where the store bears no mark of who wrote what: until
    /// that is written over for certain, it is not ours to delete. What can't be found out counts as there.
    async fn doubt(&self, prepared: &mut Prepared) {
        let deletes = self.look.ps.spec.deletion_policy == PushDeletionPolicy::Delete;
        if !deletes || prepared.opened.capabilities().marks {
            return;
        }
        let own = self.wanted.own.as_deref();
        let is_new = |place: &String, entry: &Entry| {
            self.recorded.get(place).is_none_or(|recorded| !is_same_place(recorded, &entry.data, own))
        };
        let answers = self.whether_there(prepared, is_new).await;
        let there = answers.into_iter().filter(|(_, _, exists)| !matches!(exists, Ok(false)));
        let merges = prepared.opened.dialect().property == PropertyLookup::Base64Fields;
        let is_shared = |entry: &Entry| merges && entry.data.property().is_none();
        let (shared, doubtful): (Vec<_>, Vec<_>) = there.partition(|(_, entry, _)| is_shared(entry));
        let names = |places: Vec<(&String, &Entry, _)>| places.into_iter().map(|(place, ..)| place.clone()).collect();
        (prepared.shared, prepared.doubtful) = (names(shared), names(doubtful));
    }

    /// Deletes what was pushed to another place that the status calls by the same name: once the new one is written down,
    /// nothing tells of the old one. Where that can't be deleted now, the new one waits; and nothing is deleted where the new
    /// place can't be asked after, since nothing may be pushed there either.
    async fn leave(&self, prepared: &mut Prepared) {
        let deletes = self.look.ps.spec.deletion_policy == PushDeletionPolicy::Delete;
        let can = prepared.opened.capabilities();
        if !deletes || !can.delete {
            return;
        }
        let own = self.wanted.own.as_deref();
        let stays = |old: &PushData, new: &PushData| {
            if can.writes_elsewhere { is_same_place(old, new, own) } else { is_same_entry(old, new) }
        };
        let not_ours = found_in(self.look.ps.status.as_ref(), &store_key(&self.store.id));
        for (place, entry) in &self.wanted.entries {
            let Some(old) = self.recorded.get(place).filter(|old| !stays(old, &entry.data)) else { continue };
            if not_ours.contains(place) || overlapping(old, self.wanted).is_some() {
                continue;
            }
            let left = match prepared.opened.exists(&entry.push.remote).await {
                Ok(_) => {
                    let left = prepared.opened.delete(&remote(old), Reach::Ours).await;
                    let made = entry.made.map(|_| entry.tell_key());
                    let before = made.as_ref().map(|_| SecretBytes::from(old.matched.remote_ref.remote_key.as_str()));
                    let untold: Vec<SecretBytes> = entry.names_made().chain(before).collect();
                    let (store, at) = (Object::store(&self.store.id), expand::audited(old, made));
                    audited::tell(self.world, &self.look.ps, Action::Unpushed, store, at, &left, &untold);
                    left
                }
                Err(error) => Err(error),
            };
            if let Err(error) = left {
                prepared.problems.push(self.problem(place, entry, &error));
            }
        }
    }

    /// Whether there is nothing to find out.
    fn is_held(&self, place: &str, entry: &Entry) -> bool {
        !self.is_suspect(place) && self.held.get(place).is_some_and(|held| held.payload == entry.mac)
    }

    fn is_suspect(&self, place: &str) -> bool {
        self.suspects.as_ref().is_some_and(|suspects| suspects.contains(place))
    }

    /// Whether what is held is to be taken as it is: nothing is due, or the answer to it is known.
    fn is_certain(&self, held: &Held, can_read: bool) -> bool {
        !self.is_due || self.suspects.is_some() && (held.answer.is_some() || !can_read)
    }

    /// Pushes what is not there.
    pub async fn carry_out(&self, prepared: Prepared, asking: &Arc<Asking>) -> Ended {
        let Prepared { opened, existing, problems, .. } = prepared;
        let unknown: BTreeSet<String> = problems.iter().map(|problem| problem.place.clone()).collect();
        let mut ended = Ended { problems, ..Ended::default() };
        let (mut ask, mut push) = (Vec::new(), Vec::new());
        let can_read = opened.capabilities().max_batch > 0;
        for (place, entry) in self.wanted.entries.iter().filter(|(place, _)| !unknown.contains(*place)) {
            let before = self.held.get(place).filter(|held| held.payload == entry.mac);
            let is_suspect = self.is_suspect(place);
            match before {
                _ if existing.contains(place) => self.hold(&mut ended, place, entry, &*opened),
                Some(held) if !is_suspect && self.is_certain(held, can_read) => {
                    // It may have come to be of another Secret.
                    ended
                        .held
                        .insert(place.clone(), Held { from: entry.from.clone(), made: entry.made, ..held.clone() });
                }
                // Pushed by this look's predecessor, or by the process before this one: it may well be there.
                // What is elsewhere is not read here: the store's own push compares it.
                _ if opened.capabilities().writes_elsewhere
                    && elsewhere(&entry.data, self.wanted.own.as_deref()).is_some() =>
                {
                    push.push((place, entry))
                }
                Some(held) if !is_suspect && (held.surprises < OPAQUE || !can_read) => ask.push((place, entry)),
                None if self.may_be_there(place, entry) && can_read => ask.push((place, entry)),
                _ => push.push((place, entry)),
            }
        }
        push.extend(if can_read {
            self.ask(&*opened, asking, ask, &mut ended).await
        } else {
            self.ask_whether_there(&*opened, ask, &mut ended).await
        });
        self.push(&*opened, push, &mut ended).await;
        ended
    }

    /// Whether it was pushed by a process before this one, and nothing has changed here since that we know of. A read
    /// tells of the value alone: what is said of it beside that must be as it was.
    fn may_be_there(&self, place: &str, entry: &Entry) -> bool {
        let is_new = self.look.memory.read.is_some() && self.held.contains_key(place);
        self.recorded.get(place).is_some_and(|recorded| *recorded == entry.data) && !is_new
    }

    fn hold(&self, ended: &mut Ended, place: &str, entry: &Entry, opened: &dyn Opened) {
        let key = key_of(&entry.push.remote, &opened.dialect());
        ended.held.insert(
            place.to_owned(),
            Held { payload: entry.mac, answer: None, key, surprises: 0, from: entry.from.clone(), made: entry.made },
        );
    }

    /// Asks the store what is at these places, in as few calls as it can be asked in. Answers those that are to be pushed.
    async fn ask<'e>(
        &self,
        opened: &dyn Opened,
        asking: &Arc<Asking>,
        places: Vec<(&'e String, &'e Entry)>,
        ended: &mut Ended,
    ) -> Vec<(&'e String, &'e Entry)> {
        if places.is_empty() {
            return places;
        }
        let dialect = opened.dialect();
        let keys: BTreeSet<Key> = places.iter().map(|(_, entry)| key_of(&entry.push.remote, &dialect)).collect();
        let planning = self.world.ports.sync.stores.asking(&self.store.id);
        let answers = opened.fetch(asking, keys.into_iter().collect(), planning).await;
        let compare = || -> Vec<bool> {
            let answer = |entry: &Entry| answers.get(&key_of(&entry.push.remote, &dialect))?.as_ref().ok();
            let holds = |found: &Fetched, entry: &Entry| holds(&found.value, &entry.push, &dialect, &self.look.budget);
            places.iter().map(|(_, entry)| answer(entry).is_some_and(|found| holds(found, entry))).collect()
        };
        // Whoever has the store decides what it answers, and how often it is compared.
        let held = if is_quick(&places, &answers) {
            compare()
        } else {
            let compute = &*self.world.ports.sync.compute;
            in_turn(compute, namespace(&self.look.ps), &self.look.budget, compare).await
        };
        let mut rest = Vec::new();
        for ((place, entry), is_held) in places.into_iter().zip(held) {
            let key = key_of(&entry.push.remote, &dialect);
            match answers.get(&key) {
                Some(Ok(found)) if is_held => {
                    let answer = Some(self.world.key.of_answer(&found.value));
                    let from = entry.from.clone();
                    let held = Held { payload: entry.mac, answer, key, surprises: 0, from, made: entry.made };
                    ended.held.insert(place.clone(), held);
                }
                Some(Err(error)) if error.is_temporary() => ended.problems.push(self.problem(place, entry, error)),
                _ => rest.push((place, entry)),
            }
        }
        rest
    }

    /// The same of a store that shows nothing: what is there is taken for what was pushed.
    async fn ask_whether_there<'e>(
        &self,
        opened: &dyn Opened,
        places: Vec<(&'e String, &'e Entry)>,
        ended: &mut Ended,
    ) -> Vec<(&'e String, &'e Entry)> {
        let asked = places
            .into_iter()
            .map(|(place, entry)| async move { (place, entry, opened.exists(&entry.push.remote).await) }.boxed());
        // Gathered before any is asked: what lies in wait must not borrow who gathers.
        let asked: Vec<_> = asked.collect();
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        let mut rest = Vec::new();
        for (place, entry, exists) in answers {
            match exists {
                Ok(true) => self.hold(ended, place, entry, opened),
                Err(error) if error.is_temporary() => ended.problems.push(self.problem(place, entry, &error)),
                Ok(false) | Err(_) => rest.push((place, entry)),
            }
        }
        rest
    }

    async fn push(&self, opened: &dyn Opened, places: Vec<(&String, &Entry)>, ended: &mut Ended) {
        // Properties of one secret are written one after the other: each write keeps the others.
        let mut secrets: BTreeMap<&str, Vec<(&String, &Entry)>> = BTreeMap::new();
        for (place, entry) in places {
            secrets.entry(&entry.push.remote.key).or_default().push((place, entry));
        }
        let pushes: Vec<_> = secrets.into_values().map(|entries| push_in_turn(opened, entries).boxed()).collect();
        let pushed: Vec<_> = stream::iter(pushes).buffer_unordered(AT_ONCE).collect().await;
        for (place, entry, result) in pushed.into_iter().flatten() {
            let values = if result.is_err() { audited::untold(entry) } else { Vec::new() };
            let store = Object::store(&self.store.id);
            audited::tell(self.world, &self.look.ps, Action::Pushed, store, entry.audited(), &result, &values);
            match result {
                Ok(()) => {
                    ended.pushed += 1;
                    let before = self.held.get(place).filter(|held| held.payload == entry.mac);
                    let surprises = before.map_or(0, |held| held.surprises.saturating_add(1).min(OPAQUE));
                    let key = key_of(&entry.push.remote, &opened.dialect());
                    let (from, made) = (entry.from.clone(), entry.made);
                    let held = Held { payload: entry.mac, answer: None, key, surprises, from, made };
                    ended.held.insert(place.clone(), held);
                }
                Err(error) => ended.problems.push(self.problem(place, entry, &error)),
            }
        }
    }

    /// That it can't be told whether something is there which is to stay. The words before the cause are External Secrets
    /// Operator's.
    fn unverified(&self, place: &str, entry: &Entry, error: &Error) -> Problem {
        let store = Told::without_values(self.store.id.name.clone());
        let cause =
            told!("could not verify if secret exists in store: {} ({} in {})", error, entry.tell_place(), store);
        Problem { cause, ..self.problem(place, entry, error) }
    }

    fn problem(&self, place: &str, entry: &Entry, error: &Error) -> Problem {
        let cause = unwritten(&self.store, entry, error);
        Problem { place: place.to_owned(), cause, retry: retry_of(error), is_certain: is_certain(error) }
    }
}

/// That something could not be written. The words before the cause are External Secrets Operator's.
pub fn unwritten(store: &Store, entry: &Entry, error: &Error) -> Told {
    let (key, place) = (entry.tell_key(), entry.tell_place());
    let store = Told::without_values(store.id.name.clone());
    told!("could not write remote ref {} to target secretstore {}: {} (to {})", key, store, error, place)
}

async fn push_in_turn<'e>(
    opened: &dyn Opened,
    entries: Vec<(&'e String, &'e Entry)>,
) -> Vec<(&'e String, &'e Entry, Result<(), Error>)> {
    let mut done = Vec::with_capacity(entries.len());
    for (place, entry) in entries {
        done.push((place, entry, opened.push(&entry.push).await));
    }
    done
}

/// Whether comparing what was answered with what is pushed is certain to be quick: little of either, and nothing is looked up
/// in it but by names.
fn is_quick(places: &[(&String, &Entry)], answers: &HashMap<Key, Answer>) -> bool {
    let by_key = |(_, entry): &(&String, &Entry)| entry.push.remote.property.as_deref().is_none_or(is_plain_path);
    let values = places.iter().flat_map(|(_, entry)| match &entry.push.payload {
        Payload::Value(value) => vec![value],
        Payload::Fields(fields) => fields.values().collect(),
    });
    let answers = places.len().saturating_mul(answers.values().flatten().map(|found| found.value.len()).sum());
    places.iter().all(by_key) && answers <= LITTLE && is_little(values)
}

/// Whether a push that failed so has written nothing for certain.
fn is_certain(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Invalid
        | ErrorKind::Denied
        | ErrorKind::Unauthenticated
        | ErrorKind::NotFound
        | ErrorKind::NoVersion
        | ErrorKind::Unsupported
        | ErrorKind::Referent => true,
        ErrorKind::Throttled
        | ErrorKind::Unavailable
        | ErrorKind::Timeout
        | ErrorKind::Tls
        | ErrorKind::Malformed
        | ErrorKind::BatchDenied
        | ErrorKind::Unverified => false,
    }
}
