//! Our side, behind the face of the oracle.

use super::{Answer, Data, oracle::Options};

/// What our engine makes of each template.
pub fn ask<S: AsRef<str>>(templates: &[S], data: &Data, options: &Options) -> Vec<Answer> {
    templates.iter().map(|template| one(template.as_ref(), data, options)).collect()
}

/// What our engine makes of one template.
pub fn one(_template: &str, _data: &Data, _options: &Options) -> Answer {
    Answer::Error("not yet".to_owned())
}
