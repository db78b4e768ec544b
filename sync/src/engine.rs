//! What templates are parsed with and kept in, and what a look renders them with.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use keyferry_limits::{Budget, Exceeded, TEMPLATE_TEXT, TEMPLATES_KEPT};
use keyferry_provider_core::SecretBytes;
use keyferry_template as gotmpl;

use crate::cache::Cache;
use crate::data::Data;
use crate::told;
use crate::told::Told;

/// Parses templates, and keeps them by their text.
pub struct Engine {
    values: gotmpl::Options,
    names: gotmpl::Options,
    parsed: Cache<Arc<gotmpl::Template>>,
    parsed_names: Cache<Arc<gotmpl::Template>>,
    is_strict: bool,
}

/// What a look renders with.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// What parses and keeps.
    pub engine: &'a Engine,
    /// When the look began: the time that templates see.
    pub now: Timestamp,
    /// What the look has left.
    pub budget: &'a Budget,
}

/// Whose text a template is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// It stands in the ExternalSecret or in a ConfigMap.
    Open,
    /// It is the value of a Secret: nothing of it outlives the refresh, and nothing of it is told.
    Secret,
}

impl Engine {
    /// An engine with these delimiters.
    pub fn new(left: &str, right: &str) -> Self {
        let mut names = gotmpl::Options::new(Arc::new(gotmpl::Functions::standard()));
        names.text_bytes = TEMPLATE_TEXT.size();
        let mut values = names.clone();
        values.left_delim = left.to_owned();
        values.right_delim = right.to_owned();
        values.missing_key = gotmpl::MissingKey::Error;
        Self {
            values,
            names,
            parsed: Cache::new(TEMPLATES_KEPT.size()),
            parsed_names: Cache::new(TEMPLATES_KEPT.size()),
            is_strict: false,
        }
    }

    /// The same engine, to which it is an error that a function fails whose complaint Go takes for its result.
    pub fn strict(self, is_strict: bool) -> Self {
        Self { is_strict, ..self }
    }

    /// Whether it is that.
    pub fn is_strict(&self) -> bool {
        self.is_strict
    }

    /// A template over what was fetched. What can't be read is told by its line, and in its own words where they are open.
    pub fn template(&self, text: &str, whose: Text, budget: &Budget) -> Result<Arc<gotmpl::Template>, Told> {
        let parse = || parse(text, &self.values, whose, budget);
        match whose {
            Text::Secret => parse().map(|(template, _)| template),
            Text::Open => self.parsed.get_or(text, parse),
        }
    }

    /// A template over a name, which it calls `.value`; here the usual delimiters hold, and a missing key is no error.
    pub fn name_template(&self, text: &str, budget: &Budget) -> Result<Arc<gotmpl::Template>, Told> {
        self.parsed_names.get_or(text, || parse(text, &self.names, Text::Open, budget))
    }
}

fn parse(
    text: &str,
    options: &gotmpl::Options,
    whose: Text,
    budget: &Budget,
) -> Result<(Arc<gotmpl::Template>, usize), Told> {
    let size = parsed_size(text, options);
    budget.steps(text.len()).and_then(|()| budget.bytes(size))?;
    match gotmpl::Template::parse("template", text, options) {
        Ok(template) => Ok((Arc::new(template), size)),
        Err(error) => Err(unreadable(&error, whose)),
    }
}

/// About how many bytes a parsed template takes: it keeps its text, and each part of an action takes some.
fn parsed_size(text: &str, options: &gotmpl::Options) -> usize {
    /// What a byte of an action becomes, at most about.
    const PART: usize = 64;
    let (left, right) = options.delimiters();
    let actions = text.split(left).skip(1);
    let parts: usize = actions.map(|action| action.rfind(right).unwrap_or(action.len()) + left.len()).sum();
    text.len() + PART * parts
}

