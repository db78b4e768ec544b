//! Lines, abbreviations and initials, which all count bytes and not letters.

use super::args::function;
use crate::{env::Context, error::Failure, function::Function, value::Str};

/// Functions on words and lines.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("abbrev", (int, string => string), |_: &mut _, width, text: &Str| Ok(match width {
        ..4 => text.clone(),
        width => abbreviate(text, 0, width),
    })),
    function!("abbrevboth", (int, int, string => string), |_: &mut _, left, right, text: &Str| {
        Ok(match (left, right) {
            (_, ..4) | (1.., ..7) => text.clone(),
            (left, right) => abbreviate(text, left, right),
        })
    }),
    function!("nospace", (string => string), nospace),
    function!("initials", (string => string), initials),
    function!("wrap", (int, string => string), |context: &mut _, width, text: &Str| {
        wrap(context, text, width, b"\n", false)
    }),
    function!("wrapWith", (int, string, string => string), |context: &mut _, width, line: &Str, text: &Str| {
        if line.is_empty() { wrap(context, text, width, b"\n", true) } else { wrap(context, text, width, line, true) }
    }),
];

/// Cuts a text to `width` bytes, dots included; with an offset above 4 the start goes too.
fn abbreviate(text: &Str, offset: i64, width: i64) -> Str {
    let len = text.len();
    let width = match usize::try_from(width) {
        Ok(width) if len > width => width,
        _ => return text.clone(),
    };
    let room = width.saturating_sub(3);
    let offset = usize::try_from(offset).unwrap_or(0).min(len);
    let offset = if len - offset < room { len - room } else { offset };
    match offset {
        0..=4 => [&text[..room], b"..."].concat().into(),
        offset if offset + room < len => {
            let rest = Str::from(&text[offset..]);
            [b"...", &*abbreviate(&rest, 0, room as i64)].concat().into()
        }
        _ => [b"...", &text[len - room..]].concat().into(),
    }
}

/// Bytes are taken for characters of Latin-1.
fn is_space(byte: u8) -> bool {
    char::from(byte).is_whitespace()
}

/// A text without the bytes that are spaces in Latin-1. If there is one, the rest becomes Latin-1 read as UTF-8.
fn nospace(_: &mut Context<'_, '_>, text: &Str) -> Result<Str, Failure> {
    Ok(if !text.iter().any(|byte| is_space(*byte)) {
        text.clone()
    } else {
        text.iter().filter(|byte| !is_space(**byte)).map(|byte| char::from(*byte)).collect::<String>().into()
    })
}

fn initials(_: &mut Context<'_, '_>, text: &Str) -> Result<String, Failure> {
    let before = std::iter::once(b' ').chain(text.iter().copied());
    let pairs = text.iter().zip(before);
    Ok(pairs
        .filter(|(byte, before)| !is_space(**byte) && is_space(*before))
        .map(|(byte, _)| char::from(*byte))
        .collect())
}

/// Breaks a text into lines of at most `width` bytes at spaces. Words that are longer are cut or left whole.
fn wrap(
    context: &mut Context<'_, '_>,
    text: &Str,
    width: i64,
    newline: &[u8],
    cut_words: bool,
) -> Result<Vec<u8>, Failure> {
    let width = usize::try_from(width).unwrap_or(1).max(1);
    let mut out = Vec::with_capacity(text.len());
    let mut rest: &[u8] = text;
    while rest.len() > width {
        let space = rest[..=width].iter().rposition(|byte| *byte == b' ');
        let (line, next) = match space {
            _ if rest.starts_with(b" ") => {
                rest = &rest[1..];
                continue;
            }
            Some(space) => (space, space + 1),
            None if cut_words => (width, width),
            None => match rest[width..].iter().position(|byte| *byte == b' ') {
                Some(space) => (width + space, width + space + 1),
                None => break,
            },
        };
        out.extend_from_slice(&rest[..line]);
        out.extend_from_slice(newline);
        context.fits(out.len())?;
        rest = &rest[next..];
    }
    out.extend_from_slice(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abbreviations_never_exceed_their_width() {
        let text = Str::from("Now is the time for all good men");
        for offset in -3..40 {
            for width in 7..40 {
                assert!(abbreviate(&text, offset, width).len() <= width.max(0) as usize);
            }
        }
    }
}
