//! Our side, behind the face of the oracle.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use keyferry_template::{Clock, Env, Functions, MissingKey, Options, Template, Value};

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
    let (options, root) = (options(flags), root(data));
    templates.iter().map(|template| render(template.as_ref().as_bytes(), &root, &options)).collect()
}

/// What our engine makes of one template.
pub fn one(template: &str, data: &Data, flags: &oracle::Options) -> Answer {
    render(template.as_bytes(), &root(data), &options(flags))
}

/// The data as templates see them.
pub fn root(data: &Data) -> Value {
    Value::string_map(data.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
}

/// The same, for those who have read the flags.
pub fn render(template: &[u8], root: &Value, options: &Options) -> Answer {
    let mut env = Env { clock: &Stopped, ..Env::default() };
    let rendered = Template::parse("template", template, options).and_then(|template| template.render(root, &mut env));
    match rendered {
        Ok(output) => Answer::Output(output.to_vec()),
        Err(error) => Answer::Error(error.with_detail()),
    }
}
