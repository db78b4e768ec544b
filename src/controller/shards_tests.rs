use keyferry_cluster::division::{Moves, moves};
use keyferry_sync::dependency::{Dependency, Kind};
use keyferry_sync::store::Readiness;
use serde_json::json;

use super::super::change::Target;
use super::super::rig::{HOUR, Options, Rig};
use super::super::samples::{at, es, gone, name, put, put_object, put_store, put_undecodable, store};
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

/// A target as it was left, at this revision.
fn target(object: &str, revision: &str) -> Target {
    let object = Dependency::new(Kind::Secret, name(object));
    Target { object, version: at(revision), is_intact: true, rotated_at: None }
}

/// An ExternalSecret that asks a store for the key of its name.
fn of_store(store: &str, name: &str, generation: i64) -> ExternalSecret {
    let data = json!([{"secretKey": "k", "remoteRef": {"key": name}}]);
    es(name, generation, json!({"secretStoreRef": {"name": store}, "data": data}))
}

/// A name whose ExternalSecret is in this one of two shards, where the store that it asks is split.
fn part_in(shard: u32, store: &str) -> String {
    let id = Arc::new(store_id(Some("ns"), store));
    let place = |name: &String| Place::of(&of_store(store, name, 1), Some(id.clone()));
    (0..).map(|n| format!("part-{n}")).find(|name| place(name).part % 2 == u64::from(shard)).unwrap()
}

fn division(number: u64, split: &[&str], next: Option<&[&str]>) -> Division {
    let names = |stores: &[&str]| stores.iter().map(|store| format!("ns/{store}")).collect();
    Division { number, split: names(split), next: next.map(names) }
}

#[test]
fn who_asks_for_the_same_key_in_the_same_namespace_stays_together() {
    let store = Arc::new(store_id(None, "s"));
    let part = |namespace: &str, name: &str, spec| {
        let mut es = es(name, 1, spec);
        es.metadata.namespace = Some(namespace.to_owned());
        Place::of(&es, Some(store.clone())).part
    };
    let data = |keys: &[&str]| {
        let entries = keys.iter().map(|key| json!({"secretKey": "k", "remoteRef": {"key": key}}));
        json!({"data": entries.collect::<Vec<_>>()})
    };
    let extract = json!({"data": [], "dataFrom": [{"extract": {"key": "x"}}]});
    let none = || json!({"data": []});
    let one = part("a", "one", data(&["x", "y"]));
    assert_eq!([part("a", "two", data(&["x"])), part("a", "three", extract)], [one; 2]);
    let others = [part("b", "one", data(&["x", "y"])), part("a", "one", data(&["y", "x"])), part("a", "one", none())];
    assert!(!others.contains(&one) && others[2] != part("a", "two", none()), "by its name, where there is no key");
    assert_eq!(stores(&BTreeSet::from([named(&store), named(&store_id(Some("a"), "s"))])).len(), 2);
    assert!(stores(&BTreeSet::from([named(&store)])).contains(&*store));
}

/// How many each of these replicas has, by where its ExternalSecrets are.
fn shares(shards: &[u32], holders: &[Option<String>]) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for shard in shards {
        *shares.entry(holders[*shard as usize].clone().unwrap()).or_default() += 1;
    }
    shares
}

/// Has these replicas take and give shards until nothing moves.
fn come_to_rest(holders: &mut [Option<String>], replicas: &BTreeSet<String>) {
    loop {
        let before = holders.to_vec();
        for me in replicas {
            let Moves { take, give } = moves(&before, replicas, me);
            take.iter().for_each(|shard| holders[*shard as usize] = Some(me.clone()));
            give.iter().for_each(|shard| holders[*shard as usize] = None);
        }
        if *holders == before {
            return;
        }
    }
}

