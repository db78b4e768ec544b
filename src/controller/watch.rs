//! The watches of a cluster: one per kind.

use std::collections::HashSet;
use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _, select_all};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use keyferry_cluster::client::{ApiProblem, LiveSecret, timely};
use keyferry_cluster::guarded::Guarded;
use keyferry_cluster::sealed_secrets::SealedSecret;
use keyferry_cluster::target::kinds::Kinds;
use keyferry_cluster::target::{desired, rotation};
use keyferry_crds::{
    ClusterExternalSecret, ClusterPushSecret, ClusterSecretStore, Condition, ExternalSecret, GeneratorState,
    PushSecret, SecretStore, names,
};
use keyferry_sync::copies::{Copier, CopierKind, Seen};
use keyferry_sync::dependency::{Dependency, Kind, name_of, version};
use keyferry_sync::ports;
use keyferry_sync::settings::Scope;
use keyferry_sync::store::Store;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::core::{DynamicObject, NamespaceResourceScope};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::change::{Change, Changes, Cursor, List, Target, Watches};
use super::index::SubjectKind;
use super::kept::{self, Kept, Refused, decoded};
use super::metadata::Metadata;
use super::relist::{Relist, Union, Update};
use super::subject::{Own, Told};

/// How many targets are read at once from the list at start: each may hold a MiB, and is there twice while it is decoded.
const PAGE: u32 = 20;

/// The watches of a cluster.
pub struct ClusterWatches {
    /// The client.
    pub client: kube::Client,
    /// The namespaces to look after.
    pub scope: Scope,
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
    /// How much of objects is kept.
    pub kept: Kept,
    /// Told when ExternalSecrets are to be listed anew.
    pub again: Arc<Notify>,
}

#[async_trait]
impl Watches for ClusterWatches {
    fn looked_after(&self) -> Vec<(List, Changes)> {
        let mut all = vec![
            (List::Subject(SubjectKind::ExternalSecret), self.external_secrets()),
            (List::Subject(SubjectKind::SecretStore), self.follow(self.keep(secret_store, SecretStore::ready))),
        ];
        if self.pushes {
            all.push((List::Subject(SubjectKind::PushSecret), self.follow(self.keep(push_secret, PushSecret::ready))));
        }
        if self.generator_states {
            // Clusters without this kind have nothing to revoke: nobody waits for its list.
            let states = follow_where_there(self.apis(), |update| generator_state(decoded(update)));
            all.push((List::Subject(SubjectKind::GeneratorState), states));
        }
        if self.sealed_secrets {
            let sealed = self.apis::<PartialObjectMeta<SealedSecret>>();
            all.push((List::Subject(SubjectKind::SealedSecret), follow_where_there(sealed, sealed_secret)));
        }
        if self.cluster_stores {
            let stores = follow(self.whole(), self.keep(cluster_store, ClusterSecretStore::ready));
            all.push((List::Subject(SubjectKind::ClusterSecretStore), stores));
        }
        for kind in &self.copiers {
            all.extend(self.copiers(*kind));
        }
        if self.cluster_stores || !self.copiers.is_empty() {
            all.push((List::Namespaces, follow(self.namespaces(), namespace)));
        }
        all
    }

    fn list_again(&self) {
        self.again.notify_one();
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
        let apis: Vec<Api<Metadata<DynamicObject>>> = match &self.scope {
            Scope::All => vec![Api::all_with(self.client.clone(), &resource)],
            Scope::These(names) => {
                names.iter().map(|name| Api::namespaced_with(self.client.clone(), name, &resource)).collect()
            }
        };
        let kind = kind.clone();
        let remedy = "it is a kind of targets: install it, or correct the ExternalSecrets that name it";
        let watches = apis.into_iter().map(|api| {
            let (kind, mut relist) = (kind.clone(), Relist::default());
            let news = watcher(api, paged()).default_backoff().filter_map(move |event| {
                ready(match event {
                    Ok(event) => relist.take(event).map(Ok),
                    Err(error) => {
                        let listed = !matches!(error, watcher::Error::InitialListFailed(_));
                        tell(&kind.to_string(), error, remedy);
                        Some(Err(listed))
                    }
                })
            });
            news.boxed()
        });
        let changes = joined(watches.collect()).map(move |update| match update {
            Ok(update) => object(kind.clone(), update),
            Err(listed) => Change::Failed(kind.clone(), listed),
        });
        Some(changes.boxed())
    }

    fn forget(&self, kind: &Kind) {
        if let Kind::Other(manifest) = kind {
            self.kinds.forget(manifest);
        }
    }

