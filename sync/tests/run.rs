//! The life of a secret over ports in memory: which calls a look makes, in which order, and what it remembers.

mod world;
mod slips;
mod sources;
mod terms;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_builders::{at, es};
use keyferry_crds::{ExternalSecret, names};
use keyferry_limits::{Budget, GENERATOR_STATES, SEARCH_FOUND, SEARCHES};
use keyferry_provider_core::{Error, ErrorKind, Term};
use keyferry_sync::dependency::{Dependency, Kind};
use keyferry_sync::look::{Cancel, Looked, Memory, Seen};
use keyferry_sync::outcome::{Failure, Headline, Outcome, Retry, SyncResult};
use keyferry_sync::ports::{Compute, Ports, Problem, Turn};
use keyferry_sync::states::{self, KnownState};
use keyferry_sync::store::Readiness;
use serde_json::{Value, json};

use world::{World, told};

const HOUR: i64 = 3600;

fn calls(head: &[&str], rest: &[&str]) -> Vec<String> {
    head.iter().chain(rest).map(|call| (*call).to_owned()).collect()
}

/// The order in which the two guards of a fetch go is that of the pipeline: its own, then the store's.
fn fetched(rest: &[&str]) -> Vec<String> {
    calls(&["planned", "enter s ns", "planned", "fetch a", "turn"], rest)
}

fn failed(headline: Headline, cause: &'static str, retry: Retry) -> Failure {
    Failure::new(headline, cause, retry)
}

fn message(report: &Looked) -> String {
    match &report.outcome {
        Outcome::Failed(failure) => failure.to_string(),
        outcome => format!("{outcome:?}"),
    }
}

/// An ExternalSecret that was synced at second 0, with what is remembered of it.
async fn synced(world: &World, spec: Value) -> (Arc<ExternalSecret>, Memory) {
    let es = Arc::new(es(spec));
    let report = world.look(&es, &Memory::default(), 0).await;
    assert!(matches!(report.outcome, Outcome::Synced(_)), "{}", message(&report));
    world.calls();
    (told(&es, &report), report.memory)
}

#[tokio::test]
async fn the_first_look_fetches_writes_tells_and_schedules() {
    let world = World::new();
    let es = Arc::new(es(json!({})));
    let report = world.look(&es, &Memory::default(), 0).await;
    let expected =
        fetched(&["apply k=alpha-value (presumed absent)", "status True SecretSynced", "note Created", "turn over"]);
    assert_eq!(world.calls(), expected, "the turn lasts until the status is written");
    let next = report.next.unwrap();
    assert!((HOUR - 180..=HOUR).contains(&next.as_second()), "{next}");
    assert_eq!(report.memory.last.unwrap().at, at(0));
    let (status, version) = report.status.unwrap();
    assert_eq!((status.binding.name.as_str(), version.as_deref()), ("e", Some("7")));
}

#[tokio::test]
async fn before_a_refresh_is_due_nothing_is_asked() {
    let world = World::new();
    let (es, memory) = synced(&world, json!({})).await;
    let report = world.look(&es, &memory, 60).await;
    assert_eq!(world.calls(), ["planned"]);
    assert!(matches!(report.outcome, Outcome::Waiting(Some(_))) && report.next.is_some());
}

#[tokio::test]
async fn a_refresh_that_changes_nothing_reads_and_writes_nothing_of_the_cluster() {
    let world = World::new();
    let (es, memory) = synced(&world, json!({"refreshInterval": "1m"})).await;
    let report = world.look(&es, &memory, 100).await;
    assert_eq!(world.calls(), fetched(&["turn over"]), "its time alone is not written yet");
    assert!(report.status.is_none());
    assert_eq!(report.memory.last.unwrap().at, at(100), "what is remembered is newer than what is told");
}

#[tokio::test]
async fn a_new_value_is_written_and_told() {
    let world = World::new();
    let (es, memory) = synced(&world, json!({})).await;
    world.state().secrets.insert("a".into(), Ok("beta-value".into()));
    world.look(&es, &memory, HOUR).await;
    let expected =
        fetched(&["apply k=beta-value (data alone)", "status True SecretSynced", "note Updated", "turn over"]);
    assert_eq!(world.calls(), expected);
}

#[tokio::test]
async fn only_of_what_we_made_alike_are_the_data_written_alone() {
    let metadata =
        json!({"target": {"template": {"metadata": {"labels": {"of": "{{ .k }}"}}, "data": {"k": "{{ .k }}"}}}});
    let respec = |es: &ExternalSecret| {
        let mut es = es.clone();
        es.metadata.generation = Some(2);
        es
    };
    for (spec, changes, alone) in [
        (json!({}), "nothing else", true),
        (json!({"target": {"creationPolicy": "Orphan"}}), "nothing else", true),
        (metadata, "a label that a template makes of it", false),
        (json!({}), "the spec", false),
        (json!({}), "what is remembered", false),
    ] {
        let world = World::new();
        let (es, mut memory) = synced(&world, spec).await;
        world.state().secrets.insert("a".into(), Ok("beta-value".into()));
        let es = if changes == "the spec" { Arc::new(respec(&es)) } else { es };
        if changes == "what is remembered" {
            memory.target.as_mut().unwrap().made = None;
        }
        world.look(&es, &memory, HOUR).await;
        let applied = world.calls().into_iter().find(|call| call.starts_with("apply ")).unwrap();
        assert_eq!(applied.ends_with("(data alone)"), alone, "{changes}: {applied}");
    }
}

