//! What a PushSecret refers to: Secrets, templates and stores. Pure.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use keyferry_crds::{PushSecret, PushSecretStatus, PushStoreRef, StoreKind};
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Dependency, Kind};
use keyferry_sync::request::template_sources;
use keyferry_sync::selection::selects;
use keyferry_sync::store::{Store, StoreId};

/// The namespace of a PushSecret.
pub fn namespace(ps: &PushSecret) -> &str {
    ps.metadata.namespace.as_deref().unwrap_or_default()
}

/// The one Secret that is its source, where it names one.
pub fn named_source(ps: &PushSecret) -> Option<&str> {
    ps.spec.selector.secret.as_ref()?.name.as_deref().filter(|name| !name.is_empty())
}

/// The labels by which its sources are selected, where they are.
pub fn source_selector(ps: &PushSecret) -> Option<&LabelSelector> {
    let source = ps.spec.selector.secret.as_ref().filter(|_| named_source(ps).is_none());
    source.and_then(|source| source.selector.as_ref())
}

/// Whether its values are generated.
pub fn is_generated(ps: &PushSecret) -> bool {
    ps.spec.selector.secret.is_none() && ps.spec.selector.generator_ref.is_some()
}

/// A Secret of its namespace.
pub fn secret(ps: &PushSecret, name: &str) -> Dependency {
    Dependency::new(Kind::Secret, (namespace(ps).to_owned(), name.to_owned()))
}

/// The objects that it names: its source, and what its template is taken from.
pub fn sources(ps: &PushSecret) -> BTreeSet<Dependency> {
    let mut sources = template_sources(ps.spec.template.as_ref(), namespace(ps));
    sources.extend(named_source(ps).map(|name| secret(ps, name)));
    sources
}

/// The store of this kind and name, as a PushSecret in `namespace` sees it.
fn store(kind: &StoreKind, name: &str, namespace: &str) -> StoreId {
    let namespace = (*kind != StoreKind::ClusterSecretStore).then(|| namespace.to_owned());
    StoreId { namespace, name: name.to_owned() }
}

/// The stores that it names.
pub fn named_stores(ps: &PushSecret) -> BTreeSet<StoreId> {
    // Labels go before a name, as External Secrets Operator has it.
    let by_name = ps.spec.secret_store_refs.iter().filter(|reference| reference.label_selector.is_none());
    let named = by_name.filter_map(|reference| Some((&reference.kind, reference.name()?)));
    named.map(|(kind, name)| store(kind, name, namespace(ps))).collect()
}

/// The selectors of stores and of Secrets that are compared with whatever changes, and where each stands.
pub fn selectors(ps: &PushSecret) -> impl Iterator<Item = (String, &LabelSelector)> {
    let stores = ps.spec.secret_store_refs.iter().enumerate();
    let stores = stores.filter_map(|(n, reference)| {
        Some((format!("spec.secretStoreRefs[{n}].labelSelector"), reference.label_selector.as_ref()?))
    });
    let source = source_selector(ps).map(|selector| ("spec.selector.secret.selector".to_owned(), selector));
    stores.chain(source)
}

/// Whether it selects any store by labels.
pub fn selects_stores(ps: &PushSecret) -> bool {
    ps.spec.secret_store_refs.iter().any(|reference| reference.label_selector.is_some())
}

/// Whether a reference in `namespace` that a name goes before labels in means this store: one of `dataTo`.
pub fn means(reference: &PushStoreRef, candidate: &Store, namespace: &str) -> bool {
    match reference.name() {
        Some(name) => store(&reference.kind, name, namespace) == candidate.id,
        None => selects_it(reference, candidate, namespace),
    }
}

/// Whether the labels of a reference in `namespace` select this store.
fn selects_it(reference: &PushStoreRef, candidate: &Store, namespace: &str) -> bool {
    let is_of_kind = match reference.kind {
        StoreKind::ClusterSecretStore => candidate.id.namespace.is_none(),
        StoreKind::SecretStore | StoreKind::Unknown(_) => candidate.id.namespace.as_deref() == Some(namespace),
    };
    let none = StringMap::new();
    let labels = candidate.metadata.labels.as_ref().unwrap_or(&none);
    is_of_kind && reference.label_selector.as_ref().is_some_and(|selector| selects(selector, labels))
}

/// Whether it pushes into this store.
pub fn wants(ps: &PushSecret, store: &Store) -> bool {
    let wants = |reference: &PushStoreRef| match reference.label_selector {
        Some(_) => selects_it(reference, store, namespace(ps)),
        None => means(reference, store, namespace(ps)),
    };
    ps.spec.secret_store_refs.iter().any(wants)
}

/// What the status calls a store.
pub fn store_key(id: &StoreId) -> String {
    format!("{}/{}", id.kind(), id.name)
}

/// The store that the status of a PushSecret in `namespace` means by this.
pub fn store_of(key: &str, namespace: &str) -> Option<StoreId> {
    match key.split_once('/')? {
        ("ClusterSecretStore", name) => Some(StoreId { namespace: None, name: name.to_owned() }),
        ("SecretStore", name) => Some(StoreId { namespace: Some(namespace.to_owned()), name: name.to_owned() }),
        _ => None,
    }
}

/// The stores that something was pushed into.
pub fn recorded_stores(ps: &PushSecret) -> BTreeSet<StoreId> {
    let recorded = ps.status.iter().flat_map(|status| status.synced_push_secrets.keys());
    recorded.filter_map(|key| store_of(key, namespace(ps))).collect()
}

/// The places in a store that were there before us.
pub fn found_in<'a>(status: Option<&'a PushSecretStatus>, store: &str) -> &'a [String] {
    status.and_then(|status| status.found_push_secrets.get(store)).map(Vec::as_slice).unwrap_or_default()
}
