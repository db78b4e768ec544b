//! Strings and numbers as Go's `encoding/json` writes them.

use crate::strconv::{
    float,
    unicode::{RUNE_ERROR, runes},
};

/// A string in quotes, handed to `write` piece by piece, so that the caller says what buffers it grows. With
/// `escape_html`, which is Go's default, `<`, `>` and `&` are escaped too. A byte that is not UTF-8 becomes U+FFFD.
pub fn string(text: &[u8], escape_html: bool, mut write: impl FnMut(&[u8])) {
    let (mut plain, mut at) = (0, 0);
    write(b"\"");
    for (rune, bytes) in runes(text) {
        let start = at;
        at += bytes.len();
        let unicode;
        let escape = match rune {
            '"' => &b"\\\""[..],
            '\\' => b"\\\\",
            '\x08' => b"\\b",
            '\x0c' => b"\\f",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\t' => b"\\t",
            '\0'..' ' | '\u{2028}' | '\u{2029}' => {
                unicode = unicode_escape(rune);
                &unicode
            }
            '<' | '>' | '&' if escape_html => {
                unicode = unicode_escape(rune);
                &unicode
            }
            RUNE_ERROR if bytes.len() == 1 => b"\\ufffd",
            _ => continue,
        };
        write(&text[plain..start]);
        write(escape);
        plain = at;
    }
    write(&text[plain..]);
    write(b"\"");
}

/// `\u1234`
fn unicode_escape(rune: char) -> [u8; 6] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u32| HEX[(u32::from(rune) >> shift) as usize & 15];
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}

/// Appends a number that is finite (JSON has no other), as ECMAScript writes numbers: with an exponent where it is very
/// large or very small.
pub fn number(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    let from = out.len();
    let verb = if size != 0.0 && !(1e-6..1e21).contains(&size) { b'e' } else { b'f' };
    float::format(out, value, verb, None);
    // Two digits of an exponent that needs one only are Go's way elsewhere.
    if let [.., b'e', b'-', b'0', _] = out[from..] {
        out.remove(out.len() - 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &[u8], escape_html: bool) -> String {
        let mut out = Vec::new();
        string(text, escape_html, |part| out.extend_from_slice(part));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings() {
        let text = "a\"b\\c\n\r\t\x08\x0c\x01<d>&\u{2028}\u{fffd}\x7fé😀";
        assert_eq!(
            quoted(text.as_bytes(), true),
            "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u003cd\\u003e\\u0026\\u2028\u{fffd}\x7fé😀\""
        );
        assert_eq!(quoted("<&>\u{2029}".as_bytes(), false), "\"<&>\\u2029\"");
        assert_eq!(quoted(b"\xffa\xe2\x82", true), "\"\\ufffda\\ufffd\\ufffd\"");
        assert_eq!(quoted(b"", true), "\"\"");
    }

    #[test]
    fn numbers() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-6, "0.000001"),
            (-1.5e-7, "-1.5e-7"),
            (1e-10, "1e-10"),
            (5e-324, "5e-324"),
        ] {
            let mut out = b"n:".to_vec();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), format!("n:{expected}"));
        }
    }
}
