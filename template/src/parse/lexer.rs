//! Tokens.

use crate::strconv::{quote, unicode};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text cannot be read on; [`Token::complaint`] says why.
    Error,
    Eof,
    Text,
    LeftDelim,
    RightDelim,
    LeftParen,
    RightParen,
    Pipe,
    Assign,
    Declare,
    Space,
    /// Any other printable ASCII character.
    Char,
    Bool,
    CharConstant,
    Complex,
    Number,
    String,
    RawString,
    Field,
    Variable,
    Identifier,
    Block,
    Break,
    Continue,
    Define,
    Dot,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

impl Kind {
    fn keyword(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"block" => Self::Block,
            b"break" => Self::Break,
            b"continue" => Self::Continue,
            b"define" => Self::Define,
            b"else" => Self::Else,
            b"end" => Self::End,
            b"if" => Self::If,
            b"nil" => Self::Nil,
            b"range" => Self::Range,
            b"template" => Self::Template,
            b"with" => Self::With,
            b"true" | b"false" => Self::Bool,
            _ => return None,
        })
    }
}

/// A piece of the text.
#[derive(Debug, Clone)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    pub pos: usize,
    pub text: &'a [u8],
    pub line: usize,
    pub complaint: Option<String>,
}

impl Token<'_> {
    /// As error messages show it.
    pub fn describe(&self) -> String {
        let text = String::from_utf8_lossy(self.text);
        match self.kind {
            Kind::Error => self.complaint.clone().unwrap_or_default(),
            Kind::Eof => "EOF".to_owned(),
            Kind::Block | Kind::Break | Kind::Continue | Kind::Define | Kind::Dot | Kind::Else => format!("<{text}>"),
            Kind::End | Kind::If | Kind::Nil | Kind::Range | Kind::Template | Kind::With => format!("<{text}>"),
            _ => {
                let short: Vec<u8> = unicode::runes(self.text).take(10).flat_map(|(_, bytes)| bytes).copied().collect();
                let mut out = Vec::new();
                quote::quote(&mut out, if self.text.len() > 10 { &short } else { self.text }, false);
                format!("{}{}", String::from_utf8_lossy(&out), if self.text.len() > 10 { "..." } else { "" })
            }
        }
    }
}

/// The tokens of a text; the last one is [`Kind::Eof`] or [`Kind::Error`].
pub(super) fn lex<'a>(input: &'a [u8], left: &'a [u8], right: &'a [u8]) -> Vec<Token<'a>> {
    let mut lexer =
        Lexer { input, left, right, pos: 0, start: 0, line: 1, start_line: 1, parens: 0, tokens: Vec::new() };
    match lexer.text() {
        Ok(()) => lexer.emit(Kind::Eof),
        Err(complaint) => {
            let (pos, line) = (lexer.start, lexer.start_line);
            lexer.tokens.push(Token { kind: Kind::Error, pos, text: b"", line, complaint: Some(complaint) });
        }
    }
    lexer.tokens
}

type Lexed = Result<(), String>;