    async fn targets(&self, from: Cursor) -> Result<(Vec<Target>, Option<Cursor>), ports::Problem> {
        let Cursor { place, token } = from;
        let apis = self.apis::<Secret>();
        let Some(api) = apis.get(place) else { return Ok((Vec::new(), None)) };
        let params = ListParams::default().labels(&format!("{}={}", names::LABEL_MANAGED, names::MANAGED)).limit(PAGE);
        let params = ListParams { continue_token: token, ..params };
        let list = timely(api.list(&params)).await?;
        let targets = list.items.into_iter().filter_map(|secret| {
            let secret = LiveSecret::new(secret);
            let metadata = &secret.get().metadata;
            let (object, version) =
                (Dependency::new(Kind::Secret, name_of(metadata)), version(&Kind::Secret, metadata)?);
            let (is_intact, rotated_at) = (desired::is_intact(&secret), rotation::at(metadata));
            Some(Target { object, version, is_intact, rotated_at })
        });
        let next = match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => Some(Cursor { place, token: Some(token) }),
            None => Some(Cursor { place: place + 1, token: None }).filter(|next| next.place < apis.len()),
        };
        Ok((targets.collect(), next))
    }
}

impl ClusterWatches {
    /// ExternalSecrets, which are listed anew whenever that is asked for: by another watch, of which nothing is older than
    /// its list.
    fn external_secrets(&self) -> Changes {
        let (kept, again, apis) = (self.kept.clone(), self.again.clone(), self.apis());
        let watch = move || {
            let (kept, again) = (kept.clone(), again.clone());
            let parts = apis.iter().cloned().map(whole).collect();
            let told = follow(parts, move |update| external_secret(kept.take(update, ExternalSecret::ready)));
            told.take_until(async move { again.notified().await })
        };
        stream::repeat_with(watch).flatten().boxed()
    }

    /// Copiers of a kind, and their copies, where nobody else watches these.
    fn copiers(&self, kind: CopierKind) -> Vec<(List, Changes)> {
        match kind {
            CopierKind::ClusterExternalSecret => {
                let copiers = follow(self.whole(), self.keep(cluster_external_secret, ClusterExternalSecret::ready));
                vec![(List::Subject(SubjectKind::ClusterExternalSecret), copiers)]
            }
            CopierKind::ClusterPushSecret => {
                let copiers = follow(self.whole(), self.keep(cluster_push_secret, ClusterPushSecret::ready));
                let mut all = vec![(List::Subject(SubjectKind::ClusterPushSecret), copiers)];
                if !self.pushes {
                    all.push((List::PushSecrets, follow(self.whole(), push_copy)));
                }
                all
            }
        }
    }

    /// `change` of what there is room for.
    fn keep<K>(
        &self,
        change: fn(Update<Result<K, Refused>>) -> Change,
        ready: fn(&K) -> Option<&Condition>,
    ) -> impl Fn(Update<Guarded<K>>) -> Change + Send + 'static
    where
        K: Resource + Serialize + 'static,
    {
        let kept = self.kept.clone();
        move |update| change(kept.take(update, ready))
    }

    fn follow<K>(&self, change: impl Fn(Update<K>) -> Change + Send + 'static) -> Changes
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        follow(self.apis().into_iter().map(whole).collect(), change)
    }

    /// Objects of a kind, wherever we look.
    fn apis<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Vec<Api<K>> {
        match &self.scope {
            Scope::All => vec![Api::all(self.client.clone())],
            Scope::These(names) => names.iter().map(|name| Api::namespaced(self.client.clone(), name)).collect(),
        }
    }

    /// Objects of a kind in the whole cluster.
    fn whole<K: Resource<DynamicType = ()>>(&self) -> Vec<Part<K>> {
        vec![whole(Api::all(self.client.clone()))]
    }

    /// The namespaces that we look after.
    fn namespaces(&self) -> Vec<Part<PartialObjectMeta<Namespace>>> {
        match &self.scope {
            Scope::All => self.whole(),
            Scope::These(names) => {
                let one = |name: &String| {
                    let config = paged().fields(&format!("metadata.name={name}"));
                    (Api::all(self.client.clone()), config)
                };
                names.iter().map(one).collect()
            }
        }
    }
}

/// What a watch tells of one of ours.
fn told<K: Resource + Send + 'static>(object: Result<K, Refused>) -> Told<Own> {
    Told { name: kept::name(&object), object }.pass_on()
}

fn external_secret(update: Update<Result<ExternalSecret, Refused>>) -> Change {
    Change::Subject(SubjectKind::ExternalSecret, update.map(told))
}

fn push_secret(update: Update<Result<PushSecret, Refused>>) -> Change {
    Change::Subject(SubjectKind::PushSecret, update.map(told))
}

fn secret_store(update: Update<Result<SecretStore, Refused>>) -> Change {
    Change::Subject(SubjectKind::SecretStore, update.map(|taken| store(taken, Store::namespaced)))
}

fn cluster_store(update: Update<Result<ClusterSecretStore, Refused>>) -> Change {
    Change::Subject(SubjectKind::ClusterSecretStore, update.map(|taken| store(taken, Store::cluster)))
}

fn generator_state(update: Update<Result<GeneratorState, Refused>>) -> Change {
    Change::Subject(SubjectKind::GeneratorState, update.map(told))
}

