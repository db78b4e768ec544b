//! JSON lines in, JSON lines out, in order. A line that is no request gets an error of its own.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use keyferry_template::{Env, Options, Template};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Answers every line.
pub fn answer(input: impl Read, output: impl Write, options: &Options, details: bool) -> io::Result<()> {
    let mut input = BufReader::new(input);
    let mut output = BufWriter::new(output);
    let mut line = Zeroizing::new(Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return output.flush();
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let answer = match one(&line, options, details) {
            Ok(output) => json!({"ok": true, "output": STANDARD.encode(&*output)}),
            Err(error) => json!({"ok": false, "error": error}),
        };
        writeln!(output, "{answer}")?;
        // Who sends one line and waits for its answer gets it; who sends many does not pay for that.
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
}

fn one(line: &[u8], options: &Options, details: bool) -> Result<Zeroizing<Vec<u8>>, String> {
    let request: Value = serde_json::from_slice(line).map_err(|error| format!("the line is not JSON: {error}"))?;
    let text = match request.get("template") {
        Some(Value::String(text)) => text,
        _ => return Err("the line has no text \"template\"".to_owned()),
    };
    let data = match request.get("data") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(entries)) => {
            entries.iter().map(|(key, value)| decode(key, value)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err("\"data\" is not an object".to_owned()),
    };
    let rendered =
        Template::parse("k", text, options).and_then(|template| template.render_strings(data, &mut Env::default()));
    rendered.map_err(|error| if details { error.with_detail() } else { error.to_string() })
}

fn decode<'a>(key: &'a str, value: &Value) -> Result<(&'a str, Zeroizing<Vec<u8>>), String> {
    let text = value.as_str().ok_or_else(|| format!("the value of {key:?} is not a text"))?;
    match STANDARD.decode(text) {
        Ok(bytes) => Ok((key, Zeroizing::new(bytes))),
        Err(_) => Err(format!("the value of {key:?} is not base64")),
    }
}
