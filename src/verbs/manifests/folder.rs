//! The ports of the pipeline over manifests: what one refers to lies beside it, or is not there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keyferry_cluster::client::{LiveObject, LiveSecret};
use keyferry_crds::{ClusterSecretStore, ExternalSecret, ExternalSecretStatus, Manifest, SecretStore, names};
use keyferry_provider_core::{SecretBytes, Token};
use keyferry_sync::data::{Data, SecretJson, StringMap};
use keyferry_sync::dependency::{Dependency, Kind, Version};
use keyferry_sync::ports::{Accounts, Journal, Objects, Problem, Turn, Unrecorded};
use keyferry_sync::record::Note;
use keyferry_sync::request::used_stores;
use keyferry_sync::store::{KnownStores, Readiness, Store, StoreId};
use serde_json::{Value, json};

use super::lines::Lines;
use super::read::{Document, Place};

/// An ExternalSecret, and where it stands.
pub struct Asked {
    /// Where it begins.
    pub place: Place,
    /// Where its parts stand.
    pub lines: Lines,
    /// What it says.
    pub es: ExternalSecret,
}

/// All that the manifests hold.
#[derive(Default)]
pub struct Folder {
    /// The ExternalSecrets, in the order in which they stand there.
    pub external_secrets: Vec<Asked>,
    /// The stores, which count as ready.
    pub stores: KnownStores,
    /// The labels of namespaces.
    pub namespaces: HashMap<String, StringMap>,
    /// How many objects of which kinds have nothing to do with this.
    pub others: BTreeMap<String, usize>,
    secrets: HashMap<(String, String), LiveSecret>,
    config_maps: HashMap<(String, String), Data>,
    generators: HashMap<(Option<String>, String, String), Value>,
    accounts: HashMap<(String, String), StringMap>,
    /// All that is no Secret, by version, kind, namespace and name.
    objects: HashMap<[String; 4], SecretJson>,
}

impl Folder {
    /// Sorts the objects; what names no namespace is in `namespace`. Besides the problems there are, for a person.
    pub fn new(documents: &[Document], namespace: &str) -> (Self, Vec<String>) {
        let mut folder = Self::default();
        let problems = documents.iter().filter_map(|document| folder.take(document, namespace).err()).collect();
        (folder, problems)
    }

    fn take(&mut self, document: &Document, default: &str) -> Result<(), String> {
        let (api, kind) = (document.text("/apiVersion"), document.text("/kind"));
        let namespace = document.namespace(default);
        let name = document.text("/metadata/name").to_owned();
        let group = api.split_once('/').map_or("", |(group, _)| group);
        if name.is_empty() {
            return Err(document.problem(&format!("this {kind} has no metadata.name")));
        }
        match (group, kind) {
            (names::GROUP, "ExternalSecret" | "SecretStore" | "ClusterSecretStore") => {
                return self.take_ours(document, kind, namespace);
            }
            ("", "Secret") => {
                let secret = secret(document, &namespace)?;
                self.secrets.insert((namespace, name), secret);
                return Ok(());
            }
            ("", "ConfigMap") => {
                let mut data = texts(document.object.get(), "/data");
                for (key, text) in texts(document.object.get(), "/binaryData") {
                    let bytes = STANDARD.decode(text.expose()).map_err(|_| {
                        document.problem(&format!("binaryData[{key:?}] of this ConfigMap is not base64"))
                    })?;
                    data.insert(key, SecretBytes::new(bytes));
                }
                self.config_maps.insert((namespace.clone(), name.clone()), data);
            }
            ("", "Namespace") => _ = self.namespaces.insert(name.clone(), strings(document, "/metadata/labels")),
            ("", "ServiceAccount") => {
                let annotations = strings(document, "/metadata/annotations");
                self.accounts.insert((namespace.clone(), name.clone()), annotations);
            }
            (names::GENERATORS_GROUP, kind) => {
                let namespace = Some(namespace.clone()).filter(|_| kind != "ClusterGenerator");
                let spec = document.object.get()["spec"].clone();
                self.generators.insert((namespace, kind.to_owned(), name.clone()), spec);
            }
            (_, kind) => *self.others.entry(kind.to_owned()).or_default() += 1,
        }
        self.objects.insert([api.to_owned(), kind.to_owned(), namespace, name], document.object.clone());
        Ok(())
    }

    /// An ExternalSecret or a store.
    fn take_ours(&mut self, document: &Document, kind: &str, namespace: String) -> Result<(), String> {
        let version = document.text("/apiVersion").rsplit('/').next().unwrap_or_default();
        // Those whose fields are those of v1.
        if !["v1", "v1beta1"].contains(&version) {
            return Err(
                document.problem(&format!("{kind} is read in the versions v1 and v1beta1, and not in {version}"))
            );
        }
        match kind {
            "ExternalSecret" => {
                let mut es: ExternalSecret = document.decode()?;
                es.metadata.namespace = Some(namespace);
                // What some cluster made of it is not what it comes to here.
                es.status = None;
                let Document { place, lines, .. } = document;
                self.external_secrets.push(Asked { place: place.clone(), lines: lines.clone(), es });
            }
            "SecretStore" => {
                let mut store: SecretStore = document.decode()?;
                store.metadata.namespace = Some(namespace);
                self.put_store(Store::namespaced(store));
            }
            _ => self.put_store(Store::cluster(document.decode()?)),
        }
        Ok(())
    }

