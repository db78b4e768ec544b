//! From bytes to characters, and the place of each.

use zeroize::Zeroizing;

use crate::strconv::unicode;

/// Why a text is no YAML.
pub(super) struct Complaint {
    pub problem: String,
    pub problem_line: usize,
    pub context_line: usize,
    /// Those who cut the text into tokens have not counted the line they are on.
    pub in_scanner: bool,
}

impl Complaint {
    /// As go-yaml words it.
    pub(super) fn text(&self) -> String {
        let line = match self.problem_line {
            0 => self.context_line,
            line => line + usize::from(self.in_scanner),
        };
        match line {
            0 => self.problem.clone(),
            line => format!("line {line}: {}", self.problem),
        }
    }
}

/// A place in the text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark {
    pub index: usize,
    pub line: usize,
    pub column: isize,
}

/// The text, read from left to right. Behind its end there are NULs, which no YAML text has.
pub(super) struct Reader {
    chars: Zeroizing<Vec<char>>,
    at: usize,
    pub mark: Mark,
}

impl Reader {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, Complaint> {
        let mut chars = Zeroizing::new(Vec::with_capacity(bytes.len()));
        match bytes {
            [0xff, 0xfe, rest @ ..] => utf16(&mut chars, rest, u16::from_le_bytes)?,
            [0xfe, 0xff, rest @ ..] => utf16(&mut chars, rest, u16::from_be_bytes)?,
            [0xef, 0xbb, 0xbf, rest @ ..] | rest => utf8(&mut chars, rest)?,
        }
        Ok(Self { chars, at: 0, mark: Mark::default() })
    }

    pub(super) fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    pub(super) fn here(&self) -> char {
        self.peek(0)
    }

    pub(super) fn skip(&mut self) {
        self.at += 1;
        self.mark.index += 1;
        self.mark.column += 1;
    }

    /// Skips while a condition holds; it must not hold for NUL.
    pub(super) fn skip_while(&mut self, condition: impl Fn(char) -> bool) {
        while condition(self.here()) {
            self.skip();
        }
    }

    /// Skips a line break, if there is one.
    pub(super) fn skip_line(&mut self) {
        self.read_line(&mut String::new());
    }

    pub(super) fn read(&mut self, out: &mut String) {
        out.push(self.here());
        self.skip();
    }

    /// Reads a line break, if there is one: all but two become a line feed.
    pub(super) fn read_line(&mut self, out: &mut String) {
        match (self.here(), self.peek(1)) {
            ('\r', '\n') => {
                out.push('\n');
                self.skip();
            }
            ('\r' | '\n' | '\u{85}', _) => out.push('\n'),
            ('\u{2028}' | '\u{2029}', _) => out.push(self.here()),
            _ => return,
        }
        self.skip();
        self.mark.column = 0;
        self.mark.line += 1;
    }

    /// Is there `---` or `...` at the start of a line?
    pub(super) fn at_document_indicator(&self) -> bool {
        let first = self.here();
        self.mark.column == 0
            && matches!(first, '-' | '.')
            && self.peek(1) == first
            && self.peek(2) == first
            && is_blank_or_end(self.peek(3))
    }
}

fn problem(text: &str) -> Complaint {
    Complaint { problem: text.to_owned(), problem_line: 0, context_line: 0, in_scanner: false }
}

fn push(chars: &mut Vec<char>, c: char) -> Result<(), Complaint> {
    match c {
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'.. => {
            chars.push(c);
            Ok(())
        }
        _ => Err(problem("control characters are not allowed")),
    }
}

fn utf8(chars: &mut Vec<char>, bytes: &[u8]) -> Result<(), Complaint> {
    let mut rest = bytes;
    for (c, raw) in unicode::runes(bytes) {
        match (c, raw) {
            (unicode::RUNE_ERROR, [_]) => return Err(problem(not_utf8(rest))),
            _ => push(chars, c)?,
        }
        rest = &rest[raw.len()..];
    }
    Ok(())
}

/// What is wrong with bytes that do not begin with a character.
fn not_utf8(bytes: &[u8]) -> &'static str {
    let width = match bytes.first() {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf7) => 4,
        _ => return "invalid leading UTF-8 octet",
    };
    let Some(octets) = bytes.get(..width) else { return "incomplete UTF-8 octet sequence" };
    match octets {
        [_, trailing @ ..] if trailing.iter().any(|octet| octet & 0xc0 != 0x80) => "invalid trailing UTF-8 octet",
        [0xed, ..] | [0xf4..=0xf7, ..] => "invalid Unicode character",
        _ => "invalid length of a UTF-8 sequence",
    }
}

fn utf16(chars: &mut Vec<char>, bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<(), Complaint> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match decoded {
            Ok(c) => push(chars, c)?,
            Err(half) if half.unpaired_surrogate() >= 0xdc00 => return Err(problem("unexpected low surrogate area")),
            Err(_) => return Err(problem("expected low surrogate area")),
        }
    }
    match rest {
        [] => Ok(()),
        _ => Err(problem("incomplete UTF-16 character")),
    }
}

pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

pub(super) fn is_break_or_end(c: char) -> bool {
    c == '\0' || is_break(c)
}

pub(super) fn is_blank_or_end(c: char) -> bool {
    is_blank(c) || is_break_or_end(c)
}

/// A character of names.
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}
