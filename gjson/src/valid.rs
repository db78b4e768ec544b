//! Whether text is JSON, without a stack that its nesting could overflow.

/// Whether `json` is one JSON value, blanks around it allowed. Strings may hold bytes that are no UTF-8.
pub fn valid(json: &[u8]) -> bool {
    check(json).is_some()
}

fn check(json: &[u8]) -> Option<()> {
    let mut open: Vec<u8> = Vec::new();
    let mut at = blanks(json, 0);
    'value: loop {
        match *json.get(at)? {
            bracket @ (b'{' | b'[') => {
                at = blanks(json, at + 1);
                let close = if bracket == b'{' { b'}' } else { b']' };
                if json.get(at) == Some(&close) {
                    at += 1;
                } else {
                    open.push(bracket);
                    if bracket == b'{' {
                        at = key(json, at)?;
                    }
                    continue 'value;
                }
            }
            b'"' => at = string(json, at)?,
            b'-' | b'0'..=b'9' => at = number(json, at)?,
            b't' => at = word(json, at, b"true")?,
            b'f' => at = word(json, at, b"false")?,
            b'n' => at = word(json, at, b"null")?,
            _ => return None,
        }
        // A value has ended, and perhaps what it is in.
        loop {
            at = blanks(json, at);
            let Some(bracket) = open.last() else { return (at == json.len()).then_some(()) };
            match (*json.get(at)?, bracket) {
                (b',', b'{') => {
                    at = key(json, blanks(json, at + 1))?;
                    continue 'value;
                }
                (b',', _) => {
                    at = blanks(json, at + 1);
                    continue 'value;
                }
                (b'}', b'{') | (b']', b'[') => {
                    open.pop();
                    at += 1;
                }
                _ => return None,
            }
        }
    }
}

fn blanks(json: &[u8], at: usize) -> usize {
    let rest = json.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// Reads a key and its colon, and the blanks after it.
fn key(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'"') {
        return None;
    }
    let at = blanks(json, string(json, at)?);
    (json.get(at) == Some(&b':')).then(|| blanks(json, at + 1))
}

fn string(json: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match *json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match *json.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' if json.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                _ => return None,
            },
            0..b' ' => return None,
            _ => at += 1,
        }
    }
}

fn number(json: &[u8], at: usize) -> Option<usize> {
    let digits = |at: usize| {
        let rest = json.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let some_digits = |at: usize| Some(digits(at)).filter(|end| *end > at);
    let from = at + usize::from(json[at] == b'-');
    let mut at = if json.get(from) == Some(&b'0') { from + 1 } else { some_digits(from)? };
    if json.get(at) == Some(&b'.') {
        at = some_digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = json.get(at) {
        at += 1;
        at = some_digits(at + usize::from(matches!(json.get(at), Some(b'+' | b'-'))))?;
    }
    Some(at)
}

fn word(json: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    json[at..].starts_with(word).then_some(at + word.len())
}

#[cfg(test)]
mod tests {
    use super::valid;

    #[test]
    fn json_and_what_is_not() {
        for json in [
            "{}",
            " [ ] ",
            "[1,{\"a\":[null,true,false]}]\n",
            "-0.1e+5",
            "0",
            "\"\\u00e9\\n\"",
            "\"\u{7f}\"",
            "[[],{}]",
        ] {
            assert!(valid(json.as_bytes()), "{json}");
        }
        for json in [
            "",
            " ",
            "{",
            "]",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1}",
            "{\"a\":1]",
            "01",
            "1.",
            "-",
            "1e",
            "+1",
            ".5",
            "nul",
            "truex",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "1 2",
            "[1 2]",
            "nan",
        ] {
            assert!(!valid(json.as_bytes()), "{json}");
        }
    }
}