    fn put_store(&mut self, store: Store) {
        self.stores.insert(store.id.clone(), (Arc::new(store), Readiness::Ready));
    }

    /// Puts an empty store where an ExternalSecret names one that is not there; answers which.
    pub fn make_up_stores(&mut self) -> Vec<StoreId> {
        let named = self.external_secrets.iter().flat_map(|asked| used_stores(&asked.es));
        let mut absent: Vec<StoreId> = named.filter(|id| !self.stores.contains_key(id)).collect();
        absent.sort();
        absent.dedup();
        for StoreId { namespace, name } in absent.clone() {
            self.put_store(match namespace {
                Some(_) => {
                    let mut store = SecretStore::new(&name, Default::default());
                    store.metadata.namespace = namespace;
                    Store::namespaced(store)
                }
                None => Store::cluster(ClusterSecretStore::new(&name, Default::default())),
            });
        }
        absent
    }

    /// A Secret of the manifests, as one that is there already.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&LiveSecret> {
        self.secrets.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Another object of the manifests, as one that is there already.
    pub fn object(&self, manifest: &Manifest, namespace: &str, name: &str) -> Option<LiveObject> {
        let named = [&manifest.api_version, &manifest.kind, namespace, name].map(str::to_owned);
        let object = self.objects.get(&named)?.get().clone();
        let mut object = LiveObject::new(serde_json::from_value(object).ok()?);
        object.get_mut().metadata.namespace = Some(namespace.to_owned());
        Some(object)
    }

    /// The data of an object that templates are taken from.
    pub fn data(&self, source: &Dependency) -> Option<Data> {
        let named = (source.namespace.clone(), source.name.clone());
        match source.kind {
            Kind::ConfigMap => self.config_maps.get(&named).cloned(),
            Kind::Secret => {
                let secret = self.secrets.get(&named)?;
                Some(secret.data().map(|(key, value)| (key.to_owned(), SecretBytes::new(value.to_vec()))).collect())
            }
            _ => None,
        }
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

/// A Secret as the API server would hold it: `stringData` is part of `data`.
fn secret(document: &Document, namespace: &str) -> Result<LiveSecret, String> {
    let mut secret = LiveSecret::new(Secret::default());
    let inner = secret.get_mut();
    let mut data = BTreeMap::new();
    for (key, text) in texts(document.object.get(), "/data") {
        let bytes = STANDARD.decode(text.expose());
        let bytes = bytes.map_err(|_| document.problem(&format!("data[{key:?}] of this Secret is not base64")))?;
        data.insert(key, ByteString(bytes));
    }
    for (key, text) in texts(document.object.get(), "/stringData") {
        data.insert(key, ByteString(text.expose().to_vec()));
    }
    inner.data = Some(data);
    let metadata = json!({ "metadata": document.object.get()["metadata"] });
    inner.metadata = serde_json::from_value::<Secret>(metadata)
        .map_err(|_| document.problem("metadata of this Secret is not of the form that Kubernetes gives"))?
        .metadata;
    inner.metadata.namespace = Some(namespace.to_owned());
    inner.type_ = document.object.get()["type"].as_str().map(str::to_owned);
    inner.immutable = document.object.get()["immutable"].as_bool();
    Ok(secret)
}

fn refused(message: &str) -> Problem {
    Problem { message: message.to_owned(), is_temporary: false, is_not_found: false }
}

#[async_trait]
impl Objects for Folder {
    async fn turn(&self, _: &str) -> Turn {
        Box::new(())
    }

    async fn source(&self, source: &Dependency) -> Result<Option<(Option<Version>, Data)>, Problem> {
        Ok(self.data(source).map(|data| (None, data)))
    }

    async fn labels(&self, object: &Dependency) -> Result<Option<StringMap>, Problem> {
        let named = (object.namespace.clone(), object.name.clone());
        let secret = self.secrets.get(&named).filter(|_| object.kind == Kind::Secret);
        Ok(secret.map(|secret| secret.get().metadata.labels.clone().unwrap_or_default()))
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
        Err(refused("there is no API server here to ask: use --values, or a login from a Secret among the manifests"))
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

    async fn finalizers(&self, _: &ExternalSecret, _: &[String]) -> Result<(), Problem> {
        Ok(())
    }

    fn note(&self, _: &ExternalSecret, _: Note) {}
}

/// Nothing can be written down of what a generator makes.
pub const UNRECORDED: Unrecorded =
    Unrecorded("what it makes lives on elsewhere, and without an operator nobody would revoke it");
