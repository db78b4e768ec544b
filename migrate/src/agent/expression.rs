//! One expression of a template: commands, their arguments, and what of a secret they name.

use std::collections::BTreeSet;

use super::action::{Kind, Word};
use super::functions::{Fate, decides, fate, of_sprig, takes_any};
use super::inputs::{Inputs, Secret};

/// What a value is known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing: the dot of the whole template.
    Nothing,
    /// Whatever the template makes of it.
    Plain,
    /// All of Vault's answer.
    Answer(Secret),
    /// Its `.Data`, in the engine's second version.
    Data(Secret),
    /// The fields of a secret.
    Fields(Secret),
}

impl Meaning {
    /// Whether it is something of a secret.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::Data(_) | Self::Fields(_))
    }
}

/// A value: how a template of ours has it, and what it is.
#[derive(Clone, Debug)]
pub struct Value {
    /// The expression.
    pub text: String,
    /// What it is.
    pub meaning: Meaning,
    /// Whether it stands for one argument as it is.
    is_whole: bool,
}

impl Value {
    fn plain(text: impl Into<String>, is_whole: bool) -> Self {
        Self { text: text.into(), meaning: Meaning::Plain, is_whole }
    }

    /// As an argument of a function.
    fn argument(&self) -> Result<String, String> {
        match self.meaning {
            Meaning::Answer(_) | Meaning::Data(_) => {
                Err("it takes all of Vault's answer: name what is needed of it".to_owned())
            }
            _ if self.is_whole => Ok(self.text.clone()),
            _ => Ok(format!("({})", self.text)),
        }
    }
}

/// What a field of a secret is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is written, as it is in Vault.
    Written,
    /// What it is counts: a list, a number.
    Typed,
    /// The same, and it may be missing.
    Decides,
}

/// What an expression is read with.
pub struct Expression<'e> {
    /// What is asked for.
    pub inputs: &'e mut Inputs,
    /// Whether the template reads engines of the second version, where a path does not say so.
    pub is_second: bool,
    /// What the dot is.
    pub dot: &'e Meaning,
    /// What variables are, the latest last.
    pub variables: &'e [(String, Meaning)],
    /// What may be missing.
    pub guarded: &'e mut Guarded,
}

/// What may be missing, since conditions of the template ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    /// Fields of secrets.
    paths: Vec<(Secret, Vec<String>)>,
    /// Variables: what they are given is asked for as it is in a condition.
    pub variables: BTreeSet<String>,
}

impl Guarded {
    /// Whether a condition asks for a path, or for what it is within.
    fn has(&self, secret: &Secret, path: &[String]) -> bool {
        self.paths.iter().any(|(of, guarded)| of == secret && path.starts_with(guarded))
    }
}

