//! How things fail.
//!
//! Values are secrets, so no text here ever holds one: types, counts, positions and the template's own text only.

use std::{borrow::Cow, fmt};

use keyferry_limits::{self as limits, Exceeded};

use crate::value::Str;

/// What stopped a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is not a template.
    Parse,
    /// The template failed while it was rendered.
    Render,
    /// The template asked for more than the limits allow.
    Limit,
}

/// The limits a template may hit. See [`Limits`](crate::Limits) for their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Evaluation steps.
    Steps,
    /// Templates within templates.
    TemplateDepth,
    /// Parentheses and blocks within each other.
    Nesting,
    /// Bytes of the template's text.
    TemplateBytes,
    /// Bytes of the output.
    OutputBytes,
    /// Bytes of one value.
    ValueBytes,
    /// Bytes of all values together.
    MemoryBytes,
    /// Elements of one list.
    ListLength,
    /// Size of a compiled regular expression.
    RegexSize,
    /// Cost factor of bcrypt and similar functions.
    HashCost,
    /// Bits of a generated key.
    KeyBits,
    /// The budget of the look that renders, which is beyond one template.
    Look(Exceeded),
}

impl Limit {
    /// What it is in the table of all limits; or why the look has nothing left.
    pub fn exceeded(self) -> Exceeded {
        Exceeded::Limit(match self {
            Self::Steps => &limits::TEMPLATE_STEPS,
            Self::TemplateDepth => &limits::TEMPLATE_DEPTH,
            Self::Nesting => &limits::TEMPLATE_NESTING,
            Self::TemplateBytes => &limits::TEMPLATE_TEXT,
            Self::OutputBytes => &limits::TEMPLATE_OUTPUT,
            Self::ValueBytes => &limits::TEMPLATE_VALUE,
            Self::MemoryBytes => &limits::TEMPLATE_MEMORY,
            Self::ListLength => &limits::TEMPLATE_LIST,
            Self::RegexSize => &limits::TEMPLATE_PATTERN,
            Self::HashCost => &limits::TEMPLATE_HASH_COST,
            Self::KeyBits => &limits::TEMPLATE_KEY_BITS,
            Self::Look(exceeded) => return exceeded,
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Steps => "evaluation steps",
            Self::TemplateDepth => "template depth",
            Self::Nesting => "nesting",
            Self::TemplateBytes => "template bytes",
            Self::OutputBytes => "output bytes",
            Self::ValueBytes => "value bytes",
            Self::MemoryBytes => "memory bytes",
            Self::ListLength => "list length",
            Self::RegexSize => "regular expression size",
            Self::HashCost => "hash cost",
            Self::KeyBits => "key bits",
            Self::Look(exceeded) => return exceeded.fmt(out),
        })
    }
}

/// Why a function could not answer. The renderer adds where it was called and makes an [`Error`] of it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Words that stand in the program, and therefore hold nothing of what it works on.
    words: &'static str,
    message: Cow<'static, str>,
    /// The function that failed.
    function: Option<&'static str>,
    detail: Option<Str>,
    limit: Option<Limit>,
}

impl Failure {
    /// A text without data: what went wrong, types, counts the template's author wrote.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        let words = match message {
            Cow::Borrowed(words) => words,
            Cow::Owned(_) => "it can't be done with what it is given",
        };
        Self { words, message, function: None, detail: None, limit: None }
    }

    /// A text that was put together, and words for it that stand in the program.
    pub fn about(words: &'static str, message: String) -> Self {
        Self { words, ..Self::new(message) }
    }

    /// A text that comes from elsewhere (the argument of `fail`, the complaint of a decoder) and may hold data. It is
    /// kept apart and shown only by [`Error::with_detail`].
    pub fn foreign(message: impl Into<Cow<'static, str>>, detail: impl Into<Str>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(message) }
    }

    /// A limit was hit.
    pub fn limit(limit: Limit, allowed: u64) -> Self {
        let message = format!("limit exceeded: {limit} (at most {allowed})");
        Self { limit: Some(limit), ..Self::about("it asks for more than a limit allows", message) }
    }

    /// The words that stand in the program: unlike [`Self::message`] they can't hold anything that was computed.
    pub fn words(&self) -> &'static str {
        self.words
    }

    /// The safe text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The text that may hold data.
    pub fn detail(&self) -> Option<&Str> {
        self.detail.as_ref()
    }

    /// The limit that was hit, if it was one.
    pub fn hit(&self) -> Option<Limit> {
        self.limit
    }

    /// The same failure with words before its safe text.
    pub(crate) fn prefixed(mut self, words: &'static str) -> Self {
        self.message = format!("{words}{}", self.message).into();
        self
    }

    /// The same failure as that of a function.
    pub(crate) fn of(mut self, function: &'static str) -> Self {
        self.message = format!("error calling {function}: {}", self.message).into();
        self.function = Some(function);
        self
    }
}