struct Lexer<'a> {
    input: &'a [u8],
    left: &'a [u8],
    right: &'a [u8],
    pos: usize,
    start: usize,
    line: usize,
    start_line: usize,
    parens: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.input[self.pos..]
    }

    /// The next code point, if there is one.
    fn peek(&self) -> Option<char> {
        match unicode::decode(self.rest()) {
            (_, 0) => None,
            (rune, _) => Some(rune),
        }
    }

    fn next(&mut self) -> Option<char> {
        let (rune, width) = unicode::decode(self.rest());
        self.pos += width;
        (width > 0).then_some(rune)
    }

    fn accept(&mut self, valid: &[u8]) -> bool {
        let found = self.rest().first().is_some_and(|byte| valid.contains(byte));
        self.pos += usize::from(found);
        found
    }

    fn accept_run(&mut self, valid: &[u8]) {
        while self.accept(valid) {}
    }

    fn emit(&mut self, kind: Kind) {
        let text = &self.input[self.start..self.pos];
        self.tokens.push(Token { kind, pos: self.start, text, line: self.start_line, complaint: None });
        self.ignore();
    }

    /// Leaves what was read out of the tokens.
    fn ignore(&mut self) {
        self.line += self.input[self.start..self.pos].iter().filter(|byte| **byte == b'\n').count();
        self.start = self.pos;
        self.start_line = self.line;
    }

    /// Text and actions, to the end of the input.
    fn text(&mut self) -> Lexed {
        loop {
            let Some(length) = find(self.rest(), self.left) else {
                self.pos = self.input.len();
                if self.pos > self.start {
                    self.emit(Kind::Text);
                }
                return Ok(());
            };
            if length > 0 {
                let text = &self.rest()[..length];
                let trimmed =
                    if trims_left(&self.rest()[length + self.left.len()..]) { text.trim_ascii_end_go() } else { text };
                self.pos += trimmed.len();
                if !trimmed.is_empty() {
                    self.emit(Kind::Text);
                }
                self.pos += length - trimmed.len();
                self.ignore();
            }
            self.left_delim()?;
        }
    }

    /// An action or a comment.
    fn left_delim(&mut self) -> Lexed {
        self.pos += self.left.len();
        let marker = if trims_left(self.rest()) { 2 } else { 0 };
        if self.rest()[marker..].starts_with(b"/*") {
            self.pos += marker;
            self.ignore();
            return self.comment();
        }
        self.emit(Kind::LeftDelim);
        self.pos += marker;
        self.ignore();
        self.parens = 0;
        self.action()
    }

    fn comment(&mut self) -> Lexed {
        self.pos += 2;
        let Some(length) = find(self.rest(), b"*/") else {
            return Err("unclosed comment".to_owned());
        };
        self.pos += length + 2;
        let Some(trim) = self.at_right_delim() else {
            return Err("comment ends before closing delimiter".to_owned());
        };
        self.ignore();
        self.after_right_delim(trim);
        self.ignore();
        Ok(())
    }

    /// Are we at the right delimiter, and if so, does it trim?
    fn at_right_delim(&self) -> Option<bool> {
        match self.rest() {
            [space, b'-', after @ ..] if is_space(*space) && after.starts_with(self.right) => Some(true),
            rest if rest.starts_with(self.right) => Some(false),
            _ => None,
        }
    }

    fn after_right_delim(&mut self, trim: bool) {
        self.pos += self.right.len() + if trim { 2 } else { 0 };
        if trim {
            self.pos += self.rest().iter().take_while(|byte| is_space(**byte)).count();
        }
    }

    fn right_delim(&mut self, trim: bool) {
        if trim {
            self.pos += 2;
            self.ignore();
        }
        self.pos += self.right.len();
        self.emit(Kind::RightDelim);
        if trim {
            self.pos += self.rest().iter().take_while(|byte| is_space(**byte)).count();
            self.ignore();
        }
    }

    /// What is between the delimiters, the right one included.
    fn action(&mut self) -> Lexed {
        loop {
            match self.at_right_delim() {
                Some(_) if self.parens > 0 => return Err("unclosed left paren".to_owned()),
                Some(trim) => {
                    self.right_delim(trim);
                    return Ok(());
                }
                None => self.element()?,
            }
        }
    }

    fn element(&mut self) -> Lexed {
        let Some(rune) = self.next() else {
            return Err("unclosed action".to_owned());
        };
        match rune {
            ' ' | '\t' | '\r' | '\n' => self.space(),
            '=' => self.emit(Kind::Assign),
            ':' => match self.next() {
                Some('=') => self.emit(Kind::Declare),
                _ => return Err("expected :=".to_owned()),
            },
            '|' => self.emit(Kind::Pipe),
            '"' => self.quoted('"', Kind::String, "unterminated quoted string")?,
            '`' => self.raw_quoted()?,
            '$' => self.field_or_variable(Kind::Variable)?,
            '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant")?,
            '.' if self.rest().first().is_some_and(|next| !next.is_ascii_digit()) => {
                self.field_or_variable(Kind::Dot)?
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.pos -= 1;
                self.number()?;
            }
            rune if is_alphanumeric(rune) => self.identifier()?,
            '(' => {
                self.parens += 1;
                self.emit(Kind::LeftParen);
            }
            ')' => match self.parens.checked_sub(1) {
                Some(parens) => {
                    self.parens = parens;
                    self.emit(Kind::RightParen);
                }
                None => return Err("unexpected right paren".to_owned()),
            },
            ' '..='~' => self.emit(Kind::Char),
            rune => return Err(format!("unrecognized character in action: {}", unicode_name(rune))),
        }
        Ok(())
    }

    /// A run of spaces, of which the first one is read; the last may belong to a right delimiter that trims.
    fn space(&mut self) {
        self.pos += self.rest().iter().take_while(|byte| is_space(**byte)).count();
        match &self.input[self.pos - 1..] {
            [_, b'-', after @ ..] if after.starts_with(self.right) && self.pos - 1 > self.start => self.pos -= 1,
            _ => {}
        }
        self.emit(Kind::Space);
    }

    fn quoted(&mut self, quote: char, kind: Kind, complaint: &str) -> Lexed {
        loop {
            match self.next() {
                Some('\\') if !matches!(self.peek(), None | Some('\n')) => self.pos += unicode::decode(self.rest()).1,
                Some('\\' | '\n') | None => return Err(complaint.to_owned()),
                Some(rune) if rune == quote => break,
                Some(_) => {}
            }
        }
        self.emit(kind);
        Ok(())
    }

    fn raw_quoted(&mut self) -> Lexed {
        match find(self.rest(), b"`") {
            Some(length) => {
                self.pos += length + 1;
                self.emit(Kind::RawString);
                Ok(())
            }
            None => Err("unterminated raw quoted string".to_owned()),
        }
    }

    /// After a `$` or a `.`: a name may follow.
    fn field_or_variable(&mut self, alone: Kind) -> Lexed {
        if self.at_terminator() {
            self.emit(alone);
            return Ok(());
        }
        self.name()?;
        self.emit(if alone == Kind::Dot { Kind::Field } else { alone });
        Ok(())
    }

    fn identifier(&mut self) -> Lexed {
        self.name()?;
        self.emit(Kind::keyword(&self.input[self.start..self.pos]).unwrap_or(Kind::Identifier));
        Ok(())
    }

    fn name(&mut self) -> Lexed {
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
        match (self.at_terminator(), self.peek()) {
            (true, _) => Ok(()),
            (false, rune) => Err(format!("bad character {}", unicode_name(rune.unwrap_or_default()))),
        }
    }

    /// May a name end here?
    fn at_terminator(&self) -> bool {
        match self.rest().first() {
            None => true,
            Some(b' ' | b'\t' | b'\r' | b'\n' | b'.' | b',' | b'|' | b':' | b')' | b'(') => true,
            Some(_) => self.rest().starts_with(self.right),
        }
    }

    fn number(&mut self) -> Lexed {
        let first = self.scan_number();
        let signed = matches!(self.peek(), Some('+' | '-'));
        let good = match (first, signed) {
            (true, true) => self.scan_number() && self.input[..self.pos].ends_with(b"i"),
            (first, _) => first,
        };
        if !good {
            let text = String::from_utf8_lossy(&self.input[self.start..self.pos]);
            return Err(format!("bad number syntax: {text:?}"));
        }
        self.emit(if signed { Kind::Complex } else { Kind::Number });
        Ok(())
    }

    /// Something that may be a number; whether it is one is found out when its value is taken.
    fn scan_number(&mut self) -> bool {
        self.accept(b"+-");
        let mut digits: &[u8] = b"0123456789_";
        let mut exponent: &[u8] = b"eE";
        if self.accept(b"0") {
            match () {
                () if self.accept(b"xX") => (digits, exponent) = (b"0123456789abcdefABCDEF_", b"pP"),
                () if self.accept(b"oO") => (digits, exponent) = (b"01234567_", b""),
                () if self.accept(b"bB") => (digits, exponent) = (b"01_", b""),
                () => {}
            }
        }
        self.accept_run(digits);
        if self.accept(b".") {
            self.accept_run(digits);
        }
        if self.accept(exponent) {
            self.accept(b"+-");
            self.accept_run(b"0123456789_");
        }
        self.accept(b"i");
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            false
        } else {
            true
        }
    }
}

