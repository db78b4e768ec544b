//! States of generators (GeneratorStates): which of them stand for what a target holds, and which are to be revoked. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyferry_crds::{ExternalSecret, GeneratorState, names};
use keyferry_provider_core::Term;
use serde_json::Value;

use crate::dependency::is_earlier;
use crate::hash;
use crate::request::generator;
use crate::schedule::SHORTEST;
use crate::time::later;

/// A GeneratorState, as the watch sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownState {
    /// Its name.
    pub name: String,
    /// The UID of the object that it was made for.
    pub owner: String,
    /// Which entry of that it was made for: [`hash::owner_key`].
    pub key: String,
    /// When it was made, to the second, and which resourceVersion it has.
    pub made: (Option<Timestamp>, String),
    /// When it is revoked, where that is known.
    pub deadline: Option<Timestamp>,
    /// By when what it stands for is to be replaced.
    pub refresh_by: Option<Timestamp>,
}

impl KnownState {
    /// What is known of one; `None` where it is nobody's.
    pub fn of(state: &GeneratorState) -> Option<(String, Self)> {
        let metadata = &state.metadata;
        let owner =
            metadata.owner_references.iter().flatten().find(|owner| [OWNER, PUSHER].contains(&owner.kind.as_str()))?;
        let known = Self {
            name: metadata.name.clone()?,
            owner: owner.uid.clone(),
            key: metadata.labels.as_ref()?.get(names::LABEL_GENERATOR_OWNER)?.clone(),
            made: (
                metadata.creation_timestamp.as_ref().map(|time| time.0),
                metadata.resource_version.clone().unwrap_or_default(),
            ),
            deadline: deadline(state),
            refresh_by: annotated(state, names::ANNOTATION_REFRESH_BY),
        };
        Some((owner.name.clone(), known))
    }

    /// Whether it was made before another.
    pub fn is_older(&self, other: &Self) -> bool {
        match self.made.0.cmp(&other.made.0) {
            Ordering::Less => true,
            Ordering::Equal => is_earlier(&self.made.1, &other.made.1),
            Ordering::Greater => false,
        }
    }
}

/// The kinds of the objects that states are made for: those whose targets hold what was made, and those that push it.
pub const OWNER: &str = "ExternalSecret";
/// See [`OWNER`].
pub const PUSHER: &str = "PushSecret";

/// The entry of a PushSecret, which has one generator at most, in its owner key.
const PUSHED: &str = "__pushsecret";

/// The last of these that is not to be revoked.
pub fn newest(states: &[KnownState]) -> Option<&KnownState> {
    let kept = states.iter().filter(|state| state.deadline.is_none());
    kept.reduce(|newest, state| if newest.is_older(state) { state } else { newest })
}

/// When a state is to be revoked, where that is known: it is being deleted, or its deadline.
pub fn deadline(state: &GeneratorState) -> Option<Timestamp> {
    let spec = state.spec.garbage_collection_deadline.as_ref().map(|time| time.0);
    let deleted = state.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    [spec, deleted].into_iter().flatten().min()
}

/// A time that an annotation of ours tells.
pub fn annotated(state: &GeneratorState, name: &str) -> Option<Timestamp> {
    state.metadata.annotations.as_ref()?.get(name)?.parse().ok()
}

/// By owner key, the names of the states that were made for what a target holds.
pub type MadeFor = BTreeMap<String, String>;

/// The owner keys of the generators that an ExternalSecret names, by their place in `dataFrom`.
pub fn keys(es: &ExternalSecret) -> BTreeMap<usize, String> {
    let entries = es.spec.data_from.iter().enumerate().filter(|(_, entry)| generator(entry).is_some());
    entries.map(|(n, _)| (n, key(es, n))).collect()
}

/// The owner key of an entry of `dataFrom`.
pub fn key(es: &ExternalSecret, entry: usize) -> String {
    let (namespace, name) = (es.metadata.namespace.as_deref(), es.metadata.name.as_deref());
    hash::owner_key(OWNER, namespace.unwrap_or_default(), name.unwrap_or_default(), &entry.to_string())
}

/// The states of the entries of `es` that are not to be revoked.
fn standing<'a>(es: &ExternalSecret, states: &'a [KnownState]) -> impl Iterator<Item = &'a KnownState> {
    let keys: BTreeSet<String> = keys(es).into_values().collect();
    states.iter().filter(move |state| state.deadline.is_none() && keys.contains(&state.key))
}

/// The states that stand for what the target holds, where that was written after all of them: of each entry the last.
fn current<'a>(es: &ExternalSecret, states: &'a [KnownState]) -> BTreeMap<&'a str, &'a KnownState> {
    let mut newest: BTreeMap<&str, &KnownState> = BTreeMap::new();
    for state in standing(es, states) {
        let known = newest.entry(&state.key).or_insert(state);
        if known.is_older(state) {
            *known = state;
        }
    }
    newest
}

/// The states that a target stands for which was written after all that was made for it.
pub fn written_last(es: &ExternalSecret, states: &[KnownState]) -> MadeFor {
    current(es, states).into_iter().map(|(key, state)| (key.to_owned(), state.name.clone())).collect()
}

