//! From characters to tokens, with the block structure that indentation stands for made visible.

use std::collections::{HashMap, VecDeque};

use zeroize::Zeroizing;

use super::reader::{Complaint, Mark, Reader, is_blank, is_blank_or_end, is_break, is_break_or_end};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    StreamStart,
    StreamEnd,
    Version(u32, u32),
    TagDirective { handle: String, prefix: String },
    DocumentStart,
    DocumentEnd,
    BlockListStart,
    BlockMapStart,
    BlockEnd,
    FlowListStart,
    FlowListEnd,
    FlowMapStart,
    FlowMapEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    Tag { handle: String, suffix: String },
    Scalar { value: Zeroizing<String>, plain: bool },
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub kind: Kind,
    /// The line it starts on, from 0.
    pub line: usize,
}

/// Something that is a key if a colon follows on the same line and soon.
#[derive(Clone, Copy, Default)]
struct SimpleKey {
    possible: bool,
    required: bool,
    token: usize,
    mark: Mark,
}

/// How far back the start of a key may be.
const KEY_LENGTH: usize = 1024;

/// How deep brackets may be nested.
const DEPTH: usize = 10_000;

pub(super) struct Scanner {
    pub(super) reader: Reader,
    tokens: VecDeque<Token>,
    taken: usize,
    available: bool,
    started: bool,
    pub(super) indent: isize,
    indents: Vec<isize>,
    pub(super) flow_level: usize,
    pub(super) simple_key_allowed: bool,
    simple_keys: Vec<SimpleKey>,
    keys_by_token: HashMap<usize, usize>,
}

type Scanned<T> = Result<T, Complaint>;

impl Scanner {
    pub(super) fn new(reader: Reader) -> Self {
        Self {
            reader,
            tokens: VecDeque::new(),
            taken: 0,
            available: false,
            started: false,
            indent: -1,
            indents: Vec::new(),
            flow_level: 0,
            simple_key_allowed: true,
            simple_keys: vec![SimpleKey::default()],
            keys_by_token: HashMap::new(),
        }
    }

    /// The next token, which stays.
    pub(super) fn peek(&mut self) -> Scanned<Token> {
        if !self.available {
            self.fetch_more()?;
        }
        let end = Token { kind: Kind::StreamEnd, line: self.reader.mark.line };
        Ok(self.tokens.front().cloned().unwrap_or(end))
    }

    /// Drops the token that was looked at.
    pub(super) fn skip(&mut self) {
        self.available = false;
        self.taken += 1;
        self.tokens.pop_front();
    }

    pub(super) fn complaint(&self, context: Mark, problem: &str) -> Complaint {
        Complaint {
            problem: problem.to_owned(),
            problem_line: self.reader.mark.line,
            context_line: context.line,
            in_scanner: true,
        }
    }

    fn fetch_more(&mut self) -> Scanned<()> {
        loop {
            if !self.tokens.is_empty() {
                match self.keys_by_token.get(&self.taken).copied() {
                    None => break,
                    Some(at) if !self.key_is_valid(at)? => break,
                    Some(_) => {}
                }
            }
            if self.started && matches!(self.tokens.back(), Some(Token { kind: Kind::StreamEnd, .. })) {
                break;
            }
            self.fetch_next()?;
        }
        self.available = true;
        Ok(())
    }

