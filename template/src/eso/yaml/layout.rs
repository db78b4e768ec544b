//! From nodes to text, laid out as libyaml's emitter does.

use zeroize::Zeroizing;

use super::scalar::{self, Scalar};
use crate::{env::Context, error::Failure};

/// What is written.
pub(super) enum Node {
    /// `null`, `true`, a number: written as it is.
    Plain(String),
    /// A text, in quotes or in a block of its own where needed.
    Text(Zeroizing<String>),
    /// Bytes that are no text, in base64.
    List(Vec<Node>),
    /// Sorted entries.
    Map(Vec<(Zeroizing<String>, Node)>),
}

const STEP: usize = 2;

/// Text is broken at the first space beyond this column.
const WIDTH: usize = 80;

/// A key longer than this is written after a question mark.
const SIMPLE_KEY: usize = 128;

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Item,
    Key,
    /// The value of a key, or a key after a question mark.
    Value,
}

struct Writer<'c, 'a, 'e> {
    context: &'c mut Context<'a, 'e>,
    out: Zeroizing<Vec<u8>>,
    column: usize,
    /// Was the last thing written a space?
    whitespace: bool,
    /// Is there nothing but indentation and indicators on this line?
    indention: bool,
    /// `None` before the root.
    indent: Option<usize>,
}

pub(super) fn write(context: &mut Context<'_, '_>, root: &Node) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut writer =
        Writer { context, out: Zeroizing::default(), column: 0, whitespace: true, indention: true, indent: None };
    writer.node(root, Place::Root)?;
    writer.indent = None;
    writer.write_indent();
    writer.context.fits(writer.out.len())?;
    Ok(writer.out)
}

