//! What is pushed through one store, and wanted through another that leads to the same place, or may.

use super::*;

#[tokio::test]
async fn another_store_that_leads_to_the_same_place_takes_over_what_was_pushed() {
    let vault =
        |path: &str, role: &str| json!({"vault": {"server": "https://v", "path": path, "auth": {"role": role}}});
    for (from, to, deleted) in [
        (json!({"fake": {"a": 1}}), json!({"fake": {"a": 1}}), false),
        (json!({"fake": {"a": 1}}), json!({"fake": {"other": 1}}), true),
        // Who logs in, and how, says nothing of where that is.
        (vault("kv", "old"), vault("kv", "new"), false),
        (vault("kv", "old"), vault("other", "old"), true),
        (json!({"aws": {"region": "r"}}), json!({"aws": {"region": "s"}}), true),
    ] {
        let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
        rig.put_store("s", from);
        rig.put_store("t", to);
        rig.double.secret("src", &[("a", "1")]);
        rig.look().await;
        rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
        rig.respec(json!({"secretStoreRefs": [{"name": "t"}]}));
        let done = rig.look().await;
        assert_eq!(done.contains(&"delete s/k".to_owned()), deleted, "{done:?}");
        // Different stores may lead to one place all the same.
        assert_eq!(done.iter().filter(|what| *what == "push t/k").count(), 1 + usize::from(deleted), "{done:?}");
        assert_eq!((rig.recorded("SecretStore/t"), rig.recorded("SecretStore/s").len()), (vec!["k".to_owned()], 0));
    }
}

/// Two stores of which nobody can say whether they lead to one place.
fn unclear() -> [(Value, Value); 4] {
    let vault = |server: &str| json!({"vault": {"server": server, "path": "kv"}});
    let cluster = |url: &str| json!({"kubernetes": {"server": {"url": url}, "remoteNamespace": "a"}});
    [
        (
            json!({"aws": {"region": "r", "auth": {"secretRef": {}}}}),
            json!({"aws": {"region": "r", "role": "arn:aws:iam::1:role/a"}}),
        ),
        (vault("https://v"), vault("https://w")),
        (cluster("https://c"), cluster("https://d")),
        (json!({"kubernetes": {"authRef": {"name": "a"}}}), json!({"kubernetes": {"authRef": {"name": "b"}}})),
    ]
}

/// One that has pushed "k" through "s", and into "t" since, which may lead to the same place; and what the last look did.
async fn moved((s, t): (Value, Value), spec: Value) -> (Rig, Vec<String>) {
    let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
    rig.respec(spec);
    rig.put_store("s", s);
    rig.put_store("t", t);
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
    rig.double.with(|state| state.notes.clear());
    rig.respec(json!({"secretStoreRefs": [{"name": "t"}]}));
    let done = rig.look().await;
    (rig, done)
}

/// What was told of "k", other than that it was pushed.
fn told(rig: &Rig) -> Vec<String> {
    let notes = rig.double.with(|state| std::mem::take(&mut state.notes));
    notes.into_iter().filter(|note| note.ends_with(": \"k\"")).collect()
}

fn both_recorded(rig: &Rig) -> bool {
    rig.recorded("SecretStore/s") == ["k"] && rig.recorded("SecretStore/t") == ["k"]
}

#[tokio::test]
async fn what_may_be_wanted_through_another_login_stays_and_that_is_told() {
    for stores in unclear() {
        let (mut rig, done) = moved(stores, json!({})).await;
        assert!(!done.iter().any(|what| what.starts_with("delete")), "{done:?}");
        assert!(both_recorded(&rig));
        let notes = told(&rig);
        let said = "what was pushed through SecretStore/s stays, since SecretStore \"t\" may lead to the same place";
        assert!(notes.len() == 1 && notes[0].starts_with(said), "{notes:?}");
        // What is wanted nowhere goes.
        rig.respec(json!({"data": [entry("a", "l")]}));
        let done = rig.look().await;
        assert!(["delete s/k", "delete t/k"].iter().all(|what| done.contains(&(*what).to_owned())), "{done:?}");
        assert_eq!((rig.recorded("SecretStore/s").len(), rig.recorded("SecretStore/t")), (0, vec!["l".to_owned()]));
    }
}

