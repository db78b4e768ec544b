//! A store that is slow, and users who apply one object after the other.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use keyferry_bench::StoreKind;
use keyferry_bench::double::Rule;

use crate::stage::{SOON, Stage};

const OBJECTS: usize = 200;
const EVERY: Duration = Duration::from_millis(20);
const LATENCY: Duration = Duration::from_millis(100);

/// How long a request may wait beyond calls that were under way. How exact the fetcher is, its own tests show; here it
/// is shown that nothing around it adds much, on a machine that is busy with other things.
const WAIT: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_millis(50);
const GRACE_OF_ONE: Duration = Duration::from_millis(500);

pub async fn test() {
    let mut stage = Stage::new(StoreKind::Aws, OBJECTS, 3600, &["a", "b"]).await;
    stage.double.script(Rule::delay(LATENCY));
    stage.start();
    // The store is looked at before anybody uses it.
    let store_ready = async {
        while !stage.store_message().await.contains("validated") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, store_ready).await.expect("the store is ready soon");
    stage.double.reset_counts();

    let begun = Instant::now();
    let noise = tokio::spawn(noise());
    let create = async |n: usize| {
        tokio::time::sleep_until((begun + EVERY * n as u32).into()).await;
        let object = stage.fleet.external_secret(n, "1h");
        keyferry_bench::bed::create(stage.bed.client(), &object).await.unwrap();
        Instant::now()
    };
    let create = &create;
    let created: Vec<Instant> =
        stream::iter(0..OBJECTS).map(async |n| create(n).await).buffered(OBJECTS).collect().await;
    stage.until_synced(1).await;

    let counts = stage.double.counts();
    let calls = counts.log();
    assert_eq!(counts.keys(), OBJECTS, "each key once");
    assert!(calls.len() <= 30, "{} calls: {:?}", calls.len(), counts.batches("BatchGetSecretValue"));
    let mut waits: Vec<Duration> = (0..OBJECTS)
        .map(|n| {
            let own = calls.iter().find(|call| call.keys.contains(&stage.fleet.key(n))).expect("it was fetched");
            // A call that was under way when it came is waited for: its own might fill meanwhile.
            let under_way = calls.iter().filter(|call| call.at <= created[n]).filter_map(|call| call.ended);
            let free = under_way.filter(|ended| *ended > created[n]).max().unwrap_or(created[n]);
            own.at.saturating_duration_since(free)
        })
        .collect();
    waits.sort();
    let noise = noise.await.expect("it ends by itself");
    let (half, longest) = (waits[OBJECTS / 2], waits[OBJECTS - 1]);
    assert!(half <= WAIT + GRACE + noise, "half of them waited longer than {half:?}; noise {noise:?}: {waits:?}");
    assert!(longest <= WAIT + GRACE_OF_ONE + 4 * noise, "one waited {longest:?}; noise {noise:?}: {waits:?}");
    stage.finish();
}

/// How much later than asked for this machine wakes who sleeps, at worst, while the objects are applied.
async fn noise() -> Duration {
    const NAP: Duration = Duration::from_millis(10);
    let (begun, mut worst) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < EVERY * OBJECTS as u32 {
        let napped = Instant::now();
        tokio::time::sleep(NAP).await;
        worst = worst.max(napped.elapsed().saturating_sub(NAP));
    }
    worst
}
