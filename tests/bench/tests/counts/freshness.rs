//! Who asks after a write reads it, whatever else is under way.

use std::time::Duration;

use keyferry_bench::StoreKind;
use keyferry_bench::double::Rule;
use keyferry_seed::Seed;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::stage::{SOON, Stage};

const OBJECTS: usize = 60;
const WRITES: usize = 40;

pub async fn test() {
    // An hour: what was missed would stay missed.
    let mut stage = Stage::new(StoreKind::Aws, OBJECTS, 3600, &["a", "b"]).await;
    // All share five keys, so that calls with the key in question are always under way.
    let objects: Vec<_> = (0..OBJECTS)
        .map(|n| {
            let mut object = stage.fleet.external_secret(n, "1h");
            for entry in object["spec"]["data"].as_array_mut().unwrap() {
                entry["remoteRef"]["key"] = json!(stage.fleet.key(n % 5));
            }
            object
        })
        .collect();
    stage.bed.create(&objects).await.unwrap();
    stage.double.script(Rule::delay_between(Duration::from_millis(20), Duration::from_millis(120)));
    stage.start();
    stage.until("synced", SOON, |seen| OBJECTS - seen.ready.values().filter(|ready| ready.is).count()).await;

    let seed = Seed::new("moments to ask at");
    let mut random = StdRng::seed_from_u64(seed.number());
    for write in 0..WRITES {
        // Others ask for the same keys just before, during, and after.
        let load = futures::future::join_all((5..OBJECTS).map(|n| {
            let (stage, moment) = (&stage, Duration::from_millis(random.random_range(0..200)));
            async move {
                tokio::time::sleep(moment).await;
                stage.force_sync(n).await;
            }
        }));
        let subject = write % 5;
        let password = format!("the password of write {write:05}");
        let asked = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let value = json!({"username": "user", "password": password}).to_string();
            stage.double.set(&stage.fleet.key(subject), &value);
            stage.force_sync(subject).await;
        };
        futures::join!(load, asked);
        let name = (stage.fleet.namespace(subject).to_owned(), stage.fleet.name(subject));
        let arrived = |seen: &keyferry_bench::watch::Seen| {
            let data = seen.data.get(&name).and_then(|data| data.get("password"));
            usize::from(data.is_none_or(|is| is != password.as_bytes()))
        };
        stage.until(&format!("new after write {write}"), SOON, arrived).await;
    }
    stage.finish();
}
