use serde_json::json;

use super::*;
use crate::facts::{Identity, StoreName};
use crate::judge::tests::{empty, found as findings, sample, store};

fn names(spec: Value) -> Vec<&'static str> {
    found(&spec).into_iter().map(|(name, _)| name).collect()
}

fn with_deletion(spec: Value) -> Value {
    let mut spec = spec;
    spec["target"]["deletionPolicy"] = json!("Delete");
    spec
}

/// A rule, a spec that it is about, and specs that it is not about.
type Case = (&'static str, Value, Vec<Value>);

fn check<const N: usize>(cases: [Case; N]) {
    for (rule, spec, others) in cases {
        assert!(names(spec.clone()).contains(&rule), "{rule}: {spec}");
        for other in others {
            assert!(!names(other.clone()).contains(&rule), "{rule}: {other}");
        }
    }
}

#[test]
fn each_rule_knows_what_is_asked_for() {
    let find = json!({"dataFrom": [{"find": {"name": {"regexp": "a"}}}]});
    let both = json!({"dataFrom": [{"find": {"name": {"regexp": "a"}, "tags": {"a": "b"}}}]});
    let version = json!({"data": [{"secretKey": "a", "remoteRef": {"key": "a", "version": "9"}}]});
    check([
        ("find-below-prefix", find.clone(), vec![json!({"dataFrom": [{"extract": {"key": "a"}}]})]),
        ("find-by-name-and-tags", both, vec![find.clone(), json!({"dataFrom": [{"find": {"tags": {"a": "b"}}}]})]),
        ("find-and-delete", with_deletion(find.clone()), vec![find.clone()]),
        ("find-that-may-find-nothing", find.clone(), vec![with_deletion(find.clone()), json!({"dataFrom": [{}]})]),
        (
            "find-by-path-where-there-is-none",
            json!({"dataFrom": [{"find": {"path": "a", "name": {"regexp": "a"}}}]}),
            vec![find.clone(), json!({"dataFrom": [{"find": {"path": ""}}]})],
        ),
        (
            "extract-of-what-may-be-empty",
            json!({"dataFrom": [{"extract": {"key": "a"}}]}),
            vec![find, json!({"data": [{"remoteRef": {"key": "a"}}]})],
        ),
        (
            "nothing-asked-for",
            json!({"dataFrom": [{"sourceRef": {"storeRef": {"name": "s"}}, "extract": null}]}),
            vec![
                json!({}),
                json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "UUID", "name": "u"}}}]}),
                json!({"dataFrom": [{"sourceRef": {"storeRef": {"name": "s"}}}, {"find": {}}]}),
                json!({"data": [{"remoteRef": {"key": "a"}}], "dataFrom": [{"sourceRef": {"storeRef": {}}}]}),
            ],
        ),
        ("version-and-delete", with_deletion(version.clone()), vec![version.clone()]),
        ("version-that-may-be-missing", version.clone(), vec![with_deletion(version), json!({})]),
    ]);
}

#[test]
fn each_rule_knows_what_is_made_of_it() {
    let rewrite = |source: &str, target: &str| json!({"dataFrom": [{"extract": {"key": "a"}, "rewrite": [{"regexp": {"source": source, "target": target}}]}]});
    let template = |text: &str| json!({"target": {"template": {"data": {"a": text}}}});
    let interval = |text: &str| json!({"refreshInterval": text});
    check([
        (
            "delete-of-what-is-not-owned",
            with_deletion(json!({"target": {"creationPolicy": "Orphan"}})),
            vec![with_deletion(json!({})), json!({"target": {"creationPolicy": "Orphan"}})],
        ),
        ("rewrite-of-all-to-one", rewrite(".*_user", "user"), vec![rewrite("(.*)_user", "$1"), rewrite("^db_", "")]),
        (
            "rewrite-that-may-collide",
            rewrite("^[^_]+_(.*)$", "$1"),
            vec![rewrite("^db_(.*)$", "$1"), rewrite("^db_", "")],
        ),
        ("rewrite-that-may-collide", rewrite("^(db|app)_user$", "user"), vec![rewrite("^(?P<all>.*)$", "x-$all")]),
        ("rewrite-that-may-collide", rewrite("^(?:db|app)_(.*)$", "$1"), vec![rewrite("^.*$", "x-${0}")]),
        ("rewrite-that-may-collide", rewrite("^\\d_(a)$", "$1"), vec![rewrite("^a\\.b", "c")]),
        (
            "rewrite-that-may-collide",
            json!({"dataFrom": [{"find": {}, "rewrite": [{"transform": {"template": "{{ .value | lower }}"}}]}]}),
            vec![rewrite(".*_user", "user"), rewrite("^((a)|b)$", "$1")],
        ),
        (
            "rewrite-to-an-unknown-group",
            rewrite("(.*)", "$1_X"),
            vec![rewrite("(.*)", "${1}_X"), rewrite("(.*)", "X_$1-a")],
        ),
        (
            "property-that-may-be-a-key",
            json!({"data": [{"remoteRef": {"key": "a", "property": "x*y"}}]}),
            vec![json!({"data": [{"remoteRef": {"key": "a*", "property": "x.y"}}]})],
        ),
        ("function-that-fails-into-the-value", template("{{ .a | b64dec }}"), vec![template("{{ .a | b64enc }}")]),
        (
            "short-interval",
            interval("500ms"),
            vec![
                interval("1s"),
                interval("0"),
                interval("0ms"),
                interval("1m500ms"),
                interval("1500ms"),
                interval("1h"),
                json!({}),
            ],
        ),
        (
            "target-of-the-cluster",
            json!({"target": {"template": {"type": "helm.sh/release.v1"}}}),
            vec![json!({"target": {"template": {"type": "kubernetes.io/tls"}}})],
        ),
        ("fail-in-a-template", template("{{ fail \"no\" }}"), vec![template("{{ .failover }}")]),
    ]);
    assert_eq!(names(json!({"data": "odd", "dataFrom": {}, "target": []})), [] as [&str; 0]);
}