impl Expression<'_> {
    /// The value of an expression.
    pub fn value(&mut self, words: &[Word], mode: Mode) -> Result<Value, String> {
        let commands = split(words)?;
        let has = |is_it: fn(&str) -> bool| {
            commands
                .iter()
                .filter_map(|command| command.first())
                .any(|word| word.kind == Kind::Name && is_it(&word.text))
        };
        let mode = match mode {
            Mode::Written if has(decides) => Mode::Decides,
            Mode::Written if has(takes_any) => Mode::Typed,
            Mode::Typed if has(decides) => Mode::Decides,
            mode => mode,
        };
        let mut value: Option<Value> = None;
        for command in commands {
            value = Some(self.command(command, value, mode)?);
        }
        value.ok_or_else(|| "it is empty".to_owned())
    }

    fn command(&mut self, words: &[Word], piped: Option<Value>, mode: Mode) -> Result<Value, String> {
        let Some(first) = words.first() else { return Err("it is empty".to_owned()) };
        if first.kind != Kind::Name {
            let (value, rest) = self.operand(words, mode)?;
            return match (rest, piped) {
                ([], None) => Ok(value),
                _ => Err("a value is no function".to_owned()),
            };
        }
        let name = first.text.as_str();
        if name == "secret" {
            return self.secret(&words[1..], piped.as_ref());
        }
        if let (Fate::None(instead), None) = (fate(name), of_sprig(name)) {
            return Err(format!("{name}: {instead}"));
        }
        let (asked_before, mut arguments, mut rest) = (self.inputs.len(), Vec::new(), &words[1..]);
        while !rest.is_empty() {
            // What it looks into is no text, whatever becomes of what it finds.
            let of_argument = if name == "index" && mode == Mode::Written { Mode::Typed } else { mode };
            let (value, after) = self.operand(rest, of_argument)?;
            arguments.push(value);
            rest = after;
        }
        if let (true, None, [of, key]) = (name == "index", &piped, arguments.as_slice())
            && let (Meaning::Fields(secret), Some(key)) = (&of.meaning, text(&key.text))
        {
            self.inputs.forget(asked_before);
            return Ok(self.field(secret, &[key], mode));
        }
        arguments.extend(piped);
        let arguments: Vec<String> = arguments.iter().map(Value::argument).collect::<Result<_, _>>()?;
        called(name, &arguments)
    }

    /// `secret "path"`
    fn secret(&mut self, words: &[Word], piped: Option<&Value>) -> Result<Value, String> {
        let path = match (words, piped) {
            ([path], None) => text(&path.text),
            ([path, ..], None) if text(&path.text).is_some() => {
                return Err(
                    "it writes to Vault, and renders the answer: make a VaultDynamicSecret and an ExternalSecret of it, which come to a Secret"
                        .to_owned(),
                );
            }
            _ => None,
        };
        let path =
            path.ok_or_else(|| "which secret it is is known only when it is rendered: write its path".to_owned())?;
        let secret = Secret::of(&path, self.is_second)?;
        Ok(Value { text: path, meaning: Meaning::Answer(secret), is_whole: true })
    }

    /// The first operand, with the fields that follow it, and what stands behind.
    fn operand<'w>(&mut self, words: &'w [Word], mode: Mode) -> Result<(Value, &'w [Word]), String> {
        let Some((first, mut rest)) = words.split_first() else { return Err("it is empty".to_owned()) };
        let mut fields = Vec::new();
        let base = match first.kind {
            Kind::Literal => return Ok((Value::plain(&first.text, true), rest)),
            Kind::Name => match fate(&first.text) {
                Fate::Called(name) if ["true", "false", "nil"].contains(&name) => {
                    return Ok((Value::plain(name, true), rest));
                }
                _ if first.text == "secret" => return Err("put (secret \"...\") in parentheses".to_owned()),
                _ => (called(&first.text, &[])?, true),
            },
            Kind::Dot => (Value { text: ".".to_owned(), meaning: self.dot.clone(), is_whole: true }, false),
            Kind::Field => {
                fields.push(first.text[1..].to_owned());
                (Value { text: String::new(), meaning: self.dot.clone(), is_whole: true }, false)
            }
            Kind::Variable => {
                let known = self.variables.iter().rev().find(|(name, _)| *name == first.text);
                let meaning =
                    known.map_or(Err(format!("{} is nothing here", first.text)), |(_, meaning)| Ok(meaning.clone()))?;
                if mode == Mode::Decides && meaning == Meaning::Plain {
                    self.guarded.variables.insert(first.text.clone());
                }
                (Value { text: first.text.clone(), meaning, is_whole: true }, false)
            }
            Kind::Open => {
                let end = closing(words)?;
                rest = &words[end + 1..];
                let inner = self.value(&words[1..end], mode)?;
                let text = if inner.meaning.is_known() { inner.text } else { format!("({})", inner.text) };
                (Value { text, meaning: inner.meaning, is_whole: true }, false)
            }
            _ => return Err(format!("{:?} stands where a value should", first.text)),
        };
        while let Some((word, after)) = rest.split_first()
            && word.kind == Kind::Field
            && !word.is_apart
        {
            fields.push(word.text[1..].to_owned());
            rest = after;
        }
        Ok((self.chained(base.0, &fields, mode)?, rest))
    }

    /// A value's fields.
    fn chained(&mut self, base: Value, fields: &[String], mode: Mode) -> Result<Value, String> {
        let name = |at: usize| fields.get(at).map(String::as_str);
        match base.meaning.clone() {
            Meaning::Nothing => Err("the dot is nothing here: it is written within a with or a range".to_owned()),
            Meaning::Plain if fields.is_empty() => Ok(base),
            Meaning::Plain => Ok(Value::plain(format!("{}.{}", base.text, fields.join(".")), true)),
            Meaning::Answer(secret) => match name(0) {
                None => Ok(base),
                Some("Data") if secret.is_second => {
                    self.chained(Value { meaning: Meaning::Data(secret), ..base }, &fields[1..], mode)
                }
                Some("Data") => self.chained(Value { meaning: Meaning::Fields(secret), ..base }, &fields[1..], mode),
                Some(other) => {
                    Err(format!(".{other} is about Vault's answer and not of the secret: a store gives none of it"))
                }
            },
            Meaning::Data(secret) => match name(0) {
                None => Ok(base),
                Some("data") => self.chained(Value { meaning: Meaning::Fields(secret), ..base }, &fields[1..], mode),
                Some(other) => Err(format!(".Data.{other} is not of the secret: metadata can't be had beside it")),
            },
            Meaning::Fields(secret) if fields.is_empty() => {
                let name = self.inputs.name(&secret, None);
                Ok(Value { text: format!("(mustFromJson $.{name})"), meaning: Meaning::Fields(secret), is_whole: true })
            }
            Meaning::Fields(secret) => Ok(self.field(&secret, fields, mode)),
        }
    }

    /// A field of a secret. What is written is asked for by its name, so that it is as it is in Vault; what else is needed of it is looked
    /// for in all of the secret, and so is what a condition says may be missing: asked for by its name it would be an error.
    fn field(&mut self, secret: &Secret, path: &[String], mode: Mode) -> Value {
        if mode == Mode::Decides && !self.guarded.has(secret, path) {
            self.guarded.paths.push((secret.clone(), path.to_vec()));
        }
        if mode == Mode::Written && !self.guarded.has(secret, path) {
            return Value::plain(format!("$.{}", self.inputs.name(secret, Some(&path.join(".")))), true);
        }
        let name = self.inputs.name(secret, None);
        let quoted: Vec<String> = path.iter().map(|part| quoted(part)).collect();
        let path = quoted.join(" ");
        let found = if quoted.len() == 1 {
            format!("(get (mustFromJson $.{name}) {path})")
        } else {
            format!("(dig {path} \"\" (mustFromJson $.{name}))")
        };
        let text = match mode {
            Mode::Decides => found,
            // Go writes large numbers with an exponent, and JSON does not.
            Mode::Written => format!("(ternary (mustToRawJson {found}) {found} (kindIs \"float64\" {found}))"),
            Mode::Typed => format!("(index (mustFromJson $.{name}) {path})"),
        };
        Value::plain(text, true)
    }
}

