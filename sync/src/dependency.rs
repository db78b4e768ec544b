//! Objects that somebody depends on, and the versions that they were observed at.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyferry_crds::{ExternalSecret, Manifest};

/// Namespace and name; the namespace is empty where the kind has none.
pub type Name = (String, String);

/// The name of an object.
pub fn name_of(metadata: &ObjectMeta) -> Name {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

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

impl Dependency {
    /// The object of this kind and name.
    pub fn new(kind: Kind, (namespace, name): Name) -> Self {
        Self { kind, namespace, name }
    }

    /// Its namespace and name.
    pub fn full_name(&self) -> Name {
        (self.namespace.clone(), self.name.clone())
    }

    /// The target of an ExternalSecret.
    pub fn target_of(es: &ExternalSecret) -> Self {
        let kind = es.target_manifest().map_or(Kind::Secret, Kind::of);
        Self::new(kind, (es.metadata.namespace.clone().unwrap_or_default(), es.target_name().to_owned()))
    }
}

/// The kinds of objects that are depended on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// Any other, which targets may be of.
    Other(Box<Manifest>),
}

impl Kind {
    /// The kind that a manifest names.
    pub fn of(manifest: &Manifest) -> Self {
        match (manifest.api_version.as_str(), manifest.kind.as_str()) {
            ("v1", "Secret") => Self::Secret,
            ("v1", "ConfigMap") => Self::ConfigMap,
            _ => Self::Other(Box::new(manifest.clone())),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Other(manifest) => &manifest.kind,
        })
    }
}

/// A state of an object. Where one is asked for, `None` is an object that was absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The UID: another object of the same name has another. Whoever keeps clones shares it.
    pub uid: Arc<str>,
    /// What counts its changes.
    pub revision: Arc<str>,
}

impl Version {
    /// Whether this is an earlier state of the same object than `other`.
    pub fn is_older(&self, other: &Self) -> bool {
        self.uid == other.uid && is_earlier(&self.revision, &other.revision)
    }
}

/// The state that an object of this kind is in. Its changes are counted by its generation where its kind has one: that does
/// not count statuses, which controllers may write all the time. Otherwise by its resourceVersion; a Secret or ConfigMap
/// that was made with a generation keeps it for ever.
pub fn version(kind: &Kind, metadata: &ObjectMeta) -> Option<Version> {
    let generation = match kind {
        Kind::Secret | Kind::ConfigMap => None,
        Kind::Other(_) => metadata.generation.filter(|generation| *generation > 0),
    };
    let revision = generation.map(|generation| generation.to_string()).or_else(|| metadata.resource_version.clone())?;
    Some(Version { uid: metadata.uid.as_deref()?.into(), revision: revision.into() })
}

/// Whether `a` is an earlier revision of an object than `b`. They are numbers that grow; where they are something else,
/// neither is taken to be earlier.
pub fn is_earlier(a: &str, b: &str) -> bool {
    let number = |revision: &str| revision.parse::<u64>().ok();
    number(a).zip(number(b)).is_some_and(|(a, b)| a < b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(uid: &str, generation: Option<i64>, resource_version: &str) -> ObjectMeta {
        let (uid, resource_version) = (Some(uid.to_owned()), Some(resource_version.to_owned()));
        ObjectMeta { uid, generation, resource_version, ..ObjectMeta::default() }
    }

    #[test]
    fn a_status_moves_no_version_where_the_kind_counts_its_changes() {
        let widget = Kind::of(&Manifest { api_version: "example.org/v1".into(), kind: "Widget".into() });
        let version = |generation, resource_version| version(&widget, &metadata("u", generation, resource_version));
        assert_eq!(version(Some(2), "7"), version(Some(2), "8"));
        assert_ne!(version(None, "7"), version(None, "8"));
        assert_eq!(version(Some(0), "7"), version(None, "7"), "a kind that does not count has zero");
        assert_eq!(super::version(&widget, &ObjectMeta::default()), None);
    }

    #[test]
    fn a_generation_that_somebody_gave_a_secret_counts_nothing() {
        for kind in [Kind::Secret, Kind::ConfigMap] {
            let version = |resource_version| version(&kind, &metadata("u", Some(1), resource_version));
            assert_ne!(version("7"), version("8"));
        }
    }

    #[test]
    fn only_states_of_one_object_have_an_order() {
        let at = |uid: &str, revision: &str| Version { uid: uid.into(), revision: revision.into() };
        assert!(at("u", "9").is_older(&at("u", "10")));
        assert!(!at("u", "10").is_older(&at("u", "10")));
        assert!(!at("u", "9").is_older(&at("v", "10")));
        assert!(!at("u", "a").is_older(&at("u", "b")), "not numbers");
    }

    #[test]
    fn a_kind_has_one_name_however_a_manifest_spells_it_out() {
        let kind =
            |api_version: &str, kind: &str| Kind::of(&Manifest { api_version: api_version.into(), kind: kind.into() });
        assert_eq!((kind("v1", "Secret"), kind("v1", "ConfigMap")), (Kind::Secret, Kind::ConfigMap));
        assert_eq!(kind("example.org/v1", "ConfigMap").to_string(), "ConfigMap");
        assert_ne!(kind("example.org/v1", "ConfigMap"), Kind::ConfigMap);
    }
}
