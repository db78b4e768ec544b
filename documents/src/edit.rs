//! A document in somebody's editor: opened into a text, and sealed again.
//!
//! What was encrypted as a whole is shown as it is. Of a document of sealed values each is shown as `<age 1>value</age>`, by its number:
//! one that stays as it was keeps its ciphertext, so that a change of one value is a change of one line in git. What is
//! to be sealed anew is written as `<age>value</age>`. That is text for text, in any format.

use keyferry_provider_core::{Error, SecretBuf, SecretBytes};

use crate::envelope::{ARMOR, Tries, is_sealed, open, seal};
use crate::format::Format;
use crate::keys::{Identities, Recipients};
use crate::values::{BEGIN, PREFIX, open_value, seal_value};

const OPEN: &str = "<age";
const CLOSE: &str = "</age>";

/// A document that was opened.
#[derive(Debug)]
pub struct Opened {
    /// What the editor is to show.
    pub text: SecretBytes,
    how: How,
}

#[derive(Debug)]
enum How {
    Whole {
        armored: bool,
        format: Format,
    },
    /// Each value as it was and what it says.
    Values {
        format: Format,
        values: Vec<(String, SecretBytes)>,
    },
}

impl Opened {
    /// A document that is not there yet: encrypted as a whole where its name ends in `.age` or tells no format, by values elsewhere.
    pub fn new(name: &str) -> Self {
        let format = Format::of_name(name);
        let how = if name.ends_with(".age") || format == Format::Binary {
            How::Whole { armored: true, format }
        } else {
            How::Values { format, values: Vec::new() }
        };
        Self { text: SecretBytes::default(), how }
    }

    /// Opens a document of this name.
    ///
    /// # Errors
    /// Where it does not open, or is a file of SOPS.
    pub fn read(name: &str, bytes: &[u8], identities: &Identities) -> Result<Self, Error> {
        let (format, mut tries) = (Format::of_name(name), Tries::default());
        if is_sealed(bytes) {
            let armored = bytes.trim_ascii_start().starts_with(ARMOR.as_bytes());
            return Ok(Self { text: open(bytes, identities, &mut tries)?, how: How::Whole { armored, format } });
        }
        if crate::sops::is_of_sops(bytes, format) {
            return Err(Error::invalid(
                "it is a file of SOPS: edit it with `sops edit`, which keeps its key groups and comments",
            ));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid("it is no text, and not encrypted by age"))?;
        let (mut shown, mut values, mut rest) = (SecretBuf::with_capacity(text.len()), Vec::new(), text);
        let start = format!("{PREFIX}{BEGIN}");
        while let Some(at) = rest.find(&start) {
            shown.extend(&rest.as_bytes()[..at]);
            let is_of_value = |c: char| c.is_ascii_alphanumeric() || "+/=:".contains(c);
            let sealed = &rest[at..];
            let sealed = &sealed[..sealed.find(|c| !is_of_value(c)).unwrap_or(sealed.len())];
            let number = values.len() + 1;
            let plain = open_value(sealed, identities, &mut tries).unwrap_or_else(|| Ok(SecretBytes::default()));
            let plain = plain.map_err(|error| error.context(format_args!("sealed value {number}")))?;
            if plain.expose_str().is_none() {
                let line = text[..text.len() - rest.len() + at].matches('\n').count() + 1;
                return Err(Error::invalid(format!(
                    "sealed value {number}, in line {line}, is no text, which an editor would not keep as it is: change the \
                     document by hand, and seal what is new with `keyferry seal`"
                )));
            }
            if plain.expose().windows(CLOSE.len()).any(|part| part == CLOSE.as_bytes()) {
                return Err(Error::invalid(format!(
                    "sealed value {number} holds {CLOSE}, which would end it too early here: seal what is to stand in \
                     its place with `keyferry seal`"
                )));
            }
            shown.extend(format!("{OPEN} {number}>").as_bytes());
            shown.extend(plain.expose());
            shown.extend(CLOSE.as_bytes());
            values.push((sealed.to_owned(), plain));
            rest = &rest[at + sealed.len()..];
        }
        shown.extend(rest.as_bytes());
        Ok(Self { text: shown.into(), how: How::Values { format, values } })
    }

    /// How many values were sealed; nothing, where the document is sealed as a whole.
    pub fn values(&self) -> Option<usize> {
        match &self.how {
            How::Whole { .. } => None,
            How::Values { values, .. } => Some(values.len()),
        }
    }

