//! What keyferry serves, as its CRDs say.

use std::sync::LazyLock;

use keyferry_crds::names;

/// A kind that keyferry serves.
#[derive(Debug)]
pub struct Kind {
    /// Its group.
    pub group: String,
    /// Its name.
    pub kind: String,
    /// The versions that the CRD has, served or not.
    pub versions: Vec<String>,
    /// The versions that are served.
    pub served: Vec<String>,
}

static SERVED: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let crds = keyferry_crds::crds().into_iter().map(|crd| crd.spec);
    let kinds = crds.map(|spec| Kind {
        served: spec.versions.iter().filter(|version| version.served).map(|version| version.name.clone()).collect(),
        versions: spec.versions.into_iter().map(|version| version.name).collect(),
        group: spec.group,
        kind: spec.names.kind,
    });
    kinds.collect()
});

/// The kind, where keyferry serves it.
pub fn find(group: &str, kind: &str) -> Option<&'static Kind> {
    SERVED.iter().find(|served| served.group == group && served.kind == kind)
}

/// Whether keyferry serves a kind.
pub fn is_served(group: &str, kind: &str) -> bool {
    find(group, kind).is_some()
}

/// Whether keyferry can generate values of this kind.
pub fn is_generated(kind: &str) -> bool {
    is_served(names::GENERATORS_GROUP, kind)
}
