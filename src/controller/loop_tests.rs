//! Tests of the loop: what is looked at, when, and what is not.

use jiff::SignedDuration;
use keyferry_crds::{Condition, ExternalSecret, Manifest};
use keyferry_sync::dependency::{Dependency, Kind, Name};
use keyferry_sync::look::{Look, Seen};
use keyferry_sync::ports::Problem;
use serde_json::json;

use super::change::Target;
use super::rig::{Answer, HOUR, Options, Rig, set_clock};
use super::samples::{
    at, cluster_store, es, gone, gone_object, gone_store, name, put, put_namespace, put_object, put_store, put_told,
    put_undecodable, store,
};
use super::subject::LOOKS_AT_ONCE;
use super::*;

const EXTERNAL_SECRETS: List = List::Subject(SubjectKind::ExternalSecret);
const SECRETS: List = List::Objects(Kind::Secret);
const CONFIG_MAPS: List = List::Objects(Kind::ConfigMap);

/// A controller at work, with the store `s`, which is fine.
async fn at_work() -> Rig {
    let mut rig = Rig::new();
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.start().await;
    rig.expect(["check s"]).await;
    rig
}

/// An ExternalSecret like any other.
fn plain(name: &str) -> ExternalSecret {
    es(name, 1, json!({}))
}

/// The same after an edit.
fn edited(name: &str) -> ExternalSecret {
    es(name, 2, json!({}))
}

/// A template of this ConfigMap.
fn template_from(config_map: &str) -> serde_json::Value {
    json!({"target": {"template": {"templateFrom": [{"configMap": {"name": config_map, "items": []}}]}}})
}

fn widget() -> Kind {
    Kind::of(&Manifest { api_version: "example.org/v1".into(), kind: "Widget".into() })
}

fn a_problem() -> Problem {
    Problem { message: "no answer".to_owned(), is_temporary: true, is_not_found: false }
}

fn seen(look: &Look) -> Seen {
    look.seen.clone()
}

