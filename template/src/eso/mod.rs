//! The functions that External Secrets Operator adds to sprig's.
//!
//! Modules, in reading order: [`mod@yaml`] `toYaml` and `fromYaml`.

mod yaml;

use crate::{
    function::{Function, f},
    sig,
};

/// ESO's own functions.
pub const FUNCTIONS: &[Function] = &[
    f("toYaml", sig!(any => string), yaml::to_yaml),
    f("fromYaml", sig!(string => dict), yaml::from_yaml),
];
