//! Taking values out of JSON that holds secrets, without copies that nobody zeroes and without losing a digit.
//!
//! [`RawValue`] borrows from the text, so that parsing an object copies no value. Errors of the parser quote what
//! they choke on; here they are dropped and said in our own words.

use std::collections::BTreeMap;

use keyferry_limits::SECRET_PARTS;
use serde_json::value::RawValue;

use crate::{Error, SecretBuf, SecretBytes};

/// Reads a JSON object, its values as they stand in the text; of a repeated key the last counts. `None` where
/// `bytes` is anything else.
pub fn object(bytes: &[u8]) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_slice(bytes).ok()
}

/// As [`object`], and `null` as one without fields: so Go reads it.
pub fn object_or_null(bytes: &[u8]) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_slice::<Option<_>>(bytes).ok().map(Option::unwrap_or_default)
}

/// Reads a JSON array. `None` where `bytes` is anything else.
pub fn array(bytes: &[u8]) -> Option<Vec<&RawValue>> {
    serde_json::from_slice(bytes).ok()
}

/// The elements of a JSON array, read one by one: nobody need hold all of them. `None` where it is anything else.
pub fn elements(array: &RawValue) -> Option<Elements<'_>> {
    array.get().strip_prefix('[').map(Elements)
}

/// See [`elements`]. Each is `None` where it can't be read, and then it is the last.
#[derive(Debug)]
pub struct Elements<'a>(&'a str);

impl<'a> Iterator for Elements<'a> {
    type Item = Option<&'a RawValue>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches([' ', '\t', '\n', '\r', ',']);
        // The text is known to be an array, and whole.
        if rest.starts_with(']') || rest.is_empty() {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter();
        let value = values.next().and_then(Result::ok);
        self.0 = if value.is_some() { &rest[values.byte_offset()..] } else { "" };
        Some(value)
    }
}

/// Reads any JSON value. `None` where `bytes` is not JSON.
pub fn value(bytes: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(bytes).ok()
}

/// A JSON value as the bytes of a secret: a string without quotes, `null` as nothing, all else as it stands.
pub fn to_bytes(raw: &RawValue) -> SecretBytes {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => unquote(text).into(),
        Some(b'n') => SecretBytes::default(),
        _ => SecretBytes::new(text.as_bytes().to_vec()),
    }
}

/// Refuses a value of more fields and elements than we are ready to hold: to be asked before it is written anew.
///
/// # Errors
/// `Invalid`, with the limit.
pub fn check_parts(raw: &RawValue) -> Result<(), Error> {
    let (mut parts, mut in_text, mut rest) = (1, false, raw.get().as_bytes());
    while let Some(at) = first(rest, |byte| (byte == b'\\') | (byte == b'"') | (byte == b',')) {
        match rest[at] {
            b'"' => in_text = !in_text,
            b',' if !in_text => parts += 1,
            _ => {}
        }
        // What is escaped has no meaning here.
        rest = rest.get(at + 1 + usize::from(rest[at] == b'\\')..).unwrap_or_default();
        if parts > SECRET_PARTS.size() {
            break;
        }
    }
    if parts > SECRET_PARTS.size() { Err(Error::limit(&SECRET_PARTS)) } else { Ok(()) }
}

/// Where the first byte is that `is_it` holds for. Of many bytes so many at once are looked at that it is quick: values may
/// be large, and hardly any byte of them is one.
pub fn first(bytes: &[u8], is_it: impl Fn(u8) -> bool) -> Option<usize> {
    const AT_ONCE: usize = 64;
    let mut passed = 0;
    for some in bytes.chunks(AT_ONCE) {
        // Without a branch for each byte, so that the compiler takes many in one step.
        if some.iter().fold(false, |found, byte| found | is_it(*byte)) {
            return some.iter().position(|byte| is_it(*byte)).map(|at| passed + at);
        }
        passed += some.len();
    }
    None
}

/// Writes a number that stands so in a text.
pub type Numbers = fn(&str, &mut SecretBuf);

/// Writes a JSON value compactly with the keys of objects sorted, numbers digit for digit, as Go's `json.Marshal`
/// writes what it read: `<`, `>`, `&`, U+2028 and U+2029 in strings as `\u` escapes. `None` where it is nested more
/// than 128 deep, which the parser lets pass and a stack may not bear.
pub fn canonical(raw: &RawValue) -> Option<SecretBytes> {
    canonical_with(raw, digit_for_digit)
}

/// As [`canonical`], with other words for numbers.
pub fn canonical_with(raw: &RawValue, numbers: Numbers) -> Option<SecretBytes> {
    write(raw, Style { escapes: Escapes::Html, numbers })
}

/// As [`canonical`], but `<`, `>` and `&` as they are: Go's `json.Encoder` without the escapes for HTML.
pub fn compact(raw: &RawValue) -> Option<SecretBytes> {
    compact_with(raw, digit_for_digit)
}

/// As [`compact`], with other words for numbers.
pub fn compact_with(raw: &RawValue, numbers: Numbers) -> Option<SecretBytes> {
    write(raw, Style { escapes: Escapes::Json, numbers })
}

