//! A small vocabulary for OpenAPI schemas, so that the schemas read like the manifests they describe.
//!
//! What it adds by itself is what every node of ours must have: a description. Objects are closed: a strict client refuses
//! a field that they don't name, any other loses it. Open are those that we don't look into, see [`anything`]. What it
//! can't say is `nullable`: the API server drops a null that isn't nullable before it applies defaults, which is what a
//! user who writes `target:` with nothing behind it wants. In server-side apply it drops only those with a default.

use keyferry_limits::Limit;
use serde_json::{Map, Value, json};

/// One node of a schema.
#[derive(Clone)]
pub(super) struct Node(Map<String, Value>);

/// An object with fields of its own, and no others.
pub(super) fn object(description: &str) -> Node {
    Node::new("object", description)
}

/// An object that we look into elsewhere, or not at all: all of it is kept.
pub(super) fn anything(description: &str) -> Node {
    object(description).open()
}

/// A value of any form.
pub(super) fn any_value(description: &str) -> Node {
    Node(Map::new()).set("description", json!(description)).open()
}

/// An object whose keys the user chooses, with values of one form.
pub(super) fn map(description: &str, value: Node) -> Node {
    Node::new("object", description).set("additionalProperties", Value::Object(value.0))
}

/// An object whose keys the user chooses.
pub(super) fn map_of_strings(description: &str) -> Node {
    Node::new("object", description).set("additionalProperties", json!({"type": "string"}))
}

pub(super) fn list(description: &str, item: Node) -> Node {
    Node::new("array", description).set("items", Value::Object(item.0))
}

/// A list of strings.
pub(super) fn strings(description: &str) -> Node {
    Node::new("array", description).set("items", json!({"type": "string"}))
}

pub(super) fn string(description: &str) -> Node {
    Node::new("string", description)
}

/// A string out of a few.
pub(super) fn word(description: &str, words: &[&str]) -> Node {
    string(description).set("enum", json!(words))
}

pub(super) fn integer(description: &str) -> Node {
    Node::new("integer", description)
}

pub(super) fn boolean(description: &str) -> Node {
    Node::new("boolean", description)
}

/// A number or a string.
pub(super) fn integer_or_string(description: &str) -> Node {
    Node(Map::new())
        .set("description", json!(description))
        .set("anyOf", json!([{"type": "integer"}, {"type": "string"}]))
        .set("x-kubernetes-int-or-string", json!(true))
}

/// A point in time.
pub(super) fn time(description: &str) -> Node {
    string(description).set("format", json!("date-time"))
}

/// The name of a Kubernetes object.
pub(super) fn object_name(description: &str) -> Node {
    string(description).length(1, 253).pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
}

/// The name of a Kubernetes kind.
pub(super) fn kind_name(description: &str) -> Node {
    string(description).length(1, 63).pattern("^[A-Z][A-Za-z0-9]*$")
}

/// A group and version of the Kubernetes API, or nothing.
pub(super) fn api_version(description: &str) -> Node {
    string(description)
        .at_most_long(317)
        .pattern(r"^(([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9]+((alpha|beta)[0-9]+)?)?$")
}

/// The name of a namespace.
pub(super) fn namespace_name(description: &str) -> Node {
    string(description).length(1, 63).pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
}

/// A key of a Secret or ConfigMap.
pub(super) fn data_key(description: &str) -> Node {
    string(description).length(1, 253).pattern("^[-._a-zA-Z0-9]+$")
}

impl Node {
    fn new(type_: &str, description: &str) -> Self {
        Self(Map::new()).set("type", json!(type_)).set("description", json!(description))
    }

    /// Keeps fields that it doesn't name.
    pub(super) fn open(self) -> Self {
        self.set("x-kubernetes-preserve-unknown-fields", json!(true))
    }

    /// `metadata` of the whole object. The API server looks after it, and lets us say nothing about it.
    pub(super) fn metadata() -> Self {
        Self(Map::new()).set("type", json!("object"))
    }

    /// Any keyword that has no method here.
    pub(super) fn set(mut self, keyword: &str, value: Value) -> Self {
        self.0.insert(keyword.to_owned(), value);
        self
    }

    /// A field that may be left out.
    pub(super) fn field(mut self, name: &str, node: Node) -> Self {
        let properties = self.0.entry("properties").or_insert_with(|| json!({}));
        properties[name] = Value::Object(node.0);
        self
    }

    /// A field that must be there. For what External Secrets Operator has required ever since.
    pub(super) fn required(mut self, name: &str, node: Node) -> Self {
        match self.0.entry("required").or_insert_with(|| json!([])) {
            Value::Array(names) => names.push(json!(name)),
            _ => unreachable!("`required` is only written here"),
        }
        self.field(name, node)
    }

    /// What the API server stores where the user wrote nothing.
    pub(super) fn default(self, value: Value) -> Self {
        self.set("default", value)
    }

    /// Bounds of a string's length, in characters.
    pub(super) fn length(self, min: u32, max: u32) -> Self {
        self.set("minLength", json!(min)).set("maxLength", json!(max))
    }

