//! The watches: one per kind, merged into one stream of what changed.

use std::fmt::Debug;
use std::future::ready;
use std::marker::PhantomData;

use futures::stream::{AbortHandle, BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use keyferry_cluster::client::ApiProblem;
use keyferry_crds::ExternalSecret;
use keyferry_sync::dependency::Kind;
use keyferry_sync::store::Store;
use kube::api::{Api, ObjectMeta, PartialObjectMeta};
use kube::core::{ApiResource, DeserializeGuard, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::relist::{Relist, Update};

/// A change of one of the watched kinds.
#[expect(clippy::large_enum_variant, reason = "one at a time, taken at once: a box would cost more than it saves")]
pub enum Change {
    /// Of an ExternalSecret.
    ExternalSecret(Update<DeserializeGuard<ExternalSecret>>),
    /// Of a SecretStore.
    SecretStore(Update<Store>),
    /// Of a ClusterSecretStore.
    ClusterSecretStore(Update<Store>),
    /// Of a namespace.
    Namespace(Update<ObjectMeta>),
    /// Of any object of a kind that somebody depends on.
    Object(Kind, Update<ObjectMeta>),
    /// The watch of a kind that is not watched from the start failed; whether it has listed what there is.
    Failed(Kind, bool),
}

/// An object of which only name, UID, resourceVersion and generation are kept. Annotations are dropped as they are decoded:
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
        }
        let Object { metadata: Kept { name, namespace, uid, resource_version, generation } } =
            Object::deserialize(input)?;
        let metadata = ObjectMeta { name, namespace, uid, resource_version, generation, ..ObjectMeta::default() };
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

/// A stream of changes.
pub type Changes = BoxStream<'static, Change>;

/// What the operator looks after: ExternalSecrets, stores, and the namespaces that they are in.
pub fn looked_after(client: &kube::Client, scope: Option<&str>, cluster_stores: bool) -> Vec<Changes> {
    let mut streams = vec![
        follow(scoped(client, scope), Change::ExternalSecret),
        follow(scoped(client, scope), |update| {
            Change::SecretStore(update.map(|guarded| store(guarded, Store::namespaced)))
        }),
    ];
    if cluster_stores {
        let all = (Api::all(client.clone()), watcher::Config::default());
        streams.push(follow(all, |update| {
            Change::ClusterSecretStore(update.map(|guarded| store(guarded, Store::cluster)))
        }));
        let mut config = watcher::Config::default();
        if let Some(namespace) = scope {
            config = config.fields(&format!("metadata.name={namespace}"));
        }
        let namespaces = (Api::<PartialObjectMeta<Namespace>>::all(client.clone()), config);
        streams.push(follow(namespaces, |update| Change::Namespace(update.map(|namespace| namespace.metadata))));
    }
    streams
}

fn store<K>(guarded: DeserializeGuard<K>, of: fn(K) -> Store) -> Store {
    match guarded.0 {
        Ok(object) => of(object),
        Err(invalid) => Store::undecodable(invalid.metadata),
    }
}

/// What they refer to: Secrets and ConfigMaps, by metadata alone.
pub fn referred_to(client: &kube::Client, scope: Option<&str>) -> Vec<Changes> {
    vec![
        follow(scoped(client, scope), |update: Update<Metadata<Secret>>| object(Kind::Secret, update)),
        follow(scoped(client, scope), |update: Update<Metadata<ConfigMap>>| object(Kind::ConfigMap, update)),
    ]
}

fn object<K>(kind: Kind, update: Update<Metadata<K>>) -> Change {
    Change::Object(kind, update.map(|object| object.metadata))
}

/// One more kind that somebody depends on, by metadata alone. Following ends when the handle says so.
pub fn kind(client: &kube::Client, scope: Option<&str>, kind: &Kind, resource: &ApiResource) -> (Changes, AbortHandle) {
    let api: Api<Metadata<DynamicObject>> = match scope {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
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
    let (changes, handle) = futures::stream::abortable(changes);
    (changes.boxed(), handle)
}

fn scoped<K>(client: &kube::Client, scope: Option<&str>) -> (Api<K>, watcher::Config)
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    let api = match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    (api, watcher::Config::default())
}

/// Managed fields are most of an object, and nobody reads those of what we look after.
fn trim<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
}

/// Follows one kind for ever. What goes wrong is told and tried again with back-off.
fn follow<K>((api, config): (Api<K>, watcher::Config), change: fn(Update<K>) -> Change) -> Changes
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut relist = Relist::default();
    let changes = watcher(api, config).default_backoff().filter_map(move |event| {
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

fn tell(kind: &str, error: watcher::Error, remedy: &str) {
    let problem = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ApiProblem::from(error),
        watcher::Error::WatchError(status) => ApiProblem::from(kube::Error::Api(status)),
        watcher::Error::NoResourceVersion => ApiProblem::Malformed,
    };
    match problem.is_not_found() {
        true => {
            tracing::warn!(kind, "this kind is not installed in the cluster: {remedy}");
        }
        // A watch that ends because the server is done with it is no news.
        false if problem.is_expired() => tracing::debug!(kind, "the watch is too far behind, and starts anew"),
        false => tracing::warn!(kind, %problem, "can't watch; trying again"),
    }
}