#[tokio::test]
async fn drift_is_repaired_at_once() {
    let world = World::new();
    let (es, memory) = synced(&world, json!({})).await;
    world.state().target = Some((2, false));
    world.look(&es, &memory, 60).await;
    let calls = world.calls();
    assert_eq!(calls[0], "observe", "whether it is as it was left decides");
    assert_eq!(calls[1..], fetched(&["apply k=alpha-value", "status True SecretSynced", "note Updated", "turn over"]));
}

#[tokio::test]
async fn another_version_of_an_intact_target_is_only_looked_at() {
    let world = World::new();
    let (es, memory) = synced(&world, json!({})).await;
    world.state().target = Some((2, true));
    let report = world.look(&es, &memory, 60).await;
    assert_eq!(world.calls(), ["observe", "planned"]);
    let remembered = report.memory.target.unwrap();
    assert!(remembered.intact && remembered.made.is_none(), "it may hold other data, with the hash of those");
}

#[tokio::test]
async fn a_deleted_target_comes_back() {
    let world = World::new();
    let (es, memory) = synced(&world, json!({})).await;
    world.state().target = None;
    world.look(&es, &memory, 60).await;
    let expected =
        fetched(&["apply k=alpha-value (presumed absent)", "status True SecretSynced", "note Created", "turn over"]);
    assert_eq!(world.calls(), expected);
}

#[tokio::test]
async fn a_failed_fetch_leaves_the_target_alone_and_is_told_once() {
    let world = World::new();
    let (es, memory) = synced(&world, json!({})).await;
    let down = Error::new(ErrorKind::Unavailable, "the store is down");
    world.state().secrets.insert("a".into(), Err(down));
    let report = world.look(&es, &memory, HOUR).await;
    let fetch = ["planned", "enter s ns", "planned", "fetch a", "turn"];
    let expected = calls(&fetch, &["status False SecretSyncedError", "note UpdateFailed", "turn over"]);
    assert_eq!(world.calls(), expected);
    assert!(message(&report).ends_with("key \"a\" of SecretStore \"s\": the store is down"), "{}", message(&report));
    assert_eq!(report.memory.failures, 1);
    let first = report.next.unwrap();

    let again = world.look(&told(&es, &report), &report.memory, HOUR + 1).await;
    assert_eq!(world.calls(), calls(&fetch, &["turn over"]), "the same failure is not told again");
    assert!(again.memory.failures == 2 && again.next.unwrap() > first, "its next try is later");
}

#[tokio::test]
async fn each_delivery_is_written_down_and_nothing_else() {
    let world = World::new();
    world.state().secrets.insert("b".into(), Ok("beta-value".into()));
    let audited = || std::mem::take(&mut world.state().audited);
    let data = json!([{"secretKey": "k", "remoteRef": {"key": "a"}}, {"secretKey": "l", "remoteRef": {"key": "b"}}]);
    let (es, memory) = synced(&world, json!({"data": data, "target": {"deletionPolicy": "Delete"}})).await;
    assert_eq!(audited(), ["Written Done s a b"]);
    let report = world.look(&es, &memory, HOUR).await;
    assert_eq!(audited(), [""; 0], "nothing changed");
    world.state().secrets.insert("a".into(), Ok("rotated-value".into()));
    world.state().secrets.insert("b".into(), Err(Error::new(ErrorKind::NotFound, "gone")));
    let report = world.look(&told(&es, &report), &report.memory, 2 * HOUR).await;
    assert_eq!(audited(), ["Written Done s a"], "what the store does not have is not delivered");
    world.state().secrets.clear();
    world.look(&told(&es, &report), &report.memory, 3 * HOUR).await;
    assert_eq!(audited(), ["Deleted Done"]);
}

#[tokio::test]
async fn a_delivery_that_fails_is_written_down_with_its_cause() {
    let world = World::new();
    world.state().failing.insert("apply", failed(Headline::Update, "the API server forbids it", Retry::Late));
    world.look(&Arc::new(es(json!({}))), &Memory::default(), 0).await;
    assert_eq!(world.state().audited, ["Written Failed s a"]);
}

#[tokio::test]
async fn a_target_that_is_there_is_marked_when_the_first_fetch_fails() {
    let world = World::new();
    world.state().secrets.clear();
    world.state().target = Some((1, false));
    let es = Arc::new(es(json!({})));
    world.look(&es, &Memory::default(), 0).await;
    let fetch = ["planned", "enter s ns", "planned", "fetch a", "turn"];
    let expected = calls(&fetch, &["mark", "status False SecretSyncedError", "note UpdateFailed", "turn over"]);
    assert_eq!(world.calls(), expected);
}

#[tokio::test]
async fn what_the_store_does_not_have_goes_as_the_deletion_policy_says() {
    let fetch = ["planned", "enter s ns", "planned", "fetch a", "turn"];
    for (policy, result, rest) in [
        (
            "Delete",
            Some(SyncResult::Deleted),
            &["remove", "status True SecretDeleted", "note MissingProviderSecret", "note Deleted", "turn over"][..],
        ),
        (
            "Merge",
            Some(SyncResult::Synced),
            &[
                "apply  (data alone)",
                "status True SecretSynced",
                "note MissingProviderSecret",
                "note Updated",
                "turn over",
            ],
        ),
        ("Retain", None, &["status False SecretSyncedError", "note UpdateFailed", "turn over"]),
    ] {
        let world = World::new();
        let (es, memory) = synced(&world, json!({"target": {"deletionPolicy": policy}})).await;
        world.state().secrets.clear();
        let report = world.look(&es, &memory, HOUR).await;
        let came = match &report.outcome {
            Outcome::Synced(synced) => Some(synced.result),
            _ => None,
        };
        assert_eq!((came, world.calls()), (result, calls(&fetch, rest)), "{policy}");
        assert_eq!(world.state().target.is_none(), policy == "Delete");
    }
}

