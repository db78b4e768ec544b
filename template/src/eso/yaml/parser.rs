//! From tokens to events: where nodes begin and end.

use std::mem;

use zeroize::Zeroizing;

use super::{
    reader::{Complaint, Reader},
    scalar::PREFIX,
    scanner::{Kind, Scanner, Token},
};

pub(super) enum Event {
    StreamEnd,
    DocumentStart,
    DocumentEnd,
    Alias(String),
    Scalar { anchor: Option<String>, tag: String, value: Zeroizing<String>, plain: bool },
    ListStart { anchor: Option<String> },
    MapStart { anchor: Option<String> },
    ListEnd,
    MapEnd,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    ImplicitDocumentStart,
    DocumentStart,
    DocumentContent,
    DocumentEnd,
    BlockNode,
    BlockListFirst,
    BlockListEntry,
    IndentlessListEntry,
    BlockMapFirst,
    BlockMapKey,
    BlockMapValue,
    FlowListFirst,
    FlowListEntry,
    PairKey,
    PairValue,
    PairEnd,
    FlowMapFirst,
    FlowMapKey,
    FlowMapValue,
    FlowMapEmptyValue,
    End,
}

pub(super) struct Parser {
    scanner: Scanner,
    state: State,
    states: Vec<State>,
    /// The lines that open collections start on.
    lines: Vec<usize>,
    tags: Vec<(String, String)>,
}

type Parsed<T> = Result<T, Complaint>;

