//! A store that is slow, and users who apply one object after the other.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use keyferry_bench::StoreKind;
use keyferry_bench::double::Rule;

use crate::noise::Noise;
use crate::stage::{SOON, Stage};

const OBJECTS: usize = 200;
const EVERY: Duration = Duration::from_millis(20);
const LATENCY: Duration = Duration::from_millis(100);

/// How long a request may wait beyond calls that were under way. How exact the fetcher is, its own tests show; here it
/// is shown that nothing around it adds much, on a machine that is busy with other things.
const WAIT: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_millis(50);
const GRACE_OF_ONE: Duration = Duration::from_millis(500);

/// How often it is tried, each time with other keys: one moment in which this machine is busy elsewhere is no fault of
/// the operator's.
const RUNS: usize = 3;

/// Calls that a busy store may get within any such time: as long as the objects take to come.
const CALLS: usize = 30;
const WINDOW: Duration = Duration::from_secs(4);

pub async fn test() {
    let mut stage = Stage::new(StoreKind::Aws, RUNS * OBJECTS, 3600, &["a", "b"]).await;
    stage.double.script(Rule::delay(LATENCY));
    stage.start();
    // The store is looked at before anybody uses it.
    let store_ready = async {
        while !stage.store_message().await.contains("validated") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, store_ready).await.expect("the store is ready soon");

    let mut late = Vec::new();
    for run in 0..RUNS {
        match apply(&mut stage, run).await {
            Ok(()) => return stage.finish(),
            Err(why) => late.push(why),
        }
    }
    panic!("not one run of {RUNS} was quick: {late:#?}");
}

/// Applies one object after the other; says who waited too long.
async fn apply(stage: &mut Stage, run: usize) -> Result<(), String> {
    let numbers = run * OBJECTS..(run + 1) * OBJECTS;
    stage.double.reset_counts();
    let begun = Instant::now();
    let noise = Noise::listen();
    let create = async |n: usize| {
        tokio::time::sleep_until((begun + EVERY * (n % OBJECTS) as u32).into()).await;
        let object = stage.fleet.external_secret(n, "1h");
        keyferry_bench::bed::create(stage.bed.client(), &object).await.unwrap();
    };
    let create = &create;
    stream::iter(numbers.clone()).map(async |n| create(n).await).buffered(OBJECTS).collect::<Vec<()>>().await;
    let took = begun.elapsed();
    let (fleet, of_run) = (stage.fleet.clone(), numbers.clone());
    stage.until("synced", SOON, move |seen| of_run.clone().filter(|n| !seen.is_synced(&fleet, *n, 1)).count()).await;

    let counts = stage.double.counts();
    let calls = counts.log();
    assert_eq!(counts.keys(), OBJECTS, "each key once");
    for first in calls {
        let busy = calls.iter().filter(|call| call.at >= first.at && call.at < first.at + WINDOW).count();
        assert!(busy <= CALLS, "{busy} calls within {WINDOW:?}: {:?}", counts.batches("BatchGetSecretValue"));
    }
    let noise = noise.worst();
    // The way to the API server and back is nobody's wait for the store: from when a watch tells of it.
    let born = |n: usize| {
        let name = (stage.fleet.namespace(n).to_owned(), stage.fleet.name(n));
        stage.watch.look(|seen| seen.born.get(&name).copied()).expect("it was seen")
    };
    let mut waits: Vec<Duration> = numbers
        .map(|n| {
            let own = calls.iter().find(|call| call.keys.contains(&stage.fleet.key(n))).expect("it was fetched");
            let came = born(n);
            // A call that was under way when it came is waited for: its own might fill meanwhile.
            let under_way = calls.iter().filter(|call| call.at <= came).filter_map(|call| call.ended);
            let free = under_way.filter(|ended| *ended > came).max().unwrap_or(came);
            own.at.saturating_duration_since(free)
        })
        .collect();
    waits.sort();
    let (half, longest) = (waits[OBJECTS / 2], waits[OBJECTS - 1]);
    // The operator, the API server and the double are woken in turn, each as late as we are.
    if half > WAIT + GRACE + 4 * noise {
        return Err(format!("half of them waited longer than {half:?}; noise {noise:?}: {waits:?}"));
    }
    if longest > WAIT + GRACE_OF_ONE + 8 * noise {
        return Err(format!("one waited {longest:?}; noise {noise:?}: {waits:?}"));
    }
    // A machine that can't apply even half as fast shows less; in the last run that is what it can show.
    if took > 2 * WINDOW && run + 1 < RUNS {
        return Err(format!("the objects took {took:?}"));
    }
    Ok(())
}
