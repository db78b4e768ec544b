//! Go's syntax of regular expressions, with its Perl extensions, to trees of the `regex` crate.

use keyferry_limits::{Limit, PATTERN_CLASSES, PATTERN_DEPTH, PATTERN_LENGTH};
use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, Look, Repetition};

use super::class;
use super::counts::{Counts, counts};

/// What a pattern is made of.
pub struct Parsed {
    /// The whole pattern. Its groups have numbers; their names stand beside it.
    pub hir: Hir,
    /// The names of the groups, empty for those without one; the first is the whole match.
    pub groups: Vec<String>,
}

/// Why a pattern is none.
pub enum Wrong {
    /// Go's complaint. Go adds the place in the pattern, which may be data.
    Syntax(&'static str),
    /// Go would take it, and we would not: this limit is met.
    TooLarge(&'static Limit),
}

type Result<T> = std::result::Result<T, Wrong>;

fn wrong<T>(complaint: &'static str) -> Result<T> {
    Err(Wrong::Syntax(complaint))
}

const INVALID_ESCAPE: &str = "invalid escape sequence";
const INVALID_RANGE: &str = "invalid character class range";
const INVALID_CAPTURE: &str = "invalid named capture";
const INVALID_PERL: &str = "invalid or unsupported Perl syntax";
const INVALID_SIZE: &str = "invalid repeat count";
const NO_ARGUMENT: &str = "missing argument to repetition operator";
const NO_BRACKET: &str = "missing closing ]";
const NO_PAREN: &str = "missing closing )";

/// How often something may be repeated, repetitions within it multiplied.
const MOST_REPEATS: u32 = 1000;

/// Go's bound on how deep a pattern may be.
const MOST_HEIGHT: u32 = 1000;

/// Code points for which to pay one range where each of them is looked at.
const FOLDED: u32 = 256;

#[derive(Clone, Copy, Default)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_newline: bool,
    lazy: bool,
}

/// A part of the pattern, with how deep it is and how often it repeats the innermost thing.
struct Item {
    hir: Hir,
    height: u32,
    repeats: u32,
}

impl Item {
    fn new(hir: Hir) -> Self {
        Self { hir, height: 1, repeats: 1 }
    }

    /// Several in one; one is itself.
    fn all(mut items: Vec<Self>, join: fn(Vec<Hir>) -> Hir) -> Self {
        match items.len() {
            1 => items.remove(0),
            _ => {
                let height = items.iter().map(|item| item.height).max().unwrap_or(0) + 1;
                let repeats = items.iter().map(|item| item.repeats).max().unwrap_or(1);
                Self { hir: join(items.into_iter().map(|item| item.hir).collect()), height, repeats }
            }
        }
    }
}

/// A group that is open, or the whole pattern.
#[derive(Default)]
struct Group {
    /// The number of the group, if it has one.
    capture: Option<u32>,
    /// The flags to go back to.
    flags: Flags,
    alternatives: Vec<Item>,
    items: Vec<Item>,
}

impl Group {
    fn bar(&mut self) {
        let items = std::mem::take(&mut self.items);
        self.alternatives.push(Item::all(items, Hir::concat));
    }

    fn close(mut self) -> Item {
        self.bar();
        let inner = Item::all(self.alternatives, Hir::alternation);
        match self.capture {
            Some(index) => Item {
                hir: Hir::capture(Capture { index, name: None, sub: Box::new(inner.hir) }),
                height: inner.height + 1,
                repeats: inner.repeats,
            },
            None => inner,
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    flags: Flags,
    groups: Vec<String>,
    outer: Vec<Group>,
    group: Group,
    left: &'a mut Allowance,
}

/// What patterns may still take.
pub(super) struct Allowance {
    bytes: usize,
    /// Of classes.
    ranges: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { bytes: PATTERN_LENGTH.size(), ranges: PATTERN_CLASSES.most }
    }
}

/// Reads a pattern.
///
/// # Errors
/// Says what is wrong, in Go's words and without the pattern; or which limit it meets.
pub fn parse(pattern: &[u8]) -> Result<Parsed> {
    parse_within(pattern, &mut Allowance::default())
}

/// The same, for one of several that share what they may take.
pub(super) fn parse_within(pattern: &[u8], left: &mut Allowance) -> Result<Parsed> {
    left.bytes = left.bytes.checked_sub(pattern.len()).ok_or(Wrong::TooLarge(&PATTERN_LENGTH))?;
    let rest = std::str::from_utf8(pattern).map_err(|_| Wrong::Syntax("invalid UTF-8"))?;
    let mut parser = Parser {
        rest,
        flags: Flags::default(),
        groups: vec![String::new()],
        outer: Vec::new(),
        group: Group::default(),
        left,
    };
    let mut after_repeat = false;
    while let Some(next) = parser.rest.chars().next() {
        after_repeat = parser.part(next, after_repeat)?;
    }
    if parser.outer.is_empty() {
        let Item { hir, height, .. } = parser.group.close();
        check_height(height)?;
        Ok(Parsed { hir, groups: parser.groups })
    } else {
        wrong(NO_PAREN)
    }
}

fn check_height(height: u32) -> Result<()> {
    match height {
        // Compiling goes down the tree on the stack.
        height if u64::from(height) <= PATTERN_DEPTH.most => Ok(()),
        height if height <= MOST_HEIGHT => Err(Wrong::TooLarge(&PATTERN_DEPTH)),
        _ => wrong("expression nests too deeply"),
    }
}

impl<'a> Parser<'a> {
    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn push(&mut self, hir: Hir) {
        self.group.items.push(Item::new(hir));
    }