#[tokio::test]
async fn without_a_target_nothing_is_written() {
    let world = World::new();
    let es = Arc::new(es(json!({"target": {"creationPolicy": "None"}})));
    let report = world.look(&es, &Memory::default(), 0).await;
    assert_eq!(world.calls(), fetched(&["mark", "status True SecretSynced", "turn over"]));
    assert!(matches!(report.outcome, Outcome::Synced(synced) if synced.result == SyncResult::Unwritten));
}

#[tokio::test]
async fn a_status_that_could_not_be_written_is_told_by_the_next_look() {
    let world = World::new();
    let es = Arc::new(es(json!({})));
    let problem = |is_not_found| Problem { message: "no".into(), is_temporary: true, is_not_found };
    world.state().status_problem = Some(problem(false));
    let report = world.look(&es, &Memory::default(), 0).await;
    world.calls();
    assert_eq!(report.next, Some(at(5)), "soon, by the clock");
    assert!(report.status.is_none() && report.memory.untold.is_some());

    world.state().status_problem = None;
    let report = world.look(&es, &report.memory, 10).await;
    assert_eq!(world.calls(), ["planned", "status True SecretSynced"], "without fetching again");
    assert!(report.memory.untold.is_none());
    assert_eq!(report.status.unwrap().0.refresh_time.unwrap().0, at(0), "as of the sync that it tells of");

    world.state().status_problem = Some(problem(true));
    let gone = world.look(&es, &Memory::default(), 0).await;
    assert!(gone.memory.untold.is_none(), "there is nobody to tell");
}

#[tokio::test]
async fn what_failed_is_settled_without_fetching_where_nothing_is_due() {
    let world = World::new();
    let (es, mut memory) = synced(&world, json!({"refreshPolicy": "OnChange"})).await;
    memory.failures = 3;
    let report = world.look(&es, &memory, 500).await;
    assert_eq!(world.calls(), ["planned"], "the status says already that all is well");
    assert_eq!(report.outcome, Outcome::Settled { at: at(0) });
    assert_eq!((report.memory.failures, report.memory.last.unwrap().at), (0, at(0)));
}

#[tokio::test]
async fn a_store_that_is_not_ready_holds_or_refuses() {
    let world = World::new();
    let es = Arc::new(es(json!({})));
    world.state().readiness = Some(Readiness::Unchecked);
    let report = world.look(&es, &Memory::default(), 0).await;
    assert_eq!((world.calls(), report.outcome, report.next), (vec!["planned".to_owned()], Outcome::Holding, None));
    world.state().readiness = Some(Readiness::NotReady("it is closed".into()));
    let report = world.look(&es, &Memory::default(), 0).await;
    assert_eq!(world.calls(), ["planned", "status False SecretSyncedError", "note UpdateFailed"]);
    assert!(message(&report).ends_with("SecretStore \"s\" is not ready: it is closed"), "{}", message(&report));
}

#[tokio::test]
async fn what_is_deleted_lets_go_of_the_target_and_of_itself() {
    let going = |policy: &str| {
        let mut es = es(json!({"target": {"deletionPolicy": policy}}));
        es.metadata.deletion_timestamp.clone_from(&es.metadata.creation_timestamp);
        es.metadata.finalizers = Some(vec!["other".into(), names::FINALIZER_EXTERNAL_SECRET.into()]);
        Arc::new(es)
    };
    let world = World::new();
    world.look(&going("Retain"), &Memory::default(), 0).await;
    assert_eq!(world.calls(), ["planned", "finalizers [\"other\"]"]);
    world.look(&going("Delete"), &Memory::default(), 0).await;
    assert_eq!(world.calls(), ["planned", "remove", "finalizers [\"other\"]"]);

    let theirs = Failure { theirs: true, ..failed(Headline::Delete, "not ours", Retry::Late) };
    world.state().failing.insert("remove", theirs);
    world.look(&going("Delete"), &Memory::default(), 0).await;
    assert_eq!(world.calls(), ["planned", "remove", "finalizers [\"other\"]"], "what is not ours is no reason to stay");
    world.state().failing.insert("remove", failed(Headline::ManifestKind, "no such kind", Retry::Late));
    world.look(&going("Delete"), &Memory::default(), 0).await;
    assert_eq!(world.calls(), ["planned", "remove", "finalizers [\"other\"]"], "with its kind it has gone");
    for (cause, retry) in [("down", Retry::Soon), ("forbidden", Retry::Late)] {
        world.state().failing.insert("remove", failed(Headline::Delete, cause, retry));
        let report = world.look(&going("Delete"), &Memory::default(), 0).await;
        let calls = world.calls();
        assert!(
            calls[..2] == ["planned", "remove"] && !calls.iter().any(|call| call.starts_with("finalizers")),
            "{calls:?}"
        );
        assert!(message(&report).contains(cause) && report.next.is_some());
    }
}