    /// Seals what the editor left. Of a document of values, all between `<age>` and `</age>`.
    ///
    /// # Errors
    /// Where it could not be read again, or nothing in it is sealed: nothing is to be written then.
    pub fn seal(&self, edited: &SecretBytes, recipients: &Recipients) -> Result<Vec<u8>, Error> {
        match &self.how {
            How::Whole { armored, format } => {
                if *format != Format::Binary {
                    format.read(edited.expose())?;
                }
                seal(edited, recipients, *armored)
            }
            How::Values { format, values } => {
                let text = edited.expose_str().ok_or_else(|| Error::invalid("it is no text"))?;
                let sealed = seal_marked(text, values, recipients)?;
                if sealed_values(sealed.as_bytes()) == 0 && !sealed.contains(ARMOR) {
                    return Err(Error::invalid(format!(
                        "nothing is marked to be sealed: put {OPEN}>...{CLOSE} around what is secret"
                    )));
                }
                format.read(sealed.as_bytes())?;
                Ok(sealed.into_bytes())
            }
        }
    }
}

/// How many values of one line are sealed in a document.
pub fn sealed_values(document: &[u8]) -> usize {
    let start = format!("{PREFIX}{BEGIN}");
    document.windows(start.len()).filter(|part| *part == start.as_bytes()).count()
}

/// Takes a text apart at its next mark, `<age>` or `<age 1>`: what stands before it, its number, and what follows. Another
/// word that begins so is none.
fn at_mark(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices(OPEN).find_map(|(at, _)| {
        let after = &text[at + OPEN.len()..];
        let (number, after) = after.split_at(after.find(|c: char| c != ' ' && !c.is_ascii_digit())?);
        let is_number = |digits: &str| !digits.is_empty() && !digits.contains(' ');
        let is_mark = number.is_empty() || number.strip_prefix(' ').is_some_and(is_number);
        let after = after.strip_prefix('>').filter(|_| is_mark)?;
        Some((&text[..at], number.trim(), after))
    })
}