    fn fetch_next(&mut self) -> Scanned<()> {
        if !self.started {
            self.started = true;
            self.push(Kind::StreamStart, self.reader.mark);
            return Ok(());
        }
        self.scan_to_next_token();
        self.unroll_indent(self.reader.mark.column);
        let (here, next) = (self.reader.here(), self.reader.peek(1));
        let flow = self.flow_level > 0;
        match here {
            '\0' => self.fetch_stream_end(),
            '%' if self.reader.mark.column == 0 => self.fetch_directive(),
            '-' if self.reader.at_document_indicator() => self.fetch_document_indicator(Kind::DocumentStart),
            '.' if self.reader.at_document_indicator() => self.fetch_document_indicator(Kind::DocumentEnd),
            '[' => self.fetch_flow_start(Kind::FlowListStart),
            '{' => self.fetch_flow_start(Kind::FlowMapStart),
            ']' => self.fetch_flow_end(Kind::FlowListEnd),
            '}' => self.fetch_flow_end(Kind::FlowMapEnd),
            ',' => {
                self.remove_simple_key()?;
                self.simple_key_allowed = true;
                self.one_char(Kind::FlowEntry);
                Ok(())
            }
            '-' if is_blank_or_end(next) => self.fetch_block_entry(),
            '?' if flow || is_blank_or_end(next) => self.fetch_key(),
            ':' if flow || is_blank_or_end(next) => self.fetch_value(),
            '*' | '&' => self.fetch_possible_key(|scanner| scanner.scan_anchor(here == '*')),
            '!' => self.fetch_possible_key(Self::scan_tag),
            '|' | '>' if !flow => self.fetch_block_scalar(here == '|'),
            '\'' | '"' => self.fetch_possible_key(|scanner| {
                Ok(Kind::Scalar { value: scanner.scan_flow_scalar(here == '\'')?, plain: false })
            }),
            _ if starts_plain_scalar(here, next, flow) => {
                self.fetch_possible_key(|scanner| Ok(Kind::Scalar { value: scanner.scan_plain_scalar()?, plain: true }))
            }
            _ => Err(self.complaint(self.reader.mark, "found character that cannot start any token")),
        }
    }