fn sealed_secret(update: Update<PartialObjectMeta<SealedSecret>>) -> Change {
    let told = update.map(|sealed| Told { name: name_of(&sealed.metadata), object: Ok(sealed.metadata) });
    Change::Subject(SubjectKind::SealedSecret, told.map(Told::pass_on))
}

/// A store that is not taken is one that can't be used: that says its condition, and those of its users.
fn store<K>(taken: Result<K, Refused>, of: fn(K) -> Store) -> Told<Own> {
    let refused = |Refused { metadata, limit, ready }| match limit {
        None => Store::undecodable(*metadata),
        Some(limit) => {
            Store::refused(*metadata, format!("there is no room for it: {limit}"), ready.map(|ready| *ready))
        }
    };
    let store = taken.map_or_else(refused, of);
    Told { name: name_of(&store.metadata), object: Ok(store) }.pass_on()
}

fn cluster_external_secret(update: Update<Result<ClusterExternalSecret, Refused>>) -> Change {
    Change::Subject(SubjectKind::ClusterExternalSecret, update.map(copier))
}

fn cluster_push_secret(update: Update<Result<ClusterPushSecret, Refused>>) -> Change {
    Change::Subject(SubjectKind::ClusterPushSecret, update.map(copier))
}

fn copier<K: Into<Copier>>(taken: Result<K, Refused>) -> Told<Own> {
    let taken = taken.map(K::into);
    let metadata = match &taken {
        Ok(copier) => &copier.metadata,
        Err(refused) => &*refused.metadata,
    };
    Told { name: name_of(metadata), object: taken }.pass_on()
}

/// A PushSecret where nobody looks after it, as one that may be a copy.
fn push_copy(update: Update<Guarded<PushSecret>>) -> Change {
    let seen = |Guarded(copy): Guarded<PushSecret>| match copy {
        Ok(copy) => (name_of(&copy.metadata), Seen::push_secret(&copy)),
        Err(metadata) => (name_of(&metadata), Seen::undecodable(CopierKind::ClusterPushSecret, &metadata)),
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

/// How many objects a watch lists at once when it begins: each may hold a MiB, and is there twice while it is decoded. A list
/// that streams would hold one at a time, but may tell of a state before the one that was seen last, by which copies went.
const LISTED: u32 = 50;

fn paged() -> watcher::Config {
    watcher::Config::default().page_size(LISTED)
}

/// What one watch follows of a kind.
type Part<K> = (Api<K>, watcher::Config);

/// All that is there.
fn whole<K>(api: Api<K>) -> Part<K> {
    (api, paged())
}

/// Follows one kind for ever, with a watch for each part. What goes wrong is told and tried again with back-off.
fn follow<K>(parts: Vec<Part<K>>, change: impl Fn(Update<K>) -> Change + Send + 'static) -> Changes
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let watches = parts.into_iter().map(|(api, config)| {
        let mut relist = Relist::default();
        let updates = watcher(api, config).backoff(Patience::default()).filter_map(move |event| {
            ready(match event {
                Ok(event) => relist.take(event.modify(trim)).map(Ok),
                Err(error) => {
                    tell(&K::kind(&()), error, "`keyferry crds | kubectl apply -f -` installs it");
                    None
                }
            })
        });
        updates.boxed()
    });
    joined(watches.collect()).filter_map(move |update| ready(update.ok().map(&change))).boxed()
}

/// What several watches of one kind tell, as if it were one: a list is complete when all are. What failed passes through.
fn joined<K>(watches: Vec<BoxStream<'static, News<K>>>) -> BoxStream<'static, News<K>>
where
    K: Resource + Send + 'static,
{
    if watches.len() == 1 {
        // Nothing need be remembered.
        return select_all(watches).boxed();
    }
    let mut union = Union::of(watches.len());
    let numbered = watches.into_iter().enumerate().map(|(part, watch)| watch.map(move |news| (part, news)));
    let updates = select_all(numbered).filter_map(move |(part, news)| {
        ready(match news {
            Ok(update) => union.take(part, update).map(Ok),
            Err(listed) => Some(Err(listed)),
        })
    });
    updates.boxed()
}

/// What a watch tells; the error says whether it had listed what there is when it failed.
type News<K> = Result<Update<K>, bool>;

/// The same for a kind that need not be there, nor be ours to read: what can't be listed is taken for none.
fn follow_where_there<K>(apis: Vec<Api<K>>, change: impl Fn(Update<K>) -> Change + Send + 'static) -> Changes
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let watches = apis.into_iter().map(|api| {
        let mut relist = Relist::default();
        let updates = watcher(api, paged()).default_backoff().filter_map(move |event| {
            ready(match event {
                Ok(event) => relist.take(event.modify(trim)).map(Ok),
                Err(error) => {
                    let is_there = !matches!(error, watcher::Error::InitialListFailed(_));
                    tell(&K::kind(&()), error, "`keyferry crds | kubectl apply -f -` installs it");
                    (!is_there).then(|| Ok(Update::Listed(HashSet::new())))
                }
            })
        });
        updates.boxed()
    });
    joined(watches.collect()).filter_map(move |update| ready(update.ok().map(&change))).boxed()
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
