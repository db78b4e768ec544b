//! When what a generator made ends, as the process after the one that made it knows it.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keyferry_builders::{at, es};
use keyferry_provider_core::Term;
use keyferry_sync::look::Memory;
use keyferry_sync::schedule::after_success;
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

#[tokio::test]
async fn a_status_that_is_lost_takes_neither_time_nor_end_along() {
    let made = json!([{"sourceRef": {"generatorRef": {"kind": "Made", "name": "g"}}}]);
    let interval = |interval: &str| json!({"refreshInterval": interval});
    let once = json!({"refreshPolicy": "CreatedOnce"});
    // When the ExternalSecret was changed, by when the target is to be replaced as is noted there, when the next process looks,
    // and whether it makes another. All targets were written at 100.
    for (spec, changed, noted, second, is_made) in [
        (interval("2h"), 0, None, 5000, false),
        (interval("2h"), 0, None, 7300, true),
        (interval("2h"), 101, None, 5000, true),
        (interval("2h"), 0, Some(3000), 2999, false),
        (interval("2h"), 0, Some(3000), 3000, true),
        // What is made once stays, whatever was changed since.
        (interval("0"), 101, None, 5000, false),
        (once, 101, None, 5000, false),
        (json!({"refreshPolicy": "OnChange"}), 0, None, 5000, false),
        (json!({"refreshPolicy": "OnChange"}), 101, None, 5000, true),
    ] {
        let case = format!("{spec}, changed at {changed}, noted {noted:?}, at {second}");
        let world = World::new();
        world.state().generated.insert("pw".into(), "made-1".into());
        let mut whole = json!({"data": [], "dataFrom": made});
        whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        let mut es = es(whole);
        world.look(&Arc::new(es.clone()), &Memory::default(), 100).await;
        world.calls();
        es.metadata.creation_timestamp = Some(Time(at(changed)));
        world.state().written_at = Some(at(100));
        world.state().refresh_by = noted.map(at);
        let es = Arc::new(es);
        let report = world.look(&es, &Memory::default(), second).await;
        assert_eq!(world.calls().iter().any(|call| call.starts_with("make")), is_made, "{case}");
        let (status, _) = report.status.expect("a status");
        let since = if is_made { second } else { 100 };
        assert_eq!(status.refresh_time.unwrap().0, at(since), "{case}");
        if !is_made {
            assert_eq!(status.refresh_by.map(|by| by.0), noted.map(at), "{case}");
            let due = after_success(&es, at(100)).into_iter().chain(noted.map(at)).min();
            assert_eq!(report.next, due, "{case}");
        }
    }
}
