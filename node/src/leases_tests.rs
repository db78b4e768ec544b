use keyferry_builders::{at, es};
use keyferry_provider_core::Term;
use serde_json::json;

use super::*;
use crate::wanted::Pod;

const WEB: &str = "/k/pods/1/web";
const OTHER: &str = "/k/pods/2/web";

fn pod() -> Pod {
    let text = |text: &str| text.to_owned();
    Pod { namespace: text("team"), name: text("web-0"), uid: text("5d3f"), service_account: text("web") }
}

fn ledger(folder: &Path) -> Arc<Ledger> {
    Arc::new(Ledger::open(folder, || at(1000)))
}

fn new() -> NewState {
    NewState::new(&es(json!({})), 0, "VaultDynamicSecret", "database", &json!({"path": "database/creds/app"}))
}

async fn begin(ledger: &Arc<Ledger>, target: &str) -> (Arc<dyn States>, String) {
    let states = ledger.of(Held::none(Path::new(target), &pod(), "app", true));
    let name = states.begin(&new(), &json!({"accessor": "a"}), &Marks::default()).await.expect("it is written");
    (states, name)
}

fn due(ledger: &Ledger, target: &str) -> (Vec<String>, Vec<String>) {
    let (ended, renewed) = ledger.due(Path::new(target));
    let names = |leases: Vec<Lease>| leases.into_iter().map(|lease| lease.name).collect();
    (names(ended), names(renewed))
}

#[tokio::test]
async fn what_was_begun_outlives_the_process_and_is_revoked_where_its_volume_went() {
    let folder = tempfile::tempdir().unwrap();
    let first = ledger(folder.path());
    let (states, name) = begin(&first, WEB).await;
    let (_, others) = begin(&first, OTHER).await;
    let term = Term { end: at(1600).into(), renews: true };
    states
        .amend("team", &name, &json!({"accessor": "a", "leaseID": "l"}), &Marks::of(Some(term), at(1000)))
        .await
        .unwrap();
    let next = ledger(folder.path());
    assert_eq!(next.held(Path::new(WEB)), first.held(Path::new(WEB)));
    let held = next.held(Path::new(WEB)).unwrap();
    assert_eq!((held.leases[0].refresh_by, held.leases[0].renew_at), (Some(at(1500)), Some(at(1400))));
    assert_eq!(held.leases[0].ends, Some(at(1600)), "it ends when a sixth more is over");
    next.begin(&|target| target == Path::new(WEB));
    assert!(due(&next, WEB).0.is_empty());
    assert_eq!(next.owed("team", "web"), [PathBuf::from(OTHER)]);
    assert!(next.owed("team", "other").is_empty() && next.owed("other", "web").is_empty());
    assert_eq!(due(&next, OTHER).0.len(), 1);
    for (target, name) in [(WEB, &name), (OTHER, &others)] {
        next.forget(Path::new(target), name);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of what is revoked");
}

#[tokio::test]
async fn what_was_written_and_not_yet_named_counts_where_there_is_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (_, name) = begin(&ledger(folder.path()), WEB).await;
    let file = written(folder.path()).pop().expect("one");
    fs::rename(&file, file.with_extension(NEW)).unwrap();
    let next = ledger(folder.path());
    assert_eq!(next.held(Path::new(WEB)).unwrap().leases[0].name, name);
    next.forget(Path::new(WEB), &name);
    assert_eq!(ledger(folder.path()).held(Path::new(WEB)), None, "it is gone under both names");
    // One that was being written in place of another.
    let (_, name) = begin(&next, WEB).await;
    fs::write(file.with_extension(NEW), "{").unwrap();
    let next = ledger(folder.path());
    assert_eq!(next.held(Path::new(WEB)).unwrap().leases[0].name, name);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // What is not whole stands for nothing, and hides nothing else.
    begin(&next, OTHER).await;
    fs::write(&file, "{").unwrap();
    let last = ledger(folder.path());
    assert!(last.held(Path::new(WEB)).is_none() && last.held(Path::new(OTHER)).is_some());
    fs::rename(&file, file.with_extension(NEW)).unwrap();
    assert!(ledger(folder.path()).held(Path::new(WEB)).is_none() && !file.with_extension(NEW).exists());
}

