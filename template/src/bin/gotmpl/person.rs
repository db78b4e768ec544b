//! A template from a file, and values from another.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use keyferry_template::{Env, Options, Template};
use serde::Deserialize;

/// Prints the rendered template.
pub fn render(file: &Path, data: Option<&Path>, options: &Options) -> Result<(), String> {
    let text = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let values = data.map(values).transpose()?.unwrap_or_default();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let output = Template::parse(&name, text, options)
        .and_then(|template| template.render_strings(values, &mut Env::default()))
        .map_err(|error| error.with_detail())?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&output).and_then(|()| stdout.flush()).map_err(|error| error.to_string())
}

/// A Secret as it is written down.
#[derive(Deserialize)]
struct Secret {
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default, rename = "stringData")]
    string_data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
}

type Values = BTreeMap<String, Vec<u8>>;

fn values(file: &Path) -> Result<Values, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", file.display()))
}

fn parse(text: &str) -> Result<Values, String> {
    match serde_saphyr::from_str::<Kind>(text) {
        Ok(Kind { kind: Some(kind), api_version: Some(version) }) if kind == "Secret" && version == "v1" => {
            secret(text)
        }
        _ => {
            let flat = serde_saphyr::from_str::<BTreeMap<String, String>>(text);
            let flat = flat.map_err(|error| format!("not a file of keys and texts: {}", place(&error)))?;
            Ok(flat.into_iter().map(|(key, value)| (key, value.into_bytes())).collect())
        }
    }
}

/// What is wrong and where, without the lines around it: they hold values.
fn place(error: &serde_saphyr::Error) -> &serde_saphyr::Error {
    error.without_snippet()
}

fn secret(text: &str) -> Result<Values, String> {
    let secret: Secret = serde_saphyr::from_str(text).map_err(|error| format!("not a Secret: {}", place(&error)))?;
    let mut values = Values::new();
    for (key, value) in secret.data {
        let bytes = STANDARD.decode(value.trim()).map_err(|_| format!("the value of {key:?} is not base64"))?;
        values.insert(key, bytes);
    }
    values.extend(secret.string_data.into_iter().map(|(key, value)| (key, value.into_bytes())));
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_as_written() {
        let values =
            parse("user: admin\nport: 0123\nversion: 1.10\nflag: yes\nempty: \"\"\nmulti: |\n  a\n  b\n").unwrap();
        for (key, text) in [
            ("user", "admin"),
            ("port", "0123"),
            ("version", "1.10"),
            ("flag", "yes"),
            ("empty", ""),
            ("multi", "a\nb\n"),
        ] {
            assert_eq!(values[key], text.as_bytes(), "{key}");
        }
        for broken in [
            "a: s3cr3t\nb: [1]\n",
            "a: s3cr3t\nb: [\n",
            "a: s3cr3t: x\n",
            "a: \"s3cr3t\n",
            "- s3cr3t\n",
            "a: *s3cr3t\n",
        ] {
            let error = parse(broken).unwrap_err();
            assert!(error.contains("line") && !error.contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn a_secret_gives_its_data() {
        let values = parse("apiVersion: v1\nkind: Secret\ndata: {a: /w==}\nstringData: {b: text}\n").unwrap();
        assert_eq!(values["a"], [0xff]);
        assert_eq!(values["b"], b"text");
        assert!(parse("apiVersion: v1\nkind: Secret\ndata: {a: \"!\"}\n").is_err());
    }
}
