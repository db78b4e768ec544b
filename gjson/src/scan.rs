//! Where values begin and end in text that is JSON or nearly so. Nothing here fails: what is broken ends early.

use std::ops::Range;

use crate::{
    buf::{Buf, Span},
    number, text,
};

/// What a value is, in the order in which gjson lets kinds differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    False,
    True,
    Number,
    String,
    /// An object or an array.
    Nest,
}

/// A value as a range of the text it was found in.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
    /// Of a string: whether its closing quote is there.
    pub(crate) closed: bool,
    /// Of a string: whether there is a backslash in it.
    pub(crate) escaped: bool,
}

impl Piece {
    pub(crate) fn new(kind: Kind, range: Range<usize>) -> Self {
        Self { kind, range, closed: true, escaped: false }
    }

    pub(crate) fn of<'a>(self, json: &Span<'a>) -> Node<'a> {
        Node { kind: self.kind, raw: json.part(self.range), closed: self.closed, escaped: self.escaped }
    }
}

/// A value with its text. That there is none is `None` in an `Option` of this.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub(crate) kind: Kind,
    pub(crate) raw: Span<'a>,
    pub(crate) closed: bool,
    pub(crate) escaped: bool,
}

impl Node<'_> {
    pub(crate) fn is_object(&self) -> bool {
        self.kind == Kind::Nest && self.raw.bytes().first() == Some(&b'{')
    }

    pub(crate) fn is_array(&self) -> bool {
        self.kind == Kind::Nest && self.raw.bytes().first() == Some(&b'[')
    }

    /// The value as a number, of a number.
    pub(crate) fn float(&self) -> f64 {
        number::parse(self.raw.bytes())
    }

    /// Calls `with` with the value as text: a string without quotes and escapes, `null` as nothing.
    pub(crate) fn with_text<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        let raw = self.raw.bytes();
        match self.kind {
            Kind::Null => with(b""),
            Kind::False => with(b"false"),
            Kind::True => with(b"true"),
            Kind::Nest => with(raw),
            Kind::String if self.escaped => with(text::unescape(text::inner(raw, self.closed)).bytes()),
            Kind::String => with(text::inner(raw, self.closed)),
            Kind::Number if number::is_plain(raw) => with(raw),
            Kind::Number => with(number::format(self.float()).bytes()),
        }
    }

    pub(crate) fn to_text(&self) -> Buf {
        self.with_text(|text| text.into())
    }
}

/// What begins at a byte.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    String,
    Nest,
    Word(Kind),
    Number,
}

/// What begins at `at`, where a value does.
pub(crate) fn start(json: &[u8], at: usize) -> Option<Start> {
    Some(match json[at] {
        b'"' => Start::String,
        b'{' | b'[' => Start::Nest,
        b't' => Start::Word(Kind::True),
        b'f' => Start::Word(Kind::False),
        b'n' if json.get(at + 1).is_none_or(|next| *next == b'u') => Start::Word(Kind::Null),
        // "nan" and its like count as numbers.
        b'n' | b'i' | b'I' | b'N' | b'+' | b'-' | b'0'..=b'9' => Start::Number,
        _ => return None,
    })
}

/// Reads the value that begins at `at`, and says where to go on: one past the end where a string inside is not
/// closed. `None` where the value is itself such a string.
pub(crate) fn value(json: &[u8], at: usize, start: Start) -> (usize, Option<Piece>) {
    let (kind, next) = match start {
        Start::String => {
            let string = string(json, at);
            return (string.range.end, string.closed.then_some(string));
        }
        Start::Nest => (Kind::Nest, nest_end(json, at)),
        Start::Word(kind) => (kind, word_end(json, at)),
        Start::Number => (Kind::Number, number_end(json, at)),
    };
    (next, Some(Piece::new(kind, at..next.min(json.len()))))
}

/// Reads the next value from `at` on, over anything that can't begin one.
pub(crate) fn any(json: &[u8], at: usize) -> Option<(usize, Piece)> {
    let (at, start) = (at..json.len()).find_map(|at| Some((at, start(json, at)?)))?;
    let (next, piece) = value(json, at, start);
    Some((next, piece?))
}

/// Reads a whole document: its first value, an object or array with all that follows it.
pub(crate) fn document<'a>(json: &Span<'a>) -> Option<Node<'a>> {
    let text = json.bytes();
    let at = text.iter().position(|byte| *byte > b' ')?;
    let piece = match start(text, at)? {
        Start::Nest => Piece::new(Kind::Nest, at..text.len()),
        Start::String => string(text, at),
        start => value(text, at, start).1?,
    };
    Some(piece.of(json))
}

/// The string whose opening quote is at `at`.
pub(crate) fn string(json: &[u8], at: usize) -> Piece {
    let mut escaped = false;
    let mut end = at + 1;
    while let Some(byte) = json.get(end) {
        match byte {
            b'"' => return Piece { kind: Kind::String, range: at..end + 1, closed: true, escaped },
            b'\\' => {
                escaped = true;
                end += 2;
            }
            _ => end += 1,
        }
    }
    Piece { kind: Kind::String, range: at..json.len(), closed: false, escaped }
}

fn word_end(json: &[u8], at: usize) -> usize {
    end_where(json, at + 1, |byte| !byte.is_ascii_lowercase())
}

fn number_end(json: &[u8], at: usize) -> usize {
    end_where(json, at + 1, |byte| byte <= b' ' || matches!(byte, b',' | b']' | b'}'))
}

fn end_where(json: &[u8], from: usize, ends: impl Fn(u8) -> bool) -> usize {
    json[from..].iter().position(|byte| ends(*byte)).map_or(json.len(), |n| from + n)
}

/// Where that ends whose opening bracket is at `at`; whatever is there counts as one, and any bracket closes any
/// other. One past the end where a string is not closed.
pub(crate) fn nest_end(json: &[u8], at: usize) -> usize {
    let mut depth = 1;
    let mut at = at + 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                let string = string(json, at);
                at = string.range.end + usize::from(!string.closed);
                continue;
            }
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Where the string or nest ends that `text` begins with.
pub(crate) fn balanced_end(text: &[u8]) -> usize {
    match text.first() {
        Some(b'"') => string(text, 0).range.end,
        _ => nest_end(text, 0).min(text.len()),
    }
}

/// The members of an object or the items of an array. Brackets that close are not looked for: of what follows them
/// the values are members, too.
pub(crate) struct Entries<'j> {
    json: &'j [u8],
    at: usize,
    keyed: bool,
}

impl<'j> Entries<'j> {
    /// `json` begins with the opening bracket.
    pub(crate) fn new(json: &'j [u8]) -> Self {
        Self { json, at: 1, keyed: json.first() == Some(&b'{') }
    }
}

impl Iterator for Entries<'_> {
    type Item = (Option<Piece>, Piece);

    fn next(&mut self) -> Option<Self::Item> {
        let mut key = None;
        if self.keyed {
            self.at += self.json.get(self.at..)?.iter().position(|byte| *byte == b'"')?;
            let string = string(self.json, self.at);
            self.at = string.range.end;
            key = Some(string).filter(|string| string.closed);
            key.as_ref()?;
        }
        let (next, value) = any(self.json, self.at)?;
        // One byte is passed over, most often a comma.
        self.at = next + 1;
        Some((key, value))
    }
}