#[tokio::test]
async fn each_of_a_volume_has_a_name_and_a_time_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(folder.path());
    let (states, first) = begin(&ledger, WEB).await;
    let (_, second) = begin(&ledger, WEB).await;
    assert_ne!(first, second);
    states.flag("team", &first, at(1120)).await.unwrap();
    let known = ledger.known(Path::new(WEB));
    assert_eq!(known.iter().map(|state| state.deadline).collect::<Vec<_>>(), [Some(at(1120)), None]);
    assert!(known[0].is_older(&known[1]));
    assert!(due(&ledger, WEB).0.is_empty(), "it works on for the grace");
    ledger.let_go(Path::new(WEB));
    assert_eq!(due(&ledger, WEB).0.len(), 2);
    assert!(ledger.owed("team", "web").is_empty(), "the volume stands");
    for name in [&first, &second] {
        states.forget("team", name).await.unwrap();
    }
    let (_, third) = begin(&ledger, WEB).await;
    assert!(third != first && third != second, "nor is that of one that is forgotten given again");
}

#[tokio::test]
async fn what_is_made_while_its_volume_ends_is_refused_for_whoever_made_it_to_revoke() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(folder.path());
    let (states, name) = begin(&ledger, WEB).await;
    let (others, _) = begin(&ledger, OTHER).await;
    ledger.end(Path::new(WEB));
    states.amend("team", &name, &json!({"leaseID": "l"}), &Marks::default()).await.expect("it is there to be revoked");
    ledger.forget(Path::new(WEB), &name);
    let amended = states.amend("team", &name, &json!({"leaseID": "l"}), &Marks::default()).await.unwrap_err();
    let begun = states.begin(&new(), &json!({}), &Marks::default()).await.unwrap_err();
    assert!(amended.is_not_found && begun.is_not_found && !begun.is_temporary);
    assert_eq!(ledger.held(Path::new(WEB)), None);
    others.begin(&new(), &json!({}), &Marks::default()).await.expect("another volume stands");
    begin(&ledger, WEB).await;
    assert!(states.begin(&new(), &json!({}), &Marks::default()).await.is_err(), "the next volume there is another");
}

#[tokio::test]
async fn it_is_prolonged_when_that_is_due_and_replaced_where_it_can_not_be() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(folder.path());
    let (states, name) = begin(&ledger, WEB).await;
    let marks = Marks { refresh_by: Some(at(1010)), renew_at: Some(at(999)) };
    states.amend("team", &name, &json!({}), &marks).await.unwrap();
    assert_eq!(due(&ledger, WEB).1, std::slice::from_ref(&name));
    let target = Path::new(WEB);
    ledger.renewed(target, &name, &json!({"n": 1}), &Marks { refresh_by: Some(at(2000)), renew_at: Some(at(1800)) });
    assert!(due(&ledger, WEB).1.is_empty());
    let ends = ledger.held(target).unwrap().leases[0].ends;
    ledger.renewed(target, &name, &json!({"n": 1}), &Marks { refresh_by: Some(at(2000)), renew_at: None });
    assert_eq!(ledger.held(target).unwrap().leases[0].ends, ends);
    assert_eq!(ledger.known(target)[0].refresh_by, Some(at(2000)));
}

