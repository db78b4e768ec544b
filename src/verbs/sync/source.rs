//! What is asked for, with all that it takes: from manifests, or from an API server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use k8s_openapi::api::core::v1::Namespace;
use keyferry_cluster::client::{Turns, timely};
use keyferry_cluster::leader::Lead;
use keyferry_cluster::objects::ClusterObjects;
use keyferry_crds::{ClusterSecretStore, ExternalSecret, SecretStore, SecretStoreSpec};
use keyferry_provider_core::Unseal;
use keyferry_provider_core::proxy::Proxies;
use keyferry_stores::files::{self, Beside};
use keyferry_sync::audit::Audit;
use keyferry_sync::compute::Here;
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Name, name_of};
use keyferry_sync::look::as_files;
use keyferry_sync::ports::{Accounts, Objects, Ports, Problem};
use keyferry_sync::request::stores_of;
use keyferry_sync::store::{KnownStores, Readiness, Store, StoreId};
use kube::Api;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha3::{Digest as _, Sha3_256};

use super::credentials::{Credentials, Local};
use super::stamp::Stamp;
use crate::verbs::keyring::With;
use crate::verbs::manifests::folder::{Asked, Folder, Nowhere, UNRECORDED};
use crate::verbs::manifests::read::Place;
use crate::verbs::manifests::{beside, folders, read, stores, told};
use crate::verbs::run::POD;

/// A hash of what something depends on.
pub type Digest = [u8; 32];

/// How many requests to the API server are under way at once.
const REQUESTS: usize = 8;

/// What is asked for now.
pub struct Loaded {
    /// The ExternalSecrets.
    pub wanted: Vec<Wanted>,
    /// Their stores, which count as ready.
    pub stores: KnownStores,
    /// The labels of namespaces.
    pub namespaces: HashMap<String, StringMap>,
    /// The manifests, whose Secrets count as there.
    pub folder: Arc<Folder>,
    /// What it takes to resolve them.
    pub ports: Ports,
    /// Of all that any of them may depend on besides.
    pub rest: Digest,
    /// What can't be read, and why; for a person.
    pub problems: Vec<String>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// One of them.
#[derive(Clone)]
pub struct Wanted {
    /// The ExternalSecret.
    pub es: Arc<ExternalSecret>,
    /// Where it stands, where it is in a file.
    pub asked: Option<Arc<Asked>>,
}

/// Where ExternalSecrets come from.
pub enum Source {
    /// Manifests.
    Files {
        /// Files and folders.
        paths: Vec<PathBuf>,
        /// Whether folders within are read.
        recursive: bool,
        /// The namespace of what names none.
        namespace: String,
        /// What stores log in with.
        credentials: Credentials,
        /// What opens encrypted Secrets among them.
        identities: With,
        /// The files that stores asked for, beside the manifests.
        sought: files::Sought,
        /// Who opens what is sealed for us.
        unseal: Option<Arc<dyn Unseal>>,
        /// Where it is written down who was given what.
        audit: Arc<dyn Audit>,
        /// What stores are reached through.
        proxies: Proxies,
    },
    /// An API server.
    Cluster {
        /// Its client.
        client: kube::Client,
        /// The namespace.
        namespace: String,
        /// The names.
        names: BTreeSet<String>,
        /// What it takes to resolve them: whoever has logged in stays so.
        ports: Ports,
    },
}

impl Source {
    /// An API server, and these ExternalSecrets of a namespace.
    pub fn cluster(
        client: kube::Client,
        namespace: String,
        names: impl IntoIterator<Item = String>,
        unseal: Option<Arc<dyn Unseal>>,
        audit: Arc<dyn Audit>,
        proxies: Proxies,
    ) -> Self {
        let turns = Turns::new(REQUESTS, Lead::always());
        let objects = Arc::new(ClusterObjects::new(client.clone(), turns, PathBuf::new()));
        let ports = ports((objects.clone(), objects), None, unseal, audit, proxies);
        Self::Cluster { client, namespace, names: names.into_iter().collect(), ports }
    }

