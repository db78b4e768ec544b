//! Documents of which single values are encrypted: each a file of age by itself, in one line after `age:`, or armored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{Error, SecretBytes};

use crate::envelope::{ARMOR, Tries, open, seal};
use crate::format::malformed;
use crate::keys::{Identities, Recipients};
use crate::tree::Node;

/// What a sealed value begins with, in one line.
pub const PREFIX: &str = "age:";

/// What all values of one line begin with after [`PREFIX`]: the beginning of a file of age, in base64.
pub(crate) const BEGIN: &str = "YWdlLWVuY3J5cHRpb24ub3Jn";

/// Seals one value into one line.
///
/// # Errors
/// Those of [`seal`].
pub fn seal_value(plain: &SecretBytes, recipients: &Recipients) -> Result<String, Error> {
    Ok(format!("{PREFIX}{}", STANDARD.encode(seal(plain, recipients, false)?)))
}

/// Whether a text is a sealed value.
pub fn is_sealed(text: &str) -> bool {
    let in_one_line = || text.trim().strip_prefix(PREFIX).is_some_and(|encoded| encoded.starts_with(BEGIN));
    text.trim_start().starts_with(ARMOR) || in_one_line()
}

/// Opens one value; nothing, where it is none that is sealed.
///
/// # Errors
/// Those of [`open`].
pub fn open_value(text: &str, identities: &Identities, tries: &mut Tries) -> Option<Result<SecretBytes, Error>> {
    if text.trim_start().starts_with(ARMOR) {
        return Some(open(text.as_bytes(), identities, tries));
    }
    let encoded = text.trim().strip_prefix(PREFIX).filter(|encoded| encoded.starts_with(BEGIN))?;
    let sealed =
        STANDARD.decode(encoded).map_err(|_| malformed("it is no whole value of age: it was cut off or changed"));
    Some(sealed.and_then(|sealed| open(&sealed, identities, tries)))
}

/// Opens all sealed values of a document, in place; gives how many there were.
///
/// # Errors
/// The first, with the path of the value.
pub fn open_all(node: &mut Node, identities: &Identities, tries: &mut Tries) -> Result<usize, Error> {
    at(node, &mut Vec::new(), identities, tries)
}

fn at(node: &mut Node, path: &mut Vec<String>, identities: &Identities, tries: &mut Tries) -> Result<usize, Error> {
    let mut opened = 0;
    match node {
        Node::Text(text) => {
            if let Some(plain) = text.expose_str().and_then(|text| open_value(text, identities, tries)) {
                *text = plain.map_err(|error| error.context(format_args!("value {:?}", path.join("."))))?;
                opened = 1;
            }
        }
        Node::List(all) => {
            for (n, one) in all.iter_mut().enumerate() {
                path.push(n.to_string());
                opened += at(one, path, identities, tries)?;
                path.pop();
            }
        }
        Node::Map(all) => {
            for (key, one) in all {
                path.push(key.clone());
                opened += at(one, path, identities, tries)?;
                path.pop();
            }
        }
        Node::Null | Node::Bool(_) | Node::Number(_) => {}
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::ErrorKind;

    use super::*;
    use crate::format::Format;
    use crate::keys::pair;

    #[test]
    fn sealed_values_are_opened_where_they_stand_and_others_stay() {
        let (identities, recipients) = pair();
        let line = seal_value(&"hunter2".into(), &recipients).unwrap();
        assert!(line.starts_with(&format!("{PREFIX}{BEGIN}")));
        let armored = String::from_utf8(seal(&"two\nlines".into(), &recipients, true).unwrap()).unwrap();
        let armored = armored.replace('\n', "\n    ");
        let text =
            format!("db:\n  user: app\n  password: {line}\n  key: |\n    {armored}\nlist:\n- {line}\n- age:no\n");
        let mut node = Format::Yaml.read(text.as_bytes()).unwrap();
        assert_eq!(open_all(&mut node, &identities, &mut Tries::default()), Ok(3));
        let expected = r#"{"db":{"key":"two\nlines","password":"hunter2","user":"app"},"list":["hunter2","age:no"]}"#;
        assert_eq!(node.to_json().expose_str(), Some(expected));
    }

    #[test]
    fn what_does_not_open_is_named_by_its_path() {
        let ((identities, recipients), (others, _)) = (pair(), pair());
        let line = seal_value(&"hunter2".into(), &recipients).unwrap();
        let read = |line: &str| Format::Yaml.read(format!("db:\n- password: {line}\n").as_bytes()).unwrap();
        let denied = open_all(&mut read(&line), &others, &mut Tries::default()).unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::Denied);
        assert!(denied.message().starts_with("value \"db.0.password\": "), "{denied}");
        let cut = open_all(&mut read(&line[..line.len() - 9]), &identities, &mut Tries::default()).unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::Malformed, "{cut}");
    }
}
