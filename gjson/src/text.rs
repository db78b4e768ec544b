//! Strings of JSON, taken out of their quotes and put back.

use keyferry_go::{
    json,
    strconv::unicode::{decode, decode_last, runes},
};

use crate::buf::Buf;

/// What is between the quotes.
pub(crate) fn inner(raw: &[u8], closed: bool) -> &[u8] {
    let end = raw.len() - usize::from(closed);
    raw.get(1..end).unwrap_or_default()
}

/// What becomes of half a surrogate pair, which is U+FFFD in any case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    /// It takes the next escape with it, as in gjson.
    TakesNext,
    /// It stands alone, as in Go's `encoding/json`.
    Alone,
}

/// Resolves the escapes. What is broken ends the text: an unknown escape, a control character, a `\u` cut short.
pub(crate) fn unescape(text: &[u8]) -> Buf {
    resolve(text, Half::TakesNext)
}

/// Resolves the escapes of a valid string as Go's `encoding/json` does: what is no UTF-8 becomes U+FFFD.
pub(crate) fn unescape_strictly(text: &[u8]) -> Buf {
    let resolved = resolve(text, Half::Alone);
    let mut out = Buf::with_capacity(resolved.len());
    for (rune, _) in runes(resolved.bytes()) {
        out.extend(rune.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out
}

fn resolve(text: &[u8], half: Half) -> Buf {
    let mut out = Buf::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            0..b' ' => break,
            b'\\' => {
                let Some((&escape, tail)) = rest.split_first() else { break };
                rest = tail;
                let plain = match escape {
                    b'\\' | b'/' | b'"' => escape,
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'u' if rest.len() >= 4 => {
                        let (c, tail) = unicode(rest, half);
                        rest = tail;
                        out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
                        continue;
                    }
                    _ => break,
                };
                out.push(plain);
            }
            _ => out.push(byte),
        }
    }
    out
}

/// Reads what follows a `\u`.
fn unicode(text: &[u8], half: Half) -> (char, &[u8]) {
    let first = hex4(&text[..4]);
    let rest = &text[4..];
    let Some(second) = rest.strip_prefix(b"\\u").and_then(|rest| rest.get(..4)).map(hex4) else {
        return (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest);
    };
    match (first, second) {
        (0xd800..0xdc00, 0xdc00..0xe000) => {
            let pair = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            (char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER), &rest[6..])
        }
        (0xd800..0xe000, _) if half == Half::TakesNext => (char::REPLACEMENT_CHARACTER, &rest[6..]),
        _ => (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest),
    }
}

/// Four hexadecimal digits; zero where one isn't.
fn hex4(digits: &[u8]) -> u32 {
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?)).unwrap_or_default()
}

/// Appends `text` as a JSON string, `<`, `>` and `&` as escapes.
pub(crate) fn quote(text: &[u8], out: &mut Buf) {
    json::string(text, true, |part| out.extend(part));
}

/// Cuts blanks and control characters off both ends.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [0..=b' ', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., 0..=b' '] = text {
        text = rest;
    }
    text
}

/// Cuts white space off both ends, as Unicode sees it.
pub(crate) fn trim_space(mut text: &[u8]) -> &[u8] {
    while let (c, size @ 1..) = decode(text) {
        if c.is_whitespace() { text = &text[size..] } else { break }
    }
    while let (c, size @ 1..) = decode_last(text) {
        if c.is_whitespace() { text = &text[..text.len() - size] } else { break }
    }
    text
}

/// Takes the outer brackets off: the first byte and, whatever it is, the last.
pub(crate) fn unwrap(text: &[u8]) -> &[u8] {
    match trim(text) {
        [b'[' | b'{', inside @ .., _] => inside,
        other => other,
    }
}

/// Go's `ParseBool` of the text in small letters.
pub(crate) fn parse_bool(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"t" | b"T" => Some(true),
        b"0" | b"f" | b"F" => Some(false),
        _ if text.eq_ignore_ascii_case(b"true") => Some(true),
        _ if text.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        for (text, expected) in [
            (r#"a\"b\\c\/d\n\u00e9"#, "a\"b\\c/d\né"),
            (r"\ud83d\ude00", "😀"),
            // Any surrogate takes the next escape with it.
            (r"\ud83d\u0041!", "\u{fffd}!"),
            (r"\ude00\ud83d!", "\u{fffd}!"),
            (r"\ud83d!", "\u{fffd}!"),
            (r"\u00g0!", "\0!"),
            // What is broken ends the text.
            (r"a\x", "a"),
            (r"a\u12", "a"),
            ("a\\", "a"),
            ("a\\n\u{1}b", "a\n"),
        ] {
            assert_eq!(unescape(text.as_bytes()).bytes(), expected.as_bytes(), "{text}");
        }
        assert_eq!(unescape_strictly(b"\\ud83d\\u0041\xff\\ud83d\\ude00").bytes(), "\u{fffd}A\u{fffd}😀".as_bytes());
    }

    #[test]
    fn what_is_quoted_reads_back() {
        let text = "a\"b\\c\nd<e>&\u{2028}\u{1}\u{7f}é😀";
        let mut out = Buf::default();
        quote(text.as_bytes(), &mut out);
        assert!(crate::valid(out.bytes()) && !out.bytes().contains(&b'<'));
        assert_eq!(unescape(inner(out.bytes(), true)).bytes(), text.as_bytes());
        let mut out = Buf::default();
        quote(b"\xff\xe2\x82", &mut out);
        assert_eq!(out.bytes(), br#""\ufffd\ufffd\ufffd""#);
    }

    #[test]
    fn characters_at_both_ends() {
        assert_eq!(trim_space(b" \xff \xe2\x82 "), b"\xff \xe2\x82");
        assert_eq!(trim_space("\u{a0}\u{3000} a b\u{85}\n".as_bytes()), b"a b");
        assert_eq!(trim(b" \x01a \xc2\xa0"), b"a \xc2\xa0");
        assert_eq!(unwrap(b" [1,2) "), b"1,2");
    }
}