#[tokio::test]
async fn who_must_delete_the_target_is_held_before_there_is_one() {
    let holds = |es: &Arc<ExternalSecret>| {
        let mut held = (**es).clone();
        held.metadata.finalizers = Some(vec!["other".into()]);
        held
    };
    let world = World::new();
    let mut es = holds(&Arc::new(es(json!({"target": {"deletionPolicy": "Delete"}}))));
    let report = world.look(&Arc::new(es.clone()), &Memory::default(), 0).await;
    let finalizers = format!("finalizers [\"other\", {:?}]", names::FINALIZER_EXTERNAL_SECRET);
    let rest = ["apply k=alpha-value (presumed absent)", "status True SecretSynced", "note Created", "turn over"];
    assert_eq!(world.calls(), fetched(&[&[finalizers.as_str()][..], &rest].concat()));
    es.metadata.finalizers.as_mut().unwrap().push(names::FINALIZER_EXTERNAL_SECRET.into());
    world.look(&told(&Arc::new(es.clone()), &report), &report.memory, HOUR).await;
    assert!(!world.calls().iter().any(|call| call.starts_with("finalizers")), "it is there");

    // Where it can't be put on, nothing is written: it would be left behind.
    es.metadata.finalizers = None;
    world.state().finalizers_problem = Some(Problem { message: "no".into(), is_temporary: true, is_not_found: false });
    let report = world.look(&told(&Arc::new(es), &report), &report.memory, 2 * HOUR).await;
    assert!(message(&report).ends_with("can't put on the finalizer that deletionPolicy=Delete needs: no"));
    assert!(!world.calls().iter().any(|call| call.starts_with("apply")));
}

#[tokio::test]
async fn a_changed_template_source_renders_anew() {
    let world = World::new();
    let source = Dependency { kind: Kind::ConfigMap, namespace: "ns".into(), name: "c".into() };
    let put = |revision: &str, text: &str| {
        let data = [("t".to_owned(), text.into())].into();
        world.state().sources.insert(source.clone(), (revision.to_owned(), data));
    };
    put("1", "one {{ .k }}");
    let from = json!([{"configMap": {"name": "c", "items": [{"key": "t"}]}}]);
    let (es, memory) = synced(&world, json!({"target": {"template": {"templateFrom": from}}})).await;
    world.look(&es, &memory, 60).await;
    assert_eq!(world.calls(), ["planned"]);
    put("2", "two {{ .k }}");
    let report = world.look(&es, &memory, 60).await;
    let rest =
        ["source ConfigMap c", "apply t=two alpha-value", "status True SecretSynced", "note Updated", "turn over"];
    assert_eq!(world.calls(), fetched(&rest));
    world.look(&told(&es, &report), &report.memory, 120).await;
    assert_eq!(world.calls(), ["planned"], "it is remembered at which version it was read");
}

#[tokio::test]
async fn what_was_generated_before_a_crash_is_not_generated_anew() {
    let spec = json!({"data": [], "dataFrom": [{"sourceRef": {"generatorRef": {"kind": "Made", "name": "g"}}}]});
    let world = World::new();
    world.state().generated.insert("pw".into(), "made-1".into());
    let es = Arc::new(es(spec));
    let made = ["planned", "turn", "generator Made g", "make Made ns/g"];
    world.look(&es, &Memory::default(), 0).await;
    let rest = ["apply pw=made-1 (presumed absent)", "status True SecretSynced", "note Created", "turn over"];
    assert_eq!(world.calls(), calls(&made, &rest));

    // As after a crash: the target is there, and nothing is remembered or told.
    world.state().written_at = Some(at(0));
    let report = world.look(&es, &Memory::default(), 5).await;
    assert_eq!(world.calls(), ["observe", "changed_at", "planned", "status True SecretSynced"]);
    assert!(matches!(report.outcome, Outcome::Synced(_)));
    world.state().written_at = None;
    world.look(&es, &Memory::default(), 5).await;
    let rest = ["apply pw=made-1", "status True SecretSynced", "note Updated", "turn over"];
    assert_eq!(
        world.calls(),
        [calls(&["observe"], &made), calls(&rest, &[])].concat(),
        "somebody else's is taken over"
    );
}

#[tokio::test]
async fn what_has_an_end_and_no_state_is_made_anew_before_that() {
    let made = json!([{"sourceRef": {"generatorRef": {"kind": "Made", "name": "g"}}}]);
    let world = World::new();
    world.state().generated.insert("pw".into(), "made-1".into());
    world.state().term = Some(Term { end: at(3600).into(), renews: false });
    let spec = json!({"data": [], "dataFrom": made, "refreshInterval": "2h"});
    let first = Arc::new(es(spec.clone()));
    let report = world.look(&first, &Memory::default(), 0).await;
    assert_eq!((report.next, report.memory.replace_by), (Some(at(3000)), Some(at(3000))), "a sixth is left");
    world.calls();
    let es = told(&first, &report);
    let report = world.look(&es, &report.memory, 2999).await;
    assert!(!world.calls().iter().any(|call| call.starts_with("make")));
    assert_eq!(report.next, Some(at(3000)));
    let report = world.look(&es, &report.memory, 3000).await;
    assert!(world.calls().iter().any(|call| call.starts_with("make")), "it is due");
    // Nobody asks for another where nothing is refreshed by time.
    let once = json!({"data": [], "dataFrom": spec["dataFrom"], "refreshInterval": "0"});
    let once = Arc::new(keyferry_builders::es(once));
    let report = world.look(&once, &report.memory, 0).await;
    assert_eq!((report.next, report.memory.replace_by), (None, None), "nor is anybody told to see to it");
}

