//! Parts fail for a while, under rotations: afterwards all is in sync, no target lost a key, and none was written twice
//! for one change.

use std::time::Duration;

use keyferry_bench::StoreKind;
use keyferry_bench::double::{Refusal, Rule};
use keyferry_bench::subject::Subject;
use keyferry_seed::Seed;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::stage::Stage;

const OBJECTS: usize = 40;
const INTERVAL: u64 = 3;

/// How long each trouble lasts.
const TROUBLE: Duration = Duration::from_secs(5);

/// How long all may take to be well after a trouble: a call that hangs is given up after half a minute, and who failed
/// is tried again within a minute.
const WELL_AGAIN: Duration = Duration::from_secs(120);

async fn synced() -> Stage {
    let mut stage = Stage::new(StoreKind::Aws, OBJECTS, INTERVAL, &["a", "b"]).await;
    stage.create_all().await;
    stage.start();
    stage.until_synced(1).await;
    stage
}

impl Stage {
    async fn rotate(&self, round: usize) {
        self.fleet.put_values(&self.bed, &self.double, round).await.unwrap();
    }

    /// All hold the values of a round, having been written at most once for each.
    async fn well_again(&mut self, after: &str, round: usize) {
        let fleet = self.fleet.clone();
        self.until(&format!("synced after {after}"), WELL_AGAIN, move |seen| seen.missing(&fleet, round)).await;
        self.watch.look(|seen| {
            assert!(seen.history.faults.is_empty(), "after {after}: {:#?}", seen.history.faults);
            for n in 0..self.fleet.objects {
                let name = (self.fleet.namespace(n).to_owned(), self.fleet.name(n));
                let versions = seen.history.versions[&name];
                assert!(versions <= round, "after {after}: {name:?} was written {versions} times in {round} rounds");
            }
        });
    }
}

pub async fn store() {
    let mut stage = synced().await;
    let troubles = [
        ("status 500", Rule::status(500)),
        ("status 503 for half of the calls", Rule::status(503).share(0.5)),
        ("status 429", Rule::status_retry_after(429, 1)),
        ("throttling", Rule::refuse(Refusal::Throttled)),
        ("no HTTP", Rule::garbage()),
        ("an empty object", Rule::nonsense("{}")),
        ("values of null", Rule::nonsense(r#"{"SecretValues": null, "Errors": null}"#)),
        ("JSON cut short", Rule::nonsense(r#"{"SecretValues": [{"Name": "bench/key-0"#)),
        ("resets", Rule::reset()),
        ("silence", Rule::hang()),
    ];
    for (round, (trouble, rule)) in (2..).zip(troubles) {
        stage.double.script(rule.lasting(TROUBLE));
        stage.rotate(round).await;
        tokio::time::sleep(TROUBLE).await;
        stage.well_again(trouble, round).await;
    }
    stage.finish();
}

pub async fn control_plane() {
    let mut stage = synced().await;
    let testbed = stage.bed.testbed().clone();

    testbed.kill("kube-apiserver").unwrap();
    stage.rotate(2).await;
    tokio::time::sleep(TROUBLE).await;
    let restarted = testbed.clone();
    tokio::task::spawn_blocking(move || restarted.restart("kube-apiserver").unwrap()).await.unwrap();
    stage.well_again("an API server that was killed", 2).await;

    // Writes under way may come to be although they seem to have failed.
    for round in 3..5 {
        stage.rotate(round).await;
        tokio::time::sleep(Duration::from_secs(INTERVAL / 2)).await;
        testbed.freeze("etcd").unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        testbed.thaw("etcd").unwrap();
        stage.well_again("a pause of etcd", round).await;
    }
    stage.finish();
}

pub async fn kills() {
    const KILLS: usize = 8;
    let seed = Seed::new("moments to kill at");
    let mut random = StdRng::seed_from_u64(seed.number());
    let mut stage = synced().await;
    for round in 2..2 + KILLS {
        stage.rotate(round).await;
        let life = Duration::from_millis(random.random_range(200..2500));
        tokio::time::sleep(life).await;
        stage.subject.take().expect("it runs").kill();
        stage.start();
    }
    // One more, so that the last process has worked before it is asked to end: one that is just starting ends by the signal.
    stage.rotate(2 + KILLS).await;
    stage.well_again("kills", 2 + KILLS).await;
    stage.finish();
}

pub async fn two_at_once() {
    let mut stage = synced().await;
    // Without the Lease, so that both write.
    let args = ["--enable-leader-election=false"];
    let second = Subject::start(stage.bed.testbed(), &stage.double, None, &args).unwrap();
    for round in 2..6 {
        stage.rotate(round).await;
        tokio::time::sleep(Duration::from_secs(INTERVAL)).await;
        stage.well_again("two at once", round).await;
    }
    second.stop().unwrap();
    stage.finish();
}