fn names<const N: usize>(names: [&str; N]) -> [Name; N] {
    names.map(name)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_looked_at_before_all_is_listed() {
    let mut rig = Rig::new();
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.tell(put_store(cluster_store("c", 1, json!({}))));
    rig.tell(put(plain("e")));
    rig.tell(put_object(&Kind::Secret, "e", "5"));
    for list in [
        EXTERNAL_SECRETS,
        List::Subject(SubjectKind::SecretStore),
        List::Namespaces,
        List::Subject(SubjectKind::ClusterSecretStore),
        CONFIG_MAPS,
    ] {
        rig.list(&list, None);
        rig.pass(HOUR).await;
        rig.expect([]).await;
        assert!(!rig.is_ready(), "{list:?} is not the last");
    }
    rig.list(&SECRETS, None);
    // The store turned out to be ready during the look, which may have come to wait for it.
    rig.expect(["check c", "check s", "look e", "look e"]).await;
    assert!(rig.is_ready());
}

#[tokio::test(start_paused = true)]
async fn who_stands_by_knows_all_touches_nothing_and_begins_at_once_when_it_leads() {
    let mut rig = Rig::with(Options { stands_by: true, ..Options::default() });
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.tell(put(plain("e")));
    rig.tell(put_object(&Kind::Secret, "e", "5"));
    rig.tell(put_undecodable("u", 1));
    let target = Target {
        object: Dependency::new(Kind::Secret, name("e")),
        version: at("7"),
        is_intact: true,
        rotated_at: None,
    };
    rig.pages(vec![Ok(vec![target])]);
    rig.start().await;
    // What the leader does meanwhile is seen.
    rig.tell(put_object(&Kind::Secret, "e", "7"));
    rig.tell(put(edited("e")));
    rig.tell(put(plain("gone")));
    rig.tell(gone("gone"));
    rig.pass(2 * HOUR).await;
    rig.expect([]).await;
    rig.lead();
    // The store is ready before anything else is known of it.
    rig.expect(["targets at start", "undecodable u", "check s", "look e", "look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::At(at("7")));
    assert_eq!(rig.look("e", |look| look.es.metadata.generation), Some(2));
}

#[tokio::test(start_paused = true)]
async fn without_cluster_stores_their_list_is_not_awaited() {
    let mut rig = Rig::with(Options { cluster_stores: false, ..Options::default() });
    rig.tell(put(plain("e")));
    rig.start().await;
    rig.expect(["look e"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_goes_before_what_is_due() {
    let mut rig = Rig::new();
    for name in ["a", "b", "c"] {
        rig.tell(put(plain(name)));
    }
    rig.tell(put(edited("b")));
    // What watches tell of targets before the first look is nobody's doing.
    rig.tell(put_object(&Kind::Secret, "c", "5"));
    rig.start().await;
    rig.expect(["look b", "look a", "look c"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_targets_at_start_are_known_without_a_read_unless_a_watch_told_later() {
    let mut rig = Rig::new();
    for (name, revision) in [("intact", "5"), ("drifted", "5"), ("later", "6")] {
        rig.tell(put(plain(name)));
        rig.tell(put_object(&Kind::Secret, name, revision));
    }
    let target = |name_: &str, revision: &str, is_intact| {
        let object = Dependency::new(Kind::Secret, name(name_));
        Target { object, version: at(revision), is_intact, rotated_at: None }
    };
    let first = vec![target("intact", "5", true), target("nobody's", "9", true)];
    let second = vec![target("drifted", "5", false), target("later", "4", true)];
    rig.pages(vec![Ok(second), Ok(first), Err(a_problem())]);
    rig.list_all().await;
    rig.expect(["targets at start"]).await;
    assert!(!rig.is_ready(), "the list of targets failed");
    rig.pass(LIST_RETRY).await;
    rig.expect(["targets at start", "targets 1 before the end", "look drifted", "look intact", "look later"]).await;
    let known =
        |name: &str| rig.look(name, |look| (seen(look), look.memory.target.as_ref().map(|target| target.intact)));
    assert_eq!(known("intact"), (Seen::At(at("5")), Some(true)));
    assert_eq!(known("drifted"), (Seen::At(at("5")), Some(false)));
    assert_eq!(known("later"), (Seen::At(at("6")), None), "the list was read before the edit");
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_looked_at_and_a_status_is_not() {
    let mut rig = at_work().await;
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    let mut told = plain("e");
    told.metadata.resource_version = Some("7".to_owned());
    told.status = Some(Default::default());
    rig.tell(put(told));
    rig.expect([]).await;
    rig.tell(put(edited("e")));
    rig.expect(["look e"]).await;
    let mut annotated = edited("e");
    annotated.metadata.annotations = Some([("force-sync".to_owned(), "now".to_owned())].into());
    rig.tell(put(annotated));
    rig.expect(["look e"]).await;
    rig.pass(HOUR).await;
    rig.expect(["look e"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_look_that_nobody_needs_any_more_is_cancelled() {
    let mut rig = at_work().await;
    rig.hang("e", true);
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    let mut labelled = plain("e");
    labelled.metadata.labels = Some([("by".to_owned(), "somebody".to_owned())].into());
    rig.tell(put(labelled));
    rig.expect([]).await;
    rig.hang("e", false);
    rig.tell(put(edited("e")));
    rig.expect(["cancelled e", "look e"]).await;

    rig.hang("e", true);
    rig.tell(put(es("e", 3, json!({}))));
    rig.expect(["look e"]).await;
    rig.tell(gone("e"));
    rig.expect(["cancelled e"]).await;
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    let mut another = plain("e");
    another.metadata.uid = Some("another".to_owned());
    rig.hang("e", false);
    rig.tell(put(another));
    rig.expect(["cancelled e", "look e"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_is_cancelled_when_its_store_changes() {
    let mut rig = at_work().await;
    rig.hold("s");
    rig.tell(put_store(store("s", 2, json!({}))));
    rig.expect(["check s"]).await;
    rig.tell(put_store(store("s", 3, json!({}))));
    rig.expect(["check s"]).await;
    rig.tell(gone_store(store("s", 3, json!({}))));
    rig.expect([]).await;
    rig.release("s");
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.expect(["check s"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_whose_looks_all_hang_keeps_nobody_waiting() {
    let mut rig = at_work().await;
    let of = |namespace: &str, mut es: ExternalSecret| {
        es.metadata.namespace = Some(namespace.to_owned());
        put(es)
    };
    // More than there are looks at once.
    let all: Vec<String> = (0..LOOKS_AT_ONCE + 500).map(|n| format!("loud-{n}")).collect();
    for name in &all {
        rig.hang(name, true);
        rig.tell(of("loud", plain(name)));
    }
    let begun = rig.done().await.len();
    assert!((100..all.len()).contains(&begun), "{begun} looks began, and others wait");
    for namespace in ["quiet", "calm"] {
        rig.tell(of(namespace, plain(namespace)));
    }
    rig.expect(["look quiet", "look calm"]).await;
    rig.tell(of("quiet", edited("quiet")));
    rig.expect(["look quiet"]).await;
    rig.pass(HOUR).await;
    assert_eq!(rig.done().await, ["look calm", "look quiet"], "by time, too");
}

#[tokio::test(start_paused = true)]
async fn one_look_at_a_time_and_one_more_for_all_that_came_meanwhile() {
    let mut rig = at_work().await;
    rig.hold("e");
    rig.tell(put(plain("e")));
    rig.tell(put(plain("other")));
    rig.expect(["look e", "look other"]).await;
    for generation in 2..5 {
        rig.tell(put(es("e", generation, json!({}))));
        rig.expect([]).await;
    }
    rig.release("e");
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", |look| look.es.metadata.generation), Some(4));
}

#[tokio::test(start_paused = true)]
async fn external_secrets_that_a_list_leaves_out_have_gone() {
    let mut rig = at_work().await;
    for name in ["e", "f"] {
        rig.tell(put(plain(name)));
    }
    rig.expect(["look e", "look f"]).await;
    assert!(rig.counts(r#"calls_total{name="e""#));
    rig.list(&EXTERNAL_SECRETS, &names(["f"])[..]);
    rig.tell(put(edited("f")));
    rig.expect(["look f"]).await;
    assert!(rig.counts("keyferry_queue_length 2"), "only f and the store wait");
    rig.pass(HOUR).await;
    rig.expect(["look f"]).await;
    assert!(!rig.counts(r#"name="e""#) && rig.counts(r#"name="f""#));
}

#[tokio::test(start_paused = true)]
async fn stores_that_a_list_leaves_out_have_gone_and_only_of_their_kind() {
    let mut rig = at_work().await;
    rig.tell(put_store(cluster_store("c", 1, json!({}))));
    rig.expect(["check c"]).await;
    rig.answer("e", Answer::Failed);
    rig.tell(put(plain("e")));
    rig.tell(put(plain("well")));
    rig.expect(["look e", "look well"]).await;
    assert_eq!(rig.look("e", |look| look.stores.len()), 1);
    rig.list(&List::Subject(SubjectKind::SecretStore), &[][..]);
    rig.expect(["look e"]).await;
    assert_eq!((rig.look("e", |look| look.stores.len()), rig.clients()), (0, vec!["c".to_owned()]));
    assert!(!rig.counts(r#"name="s""#) && rig.counts(r#"name="c""#));
    rig.list(&List::Subject(SubjectKind::ClusterSecretStore), &[][..]);
    rig.expect([]).await;
    assert!(rig.clients().is_empty());
}

#[tokio::test(start_paused = true)]
async fn namespaces_that_a_list_leaves_out_have_gone() {
    let mut rig = at_work().await;
    rig.tell(put_namespace("ns", &[("team", "a")]));
    rig.tell(put_namespace("other", &[]));
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    let labels = |rig: &Rig| rig.look("e", |look| look.namespace_labels.as_ref().map(|labels| labels["team"].clone()));
    assert_eq!(labels(&rig), Some("a".to_owned()));
    rig.list(&List::Namespaces, &[(String::new(), "other".to_owned())][..]);
    rig.tell(put(edited("e")));
    rig.expect(["look e"]).await;
    assert_eq!(labels(&rig), None);
}

#[tokio::test(start_paused = true)]
async fn objects_that_a_list_leaves_out_concern_whoever_depends_on_them() {
    let mut rig = Rig::new();
    rig.log_in_with("s", "login", "5");
    rig.tell(put_store(store("s", 1, json!({}))));
    rig.start().await;
    rig.expect(["check s"]).await;
    rig.tell(put(es("e", 1, template_from("c"))));
    rig.expect(["look e"]).await;
    rig.tell(put_object(&Kind::Secret, "e", "5"));
    rig.tell(put_object(&Kind::Secret, "login", "5"));
    rig.tell(put_object(&Kind::ConfigMap, "c", "5"));
    rig.expect(["look e", "look e"]).await;
    rig.list(&SECRETS, &names(["login"])[..]);
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::Absent);
    rig.list(&SECRETS, &[][..]);
    rig.expect(["check s"]).await;
    rig.list(&CONFIG_MAPS, &[][..]);
    rig.expect(["look e"]).await;
    // What is known to be gone is no news.
    rig.list(&CONFIG_MAPS, &[][..]);
    rig.expect([]).await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_a_target_is_looked_at_and_our_own_write_is_not() {
    let mut rig = at_work().await;
    rig.answer("e", Answer::Wrote("5"));
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.tell(put_object(&Kind::Secret, "e", "5"));
    rig.expect([]).await;
    rig.answer("e", Answer::Wrote("7"));
    rig.tell(put_object(&Kind::Secret, "e", "6"));
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::At(at("6")));
    rig.tell(put_object(&Kind::Secret, "e", "6"));
    rig.tell(put_object(&Kind::Secret, "e", "7"));
    rig.tell(put_object(&Kind::Secret, "unrelated", "1"));
    rig.tell(put_object(&Kind::ConfigMap, "e", "1"));
    rig.expect([]).await;
    rig.answer("e", Answer::Wrote("9"));
    rig.tell(gone_object(&Kind::Secret, "e"));
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::Absent);
}

#[tokio::test(start_paused = true)]
async fn what_a_watch_tells_during_a_look_is_looked_at_once_more() {
    let mut rig = at_work().await;
    rig.answer("e", Answer::Wrote("5"));
    rig.hold("e");
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.tell(put_object(&Kind::Secret, "e", "5"));
    rig.tell(put_object(&Kind::Secret, "e", "6"));
    rig.expect([]).await;
    rig.answer("e", Answer::Wrote("7"));
    rig.release("e");
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::At(at("7")), "what the first left is later than all that was told");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_goes_while_the_look_that_wrote_it_goes_on_is_looked_at_once_more() {
    let mut rig = at_work().await;
    rig.answer("e", Answer::Wrote("5"));
    rig.hold("e");
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.tell(put_object(&Kind::Secret, "e", "5"));
    rig.tell(gone_object(&Kind::Secret, "e"));
    rig.release("e");
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::Absent);
}

#[tokio::test(start_paused = true)]
async fn how_a_look_leaves_its_target_is_known_before_a_watch_tells() {
    let mut rig = at_work().await;
    let left = [
        (Answer::Deleted, Seen::Absent),
        (Answer::Wrote("5"), Seen::At(at("5"))),
        (Answer::Settled("6"), Seen::At(at("6"))),
        (Answer::Failed, Seen::At(at("6"))),
    ];
    let mut before = Seen::Unknown;
    for (generation, (answer, expected)) in left.into_iter().enumerate() {
        rig.answer("e", answer);
        rig.tell(put(es("e", generation as i64, json!({}))));
        rig.expect(["look e"]).await;
        assert_eq!(rig.look("e", seen), before);
        before = expected;
    }
    rig.answer("e", Answer::Deleted);
    rig.tell(put(es("e", 9, json!({}))));
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), before);
    rig.tell(gone_object(&Kind::Secret, "e"));
    rig.expect([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_a_look_wrote_is_that_of_the_next() {
    let mut rig = at_work().await;
    rig.answer("e", Answer::Told("9"));
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    assert!(rig.look("e", |look| look.es.status.is_none()));
    rig.pass(HOUR).await;
    rig.expect(["look e"]).await;
    assert!(rig.look("e", |look| look.es.status.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_renamed_during_a_look_is_not_the_one_that_was_written() {
    let mut rig = at_work().await;
    rig.answer("e", Answer::Wrote("5"));
    rig.hold("e");
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.tell(put(es("e", 2, json!({"target": {"name": "renamed"}}))));
    rig.release("e");
    rig.expect(["look e"]).await;
    assert!(rig.look("e", |look| look.memory.target.is_none() && look.seen == Seen::Unknown));
}

#[tokio::test(start_paused = true)]
async fn how_a_look_leaves_a_target_is_old_news_after_a_list_that_leaves_it_out() {
    let mut rig = at_work().await;
    rig.answer("e", Answer::Wrote("5"));
    rig.hold("e");
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.list(&SECRETS, &[][..]);
    rig.expect([]).await;
    rig.release("e");
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::Unknown, "written before the list, or after it?");
    rig.tell(put(edited("e")));
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::At(at("5")), "as the second look left it");
}

#[tokio::test(start_paused = true)]
async fn a_template_source_concerns_its_readers_when_it_changes() {
    let mut rig = at_work().await;
    rig.tell(put(es("e", 1, template_from("c"))));
    rig.tell(put(es("f", 1, template_from("d"))));
    rig.find_source("c", "4");
    rig.expect(["look e", "look f"]).await;
    rig.tell(put_object(&Kind::ConfigMap, "c", "4"));
    rig.expect([]).await;
    rig.tell(put_object(&Kind::ConfigMap, "c", "5"));
    rig.expect(["look e"]).await;
    let source = Dependency::new(Kind::ConfigMap, name("c"));
    assert_eq!(rig.look("e", |look| look.sources[&source].clone()), Some(Some(at("5"))));
    rig.tell(put_object(&Kind::ConfigMap, "c", "5"));
    rig.tell(put_object(&Kind::Secret, "c", "6"));
    rig.expect([]).await;
    rig.tell(gone_object(&Kind::ConfigMap, "c"));
    rig.expect(["look e"]).await;
    // It is made from another now.
    rig.tell(put(es("e", 2, template_from("d"))));
    rig.expect(["look e"]).await;
    rig.tell(put_object(&Kind::ConfigMap, "c", "7"));
    rig.expect([]).await;
    rig.tell(put_object(&Kind::ConfigMap, "d", "7"));
    rig.expect(["look e", "look f"]).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_while_it_is_looked_at_leaves_nothing() {
    let mut rig = at_work().await;
    rig.hold("e");
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.tell(put(edited("e")));
    rig.tell(gone("e"));
    rig.release("e");
    rig.pass(2 * HOUR).await;
    rig.expect([]).await;
    assert!(!rig.counts(r#"name="e""#));
    rig.tell(put_object(&Kind::Secret, "e", "5"));
    rig.expect([]).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_replaced_while_it_is_looked_at_begins_anew() {
    let mut rig = at_work().await;
    rig.tell(put_undecodable("e", 1));
    rig.expect(["undecodable e"]).await;
    rig.answer("e", Answer::Wrote("5"));
    rig.hold("e");
    rig.tell(put(edited("e")));
    rig.expect(["look e"]).await;
    let mut another = plain("e");
    another.metadata.uid = Some("another".to_owned());
    rig.tell(put(another));
    rig.release("e");
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", |look| look.es.metadata.uid.clone()), Some("another".to_owned()));
    assert!(rig.look("e", |look| look.memory.target.is_none()), "the other's target is not remembered");
}

#[tokio::test(start_paused = true)]
async fn a_bug_leaves_its_object_alone_for_a_while_and_all_others_at_work() {
    let mut rig = at_work().await;
    rig.answer("e", Answer::Panics);
    rig.tell(put(plain("e")));
    rig.tell(put(plain("f")));
    rig.expect(["look e", "look f"]).await;
    rig.tell(put(edited("f")));
    rig.expect(["look f"]).await;
    rig.pass(AFTER_PANIC - Duration::from_secs(1)).await;
    rig.expect([]).await;
    rig.pass(Duration::from_secs(1)).await;
    rig.expect(["look e"]).await;
    rig.answer("e", Answer::Synced);
    rig.tell(put(edited("e")));
    rig.expect(["look e"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_delays_nothing() {
    let mut rig = at_work().await;
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    set_clock(SignedDuration::from_hours(-5));
    rig.pass(HOUR).await;
    rig.expect(["look e"]).await;
    set_clock(SignedDuration::from_hours(2));
    rig.pass(LONGEST_SLEEP).await;
    rig.expect(["look e"]).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_to_stop_waits_for_what_is_under_way() {
    let mut rig = at_work().await;
    rig.hold("e");
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.tell(put(edited("e")));
    rig.expect([]).await;
    rig.stop();
    rig.settle().await;
    assert!(!rig.has_stopped());
    rig.release("e");
    rig.expect([]).await;
    assert!(rig.has_stopped());
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_to_stop_does_not_wait_for_ever() {
    let mut rig = at_work().await;
    rig.hold("e");
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.stop();
    rig.settle().await;
    rig.pass(GRACE - Duration::from_secs(1)).await;
    assert!(!rig.has_stopped());
    rig.pass(Duration::from_secs(1)).await;
    assert!(rig.has_stopped());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_lists_can_be_stopped() {
    let mut rig = Rig::new();
    rig.tell(put(plain("e")));
    rig.settle().await;
    rig.stop();
    rig.settle().await;
    assert!(rig.has_stopped());
    let mut rig = Rig::new();
    rig.pages((0..100).map(|_| Err(a_problem())).collect());
    rig.list_all().await;
    rig.expect(["targets at start"]).await;
    rig.stop();
    rig.settle().await;
    assert!(rig.has_stopped());
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_decode_is_told_once_for_each_spec() {
    let mut rig = at_work().await;
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.tell(put_undecodable("e", 2));
    rig.expect(["undecodable e"]).await;
    rig.tell(put_undecodable("e", 2));
    rig.pass(HOUR).await;
    rig.expect([]).await;
    assert!(!rig.counts(r#"name="e""#));
    rig.tell(put_undecodable("e", 3));
    rig.expect(["undecodable e"]).await;
    rig.tell(put(es("e", 4, json!({}))));
    rig.expect(["look e"]).await;
    rig.tell(put_undecodable("e", 5));
    rig.expect(["undecodable e"]).await;
    rig.list(&EXTERNAL_SECRETS, &[][..]);
    rig.tell(put_undecodable("e", 5));
    rig.expect(["undecodable e"]).await;
    // Who comes finds what was told, and does not write it again.
    let told = rig.told_undecodable();
    let mut other = at_work().await;
    other.tell(put_told("e", 5, Some(told.clone())));
    other.expect([]).await;
    other.tell(put_told("e", 6, Some(Condition { message: None, ..told })));
    other.expect(["undecodable e"]).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_came_not_to_decode_during_a_look_is_told_again_after_it() {
    let mut rig = at_work().await;
    rig.hold("e");
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.tell(put_undecodable("e", 2));
    rig.expect(["undecodable e"]).await;
    rig.release("e");
    rig.expect(["undecodable e"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_labels_of_a_namespace_concern_whoever_waits_in_it() {
    let mut rig = at_work().await;
    rig.tell(put_namespace("ns", &[]));
    for (name, answer) in [("failed", Answer::Failed), ("held", Answer::Holding), ("well", Answer::Synced)] {
        rig.answer(name, answer);
        rig.tell(put(plain(name)));
    }
    rig.expect(["look failed", "look held", "look well"]).await;
    rig.tell(put_namespace("ns", &[]));
    rig.tell(put_namespace("ns-2", &[("team", "a")]));
    rig.expect([]).await;
    rig.tell(put_namespace("ns", &[("team", "a")]));
    rig.expect(["look failed", "look held"]).await;
}

#[tokio::test(start_paused = true)]
async fn who_failed_stays_so_until_a_look_finds_it_well() {
    let mut rig = at_work().await;
    rig.answer("e", Answer::Failed);
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.answer("e", Answer::Waiting);
    rig.tell(put_namespace("ns", &[("team", "a")]));
    rig.expect(["look e"]).await;
    rig.tell(put_namespace("ns", &[("team", "b")]));
    rig.expect(["look e"]).await;
    rig.answer("e", Answer::Synced);
    rig.tell(put_namespace("ns", &[("team", "c")]));
    rig.expect(["look e"]).await;
    rig.tell(put_namespace("ns", &[("team", "d")]));
    rig.expect([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_kind_of_targets_is_watched_while_somebody_writes_one() {
    let mut rig = at_work().await;
    let of_widget = |generation| {
        es("e", generation, json!({"target": {"manifest": {"apiVersion": "example.org/v1", "kind": "Widget"}}}))
    };
    // What it is in the API, the first look that does not fail has asked.
    rig.tell(put(of_widget(0)));
    rig.expect(["look e"]).await;
    rig.know(&widget());
    rig.answer("e", Answer::Failed);
    rig.tell(put(of_widget(1)));
    rig.expect(["look e"]).await;
    rig.answer("e", Answer::Synced);
    rig.tell(put(of_widget(2)));
    rig.expect(["look e", "watch Widget"]).await;
    rig.tell(put_object(&widget(), "e", "3"));
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::Unknown, "before all are listed, nothing is sure");
    rig.list(&List::Objects(widget()), None);
    rig.tell(put(of_widget(3)));
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::At(at("3")));
    rig.tell(Change::Failed(widget(), true));
    rig.tell(put(of_widget(4)));
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::At(at("3")), "it is tried again, and lists what it missed");
    rig.tell(Change::Failed(widget(), false));
    rig.tell(put(of_widget(5)));
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::Unknown, "its list failed");
    rig.list(&List::Objects(widget()), &[][..]);
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::Absent);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_while_its_kind_was_listed_may_be_there() {
    let mut rig = at_work().await;
    rig.know(&widget());
    rig.answer("e", Answer::Wrote("5"));
    rig.tell(put(es("e", 1, json!({"target": {"manifest": {"apiVersion": "example.org/v1", "kind": "Widget"}}}))));
    rig.expect(["look e", "watch Widget"]).await;
    rig.list(&List::Objects(widget()), &[][..]);
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_nobody_writes_any_more_is_let_go() {
    let mut rig = at_work().await;
    let manifest = json!({"target": {"manifest": {"apiVersion": "example.org/v1", "kind": "Widget"}}});
    rig.know(&widget());
    rig.tell(put(es("e", 1, manifest.clone())));
    rig.expect(["look e", "watch Widget"]).await;
    rig.list(&List::Objects(widget()), &[][..]);
    rig.expect(["look e"]).await;
    rig.tell(put(es("e", 2, json!({}))));
    rig.expect(["look e"]).await;
    rig.pass(PRUNE_EVERY).await;
    rig.expect(["forget Widget"]).await;
    // The watch had more to tell when it was let go.
    rig.answer("e", Answer::Failed);
    rig.tell(put(es("e", 3, manifest.clone())));
    rig.list(&List::Objects(widget()), &[][..]);
    rig.tell(put_object(&widget(), "e", "3"));
    rig.expect(["look e"]).await;
    rig.answer("e", Answer::Synced);
    rig.tell(put(es("e", 4, manifest)));
    rig.expect(["look e", "watch Widget"]).await;
    rig.tell(put_object(&widget(), "e", "4"));
    rig.expect(["look e"]).await;
    assert_eq!(rig.look("e", seen), Seen::Unknown, "the new watch has not listed all");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_asked_for_is_looked_at() {
    let mut rig = at_work().await;
    rig.tell(Change::Asked(Item::new(SubjectKind::SecretStore, name("s"))));
    rig.expect(["check s"]).await;
    rig.tell(Change::Asked(Item::new(SubjectKind::ExternalSecret, name("nobody"))));
    rig.expect([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_made_of_a_store_that_went_is_let_go_later() {
    let mut rig = at_work().await;
    rig.log_in_with("s", "login", "5");
    rig.hold("s");
    rig.tell(put_store(store("s", 2, json!({}))));
    rig.expect(["check s"]).await;
    rig.tell(gone_store(store("s", 2, json!({}))));
    rig.expect([]).await;
    assert!(rig.clients().is_empty());
    rig.release("s");
    rig.expect([]).await;
    assert!(rig.clients().is_empty(), "the check was cancelled");
    // A look may have been about to make one.
    rig.make_client(store("s", 2, json!({})).id);
    rig.answer("e", Answer::Failed);
    rig.tell(put(plain("e")));
    rig.expect(["look e"]).await;
    rig.pass(PRUNE_EVERY).await;
    assert!(rig.clients().is_empty());
    rig.tell(put_object(&Kind::Secret, "login", "6"));
    rig.expect([]).await;
}
