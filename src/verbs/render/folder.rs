//! The ports of the pipeline over a folder of manifests: what it refers to lies beside it, or is not there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyferry_crds::{ClusterSecretStore, ExternalSecret, ExternalSecretStatus, SecretStore, names};
use keyferry_provider_core::{Answer, Dialect, Error, ErrorKind, Fetched, Key, Query, SecretBytes, Token};
use keyferry_sync::audit;
use keyferry_sync::data::{Data, SecretJson, StringMap};
use keyferry_sync::dependency::{Dependency, Kind, Version};
use keyferry_sync::ports::{Accounts, Entered, Journal, Objects, Planning, Problem, Stores, Turn};
use keyferry_sync::record::Note;
use keyferry_sync::store::{KnownStores, Readiness, Store};
use serde_json::Value;

use super::manifests::{Document, Place, is_known_version};

/// All that a folder holds.
#[derive(Default)]
pub struct Folder {
    /// The ExternalSecrets, in the order in which they stand there.
    pub external_secrets: Vec<(Place, ExternalSecret)>,
    /// The stores, which count as ready.
    pub stores: KnownStores,
    /// The labels of namespaces.
    pub namespaces: HashMap<String, StringMap>,
    /// How many objects of which kinds have nothing to do with this.
    pub others: BTreeMap<String, usize>,
    sources: HashMap<Dependency, Data>,
    generators: HashMap<(Option<String>, String, String), Value>,
    accounts: HashMap<(String, String), StringMap>,
}

impl Folder {
    /// Sorts the objects; what names no namespace is in `namespace`. Errors are for a person.
    pub fn new(documents: Vec<Document>, namespace: &str) -> Result<Self, Vec<String>> {
        let (mut folder, mut problems) = (Self::default(), Vec::new());
        for document in documents {
            problems.extend(folder.take(&document, namespace).err());
        }
        if problems.is_empty() { Ok(folder) } else { Err(problems) }
    }

    fn take(&mut self, document: &Document, default: &str) -> Result<(), String> {
        let (api, kind) = (document.text("/apiVersion"), document.text("/kind"));
        let namespace = document.namespace(default);
        let name = document.text("/metadata/name").to_owned();
        if name.is_empty() {
            return Err(format!("{}: this {kind} has no metadata.name", document.place));
        }
        match (api, kind) {
            (_, "ExternalSecret") if is_known_version(api) => {
                let mut es: ExternalSecret = document.decode()?;
                es.metadata.namespace = Some(namespace);
                self.external_secrets.push((document.place.clone(), es));
            }
            (_, "SecretStore") if is_known_version(api) => {
                let mut store: SecretStore = document.decode()?;
                store.metadata.namespace = Some(namespace);
                self.put_store(Store::namespaced(store));
            }
            (_, "ClusterSecretStore") if is_known_version(api) => {
                let store: ClusterSecretStore = document.decode()?;
                self.put_store(Store::cluster(store));
            }
            ("v1", "Secret") => {
                let data = secret_data(document)?;
                self.sources.insert(Dependency { kind: Kind::Secret, namespace, name }, data);
            }
            ("v1", "ConfigMap") => {
                let data = texts(document.object.get(), "/data");
                self.sources.insert(Dependency { kind: Kind::ConfigMap, namespace, name }, data);
            }
            ("v1", "Namespace") => _ = self.namespaces.insert(name, strings(document, "/metadata/labels")),
            ("v1", "ServiceAccount") => {
                self.accounts.insert((namespace, name), strings(document, "/metadata/annotations"));
            }
            (api, kind) if api.split('/').next() == Some(names::GENERATORS_GROUP) => {
                let namespace = Some(namespace).filter(|_| kind != "ClusterGenerator");
                let spec = document.object.get()["spec"].clone();
                self.generators.insert((namespace, kind.to_owned(), name), spec);
            }
            (_, kind) => *self.others.entry(kind.to_owned()).or_default() += 1,
        }
        Ok(())
    }

    fn put_store(&mut self, store: Store) {
        self.stores.insert(store.id.clone(), (Arc::new(store), Readiness::Ready));
    }

    /// A Secret of the folder, as one that is there already.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Data> {
        let named = Dependency { kind: Kind::Secret, namespace: namespace.to_owned(), name: name.to_owned() };
        self.sources.get(&named)
    }
}

fn texts(object: &Value, pointer: &str) -> Data {
    let map = object.pointer(pointer).and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), SecretBytes::from(value.as_str()?)));
    map.into_iter().flatten().filter_map(text).collect()
}

fn strings(document: &Document, pointer: &str) -> StringMap {
    let map = document.object.get().pointer(pointer).and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    map.into_iter().flatten().filter_map(text).collect()
}

