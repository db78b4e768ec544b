//! What keyferry serves, as its CRDs say.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use keyferry_crds::names;

/// A kind that keyferry has a CRD of.
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
    /// The schema of the version of storage.
    pub schema: Option<JSONSchemaProps>,
}

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let crds = keyferry_crds::crds().into_iter().map(|crd| crd.spec);
    let kinds = crds.map(|spec| Kind {
        schema: spec
            .versions
            .iter()
            .find(|version| version.storage)
            .and_then(|version| version.schema.as_ref()?.open_api_v3_schema.clone()),
        served: spec.versions.iter().filter(|version| version.served).map(|version| version.name.clone()).collect(),
        versions: spec.versions.into_iter().map(|version| version.name).collect(),
        group: spec.group,
        kind: spec.names.kind,
    });
    kinds.collect()
});

/// The kind, where keyferry has a CRD of it.
pub fn find(group: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|known| known.group == group && known.kind == kind)
}

/// Whether keyferry looks after a kind: the CRDs of others only keep what is there.
pub fn is_served(group: &str, kind: &str) -> bool {
    keyferry_crds::is_built(group, kind)
}

/// Whether keyferry can generate values of this kind.
pub fn is_generated(kind: &str) -> bool {
    is_served(names::GENERATORS_GROUP, kind)
}
