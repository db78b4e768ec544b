//! Data as one text: `.env`, for two kinds of readers, and JSON. Pure.

use keyferry_provider_core::json::write_plain_string;
use keyferry_provider_core::{SecretBuf, SecretBytes};

use crate::contents::Data;
use crate::problem::Problem;

/// A line for each key, as a POSIX shell reads it; docker compose and systemd read the same. What they would not read alike is
/// refused.
pub fn env(data: &Data) -> Result<SecretBytes, Problem> {
    let mut text = SecretBuf::default();
    for (name, value) in data {
        check_variable(name, value)?;
        // docker compose takes it for the end of a line, between quotes too.
        if value.expose().windows(2).any(|pair| pair == b"\r\n") {
            return Err(Problem::new(
                "one of its values has line ends of Windows (\\r\\n), which not all readers of variables keep: write them as \\n, \
                 or use --format files, json or yaml",
            ));
        }
        text.extend(name.as_bytes());
        text.push(b'=');
        quote(value.expose(), &mut text)?;
        text.push(b'\n');
    }
    Ok(text.into())
}

/// What a reader that reads line by line takes at most for one of them: Go's `bufio.Scanner`.
const LONGEST_LINE: usize = 64 << 10;

/// A line for each key with the value as it is: `docker run --env-file` and `kubectl create --from-env-file` know no quotes, and
/// what they could not read is refused.
pub fn docker_env(data: &Data) -> Result<SecretBytes, Problem> {
    let mut text = SecretBuf::default();
    for (name, value) in data {
        check_variable(name, value)?;
        let bytes = value.expose();
        if bytes.contains(&b'\n') || bytes.ends_with(b"\r") {
            return Err(Problem::new(
                "one of its values has several lines, or ends with a carriage return, which docker's --env-file can't hold: use \
                 --format files, json or yaml, or env for docker compose",
            ));
        }
        if value.expose_str().is_none() {
            return Err(Problem::new(
                "one of its values is no text in UTF-8, which docker's --env-file can't hold: use --format files or yaml",
            ));
        }
        if name.len() + 1 + bytes.len() >= LONGEST_LINE {
            return Err(Problem::new(
                "one of its values is longer than the 64 KiB of a line of docker's --env-file: use --format files, json or yaml",
            ));
        }
        text.extend(name.as_bytes());
        text.push(b'=');
        text.extend(bytes);
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
        write_plain_string(name, &mut text);
        text.extend(b": ");
        write_plain_string(value, &mut text);
    }
    text.extend(if data.is_empty() { b"}\n" } else { b"\n}\n" });
    Ok(text.into())
}

/// Refuses what no variable can be, whoever reads it.
fn check_variable(name: &str, value: &SecretBytes) -> Result<(), Problem> {
    if !is_variable(name) {
        return Err(Problem::new(
            "one of its keys is no name of a variable (letters, digits and '_', not a digit first): name keys so with \
             secretKey, rewrite or a template, or use another format",
        ));
    }
    if value.expose().contains(&0) {
        return Err(Problem::new("one of its values holds a null byte, which no variable can: use another format"));
    }
    Ok(())
}

fn is_variable(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(fine) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Bare where nothing in it means anything, else between single quotes, else between double quotes.
fn quote(value: &[u8], text: &mut SecretBuf) -> Result<(), Problem> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,=".contains(byte);
    if value.iter().all(is_plain) {
        text.extend(value);
    } else if std::str::from_utf8(value).is_err() {
        return Err(Problem::new(
            "one of its values is no text in UTF-8, which not all readers of variables take: use --format files or yaml",
        ));
    } else if !value.contains(&b'\'') && !value.ends_with(b"\\") {
        // docker compose takes a quote behind a backslash for one of the value, between single quotes too.
        text.push(b'\'');
        text.extend(value);
        text.push(b'\'');
    } else if value.contains(&b'`') {
        // A shell must be kept from it by a backslash, which docker compose would leave there.
        return Err(Problem::new(
            "one of its values has a backtick, and also a single quote or a backslash at its end, which not all readers of \
             variables read alike: use --format files, json or yaml",
        ));
    } else {
        text.push(b'"');
        for byte in value {
            if b"\"\\$".contains(byte) {
                text.push(b'\\');
            }
            text.push(*byte);
        }
        text.push(b'"');
    }
    Ok(())
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
        for value in VALUES {
            let env = env(&data(&[("A", b"x"), ("K_1", value), ("Z", b"y")])).unwrap();
            assert_eq!(read_by_sh(&env, "K_1"), value, "{:?}", env.expose());
            assert_eq!(read_by_sh(&env, "Z"), b"y");
        }
    }

    const VALUES: [&[u8]; 16] = [
        b"carriage\rreturn\r",
        b"\n\r",
        b"",
        b"plain-1.2/3",
        b"two words",
        b"a$HOME`id`\\n\"",
        b"it's",
        b"it's $HOME \\ \"q\" \\\\",
        b"ends so \\",
        b"$HOME's \\\\\"",
        b"line 1\nline 2\n'quoted'",
        b"#no comment",
        b"a=b=c==",
        b"~root",
        b"tab\there",
        "\u{e4} \u{2028}".as_bytes(),
    ];

    #[test]
    fn what_a_variable_can_not_be_is_refused_and_not_told() {
        for (name, value) in [
            ("db-password", &b"x"[..]),
            ("1A", b"x"),
            ("", b"x"),
            ("canary\n", b"x"),
            ("A", b"a\0b"),
            ("A", b"\xff\xfecanary"),
            ("A", b"canary's `id`"),
            ("A", b"`canary` \\"),
            ("A", b"canary\r\n"),
            ("A", b"'one'\r\ncanary"),
        ] {
            let problem = env(&data(&[(name, value)])).unwrap_err().to_string();
            assert!(!problem.contains("canary") && !problem.contains("db-password"), "{problem}");
            assert!(problem.contains("use"), "{problem}");
        }
    }

    #[test]
    fn what_docker_can_not_read_is_refused_and_not_told() {
        let longest = vec![b'c'; LONGEST_LINE - 3];
        let written = docker_env(&data(&[("A", b" it's \"q\" $1\r."), ("B", b""), ("C", &longest)])).unwrap();
        assert!(written.expose().starts_with(b"A= it's \"q\" $1\r.\nB=\nC=cc"));
        let longer = vec![b'c'; LONGEST_LINE - 2];
        for (name, value) in [
            ("db-password", &b"x"[..]),
            ("A", b"a\0b"),
            ("A", b"canary\nx"),
            ("A", b"canary\r"),
            ("A", b"\xff\xfecanary"),
            ("A", &longer),
        ] {
            let problem = docker_env(&data(&[(name, value)])).unwrap_err().to_string();
            assert!(!problem.contains("canary") && problem.contains("use"), "{problem}");
        }
    }

    #[test]
    fn quotes_are_such_as_all_readers_know() {
        for (value, line) in [
            (&b"two words"[..], "A='two words'\n"),
            (b"`id`", "A='`id`'\n"),
            (b"a\\b c", "A='a\\b c'\n"),
            (b"ends so \\", "A=\"ends so \\\\\"\n"),
            (b"it's $1", "A=\"it's \\$1\"\n"),
        ] {
            assert_eq!(env(&data(&[("A", value)])).unwrap().expose_str(), Some(line));
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
