//! Redaction: the last filter before a failure is told.

use std::collections::HashSet;

use keyferry_provider_core::{SecretBuf, SecretBytes, json};
use zeroize::Zeroizing;

use crate::outcome::{Failure, NAMED_CAUSES};
use crate::told::Told;

/// Shorter ones say nothing, and would be found everywhere.
const SHORTEST: usize = 4;

/// How many bytes of values are looked through, nested ones again: beyond that nothing quoted is told.
const MOST_BYTES: usize = 16 << 20;

/// How much text of causes is looked at: beyond that only those that a message names are kept.
const MOST_TEXT: usize = 1 << 20;

/// How many bytes of text are compared, all values together.
const MOST_COMPARED: usize = 100 << 20;

/// How deep within a value a part of it is still looked for in messages.
const NESTED: usize = 16;

const REDACTED: &str = "[redacted]";

/// The last filter: takes every fetched or derived value of four bytes or more out of a failure's causes, where it stands
/// as a whole word. They are in our own words, but a key name can hold a value that somebody put in the wrong field, and is
/// told quoted. Where there is too much to look through, nothing is told that is quoted: words, positions and limits stay.
/// Of very many causes only those stay that a message names, and the number of the others.
pub fn blank(mut failure: Failure, values: &[SecretBytes]) -> Failure {
    let text: usize = failure.causes.iter().map(|cause| cause.as_str().len()).sum();
    if text > MOST_TEXT {
        failure.causes.iter_mut().skip(NAMED_CAUSES).for_each(|cause| *cause = "left out".into());
    }
    let mut search = Search::of(&failure.causes);
    let looked_through = values.iter().all(|value| search.look_through(value.expose(), NESTED));
    if looked_through && search.forms.len().saturating_mul(text) <= MOST_COMPARED {
        let mut forms = search.forms;
        // The longest first: one value may be part of another.
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        for cause in &mut failure.causes {
            cause.edit(|text| forms.iter().for_each(|form| blank_words(text, form)));
        }
    } else {
        failure.causes.iter_mut().for_each(|cause| cause.edit(blank_quoted));
    }
    failure
}

/// A search for values in causes: most are known not to be there by how they begin.
struct Search {
    /// The first bytes of all that stands in the causes.
    beginnings: HashSet<[u8; SHORTEST]>,
    /// The longest that can stand there.
    longest: usize,
    left: usize,
    /// What may stand there.
    forms: Vec<Zeroizing<String>>,
}

impl Search {
    fn of(causes: &[Told]) -> Self {
        let texts = || causes.iter().map(|cause| cause.as_str().as_bytes());
        let windows = texts().flat_map(|text| text.windows(SHORTEST));
        let beginnings = windows.filter_map(|window| window.try_into().ok()).collect();
        let longest = texts().map(<[u8]>::len).max().unwrap_or_default();
        Self { beginnings, longest, left: MOST_BYTES, forms: Vec::new() }
    }

    /// Looks for a value and, where it is JSON or nearly so, for all texts and numbers in it but names of fields, however deep and however often
    /// JSON stands in a text of JSON. Whether there was room for all.
    fn look_through(&mut self, value: &[u8], depth: usize) -> bool {
        self.candidate(value);
        let begins = value.iter().find(|byte| !byte.is_ascii_whitespace());
        if depth == 0 || !matches!(begins, Some(b'{' | b'[')) {
            return true;
        }
        let Some(left) = self.left.checked_sub(value.len()) else { return false };
        self.left = left;
        let mut rest = value;
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'"' => {
                    let (text, after) = text(after);
                    rest = after;
                    // The name of a field is told where it is at fault, as the key of a secret is.
                    let is_name = after.trim_ascii_start().starts_with(b":");
                    if !is_name && text.expose().len() >= SHORTEST && !self.look_through(text.expose(), depth - 1) {
                        return false;
                    }
                }
                b'-' | b'0'..=b'9' => {
                    let end =
                        after.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
                    let end = end.unwrap_or(after.len());
                    let whole = value.len() - after.len() - 1;
                    self.candidate(&value[whole..whole + 1 + end]);
                    rest = &after[end..];
                }
                _ => {}
            }
        }
        true
    }

    fn candidate(&mut self, value: &[u8]) {
        // Escaped it is longer, and quoted it may begin otherwise.
        let Some(text) = std::str::from_utf8(value).ok().filter(|text| (SHORTEST..=self.longest).contains(&text.len()))
        else {
            return;
        };
        let quoted = Zeroizing::new(format!("{text:?}"));
        for form in [text, &quoted[1..quoted.len() - 1]] {
            let beginning: Option<[u8; SHORTEST]> = form.as_bytes().get(..SHORTEST).and_then(|b| b.try_into().ok());
            if beginning.is_some_and(|beginning| self.beginnings.contains(&beginning)) {
                self.forms.push(Zeroizing::new(form.to_owned()));
            }
        }
    }
}

