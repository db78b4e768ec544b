//! Whether who uses Secrets changes in a namespace that a page shows: pods, and what makes them, are watched by their metadata alone,
//! for as long as a page asks for that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, StreamExt as _, select_all};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ObjectMeta, PartialObjectMeta};
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};

use crate::verbs::follow::is_refused;
use crate::verbs::gather::is_made;

/// What changes within this time is told together: pods come and go by the dozen.
const GATHER: Duration = Duration::from_millis(500);

/// The kinds that are watched.
const KINDS: usize = 7;

/// The objects of a kind that may use Secrets: by UID, which version of their spec.
type Seen = BTreeMap<String, i64>;

/// What is told of one kind.
enum News {
    /// All that there are.
    All(Seen),
    /// One that was made or changed.
    Put(String, i64),
    /// One that was deleted.
    Gone(String),
    /// It may not be watched.
    Refused,
}

/// What has been told so far.
struct Known {
    of: [Seen; KINDS],
    listing: BTreeSet<usize>,
}

impl Known {
    fn nothing() -> Self {
        Self { of: Default::default(), listing: (0..KINDS).collect() }
    }

    /// Takes what is told of a kind; answers whether that is to be told on: once all is listed, and then what changes.
    fn take(&mut self, kind: usize, news: News) -> bool {
        let (of, was_listing) = (&mut self.of[kind], !self.listing.is_empty());
        let is_news = match news {
            News::All(seen) => {
                self.listing.remove(&kind);
                std::mem::replace(of, seen.clone()) != seen
            }
            News::Put(uid, generation) => of.insert(uid, generation) != Some(generation),
            News::Gone(uid) => of.remove(&uid).is_some(),
            News::Refused => {
                self.listing.remove(&kind);
                false
            }
        };
        self.listing.is_empty() && (was_listing || is_news)
    }
}

/// Tells when who uses Secrets changes in a namespace, and once before, when all is listed. It goes on for as long as it is wanted,
/// which is asked for again when that is over.
pub async fn follow(client: &Client, namespace: &str, wanted_until: impl Fn() -> Option<Instant>, changed: impl Fn()) {
    let (mut news, mut known) = (all(client, namespace), Known::nothing());
    let (mut until, mut due) = (Instant::now(), None);
    loop {
        tokio::select! {
            Some((kind, told)) = news.next(), if !news.is_empty() => {
                if known.take(kind, told) {
                    due.get_or_insert_with(|| Instant::now() + GATHER);
                }
            }
            () = sleep_until(due.unwrap_or(until)), if due.is_some() => {
                due = None;
                changed();
            }
            () = sleep_until(until) => match wanted_until() {
                Some(later) => until = later,
                None => return,
            },
        }
    }
}

/// What is told of all kinds, each by its number.
fn all(client: &Client, namespace: &str) -> SelectAll<BoxStream<'static, (usize, News)>> {
    let streams: [BoxStream<'static, News>; KINDS] = [
        of_kind::<Pod>(client, namespace, "pods"),
        of_kind::<Deployment>(client, namespace, "deployments"),
        of_kind::<ReplicaSet>(client, namespace, "replicasets"),
        of_kind::<StatefulSet>(client, namespace, "statefulsets"),
        of_kind::<DaemonSet>(client, namespace, "daemonsets"),
        of_kind::<CronJob>(client, namespace, "cronjobs"),
        of_kind::<Job>(client, namespace, "jobs"),
    ];
    select_all(streams.into_iter().enumerate().map(|(kind, news)| news.map(move |news| (kind, news)).boxed()))
}

/// What is told of one kind. It ends where that may not be watched.
fn of_kind<K>(client: &Client, namespace: &str, kinds: &'static str) -> BoxStream<'static, News>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(client.clone(), namespace);
    let mut listed = Seen::new();
    let mut news = move |event: watcher::Result<Event<PartialObjectMeta<K>>>| match event {
        Ok(Event::Init) => {
            listed.clear();
            None
        }
        Ok(Event::InitApply(of)) => {
            listed.extend(seen(kinds, of.metadata));
            None
        }
        Ok(Event::InitDone) => Some(News::All(std::mem::take(&mut listed))),
        Ok(Event::Apply(of)) => seen(kinds, of.metadata).map(|(uid, generation)| News::Put(uid, generation)),
        Ok(Event::Delete(of)) => of.metadata.uid.map(News::Gone),
        // A watch that breaks off begins anew by itself.
        Err(error) => is_refused(error).then_some(News::Refused),
    };
    let events = watcher::watcher(api, watcher::Config::default()).default_backoff();
    let told = events.filter_map(move |event| std::future::ready(news(event)));
    let mut has_ended = false;
    let told = told.take_while(move |news| {
        let goes_on = !has_ended;
        has_ended = matches!(news, News::Refused);
        std::future::ready(goes_on)
    });
    told.boxed()
}

/// One that is listed itself as a user of Secrets, and which version of its spec.
fn seen(kinds: &str, metadata: ObjectMeta) -> Option<(String, i64)> {
    let uid = metadata.uid.clone().filter(|_| !is_made(kinds, &metadata))?;
    Some((uid, metadata.generation.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_told_once_all_is_listed_and_then_what_changes() {
        let mut known = Known::nothing();
        let one = || Seen::from([("a".to_owned(), 1)]);
        for kind in 0..KINDS - 1 {
            assert!(!known.take(kind, News::All(one())));
        }
        assert!(!known.take(0, News::Put("b".to_owned(), 1)), "it is listed still");
        assert!(known.take(KINDS - 1, News::Refused), "what may not be watched is not waited for");
        assert!(known.take(0, News::Put("b".to_owned(), 2)));
        assert!(!known.take(0, News::Put("b".to_owned(), 2)), "its status is nobody's use of a Secret");
        assert!(known.take(0, News::Gone("b".to_owned())) && !known.take(0, News::Gone("b".to_owned())));
        assert!(!known.take(1, News::All(one())), "a list that is made anew tells the same");
        assert!(known.take(1, News::All(Seen::new())));
    }

    #[test]
    fn pods_that_their_maker_stands_for_are_passed_over() {
        let pod = |owner: &str| {
            let owners = json!([{"apiVersion": "apps/v1", "kind": owner, "name": "o", "uid": "o", "controller": true}]);
            serde_json::from_value(json!({"uid": "p", "ownerReferences": owners})).unwrap()
        };
        assert_eq!(seen("pods", pod("ReplicaSet")), None);
        assert_eq!(seen("pods", pod("Another")), Some(("p".to_owned(), 0)));
    }
}
