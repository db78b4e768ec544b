//! The watches of a cluster: one per kind.

use std::collections::HashSet;
use std::fmt::Debug;
use std::future::ready;
use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use keyferry_cluster::client::{ApiProblem, LiveSecret, timely};
use keyferry_cluster::sealed_secrets::SealedSecret;
use keyferry_cluster::target::kinds::Kinds;
use keyferry_cluster::target::{desired, rotation};
use keyferry_crds::{
    ClusterExternalSecret, ClusterPushSecret, ClusterSecretStore, ExternalSecret, GeneratorState, PushSecret,
    SecretStore, names,
};
use keyferry_sync::copies::{Copier, CopierKind, Seen};
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Dependency, Kind, name_of, version};
use keyferry_sync::ports;
use keyferry_sync::store::Store;
use kube::api::{Api, ListParams, ObjectMeta, PartialObjectMeta};
use kube::core::{DeserializeGuard, DynamicObject, NamespaceResourceScope};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::change::{Change, Changes, List, Target, Watches};
use super::index::SubjectKind;
use super::relist::{Relist, Update};
use super::subject::{Own, Told};

/// How many targets are read at once from the list at start: each may hold a MiB, and is there twice while it is decoded.
const PAGE: u32 = 20;

/// The watches of a cluster.
pub struct ClusterWatches {
    /// The client.
    pub client: kube::Client,
    /// The one namespace to look after; all where there is none.
    pub scope: Option<String>,
    /// Whether ClusterSecretStores are looked after.
    pub cluster_stores: bool,
    /// Whether PushSecrets are.
    pub pushes: bool,
    /// Whether GeneratorStates are looked after.
    pub generator_states: bool,
    /// Whether SealedSecrets are unsealed.
    pub sealed_secrets: bool,
    /// The kinds that make copies and are looked after.
    pub copiers: Vec<CopierKind>,
    /// What kinds of targets are in the API.
    pub kinds: Kinds,
}

#[async_trait]
impl Watches for ClusterWatches {
    fn looked_after(&self) -> Vec<(List, Changes)> {
        let mut all = vec![
            (List::Subject(SubjectKind::ExternalSecret), self.follow(external_secret)),
            (List::Subject(SubjectKind::SecretStore), self.follow(secret_store)),
        ];
        if self.pushes {
            all.push((List::Subject(SubjectKind::PushSecret), self.follow(push_secret)));
        }
        if self.generator_states {
            // Clusters without this kind have nothing to revoke: nobody waits for its list.
            let states = follow_where_there(self.api(), generator_state);
            all.push((List::Subject(SubjectKind::GeneratorState), states));
        }
        if self.sealed_secrets {
            let sealed = self.api::<PartialObjectMeta<SealedSecret>>();
            all.push((List::Subject(SubjectKind::SealedSecret), follow_where_there(sealed, sealed_secret)));
        }
        if self.cluster_stores {
            let stores = follow(Api::all(self.client.clone()), watcher::Config::default(), cluster_store);
            all.push((List::Subject(SubjectKind::ClusterSecretStore), stores));
        }
        for kind in &self.copiers {
            all.extend(self.copiers(*kind));
        }
        if self.cluster_stores || !self.copiers.is_empty() {
            let mut config = watcher::Config::default();
            if let Some(namespace) = &self.scope {
                config = config.fields(&format!("metadata.name={namespace}"));
            }
            let namespaces = Api::<PartialObjectMeta<Namespace>>::all(self.client.clone());
            all.push((List::Namespaces, follow(namespaces, config, namespace)));
        }
        all
    }

    fn referred_to(&self) -> Vec<(List, Changes)> {
        vec![
            (List::Objects(Kind::Secret), self.follow::<Metadata<Secret>>(|update| object(Kind::Secret, update))),
            (
                List::Objects(Kind::ConfigMap),
                self.follow::<Metadata<ConfigMap>>(|update| object(Kind::ConfigMap, update)),
            ),
        ]
    }

