//! When copiers are looked at, and when they are left alone: by the loop, on a paused clock.

use keyferry_crds::{CopierStatus, ExternalSecret};
use keyferry_sync::copies::Seen;
use serde_json::json;

use super::super::change::Change;
use super::super::relist::Update;
use super::super::rig::{HOUR, Options, Rig};
use super::super::samples::{copied, copier, gone_copier, put, put_copier, put_namespace};
use super::super::subject::Told;

/// A controller at work, with two namespaces of the team `a`.
async fn at_work() -> Rig {
    let mut rig = Rig::with(Options { copiers: true, ..Options::default() });
    rig.tell(put_namespace("a1", &[("team", "a")]));
    rig.tell(put_namespace("a2", &[("team", "a")]));
    rig.tell(put_namespace("b1", &[("team", "b")]));
    rig.start().await;
    rig.expect([]).await;
    rig
}

fn gone(es: ExternalSecret) -> Change {
    let name = keyferry_sync::dependency::name_of(&es.metadata);
    let told = Told { name, object: Ok(es) };
    Change::Subject(super::SubjectKind::ExternalSecret, Update::Gone(told.pass_on()))
}

/// The same, with a ClusterExternalSecret `c` whose copies the watch has told.
async fn with_copies() -> Rig {
    let mut rig = at_work().await;
    let c = copier("c", 1, json!({}));
    rig.tell(put_copier(c.clone()));
    rig.expect(["create a1/c", "create a2/c", "c is in a1 a2"]).await;
    rig.tell(put(copied(&c, "a1", "1")));
    rig.tell(put(copied(&c, "a2", "1")));
    assert!(rig.done().await.iter().all(|done| done == "look c"), "the copies themselves, and nothing of theirs");
    rig
}

#[tokio::test(start_paused = true)]
async fn copies_are_made_and_in_the_steady_state_nothing_is_written() {
    let mut rig = with_copies().await;
    assert!(
        rig.counts(
            r#"clusterexternalsecret_status_condition{condition="Ready",name="c",namespace="",status="True"} 1"#
        )
    );
    assert_eq!(rig.notes(), ["Synced"]);
    // What the watch of copies tells of statuses is no news.
    rig.tell(put(copied(&copier("c", 1, json!({})), "a1", "2")));
    rig.expect([]).await;
    for _ in 0..3 {
        rig.pass(HOUR).await;
        assert!(rig.done().await.iter().all(|done| done == "look c"), "the copies refresh");
    }
    rig.tell(gone_copier(copier("c", 1, json!({}))));
    rig.expect([]).await;
    assert!(!rig.counts(r#"clusterexternalsecret_reconcile_duration{name="c""#));
}

#[tokio::test(start_paused = true)]
async fn a_relabelled_namespace_gets_or_loses_its_copy_at_once() {
    let mut rig = with_copies().await;
    let began = tokio::time::Instant::now();
    rig.tell(put_namespace("b1", &[("team", "a")]));
    rig.expect(["create b1/c", "c is in a1 a2 b1"]).await;
    rig.tell(put_namespace("a1", &[("team", "b")]));
    rig.expect(["delete a1/c", "c is in a2 b1"]).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "nothing is waited for: {:?}", began.elapsed());
    rig.tell(put_namespace("a2", &[("team", "a"), ("other", "label")]));
    rig.expect([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_edited_or_deleted_comes_back() {
    let mut rig = with_copies().await;
    let c = copier("c", 1, json!({}));
    let mut edited = copied(&c, "a1", "5");
    edited.spec.refresh_interval = Some("5m".to_owned());
    rig.tell(put(edited));
    rig.expect(["change a1/c"]).await;
    rig.tell(gone(copied(&c, "a2", "1")));
    rig.expect(["create a2/c"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_ends_what_is_under_way_and_begins_anew() {
    let mut rig = with_copies().await;
    rig.hold("a1");
    rig.tell(put_copier(copier("c", 2, json!({}))));
    rig.expect(["change a1/c", "change a2/c"]).await;
    rig.tell(put_copier(copier("c", 3, json!({}))));
    rig.expect([]).await;
    rig.release("a1");
    // The watch told it without a status.
    rig.expect(["change a1/c", "change a2/c", "c is in a1 a2"]).await;
}

#[tokio::test(start_paused = true)]
async fn its_own_status_is_no_news() {
    let mut rig = with_copies().await;
    let mut told = copier("c", 1, json!({}));
    told.status =
        Some(CopierStatus { provisioned_namespaces: vec!["a1".into(), "a2".into()], ..CopierStatus::default() });
    rig.tell(put_copier(told));
    rig.expect([]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_way_is_told_and_its_end_is_noticed() {
    let mut rig = at_work().await;
    let c = copier("c", 1, json!({}));
    let mut theirs = copied(&c, "a1", "1");
    theirs.metadata.owner_references = None;
    rig.tell(put(theirs.clone()));
    rig.expect(["look c"]).await;
    rig.tell(put_copier(c));
    rig.expect(["create a2/c", "c is in a2"]).await;
    assert_eq!(rig.notes(), ["Errored"]);
    assert!(
        rig.counts(
            r#"clusterexternalsecret_status_condition{condition="Ready",name="c",namespace="",status="False"} 1"#
        )
    );
    rig.tell(gone(theirs));
    rig.expect(["create a1/c", "c is in a1 a2"]).await;
    assert_eq!(rig.notes(), ["Synced"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_left_while_nobody_ran_is_found_at_start() {
    let mut rig = Rig::with(Options { copiers: true, ..Options::default() });
    let c = copier("c", 1, json!({}));
    rig.tell(put_namespace("a1", &[("team", "a")]));
    rig.tell(put_namespace("b1", &[("team", "b")]));
    rig.tell(put(copied(&c, "a1", "1")));
    rig.tell(put(copied(&c, "b1", "1")));
    rig.tell(put_copier(c));
    rig.start().await;
    rig.expect(["delete b1/c", "c is in a1", "look c", "look c"]).await;
}

#[tokio::test(start_paused = true)]
async fn copies_of_push_secrets_are_told_by_a_watch_of_their_own() {
    let mut rig = at_work().await;
    let object = json!({
        "metadata": {"name": "p", "uid": "p-uid", "generation": 1},
        "spec": {"pushSecretSpec": {"any": 1}, "namespaceSelectors": [{"matchLabels": {"team": "a"}}]},
    });
    let p = super::Copier::from(serde_json::from_value::<super::ClusterPushSecret>(object).unwrap());
    let (kind, name) = (super::SubjectKind::ClusterPushSecret, (String::new(), "p".to_owned()));
    rig.tell(Change::Subject(kind, Update::Put(Told { name, object: Ok(p.clone()) }.pass_on())));
    rig.expect(["create a1/p", "create a2/p", "p is in a1 a2"]).await;
    let seen = super::super::rig_copies::copy_of(&p);
    let at = |namespace: &str| (namespace.to_owned(), "p".to_owned());
    for namespace in ["a1", "a2"] {
        rig.tell(Change::PushSecret(Update::Put((at(namespace), seen.clone()))));
    }
    rig.expect([]).await;
    rig.tell(Change::PushSecret(Update::Put((at("a1"), Seen { print: 0, version: "2".into(), ..seen }))));
    rig.expect(["change a1/p"]).await;
    rig.tell(Change::PushSecret(Update::Listed([at("a1")].into())));
    rig.expect(["create a2/p"]).await;
}