fn digit_for_digit(number: &str, out: &mut SecretBuf) {
    out.extend(number.as_bytes());
}

fn write(raw: &RawValue, style: Style) -> Option<SecretBytes> {
    let mut out = SecretBuf::with_capacity(raw.get().len());
    write_canonical(raw.get(), 128, style, &mut out)?;
    Some(out.into())
}

#[derive(Clone, Copy)]
struct Style {
    escapes: Escapes,
    numbers: Numbers,
}

/// Which characters of strings are escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Those that JSON must escape, and what JavaScript takes for line breaks.
    Json,
    /// Also those that mean something in HTML.
    Html,
}

/// Writes `text` as a JSON string, quotes and all.
pub fn write_string(text: &str, out: &mut SecretBuf) {
    quote(text.as_bytes(), Escapes::Html, out);
}

/// An object of texts, in the order in which they come.
pub fn object_of_texts<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> SecretBytes {
    let mut out = SecretBuf::default();
    out.push(b'{');
    for (n, (name, value)) in fields.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_string(name, &mut out);
        out.push(b':');
        write_string(value, &mut out);
    }
    out.push(b'}');
    out.into()
}

/// As [`write_string`], but `<`, `>` and `&` as they are.
pub fn write_plain_string(text: &str, out: &mut SecretBuf) {
    quote(text.as_bytes(), Escapes::Json, out);
}

fn write_canonical(text: &str, depth: usize, style: Style, out: &mut SecretBuf) -> Option<()> {
    let inside = depth.checked_sub(1)?;
    match text.as_bytes().first() {
        Some(b'{') => {
            out.push(b'{');
            for (n, (key, value)) in object(text.as_bytes())?.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                quote(key.as_bytes(), style.escapes, out);
                out.push(b':');
                write_canonical(value.get(), inside, style, out)?;
            }
            out.push(b'}');
        }
        Some(b'[') => {
            out.push(b'[');
            for (n, value) in array(text.as_bytes())?.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_canonical(value.get(), inside, style, out)?;
            }
            out.push(b']');
        }
        Some(b'"') => {
            out.push(b'"');
            unescape(text, |piece| escape(piece, style.escapes, out));
            out.push(b'"');
        }
        Some(b'-' | b'0'..=b'9') => (style.numbers)(text, out),
        _ => out.extend(text.as_bytes()),
    }
    Some(())
}

fn quote(text: &[u8], escapes: Escapes, out: &mut SecretBuf) {
    out.push(b'"');
    escape(text, escapes, out);
    out.push(b'"');
}