/// A function of Consul Template with these arguments, as we have it.
fn called(name: &str, arguments: &[String]) -> Result<Value, String> {
    let plain = |name: &str| Value::plain([&[name.to_owned()], arguments].concat().join(" "), arguments.is_empty());
    if let Some(name) = of_sprig(name) {
        return Ok(plain(name));
    }
    match (fate(name), arguments) {
        (Fate::Called(name), _) => Ok(plain(name)),
        (Fate::Second(name), [pattern, by, of]) => Ok(Value::plain(format!("{name} {pattern} {of} {by}"), false)),
        (Fate::Indent, [spaces, of]) => {
            let spaces: usize = spaces.parse().map_err(|_| "how far it indents is to be a number".to_owned())?;
            let spaces = " ".repeat(spaces.min(1000));
            Ok(Value::plain(format!("mustRegexReplaceAll \"(?m)^[^\\\\n]\" {of} \"{spaces}${{0}}\""), false))
        }
        (Fate::Second(_) | Fate::Indent, _) => Err(format!("{name} has other arguments than it takes")),
        (Fate::None(instead), _) => Err(format!("{name}: {instead}")),
    }
}

/// The commands of an expression.
fn split(words: &[Word]) -> Result<Vec<&[Word]>, String> {
    let (mut all, mut depth, mut begin) = (Vec::new(), 0_usize, 0);
    for (at, word) in words.iter().enumerate() {
        match word.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.checked_sub(1).ok_or("a parenthesis closes that none opened")?,
            Kind::Pipe if depth == 0 => {
                all.push(&words[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    all.push(&words[begin..]);
    Ok(all)
}

/// Where the parenthesis closes that words begin with.
fn closing(words: &[Word]) -> Result<usize, String> {
    let mut depth = 0_usize;
    for (at, word) in words.iter().enumerate() {
        match word.kind {
            Kind::Open => depth += 1,
            Kind::Close if depth == 1 => return Ok(at),
            Kind::Close => depth -= 1,
            _ => {}
        }
    }
    Err("a parenthesis is not closed".to_owned())
}

/// A text as a string of a template: what JSON writes Go reads.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The text of a string as it is written.
fn text(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('`') {
        return raw.strip_suffix('`').map(str::to_owned);
    }
    // Go's escapes that JSON has too are all that paths and keys need.
    literal.starts_with('"').then(|| serde_json::from_str(literal).ok()).flatten()
}