    /// The states of the files that it reads; an API server has none.
    pub fn stamp(&self) -> Stamp {
        match self {
            Self::Files { paths, recursive, .. } => {
                let mut stamp = Stamp::of(paths, *recursive);
                stamp.extend(self.stamp_beside());
                stamp
            }
            Self::Cluster { .. } => Stamp::default(),
        }
    }

    /// The states of the files that it reads beside the manifests.
    fn stamp_beside(&self) -> Stamp {
        match self {
            Self::Files { paths, credentials, identities, sought, .. } => {
                let mut stamp = credentials.folder.as_deref().map(Stamp::of_credentials).unwrap_or_default();
                let taken: BTreeSet<PathBuf> =
                    folders(paths).iter().flat_map(|folder| identities.files(folder)).collect();
                stamp.extend(Stamp::of(&taken, false));
                stamp.extend(Stamp::of_changed(&sought.lock().unwrap_or_else(PoisonError::into_inner)));
                stamp
            }
            Self::Cluster { .. } => Stamp::default(),
        }
    }

    /// Reads it.
    pub async fn load(&self, input: &mut (dyn Read + Send)) -> Loaded {
        match self {
            Self::Files { paths, recursive, namespace, credentials, identities, sought, unseal, audit, proxies } => {
                // Before anything is read: what changes meanwhile is another state.
                let beside_them = self.stamp_beside();
                let read = read::read(paths, *recursive, input, identities).await;
                let (mut folder, mut problems) = Folder::new(&read.documents, namespace);
                problems.splice(..0, read.problems);
                let kinds = ["ExternalSecret", "SecretStore", "ClusterSecretStore"];
                let others = read.documents.iter().filter(|document| !kinds.contains(&document.text("/kind")));
                let mut rest = Hasher::default();
                others.for_each(|document| rest.feed(document.object.get()));
                rest.feed(&format!("{beside_them:?}"));
                let (wanted, doubled) = each_once(std::mem::take(&mut folder.external_secrets));
                problems.extend(doubled);
                let (known, namespaces) = (std::mem::take(&mut folder.stores), std::mem::take(&mut folder.namespaces));
                let folder = Arc::new(folder);
                let local = Arc::new(Local { folder: folder.clone(), credentials: credentials.clone() });
                Loaded {
                    wanted,
                    stores: known,
                    namespaces,
                    folder,
                    ports: ports(
                        (local.clone(), local),
                        Some(beside(paths).telling(sought.clone())),
                        unseal.clone(),
                        audit.clone(),
                        proxies.clone(),
                    ),
                    rest: rest.end(),
                    problems,
                    notes: read.notes,
                }
            }
            Self::Cluster { client, namespace, names, ports } => {
                from_cluster(client, namespace, names, ports.clone()).await
            }
        }
    }
}

impl Loaded {
    /// Takes along what was there before and could not be read now, or is gone: it removes nothing, and holds back nothing that
    /// could be read.
    pub fn carry_over(&mut self, before: Self) {
        let name = |wanted: &Wanted| name_of(&wanted.es.metadata);
        let read: BTreeSet<Name> = self.wanted.iter().map(name).collect();
        self.wanted.extend(before.wanted.into_iter().filter(|wanted| !read.contains(&name(wanted))));
        // So they are read, too: of two that go to one place the first has it.
        self.wanted.sort_by_key(name);
        for (id, store) in before.stores {
            self.stores.entry(id).or_insert(store);
        }
        for (namespace, labels) in before.namespaces {
            self.namespaces.entry(namespace).or_insert(labels);
        }
    }
}

/// All of them as they are delivered; of one that is there twice the first counts, and the others are problems, for a person.
fn each_once(all: Vec<Asked>) -> (Vec<Wanted>, Vec<String>) {
    let (mut places, mut wanted, mut problems) = (HashMap::<Name, Place>::new(), Vec::new(), Vec::new());
    for asked in all {
        let name = name_of(&asked.es.metadata);
        if let Some(first) = places.get(&name) {
            let what = format!("it is there already, at {first}: remove one of them, or give it another name");
            problems.push(told(&asked.place, "error", &asked, &what));
            continue;
        }
        places.insert(name, asked.place.clone());
        wanted.push(Wanted { es: Arc::new(delivered(asked.es.clone())), asked: Some(Arc::new(asked)) });
    }
    (wanted, problems)
}

/// As it is delivered here. Its generation is made of its spec, which no API server counts.
fn delivered(es: ExternalSecret) -> ExternalSecret {
    let mut es = as_files(es);
    let mut hash = Hasher::default();
    hash.feed(&es.spec);
    let hash = hash.end();
    let number = hash.iter().take(8).fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
    es.metadata.generation = Some(number & i64::MAX);
    es.metadata.uid = Some(format!(
        "{}/{}",
        es.metadata.namespace.as_deref().unwrap_or_default(),
        es.metadata.name.as_deref().unwrap_or_default()
    ));
    es
}

fn ports(
    (objects, accounts): (Arc<dyn Objects>, Arc<dyn Accounts>),
    files: Option<Beside>,
    unseal: Option<Arc<dyn Unseal>>,
    audit: Arc<dyn Audit>,
    proxies: Proxies,
) -> Ports {
    Ports {
        stores: stores(objects.clone(), accounts, files, unseal, proxies),
        objects,
        journal: Arc::new(Nowhere),
        compute: Arc::new(Here),
        states: Arc::new(UNRECORDED),
        audit,
    }
}

async fn from_cluster(client: &kube::Client, namespace: &str, wanted: &BTreeSet<String>, ports: Ports) -> Loaded {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for name in wanted {
        match get::<ExternalSecret>(Api::namespaced(client.clone(), namespace), namespace, name).await {
            Ok(es) => found.push(es),
            Err(problem) => problems.push(problem),
        }
    }
    let (mut known, mut namespaces) = (KnownStores::new(), HashMap::new());
    let named: BTreeSet<StoreId> = found.iter().flat_map(stores_of).collect();
    for id in named {
        let store = match &id.namespace {
            Some(of) => get(Api::namespaced(client.clone(), of), of, &id.name).await.map(|mut store: SecretStore| {
                store.metadata.namespace = Some(of.clone());
                Store::namespaced(store)
            }),
            None => get(Api::<ClusterSecretStore>::all(client.clone()), "", &id.name).await.map(Store::cluster),
        };
        match store {
            Ok(store) => _ = known.insert(id, (Arc::new(store), Readiness::Ready)),
            Err(problem) => problems.push(problem),
        }
    }
    if known.values().any(|(store, _)| store.asks_for_labels()) {
        match get::<Namespace>(Api::all(client.clone()), "", namespace).await {
            Ok(read) => _ = namespaces.insert(namespace.to_owned(), read.metadata.labels.unwrap_or_default()),
            Err(problem) => problems.push(problem),
        }
    }
    let wanted = found.into_iter().map(|es| Wanted { es: Arc::new(delivered(es)), asked: None }).collect();
    Loaded {
        wanted,
        stores: known,
        namespaces,
        folder: Arc::default(),
        ports,
        rest: Digest::default(),
        problems,
        notes: Vec::new(),
    }
}

/// An object of the API server; the error is for a person.
async fn get<K>(api: Api<K>, namespace: &str, name: &str) -> Result<K, String>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let what = format!("{} {name:?}", K::kind(&()));
    let place = if namespace.is_empty() { String::new() } else { format!(" in namespace {namespace:?}") };
    match timely(api.get_opt(name)).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(format!("error: {what} does not exist{place}")),
        Err(problem) => Err(format!("error: {what}{place} can't be read: {}", Problem::from(problem))),
    }
}

