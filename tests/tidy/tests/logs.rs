//! Log lines: no field bears a name that the JSON format itself uses, since a line would have that key twice, of which
//! parsers keep one.

use keyferry_tidy::{files, read};

/// The keys of a line that are not an event's own fields.
const RESERVED: [&str; 9] =
    ["timestamp", "level", "message", "target", "span", "spans", "fields", "filename", "line_number"];

/// What stands between the parentheses of each macro that logs.
fn events(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("tracing::") {
        let rest = &source[at + "tracing::".len()..];
        let Some(open) =
            rest.find("!(").filter(|open| ["trace", "debug", "info", "warn", "error"].contains(&&rest[..*open]))
        else {
            continue;
        };
        let (mut depth, mut in_text, mut escaped) = (0, false, false);
        for (n, letter) in rest[open + 1..].char_indices() {
            match letter {
                _ if escaped => escaped = false,
                '\\' if in_text => escaped = true,
                '"' => in_text = !in_text,
                '(' | '[' | '{' if !in_text => depth += 1,
                ')' | ']' | '}' if !in_text => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                found.push(&rest[open + 2..open + 1 + n]);
                break;
            }
        }
    }
    found
}

/// The names of the fields of an event: `name = value`, `%name`, `?name` or `name`, up to the message.
fn fields(event: &str) -> Vec<String> {
    let before_message = event.split('"').next().unwrap_or_default();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in before_message.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {}
        }
        if (letter != ',' || depth > 0)
            && let Some(part) = parts.last_mut()
        {
            part.push(letter);
        }
    }
    let name = |part: String| {
        let name = part.split('=').next().unwrap_or_default().trim().trim_start_matches(['%', '?']);
        name.rsplit('.').next().unwrap_or_default().to_owned()
    };
    parts.into_iter().map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn no_field_bears_a_name_of_the_format() {
    let mut seen = 0;
    for file in files(".").iter().filter(|file| file.ends_with(".rs") && !file.starts_with("tests/")) {
        let source = read(file);
        for event in events(&source) {
            seen += 1;
            for field in fields(event) {
                assert!(
                    !RESERVED.contains(&field.as_str()),
                    "{file}: a log line has {field:?} twice: tracing::…!({event})"
                );
            }
        }
    }
    assert!(seen > 20, "the check found its subjects: {seen}");
}

#[test]
fn the_check_finds_what_it_looks_for() {
    let source =
        r#"tracing::info!(namespace, target = es.name(a, b), %level, "x {message}"); tracing::warn!("{}", level)"#;
    let found: Vec<String> = events(source).into_iter().flat_map(fields).collect();
    assert_eq!(found, ["namespace", "target", "level"]);
}