/// Writes whole characters as they stand within a JSON string. What needs no escape goes in one piece: a value may be
/// large.
fn escape(text: &[u8], escapes: Escapes, out: &mut SecretBuf) {
    let html = escapes == Escapes::Html;
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let may_need_one = |byte: u8| {
        let of_html = (byte == b'<') | (byte == b'>') | (byte == b'&');
        (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte == 0xe2) | (html & of_html)
    };
    let mut rest = text;
    while let Some(plain) = first(rest, may_need_one) {
        out.extend(&rest[..plain]);
        let (byte, tail) = (rest[plain], &rest[plain + 1..]);
        rest = tail;
        match byte {
            b'"' | b'\\' => out.extend(&[b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x08 => out.extend(b"\\b"),
            0x0c => out.extend(b"\\f"),
            // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
            0xe2 if matches!(tail, [0x80, 0xa8 | 0xa9, ..]) => {
                out.extend(if tail[1] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                rest = &tail[2..];
            }
            0xe2 => out.push(byte),
            _ => out.extend(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    out.extend(rest);
}

/// Takes the quotes and escapes off a JSON string that a parser has accepted.
fn unquote(text: &str) -> SecretBuf {
    let mut out = SecretBuf::with_capacity(text.len());
    unescape(text, |piece| out.extend(piece));
    out
}

/// What a JSON string that a parser has accepted says, in pieces of whole characters: nobody need hold it twice. Half a
/// surrogate pair becomes U+FFFD, as in Go.
fn unescape(text: &str, mut take: impl FnMut(&[u8])) {
    let mut rest = &text.as_bytes()[1..text.len() - 1];
    while let Some(plain) = first(rest, |byte| byte == b'\\') {
        take(&rest[..plain]);
        let Some((escape, tail)) = rest[plain + 1..].split_first() else { return };
        rest = tail;
        match escape {
            b'n' => take(b"\n"),
            b'r' => take(b"\r"),
            b't' => take(b"\t"),
            b'b' => take(b"\x08"),
            b'f' => take(b"\x0c"),
            b'u' => {
                let (c, tail) = unescape_unicode(rest);
                rest = tail;
                take(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => take(&[*other]),
        }
    }
    take(rest);
}

/// Reads the four digits after `\u`, and the second half of a surrogate pair where there is one.
fn unescape_unicode(text: &[u8]) -> (char, &[u8]) {
    let Some(high) = hex4(text) else { return (char::REPLACEMENT_CHARACTER, text) };
    let rest = &text[4..];
    if !(0xd800..0xdc00).contains(&high) {
        return (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), rest);
    }
    match rest.strip_prefix(b"\\u").and_then(hex4) {
        Some(low) if (0xdc00..0xe000).contains(&low) => {
            let c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER), &rest[6..])
        }
        _ => (char::REPLACEMENT_CHARACTER, rest),
    }
}

fn hex4(text: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(text.get(..4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(json: &str) -> Vec<u8> {
        to_bytes(value(json.as_bytes()).unwrap()).expose().to_vec()
    }

    #[test]
    fn a_value_of_too_many_parts_is_refused() {
        let check = |json: String| check_parts(value(json.as_bytes()).unwrap());
        assert!(check(format!("[{}7]", "7,".repeat(199_999))).is_ok());
        let error = check(format!("[{}7]", "7,".repeat(200_000))).unwrap_err();
        assert!(error.message().contains("limit secret-parts"), "{error}");
        let fields: Vec<String> = (0..200_001).map(|n| format!(r#""{n}":"""#)).collect();
        assert!(check(format!(r#"{{"a":{{{}}}}}"#, fields.join(","))).is_err());
        // Commas within texts are none of them.
        assert!(check(format!(r#"["{}\"{}"]"#, ",".repeat(200_000), ",".repeat(200_000))).is_ok());
    }

    #[test]
    fn the_first_byte_is_found_wherever_it_is() {
        let mut bytes = vec![b'v'; 200];
        assert_eq!((first(&bytes, |byte| byte == b'x'), first(b"", |_| true)), (None, None));
        for at in (0..200).rev() {
            bytes[at] = b'x';
            assert_eq!(first(&bytes, |byte| byte == b'x'), Some(at));
        }
    }

    #[test]
    fn elements_come_one_by_one() {
        for array in ["[]", " [ ]", "[1]", r#"[ 1 ,"a,]" , [2,[3]],{"b":[4]} ,null,-1.5e3,true ]"#] {
            let raw = value(array.as_bytes()).unwrap();
            let read: Vec<_> = elements(raw).unwrap().map(|element| element.unwrap().get()).collect();
            let whole: Vec<_> = super::array(array.as_bytes()).unwrap().into_iter().map(RawValue::get).collect();
            assert_eq!(read, whole, "{array}");
        }
        assert!(elements(value(b"{}").unwrap()).is_none());
    }

    #[test]
    fn values_become_bytes() {
        for (json, expected) in [
            (r#""plain""#, "plain"),
            (r#""a\"b\\c\/d\n\u00e9\ud83d\ude00""#, "a\"b\\c/d\né😀"),
            (r#""lone \ud83d end""#, "lone \u{fffd} end"),
            ("12345678901234567890", "12345678901234567890"),
            ("1.50", "1.50"),
            ("true", "true"),
            ("null", ""),
            (r#"{"a": [1, "x"]}"#, r#"{"a": [1, "x"]}"#),
            (r#""""#, ""),
        ] {
            assert_eq!(String::from_utf8(bytes(json)).unwrap(), expected, "{json}");
        }
    }

    #[test]
    fn canonical_sorts_keys_and_keeps_digits() {
        let json = r#" { "b" : [ 1.50 , {"z":null,"a":"<&>\u2028\u0001"} ], "a" : 12345678901234567890 } "#;
        let canonical = canonical(value(json.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            canonical.expose_str().unwrap(),
            r#"{"a":12345678901234567890,"b":[1.50,{"a":"\u003c\u0026\u003e\u2028\u0001","z":null}]}"#
        );
    }

    #[test]
    fn without_escapes_for_html_line_breaks_of_javascript_are_still_escaped() {
        let json = r#"{"a<\u2028":"<&>\u2029\u0001\u0008"}"#;
        let compact = compact(value(json.as_bytes()).unwrap()).unwrap();
        assert_eq!(compact.expose_str().unwrap(), r#"{"a<\u2028":"<&>\u2029\u0001\b"}"#);
    }

    #[test]
    fn a_written_string_reads_back() {
        let text = "a\"b\\c\nd<e>\u{2028}\u{1}é😀";
        let mut out = SecretBuf::default();
        write_string(text, &mut out);
        assert_eq!(to_bytes(value(out.expose()).unwrap()).expose_str(), Some(text));
    }

    #[test]
    fn a_deep_nest_is_refused_not_a_crash() {
        let json = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(canonical(value(json.as_bytes()).unwrap()), None);
    }

    #[test]
    fn what_is_not_json_is_none() {
        for text in ["", "plain", "{", r#"{"a":1} x"#, "[1,"] {
            assert!(value(text.as_bytes()).is_none(), "{text}");
            assert!(object(text.as_bytes()).is_none(), "{text}");
        }
        assert!(object(b"[1]").is_none() && object(b"null").is_none());
        assert!(object_or_null(b"[1]").is_none() && object_or_null(b" null ").unwrap().is_empty());
        assert_eq!(object_or_null(br#"{"a":1}"#).unwrap()["a"].get(), "1");
        assert!(value(b"\xff").is_none());
    }
}
