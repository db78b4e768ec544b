//! A template of Consul Template as one of ours, that renders the same: what it asks Vault for becomes fields of an ExternalSecret.
//!
//! What a secret has is known before anything is rendered, so that `with secret` becomes a comment and its fields stand where they
//! are used. What would render differently, or can't be known to render the same, is an error that says what to do.

use super::action::{Action, Kind, Part, Word, excerpt, parts};
use super::expression::{Expression, Guarded, Meaning, Mode};
use super::inputs::Inputs;

/// The template of ours. What it asks for is added to `inputs`.
pub fn translate(template: &str, inputs: &mut Inputs) -> Result<String, String> {
    let (asked_before, mut guarded) = (inputs.len(), Guarded::default());
    loop {
        let known = guarded.clone();
        let ours = translate_with(template, inputs, &mut guarded)?;
        if guarded == known {
            return Ok(ours);
        }
        // What a condition asks for may stand before it, too.
        inputs.forget(asked_before);
    }
}

fn translate_with(template: &str, inputs: &mut Inputs, guarded: &mut Guarded) -> Result<String, String> {
    let mut translator = Translator {
        inputs,
        guarded,
        is_second: template.contains(".Data.data"),
        blocks: vec![Block { opens: Opens::Template, dot: Meaning::Nothing, variables: Vec::new() }],
    };
    let mut out = String::new();
    for part in parts(template)? {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Action(action) => {
                let said = translator.action(&action).map_err(|why| format!("`{}`: {why}", excerpt(action.text)))?;
                out.push_str(&written(&action, &said));
            }
        }
    }
    if translator.blocks.len() > 1 { Err("a block has no end".to_owned()) } else { Ok(out) }
}

/// What an action becomes.
enum Said {
    /// This.
    Action(String),
    /// Nothing but the white space that it takes away.
    Comment(String),
}

fn written(action: &Action<'_>, said: &Said) -> String {
    let (before, after) = (action.trims_before, action.trims_after);
    match said {
        Said::Action(text) => {
            format!("{} {text} {}", if before { "{{-" } else { "{{" }, if after { "-}}" } else { "}}" })
        }
        // Go takes a comment for one only where it stands so.
        Said::Comment(text) => {
            let text = text.replace("*/", "");
            format!("{}/* {text} */{}", if before { "{{- " } else { "{{" }, if after { " -}}" } else { "}}" })
        }
    }
}

/// What a block began with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opens {
    Template,
    If,
    With,
    Range,
    /// A `with` that is a comment now.
    Known,
}

struct Block {
    opens: Opens,
    dot: Meaning,
    variables: Vec<(String, Meaning)>,
}

struct Translator<'i> {
    inputs: &'i mut Inputs,
    guarded: &'i mut Guarded,
    is_second: bool,
    blocks: Vec<Block>,
}