impl From<Exceeded> for Failure {
    fn from(exceeded: Exceeded) -> Self {
        Self { limit: Some(Limit::Look(exceeded)), ..Self::new(exceeded.to_string()) }
    }
}

impl From<&'static str> for Failure {
    fn from(message: &'static str) -> Self {
        Self::new(message)
    }
}

/// Why a template could not be parsed or rendered: where, in which part of it, and what.
#[derive(Debug, Clone)]
pub struct Error(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    kind: ErrorKind,
    template: String,
    line: usize,
    column: Option<usize>,
    executing: String,
    part: Option<String>,
    failure: Failure,
}

impl Error {
    /// The text could not be read.
    pub(crate) fn parse(template: &str, line: usize, failure: Failure) -> Self {
        Self(Box::new(Details {
            kind: if failure.limit.is_some() { ErrorKind::Limit } else { ErrorKind::Parse },
            template: template.to_owned(),
            line,
            column: None,
            executing: String::new(),
            part: None,
            failure,
        }))
    }

    /// A part of the text, which begins at the byte `pos`, failed.
    pub(crate) fn render(
        (template, text): (&str, &[u8]),
        executing: &str,
        pos: usize,
        part: String,
        failure: Failure,
    ) -> Self {
        let before = text.get(..pos).unwrap_or(text);
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        Self(Box::new(Details {
            kind: if failure.limit.is_some() { ErrorKind::Limit } else { ErrorKind::Render },
            template: template.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: Some(before.len() - start),
            executing: executing.to_owned(),
            part: Some(shortened(part)),
            failure,
        }))
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The name of the parsed text.
    pub fn template(&self) -> &str {
        &self.0.template
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.0.line
    }

    /// The byte within the line, from 0; parse errors know the line only.
    pub fn column(&self) -> Option<usize> {
        self.0.column
    }

    /// The part of the template that failed, as Go writes it.
    pub fn part(&self) -> Option<&str> {
        self.0.part.as_deref()
    }

    /// What went wrong, without the place.
    pub fn message(&self) -> &str {
        self.0.failure.message()
    }

    /// What went wrong in words that stand in the program: nothing of the data, and nothing of the template.
    pub fn words(&self) -> &'static str {
        self.0.failure.words
    }

    /// The function that failed, if one did.
    pub fn function(&self) -> Option<&'static str> {
        self.0.failure.function
    }

    /// The limit that was hit, if it was one.
    pub fn hit(&self) -> Option<Limit> {
        self.0.failure.hit()
    }

    /// That limit as the table of all limits has it.
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.hit().map(Limit::exceeded)
    }

    /// The whole text, followed by the one that functions such as `fail` brought along. That one may hold data: it is
    /// for a person at a terminal and not for logs, events or status.
    pub fn with_detail(&self) -> String {
        match self.0.failure.detail() {
            Some(detail) => format!("{self}: {}", String::from_utf8_lossy(detail)),
            None => self.to_string(),
        }
    }
}

/// Long enough to recognize the place by.
fn shortened(mut part: String) -> String {
    if part.len() > 300 {
        part.truncate(part.floor_char_boundary(300));
        part.push_str("...");
    }
    part
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &*self.0;
        write!(out, "template: {}:{}", details.template, details.line)?;
        if let Some(column) = details.column {
            write!(out, ":{column}")?;
        }
        if let Some(part) = &details.part {
            write!(out, ": executing {:?} at <{part}>", details.executing)?;
        }
        write!(out, ": {}", details.failure.message)
    }
}

impl std::error::Error for Error {}
