//! Templates: parsed once, rendered as often as one likes.

use std::{collections::HashMap, fmt, sync::Arc};

use keyferry_limits::{TEMPLATE_NESTING, TEMPLATE_TEXT};
use zeroize::Zeroizing;

use crate::{
    env::Env,
    error::{Error, Failure, Limit},
    exec,
    function::Functions,
    parse::{parse, program::Program},
    value::{Str, Value},
};

/// What a field does that a map does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingKey {
    /// It is no value, which prints as `<no value>`. Go's default.
    #[default]
    Default,
    /// It is the zero value of the map's elements.
    Zero,
    /// It is an error.
    Error,
}

/// How to read a template.
#[derive(Debug, Clone)]
pub struct Options {
    /// The functions it may call.
    pub functions: Arc<Functions>,
    /// What opens an action; empty for `{{`.
    pub left_delim: String,
    /// What closes an action; empty for `}}`.
    pub right_delim: String,
    /// What a missing key does.
    pub missing_key: MissingKey,
    /// How deep parentheses may be nested.
    pub nesting: usize,
    /// How long the text may be.
    pub text_bytes: usize,
}

impl Options {
    /// Go's defaults, with these functions.
    pub fn new(functions: Arc<Functions>) -> Self {
        Self {
            functions,
            left_delim: String::new(),
            right_delim: String::new(),
            missing_key: MissingKey::Default,
            nesting: TEMPLATE_NESTING.size(),
            text_bytes: TEMPLATE_TEXT.size(),
        }
    }

    /// What opens an action, and what closes it.
    pub fn delimiters(&self) -> (&str, &str) {
        let or = |delim, usual| if str::is_empty(delim) { usual } else { delim };
        (or(&self.left_delim, "{{"), or(&self.right_delim, "}}"))
    }

    pub(crate) fn left(&self) -> &[u8] {
        self.delimiters().0.as_bytes()
    }

    pub(crate) fn right(&self) -> &[u8] {
        self.delimiters().1.as_bytes()
    }
}

/// A parsed template. It holds no data and may be shared between threads and kept for as long as its text is in use.
pub struct Template {
    pub(crate) name: String,
    pub(crate) text: Str,
    pub(crate) programs: HashMap<Box<str>, Program>,
    pub(crate) missing_key: MissingKey,
}

impl Template {
    /// Parses a text. The name is what errors call it.
    pub fn parse(name: &str, text: impl AsRef<[u8]>, options: &Options) -> Result<Self, Error> {
        let text = text.as_ref();
        if text.len() > options.text_bytes {
            return Err(Error::parse(name, 1, Failure::limit(Limit::TemplateBytes, options.text_bytes as u64)));
        }
        let text = Str::from(text);
        let programs = parse(name, &text, options)?.programs;
        Ok(Self { name: name.to_owned(), text, programs, missing_key: options.missing_key })
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Renders with a value as the root of all fields.
    pub fn render(&self, data: &Value, env: &mut Env<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
        exec::run(self, data, env)
    }

    /// Renders with a `map[string]string` as the root.
    pub fn render_strings<K: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        data: impl IntoIterator<Item = (K, V)>,
        env: &mut Env<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let data = Value::string_map(
            data.into_iter()
                .map(|(key, value)| (key.as_ref().into(), Str::from(value.as_ref())))
                .collect::<Vec<(Str, Str)>>(),
        );
        self.render(&data, env)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "template {:?}", self.name)
    }
}
