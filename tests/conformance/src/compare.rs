//! What differs between the state that a case expects and the one that is there.

use serde_json::Value;

/// All differences, each as `path: expected ..., got ...`; empty where all is as expected.
///
/// Everything listed must be equal and nothing more may exist, except that the message of a condition may go on.
pub fn differences(expected: &Value, got: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", expected, got, &mut found);
    found
}

fn compare(path: &str, expected: &Value, got: &Value, found: &mut Vec<String>) {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            for (key, value) in expected {
                compare(&join(path, key), value, got.get(key).unwrap_or(&Value::Null), found);
            }
            for (key, value) in got.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                compare(&join(path, key), &Value::Null, value, found);
            }
        }
        (Value::Array(expected), Value::Array(got)) => {
            for n in 0..expected.len().max(got.len()) {
                let of = |list: &[Value]| list.get(n).cloned().unwrap_or_default();
                compare(&format!("{path}[{n}]"), &of(expected), &of(got), found);
            }
        }
        (Value::String(expected), Value::String(got)) if path.ends_with(".message") && got.starts_with(expected) => {}
        (expected, got) if expected == got => {}
        (Value::Null, got) => found.push(format!("{path}: expected nothing, got {got}")),
        (expected, Value::Null) => found.push(format!("{path}: expected {expected}, got nothing")),
        (expected, got) => found.push(format!("{path}: expected {expected}, got {got}")),
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_is_fine() {
        let state = json!({"a": {"data": {"x": "1"}, "owners": [{"kind": "K"}]}});
        assert!(differences(&state, &state).is_empty());
    }

    #[test]
    fn what_is_other_missing_or_too_much_is_named() {
        let expected = json!({"a": {"data": {"x": "1", "y": "2"}}, "list": [1, 2]});
        let got = json!({"a": {"data": {"x": "3", "z": "4"}}, "list": [1], "b": {}});
        assert_eq!(
            differences(&expected, &got),
            [
                "a.data.x: expected \"1\", got \"3\"",
                "a.data.y: expected \"2\", got nothing",
                "a.data.z: expected nothing, got \"4\"",
                "list[1]: expected 2, got nothing",
                "b: expected nothing, got {}",
            ]
        );
    }

    #[test]
    fn a_message_may_go_on_and_nothing_else_may() {
        let condition = |field: &str, text: &str| json!({"conditions": [{field: text}]});
        assert!(differences(&condition("message", "could not"), &condition("message", "could not: why")).is_empty());
        assert_eq!(differences(&condition("message", "could not"), &condition("message", "can not")).len(), 1);
        assert_eq!(differences(&condition("reason", "Secret"), &condition("reason", "SecretSynced")).len(), 1);
    }
}
