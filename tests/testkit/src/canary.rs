//! Finds secret values where they must not be, in any of the forms in which values leak.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Shorter values would be found where they are not, in the middle of other data.
const SHORTEST: usize = 8;

/// A set of secret values to look for. Neither it nor what it finds ever shows a value.
#[derive(Clone, Default)]
pub struct Canary {
    values: Vec<Value>,
}

#[derive(Clone)]
struct Value {
    name: String,
    /// What to look for, and what finding it means.
    needles: Vec<(Encoding, String)>,
}

/// The form in which a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// As it is.
    Raw,
    /// Base64 of the standard alphabet, alone or inside a longer text that was encoded.
    Base64,
    /// Base64 of the URL-safe alphabet, alone or inside a longer text that was encoded.
    Base64UrlSafe,
    /// Hexadecimal in lower case.
    HexLower,
    /// Hexadecimal in upper case.
    HexUpper,
    /// Percent-encoded, as in a path, a query or a form.
    Url,
    /// Inside a JSON string, once or twice escaped.
    Json,
    /// As Rust's `{:?}` shows a string.
    Debug,
    /// As a list of decimal numbers: how JSON and Rust's `{:?}` show bytes.
    Bytes,
}

/// A value was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The name under which it was added.
    pub name: String,
    /// Its form.
    pub encoding: Encoding,
    /// The number of the line, from 1.
    pub line: usize,
}

impl Canary {
    /// Looks for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value under a name that may be shown. Panics when it is too short.
    #[track_caller]
    pub fn add(&mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> &mut Self {
        let (name, value) = (name.into(), value.as_ref());
        assert!(
            value.len() >= SHORTEST,
            "the canary {name} is shorter than {SHORTEST} bytes: it would be found by chance"
        );
        let needles = needles(value);
        self.values.push(Value { name, needles });
        self
    }

    /// All that is found in `text`: each value once in each form, with its first line.
    pub fn find(&self, text: &str) -> Vec<Finding> {
        let mut found: Vec<Finding> = Vec::new();
        for value in &self.values {
            for (encoding, needle) in &value.needles {
                let known = |f: &Finding| f.name == value.name && f.encoding == *encoding;
                match text.find(needle) {
                    Some(at) if !found.iter().any(known) => found.push(Finding {
                        name: value.name.clone(),
                        encoding: *encoding,
                        line: 1 + text[..at].matches('\n').count(),
                    }),
                    _ => {}
                }
            }
        }
        found
    }

    /// Panics when anything is found; `place` says where the text is from.
    #[track_caller]
    pub fn assert_absent(&self, place: &str, text: &str) {
        let found: Vec<String> = self.find(text).iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{place} shows a secret: {}", found.join("; "));
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.values.iter().map(|value| &value.name);
        f.debug_set().entries(names).finish()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {:?} in line {}", self.name, self.encoding, self.line)
    }
}

fn needles(value: &[u8]) -> Vec<(Encoding, String)> {
    let mut needles = Vec::new();
    let mut add = |encoding, needle: String| {
        if !needles.iter().any(|(_, known)| *known == needle) {
            needles.push((encoding, needle));
        }
    };
    if let Ok(text) = str::from_utf8(value) {
        add(Encoding::Raw, text.to_owned());
        for escaped in json_forms(text) {
            add(Encoding::Json, escaped.clone());
            // A JSON text as a string of another one: a body inside a log line.
            json_forms(&escaped).into_iter().for_each(|twice| add(Encoding::Json, twice));
        }
        let debug = format!("{text:?}");
        add(Encoding::Debug, debug[1..debug.len() - 1].to_owned());
    }
    for standard in base64_cores(value) {
        let url_safe = standard.replace('+', "-").replace('/', "_");
        add(Encoding::Base64, standard);
        add(Encoding::Base64UrlSafe, url_safe);
    }
    add(Encoding::HexLower, hex(value, |b| format!("{b:02x}")));
    add(Encoding::HexUpper, hex(value, |b| format!("{b:02X}")));
    url_forms(value).into_iter().for_each(|form| add(Encoding::Url, form));
    for separator in [", ", ",", " "] {
        let numbers: Vec<String> = value.iter().map(u8::to_string).collect();
        add(Encoding::Bytes, numbers.join(separator));
    }
    needles
}

/// What base64 makes of the value, whatever stands before and after it: the position
/// in groups of three bytes decides, so there are three. Only the characters that hold
/// nothing but bits of the value are taken; they are the same with and without padding.
fn base64_cores(value: &[u8]) -> Vec<String> {
    (0..3)
        .map(|before| {
            let mut shifted = vec![0; before];
            shifted.extend_from_slice(value);
            let encoded = STANDARD_NO_PAD.encode(&shifted);
            let first = (before * 8).div_ceil(6);
            let end = shifted.len() * 8 / 6;
            encoded[first..end].to_owned()
        })
        .collect()
}

fn hex(value: &[u8], digits: fn(u8) -> String) -> String {
    value.iter().copied().map(digits).collect()
}

/// JSON leaves a choice: Go also escapes `<`, `>` and `&`, others all that is not
/// ASCII, some `/`.
fn json_forms(text: &str) -> Vec<String> {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let plain = quoted[1..quoted.len() - 1].to_owned();
    let html: String = plain
        .chars()
        .map(|c| match c {
            '<' | '>' | '&' => unicode_escape(c),
            c => c.to_string(),
        })
        .collect();
    let ascii = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii() { c.to_string() } else { unicode_escape(c) }).collect()
    };
    let slashes = plain.replace('/', "\\/");
    vec![ascii(&plain), ascii(&html), plain, html, slashes]
}

