//! Patterns with `*` for any characters, `?` for one, and `\` before what stands for itself.

use keyferry_go::strconv::unicode::{decode, decode_last};

use crate::eval::{Budget, TooComplex};

/// How often a star may be tried for each byte of the text, before the pattern counts as not matching.
const PATIENCE: usize = 10_000;

/// Whether all of `text` matches `pattern`.
pub(crate) fn matches(text: &[u8], pattern: &[u8], budget: &mut Budget<'_>) -> Result<bool, TooComplex> {
    if pattern == b"*" {
        return Ok(true);
    }
    let mut search = Search { tries: 0, most: text.len().saturating_mul(PATIENCE), budget };
    Ok(search.run(text, pattern)? == Found::Yes)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Yes,
    No,
    /// The search was given up.
    Never,
}

struct Search<'b, 'l> {
    tries: usize,
    most: usize,
    budget: &'b mut Budget<'l>,
}

impl Search<'_, '_> {
    fn run(&mut self, text: &[u8], pattern: &[u8]) -> Result<Found, TooComplex> {
        self.budget.enter()?;
        let found = self.search(text, pattern);
        self.budget.leave();
        found
    }

    fn search(&mut self, mut text: &[u8], mut pattern: &[u8]) -> Result<Found, TooComplex> {
        if self.tries > self.most {
            return Ok(Found::Never);
        }
        self.tries += 1;
        loop {
            self.budget.spend(1)?;
            // What is no UTF-8 equals U+FFFD.
            let (c, size) = decode(text);
            match pattern.first() {
                None => return Ok(if text.is_empty() { Found::Yes } else { Found::No }),
                Some(b'*') => {
                    while pattern.starts_with(b"**") {
                        pattern = &pattern[1..];
                    }
                    if pattern.len() > 1 {
                        self.budget.spend(1)?;
                        match cut_end(text, pattern) {
                            Some(shorter) => (text, pattern) = shorter,
                            None => return Ok(Found::No),
                        }
                    }
                    if pattern.len() == 1 {
                        return Ok(Found::Yes);
                    }
                    let found = self.run(text, &pattern[1..])?;
                    if found != Found::No || text.is_empty() {
                        return Ok(found);
                    }
                    // The star takes one character more.
                }
                Some(_) if size == 0 => return Ok(Found::No),
                Some(b'?') => pattern = &pattern[1..],
                Some(first) => {
                    if *first == b'\\' {
                        pattern = &pattern[1..];
                    }
                    match decode(pattern) {
                        (_, 0) => return Ok(Found::No),
                        (wanted, length) if wanted == c => pattern = &pattern[length..],
                        _ => return Ok(Found::No),
                    }
                }
            }
            text = text.get(size..).unwrap_or_default();
        }
    }
}

/// Compares backwards what follows the last star of `pattern`, and cuts it off both. `None` where it differs. The
/// pattern begins with a star.
fn cut_end<'t, 'p>(mut text: &'t [u8], mut pattern: &'p [u8]) -> Option<(&'t [u8], &'p [u8])> {
    while !text.is_empty() && pattern.len() > 1 {
        let (wanted, mut length) = decode_last(pattern);
        let before = &pattern[..pattern.len() - length];
        let slashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
        let escaped = slashes % 2 == 1;
        if escaped {
            length += 1;
        }
        if wanted == '*' && !escaped {
            break;
        }
        let (c, size) = decode_last(text);
        if wanted != c && (wanted != '?' || escaped) {
            return None;
        }
        text = &text[..text.len() - size];
        pattern = &pattern[..pattern.len() - length];
    }
    Some((text, pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "*", true),
            ("", "**", true),
            ("", "?", false),
            ("é", "?", true),
            ("name", "n*e", true),
            ("name", "n*m", false),
            ("name", "*a*", true),
            ("name", "????", true),
            ("name", "?????", false),
            ("a*b", r"a\*b", true),
            ("axb", r"a\*b", false),
            ("ab*", r"*\*", true),
            ("abc", r"*\*", false),
            ("a?", r"*\?", true),
            (r"a\b", r"*\?", false),
            (r"a\", r"a\", false),
            ("a日本c", "a*本?", true),
        ] {
            let mut budget = Budget::new(b"", None);
            assert_eq!(matches(text.as_bytes(), pattern.as_bytes(), &mut budget), Ok(expected), "{text} {pattern}");
        }
    }
}
