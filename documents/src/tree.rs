//! A document that is read: a tree that keeps its order.

use std::fmt;

use keyferry_provider_core::json::write_plain_string;
use keyferry_provider_core::{SecretBuf, SecretBytes};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// A value of a document. All that may be a secret is zeroed.
#[derive(Debug, PartialEq, Eq)]
pub enum Node {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number as JSON writes it.
    Number(SecretBytes),
    /// A text.
    Text(SecretBytes),
    /// A list.
    List(Vec<Node>),
    /// Values by their names, in the order of the document.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// As compact JSON whose keys are sorted.
    pub fn to_json(&self) -> SecretBytes {
        let mut out = SecretBuf::default();
        self.write(&mut out);
        out.into()
    }

    fn write(&self, out: &mut SecretBuf) {
        match self {
            Self::Null => out.extend(b"null"),
            Self::Bool(is) => out.extend(if *is { b"true" } else { b"false" }),
            Self::Number(digits) => out.extend(digits.expose()),
            Self::Text(text) => write_text(text, out),
            Self::List(all) => {
                out.push(b'[');
                for (n, one) in all.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    one.write(out);
                }
                out.push(b']');
            }
            Self::Map(all) => {
                let mut sorted: Vec<_> = all.iter().collect();
                sorted.sort_by(|one, other| one.0.cmp(&other.0));
                out.push(b'{');
                for (n, (key, one)) in sorted.into_iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    write_plain_string(key, out);
                    out.push(b':');
                    one.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// What a map has under this name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(all) => all.iter().find(|(key, _)| key == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The text that this is.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => text.expose_str(),
            _ => None,
        }
    }
}

/// JSON holds no other bytes than UTF-8: what is none of it is replaced, as Go does.
fn write_text(text: &SecretBytes, out: &mut SecretBuf) {
    match text.expose_str() {
        Some(text) => write_plain_string(text, out),
        None => {
            let mut clean = SecretBuf::with_capacity(text.len());
            for chunk in text.expose().utf8_chunks() {
                clean.extend(chunk.valid().as_bytes());
                if !chunk.invalid().is_empty() {
                    clean.extend("\u{fffd}".as_bytes());
                }
            }
            let clean = SecretBytes::from(clean);
            write_plain_string(clean.expose_str().unwrap_or_default(), out);
        }
    }
}

/// A float without an exponent, with as few digits as tell it from all others: Go's `'f', -1`.
pub fn float(value: f64) -> Node {
    match value {
        _ if value.is_nan() => Node::Text("NaN".into()),
        f64::INFINITY => Node::Text("+Inf".into()),
        f64::NEG_INFINITY => Node::Text("-Inf".into()),
        _ => Node::Number(SecretBytes::new(value.to_string().into_bytes())),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl Reader {
    fn number<E>(digits: String) -> Result<Node, E> {
        Ok(Node::Number(SecretBytes::new(digits.into_bytes())))
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, is: bool) -> Result<Node, E> {
        Ok(Node::Bool(is))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Self::number(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Self::number(value.to_string())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Self::number(value.to_string())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Self::number(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(SecretBytes::new(text.into_bytes())))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        Node::deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = from.next_element()? {
            all.push(one);
        }
        Ok(Node::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        let mut known = std::collections::HashSet::new();
        while let Some((key, one)) = from.next_entry::<String, Node>()? {
            if !known.insert(key.clone()) {
                return Err(A::Error::custom("a key is there twice"));
            }
            all.push((key, one));
        }
        Ok(Node::Map(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_compact_and_sorted_and_any_text_fits() {
        let text = |bytes: &[u8]| Node::Text(SecretBytes::new(bytes.to_vec()));
        let node = Node::Map(vec![
            ("b".into(), Node::List(vec![Node::Null, Node::Bool(true), Node::Number("1.50".into())])),
            ("a".into(), text(b"<\xff\"\n")),
            ("c".into(), Node::Map(Vec::new())),
        ]);
        assert_eq!(node.to_json().expose_str(), Some("{\"a\":\"<\u{fffd}\\\"\\n\",\"b\":[null,true,1.50],\"c\":{}}"));
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (value, expected) in [
            (1e21, Node::Number("1000000000000000000000".into())),
            (1.5, Node::Number("1.5".into())),
            (3.0, Node::Number("3".into())),
            (1e-7, Node::Number("0.0000001".into())),
            (f64::INFINITY, Node::Text("+Inf".into())),
        ] {
            assert_eq!(float(value), expected);
        }
    }
}