fn unicode_escape(c: char) -> String {
    let mut units = [0; 2];
    let units = c.encode_utf16(&mut units);
    units.iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Encoders agree on letters and digits only: some keep what others escape, forms write
/// `+` for a space, and the digits come in both cases.
fn url_forms(value: &[u8]) -> Vec<String> {
    // The reserved characters of RFC 3986 that are left as they are: in a query
    // component none, in a path segment these, in a whole URL these.
    let kept: [&[u8]; 4] = [b"-._~", b"-._*", b"-._~!$&'()*+,;=:@", b"-._~!$&'()*+,;=:@/?"];
    let mut forms = Vec::new();
    for kept in kept {
        for space in ["%20", "+"] {
            for upper in [true, false] {
                let escaped = value.iter().map(|&byte| match byte {
                    b' ' => space.to_owned(),
                    b if b.is_ascii_alphanumeric() || kept.contains(&b) => char::from(b).to_string(),
                    b if upper => format!("%{b:02X}"),
                    b => format!("%{b:02x}"),
                });
                forms.push(escaped.collect());
            }
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

    /// Its forms all differ: quotes, a space, `+` and `/` in its base64, and no ASCII only.
    const VALUE: &str = "pa>>ss??\"w\\ord\" <é&ü>/~x\n%y";

    fn canary() -> Canary {
        let mut canary = Canary::new();
        canary.add("password", VALUE);
        canary
    }

    #[track_caller]
    fn finds(encoding: Encoding, needle: &str) {
        let text = format!("a line\nlevel=info msg=[{needle}] more\n");
        let found = canary().find(&text);
        let expected = Finding { name: "password".into(), encoding, line: 2 };
        assert!(found.contains(&expected), "{encoding:?} in {needle}: {found:?}");
    }

    #[test]
    fn raw() {
        finds(Encoding::Raw, VALUE);
    }

    #[test]
    fn base64_with_and_without_padding() {
        let encoded = STANDARD.encode(VALUE);
        assert!(encoded.contains(['+', '/']), "the value must tell the alphabets apart: {encoded}");
        finds(Encoding::Base64, &encoded);
        finds(Encoding::Base64, &STANDARD_NO_PAD.encode(VALUE));
        finds(Encoding::Base64UrlSafe, &URL_SAFE.encode(VALUE));
        finds(Encoding::Base64UrlSafe, &URL_SAFE_NO_PAD.encode(VALUE));
    }

    #[test]
    fn base64_of_every_length() {
        for length in SHORTEST..SHORTEST + 6 {
            let value = &VALUE.as_bytes()[..length];
            let mut canary = Canary::new();
            canary.add("cut", value);
            for encoded in [STANDARD.encode(value), STANDARD_NO_PAD.encode(value)] {
                assert_eq!(canary.find(&encoded).len(), 1, "of {length} bytes");
            }
        }
    }

    #[test]
    fn base64_inside_something_longer() {
        for before in ["", "u", "us", "user"] {
            for after in ["", ":", "::", ":::"] {
                let whole = format!("{before}{VALUE}{after}");
                finds(Encoding::Base64, &STANDARD.encode(&whole));
                finds(Encoding::Base64UrlSafe, &URL_SAFE_NO_PAD.encode(&whole));
            }
        }
    }

    #[test]
    fn hexadecimal() {
        finds(Encoding::HexLower, &hex(VALUE.as_bytes(), |b| format!("{b:02x}")));
        finds(Encoding::HexUpper, &hex(VALUE.as_bytes(), |b| format!("{b:02X}")));
    }

    #[test]
    fn url_escaped() {
        // Written out, so that the test does not repeat the code.
        let query = "pa%3E%3Ess%3F%3F%22w%5Cord%22%20%3C%C3%A9%26%C3%BC%3E%2F~x%0A%25y";
        finds(Encoding::Url, query);
        finds(Encoding::Url, &query.replace("%20", "+"));
        let lower = "pa%3e%3ess%3f%3f%22w%5cord%22%20%3c%c3%a9%26%c3%bc%3e%2f~x%0a%25y";
        finds(Encoding::Url, lower);
        let form = "pa%3E%3Ess%3F%3F%22w%5Cord%22+%3C%C3%A9%26%C3%BC%3E%2F%7Ex%0A%25y";
        finds(Encoding::Url, form);
        let whole_url = "pa%3E%3Ess??%22w%5Cord%22%20%3C%C3%A9&%C3%BC%3E/~x%0A%25y";
        finds(Encoding::Url, whole_url);
    }

    #[test]
    fn json_escaped() {
        finds(Encoding::Json, r#"pa>>ss??\"w\\ord\" <é&ü>/~x\n%y"#);
        let go = r#"pa\u003e\u003ess??\"w\\ord\" \u003cé\u0026ü\u003e/~x\n%y"#;
        finds(Encoding::Json, go);
        finds(Encoding::Json, r#"pa>>ss??\"w\\ord\" <\u00e9&\u00fc>/~x\n%y"#);
        finds(Encoding::Json, r#"pa>>ss??\"w\\ord\" <é&ü>\/~x\n%y"#);
        let body = serde_json::to_string(&serde_json::json!({ "key": VALUE })).unwrap();
        let line = serde_json::to_string(&serde_json::json!({ "body": body })).unwrap();
        finds(Encoding::Json, &line);
    }

    #[test]
    fn debug_of_a_string_and_of_bytes() {
        let value = "tab\there\u{7f}\0nul";
        let mut canary = Canary::new();
        canary.add("odd", value);
        let found = |text: String| canary.find(&text).iter().map(|f| f.encoding).collect::<Vec<_>>();
        assert_eq!(found(format!("{:?}", Some(value))), [Encoding::Debug]);
        assert_eq!(found(format!("{:?}", value.as_bytes())), [Encoding::Bytes]);
        assert_eq!(found(serde_json::to_string(value.as_bytes()).unwrap()), [Encoding::Bytes]);
    }

    #[test]
    fn bytes_that_are_no_text() {
        let value = [0xff, 0xfe, 0x00, 0x80, 0xc3, 0x28, 0xfa, 0xce, 0xb0];
        let mut canary = Canary::new();
        canary.add("key", value);
        for text in [STANDARD.encode(value), URL_SAFE.encode(value), hex(&value, |b| format!("{b:02x}"))] {
            assert_eq!(canary.find(&text).len(), 1, "{text}");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let mut canary = canary();
        canary.add("other", "correct-horse-battery");
        let text = "correct-horse is not the whole, and pa>>ss is a part only";
        assert_eq!(canary.find(text), []);
        canary.assert_absent("the log", text);
    }

    #[test]
    fn a_plain_value_has_one_name_in_each_form() {
        let mut canary = Canary::new();
        canary.add("plain", "correct-horse-battery");
        let found = canary.find("x correct-horse-battery x");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].encoding, Encoding::Raw);
    }

    #[test]
    fn what_is_found_does_not_show_the_value() {
        let canary = canary();
        let shown = format!("{canary:?} {:?}", canary.find(VALUE));
        assert!(shown.contains("password"));
        canary.assert_absent("what is shown", &shown);
        let panic = std::panic::catch_unwind(|| canary.assert_absent("the log", VALUE));
        let message = panic.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("the log") && message.contains("Raw"), "{message}");
        canary.assert_absent("the panic", &message);
    }

    #[test]
    #[should_panic(expected = "shorter than 8 bytes")]
    fn a_short_value_is_refused() {
        Canary::new().add("pin", "1234");
    }
}
