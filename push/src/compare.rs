//! Whether a store holds what was pushed, by what it answers. Pure. Where that can't be told, it does not: the store's own
//! push compares once more, and writes only what differs.

use keyferry_limits::Budget;
use keyferry_provider_core::{Dialect, Key, Payload, PropertyLookup, Push, Remote, SecretBytes, json};
use keyferry_sync::property::lookup;
use keyferry_sync::{data, fields, items};

/// What to ask a store for, to see what is at a place.
pub fn key_of(remote: &Remote, dialect: &Dialect) -> Key {
    let key = Key { name: remote.key.clone(), version: None, metadata: false };
    match (&remote.property, dialect.property) {
        (Some(property), PropertyLookup::OfTheStore) => key.with_property(property),
        _ => key,
    }
}

/// Whether this is what the store answers while it holds what was pushed.
pub fn holds(answer: &SecretBytes, push: &Push, dialect: &Dialect, budget: &Budget) -> bool {
    let Ok(whole) = push.payload.whole() else { return false };
    let is_cheap = budget.bytes(data::json_cost(answer) + data::json_cost(&whole)).is_ok();
    if !is_cheap {
        return false;
    }
    let base64 = dialect.property == PropertyLookup::Base64Fields;
    match (&push.remote.property, &push.payload) {
        (Some(property), _) => {
            lookup(answer, property, dialect.property, budget).is_ok_and(|found| are_equal(&found, &whole))
        }
        (None, Payload::Value(value)) if base64 => {
            let name = push.origin.key.as_deref().unwrap_or_default();
            fields::one(answer, name).is_some_and(|field| field == *value)
        }
        // What else is there may be somebody else's, and is not pushed over.
        (None, Payload::Fields(all)) if base64 => {
            fields::all(answer).is_some_and(|found| all.iter().all(|(key, value)| found.get(key) == Some(value)))
        }
        (None, _) if dialect.property == PropertyLookup::Items => {
            items::first(answer).is_some_and(|first| are_equal(&first, &whole))
        }
        (None, _) => are_equal(answer, &whole),
    }
}

/// Byte for byte, or as JSON.
fn are_equal(a: &SecretBytes, b: &SecretBytes) -> bool {
    let canonical = |value: &SecretBytes| json::value(value.expose()).and_then(json::canonical);
    a == b || canonical(a).is_some_and(|first| canonical(b).is_some_and(|second| first == second))
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Origin, Reach};

    use super::*;

    fn push(property: Option<&str>, payload: Payload) -> Push {
        let remote = Remote { key: "k".into(), property: property.map(str::to_owned), metadata: None };
        let origin = Origin { key: Some("a".into()), ..Origin::default() };
        Push { remote, payload, origin, reach: Reach::Ours }
    }

    #[test]
    fn what_is_there_is_told_from_what_is_not() {
        let value = |text: &str| Payload::Value(text.into());
        let both = || Payload::Fields([("a".to_owned(), "1".into()), ("b".to_owned(), "2".into())].into());
        for (answer, property, payload, expected) in [
            ("plain", None, value("plain"), true),
            ("plain", None, value("other"), false),
            (r#"{"b":"2","a":"1"}"#, None, both(), true),
            (r#"{"a":"1"}"#, None, both(), false),
            (r#"{"a":"1","b":"2","c":"3"}"#, None, both(), false),
            (r#"{"x":1}"#, None, value("{ \"x\": 1 }"), true),
            (r#"{"u":"1","v":"2"}"#, Some("u"), value("1"), true),
            (r#"{"u":"1","v":"2"}"#, Some("u"), value("2"), false),
            ("no JSON", Some("u"), value("1"), false),
        ] {
            let push = push(property, payload);
            assert_eq!(holds(&answer.into(), &push, &Dialect::default(), &Budget::default()), expected, "{answer}");
        }
    }

    #[test]
    fn fields_in_base64_are_compared_as_bytes() {
        let dialect = Dialect { property: PropertyLookup::Base64Fields, ..Dialect::default() };
        let holds = |answer: &str, payload| holds(&answer.into(), &push(None, payload), &dialect, &Budget::default());
        assert!(holds(r#"{"a":"MQ==","b":"Mg=="}"#, Payload::Value("1".into())));
        assert!(!holds(r#"{"a":"Mg=="}"#, Payload::Value("1".into())));
        let fields = || Payload::Fields([("a".to_owned(), "1".into())].into());
        assert!(holds(r#"{"a":"MQ=="}"#, fields()));
        assert!(holds(r#"{"a":"MQ==","theirs":"Mg=="}"#, fields()), "what else is there is not ours");
        assert!(!holds(r#"{"a":"Mg=="}"#, fields()) && !holds(r#"{"theirs":"Mg=="}"#, fields()));
    }

    #[test]
    fn of_items_the_first_is_the_whole() {
        let dialect = Dialect { property: PropertyLookup::Items, ..Dialect::default() };
        let answer = r#"{"Items":[{"Slug":"data","ItemValue":"v"},{"Slug":"pass","ItemValue":"p"}]}"#;
        for (property, value, expected) in
            [(None, "v", true), (None, "p", false), (Some("pass"), "p", true), (Some("pass"), "v", false)]
        {
            let push = push(property, Payload::Value(value.into()));
            assert_eq!(holds(&answer.into(), &push, &dialect, &Budget::default()), expected, "{property:?} {value}");
        }
    }
}
