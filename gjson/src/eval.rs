//! A path followed through a document.
//!
//! The walk stops at the first match, and reads only what it must to get there. What the components of a path leave
//! behind on the way (a value, a pipe that is still to follow) outlives the object or array they were found in: this
//! is how gjson answers about documents with keys twice or brackets missing, and so do we.

use std::{error, fmt};

use keyferry_limits::{self as limits, Exceeded};

use crate::{
    buf::{Buf, Span},
    number,
    path::{self, Query, Rest, Which},
    scan::{self, Kind, Node, Piece, Start},
    text, wildcard,
};

/// How deep paths and modifiers may nest.
const DEEPEST: usize = 200;

/// How many bytes may be read or made for one path: so many, and for each byte of the document so many more.
const BYTES: u64 = 16 << 20;
const BYTES_FOR_EACH: u64 = 64;

/// The path asks for more than we are willing to do: it nests too deep, or multiplies the document too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooComplex;

impl fmt::Display for TooComplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the path nests too deep, or makes too much of the value")
    }
}

impl error::Error for TooComplex {}

/// So many bytes are read in the time of one step of a look.
const READ_IN_A_STEP: usize = 8;

/// What is left of the limits: those of one path, and those of all that is done beside it.
pub(crate) struct Budget<'l> {
    depth: usize,
    bytes: u64,
    look: Option<&'l limits::Budget>,
    /// What of the look's was met.
    exceeded: Option<Exceeded>,
}

impl<'l> Budget<'l> {
    pub(crate) fn new(json: &[u8], look: Option<&'l limits::Budget>) -> Self {
        Self { depth: 0, bytes: BYTES + BYTES_FOR_EACH * json.len() as u64, look, exceeded: None }
    }

    /// What of the look's was met, if it was that.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded
    }

    fn ask(&mut self, take: impl FnOnce(&limits::Budget) -> Result<(), Exceeded>) -> Result<(), TooComplex> {
        self.look.map_or(Ok(()), take).map_err(|exceeded| {
            self.exceeded = Some(exceeded);
            TooComplex
        })
    }

    /// Pays for bytes that are about to be made.
    pub(crate) fn make(&mut self, bytes: usize) -> Result<(), TooComplex> {
        self.ask(|look| look.bytes(bytes))
    }

    /// Goes one level down. An error needs no way back up: it ends everything.
    pub(crate) fn enter(&mut self) -> Result<(), TooComplex> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(TooComplex) } else { Ok(()) }
    }

    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(crate) fn spend(&mut self, bytes: usize) -> Result<(), TooComplex> {
        self.bytes = self.bytes.checked_sub(bytes as u64).ok_or(TooComplex)?;
        self.ask(|look| look.steps(bytes.div_ceil(READ_IN_A_STEP)))
    }
}

/// What a walk leaves behind.
#[derive(Default)]
struct Trace<'a, 'p> {
    found: Option<Node<'a>>,
    pipe: Option<&'p [u8]>,
}

/// Where to go on, and whether the walk is over.
type Step = Result<(usize, bool), TooComplex>;

/// Gets the value at `path`; `None` where there is none.
pub(crate) fn get<'a>(json: &Span<'a>, path: &[u8], budget: &mut Budget<'_>) -> Result<Option<Node<'a>>, TooComplex> {
    budget.enter()?;
    let mut json = json.clone();
    let mut path = path;
    // Each turn follows the path up to the next pipe.
    let found = loop {
        budget.spend(json.bytes().len() + path.len() + 1)?;
        let (value, rest) = match from_the_whole(&json, path, budget)? {
            Whole::Made(made, Some(rest)) => (made, rest),
            Whole::Made(made, None) => break scan::document(&made),
            Whole::Walk(path) => {
                let trace = walk(&json, path, budget)?;
                match trace.pipe {
                    Some(pipe) => (trace.found.map_or_else(Span::empty, |node| node.raw), pipe),
                    None => break trace.found,
                }
            }
        };
        (json, path) = (value, rest);
    };
    budget.leave();
    Ok(found)
}

