//! Follows the ExternalSecrets, PushSecrets and stores of a cluster as they change, as far as whoever asks may watch them.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, SelectAll, StreamExt as _, select_all};
use keyferry_cluster::guarded::Guarded;
use keyferry_cluster::problem::ApiProblem;
use keyferry_crds::{ClusterSecretStore, ExternalSecret, PushSecret, SecretStore};
use keyferry_sync::store::Store;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::gather::{self, scoped_guard};
use crate::report::snapshot::{Object, Read};

/// Which object: its kind, its namespace, which is empty where it has none, and its name.
pub type Key = (&'static str, String, String);

/// The kinds that are followed.
pub const KINDS: [&str; 4] = ["ExternalSecret", "PushSecret", "SecretStore", "ClusterSecretStore"];

/// What is told.
pub enum Change {
    /// An object was made, or changed, or is there when it begins.
    Put(Key, Object),
    /// One was deleted.
    Gone(Key),
    /// All of a kind that there are now.
    All(&'static str, BTreeSet<Key>),
    /// A kind can't be read.
    Unread {
        /// The kind.
        kind: &'static str,
        /// Why, for a person.
        why: String,
        /// Whether it is forbidden or not there, so that asking at once would tell the same.
        is_refused: bool,
    },
}

/// The changes of a namespace, or of all, with the stores of the cluster. What is refused is asked for again after this time, since
/// rights and kinds may arrive; without it, it ends when nothing can be watched.
pub fn all(client: &Client, namespace: Option<&str>, again: Option<Duration>) -> SelectAll<BoxStream<'static, Change>> {
    let [of_es, of_ps, of_ss, of_css] = KINDS;
    let secrets = scoped_guard::<ExternalSecret>(client, namespace);
    let pushes = scoped_guard::<PushSecret>(client, namespace);
    let stores = scoped_guard::<SecretStore>(client, namespace);
    let of_cluster: Api<Guarded<ClusterSecretStore>> = Api::all(client.clone());
    select_all([
        over_again(again, move || changes(secrets.clone(), of_es, |of| Object::ExternalSecret(Arc::new(of)))),
        over_again(again, move || changes(pushes.clone(), of_ps, |of| Object::PushSecret(Arc::new(of)))),
        over_again(again, move || {
            changes(stores.clone(), of_ss, |of| {
                Object::Store(Arc::new(of.map_or_else(|metadata| Store::undecodable(*metadata), Store::namespaced)))
            })
        }),
        over_again(again, move || {
            changes(of_cluster.clone(), of_css, |of| {
                Object::Store(Arc::new(of.map_or_else(|metadata| Store::undecodable(*metadata), Store::cluster)))
            })
        }),
    ])
}

/// Begins anew so long after an end, where that is wanted.
fn over_again(
    again: Option<Duration>,
    begin: impl Fn() -> BoxStream<'static, Change> + Send + 'static,
) -> BoxStream<'static, Change> {
    let Some(pause) = again else { return begin() };
    let each = stream::unfold((begin, Duration::ZERO), move |(begin, wait)| async move {
        tokio::time::sleep(wait).await;
        Some((begin(), (begin, pause)))
    });
    each.flatten().boxed()
}

/// Why a watch failed, as far as that is known.
fn problem_of(error: watcher::Error) -> ApiProblem {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error.into(),
        watcher::Error::WatchError(status) => kube::Error::Api(status).into(),
        watcher::Error::NoResourceVersion => ApiProblem::Malformed,
    }
}

/// Whether a watch failed since it is forbidden, or the kind is not there: asking at once would tell the same.
pub fn is_refused(error: watcher::Error) -> bool {
    is_refusal(&problem_of(error))
}

fn is_refusal(problem: &ApiProblem) -> bool {
    problem.is_status(403) || problem.is_not_found()
}

/// The changes of one kind. It ends where that may not be watched, or is not there, which is told.
fn changes<K>(api: Api<Guarded<K>>, kind: &'static str, object: fn(Read<K>) -> Object) -> BoxStream<'static, Change>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + DeserializeOwned + 'static,
{
    let key = move |of: &Guarded<K>| {
        let metadata = of.meta();
        (kind, metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
    };
    let put = move |mut of: Guarded<K>| {
        // Nobody reads who wrote which field, which is a good part of an object.
        of.meta_mut().managed_fields = None;
        Some(Change::Put(key(&of), object(gather::read(of))))
    };
    let mut listed = BTreeSet::new();
    let step = move |event: watcher::Result<Event<Guarded<K>>>| {
        let is_list = matches!(event, Err(watcher::Error::InitialListFailed(_)));
        match event {
            Ok(Event::Init) => (None, true),
            Ok(Event::InitApply(of)) => {
                listed.insert(key(&of));
                (put(of), true)
            }
            Ok(Event::InitDone) => (Some(Change::All(kind, std::mem::take(&mut listed))), true),
            Ok(Event::Apply(of)) => (put(of), true),
            Ok(Event::Delete(of)) => (Some(Change::Gone(key(&of))), true),
            Err(error) => {
                // Of a list that failed half way the next tells all anew.
                listed.clear();
                let problem = problem_of(error);
                let is_refused = is_refusal(&problem);
                let why = gather::unlisted(&format!("{kind}s"), &problem);
                // A watch that breaks off begins anew by itself.
                let unread = (is_refused || is_list).then_some(Change::Unread { kind, why, is_refused });
                (unread, !is_refused)
            }
        }
    };
    // That a list begins is no success: a server that fails it is asked less and less often.
    let begins = |event: &watcher::Result<Event<Guarded<K>>>| matches!(event, Ok(Event::Init));
    let events = watcher::watcher(api, watcher::Config::default());
    let stream = events.filter(move |event| std::future::ready(!begins(event))).default_backoff().boxed();
    // A stream ends with what is refused: nothing is awaited after that.
    let steps = stream::unfold(Some((stream, step)), async |state| {
        let (mut stream, mut step) = state?;
        let (change, goes_on) = step(stream.next().await?);
        Some((change, goes_on.then_some((stream, step))))
    });
    steps.filter_map(std::future::ready).boxed()
}
