//! What an ExternalSecret asks for: its entries as requests, and the names of all that it refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyferry_crds::{
    DataFromEntry, ExternalSecret, Find, GeneratorRef, MetadataPolicy, RemoteRef, Rewrite, SecretStoreRef, SourceRef,
    StoreKind, Template,
};
use keyferry_go::regexp;
use keyferry_provider_core::{Dialect, Key, PropertyLookup, Query};

use crate::dependency::{Dependency, Kind};
use crate::store::{KnownStores, Store, StoreId};

/// One entry of the spec, with what to fetch for it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which entry.
    pub entry: Entry,
    /// Where it comes from.
    pub origin: Origin,
    /// How to read it; of a search only the strategies, of a generator nothing.
    pub remote: RemoteRef,
    /// What to do with the names of an extract, a search or what was generated.
    pub rewrite: Vec<Rewrite>,
}

/// Where the values of an entry come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A store that has them.
    Store(Arc<Store>, Wanted),
    /// A generator that makes them.
    Generator(GeneratorRef),
}

/// What an entry asks a store for.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// One secret.
    Key(Key),
    /// All that answer a query.
    Query(Query),
}

/// Names an entry of the spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `data[index]`, which goes into this key.
    Data(usize, String),
    /// `dataFrom[index].extract`.
    Extract(usize),
    /// `dataFrom[index].find`.
    Find(usize),
    /// `dataFrom[index].sourceRef.generatorRef`.
    Generator(usize),
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data(index, key) => write!(f, "spec.data[{index}] (secretKey {key:?})"),
            Self::Extract(index) => write!(f, "spec.dataFrom[{index}].extract"),
            Self::Find(index) => write!(f, "spec.dataFrom[{index}].find"),
            Self::Generator(index) => write!(f, "spec.dataFrom[{index}].sourceRef.generatorRef"),
        }
    }
}

/// The stores that the spec refers to.
pub fn stores_of(es: &ExternalSecret) -> BTreeSet<StoreId> {
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let refs = source_refs(es).filter_map(|source| source.store_ref.as_ref()).chain(&es.spec.secret_store_ref);
    refs.filter(|reference| !reference.name.is_empty()).map(|reference| store_id(reference, namespace)).collect()
}

/// The store that an ExternalSecret asks above all: with whose other ExternalSecrets it shares calls.
pub fn store_of(es: &ExternalSecret) -> Option<StoreId> {
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let named = es.spec.secret_store_ref.as_ref().filter(|reference| !reference.name.is_empty());
    named.map(|reference| store_id(reference, namespace)).or_else(|| stores_of(es).pop_first())
}

/// The objects that the templates of an ExternalSecret are taken from.
pub fn sources_of(es: &ExternalSecret) -> BTreeSet<Dependency> {
    template_sources(es.spec.target.template.as_ref(), es.metadata.namespace.as_deref().unwrap_or_default())
}

/// The objects that a template in `namespace` is taken from.
pub fn template_sources(template: Option<&Template>, namespace: &str) -> BTreeSet<Dependency> {
    template_keys(template, namespace).into_keys().collect()
}

/// Which keys of which objects a template in `namespace` is taken from.
pub fn template_keys<'a>(template: Option<&'a Template>, namespace: &str) -> BTreeMap<Dependency, BTreeSet<&'a str>> {
    let mut all: BTreeMap<Dependency, BTreeSet<&str>> = BTreeMap::new();
    for from in template.into_iter().flat_map(|template| &template.template_from) {
        for (kind, reference) in [(Kind::ConfigMap, &from.config_map), (Kind::Secret, &from.secret)] {
            let Some(reference) = reference else { continue };
            let object = Dependency { kind, namespace: namespace.to_owned(), name: reference.name.clone() };
            all.entry(object).or_default().extend(reference.items.iter().map(|item| item.key.as_str()));
        }
    }
    all
}

fn source_refs(es: &ExternalSecret) -> impl Iterator<Item = &SourceRef> {
    let data = es.spec.data.iter().filter_map(|entry| entry.source_ref.as_ref());
    data.chain(es.spec.data_from.iter().filter_map(|entry| entry.source_ref.as_ref()))
}

fn store_id(reference: &SecretStoreRef, namespace: &str) -> StoreId {
    let namespace = match reference.kind {
        StoreKind::ClusterSecretStore => None,
        StoreKind::SecretStore | StoreKind::Unknown(_) => Some(namespace.to_owned()),
    };
    StoreId { namespace, name: reference.name.clone() }
}