/// A text in JSON.
enum Text<'a> {
    Standing(&'a [u8]),
    Made(SecretBuf),
}

impl Text<'_> {
    fn expose(&self) -> &[u8] {
        match self {
            Self::Standing(text) => text,
            Self::Made(text) => text.expose(),
        }
    }
}

/// The text of a JSON string that has just begun, and what comes after it. Without escapes it is read where it stands: it
/// may be large.
fn text(bytes: &[u8]) -> (Text<'_>, &[u8]) {
    let mut out = SecretBuf::default();
    let mut rest = bytes;
    loop {
        let plain = json::first(rest, |byte| (byte == b'"') | (byte == b'\\')).unwrap_or(rest.len());
        let (plain, end) = rest.split_at(plain);
        let after = match end {
            [b'\\', escape, after @ ..] => {
                out.extend(plain);
                rest = unescape(*escape, after, &mut out);
                continue;
            }
            [_, after @ ..] => after,
            [] => &[],
        };
        if out.is_empty() {
            return (Text::Standing(plain), after);
        }
        out.extend(plain);
        return (Text::Made(out), after);
    }
}

fn unescape<'a>(escape: u8, after: &'a [u8], out: &mut SecretBuf) -> &'a [u8] {
    let hex = |bytes: &[u8]| {
        let digits = bytes.get(..4).and_then(|digits| std::str::from_utf8(digits).ok())?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut push = |c: char| out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
    match escape {
        b'n' => push('\n'),
        b't' => push('\t'),
        b'r' => push('\r'),
        b'b' => push('\u{8}'),
        b'f' => push('\u{c}'),
        b'u' => {
            let Some(high) = hex(after) else { return after };
            let low = after.get(4..).and_then(|rest| rest.strip_prefix(b"\\u")).and_then(hex);
            if let (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) = (high, low) {
                push(char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).unwrap_or('\u{fffd}'));
                return &after[10..];
            }
            push(char::from_u32(high).unwrap_or('\u{fffd}'));
            return &after[4..];
        }
        other => push(char::from(other)),
    }
    after
}

/// Blanks `text` wherever it stands alone in `cause`: a value `admin` says nothing of a key `x_admin_username`, and blanked
/// there it would hide which key is meant.
fn blank_words(cause: &mut String, text: &str) {
    let mut from = 0;
    while let Some(at) = cause[from..].find(text).map(|found| from + found) {
        let end = at + text.len();
        if is_part_of_a_name(cause, at, end) {
            // The next one may begin within this one.
            from = at + text.chars().next().map_or(1, char::len_utf8);
        } else {
            cause.replace_range(at..end, REDACTED);
            from = at + REDACTED.len();
        }
    }
}

/// Whether a longer name goes on before `at` or after `end`: with a letter, a digit or `_`, or with `-` or `.` and one of
/// those behind it.
fn is_part_of_a_name(cause: &str, at: usize, end: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let goes_on = |edge: Option<char>, mut beyond: Box<dyn Iterator<Item = char> + '_>| match (edge, beyond.next()) {
        (Some(edge), Some(next)) if word(edge) => {
            word(next) || matches!(next, '-' | '.') && beyond.next().is_some_and(word)
        }
        _ => false,
    };
    let inside = &cause[at..end];
    goes_on(inside.chars().next(), Box::new(cause[..at].chars().rev()))
        || goes_on(inside.chars().next_back(), Box::new(cause[end..].chars()))
}

/// Blanks all that stands in quotes, or in angle brackets as parts of templates do.
fn blank_quoted(cause: &mut String) {
    if let Some((from, to)) = cause.find('<').zip(cause.rfind('>')).filter(|(from, to)| from < to) {
        cause.replace_range(from + 1..to, REDACTED);
    }
    let mut from = 0;
    while let Some(begin) = cause[from..].find('"').map(|at| from + at + 1) {
        let mut escaped = false;
        let end = cause[begin..].char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let end = end.map_or(cause.len(), |(at, _)| begin + at);
        cause.replace_range(begin..end, REDACTED);
        from = (begin + REDACTED.len() + 1).min(cause.len());
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
