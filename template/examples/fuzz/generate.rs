//! Random templates that are typed well enough for many of them to render.

use std::collections::BTreeMap;

use keyferry_template::{Function, Functions, Type};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use super::{
    mutate::Mutator,
    support::{Data, tables},
    words::{CHANGING, FORMATS, GROWING, LEFT_OUT, PICKY, WORDS},
};

/// How deep statements nest; templates are defined at the top only.
const TOP: usize = 3;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Int,
    Int64,
    Float,
    Bool,
    List,
    Texts,
    Ints,
    Dict,
    Time,
}

const KINDS: &[Kind] = &[
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Int,
    Kind::Int,
    Kind::Int64,
    Kind::Float,
    Kind::Bool,
    Kind::List,
    Kind::Texts,
    Kind::Ints,
    Kind::Dict,
    Kind::Time,
];

pub struct Generator {
    random: StdRng,
    mutator: Mutator,
    /// Functions by what they return.
    functions: Vec<&'static Function>,
    samples: BTreeMap<String, Vec<String>>,
    kinds: BTreeMap<String, Vec<String>>,
    fields: Vec<String>,
    variables: Vec<(String, Kind)>,
    templates: usize,
    loops: usize,
    pure: bool,
}

fn fits(result: Type, kind: Kind) -> bool {
    match kind {
        Kind::Text => result == Type::String,
        Kind::Int => result == Type::INT,
        Kind::Int64 => result == Type::INT64,
        Kind::Float => result == Type::Float64,
        Kind::Bool => result == Type::Bool,
        Kind::List => result == Type::LIST,
        Kind::Texts => result == Type::STRINGS,
        Kind::Ints => result == Type::INTS,
        Kind::Dict => result == Type::DICT,
        Kind::Time => result.to_string() == "time.Time",
    }
}

impl Generator {
    pub fn new(random: StdRng, data: &Data) -> Self {
        let known = Functions::standard();
        let names = known.names().into_iter().filter(|name| !LEFT_OUT.contains(name));
        let functions = names.filter_map(|name| known.get(name)).collect();
        let table = tables::load();
        let kinds = table.rows.into_iter().map(|row| (row.name, row.kinds)).collect();
        let fields = data.keys().filter(|key| key.chars().all(char::is_alphanumeric)).cloned().collect();
        Self {
            random,
            mutator: Mutator::new(),
            functions,
            samples: table.samples,
            kinds,
            fields,
            variables: Vec::new(),
            templates: 0,
            loops: 0,
            pure: false,
        }
    }

