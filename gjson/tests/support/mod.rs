//! What the differential test and the fuzzer share: the Go oracle, our side behind the same face, pairs to ask both.
#![allow(dead_code, reason = "each program that includes this uses a part of it")]

pub mod oracle;
pub mod random;

use std::fmt::Write as _;

use keyferry_gjson::Kind;

/// A path and a document.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    pub path: Vec<u8>,
    pub json: Vec<u8>,
}

/// What a pair comes to.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    Found {
        kind: String,
        text: Vec<u8>,
        raw: Vec<u8>,
    },
    /// We refuse, or Go panics.
    None(String),
}

impl Answer {
    pub fn show(&self) -> String {
        match self {
            Self::Found { kind, text, raw } => {
                let (text, raw) = (text.escape_ascii(), raw.escape_ascii());
                format!("{kind} {text:.300}   raw {raw:.300}")
            }
            Self::None(why) => format!("no answer: {why}"),
        }
    }
}

pub fn ours(pair: &Pair) -> Answer {
    let value = match keyferry_gjson::get(&pair.json, &pair.path) {
        Ok(value) => value,
        Err(error) => return Answer::None(error.to_string()),
    };
    let text = value.text().to_vec();
    let kind = match value.kind() {
        Kind::Missing => "Missing",
        Kind::Null => "Null",
        Kind::Bool if text == b"true" => "True",
        Kind::Bool => "False",
        Kind::Number => "Number",
        Kind::String => "String",
        Kind::Object | Kind::Array => "JSON",
    };
    Answer::Found { kind: kind.to_owned(), text, raw: value.raw().to_vec() }
}

/// How often both were asked, and the pairs on which they differ.
#[derive(Default)]
pub struct Outcome {
    pub asked: usize,
    pub found: usize,
    /// What we refuse to answer, by limits that Go does not have.
    pub refused: usize,
    pub different: Vec<Pair>,
}

impl Outcome {
    /// Asks both sides for all pairs.
    pub fn add(&mut self, oracle: &mut oracle::Oracle, pairs: &[Pair]) {
        for (pair, go) in pairs.iter().zip(oracle.ask(pairs)) {
            let ours = ours(pair);
            self.asked += 1;
            match (&go, &ours) {
                (_, Answer::None(_)) => self.refused += 1,
                (Answer::Found { kind, .. }, _) if go == ours => self.found += usize::from(kind != "Missing"),
                _ => self.different.push(pair.clone()),
            }
        }
    }

    /// The first differences, made as small as they get.
    pub fn report(&self, oracle: &mut oracle::Oracle) -> String {
        let mut report = String::new();
        for pair in self.different.iter().take(10) {
            let pair = oracle.shrink(pair);
            let go = oracle.ask(std::slice::from_ref(&pair)).remove(0);
            let _ = writeln!(
                report,
                "path {}\njson {}\n    Go   {}\n    ours {}",
                pair.path.escape_ascii(),
                pair.json.escape_ascii(),
                go.show(),
                ours(&pair).show()
            );
        }
        report
    }
}

/// The pairs of `tests/corpus.txt`. There `json: ` begins a document, `more: ` adds a line to it, and each line that
/// begins with `> ` is a path to ask of it; `//` begins a comment.
pub fn corpus() -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut json = String::new();
    for line in include_str!("../corpus.txt").lines() {
        if let Some(text) = line.strip_prefix("json: ") {
            json = text.to_owned();
        } else if let Some(text) = line.strip_prefix("more: ") {
            json = format!("{json}\n{text}");
        } else if let Some(path) = line.strip_prefix('>') {
            let path = path.strip_prefix(' ').unwrap_or(path);
            pairs.push(Pair { path: path.into(), json: json.clone().into() });
        } else {
            assert!(line.is_empty() || line.starts_with("//"), "no line of the corpus: {line}");
        }
    }
    pairs
}
