//! JSONPath, as External Secrets Operator's webhooks read it (PaesslerAG/jsonpath): `$.a['b'][0]`, negative indexes, slices,
//! lists of keys or indexes, `*`, `..` and filters such as `?(@.name == "x" && @.n > 1)`.
//!
//! A path that can lead to several places gives a list of what is at them, and passes over where nothing is; any other
//! gives what is there, or fails. Values are the JSON as it stands, so that no number loses a digit. Pure.

use std::cell::Cell;

use keyferry_provider_core::{SecretBytes, json};
use serde_json::value::RawValue;

/// The most places that a path may lead to.
const PLACES: usize = 10_000;

/// How deep paths, filters and what `..` descends into may be nested.
const DEPTH: usize = 64;

/// The most bytes that are gone through: so many, and so many times the whole. Filters within filters, each from the root, would
/// go through it without end.
const BYTES: usize = 4 << 20;
const TIMES: usize = 8;

/// Why there is nothing at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// It is not a JSONPath that is known here.
    NotAPath,
    /// Nothing is there.
    Nothing,
    /// It leads to too many places, is nested too deep, or asks for too much work.
    TooMuch,
}

/// What is at a path.
#[derive(Debug)]
pub enum Found<'a> {
    /// The one place.
    One(&'a RawValue),
    /// Places of a path that can lead to several.
    Several(Vec<&'a RawValue>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Keys(Vec<String>),
    Indexes(Vec<i64>),
    Slice(Option<i64>, Option<i64>, i64),
    All,
    Descend,
    Filter(Test),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Or(Box<Test>, Box<Test>),
    And(Box<Test>, Box<Test>),
    Not(Box<Test>),
    Compare(Term, Comparison, Term),
    Is(Term),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    /// From the element that is tested (`@`), or from the whole (`$`).
    Path(bool, Vec<Step>),
    Text(String),
    Number(f64),
    Bool(bool),
    Null,
}

impl Step {
    /// Whether it can lead to several places.
    fn is_open(&self) -> bool {
        match self {
            Self::Keys(keys) => keys.len() > 1,
            Self::Indexes(indexes) => indexes.len() > 1,
            Self::Slice(..) | Self::All | Self::Descend | Self::Filter(_) => true,
        }
    }
}

/// What is at `path` in `whole`.
pub fn find<'a>(path: &str, whole: &'a RawValue) -> Result<Found<'a>, NoPlace> {
    let mut reader = Reader { text: path.trim().as_bytes(), at: 0 };
    let from_root = reader.take(b'$');
    let steps = reader.steps(DEPTH, from_root)?;
    reader.end()?;
    let places = Walk::new(whole).places(&steps, whole, DEPTH)?;
    if steps.iter().any(Step::is_open) {
        return Ok(Found::Several(places));
    }
    places.into_iter().next().map(Found::One).ok_or(NoPlace::Nothing)
}

/// The value of what was found, as External Secrets Operator takes it: a text without its quotes, of a list the first element,
/// of an object its JSON.
pub fn value(found: &Found<'_>) -> Result<SecretBytes, NoPlace> {
    let raw = match found {
        Found::One(raw) => raw,
        Found::Several(places) => places.first().ok_or(NoPlace::Nothing)?,
    };
    let mut raw: &RawValue = raw;
    for _ in 0..DEPTH {
        match raw.get().as_bytes().first() {
            Some(b'[') => {
                raw = json::array(raw.get().as_bytes())
                    .and_then(|list| list.into_iter().next())
                    .ok_or(NoPlace::Nothing)?;
            }
            Some(b'{') => return json::canonical(raw).ok_or(NoPlace::TooMuch),
            _ => return Ok(json::to_bytes(raw)),
        }
    }
    Err(NoPlace::TooMuch)
}

/// One walk through a whole.
struct Walk<'a> {
    root: &'a RawValue,
    /// So many bytes may still be gone through.
    left: Cell<usize>,
}

impl<'a> Walk<'a> {
    fn new(root: &'a RawValue) -> Self {
        Self { root, left: Cell::new(BYTES + TIMES * root.get().len()) }
    }

