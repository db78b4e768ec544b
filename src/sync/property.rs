//! `remoteRef.property`: a path into a JSON value.
//!
//! External Secrets Operator takes gjson paths. Here are the dotted paths of it: keys and array indexes between dots,
//! `\.` for a dot inside a key. What else gjson would read into a path is refused by name, never answered wrongly.

use super::fields;
use keyferry_provider_core::{PropertyLookup, SecretBytes, json};

/// Why there is no value under a property.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// The value is not JSON, so that it has no properties.
    NotJson,
    /// There is nothing at this path.
    Missing,
    /// The path uses a part of the syntax that we don't read yet; here is the character.
    Unsupported(char),
}

/// Takes the value under `property` out of `value`: a string unquoted, an object or array as it stands, `null` as
/// nothing, a number as gjson prints it.
pub fn lookup(value: &SecretBytes, property: &str, how: PropertyLookup) -> Result<SecretBytes, Problem> {
    match how {
        PropertyLookup::Path => {}
        PropertyLookup::ExactThenPath => {
            if let Some(exact) = json::object(value.expose()).and_then(|mut all| all.remove(property)) {
                return Ok(json::to_bytes(exact));
            }
        }
        PropertyLookup::Base64Fields => {
            if let Some(field) = fields::one(value, property) {
                return Ok(field);
            }
            let (name, path) = property.split_once('.').ok_or(Problem::Missing)?;
            let field = fields::one(value, name).filter(|_| !path.is_empty()).ok_or(Problem::Missing)?;
            return follow(&field, path);
        }
        PropertyLookup::DottedKeyThenPath => {
            if property.contains('.')
                && let Ok(found) = follow(value, &property.replace('.', "\\."))
            {
                return Ok(found);
            }
        }
    }
    follow(value, property)
}

fn follow(value: &SecretBytes, property: &str) -> Result<SecretBytes, Problem> {
    let path = parse(property)?;
    let mut at = json::value(value.expose()).ok_or(Problem::NotJson)?;
    for part in &path {
        at = step(at, part).ok_or(Problem::Missing)?;
    }
    Ok(go_number(at.get()).unwrap_or_else(|| json::to_bytes(at)))
}

fn step<'a>(at: &'a serde_json::value::RawValue, part: &str) -> Option<&'a serde_json::value::RawValue> {
    let text = at.get().as_bytes();
    match text.first()? {
        b'{' => json::object(text)?.remove(part),
        b'[' => json::array(text)?.get(part.parse::<usize>().ok()?).copied(),
        _ => None,
    }
}

fn parse(property: &str) -> Result<Vec<String>, Problem> {
    let mut path = vec![String::new()];
    let mut chars = property.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => path.last_mut().expect("never empty").push(chars.next().unwrap_or('\\')),
            '.' => path.push(String::new()),
            // Wildcards, queries, modifiers, pipes, multipaths and literals.
            '*' | '?' | '#' | '|' => return Err(Problem::Unsupported(c)),
            '@' | '!' | '{' | '[' if path.last().is_some_and(String::is_empty) => return Err(Problem::Unsupported(c)),
            c => path.last_mut().expect("never empty").push(c),
        }
    }
    Ok(path)
}

