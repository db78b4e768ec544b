//! Log lines, as parsers read them: of a key that stands there twice they keep one.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// The keys that a line repeats.
struct Repeated(Vec<String>);

impl<'de> Deserialize<'de> for Repeated {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Repeated;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a log line")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Repeated, M::Error> {
                let (mut seen, mut repeated) = (BTreeSet::new(), Vec::new());
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if !seen.insert(key.clone()) {
                        repeated.push(key);
                    }
                }
                Ok(Repeated(repeated))
            }
        }
        input.deserialize_map(Keys)
    }
}

/// The lines of a log that a parser does not read as they were meant, each with what is wrong: it is no JSON, or a key
/// stands in it twice. Of a process that was killed a line may be cut: so many may be no JSON.
pub fn faulty(log: &str, cut: usize) -> Vec<String> {
    let (mut faulty, mut broken) = (Vec::new(), Vec::new());
    for line in log.lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str::<Repeated>(line) {
            Ok(Repeated(repeated)) if repeated.is_empty() => {}
            Ok(Repeated(repeated)) => faulty.push(format!("{repeated:?} twice: {line}")),
            Err(_) => broken.push(format!("no JSON: {line}")),
        }
    }
    if broken.len() > cut {
        faulty.append(&mut broken);
    }
    faulty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_would_be_misread_is_found() {
        let log = "{\"a\":1,\"b\":{\"a\":2}}\n{\"target\":\"x\",\"level\":\"INFO\",\"target\":\"y\"}\n\n{\"cut\":";
        let found = faulty(log, 1);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("[\"target\"] twice: "), "{found:?}");
        let found = faulty(log, 0);
        assert_eq!(found.len(), 2);
        assert!(found[1].starts_with("no JSON: {\"cut"), "{found:?}");
        for other in ["keyferry: it ends", "7", "[{}]", "{} {}", "{\"a\":1} x"] {
            assert_eq!(faulty(other, 0), [format!("no JSON: {other}")]);
        }
    }
}
