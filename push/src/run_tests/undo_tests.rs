//! What is undone, what is not, and what that leaves: sources and stores that go, and places that overlap or move.

use super::*;

#[tokio::test]
async fn a_source_that_is_replaced_takes_nothing_along() {
    let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    for _ in 0..2 {
        rig.double.with(|state| state.secrets.clear());
        rig.now += 59;
        let done = rig.look().await;
        assert!(!done.contains(&"delete s/k".to_owned()), "{done:?}");
        assert!(
            rig.said[0].starts_with("could not get source secret: Secret \"src\" does not exist"),
            "{:?}",
            rig.said
        );
        rig.double.secret("src", &[("a", "1")]);
        rig.look().await;
    }
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("1"));
}

#[tokio::test]
async fn one_of_several_sources_that_is_replaced_takes_nothing_along() {
    let selector = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    for (restarts, interval) in [(false, "1h"), (true, "1h"), (false, "0")] {
        let spec = json!({"refreshInterval": interval, "selector": selector, "deletionPolicy": "Delete", "dataTo": [{"storeRef": {"name": "s"}}]});
        let mut rig = Rig::new(spec);
        rig.double.secret("one", &[("a", "1")]);
        rig.double.secret("two", &[("b", "2"), ("c", "3")]);
        rig.look().await;
        for _ in 0..2 {
            rig.double.with(|state| state.secrets.remove("one"));
            if restarts {
                rig.memory = Memory::default();
            }
            rig.respec(json!({}));
            for wait in [0, 59] {
                rig.now += wait;
                let done = rig.look().await;
                assert!(!done.contains(&"delete s/a".to_owned()), "{done:?}");
            }
            rig.double.secret("one", &[("a", "1")]);
            // Nobody tells a rig that a new one has come.
            rig.respec(json!({}));
            rig.look().await;
        }
        assert_eq!(rig.double.held("s", "a").as_deref(), Some("1"));
        assert!(rig.memory.parting.is_empty(), "it has come back");
        // A key that its own Secret has no more goes at once, and is tried again like any.
        rig.double.secret("two", &[("b", "2")]);
        rig.double.fail("s", "c", Some(ErrorKind::Unavailable));
        rig.respec(json!({}));
        rig.now += 1;
        rig.look().await;
        assert!(rig.said[0].starts_with("Failed to Delete Secrets from Provider: \"c\""), "{:?}", rig.said);
        rig.double.fail("s", "c", None);
        rig.now += 1;
        rig.look().await;
        assert_eq!((rig.double.held("s", "c"), rig.recorded("SecretStore/s")), (None, vec!["a".into(), "b".into()]));
        rig.double.with(|state| state.secrets.remove("one"));
        rig.respec(json!({}));
        rig.look().await;
        rig.now += 60;
        assert!(rig.next.is_some_and(|next| next <= at(rig.now)), "{:?}", rig.next);
        rig.look().await;
        assert_eq!((rig.double.held("s", "a"), rig.recorded("SecretStore/s")), (None, vec!["b".to_owned()]));
    }
}

#[tokio::test]
async fn what_comes_to_be_of_another_secret_stays_while_that_is_replaced() {
    let selector = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    let mut rig = Rig::new(json!({
        "selector": selector, "deletionPolicy": "Delete", "dataTo": [{"storeRef": {"name": "s"}}],
    }));
    rig.double.secret("one", &[("a", "1"), ("b", "2")]);
    rig.look().await;
    rig.double.secret("one", &[("b", "2")]);
    rig.double.secret("two", &[("a", "1")]);
    rig.now += 1;
    let done = rig.look().await;
    assert!(!done.contains(&"push s/a".to_owned()), "it is there: {done:?}");
    rig.double.with(|state| state.secrets.remove("two"));
    rig.now += 1;
    let done = rig.look().await;
    assert!(!done.contains(&"delete s/a".to_owned()), "it may be there again in a moment: {done:?}");
}

