//! What is in a store before anything is pushed there.

use super::*;

/// Somebody deletes the PushSecret.
fn goes(rig: &mut Rig) {
    rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
    rig.ps.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
}

/// `s` keeps no marks, and holds what others made.
fn theirs_in_a_store_without_marks(rig: &Rig) {
    rig.double.with(|state| {
        state.has_no_marks = true;
        state.held.insert(("s".into(), "k".into()), "theirs".into());
    });
}

#[tokio::test]
async fn what_is_there_is_not_ours_before_it_is_written_over() {
    for (fails, stays) in [(Some(ErrorKind::Timeout), true), (None, false)] {
        let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
        rig.double.secret("src", &[("a", "1")]);
        theirs_in_a_store_without_marks(&rig);
        rig.double.fail("s", "k", fails);
        rig.look().await;
        assert_eq!(rig.recorded("SecretStore/s"), ["k"], "what may have been written is recorded");
        rig.double.fail("s", "k", None);
        goes(&mut rig);
        rig.memory = Memory::default();
        rig.look().await;
        assert_eq!(rig.double.held("s", "k").is_some(), stays, "{fails:?}");
    }
}

#[tokio::test]
async fn what_was_written_over_at_the_second_try_is_ours() {
    let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
    rig.double.secret("src", &[("a", "1")]);
    theirs_in_a_store_without_marks(&rig);
    rig.double.fail("s", "k", Some(ErrorKind::Timeout));
    rig.look().await;
    assert!(!crate::refers::found_in(rig.ps.status.as_ref(), "SecretStore/s").is_empty());
    rig.double.fail("s", "k", None);
    rig.now += 60;
    rig.look().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("1"));
    assert!(crate::refers::found_in(rig.ps.status.as_ref(), "SecretStore/s").is_empty());
}

#[tokio::test]
async fn what_was_there_before_is_not_ours_to_delete() {
    let mut rig = Rig::new(json!({
        "updatePolicy": "IfNotExists", "deletionPolicy": "Delete", "data": [entry("a", "k"), entry("a", "l")],
    }));
    rig.double.secret("src", &[("a", "1")]);
    rig.double.with(|state| _ = state.held.insert(("s".into(), "k".into()), "theirs".into()));
    rig.look().await;
    assert_eq!(rig.recorded("SecretStore/s"), ["k", "l"]);
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("theirs"));
    goes(&mut rig);
    rig.memory = Memory::default();
    rig.look().await;
    assert_eq!((rig.double.held("s", "k").as_deref(), rig.double.held("s", "l")), (Some("theirs"), None));
}

#[tokio::test]
async fn a_secret_that_others_keep_keys_in_is_never_deleted_as_a_whole() {
    let whole = json!([{"match": {"remoteRef": {"remoteKey": "k"}}}]);
    for (is_there, stays) in [(true, true), (false, false)] {
        let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": whole}));
        rig.double.secret("src", &[("a", "1")]);
        rig.double.with(|state| {
            (state.has_no_marks, state.merges) = (true, true);
            if is_there {
                state.held.insert(("s".into(), "k".into()), "theirs".into());
            }
        });
        rig.look().await;
        goes(&mut rig);
        rig.look().await;
        assert_eq!(rig.double.held("s", "k").is_some(), stays);
    }
}

#[tokio::test]
async fn what_is_not_written_over_any_more_does_not_become_ours() {
    let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k")]}));
    rig.double.secret("src", &[("a", "1")]);
    theirs_in_a_store_without_marks(&rig);
    rig.double.fail("s", "k", Some(ErrorKind::Timeout));
    rig.look().await;
    rig.double.fail("s", "k", None);
    rig.respec(json!({"updatePolicy": "IfNotExists"}));
    rig.now += 60;
    rig.look().await;
    goes(&mut rig);
    rig.look().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("theirs"));
}

#[tokio::test]
async fn what_stays_in_one_store_is_not_written_over_when_another_lets_go() {
    let refs = json!([{"name": "s"}, {"name": "t"}]);
    let mut rig = Rig::new(json!({
        "secretStoreRefs": refs, "updatePolicy": "IfNotExists", "deletionPolicy": "Delete", "data": [entry("a", "k")],
    }));
    rig.double.secret("src", &[("a", "1")]);
    rig.double.with(|state| _ = state.held.insert(("t".into(), "k".into()), "theirs".into()));
    rig.look().await;
    rig.respec(json!({"secretStoreRefs": [{"name": "t"}]}));
    let done = rig.look().await;
    assert!(done.contains(&"delete s/k".to_owned()), "{done:?}");
    assert_eq!(rig.double.held("t", "k").as_deref(), Some("theirs"), "{done:?}");
}

#[tokio::test]
async fn who_selects_more_than_there_is_room_for_reads_it_when_it_has_its_turn() {
    let selector = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    for (size, reads) in [(10, 2), (600_000, 4)] {
        let mut rig = Rig::new(json!({"selector": selector, "dataTo": [{"storeRef": {"name": "s"}}]}));
        let text = "x".repeat(size);
        rig.double.secret("a", &[("one", &text)]);
        rig.double.secret("b", &[("two", &text)]);
        let done = rig.look().await;
        assert_eq!(done.iter().filter(|what| what.starts_with("read ")).count(), reads, "{size}: {done:?}");
        assert_eq!(rig.double.held("s", "two").map(|held| held.len()), Some(size));
    }
}

#[tokio::test]
async fn what_was_made_through_one_store_is_ours_through_another_that_is_surely_the_same() {
    let vault = |role: &str| json!({"vault": {"server": "https://v", "path": "kv", "auth": {"role": role}}});
    for is_theirs in [false, true] {
        for (both, policy) in [(false, "IfNotExists"), (true, "IfNotExists"), (false, "Replace")] {
            let mut rig = Rig::new(json!({
                "updatePolicy": "IfNotExists", "deletionPolicy": "Delete", "data": [entry("a", "k")],
            }));
            rig.put_store("s", vault("old"));
            rig.put_store("t", vault("new"));
            rig.double.secret("src", &[("a", "1")]);
            rig.double.with(|state| {
                (state.is_one, state.has_no_marks) = (true, true);
                if is_theirs {
                    state.held.insert(("s".into(), "k".into()), "theirs".into());
                }
            });
            rig.look().await;
            // What may not be written over yet is as good as found.
            if policy == "Replace" {
                rig.double.fail("t", "k", Some(ErrorKind::Timeout));
            }
            if both {
                rig.respec(json!({"secretStoreRefs": [{"name": "s"}, {"name": "t"}]}));
                rig.look().await;
            }
            rig.respec(json!({"secretStoreRefs": [{"name": "t"}], "updatePolicy": policy}));
            rig.look().await;
            assert_eq!((rig.recorded("SecretStore/s").len(), rig.recorded("SecretStore/t")), (0, vec!["k".to_owned()]));
            rig.double.fail("t", "k", None);
            goes(&mut rig);
            rig.memory = Memory::default();
            rig.look().await;
            let stays = rig.double.held("t", "k").is_some();
            assert_eq!(stays, is_theirs, "through both: {both}, {policy}");
        }
    }
}
