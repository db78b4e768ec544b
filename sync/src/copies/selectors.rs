//! What is wrong with a selector of namespaces. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::told;
use crate::told::{Spec, Told};

/// What Kubernetes would not take of a selector. One that is wrong may say NotIn, and select everything.
pub fn fault(selector: &LabelSelector) -> Option<Told> {
    let bad_label = |key: &str, value: &str| {
        if !is_key(key) {
            Some(told!("{} is no name of a label", Spec(key)))
        } else if !is_value(value) {
            Some(told!("{} is no value of a label", Spec(value)))
        } else {
            None
        }
    };
    let by_labels = selector.match_labels.iter().flatten().find_map(|(key, value)| bad_label(key, value));
    by_labels.or_else(|| selector.match_expressions.iter().flatten().find_map(|expression| bad(expression, bad_label)))
}

fn bad(expression: &LabelSelectorRequirement, label: impl Fn(&str, &str) -> Option<Told>) -> Option<Told> {
    let values = expression.values.as_deref().unwrap_or_default();
    let key = Spec(&expression.key);
    match expression.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => Some(told!("the operator of {} needs values", key)),
        "Exists" | "DoesNotExist" if !values.is_empty() => Some(told!("the operator of {} takes no values", key)),
        "In" | "NotIn" => values.iter().find_map(|value| label(&expression.key, value)),
        "Exists" | "DoesNotExist" => label(&expression.key, ""),
        other => Some(told!("{} is no operator: use In, NotIn, Exists or DoesNotExist", Spec(other))),
    }
}

fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_domain = |prefix: &str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        !prefix.is_empty() && prefix.len() <= 253 && prefix.chars().all(is_part)
    };
    prefix.is_none_or(is_domain) && !name.is_empty() && is_value(name)
}

fn is_value(value: &str) -> bool {
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && ends(value.chars().next())
        && ends(value.chars().next_back())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn selector(value: Value) -> LabelSelector {
        serde_json::from_value(value).unwrap()
    }

    fn expression(operator: &str, values: Value) -> Value {
        json!({"matchExpressions": [{"key": "team", "operator": operator, "values": values}]})
    }

    #[test]
    fn what_kubernetes_would_refuse_is_a_fault() {
        for (written, cause) in [
            (json!({"matchLabels": {"a b": "x"}}), "no name"),
            (json!({"matchLabels": {"Up/a": "x"}}), "no name"),
            (json!({"matchLabels": {"a": "x y"}}), "no value"),
            (json!({"matchLabels": {"a": "-x"}}), "no value"),
            (expression("NotIn", json!(["x y"])), "no value"),
            (expression("NotIn", json!([])), "needs values"),
            (expression("Exists", json!(["a"])), "takes no values"),
            (expression("Is", json!(["a"])), "no operator"),
        ] {
            let told = fault(&selector(written.clone())).unwrap_or_else(|| panic!("{written}"));
            assert!(told.as_str().contains(cause), "{written}: {told}");
        }
        for good in [
            json!({}),
            json!({"matchLabels": {"kubernetes.io/metadata.name": "team-1", "empty": ""}}),
            expression("In", json!(["a", "b_c.d"])),
            expression("DoesNotExist", json!(null)),
        ] {
            assert_eq!(fault(&selector(good.clone())), None, "{good}");
        }
    }
}
