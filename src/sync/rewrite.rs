//! `dataFrom[].rewrite`: other keys for what was found, or several JSON objects made into one. Pure.
//!
//! Operations run in the order they are listed. Where several keys become one, the last in alphabetical order of the
//! former keys wins: External Secrets Operator leaves it to chance.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use keyferry_crds::{MergeConflictPolicy, MergePriorityPolicy, MergeStrategy, Rewrite, RewriteMerge, RewriteRegexp};
use keyferry_provider_core::{SecretBuf, SecretBytes, json};
use keyferry_template::strconv;
use regex::Regex;

use super::render::Data;
use super::template::Engine;

/// Rewrites the keys of `found`. The error says which operation failed, and why.
pub fn rewrite(mut found: Data, operations: &[Rewrite], engine: &Engine, now: Timestamp) -> Result<Data, String> {
    for (n, operation) in operations.iter().enumerate() {
        let done = match (&operation.merge, &operation.regexp, &operation.transform) {
            (Some(operation), None, None) => merge(found, operation),
            (None, Some(operation), None) => regexp(found, operation),
            (None, None, Some(operation)) => transform(found, &operation.template, engine, now),
            _ => Err("set exactly one of regexp, transform and merge".to_owned()),
        };
        found = done.map_err(|problem| format!("rewrite[{n}]: {problem}"))?;
    }
    Ok(found)
}

/// Go's `$1`, `${1}` and `${name}` mean the same to both libraries.
fn regexp(found: Data, operation: &RewriteRegexp) -> Result<Data, String> {
    let source =
        Regex::new(&operation.source).map_err(|_| format!("{:?} is not a regular expression", operation.source))?;
    let renamed =
        found.into_iter().map(|(key, value)| (source.replace_all(&key, operation.target.as_str()).into_owned(), value));
    Ok(renamed.collect())
}

fn transform(found: Data, template: &str, engine: &Engine, now: Timestamp) -> Result<Data, String> {
    let renamed = found.into_iter().map(|(key, value)| Ok((engine.rename(template, &key, now)?, value)));
    renamed.collect()
}

/// One object of several. Those that priority does not name come first, in alphabetical order; then those it names,
/// in its order; later ones win.
fn merge(found: Data, operation: &RewriteMerge) -> Result<Data, String> {
    if let Some(absent) = operation.priority.iter().find(|key| !found.contains_key(*key))
        && operation.priority_policy == MergePriorityPolicy::Strict
    {
        return Err(format!(
            "merge.priority names {absent:?}, which was not found: set priorityPolicy IgnoreNotFound where that is fine"
        ));
    }
    let named: BTreeSet<&str> = operation.priority.iter().map(String::as_str).collect();
    let others = found.keys().filter(|key| !named.contains(key.as_str()));
    let order: Vec<&String> = others.chain(operation.priority.iter().filter(|key| found.contains_key(*key))).collect();
    let mut merged: BTreeMap<String, &serde_json::value::RawValue> = BTreeMap::new();
    for key in order {
        let fields = json::object(found[key].expose())
            .ok_or_else(|| format!("merge needs JSON objects, and the value of {key:?} is none"))?;
        for (field, value) in fields {
            let again = merged.insert(field.clone(), value).is_some();
            if again && operation.conflict_policy == MergeConflictPolicy::Error {
                return Err(format!(
                    "merge: more than one value has the field {field:?}: set conflictPolicy Ignore where a later one may win"
                ));
            }
        }
    }
    match operation.strategy {
        MergeStrategy::Extract | MergeStrategy::Unknown(_) => {
            Ok(merged.into_iter().map(|(field, value)| (field, again(value))).collect())
        }
        MergeStrategy::JSON if operation.into.is_empty() => {
            Err("merge.strategy JSON needs merge.into: the key for the object".to_owned())
        }
        MergeStrategy::JSON => {
            let object = compact(&merged);
            let mut kept = found.clone();
            kept.insert(operation.into.clone(), object);
            Ok(kept)
        }
    }
}

/// A value as Go writes it after reading it. Whole numbers keep their digits, which Go does not.
fn again(value: &serde_json::value::RawValue) -> SecretBytes {
    match value.get().as_bytes().first() {
        Some(b'{' | b'[') => json::canonical(value).unwrap_or_else(|| json::to_bytes(value)),
        Some(b'-' | b'0'..=b'9') => SecretBytes::from(number(value.get()).as_str()),
        _ => json::to_bytes(value),
    }
}

