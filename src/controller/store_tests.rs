//! Tests of the store subject: when it is checked, what that comes to, and whom it concerns.

use keyferry_provider_core::Error;
use keyferry_sync::dependency::Kind;
use keyferry_sync::ports::Problem;
use serde_json::json;

use super::super::rig::{Answer, DAY, Options, Rig};
use super::super::samples::{
    cluster_store, es, gone_object, gone_store, locked_out, put, put_object, put_store, store, unreachable,
};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A controller at work.
async fn at_work() -> Rig {
    let mut rig = Rig::new();
    rig.start().await;
    rig
}

/// The same, with two who use the store `s`, which is fine: the last look at one of them failed.
async fn with_users() -> Rig {
    let mut rig = at_work().await;
    rig.log_in_with("s", "login", "5");
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.expect(["check s"]).await;
    rig.answer("failed", Answer::Failed);
    rig.tell(put(es("failed", 1, json!({}))));
    rig.tell(put(es("well", 1, json!({}))));
    rig.expect(["look failed", "look well"]).await;
    rig
}

/// A store whose condition says this.
fn told(generation: i64, spec: serde_json::Value, ready: bool) -> Store {
    let mut status = SecretStoreStatus::default();
    record::set_ready(&mut status.conditions, ready, "Told", "by another".into(), Timestamp::UNIX_EPOCH);
    store("s", generation, spec).with_status(status)
}

fn readiness(rig: &Rig, name: &str) -> Readiness {
    rig.look(name, |look| look.stores.values().next().expect("it has a store").1.clone())
}

#[tokio::test(start_paused = true)]
async fn one_that_is_fine_is_checked_now_and_then() {
    let mut rig = at_work().await;
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.tell(put_store(cluster_store("often", 1, json!({"refreshInterval": 60}))));
    rig.expect(["check s", "check often"]).await;
    assert_eq!(rig.condition("s"), ("Valid".to_owned(), "store validated".to_owned()));
    rig.pass(60 * SECOND).await;
    rig.expect(["check often"]).await;
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.expect([]).await;
    rig.pass(DAY - 60 * SECOND).await;
    rig.expect(["check often", "check s"]).await;
}