#[test]
fn of_a_hundred_thousand_each_of_four_replicas_has_a_quarter_and_the_part_of_one_that_goes_alone_moves() {
    const OBJECTS: usize = 100_000;
    const SHARDS: u32 = 16;
    for count in [1, 40] {
        let all: Vec<Arc<StoreId>> = (0..count).map(|n| Arc::new(store_id(None, &format!("store-{n}")))).collect();
        let mut es = es("e", 1, json!({"data": [{"secretKey": "k", "remoteRef": {"key": "k"}}]}));
        let places: Vec<(Name, Place)> = (0..OBJECTS)
            .map(|n| {
                let name = (format!("team-{}", n % 50), format!("app-{n}"));
                (es.metadata.namespace, es.metadata.name) = (Some(name.0.clone()), Some(name.1.clone()));
                es.spec.data[0].remote_ref.key = format!("apps/app-{n}");
                (name, Place::of(&es, Some(all[n % count].clone())))
            })
            .collect();
        let weights: BTreeMap<String, usize> = all.iter().map(|store| (named(store), OBJECTS / count)).collect();
        let split = split(&weights, SHARDS, &BTreeSet::new());
        assert_eq!(split.len(), count, "each is more than a quarter of a shard");
        let mut shards = Shards::new(SHARDS);
        shards.divide(&Arc::new(Division { number: 2, split, next: None }));
        let shards: Vec<u32> =
            places.iter().map(|(name, place)| shards.of_external_secret(name, place).unwrap()).collect();
        let mut replicas: BTreeSet<String> = (0..4).map(|n| format!("r{n}")).collect();
        let mut holders = vec![None; SHARDS as usize];
        come_to_rest(&mut holders, &replicas);
        let before = holders.clone();
        let of_four = shares(&shards, &holders);
        let is_within = |share: &usize, fair: usize| share.abs_diff(fair) * 20 <= fair;
        assert!(of_four.len() == 4 && of_four.values().all(|share| is_within(share, OBJECTS / 4)), "{of_four:?}");
        // One goes, and its Leases last out.
        replicas.remove("r3");
        holders.iter_mut().filter(|holder| holder.as_deref() == Some("r3")).for_each(|holder| *holder = None);
        come_to_rest(&mut holders, &replicas);
        let moved = shards.iter().filter(|shard| before[**shard as usize] != holders[**shard as usize]).count();
        assert_eq!(moved, of_four["r3"], "what it had, and nothing else");
        let of_three = shares(&shards, &holders);
        let (least, most) = (of_three.values().min().unwrap(), of_three.values().max().unwrap());
        assert!(most - least <= OBJECTS / 12, "one shard apart at most: {of_three:?}");
    }
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

#[tokio::test(start_paused = true)]
async fn who_has_a_store_that_is_split_leaves_it_before_others_begin_and_asks_it_for_its_part_from_then_on() {
    let mut rig = Rig::with(Options { shards: 2, stands_by: true, ..Options::default() });
    let (ours, theirs) = (store_in(0), store_in(1));
    let [here, there] = [0, 1].map(|shard| part_in(shard, &ours));
    let in_ours = |name: &str, generation| put(of_store(&ours, name, generation));
    let sorted = |mut looks: Vec<String>| {
        looks.sort();
        looks
    };
    for name in [&here, &there] {
        rig.tell(in_ours(name, 1));
    }
    rig.tell(put(es("other", 1, json!({"secretStoreRef": {"name": theirs}}))));
    rig.start().await;
    rig.hold_shards(&[0]);
    let looks = [&here, &there].map(|name| format!("look {name}"));
    let [look_here, look_there] = [0, 1].map(|n| looks[n].as_str());
    assert_eq!(sorted(rig.done().await), sorted(looks.to_vec()));
    let share = |rig: &Rig| rig.rooms.of_store(&store_id(Some("ns"), &ours)).share().of(32);
    assert_eq!(share(&rig), 32);
    rig.hold(&there);
    rig.tell(in_ours(&there, 2));
    rig.expect([look_there]).await;
    // Nobody works on any of the store's any more, once what is under way has ended.
    rig.divide(&division(1, &[], Some(&[&*ours])));
    rig.pass(2 * HOUR).await;
    rig.tell(in_ours(&here, 2));
    rig.expect([]).await;
    assert_eq!(rig.has_taken(), 0);
    rig.release(&there);
    rig.expect([]).await;
    assert_eq!((rig.has_taken(), rig.works_on()), (1, vec![0]));
    rig.pages(vec![Ok(vec![target(&here, "7"), target(&there, "8")])]);
    rig.divide(&division(2, &[&*ours], None));
    rig.expect(["targets at start", look_here]).await;
    assert_eq!((rig.has_taken(), share(&rig)), (2, 16));
    let remembered =
        |rig: &Rig, name| rig.look(name, |look| look.memory.target.as_ref().map(|target| target.version.clone()));
    assert_eq!(remembered(&rig, &here), Some(at("7")), "nothing is to be read");
    rig.tell(in_ours(&there, 3));
    rig.expect([]).await;
    rig.hold_shards(&[0, 1]);
    assert_eq!(sorted(rig.done().await), sorted(vec!["look other".to_owned(), look_there.to_owned()]));
    assert_eq!(share(&rig), 32);
    // It is whole again: both are where the store is.
    rig.hold_shards(&[1]);
    rig.divide(&division(3, &[&*ours], Some(&[])));
    rig.pass(2 * HOUR).await;
    rig.expect(["look other"]).await;
    assert_eq!(rig.has_taken(), 3);
    rig.divide(&division(4, &[], None));
    rig.pass(2 * HOUR).await;
    rig.expect(["look other"]).await;
    assert_eq!((rig.has_taken(), share(&rig)), (4, 32));
    rig.hold_shards(&[0]);
    assert_eq!(sorted(rig.done().await), sorted(looks.to_vec()));
}

#[tokio::test(start_paused = true)]
async fn who_holds_nothing_takes_a_division_at_once_and_all_know_which_stores_are_to_be_split() {
    let mut rig = of_two().await;
    let heavy = store_in(1);
    rig.divide(&division(7, &["x"], Some(&["y"])));
    rig.settle().await;
    assert_eq!(rig.has_taken(), 7);
    rig.divide(&division(12, &["x", "y"], None));
    rig.settle().await;
    assert_eq!((rig.has_taken(), rig.wants()), (12, vec![]));
    for n in 0..200 {
        rig.tell(put(es(&format!("many-{n}"), 1, json!({"secretStoreRef": {"name": heavy}}))));
    }
    rig.done().await;
    rig.settle().await;
    rig.pass(WEIGH_EVERY).await;
    assert_eq!(rig.wants(), [format!("ns/{heavy}")]);
    for n in 0..2 {
        rig.tell(gone(&format!("many-{n}")));
    }
    rig.settle().await;
    rig.pass(WEIGH_EVERY).await;
    assert_eq!(rig.wants(), [""; 0], "they are 199");
}

#[tokio::test(start_paused = true)]
async fn what_others_had_is_listed_when_it_comes_with_what_became_of_it_meanwhile() {
    let mut rig = of_two().await;
    rig.hold_shards(&[0]);
    rig.expect(["look a"]).await;
    let in_second =
        |generation| json!({"secretStoreRef": {"name": store_in(1)}, "refreshInterval": format!("{generation}h")});
    rig.tell(put(es("b", 2, in_second(2))));
    rig.tell(put(es("c", 1, in_second(1))));
    rig.tell(put_object(&Kind::Secret, "b", "7"));
    rig.tell(gone("c"));
    rig.expect([]).await;
    rig.hold_shards(&[0, 1]);
    rig.expect(["look b"]).await;
    assert_eq!(rig.look("b", |look| look.es.metadata.generation), Some(2));
    // From then on what a watch tells of its target concerns it.
    rig.tell(put_object(&Kind::Secret, "b", "8"));
    rig.expect(["look b"]).await;
    rig.hold_shards(&[0]);
    rig.settle().await;
    rig.tell(put_object(&Kind::Secret, "b", "9"));
    rig.pass(HOUR).await;
    rig.expect(["look a"]).await;
}
