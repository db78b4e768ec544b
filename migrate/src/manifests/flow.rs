//! Objects in braces: JSON, and YAML that is written so.

use std::ops::Range;

/// An object in braces, with the keys of its own.
#[derive(Debug)]
pub struct Object<'a> {
    /// From its first brace to its last.
    pub range: Range<usize>,
    fields: Vec<(&'a str, &'a str, Range<usize>)>,
}

impl<'a> Object<'a> {
    /// The value of a key, without quotes.
    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.field(key).map(|(value, _)| value)
    }

    /// The same, and where it stands.
    pub fn field(&self, key: &str) -> Option<(&'a str, Range<usize>)> {
        self.fields.iter().find(|(known, ..)| *known == key).map(|(_, value, range)| (*value, range.clone()))
    }
}

/// How far back an object may begin, and how many braces are tried.
const FAR: usize = 64 * 1024;
const BRACES: usize = 4096;

/// The object in braces of which a value of its own stands at a place. None where there is none, or where the braces are a
/// template's. A brace may stand in a text, so the nearest is tried first, and read on from there.
pub fn object(text: &str, place: usize) -> Option<Object<'_>> {
    let bytes = text.as_bytes();
    let starts = memchr::memrchr_iter(b'{', &bytes[..place]).take_while(|start| place - start < FAR).take(BRACES);
    let mut read = starts.filter_map(|start| {
        let is_brace = |at: usize| bytes.get(at) == Some(&b'{');
        let is_template = is_brace(start + 1) || (start > 0 && is_brace(start - 1));
        if is_template { None } else { from(text, start) }
    });
    read.find(|object| object.fields.iter().any(|(.., range)| range.contains(&place)))
}

/// The object that begins with this brace.
fn from(text: &str, start: usize) -> Option<Object<'_>> {
    let mut reader = Reader { text, at: start + 1 };
    let mut fields = Vec::new();
    loop {
        reader.pass(|byte| byte.is_ascii_whitespace() || byte == b',');
        if reader.peek()? == b'}' {
            return Some(Object { range: start..reader.at + 1, fields });
        }
        let (key, _) = reader.word(b":,}")?;
        reader.pass(|byte| byte.is_ascii_whitespace());
        if reader.peek()? == b':' {
            reader.at += 1;
            reader.pass(|byte| byte.is_ascii_whitespace());
            let (value, range) = reader.word(b",}")?;
            fields.push((key, value, range));
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn pass(&mut self, is_passed: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&is_passed) {
            self.at += 1;
        }
    }

    /// A key or a value, up to one of these outside of quotes and of what it holds itself; without its quotes.
    fn word(&mut self, ends: &[u8]) -> Option<(&'a str, Range<usize>)> {
        let start = self.at;
        let mut open = Vec::new();
        loop {
            let byte = self.peek()?;
            match byte {
                b'"' | b'\'' => self.quoted(byte)?,
                _ if open.is_empty() && ends.contains(&byte) => break,
                b'{' | b'[' => open.push(byte),
                b'}' | b']' => drop(open.pop()?),
                _ => {}
            }
            self.at += 1;
        }
        let found = self.text[start..self.at].trim_end();
        let is_quoted = found.len() > 1 && (found.starts_with('"') || found.starts_with('\''));
        let range = if is_quoted { start + 1..start + found.len() - 1 } else { start..start + found.len() };
        Some((&self.text[range.clone()], range))
    }

    /// Up to the end of quotes.
    fn quoted(&mut self, quote: u8) -> Option<()> {
        loop {
            self.at += 1;
            match self.peek()? {
                b'\\' if quote == b'"' => self.at += 1,
                byte if byte == quote => return Some(()),
                _ => {}
            }
        }
    }
}