/// Integers as they stand; other numbers through a double, shortest form without exponent.
fn go_number(text: &str) -> Option<SecretBytes> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    number.is_finite().then(|| SecretBytes::new(number.to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &str = r#"{"user":"bob","nested":{"deep":{"x":"y"}},"n":12345678901234567890,"f":1.50,"e":1e5,
        "t":true,"nul":null,"list":["a",{"c":"d"}],"dot.ted":"dv","dot":{"ted":"nested"},"empty":"","":"nokey","-1":-3}"#;

    fn get(property: &str, how: PropertyLookup) -> Result<String, Problem> {
        lookup(&DOC.into(), property, how).map(|value| value.expose_str().unwrap().to_owned())
    }

    #[test]
    fn paths() {
        for (property, expected) in [
            ("user", "bob"),
            ("nested.deep.x", "y"),
            ("nested", r#"{"deep":{"x":"y"}}"#),
            ("list.0", "a"),
            ("list.1.c", "d"),
            ("list", r#"["a",{"c":"d"}]"#),
            (r"dot\.ted", "dv"),
            ("dot.ted", "nested"),
            ("n", "12345678901234567890"),
            ("f", "1.5"),
            ("e", "100000"),
            ("-1", "-3"),
            ("t", "true"),
            ("nul", ""),
            ("empty", ""),
        ] {
            assert_eq!(get(property, PropertyLookup::Path).as_deref(), Ok(expected), "{property}");
        }
    }

    #[test]
    fn an_exact_key_wins_where_the_store_says_so() {
        assert_eq!(get("dot.ted", PropertyLookup::ExactThenPath).as_deref(), Ok("dv"));
        assert_eq!(get("nested.deep.x", PropertyLookup::ExactThenPath).as_deref(), Ok("y"));
        assert_eq!(get("f", PropertyLookup::ExactThenPath).as_deref(), Ok("1.50"));
    }

    #[test]
    fn a_dotted_key_wins_where_the_store_says_so() {
        let get = |property| get(property, PropertyLookup::DottedKeyThenPath);
        assert_eq!(get("dot.ted").as_deref(), Ok("dv"));
        assert_eq!(get(r"dot\.ted").as_deref(), Ok("dv"));
        assert_eq!(get("nested.deep.x").as_deref(), Ok("y"));
        // Unlike an exact key: numbers are printed as those along a path.
        assert_eq!(get("f").as_deref(), Ok("1.5"));
        assert_eq!(get("nested.nope"), Err(Problem::Missing));
        assert_eq!(get("nested.*"), Err(Problem::Unsupported('*')));
    }

    #[test]
    fn a_field_of_any_bytes() {
        // "dk", {"a":{"b":"c"}}, a byte that is no text, and an empty field
        let value = r#"{"dot.key":"ZGs=","dot":"eyJrZXkiOiJuZXN0ZWQiLCJhIjp7ImIiOiJjIn19","bin":"/w==","empty":""}"#;
        let get = |property| lookup(&value.into(), property, PropertyLookup::Base64Fields);
        for (property, expected) in
            [("dot.key", &b"dk"[..]), ("dot.a.b", b"c"), ("dot.a", br#"{"b":"c"}"#), ("bin", b"\xff"), ("empty", b"")]
        {
            assert_eq!(get(property).unwrap().expose(), expected, "{property}");
        }
        for property in ["nope", "nope.a", "dot.nope", "dot.", ".dot"] {
            assert_eq!(get(property), Err(Problem::Missing), "{property}");
        }
        assert_eq!(get("bin.a"), Err(Problem::NotJson));
    }

    #[test]
    fn what_is_not_there() {
        for property in ["nope", "user.x", "list.7", "list.x", "nested.deep.x.y", "list.-1"] {
            assert_eq!(get(property, PropertyLookup::Path), Err(Problem::Missing), "{property}");
        }
        assert_eq!(lookup(&"plain".into(), "a", PropertyLookup::Path), Err(Problem::NotJson));
        assert_eq!(lookup(&"plain".into(), "a", PropertyLookup::ExactThenPath), Err(Problem::NotJson));
    }

    #[test]
    fn other_syntax_is_refused_by_name() {
        for (property, c) in [
            ("list.#", '#'),
            ("us*", '*'),
            ("u?er", '?'),
            ("a|b", '|'),
            ("@this", '@'),
            ("{user,n}", '{'),
            ("!\"x\"", '!'),
        ] {
            assert_eq!(get(property, PropertyLookup::Path), Err(Problem::Unsupported(c)), "{property}");
        }
        assert_eq!(get("us@er", PropertyLookup::Path), Err(Problem::Missing));
    }
}
