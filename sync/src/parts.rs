//! Values that are fields and files by their names: what a property means there, and what there is. Pure.

use keyferry_provider_core::SecretBytes;
use keyferry_provider_core::parts::{Part, Parts};

use crate::data::Data;

/// The field that is read where none is named.
const PASSWORD: &str = "password";

/// Why there is no part of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum NoPart {
    /// None has it.
    Missing,
    /// So many have it.
    Several(usize),
    /// It is larger than what fits into any Secret.
    TooLarge,
}

/// The names among which a property is one, and the property without what says so.
fn among<'a, 'p>(parts: &'a Parts, property: &'p str) -> (&'a std::collections::BTreeMap<String, Part>, &'p str, bool) {
    if let Some(name) = property.strip_prefix("field/") {
        (&parts.fields, name, false)
    } else if let Some(name) = property.strip_prefix("file/") {
        (&parts.files, name, true)
    } else if parts.files_first {
        (&parts.files, property, true)
    } else {
        (&parts.fields, property, false)
    }
}

/// The part that a property names; without a name it is the field `password`, or the first file.
pub fn one(parts: &Parts, property: &str) -> Result<SecretBytes, NoPart> {
    let (all, name, is_file) = among(parts, property);
    let name = match (name, is_file) {
        ("", true) => parts.first_file.as_deref().ok_or(NoPart::Missing)?,
        ("", false) => PASSWORD,
        (name, _) => name,
    };
    value(all.get(name).ok_or(NoPart::Missing)?)
}

/// All parts that a property names: the one of this name, or all of their kind. A part without a name can be no key.
pub fn all(parts: &Parts, property: &str) -> Result<Data, (String, NoPart)> {
    let (all, wanted, _) = among(parts, property);
    let named = all.iter().filter(|(name, _)| !name.is_empty() && (wanted.is_empty() || *name == wanted));
    named.map(|(name, part)| Ok((name.clone(), value(part).map_err(|problem| (name.clone(), problem))?))).collect()
}

/// What a part holds.
pub fn value(part: &Part) -> Result<SecretBytes, NoPart> {
    match part {
        Part::Value(value) => Ok(value.clone()),
        Part::Several(count) => Err(NoPart::Several(*count)),
        Part::TooLarge => Err(NoPart::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(files_first: bool) -> Parts {
        let part = |text: &str| Part::Value(text.into());
        Parts {
            fields: [
                ("password", part("p")),
                ("user.name", part("u")),
                ("twice", Part::Several(2)),
                ("file/x", part("odd")),
                ("", part("unnamed")),
            ]
            .map(|(name, part)| (name.to_owned(), part))
            .into(),
            files: [("b", part("bytes")), ("a", Part::TooLarge)].map(|(name, part)| (name.to_owned(), part)).into(),
            files_first,
            first_file: Some("b".to_owned()),
            rank: 0,
        }
    }

    #[test]
    fn a_property_names_a_field_or_a_file() {
        let read = |files_first: bool, property: &str| {
            one(&parts(files_first), property).map(|value| value.expose_str().unwrap().to_owned())
        };
        for (files_first, property, expected) in [
            (false, "", Ok("p")),
            (false, "password", Ok("p")),
            (false, "user.name", Ok("u")),
            (false, "field/user.name", Ok("u")),
            (false, "user", Err(NoPart::Missing)),
            (false, "b", Err(NoPart::Missing)),
            (false, "file/b", Ok("bytes")),
            (false, "file/", Ok("bytes")),
            (false, "file/a", Err(NoPart::TooLarge)),
            (false, "field/file/x", Ok("odd")),
            (false, "twice", Err(NoPart::Several(2))),
            (true, "", Ok("bytes")),
            (true, "b", Ok("bytes")),
            (true, "password", Err(NoPart::Missing)),
            (true, "field/password", Ok("p")),
            (true, "field/", Ok("p")),
        ] {
            assert_eq!(read(files_first, property), expected.map(str::to_owned), "{files_first} {property}");
        }
    }

    #[test]
    fn all_of_a_kind_are_taken_by_their_names() {
        let names = |files_first: bool, property: &str| {
            let mut parts = parts(files_first);
            parts.fields.remove("twice");
            parts.files.remove("a");
            all(&parts, property).unwrap().into_keys().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(false, ""), "file/x password user.name");
        assert_eq!(names(false, "password"), "password");
        assert_eq!((names(false, "file/"), names(true, ""), names(true, "field/password")).0, "b");
        assert_eq!(names(false, "no such"), "");
        assert_eq!(all(&parts(false), "").unwrap_err(), ("twice".to_owned(), NoPart::Several(2)));
        assert_eq!(all(&parts(true), "").unwrap_err(), ("a".to_owned(), NoPart::TooLarge));
    }
}