    fn kind(&self, kind: &Kind) -> Option<Changes> {
        let Kind::Other(manifest) = kind else { return None };
        let resource = self.kinds.known(manifest)?;
        let api: Api<Metadata<DynamicObject>> = match &self.scope {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let (kind, mut relist) = (kind.clone(), Relist::default());
        let changes = watcher(api, watcher::Config::default()).default_backoff().filter_map(move |event| {
            ready(match event {
                Ok(event) => relist.take(event).map(|update| object(kind.clone(), update)),
                Err(error) => {
                    let listed = !matches!(error, watcher::Error::InitialListFailed(_));
                    let remedy = "it is a kind of targets: install it, or correct the ExternalSecrets that name it";
                    tell(&kind.to_string(), error, remedy);
                    Some(Change::Failed(kind.clone(), listed))
                }
            })
        });
        Some(changes.boxed())
    }

    fn forget(&self, kind: &Kind) {
        if let Kind::Other(manifest) = kind {
            self.kinds.forget(manifest);
        }
    }

    async fn targets(&self, from: Option<String>) -> Result<(Vec<Target>, Option<String>), ports::Problem> {
        let params = ListParams::default().labels(&format!("{}={}", names::LABEL_MANAGED, names::MANAGED)).limit(PAGE);
        let params = ListParams { continue_token: from, ..params };
        let list = timely(self.api::<Secret>().list(&params)).await?;
        let targets = list.items.into_iter().filter_map(|secret| {
            let secret = LiveSecret::new(secret);
            let metadata = &secret.get().metadata;
            let (object, version) =
                (Dependency::new(Kind::Secret, name_of(metadata)), version(&Kind::Secret, metadata)?);
            let (is_intact, rotated_at) = (desired::is_intact(&secret), rotation::at(metadata));
            Some(Target { object, version, is_intact, rotated_at })
        });
        Ok((targets.collect(), list.metadata.continue_.filter(|token| !token.is_empty())))
    }
}

impl ClusterWatches {
    /// Copiers of a kind, and their copies, where nobody else watches these.
    fn copiers(&self, kind: CopierKind) -> Vec<(List, Changes)> {
        let (client, config) = (self.client.clone(), watcher::Config::default());
        match kind {
            CopierKind::ClusterExternalSecret => {
                let copiers = follow(Api::all(client), config, cluster_external_secret);
                vec![(List::Subject(SubjectKind::ClusterExternalSecret), copiers)]
            }
            CopierKind::ClusterPushSecret => {
                let copiers = follow(Api::all(client.clone()), config.clone(), cluster_push_secret);
                let mut all = vec![(List::Subject(SubjectKind::ClusterPushSecret), copiers)];
                if !self.pushes {
                    all.push((List::PushSecrets, follow(Api::all(client), config, push_copy)));
                }
                all
            }
        }
    }

    fn follow<K>(&self, change: fn(Update<K>) -> Change) -> Changes
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        follow(self.api(), watcher::Config::default(), change)
    }

    /// Objects of a kind, wherever we look.
    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match &self.scope {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

fn external_secret(update: Update<DeserializeGuard<ExternalSecret>>) -> Change {
    let told = update.map(|DeserializeGuard(es)| match es {
        Ok(es) => Told { name: name_of(&es.metadata), object: Ok(es) },
        Err(invalid) => Told { name: name_of(&invalid.metadata), object: Err(invalid.metadata) },
    });
    Change::Subject(SubjectKind::ExternalSecret, told.map(Told::pass_on))
}

fn push_secret(update: Update<DeserializeGuard<PushSecret>>) -> Change {
    let told = update.map(|DeserializeGuard(ps)| match ps {
        Ok(ps) => Told { name: name_of(&ps.metadata), object: Ok(ps) },
        Err(invalid) => Told { name: name_of(&invalid.metadata), object: Err(invalid.metadata) },
    });
    Change::Subject(SubjectKind::PushSecret, told.map(Told::pass_on))
}

fn secret_store(update: Update<DeserializeGuard<SecretStore>>) -> Change {
    Change::Subject(SubjectKind::SecretStore, update.map(|guarded| store(guarded, Store::namespaced)))
}

fn cluster_store(update: Update<DeserializeGuard<ClusterSecretStore>>) -> Change {
    Change::Subject(SubjectKind::ClusterSecretStore, update.map(|guarded| store(guarded, Store::cluster)))
}

fn generator_state(update: Update<DeserializeGuard<GeneratorState>>) -> Change {
    let told = update.map(|DeserializeGuard(state)| match state {
        Ok(state) => Told { name: name_of(&state.metadata), object: Ok(state) },
        Err(invalid) => Told { name: name_of(&invalid.metadata), object: Err(invalid.metadata) },
    });
    Change::Subject(SubjectKind::GeneratorState, told.map(Told::pass_on))
}

fn sealed_secret(update: Update<PartialObjectMeta<SealedSecret>>) -> Change {
    let told = update.map(|sealed| Told { name: name_of(&sealed.metadata), object: Ok(sealed.metadata) });
    Change::Subject(SubjectKind::SealedSecret, told.map(Told::pass_on))
}

/// A store that does not decode is one that can't be used: that says its condition, and those of its users.
fn store<K>(DeserializeGuard(store): DeserializeGuard<K>, of: fn(K) -> Store) -> Told<Own> {
    let store = store.map_or_else(|invalid| Store::undecodable(invalid.metadata), of);
    Told { name: name_of(&store.metadata), object: Ok(store) }.pass_on()
}

fn cluster_external_secret(update: Update<DeserializeGuard<ClusterExternalSecret>>) -> Change {
    Change::Subject(SubjectKind::ClusterExternalSecret, update.map(copier))
}

fn cluster_push_secret(update: Update<DeserializeGuard<ClusterPushSecret>>) -> Change {
    Change::Subject(SubjectKind::ClusterPushSecret, update.map(copier))
}

fn copier<K: Into<Copier>>(DeserializeGuard(object): DeserializeGuard<K>) -> Told<Own> {
    let told = match object.map(K::into) {
        Ok(copier) => Told { name: name_of(&copier.metadata), object: Ok(copier) },
        Err(invalid) => Told { name: name_of(&invalid.metadata), object: Err(invalid.metadata) },
    };
    told.pass_on()
}

/// A PushSecret where nobody looks after it, as one that may be a copy.
fn push_copy(update: Update<DeserializeGuard<PushSecret>>) -> Change {
    let seen = |DeserializeGuard(copy): DeserializeGuard<PushSecret>| match copy {
        Ok(copy) => (name_of(&copy.metadata), Seen::push_secret(&copy)),
        Err(invalid) => {
            (name_of(&invalid.metadata), Seen::undecodable(CopierKind::ClusterPushSecret, &invalid.metadata))
        }
    };
    Change::PushSecret(update.map(seen))
}

fn namespace(update: Update<PartialObjectMeta<Namespace>>) -> Change {
    Change::Namespace(update.map(|namespace| namespace.metadata))
}

fn object<K>(kind: Kind, update: Update<Metadata<K>>) -> Change {
    Change::Object(kind, update.map(|object| object.metadata))
}

/// Managed fields are most of an object, and nobody reads those of what we look after.
fn trim<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
}

/// Follows one kind for ever. What goes wrong is told and tried again with back-off.
fn follow<K>(api: Api<K>, config: watcher::Config, change: fn(Update<K>) -> Change) -> Changes
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut relist = Relist::default();
    let changes = watcher(api, config).backoff(Patience::default()).filter_map(move |event| {
        ready(match event {
            Ok(event) => relist.take(event.modify(trim)).map(change),
            Err(error) => {
                tell(&K::kind(&()), error, "`keyferry crds | kubectl apply -f -` installs it");
                None
            }
        })
    });
    changes.boxed()
}