    /// A regular expression (RE2) that a string must match.
    pub(super) fn pattern(self, pattern: &str) -> Self {
        self.set("pattern", json!(pattern))
    }

    /// The longest text there may be, in characters.
    pub(super) fn at_most_long(self, characters: u64) -> Self {
        self.set("maxLength", json!(characters))
    }

    /// The longest text there may be.
    pub(super) fn within(self, limit: &Limit) -> Self {
        self.at_most_long(limit.most)
    }

    /// The longest list there may be.
    pub(super) fn at_most(self, limit: &Limit) -> Self {
        self.set("maxItems", json!(limit.most))
    }

    /// The same, with no list or map in it larger than this where nothing else bounds it.
    pub(super) fn bounded(self, limit: &Limit) -> Self {
        let mut whole = Value::Object(self.0);
        bound(&mut whole, limit);
        match whole {
            Value::Object(node) => Self(node),
            _ => unreachable!("it was an object"),
        }
    }

    /// The largest map there may be.
    pub(super) fn at_most_keys(self, limit: &Limit) -> Self {
        self.set("maxProperties", json!(limit.most))
    }

    /// Exactly one field.
    pub(super) fn exactly_one_field(self) -> Self {
        self.set("minProperties", json!(1)).set("maxProperties", json!(1))
    }

    /// An admission rule in CEL, and what to tell the user whose object breaks it. The node is called `it`.
    ///
    /// An object older than the rule must still get its status, lose its finalizers and go. The API server sees to that
    /// by itself where the node that carries the rule is unchanged. But a node that holds a field which the schema
    /// doesn't name never counts as unchanged (nor as equal in CEL), and open providers hold such fields. So a rule lets
    /// pass what broke it before. It takes two to say so: one for what is new, one for what was there. One alone, with
    /// an optional `oldSelf`, would do, but CEL forgets in it how long a list can be, and then takes the rule for too
    /// costly.
    pub(super) fn rule(self, cel: &str, message: &str) -> Self {
        self.rules(cel, &json!({"message": message}))
    }

    /// A rule that names a field of this node as the one at fault.
    pub(super) fn rule_at(self, field: &str, cel: &str, message: &str) -> Self {
        self.rules(cel, &json!({"message": message, "fieldPath": field}))
    }

    /// A rule that words its message by CEL too.
    pub(super) fn rule_that_says(self, cel: &str, message: &str, message_cel: &str) -> Self {
        self.rules(cel, &json!({"message": message, "messageExpression": message_cel}))
    }

    fn rules(self, cel: &str, more: &Value) -> Self {
        let now = named(cel, "self");
        let before = named(cel, "oldSelf");
        let mut new = more.clone();
        new["rule"] = json!(format!("oldSelf.hasValue() || ({now})"));
        new["optionalOldSelf"] = json!(true);
        let mut changed = more.clone();
        changed["rule"] = json!(format!("({now}) || !({before})"));
        self.validation(new).validation(changed)
    }

    /// A rule on a leaf, or inside of a list, where the node is called `self` and the API server's own comparison will
    /// do: a leaf holds no fields, and a list of ours is atomic, so it is compared as a whole.
    pub(super) fn plain_rule(self, cel: &str, message: &str) -> Self {
        self.validation(json!({"rule": cel, "message": message}))
    }

    /// A rule that itself looks at the old object (`oldSelf`, an optional).
    pub(super) fn rule_with_old(self, cel: &str, message: &str) -> Self {
        self.validation(json!({"rule": cel, "optionalOldSelf": true, "message": message}))
    }

    fn validation(mut self, rule: Value) -> Self {
        match self.0.entry("x-kubernetes-validations").or_insert_with(|| json!([])) {
            Value::Array(rules) => rules.push(rule),
            _ => unreachable!("rules are only written here"),
        }
        self
    }

    pub(super) fn into_json(self) -> Value {
        Value::Object(self.0)
    }
}

/// Gives a name to the node that a rule calls `it`.
fn named(cel: &str, name: &str) -> String {
    // Every mention is followed by a field, and no other word of ours ends in `it`.
    cel.replace("it.", &format!("{name}."))
}

/// Bounds every list and map of a schema that is not bounded.
fn bound(schema: &mut Value, limit: &Limit) {
    let Value::Object(node) = schema else { return };
    let bound_of = match node.get("type").and_then(Value::as_str) {
        Some("array") => Some("maxItems"),
        Some("object") if node.contains_key("additionalProperties") => Some("maxProperties"),
        _ => None,
    };
    if let Some(name) = bound_of {
        node.entry(name).or_insert(json!(limit.most));
    }
    let fields = node.get_mut("properties").and_then(Value::as_object_mut);
    fields.into_iter().flat_map(Map::values_mut).for_each(|field| bound(field, limit));
    for part in ["items", "additionalProperties"] {
        if let Some(inner) = node.get_mut(part) {
            bound(inner, limit);
        }
    }
}