/// Why a template can't be read: its parser knows nothing but its text.
fn unreadable(error: &gotmpl::Error, whose: Text) -> Told {
    match (error.exceeded(), whose) {
        (Some(limit), _) => told!("{}", limit),
        (None, Text::Open) => told!("line {}: {}", error.line(), Told::without_values(error.message().to_owned())),
        (None, Text::Secret) => told!("line {}: it is not a template", error.line()),
    }
}

impl Means<'_> {
    /// Lends a template what it takes of the outside.
    pub fn lend<T>(&self, work: impl FnOnce(&mut gotmpl::Env<'_>) -> T) -> T {
        let clock = Fixed(self.now);
        let random = Box::new(gotmpl::SystemRandom);
        let limits = gotmpl::Limits::default();
        work(&mut gotmpl::Env { random, clock: &clock, limits, complained: Vec::new(), budget: Some(self.budget) })
    }

    /// What `template` makes of `data`, and which functions failed and left a complaint in it.
    pub fn render(
        &self,
        template: &gotmpl::Template,
        whose: Text,
        data: &gotmpl::Value,
    ) -> Result<(SecretBytes, Vec<&'static str>), Told> {
        let (rendered, complained) = self.lend(|env| {
            let rendered = template.render(data, env);
            (rendered, std::mem::take(&mut env.complained))
        });
        let mut rendered = rendered.map_err(|error| failed(&error, whose))?;
        Ok((SecretBytes::new(std::mem::take(&mut *rendered)), complained))
    }

    /// What templates see of `data`: a copy.
    pub fn dot(&self, data: &Data) -> Result<gotmpl::Value, Exceeded> {
        self.budget.bytes(data.iter().map(|(key, value)| key.len() + value.len() + ENTRY).sum())?;
        let entries = data.iter().map(|(key, value)| (key.as_str().into(), value.expose().into()));
        Ok(gotmpl::Value::string_map(entries.collect::<Vec<(gotmpl::Str, gotmpl::Str)>>()))
    }
}

/// What an entry of a map takes beside its key and value, about.
pub const ENTRY: usize = 128;

/// Why a template failed: by words that stand in the program, the place in the template, and the part of its text that
/// stands there. What a function says of what it was given is left out.
fn failed(error: &gotmpl::Error, whose: Text) -> Told {
    let place = match (error.column(), error.part(), whose) {
        (Some(column), Some(part), Text::Open) => {
            told!("line {}, column {}, at <{}>", error.line(), column, Part(part))
        }
        (Some(column), ..) => told!("line {}, column {}", error.line(), column),
        (None, ..) => told!("line {}", error.line()),
    };
    let function = error.function().map(|function| told!("{} failed: ", function)).unwrap_or_default();
    match error.exceeded() {
        Some(limit) => told!("{}: {}", place, limit),
        None => told!("{}: {}{}", place, function, error.words()),
    }
}

/// A part of a template's text.
struct Part<'a>(&'a str);

impl told::Tell for Part<'_> {
    fn tell(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// The time of the refresh, for all templates of it.
struct Fixed(Timestamp);

impl gotmpl::Clock for Fixed {
    fn now(&self) -> SystemTime {
        SystemTime::from(self.0)
    }
}

#[cfg(test)]
impl<'a> Means<'a> {
    /// At the beginning of time.
    pub fn of_tests(engine: &'a Engine, budget: &'a Budget) -> Self {
        Self { engine, now: Timestamp::UNIX_EPOCH, budget }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_are_kept_take_no_more_than_the_limit() {
        let (engine, budget) = (Engine::new("{{", "}}"), Budget::new(u64::MAX, u64::MAX));
        let text = |n: usize| format!("{n}{}", "a".repeat(TEMPLATE_TEXT.size() / 2));
        for n in 0..200 {
            engine.template(&text(n), Text::Open, &budget).unwrap();
        }
        let is_kept = |n: &usize| engine.parsed.get_or(&text(*n), || Err(())).is_ok();
        let bytes = (0..200).filter(is_kept).count() * TEMPLATE_TEXT.size() / 2;
        assert!((1..=TEMPLATES_KEPT.size()).contains(&bytes), "{bytes} bytes of text");
    }
}