#[tokio::test(start_paused = true)]
async fn only_what_changed_is_told() {
    let mut rig = at_work().await;
    rig.tell(put_store(store("s", 1, json!({"refreshInterval": 60}))));
    rig.expect(["check s"]).await;
    assert_eq!(rig.notes(), ["Valid"]);
    // The watch has not told of the status yet.
    rig.pass(60 * SECOND).await;
    rig.expect(["check s"]).await;
    rig.refuse("s", Some(locked_out()));
    for _ in 0..2 {
        rig.pass(60 * SECOND).await;
        rig.expect(["check s"]).await;
    }
    assert_eq!(rig.notes(), ["InvalidProviderConfig"]);
    let statuses = rig.statuses("s");
    let can = |n: usize| statuses[n].capabilities.as_ref().map(|can| can.to_string());
    assert_eq!((statuses.len(), can(0), can(1)), (2, Some("ReadWrite".to_owned()), Some("ReadWrite".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_nobody_maintains_is_told_of_unless_that_is_wanted() {
    let mut rig = at_work().await;
    rig.maintain_nothing();
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.expect(["check s"]).await;
    assert_eq!(rig.notes(), ["Valid", "StoreUnmaintained"]);
    let mut silenced = store("silenced", 1, json!({}));
    silenced.metadata.annotations = Some([(names::ANNOTATION_IGNORE_MAINTENANCE.to_owned(), String::new())].into());
    rig.tell(put_store(silenced));
    rig.expect(["check silenced"]).await;
    assert_eq!(rig.notes(), ["Valid"]);
}

/// Whoever writes large ones would have each written again with each check, and all of that told to all who watch.
#[tokio::test(start_paused = true)]
async fn one_that_is_refused_as_it_is_is_told_once_and_checked_seldom() {
    let mut rig = at_work().await;
    let metadata = store("s", 1, json!({})).metadata;
    rig.refuse("s", Some(locked_out()));
    rig.tell(put_store(Store::undecodable(metadata.clone())));
    rig.expect(["check s"]).await;
    // What the watch tells of the status that was written does not decode either.
    rig.tell(put_store(Store::undecodable(metadata.clone())));
    rig.pass(LONGEST - SECOND).await;
    rig.expect([]).await;
    for _ in 0..2 {
        rig.pass(LONGEST).await;
        rig.expect(["check s"]).await;
        rig.tell(put_store(Store::undecodable(metadata.clone())));
    }
    assert_eq!((rig.statuses("s").len(), rig.notes().len()), (1, 1));
    // And who starts finds that it was told.
    let ready = rig.statuses("s").remove(0).conditions.pop();
    let mut other = at_work().await;
    other.refuse("s", Some(locked_out()));
    other.tell(put_store(Store::refused(metadata, "no room".to_owned(), ready)));
    other.expect(["check s"]).await;
    assert_eq!(other.statuses("s").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_checked_ever_more_rarely_until_it_changes() {
    let mut rig = at_work().await;
    rig.refuse("s", Some(unreachable()));
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.expect(["check s"]).await;
    let why = "unable to create client: it can't be reached";
    assert_eq!(rig.condition("s"), ("InvalidProviderConfig".to_owned(), why.to_owned()));
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        rig.pass(wait * SECOND - SECOND / 2).await;
        rig.expect([]).await;
        rig.pass(SECOND / 2).await;
        rig.expect(["check s"]).await;
    }
    rig.tell(put_store(store("s", 2, json!({}))));
    rig.expect(["check s"]).await;
    rig.pass(SECOND).await;
    rig.expect(["check s"]).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_fine_and_fails_for_now_can_be_used_until_the_third_time_in_a_row() {
    let mut rig = at_work().await;
    rig.tell(put_store(store("s", 1, json!({"refreshInterval": 60}))));
    rig.expect(["check s"]).await;
    rig.refuse("s", Some(unreachable()));
    rig.pass(60 * SECOND).await;
    rig.expect(["check s"]).await;
    rig.pass(SECOND).await;
    rig.expect(["check s"]).await;
    // It works again: what failed before does not count any more.
    rig.refuse("s", None);
    rig.pass(2 * SECOND).await;
    rig.expect(["check s"]).await;
    rig.refuse("s", Some(unreachable()));
    for (generation, wait) in [(1, 60 * SECOND), (2, SECOND)] {
        rig.pass(wait).await;
        rig.expect(["check s"]).await;
        rig.tell(put(es("e", generation, json!({}))));
        rig.expect(["look e"]).await;
        assert_eq!(readiness(&rig, "e"), Readiness::Ready);
    }
    assert_eq!(rig.statuses("s").len(), 1, "nothing changed that is told");
    rig.pass(2 * SECOND).await;
    rig.expect(["check s"]).await;
    rig.tell(put(es("e", 3, json!({}))));
    rig.expect(["look e"]).await;
    let why = "unable to create client: it can't be reached";
    assert_eq!(rig.condition("s"), ("InvalidProviderConfig".to_owned(), why.to_owned()));
    assert_eq!(readiness(&rig, "e"), Readiness::NotReady(why.to_owned()));
    // From here on it waits as one does that never could be used.
    rig.pass(4 * SECOND).await;
    rig.expect(["check s"]).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_for_good_can_not_be_used_at_once_nor_one_whose_spec_is_new() {
    let mut rig = at_work().await;
    for (generation, refused) in [(1, locked_out()), (2, unreachable())] {
        rig.refuse("s", None);
        rig.tell(gone_store(store("s", 1, json!({}))));
        rig.tell(put_store(store("s", 1, json!({}))));
        rig.expect(["check s"]).await;
        rig.refuse("s", Some(refused));
        rig.tell(put_store(store("s", generation, json!({}))));
        if generation == 1 {
            rig.pass(DAY).await;
        }
        rig.expect(["check s"]).await;
        assert_eq!(rig.condition("s").0, "InvalidProviderConfig", "generation {generation}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_fine_before_a_restart_has_the_same_patience() {
    let mut rig = at_work().await;
    rig.refuse("s", Some(unreachable()));
    rig.tell(put_store(told(1, json!({}), true)));
    rig.expect(["check s"]).await;
    rig.pass(SECOND).await;
    rig.expect(["check s"]).await;
    assert!(rig.statuses("s").is_empty(), "what was told stands");
    rig.pass(2 * SECOND).await;
    rig.expect(["check s"]).await;
    assert_eq!(rig.condition("s").0, "InvalidProviderConfig");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_for_mounts_is_not_logged_in_to() {
    let mut rig = at_work().await;
    rig.tell(put_store(store("s", 1, json!({"loginBy": "Mount"}))));
    rig.expect([]).await;
    assert_eq!(rig.condition("s").0, "LoginByMount");
    let status = rig.statuses("s").pop().unwrap();
    assert_eq!(status.conditions[0].status, "Unknown");
    assert!(status.capabilities.is_none());
}

#[tokio::test(start_paused = true)]
async fn one_that_can_not_tell_is_taken_to_be_fine() {
    let mut rig = at_work().await;
    for (refused, reason, message) in [
        (
            Refused::Validation(Error::new(ErrorKind::Unverified, "no permission")),
            "ValidationUnknown",
            "could not determine validation status: no permission",
        ),
        (Refused::Client(Error::new(ErrorKind::Referent, "whoever asks")), "Valid", "store validated"),
        (
            Refused::Validation(Error::new(ErrorKind::Denied, "the token is over")),
            "InvalidProviderConfig",
            "unable to validate store: the token is over",
        ),
        (
            Refused::Client(Error::new(ErrorKind::Unverified, "no answer")),
            "InvalidProviderConfig",
            "unable to create client: no answer",
        ),
    ] {
        rig.refuse("s", Some(refused));
        rig.tell(gone_store(store("s", 1, json!({}))));
        rig.tell(put_store(store("s", 1, json!({}))));
        rig.expect(["check s"]).await;
        assert_eq!(rig.condition("s"), (reason.to_owned(), message.to_owned()));
        let status = rig.statuses("s").pop().unwrap();
        assert_eq!(status.capabilities.is_some(), reason == "Valid", "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_its_spec_gets_wrong_takes_no_login_to_find() {
    let mut rig = at_work().await;
    for (generation, spec, message) in [
        (1, json!({"conditions": [{"namespaceRegexes": ["("]}]}), "unable to validate store: spec.conditions"),
        (2, json!({"refreshInterval": -1}), "unable to validate store: spec.refreshInterval"),
    ] {
        rig.tell(put_store(cluster_store("s", generation, spec)));
        rig.expect([]).await;
        let (reason, told) = rig.condition("s");
        assert!(reason == "InvalidProviderConfig" && told.starts_with(message), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_credential_has_it_checked_and_wakes_only_who_failed() {
    let mut rig = with_users().await;
    rig.tell(put_object(&Kind::Secret, "login", "5"));
    rig.expect([]).await;
    rig.log_in_with("s", "login", "6");
    rig.tell(put_object(&Kind::Secret, "login", "6"));
    rig.expect(["check s", "look failed"]).await;
    rig.refuse("s", Some(locked_out()));
    rig.tell(gone_object(&Kind::Secret, "login"));
    // Once for the Secret, and once for what the check found.
    rig.expect(["check s", "look failed", "look failed"]).await;
    assert_eq!(
        readiness(&rig, "failed"),
        Readiness::NotReady("unable to create client: it knows nobody of that name".to_owned())
    );
    // It logs in with another now.
    rig.refuse("s", None);
    rig.log_in_with("s", "another", "1");
    rig.tell(put_store(store("s", 2, json!({}))));
    rig.expect(["check s", "look failed", "look failed"]).await;
    rig.tell(put_object(&Kind::Secret, "login", "7"));
    rig.expect([]).await;
    rig.tell(put_object(&Kind::Secret, "another", "2"));
    rig.expect(["check s", "look failed"]).await;
    rig.tell(gone_store(store("s", 2, json!({}))));
    rig.expect(["look failed"]).await;
    rig.tell(put_object(&Kind::Secret, "another", "3"));
    rig.expect([]).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_store_looks_when_its_check_has_ended() {
    let mut rig = at_work().await;
    rig.hold("s");
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.answer("e", Answer::Holding);
    rig.tell(put(es("e", 1, json!({}))));
    rig.expect(["check s", "look e"]).await;
    assert_eq!(readiness(&rig, "e"), Readiness::Unchecked);
    rig.pass(DAY).await;
    rig.expect([]).await;
    rig.answer("e", Answer::Synced);
    rig.release("s");
    rig.expect(["look e"]).await;
    assert_eq!(readiness(&rig, "e"), Readiness::Ready);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_missing_wakes_who_failed_without_it() {
    let mut rig = at_work().await;
    rig.answer("e", Answer::Failed);
    rig.tell(put(es("e", 1, json!({}))));
    rig.expect(["look e"]).await;
    rig.hold("s");
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.expect(["check s", "look e"]).await;
    rig.release("s");
    rig.expect(["look e"]).await;
    rig.tell(gone_store(store("s", 1, json!({}))));
    rig.expect(["look e"]).await;
    rig.pass(DAY).await;
    rig.expect(["look e"]).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_changes_while_it_is_checked_is_checked_once_more() {
    let mut rig = at_work().await;
    rig.hold("s");
    rig.refuse("s", Some(unreachable()));
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.expect(["check s"]).await;
    rig.tell(put_store(store("s", 2, json!({}))));
    rig.answer("e", Answer::Holding);
    rig.tell(put(es("e", 1, json!({}))));
    // What the first waits for is not waited for any more.
    rig.expect(["look e", "check s"]).await;
    rig.tell(put(es("e", 2, json!({}))));
    rig.expect(["look e"]).await;
    assert_eq!(readiness(&rig, "e"), Readiness::Unchecked, "what the first check found is of another spec");
    rig.refuse("s", None);
    rig.release("s");
    rig.expect(["look e"]).await;
    assert_eq!(readiness(&rig, "e"), Readiness::Ready);
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_while_it_is_checked_leaves_nothing() {
    let mut rig = at_work().await;
    rig.hold("s");
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.expect(["check s"]).await;
    rig.tell(gone_store(store("s", 1, json!({}))));
    rig.release("s");
    rig.pass(DAY).await;
    rig.expect([]).await;
    assert!(!rig.counts(r#"name="s""#));
}

#[tokio::test(start_paused = true)]
async fn one_of_another_class_is_not_checked_and_its_status_counts() {
    let mut rig = at_work().await;
    let theirs = || json!({"controller": "theirs"});
    rig.tell(put_store(told(1, theirs(), false)));
    rig.answer("e", Answer::Ignored);
    rig.tell(put(es("e", 1, json!({}))));
    rig.expect(["look e"]).await;
    assert_eq!(readiness(&rig, "e"), Readiness::NotReady("by another".into()));
    rig.tell(put_store(told(1, theirs(), true)));
    rig.expect(["look e"]).await;
    assert_eq!(readiness(&rig, "e"), Readiness::Ready);
    rig.tell(put_store(told(1, theirs(), true)));
    rig.expect([]).await;
    // It becomes ours, and somebody else's again.
    rig.tell(put_store(told(2, json!({"controller": "ours"}), true)));
    rig.expect(["check s", "look e", "look e"]).await;
    rig.tell(put_store(told(3, theirs(), true)));
    rig.expect(["look e"]).await;
    rig.pass(DAY).await;
    rig.expect([]).await;
}

#[tokio::test(start_paused = true)]
async fn where_secret_stores_are_not_checked_their_status_counts() {
    let mut rig = Rig::with(Options { secret_stores: false, ..Options::default() });
    rig.start().await;
    rig.tell(put_store(told(1, json!({}), true)));
    rig.tell(put_store(cluster_store("c", 1, json!({}))));
    rig.expect(["check c"]).await;
    rig.tell(put(es("e", 1, json!({}))));
    rig.expect(["look e"]).await;
    assert_eq!(readiness(&rig, "e"), Readiness::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_can_not_be_written_is_tried_again_soon_unless_there_is_nobody_to_tell() {
    let mut rig = at_work().await;
    let problem = |is_not_found: bool| Problem { message: "no".to_owned(), is_temporary: !is_not_found, is_not_found };
    rig.refuse_statuses(Some(problem(false)));
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.expect(["check s"]).await;
    rig.refuse_statuses(None);
    rig.pass(STATUS_RETRY).await;
    rig.expect(["check s"]).await;
    assert_eq!(rig.condition("s").0, "Valid");
    rig.refuse_statuses(Some(problem(true)));
    rig.tell(put_store(store("gone", 1, json!({}))));
    rig.expect(["check gone"]).await;
    rig.pass(STATUS_RETRY).await;
    rig.expect([]).await;
}
