//! What a store takes of the operator's memory: there may be ten thousand, and all are checked when it starts.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use futures::future::pending;
use keyferry::clock;
use keyferry::controller::Controller;
use keyferry::controller::index::{Index, SubjectKind};
use keyferry::controller::kept::Kept;
use keyferry::controller::store::{Checks, Stores};
use keyferry::controller::subject::Shared;
use keyferry::controller::watch::ClusterWatches;
use keyferry::metrics::Metrics;
use keyferry_cluster::client::Turns;
use keyferry_cluster::events::Events;
use keyferry_cluster::leader::Lead;
use keyferry_cluster::notices::ClusterNotices;
use keyferry_cluster::objects::ClusterObjects;
use keyferry_cluster::shards::{FIRST, Held, Work};
use keyferry_stores::access::{ControllerToken, LoginPorts};
use keyferry_stores::pool::{Pool, Rules};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

/// More than are looked at at once.
const STORES: usize = 5000;

/// The most that one may take, in KiB, while all of them are under way: it takes seven.
const MOST: usize = 9;

/// An API server with so many SecretStores and nothing else. It says nothing to whom a status is told before it may.
struct Server {
    statuses: AtomicUsize,
    may_answer: watch::Receiver<bool>,
}

impl Server {
    async fn serve(self: Arc<Self>, request: Request) -> Result<String, Infallible> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        if query.contains("watch=") {
            return pending().await;
        }
        let answer = match path.rsplit('/').next() {
            Some("secretstores") => stores(query),
            Some("status") => {
                self.statuses.fetch_add(1, Ordering::SeqCst);
                _ = self.may_answer.clone().wait_for(|may| *may).await;
                store(0)
            }
            _ => json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}),
        };
        Ok(answer.to_string())
    }
}

fn store(n: usize) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStore",
        "metadata": {
            "name": format!("store-{n}"),
            "namespace": "team",
            "uid": format!("6a1f6a5c-0000-4000-8000-{n:012}"),
            "resourceVersion": n.to_string(),
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"provider": {"fake": {"data": [{"key": "k", "value": "v"}]}}},
    })
}

/// The page that is asked for.
fn stores(query: &str) -> Value {
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|parameter| parameter.strip_prefix(name));
        found.and_then(|value| value.parse::<usize>().ok())
    };
    let first = parameter("continue=").unwrap_or_default();
    let end = STORES.min(first + parameter("limit=").unwrap_or(STORES));
    let next = if end < STORES { end.to_string() } else { String::new() };
    json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStoreList",
        "metadata": {"resourceVersion": "1", "continue": next},
        "items": (first..end).map(store).collect::<Vec<_>>(),
    })
}

/// The memory of this process that is no file's, in KiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A controller that checks SecretStores, wired as the operator's.
fn controller(client: &kube::Client, metrics: &Arc<Metrics>) -> Controller {
    let turns = Turns::new(10, Lead::always());
    let events = Events::start(client.clone(), clock::now, Lead::always());
    let objects = Arc::new(ClusterObjects::new(client.clone(), turns.clone(), "/nonexistent".into()));
    let ports = LoginPorts {
        objects: objects.clone(),
        accounts: objects,
        controller_token: ControllerToken::Never,
        refuse_api_audiences: true,
    };
    let index = Arc::new(Index::default());
    let (news, nothing) = (mpsc::unbounded_channel().0, Arc::new(|_: &str| None));
    let pool = Pool::new(Arc::new(ports), index.clone(), metrics.calls(), Rules::default(), nothing, news);
    let notices = Arc::new(ClusterNotices::new(client.clone(), events, turns));
    let checks = Arc::new(Checks {
        clients: Arc::new(pool),
        notices: notices.clone(),
        class: "default".to_owned(),
        every: Duration::from_secs(3600),
        pushes: false,
        now: clock::now,
    });
    let watches = ClusterWatches {
        client: client.clone(),
        scope: keyferry_sync::settings::Scope::All,
        cluster_stores: false,
        pushes: false,
        generator_states: false,
        sealed_secrets: false,
        copiers: Vec::new(),
        kinds: keyferry_cluster::target::kinds::Kinds::default(),
        kept: Kept::default(),
        again: Arc::default(),
    };
    let shared = Shared::new(index, metrics.clone(), notices, clock::now);
    let all = watch::channel(Held::from([(FIRST, Lead::always())]).into()).1;
    let (ready, work) = (watch::channel(false).0, watch::channel(Work::default()).0);
    let mut controller = Controller::new(shared, Arc::new(watches), ready, all, work);
    controller.tend(SubjectKind::SecretStore, Stores::namespaced(checks, true));
    controller
}

// On a paused clock nothing sleeps for less than it takes all others to have nothing left to do.
#[tokio::test(start_paused = true)]
async fn a_store_takes_little() {
    let (may, may_answer) = watch::channel(false);
    let server = Arc::new(Server { statuses: AtomicUsize::new(0), may_answer });
    let serving = server.clone();
    let router = Router::new().fallback(move |request: Request| serving.clone().serve(request));
    let (client, metrics) = (kube::Client::new(router, "team"), Arc::new(Metrics::new()));
    let controller = controller(&client, &metrics);
    let before = memory();
    let controller = tokio::spawn(controller.run(pending()));
    while server.statuses.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // All are under way now, and wait for the first to be answered.
    let under_way = memory();
    may.send_replace(true);
    let ready = || String::from_utf8(metrics.text()).unwrap().matches("status=\"True\"} 1\n").count();
    while ready() < STORES {
        assert!(!controller.is_finished(), "it works on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let each = (under_way.max(memory()) - before) / STORES;
    assert!(each <= MOST, "a store takes {each} KiB");
    controller.abort();
}
