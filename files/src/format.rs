//! Data as one text: `.env` and JSON. Pure.

use keyferry_provider_core::{SecretBuf, SecretBytes};
use zeroize::Zeroizing;

use crate::contents::Data;
use crate::problem::Problem;

/// A line for each key, as a POSIX shell reads it; docker compose and systemd read the same.
pub fn env(data: &Data) -> Result<SecretBytes, Problem> {
    let mut text = SecretBuf::default();
    for (name, value) in data {
        if !is_variable(name) {
            return Err(Problem::new(
                "one of its keys is no name of a variable (letters, digits and '_', not a digit first): name keys so with \
                 secretKey, rewrite or a template, or use another format",
            ));
        }
        if value.expose().contains(&0) {
            return Err(Problem::new("one of its values holds a null byte, which no variable can: use another format"));
        }
        text.extend(name.as_bytes());
        text.push(b'=');
        quote(value.expose(), &mut text);
        text.push(b'\n');
    }
    Ok(text.into())
}

/// A JSON object of texts.
pub fn json(data: &Data) -> Result<SecretBytes, Problem> {
    let mut text = SecretBuf::default();
    text.push(b'{');
    for (n, (name, value)) in data.iter().enumerate() {
        let value = value.expose_str().ok_or_else(|| {
            Problem::new("one of its values is no text in UTF-8, which JSON can't hold: use another format")
        })?;
        text.extend(if n == 0 { b"\n  " } else { b",\n  " });
        push_json(name, &mut text);
        text.extend(b": ");
        push_json(value, &mut text);
    }
    text.extend(if data.is_empty() { b"}\n" } else { b"\n}\n" });
    Ok(text.into())
}

fn push_json(value: &str, text: &mut SecretBuf) {
    let quoted = Zeroizing::new(serde_json::Value::from(value).to_string());
    text.extend(quoted.as_bytes());
}

fn is_variable(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(fine) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Bare where nothing in it means anything, else between single quotes, else between double quotes.
fn quote(value: &[u8], text: &mut SecretBuf) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,=".contains(byte);
    if value.iter().all(is_plain) {
        text.extend(value);
    } else if !value.contains(&b'\'') {
        text.push(b'\'');
        text.extend(value);
        text.push(b'\'');
    } else {
        text.push(b'"');
        for byte in value {
            if b"\"\\$`".contains(byte) {
                text.push(b'\\');
            }
            text.push(*byte);
        }
        text.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(values: &[(&str, &[u8])]) -> Data {
        values.iter().map(|(name, value)| ((*name).to_owned(), SecretBytes::new(value.to_vec()))).collect()
    }

    /// What a shell makes of it.
    fn read_by_sh(env: &SecretBytes, name: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("env"), env.expose()).unwrap();
        let script = format!("set -eu; . ./env; printf %s \"${name}\"");
        let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    #[test]
    fn a_shell_reads_what_was_written() {
        let values: [&[u8]; 12] = [
            b"",
            b"plain-1.2/3",
            b"two words",
            b"a$HOME`id`\\n\"",
            b"it's",
            b"it's $HOME `id` \\ \"q\" \\\\",
            b"line 1\nline 2\n'quoted'",
            b"#no comment",
            b"a=b=c==",
            b"~root",
            b"tab\there",
            &[0xff, 0xfe, b'a'],
        ];
        for value in values {
            let env = env(&data(&[("A", b"x"), ("K_1", value), ("Z", b"y")])).unwrap();
            assert_eq!(read_by_sh(&env, "K_1"), value, "{:?}", env.expose());
            assert_eq!(read_by_sh(&env, "Z"), b"y");
        }
    }

    #[test]
    fn what_a_variable_can_not_be_is_refused_and_not_told() {
        for (name, value) in [("db-password", &b"x"[..]), ("1A", b"x"), ("", b"x"), ("canary\n", b"x"), ("A", b"a\0b")]
        {
            let problem = env(&data(&[(name, value)])).unwrap_err().to_string();
            assert!(!problem.contains("canary") && !problem.contains("db-password"), "{problem}");
        }
    }

    #[test]
    fn json_is_an_object_of_texts() {
        let text = json(&data(&[("a", b"x"), ("b\"", "ä\n\"q\"".as_bytes())])).unwrap();
        let read: serde_json::Value = serde_json::from_slice(text.expose()).unwrap();
        assert_eq!(read, serde_json::json!({"a": "x", "b\"": "ä\n\"q\""}));
        assert_eq!(json(&Data::new()).unwrap().expose(), b"{}\n");
        assert!(json(&data(&[("a", &[0xff])])).is_err());
    }
}
