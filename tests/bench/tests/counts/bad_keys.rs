//! One bad key never fails its neighbours, and says what is wrong.

use keyferry_bench::StoreKind;
use keyferry_bench::double::{Refusal, Rule};

use crate::stage::{SOON, Stage};

const OBJECTS: usize = 100;
const DENIED: usize = 17;
const MISSING: usize = 38;
const MALFORMED: usize = 59;
const UNDECRYPTABLE: usize = 80;

pub async fn test() {
    let mut stage = Stage::new(StoreKind::Aws, OBJECTS, 3600, &["a", "b", "c"]).await;
    let key = |n: usize| stage.fleet.key(n);
    stage.double.script(Rule::refuse(Refusal::Denied).key(&key(DENIED)));
    stage.double.script(Rule::refuse(Refusal::Undecryptable).key(&key(UNDECRYPTABLE)));
    stage.double.remove(&key(MISSING));
    stage.double.set(&key(MALFORMED), "username: not JSON");
    stage.create_all().await;
    stage.start();
    let bad = [DENIED, MISSING, MALFORMED, UNDECRYPTABLE];
    let fleet = stage.fleet.clone();
    let all_judged = move |seen: &keyferry_bench::watch::Seen| {
        let condition = |n: usize| seen.ready.get(&(fleet.namespace(n).to_owned(), fleet.name(n)));
        let judged = |n: &usize| {
            if bad.contains(n) { condition(*n).is_some_and(|ready| !ready.is) } else { seen.is_synced(&fleet, *n, 1) }
        };
        (0..OBJECTS).filter(|n| !judged(n)).count()
    };
    stage.until("judged", SOON, all_judged).await;
    for (n, words) in [
        (DENIED, &["denies", "allow"][..]),
        (MISSING, &["has no secret"]),
        (MALFORMED, &["JSON"]),
        (UNDECRYPTABLE, &["decrypt"]),
    ] {
        let ready = stage.ready(n);
        assert_eq!(ready.reason, "SecretSyncedError", "{ready:?}");
        assert!(ready.message.contains(&stage.fleet.key(n)), "names its key: {ready:?}");
        for word in words {
            assert!(ready.message.contains(word), "{word}: {ready:?}");
        }
    }
    // No sync fell back to one call for each key. Those that fail are tried again and again, alone.
    let counts = stage.double.counts();
    let bad_keys = bad.map(|n| stage.fleet.key(n));
    let calls = counts.log().iter().filter(|call| call.keys.iter().any(|key| !bad_keys.contains(key))).count();
    assert!(calls <= 5 + 3 * bad.len(), "{calls} calls with healthy keys: {}", counts.story());
    stage.finish();
}