/// Go's idea of space in templates.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_alphanumeric(rune: char) -> bool {
    rune == '_' || unicode::is_letter(rune) || unicode::is_digit(rune)
}

/// Does what follows a left delimiter trim the text before it?
fn trims_left(after: &[u8]) -> bool {
    matches!(after, [b'-', space, ..] if is_space(*space))
}

/// As `%#U` prints it.
fn unicode_name(rune: char) -> String {
    if unicode::is_print(rune) {
        format!("U+{:04X} '{rune}'", u32::from(rune))
    } else {
        format!("U+{:04X}", u32::from(rune))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let starts = haystack.iter().enumerate().filter(|(_, byte)| **byte == first);
    starts.map(|(at, _)| at).find(|at| haystack[*at..].starts_with(needle))
}

trait TrimEnd {
    fn trim_ascii_end_go(&self) -> &Self;
}

impl TrimEnd for [u8] {
    /// Without the spaces at the end that a template counts as such.
    fn trim_ascii_end_go(&self) -> &[u8] {
        let kept = self.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
        &self[..kept]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        lex(text.as_bytes(), b"{{", b"}}").iter().map(|token| token.kind).collect()
    }

    #[test]
    fn actions() {
        use Kind::*;
        assert_eq!(kinds("a{{ .b.c | d $e 1 }}"), {
            [
                Text, LeftDelim, Space, Field, Field, Space, Pipe, Space, Identifier, Space, Variable, Space, Number,
                Space, RightDelim, Eof,
            ]
        });
        assert_eq!(kinds("{{- /* c */ -}} x"), [Text, Eof]);
        assert_eq!(kinds("a {{- 1  -}} b"), [Text, LeftDelim, Number, Space, RightDelim, Text, Eof]);
        assert_eq!(kinds("{{-3}}"), [LeftDelim, Number, RightDelim, Eof]);
    }

    #[test]
    fn what_cannot_be_read() {
        for text in ["{{", "{{ (1 }}", "{{ 1) }}", "{{ \"a }}", "{{ 'a }}", "{{ `a }}", "{{ 3k }}", "{{ .a@ }}"] {
            assert_eq!(kinds(text).last(), Some(&Kind::Error), "{text}");
        }
        for text in ["{{/* a }}", "{{/* a */ b}}", "{{ 1+2 }}", "{{ : }}", "{{ \x01 }}", "{{ \u{2603} }}"] {
            assert_eq!(kinds(text).last(), Some(&Kind::Error), "{text}");
        }
    }

    #[test]
    fn trimming_counts_lines() {
        let tokens = lex(b"a\n\n{{- 1 -}}\n\n b {{2}}", b"{{", b"}}");
        let two = tokens.iter().find(|token| token.text == b"2").unwrap();
        assert_eq!((two.line, two.pos), (5, 19));
        assert_eq!(tokens[4].text, b"b ");
    }
}
