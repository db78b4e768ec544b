//! Go string and character literals, both ways.

use super::unicode::{RUNE_ERROR, decode, is_print, push_rune, runes};

/// Appends the text in double quotes, as `%q` does; with `ascii` everything else is escaped, as `%+q` does.
pub fn quote(out: &mut Vec<u8>, text: &[u8], ascii: bool) {
    out.push(b'"');
    for (rune, bytes) in runes(text) {
        match (rune, bytes) {
            (RUNE_ERROR, [byte]) => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            _ => escape(out, rune, '"', ascii),
        }
    }
    out.push(b'"');
}

/// Appends the code point in single quotes; what is none becomes U+FFFD.
pub fn quote_rune(out: &mut Vec<u8>, rune: u64, ascii: bool) {
    let rune = u32::try_from(rune).ok().and_then(char::from_u32).unwrap_or(RUNE_ERROR);
    out.push(b'\'');
    escape(out, rune, '\'', ascii);
    out.push(b'\'');
}

fn escape(out: &mut Vec<u8>, rune: char, quote: char, ascii: bool) {
    if rune == quote || rune == '\\' {
        out.push(b'\\');
        return push_rune(out, u32::from(rune).into());
    }
    if is_print(rune) && (rune.is_ascii() || !ascii) {
        return push_rune(out, u32::from(rune).into());
    }
    let escaped = match rune {
        '\x07' => "\\a".to_owned(),
        '\x08' => "\\b".to_owned(),
        '\x0c' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\x0b' => "\\v".to_owned(),
        '\0'..'\x20' | '\x7f' => format!("\\x{:02x}", u32::from(rune)),
        '\u{80}'..='\u{ffff}' => format!("\\u{:04x}", u32::from(rune)),
        _ => format!("\\U{:08x}", u32::from(rune)),
    };
    out.extend_from_slice(escaped.as_bytes());
}

/// Can the text stand between backquotes as it is?
pub fn can_backquote(text: &[u8]) -> bool {
    runes(text).all(|(rune, bytes)| match (rune, bytes.len()) {
        (RUNE_ERROR, 1) | ('\u{feff}', _) | ('`' | '\x7f', _) => false,
        ('\t', _) => true,
        (rune, _) => rune >= ' ',
    })
}

/// The text of a literal in double quotes or backquotes; `None` if it is not one.
pub fn unquote(literal: &[u8]) -> Option<Vec<u8>> {
    match literal {
        [b'`', inner @ .., b'`'] => {
            if inner.contains(&b'`') {
                None
            } else {
                Some(inner.iter().copied().filter(|byte| *byte != b'\r').collect())
            }
        }
        [b'"', inner @ .., b'"'] => {
            let mut out = Vec::with_capacity(inner.len());
            let mut rest = inner;
            while let [first, ..] = rest {
                let (unit, after) = match first {
                    b'\n' => return None,
                    _ => unquote_unit(rest, b'"')?,
                };
                match unit {
                    Unit::Byte(byte) => out.push(byte),
                    Unit::Rune(rune) => push_rune(&mut out, u32::from(rune).into()),
                }
                rest = after;
            }
            Some(out)
        }
        _ => None,
    }
}

/// The code point of a character literal, quotes included.
pub fn unquote_char(literal: &[u8]) -> Option<u32> {
    match unquote_unit(literal.strip_prefix(b"'")?, b'\'')? {
        (Unit::Byte(byte), b"'") => Some(byte.into()),
        (Unit::Rune(rune), b"'") => Some(rune.into()),
        _ => None,
    }
}

/// What one escape stands for: `\xff` is a byte, `\u00ff` a code point.
enum Unit {
    Byte(u8),
    Rune(char),
}

fn unquote_unit(text: &[u8], quote: u8) -> Option<(Unit, &[u8])> {
    let (escape, rest) = match text {
        [] => return None,
        [first, ..] if *first == quote => return None,
        [b'\\', escape, rest @ ..] => (*escape, rest),
        [b'\\'] => return None,
        [0x80..=0xff, ..] => {
            let (rune, width) = decode(text);
            return Some((Unit::Rune(rune), &text[width..]));
        }
        [first, rest @ ..] => return Some((Unit::Byte(*first), rest)),
    };
    let byte = match escape {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' => b'\\',
        b'\'' | b'"' if escape == quote => escape,
        b'x' => {
            let (value, rest) = digits(rest, 2, 16)?;
            return Some((Unit::Byte(u8::try_from(value).ok()?), rest));
        }
        b'u' | b'U' => {
            let (value, rest) = digits(rest, if escape == b'u' { 4 } else { 8 }, 16)?;
            return Some((Unit::Rune(char::from_u32(value)?), rest));
        }
        b'0'..=b'7' => {
            let (value, rest) = digits(&text[1..], 3, 8)?;
            return Some((Unit::Byte(u8::try_from(value).ok()?), rest));
        }
        _ => return None,
    };
    Some((Unit::Byte(byte), rest))
}

fn digits(text: &[u8], count: usize, base: u32) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let value = digits.iter().try_fold(0u32, |value, digit| {
        let digit = char::from(*digit).to_digit(base)?;
        value.checked_mul(base)?.checked_add(digit)
    })?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &[u8], ascii: bool) -> String {
        let mut out = Vec::new();
        quote(&mut out, text, ascii);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(quoted("a\"\\\n☃\u{7f}\u{a0}\u{1f600}".as_bytes(), false), r#""a\"\\\n☃\x7f\u00a0😀""#);
        assert_eq!(quoted("☃\u{1f600}\u{fffd}".as_bytes(), true), r#""\u2603\U0001f600\ufffd""#);
        assert_eq!(quoted(b"\xff\x01", false), r#""\xff\x01""#);
    }

    #[test]
    fn every_escape_is_read() {
        assert_eq!(unquote(br#""\a\b\f\n\r\t\v\\\"\x41\101\u2603\U0001F600""#).unwrap(), {
            "\x07\x08\x0c\n\r\t\x0b\\\"AA☃😀".as_bytes()
        });
        assert_eq!(unquote(b"`a\\n\r\nb`").unwrap(), b"a\\n\nb");
        assert_eq!(unquote(br#""\xff""#).unwrap(), b"\xff");
        for bad in
            [&br#""\'""#[..], br#""\8""#, br#""\400""#, br#""\ud800""#, br#""\x4""#, br#""\"#, br#"""#, b"\"a\nb\""]
        {
            assert!(unquote(bad).is_none());
        }
    }

    #[test]
    fn characters() {
        assert_eq!(unquote_char(b"'a'"), Some(97));
        assert_eq!(unquote_char(br"'\''"), Some(39));
        assert_eq!(unquote_char("'☃'".as_bytes()), Some(0x2603));
        assert_eq!(unquote_char(br"'\xff'"), Some(255));
        assert_eq!(unquote_char(b"'ab'"), None);
        assert_eq!(unquote_char(b"''"), None);
        assert_eq!(unquote_char(br#"'\"'"#), None);
    }
}