impl Translator<'_> {
    fn action(&mut self, action: &Action<'_>) -> Result<Said, String> {
        let Some(first) = action.words.first() else { return Err("it is empty".to_owned()) };
        if first.kind != Kind::Name {
            return self.computes(&action.words);
        }
        let rest = &action.words[1..];
        match first.text.as_str() {
            "if" => self.opens(Opens::If, "if", rest),
            "with" => self.opens(Opens::With, "with", rest),
            "range" => self.opens(Opens::Range, "range", rest),
            "else" => self.otherwise(rest),
            "end" => self.ends(),
            "break" | "continue" => Ok(Said::Action(first.text.clone())),
            "define" | "template" | "block" => {
                Err("templates within a template have no way to what was fetched: write it out where it is used"
                    .to_owned())
            }
            _ => self.computes(&action.words),
        }
    }

    /// An expression that is written, or kept in a variable.
    fn computes(&mut self, words: &[Word]) -> Result<Said, String> {
        let (names, sign, words) = declared(words);
        if names.is_empty() {
            let value = self.value(words, Mode::Written)?;
            return match value.meaning {
                Meaning::Plain | Meaning::Fields(_) => Ok(Said::Action(value.text)),
                _ => Err("it writes all of Vault's answer: write what is needed of it".to_owned()),
            };
        }
        let [name] = names.as_slice() else { return Err("only range has two variables".to_owned()) };
        let asked_before = self.inputs.len();
        if self.guarded.variables.contains(name) {
            self.value(words, Mode::Decides)?;
            self.inputs.forget(asked_before);
        }
        let value = self.value(words, Mode::Written)?;
        if value.meaning.is_known() {
            // It is asked for where the variable is used.
            self.inputs.forget(asked_before);
            if sign == "=" {
                return Err("a variable that is given another secret: use two".to_owned());
            }
            self.declare(name, value.meaning);
            return Ok(Said::Comment(name.clone()));
        }
        if sign == ":=" {
            self.declare(name, Meaning::Plain);
        } else if self.variable(name)?.is_known() {
            return Err("a variable that is given another secret: use two".to_owned());
        }
        Ok(Said::Action(format!("{name} {sign} {}", value.text)))
    }

    fn opens(&mut self, opens: Opens, word: &str, words: &[Word]) -> Result<Said, String> {
        let (names, sign, words) = declared(words);
        if names.len() > 1 && opens != Opens::Range {
            return Err("only range has two variables".to_owned());
        }
        let value = self.value(words, if opens == Opens::Range { Mode::Typed } else { Mode::Decides })?;
        let is_answer = matches!(value.meaning, Meaning::Answer(_) | Meaning::Data(_));
        let mut block = Block { opens, dot: self.dot(), variables: Vec::new() };
        match opens {
            // A secret is there, or nothing is rendered at all.
            Opens::With if is_answer => {
                block.opens = Opens::Known;
                block.dot = value.meaning.clone();
                block.variables.extend(names.iter().map(|name| (name.clone(), value.meaning.clone())));
                self.blocks.push(block);
                return Ok(Said::Comment(excerpt(&value.text)));
            }
            _ if is_answer => return Err(format!("{word} of all of Vault's answer: name what is needed of it")),
            Opens::With => {
                block.dot = value.meaning.clone();
                block.variables.extend(names.iter().map(|name| (name.clone(), value.meaning.clone())));
            }
            Opens::Range => {
                block.dot = Meaning::Plain;
                block.variables.extend(names.iter().map(|name| (name.clone(), Meaning::Plain)));
            }
            _ => block.variables.extend(names.iter().map(|name| (name.clone(), value.meaning.clone()))),
        }
        self.blocks.push(block);
        let names = if names.is_empty() { String::new() } else { format!("{} {sign} ", names.join(", ")) };
        Ok(Said::Action(format!("{word} {names}{}", value.text)))
    }

    fn otherwise(&mut self, words: &[Word]) -> Result<Said, String> {
        let outer = self.blocks.len().checked_sub(2).map(|at| self.blocks[at].dot.clone());
        let (Some(outer), Some(opens)) = (outer, self.blocks.last().map(|block| block.opens)) else {
            return Err("else of nothing".to_owned());
        };
        if opens == Opens::Known {
            return Err(
                "what stands in else is for when Vault has no such secret, which is an error here: take it out"
                    .to_owned(),
            );
        }
        let condition = match words {
            [] => String::new(),
            [first, rest @ ..] if first.text == "if" && opens == Opens::If => {
                let value = self.value(rest, Mode::Decides)?;
                if matches!(value.meaning, Meaning::Answer(_) | Meaning::Data(_)) {
                    return Err("if of all of Vault's answer: name what is needed of it".to_owned());
                }
                format!(" if {}", value.text)
            }
            _ => return Err("else with more than an if: write it as a block of its own".to_owned()),
        };
        if let Some(block) = self.blocks.last_mut() {
            block.variables.clear();
            if opens != Opens::If {
                block.dot = outer;
            }
        }
        Ok(Said::Action(format!("else{condition}")))
    }

    fn ends(&mut self) -> Result<Said, String> {
        match self.blocks.pop().map(|block| block.opens) {
            None | Some(Opens::Template) => Err("end of nothing".to_owned()),
            Some(Opens::Known) => Ok(Said::Comment("end".to_owned())),
            Some(_) => Ok(Said::Action("end".to_owned())),
        }
    }

    fn dot(&self) -> Meaning {
        self.blocks.last().map_or(Meaning::Nothing, |block| block.dot.clone())
    }

    fn declare(&mut self, name: &str, meaning: Meaning) {
        if let Some(block) = self.blocks.last_mut() {
            block.variables.push((name.to_owned(), meaning));
        }
    }

    fn variable(&self, name: &str) -> Result<Meaning, String> {
        let mut known = self.blocks.iter().rev().flat_map(|block| block.variables.iter().rev());
        let found = known.find(|(known, _)| known == name).map(|(_, meaning)| meaning.clone());
        found.ok_or_else(|| format!("{name} is nothing here"))
    }

    fn value(&mut self, words: &[Word], mode: Mode) -> Result<super::expression::Value, String> {
        let dot = self.dot();
        let variables: Vec<(String, Meaning)> =
            self.blocks.iter().flat_map(|block| block.variables.iter().cloned()).collect();
        let (inputs, guarded) = (&mut *self.inputs, &mut *self.guarded);
        Expression { inputs, is_second: self.is_second, dot: &dot, variables: &variables, guarded }.value(words, mode)
    }
}

/// The variables that are given a value, by which sign, and the expression.
fn declared(words: &[Word]) -> (Vec<String>, &str, &[Word]) {
    let at = words.iter().position(|word| matches!(word.kind, Kind::Declare | Kind::Assign));
    match at {
        Some(at) => {
            let names = words[..at].iter().filter(|word| word.kind == Kind::Variable).map(|word| word.text.clone());
            (names.collect(), words[at].text.as_str(), &words[at + 1..])
        }
        None => (Vec::new(), "", words),
    }
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
