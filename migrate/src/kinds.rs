//! What keyferry serves, as its CRDs say.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use keyferry_crds::names;

/// The kinds that somebody looks after. There may be CRDs of others, so that manifests of them can be applied.
const BUILT: [(&str, &str); 7] = [
    (names::GROUP, "ExternalSecret"),
    (names::GROUP, "SecretStore"),
    (names::GROUP, "ClusterSecretStore"),
    (names::GENERATORS_GROUP, "ClusterGenerator"),
    (names::GENERATORS_GROUP, "Fake"),
    (names::GENERATORS_GROUP, "Password"),
    (names::GENERATORS_GROUP, "UUID"),
];

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

static SERVED: LazyLock<Vec<Kind>> = LazyLock::new(|| {
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
    SERVED.iter().find(|served| served.group == group && served.kind == kind)
}

/// Whether keyferry serves a kind.
pub fn is_served(group: &str, kind: &str) -> bool {
    BUILT.contains(&(group, kind))
}

/// Whether keyferry can generate values of this kind.
pub fn is_generated(kind: &str) -> bool {
    is_served(names::GENERATORS_GROUP, kind)
}