/// Replaces all that is marked by what it is sealed to.
fn seal_marked(text: &str, values: &[(String, SecretBytes)], recipients: &Recipients) -> Result<String, Error> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    // `rest` is the end of the text from somewhere on.
    let line = |rest: &str| text[..text.len() - rest.len()].matches('\n').count() + 1;
    let unmarked = |part: &str, from: &str| match part.find(CLOSE) {
        // What stands before it was meant to be sealed.
        Some(at) => Err(Error::invalid(format!("line {}: {CLOSE} has no {OPEN}> before it", line(&from[at..])))),
        None => Ok(()),
    };
    while let Some((before, number, marked)) = at_mark(rest) {
        unmarked(before, rest)?;
        out.push_str(before);
        let (plain, after) = marked
            .split_once(CLOSE)
            .ok_or_else(|| Error::invalid(format!("line {}: {OPEN}> has no {CLOSE}", line(marked))))?;
        let known = number.parse::<usize>().ok().and_then(|number| values.get(number.wrapping_sub(1)));
        match known.filter(|(_, before)| before.expose() == plain.as_bytes()) {
            Some((sealed, _)) => out.push_str(sealed),
            None => out.push_str(&seal_value(&plain.into(), recipients)?),
        }
        rest = after;
    }
    unmarked(rest, rest)?;
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::pair;
    use crate::values::open_all;

    const CANARY: &str = "canary-7f3a";

    #[test]
    fn a_change_of_one_value_is_a_change_of_one_line() {
        let (identities, recipients) = pair();
        let new = Opened::new("secrets.yaml");
        let first =
            new.seal(&"# why\na: <age>one</age>\nb: <age>two</age> # here\nc: plain\n".into(), &recipients).unwrap();
        let opened = Opened::read("secrets.yaml", &first, &identities).unwrap();
        let shown = opened.text.expose_str().unwrap();
        assert_eq!(shown, "# why\na: <age 1>one</age>\nb: <age 2>two</age> # here\nc: plain\n");
        let second = opened.seal(&shown.replace("two", "three").as_str().into(), &recipients).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let differs: Vec<bool> =
            text(&first).lines().zip(text(&second).lines()).map(|(one, other)| one != other).collect();
        assert_eq!(differs, [false, false, true, false]);
        let mut node = Format::Yaml.read(&second).unwrap();
        assert_eq!(open_all(&mut node, &identities, &mut Tries::default()), Ok(2));
        assert_eq!(node.to_json().expose_str(), Some(r#"{"a":"one","b":"three","c":"plain"}"#));
    }

    #[test]
    fn several_documents_are_edited_together() {
        let (identities, recipients) = pair();
        let text = "a: <age>one</age>\n---\n# why\n---\nb: <age>two</age>\n";
        let sealed = Opened::new("a.yaml").seal(&text.into(), &recipients).unwrap();
        let opened = Opened::read("a.yaml", &sealed, &identities).unwrap();
        let shown = "a: <age 1>one</age>\n---\n# why\n---\nb: <age 2>two</age>\n";
        assert_eq!(opened.text.expose_str(), Some(shown));
        let mut node = Format::Yaml.read(&sealed).unwrap();
        assert_eq!(open_all(&mut node, &identities, &mut Tries::default()), Ok(2));
        assert_eq!(node.to_json().expose_str(), Some(r#"[{"a":"one"},{"b":"two"}]"#));
        let whole = Opened::new("a.yaml.age").seal(&"a: 1\n---\nb: 2\n".into(), &recipients).unwrap();
        let opened = Opened::read("a.yaml.age", &whole, &identities).unwrap();
        assert_eq!(opened.text.expose_str(), Some("a: 1\n---\nb: 2\n"));
        let broken = text.replace("# why", "c: [");
        assert!(opened.seal(&broken.as_str().into(), &recipients).is_err());
    }

    #[test]
    fn other_words_are_no_marks_and_a_value_that_ends_its_mark_is_not_shown() {
        let (identities, recipients) = pair();
        let text = "# an <agent>, <age group> or <age>\u{e9}</age>\na: <age 12>one</age>\n";
        let sealed = Opened::new("a.yaml").seal(&text.into(), &recipients).unwrap();
        assert_eq!(sealed_values(&sealed), 2);
        let opened = Opened::read("a.yaml", &sealed, &identities).unwrap();
        assert_eq!(opened.values(), Some(2));
        let shown = "# an <agent>, <age group> or <age 1>\u{e9}</age>\na: <age 2>one</age>\n";
        assert_eq!(opened.text.expose_str(), Some(shown));
        let line = seal_value(&format!("x</age>{CANARY}").as_str().into(), &recipients).unwrap();
        let error = Opened::read("a.yaml", format!("a: {line}\n").as_bytes(), &identities).unwrap_err();
        assert!(error.message().contains("sealed value 1 holds </age>"), "{error}");
        assert!(!error.message().contains(CANARY), "{error}");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_before_anybody_edits() {
        let (identities, recipients) = pair();
        let seal = |bytes: &[u8]| seal_value(&SecretBytes::new(bytes.to_vec()), &recipients).unwrap();
        let document = format!("# why\na: {}\nb: {}\n", seal(CANARY.as_bytes()), seal(&[0xff, 0]));
        let error = Opened::read("a.yaml", document.as_bytes(), &identities).unwrap_err();
        assert!(error.message().contains("sealed value 2, in line 3, is no text"), "{error}");
        assert!(!error.message().contains(CANARY), "{error}");
    }

    #[test]
    fn a_whole_document_stays_one() {
        let (identities, recipients) = pair();
        let sealed = Opened::new("a.json.age").seal(&r#"{"a": 1}"#.into(), &recipients).unwrap();
        assert!(sealed.starts_with(ARMOR.as_bytes()));
        let opened = Opened::read("a.json.age", &sealed, &identities).unwrap();
        assert_eq!(opened.text.expose_str(), Some(r#"{"a": 1}"#));
        let error = opened.seal(&format!("{{\"a\": {CANARY}").as_str().into(), &recipients).unwrap_err();
        assert!(error.message().contains("it is not JSON") && !error.message().contains(CANARY), "{error}");
    }

    #[test]
    fn what_would_be_lost_is_not_sealed() {
        let (_, recipients) = pair();
        let new = Opened::new("secrets.yaml");
        for (text, says) in [
            (format!("a: b\nc: <age>{CANARY}"), "line 2: <age> has no </age>"),
            (format!("a: <age {CANARY}"), "nothing is marked to be sealed"),
            (format!("a: {CANARY}\n"), "nothing is marked to be sealed"),
            (format!("a: b\nc: <age 1{CANARY}</age>"), "line 2: </age> has no <age> before it"),
            (format!("a: <age>x</age>\nb: <age>x</age>{CANARY}</age>"), "line 2: </age> has no <age> before it"),
            (format!("a: [<age>{CANARY}</age>"), "it is not YAML"),
        ] {
            let error = new.seal(&text.as_str().into(), &recipients).unwrap_err();
            assert!(error.message().contains(says) && !error.message().contains(CANARY), "{error}");
        }
        let sops = b"a: ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\nsops:\n  mac: x\n";
        let error = Opened::read("a.yaml", sops, &Identities::default()).unwrap_err();
        assert!(error.message().contains("sops edit"), "{error}");
    }
}
