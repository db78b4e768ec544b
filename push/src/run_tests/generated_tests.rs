//! Values that a generator makes: when, for whom, and what is revoked.

use keyferry_sync::states::Kept;

use super::*;

#[tokio::test]
async fn a_value_is_made_when_it_is_due_and_not_for_another_try() {
    let generator = json!({"generatorRef": {"kind": "UUID", "name": "u"}});
    let mut rig = Rig::new(json!({"selector": generator, "data": [entry("uuid", "k")]}));
    rig.double.fail("s", "k", Some(ErrorKind::Unavailable));
    rig.look().await;
    rig.double.fail("s", "k", None);
    rig.look().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("made-1"));
    rig.memory = Memory::default();
    rig.now += 1;
    assert_eq!(rig.look().await, [""; 0], "a restart makes nothing");
    rig.next_check().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("made-2"));
}

#[tokio::test]
async fn a_value_that_ends_and_has_no_state_is_replaced_before_that() {
    let generator = json!({"generatorRef": {"kind": "UUID", "name": "u"}});
    let mut rig = Rig::new(json!({"selector": generator, "refreshInterval": "2h", "data": [entry("uuid", "k")]}));
    // The clock of the rig's settings stands at zero, so that five sixths of the term are over at this second.
    let by = at(rig.now + 2_000);
    let end = at((rig.now + 2_000) * 6 / 5);
    rig.double.with(|state| state.term = Some(Term { end: end.into(), renews: false }));
    rig.look().await;
    assert_eq!(rig.next, Some(by));
    // Neither a restart nor a status that is lost puts that off.
    rig.now = by.as_second() - 1;
    restarts(&mut rig);
    loses_its_status(&mut rig);
    rig.look().await;
    assert_eq!((rig.double.held("s", "k").as_deref(), rig.next), (Some("made-1"), Some(by)));
    rig.now += 1;
    rig.double.with(|state| state.term = None);
    rig.look().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("made-2"));
}

/// What may happen to a PushSecret that asks for no other value.
fn labelled(rig: &mut Rig) {
    let labels = rig.ps.metadata.labels.get_or_insert_default();
    labels.insert("label".to_owned(), rig.now.to_string());
}

fn loses_its_status(rig: &mut Rig) {
    rig.ps.status = None;
}

fn restarts(rig: &mut Rig) {
    rig.memory = Memory::default();
}

#[tokio::test]
async fn a_value_stays_whatever_else_happens_than_that_another_is_asked_for() {
    let events: [&[fn(&mut Rig)]; 7] = [
        &[restarts],
        &[labelled],
        &[loses_its_status],
        &[labelled, restarts],
        &[loses_its_status, restarts],
        &[labelled, loses_its_status],
        &[labelled, loses_its_status, restarts],
    ];
    for (kind, interval) in [("UUID", "1h"), ("Kept", "1h"), ("UUID", "0")] {
        for (n, events) in events.iter().enumerate() {
            let selector = json!({"generatorRef": {"kind": kind, "name": "u"}});
            let spec = json!({"selector": selector, "refreshInterval": interval, "data": [entry("uuid", "k")]});
            let mut rig = Rig::new(spec);
            rig.look().await;
            rig.now += 60;
            events.iter().for_each(|event| event(&mut rig));
            let done = rig.look().await;
            assert!(!done.contains(&"push s/k".to_owned()), "{kind} {n}: {done:?}");
            assert_eq!(rig.double.held("s", "k").as_deref(), Some("made-1"), "{kind} {n}");
            assert_eq!(rig.recorded("SecretStore/s"), ["k"], "{kind} {n}");
            assert!(deadlines(&rig).iter().all(Option::is_none), "{kind} {n}: what is in use is not revoked");
            let told = rig.ps.status.as_ref().and_then(|status| status.synced_resource_version.clone());
            assert_eq!(told, Some(crate::look::version_of(&rig.ps)), "{kind} {n}");
            // None of it moves when the next one is due.
            assert_eq!(rig.look().await, [""; 0], "{kind} {n}");
            assert_eq!(rig.next.is_some(), interval == "1h");
            rig.now += 3600 - 60;
            rig.look().await;
            let next = if interval == "1h" { "made-2" } else { "made-1" };
            assert_eq!(rig.double.held("s", "k").as_deref(), Some(next), "{kind} {n}");
        }
    }
}

