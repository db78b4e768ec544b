//! What the differential test, the fuzzer and the benchmark share.
//!
//! Modules, in reading order: [`oracle`] Go, [`ours`] our engine behind the same face, [`corpus`] templates, [`tables`]
//! calls of functions, [`known`] where the two may differ.
#![allow(dead_code, reason = "each program that includes this uses a part of it")]

pub mod oracle;
pub mod ours;
pub mod corpus;
pub mod tables;
pub mod known;

use std::{collections::BTreeMap, path::PathBuf};

/// The root of every template: names and bytes.
pub type Data = BTreeMap<String, Vec<u8>>;

/// The Unix time that `now` gives in both engines.
pub const NOW: u64 = 1_700_000_000;

/// What a template came to: its output, or the text of the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Output(Vec<u8>),
    Error(String),
}

impl Answer {
    /// The same output, or an error each: error texts are not compared.
    pub fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Output(left), Self::Output(right)) => left == right,
            (Self::Error(_), Self::Error(_)) => true,
            _ => false,
        }
    }

    pub fn is_output(&self) -> bool {
        matches!(self, Self::Output(_))
    }

    /// For a person to read, on one line.
    pub fn show(&self) -> String {
        match self {
            Self::Output(bytes) => format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(600)])),
            Self::Error(text) => format!("error: {}", text.chars().take(300).collect::<String>().replace('\n', "⏎")),
        }
    }
}

/// A folder or file of this crate.
pub fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