fn secret_data(document: &Document) -> Result<Data, String> {
    let mut data = Data::new();
    for (key, text) in texts(document.object.get(), "/data") {
        let bytes = STANDARD.decode(text.expose());
        let bytes = bytes.map_err(|_| format!("{}: data[{key:?}] of this Secret is not base64", document.place))?;
        data.insert(key, SecretBytes::new(bytes));
    }
    data.extend(texts(document.object.get(), "/stringData"));
    Ok(data)
}

fn refused(message: &str) -> Problem {
    Problem { message: message.to_owned(), is_temporary: false, is_not_found: false }
}

#[async_trait]
impl Objects for Folder {
    async fn turn(&self) -> Turn {
        Box::new(())
    }

    async fn source(&self, source: &Dependency) -> Result<Option<(Option<Version>, Data)>, Problem> {
        Ok(self.sources.get(source).map(|data| (None, data.clone())))
    }

    async fn generator(
        &self,
        namespace: Option<&str>,
        _version: &str,
        kind: &str,
        name: &str,
    ) -> Result<Option<Value>, Problem> {
        let named = (namespace.map(str::to_owned), kind.to_owned(), name.to_owned());
        Ok(self.generators.get(&named).cloned())
    }

    async fn changed_at(&self, _: &ExternalSecret) -> Result<Option<Timestamp>, Problem> {
        Ok(None)
    }
}

#[async_trait]
impl Accounts for Folder {
    async fn token(&self, _: &str, _: &str, _: Vec<String>) -> Result<Option<Token>, Problem> {
        Err(refused("there is no API server here to ask: use --values, or a login from a Secret in the folder"))
    }

    async fn annotations(&self, namespace: &str, name: &str) -> Result<Option<StringMap>, Problem> {
        Ok(self.accounts.get(&(namespace.to_owned(), name.to_owned())).cloned())
    }

    async fn own_token(&self) -> Option<SecretBytes> {
        None
    }
}

/// Nothing is told but what is printed.
pub struct Nowhere;

#[async_trait]
impl Journal for Nowhere {
    async fn status(&self, _: &ExternalSecret, _: &ExternalSecretStatus) -> Result<Option<String>, Problem> {
        Ok(None)
    }

    async fn release(&self, _: &ExternalSecret, _: &[String]) -> Result<(), Problem> {
        Ok(())
    }

    fn note(&self, _: &ExternalSecret, _: Note) {}

    fn audit(&self, _: audit::Record<'_>) {}
}

/// Stores whose values are given, so that none is asked; generators are those of `inner`.
pub struct Given {
    /// The values by key.
    pub values: Arc<BTreeMap<String, SecretJson>>,
    /// Who makes what is generated.
    pub inner: Arc<dyn Stores>,
}

#[async_trait]
impl Stores for Given {
    fn planning(&self) -> Planning {
        Box::new(())
    }

    async fn enter(&self, _: &Store, _: &str) -> Result<Arc<dyn Entered>, Error> {
        Ok(Arc::new(GivenStore(self.values.clone())))
    }

    fn generators(&self) -> &[&'static str] {
        self.inner.generators()
    }

    fn generator_field(&self, kind: &str) -> Option<&'static str> {
        self.inner.generator_field(kind)
    }

    async fn make(&self, namespace: &str, kind: &str, name: &str, spec: &Value) -> Result<Data, Error> {
        self.inner.make(namespace, kind, name, spec).await
    }
}

struct GivenStore(Arc<BTreeMap<String, SecretJson>>);

impl GivenStore {
    fn read(&self, key: &Key) -> Answer {
        let Some(value) = self.0.get(&key.name) else {
            return Err(Error::new(ErrorKind::NotFound, "--values has no such key"));
        };
        let value = match value.get() {
            Value::String(text) => SecretBytes::from(text.as_str()),
            other => SecretBytes::new(other.to_string().into_bytes()),
        };
        Ok(Fetched::from(value))
    }
}

#[async_trait]
impl Entered for GivenStore {
    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn logs_in_with(&self, _: &Dependency) -> bool {
        false
    }

    async fn fetch(&self, _: &str, keys: Vec<Key>, _: Planning) -> HashMap<Key, Answer> {
        keys.into_iter().map(|key| (key.clone(), self.read(&key))).collect()
    }

    async fn find(&self, query: &Query) -> Result<Vec<Key>, Error> {
        if !query.tags.is_empty() {
            return Err(Error::new(ErrorKind::Unsupported, "values that are given with --values have no tags"));
        }
        let path = query.path.as_deref().unwrap_or_default();
        let found = self.0.keys().filter(|name| name.starts_with(path) && query.matches(name));
        Ok(found.map(|name| Key { name: name.clone(), version: None, metadata: false }).collect())
    }
}
