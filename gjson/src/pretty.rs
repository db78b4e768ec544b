//! JSON with or without the blanks between its tokens. Strings and numbers stay as they are, and what is broken is
//! printed as far as it can be read.

use std::cmp::Ordering;

use crate::{
    buf::Buf,
    eval::{Budget, TooComplex},
    number,
    scan::{self, Start},
    text,
};

/// How `@pretty` is to print.
pub(crate) struct Options {
    /// Arrays that fit into so many columns stand on one line.
    pub(crate) width: i64,
    pub(crate) prefix: Vec<u8>,
    pub(crate) indent: Vec<u8>,
    pub(crate) sort_keys: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { width: 80, prefix: Vec::new(), indent: b"  ".to_vec(), sort_keys: false }
    }
}

/// All of `json` but blanks and control characters between the tokens.
pub(crate) fn ugly(json: &[u8]) -> Buf {
    let mut out = Buf::with_capacity(json.len());
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        let end = if byte == b'"' { scan::string(json, at).range.end } else { at + 1 };
        if byte > b' ' {
            out.extend(&json[at..end]);
        }
        at = end;
    }
    out
}

/// The first value of `json` over several lines.
pub(crate) fn pretty(json: &[u8], options: &Options, budget: &mut Budget<'_>) -> Result<Buf, TooComplex> {
    let mut printer = Printer { json, options, budget, out: Buf::with_capacity(json.len()), line: 0 };
    printer.out.extend(&options.prefix);
    printer.value(0, Layout::Lines, 0)?;
    let mut out = printer.out;
    if out.len() > 0 {
        out.push(b'\n');
    }
    Ok(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Lines,
    /// An attempt at an array without a line break, given up at the first object.
    OneLine,
}

struct Printer<'j, 'b, 'l> {
    json: &'j [u8],
    options: &'j Options,
    budget: &'b mut Budget<'l>,
    out: Buf,
    /// Where the last line begins.
    line: usize,
}

/// A member of an object: its key in the document, the whole of it in what is printed.
struct Member {
    key: (usize, usize),
    printed: (usize, usize),
}

/// Where to go on, and whether the value may stand on one line.
type Step = Result<(usize, bool), TooComplex>;

