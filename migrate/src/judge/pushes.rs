//! What PushSecrets do differently here: one table of rules over their specs.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Finding, Severity, number};
use crate::facts::{Cluster, Sample};

/// One difference.
struct Rule {
    /// Its name.
    name: &'static str,
    applies: fn(&Value) -> bool,
    /// After `3 PushSecrets`.
    what: &'static str,
    so: &'static str,
    then: &'static str,
}

/// All of them.
const RULES: [Rule; 3] = [
    Rule {
        name: "push-of-every-secret",
        applies: |spec| !is_named(spec) && selector(spec).is_some_and(says_nothing),
        what: "whose selector is empty",
        so: "it is refused here; in External Secrets Operator every Secret of the namespace is pushed",
        then: "say in spec.selector.secret.selector which labels they must have",
    },
    Rule {
        name: "push-by-name-and-labels",
        applies: |spec| is_named(spec) && selector(spec).is_some(),
        what: "that name a Secret and select others",
        so: "it is refused here; External Secrets Operator passes one of the two over",
        then: "keep the one of spec.selector.secret.name and selector that counts until now",
    },
    Rule {
        name: "push-of-two-to-one-place",
        applies: |spec| {
            let mut places = BTreeSet::new();
            entries(spec, "data").any(|entry| !places.insert(place(entry)))
        },
        what: "of which two entries have one name in the status",
        so: "it is an error here, which names both; in External Secrets Operator the last one stays, and the other is forgotten",
        then: "give each a place of its own: the name is remoteKey/property",
    },
];

/// The names of the rules that a spec is about.
pub fn found(spec: &Value) -> Vec<&'static str> {
    RULES.iter().filter(|rule| (rule.applies)(spec)).map(|rule| rule.name).collect()
}

/// Names the objects that each rule is about.
pub fn judge(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for rule in &RULES {
        let mut all = Sample::default();
        let about = cluster.push_secrets.iter().flatten().filter(|push| push.different.contains(&rule.name));
        about.for_each(|push| all.add(|| format!("{}/{}", push.namespace, push.name)));
        if all.count > 0 {
            let summary = format!("{} {}", number(all.count, "PushSecret"), rule.what);
            let finding = Finding::new("behaves-differently", Severity::Attention, summary).sample(&all).so(rule.so);
            findings.push(finding.then(rule.then));
        }
    }
}

fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn is_named(spec: &Value) -> bool {
    spec.pointer("/selector/secret/name").and_then(Value::as_str).is_some_and(|name| !name.is_empty())
}

fn selector(spec: &Value) -> Option<&Value> {
    spec.pointer("/selector/secret/selector").filter(|selector| selector.is_object())
}

fn says_nothing(selector: &Value) -> bool {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    labels.is_none_or(|labels| labels.is_empty()) && entries(selector, "matchExpressions").next().is_none()
}

/// What the status calls an entry.
fn place(entry: &Value) -> String {
    let text = |pointer| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match (text("/match/remoteRef/remoteKey"), text("/match/remoteRef/property")) {
        (key, "") => key.to_owned(),
        (key, property) => format!("{key}/{property}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::facts::PushSecret;
    use crate::judge::tests::{empty, found as findings};

    #[test]
    fn each_rule_knows_what_is_asked_for() {
        let secret = |secret: Value| json!({"selector": {"secret": secret}});
        let data = |places: &[(&str, &str)]| {
            let entry = |(key, property): &(&str, &str)| json!({"match": {"remoteRef": {"remoteKey": key, "property": property}}});
            json!({"data": places.iter().map(entry).collect::<Vec<_>>()})
        };
        let labels = json!({"matchLabels": {"a": "b"}});
        for (spec, rules) in [
            (secret(json!({"selector": {}})), vec!["push-of-every-secret"]),
            (secret(json!({"selector": {"matchLabels": {}, "matchExpressions": []}})), vec!["push-of-every-secret"]),
            (secret(json!({ "selector": labels })), vec![]),
            (secret(json!({"name": "a", "selector": labels})), vec!["push-by-name-and-labels"]),
            (secret(json!({"name": "a"})), vec![]),
            (json!({"selector": {"generatorRef": {}}}), vec![]),
            (data(&[("a/b", ""), ("a", "b")]), vec!["push-of-two-to-one-place"]),
            (data(&[("a", "b"), ("a", "c"), ("a", "")]), vec![]),
        ] {
            assert_eq!(found(&spec), rules, "{spec}");
        }
    }

    #[test]
    fn whom_a_rule_is_about_is_named() {
        let mut cluster = empty();
        let push = PushSecret {
            namespace: "a".to_owned(),
            name: "it".to_owned(),
            deletes: false,
            stores: BTreeSet::new(),
            selects: false,
            held: false,
            different: vec!["push-of-every-secret"],
        };
        cluster.push_secrets = Some(vec![push]);
        let all = findings(&cluster);
        let finding = all.iter().find(|finding| finding.code == "behaves-differently").expect("it is told");
        assert_eq!((finding.count, finding.objects.as_slice()), (1, &["a/it".to_owned()][..]));
        assert!(finding.summary.starts_with("1 PushSecret whose selector is empty"), "{}", finding.summary);
    }
}
