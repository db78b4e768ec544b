//! Data as one text: `.env` and JSON. Pure.

use keyferry_provider_core::json::write_plain_string;
use keyferry_provider_core::{SecretBuf, SecretBytes};

use crate::contents::Data;
use crate::problem::Problem;

/// A line for each key, as a POSIX shell reads it; docker compose and systemd read the same. What they would not read alike is
/// refused.
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
    use std::collections::BTreeMap;

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

    /// What the variables of a file are by the rules of systemd's EnvironmentFile: a value may be quoted in parts; between single quotes
    /// all stands for itself, between double quotes a backslash escapes `"`, `\\`, `` ` `` and `$`, and elsewhere whatever follows; around a
    /// bare value blanks go.
    fn read_by_systemd(text: &str) -> BTreeMap<String, String> {
        let (mut all, mut rest) = (BTreeMap::new(), text.chars().peekable());
        while rest.peek().is_some() {
            let name: String = rest.by_ref().take_while(|c| *c != '=').collect();
            let (mut value, mut bare) = (String::new(), String::new());
            while let Some(c) = rest.next() {
                match c {
                    '\n' => break,
                    '\'' => value.extend(rest.by_ref().take_while(|c| *c != '\'')),
                    '"' => {
                        while let Some(c) = rest.next().filter(|c| *c != '"') {
                            let escaped = rest.next_if(|next| c == '\\' && "\"\\`$".contains(*next));
                            value.push(escaped.unwrap_or(c));
                        }
                    }
                    '\\' => bare.extend(rest.next()),
                    c => bare.push(c),
                }
            }
            value.push_str(bare.trim());
            all.insert(name, value);
        }
        all
    }

    /// The same by those of docker compose: a quoted value ends at the next such quote that no backslash escapes, one that is escaped loses
    /// its backslash. Between single quotes all else stands for itself; between double quotes a backslash begins what it does in Go, and
    /// `$` a variable unless it is escaped. A bare value ends at the end of the line, or at ` #`.
    fn read_by_compose(text: &str) -> BTreeMap<String, String> {
        let (mut all, mut rest) = (BTreeMap::new(), text.chars().peekable());
        while rest.peek().is_some() {
            let name: String = rest.by_ref().take_while(|c| *c != '=').collect();
            let Some(quote) = rest.next_if(|c| "'\"".contains(*c)) else {
                let line: String = rest.by_ref().take_while(|c| *c != '\n').collect();
                assert!(!line.contains('$'), "a variable is looked for");
                all.insert(name, line.split(" #").next().unwrap().trim().to_owned());
                continue;
            };
            let mut value = String::new();
            while let Some(c) = rest.next().filter(|c| *c != quote) {
                let escaped = if c == '\\' { rest.next() } else { None };
                match (escaped, quote) {
                    (Some(next), _) if next == quote => value.push(next),
                    (Some(next), '\'') => value.extend([c, next]),
                    (Some(next), _) => {
                        assert!("\\$".contains(next), "it would be another character");
                        value.push(next);
                    }
                    (None, quote) => {
                        assert!(quote == '\'' || c != '$', "a variable is looked for");
                        value.push(c);
                    }
                }
            }
            assert_eq!(rest.next(), Some('\n'), "something follows the quote");
            all.insert(name, value);
        }
        all
    }

    #[test]
    fn compose_and_systemd_read_what_was_written_by_their_rules() {
        for (text, value) in [("A=x y \n", "x y"), ("A='a\\b'\n", "a\\b"), ("A=\"a\\\"b\"\n", "a\"b")] {
            let expected = BTreeMap::from([("A".to_owned(), value.to_owned())]);
            assert_eq!(
                (read_by_systemd(text), read_by_compose(text)),
                (expected.clone(), expected),
                "the readers themselves"
            );
        }
        assert_eq!(read_by_systemd("A='a'\"b\"c\\ d\n")["A"], "abc d");
        assert_eq!(read_by_compose("A=a # why\nB='x'\n")["A"], "a");
        for value in VALUES {
            let env = env(&data(&[("A", b"x"), ("K_1", value), ("Z", b"y")])).unwrap();
            let expected = [("A", "x"), ("K_1", std::str::from_utf8(value).unwrap()), ("Z", "y")];
            let expected: BTreeMap<String, String> =
                expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let text = env.expose_str().unwrap();
            assert_eq!(read_by_systemd(text), expected, "{text}");
            assert_eq!(read_by_compose(text), expected, "{text}");
        }
    }

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
