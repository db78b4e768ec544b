//! `remoteRef.property`: a path into a JSON value.
//!
//! External Secrets Operator takes gjson paths; how they are looked up differs by store.

use keyferry_gjson as gjson;
use keyferry_limits::{Budget, Exceeded};
use keyferry_provider_core::parts::Parts;
use keyferry_provider_core::{PropertyLookup, SecretBytes, json};

use crate::data::json_cost;
use crate::fields;
use crate::items;
use crate::parts::{self, NoPart};

/// Why there is no value under a property.
#[derive(Debug, PartialEq, Eq)]
pub enum NoValue {
    /// The value is not JSON, so that it has no properties.
    NotJson,
    /// There is nothing at this path.
    Missing,
    /// The path or the value is nested too deep, or asks for too much work.
    TooComplex,
    /// There is no one part of this name that can be read.
    Part(NoPart),
    /// The look has nothing left.
    Exceeded(Exceeded),
}

impl From<Exceeded> for NoValue {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

/// Takes the value under `property` out of `value`: a string unquoted, an object or array as it stands, `null` as
/// nothing, a number as gjson prints it.
///
/// A key that is called as the property is, letter for letter, comes before all that the property means as a path: whoever
/// has a key `x*y` means that one.
pub fn lookup(
    value: &SecretBytes,
    property: &str,
    how: PropertyLookup,
    budget: &Budget,
) -> Result<SecretBytes, NoValue> {
    if how != PropertyLookup::Path {
        budget.bytes(json_cost(value))?;
        budget.steps(value.len())?;
    }
    match how {
        PropertyLookup::Path => {}
        PropertyLookup::OfTheStore => return Ok(value.clone()),
        PropertyLookup::ExactThenPath => {
            // Numbers digit for digit, unlike along a path.
            if let Some(exact) = json::object(value.expose()).and_then(|mut all| all.remove(property)) {
                return Ok(json::to_bytes(exact));
            }
        }
        PropertyLookup::Base64Fields => {
            if let Some(field) = fields::one(value, property) {
                return Ok(field);
            }
            let (name, path) = property.split_once('.').ok_or(NoValue::Missing)?;
            let field = fields::one(value, name).filter(|_| !path.is_empty()).ok_or(NoValue::Missing)?;
            return literal_then_path(&field, path, budget);
        }
        PropertyLookup::Items => {
            let first = items::first(value).ok_or(NoValue::NotJson)?;
            return match literal_then_path(&first, property, budget) {
                Err(NoValue::Missing | NoValue::NotJson) => items::one(value, property).ok_or(NoValue::Missing),
                found => found,
            };
        }
        PropertyLookup::ValueAndFields => {
            if let Some(field) = items::field(value, property) {
                return Ok(field);
            }
            let whole = items::value(value).ok_or(NoValue::NotJson)?.ok_or(NoValue::Missing)?;
            return lookup(&whole, property, PropertyLookup::DottedKeyThenPath, budget);
        }
        PropertyLookup::Parts => {
            let parts = Parts::read(value).ok_or(NoValue::NotJson)?;
            return parts::one(&parts, property).map_err(NoValue::Part);
        }
        PropertyLookup::DottedKeyThenPath => {
            if property.contains('.') && literal(value, property, budget)?.is_none() {
                let dotted = follow(value, &property.replace('.', "\\."), budget);
                if dotted.is_ok() {
                    return dotted;
                }
            }
        }
    }
    literal_then_path(value, property, budget)
}

/// As [`lookup`], in metadata that are tags: where there is no such tag, the one before the first dot may hold JSON.
pub fn lookup_tag(value: &SecretBytes, property: &str, budget: &Budget) -> Result<SecretBytes, NoValue> {
    let missing = match lookup(value, property, PropertyLookup::Path, budget) {
        Err(NoValue::Missing) => NoValue::Missing,
        found => return found,
    };
    let (tag, path) = property.split_once('.').filter(|(_, path)| !path.is_empty()).ok_or(missing)?;
    budget.bytes(json_cost(value))?;
    budget.steps(value.len())?;
    let held = json::object(value.expose()).and_then(|mut all| all.remove(tag)).ok_or(NoValue::Missing)?;
    literal_then_path(&json::to_bytes(held), path, budget)
}

fn literal_then_path(value: &SecretBytes, property: &str, budget: &Budget) -> Result<SecretBytes, NoValue> {
    match literal(value, property, budget)? {
        Some(found) => follow(&found, "@this", budget),
        None => follow(value, property, budget),
    }
}

/// The value of the key that is called so, as it stands in the JSON. A name that is a path of one plain key is left to the
/// path, which finds the same.
fn literal(value: &SecretBytes, name: &str, budget: &Budget) -> Result<Option<SecretBytes>, NoValue> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/') || byte >= 0x80;
    if !name.is_empty() && name.bytes().all(is_plain) {
        return Ok(None);
    }
    budget.bytes(json_cost(value))?;
    budget.steps(value.len())?;
    let found = json::object(value.expose()).and_then(|mut object| object.remove(name));
    Ok(found.map(|found| SecretBytes::new(found.get().as_bytes().to_vec())))
}

