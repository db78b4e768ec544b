//! Our side, behind the face of the oracle.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use keyferry_template::{Clock, Env, Functions, MissingKey, Options, Template};

use super::{Answer, Data, NOW, oracle};

/// The clock that both engines see.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }
}

/// How our engine reads templates with those flags of the oracle.
pub fn options(flags: &oracle::Options) -> Options {
    let mut options = Options::new(Arc::new(Functions::standard()));
    options.left_delim = flags.left.clone().unwrap_or_default();
    options.right_delim = flags.right.clone().unwrap_or_default();
    options.missing_key = match flags.missingkey.as_deref() {
        None | Some("error") => MissingKey::Error,
        Some("zero") => MissingKey::Zero,
        Some(_) => MissingKey::Default,
    };
    options
}

/// What our engine makes of each template.
pub fn ask<S: AsRef<str>>(templates: &[S], data: &Data, flags: &oracle::Options) -> Vec<Answer> {
    let options = options(flags);
    templates.iter().map(|template| render(template.as_ref().as_bytes(), data, &options)).collect()
}

/// What our engine makes of one template.
pub fn one(template: &str, data: &Data, flags: &oracle::Options) -> Answer {
    render(template.as_bytes(), data, &options(flags))
}

/// The same, for those who have read the flags.
pub fn render(template: &[u8], data: &Data, options: &Options) -> Answer {
    let mut env = Env { clock: &Stopped, ..Env::default() };
    let rendered =
        Template::parse("template", template, options).and_then(|template| template.render_strings(data, &mut env));
    match rendered {
        Ok(output) => Answer::Output(output.to_vec()),
        Err(error) => Answer::Error(error.with_detail()),
    }
}
