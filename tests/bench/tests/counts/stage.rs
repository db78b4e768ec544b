//! What every test has: a control plane, a double, two watches, and the operator once it is started.

use std::time::{Duration, Instant};

use keyferry_bench::api::Requests;
use keyferry_bench::subject::Subject;
use keyferry_bench::watch::{Ready, Seen, Watch};
use keyferry_bench::{Bed, Double, Fleet, StoreKind};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// How long anything may take that is not a matter of intervals. Long, because machines are busy.
pub const SOON: Duration = Duration::from_secs(180);

pub struct Stage {
    pub bed: Bed,
    pub double: Double,
    pub watch: Watch,
    pub subject: Option<Subject>,
    pub fleet: Fleet,
}

impl Stage {
    /// A store with the values of so many ExternalSecrets, of which there are none yet, in these namespaces.
    pub async fn new(store: StoreKind, objects: usize, interval: u64, namespaces: &[&str]) -> Self {
        let bed = Bed::start().await.unwrap();
        let double = Double::start();
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        let fleet = Fleet { store, objects, interval, namespaces };
        fleet.put_store(&bed, &double).await.unwrap();
        fleet.put_values(&bed, &double, 1).await.unwrap();
        let watch = Watch::open(&bed.client()).await.unwrap();
        Self { bed, double, watch, subject: None, fleet }
    }

    pub async fn create_all(&self) {
        self.bed.create(&self.fleet.external_secrets()).await.unwrap();
    }

    pub fn start(&mut self) {
        let args = ["--enable-leader-election=false", "--loglevel=debug"];
        let subject = Subject::start(self.bed.testbed(), &self.double, None, &args);
        self.subject = Some(subject.unwrap());
    }

    /// Waits until `missing` is zero.
    #[track_caller]
    pub fn until(
        &mut self,
        what: &str,
        limit: Duration,
        missing: impl Fn(&Seen) -> usize,
    ) -> impl Future<Output = Instant> {
        let caller = std::panic::Location::caller();
        async move {
            let Self { watch, subject, .. } = self;
            let subject = subject.as_mut().expect("the operator runs");
            match watch.until(what, limit, || subject.check(), missing).await {
                Ok(at) => at,
                Err(error) => panic!("{caller}: {error:#}; the end of the log:\n{}", subject.log_end()),
            }
        }
    }

    /// Waits until the whole fleet holds the values of a round.
    #[track_caller]
    pub fn until_synced(&mut self, round: usize) -> impl Future<Output = Instant> {
        let fleet = self.fleet.clone();
        self.until("synced", SOON, move |seen| seen.missing(&fleet, round))
    }

    /// Waits until the double was asked for so many keys.
    pub async fn until_keys_read(&self, keys: usize, limit: Duration) {
        let begun = Instant::now();
        while self.double.counts().keys() < keys {
            assert!(begun.elapsed() < limit, "{} of {keys} keys were read", self.double.counts().keys());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The counters of the API server.
    pub async fn requests(&self) -> Requests {
        Requests::read(&self.bed.client()).await.unwrap()
    }

    /// Waits until so many events were told since `before`, and nothing is asked of the API server for some seconds; gives
    /// the counters then.
    pub async fn until_settled(&self, before: &Requests, events: u64) -> Requests {
        const STILL: Duration = Duration::from_secs(3);
        let begun = Instant::now();
        let mut last = self.requests().await;
        loop {
            tokio::time::sleep(STILL).await;
            let now = self.requests().await;
            let told = now.since(before).about("events").get("POST").copied().unwrap_or_default();
            if told >= events && now.of_operators() == last.of_operators() {
                return now;
            }
            assert!(begun.elapsed() < SOON, "{told} events, and since {STILL:?}: {:?}", now.since(&last));
            last = now;
        }
    }

    /// The condition of one of the fleet.
    pub fn ready(&self, n: usize) -> Ready {
        let name = (self.fleet.namespace(n).to_owned(), self.fleet.name(n));
        let ready = self.watch.look(|seen| seen.ready.get(&name).cloned());
        ready.unwrap_or_else(|| panic!("{name:?} has no condition"))
    }

    /// Asks for a refresh of one of the fleet, as people do.
    pub async fn force_sync(&self, n: usize) {
        let annotation = json!({"external-secrets.io/force-sync": format!("{:016x}", rand::random::<u64>())});
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotation}}));
        let external_secrets = self.bed.api("ExternalSecret", Some(self.fleet.namespace(n)));
        external_secrets.patch_metadata(&self.fleet.name(n), &PatchParams::default(), &patch).await.unwrap();
    }

    /// The message of the store's condition.
    pub async fn store_message(&self) -> String {
        let store = self.bed.api("ClusterSecretStore", None).get(keyferry_bench::fleet::STORE).await.unwrap();
        let condition: &Value = &store.data["status"]["conditions"][0];
        condition["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The end: the operator ends well.
    pub fn finish(self) {
        self.subject.expect("the operator runs").stop().unwrap();
    }
}