fn kept() -> Value {
    json!({"data": [], "dataFrom": [{"sourceRef": {"generatorRef": {"kind": "Kept", "name": "g"}}}]})
}

fn known_state(es: &ExternalSecret, name: &str, second: i64) -> KnownState {
    KnownState {
        name: name.into(),
        owner: "uid".into(),
        key: states::key(es, 0),
        made: (Some(at(second)), second.to_string()),
        deadline: None,
        refresh_by: None,
    }
}

#[tokio::test]
async fn what_must_be_revoked_is_written_down_first_and_the_one_before_it_has_a_grace() {
    let world = World::new();
    world.state().generated.insert("pw".into(), "made-1".into());
    let es = Arc::new(es(kept()));
    world.state().states = vec![known_state(&es, "old", 1), known_state(&es, "older", 0)];
    world.state().term = Some(Term { end: at(600).into(), renews: true });
    let report = world.look(&es, &Memory::default(), 0).await;
    let made = ["planned", "turn", "generator Kept g", "make Kept ns/g", "begin gen-kept-g-1 {\"id\":0}"];
    let rest = [
        "amend gen-kept-g-1 {\"id\":1} by 500",
        "apply pw=made-1 (presumed absent)",
        "flag old 120",
        "flag older 120",
        "status True SecretSynced",
        "note Created",
        "turn over",
    ];
    assert_eq!(world.calls(), calls(&made, &rest));
    assert_eq!(report.memory.made.values().collect::<Vec<_>>(), ["gen-kept-g-1"]);
    assert_eq!(
        (report.next, report.memory.replace_by),
        (Some(at(500)), Some(at(500))),
        "it ends before the next refresh"
    );
    // What fails holds what it held.
    world.state().making_fails = Some(Error::new(ErrorKind::Unavailable, "down"));
    let name = "gen-kept-g-1".to_owned();
    world.state().states = vec![KnownState { refresh_by: Some(at(500)), ..known_state(&es, &name, 2) }];
    let failing = world.look(&told(&es, &report), &report.memory, 500).await;
    assert!(matches!(failing.outcome, Outcome::Failed(_)), "{}", message(&failing));
    assert_eq!(failing.memory.replace_by, Some(at(500)));
}

#[tokio::test]
async fn what_nobody_came_to_use_is_revoked() {
    for (stage, deadline) in [("make", 0), ("apply", 120)] {
        let world = World::new();
        world.state().generated.insert("pw".into(), "made-1".into());
        if stage == "make" {
            world.state().making_fails = Some(Error::new(ErrorKind::Unavailable, "down"));
        } else {
            world.state().failing.insert("apply", failed(Headline::Update, "no", Retry::Soon));
        }
        let report = world.look(&Arc::new(es(kept())), &Memory::default(), 0).await;
        assert!(matches!(report.outcome, Outcome::Failed(_)), "{}", message(&report));
        let flag = format!("flag gen-kept-g-1 {deadline}");
        assert!(world.calls().contains(&flag), "{stage}");
        assert!(report.memory.made.is_empty());
    }
}

#[tokio::test]
async fn what_has_no_state_after_all_leaves_none() {
    let world = World::new();
    world.state().generated.insert("pw".into(), "made-1".into());
    world.state().stateless = true;
    let report = world.look(&Arc::new(es(kept())), &Memory::default(), 0).await;
    assert!(world.calls().contains(&"forget gen-kept-g-1".to_owned()));
    assert!(report.memory.made.is_empty());
}

#[tokio::test]
async fn nothing_is_made_for_a_refresh_that_fails_or_beyond_the_limit() {
    let world = World::new();
    let mut spec = kept();
    spec["data"] = json!([{"secretKey": "k", "remoteRef": {"key": "nowhere"}}]);
    let report = world.look(&Arc::new(es(spec)), &Memory::default(), 0).await;
    assert!(message(&report).contains("while another entry fails"), "{}", message(&report));
    assert!(!world.calls().iter().any(|call| call.starts_with("make")));

    let es = Arc::new(es(kept()));
    world.state().states = (0..GENERATOR_STATES.most as i64).map(|n| known_state(&es, &format!("s{n}"), n)).collect();
    let report = world.look(&es, &Memory::default(), 0).await;
    assert!(message(&report).contains(&GENERATOR_STATES.to_string()), "{}", message(&report));
    assert!(!world.calls().iter().any(|call| call.starts_with("make")));
}

#[tokio::test]
async fn what_somebody_before_us_made_is_kept_and_its_forerunners_go() {
    let world = World::new();
    world.state().generated.insert("pw".into(), "made-1".into());
    let es = Arc::new(es(kept()));
    world.look(&es, &Memory::default(), 0).await;
    world.calls();
    world.state().written_at = Some(at(0));
    world.state().states = vec![known_state(&es, "old", 1), known_state(&es, "last", 2)];
    world.look(&es, &Memory::default(), 5).await;
    assert_eq!(world.calls(), ["observe", "changed_at", "planned", "flag old 120", "status True SecretSynced"]);
}