impl Writer<'_, '_, '_> {
    fn node(&mut self, node: &Node, place: Place) -> Result<(), Failure> {
        self.context.spend(1)?;
        self.context.fits(self.out.len())?;
        let outer = self.indent;
        match node {
            Node::Plain(text) => self.plain(text, place),
            Node::Text(text) => self.text(text, place),
            Node::List(items) if items.is_empty() => self.empty(b"[", b"]"),
            Node::Map(entries) if entries.is_empty() => self.empty(b"{", b"}"),
            Node::List(items) => {
                self.increase_indent(false, place == Place::Value && !self.indention);
                for item in items {
                    self.write_indent();
                    self.indicator(b"-", true, false, true);
                    self.node(item, Place::Item)?;
                }
            }
            Node::Map(entries) => {
                self.increase_indent(false, false);
                for (key, value) in entries {
                    self.entry(key, value)?;
                }
            }
        }
        self.indent = outer;
        Ok(())
    }

    fn entry(&mut self, key: &str, value: &Node) -> Result<(), Failure> {
        self.write_indent();
        let outer = self.indent;
        if key.len() <= SIMPLE_KEY && !key.chars().any(is_break) {
            self.text(key, Place::Key);
            self.indent = outer;
            self.indicator(b":", false, false, false);
        } else {
            self.indicator(b"?", true, false, true);
            self.text(key, Place::Value);
            self.indent = outer;
            self.write_indent();
            self.indicator(b":", true, false, true);
        }
        self.node(value, Place::Value)
    }

    fn empty(&mut self, open: &[u8], close: &[u8]) {
        self.indicator(open, true, true, false);
        self.indicator(close, false, false, false);
    }

    fn increase_indent(&mut self, flow: bool, same: bool) {
        self.indent = Some(match self.indent {
            None if flow => STEP,
            None => 0,
            Some(indent) if same => indent,
            Some(indent) => indent + STEP,
        });
    }

    fn write_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.put_break('\n');
        }
        while self.column < indent {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn indicator(&mut self, text: &[u8], space_before: bool, is_space: bool, is_indention: bool) {
        if space_before && !self.whitespace {
            self.put(' ');
        }
        self.out.extend_from_slice(text);
        self.column += text.len();
        self.whitespace = is_space;
        self.indention &= is_indention;
    }

    fn put(&mut self, c: char) {
        self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        self.column += 1;
    }

    fn put_break(&mut self, c: char) {
        self.put(c);
        self.column = 0;
    }

    /// A space may become a line break, if it is one of its own beyond the width and not part of a simple key.
    fn breaks_here(&self, place: Place, spaces: bool) -> bool {
        place != Place::Key && !spaces && self.column > WIDTH
    }

    fn plain(&mut self, text: &str, place: Place) {
        if !self.whitespace {
            self.put(' ');
        }
        let mut spaces = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c == ' ' && self.breaks_here(place, spaces) && chars.peek() != Some(&' ') {
                self.write_indent()
            } else {
                self.put(c)
            }
            spaces = c == ' ';
            self.indention &= spaces;
        }
        self.whitespace = false;
        self.indention = false;
    }

    fn text(&mut self, text: &str, place: Place) {
        self.increase_indent(true, false);
        match style(text, place == Place::Key) {
            Style::Plain => self.plain(text, place),
            Style::Single => self.single_quoted(text, place),
            Style::Double => self.double_quoted(text, place),
            Style::Literal => self.literal(text),
        }
    }

    fn single_quoted(&mut self, text: &str, place: Place) {
        self.indicator(b"'", true, false, false);
        let (mut spaces, mut breaks) = (false, false);
        let mut chars = text.chars().enumerate().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                ' ' => {
                    let next = chars.peek().map(|(_, next)| *next);
                    if at > 0 && next.is_some_and(|next| next != ' ') && self.breaks_here(place, spaces) {
                        self.write_indent()
                    } else {
                        self.put(c)
                    }
                    spaces = true;
                }
                c if is_break(c) => {
                    if !breaks && c == '\n' {
                        self.put_break('\n');
                    }
                    self.put_break(c);
                    self.indention = true;
                    breaks = true;
                }
                c => {
                    if breaks {
                        self.write_indent();
                    }
                    if c == '\'' {
                        self.put('\'');
                    }
                    self.put(c);
                    self.indention = false;
                    (spaces, breaks) = (false, false);
                }
            }
        }
        self.indicator(b"'", false, false, false);
    }

    fn double_quoted(&mut self, text: &str, place: Place) {
        self.indicator(b"\"", true, false, false);
        // libyaml looks for the mark at the start of the text whichever character it is at.
        let marked = text.starts_with('\u{feff}');
        let mut spaces = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            match c {
                '\0' => self.escape("0"),
                '\x07' => self.escape("a"),
                '\x08' => self.escape("b"),
                '\t' => self.escape("t"),
                '\n' => self.escape("n"),
                '\x0b' => self.escape("v"),
                '\x0c' => self.escape("f"),
                '\r' => self.escape("r"),
                '\x1b' => self.escape("e"),
                '"' => self.escape("\""),
                '\\' => self.escape("\\"),
                '\u{85}' => self.escape("N"),
                '\u{2028}' => self.escape("L"),
                '\u{2029}' => self.escape("P"),
                '\u{a0}' if marked => self.escape("_"),
                ' ' if !marked && at > 0 && next.is_some() && self.breaks_here(place, spaces) => {
                    self.write_indent();
                    if next == Some(' ') {
                        self.put('\\');
                    }
                }
                c if is_printable(c) && !marked => self.put(c),
                c => match u32::from(c) {
                    code @ 0..=0xff => self.escape(&format!("x{code:02X}")),
                    code @ 0..=0xffff => self.escape(&format!("u{code:04X}")),
                    code => self.escape(&format!("U{code:08X}")),
                },
            }
            spaces = c == ' ' && !marked;
        }
        self.indicator(b"\"", false, false, false);
    }

    fn escape(&mut self, text: &str) {
        self.put('\\');
        self.out.extend_from_slice(text.as_bytes());
        self.column += text.len();
    }

    fn literal(&mut self, text: &str) {
        self.indicator(b"|", true, false, false);
        if text.starts_with(|c| c == ' ' || is_break(c)) {
            self.indicator(b"2", false, false, false);
        }
        let mut last = text.chars().rev();
        match (last.next().is_some_and(is_break), last.next().is_none_or(is_break)) {
            (false, _) => self.indicator(b"-", false, false, false),
            (true, true) => self.indicator(b"+", false, false, false),
            (true, false) => {}
        }
        self.put_break('\n');
        self.indention = true;
        self.whitespace = true;
        let mut breaks = true;
        for c in text.chars() {
            if is_break(c) {
                self.put_break(c);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.write_indent();
                }
                self.put(c);
                self.indention = false;
                breaks = false;
            }
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

/// How a text is written.
fn style(text: &str, simple_key: bool) -> Style {
    let wanted = match text {
        _ if text.contains('\n') => Style::Literal,
        _ if scalar::resolve(text) == Scalar::Text && !scalar::is_base60(text) => Style::Plain,
        _ => Style::Double,
    };
    let allowed = analyze(text);
    match wanted {
        Style::Plain if allowed.plain => Style::Plain,
        Style::Plain if allowed.single => Style::Single,
        Style::Literal if allowed.literal && !simple_key => Style::Literal,
        _ => Style::Double,
    }
}

struct Allowed {
    plain: bool,
    single: bool,
    literal: bool,
}

fn analyze(text: &str) -> Allowed {
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let (mut line_breaks, mut special) = (false, false);
    let (mut break_space, mut space_break) = (false, false);
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let blank_after = chars.peek().is_none_or(|next| matches!(next, ' ' | '\t'));
        indicators |= match (before, c) {
            (None, '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`') => {
                true
            }
            (None, '?' | '-') | (_, ':') => blank_after,
            (Some(before), '#') => is_blank_or_break(before),
            _ => false,
        };
        special |= !is_printable(c);
        line_breaks |= is_break(c);
        break_space |= c == ' ' && before.is_some_and(is_break);
        space_break |= is_break(c) && before == Some(' ');
        before = Some(c);
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c == ' ' || is_break(c));
    let trailing_space = text.ends_with(' ');
    let framed = edge(text.chars().next()) || edge(before);
    let single = !break_space && !space_break && !special;
    Allowed {
        plain: !text.is_empty() && single && !framed && !line_breaks && !indicators,
        single,
        literal: !trailing_space && !space_break && !special,
    }
}

fn is_blank_or_break(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\0') || is_break(c)
}
