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
    assert_eq!(Marks::of(term(true), at(9000)).refresh_by, Some(at(9000)), "it is over already");
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
