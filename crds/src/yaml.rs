//! Just enough YAML to write objects: block style, keys in alphabetical order, and the same bytes every time.

use std::io::{self, Write};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// A CRD as a YAML document.
pub fn yaml(crd: &CustomResourceDefinition) -> String {
    let value = serde_json::to_value(crd).expect("a CRD is plain data");
    document(&value)
}

/// Any object as a YAML document.
pub fn document(value: &Value) -> String {
    let mut out = Vec::new();
    write_document(&mut out, value).expect("memory takes everything");
    String::from_utf8(out).expect("YAML is text")
}

/// Writes any object as a YAML document. Of what it holds no copy is made on the way: values may be secret.
pub fn write_document(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    block(out, value, 0)
}

/// Writes `value` as lines that begin at column `indent`. The first line is expected to be there already, up to
/// `indent`.
fn block(out: &mut dyn Write, value: &Value, indent: usize) -> io::Result<()> {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            for (at, name) in names.into_iter().enumerate() {
                if at > 0 {
                    pad(out, indent)?;
                }
                scalar(out, name)?;
                out.write_all(b":")?;
                match &fields[name] {
                    // A list stands at the column of its key, as kubectl and controller-gen write it.
                    child @ Value::Array(items) if !items.is_empty() => start(out, child, indent)?,
                    child @ Value::Object(fields) if !fields.is_empty() => start(out, child, indent + 2)?,
                    child => {
                        out.write_all(b" ")?;
                        line(out, child)?;
                    }
                }
            }
            Ok(())
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    pad(out, indent)?;
                }
                out.write_all(b"- ")?;
                block(out, item, indent + 2)?;
            }
            Ok(())
        }
        value => line(out, value),
    }
}

fn start(out: &mut dyn Write, child: &Value, indent: usize) -> io::Result<()> {
    out.write_all(b"\n")?;
    pad(out, indent)?;
    block(out, child, indent)
}

fn pad(out: &mut dyn Write, indent: usize) -> io::Result<()> {
    write!(out, "{:indent$}", "")
}

/// The rest of a line that holds one value.
fn line(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    match value {
        Value::String(text) => scalar(out, text)?,
        // Numbers, booleans, null and what is empty read the same in JSON and YAML.
        other => write!(out, "{other}")?,
    }
    out.write_all(b"\n")
}

/// A string: plain where no reader could take it for anything else, in double quotes (JSON's are YAML's) elsewhere.
fn scalar(out: &mut dyn Write, text: &str) -> io::Result<()> {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if plain { out.write_all(text.as_bytes()) } else { Ok(serde_json::to_writer(out, text)?) }
}