#[tokio::test]
async fn nothing_is_parting_where_nothing_is_left_to_be_undone() {
    let selector = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    let refs = json!([{"name": "s"}, {"name": "t"}]);
    let data_to = json!([{"storeRef": {"name": "s"}}, {"storeRef": {"name": "t"}}]);
    let spec = json!({
        "selector": selector, "secretStoreRefs": refs, "deletionPolicy": "Delete", "dataTo": data_to,
    });
    let mut rig = Rig::new(spec.clone());
    rig.double.secret("one", &[("a", "1")]);
    rig.double.secret("two", &[("b", "2")]);
    rig.look().await;
    rig.double.with(|state| state.secrets.remove("one"));
    rig.now += 1;
    rig.look().await;
    assert_eq!(rig.memory.parting.len(), 2);
    rig.double.with(|state| state.secrets.clear());
    rig.respec(json!({}));
    for wait in [1, 60] {
        rig.now += wait;
        rig.look().await;
    }
    assert_eq!((rig.said[0].as_str(), rig.memory.parting.len()), ("SourceGone", 0));

    // A store that another controller looks after: what it holds is for that to delete.
    let mut rig = Rig::new(spec);
    rig.double.secret("one", &[("a", "1")]);
    rig.double.secret("two", &[("b", "2")]);
    rig.look().await;
    let theirs = json!({
        "metadata": {"name": "s", "namespace": "ns", "uid": "s", "generation": 2},
        "spec": {"provider": {"fake": {"a": 1}}, "controller": "theirs"},
    });
    let theirs = Store::namespaced(serde_json::from_value(theirs).unwrap());
    rig.stores.insert(theirs.id.clone(), (Arc::new(theirs), Readiness::Ready));
    rig.double.with(|state| state.secrets.remove("one"));
    for wait in [1, 60] {
        rig.now += wait;
        rig.look().await;
    }
    assert_eq!((rig.recorded("SecretStore/s"), rig.memory.parting.len()), (vec!["a".into(), "b".into()], 0));
    rig.now += 1;
    assert_eq!(rig.look().await, [""; 0], "nothing is due");
}

#[tokio::test]
async fn who_comes_to_be_selected_is_found_by_a_check() {
    let selector = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    let mut rig = Rig::new(json!({"selector": selector, "dataTo": [{"storeRef": {"name": "s"}}]}));
    rig.double.secret("one", &[("a", "1")]);
    rig.look().await;
    rig.double.secret("two", &[("b", "2")]);
    rig.next_check().await;
    assert_eq!(rig.double.held("s", "b").as_deref(), Some("2"));
}

#[tokio::test]
async fn what_is_in_a_store_that_goes_or_is_given_away_stays() {
    for (is_going, others) in [(false, false), (false, true), (true, false), (true, true)] {
        let refs = if others { json!([{"name": "s"}, {"name": "t"}]) } else { json!([{"name": "s"}]) };
        let mut rig = Rig::new(json!({"secretStoreRefs": refs, "deletionPolicy": "Delete", "data": [entry("a", "k")]}));
        rig.double.secret("src", &[("a", "1")]);
        rig.look().await;
        rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
        let mut changed = json!({
            "metadata": {"name": "s", "namespace": "ns", "uid": "s", "generation": 2},
            "spec": {"provider": {"fake": {"a": 1}}},
        });
        if is_going {
            changed["metadata"]["deletionTimestamp"] = json!(at(1).to_string());
        } else {
            changed["spec"]["controller"] = json!("theirs");
        }
        let changed = Store::namespaced(serde_json::from_value(changed).unwrap());
        rig.stores.insert(changed.id.clone(), (Arc::new(changed), Readiness::Ready));
        let done = rig.next_check().await;
        assert!(!done.contains(&"delete s/k".to_owned()), "{done:?}");
        assert!(others || done.is_empty(), "{done:?}");
        assert_eq!((rig.recorded("SecretStore/s"), rig.double.held("s", "k")), (vec!["k".into()], Some("1".into())));
        rig.double.with(|state| state.notes.clear());
        // Who goes takes along what is in stores of ours, and tells what stays with others.
        rig.ps.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
        let done = rig.look().await;
        // Where all is with others, so is its end: they would find no PushSecret without the finalizer.
        let is_theirs = !is_going && !others;
        assert_eq!(done.contains(&"finalizers 0".to_owned()), !is_theirs, "{done:?}");
        if is_theirs {
            continue;
        }
        assert_eq!((rig.double.held("s", "k").is_some(), rig.double.held("t", "k")), (!is_going, None));
        let notes = rig.double.with(|state| state.notes.clone());
        let told = notes.iter().any(|note| note.starts_with("SecretStore/s is of another controller class"));
        assert_eq!(told, !is_going, "{notes:?}");
    }
}

fn property(remote: &str, property: &str) -> Value {
    json!({"match": {"secretKey": "a", "remoteRef": {"remoteKey": remote, "property": property}}})
}

