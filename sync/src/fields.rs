//! Values of stores that keep several fields per secret, each of any bytes: a JSON object of base64 strings. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_go as go;
use keyferry_provider_core::{SecretBuf, SecretBytes, json};

/// Every field by its name; `None` where the value is not of this form.
pub fn all(value: &SecretBytes) -> Option<BTreeMap<String, SecretBytes>> {
    let object = json::object(value.expose())?;
    object.into_iter().map(|(name, raw)| Some((name, decode(json::to_bytes(raw))?))).collect()
}

/// One field.
pub fn one(value: &SecretBytes, name: &str) -> Option<SecretBytes> {
    decode(json::to_bytes(json::object(value.expose())?.remove(name)?))
}

/// The whole as External Secrets Operator shows it: a JSON object of strings, written as Go does that is told not to
/// escape HTML. What is not UTF-8 is lost.
pub fn whole(value: &SecretBytes) -> Option<SecretBytes> {
    let mut out = SecretBuf::with_capacity(value.len());
    for (n, (name, field)) in all(value)?.iter().enumerate() {
        out.push(if n == 0 { b'{' } else { b',' });
        quote(name.as_bytes(), &mut out);
        out.push(b':');
        quote(field.expose(), &mut out);
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    Some(out.into())
}

fn decode(text: SecretBytes) -> Option<SecretBytes> {
    STANDARD.decode(text.expose()).ok().map(SecretBytes::new)
}

fn quote(bytes: &[u8], out: &mut SecretBuf) {
    go::json::string(bytes, false, |part| out.extend(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(fields: &[(&str, &[u8])]) -> SecretBytes {
        let fields: BTreeMap<_, _> = fields.iter().map(|(name, bytes)| (*name, STANDARD.encode(bytes))).collect();
        serde_json::to_string(&fields).unwrap().as_str().into()
    }

    #[test]
    fn any_bytes_go_through() {
        let binary: Vec<u8> = (0..=255).collect();
        let value = value(&[("b", &binary), ("a", b"text")]);
        let all = all(&value).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(all["b"].expose(), binary);
        assert_eq!(one(&value, "b").unwrap().expose(), binary);
        assert_eq!(one(&value, "c"), None);
    }

    #[test]
    fn the_whole_is_as_go_writes_it() {
        let value = value(&[
            ("dot.key", b"<&> \"q\" \\ \n\t\x01\x7f"),
            ("\u{fc}", "\u{2028}\u{e9}".as_bytes()),
            // The start of a character that never ends: Go counts its bytes one by one.
            ("bad", b"a\xe2\x82b\xff"),
            ("", b""),
        ]);
        assert_eq!(
            whole(&value).unwrap().expose_str(),
            Some(
                "{\"\":\"\",\"bad\":\"a\\ufffd\\ufffdb\\ufffd\",\"dot.key\":\"<&> \\\"q\\\" \\\\ \\n\\t\\u0001\u{7f}\",\"\u{fc}\":\"\\u2028\u{e9}\"}"
            )
        );
        assert_eq!(whole(&"{}".into()).unwrap().expose_str(), Some("{}"));
    }

    #[test]
    fn what_is_of_another_form_is_none() {
        for text in ["", "[]", "x", r#"{"a":"not base64!"}"#, r#"{"a":1}"#] {
            assert_eq!(all(&text.into()), None, "{text}");
        }
    }
}