#[tokio::test]
async fn what_stays_apart_is_told_once_and_costs_nothing_more() {
    for stores in unclear() {
        let (mut rig, _) = moved(stores, json!({})).await;
        told(&rig);
        let before = rig.ps.status.clone();
        assert_eq!(rig.look().await, [""; 0]);
        // The first one has nothing to compare with yet.
        rig.next_check().await;
        let done = rig.next_check().await;
        assert!(done.iter().all(|what| what == "fetch t/k" || what.starts_with("status")), "a check: {done:?}");
        // The source changes: nothing is said again.
        rig.double.secret("src", &[("a", "2")]);
        rig.look().await;
        assert_eq!((rig.said[0].as_str(), told(&rig).len()), ("Done(Done { pushed: 1, deleted: 0 })", 0));
        rig.memory = Memory::default();
        rig.now += 1;
        let done = rig.look().await;
        let writes = |what: &String| ["push", "delete", "status"].iter().any(|word| what.starts_with(word));
        assert!(!done.iter().any(writes), "nor has a store changed after a restart: {done:?}");
        let known = |status: Option<PushSecretStatus>| status.map(|status| status.synced_push_secrets);
        assert_eq!(known(rig.ps.status.clone()), known(before));
    }
}

#[tokio::test]
async fn what_stays_apart_goes_with_the_push_secret() {
    for stores in unclear() {
        for restarts in [false, true] {
            let (mut rig, _) = moved(stores.clone(), json!({})).await;
            if restarts {
                rig.memory = Memory::default();
            }
            rig.ps.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
            let done = rig.look().await;
            assert!(["delete s/k", "delete t/k"].iter().all(|what| done.contains(&(*what).to_owned())), "{done:?}");
            assert_eq!((rig.double.held("s", "k"), rig.double.held("t", "k")), (None, None));
            assert!(done.contains(&"finalizers 0".to_owned()), "{done:?}");
        }
    }
}

#[tokio::test]
async fn what_stays_apart_goes_once_it_is_clear_that_it_is_elsewhere() {
    let [_, (s, _), ..] = unclear();
    let (mut rig, _) = moved(unclear()[1].clone(), json!({})).await;
    let mut other = s;
    other["vault"]["path"] = "other".into();
    rig.put_store("t", other);
    rig.now += 1;
    let done = rig.look().await;
    assert!(done.contains(&"delete s/k".to_owned()), "{done:?}");
    assert!(rig.recorded("SecretStore/s").is_empty());
}

#[tokio::test]
async fn what_stays_apart_is_let_go_where_its_store_is_gone_or_nothing_is_deleted() {
    let [stores, ..] = unclear();
    let (mut rig, _) = moved(stores.clone(), json!({})).await;
    told(&rig);
    rig.stores.retain(|id, _| id.name != "s");
    rig.now += 1;
    rig.look().await;
    assert_eq!(rig.said[0], "Done(Done { pushed: 0, deleted: 0 })", "who moves deletes the old store at last");
    let said = "SecretStore/s does not exist: what was pushed there stays, delete it yourself: \"k\"";
    assert_eq!((told(&rig), rig.recorded("SecretStore/s").len()), (vec![said.to_owned()], 0));
    let (mut rig, _) = moved(stores, json!({})).await;
    rig.respec(json!({"deletionPolicy": "None"}));
    rig.look().await;
    assert_eq!((rig.recorded("SecretStore/s").len(), rig.recorded("SecretStore/t").len()), (0, 1));
}

#[tokio::test]
async fn what_stays_apart_in_a_store_that_is_filled_asks_for_no_push() {
    // "l" was wanted in both, and is in the second alone; what is gone of it is not ours to mend.
    let [(s, t), ..] = unclear();
    let to_all = json!({"secretStoreRefs": [{"name": "s"}, {"name": "t"}]});
    let many = json!({"dataTo": [{"storeRef": {"name": "t"}}], "data": [entry("a", "k")]});
    for update in ["Replace", "IfNotExists"] {
        let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "updatePolicy": update}));
        rig.respec(to_all.clone());
        rig.put_store("s", s.clone());
        rig.put_store("t", t.clone());
        rig.double.secret("src", &[("a", "1"), ("l", "2")]);
        rig.respec(json!({"data": [entry("a", "k"), entry("l", "l")]}));
        rig.look().await;
        rig.respec(many.clone());
        rig.look().await;
        assert!(rig.recorded("SecretStore/s").contains(&"l".to_owned()), "{update}: {:?}", rig.said);
        rig.next_check().await;
        rig.double.with(|state| state.held.remove(&("s".into(), "l".into())));
        let done = rig.next_check().await;
        assert!(!done.iter().any(|what| what.starts_with("read") || what == "exists s/l"), "{update}: {done:?}");
    }
}