#[tokio::test]
async fn what_overlaps_with_what_is_wanted_is_forgotten_and_not_deleted() {
    for (before, after, place, deletes, tells) in [
        (property("k", "p"), entry("a", "k"), "k", false, false),
        (entry("a", "k"), property("k", "p"), "k/p", false, true),
        (property("k", "p.q"), property("k", "p"), "k/p", false, false),
        (property("k", "p"), property("k", "p.q"), "k/p.q", false, false),
        (property("k", "pq"), property("k", "p"), "k/p", true, false),
        (entry("a", "k"), entry("a", "k/p"), "k/p", true, false),
    ] {
        let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [before]}));
        rig.double.secret("src", &[("a", r#"{"x":"1"}"#)]);
        rig.look().await;
        rig.double.with(|state| state.notes.clear());
        rig.respec(json!({"data": [after]}));
        let done = rig.look().await;
        assert_eq!(done.contains(&"delete s/k".to_owned()), deletes, "{place}: {done:?}");
        assert_eq!(rig.recorded("SecretStore/s"), [place]);
        let notes = rig.double.with(|state| state.notes.clone());
        let stays = notes.iter().any(|note| note.starts_with("\"k\" in SecretStore/s was pushed as a whole"));
        assert_eq!(stays, tells, "{notes:?}");
    }
}

#[tokio::test]
async fn what_overlaps_stays_recorded_until_the_other_is_there() {
    let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [property("k", "p")]}));
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    rig.double.fail("s", "k", Some(ErrorKind::Denied));
    rig.respec(json!({"data": [entry("a", "k")]}));
    let done = rig.look().await;
    assert!(!done.contains(&"delete s/k".to_owned()), "{done:?}");
    assert_eq!(rig.recorded("SecretStore/s"), ["k/p"]);
}

#[tokio::test]
async fn what_can_not_be_made_now_keeps_what_it_is_a_part_of() {
    let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    let mut misspelt = property("k", "p");
    misspelt["match"]["secretKey"] = json!("misspelt");
    rig.respec(json!({"data": [misspelt]}));
    let done = rig.look().await;
    assert!(!done.contains(&"delete s/k".to_owned()), "{done:?}");
    assert_eq!(rig.recorded("SecretStore/s"), ["k"]);
}

#[tokio::test]
async fn what_moves_under_one_name_is_deleted_where_it_was_first() {
    let into = |namespace: &str| {
        let mut whole = entry("a", "k");
        whole["metadata"] = json!({"spec": {"remoteNamespace": namespace}});
        json!({"deletionPolicy": "Delete", "data": [whole]})
    };
    let mut rig = Rig::new(into("one"));
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    rig.double.fail("s", "k", Some(ErrorKind::Unavailable));
    rig.respec(into("two"));
    // While it can't be asked after where it is to go, it stays where it is.
    let done = rig.look().await;
    assert!(!done.contains(&"delete s/k".to_owned()) && !done.contains(&"push s/k".to_owned()), "{done:?}");
    rig.double.fail("s", "k", None);
    let done = rig.look().await;
    let at = |what: &str| done.iter().position(|done| done == what);
    assert!(at("delete s/k").is_some() && at("delete s/k") < at("push s/k"), "{done:?}");
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("1"));
    // What is elsewhere is not read in the store's own place.
    rig.memory = Memory::default();
    rig.now += 1;
    let done = rig.look().await;
    assert!(done.contains(&"push s/k".to_owned()) && !done.contains(&"fetch s/k".to_owned()), "{done:?}");
}

#[tokio::test]
async fn the_stores_own_place_is_the_same_whether_it_is_written_out_or_not() {
    for (config, own) in [(json!({}), "default"), (json!({"remoteNamespace": "team"}), "team")] {
        let mut written = entry("a", "k");
        written["metadata"] = json!({"spec": {"remoteNamespace": own}});
        let forms = [entry("a", "k"), written];
        for (before, after) in [(0, 1), (1, 0)] {
            let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [forms[before]]}));
            rig.put_store("s", json!({ "kubernetes": config }));
            rig.double.secret("src", &[("a", "1")]);
            rig.look().await;
            rig.respec(json!({"data": [forms[after]]}));
            let done = rig.look().await;
            assert!(!done.contains(&"delete s/k".to_owned()), "{own}: {done:?}");
            let mut other = entry("a", "k");
            other["metadata"] = json!({"spec": {"remoteNamespace": "other"}});
            rig.respec(json!({"data": [other]}));
            let done = rig.look().await;
            assert!(done.contains(&"delete s/k".to_owned()), "{own}: {done:?}");
        }
    }
}

#[tokio::test]
async fn metadata_that_changed_while_nobody_looked_are_pushed() {
    let with = |tag: &str| {
        let mut whole = entry("a", "k");
        whole["metadata"] = json!({"spec": {"tag": tag}});
        json!({"data": [whole]})
    };
    let mut rig = Rig::new(with("one"));
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    rig.memory = Memory::default();
    rig.respec(with("two"));
    let done = rig.look().await;
    assert!(done.contains(&"push s/k".to_owned()), "{done:?}");
}

#[test]
fn what_annotations_hold_is_not_shown() {
    let annotations: StringMap = [("note".to_owned(), "canary".to_owned())].into();
    let origin = keyferry_provider_core::Origin { annotations: annotations.clone().into(), ..Default::default() };
    let shown = format!("{:?} {origin:?}", Source { annotations, ..Source::default() });
    assert!(!shown.contains("canary"), "{shown}");
}