/// The same for a kind that need not be there, nor be ours to read: what can't be listed is taken for none.
fn follow_where_there<K>(api: Api<K>, change: fn(Update<K>) -> Change) -> Changes
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut relist = Relist::default();
    let changes = watcher(api, watcher::Config::default()).default_backoff().filter_map(move |event| {
        ready(match event {
            Ok(event) => relist.take(event.modify(trim)).map(change),
            Err(error) => {
                let is_there = !matches!(error, watcher::Error::InitialListFailed(_));
                tell(&K::kind(&()), error, "`keyferry crds | kubectl apply -f -` installs it");
                (!is_there).then(|| change(Update::Listed(HashSet::new())))
            }
        })
    });
    changes.boxed()
}

/// How long a watch of what must be there waits after failures. The first pass fast: kinds that were installed together
/// with the operator are served some moments later, and it is not ready before.
struct Patience {
    first: std::array::IntoIter<Duration, 3>,
    then: watcher::DefaultBackoff,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: [200, 300, 500].map(Duration::from_millis).into_iter(), then: watcher::DefaultBackoff::default() }
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.first.next().or_else(|| self.then.next())
    }
}

impl Backoff for Patience {
    /// The first of a watch's life, and not of each success: an API server that fails now and then is not asked more often.
    fn reset(&mut self) {
        self.then.reset();
    }
}

fn tell(kind: &str, error: watcher::Error, remedy: &str) {
    let problem = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ApiProblem::from(error),
        watcher::Error::WatchError(status) => ApiProblem::from(kube::Error::Api(status)),
        watcher::Error::NoResourceVersion => ApiProblem::Malformed,
    };
    if problem.is_not_found() {
        tracing::warn!(kind, "this kind is not installed in the cluster: {remedy}");
    } else if problem.is_expired() {
        // A watch that ends because the server is done with it is no news.
        tracing::debug!(kind, "the watch is too far behind, and starts anew");
    } else {
        tracing::warn!(kind, %problem, "can't watch; trying again");
    }
}

/// An object of which only name, UID, resourceVersion, generation and labels are told. Annotations are dropped as they are decoded:
/// kubectl keeps there what it applied, the values of Secrets included.
pub struct Metadata<K> {
    metadata: ObjectMeta,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Metadata<K> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), kind: PhantomData }
    }
}

impl<K> Debug for Metadata<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.metadata.name.fmt(f)
    }
}

impl<'de, K> Deserialize<'de> for Metadata<K> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Kept,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kept {
            name: Option<String>,
            namespace: Option<String>,
            uid: Option<String>,
            resource_version: Option<String>,
            generation: Option<i64>,
            labels: Option<StringMap>,
        }
        let Object { metadata: Kept { name, namespace, uid, resource_version, generation, labels } } =
            Object::deserialize(input)?;
        let metadata =
            ObjectMeta { name, namespace, uid, resource_version, generation, labels, ..ObjectMeta::default() };
        Ok(Self { metadata, kind: PhantomData })
    }
}

impl<K: Resource> Resource for Metadata<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn metadata_api() -> bool {
        true
    }

    fn kind(dt: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
