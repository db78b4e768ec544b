//! Who creates or edits an ExternalSecret does not wait for those that refresh, nor for those that are rotated.

use std::time::Duration;

use keyferry_bench::double::Rule;
use keyferry_bench::urgent::{Waits, waits};
use keyferry_bench::{Fleet, StoreKind};

use crate::noise::Noise;
use crate::stage::Stage;

const OBJECTS: usize = 400;
/// So short that some are always under way.
const INTERVAL: u64 = 3;
const EACH: usize = 25;

/// How slow the store is: all of them take it a fifth of the interval, at its fastest.
const LATENCY: Duration = Duration::from_millis(100);

/// What nobody waits longer than, and what is added on a machine that is busy with other things.
const SOON_ENOUGH: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_millis(500);

/// How often it is handed on until it is there, each time as late as this machine wakes whoever is next: from us to the API
/// server and from there to the operator, to the store, twice to the API server, and to us, with an answer each time.
const HANDED_ON: u32 = 12;

/// How often it is tried: one moment in which this machine is busy elsewhere is no fault of the operator's.
const RUNS: usize = 3;

pub async fn test() {
    let mut stage = Stage::new(StoreKind::Aws, OBJECTS, INTERVAL, &["a", "b"]).await;
    let all = Fleet { objects: OBJECTS + RUNS * 2 * EACH, ..stage.fleet.clone() };
    all.put_values(&stage.bed, &stage.double, 1).await.unwrap();
    stage.create_all().await;
    stage.start();
    stage.until_synced(1).await;
    stage.double.script(Rule::delay(LATENCY));

    let mut late = Vec::new();
    for run in 0..RUNS {
        let (first, round, noise) = (OBJECTS + run * 2 * EACH, 1 + run, Noise::listen());
        let idle = waits(&stage.bed, &stage.watch, &stage.fleet, first..first + EACH, round).await.unwrap();
        stage.fleet.put_values(&stage.bed, &stage.double, round + 1).await.unwrap();
        let numbers = first + EACH..first + 2 * EACH;
        let rotating = waits(&stage.bed, &stage.watch, &stage.fleet, numbers, round + 1).await.unwrap();
        stage.until_synced(round + 1).await;
        let both = [Waits::of("while all refresh", idle), Waits::of("while all are rotated", rotating)];
        let most = SOON_ENOUGH + GRACE + HANDED_ON * noise.worst();
        if both.iter().all(|waits| waits.p99 <= most.as_secs_f64()) {
            return stage.finish();
        }
        late.push((both, most));
    }
    panic!("not one run of {RUNS} was quick: {late:#?}");
}
