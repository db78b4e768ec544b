//! The cases shared with other implementations, where they are at hand: `KEYFERRY_SHARED`, or `shared` next to the
//! repository.

use std::{fs, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use keyferry_template::{Env, Functions, MissingKey, Options, Template};
use serde_json::Value;

/// The cases, if they are here.
fn cases() -> Option<Value> {
    let shared = std::env::var_os("KEYFERRY_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let text = fs::read_to_string(shared.join("conformance/templates.json")).ok()?;
    Some(serde_json::from_str(&text).expect("the cases are JSON"))
}

#[test]
fn shared_cases() {
    let Some(shared) = cases() else {
        return;
    };
    let data: Vec<(&str, Vec<u8>)> = shared["data"]
        .as_object()
        .expect("data")
        .iter()
        .map(|(key, value)| (key.as_str(), STANDARD.decode(value.as_str().expect("text")).expect("base64")))
        .collect();
    let mut options = Options::new(Functions::standard().into());
    options.missing_key = MissingKey::Error;
    let cases = shared["cases"].as_array().expect("cases");
    assert!(!cases.is_empty());
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let text = case["template"].as_str().expect("a template");
            let rendered = Template::parse("k", text, &options)
                .and_then(|template| template.render_strings(data.clone(), &mut Env::default()));
            let expected = STANDARD.decode(case["output"].as_str().unwrap_or_default()).expect("base64");
            match (&rendered, case["ok"].as_bool()) {
                (Ok(output), Some(true)) if **output == expected => None,
                (Err(_), Some(false)) => None,
                _ => Some(format!("{} {text}: {:?}", case["id"], rendered.map(|_| "another output"))),
            }
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), cases.len(), failed.join("\n"));
}