/// What is done first with a document.
enum Whole<'a, 'p> {
    /// A modifier, literal or multipath made another of it, in which to follow the rest of the path, if there is one.
    Made(Span<'a>, Option<&'p [u8]>),
    /// This path begins with none of these.
    Walk(&'p [u8]),
}

fn from_the_whole<'a, 'p>(
    json: &Span<'a>,
    path: &'p [u8],
    budget: &mut Budget<'_>,
) -> Result<Whole<'a, 'p>, TooComplex> {
    let after = |rest: &'p [u8]| match rest {
        [b'|' | b'.', rest @ ..] => Some(rest),
        _ => None,
    };
    Ok(match path {
        [] | [_] => Whole::Walk(path),
        [b'@', text @ ..] => match path::modified(text) {
            Some((modifier, argument, rest)) => Whole::Made(modifier.apply(json, argument, budget)?, after(rest)),
            None => Whole::Walk(path),
        },
        [b'!', text @ ..] => match path::literal(text) {
            Some((literal, rest)) => Whole::Made(Span::made(literal.into()), after(rest)),
            None => Whole::Walk(path),
        },
        [open @ (b'{' | b'['), ..] => match path::selectors(path) {
            Some((selectors, rest)) if rest.is_empty() || after(rest).is_some() => {
                Whole::Made(select(json, *open, &selectors, budget)?, after(rest))
            }
            // One that goes on in another way is passed over, one without an end leaves no path.
            Some((_, rest)) => Whole::Walk(rest),
            None => Whole::Walk(b""),
        },
        _ => Whole::Walk(path),
    })
}

/// The object or array of what several paths find.
fn select<'a>(
    json: &Span<'a>,
    open: u8,
    selectors: &[path::Selector<'_>],
    budget: &mut Budget<'_>,
) -> Result<Span<'a>, TooComplex> {
    let mut out = Buf::default();
    out.push(open);
    for selector in selectors {
        let Some(node) = get(json, selector.path, budget)? else { continue };
        budget.spend(node.raw.bytes().len())?;
        budget.make(node.raw.bytes().len())?;
        out.comma(out.len() == 1);
        if open == b'{' {
            selector.write_name(&mut out);
            out.push(b':');
        }
        out.extend(node.raw.bytes());
    }
    out.push(if open == b'{' { b'}' } else { b']' });
    Ok(Span::made(out))
}

fn walk<'a, 'p>(json: &Span<'a>, path: &'p [u8], budget: &mut Budget<'_>) -> Result<Trace<'a, 'p>, TooComplex> {
    let mut walk = Walk { json, text: json.bytes(), trace: Trace::default(), budget };
    if let [b'.', b'.', path @ ..] = path {
        walk.array(0, path)?;
    } else if let Some(at) = walk.text.iter().position(|byte| matches!(byte, b'{' | b'[')) {
        match walk.text[at] {
            b'{' => walk.object(at + 1, path)?,
            _ => walk.array(at + 1, path)?,
        };
    }
    Ok(walk.trace)
}

struct Walk<'s, 'a, 'p, 'b, 'l> {
    json: &'s Span<'a>,
    text: &'s [u8],
    trace: Trace<'a, 'p>,
    budget: &'b mut Budget<'l>,
}

impl<'p> Walk<'_, '_, 'p, '_, '_> {
    /// Goes through an object, its members from `at` on.
    fn object(&mut self, mut at: usize, path: &'p [u8]) -> Step {
        self.budget.enter()?;
        let key = path::key(path);
        let below = match key.rest {
            Rest::Nothing => None,
            Rest::Dot(below) => Some(below),
            Rest::Pipe(pipe) => {
                self.trace.pipe = Some(pipe);
                None
            }
        };
        let step = loop {
            let Some(next) = find(self.text, at, |byte| matches!(byte, b'"' | b'}')) else {
                break (self.text.len().max(at), false);
            };
            if self.text[next] == b'}' {
                break (next + 1, false);
            }
            let name = scan::string(self.text, next);
            at = name.range.end;
            let matched = name.closed && self.matches(&name, &key)?;
            let Some((begin, start)) = first(self.text, at) else { break (self.text.len(), false) };
            match (matched, below, start) {
                (true, Some(below), Start::Nest) => {
                    let step = self.nested(begin, below)?;
                    if step.1 {
                        break step;
                    }
                    at = step.0;
                }
                _ => match scan::value(self.text, begin, start) {
                    (next, Some(piece)) if matched && below.is_none() => {
                        self.trace.found = Some(piece.of(self.json));
                        break (next, true);
                    }
                    (next, Some(_)) => at = next,
                    (next, None) => break (next, false),
                },
            }
        };
        self.budget.leave();
        Ok(step)
    }