fn follow(value: &SecretBytes, path: &str, budget: &Budget) -> Result<SecretBytes, NoValue> {
    let found = gjson::get_within(value.expose(), path.as_bytes(), budget).map_err(|refused| match refused {
        gjson::Refused::TooComplex(_) => NoValue::TooComplex,
        gjson::Refused::Exceeded(exceeded) => NoValue::Exceeded(exceeded),
    })?;
    budget.bytes(found.raw().len())?;
    match found.exists() {
        true => Ok(SecretBytes::new(std::mem::take(&mut *found.text().into_owned()))),
        // It looks into what is not quite JSON too, as gjson does; only where it finds nothing does that matter.
        false if !gjson::valid(value.expose()) => Err(NoValue::NotJson),
        false => Err(NoValue::Missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &str = r#"{"user":"bob","nested":{"deep":{"x":"y"}},"n":12345678901234567890,"f":1.50,"e":1e5,
        "t":true,"nul":null,"list":["a",{"c":"d"}],"dot.ted":"dv","dot":{"ted":"nested"},"empty":"","":"nokey","-1":-3}"#;

    #[test]
    fn a_tag_may_hold_json() {
        let tags = r#"{"plain":"x","dot.ted":"y","json":"{\"a\":{\"b\":1},\"c.d\":\"z\"}"}"#;
        let get = |property: &str| {
            lookup_tag(&tags.into(), property, &Budget::default()).map(|found| found.expose_str().unwrap().to_owned())
        };
        for (property, expected) in [
            ("plain", Ok("x")),
            ("dot.ted", Ok("y")),
            ("json", Ok(r#"{"a":{"b":1},"c.d":"z"}"#)),
            ("json.a", Ok(r#"{"b":1}"#)),
            ("json.a.b", Ok("1")),
            ("json.c.d", Ok("z")),
            ("json.x", Err(NoValue::Missing)),
            ("json.", Err(NoValue::Missing)),
            ("other", Err(NoValue::Missing)),
            ("other.a", Err(NoValue::Missing)),
            ("plain.a", Err(NoValue::NotJson)),
        ] {
            assert_eq!(get(property), expected.map(str::to_owned), "{property}");
        }
    }

    fn get(property: &str, how: PropertyLookup) -> Result<String, NoValue> {
        lookup(&DOC.into(), property, how, &Budget::default()).map(|value| value.expose_str().unwrap().to_owned())
    }

    #[test]
    fn paths() {
        for (property, expected) in [
            ("user", "bob"),
            ("nested.deep.x", "y"),
            ("nested", r#"{"deep":{"x":"y"}}"#),
            ("list.0", "a"),
            ("list.1.c", "d"),
            ("list", r#"["a",{"c":"d"}]"#),
            (r"dot\.ted", "dv"),
            ("dot.ted", "dv"),
            ("n", "12345678901234567890"),
            ("f", "1.5"),
            ("e", "100000"),
            ("-1", "-3"),
            ("t", "true"),
            ("nul", ""),
            ("empty", ""),
        ] {
            assert_eq!(get(property, PropertyLookup::Path).as_deref(), Ok(expected), "{property}");
        }
    }

    #[test]
    fn an_exact_key_wins_where_the_store_says_so() {
        assert_eq!(get("dot.ted", PropertyLookup::ExactThenPath).as_deref(), Ok("dv"));
        assert_eq!(get("nested.deep.x", PropertyLookup::ExactThenPath).as_deref(), Ok("y"));
        assert_eq!(get("f", PropertyLookup::ExactThenPath).as_deref(), Ok("1.50"));
    }

    #[test]
    fn a_dotted_key_wins_where_the_store_says_so() {
        let get = |property| get(property, PropertyLookup::DottedKeyThenPath);
        assert_eq!(get("dot.ted").as_deref(), Ok("dv"));
        assert_eq!(get(r"dot\.ted").as_deref(), Ok("dv"));
        assert_eq!(get("nested.deep.x").as_deref(), Ok("y"));
        // Unlike an exact key: numbers are printed as those along a path.
        assert_eq!(get("f").as_deref(), Ok("1.5"));
        assert_eq!(get("nested.nope"), Err(NoValue::Missing));
        assert_eq!(get("nested.*").as_deref(), Ok(r#"{"x":"y"}"#));
    }

    #[test]
    fn a_field_of_any_bytes() {
        // "dk", {"a":{"b":"c"}}, a byte that is no text, and an empty field
        let value = r#"{"dot.key":"ZGs=","dot":"eyJrZXkiOiJuZXN0ZWQiLCJhIjp7ImIiOiJjIn19","bin":"/w==","empty":""}"#;
        let get = |property| lookup(&value.into(), property, PropertyLookup::Base64Fields, &Budget::default());
        for (property, expected) in
            [("dot.key", &b"dk"[..]), ("dot.a.b", b"c"), ("dot.a", br#"{"b":"c"}"#), ("bin", b"\xff"), ("empty", b"")]
        {
            assert_eq!(get(property).unwrap().expose(), expected, "{property}");
        }
        for property in ["nope", "nope.a", "dot.nope", "dot.", ".dot"] {
            assert_eq!(get(property), Err(NoValue::Missing), "{property}");
        }
        assert_eq!(get("bin.a"), Err(NoValue::NotJson));
    }

    #[test]
    fn an_item_or_a_path_into_the_first() {
        let value = r#"{"Items":[{"FieldName":"Data","Slug":"data","ItemValue":"{\"a\":{\"b\":1}}"},
            {"FieldName":"Pass word","Slug":"pass","ItemValue":"p"}]}"#;
        let get = |value: &str, property| lookup(&value.into(), property, PropertyLookup::Items, &Budget::default());
        for (property, expected) in [("a.b", "1"), ("pass", "p"), ("Pass word", "p"), ("data", r#"{"a":{"b":1}}"#)] {
            assert_eq!(get(value, property).unwrap().expose_str(), Some(expected), "{property}");
        }
        assert_eq!(get(value, "nope"), Err(NoValue::Missing));
        assert_eq!(get("{}", "a"), Err(NoValue::NotJson));
    }

    #[test]
    fn a_field_or_a_path_into_the_value() {
        let shown = r#"{"fields":{"user":"u"},"value":"{\"a.b\":1,\"a\":{\"c\":2}}"}"#;
        let get =
            |shown: &str, property| lookup(&shown.into(), property, PropertyLookup::ValueAndFields, &Budget::default());
        for (property, expected) in [("user", "u"), ("a.b", "1"), ("a.c", "2")] {
            assert_eq!(get(shown, property).unwrap().expose_str(), Some(expected), "{property}");
        }
        assert_eq!(get(shown, "nope"), Err(NoValue::Missing));
        assert_eq!(get(r#"{"fields":{"user":"u"}}"#, "nope"), Err(NoValue::Missing));
        assert_eq!(get(r#"{"value":"plain"}"#, "a"), Err(NoValue::NotJson));
        assert_eq!(get("[]", "a"), Err(NoValue::NotJson));
    }

    #[test]
    fn what_is_not_there() {
        for property in ["nope", "user.x", "list.7", "list.x", "nested.deep.x.y", "list.-1"] {
            assert_eq!(get(property, PropertyLookup::Path), Err(NoValue::Missing), "{property}");
        }
        let plain = |how| lookup(&"plain".into(), "a", how, &Budget::default());
        assert_eq!(plain(PropertyLookup::Path), Err(NoValue::NotJson));
        assert_eq!(plain(PropertyLookup::ExactThenPath), Err(NoValue::NotJson));
    }

    #[test]
    fn all_of_the_syntax() {
        for (property, expected) in [
            ("list.#", "2"),
            ("us*", "bob"),
            ("u?er", "bob"),
            ("nested|deep.x", "y"),
            (r#"list.#(c=="d").c"#, "d"),
            ("nested.@values", r#"[{"x":"y"}]"#),
            ("{user,t}", r#"{"user":"bob","t":true}"#),
            ("!\"x\"", "x"),
        ] {
            assert_eq!(get(property, PropertyLookup::Path).as_deref(), Ok(expected), "{property}");
        }
    }

    #[test]
    fn a_key_that_is_called_so_comes_before_the_path_in_every_store() {
        let doc = r##"{"x*y":"literal","xzy":"by wildcard","a|b":"pipe","a":{"b":"nested"},"a.b":"dotted","@this":"modifier",
            "n?":1.50,"nn":2,"list.#":"count","list":["1"],"{a}":"brace","[0]":"bracket","!x":"bang","back\\slash":"bs",
            "nul|":null,"obj*":{"k": [1, 2]},"quo\"te.":"q","":"empty"}"##;
        for (property, expected) in [
            ("x*y", "literal"),
            ("xz?", "by wildcard"),
            ("a|b", "pipe"),
            ("a.b", "dotted"),
            ("@this", "modifier"),
            ("n?", "1.5"),
            ("list.#", "count"),
            ("{a}", "brace"),
            ("[0]", "bracket"),
            ("!x", "bang"),
            ("back\\slash", "bs"),
            ("nul|", ""),
            ("obj*", r#"{"k": [1, 2]}"#),
            ("quo\"te.", "q"),
        ] {
            for how in [PropertyLookup::Path, PropertyLookup::DottedKeyThenPath] {
                let found = lookup(&doc.into(), property, how, &Budget::default())
                    .map(|value| value.expose_str().unwrap().to_owned());
                assert_eq!(found.as_deref(), Ok(expected), "{property} {how:?}");
            }
            let exact = lookup(&doc.into(), property, PropertyLookup::ExactThenPath, &Budget::default()).unwrap();
            assert_eq!(exact.expose_str(), Some(if property == "n?" { "1.50" } else { expected }), "{property}");
        }
        // Of a field of a Kubernetes Secret, too: {"x*y":"v","xzy":"w"}
        let fields = r#"{"doc":"eyJ4KnkiOiJ2IiwieHp5IjoidyJ9"}"#;
        let found = lookup(&fields.into(), "doc.x*y", PropertyLookup::Base64Fields, &Budget::default()).unwrap();
        assert_eq!(found.expose_str(), Some("v"));
    }
}
