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

/// The lines of a log in which a key stands twice, each with that key. What is no JSON, as where a process was killed, has
/// none.
pub fn repeated(log: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| Some((line, serde_json::from_str::<Repeated>(line).ok()?.0)));
    lines.filter(|(_, repeated)| !repeated.is_empty()).map(|(line, keys)| format!("{keys:?}: {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_there_twice_is_found() {
        let log =
            "{\"a\":1,\"b\":{\"a\":2}}\n{\"target\":\"x\",\"level\":\"INFO\",\"target\":\"y\"}\nnot JSON\n{\"cut\":";
        let found = repeated(log);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("[\"target\"]"), "{found:?}");
    }
}
