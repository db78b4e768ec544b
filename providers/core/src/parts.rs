//! Values of stores that keep fields and files in one secret, each by a name that need not be its own.
//!
//! As a value they are JSON: an object with `fields`, `files`, `files_first`, `first_file` and `rank`. A part is a string in
//! base64, the number of parts that bear the same name, or `null` where it is too large to be read.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::{SecretBuf, SecretBytes, json};

/// A secret of several fields and files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Its fields by their names.
    pub fields: BTreeMap<String, Part>,
    /// Its files by their names.
    pub files: BTreeMap<String, Part>,
    /// Whether a name that says neither is one of a file.
    pub files_first: bool,
    /// The name of the file that comes first.
    pub first_file: Option<String>,
    /// Which of several places it is from, where a store looks through them in an order; the least comes first.
    pub rank: usize,
}

/// A field or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What it holds.
    Value(SecretBytes),
    /// So many have this name, so that it means none of them.
    Several(usize),
    /// It is larger than what fits into any Secret.
    TooLarge,
}

impl Parts {
    /// The parts as one value.
    pub fn write(&self) -> SecretBytes {
        let mut out = SecretBuf::default();
        for (key, parts) in [("{\"fields\":", &self.fields), (",\"files\":", &self.files)] {
            out.extend(key.as_bytes());
            write_all(parts, &mut out);
        }
        out.extend(format!(",\"files_first\":{},\"first_file\":", self.files_first).as_bytes());
        match &self.first_file {
            Some(name) => json::write_string(name, &mut out),
            None => out.extend(b"null"),
        }
        out.extend(format!(",\"rank\":{}}}", self.rank).as_bytes());
        out.into()
    }

    /// Reads what [`write`](Self::write) wrote; `None` where `value` is anything else.
    pub fn read(value: &SecretBytes) -> Option<Self> {
        let whole = json::object(value.expose())?;
        let first_file = whole.get("first_file").filter(|name| name.get() != "null");
        Some(Self {
            fields: read_all(whole.get("fields")?)?,
            files: read_all(whole.get("files")?)?,
            files_first: whole.get("files_first")?.get() == "true",
            first_file: first_file
                .map(|name| json::to_bytes(name))
                .and_then(|name| name.expose_str().map(str::to_owned)),
            rank: whole.get("rank")?.get().parse().ok()?,
        })
    }
}

fn write_all(parts: &BTreeMap<String, Part>, out: &mut SecretBuf) {
    out.push(b'{');
    for (n, (name, part)) in parts.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::write_string(name, out);
        out.push(b':');
        match part {
            Part::Value(value) => {
                out.push(b'"');
                out.extend(Zeroizing::new(STANDARD.encode(value.expose())).as_bytes());
                out.push(b'"');
            }
            Part::Several(count) => out.extend(count.to_string().as_bytes()),
            Part::TooLarge => out.extend(b"null"),
        }
    }
    out.push(b'}');
}

fn read_all(raw: &RawValue) -> Option<BTreeMap<String, Part>> {
    let parts = json::object(raw.get().as_bytes())?;
    parts.into_iter().map(|(name, raw)| Some((name, read_one(raw)?))).collect()
}

fn read_one(raw: &RawValue) -> Option<Part> {
    match raw.get().as_bytes().first()? {
        b'"' => STANDARD.decode(json::to_bytes(raw).expose()).ok().map(|value| Part::Value(SecretBytes::new(value))),
        b'n' => Some(Part::TooLarge),
        _ => raw.get().parse().ok().map(Part::Several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_read_back() {
        let part = |bytes: &[u8]| Part::Value(SecretBytes::new(bytes.to_vec()));
        let parts = Parts {
            fields: [("a \"b\"".to_owned(), part(b"\x00\xff")), ("twice".to_owned(), Part::Several(2))].into(),
            files: [("f".to_owned(), part(b"")), ("g".to_owned(), Part::TooLarge)].into(),
            files_first: true,
            first_file: Some("g".to_owned()),
            rank: 3,
        };
        assert_eq!(Parts::read(&parts.write()), Some(parts));
        assert_eq!(Parts::read(&Parts::default().write()), Some(Parts::default()));
        assert_eq!(
            Parts::default().write().expose_str(),
            Some(r#"{"fields":{},"files":{},"files_first":false,"first_file":null,"rank":0}"#)
        );
        for other in ["", "{}", "[]", r#"{"fields":{"a":"!"},"files":{},"files_first":true,"rank":0}"#] {
            assert_eq!(Parts::read(&other.into()), None, "{other}");
        }
    }
}