    fn matches(&mut self, name: &Piece, key: &path::Key<'_>) -> Result<bool, TooComplex> {
        let raw = text::inner(&self.text[name.range.clone()], name.closed);
        let unescaped = name.escaped.then(|| text::unescape(raw));
        let name = unescaped.as_ref().map_or(raw, Buf::bytes);
        if key.wild { wildcard::matches(name, &key.name, self.budget) } else { Ok(name == &*key.name) }
    }

    fn nested(&mut self, begin: usize, path: &'p [u8]) -> Step {
        match self.text[begin] {
            b'{' => self.object(begin + 1, path),
            _ => self.array(begin + 1, path),
        }
    }

    /// Goes through an array, its items from `at` on.
    fn array(&mut self, at: usize, path: &'p [u8]) -> Step {
        self.budget.enter()?;
        let item = path::item(path);
        if let Rest::Pipe(pipe) = item.rest {
            self.trace.pipe = Some(pipe);
        }
        let step = match item.which {
            Which::Index(index) => self.index(at, index, item.rest),
            Which::Query(query) => self.query(at, &query, item.rest),
            Which::Count => self.count(at),
            Which::Each(path) => self.each(at, path),
        };
        self.budget.leave();
        step
    }

    fn index(&mut self, mut at: usize, index: Option<usize>, rest: Rest<'p>) -> Step {
        for n in 0.. {
            let (begin, start) = match self.item(at) {
                Next::Value(begin, start) => (begin, start),
                Next::End(next) => return Ok((next, false)),
                Next::Nothing => break,
            };
            at = match (index == Some(n), rest, start) {
                (true, Rest::Dot(below), Start::Nest) => match self.nested(begin, below)? {
                    (next, false) => next,
                    step => return Ok(step),
                },
                (true, Rest::Nothing | Rest::Pipe(_), _) => {
                    let (next, piece) = scan::value(self.text, begin, start);
                    let Some(piece) = piece else { return Ok((next, false)) };
                    self.trace.found = Some(piece.of(self.json));
                    return Ok((next, true));
                }
                _ => match scan::value(self.text, begin, start) {
                    (next, Some(_)) => next,
                    (next, None) => return Ok((next, false)),
                },
            };
        }
        Ok((at, false))
    }

    fn count(&mut self, mut at: usize) -> Step {
        for n in 0u32.. {
            match self.item(at) {
                Next::Value(begin, start) => match scan::value(self.text, begin, start) {
                    (next, Some(_)) => at = next,
                    (next, None) => return Ok((next, false)),
                },
                Next::End(next) => {
                    let count = Span::made(number::format(f64::from(n)));
                    let range = 0..count.bytes().len();
                    self.trace.found = Some(Piece::new(Kind::Number, range).of(&count));
                    return Ok((next, true));
                }
                Next::Nothing => break,
            }
        }
        Ok((at, false))
    }

    fn each(&mut self, mut at: usize, path: &'p [u8]) -> Step {
        let mut items = Vec::new();
        loop {
            items.push(at);
            match self.item(at) {
                Next::Value(begin, start) => match scan::value(self.text, begin, start) {
                    (next, Some(_)) => at = next,
                    (next, None) => return Ok((next, false)),
                },
                Next::End(next) => {
                    let mut path = path;
                    if let Some((left, pipe)) = path::split_pipe(path) {
                        path = left;
                        self.trace.pipe = Some(pipe);
                    }
                    self.gather(&items, path)?;
                    return Ok((next, true));
                }
                Next::Nothing => return Ok((at, false)),
            }
        }
    }

