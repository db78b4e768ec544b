//! What an object from before the schema's rules may hold is found, wherever it stands.

use keyferry_builders::es;
use keyferry_limits::Limit;
use serde_json::{Value, json};

use super::*;
use crate::spec;

/// Puts `text` at each place of a spec where a name goes into a path of the API.
fn places(text: &str) -> Vec<(&'static str, Value)> {
    let generator = |field: &str, text: &str| {
        let mut generator =
            json!({"apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "Fake", "name": "f"});
        generator[field] = json!(text);
        json!({"dataFrom": [{"sourceRef": {"generatorRef": generator}}]})
    };
    let own = json!({"storeRef": {"name": text}});
    let manifest = |field: &str| {
        let mut manifest = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        manifest[field] = json!(text);
        json!({"target": {"manifest": manifest}})
    };
    let from = |field: &str| json!({"target": {"template": {"templateFrom": [{field: {"name": text}}]}}});
    vec![
        ("spec.secretStoreRef.name", json!({"secretStoreRef": {"name": text}})),
        (
            "spec.data[0].sourceRef.storeRef.name",
            json!({"data": [{"secretKey": "a", "remoteRef": {"key": "k"}, "sourceRef": own}]}),
        ),
        ("spec.dataFrom[0].sourceRef.storeRef.name", json!({"dataFrom": [{"find": {}, "sourceRef": own}]})),
        ("spec.dataFrom[0].sourceRef.generatorRef.apiVersion", generator("apiVersion", text)),
        ("spec.dataFrom[0].sourceRef.generatorRef.kind", generator("kind", text)),
        ("spec.dataFrom[0].sourceRef.generatorRef.name", generator("name", text)),
        ("spec.target.name", json!({"target": {"name": text}})),
        ("spec.target.manifest.apiVersion", manifest("apiVersion")),
        ("spec.target.manifest.kind", manifest("kind")),
        ("spec.target.template.templateFrom[0].configMap.name", from("configMap")),
        ("spec.target.template.templateFrom[0].secret.name", from("secret")),
    ]
}

#[test]
fn what_would_lead_elsewhere_is_refused_at_every_place() {
    let group = "generators.external-secrets.io";
    let fakes = format!("{group}/v1alpha1/namespaces/other/fakes/theirs?");
    for text in ["../x", "a/b", "a?b", "a%2f", "..", "a#", fakes.as_str(), "a b"] {
        for (at, spec) in places(text) {
            let problems = spec::problems(&es(spec));
            assert!(
                problems.iter().any(|problem| problem.starts_with(&format!("{at} {text:?} is no "))),
                "{text:?} at {at}: {problems:?}"
            );
        }
    }
}

#[test]
fn names_that_are_some_pass() {
    for (text, fits) in
        [("a-b.c", ["name", "name"]), ("Kind", ["kind", "kind"]), ("v1beta1", ["apiVersion", "apiVersion"])]
    {
        for (at, spec) in places(text).into_iter().filter(|(at, _)| fits.iter().any(|field| at.ends_with(field))) {
            assert_eq!(bad_names(&es(spec)), Vec::<String>::new(), "{text:?} at {at}");
        }
    }
}

#[test]
fn as_many_as_the_limit_pass_and_one_more_does_not() {
    let many = |count: u64, item: Value| vec![item; usize::try_from(count).unwrap()];
    let long = |count: u64| "é".repeat(usize::try_from(count).unwrap());
    let keys = |count: u64| (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    let data = json!({"secretKey": "a", "remoteRef": {"key": "k"}});
    let rewrite = |change: Value| json!({"dataFrom": [{"extract": {"key": "k"}, "rewrite": change}]});
    let template = |template: Value| json!({"target": {"template": template}});
    let windows = |window: Value| json!({"syncWindows": {"kind": "allow", "windows": window}});
    type Spec<'a> = Box<dyn Fn(u64) -> Value + 'a>;
    let cases: Vec<(&Limit, Spec<'_>)> = vec![
        (&limits::DATA_ENTRIES, Box::new(|n| json!({"data": many(n, data.clone())}))),
        (&limits::DATA_FROM_ENTRIES, Box::new(|n| json!({"dataFrom": many(n, json!({"extract": {"key": "k"}}))}))),
        (&limits::REFERENCE_LENGTH, Box::new(|n| json!({"data": [{"remoteRef": {"key": long(n)}}]}))),
        (&limits::REFERENCE_LENGTH, Box::new(|n| json!({"data": [{"remoteRef": {"property": long(n)}}]}))),
        (&limits::REFERENCE_LENGTH, Box::new(|n| json!({"dataFrom": [{"extract": {"version": long(n)}}]}))),
        (&limits::REFERENCE_LENGTH, Box::new(|n| json!({"dataFrom": [{"find": {"path": long(n)}}]}))),
        (&limits::PATTERN_LENGTH, Box::new(|n| json!({"dataFrom": [{"find": {"name": {"regexp": long(n)}}}]}))),
        (&limits::FIND_TAGS, Box::new(|n| json!({"dataFrom": [{"find": {"tags": keys(n)}}]}))),
        (&limits::REWRITES, Box::new(|n| rewrite(json!(many(n, json!({"regexp": {}})))))),
        (&limits::PATTERN_LENGTH, Box::new(|n| rewrite(json!([{"regexp": {"source": long(n)}}])))),
        (&limits::RENAME_LENGTH, Box::new(|n| rewrite(json!([{"regexp": {"target": long(n)}}])))),
        (&limits::RENAME_LENGTH, Box::new(|n| rewrite(json!([{"transform": {"template": long(n)}}])))),
        (&limits::PRIORITIES, Box::new(|n| rewrite(json!([{"merge": {"priority": many(n, json!("a"))}}])))),
        (&limits::SYNC_WINDOWS, Box::new(|n| windows(json!(many(n, json!({"schedule": "@daily"})))))),
        (&limits::WORD_LENGTH, Box::new(|n| windows(json!([{"schedule": long(n)}])))),
        (&limits::WORD_LENGTH, Box::new(|n| windows(json!([{"duration": long(n)}])))),
        (&limits::TEMPLATE_KEYS, Box::new(|n| template(json!({"data": keys(n)})))),
        (&limits::TEMPLATE_KEYS, Box::new(|n| template(json!({"metadata": {"annotations": keys(n)}})))),
        (&limits::TEMPLATE_KEYS, Box::new(|n| template(json!({"metadata": {"labels": keys(n)}})))),
        (
            &limits::TEMPLATE_FINALIZERS,
            Box::new(|n| template(json!({"metadata": {"finalizers": many(n, json!("a"))}}))),
        ),
        (&limits::WORD_LENGTH, Box::new(|n| template(json!({"type": long(n)})))),
        (&limits::TEMPLATE_SOURCES, Box::new(|n| template(json!({"templateFrom": many(n, json!({}))})))),
        (
            &limits::TEMPLATE_SOURCES,
            Box::new(|n| template(json!({"templateFrom": [{"secret": {"items": many(n, json!({"key": "a"}))}}]}))),
        ),
    ];
    for (limit, spec) in cases {
        assert_eq!(excesses(&es(spec(limit.most))), Vec::<String>::new(), "{limit}");
        let found = excesses(&es(spec(limit.most + 1)));
        assert!(found.len() == 1 && found[0].ends_with(&format!(": {limit}")), "{limit}: {found:?}");
        assert_eq!(spec::problems(&es(spec(limit.most + 1))), found, "{limit}");
    }
}

#[test]
fn conditions_of_stores_are_bounded_before_a_pattern_is_compiled() {
    let many = |count: u64, item: Value| vec![item; usize::try_from(count).unwrap()];
    let patterns = |patterns: Value| json!([{"namespaceRegexes": patterns}]);
    type Conditions<'a> = Box<dyn Fn(u64) -> Value + 'a>;
    let cases: Vec<(&Limit, Conditions<'_>)> = vec![
        (&limits::STORE_CONDITIONS, Box::new(|n| json!(many(n, json!({}))))),
        (&limits::CONDITION_NAMESPACES, Box::new(|n| json!([{"namespaces": many(n, json!("a"))}]))),
        (&limits::CONDITION_PATTERNS, Box::new(|n| patterns(json!(many(n, json!("a")))))),
        (&limits::PATTERN_LENGTH, Box::new(|n| patterns(json!(["a".repeat(usize::try_from(n).unwrap())])))),
    ];
    for (limit, conditions) in cases {
        let store = |n: u64| {
            let spec = json!({"provider": {"fake": {}}, "conditions": conditions(n)});
            crate::store::Store::cluster(keyferry_builders::cluster_store(spec))
        };
        assert_eq!(store(limit.most).bad_regex(), None, "{limit}");
        let told = store(limit.most + 1).bad_regex();
        assert!(told.as_ref().is_some_and(|told| told.ends_with(&format!(": {limit}"))), "{limit}: {told:?}");
        assert!(!store(limit.most + 1).allows("a", &crate::data::StringMap::new()), "{limit}");
    }
}