/// The generator that an entry names.
pub fn generator(entry: &DataFromEntry) -> Option<&GeneratorRef> {
    entry.source_ref.as_ref().and_then(|source| source.generator_ref.as_ref())
}

/// Whether any of its values is generated.
pub fn generates(es: &ExternalSecret) -> bool {
    es.spec.data_from.iter().any(|entry| generator(entry).is_some())
}

/// For every entry that needs a store, where it stands and the reference that counts: its own, or that of the spec.
pub fn store_refs(es: &ExternalSecret) -> impl Iterator<Item = (String, Option<&SecretStoreRef>)> {
    let data = es.spec.data.iter().enumerate();
    let data = data.map(|(n, entry)| (format!("spec.data[{n}]"), effective(es, entry.source_ref.as_ref())));
    let data_from = es.spec.data_from.iter().enumerate();
    let data_from = data_from.filter(|(_, entry)| generator(entry).is_none());
    data.chain(data_from.map(|(n, entry)| (format!("spec.dataFrom[{n}]"), effective(es, entry.source_ref.as_ref()))))
}

fn effective<'a>(es: &'a ExternalSecret, source: Option<&'a SourceRef>) -> Option<&'a SecretStoreRef> {
    source.and_then(|source| source.store_ref.as_ref()).or(es.spec.secret_store_ref.as_ref())
}

/// The stores that entries of the spec are fetched from.
pub fn used_stores(es: &ExternalSecret) -> BTreeSet<StoreId> {
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    store_refs(es).filter_map(|(_, reference)| Some(store_id(reference?, namespace))).collect()
}

/// What to fetch for a spec that [`crate::spec`] finds nothing wrong with, of stores that are there.
pub fn requests(es: &ExternalSecret, stores: &KnownStores) -> Vec<Request> {
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let request =
        |entry: Entry, source: Option<&SourceRef>, wanted: Wanted, remote: RemoteRef, rewrite: Vec<Rewrite>| {
            let (store, _) = stores.get(&store_id(effective(es, source)?, namespace))?;
            Some(Request { entry, origin: Origin::Store(store.clone(), wanted), remote, rewrite })
        };
    let key = |remote: &RemoteRef| {
        Wanted::Key(Key {
            name: remote.key.clone(),
            version: remote.version.clone().filter(|version| !version.is_empty()),
            metadata: remote.metadata_policy == MetadataPolicy::Fetch,
        })
    };
    let data_from = es.spec.data_from.iter().enumerate().filter_map(|(n, entry)| {
        let source = entry.source_ref.as_ref();
        match (&entry.extract, &entry.find) {
            (Some(remote), _) => request(Entry::Extract(n), source, key(remote), remote.clone(), entry.rewrite.clone()),
            (None, Some(find)) => {
                request(Entry::Find(n), source, Wanted::Query(query(find)), strategies(find), entry.rewrite.clone())
            }
            (None, None) => generator(entry).map(|generator| Request {
                entry: Entry::Generator(n),
                origin: Origin::Generator(generator.clone()),
                remote: RemoteRef::default(),
                rewrite: entry.rewrite.clone(),
            }),
        }
    });
    let data = es.spec.data.iter().enumerate().filter_map(|(n, entry)| {
        let at = Entry::Data(n, entry.secret_key.clone());
        request(at, entry.source_ref.as_ref(), key(&entry.remote_ref), entry.remote_ref.clone(), Vec::new())
    });
    // Whoever waits for its store keeps them: not a place more than there are.
    let mut all = Vec::with_capacity(es.spec.data_from.len() + es.spec.data.len());
    all.extend(data_from.chain(data));
    all
}

/// The key that a store is asked for: where it looks up properties itself, with the property that is wanted.
pub fn asked(key: &Key, property: &str, dialect: &Dialect) -> Key {
    if dialect.property == PropertyLookup::OfTheStore { key.with_property(property) } else { key.clone() }
}

/// The pattern compiles: the spec was found good.
fn query(find: &Find) -> Query {
    Query {
        name: pattern(find).and_then(|pattern| regexp::compile(pattern).ok()),
        path: find.path.clone().filter(|path| !path.is_empty()),
        tags: find.tags.clone(),
    }
}

/// The regular expression that names are searched by.
pub fn pattern(find: &Find) -> Option<&str> {
    find.name.as_ref().map(|name| name.regexp.as_deref().unwrap_or_default())
}

fn strategies(find: &Find) -> RemoteRef {
    RemoteRef {
        conversion_strategy: find.conversion_strategy.clone(),
        decoding_strategy: find.decoding_strategy.clone(),
        null_byte_policy: find.null_byte_policy.clone(),
        ..RemoteRef::default()
    }
}