    fn look(&mut self, look: Look) {
        self.push(Hir::look(look));
    }

    fn class(&mut self, class: ClassUnicode) {
        self.push(Hir::class(Class::Unicode(class)));
    }

    /// Pays for a class before more is made of it.
    fn pay(&mut self, class: &ClassUnicode) -> Result<()> {
        let letters = |range: &ClassUnicodeRange| u32::from(range.end()) - u32::from(range.start());
        let folded = if self.flags.fold { class.iter().map(letters).sum::<u32>() / FOLDED } else { 0 };
        let cost = class.ranges().len() as u64 + u64::from(folded);
        self.left.ranges = self.left.ranges.checked_sub(cost).ok_or(Wrong::TooLarge(&PATTERN_CLASSES))?;
        Ok(())
    }

    /// A code point that stands for itself; surrogates stand for nothing that can be there.
    fn literal(&mut self, code: u32) -> Result<()> {
        match char::from_u32(code) {
            None => self.push(Hir::fail()),
            Some(letter) if self.flags.fold => {
                let class = self.group_class(class::of(&[(letter, letter)]), false)?;
                self.class(class);
            }
            Some(letter) => self.push(Hir::literal(letter.encode_utf8(&mut [0; 4]).as_bytes())),
        }
        Ok(())
    }

    /// Reads the next part of the pattern; was it a repetition?
    fn part(&mut self, next: char, after_repeat: bool) -> Result<bool> {
        match next {
            '(' => self.open()?,
            '|' => {
                self.group.bar();
                self.skip(1);
            }
            ')' => self.close()?,
            '^' => {
                self.look(if self.flags.multi_line { Look::StartLF } else { Look::Start });
                self.skip(1);
            }
            '$' => {
                self.look(if self.flags.multi_line { Look::EndLF } else { Look::End });
                self.skip(1);
            }
            '.' => {
                self.class(if self.flags.dot_newline {
                    class::any()
                } else {
                    class::of(&[('\0', '\t'), ('\x0b', char::MAX)])
                });
                self.skip(1);
            }
            '[' => self.bracket()?,
            '*' | '+' | '?' => {
                self.skip(1);
                let (min, max) = match next {
                    '*' => (0, None),
                    '+' => (1, None),
                    _ => (0, Some(1)),
                };
                self.repeat(min, max, after_repeat)?;
                return Ok(true);
            }
            '{' => match counts(self.rest) {
                None => {
                    self.literal('{'.into())?;
                    self.skip(1);
                }
                Some((Counts::Between(min, max), rest))
                    if min <= MOST_REPEATS && max.is_none_or(|max| max <= MOST_REPEATS && min <= max) =>
                {
                    self.rest = rest;
                    self.repeat(min, max, after_repeat)?;
                    return Ok(true);
                }
                Some(_) => return wrong(INVALID_SIZE),
            },
            '\\' => self.backslash()?,
            other => {
                self.literal(other.into())?;
                self.skip(other.len_utf8());
            }
        }
        Ok(false)
    }

    fn open(&mut self) -> Result<()> {
        let capture = match self.rest.strip_prefix("(?") {
            None => {
                self.skip(1);
                Some(String::new())
            }
            Some(flags) => {
                let named = ["P<", "<"].iter().find_map(|sign| flags.strip_prefix(sign).map(|name| (sign, name)));
                match named {
                    Some((sign, name)) if *sign == "<" || !name.is_empty() => Some(self.name(name)?),
                    _ => return self.flags(flags),
                }
            }
        };
        self.begin(capture);
        Ok(())
    }