/// Has stores be of no controller class, which is to say of any.
pub fn take_any_class(stores: &mut KnownStores) {
    for (store, _) in stores.values_mut() {
        let Store { id, metadata, spec, status } = &**store;
        let spec = spec.clone().map(|spec| SecretStoreSpec { controller: None, ..spec });
        *store = Arc::new(Store { id: id.clone(), metadata: metadata.clone(), spec, status: status.clone() });
    }
}

/// What changes whenever a store does.
pub fn digests(stores: &KnownStores) -> BTreeMap<StoreId, Digest> {
    let digest = |(id, (store, _)): (&StoreId, &(Arc<Store>, Readiness))| {
        let mut hash = Hasher::default();
        hash.feed(&(store.spec.as_ref().ok(), &store.metadata.labels));
        (id.clone(), hash.end())
    };
    stores.iter().map(digest).collect()
}

/// What changes whenever something does that an ExternalSecret depends on; `stores` are the [`digests`] of all stores.
pub fn cause(es: &ExternalSecret, stores: &BTreeMap<StoreId, Digest>, rest: &Digest) -> Digest {
    let mut hash = Hasher::default();
    hash.feed(&(keyferry_sync::hash::version_of(es), rest));
    for id in stores_of(es) {
        let store = stores.get(&id);
        hash.feed(&(id.namespace, id.name, store));
    }
    hash.end()
}

