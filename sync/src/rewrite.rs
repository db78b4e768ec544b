//! `dataFrom[].rewrite`: other keys for what was found, or several JSON objects made into one. Pure.
//!
//! Operations run in the order they are listed. Where several keys become one and their values differ, that is an error,
//! since one of them would be lost: External Secrets Operator leaves to chance which.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use keyferry_crds::{MergeConflictPolicy, MergePriorityPolicy, MergeStrategy, Rewrite, RewriteMerge, RewriteRegexp};
use keyferry_go::{self as go, regexp, strconv};
use keyferry_provider_core::{SecretBuf, SecretBytes, json};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::data::{Data, json_cost};
use crate::engine::{Means, Text};
use crate::told;
use crate::told::{Name, Spec, Told};

/// No float is written longer without an exponent.
const LONGEST_NUMBER: usize = 352;

/// So many bytes of a pattern, or of a text that is copied, are walked in the time of a step.
const WALKED_IN_A_STEP: usize = 1 << 10;

/// Values under new names, each with the name that it came with: that is told where something is wrong, never what a
/// rewrite made of it.
#[derive(Default)]
pub struct Renamed(BTreeMap<String, (Source, SecretBytes)>);

/// The name that a value came with.
struct Source {
    name: String,
    /// Whether it is one in the store; that of a field that `merge` took out of a value after a rewrite is none.
    is_told: bool,
}

impl Source {
    fn tell(&self) -> Told {
        if self.is_told { told!("{}", Name(&self.name)) } else { "a key that an operation before made".into() }
    }
}

impl Renamed {
    fn of(found: Data, names: Names) -> Self {
        let is_told = matches!(names, Names::OfTheStore);
        let source = |name: &String| Source { name: name.clone(), is_told };
        Self(found.into_iter().map(|(name, value)| (name.clone(), (source(&name), value))).collect())
    }

    /// Puts a value under `name` that has the name `from` in its store. The error names the one that would be lost, and what
    /// is there already; of equal values none is lost.
    pub fn put(&mut self, name: String, from: &str, value: SecretBytes) -> Result<(), Told> {
        self.insert(name, Source { name: from.to_owned(), is_told: true }, value)
    }

    fn insert(&mut self, name: String, from: Source, value: SecretBytes) -> Result<(), Told> {
        match self.0.entry(name) {
            Entry::Vacant(free) => _ = free.insert((from, value)),
            Entry::Occupied(taken) if taken.get().1 == value => {}
            Entry::Occupied(taken) => {
                let first = taken.get().0.tell();
                return Err(told!("{} and {} become the same name, and their values differ", first, from.tell()));
            }
        }
        Ok(())
    }

    /// The values by their new names.
    pub fn into_data(self) -> Data {
        self.0.into_iter().map(|(name, (_, value))| (name, value)).collect()
    }

    fn rename(self, mut new_name: impl FnMut(&str, &Source) -> Result<String, Told>) -> Result<Self, Told> {
        let mut renamed = Self::default();
        for (name, (from, value)) in self.0 {
            let new = new_name(&name, &from)?;
            if new.is_empty() && !from.name.is_empty() {
                return Err(told!("{} is left without a name", from.tell()));
            }
            renamed.insert(new, from, value)?;
        }
        Ok(renamed)
    }
}

/// Rewrites the keys of `found`. The error says which operation failed, and why.
pub fn rewrite(found: Data, operations: &[Rewrite], means: &Means<'_>) -> Result<Data, Told> {
    rewrite_from(Names::OfTheStore, found, operations, means)
}

/// The same where a template made some of the keys: none of them is told.
pub fn rewrite_shaped(found: Data, operations: &[Rewrite], means: &Means<'_>) -> Result<Data, Told> {
    rewrite_from(Names::Shaped, found, operations, means)
}

fn rewrite_from(first: Names, found: Data, operations: &[Rewrite], means: &Means<'_>) -> Result<Data, Told> {
    let mut found = Renamed::of(found, first);
    for (n, operation) in operations.iter().enumerate() {
        let names = if n == 0 { first } else { Names::Made };
        let done = match (&operation.merge, &operation.regexp, &operation.transform) {
            (Some(operation), None, None) => {
                merge(found.into_data(), operation, names, means).map(|merged| Renamed::of(merged, names))
            }
            (None, Some(operation), None) => replace(found, operation, means),
            (None, None, Some(operation)) => transform(found, &operation.template, means),
            _ => Err("set exactly one of regexp, transform and merge".into()),
        };
        found = done.map_err(|problem| told!("rewrite[{}]: {}", n, problem))?;
    }
    Ok(found.into_data())
}

