//! Just enough YAML to write objects: block style, keys in alphabetical order, and the same bytes every time.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// A CRD as a YAML document.
pub fn yaml(crd: &CustomResourceDefinition) -> String {
    let value = serde_json::to_value(crd).expect("a CRD is plain data");
    document(&value)
}

/// Any object as a YAML document.
pub fn document(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    out
}

/// Writes `value` as lines that begin at column `indent`. The first line is expected to be there already, up to
/// `indent`.
fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            for (at, name) in names.into_iter().enumerate() {
                if at > 0 {
                    pad(out, indent);
                }
                out.push_str(&scalar(name));
                out.push(':');
                match &fields[name] {
                    // A list stands at the column of its key, as kubectl and controller-gen write it.
                    child @ Value::Array(items) if !items.is_empty() => start(out, child, indent),
                    child @ Value::Object(fields) if !fields.is_empty() => start(out, child, indent + 2),
                    child => line(out, child),
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    pad(out, indent);
                }
                out.push_str("- ");
                block(out, item, indent + 2);
            }
        }
        value => {
            out.push_str(&inline(value));
            out.push('\n');
        }
    }
}

fn start(out: &mut String, child: &Value, indent: usize) {
    out.push('\n');
    pad(out, indent);
    block(out, child, indent);
}

fn line(out: &mut String, value: &Value) {
    writeln!(out, " {}", inline(value)).expect("a string takes everything");
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        // Numbers, booleans, null and what is empty read the same in JSON and YAML.
        other => other.to_string(),
    }
}

/// A string: plain where no reader could take it for anything else, in double quotes (JSON's are YAML's) elsewhere.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null" | "none"
        );
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}
