//! When what a generator made ends, as the process after the one that made it knows it.

use std::sync::Arc;

use keyferry_builders::{at, es};
use keyferry_provider_core::Term;
use keyferry_sync::look::Memory;
use serde_json::json;

use super::world::{World, told};

#[tokio::test]
async fn when_it_ends_outlives_the_process_that_made_it() {
    let made = json!([{"sourceRef": {"generatorRef": {"kind": "Made", "name": "g"}}}]);
    let makes = |world: &World| world.calls().iter().any(|call| call.starts_with("make"));
    // When the target was written, when the next process looks, whether it makes another, and when the next is due.
    for (written, second, is_made, next) in [
        (0, 2999, false, Some(3000)),
        (0, 3000, true, Some(3600)),
        // Killed before the status was written: the new one is taken to work for as long as the one before.
        (3000, 3010, false, Some(6000)),
    ] {
        let world = World::new();
        world.state().generated.insert("pw".into(), "made-1".into());
        world.state().term = Some(Term { end: at(3600).into(), renews: false });
        let spec = json!({"data": [], "dataFrom": made, "refreshInterval": "2h"});
        let first = Arc::new(es(spec));
        let es = told(&first, &world.look(&first, &Memory::default(), 0).await);
        assert!(makes(&world));
        world.state().written_at = Some(at(written));
        // By the clock of this world, which stands still, the next one ends at 3600 as well.
        let report = world.look(&es, &Memory::default(), second).await;
        assert_eq!(makes(&world), is_made, "{second}");
        if !is_made {
            assert_eq!(report.next, next.map(at), "{second}");
        }
        let Some((status, _)) = &report.status else { continue };
        let by = status.refresh_by.as_ref().map(|by| by.0.as_second());
        assert_eq!(by, if is_made { Some(3000) } else { next }, "{second}");
    }
}

#[tokio::test]
async fn an_end_that_is_older_than_the_last_sync_is_nobodys() {
    let world = World::new();
    world.state().generated.insert("pw".into(), "made-1".into());
    world.state().term = Some(Term { end: at(3600).into(), renews: false });
    let made = json!([{"sourceRef": {"generatorRef": {"kind": "Made", "name": "g"}}}]);
    let first = Arc::new(es(json!({"data": [], "dataFrom": made, "refreshInterval": "2h"})));
    let told = told(&first, &world.look(&first, &Memory::default(), 0).await);
    world.calls();
    let mut later = (*told).clone();
    // External Secrets Operator refreshes it, and leaves what it does not know.
    later.status.as_mut().unwrap().refresh_time.as_mut().unwrap().0 = at(3500);
    world.state().written_at = Some(at(3500));
    world.look(&Arc::new(later), &Memory::default(), 3600).await;
    assert!(!world.calls().iter().any(|call| call.starts_with("make")));
    // What is never refreshed by time has no time by which it is.
    let once = json!({"data": [], "dataFrom": first.spec.data_from, "refreshPolicy": "CreatedOnce"});
    let report = World::look(&world, &Arc::new(es(once)), &Memory::default(), 0).await;
    assert_eq!(report.status.and_then(|(status, _)| status.refresh_by), None);
}
