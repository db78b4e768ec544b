use keyferry_sync::dependency::{Dependency, Kind};
use keyferry_sync::store::Readiness;
use serde_json::json;

use super::super::change::Target;
use super::super::rig::{HOUR, Options, Rig};
use super::super::samples::{at, es, name, put, put_object, put_store, put_undecodable, store};
use super::*;

fn store_id(namespace: Option<&str>, name: &str) -> StoreId {
    StoreId { namespace: namespace.map(str::to_owned), name: name.to_owned() }
}

/// The name of a store in this one of two shards.
fn store_in(shard: u32) -> String {
    let is_there = |name: &String| Shards::new(2).of_store(&store_id(Some("ns"), name)) == shard;
    (0..).map(|n| format!("store-{n}")).find(is_there).unwrap()
}

/// `a` in the first of two shards, and `b` in the second, with an object in each that does not decode.
async fn of_two() -> Rig {
    let mut rig = Rig::with(Options { shards: 2, stands_by: true, ..Options::default() });
    for (name, shard) in [("a", 0), ("b", 1)] {
        rig.tell(put(es(name, 1, json!({"secretStoreRef": {"name": store_in(shard)}}))));
    }
    rig.start().await;
    rig.expect([]).await;
    rig
}

#[test]
fn shards_are_about_as_large_and_never_others_than_they_were() {
    for count in [2, 4, 7] {
        let shards = Shards::new(count);
        let mut sizes = vec![0; count as usize];
        for n in 0..7000 {
            sizes[shards.of_object(&(format!("team-{}", n % 50), format!("app-{n}"))) as usize] += 1;
        }
        let fair = 7000 / count;
        assert!(sizes.iter().all(|size| (fair * 8 / 10..fair * 12 / 10).contains(size)), "{sizes:?}");
    }
    // Replicas of two versions must agree while one takes the place of the other.
    let stores = [(None, "vault"), (Some("a"), "vault"), (Some("b"), "vault"), (Some("a"), "aws")];
    let of = stores.map(|(namespace, name)| Shards::new(4).of_store(&store_id(namespace, name)));
    assert_eq!(of, [0, 3, 0, 0]);
    assert_eq!(Shards::new(0).of_object(&("a".into(), "b".into())), FIRST);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_ours_is_looked_at_whenever_that_comes_and_goes() {
    let mut rig = of_two().await;
    rig.hold_shards(&[1]);
    rig.expect(["look b"]).await;
    assert_eq!(rig.works_on(), [1]);
    assert_eq!((rig.metrics.process.shards_held.get(), rig.metrics.process.leader.get()), (1, 1));
    rig.tell(put(es("a", 2, json!({"secretStoreRef": {"name": store_in(0)}}))));
    rig.pass(2 * HOUR).await;
    rig.expect(["look b"]).await;
    rig.hold_shards(&[0, 1]);
    rig.expect(["look a"]).await;
    // One moves to a store of the other shard: it goes on there.
    rig.hold_shards(&[0]);
    rig.settle().await;
    rig.tell(put(es("a", 3, json!({"secretStoreRef": {"name": store_in(1)}}))));
    rig.tell(put(es("b", 2, json!({"secretStoreRef": {"name": store_in(0)}}))));
    rig.expect(["look b"]).await;
    rig.pass(2 * HOUR).await;
    rig.expect(["look b"]).await;
    rig.hold_shards(&[]);
    rig.pass(2 * HOUR).await;
    rig.expect([]).await;
    assert_eq!((rig.works_on(), rig.metrics.process.leader.get()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_ends_before_its_shard_is_not_worked_on_and_is_not_judged_here() {
    let rig = of_two().await;
    rig.hold("a");
    rig.hold_shards(&[0, 1]);
    rig.expect(["look a", "look b"]).await;
    rig.hold_shards(&[1]);
    rig.settle().await;
    assert_eq!(rig.works_on(), [0, 1], "a look is under way");
    // It comes back before that has ended: what was begun under the old Lease counts for nothing.
    rig.hold_shards(&[0, 1]);
    rig.expect([]).await;
    rig.release("a");
    rig.expect(["look a"]).await;
    rig.hold_shards(&[1]);
    rig.settle().await;
    assert_eq!(rig.works_on(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_comes_knows_its_targets_and_forgets_what_was_before() {
    let mut rig = of_two().await;
    let target = |object: &str, revision: &str| Target {
        object: Dependency::new(Kind::Secret, name(object)),
        version: at(revision),
        is_intact: true,
        rotated_at: None,
    };
    let remembered = |rig: &Rig| rig.look("b", |look| look.memory.target.as_ref().map(|target| target.version.clone()));
    rig.pages(vec![Ok(vec![target("a", "5"), target("b", "5")])]);
    rig.hold_shards(&[1]);
    rig.expect(["targets at start", "look b"]).await;
    assert_eq!(remembered(&rig), Some(at("5")));
    // Meanwhile another writes it.
    rig.hold_shards(&[]);
    rig.settle().await;
    rig.tell(put_object(&Kind::Secret, "b", "6"));
    rig.expect([]).await;
    rig.pages(vec![Ok(vec![target("b", "6")])]);
    rig.hold_shards(&[1]);
    rig.expect(["targets at start", "look b"]).await;
    assert_eq!(remembered(&rig), Some(at("6")), "nothing is to be read");
}

#[tokio::test(start_paused = true)]
async fn stores_are_checked_by_who_has_the_first_shard_and_the_others_believe_it() {
    let mut rig = of_two().await;
    let named = store_in(1);
    rig.hold_shards(&[1]);
    rig.expect(["look b"]).await;
    rig.tell(put_store(store(&named, 1, json!({}))));
    // Its user may have waited for it; nobody here asks it whether it is well.
    rig.expect([]).await;
    let undecodable = |shard| {
        let is_there = |object: &String| Shards::new(2).of_object(&name(object)) == shard;
        (0..).map(|n| format!("u{n}")).find(is_there).unwrap()
    };
    let (ours, others) = (undecodable(1), undecodable(0));
    rig.tell(put_undecodable(&ours, 1));
    rig.tell(put_undecodable(&others, 1));
    let told = format!("undecodable {ours}");
    rig.expect([told.as_str()]).await;
    let readiness =
        |rig: &Rig| rig.look("b", |look| look.stores.values().next().map(|(_, readiness)| readiness.clone()));
    rig.tell(put(es("b", 2, json!({"secretStoreRef": {"name": named}}))));
    rig.expect(["look b"]).await;
    assert_eq!(readiness(&rig), Some(Readiness::Unchecked));
    rig.hold_shards(&[0, 1]);
    let check = format!("check {named}");
    let done = rig.done().await;
    assert!(done.contains(&check) && done.contains(&"look a".to_owned()), "{done:?}");
    let told: Vec<&String> = done.iter().filter(|what| what.starts_with("undecodable")).collect();
    assert_eq!(told, [&format!("undecodable {others}")]);
    assert_eq!(rig.statuses(&named).len(), 1);
}
