//! What an API server would say of an object by the schema of its kind: what it would refuse, and what it would drop. Pure.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use keyferry_go::regexp;
use serde_json::{Map, Value};

use super::finding::{At, Finding, Part, Severity};
use super::rules;
use crate::verbs::hint::did_you_mean;

/// Fills in the defaults of a schema, as an API server does before it judges. What is null and may not be is left out.
pub fn with_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let properties = schema["properties"].as_object();
            let is_nullable =
                |name: &str| properties.is_some_and(|all| all.get(name).is_some_and(|of| of["nullable"] == true));
            fields.retain(|name, value| {
                !value.is_null() || is_nullable(name) || properties.is_none_or(|all| !all.contains_key(name))
            });
            for (name, of) in properties.into_iter().flatten() {
                if let (None, Some(default)) = (fields.get(name), of.get("default")) {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields.iter_mut() {
                if let Some(of) = properties.and_then(|all| all.get(name)).or_else(|| of_all(schema)) {
                    with_defaults(of, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| with_defaults(&schema["items"], item)),
        _ => {}
    }
}

fn of_all(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|of| of.is_object())
}

/// What is wrong with a whole object, which has its defaults. Its metadata is not looked at here.
pub fn judge(schema: &Value, object: &Value, found: &mut Vec<Finding>) {
    let mut walk = Walk { found, at: At::default() };
    walk.node(schema, object, true);
}

struct Walk<'a> {
    found: &'a mut Vec<Finding>,
    at: At,
}

