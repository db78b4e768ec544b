//! The watches: one per kind, merged into one stream of what changed.

use std::fmt::Debug;
use std::marker::PhantomData;

use futures::stream::{AbortHandle, BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use keyferry_cluster::client::Problem;
use keyferry_crds::{ClusterSecretStore, ExternalSecret, Manifest, SecretStore};
use kube::api::{Api, ObjectMeta, PartialObjectMeta};
use kube::core::{ApiResource, DeserializeGuard, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// A change of one of the watched kinds.
#[expect(clippy::large_enum_variant, reason = "one at a time, taken at once: a box would cost more than it saves")]
pub enum Change {
    /// Of an ExternalSecret.
    ExternalSecret(Event<DeserializeGuard<ExternalSecret>>),
    /// Of a SecretStore.
    SecretStore(Event<DeserializeGuard<SecretStore>>),
    /// Of a ClusterSecretStore.
    ClusterSecretStore(Event<DeserializeGuard<ClusterSecretStore>>),
    /// Of a namespace.
    Namespace(Event<PartialObjectMeta<Namespace>>),
    /// Of any Secret.
    Secret(Event<Metadata<Secret>>),
    /// Of any ConfigMap.
    ConfigMap(Event<Metadata<ConfigMap>>),
    /// Of any object of a kind that some target is of.
    Other(Manifest, Event<Metadata<DynamicObject>>),
    /// The watch of such a kind failed; whether it has listed what there is.
    OtherFailed(Manifest, bool),
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
        follow(scoped::<DeserializeGuard<ExternalSecret>>(client, scope), trim, Change::ExternalSecret),
        follow(scoped::<DeserializeGuard<SecretStore>>(client, scope), trim, Change::SecretStore),
    ];
    if cluster_stores {
        let all = (Api::<DeserializeGuard<ClusterSecretStore>>::all(client.clone()), watcher::Config::default());
        streams.push(follow(all, trim, Change::ClusterSecretStore));
        let mut config = watcher::Config::default();
        if let Some(namespace) = scope {
            config = config.fields(&format!("metadata.name={namespace}"));
        }
        streams.push(follow(
            (Api::<PartialObjectMeta<Namespace>>::all(client.clone()), config),
            trim,
            Change::Namespace,
        ));
    }
    streams
}

/// What they refer to: Secrets and ConfigMaps, by metadata alone.
pub fn referred_to(client: &kube::Client, scope: Option<&str>) -> Vec<Changes> {
    vec![
        follow(scoped::<Metadata<Secret>>(client, scope), |_| {}, Change::Secret),
        follow(scoped::<Metadata<ConfigMap>>(client, scope), |_| {}, Change::ConfigMap),
    ]
}

/// One more kind that targets are of, by metadata alone. Following ends when the handle says so.
pub fn targets(
    client: &kube::Client,
    scope: Option<&str>,
    kind: &Manifest,
    resource: &ApiResource,
) -> (Changes, AbortHandle) {
    let api: Api<Metadata<DynamicObject>> = match scope {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    let kind = kind.clone();
    let events = watcher(api, watcher::Config::default()).default_backoff().map(move |event| match event {
        Ok(event) => Change::Other(kind.clone(), event),
        Err(error) => {
            let listed = !matches!(error, watcher::Error::InitialListFailed(_));
            tell(&kind.kind, error, "it is a kind of targets: install it, or correct the ExternalSecrets that name it");
            Change::OtherFailed(kind.clone(), listed)
        }
    });
    let (events, handle) = futures::stream::abortable(events);
    (events.boxed(), handle)
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
fn follow<K>((api, config): (Api<K>, watcher::Config), trim: fn(&mut K), change: fn(Event<K>) -> Change) -> Changes
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let changes = watcher(api, config).default_backoff().filter_map(move |event| async move {
        match event {
            Ok(event) => Some(change(event.modify(trim))),
            Err(error) => {
                tell(&K::kind(&()), error, "`keyferry crds | kubectl apply -f -` installs it");
                None
            }
        }
    });
    changes.boxed()
}

fn tell(kind: &str, error: watcher::Error, remedy: &str) {
    let problem = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Problem::from(error),
        watcher::Error::WatchError(status) => Problem::from(kube::Error::Api(status)),
        watcher::Error::NoResourceVersion => Problem::Malformed,
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