#[tokio::test]
async fn what_stands_and_what_waits_to_be_revoked_is_bounded_and_forgotten_once_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(folder.path());
    for n in 0..MOUNT_LEASES.size() {
        let target = format!("/k/pods/n{n}/web");
        begin(&ledger, &target).await;
        // Half of the volumes stand.
        if n % 2 == 0 {
            ledger.end(Path::new(&target));
        }
    }
    let states = ledger.of(Held::none(Path::new(WEB), &pod(), "app", true));
    let refused = states.begin(&new(), &json!({}), &Marks::default()).await.unwrap_err();
    assert!(refused.message.contains("limit mount-leases"), "{}", refused.message);
    let stranger = Pod { service_account: "other".to_owned(), ..pod() };
    let states = ledger.of(Held::none(Path::new(OTHER), &stranger, "app", true));
    assert!(states.begin(&new(), &json!({}), &Marks::default()).await.is_ok(), "another has its own");
    let soon: Arc<Ledger> = Arc::new(Ledger::open(folder.path(), || at(1000 + 86_400)));
    soon.tidy();
    assert_eq!(soon.owed("team", "web").len(), MOUNT_LEASES.size() / 2);
    let later: Arc<Ledger> = Arc::new(Ledger::open(folder.path(), || at(1001 + 86_400)));
    later.tidy();
    assert!(later.owed("team", "web").is_empty());
    assert!(later.held(Path::new(OTHER)).is_some(), "its volume stands");
}

#[tokio::test]
async fn what_can_not_be_revoked_is_passed_over_for_a_while_and_keeps_nothing_else_waiting() {
    thread_local! {
        static NOW: std::cell::Cell<i64> = const { std::cell::Cell::new(1000) };
    }
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::open(folder.path(), || at(NOW.get())));
    let mut names = Vec::new();
    for target in [WEB, OTHER] {
        names.push(begin(&ledger, target).await.1);
        ledger.end(Path::new(target));
    }
    let next = || ledger.next_owed("team", "web");
    let (web, other) = (Some(PathBuf::from(WEB)), Some(PathBuf::from(OTHER)));
    assert_eq!((next(), next(), next()), (web.clone(), other.clone(), None));
    ledger.is_left(Path::new(WEB), "no".into());
    assert_eq!(ledger.why_owed("team", "web"), Some("no".into()), "it is told of while it is passed over");
    assert_eq!((ledger.next_owed("team", "app"), ledger.why_owed("team", "app")), (None, None));
    NOW.set(1059);
    assert_eq!(next(), None);
    NOW.set(1060);
    assert_eq!(next(), web);
    NOW.set(1061);
    assert_eq!(next(), other);
    NOW.set(1180);
    assert_eq!(next(), web.clone(), "for twice as long");
    ledger.forget(Path::new(OTHER), &names[1]);
    for rests in [240, 480, 900, 900] {
        NOW.set(NOW.get() + rests - 1);
        assert_eq!(next(), None, "{rests}");
        NOW.set(NOW.get() + 1);
        assert_eq!(next(), web, "{rests}");
    }
    ledger.forget(Path::new(WEB), &names[0]);
    assert_eq!((next(), ledger.why_owed("team", "web")), (None, None));
    begin(&ledger, WEB).await;
    ledger.end(Path::new(WEB));
    assert_eq!(next(), web, "another volume there begins anew");
    assert_eq!(ledger.why_owed("team", "web"), None);
}

#[tokio::test]
async fn a_lease_has_a_size_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let states = ledger(folder.path()).of(Held::none(Path::new(WEB), &pod(), "app", true));
    let of = |spec: usize| NewState::new(&es(json!({})), 0, "Webhook", "hook", &json!({"body": "a".repeat(spec)}));
    for (spec, state, fits) in [(MOST - 100, 10, true), (MOST, 0, false), (MOST / 2, MOST / 2, false)] {
        let state = json!({"id": "b".repeat(state)});
        let begun = states.begin(&of(spec), &state, &Marks::default()).await;
        assert_eq!(begun.is_ok(), fits);
        let Err(problem) = begun else { continue };
        assert!(!problem.is_temporary && problem.message.contains("more than 16 KiB"), "{}", problem.message);
    }
    let name = states.begin(&of(10), &json!({}), &Marks::default()).await.expect("it is small");
    let state = json!({"id": "b".repeat(MOST)});
    assert!(states.amend("team", &name, &state, &Marks::default()).await.is_err(), "nor does it grow");
}