#[tokio::test]
async fn what_ends_is_replaced_although_a_refresh_was_broken_off() {
    // Nobody knows of the refresh that made `left`: it was broken off before the target was written, at 0, or after, at 60.
    for (written, is_made) in [(0, true), (60, false)] {
        let world = World::new();
        world.state().generated.insert("pw".into(), "made-1".into());
        let es = Arc::new(es(kept()));
        let report = world.look(&es, &Memory::default(), 0).await;
        let es = told(&es, &report);
        world.calls();
        world.state().written_at = Some(at(written));
        let ends = |refresh_by, state| KnownState { refresh_by: Some(refresh_by), ..state };
        let (held, left) = (known_state(&es, "held", 1), known_state(&es, "left", 50));
        world.state().states = vec![ends(at(50), held), ends(at(110), left)];
        let report = world.look(&es, &Memory::default(), 100).await;
        let calls = world.calls();
        assert_eq!(calls.iter().any(|call| call.starts_with("make")), is_made, "{calls:?}");
        assert!(calls.contains(&"flag held 120".to_owned()), "{calls:?}");
        let known = if is_made { "gen-kept-g-2" } else { "left" };
        assert_eq!(report.memory.made.values().collect::<Vec<_>>(), [known]);
        assert!(is_made || report.next == Some(at(110)), "it ends before the next refresh: {:?}", report.next);
    }
}

#[tokio::test]
async fn a_renamed_target_goes_when_the_new_one_is_written() {
    let world = World::new();
    let (es, memory) = synced(&world, json!({})).await;
    let mut renamed = (*es).clone();
    renamed.spec.target.name = Some("new".into());
    renamed.metadata.generation = Some(2);
    let renamed = Arc::new(renamed);
    world.state().target = None;
    world.state().failing.insert("remove renamed", failed(Headline::Orphans, "down", Retry::Soon));
    let report = world.look(&renamed, &memory, 60).await;
    let rest = [
        "apply k=alpha-value (presumed absent)",
        "remove renamed",
        "status False SecretSyncedError",
        "note UpdateFailed",
        "turn over",
    ];
    assert_eq!(world.calls(), fetched(&rest));
    assert_eq!(report.memory.last.as_ref().unwrap().at, at(60), "the new one is written: it needs no other values");

    world.state().failing.clear();
    let report = world.look(&told(&renamed, &report), &report.memory, 90).await;
    assert_eq!(world.calls(), ["planned", "remove renamed", "status True SecretSynced"], "without fetching again");
    assert_eq!(report.outcome, Outcome::Settled { at: at(60) });
    assert_eq!(report.status.unwrap().0.binding.name, "new");
}

#[tokio::test]
async fn a_complaint_that_is_written_is_told_once_per_change() {
    let world = World::new();
    let template = json!({"template": {"data": {"x": "{{ .k | b64dec }}"}}});
    let (es, memory) = {
        let es = Arc::new(es(json!({"target": template, "refreshInterval": "1m"})));
        let report = world.look(&es, &Memory::default(), 0).await;
        let calls = world.calls();
        assert!(calls.contains(&"note TemplateFunctionFailed".to_owned()), "{calls:?}");
        (told(&es, &report), report.memory)
    };
    let report = world.look(&es, &memory, 100).await;
    assert!(!world.calls().iter().any(|call| call.starts_with("note")), "nothing changed");
    world.state().secrets.insert("a".into(), Ok("beta-value!".into()));
    world.look(&told(&es, &report), &report.memory, 200).await;
    assert!(world.calls().contains(&"note TemplateFunctionFailed".to_owned()));
}

#[tokio::test]
async fn a_value_in_a_message_is_blanked() {
    let world = World::new();
    world.state().failing.insert("apply", failed(Headline::Update, "it can't be \"alpha-value\"", Retry::Late));
    let es = Arc::new(es(json!({})));
    let report = world.look(&es, &Memory::default(), 0).await;
    assert_eq!(message(&report), "could not update secret: it can't be \"[redacted]\"");
}

#[tokio::test]
async fn every_key_is_asked_for_once_and_every_fault_is_named() {
    let entry = |secret: &str, key: &str| json!({"secretKey": secret, "remoteRef": {"key": key}});
    let data = json!([entry("x", "a"), entry("y", "a"), entry("z", "gone"), entry("w", "lost")]);
    let world = World::new();
    let es = Arc::new(es(json!({"data": data})));
    let report = world.look(&es, &Memory::default(), 0).await;
    assert_eq!(world.calls()[3..4], ["fetch a gone lost"]);
    let message = message(&report);
    assert!(message.contains("spec.data[2] (secretKey \"z\")") && message.contains("spec.data[3]"), "{message}");
}

#[tokio::test]
async fn what_is_found_is_fetched_together_with_all_else() {
    let world = World::new();
    world.state().secrets.insert("b".into(), Ok("beta-value".into()));
    let find = json!([{"find": {"name": {"regexp": "^b"}}}]);
    let es = Arc::new(es(json!({"dataFrom": find})));
    world.look(&es, &Memory::default(), 0).await;
    let head = ["planned", "enter s ns", "planned", "find", "fetch a b", "turn"];
    let rest =
        ["apply b=beta-value k=alpha-value (presumed absent)", "status True SecretSynced", "note Created", "turn over"];
    assert_eq!(world.calls(), calls(&head, &rest));
}