    fn begin(&mut self, capture: Option<String>) {
        let capture = capture.map(|name| {
            self.groups.push(name);
            (self.groups.len() - 1) as u32
        });
        let group = Group { capture, flags: self.flags, ..Group::default() };
        self.outer.push(std::mem::replace(&mut self.group, group));
    }

    /// The name of a group, up to its `>`.
    fn name(&mut self, text: &'a str) -> Result<String> {
        match text.split_once('>') {
            Some((name, rest)) if !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) => {
                self.rest = rest;
                Ok(name.to_owned())
            }
            _ => wrong(INVALID_CAPTURE),
        }
    }

    /// `i)`, `i-s:` and so on.
    fn flags(&mut self, text: &'a str) -> Result<()> {
        let mut flags = self.flags;
        let (mut on, mut seen) = (true, false);
        for (place, letter) in text.char_indices() {
            match letter {
                'i' => flags.fold = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_newline = on,
                'U' => flags.lazy = on,
                '-' if on => {
                    (on, seen) = (false, false);
                    continue;
                }
                ':' | ')' if on || seen => {
                    if letter == ':' {
                        self.begin(None);
                    }
                    self.flags = flags;
                    self.rest = &text[place + 1..];
                    return Ok(());
                }
                _ => return wrong(INVALID_PERL),
            }
            seen = true;
        }
        wrong(INVALID_PERL)
    }

    fn close(&mut self) -> Result<()> {
        let Some(outer) = self.outer.pop() else { return wrong("unexpected )") };
        let group = std::mem::replace(&mut self.group, outer);
        self.flags = group.flags;
        let item = group.close();
        check_height(item.height)?;
        self.group.items.push(item);
        self.skip(1);
        Ok(())
    }

    /// Repeats what came last.
    fn repeat(&mut self, min: u32, max: Option<u32>, after_repeat: bool) -> Result<()> {
        let question = self.rest.starts_with('?');
        self.skip(usize::from(question));
        if after_repeat {
            return wrong("invalid nested repetition operator");
        }
        let Some(item) = self.group.items.pop() else { return wrong(NO_ARGUMENT) };
        let repeats = match max {
            Some(0) => 1,
            max => item.repeats.saturating_mul(max.unwrap_or(min).max(1)),
        };
        if repeats > MOST_REPEATS {
            return wrong(INVALID_SIZE);
        }
        check_height(item.height + 1)?;
        let greedy = question == self.flags.lazy;
        let hir = Hir::repetition(Repetition { min, max, greedy, sub: Box::new(item.hir) });
        self.group.items.push(Item { hir, height: item.height + 1, repeats });
        Ok(())
    }

    fn backslash(&mut self) -> Result<()> {
        let look = match self.rest.get(..2) {
            Some("\\A") => Some(Look::Start),
            Some("\\z") => Some(Look::End),
            Some("\\b") => Some(Look::WordAscii),
            Some("\\B") => Some(Look::WordAsciiNegate),
            _ => None,
        };
        if let Some(look) = look {
            self.look(look);
            self.skip(2);
            return Ok(());
        }
        if let Some(text) = self.rest.strip_prefix("\\Q") {
            let (literal, rest) = text.split_once("\\E").unwrap_or((text, ""));
            literal.chars().try_for_each(|letter| self.literal(letter.into()))?;
            self.rest = rest;
            return Ok(());
        }
        match self.named_class()? {
            Some(class) => self.class(class),
            None => {
                let code = self.escape()?;
                self.literal(code)?;
            }
        }
        Ok(())
    }

    /// `\pL`, `\P{Greek}`, `\d` and so on, where one comes next.
    fn named_class(&mut self) -> Result<Option<ClassUnicode>> {
        let Some(text) = self.rest.strip_prefix('\\') else { return Ok(None) };
        let Some(letter) = text.chars().next() else { return Ok(None) };
        match letter {
            'p' | 'P' => {
                let text = &text[1..];
                let (name, rest) = match (text.strip_prefix('{'), text.chars().next()) {
                    (Some(text), _) => text.split_once('}').ok_or(Wrong::Syntax(INVALID_RANGE))?,
                    (None, Some(letter)) => text.split_at(letter.len_utf8()),
                    (None, None) => return wrong(INVALID_RANGE),
                };
                let (inverse, name) = match name.strip_prefix('^') {
                    Some(name) => (letter == 'p', name),
                    None => (letter == 'P', name),
                };
                let class = class::unicode(name).ok_or(Wrong::Syntax(INVALID_RANGE))?;
                self.rest = rest;
                self.group_class(class, inverse).map(Some)
            }
            letter => match class::perl(letter.to_ascii_lowercase()) {
                Some(class) => {
                    self.skip(2);
                    self.group_class(class, letter.is_ascii_uppercase()).map(Some)
                }
                None => Ok(None),
            },
        }
    }