/// By when the first of what the target holds is to be replaced, since it ends soon after. `made` are the states of the last
/// refresh, where that is known: while the watch has not told of them, nothing is. Where it is not known, the target may
/// hold any that stands: a refresh that was broken off has left its own beside what the target holds.
pub fn refresh_by(es: &ExternalSecret, states: &[KnownState], made: &MadeFor) -> Option<Timestamp> {
    let is_told = |name: &String| states.iter().any(|state| state.name == *name);
    if !made.values().all(is_told) {
        return None;
    }
    let is_held = |state: &&KnownState| made.is_empty() || made.get(&state.key) == Some(&state.name);
    standing(es, states).filter(is_held).filter_map(|state| state.refresh_by).min()
}

/// The states that stand for nothing that the target holds, and are not to be revoked yet. `made` are those of a refresh
/// that has just been carried out; where it is that of somebody before us, the last of each entry are.
pub fn outdated<'a>(es: &ExternalSecret, states: &'a [KnownState], made: Option<&MadeFor>) -> Vec<&'a KnownState> {
    let kept: BTreeSet<&str> = match made {
        Some(made) => made.values().map(String::as_str).collect(),
        None => current(es, states).into_values().map(|state| state.name.as_str()).collect(),
    };
    states.iter().filter(|state| state.deadline.is_none() && !kept.contains(state.name.as_str())).collect()
}

/// A generated value that all stores of a PushSecret hold. It is noted on that, where neither a restart nor a status that is
/// lost takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When it was made.
    pub at: Timestamp,
    /// For what: a hash of all that asks for it.
    pub asked_for: String,
    /// The name of its state, where it has one and that is known.
    pub made: Option<String>,
    /// By when it is to be replaced, where it ends and has no state.
    pub until: Option<Timestamp>,
}

/// No note is longer, in bytes: two times, a hash, and the name of an object.
const NOTE: usize = 512;

/// Before the time by when a value is to be replaced: no object has such a name.
const UNTIL: &str = "until=";

impl Kept {
    /// As it was noted; `None` where that is not of this form.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > NOTE {
            return None;
        }
        let mut parts = text.split(' ').map(|part| Some(part).filter(|part| is_word(part)));
        let (at, asked_for) = (parts.next()??, parts.next()??);
        let mut kept = Self { at: at.parse().ok()?, asked_for: asked_for.to_owned(), made: None, until: None };
        for part in parts {
            let word = part?;
            match word.strip_prefix(UNTIL) {
                Some(until) if kept.until.is_none() => kept.until = Some(until.parse().ok()?),
                None if kept.made.is_none() && kept.until.is_none() => kept.made = Some(word.to_owned()),
                Some(_) | None => return None,
            }
        }
        Some(kept)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.asked_for)?;
        self.made.iter().try_for_each(|made| write!(f, " {made}"))?;
        self.until.iter().try_for_each(|until| write!(f, " {UNTIL}{until}"))
    }
}

/// What annotations tell of how long something works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// By when it is to be replaced.
    pub refresh_by: Option<Timestamp>,
    /// When it is to be prolonged.
    pub renew_at: Option<Timestamp>,
}

impl Marks {
    /// Of something that works for this term: it is prolonged when two thirds are over, and replaced when a sixth is left. What
    /// has ended when it is made is replaced when the interval is over, and nothing more often than any interval may be: a
    /// term is an answer of whoever makes it.
    pub fn of(term: Option<Term>, now: Timestamp) -> Self {
        let Some(Term { end, renews }) = term else { return Self::default() };
        let end = Timestamp::try_from(end).unwrap_or(Timestamp::MAX);
        let length = Duration::try_from(end.duration_since(now)).unwrap_or_default();
        if length.is_zero() {
            return Self::default();
        }
        let at = |share: f64| later(now, length.mul_f64(share).max(SHORTEST));
        Self { refresh_by: Some(at(5.0 / 6.0)), renew_at: renews.then(|| at(2.0 / 3.0)) }
    }
}

/// A state that is to be written down.
#[derive(Clone, Debug)]
pub struct NewState {
    /// The namespace, name and UID of the object that it is made for.
    pub owner: (String, String, String),
    /// The kind of that: [`OWNER`] or [`PUSHER`].
    pub owner_kind: &'static str,
    /// Which entry of it: [`hash::owner_key`].
    pub key: String,
    /// The generator, as it is now.
    pub resource: Value,
    /// What its name begins with.
    pub prefix: String,
}

impl NewState {
    /// For an entry of `es`, by a generator of this kind, name and spec.
    pub fn new(es: &ExternalSecret, entry: usize, kind: &str, name: &str, spec: &Value) -> Self {
        Self::of(OWNER, &es.metadata, key(es, entry), kind, name, spec)
    }

    /// For a PushSecret, by a generator of this kind, name and spec.
    pub fn of_push(metadata: &ObjectMeta, kind: &str, name: &str, spec: &Value) -> Self {
        let (namespace, of) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        let key = hash::owner_key(PUSHER, namespace.unwrap_or_default(), of.unwrap_or_default(), PUSHED);
        Self::of(PUSHER, metadata, key, kind, name, spec)
    }

    fn of(owner_kind: &'static str, metadata: &ObjectMeta, key: String, kind: &str, name: &str, spec: &Value) -> Self {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let api_version = names::GENERATORS_API_VERSION;
        let place = serde_json::json!({"name": name, "namespace": metadata.namespace});
        Self {
            owner: (part(&metadata.namespace), part(&metadata.name), part(&metadata.uid)),
            owner_kind,
            key,
            resource: serde_json::json!({"apiVersion": api_version, "kind": kind, "metadata": place, "spec": spec}),
            // The API server adds five letters to at most 253.
            prefix: format!("gen-{}-{name}", kind.to_lowercase()).chars().take(240).chain(['-']).collect(),
        }
    }
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;
