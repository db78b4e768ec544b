//! What stands in place of a match: Go's `Regexp.Expand`.

use crate::strconv::unicode::{is_digit, is_letter, runes};

/// A replacement, taken apart.
pub struct Replacement<'a>(Vec<Part<'a>>);

enum Part<'a> {
    Text(&'a [u8]),
    /// The first of these groups that took part in the match.
    Groups(Vec<usize>),
}

impl<'a> Replacement<'a> {
    /// `$1`, `${1}`, `$name`, `${name}` and `$$`; what is none of these stands for itself. `groups` are the names of the
    /// groups, the whole match first.
    pub fn new(text: &'a [u8], groups: &[String]) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(dollar) = rest.iter().position(|byte| *byte == b'$') {
            parts.push(Part::Text(&rest[..dollar]));
            rest = &rest[dollar + 1..];
            match (rest.strip_prefix(b"$"), reference(rest)) {
                (Some(after), _) => {
                    parts.push(Part::Text(b"$"));
                    rest = after;
                }
                (_, Some((name, after))) => {
                    rest = after;
                    parts.push(Part::Groups(match number(name) {
                        Some(group) => vec![group],
                        None => (0..groups.len()).filter(|place| groups[*place].as_bytes() == name).collect(),
                    }));
                }
                (_, None) => parts.push(Part::Text(b"$")),
            }
        }
        parts.push(Part::Text(rest));
        Self(parts)
    }

    /// Of how many parts it is.
    pub fn parts(&self) -> usize {
        self.0.len()
    }

    /// Hands what it comes to for one match to `put`, part by part. `group` is what a group matched, where it took part.
    ///
    /// # Errors
    /// That of `put`.
    pub fn expand<'t, E>(
        &self,
        group: impl Fn(usize) -> Option<&'t [u8]>,
        mut put: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for part in &self.0 {
            match part {
                Part::Text(text) => put(text)?,
                Part::Groups(groups) => {
                    if let Some(found) = groups.iter().find_map(|place| group(*place)) {
                        put(found)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The name after a dollar, and what follows it.
fn reference(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (brace, text) = text.strip_prefix(b"{").map_or((false, text), |text| (true, text));
    let is_in_name = |rune: char| is_letter(rune) || is_digit(rune) || rune == '_';
    let len = runes(text).take_while(|(rune, _)| is_in_name(*rune)).map(|(_, bytes)| bytes.len()).sum();
    let (name, rest) = text.split_at(len);
    match (name, brace) {
        ([], _) => None,
        (_, true) => rest.strip_prefix(b"}").map(|rest| (name, rest)),
        (_, false) => Some((name, rest)),
    }
}

/// The number a name is; numbers have no leading zeros.
fn number(name: &[u8]) -> Option<usize> {
    match name {
        [b'0', _, ..] => None,
        name if name.len() < 10 && name.iter().all(u8::is_ascii_digit) => {
            Some(name.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
        }
        _ => None,
    }
}
