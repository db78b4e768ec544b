//! What stands in place of a match: Go's `Regexp.Expand`.

use crate::strconv::unicode::{is_digit, is_letter};

/// A replacement, taken apart.
pub struct Replacement<'a>(Vec<Part<'a>>);

enum Part<'a> {
    Text(&'a str),
    /// The first of these groups that took part in the match.
    Groups(Vec<usize>),
}

impl<'a> Replacement<'a> {
    /// `$1`, `${1}`, `$name`, `${name}` and `$$`; what is none of these stands for itself. `groups` are the names of the
    /// groups, the whole match first.
    pub fn new(text: &'a str, groups: &[String]) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            parts.push(Part::Text(before));
            rest = after;
            match (rest.strip_prefix('$'), reference(rest)) {
                (Some(after), _) => {
                    parts.push(Part::Text("$"));
                    rest = after;
                }
                (_, Some((name, after))) => {
                    rest = after;
                    parts.push(Part::Groups(match number(name) {
                        Some(group) => vec![group],
                        None => (0..groups.len()).filter(|place| groups[*place] == name).collect(),
                    }));
                }
                (_, None) => parts.push(Part::Text("$")),
            }
        }
        parts.push(Part::Text(rest));
        Self(parts)
    }

    /// Hands what it comes to for one match to `put`, part by part.
    pub fn expand<'t, E>(
        &'t self,
        group: impl Fn(usize) -> &'t str,
        took_part: impl Fn(usize) -> bool,
        mut put: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        for part in &self.0 {
            match part {
                Part::Text(text) => put(text)?,
                Part::Groups(groups) => {
                    if let Some(found) = groups.iter().find(|group| took_part(**group)) {
                        put(group(*found))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Names and numbers that stand for no group, and thus for nothing: most likely not what was meant.
    pub fn is_of_no_group(&self, groups: usize) -> bool {
        self.0.iter().any(|part| match part {
            Part::Text(_) => false,
            Part::Groups(named) => named.iter().all(|group| *group >= groups),
        })
    }
}

/// The name after a dollar, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (brace, text) = text.strip_prefix('{').map_or((false, text), |text| (true, text));
    let (name, rest) = text.split_at(text.find(|letter| !is_in_name(letter)).unwrap_or(text.len()));
    match (name, brace) {
        ("", _) => None,
        (_, true) => rest.strip_prefix('}').map(|rest| (name, rest)),
        (_, false) => Some((name, rest)),
    }
}

fn is_in_name(letter: char) -> bool {
    letter == '_' || is_letter(letter) || is_digit(letter)
}

/// The number a name is; numbers have no leading zeros.
fn number(name: &str) -> Option<usize> {
    let is_number = name.len() < 10 && name.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && (name.len() == 1 || !name.starts_with('0')) { name.parse().ok() } else { None }
}