#[tokio::test]
async fn so_many_searches_and_no_more() {
    let search = |n: u64| json!({"find": {"name": {"regexp": format!("^a{{{n}}}$")}}});
    for (count, is_too_many) in [(SEARCHES.most, false), (SEARCHES.most + 1, true)] {
        let world = World::new();
        let spec = json!({"dataFrom": (1..=count).map(search).collect::<Vec<_>>()});
        let report = world.look(&Arc::new(es(spec)), &Memory::default(), 0).await;
        let told = message(&report);
        assert_eq!(told.contains(&SEARCHES.to_string()), is_too_many, "{count}: {told}");
        assert_eq!(world.calls().iter().any(|call| call == "find"), !is_too_many, "{count}");
    }
}

#[tokio::test]
async fn a_search_that_finds_too_much_changes_nothing_and_says_so() {
    let world = World::new();
    let target = json!({"deletionPolicy": "Delete"});
    let spec = json!({"dataFrom": [{"find": {"name": {"regexp": ".*"}}}], "target": target});
    let (es, memory) = synced(&world, spec).await;
    world.state().search_fails = Some(Error::limit(&SEARCH_FOUND));
    let report = world.look(&es, &memory, HOUR).await;
    let told = message(&report);
    assert!(told.contains("spec.dataFrom[0]") && told.contains(&SEARCH_FOUND.to_string()), "{told}");
    let calls = world.calls();
    assert!(!calls.iter().any(|call| call.starts_with("apply") || call.starts_with("remove")), "{calls:?}");
    assert_eq!(world.state().held.keys().collect::<Vec<_>>(), ["a", "k"]);
}

#[tokio::test]
async fn a_store_is_not_locked_out_by_its_own_login() {
    let world = World::new();
    let es = Arc::new(es(json!({"target": {"name": "login"}})));
    world.state().login_problem = Some(Error::new(ErrorKind::Unauthenticated, "the token is not accepted"));
    let report = world.look(&es, &Memory::default(), 0).await;
    let said = message(&report);
    assert!(said.contains("logs in with Secret \"login\"") && said.ends_with("the token is not accepted"), "{said}");
    let rehearsal = ["foresee", "rehearse s login k=alpha-value: a"];
    let rest = ["status False SecretSyncedError", "note UpdateFailed", "turn over"];
    assert_eq!(world.calls(), fetched(&[&rehearsal[..], &rest].concat()), "nothing is written");

    // What works is written.
    world.state().login_problem = None;
    let report = world.look(&told(&es, &report), &report.memory, 60).await;
    let rest = ["apply k=alpha-value (presumed absent)", "status True SecretSynced", "note Created", "turn over"];
    assert_eq!(world.calls(), fetched(&[&rehearsal[..], &rest].concat()));

    // And never deleted: the store could not say any more that the secret is back.
    let mut deleting = (*told(&es, &report)).clone();
    deleting.spec.target.deletion_policy = keyferry_crds::DeletionPolicy::Delete;
    world.state().secrets.clear();
    let report = world.look(&Arc::new(deleting), &report.memory, 2 * HOUR).await;
    assert!(message(&report).starts_with("could not delete secret: SecretStore \"s\" logs in with it"));
    assert!(world.state().target.is_some());
}

#[tokio::test]
async fn who_syncs_once_waits_for_a_change() {
    for spec in [json!({"refreshInterval": "0"}), json!({"refreshPolicy": "CreatedOnce"})] {
        let world = World::new();
        let es = Arc::new(es(spec.clone()));
        let report = world.look(&es, &Memory::default(), 0).await;
        assert_eq!(report.next, None, "{spec}");
        world.calls();
        world.look(&told(&es, &report), &report.memory, 10 * HOUR).await;
        assert_eq!(world.calls(), ["planned"], "{spec}");
    }
}

#[tokio::test]
async fn a_target_that_no_watch_has_seen_is_read() {
    let world = World::new();
    let (es, memory) = synced(&world, json!({})).await;
    world.look_seeing(&es, &memory, 60, Seen::Unknown).await;
    assert_eq!(world.calls(), ["observe", "planned"]);
}

#[tokio::test]
async fn resolve_serves_who_writes_nothing() {
    use keyferry_sync::request::requests;
    use keyferry_sync::resolve::{Asker, resolve};
    let world = World::new();
    let template = json!({"template": {"data": {"url": "x://{{ .k }}"}}});
    let es = es(json!({"target": template}));
    let (ports, settings) = (world.ports(), world::settings());
    let stores = world::known(&es);
    let asker = Asker {
        ports: &ports,
        settings: &settings,
        es: &es,
        workload: None,
        now: at(0),
        is_asked_for: true,
        budget: Arc::default(),
    };
    let (resolved, content) = resolve(&asker, &requests(&es, &stores)).await.unwrap().unwrap();
    assert_eq!(content.data["url"].expose_str(), Some("x://alpha-value"));
    drop(resolved);
    assert_eq!(world.calls(), fetched(&["turn over"]), "no status, no event, no target");
}