/// Where the names come from that an operation gets.
#[derive(Clone, Copy)]
enum Names {
    OfTheStore,
    /// `spec.template` made some of them: they are not told.
    Shaped,
    /// An operation before made them: they are not told.
    Made,
}

impl Names {
    fn tell(self, key: &str) -> Told {
        match self {
            Self::OfTheStore => told!("{}", Name(key)),
            Self::Shaped => "a key that spec.template made".into(),
            Self::Made => "a key that an operation before made".into(),
        }
    }
}

fn replace(found: Renamed, operation: &RewriteRegexp, means: &Means<'_>) -> Result<Renamed, Told> {
    let source = regexp::compile_with_groups(&operation.source).map_err(|why| {
        told!("{} is not a regular expression: {}", Spec(&operation.source), Told::without_values(why))
    })?;
    let mut replacer = source.replacer(&operation.target);
    let renamed = found.rename(|key, _| {
        // Any byte of a name may lead anywhere in the pattern.
        means.budget.steps(key.len().saturating_add(1).saturating_mul(1 + source.size() / WALKED_IN_A_STEP))?;
        Ok(replacer.replace(key, |bytes| {
            means.budget.steps(1 + bytes / WALKED_IN_A_STEP)?;
            means.budget.bytes(bytes)
        })?)
    });
    // A frequent slip: letters, digits and underscores behind the dollar are all of the group's name.
    let hint = "$1_x means the group 1_x: write ${1}_x for the first group";
    renamed.map_err(|problem| if operation.target.contains('$') { told!("{}; {}", problem, hint) } else { problem })
}

fn transform(found: Renamed, template: &str, means: &Means<'_>) -> Result<Renamed, Told> {
    let template = means.engine.name_template(template, means.budget)?;
    found.rename(|key, from| {
        let dot = means.dot(&[("value".to_owned(), SecretBytes::from(key))].into())?;
        let name = means.render(&template, Text::Open, &dot);
        let (name, _) = name.map_err(|problem| told!("the new name of {}: {}", from.tell(), problem))?;
        let name = name.expose_str().ok_or_else(|| told!("the new name of {} is not text", from.tell()))?;
        Ok(name.to_owned())
    })
}

/// One object of several. Those that priority does not name come first, in alphabetical order; then those it names,
/// in its order; later ones win.
fn merge(found: Data, operation: &RewriteMerge, names: Names, means: &Means<'_>) -> Result<Data, Told> {
    if let Some(absent) = operation.priority.iter().find(|key| !found.contains_key(*key))
        && operation.priority_policy == MergePriorityPolicy::Strict
    {
        return Err(told!(
            "merge.priority names {}, which was not found: set priorityPolicy IgnoreNotFound where that is fine",
            Spec(absent)
        ));
    }
    let named: BTreeSet<&str> = operation.priority.iter().map(String::as_str).collect();
    let others = found.keys().filter(|key| !named.contains(key.as_str()));
    let order: Vec<&String> = others.chain(operation.priority.iter().filter(|key| found.contains_key(*key))).collect();
    let mut merged: BTreeMap<String, &RawValue> = BTreeMap::new();
    let mut sources: BTreeMap<String, &str> = BTreeMap::new();
    for key in order {
        // Once to take it apart, and once to write it.
        let cost = json_cost(&found[key]);
        means.budget.bytes(2 * cost)?;
        means.budget.steps(cost)?;
        let fields = json::object_or_null(found[key].expose())
            .ok_or_else(|| told!("merge needs JSON objects, and the value of {} is none", names.tell(key)))?;
        for (field, value) in fields {
            if let Some(first) = sources.insert(field.clone(), key)
                && operation.conflict_policy == MergeConflictPolicy::Error
            {
                return Err(told!(
                    "merge: more than one value has the field {}, those of {} and {}: set conflictPolicy Ignore where a later \
                     one may win",
                    Name(&field),
                    names.tell(first),
                    names.tell(key)
                ));
            }
            merged.insert(field, value);
        }
    }
    match operation.strategy {
        MergeStrategy::Extract | MergeStrategy::Unknown(_) => {
            Ok(merged.into_iter().map(|(field, value)| (field, again(value))).collect())
        }
        MergeStrategy::JSON if operation.into.is_empty() => {
            Err("merge.strategy JSON needs merge.into: the key for the object".into())
        }
        MergeStrategy::JSON => {
            let object = compact(&merged).ok_or("merge: a value is nested too deep")?;
            let mut kept = found.clone();
            kept.insert(operation.into.clone(), object);
            Ok(kept)
        }
    }
}

