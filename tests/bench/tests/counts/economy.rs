//! Refreshes share calls, and those that change nothing cost the API server nothing.

use std::time::Duration;

use keyferry_bench::StoreKind;

use crate::stage::{SOON, Stage};

/// Longer than the first sync takes on a busy machine: its reads are counted before the next.
const INTERVAL: u64 = 20;

pub async fn aws() {
    economy(StoreKind::Aws, 200, 10).await;
}

pub async fn ssm() {
    economy(StoreKind::Ssm, 100, 10).await;
}

/// So many objects on as many keys need at most so many calls for each refresh of them all.
async fn economy(store: StoreKind, objects: usize, calls: usize) {
    let mut stage = Stage::new(store, objects, INTERVAL, &["a", "b", "c"]).await;
    stage.create_all().await;
    let before = stage.requests().await;
    stage.start();
    stage.until_synced(1).await;
    let first = stage.double.reset_counts();
    assert!(first.total() <= calls, "first sync: {}", first.story());
    assert_eq!(first.keys(), objects, "each key once");

    // What the first sync leaves behind is written: events, the last statuses.
    let before = stage.until_settled(&before, objects as u64).await;
    stage.double.reset_counts();
    stage.until_keys_read(3 * objects, SOON + Duration::from_secs(5 * INTERVAL)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = stage.double.reset_counts();
    let requests = stage.requests().await.since(&before);
    let rounds = idle.keys().div_ceil(objects);
    assert!(idle.total() <= rounds * calls, "{rounds} refreshes: {}", idle.story());
    for resource in ["secrets", "externalsecrets", "externalsecrets/status", "events"] {
        assert!(requests.about(resource).is_empty(), "{resource}: {:?}", requests.about(resource));
    }

    stage.fleet.put_values(&stage.bed, &stage.double, 2).await.unwrap();
    let before = stage.requests().await;
    stage.until_synced(2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let rotation = stage.double.counts();
    let rounds = rotation.keys().div_ceil(objects);
    assert!(rotation.total() <= rounds * calls, "{rounds} refreshes: {}", rotation.story());
    let requests = stage.requests().await.since(&before);
    let about = requests.about("secrets");
    assert_eq!(about, [("PATCH", objects as u64)].into(), "one write for one change, and no read");
    stage.finish();
}