impl Parser {
    pub(super) fn new(text: &[u8]) -> Parsed<Self> {
        let mut scanner = Scanner::new(Reader::new(text)?);
        // The start of the stream says nothing.
        scanner.peek()?;
        scanner.skip();
        let (states, lines, tags) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { scanner, state: State::ImplicitDocumentStart, states, lines, tags })
    }

    pub(super) fn next(&mut self) -> Parsed<Event> {
        match self.state {
            State::ImplicitDocumentStart => self.document_start(true),
            State::DocumentStart => self.document_start(false),
            State::DocumentContent => self.document_content(),
            State::DocumentEnd => self.document_end(),
            State::BlockNode => self.node(true, false),
            State::BlockListFirst => self.block_list(true),
            State::BlockListEntry => self.block_list(false),
            State::IndentlessListEntry => self.indentless_list(),
            State::BlockMapFirst => self.block_map_key(true),
            State::BlockMapKey => self.block_map_key(false),
            State::BlockMapValue => self.block_map_value(),
            State::FlowListFirst => self.flow_list(true),
            State::FlowListEntry => self.flow_list(false),
            State::PairKey => self.pair_key(),
            State::PairValue => self.pair_value(),
            State::PairEnd => {
                self.scanner.peek()?;
                self.state = State::FlowListEntry;
                Ok(Event::MapEnd)
            }
            State::FlowMapFirst => self.flow_map_key(true),
            State::FlowMapKey => self.flow_map_key(false),
            State::FlowMapValue => self.flow_map_value(false),
            State::FlowMapEmptyValue => self.flow_map_value(true),
            State::End => Ok(Event::StreamEnd),
        }
    }

    fn complaint(&self, context_line: usize, problem: &str, problem_line: usize) -> Complaint {
        Complaint { problem: problem.to_owned(), problem_line, context_line, in_scanner: false }
    }

    /// Drops the token that was looked at and looks at the next.
    fn advance(&mut self) -> Parsed<Token> {
        self.scanner.skip();
        self.scanner.peek()
    }

    fn pop_state(&mut self) {
        self.state = self.states.pop().unwrap_or(State::End);
    }

    fn node_then(&mut self, then: State, block: bool, indentless: bool) -> Parsed<Event> {
        self.states.push(then);
        self.node(block, indentless)
    }

    fn empty(&mut self, then: State) -> Parsed<Event> {
        self.state = then;
        Ok(Event::Scalar { anchor: None, tag: String::new(), value: Zeroizing::default(), plain: true })
    }

    fn document_start(&mut self, implicit: bool) -> Parsed<Event> {
        let mut token = self.scanner.peek()?;
        while !implicit && token.kind == Kind::DocumentEnd {
            token = self.advance()?;
        }
        let directive = matches!(token.kind, Kind::Version(..) | Kind::TagDirective { .. });
        match token.kind {
            Kind::StreamEnd => {
                self.state = State::End;
                self.scanner.skip();
                return Ok(Event::StreamEnd);
            }
            Kind::DocumentStart => self.process_directives()?,
            _ if implicit && !directive => {
                self.process_directives()?;
                self.states.push(State::DocumentEnd);
                self.state = State::BlockNode;
                return Ok(Event::DocumentStart);
            }
            _ => self.process_directives()?,
        }
        let token = self.scanner.peek()?;
        if token.kind != Kind::DocumentStart {
            return Err(self.complaint(0, "did not find expected <document start>", token.line));
        }
        self.states.push(State::DocumentEnd);
        self.state = State::DocumentContent;
        self.scanner.skip();
        Ok(Event::DocumentStart)
    }

    fn process_directives(&mut self) -> Parsed<()> {
        let mut token = self.scanner.peek()?;
        let mut has_version = false;
        loop {
            match token.kind {
                Kind::Version(..) if mem::replace(&mut has_version, true) => {
                    return Err(self.complaint(0, "found duplicate %YAML directive", token.line));
                }
                Kind::Version(1, 1) => {}
                Kind::Version(..) => {
                    return Err(self.complaint(0, "found incompatible YAML document", token.line));
                }
                Kind::TagDirective { handle, .. } if self.tags.iter().any(|(known, _)| *known == handle) => {
                    return Err(self.complaint(0, "found duplicate %TAG directive", token.line));
                }
                Kind::TagDirective { handle, prefix } => self.tags.push((handle, prefix)),
                _ => break,
            }
            token = self.advance()?;
        }
        for (handle, prefix) in [("!", "!"), ("!!", PREFIX)] {
            if self.tags.iter().all(|(known, _)| known != handle) {
                self.tags.push((handle.to_owned(), prefix.to_owned()));
            }
        }
        Ok(())
    }

    fn document_content(&mut self) -> Parsed<Event> {
        match self.scanner.peek()?.kind {
            Kind::Version(..)
            | Kind::TagDirective { .. }
            | Kind::DocumentStart
            | Kind::DocumentEnd
            | Kind::StreamEnd => {
                let then = self.states.pop().unwrap_or(State::End);
                self.empty(then)
            }
            _ => self.node(true, false),
        }
    }

    fn document_end(&mut self) -> Parsed<Event> {
        if self.scanner.peek()?.kind == Kind::DocumentEnd {
            self.scanner.skip();
        }
        self.tags.clear();
        self.state = State::DocumentStart;
        Ok(Event::DocumentEnd)
    }

    fn node(&mut self, block: bool, indentless: bool) -> Parsed<Event> {
        let mut token = self.scanner.peek()?;
        if let Kind::Alias(name) = token.kind {
            self.pop_state();
            self.scanner.skip();
            return Ok(Event::Alias(name));
        }
        let start = token.line;
        let (mut anchor, mut tag) = (None, None);
        for _ in 0..2 {
            match token.kind {
                Kind::Anchor(name) if anchor.is_none() => anchor = Some(name),
                Kind::Tag { handle, suffix } if tag.is_none() => tag = Some((handle, suffix, token.line)),
                kind => {
                    token.kind = kind;
                    break;
                }
            }
            token = self.advance()?;
        }
        let tag = match tag {
            None => String::new(),
            Some((handle, suffix, _)) if handle.is_empty() => suffix,
            Some((handle, suffix, line)) => match self.tags.iter().find(|(known, _)| *known == handle) {
                Some((_, prefix)) => format!("{prefix}{suffix}"),
                None => return Err(self.complaint(start, "found undefined tag handle", line)),
            },
        };
        let (event, state) = match token.kind {
            Kind::BlockEntry if indentless => (Event::ListStart { anchor }, State::IndentlessListEntry),
            Kind::Scalar { value, plain } => {
                self.pop_state();
                self.scanner.skip();
                let plain = (tag.is_empty() && plain) || tag == "!";
                return Ok(Event::Scalar { anchor, tag, value, plain });
            }
            Kind::FlowListStart => (Event::ListStart { anchor }, State::FlowListFirst),
            Kind::FlowMapStart => (Event::MapStart { anchor }, State::FlowMapFirst),
            Kind::BlockListStart if block => (Event::ListStart { anchor }, State::BlockListFirst),
            Kind::BlockMapStart if block => (Event::MapStart { anchor }, State::BlockMapFirst),
            _ if anchor.is_some() || !tag.is_empty() => {
                self.pop_state();
                let plain = tag.is_empty();
                return Ok(Event::Scalar { anchor, tag, value: Zeroizing::default(), plain });
            }
            _ => return Err(self.complaint(start, "did not find expected node content", token.line)),
        };
        self.state = state;
        Ok(event)
    }

    /// Remembers where a collection starts and takes the token that opens it.
    fn open(&mut self, first: bool) -> Parsed<Token> {
        let token = self.scanner.peek()?;
        if first {
            self.lines.push(token.line);
            self.advance()
        } else {
            Ok(token)
        }
    }

    fn close(&mut self, event: Event) -> Parsed<Event> {
        self.pop_state();
        self.lines.pop();
        self.scanner.skip();
        Ok(event)
    }

    fn unexpected(&mut self, problem: &str, token: &Token) -> Complaint {
        let context = self.lines.pop().unwrap_or(0);
        self.complaint(context, problem, token.line)
    }

    fn block_list(&mut self, first: bool) -> Parsed<Event> {
        let token = self.open(first)?;
        match token.kind {
            Kind::BlockEntry => match self.advance()?.kind {
                Kind::BlockEntry | Kind::BlockEnd => self.empty(State::BlockListEntry),
                _ => self.node_then(State::BlockListEntry, true, false),
            },
            Kind::BlockEnd => self.close(Event::ListEnd),
            _ => Err(self.unexpected("did not find expected '-' indicator", &token)),
        }
    }

    fn indentless_list(&mut self) -> Parsed<Event> {
        match self.scanner.peek()?.kind {
            Kind::BlockEntry => match self.advance()?.kind {
                Kind::BlockEntry | Kind::Key | Kind::Value | Kind::BlockEnd => self.empty(State::IndentlessListEntry),
                _ => self.node_then(State::IndentlessListEntry, true, false),
            },
            _ => {
                self.pop_state();
                Ok(Event::ListEnd)
            }
        }
    }

    fn block_map_key(&mut self, first: bool) -> Parsed<Event> {
        let token = self.open(first)?;
        match token.kind {
            Kind::Key => match self.advance()?.kind {
                Kind::Key | Kind::Value | Kind::BlockEnd => self.empty(State::BlockMapValue),
                _ => self.node_then(State::BlockMapValue, true, true),
            },
            Kind::BlockEnd => self.close(Event::MapEnd),
            _ => Err(self.unexpected("did not find expected key", &token)),
        }
    }

    fn block_map_value(&mut self) -> Parsed<Event> {
        match self.scanner.peek()?.kind {
            Kind::Value => match self.advance()?.kind {
                Kind::Key | Kind::Value | Kind::BlockEnd => self.empty(State::BlockMapKey),
                _ => self.node_then(State::BlockMapKey, true, true),
            },
            _ => self.empty(State::BlockMapKey),
        }
    }

    fn flow_list(&mut self, first: bool) -> Parsed<Event> {
        let mut token = self.open(first)?;
        if token.kind != Kind::FlowListEnd && !first {
            match token.kind {
                Kind::FlowEntry => token = self.advance()?,
                _ => return Err(self.unexpected("did not find expected ',' or ']'", &token)),
            }
        }
        match token.kind {
            Kind::FlowListEnd => self.close(Event::ListEnd),
            Kind::Key => {
                self.state = State::PairKey;
                self.scanner.skip();
                Ok(Event::MapStart { anchor: None })
            }
            _ => self.node_then(State::FlowListEntry, false, false),
        }
    }

    fn pair_key(&mut self) -> Parsed<Event> {
        match self.scanner.peek()?.kind {
            Kind::Value | Kind::FlowEntry | Kind::FlowListEnd => {
                self.scanner.skip();
                self.empty(State::PairValue)
            }
            _ => self.node_then(State::PairValue, false, false),
        }
    }

    fn pair_value(&mut self) -> Parsed<Event> {
        if self.scanner.peek()?.kind == Kind::Value
            && !matches!(self.advance()?.kind, Kind::FlowEntry | Kind::FlowListEnd)
        {
            return self.node_then(State::PairEnd, false, false);
        }
        self.empty(State::PairEnd)
    }

    fn flow_map_key(&mut self, first: bool) -> Parsed<Event> {
        let mut token = self.open(first)?;
        if token.kind != Kind::FlowMapEnd && !first {
            match token.kind {
                Kind::FlowEntry => token = self.advance()?,
                _ => return Err(self.unexpected("did not find expected ',' or '}'", &token)),
            }
        }
        match token.kind {
            Kind::FlowMapEnd => self.close(Event::MapEnd),
            Kind::Key => match self.advance()?.kind {
                Kind::Value | Kind::FlowEntry | Kind::FlowMapEnd => self.empty(State::FlowMapValue),
                _ => self.node_then(State::FlowMapValue, false, false),
            },
            _ => self.node_then(State::FlowMapEmptyValue, false, false),
        }
    }

    fn flow_map_value(&mut self, empty: bool) -> Parsed<Event> {
        let token = self.scanner.peek()?;
        if !empty && token.kind == Kind::Value && !matches!(self.advance()?.kind, Kind::FlowEntry | Kind::FlowMapEnd) {
            return self.node_then(State::FlowMapKey, false, false);
        }
        self.empty(State::FlowMapKey)
    }
}