/// A value as Go writes it after reading it: numbers through a float, objects and lists anew. Whole numbers keep their
/// digits, which they do not in Go.
pub fn again(value: &RawValue) -> SecretBytes {
    match value.get().as_bytes().first() {
        Some(b'{' | b'[') => json::canonical_with(value, number_in_json).unwrap_or_else(|| json::to_bytes(value)),
        Some(b'-' | b'0'..=b'9') => {
            let mut out = SecretBuf::default();
            number(value.get(), |digits, float| strconv::float::format(digits, float, b'f', None), &mut out);
            out.into()
        }
        _ => json::to_bytes(value),
    }
}

fn number_in_json(text: &str, out: &mut SecretBuf) {
    number(text, go::json::number, out);
}

/// A number with no more digits than tell it from others, as `write` writes it.
fn number(text: &str, write: impl Fn(&mut Vec<u8>, f64), out: &mut SecretBuf) {
    let float = text.contains(['.', 'e', 'E']).then(|| text.parse::<f64>().ok()).flatten();
    let Some(float) = float.filter(|float| float.is_finite()) else { return out.extend(text.as_bytes()) };
    let mut digits = Zeroizing::new(Vec::with_capacity(LONGEST_NUMBER));
    write(&mut digits, float);
    out.extend(&digits);
}

