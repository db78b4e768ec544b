use std::time::Duration;

use keyferry_builders::at;
use serde_json::json;

use super::*;

fn es() -> ExternalSecret {
    let entry = |name: &str| json!({"sourceRef": {"generatorRef": {"kind": "Made", "name": name}}});
    keyferry_builders::es(
        json!({"refreshInterval": "1h", "dataFrom": [entry("a"), {"extract": {"key": "k"}}, entry("b")]}),
    )
}

fn state(name: &str, entry: usize, second: i64, revision: &str) -> KnownState {
    KnownState {
        name: name.into(),
        owner: "uid".into(),
        key: key(&es(), entry),
        made: (Some(at(second)), revision.into()),
        deadline: None,
        refresh_by: Some(at(second + 1000)),
    }
}

fn names(states: Vec<&KnownState>) -> Vec<&str> {
    states.into_iter().map(|state| state.name.as_str()).collect()
}

fn made(of: &[(usize, &str)]) -> MadeFor {
    of.iter().map(|(entry, name)| (key(&es(), *entry), (*name).to_owned())).collect()
}

#[test]
fn what_a_refresh_made_is_kept_and_all_else_is_outdated() {
    let flagged = KnownState { deadline: Some(at(5)), ..state("flagged", 0, 1, "1") };
    let states = [flagged, state("old", 0, 2, "2"), state("new", 0, 3, "3"), state("gone", 7, 3, "3")];
    assert_eq!(names(outdated(&es(), &states, Some(&made(&[(0, "new")])))), ["old", "gone"]);
    // An entry whose generator is of another kind by now has no state.
    assert_eq!(names(outdated(&es(), &states, Some(&made(&[])))), ["old", "new", "gone"]);
    // The watch has not told of the newest.
    assert_eq!(names(outdated(&es(), &states, Some(&made(&[(0, "newest")])))), ["old", "new", "gone"]);
}

#[test]
fn of_what_somebody_before_us_made_the_last_of_each_entry_is_kept() {
    let states = [state("a", 0, 3, "9"), state("b", 0, 3, "10"), state("c", 0, 2, "11"), state("d", 2, 1, "1")];
    assert_eq!(names(outdated(&es(), &states, None)), ["a", "c"]);
    assert_eq!(refresh_by(&es(), &states, &MadeFor::new()), Some(at(1001)));
    assert_eq!(written_last(&es(), &states), made(&[(0, "b"), (2, "d")]));
}

#[test]
fn what_a_refresh_that_was_broken_off_left_hides_nothing_that_ends() {
    let held = state("held", 0, 1, "1");
    for refresh_by_then in [None, Some(at(9000))] {
        let left = KnownState { refresh_by: refresh_by_then, ..state("left", 0, 2, "2") };
        let states = [held.clone(), left];
        assert_eq!(refresh_by(&es(), &states, &MadeFor::new()), Some(at(1001)), "it may be what the target holds");
        assert_eq!(refresh_by(&es(), &states, &made(&[(0, "left")])), refresh_by_then, "it is known not to be");
    }
}

#[test]
fn a_note_is_of_one_form_and_short() {
    let kept = |made: Option<&str>| {
        let made = made.map(str::to_owned);
        Kept { at: at(5), asked_for: "1-a".into(), made, until: None }
    };
    let until = |kept| Kept { until: Some(at(3000)), ..kept };
    for kept in [kept(None), kept(Some("gen-a-b")), until(kept(None)), until(kept(Some("gen-a-b")))] {
        assert_eq!(Kept::parse(&kept.to_string()), Some(kept));
    }
    let note = kept(Some("gen-a-b")).to_string();
    let long = format!("{note}{}", "x".repeat(NOTE));
    for other in [
        "",
        "1970-01-01T00:00:05Z",
        "1970-01-01T00:00:05Z ",
        "soon 1-a",
        &format!("{note} c"),
        &format!("{} c", until(kept(None))),
        &format!("{} until=1970-01-01T00:00:05Z", until(kept(None))),
        &format!("{note} until=soon"),
        &format!("{note} "),
        &format!("{note}\n"),
        &long,
    ] {
        assert_eq!(Kept::parse(other), None, "{other:?}");
    }
}

#[test]
fn nothing_is_due_for_an_old_state_while_the_watch_has_not_told_of_the_new_one() {
    let old = [state("old", 0, 1, "1")];
    assert_eq!(refresh_by(&es(), &old, &made(&[(0, "new")])), None);
    let both = [old[0].clone(), state("new", 0, 2000, "2")];
    assert_eq!(refresh_by(&es(), &both, &made(&[(0, "new")])), Some(at(3000)));
    assert_eq!(refresh_by(&es(), &[], &MadeFor::new()), None);
}

#[test]
fn what_ends_is_prolonged_and_replaced_before_that() {
    let term = |renews| Some(Term { end: at(1600).into(), renews });
    let marks = |renews| Marks::of(term(renews), at(1000));
    assert_eq!(marks(true), Marks { refresh_by: Some(at(1500)), renew_at: Some(at(1400)) });
    assert_eq!(marks(false), Marks { refresh_by: Some(at(1500)), renew_at: None });
    assert_eq!(Marks::of(None, at(0)), Marks::default());
    assert_eq!(
        Marks::of(term(true), at(9000)),
        Marks::default(),
        "it was over when it was made, as the next one would be"
    );
    let short =
        Marks::of(Some(Term { end: at(1000).into(), renews: true }), later(at(999), Duration::from_millis(900)));
    let soonest = later(at(1000), Duration::from_millis(900));
    assert_eq!(short, Marks { refresh_by: Some(soonest), renew_at: Some(soonest) }, "no more often than any interval");
}

#[test]
fn a_state_names_its_generator_and_its_owner() {
    let new = NewState::new(&es(), 2, "VaultDynamicSecret", "db", &json!({"path": "p"}));
    assert_eq!(new.prefix, "gen-vaultdynamicsecret-db-");
    assert_eq!(new.resource["spec"], json!({"path": "p"}));
    assert_eq!(new.resource["kind"], "VaultDynamicSecret");
    let long = NewState::new(&es(), 0, "Grafana", &"n".repeat(253), &json!({}));
    assert!(long.prefix.len() <= 248, "{}", long.prefix.len());
}