#[tokio::test]
async fn what_stays_apart_of_selected_secrets_is_not_looked_at_again_and_again() {
    let [stores, ..] = unclear();
    let selector = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    for restarts in [false, true] {
        let (mut rig, _) = moved(stores.clone(), json!({"selector": selector})).await;
        assert!(both_recorded(&rig), "{:?}", rig.said);
        for wait in [0, 61, 61, 61] {
            if restarts && wait == 0 {
                rig.memory = Memory::default();
                rig.now += 60;
            }
            rig.now += wait;
            rig.look().await;
            assert!(both_recorded(&rig), "{:?}", rig.said);
        }
        assert!(rig.next.is_some_and(|next| next > at(rig.now + 61)), "{restarts}: {:?}, {}", rig.next, rig.now);
    }
}

#[tokio::test]
async fn what_is_generated_and_stays_apart_is_not_made_anew() {
    for stores in unclear() {
        let selector = json!({"generatorRef": {"kind": "UUID", "name": "u"}});
        let (mut rig, _) = moved(stores, json!({"selector": selector, "data": [entry("uuid", "k")]})).await;
        assert!(both_recorded(&rig), "{:?}", rig.said);
        let made = rig.double.with(|state| state.made);
        for restarts in [false, true] {
            if restarts {
                rig.memory = Memory::default();
            }
            rig.now += 1;
            assert_eq!(rig.look().await, [""; 0], "{restarts}");
            assert_eq!(rig.double.with(|state| state.made), made, "{restarts}");
        }
    }
}

#[tokio::test]
async fn what_stays_apart_has_an_end() {
    let metadata = json!({"apiVersion": "x".repeat(keyferry_limits::PUSH_RECORD.size() / 2)});
    let [stores, ..] = unclear();
    let mut long = entry("a", "k");
    long["metadata"] = metadata;
    let (rig, _) = moved(stores, json!({"data": [long]})).await;
    assert_eq!((rig.recorded("SecretStore/s").len(), rig.recorded("SecretStore/t").len()), (0, 1), "{:?}", rig.said);
    let told = told(&rig);
    assert!(told.len() == 1 && told[0].contains("delete it yourself"), "{told:?}");
}

#[tokio::test]
async fn what_could_not_be_put_back_is_pushed_by_the_next_look() {
    for (kind, is_write_only) in
        [(ErrorKind::Unavailable, false), (ErrorKind::Invalid, false), (ErrorKind::Denied, true)]
    {
        // Nothing shows that they lead to one place, and they do.
        let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
        rig.double.with(|state| (state.is_write_only, state.is_one) = (is_write_only, true));
        rig.double.secret("src", &[("a", "1")]);
        rig.look().await;
        rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
        rig.double.with(|state| state.fails_after_delete = Some(kind));
        rig.respec(json!({"secretStoreRefs": [{"name": "t"}]}));
        let done = rig.look().await;
        assert!(done.contains(&"delete s/k".to_owned()), "{done:?}");
        let said = "set secret failed: could not write remote ref a to target secretstore t: ";
        assert!(rig.said[0].starts_with(said), "{:?}", rig.said);
        assert_eq!((rig.double.held("t", "k"), rig.recorded("SecretStore/s").len()), (None, 0));
        rig.double.with(|state| state.failing.clear());
        rig.now += 1;
        let done = rig.look().await;
        assert!(done.contains(&"push t/k".to_owned()), "{kind:?}: {done:?}");
        assert_eq!(
            (rig.said[0].as_str(), rig.double.held("t", "k").as_deref()),
            ("Done(Done { pushed: 1, deleted: 0 })", Some("1"))
        );
    }
}