#[tokio::test]
async fn a_value_is_made_anew_for_whoever_asks_for_another() {
    let forced = |rig: &mut Rig| {
        let annotations = rig.ps.metadata.annotations.get_or_insert_default();
        _ = annotations.insert(names::ANNOTATION_FORCE_SYNC.to_owned(), "now".to_owned());
    };
    let respecified = |rig: &mut Rig| rig.respec(json!({"data": [entry("uuid", "k"), entry("uuid", "l")]}));
    let has_another_store = |rig: &mut Rig| rig.respec(json!({"secretStoreRefs": [{"name": "s"}, {"name": "t"}]}));
    let was_made_anew = |rig: &mut Rig| {
        rig.ps.metadata.uid = Some("another".to_owned());
        restarts(rig);
        loses_its_status(rig);
    };
    // What dataTo made is known by the value alone, and has to be deleted one day.
    let can_not_be_recorded = |rig: &mut Rig| {
        rig.respec(json!({"deletionPolicy": "Delete", "data": [], "dataTo": [{"storeRef": {"name": "s"}}]}));
        loses_its_status(rig);
    };
    let events: [fn(&mut Rig); 5] = [forced, respecified, has_another_store, was_made_anew, can_not_be_recorded];
    for (n, event) in events.iter().enumerate() {
        let selector = json!({"generatorRef": {"kind": "UUID", "name": "u"}});
        let mut rig = Rig::new(json!({"selector": selector, "data": [entry("uuid", "k")]}));
        rig.look().await;
        rig.now += 60;
        event(&mut rig);
        rig.look().await;
        assert_eq!(rig.double.with(|state| state.made), 2, "{n}");
    }
}

#[tokio::test]
async fn what_may_have_been_there_before_is_not_deleted_after_a_status_was_lost() {
    let selector = json!({"generatorRef": {"kind": "UUID", "name": "u"}});
    let mut rig = Rig::new(json!({
        "selector": selector, "updatePolicy": "IfNotExists", "deletionPolicy": "Delete", "data": [entry("uuid", "k")],
    }));
    rig.double.with(|state| _ = state.held.insert(("s".into(), "k".into()), "theirs".into()));
    rig.look().await;
    restarts(&mut rig);
    loses_its_status(&mut rig);
    rig.now += 1;
    rig.look().await;
    assert_eq!((rig.recorded("SecretStore/s"), rig.double.with(|state| state.made)), (vec!["k".to_owned()], 1));
    rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
    rig.ps.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
    rig.look().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("theirs"));
}

#[tokio::test]
async fn a_store_that_is_gone_for_a_moment_makes_nothing_anew() {
    let selector = json!({"generatorRef": {"kind": "UUID", "name": "u"}});
    let stores = json!([{"name": "s"}, {"name": "t"}]);
    let mut rig = Rig::new(json!({"selector": selector, "secretStoreRefs": stores, "data": [entry("uuid", "k")]}));
    rig.look().await;
    let all = rig.stores.clone();
    rig.stores.retain(|id, _| id.name != "t");
    rig.now += 1;
    rig.look().await;
    assert!(rig.said[0].contains("could not get SecretStore \"t\""), "{:?}", rig.said);
    rig.stores = all;
    rig.now += 1;
    rig.look().await;
    assert_eq!(
        (rig.said[0].as_str(), rig.double.with(|state| state.made)),
        ("Done(Done { pushed: 0, deleted: 0 })", 1)
    );
}

#[tokio::test]
async fn a_store_that_joins_gets_its_value_although_a_crash_comes_between() {
    let selector = json!({"generatorRef": {"kind": "UUID", "name": "u"}});
    let stores = json!([{"labelSelector": {"matchExpressions": [{"key": "no", "operator": "DoesNotExist"}]}}]);
    let mut rig = Rig::new(json!({"selector": selector, "secretStoreRefs": stores, "data": [entry("uuid", "k")]}));
    let all = rig.stores.clone();
    rig.stores.retain(|id, _| id.name == "s");
    rig.look().await;
    rig.stores = all;
    rig.double.fail("t", "k", Some(ErrorKind::Timeout));
    rig.now += 1;
    rig.look().await;
    assert_eq!(rig.recorded("SecretStore/t"), ["k"], "it may have been written");
    restarts(&mut rig);
    rig.double.fail("t", "k", None);
    rig.now += 1;
    rig.look().await;
    assert!(rig.double.held("t", "k").is_some() && rig.double.held("t", "k") == rig.double.held("s", "k"));
}

fn generated(more: Value) -> Rig {
    let mut spec = json!({"selector": {"generatorRef": {"kind": "Kept", "name": "g"}}, "data": [entry("uuid", "k")]});
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    Rig::new(spec)
}