/// The fields as one compact JSON object. `None` where one is nested too deep.
fn compact(fields: &BTreeMap<String, &RawValue>) -> Option<SecretBytes> {
    let mut out =
        SecretBuf::with_capacity(fields.iter().map(|(field, value)| field.len() + value.get().len() + 8).sum());
    out.push(b'{');
    for (n, (field, value)) in fields.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::write_plain_string(field, &mut out);
        out.push(b':');
        out.extend(json::compact_with(value, number_in_json)?.expose());
    }
    out.push(b'}');
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::engine::Engine;
    use keyferry_limits::Budget;

    fn run(found: &[(&str, &str)], operations: Value) -> Result<Vec<(String, String)>, String> {
        let found = found.iter().map(|(key, value)| ((*key).to_owned(), SecretBytes::from(*value))).collect();
        let operations: Vec<Rewrite> = serde_json::from_value(operations).unwrap();
        let rewritten = rewrite(found, &operations, &Means::of_tests(&Engine::new("<<", ">>"), &Budget::default()));
        let rewritten = rewritten.map_err(|problem| problem.to_string())?;
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
    fn of_keys_that_become_one_none_is_lost() {
        let to_one = json!({"regexp": {"source": ".+", "target": "k"}});
        let differ = [("db_user", "1"), ("app_user", "2")];
        for operations in [
            json!([to_one]),
            json!([{"transform": {"template": "{{ .value | trimPrefix \"db_\" | trimPrefix \"app_\" }}"}}]),
            // What is told is what came from the store, not what an operation made of it.
            json!([{"transform": {"template": "x{{ .value }}"}}, to_one]),
        ] {
            let error = run(&differ, operations).unwrap_err();
            let both = "\"app_user\" and \"db_user\" become the same name, and their values differ";
            assert!(error.ends_with(both), "{error}");
        }
        assert_eq!(run(&[("a", "1"), ("b", "1")], json!([to_one])).unwrap(), [("k".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn no_key_is_left_without_a_name() {
        let found = [("user", "1"), ("pass", "2")];
        let error = run(&found, json!([{"regexp": {"source": "^(.*)$", "target": "$1_X"}}])).unwrap_err();
        assert_eq!(
            error,
            "rewrite[0]: \"pass\" is left without a name; $1_x means the group 1_x: write ${1}_x for the first group"
        );
        let error = run(&found, json!([{"transform": {"template": "{{ if false }}x{{ end }}"}}])).unwrap_err();
        assert_eq!(error, "rewrite[0]: \"pass\" is left without a name");
        assert_eq!(keys(&[("", "1")], json!([{"regexp": {"source": "x", "target": "y"}}])), [""], "it never had one");
    }

    #[test]
    fn merging() {
        let found =
            [("one", r#"{"a": 1, "b": "x"}"#), ("two", r#"{"b": "y", "c": {"z": 1.50, "a": "<", "e": [1e5, 1e21]}}"#)];
        let conflict = run(&found, json!([{"merge": {}}])).unwrap_err();
        assert!(conflict.contains("the field \"b\", those of \"one\" and \"two\""), "{conflict}");
        let pairs = |operation: Value| run(&found, json!([{"merge": operation}])).unwrap();
        let text = |pairs: Vec<(String, String)>| {
            pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        let ignore = json!({"conflictPolicy": "Ignore"});
        assert_eq!(text(pairs(ignore)), r#"a=1 b=y c={"a":"\u003c","e":[100000,1e+21],"z":1.5}"#);
        let priority = json!({"conflictPolicy": "Ignore", "priority": ["one"]});
        assert_eq!(text(pairs(priority)), r#"a=1 b=x c={"a":"\u003c","e":[100000,1e+21],"z":1.5}"#);
        let into = json!({"conflictPolicy": "Ignore", "strategy": "JSON", "into": "all"});
        let all = pairs(into).into_iter().find(|(key, _)| key == "all").unwrap().1;
        assert_eq!(all, r#"{"a":1,"b":"y","c":{"a":"<","e":[100000,1e+21],"z":1.5}}"#);
        let numbers = [("n", r#"{"f":1.50,"e":1e5,"small":2.5e-7,"whole":12345678901234567890,"t":true,"nul":null}"#)];
        let text = text(run(&numbers, json!([{"merge": {}}])).unwrap());
        assert_eq!(text, "e=100000 f=1.5 nul= small=0.00000025 t=true whole=12345678901234567890");
        let twice = run(&found[..1], json!([{"merge": {"priority": ["one", "one"]}}])).unwrap_err();
        assert!(twice.contains("more than one value has the field \"a\""), "{twice}");
        for (operation, says) in [
            (json!({"priority": ["gone"]}), "names \"gone\""),
            (json!({"strategy": "JSON", "conflictPolicy": "Ignore"}), "needs merge.into"),
        ] {
            assert!(run(&found, json!([{"merge": operation}])).unwrap_err().contains(says));
        }
        // To Go `null` is an object without fields.
        assert_eq!(run(&[("n", "null"), ("o", r#"{"a":"b"}"#)], json!([{"merge": {}}])).unwrap().len(), 1);
        assert!(run(&[("p", "plain")], json!([{"merge": {}}])).unwrap_err().contains("needs JSON objects"));
        assert!(
            run(&[], json!([{"regexp": {"source": "(", "target": ""}}]))
                .unwrap_err()
                .contains("not a regular expression")
        );
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (text, alone, inside) in [
            ("1.0", "1", "1"),
            ("1.50", "1.5", "1.5"),
            ("1e5", "100000", "100000"),
            ("1.0e21", "1000000000000000000000", "1e+21"),
            ("9.99e20", "999000000000000000000", "999000000000000000000"),
            ("-2.5e-7", "-0.00000025", "-2.5e-7"),
            ("1.5e-10", "0.00000000015", "1.5e-10"),
            ("0.000001", "0.000001", "0.000001"),
            ("-0.0", "-0", "-0"),
            // Not as Go: it loses digits of these, and fails for the last.
            ("12345678901234567890", "12345678901234567890", "12345678901234567890"),
            ("9007199254740993", "9007199254740993", "9007199254740993"),
            ("1e999", "1e999", "1e999"),
        ] {
            let written = |text: &str| again(json::value(text.as_bytes()).unwrap()).expose_str().unwrap().to_owned();
            assert_eq!(written(text), alone);
            assert_eq!(written(&format!(r#"{{"x" : [{text}]}}"#)), format!(r#"{{"x":[{inside}]}}"#));
        }
        for longest in ["-5e-324", "-1.7976931348623157e308"] {
            assert!(again(json::value(longest.as_bytes()).unwrap()).len() <= LONGEST_NUMBER, "{longest}");
        }
    }
}
