//! Which objects of a store of custom resources may be read, and which of their fields. Pure.

use keyferry_go::regexp::Pattern;
use keyferry_provider_core::{Error, SecretBuf, SecretBytes, json};
use serde::Deserialize;

/// Deeper than this nothing is looked for.
const MOST_DEPTH: usize = 64;

/// Rules, one of which must let an object through; without any all may be read.
#[derive(Debug, Default)]
pub struct Whitelist(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    name: Option<Pattern>,
    namespace: Option<Pattern>,
    properties: Vec<Pattern>,
}

/// The field as it stands in a spec.
#[derive(Default, Deserialize)]
pub struct WhitelistSpec {
    rules: Option<Vec<RuleSpec>>,
}

#[derive(Deserialize)]
struct RuleSpec {
    name: Option<String>,
    namespace: Option<String>,
    properties: Option<Vec<String>>,
}

/// What may be read of an object.
#[derive(Debug)]
pub enum Allowed<'a> {
    /// All of it.
    Whole,
    /// The fields whose paths match one of these.
    Fields(Vec<&'a Pattern>),
    /// Nothing.
    Nothing,
}

impl Whitelist {
    /// Checks the rules.
    pub fn new(spec: WhitelistSpec) -> Result<Self, Error> {
        let mut rules = Vec::new();
        for (n, rule) in spec.rules.into_iter().flatten().enumerate() {
            let at = format!("spec.provider.crd.whitelist.rules[{n}]");
            let pattern = |text: Option<String>, field: &str| match text.filter(|text| !text.is_empty()) {
                None => Ok(None),
                Some(text) => match text.parse() {
                    Ok(pattern) => Ok(Some(pattern)),
                    Err(_) => Err(Error::invalid(format!("{at}.{field} is no regular expression"))),
                },
            };
            let (name, namespace) = (pattern(rule.name, "name")?, pattern(rule.namespace, "namespace")?);
            let properties = rule.properties.into_iter().flatten().map(|text| pattern(Some(text), "properties"));
            let properties: Vec<Pattern> = properties.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
            if name.is_none() && namespace.is_none() && properties.is_empty() {
                return Err(Error::invalid(format!("{at} names nothing: set name or properties")));
            }
            rules.push(Rule { name, namespace, properties });
        }
        Ok(Self(rules))
    }

    /// What may be read of the object of this name; `namespace` is given where rules may speak of it.
    pub fn of(&self, namespace: Option<&str>, name: &str) -> Allowed<'_> {
        let matches = |pattern: &Option<Pattern>, text: &str| pattern.as_ref().is_none_or(|one| one.is_match(text));
        let is_for = |rule: &&Rule| {
            matches(&rule.name, name) && namespace.is_none_or(|namespace| matches(&rule.namespace, namespace))
        };
        let rules: Vec<&Rule> = self.0.iter().filter(is_for).collect();
        if self.0.is_empty() || rules.iter().any(|rule| rule.properties.is_empty()) {
            Allowed::Whole
        } else if rules.is_empty() {
            Allowed::Nothing
        } else {
            Allowed::Fields(rules.into_iter().flat_map(|rule| &rule.properties).collect())
        }
    }
}

/// What is left of a JSON object of the fields whose paths match: a field that matches is whole. `None` where that is
/// nothing.
pub fn only(raw: &str, patterns: &[&Pattern]) -> Option<SecretBytes> {
    within(raw, "", patterns, MOST_DEPTH)
}

fn within(raw: &str, path: &str, patterns: &[&Pattern], depth: usize) -> Option<SecretBytes> {
    let inside = depth.checked_sub(1)?;
    let mut out = SecretBuf::default();
    for (key, value) in json::object(raw.as_bytes())? {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let kept = if patterns.iter().any(|pattern| pattern.is_match(&path)) {
            json::canonical(value)
        } else {
            within(value.get(), &path, patterns, inside)
        };
        if let Some(kept) = kept {
            out.push(if out.is_empty() { b'{' } else { b',' });
            json::write_string(&key, &mut out);
            out.push(b':');
            out.extend(kept.expose());
        }
    }
    if out.is_empty() {
        return None;
    }
    out.push(b'}');
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn whitelist(rules: Value) -> Result<Whitelist, Error> {
        Whitelist::new(serde_json::from_value(json!({ "rules": rules })).unwrap())
    }

    #[test]
    fn one_rule_must_let_an_object_through() {
        let rules = whitelist(json!([
            {"name": "^db-"},
            {"name": "^app$", "namespace": "^prod$"},
            {"name": "^part$", "properties": ["^spec\\.a$"]},
            {"name": "^part$", "properties": ["^spec\\.b$", "status"]},
        ]))
        .unwrap();
        for (namespace, name, expected) in [
            (None, "db-1", "whole"),
            (None, "other", "nothing"),
            (Some("prod"), "app", "whole"),
            (Some("test"), "app", "nothing"),
            // In a store of a namespace rules about namespaces hold everywhere.
            (None, "app", "whole"),
            (None, "part", "3 fields"),
        ] {
            let told = match rules.of(namespace, name) {
                Allowed::Whole => "whole".to_owned(),
                Allowed::Nothing => "nothing".to_owned(),
                Allowed::Fields(fields) => format!("{} fields", fields.len()),
            };
            assert_eq!(told, expected, "{namespace:?} {name}");
        }
        assert!(matches!(whitelist(json!([])).unwrap().of(None, "any"), Allowed::Whole));
    }

    #[test]
    fn rules_that_make_no_sense_are_named() {
        for (rules, words) in [
            (json!([{}]), "rules[0] names nothing"),
            (json!([{"name": "a"}, {"name": "("}]), "rules[1].name is no regular expression"),
            (json!([{"properties": ["["]}]), "rules[0].properties"),
        ] {
            let error = whitelist(rules).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }

    #[test]
    fn what_does_not_match_is_not_there() {
        let object = r#"{"spec":{"a":{"x":1.50},"ab":2,"list":[{"a":1}],"b":3},"metadata":{"name":"n"}}"#;
        let of = |patterns: &[&str]| {
            let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
            let kept = only(object, &patterns.iter().collect::<Vec<_>>());
            kept.map(|kept| kept.expose_str().unwrap().to_owned())
        };
        assert_eq!(of(&[r"^spec\.a$"]).as_deref(), Some(r#"{"spec":{"a":{"x":1.50}}}"#));
        assert_eq!(of(&["spec.a"]).as_deref(), Some(r#"{"spec":{"a":{"x":1.50},"ab":2}}"#));
        assert_eq!(of(&[r"^spec\.b$", "^metadata$"]).as_deref(), Some(r#"{"metadata":{"name":"n"},"spec":{"b":3}}"#));
        assert_eq!(of(&["^spec$"]).as_deref(), Some(r#"{"spec":{"a":{"x":1.50},"ab":2,"b":3,"list":[{"a":1}]}}"#));
        assert_eq!(of(&["^nothing$"]), None);
        assert_eq!(only("[1]", &[]), None);
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        assert_eq!(only(&deep, &[]), None);
    }
}