#[test]
fn templates_are_found_wherever_they_stand() {
    let literal = json!({"target": {"template": {"templateFrom": [{"literal": "{{ .a | hexdec }}"}]}}});
    let transform = json!({"dataFrom": [{"rewrite": [{"transform": {"template": "{{ .value | b32dec }}"}}]}]});
    for spec in [literal, transform] {
        assert!(names(spec).contains(&"function-that-fails-into-the-value"));
    }
}

#[test]
fn which_store_is_asked_counts_where_it_matters() {
    let spec = json!({
        "secretStoreRef": {"name": "it"},
        "dataFrom": [{"find": {}}, {"find": {}}, {"find": {}, "sourceRef": {"storeRef": {"name": "other"}}}],
    });
    let stores: Vec<&str> =
        found(&spec).iter().filter_map(|(_, store)| store.map(|store| text(store, "/name"))).collect();
    assert_eq!(stores, ["it", "other"]);

    let name = StoreName { namespace: Some("a".to_owned()), name: "it".to_owned() };
    let mut cluster = empty();
    cluster.external_secrets.different.insert(("find-below-prefix", Some(name.clone())), sample(&["a/b"]));
    let told = |cluster: &Cluster| findings(cluster).iter().filter(|f| f.code == "behaves-differently").count();
    assert_eq!(told(&cluster), 0, "the store is not there");
    cluster.stores.push(store(Some("a"), "vault", Identity::Own));
    assert_eq!(told(&cluster), 0, "it has no prefix");
    cluster.stores[0].prefixed = true;
    let all = findings(&cluster);
    let finding = all.iter().find(|finding| finding.code == "behaves-differently").unwrap();
    assert_eq!((finding.count, finding.objects.as_slice()), (1, &["a/b".to_owned()][..]));
    assert!(finding.summary.starts_with("1 ExternalSecret that search"), "{}", finding.summary);
}

#[test]
fn each_rule_has_a_name_of_its_own_and_says_what_follows() {
    let names: std::collections::BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len());
    assert!(RULES.iter().all(|rule| !rule.so.is_empty() && !rule.what.is_empty()));
}

#[test]
fn groups_that_a_pattern_does_not_have() {
    for (source, target, is_unknown) in [
        ("(.*)", "$1", false),
        ("(.*)", "$0", false),
        ("(.*)", "${1}_X", false),
        ("(.*)", "$1-X", false),
        ("(.*)", "$$1_X", false),
        ("(.*)", "cost: $ 5 ${", false),
        ("(.*)", "$$$1_X", true),
        ("(.*)", "$1_X", true),
        ("(.*)", "$1X", true),
        ("(.*)", "a/$1\u{e9}", true),
        ("(.*)", "${2}", true),
        ("(.*)", "$2", true),
        ("(.*)", "$01", true),
        (".*", "$1", true),
        ("(?:.*)", "$1", true),
        ("(?i)(.*)", "$1", false),
        (r"\((.*)\)", "$2", true),
        ("[(](.*)[)]", "$2", true),
        ("[](](.*)", "$2", true),
        ("[^](](.*)", "$1", false),
        ("(a)(b(c))", "$3", false),
        ("(?P<team>.*)/(?<app>.*)", "$team/${app}", false),
        ("(?P<team>.*)/(?<app>.*)", "$2/$team", false),
        ("(?P<team>.*)", "$team_x", true),
        ("(?P<team>.*)", "$app", true),
        ("(a", "$1", false),
        ("\\", "x", false),
    ] {
        assert_eq!(names_unknown_group(source, target), is_unknown, "{source} {target}");
    }
}

#[test]
fn a_path_matters_where_the_store_has_none() {
    let name = StoreName { namespace: Some("a".to_owned()), name: "it".to_owned() };
    for (provider, told) in [("kubernetes", 1), ("fake", 1), ("vault", 0), ("aws", 0)] {
        let mut cluster = empty();
        let rule = ("find-by-path-where-there-is-none", Some(name.clone()));
        cluster.external_secrets.different.insert(rule, sample(&["a/b"]));
        cluster.stores.push(store(Some("a"), provider, Identity::Own));
        let found = findings(&cluster).iter().filter(|f| f.code == "behaves-differently").count();
        assert_eq!(found, told, "{provider}");
    }
}
