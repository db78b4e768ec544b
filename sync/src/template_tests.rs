use serde_json::{Value, json};

use super::*;
use crate::engine::Engine;

fn es(template: Value) -> ExternalSecret {
    let mut es = keyferry_builders::es(json!({"target": {"template": template}}));
    es.metadata.labels = Some([("team".to_owned(), "x".to_owned())].into());
    es
}

fn data(entries: &[(&str, &str)]) -> Data {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
}

fn made(template: Value) -> Result<Content, String> {
    let source = |kind, key: &str, text: &str| {
        let object = Dependency { kind, namespace: "ns".into(), name: "t".into() };
        (object, [(key.to_owned(), SecretBytes::from(text))].into())
    };
    let sources =
        [source(Kind::ConfigMap, "cfg", "user: {{ .a }}"), source(Kind::Secret, "cfg", "{{ .a }}: 1\nflag: true")];
    let engine = Engine::new("{{", "}}");
    let fetched = data(&[("a", "alpha"), ("b", "beta")]);
    content(&es(template), fetched, &sources.into(), &Means::of_tests(&engine, &Budget::default()))
        .map_err(|failure| failure.to_string())
}

fn text(content: &Content) -> Vec<(&str, &str)> {
    content.data.iter().map(|(key, value)| (key.as_str(), value.expose_str().unwrap())).collect()
}

#[test]
fn fetched_data_stays_where_the_template_makes_none_or_merges() {
    assert_eq!(text(&made(json!({})).unwrap()), [("a", "alpha"), ("b", "beta")]);
    let replaced = made(json!({"data": {"out": "{{ .a | upper }}"}})).unwrap();
    assert_eq!(text(&replaced), [("out", "ALPHA")]);
    assert!(replaced.labels.is_empty(), "with a template none of the ExternalSecret's own");
    let merged = made(json!({"mergePolicy": "Merge", "data": {"a": "new"}})).unwrap();
    assert_eq!(text(&merged), [("a", "new"), ("b", "beta")]);
}

#[test]
fn what_was_fetched_goes_into_a_secret_under_keys_that_it_may_have() {
    let fetched = || data(&[("é", "1")]);
    let engine = Engine::new("{{", "}}");
    let made =
        |es: &ExternalSecret| content(es, fetched(), &Sources::new(), &Means::of_tests(&engine, &Budget::default()));
    let templated = made(&es(json!({"data": {"e": "{{ index . \"é\" }}"}}))).unwrap();
    assert_eq!(text(&templated), [("e", "1")]);
    for template in [json!(null), json!({}), json!({"mergePolicy": "Merge", "data": {"e": "2"}})] {
        let failure = made(&es(template)).unwrap_err().to_string();
        assert!(failure.starts_with("could not update secret: field \"é\" can't be a key"), "{failure}");
    }
}

#[test]
fn template_from_in_order_and_data_over_all() {
    let values = |target: &str| json!({"configMap": {"name": "t", "items": [{"key": "cfg"}]}, "target": target});
    let pairs = json!({"secret": {"name": "t", "items": [{"key": "cfg", "templateAs": "KeysAndValues"}]}});
    let literal = json!({"literal": "cfg: late\nz: \"{{ .b }}\"\nnothing:"});
    let content = made(json!({"templateFrom": [values("Data"), pairs, literal], "data": {"z": "last"}})).unwrap();
    assert_eq!(text(&content), [("alpha", "1"), ("cfg", "late"), ("flag", "true"), ("nothing", ""), ("z", "last")]);
    let content =
        made(json!({"templateFrom": [values("labels")], "metadata": {"annotations": {"n": "v-{{ .b }}"}}})).unwrap();
    assert_eq!(content.labels["cfg"], "user: alpha");
    assert_eq!(content.annotations["n"], "v-beta");
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_without_data() {
    for (template, says) in [
        (json!({"data": {"x": "{{ .nope }}"}}), "spec.target.template.data[\"x\"]"),
        (json!({"data": {"x": "{{ if }}"}}), "spec.target.template.data[\"x\"]"),
        (json!({"data": {"x": "{{ fail .a }}"}}), "spec.target.template.data[\"x\"]"),
        (json!({"data": {"x/y": "1"}}), "can't be a key of a Secret"),
        (
            json!({"templateFrom": [{"configMap": {"name": "t", "items": [{"key": "gone"}]}}]}),
            "ConfigMap \"t\" has no key \"gone\"",
        ),
        (json!({"templateFrom": [{"literal": "- a"}]}), "is not a YAML map"),
        (json!({"templateFrom": [{"literal": "a: [{{ .b }}]"}]}), "is not a YAML map"),
        (json!({"templateFrom": [{"literal": "a: b", "target": "Spec"}]}), "use Data, Labels or Annotations"),
        (json!({"type": "bootstrap.kubernetes.io/token"}), "lets nodes join"),
        (
            json!({"type": "kubernetes.io/service-account-token", "metadata": {"annotations": {"kubernetes.io/service-account.name": "x"}}}),
            "fills with a ServiceAccount's token",
        ),
    ] {
        let error = made(template.clone()).unwrap_err();
        assert!(error.starts_with("could not update secret: ") && error.contains(says), "{template}: {error}");
        assert!(!error.contains("alpha") && !error.contains("beta"), "{error}");
    }
}