/// A number without an exponent, and with no more digits behind the point than tell it from others.
fn number(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(float) if text.contains(['.', 'e', 'E']) && float.is_finite() => {
            let mut out = Vec::new();
            strconv::float::format(&mut out, float, b'f', None);
            String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
        }
        _ => text.to_owned(),
    }
}

/// The fields as one compact JSON object.
fn compact(fields: &BTreeMap<String, &serde_json::value::RawValue>) -> SecretBytes {
    let mut out =
        SecretBuf::with_capacity(fields.iter().map(|(field, value)| field.len() + value.get().len() + 8).sum());
    out.push(b'{');
    for (n, (field, value)) in fields.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend(serde_json::Value::from(field.as_str()).to_string().as_bytes());
        out.push(b':');
        match value.get().as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => out.extend(number(value.get()).as_bytes()),
            _ => out.extend(json::compact(value).unwrap_or_default().expose()),
        }
    }
    out.push(b'}');
    out.into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(found: &[(&str, &str)], operations: Value) -> Result<Vec<(String, String)>, String> {
        let found = found.iter().map(|(key, value)| ((*key).to_owned(), SecretBytes::from(*value))).collect();
        let operations: Vec<Rewrite> = serde_json::from_value(operations).unwrap();
        let rewritten = rewrite(found, &operations, &Engine::new("<<", ">>"), Timestamp::UNIX_EPOCH)?;
        Ok(rewritten.into_iter().map(|(key, value)| (key, value.expose_str().unwrap().to_owned())).collect())
    }

    fn keys(found: &[(&str, &str)], operations: Value) -> Vec<String> {
        run(found, operations).unwrap().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn operations_run_in_order() {
        let operations = json!([
            {"regexp": {"source": "^app/(\\w+)$", "target": "${1}_app"}},
            {"transform": {"template": "{{ .value | upper }}{{ .nothing }}"}},
        ]);
        // The fixed delimiters hold here, whatever the flags say; a missing key prints as Go prints it.
        assert_eq!(keys(&[("app/a", "1"), ("b", "2")], operations), ["A_APP<no value>", "B<no value>"]);
    }

    #[test]
    fn of_keys_that_become_one_the_last_wins() {
        let operations = json!([{"regexp": {"source": ".*", "target": "k"}}]);
        assert_eq!(run(&[("a", "1"), ("b", "2")], operations).unwrap().pop().unwrap().1, "2");
    }

    #[test]
    fn merging() {
        let found = [("one", r#"{"a": 1, "b": "x"}"#), ("two", r#"{"b": "y", "c": {"z": 1.50, "a": "<"}}"#)];
        let conflict = run(&found, json!([{"merge": {}}])).unwrap_err();
        assert!(conflict.contains("more than one value has the field \"b\""), "{conflict}");
        let pairs = |operation: Value| run(&found, json!([{"merge": operation}])).unwrap();
        let text = |pairs: Vec<(String, String)>| {
            pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        let ignore = json!({"conflictPolicy": "Ignore"});
        assert_eq!(text(pairs(ignore)), r#"a=1 b=y c={"a":"\u003c","z":1.50}"#);
        let priority = json!({"conflictPolicy": "Ignore", "priority": ["one"]});
        assert_eq!(text(pairs(priority)), r#"a=1 b=x c={"a":"\u003c","z":1.50}"#);
        let into = json!({"conflictPolicy": "Ignore", "strategy": "JSON", "into": "all"});
        let all = pairs(into).into_iter().find(|(key, _)| key == "all").unwrap().1;
        assert_eq!(all, r#"{"a":1,"b":"y","c":{"a":"<","z":1.50}}"#);
        let numbers = [("n", r#"{"f":1.50,"e":1e5,"small":2.5e-7,"whole":12345678901234567890,"t":true,"nul":null}"#)];
        let text = text(run(&numbers, json!([{"merge": {}}])).unwrap());
        assert_eq!(text, "e=100000 f=1.5 nul= small=0.00000025 t=true whole=12345678901234567890");
        for (operation, says) in [
            (json!({"priority": ["gone"]}), "names \"gone\""),
            (json!({"strategy": "JSON", "conflictPolicy": "Ignore"}), "needs merge.into"),
        ] {
            assert!(run(&found, json!([{"merge": operation}])).unwrap_err().contains(says));
        }
        assert!(run(&[("p", "plain")], json!([{"merge": {}}])).unwrap_err().contains("needs JSON objects"));
        assert!(
            run(&[], json!([{"regexp": {"source": "(", "target": ""}}]))
                .unwrap_err()
                .contains("not a regular expression")
        );
    }
}