impl Printer<'_, '_, '_> {
    /// Prints the next value from `at` on, over anything that can't begin one.
    fn value(&mut self, at: usize, layout: Layout, depth: usize) -> Step {
        let found = (at..self.json.len()).find_map(|at| Some((at, scan::start(self.json, at)?)));
        let Some((at, start)) = found else { return Ok((self.json.len().max(at), true)) };
        let next = match start {
            Start::Nest => {
                self.budget.enter()?;
                let step = self.nest(at, layout, depth)?;
                self.budget.leave();
                return Ok(step);
            }
            Start::String => scan::string(self.json, at).range.end,
            Start::Number => {
                let ends = |byte: &u8| *byte <= b' ' || matches!(byte, b',' | b':' | b']' | b'}');
                self.json[at + 1..].iter().position(ends).map_or(self.json.len(), |n| at + 1 + n)
            }
            Start::Word(_) => {
                // Only the first letter is read.
                let word: &[u8] = match self.json[at] {
                    b't' => b"true",
                    b'f' => b"false",
                    _ => b"null",
                };
                self.write(word)?;
                return Ok((at + word.len(), true));
            }
        };
        let json = self.json;
        self.write(&json[at..next])?;
        Ok((next, true))
    }

    fn nest(&mut self, mut at: usize, layout: Layout, depth: usize) -> Step {
        let open = self.json[at];
        let is_object = open == b'{';
        let close = if is_object { b'}' } else { b']' };
        if let Some(done) = self.one_line(at, layout, is_object)? {
            return Ok(done);
        }
        self.budget.enter()?;
        self.write(&[open])?;
        at += 1;
        let mut members = Vec::new();
        let mut count = 0;
        let step = loop {
            let Some(&byte) = self.json.get(at) else { break (at, !is_object) };
            if byte == close {
                if layout == Layout::Lines {
                    self.sort(&members);
                    self.last_line(open, count == 0, depth)?;
                }
                self.write(&[close])?;
                break (at + 1, !is_object);
            }
            if byte <= b' ' || (is_object && byte != b'"') {
                at += 1;
                continue;
            }
            if count > 0 {
                self.write(if is_object { b"," } else { b", " })?;
            }
            if layout == Layout::Lines {
                self.new_line()?;
            }
            let from = self.out.len();
            if layout == Layout::Lines {
                self.indent(depth + 1)?;
            }
            let key = at;
            if is_object {
                at = scan::string(self.json, at).range.end;
                let json = self.json;
                self.write(&json[key..at])?;
                self.write(if layout == Layout::Lines { b": " } else { b":" })?;
            }
            let key = (key, at);
            let (next, fits) = self.value(at, layout, depth + 1)?;
            if layout == Layout::OneLine && !fits {
                break (next, false);
            }
            at = next;
            if is_object && self.options.sort_keys {
                members.push(Member { key, printed: (from, self.out.len()) });
            }
            count += 1;
        };
        self.budget.leave();
        Ok(step)
    }

    /// An array on one line, where it fits there; an object never does, which ends the attempt around it.
    fn one_line(&mut self, at: usize, layout: Layout, is_object: bool) -> Result<Option<(usize, bool)>, TooComplex> {
        match (layout, is_object) {
            (Layout::OneLine, true) if self.options.width > 0 => return Ok(Some((at, false))),
            (Layout::Lines, false) if self.options.width > 0 => {}
            _ => return Ok(None),
        }
        let from = self.out.len();
        let room = self.options.width - (from - self.line) as i64;
        if room <= 3 {
            return Ok(None);
        }
        let (next, fits) = self.nest(at, Layout::OneLine, 0)?;
        if fits && (self.out.len() - from) as i64 <= room {
            return Ok(Some((next, true)));
        }
        self.out.truncate(from);
        Ok(None)
    }

    /// Begins the line of the closing bracket, unless nothing stands behind the opening one.
    fn last_line(&mut self, open: u8, is_empty: bool, depth: usize) -> Result<(), TooComplex> {
        if !is_empty {
            self.new_line()?;
        }
        if self.out.bytes().last() != Some(&open) {
            self.indent(depth)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TooComplex> {
        self.budget.spend(bytes.len())?;
        self.budget.make(bytes.len())?;
        self.out.extend(bytes);
        Ok(())
    }

    /// Breaks the line, in place of a blank that ends it.
    fn new_line(&mut self) -> Result<(), TooComplex> {
        self.line = self.out.len();
        match self.out.last_mut() {
            Some(last @ b' ') => *last = b'\n',
            _ => self.write(b"\n")?,
        }
        Ok(())
    }

    fn indent(&mut self, depth: usize) -> Result<(), TooComplex> {
        let options = self.options;
        self.write(&options.prefix)?;
        for _ in 0..depth {
            self.write(&options.indent)?;
        }
        Ok(())
    }

    /// Brings the members of an object, which are the last that was printed, into the order of their keys.
    fn sort(&mut self, members: &[Member]) {
        let Some(first) = members.first() else { return };
        let mut order: Vec<&Member> = members.iter().collect();
        sort(&mut order, &|a, b| self.compare(a, b).is_lt());
        let mut sorted = Buf::with_capacity(self.out.len() - first.printed.0);
        for (n, member) in order.iter().enumerate() {
            if n > 0 {
                sorted.extend(b",\n");
            }
            sorted.extend(&self.out.bytes()[member.printed.0..member.printed.1]);
        }
        self.out.truncate(first.printed.0);
        self.out.extend(sorted.bytes());
    }

    /// By key, then by value.
    fn compare(&self, a: &Member, b: &Member) -> Ordering {
        let (key_a, key_b) = (&self.json[a.key.0..a.key.1], &self.json[b.key.0..b.key.1]);
        let value = |member: &Member, key: &[u8]| {
            let printed = text::trim_space(&self.out.bytes()[member.printed.0..member.printed.1]).to_vec();
            zeroize::Zeroizing::new(
                printed.get(key.len() + 1..).map_or(printed.clone(), |value| text::trim_space(value).to_vec()),
            )
        };
        compare(key_a, key_b).then_with(|| compare(&value(a, key_a), &value(b, key_b)))
    }
}

/// Sorts, what is neither less nor more in the order it had. With `NaN` among the values that is no order that the
/// standard library would take.
fn sort<T: Copy>(all: &mut [T], less: &impl Fn(T, T) -> bool) {
    if all.len() <= 20 {
        for end in 1..all.len() {
            let at = (0..end).rev().take_while(|at| less(all[end], all[*at])).last().unwrap_or(end);
            all[at..=end].rotate_right(1);
        }
        return;
    }
    let (left, right) = all.split_at_mut(all.len() / 2);
    sort(left, less);
    sort(right, less);
    let (left, right) = (left.to_vec(), right.to_vec());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    for place in all {
        let from_right = match (left.peek(), right.peek()) {
            (Some(left), Some(right)) => less(*right, *left),
            (left, _) => left.is_none(),
        };
        if let Some(next) = if from_right { right.next() } else { left.next() } {
            *place = next;
        }
    }
}

/// The order of values: `null`, false, numbers, strings, true, objects and arrays.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |value: &[u8]| match value.first() {
        None | Some(b'n') => 0,
        Some(b'f') => 1,
        Some(b'"') => 3,
        Some(b't') => 4,
        Some(b'[' | b'{') => 5,
        Some(_) => 2,
    };
    rank(a).cmp(&rank(b)).then_with(|| match rank(a) {
        2 => {
            let (a, b) = (number::parse(a), number::parse(b));
            a.partial_cmp(&b).unwrap_or(Ordering::Equal)
        }
        3 => content(a).bytes().cmp(content(b).bytes()),
        _ => a.cmp(b),
    })
}

/// What a string says; nothing where it has an escape and is not valid.
fn content(value: &[u8]) -> Buf {
    let string = scan::string(value, 0);
    let inner = text::inner(&value[string.range.clone()], string.closed);
    match (string.escaped, string.closed) {
        (true, _) if crate::valid(value) => text::unescape_strictly(inner),
        (false, true) => inner.into(),
        _ => Buf::default(),
    }
}