    /// The array of what `path` finds in each item. Items are read anew, from where the last one ended.
    fn gather(&mut self, items: &[usize], path: &[u8]) -> Result<(), TooComplex> {
        let mut out = Buf::default();
        out.push(b'[');
        for at in items {
            let at = find(self.text, *at, |byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
            let Some(at) = at.filter(|at| self.text[*at] != b']') else { continue };
            let Some((_, piece)) = scan::any(self.text, at) else { continue };
            let Some(node) = get(&self.json.part(piece.range), path, self.budget)? else { continue };
            self.budget.spend(node.raw.bytes().len())?;
            self.budget.make(node.raw.bytes().len())?;
            out.comma(out.len() == 1);
            out.extend(node.raw.bytes());
        }
        out.push(b']');
        self.trace.found = Some(nest(out));
        Ok(())
    }

    fn query(&mut self, mut at: usize, query: &Query<'p>, mut rest: Rest<'p>) -> Step {
        let mut all = Buf::default();
        loop {
            let (begin, start) = match self.item(at) {
                Next::Value(begin, start) => (begin, start),
                Next::End(next) => {
                    if query.all && self.trace.found.is_none() {
                        if all.len() == 0 {
                            all.push(b'[');
                        }
                        all.push(b']');
                        self.trace.found = Some(nest(all));
                    }
                    return Ok((next, false));
                }
                Next::Nothing => return Ok((at, false)),
            };
            let (next, piece) = scan::value(self.text, begin, start);
            let Some(piece) = piece else { return Ok((next, false)) };
            at = next;
            let node = piece.of(self.json);
            if !self.answers(query, &node)? {
                continue;
            }
            let found = match &mut rest {
                Rest::Dot(path) => {
                    let whole: &'p [u8] = path;
                    if let Some((left, pipe)) = path::split_pipe(whole) {
                        *path = left;
                        self.trace.pipe = Some(pipe);
                    }
                    get(&node.raw, path, self.budget)?
                }
                Rest::Nothing | Rest::Pipe(_) => Some(node),
            };
            if !query.all {
                self.trace.found = found;
                return Ok((at, true));
            }
            if let Some(found) = found {
                self.budget.spend(found.raw.bytes().len())?;
                self.budget.make(found.raw.bytes().len())?;
                match all.len() {
                    0 => all.push(b'['),
                    _ => all.push(b','),
                }
                all.extend(found.raw.bytes());
            }
        }
    }

    /// Whether an item is one of those that a query asks for.
    fn answers(&mut self, query: &Query<'_>, item: &Node<'_>) -> Result<bool, TooComplex> {
        let value = match item.kind {
            Kind::Nest => get(&item.raw, query.path, self.budget)?,
            _ if query.path.is_empty() => Some(item.clone()),
            _ => return Ok(false),
        };
        crate::compare::matches(query, value.as_ref(), self.budget)
    }

    /// What comes next in an array. The end of the text closes all that is open.
    fn item(&self, at: usize) -> Next {
        let found = (at..self.text.len()).find(|at| self.text[*at] == b']' || scan::start(self.text, *at).is_some());
        match found {
            Some(at) => match scan::start(self.text, at) {
                Some(start) => Next::Value(at, start),
                None => Next::End(at + 1),
            },
            None if at <= self.text.len() => Next::End(self.text.len() + 1),
            None => Next::Nothing,
        }
    }
}

enum Next {
    Value(usize, Start),
    End(usize),
    /// The text ended inside of a string.
    Nothing,
}

fn nest<'a>(buf: Buf) -> Node<'a> {
    let range = 0..buf.len();
    Piece::new(Kind::Nest, range).of(&Span::made(buf))
}

fn find(text: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    Some(from + text.get(from..)?.iter().position(|byte| wanted(*byte))?)
}

/// Where the next value begins.
fn first(text: &[u8], from: usize) -> Option<(usize, Start)> {
    (from..text.len()).find_map(|at| Some((at, scan::start(text, at)?)))
}