    /// A class as the flags have it.
    fn group_class(&mut self, class: ClassUnicode, inverse: bool) -> Result<ClassUnicode> {
        self.pay(&class)?;
        let class = if self.flags.fold { class::folded(class) } else { class };
        Ok(if inverse { class::negated(class) } else { class })
    }

    /// The code point of an escape.
    fn escape(&mut self) -> Result<u32> {
        let mut text = self.rest.get(1..).unwrap_or_default().chars();
        let Some(letter) = text.next() else { return wrong("trailing backslash at end of expression") };
        let code = match letter {
            '0'..='7' => {
                let next_is_octal = matches!(text.clone().next(), Some('0'..='7'));
                if letter != '0' && !next_is_octal {
                    return wrong(INVALID_ESCAPE);
                }
                let mut code = u32::from(letter) - u32::from('0');
                for _ in 0..2 {
                    match text.clone().next().and_then(|digit| digit.to_digit(8)) {
                        Some(digit) => code = code * 8 + digit,
                        None => break,
                    }
                    text.next();
                }
                code
            }
            'x' => match text.next() {
                Some('{') => {
                    let (digits, rest) = text.as_str().split_once('}').ok_or(Wrong::Syntax(INVALID_ESCAPE))?;
                    text = rest.chars();
                    hexadecimal(digits)?
                }
                Some(high) => {
                    let low = text.next().and_then(|low| low.to_digit(16));
                    match (high.to_digit(16), low) {
                        (Some(high), Some(low)) => high * 16 + low,
                        _ => return wrong(INVALID_ESCAPE),
                    }
                }
                None => return wrong(INVALID_ESCAPE),
            },
            'a' => 7,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => other.into(),
            _ => return wrong(INVALID_ESCAPE),
        };
        self.rest = text.as_str();
        Ok(code)
    }

    fn bracket(&mut self) -> Result<()> {
        self.skip(1);
        let inverse = self.rest.starts_with('^');
        self.skip(usize::from(inverse));
        // Joined once, since each time all are put in order.
        let mut ranges = Vec::new();
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            let part = match self.posix_class()? {
                Some(part) => Some(part),
                None => self.named_class()?,
            };
            let part = match part {
                Some(part) => part,
                None => self.range()?,
            };
            ranges.extend_from_slice(part.ranges());
        }
        self.skip(1);
        let class = ClassUnicode::new(ranges);
        self.class(if inverse { class::negated(class) } else { class });
        Ok(())
    }

    /// `[:alpha:]` and so on, where one comes next.
    fn posix_class(&mut self) -> Result<Option<ClassUnicode>> {
        let Some(text) = self.rest.strip_prefix("[:") else { return Ok(None) };
        let Some((name, rest)) = text.split_once(":]") else { return Ok(None) };
        let (inverse, name) = match name.strip_prefix('^') {
            Some(name) => (true, name),
            None => (false, name),
        };
        let class = class::posix(name).ok_or(Wrong::Syntax(INVALID_RANGE))?;
        self.rest = rest;
        self.group_class(class, inverse).map(Some)
    }

    /// One character, or all between two.
    fn range(&mut self) -> Result<ClassUnicode> {
        let first = self.member()?;
        let last = match self.rest.strip_prefix('-') {
            Some(after) if !after.is_empty() && !after.starts_with(']') => {
                self.skip(1);
                self.member()?
            }
            _ => first,
        };
        if last < first { wrong(INVALID_RANGE) } else { self.group_class(class::between(first, last), false) }
    }

    fn member(&mut self) -> Result<u32> {
        match self.rest.chars().next() {
            None => wrong(NO_BRACKET),
            Some('\\') => self.escape(),
            Some(letter) => {
                self.skip(letter.len_utf8());
                Ok(letter.into())
            }
        }
    }
}

fn hexadecimal(digits: &str) -> Result<u32> {
    let number = digits
        .chars()
        .try_fold(0u32, |sum, digit| Some(sum * 16 + digit.to_digit(16)?).filter(|sum| *sum <= u32::from(char::MAX)));
    match number {
        Some(number) if !digits.is_empty() => Ok(number),
        _ => wrong(INVALID_ESCAPE),
    }
}
