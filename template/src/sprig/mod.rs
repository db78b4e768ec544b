//! The functions of sprig 3.3, without `env`, `expandenv` and `getHostByName`.
//!
//! They take what sprig takes and answer what it answers; the documentation of sprig is theirs too. Comments here say
//! what is not obvious from there.
//!
//! Modules, in reading order: [`args`] how functions are declared, [`text`] and [`cast`] values to texts and numbers,
//! [`growth`] capacities of lists, [`walk`] through nested values, and then the functions by theme.

mod args;
mod text;
mod cast;
mod growth;
mod walk;
mod flow;
mod strings;
mod cases;
mod case_tables;
mod words;
mod lists;
mod dicts;
mod merge;
mod math;
mod json;
mod dates;
mod semver;
mod paths;
mod url;
mod encoding;
mod random;
mod regex;
mod crypto;

use crate::function::Function;
pub(crate) use json::own_form;

/// All functions, by theme.
pub const FUNCTIONS: &[&[Function]] = &[
    flow::FUNCTIONS,
    strings::FUNCTIONS,
    cases::FUNCTIONS,
    words::FUNCTIONS,
    lists::FUNCTIONS,
    dicts::FUNCTIONS,
    math::FUNCTIONS,
    json::FUNCTIONS,
    dates::FUNCTIONS,
    semver::FUNCTIONS,
    paths::FUNCTIONS,
    url::FUNCTIONS,
    encoding::FUNCTIONS,
    random::FUNCTIONS,
    regex::FUNCTIONS,
    crypto::FUNCTIONS,
];

#[cfg(test)]
mod tests;
