//! Values of stores whose secrets have parts of several kinds: a list of items, of which the first may hold JSON (an object
//! with `Items`, each with `FieldName`, `Slug` and `ItemValue`), or a value and fields (an object with `value`, `fields` and
//! `others`). Pure.

use keyferry_provider_core::{SecretBytes, json};

/// What the first item holds; `None` where there is none.
pub fn first(value: &SecretBytes) -> Option<SecretBytes> {
    let items = items(value)?;
    held(&json::object(items.first()?.get().as_bytes())?)
}

/// What the item of this name or slug holds: the last of several, as External Secrets Operator has it.
pub fn one(value: &SecretBytes, name: &str) -> Option<SecretBytes> {
    let is_it = |raw: Option<&&serde_json::value::RawValue>| {
        raw.is_some_and(|raw| json::to_bytes(raw).expose_str() == Some(name))
    };
    items(value)?.iter().rev().find_map(|item| {
        let item = json::object(item.get().as_bytes())?;
        (is_it(item.get("FieldName")) || is_it(item.get("Slug"))).then(|| held(&item)).flatten()
    })
}

/// What is read without a property; `Some(None)` where there is only something under names.
pub fn value(shown: &SecretBytes) -> Option<Option<SecretBytes>> {
    Some(json::object(shown.expose())?.get("value").map(|raw| json::to_bytes(raw)))
}

/// The fields that are extracted, as an object.
pub fn fields(shown: &SecretBytes) -> Option<SecretBytes> {
    let all = json::object(shown.expose())?;
    Some(SecretBytes::new(all.get("fields")?.get().as_bytes().to_vec()))
}

/// The field of this name, an extracted one first.
pub fn field(shown: &SecretBytes, name: &str) -> Option<SecretBytes> {
    let all = json::object(shown.expose())?;
    let of = |part: &str| json::object(all.get(part)?.get().as_bytes())?.remove(name).map(json::to_bytes);
    of("fields").or_else(|| of("others"))
}

type Item<'a> = std::collections::BTreeMap<String, &'a serde_json::value::RawValue>;

fn items(value: &SecretBytes) -> Option<Vec<&serde_json::value::RawValue>> {
    let items = *json::object(value.expose())?.get("Items")?;
    json::array(items.get().as_bytes())
}

fn held(item: &Item<'_>) -> Option<SecretBytes> {
    item.get("ItemValue").map(|raw| json::to_bytes(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(found: Option<SecretBytes>) -> Option<String> {
        found.map(|found| found.expose_str().unwrap().to_owned())
    }

    #[test]
    fn items_are_found_by_name_and_by_slug() {
        let value = SecretBytes::from(
            r#"{"Name":"n","Items":[{"FieldName":"Data","Slug":"data","ItemValue":"{\"a\":1}"},
                {"FieldName":"Password","Slug":"password","ItemValue":"p"},
                {"FieldName":"Password","Slug":"password-2","ItemValue":"q"}]}"#,
        );
        assert_eq!(text(first(&value)).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(text(one(&value, "password")).as_deref(), Some("p"));
        assert_eq!(text(one(&value, "Password")).as_deref(), Some("q"));
        assert_eq!(one(&value, "nothing"), None);
    }

    #[test]
    fn a_value_and_its_fields() {
        let shown =
            SecretBytes::from(r#"{"fields":{"user":"u","n":1.50},"others":{"user":"x","id":"i"},"value":"{}"}"#);
        assert_eq!(text(value(&shown).unwrap()).as_deref(), Some("{}"));
        assert_eq!(text(fields(&shown)).as_deref(), Some(r#"{"user":"u","n":1.50}"#));
        let found = ["user", "n", "id", "other"].map(|name| text(field(&shown, name)));
        assert_eq!(found.each_ref().map(Option::as_deref), [Some("u"), Some("1.50"), Some("i"), None]);
        assert_eq!(value(&r#"{"fields":{}}"#.into()), Some(None));
        for other in ["", "[]", "x"] {
            assert_eq!((value(&other.into()), fields(&other.into()), field(&other.into(), "a")), (None, None, None));
        }
    }

    #[test]
    fn what_has_another_form_holds_nothing() {
        for other in ["", "[]", "{}", r#"{"Items":[]}"#, r#"{"Items":{}}"#, r#"{"Items":[1]}"#, r#"{"Items":[{}]}"#] {
            assert_eq!((first(&other.into()), one(&other.into(), "a")), (None, None), "{other}");
        }
    }
}
