//! More of something than the limits allow. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use keyferry_crds::SecretStoreSpec;
use keyferry_limits::{self as limits, Limit};
use serde_json::Value;

/// How many causes are looked for: more than are told.
pub const MOST: usize = 20;

/// Finds more items than the limit allows.
pub fn count(found: &mut Vec<String>, at: &str, items: usize, limit: &Limit) {
    if found.len() < MOST && items > limit.size() {
        found.push(format!("{at}: {limit}"));
    }
}

/// Finds a text that is longer than the limit allows.
pub fn length(found: &mut Vec<String>, at: &str, text: &str, limit: &Limit) {
    if found.len() < MOST && is_longer(text, limit) {
        found.push(format!("{at}: {limit}"));
    }
}

/// Whether a text is longer than the limit allows. Characters are counted, as the API server counts them, and only where there may be too many.
pub fn is_longer(text: &str, limit: &Limit) -> bool {
    text.len() > limit.size() && text.chars().count() > limit.size()
}

/// Finds more in a label selector than the limits allow.
pub fn selector(found: &mut Vec<String>, at: &str, selector: &LabelSelector) {
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    let labels = selector.match_labels.as_ref().map_or(0, |labels| labels.len());
    count(found, at, labels.max(expressions.len()), &limits::SELECTOR_TERMS);
    let values = expressions.iter().flat_map(|expression| &expression.values).map(Vec::len).sum();
    count(found, at, values, &limits::SELECTOR_VALUES);
}

/// What the spec of a provider of this name has more of than the limits allow, wherever in it.
pub fn of_provider(name: &str, spec: &Value) -> Option<String> {
    // The values of a store in its own spec are as many as there are.
    let excess = if name == "fake" { None } else { beyond(spec, &limits::PROVIDER_ENTRIES) };
    excess.map(|at| format!("spec.provider.{name}{at}: {}", limits::PROVIDER_ENTRIES))
}

/// Where there is a list or map of more entries.
fn beyond(value: &Value, limit: &Limit) -> Option<String> {
    match value {
        Value::Array(items) if items.len() > limit.size() => Some(String::new()),
        Value::Object(fields) if fields.len() > limit.size() => Some(String::new()),
        Value::Array(items) => {
            let mut found = items.iter().enumerate();
            found.find_map(|(n, item)| beyond(item, limit).map(|at| format!("[{n}]{at}")))
        }
        Value::Object(fields) => {
            fields.iter().find_map(|(field, value)| beyond(value, limit).map(|at| format!(".{field}{at}")))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// What the conditions of a store hold more of than the limits allow.
pub fn of_conditions(spec: &SecretStoreSpec) -> Option<String> {
    let mut found = Vec::new();
    count(&mut found, "spec.conditions", spec.conditions.len(), &limits::STORE_CONDITIONS);
    for (n, condition) in spec.conditions.iter().enumerate().take(limits::STORE_CONDITIONS.size()) {
        let at = format!("spec.conditions[{n}]");
        count(&mut found, &at, condition.namespaces.len(), &limits::CONDITION_NAMESPACES);
        count(&mut found, &at, condition.namespace_regexes.len(), &limits::CONDITION_PATTERNS);
        if let Some(by_labels) = &condition.namespace_selector {
            selector(&mut found, &format!("{at}.namespaceSelector"), by_labels);
        }
        for pattern in condition.namespace_regexes.iter().take(limits::CONDITION_PATTERNS.size()) {
            length(&mut found, &at, pattern, &limits::PATTERN_LENGTH);
        }
    }
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_ask_for_so_much() {
        let expression = |key: usize, values: usize| {
            let values: Vec<String> = (0..values).map(|n| format!("v{n}")).collect();
            json!({"key": format!("k{key}"), "operator": "NotIn", "values": values})
        };
        let expressions = |count, values| -> Value { (0..count).map(|key| expression(key, values)).collect() };
        let labels = |count: usize| -> Value {
            (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
        };
        for (written, limit) in [
            (json!({"matchLabels": labels(20), "matchExpressions": expressions(20, 50)}), None),
            (json!({"matchLabels": labels(21)}), Some("selector-terms")),
            (json!({"matchExpressions": expressions(21, 1)}), Some("selector-terms")),
            (json!({"matchExpressions": expressions(20, 51)}), Some("selector-values")),
            (json!({"matchExpressions": expressions(1, 1_001)}), Some("selector-values")),
        ] {
            let mut found = Vec::new();
            selector(&mut found, "spec", &serde_json::from_value(written).unwrap());
            let names = limit.map(|name| format!("(limit {name})"));
            assert_eq!(
                found.first().map(|told| names.as_ref().is_some_and(|name| told.contains(name))),
                limit.map(|_| true)
            );
        }
        let condition = json!({"namespaceSelector": {"matchExpressions": expressions(1, 1_001)}});
        let spec = json!({"provider": {"fake": {}}, "conditions": [condition]});
        let problem = of_conditions(&serde_json::from_value(spec).unwrap()).expect("it is too much");
        assert!(problem.starts_with("spec.conditions[0].namespaceSelector: "), "{problem}");
    }

    #[test]
    fn lists_and_maps_of_providers_have_so_many_entries() {
        let many = vec!["x"; 101];
        let map: serde_json::Map<String, Value> = (0..101).map(|n| (format!("h{n}"), json!("x"))).collect();
        for (name, spec, at) in [
            ("aws", json!({"additionalRoles": many}), "spec.provider.aws.additionalRoles: "),
            ("vault", json!({"headers": map}), "spec.provider.vault.headers: "),
            ("other", json!({"a": [{}, {"b": [many]}]}), "spec.provider.other.a[1].b[0]: "),
        ] {
            let problem = of_provider(name, &spec).expect("it is too much");
            assert!(problem.starts_with(at) && problem.contains("(limit provider-entries)"), "{problem}");
        }
        assert_eq!(of_provider("aws", &json!({"additionalRoles": many[1..]})), None);
        assert_eq!(of_provider("fake", &json!({"data": many})), None);
    }
}