    /// Goes through all of this once.
    fn spend(&self, on: &RawValue) -> Result<(), NoPlace> {
        self.left.set(self.left.get().checked_sub(on.get().len() + 1).ok_or(NoPlace::TooMuch)?);
        Ok(())
    }

    fn places(&self, steps: &[Step], from: &'a RawValue, depth: usize) -> Result<Vec<&'a RawValue>, NoPlace> {
        let mut places = vec![from];
        for step in steps {
            let mut next = Vec::new();
            for place in places {
                self.take(step, place, depth, &mut next)?;
                if next.len() > PLACES {
                    return Err(NoPlace::TooMuch);
                }
            }
            places = next;
        }
        Ok(places)
    }

    fn take(&self, step: &Step, from: &'a RawValue, depth: usize, out: &mut Vec<&'a RawValue>) -> Result<(), NoPlace> {
        self.spend(from)?;
        let list = || json::array(from.get().as_bytes()).unwrap_or_default();
        match step {
            Step::Keys(keys) => {
                let fields = json::object(from.get().as_bytes()).unwrap_or_default();
                out.extend(keys.iter().filter_map(|key| fields.get(key).copied()));
            }
            Step::Indexes(indexes) => {
                let list = list();
                let at = |index: &i64| {
                    let index = if *index < 0 { index + list.len() as i64 } else { *index };
                    usize::try_from(index).ok().and_then(|index| list.get(index).copied())
                };
                out.extend(indexes.iter().filter_map(at));
            }
            Step::Slice(first, last, step) => out.extend(slice(&list(), *first, *last, *step)),
            Step::All => out.extend(children(from)),
            Step::Descend => self.descend(from, depth, out)?,
            Step::Filter(test) => {
                let depth = depth.checked_sub(1).ok_or(NoPlace::TooMuch)?;
                for child in children(from) {
                    if self.holds(test, child, depth)? {
                        out.push(child);
                    }
                }
            }
        }
        Ok(())
    }

    /// This place and all below it.
    fn descend(&self, from: &'a RawValue, depth: usize, out: &mut Vec<&'a RawValue>) -> Result<(), NoPlace> {
        let depth = depth.checked_sub(1).ok_or(NoPlace::TooMuch)?;
        self.spend(from)?;
        out.push(from);
        if out.len() > PLACES {
            return Err(NoPlace::TooMuch);
        }
        children(from).into_iter().try_for_each(|child| self.descend(child, depth, out))
    }

    fn holds(&self, test: &Test, at: &'a RawValue, depth: usize) -> Result<bool, NoPlace> {
        Ok(match test {
            Test::Or(a, b) => self.holds(a, at, depth)? || self.holds(b, at, depth)?,
            Test::And(a, b) => self.holds(a, at, depth)? && self.holds(b, at, depth)?,
            Test::Not(test) => !self.holds(test, at, depth)?,
            Test::Is(term) => match self.evaluate(term, at, depth)? {
                Some(Known::Bool(is)) => is,
                Some(Known::Null) | None => false,
                Some(Known::Text(_) | Known::Number(_) | Known::Other) => true,
            },
            Test::Compare(a, how, b) => {
                let (a, b) = (self.evaluate(a, at, depth)?, self.evaluate(b, at, depth)?);
                a.zip(b).is_some_and(|(a, b)| compares(&a, *how, &b))
            }
        })
    }

    fn evaluate(&self, term: &Term, at: &'a RawValue, depth: usize) -> Result<Option<Known>, NoPlace> {
        Ok(Some(match term {
            Term::Text(text) => Known::Text(text.as_str().into()),
            Term::Number(number) => Known::Number(*number),
            Term::Bool(is) => Known::Bool(*is),
            Term::Null => Known::Null,
            Term::Path(is_from_element, steps) => {
                let places = self.places(steps, if *is_from_element { at } else { self.root }, depth)?;
                let Some(place) = places.first() else { return Ok(None) };
                self.spend(place)?;
                let text = place.get();
                match text.as_bytes().first() {
                    Some(b'"') => Known::Text(json::to_bytes(place)),
                    Some(b't' | b'f') => Known::Bool(text == "true"),
                    Some(b'n') => Known::Null,
                    Some(b'-' | b'0'..=b'9') => text.parse().map_or(Known::Other, Known::Number),
                    _ => Known::Other,
                }
            }
        }))
    }
}

/// The elements of a list, or the values of an object in the order of their keys.
fn children(from: &RawValue) -> Vec<&RawValue> {
    let bytes = from.get().as_bytes();
    json::array(bytes).or_else(|| json::object(bytes).map(|fields| fields.into_values().collect())).unwrap_or_default()
}

fn slice<'a>(list: &[&'a RawValue], first: Option<i64>, last: Option<i64>, step: i64) -> Vec<&'a RawValue> {
    let length = list.len() as i64;
    let place = |index: i64| if index < 0 { (index + length).max(0) } else { index.min(length) };
    let (first, last) = (place(first.unwrap_or(0)), place(last.unwrap_or(length)));
    if step < 1 {
        return Vec::new();
    }
    let indexes = (first..last).step_by(step as usize);
    indexes.filter_map(|index| list.get(index as usize).copied()).collect()
}

