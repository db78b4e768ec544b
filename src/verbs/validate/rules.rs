//! The admission rules of the schemas (CEL), judged as an API server judges an object that is new.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use cel::{Context, Env, Program, Value, extensions};
use serde_json::Value as Json;

/// The language, with the functions that Kubernetes adds and our rules use.
static LANGUAGE: LazyLock<Option<Arc<Env>>> = LazyLock::new(|| {
    let mut language = Env::stdlib();
    language.add_extension(extensions::strings).ok()?;
    Some(Arc::new(language))
});

/// How many rules were compiled by this process: each once, however many objects there are.
pub static COMPILED: AtomicUsize = AtomicUsize::new(0);

type Programs = HashMap<String, Option<Arc<Program>>>;

fn program(rule: &str) -> Option<Arc<Program>> {
    static PROGRAMS: LazyLock<Mutex<Programs>> = LazyLock::new(Mutex::default);
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = programs.get(rule) {
        return program.clone();
    }
    COMPILED.fetch_add(1, Ordering::Relaxed);
    let program = LANGUAGE.as_ref().and_then(|language| language.compile(rule).ok()).map(Arc::new);
    programs.insert(rule.to_owned(), program.clone());
    program
}

/// What comes of an expression over a node that is new; `None` where the API server would call it an error, or where it
/// compares with what was there before.
pub fn evaluate(rule: &Json, expression: &str, node: &Json) -> Option<Value> {
    let knows_old = expression.contains("oldSelf");
    if knows_old && rule["optionalOldSelf"] != true {
        return None;
    }
    let mut context = Context::with_env(LANGUAGE.clone()?);
    context.add_variable("self", node).ok()?;
    if knows_old {
        let none = program("optional.none()")?.execute(&context).ok()?;
        context.add_variable_from_value("oldSelf", none);
    }
    program(expression)?.execute(&context).ok()
}

/// What a rule says of a node that breaks it; `None` where it does not, or where it is for changes only.
pub fn broken(rule: &Json, node: &Json) -> Option<String> {
    if evaluate(rule, rule["rule"].as_str()?, node)? != Value::Bool(false) {
        return None;
    }
    let worded = rule["messageExpression"].as_str().and_then(|expression| evaluate(rule, expression, node));
    Some(match worded {
        Some(Value::String(message)) => message.to_string(),
        _ => rule["message"].as_str().unwrap_or("a rule of the kind refuses it").to_owned(),
    })
}