    /// A template, in pieces that may be left out one by one.
    pub fn template(&mut self) -> Vec<String> {
        if self.chance(20) {
            return self.mutator.template(&mut self.random);
        }
        self.variables.clear();
        self.templates = 0;
        self.loops = 0;
        let count = self.random.random_range(1..5);
        (0..count).map(|_| self.statement(TOP)).collect()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    fn pick<'t, T: ?Sized>(&mut self, all: &[&'t T]) -> &'t T {
        all.choose(&mut self.random).expect("there are some")
    }

    fn action(&mut self, inside: &str) -> String {
        let (left, right) = (["{{", "{{ ", "{{- "], ["}}", " }}", " -}}"]);
        let left = *left.choose_weighted(&mut self.random, |open| if open.len() > 3 { 1 } else { 6 }).expect("some");
        let right =
            *right.choose_weighted(&mut self.random, |close| if close.len() > 3 { 1 } else { 6 }).expect("some");
        // A minus sign right behind the braces is a trim marker.
        let left = if inside.starts_with('-') && left == "{{" { "{{ " } else { left };
        format!("{left}{inside}{right}")
    }

    fn body(&mut self, depth: usize) -> String {
        let seen = self.variables.len();
        let count = self.random.random_range(1..3);
        let body = (0..count).map(|_| self.statement(depth)).collect();
        self.variables.truncate(seen);
        body
    }

    fn statement(&mut self, depth: usize) -> String {
        let choice = self.random.random_range(0..100);
        match choice {
            _ if depth == 0 => self.print(),
            0..=2 => self.rarity(),
            3..=44 => self.print(),
            45..=52 => self
                .pick(&["text ", " \n ", "{ ", "}} ", "é", "-", "\t", "{{/* note */}}", "{{- /* n */ -}}"])
                .to_owned(),
            53..=62 => self.declare(),
            63..=66 => self.assign(),
            67..=76 => self.condition("if", depth),
            77..=82 => self.condition("with", depth),
            83..=92 => self.range(depth),
            93..=95 if depth == TOP => self.define(depth),
            93..=95 => self.print(),
            96 if self.loops > 0 => {
                let word = self.pick(&["break", "continue"]);
                self.action(word)
            }
            96..=97 => {
                let kind = self.kind();
                let value = self.expression(kind, 1);
                let block = format!("block \"b{choice}{}\" {value}", self.templates);
                self.templates += 1;
                self.action(&block) + &self.alone(|this| this.body(depth - 1)) + &self.action("end")
            }
            _ => self.pick(&["{{ . | len }}", "{{ $ | len }}", "{{ index $ \"nope\" }}"]).to_owned(),
        }
    }

    /// What mostly fails.
    fn rarity(&mut self) -> String {
        if self.chance(20) {
            self.pick(&["{{ .nope }}", "{{ nil }}", "{{ end }}", "{{ else }}", "{{ break }}", "{{ $v }}"]).to_owned()
        } else {
            self.print()
        }
    }

    /// Something in a place that sees no variables and no loop.
    fn alone(&mut self, make: impl FnOnce(&mut Self) -> String) -> String {
        let (variables, loops) = (std::mem::take(&mut self.variables), std::mem::take(&mut self.loops));
        let made = make(self);
        (self.variables, self.loops) = (variables, loops);
        made
    }

    fn kind(&mut self) -> Kind {
        *KINDS.choose(&mut self.random).expect("there are some")
    }

    fn print(&mut self) -> String {
        let kind = self.kind();
        let depth = self.random.random_range(1..5);
        let inside = match self.random.random_range(0..10) {
            0 => {
                let format = self.pick(FORMATS);
                let count = self.random.random_range(0..3);
                let values: Vec<String> = (0..count)
                    .map(|_| {
                        let kind = self.kind_to_print();
                        self.expression(kind, 2)
                    })
                    .collect();
                format!("printf {format:?} {}", values.join(" "))
            }
            1 => format!("toJson {}", self.expression(kind, depth)),
            2 => format!("toYaml {}", self.expression(kind, depth)),
            _ => self.pipeline(kind, depth),
        };
        self.action(&inside)
    }

    /// Times print as addresses with some verbs.
    fn kind_to_print(&mut self) -> Kind {
        loop {
            match self.kind() {
                Kind::Time => {}
                kind => return kind,
            }
        }
    }

    fn declare(&mut self) -> String {
        let kind = self.kind();
        let value = self.pipeline(kind, 3);
        let name = format!("$v{}", self.variables.len());
        self.variables.push((name.clone(), kind));
        self.action(&format!("{name} := {value}"))
    }

    fn assign(&mut self) -> String {
        match self.variables.choose(&mut self.random).cloned() {
            Some((name, kind)) => {
                let value = self.pipeline(kind, 2);
                self.action(&format!("{name} = {value}"))
            }
            None => self.print(),
        }
    }

    fn condition(&mut self, word: &str, depth: usize) -> String {
        let seen = self.variables.len();
        let kind = if word == "if" && self.chance(60) { Kind::Bool } else { self.kind() };
        let value = self.pipeline(kind, 2);
        let mut text = if self.chance(20) {
            let name = format!("$v{}", self.variables.len());
            self.variables.push((name.clone(), kind));
            self.action(&format!("{word} {name} := {value}"))
        } else {
            self.action(&format!("{word} {value}"))
        };
        text += &self.body(depth - 1);
        if self.chance(25) {
            let kind = self.kind();
            let value = self.expression(kind, 2);
            let word = if self.chance(98) { word } else { "if" };
            text += &(self.action(&format!("else {word} {value}")) + &self.body(depth - 1));
        }
        if self.chance(50) {
            text += &(self.action("else") + &self.body(depth - 1));
        }
        self.variables.truncate(seen);
        text + &self.action("end")
    }

    fn range(&mut self, depth: usize) -> String {
        let seen = self.variables.len();
        let (kind, element) = match self.random.random_range(0..6) {
            0 | 1 => (Kind::List, Kind::Text),
            2 => (Kind::Texts, Kind::Text),
            3 => (Kind::Ints, Kind::Int),
            4 => (Kind::Dict, Kind::Text),
            _ => (Kind::Text, Kind::Int),
        };
        let value = if self.chance(10) {
            self.pick(&["3", "0", "-1", "(int64 2)", "nil", "2.5", ".csv"]).to_owned()
        } else {
            self.expression(kind, 2)
        };
        let (first, second) = (format!("$v{seen}"), format!("$v{}", seen + 1));
        let mut text = match self.random.random_range(0..3) {
            0 => self.action(&format!("range {value}")),
            1 => {
                self.variables.push((first.clone(), element));
                self.action(&format!("range {first} := {value}"))
            }
            _ => {
                self.variables.push((first.clone(), if kind == Kind::Dict { Kind::Text } else { Kind::Int }));
                self.variables.push((second.clone(), element));
                self.action(&format!("range {first}, {second} := {value}"))
            }
        };
        self.loops += 1;
        text += &self.body(depth - 1);
        self.loops -= 1;
        if self.chance(30) {
            text += &(self.action("else") + &self.body(depth - 1));
        }
        self.variables.truncate(seen);
        text + &self.action("end")
    }

    fn define(&mut self, depth: usize) -> String {
        let name = format!("t{}", self.templates);
        self.templates += 1;
        let kind = self.kind();
        let value = self.expression(kind, 1);
        let body = self.alone(|this| {
            let body = this.body(depth - 1);
            if this.chance(50) { body + "{{ . }}" } else { body }
        });
        let opened = self.action(&format!("define \"{name}\""));
        let closed = self.action("end");
        opened + &body + &closed + &self.action(&format!("template \"{name}\" {value}"))
    }

    /// An expression as a whole action may have it.
    fn pipeline(&mut self, kind: Kind, depth: usize) -> String {
        let expression = self.expression(kind, depth);
        match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) if is_balanced(inner) => inner.to_owned(),
            _ => expression,
        }
    }

    /// An expression as an argument.
    fn expression(&mut self, kind: Kind, depth: usize) -> String {
        // Now and then something else than what is asked for.
        let kind = if self.chance(1) { self.kind() } else { kind };
        if !self.pure && self.chance(20) {
            let fitting: Vec<&str> =
                self.variables.iter().filter(|(_, of)| *of == kind).map(|(name, _)| name.as_str()).collect();
            if let Some(name) = fitting.choose(&mut self.random) {
                return (*name).to_owned();
            }
        }
        match depth {
            0 => self.literal(kind),
            _ if self.chance(20) => self.literal(kind),
            // The length of what has one.
            _ if kind == Kind::Int && self.chance(20) => {
                let of = *[Kind::Text, Kind::List, Kind::Dict].choose(&mut self.random).expect("there are some");
                format!("(len {})", self.expression(of, depth - 1))
            }
            _ => self.call(kind, depth).unwrap_or_else(|| self.literal(kind)),
        }
    }

    fn call(&mut self, kind: Kind, depth: usize) -> Option<String> {
        let any = self.chance(7);
        let fitting: Vec<&'static Function> = self
            .functions
            .iter()
            .filter(|function| fits(function.signature.result, kind) || (any && function.signature.result == Type::Any))
            .copied()
            .collect();
        let function = *fitting.choose(&mut self.random)?;
        let growing = GROWING.contains(&function.name);
        let picky = PICKY.contains(&function.name);
        let was_pure = self.pure;
        self.pure |= CHANGING.contains(&function.name);
        let kinds = self.kinds.get(function.name).cloned().unwrap_or_default();
        let mut arguments = Vec::new();
        for (at, parameter) in function.signature.params.iter().enumerate() {
            arguments.push(match kinds.get(at) {
                Some(named) if growing || self.chance(if picky { 97 } else { 35 }) => self.sample(named),
                _ => self.of_type(*parameter, depth - 1),
            });
        }
        if let Some(rest) = function.signature.variadic {
            for _ in 0..self.random.random_range(0..4) {
                let argument = if growing { self.literal(Kind::Int) } else { self.of_type(rest, depth - 1) };
                arguments.push(argument);
            }
        }
        self.pure = was_pure;
        if self.random.random_ratio(1, 300) {
            arguments.pop();
        }
        let call = |arguments: &[String]| {
            if arguments.is_empty() {
                function.name.to_owned()
            } else {
                format!("{} {}", function.name, arguments.join(" "))
            }
        };
        let text = match arguments.split_last() {
            Some((last, others)) if self.random.random_ratio(1, 3) => format!("{last} | {}", call(others)),
            _ => call(&arguments),
        };
        Some(format!("({text})"))
    }

    fn sample(&mut self, named: &str) -> String {
        match self.samples.get(named).and_then(|samples| samples.choose(&mut self.random)) {
            Some(sample) => sample.clone(),
            None => "\"x\"".to_owned(),
        }
    }

    fn of_type(&mut self, wanted: Type, depth: usize) -> String {
        let kind = match wanted {
            Type::String => Kind::Text,
            Type::Bool => Kind::Bool,
            Type::Float64 => Kind::Float,
            Type::Int(_) if wanted == Type::INT64 => Kind::Int64,
            Type::Int(_) | Type::Uint(_) => Kind::Int,
            _ if wanted == Type::STRINGS => Kind::Texts,
            Type::Slice(_) => Kind::List,
            Type::Map(_) => Kind::Dict,
            Type::Named(_) => Kind::Time,
            _ => self.kind(),
        };
        self.expression(kind, depth)
    }

    fn word(&mut self) -> String {
        let words = self.random.random_range(1..4);
        let text: Vec<&str> = (0..words).map(|_| self.pick(WORDS)).collect();
        let separator = self.pick(&["", " ", ",", "-", "\n", ".", "/", "%"]);
        let text = text.join(separator);
        if self.chance(10) && !text.contains('`') {
            format!("`{text}`")
        } else {
            format!("\"{}\"", text.replace('\n', "\\n"))
        }
    }

    fn literal(&mut self, kind: Kind) -> String {
        let small = self.random.random_range(-3..8);
        match (kind, self.random.random_range(0..4)) {
            (Kind::Text, 0 | 1) => self.word(),
            (Kind::Text, 2) => {
                let field = self.fields.choose(&mut self.random).cloned().unwrap_or_default();
                format!("$.{field}")
            }
            (Kind::Text, _) => self.sample("string"),
            (Kind::Int, 0) => {
                self.pick(&["0", "1", "-1", "100", "0x1F", "017", "0b11", "1_0", "'a'", "1e2"]).to_owned()
            }
            (Kind::Int, _) => small.to_string(),
            (Kind::Int64, _) => format!("(int64 {small})"),
            (Kind::Float, 0) => {
                self.pick(&["0.1", "1e21", "-2.5", "1e-7", "3.0", "100000000.0", ".5", "1e6"]).to_owned()
            }
            (Kind::Float, _) => format!("{small}.{}", self.random.random_range(0..100)),
            (Kind::Bool, _) => self.pick(&["true", "false"]).to_owned(),
            (Kind::List, 0) => self.sample("list"),
            (Kind::List, _) => {
                let count = self.random.random_range(0..4);
                let items: Vec<String> = (0..count)
                    .map(|_| {
                        let kind = self.kind_to_print();
                        self.literal(kind)
                    })
                    .collect();
                format!("(list {})", items.join(" "))
            }
            (Kind::Texts, 0) => "(splitList \",\" $.csv)".to_owned(),
            (Kind::Texts, _) => format!("(splitList \" \" {})", self.word()),
            (Kind::Ints, _) => format!("(until {small})"),
            (Kind::Dict, 0) => self.sample("dict").replace(" .", " $."),
            (Kind::Dict, _) => {
                let count = self.random.random_range(0..3);
                let entries: Vec<String> = (0..count)
                    .map(|_| {
                        let kind = self.kind_to_print();
                        format!("{} {}", self.word(), self.literal(kind))
                    })
                    .collect();
                format!("(dict {})", entries.join(" "))
            }
            (Kind::Time, _) => self.sample("time"),
        }
    }
}

fn is_balanced(text: &str) -> bool {
    let mut depth = 0;
    text.bytes().all(|byte| {
        depth += match byte {
            b'(' => 1,
            b')' => -1,
            _ => 0,
        };
        depth >= 0
    }) && depth == 0
}