#[tokio::test]
async fn a_look_that_is_cancelled_ends_its_waiting_and_tells_nothing() {
    let world = World::new();
    let es = Arc::new(es(json!({})));
    let (cancel, _, cancelled) = Cancel::new();
    {
        let mut state = world.state();
        (state.cancelled, state.silent) = (cancelled, true);
    }
    let memory = Memory { failures: 2, ..Memory::default() };
    let look = world.look(&es, &memory, 0);
    let cancelling = async {
        tokio::task::yield_now().await;
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(look, cancelling);
    assert_eq!(report.outcome, Outcome::Waiting(None));
    assert_eq!((report.memory.failures, report.next, report.status.is_none()), (2, None, true));
    assert_eq!(world.calls(), ["planned", "enter s ns", "planned", "fetch a"], "nothing is written or told");
}

#[tokio::test]
async fn a_look_that_has_begun_to_write_is_finished() {
    let world = World::new();
    let es = Arc::new(es(json!({})));
    let (cancel, _, cancelled) = Cancel::new();
    {
        let mut state = world.state();
        (state.cancelled, state.cancel_at_write) = (cancelled, Some(cancel));
    }
    let report = world.look(&es, &Memory::default(), 0).await;
    assert!(matches!(report.outcome, Outcome::Synced(_)), "{}", message(&report));
    assert_eq!(
        world.calls(),
        fetched(&["apply k=alpha-value (presumed absent)", "status True SecretSynced", "note Created", "turn over"])
    );
}

#[tokio::test]
async fn what_may_take_long_is_computed_in_a_turn_and_what_is_small_is_not() {
    use keyferry_sync::request::requests;
    use keyferry_sync::resolve::{Asker, resolve};
    let (world, turns) = (World::new(), Arc::new(Turns::default()));
    let ports = Ports { compute: turns.clone(), ..world.ports() };
    let settings = world::settings();
    let template = json!({"template": {"data": {"url": "x://{{ .k }}"}}});
    let rewrite =
        json!({"dataFrom": [{"extract": {"key": "j"}, "rewrite": [{"regexp": {"source": "a", "target": "b"}}]}]});
    world.state().secrets.insert("j".into(), Ok(r#"{"a": "1"}"#.into()));
    let property = |path: &str| json!({"data": [{"secretKey": "k", "remoteRef": {"key": "j", "property": path}}]});
    let specs = [
        (json!({}), 0),
        (json!({"target": template}), 1),
        (rewrite, 1),
        (property("a"), 0),
        (property("@this.a"), 1),
        (property("[a].0"), 1),
    ];
    for (spec, wanted) in specs {
        let es = es(spec);
        let budget = Arc::default();
        let asker = Asker {
            ports: &ports,
            settings: &settings,
            es: &es,
            workload: None,
            now: at(0),
            is_asked_for: true,
            budget,
        };
        let resolved = resolve(&asker, &requests(&es, &world::known(&es))).await;
        assert!(resolved.is_ok(), "{:?}", resolved.err());
        assert_eq!(std::mem::take(&mut *turns.0.lock().unwrap()), vec!["ns"; wanted]);
    }
    world.state().secrets.insert("a".into(), Ok("x".repeat(100_000)));
    let (es, budget) = (es(json!({})), Arc::default());
    let asker =
        Asker { ports: &ports, settings: &settings, es: &es, workload: None, now: at(0), is_asked_for: true, budget };
    resolve(&asker, &requests(&es, &world::known(&es))).await.unwrap();
    assert_eq!(turns.0.lock().unwrap().len(), 2, "much is not small: to render, and to make content of");
}

#[tokio::test]
async fn a_long_spec_is_planned_in_a_turn_and_much_is_blanked_in_one() {
    let (world, turns) = (World::new(), Arc::new(Turns::default()));
    world.state().compute = Some(turns.clone());
    let taken = || std::mem::take(&mut *turns.0.lock().unwrap()).len();
    let entries = |count: usize| {
        let entry = |n| json!({"secretKey": format!("k{n}"), "remoteRef": {"key": "a"}});
        json!({"data": (0..count).map(entry).collect::<Vec<_>>()})
    };
    // Not due yet: all that is computed is what is to do.
    for (count, wanted) in [(32, 0), (33, 1)] {
        let (es, memory) = synced(&world, entries(count)).await;
        taken();
        let report = world.look(&es, &memory, 60).await;
        assert!(matches!(report.outcome, Outcome::Waiting(_)), "{}", message(&report));
        assert_eq!(taken(), wanted, "{count} entries");
    }
    // A value that is no object: it is rendered, which fails, and then looked for in what is told.
    let es = Arc::new(es(json!({"dataFrom": [{"extract": {"key": "a"}}]})));
    for (size, wanted) in [(100, 0), (100_000, 2)] {
        world.state().secrets.insert("a".into(), Ok("x".repeat(size)));
        let report = world.look(&es, &Memory::default(), 0).await;
        assert!(message(&report).contains("extract needs a JSON object"), "{}", message(&report));
        assert_eq!(taken(), wanted, "{size} bytes");
    }
}

#[tokio::test]
async fn long_annotations_are_gone_through_in_a_turn() {
    for (size, wanted) in [(100, 0), (100_000, 2)] {
        let (world, turns) = (World::new(), Arc::new(Turns::default()));
        world.state().compute = Some(turns.clone());
        let mut es = es(json!({}));
        es.metadata.annotations = Some([("a".to_owned(), "x".repeat(size))].into());
        let report = world.look(&Arc::new(es), &Memory::default(), 0).await;
        assert!(matches!(report.outcome, Outcome::Synced(_)), "{}", message(&report));
        // For its version, and for what the target is made from.
        assert_eq!(turns.0.lock().unwrap().len(), wanted, "{size} bytes");
    }
}

/// Notes whose turns there were.
#[derive(Default)]
struct Turns(Mutex<Vec<String>>);

#[async_trait]
impl Compute for Turns {
    async fn turn(&self, namespace: &str, _: &Arc<Budget>) -> Turn {
        self.0.lock().unwrap().push(namespace.to_owned());
        Box::new(())
    }

    fn run(&self, work: &mut dyn FnMut()) {
        work();
    }
}