    /// A token that may turn out to be a key, once a colon follows it.
    fn fetch_possible_key(&mut self, scan: impl FnOnce(&mut Self) -> Scanned<Kind>) -> Scanned<()> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.reader.mark;
        let kind = scan(self)?;
        self.push(kind, start);
        Ok(())
    }

    fn fetch_block_scalar(&mut self, literal: bool) -> Scanned<()> {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        let start = self.reader.mark;
        let value = self.scan_block_scalar(literal)?;
        self.push(Kind::Scalar { value, plain: false }, start);
        Ok(())
    }

    fn push(&mut self, kind: Kind, start: Mark) {
        self.tokens.push_back(Token { kind, line: start.line });
    }

    fn one_char(&mut self, kind: Kind) {
        let start = self.reader.mark;
        self.reader.skip();
        self.push(kind, start);
    }

    fn key_is_valid(&mut self, at: usize) -> Scanned<bool> {
        let Some(key) = self.simple_keys.get(at).copied().filter(|key| key.possible) else { return Ok(false) };
        let mark = self.reader.mark;
        if key.mark.line < mark.line || key.mark.index + KEY_LENGTH < mark.index {
            if key.required {
                return Err(self.complaint(key.mark, "could not find expected ':'"));
            }
            self.simple_keys[at].possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn save_simple_key(&mut self) -> Scanned<()> {
        if !self.simple_key_allowed {
            return Ok(());
        }
        let mark = self.reader.mark;
        let required = self.flow_level == 0 && self.indent == mark.column;
        let key = SimpleKey { possible: true, required, token: self.taken + self.tokens.len(), mark };
        self.remove_simple_key()?;
        let at = self.simple_keys.len() - 1;
        self.simple_keys[at] = key;
        self.keys_by_token.insert(key.token, at);
        Ok(())
    }

    fn remove_simple_key(&mut self) -> Scanned<()> {
        let at = self.simple_keys.len() - 1;
        let key = self.simple_keys[at];
        if key.possible {
            if key.required {
                return Err(self.complaint(key.mark, "could not find expected ':'"));
            }
            self.simple_keys[at].possible = false;
            self.keys_by_token.remove(&key.token);
        }
        Ok(())
    }

    fn roll_indent(&mut self, column: isize, number: Option<usize>, kind: Kind, mark: Mark) -> Scanned<()> {
        if self.flow_level > 0 || self.indent >= column {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column;
        if self.indents.len() > DEPTH {
            let context = self.simple_keys.last().map_or(mark, |key| key.mark);
            return Err(self.complaint(context, "exceeded max depth of 10000"));
        }
        let token = Token { kind, line: mark.line };
        self.insert(number, token);
        Ok(())
    }

    fn insert(&mut self, number: Option<usize>, token: Token) {
        match number {
            Some(number) => self.tokens.insert(number.saturating_sub(self.taken).min(self.tokens.len()), token),
            None => self.tokens.push_back(token),
        }
    }

    fn unroll_indent(&mut self, column: isize) {
        if self.flow_level > 0 {
            return;
        }
        while self.indent > column {
            self.push(Kind::BlockEnd, self.reader.mark);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    fn fetch_stream_end(&mut self) -> Scanned<()> {
        if self.reader.mark.column != 0 {
            self.reader.mark.column = 0;
            self.reader.mark.line += 1;
        }
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.push(Kind::StreamEnd, self.reader.mark);
        Ok(())
    }

    fn fetch_directive(&mut self) -> Scanned<()> {
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.reader.mark;
        let kind = self.scan_directive()?;
        self.push(kind, start);
        Ok(())
    }

    fn fetch_document_indicator(&mut self, kind: Kind) -> Scanned<()> {
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.reader.mark;
        (0..3).for_each(|_| self.reader.skip());
        self.push(kind, start);
        Ok(())
    }

    fn fetch_flow_start(&mut self, kind: Kind) -> Scanned<()> {
        self.save_simple_key()?;
        let mark = self.reader.mark;
        let token = self.taken + self.tokens.len();
        self.simple_keys.push(SimpleKey { possible: false, required: false, token, mark });
        self.flow_level += 1;
        if self.flow_level > DEPTH {
            return Err(self.complaint(mark, "exceeded max depth of 10000"));
        }
        self.simple_key_allowed = true;
        self.one_char(kind);
        Ok(())
    }

    fn fetch_flow_end(&mut self, kind: Kind) -> Scanned<()> {
        self.remove_simple_key()?;
        if self.flow_level > 0 {
            self.flow_level -= 1;
            if let Some(key) = self.simple_keys.pop() {
                self.keys_by_token.remove(&key.token);
            }
        }
        self.simple_key_allowed = false;
        self.one_char(kind);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Scanned<()> {
        let mark = self.reader.mark;
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.complaint(mark, "block sequence entries are not allowed in this context"));
            }
            self.roll_indent(mark.column, None, Kind::BlockListStart, mark)?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.one_char(Kind::BlockEntry);
        Ok(())
    }

    fn fetch_key(&mut self) -> Scanned<()> {
        let mark = self.reader.mark;
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.complaint(mark, "mapping keys are not allowed in this context"));
            }
            self.roll_indent(mark.column, None, Kind::BlockMapStart, mark)?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = self.flow_level == 0;
        self.one_char(Kind::Key);
        Ok(())
    }

    fn fetch_value(&mut self) -> Scanned<()> {
        let at = self.simple_keys.len() - 1;
        if self.key_is_valid(at)? {
            let key = self.simple_keys[at];
            self.insert(Some(key.token), Token { kind: Kind::Key, line: key.mark.line });
            self.roll_indent(key.mark.column, Some(key.token), Kind::BlockMapStart, key.mark)?;
            self.simple_keys[at].possible = false;
            self.keys_by_token.remove(&key.token);
            self.simple_key_allowed = false;
        } else {
            let mark = self.reader.mark;
            if self.flow_level == 0 {
                if !self.simple_key_allowed {
                    return Err(self.complaint(mark, "mapping values are not allowed in this context"));
                }
                self.roll_indent(mark.column, None, Kind::BlockMapStart, mark)?;
            }
            self.simple_key_allowed = self.flow_level == 0;
        }
        self.one_char(Kind::Value);
        Ok(())
    }

    fn scan_to_next_token(&mut self) {
        loop {
            // go-yaml means to skip one on every line, but looks at the first character of all each time.
            if self.reader.mark.index == 0 && self.reader.here() == '\u{feff}' {
                self.reader.skip();
            }
            let tabs = self.flow_level > 0 || !self.simple_key_allowed;
            self.reader.skip_while(|c| c == ' ' || (tabs && c == '\t'));
            if self.reader.here() == '#' {
                self.reader.skip_while(|c| !is_break_or_end(c));
            }
            if !is_break(self.reader.here()) {
                return;
            }
            self.reader.skip_line();
            if self.flow_level == 0 {
                self.simple_key_allowed = true;
            }
        }
    }
}

fn starts_plain_scalar(here: char, next: char, flow: bool) -> bool {
    match here {
        '-' => !is_blank(next),
        '?' | ':' => !flow && !is_blank_or_end(next),
        ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => false,
        here => !is_blank_or_end(here),
    }
}
