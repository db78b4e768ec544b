//! Objects that somebody depends on, and how they stood.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Namespace and name.
pub type Name = (String, String);

/// An object that somebody depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dependency {
    /// What it is.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The kinds of objects that are depended on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

/// The UID of an object, and its generation where its kind has one: that does not count statuses, which controllers may
/// write all the time. Otherwise the resourceVersion.
pub fn version(metadata: &ObjectMeta) -> Version {
    let generation = metadata.generation.filter(|generation| *generation > 0).map(|generation| generation.to_string());
    Some((metadata.uid.clone()?, generation.or_else(|| metadata.resource_version.clone())?))
}

/// An object as it stood: UID and resourceVersion; `None` where it was absent.
pub type Version = Option<(String, String)>;

/// The objects that are depended on, and how the watches last saw them. Of all other objects nothing is kept.
#[derive(Default)]
pub struct Tracker(Mutex<HashMap<Dependency, Option<Version>>>);

impl Tracker {
    /// Begins to follow an object. Said before it is read, so that a change in between is not missed.
    pub fn follow(&self, object: &Dependency) {
        self.lock().entry(object.clone()).or_default();
    }

    /// How a watch last saw an object; `None` where it has not, since the object is followed.
    pub fn last(&self, object: &Dependency) -> Option<Version> {
        self.lock().get(object).cloned().flatten()
    }

    /// Stops following what `is_needed` does not name.
    pub fn keep(&self, is_needed: impl Fn(&Dependency) -> bool) {
        self.lock().retain(|object, _| is_needed(object));
    }

    /// Takes what a watch saw. Answers whether anybody follows the object and this is news.
    pub fn saw(&self, object: &Dependency, version: Version) -> bool {
        match self.lock().get_mut(object) {
            None => false,
            Some(last) if *last == Some(version.clone()) => false,
            Some(last) => {
                *last = Some(version);
                true
            }
        }
    }

    /// Takes what a reader found, where no watch has seen the object since it is followed: one that does not change is
    /// not told of.
    pub fn found(&self, object: &Dependency, version: &Version) {
        if let Some(last @ None) = self.lock().get_mut(object) {
            *last = Some(version.clone());
        }
    }

    /// The objects of a kind that are depended on and not among `listed`.
    pub fn not_in(&self, kind: Kind, listed: &HashSet<(String, String)>) -> Vec<Dependency> {
        let followed = self.lock();
        let gone = followed
            .keys()
            .filter(|object| object.kind == kind && !listed.contains(&(object.namespace.clone(), object.name.clone())));
        gone.cloned().collect()
    }

    /// Whether no watch has seen any of these objects at another version.
    pub fn are_at(&self, objects: &HashMap<Dependency, Version>) -> bool {
        let seen = self.lock();
        objects.iter().all(|(object, version)| match seen.get(object) {
            Some(Some(last)) => last == version,
            Some(None) | None => true,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Dependency, Option<Version>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
