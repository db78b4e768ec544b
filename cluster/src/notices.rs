//! The port for what is told of stores, and of objects that do not decode, over the API server.

use std::time::Duration;

use async_trait::async_trait;
use keyferry_crds::{ClusterSecretStore, Condition, SecretStore, SecretStoreStatus, names};
use keyferry_sync::ports::{Notices, Problem};
use keyferry_sync::record::Note;
use keyferry_sync::store::Store;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta};
use serde_json::json;

use crate::client::Turns;
use crate::events::Events;
use crate::status::{self, Size};

/// Seconds between attempts to tell an object why its spec is not read.
const TELLING: [u64; 5] = [1, 4, 15, 60, 60];

/// That of what is refused: of what found no room it is known, of what does not decode it may be anything.
const REFUSED: Size = Size::Large;

/// Statuses and events of a cluster.
pub struct ClusterNotices {
    client: kube::Client,
    events: Events,
    turns: Turns,
}

impl ClusterNotices {
    /// In the cluster of this client; `turns` say how many requests go out at once: all stores are checked when we start.
    pub fn new(client: kube::Client, events: Events, turns: Turns) -> Self {
        Self { client, events, turns }
    }

    fn turns(&self, namespace: Option<&String>) -> Turns {
        self.turns.of(namespace.map_or("", String::as_str))
    }
}

#[async_trait]
impl Notices for ClusterNotices {
    async fn status(&self, store: &Store, status: &SecretStoreStatus) -> Result<(), Problem> {
        let (turns, client) = (self.turns(store.id.namespace.as_ref()), self.client.clone());
        let name = &store.id.name;
        let size = store.spec.as_ref().map_or(REFUSED, |spec| Size::of(&(&store.metadata, spec)));
        let patch = json!({"metadata": {"uid": store.uid()}, "status": status});
        match &store.id.namespace {
            Some(namespace) => {
                let api = Api::<SecretStore>::namespaced(client, namespace);
                status::patch(&turns, &api, name, size, &patch).await
            }
            None => status::patch(&turns, &Api::<ClusterSecretStore>::all(client), name, size, &patch).await,
        }?;
        Ok(())
    }

    fn note(&self, store: &Store, note: Note) {
        let component = match store.id.namespace {
            Some(_) => names::EVENTS_SECRET_STORE,
            None => names::EVENTS_CLUSTER_SECRET_STORE,
        };
        self.events.send(store.object_ref(), component, note);
    }

    async fn set_conditions(&self, resource: &ApiResource, mut metadata: ObjectMeta, conditions: Vec<Condition>) {
        let name = metadata.name.clone().unwrap_or_default();
        // Of any form: only its metadata are read.
        let api: Api<DynamicObject> = match &metadata.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        };
        let turns = self.turns(metadata.namespace.as_ref());
        for wait in TELLING {
            // By its resourceVersion: the object may have been mended since, and synced.
            let seen = json!({"uid": metadata.uid, "resourceVersion": metadata.resource_version});
            let patch = json!({"metadata": seen, "status": {"conditions": conditions}});
            let Err(problem) = status::patch(&turns, &api, &name, REFUSED, &patch).await else { return };
            tracing::warn!(namespace = metadata.namespace, name, %problem, "could not write the status");
            if problem.is_not_found() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(wait)).await;
            match turns.run(async || api.get_metadata_opt(&name).await).await {
                Ok(Some(now)) if now.metadata.uid == metadata.uid && now.metadata.generation == metadata.generation => {
                    metadata = now.metadata;
                }
                Ok(_) => return,
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use futures::future::join_all;
    use kube::core::ApiResource;
    use tokio::time::Instant;

    use super::*;
    use crate::leader::Lead;

    /// An API server that takes a moment, and knows how many requests it had at once at most.
    #[derive(Default)]
    struct Busy {
        now: AtomicUsize,
        most: AtomicUsize,
        all: AtomicUsize,
    }

    impl Busy {
        async fn serve(self: Arc<Self>) -> StatusCode {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            self.all.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            StatusCode::NOT_FOUND
        }
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_of_stores_are_told_a_few_at_a_time() {
        let busy = Arc::new(Busy::default());
        let server = busy.clone();
        let client = kube::Client::new(Router::new().fallback(move |_: Request| server.clone().serve()), "ns");
        let events = Events::start(client.clone(), || jiff::Timestamp::UNIX_EPOCH, Lead::always());
        let notices = ClusterNotices::new(client, events, Turns::new(3, Lead::always()));
        let store = |n: usize| {
            let mut store = SecretStore::new(&format!("s{n}"), keyferry_crds::SecretStoreSpec::default());
            store.metadata.namespace = Some("ns".to_owned());
            Store::namespaced(store)
        };
        let stores: Vec<Store> = (0..50).map(store).collect();
        let status = SecretStoreStatus::default();
        let told = join_all(stores.iter().map(|store| notices.status(store, &status))).await;
        assert!(told.iter().all(Result::is_err));
        assert_eq!((busy.all.load(Ordering::SeqCst), busy.most.load(Ordering::SeqCst)), (50, 3));
        let kind = ApiResource::erase::<SecretStore>(&());
        let undecodable = stores.iter().map(|store| notices.set_conditions(&kind, store.metadata.clone(), Vec::new()));
        // Of those that are refused one, with a rest after each, and another namespace's beside it.
        busy.most.store(0, Ordering::SeqCst);
        join_all(undecodable).await;
        assert_eq!((busy.all.load(Ordering::SeqCst), busy.most.load(Ordering::SeqCst)), (100, 1));
        let of = |n: usize| ObjectMeta { namespace: Some(format!("ns{}", n % 2)), ..stores[n].metadata.clone() };
        let refused: Vec<Store> = (0..50).map(|n| Store::undecodable(of(n))).collect();
        let begun = Instant::now();
        let told = join_all(refused.iter().map(|store| notices.status(store, &status))).await;
        assert!(told.iter().all(Result::is_err));
        let took = begun.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&took), "{took:?}");
        assert_eq!(busy.all.load(Ordering::SeqCst), 150);
        // What is large of one that is used may be its metadata.
        let large = |n: usize| {
            let mut metadata = of(n);
            metadata.annotations = Some([("a".to_owned(), "x".repeat(100_000))].into());
            let mut store = SecretStore::new("", keyferry_crds::SecretStoreSpec::default());
            store.metadata = metadata;
            Store::namespaced(store)
        };
        let used: Vec<Store> = (0..50).map(large).collect();
        let begun = Instant::now();
        join_all(used.iter().map(|store| notices.status(store, &status))).await;
        assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}