/// A value that is compared.
#[derive(PartialEq)]
enum Known {
    Text(SecretBytes),
    Number(f64),
    Bool(bool),
    Null,
    Other,
}

fn compares(a: &Known, how: Comparison, b: &Known) -> bool {
    let order = match (a, b) {
        (Known::Text(a), Known::Text(b)) => Some(a.expose().cmp(b.expose())),
        (Known::Number(a), Known::Number(b)) => a.partial_cmp(b),
        _ => None,
    };
    let is_equal = !matches!(a, Known::Other) && a == b;
    match how {
        Comparison::Equal => is_equal,
        Comparison::Unequal => !is_equal,
        Comparison::Less => order.is_some_and(|order| order.is_lt()),
        Comparison::LessOrEqual => order.is_some_and(|order| order.is_le()),
        Comparison::Greater => order.is_some_and(|order| order.is_gt()),
        Comparison::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
    }
}

/// Reads a path.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn word(&mut self, word: &str) -> bool {
        self.spaces();
        let is_there = self.text[self.at..].starts_with(word.as_bytes());
        self.at += if is_there { word.len() } else { 0 };
        is_there
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn must(&mut self, byte: u8) -> Result<(), NoPlace> {
        self.spaces();
        if self.take(byte) { Ok(()) } else { Err(NoPlace::NotAPath) }
    }

    fn end(&mut self) -> Result<(), NoPlace> {
        self.spaces();
        if self.at == self.text.len() { Ok(()) } else { Err(NoPlace::NotAPath) }
    }

    /// The steps from here on; `begun` is whether `$` or `@` stands before them. Without it the first key needs no dot.
    fn steps(&mut self, depth: usize, begun: bool) -> Result<Vec<Step>, NoPlace> {
        let depth = depth.checked_sub(1).ok_or(NoPlace::TooMuch)?;
        let mut steps = Vec::new();
        if !begun && self.peek().is_some_and(is_of_name) {
            steps.push(self.key()?);
        }
        loop {
            if self.take(b'.') {
                if self.take(b'.') {
                    steps.push(Step::Descend);
                    if self.peek() == Some(b'[') {
                        continue;
                    }
                }
                steps.push(self.key()?);
            } else if self.take(b'[') {
                steps.push(self.bracket(depth)?);
                self.must(b']')?;
            } else {
                return Ok(steps);
            }
        }
    }

    fn key(&mut self) -> Result<Step, NoPlace> {
        if self.take(b'*') {
            return Ok(Step::All);
        }
        if matches!(self.peek(), Some(b'"' | b'\'')) {
            return Ok(Step::Keys(vec![self.quoted()?]));
        }
        let first = self.at;
        while self.peek().is_some_and(is_of_name) {
            self.at += 1;
        }
        let name = std::str::from_utf8(&self.text[first..self.at]).map_err(|_| NoPlace::NotAPath)?;
        if name.is_empty() { Err(NoPlace::NotAPath) } else { Ok(Step::Keys(vec![name.to_owned()])) }
    }

    fn bracket(&mut self, depth: usize) -> Result<Step, NoPlace> {
        self.spaces();
        match self.peek() {
            Some(b'*') => {
                self.at += 1;
                Ok(Step::All)
            }
            Some(b'?') => {
                self.at += 1;
                Ok(Step::Filter(self.either(depth)?))
            }
            Some(b'"' | b'\'') => {
                let mut keys = vec![self.quoted()?];
                while self.word(",") {
                    self.spaces();
                    keys.push(self.quoted()?);
                }
                Ok(Step::Keys(keys))
            }
            _ => self.indexes(),
        }
    }

    fn indexes(&mut self) -> Result<Step, NoPlace> {
        let first = self.integer();
        if self.word(":") {
            let last = self.integer();
            let step = if self.word(":") { self.integer() } else { None };
            return Ok(Step::Slice(first, last, step.unwrap_or(1)));
        }
        let mut indexes = vec![first.ok_or(NoPlace::NotAPath)?];
        while self.word(",") {
            indexes.push(self.integer().ok_or(NoPlace::NotAPath)?);
        }
        Ok(Step::Indexes(indexes))
    }

    fn integer(&mut self) -> Option<i64> {
        self.spaces();
        let first = self.at;
        self.take(b'-');
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        std::str::from_utf8(&self.text[first..self.at]).ok()?.parse().ok()
    }

    /// A text in single or double quotes, with the escapes of JSON.
    fn quoted(&mut self) -> Result<String, NoPlace> {
        let quote = self.peek().filter(|byte| matches!(byte, b'"' | b'\'')).ok_or(NoPlace::NotAPath)?;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let byte = self.peek().ok_or(NoPlace::NotAPath)?;
            self.at += 1;
            match byte {
                _ if byte == quote => break,
                b'\\' => {
                    let escaped = self.peek().ok_or(NoPlace::NotAPath)?;
                    self.at += 1;
                    text.push(match escaped {
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        other => other,
                    });
                }
                _ => text.push(byte),
            }
        }
        String::from_utf8(text).map_err(|_| NoPlace::NotAPath)
    }

    fn either(&mut self, depth: usize) -> Result<Test, NoPlace> {
        let depth = depth.checked_sub(1).ok_or(NoPlace::TooMuch)?;
        let mut test = self.both(depth)?;
        while self.word("||") {
            test = Test::Or(Box::new(test), Box::new(self.both(depth)?));
        }
        Ok(test)
    }

    fn both(&mut self, depth: usize) -> Result<Test, NoPlace> {
        let mut test = self.single(depth)?;
        while self.word("&&") {
            test = Test::And(Box::new(test), Box::new(self.single(depth)?));
        }
        Ok(test)
    }

    fn single(&mut self, depth: usize) -> Result<Test, NoPlace> {
        self.spaces();
        let depth = depth.checked_sub(1).ok_or(NoPlace::TooMuch)?;
        if self.take(b'(') {
            let test = self.either(depth)?;
            self.must(b')')?;
            return Ok(test);
        }
        if self.peek() == Some(b'!') && self.text.get(self.at + 1) != Some(&b'=') {
            self.at += 1;
            return Ok(Test::Not(Box::new(self.single(depth)?)));
        }
        let first = self.term(depth)?;
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        match comparisons.into_iter().find(|(word, _)| self.word(word)) {
            Some((_, how)) => Ok(Test::Compare(first, how, self.term(depth)?)),
            None => Ok(Test::Is(first)),
        }
    }

    fn term(&mut self, depth: usize) -> Result<Term, NoPlace> {
        self.spaces();
        match self.peek() {
            Some(b'@' | b'$') => {
                let is_from_element = self.peek() == Some(b'@');
                self.at += 1;
                Ok(Term::Path(is_from_element, self.steps(depth, true)?))
            }
            Some(b'"' | b'\'') => Ok(Term::Text(self.quoted()?)),
            _ if self.word("true") => Ok(Term::Bool(true)),
            _ if self.word("false") => Ok(Term::Bool(false)),
            _ if self.word("null") || self.word("nil") => Ok(Term::Null),
            _ => {
                let first = self.at;
                while matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
                    self.at += 1;
                }
                let number = std::str::from_utf8(&self.text[first..self.at]).map_err(|_| NoPlace::NotAPath)?;
                number.parse().map(Term::Number).map_err(|_| NoPlace::NotAPath)
            }
        }
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || byte >= 0x80
}

#[cfg(test)]
#[path = "jsonpath_tests.rs"]
mod tests;
