//! The IAM policy that External Secrets Operator documents knows no batch actions.

use keyferry_bench::StoreKind;
use keyferry_bench::double::{Refusal, Rule};

use crate::stage::{SOON, Stage};

const OBJECTS: usize = 60;

pub async fn secrets_manager() {
    test(StoreKind::Aws, "BatchGetSecretValue", "GetSecretValue", 0).await;
}

pub async fn parameter_store() {
    // This service does not say whether it is the action or a parameter that is denied: that takes one more of each.
    test(StoreKind::Ssm, "GetParameters", "GetParameter", 1).await;
}

/// As many batches fly at once.
const AT_ONCE: usize = 4;

async fn test(store: StoreKind, batch: &str, single: &str, probes: usize) {
    let mut stage = Stage::new(store, OBJECTS, 3600, &["a", "b"]).await;
    stage.double.script(Rule::refuse(Refusal::Denied).action(batch));
    stage.create_all().await;
    stage.start();
    // It never fails first: the batch that was refused is asked singly at once.
    let never_failed = |seen: &keyferry_bench::watch::Seen| {
        let failed = seen.ready.values().find(|ready| !ready.is);
        assert!(failed.is_none(), "{failed:?}");
    };
    let fleet = stage.fleet.clone();
    stage
        .until("synced", SOON, move |seen| {
            never_failed(seen);
            seen.missing(&fleet, 1)
        })
        .await;
    let first = stage.double.reset_counts();
    assert!(first.calls(batch) <= AT_ONCE * (1 + probes), "{:?}", first.by_action());
    assert!(first.calls(single) <= OBJECTS + AT_ONCE * probes, "{:?}", first.by_action());

    // From now on it does not even try.
    for n in 0..OBJECTS {
        stage.force_sync(n).await;
    }
    stage.until_keys_read(OBJECTS, SOON).await;
    let next = stage.double.reset_counts();
    assert_eq!(next.calls(batch), 0, "{:?}", next.by_action());
    let message = stage.store_message().await;
    assert!(message.contains("store validated") && message.contains("batch call is denied"), "{message}");
    stage.finish();
}
