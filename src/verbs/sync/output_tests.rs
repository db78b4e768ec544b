use keyferry_builders::es;
use keyferry_provider_core::SecretBytes;
use serde_json::json;

use super::*;

fn named(namespace: &str, name: &str, target: &str) -> ExternalSecret {
    let mut es = es(json!({"target": {"name": target}}));
    (es.metadata.namespace, es.metadata.name) = (Some(namespace.to_owned()), Some(name.to_owned()));
    es
}

fn told(by_namespace: bool, format: Format, all: &[ExternalSecret]) -> Vec<String> {
    let form = Form { format, by_namespace, access: Access::default(), tells: false };
    let places = places(all, &form);
    places.into_values().map(|place| place.map_or_else(|why| why.into_string(), |place| place.mark())).collect()
}

#[test]
fn each_place_is_for_one() {
    let all = [named("a", "x", "app"), named("b", "y", "app"), named("b", "z", "other")];
    let told_together = told(false, Format::Files, &all);
    assert_eq!((told_together[0].as_str(), told_together[2].as_str()), ("app", "other"));
    assert!(told_together[1].contains("ExternalSecret a/x") && told_together[1].contains("--by-namespace"));
    assert_eq!(told(true, Format::Env, &all), ["a%app.env", "b%app.env", "b%other.env"]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for (namespace, target) in
        [("a", "../x"), ("a", "/etc/passwd"), ("a", "."), ("a", "x/y"), ("..", "x"), ("a/b", "x")]
    {
        let told = told(true, Format::Files, &[named(namespace, "e", target)]);
        assert!(told[0].starts_with("Kubernetes gives no such names"), "{namespace} {target}: {told:?}");
    }
}

#[test]
fn what_is_removed_stays_written_down_until_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = Arc::new(Root::open(folder.path(), Access::default()).unwrap());
    let place = Place { folder: None, name: "app.env".to_owned() };
    let contents = Contents::File(SecretBytes::from("A=1"));
    for tells in [false, true] {
        let form = Form { format: Format::Env, by_namespace: false, access: Access::default(), tells };
        let all = FileTargets { root: root.clone(), form, folder: Arc::default(), places: BTreeMap::new() };
        marks::write(&root, &place, &Mark { hash: hash(&contents), ..Mark::default() }).unwrap();
        all.at(&place).write(&contents, true, || Ok(())).unwrap();
        assert!(remove(&all, &place).unwrap());
        let mark = marks::read(&root, &place).unwrap();
        assert_eq!(mark.map(|mark| (mark.untold, mark.is_removed())), tells.then_some((true, true)));
        if tells {
            std::fs::write(folder.path().join("app.env"), "own").unwrap();
            assert!(!remove(&all, &place).unwrap() && folder.path().join("app.env").exists(), "it is somebody else's");
        }
    }
}