impl Walk<'_> {
    fn tell(&mut self, severity: Severity, check: &'static str, message: String) {
        self.found.push(Finding::at(self.at.clone(), severity, check, message));
    }

    fn refuse(&mut self, message: String) {
        self.tell(Severity::Error, "schema", message);
    }

    fn within(&mut self, part: Part, judge: impl FnOnce(&mut Self)) {
        self.at.0.push(part);
        judge(self);
        self.at.0.pop();
    }

    fn node(&mut self, schema: &Value, value: &Value, is_root: bool) {
        if !self.is_of_type(schema, value) {
            return;
        }
        let before = self.found.len();
        match value {
            Value::Object(fields) => self.object(schema, fields, is_root),
            Value::Array(items) => self.list(schema, items),
            Value::String(text) => self.text(schema, text),
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or_default()),
            Value::Null | Value::Bool(_) => {}
        }
        if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            let given = value.as_str().unwrap_or_default();
            let hint = did_you_mean(given, words.iter().copied());
            self.refuse(format!("{given:?} is not one of {}{hint}", words.join(", ")));
        }
        // An API server has rules judge only what is of the right form.
        if self.found[before..].iter().all(|finding| finding.check != "schema") {
            self.rules(schema, value);
        }
    }

    fn is_of_type(&mut self, schema: &Value, value: &Value) -> bool {
        if schema["x-kubernetes-int-or-string"] == true {
            let is_fine = value.is_string() || value.is_i64() || value.is_u64();
            if !is_fine {
                self.refuse(format!("it is {}, and has to be a whole number or a text", form_of(value)));
            }
            return is_fine;
        }
        let Some(wanted) = schema["type"].as_str() else { return true };
        let is_fine = match wanted {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => true,
        };
        let is_null = value.is_null() && schema["nullable"] == true;
        if !is_fine && !is_null {
            let hint = match (wanted, value) {
                ("string", Value::Number(_) | Value::Bool(_)) => ": put it in quotes",
                ("array", Value::Object(_)) => ": begin each element with a dash",
                ("object", Value::Null) => ": say something below it, or leave it out",
                _ => "",
            };
            self.refuse(format!("it is {}, and has to be {}{hint}", form_of(value), named(wanted)));
            return false;
        }
        is_fine
    }

    fn object(&mut self, schema: &Value, fields: &Map<String, Value>, is_root: bool) {
        let properties = schema["properties"].as_object();
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                self.refuse(format!("{name} is missing"));
            }
        }
        self.bounds(schema, ["minProperties", "maxProperties"], fields.len(), "fields");
        let keeps_all = schema["x-kubernetes-preserve-unknown-fields"] == true;
        for (name, value) in fields {
            if is_root && name == "metadata" {
                continue;
            }
            let of = properties.and_then(|all| all.get(name)).or_else(|| of_all(schema));
            self.within(Part::Key(name.clone()), |walk| match of {
                Some(of) => walk.node(of, value, false),
                None if keeps_all => {}
                None => {
                    let known = properties.into_iter().flatten().map(|(name, _)| name.as_str());
                    let hint = did_you_mean(name, known);
                    let message = format!("there is no such field: the API server would refuse it, or drop it{hint}");
                    walk.tell(Severity::Error, "pruned", message);
                }
            });
        }
    }

    fn list(&mut self, schema: &Value, items: &[Value]) {
        self.bounds(schema, ["minItems", "maxItems"], items.len(), "elements");
        let Some(of) = schema.get("items") else { return };
        for (n, item) in items.iter().enumerate() {
            self.within(Part::Index(n), |walk| walk.node(of, item, false));
        }
    }

    fn text(&mut self, schema: &Value, text: &str) {
        self.bounds(schema, ["minLength", "maxLength"], text.chars().count(), "characters");
        if let Some(pattern) = schema["pattern"].as_str()
            && !matches(pattern, text)
        {
            self.refuse(format!("{} is not of the form {pattern}", quoted(text)));
        }
        let is_time = |text: &str| text.parse::<jiff::Timestamp>().is_ok();
        if schema["format"] == "date-time" && !is_time(text) {
            self.refuse(format!("{} is not a time: write it like 2030-01-31T12:00:00Z", quoted(text)));
        }
        if schema["format"] == "byte" && !is_base64(text) {
            self.refuse("it is not base64".to_owned());
        }
    }

    fn number(&mut self, schema: &Value, number: f64) {
        if schema["minimum"].as_f64().is_some_and(|least| number < least) {
            self.refuse(format!("{number} is less than {}", schema["minimum"]));
        }
        if schema["maximum"].as_f64().is_some_and(|most| number > most) {
            self.refuse(format!("{number} is more than {}", schema["maximum"]));
        }
    }

    fn bounds(&mut self, schema: &Value, [least, most]: [&str; 2], given: usize, of: &str) {
        let bound = |name: &str| schema[name].as_u64().and_then(|bound| usize::try_from(bound).ok());
        if let Some(least) = bound(least).filter(|least| given < *least) {
            self.refuse(format!("it has {given} {of}, and needs {least} at least"));
        }
        if let Some(most) = bound(most).filter(|most| given > *most) {
            self.refuse(format!("it has {given} {of}, and may have {most} at most"));
        }
    }

    fn rules(&mut self, schema: &Value, value: &Value) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let Some(broken) = rules::broken(rule, value) else { continue };
            let field = rule["fieldPath"].as_str().unwrap_or_default();
            let depth = self.at.0.len();
            let named = field.split('.').filter(|name| !name.is_empty()).map(|name| Part::Key(name.to_owned()));
            self.at.0.extend(named);
            self.tell(Severity::Error, "rule", broken);
            self.at.0.truncate(depth);
        }
    }
}

/// Whether a text matches an RE2 pattern of a schema. There are a few dozen, and each is compiled once.
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Option<Arc<regexp::Pattern>>>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if !compiled.contains_key(pattern) {
        compiled.insert(pattern.to_owned(), regexp::compile(pattern).ok().map(Arc::new));
    }
    compiled[pattern].as_ref().is_none_or(|compiled| compiled.is_match(text))
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    let text: String = text.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

/// A text as far as a line has room for it.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => format!("{text:?}"),
        Some((at, _)) => format!("{:?}...", &text[..at]),
    }
}

fn form_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn named(wanted: &str) -> &'static str {
    match wanted {
        "object" => "an object",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}