/// The seconds at which what was made is revoked.
fn deadlines(rig: &Rig) -> Vec<Option<i64>> {
    rig.double.with(|state| state.states.iter().map(|known| Some(known.deadline?.as_second())).collect())
}

#[tokio::test]
async fn what_is_replaced_is_revoked_after_the_grace_and_what_nobody_uses_at_once() {
    let mut rig = generated(json!({}));
    rig.double.fail("s", "k", Some(ErrorKind::Unavailable));
    rig.look().await;
    rig.double.fail("s", "k", None);
    rig.look().await;
    assert_eq!(deadlines(&rig), [None], "the next try pushes it");
    rig.memory = Memory::default();
    rig.now += 1;
    rig.look().await;
    assert_eq!(deadlines(&rig), [None], "a restart revokes nothing");
    rig.next_check().await;
    assert_eq!(deadlines(&rig), [Some(120), None]);
    rig.double.with(|state| state.breaks = true);
    rig.next_check().await;
    assert_eq!(deadlines(&rig), [Some(120), None, Some(0)]);
    rig.double.secret("src", &[("uuid", "1")]);
    rig.ps.spec.selector.generator_ref = None;
    rig.respec(json!({"selector": {"secret": {"name": "src"}}}));
    rig.look().await;
    assert_eq!(deadlines(&rig), [Some(120), Some(120), Some(0)], "nothing that was generated is pushed any more");
}

#[tokio::test]
async fn what_was_there_before_stays_and_so_does_what_stands_for_it() {
    let mut rig = generated(json!({"updatePolicy": "IfNotExists"}));
    rig.look().await;
    rig.next_check().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("made-1"));
    assert_eq!(deadlines(&rig)[0], None);
    assert!(deadlines(&rig)[1..].iter().all(Option::is_some), "{:?}", deadlines(&rig));
}

#[tokio::test]
async fn what_ends_before_the_next_check_is_replaced_before_that() {
    let mut rig = generated(json!({"refreshInterval": "1h"}));
    let end = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1200);
    rig.double.with(|state| state.term = Some(Term { end, renews: false }));
    rig.look().await;
    assert_eq!(rig.next, Some(at(1000)), "five sixths, by the clock that stands at 0");
    assert_eq!(rig.memory.replace_by, Some(at(1000)));
    // What is never replaced is nothing to be told of.
    for spec in [json!({"refreshInterval": "0"}), json!({"updatePolicy": "IfNotExists"})] {
        rig.respec(spec);
        rig.now += 1;
        rig.look().await;
        assert_eq!(rig.memory.replace_by, None, "{:?}", rig.said);
        rig.respec(json!({"refreshInterval": "1h", "updatePolicy": "Replace"}));
    }
}

fn of_two_stores(interval: &str) -> Rig {
    generated(json!({"secretStoreRefs": [{"name": "s"}, {"name": "t"}], "refreshInterval": interval}))
}

#[tokio::test]
async fn one_store_that_stays_broken_keeps_no_other_on_a_value_that_is_over() {
    // The one by its interval, the other since it ends: at 100600.
    for (interval, ends, wait) in [("1h", None, 3600), ("24h", Some(120_720), 600)] {
        let mut rig = of_two_stores(interval);
        let end = |end| std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(end);
        rig.double.with(|state| state.term = ends.map(|at| Term { end: end(at), renews: false }));
        rig.double.fail("t", "k", Some(ErrorKind::Denied));
        rig.look().await;
        rig.now += wait - 61;
        rig.look().await;
        assert_eq!(rig.double.held("s", "k").as_deref(), Some("made-1"), "{interval}: it is good");
        assert!(rig.next.is_some_and(|next| next <= at(100_000 + wait)), "{interval}: {:?}", rig.next);
        rig.double.with(|state| state.term = None);
        rig.now = 100_000 + wait;
        rig.look().await;
        assert_eq!(rig.double.held("s", "k").as_deref(), Some("made-2"), "{interval}");
        assert_eq!(deadlines(&rig), [Some(120), None], "{interval}: no store holds it any more");
        rig.double.fail("t", "k", None);
        rig.now += 60;
        rig.look().await;
        assert_eq!(rig.double.held("t", "k").as_deref(), Some("made-2"), "{interval}");
        assert_eq!(deadlines(&rig), [Some(120), None], "{interval}");
        // Its interval began when it was made.
        rig.now += 3600 - 60;
        rig.look().await;
        assert_eq!(rig.double.held("s", "k").as_deref() == Some("made-3"), interval == "1h");
    }
}