#[derive(Default)]
struct Hasher(Sha3_256);

impl Hasher {
    fn feed(&mut self, value: &impl Serialize) {
        // Nothing that writes here fails, and what is no JSON is a bug that a test meets.
        let _ = serde_json::to_writer(&mut *self, value);
        self.0.update([0]);
    }

    fn end(self) -> Digest {
        self.0.finalize().into()
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The namespace of the pod that this runs in; `None` outside of one.
pub fn pod_namespace() -> Option<String> {
    let text = std::fs::read_to_string(Path::new(POD).join("namespace")).ok()?;
    Some(text.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use serde_json::json;

    use super::*;

    /// An API server that has one ExternalSecret, whose store may not be read.
    fn api() -> kube::Client {
        let serve = async |request: Request| {
            let path = request.uri().path();
            let (status, body) = match path.rsplit('/').next() {
                Some("app") => {
                    let spec = json!({"secretStoreRef": {"name": "s"}, "target": {"creationPolicy": "None"},
                        "data": [{"secretKey": "k", "remoteRef": {"key": "k"}}]});
                    (
                        200,
                        json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                        "metadata": {"name": "app", "namespace": "n", "resourceVersion": "7"}, "spec": spec}),
                    )
                }
                Some("s") => (403, json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403})),
                _ => (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})),
            };
            (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json")], body.to_string())
        };
        kube::Client::new(Router::new().fallback(serve), "n")
    }

    #[tokio::test]
    async fn an_api_server_is_asked_with_the_same_ports_each_time_and_one_object_holds_back_no_other() {
        let names = ["app", "gone"].map(str::to_owned);
        let source = Source::cluster(api(), "n".to_owned(), names, None, Arc::new(()), Proxies::default());
        let first = source.load(&mut io::empty()).await;
        assert_eq!(first.wanted.len(), 1, "{:?}", first.problems);
        let says = first.problems.join("\n");
        assert!(says.contains("ExternalSecret \"gone\" does not exist in namespace \"n\""), "{says}");
        assert!(says.contains("SecretStore \"s\" in namespace \"n\" can't be read"), "{says}");
        // Whoever has logged in stays so: the pool of stores is the same one.
        let again = source.load(&mut io::empty()).await;
        assert!(Arc::ptr_eq(&first.ports.stores, &again.ports.stores));
        assert!(Arc::ptr_eq(&first.ports.objects, &again.ports.objects));
        assert_eq!(source.stamp(), Stamp::default(), "no file is looked at");
        // What is gone or can't be read now is carried over.
        let mut none =
            Source::cluster(api(), "n".to_owned(), ["gone".to_owned()], None, Arc::new(()), Proxies::default())
                .load(&mut io::empty())
                .await;
        none.carry_over(first);
        assert_eq!(none.wanted.len(), 1);
    }
}
