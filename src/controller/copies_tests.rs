//! Whom a change concerns, and what is known for each.

use keyferry_crds::ClusterExternalSecret;
use keyferry_sync::copies::Owner;
use serde_json::{Value, json};

use super::*;

fn copier(name: &str, spec: Value) -> Copier {
    let metadata = json!({"name": name, "uid": format!("{name}-uid"), "generation": 1});
    Copier::from(serde_json::from_value::<ClusterExternalSecret>(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn of_team(name: &str, team: &str) -> Copier {
    copier(name, json!({"namespaceSelectors": [{"matchLabels": {"team": team}}]}))
}

fn namespace(name: &str, labels: Value, finalizers: &[String]) -> ObjectMeta {
    serde_json::from_value(json!({"name": name, "labels": labels, "finalizers": finalizers})).unwrap()
}

fn seen(owner: Option<&str>, version: &str) -> Seen {
    let owner = owner.map(|name| Owner { id: id(name), uid: format!("{name}-uid") });
    Seen { uid: "u".to_owned(), version: version.to_owned(), owner, print: 1, is_going: false }
}

fn id(name: &str) -> CopierId {
    CopierId { kind: CopierKind::ClusterExternalSecret, name: name.to_owned() }
}

fn names(ids: BTreeSet<CopierId>) -> Vec<String> {
    ids.into_iter().map(|id| id.name).collect()
}

fn copies() -> Copies {
    let mut copies = Copies::default();
    copies.look_after(CopierKind::ClusterExternalSecret);
    copies
}

const KIND: CopierKind = CopierKind::ClusterExternalSecret;

fn at(namespace: &str, name: &str) -> Name {
    (namespace.to_owned(), name.to_owned())
}

#[test]
fn a_namespace_concerns_those_that_begin_or_cease_to_select_it() {
    let mut copies = copies();
    copies.put(&of_team("a", "a"));
    copies.put(&of_team("b", "b"));
    copies.put(&copier("all", json!({"namespaceSelectors": [{}]})));
    copies.put(&copier("named", json!({"namespaces": ["x"]})));
    copies.put(&copier("none", json!({})));
    let own = |team: &str| json!({"team": team, "kubernetes.io/metadata.name": "x"});
    assert_eq!(names(copies.put_namespace(&namespace("x", own("a"), &[]))), ["a", "all", "named"]);
    assert_eq!(names(copies.put_namespace(&namespace("x", own("a"), &[]))), [""; 0]);
    assert_eq!(names(copies.put_namespace(&namespace("x", own("b"), &[]))), ["a", "b"]);
    let selected = |copies: &Copies, name: &str| copies.around(&id(name)).selected.into_keys().collect::<Vec<_>>();
    assert_eq!((selected(&copies, "a"), selected(&copies, "b")), (vec![], vec!["x".to_owned()]));
    let mut going = namespace("x", own("b"), &[]);
    going.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(keyferry_builders::at(0)));
    assert_eq!(names(copies.put_namespace(&going)), ["all", "b", "named"]);
    assert!(copies.around(&id("b")).selected["x"]);
    assert_eq!(names(copies.remove_namespace("x")), ["all", "b", "named"]);
    assert!(copies.namespaces_by_label.may_be_selected(&[LabelSelector::default()]).is_empty());
    // Those that come later find what is there.
    copies.put_namespace(&namespace("y", json!({"team": "b"}), &[]));
    copies.put(&of_team("a", "b"));
    assert_eq!(selected(&copies, "a"), ["y"]);
    // One that is wrong selects nothing.
    copies.put(&copier("all", json!({"namespaceSelectors": [{}], "refreshTime": "soon"})));
    assert_eq!(selected(&copies, "all"), [""; 0]);
}

#[test]
fn an_object_concerns_its_owners_and_who_wants_its_place() {
    let mut copies = copies();
    copies.put_namespace(&namespace("x", json!({"team": "a"}), &[]));
    copies.put(&of_team("a", "a"));
    copies.put(&copier("b", json!({"externalSecretName": "a", "namespaceSelectors": [{}]})));
    copies.put(&of_team("c", "c"));
    let mut saw =
        |name: Name, owner: Option<&str>, version: &str| names(copies.saw(KIND, &name, || seen(owner, version)));
    assert_eq!(saw(at("x", "a"), None, "1"), ["a", "b"]);
    assert_eq!(saw(at("x", "a"), None, "2"), [""; 0], "a status");
    assert_eq!(saw(at("x", "other"), None, "1"), [""; 0]);
    assert_eq!(saw(at("x", "a"), Some("c"), "3"), ["a", "b", "c"]);
    assert_eq!(saw(at("y", "c"), Some("c"), "1"), ["c"]);
    assert_eq!(saw(at("y", "z"), Some("gone"), "1"), [""; 0]);
    let strays = |copies: &Copies| copies.around(&id("c")).strays.into_keys().collect::<Vec<_>>();
    assert_eq!(strays(&copies), [at("x", "a"), at("y", "c")]);
    assert_eq!(names(copies.gone(KIND, &at("x", "a"))), ["a", "b", "c"]);
    assert_eq!(copies.around(&id("a")).places["x"], Place::Left("u".to_owned()));
    assert_eq!(names(copies.gone(KIND, &at("x", "a"))), [""; 0]);
    copies.prune();
    assert!(copies.around(&id("a")).places.is_empty());
    assert_eq!(strays(&copies), [at("y", "c")]);
    // What came before its copier is known to it.
    copies.put(&of_team("gone", "x"));
    assert_eq!(copies.around(&id("gone")).strays.into_keys().collect::<Vec<_>>(), [at("y", "z")]);
    assert_eq!(
        copies.saw(CopierKind::ClusterPushSecret, &at("x", "a"), || unreachable!("not looked after")),
        [].into()
    );
}

#[test]
fn finalizers_are_found_in_both_forms_and_only_those_of_this_very_one() {
    let mut copies = copies();
    let long = "c".repeat(60);
    let [_, cut] = keyferry_crds::names::namespace_finalizers(&long);
    let [plain, _] = keyferry_crds::names::namespace_finalizers("a");
    let others = "externalsecrets.external-secrets.io/ces-other".to_owned();
    copies.put(&of_team("a", "a"));
    let held = [plain.clone(), cut.clone(), others, "kubernetes".to_owned()];
    assert_eq!(names(copies.put_namespace(&namespace("x", json!({}), &held))), ["a"]);
    copies.put(&of_team(&long, "a"));
    assert_eq!(copies.around(&id("a")).held, [("x".to_owned(), vec![plain])].into());
    assert_eq!(copies.around(&id(&long)).held, [("x".to_owned(), vec![cut])].into());
    copies.put_namespace(&namespace("x", json!({}), &[]));
    assert!(copies.around(&id("a")).held.is_empty() && copies.held.is_empty());
    copies.remove(&id("a"));
    copies.remove(&id(&long));
    assert!(copies.by_finalizer.is_empty() && copies.by_copy_name.is_empty());
}

#[test]
fn of_what_is_no_copy_it_is_known_that_it_is_there() {
    let mut copies = copies();
    copies.put_namespace(&namespace("x", json!({"team": "a"}), &[]));
    copies.put(&of_team("a", "a"));
    let place = |copies: &Copies| copies.around(&id("a")).places.remove("x");
    let taken = Some(Place::Taken(Seen::of_nobody()));
    assert_eq!(names(copies.saw(KIND, &at("x", "a"), || seen(None, "1"))), ["a"]);
    assert_eq!(place(&copies), taken);
    assert_eq!(names(copies.saw(KIND, &at("x", "a"), || seen(None, "2"))), [""; 0]);
    assert_eq!(names(copies.saw(KIND, &at("x", "unwanted"), || seen(None, "1"))), [""; 0]);
    assert!(copies.places.is_empty(), "{:?}", copies.places);
    // It becomes a copy, and none again.
    assert_eq!(names(copies.saw(KIND, &at("x", "a"), || seen(Some("a"), "3"))), ["a"]);
    assert_eq!(place(&copies), Some(Place::Taken(seen(Some("a"), "3"))));
    assert_eq!(names(copies.saw(KIND, &at("x", "a"), || seen(None, "4"))), ["a"]);
    assert_eq!(place(&copies), taken);
    assert_eq!(names(copies.listed(KIND, &HashSet::from([at("x", "a")]))), [""; 0]);
    assert_eq!(names(copies.listed(KIND, &HashSet::new())), ["a"], "it has gone while nobody watched");
    assert_eq!(place(&copies), None);
    copies.saw(KIND, &at("x", "a"), || seen(None, "5"));
    assert_eq!((names(copies.gone(KIND, &at("x", "a"))), place(&copies)), (vec!["a".to_owned()], None));
    copies.saw(KIND, &at("x", "a"), || seen(Some("a"), "6"));
    assert_eq!(names(copies.listed(KIND, &HashSet::new())), ["a"]);
    assert_eq!(place(&copies), Some(Place::Left("u".to_owned())));
}