#[tokio::test]
async fn what_a_store_may_still_hold_is_not_revoked() {
    let mut rig = of_two_stores("1h");
    rig.double.fail("t", "k", Some(ErrorKind::Timeout));
    rig.look().await;
    rig.next_check().await;
    assert_eq!(deadlines(&rig), [None, None], "the second may hold the first");
    rig.double.fail("t", "k", None);
    rig.double.fail("s", "k", Some(ErrorKind::Denied));
    rig.next_check().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("made-2"));
    assert_eq!(deadlines(&rig), [Some(120), None, None], "the first store holds the second");
    rig.double.fail("s", "k", None);
    rig.now += 1;
    rig.look().await;
    assert_eq!(deadlines(&rig), [Some(120), Some(120), None]);
}

#[tokio::test]
async fn what_stays_in_a_store_is_what_the_others_get_however_late() {
    let mut rig = of_two_stores("1h");
    rig.respec(json!({"updatePolicy": "IfNotExists"}));
    rig.double.fail("t", "k", Some(ErrorKind::Denied));
    for _ in 0..3 {
        rig.next_check().await;
    }
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("made-1"));
    assert_eq!(deadlines(&rig), [None], "nothing else is made for the others");
    rig.double.fail("t", "k", None);
    rig.now += 1;
    rig.look().await;
    assert_eq!((rig.double.held("s", "k"), rig.double.held("t", "k")), (Some("made-1".into()), Some("made-1".into())));
    assert_eq!(deadlines(&rig), [None]);
}

#[tokio::test]
async fn a_generation_that_was_broken_off_hides_no_value_that_ends() {
    let mut rig = generated(json!({"refreshInterval": "24h"}));
    let end = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(120_720);
    rig.double.with(|state| state.term = Some(Term { end, renews: false }));
    rig.look().await;
    restarts(&mut rig);
    rig.now += 1;
    rig.look().await;
    assert_eq!((rig.next, rig.double.with(|state| state.made)), (Some(at(100_600)), 1), "it ends then");
    // Killed once the next one was written down.
    restarts(&mut rig);
    rig.double.with(|state| {
        let held = state.states[0].clone();
        state.states.push(KnownState { name: "left".into(), made: (None, "2".into()), refresh_by: None, ..held });
        state.made = 2;
    });
    rig.now += 1;
    rig.look().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("made-3"), "some stores may hold what was left");
    assert_eq!(deadlines(&rig), [Some(120), Some(120), None]);
    rig.now += 1;
    assert_eq!(rig.look().await, [""; 0], "once");
}

fn noted(rig: &mut Rig, by: impl FnOnce(Kept) -> Kept) {
    let annotations = rig.ps.metadata.annotations.get_or_insert_default();
    let note = annotations.get_mut(names::ANNOTATION_GENERATED).unwrap();
    *note = by(Kept::parse(note).unwrap()).to_string();
}

#[tokio::test]
async fn a_note_that_is_forged_puts_off_no_value() {
    for (later, is_made) in [(599, false), (601, true), (3600, true), (7200, true)] {
        let mut rig = generated(json!({"refreshInterval": "1h"}));
        rig.look().await;
        // Whoever edits a label has it told that all is well, but not that anything was made.
        for _ in 0..2 {
            rig.now += 1800;
            labelled(&mut rig);
            restarts(&mut rig);
            let told = rig.ps.status.as_ref().and_then(|status| status.refresh_time.clone()).unwrap().0;
            noted(&mut rig, |kept| Kept { at: told + Duration::from_secs(later), ..kept });
            rig.look().await;
        }
        assert_eq!(rig.double.with(|state| state.made) > 1, is_made, "{later}");
        rig.now += 600;
        rig.look().await;
        assert!(rig.double.with(|state| state.made) > 1, "{later}");
    }
}

#[tokio::test]
async fn what_a_template_is_taken_from_makes_a_value_anew() {
    let template = json!({"templateFrom": [{"secret": {"name": "c", "items": [{"key": "k"}]}}]});
    let mut rig = generated(json!({"template": template, "data": [entry("k", "k")]}));
    rig.double.secret("c", &[("k", "one: {{ .uuid }}")]);
    rig.look().await;
    assert_eq!(
        (rig.said[0].as_str(), rig.double.with(|state| state.made)),
        ("Done(Done { pushed: 1, deleted: 0 })", 1)
    );
    rig.now += 1;
    assert_eq!(rig.look().await, [""; 0]);
    rig.double.secret("c", &[("k", "two: {{ .uuid }}")]);
    rig.now += 1;
    rig.look().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("two: made-2"));
    assert_eq!(deadlines(&rig), [Some(120), None]);
    rig.now += 1;
    assert_eq!(rig.look().await, [""; 0], "once");
}
