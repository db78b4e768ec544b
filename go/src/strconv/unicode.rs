//! Code points, as Go finds them in bytes that may not be UTF-8.

use super::tables::{DIGITS, LETTERS, PRINTABLE};

/// What Go reads where there is no valid UTF-8.
pub const RUNE_ERROR: char = '\u{fffd}';

/// The first code point and its width: [`RUNE_ERROR`] of width 1 for a byte that is not UTF-8, of width 0 for nothing.
pub fn decode(bytes: &[u8]) -> (char, usize) {
    let width = match bytes {
        [] => return (RUNE_ERROR, 0),
        [0..=0x7f, ..] => return (bytes[0].into(), 1),
        [0xc2..=0xdf, _, ..] => 2,
        [0xe0..=0xef, _, _, ..] => 3,
        [0xf0..=0xf4, _, _, _, ..] => 4,
        _ => return (RUNE_ERROR, 1),
    };
    match std::str::from_utf8(&bytes[..width]).ok().and_then(|text| text.chars().next()) {
        Some(found) => (found, width),
        None => (RUNE_ERROR, 1),
    }
}

/// The last code point and its width.
pub fn decode_last(bytes: &[u8]) -> (char, usize) {
    let from = bytes.len().saturating_sub(4);
    let start = (from..bytes.len()).find(|start| {
        let (found, width) = decode(&bytes[*start..]);
        start + width == bytes.len() && (found != RUNE_ERROR || width > 1)
    });
    match (start, bytes) {
        (_, []) => (RUNE_ERROR, 0),
        (Some(start), _) => decode(&bytes[start..]),
        (None, _) => (RUNE_ERROR, 1),
    }
}

/// Each code point with the bytes it stands for.
pub fn runes(bytes: &[u8]) -> impl Iterator<Item = (char, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (found, width) = decode(rest);
        let (rune, after) = rest.split_at(width);
        rest = after;
        (width > 0).then_some((found, rune))
    })
}

/// How many code points there are, counting each invalid byte as one.
pub fn rune_count(bytes: &[u8]) -> usize {
    if bytes.is_ascii() { bytes.len() } else { runes(bytes).count() }
}

/// Appends a code point; what is none becomes [`RUNE_ERROR`].
pub fn push_rune(out: &mut Vec<u8>, rune: u64) {
    let rune = u32::try_from(rune).ok().and_then(char::from_u32).unwrap_or(RUNE_ERROR);
    out.extend_from_slice(rune.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Go's `unicode.IsLetter`.
pub fn is_letter(rune: char) -> bool {
    if rune.is_ascii() { rune.is_ascii_alphabetic() } else { contains(LETTERS, rune) }
}

/// Go's `unicode.IsDigit`.
pub fn is_digit(rune: char) -> bool {
    if rune.is_ascii() { rune.is_ascii_digit() } else { contains(DIGITS, rune) }
}

/// Go's `unicode.IsPrint`.
pub fn is_print(rune: char) -> bool {
    if rune.is_ascii() { (' '..='~').contains(&rune) } else { contains(PRINTABLE, rune) }
}

fn contains(table: &[(u32, u32)], rune: char) -> bool {
    let rune = u32::from(rune);
    let after = table.partition_point(|(first, _)| *first <= rune);
    after.checked_sub(1).is_some_and(|at| rune <= table[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_bytes_are_errors_of_width_one() {
        assert_eq!(decode("é!".as_bytes()), ('é', 2));
        assert_eq!(decode(b"\xff\xfe"), (RUNE_ERROR, 1));
        assert_eq!(decode(b"\xe2\x98"), (RUNE_ERROR, 1));
        assert_eq!(decode(b"\xed\xa0\x80"), (RUNE_ERROR, 1));
        assert_eq!(decode_last("a☃".as_bytes()), ('☃', 3));
        assert_eq!(decode_last(b"a\x83"), (RUNE_ERROR, 1));
        assert_eq!(decode_last("\u{fffd}".as_bytes()), (RUNE_ERROR, 3));
        for broken in [&b"\xff"[..], b"\x80", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80"] {
            assert_eq!((decode(broken), decode_last(broken)), ((RUNE_ERROR, 1), (RUNE_ERROR, 1)));
        }
        assert_eq!((decode(b""), decode_last(b"")), ((RUNE_ERROR, 0), (RUNE_ERROR, 0)));
        assert_eq!(rune_count(b"h\xc3\xa9\xff"), 3);
    }

    #[test]
    fn letters_and_digits_are_those_of_go() {
        assert!(is_letter('é') && is_letter('ǅ') && !is_letter('Ⅷ') && !is_letter('_'));
        assert!(is_digit('٣') && !is_digit('²'));
        assert!(is_print('☃') && !is_print('\u{a0}') && !is_print('\u{200b}'));
    }
}
