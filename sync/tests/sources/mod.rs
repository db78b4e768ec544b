//! What templates are taken from: what it costs, and where it is held.

use std::sync::Arc;

use keyferry_builders::es;
use keyferry_sync::look::Memory;
use keyferry_sync::outcome::Outcome;
use serde_json::json;

use super::message;
use super::world::World;

#[tokio::test]
async fn keys_of_template_sources_cost_what_they_take() {
    let world = World::new();
    let from = json!([{"configMap": {"name": "m", "items": [{"key": "k1"}]}}]);
    let spec = json!({"target": {"template": {"templateFrom": from}}});
    let es = Arc::new(es(spec));
    let source = keyferry_sync::request::sources_of(&es).into_iter().next().unwrap();
    let empty = |count: usize| (0..count).map(|n| (format!("k{n}"), "".into())).collect();
    // Who has to wait reads it twice, and pays once.
    for (count, is_crowded, is_fine) in [(50_000, false, true), (400_000, true, true), (600_000, false, false)] {
        world.state().is_crowded = is_crowded;
        world.state().sources.insert(source.clone(), ("1".to_owned(), empty(count)));
        let report = world.look(&es, &Memory::default(), 0).await;
        assert_eq!(message(&report).contains("look-bytes"), !is_fine, "{count}: {}", message(&report));
    }
}

#[tokio::test]
async fn who_has_no_room_for_a_template_source_waits_for_it_and_holds_up_nobody() {
    let world = World::new();
    // The object is named twice, and read once for all keys.
    let from = json!([
        {"configMap": {"name": "m", "items": [{"key": "a"}, {"key": "b"}]}},
        {"configMap": {"name": "m", "items": [{"key": "c"}]}},
    ]);
    let es = Arc::new(es(json!({"target": {"template": {"templateFrom": from}}})));
    let source = keyferry_sync::request::sources_of(&es).into_iter().next().unwrap();
    // What is large goes alone, whatever it comes to.
    for (size, is_crowded, waits) in [(10, false, false), (10, true, true), (500_000, false, true)] {
        let text = format!("{{{{/* {} */}}}}v", "x".repeat(size));
        let data = ["a", "b", "c", "not-wanted"].map(|key| (key.to_owned(), text.as_str().into()));
        world.state().sources.insert(source.clone(), ("1".to_owned(), data.into()));
        world.state().is_crowded = is_crowded;
        let report = world.look(&es, &Memory::default(), 0).await;
        assert!(size > 10 || matches!(report.outcome, Outcome::Synced(_)), "{}", message(&report));
        let calls = world.calls();
        let from = calls.iter().position(|call| call == "source ConfigMap m").unwrap();
        let expected: &[&str] = if waits { &["turn over", "alone", "turn", "source ConfigMap m"] } else { &[] };
        assert_eq!(calls[from + 1..][..expected.len()], *expected, "{size} {is_crowded}");
        assert_eq!(calls.iter().filter(|call| *call == "turn").count(), if waits { 2 } else { 1 }, "{calls:?}");
    }
}
