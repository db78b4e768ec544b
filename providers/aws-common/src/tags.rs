//! Tags, which are the metadata of a secret.

use std::collections::BTreeMap;

use keyferry_provider_core::{SecretBuf, SecretBytes, json};

/// Tags as a JSON object, sorted by key, as External Secrets Operator has it.
pub fn tags_json(tags: impl IntoIterator<Item = (String, String)>) -> SecretBytes {
    let mut out = SecretBuf::default();
    for (n, (key, value)) in tags.into_iter().collect::<BTreeMap<_, _>>().iter().enumerate() {
        out.push(if n == 0 { b'{' } else { b',' });
        json::write_string(key, &mut out);
        out.push(b':');
        json::write_string(value, &mut out);
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_escaped() {
        let tags = [("b", "<1>"), ("a \"x\"", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(tags_json(tags).expose_str(), Some(r#"{"a \"x\"":"","b":"\u003c1\u003e"}"#));
        assert_eq!(tags_json([]).expose_str(), Some("{}"));
    }
}
