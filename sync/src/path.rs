//! Paths into targets that are not Secrets, as `templateFrom[].target` has them: `spec.rules[0].host`. Pure.

use serde_json::{Map, Value};

use crate::told;
use crate::told::Told;

/// The largest index.
const LARGEST_INDEX: usize = 10_000;

/// The most steps of a path: keys and indexes.
const MOST_STEPS: usize = 32;

/// How many elements lists of one object may be filled up with, all paths together.
pub const ROOM: usize = LARGEST_INDEX + 1;

/// A way into an object; it begins with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    /// Reads a path: keys between dots, each with any number of `[n]` behind it. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        for segment in text.split('.') {
            let (name, mut indexes) = match segment.find('[') {
                Some(at) => segment.split_at(at),
                None => (segment, ""),
            };
            match (name.is_empty(), indexes.is_empty(), steps.is_empty()) {
                (true, true, _) => return Err("has nothing before, after or between its dots".to_owned()),
                (true, false, true) => return Err("must begin with a key, not with an index".to_owned()),
                (true, false, false) => {}
                (false, ..) => steps.push(Step::Key(name.to_owned())),
            }
            while !indexes.is_empty() {
                let (index, rest) = indexes
                    .strip_prefix('[')
                    .and_then(|rest| rest.split_once(']'))
                    .ok_or_else(|| format!("has {indexes:?} where an index like [0] belongs"))?;
                let index = index.parse().map_err(|_| format!("has [{index}], which is not an index"))?;
                if index > LARGEST_INDEX {
                    return Err(format!("has the index {index}, and {LARGEST_INDEX} is the largest"));
                }
                steps.push(Step::Index(index));
                indexes = rest;
            }
        }
        if steps.len() <= MOST_STEPS {
            Ok(Self(steps))
        } else {
            Err(format!("has {} steps, and {MOST_STEPS} are the most", steps.len()))
        }
    }

    /// A path of these keys.
    pub fn keys(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    /// Whether it is one key and no more.
    pub fn is_one_key(&self) -> bool {
        self.0.len() == 1
    }

    /// The key at which it begins.
    pub fn first(&self) -> &str {
        match self.0.first() {
            Some(Step::Key(key)) => key,
            Some(Step::Index(_)) | None => "",
        }
    }

    /// Where it leads in `object`; what is missing on the way is made, lists are filled with nulls while there is `room`
    /// for more elements. The error says what stands in the way.
    pub fn walk<'a>(&self, object: &'a mut Value, room: &mut usize) -> Result<&'a mut Value, Told> {
        let mut at = object;
        for step in &self.0 {
            match step {
                Step::Key(key) => {
                    if at.is_null() {
                        *at = Value::Object(Map::new());
                    }
                    let map = at.as_object_mut().ok_or("is no map where it has a key")?;
                    at = map.entry(key.as_str()).or_insert(Value::Null);
                }
                Step::Index(index) => {
                    if at.is_null() {
                        *at = Value::Array(Vec::new());
                    }
                    let list = at.as_array_mut().ok_or("is no list where it has an index")?;
                    if list.len() <= *index {
                        *room = room
                            .checked_sub(index + 1 - list.len())
                            .ok_or_else(|| told!("would have lists of more than {} elements", ROOM))?;
                        list.resize(index + 1, Value::Null);
                    }
                    at = &mut list[*index];
                }
            }
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_made() {
        let mut room = ROOM;
        let mut object = json!({"spec": {"kept": 1, "rules": [{"host": "a"}]}});
        for (path, value) in [("spec.rules[0].port", 80), ("spec.rules[2].host", 2), ("spec.new.m[0][1]", 3)] {
            *Path::parse(path).unwrap().walk(&mut object, &mut room).unwrap() = json!(value);
        }
        let expected = json!({"spec": {
            "kept": 1, "rules": [{"host": "a", "port": 80}, null, {"host": 2}], "new": {"m": [[null, 3]]}
        }});
        assert_eq!(object, expected);
        let blocked = Path::parse("spec.kept.x").unwrap().walk(&mut object, &mut room).unwrap_err();
        assert_eq!(blocked.as_str(), "is no map where it has a key");
        assert!(Path::parse("spec.kept[0]").unwrap().walk(&mut object, &mut room).is_err());
    }

    #[test]
    fn a_bad_path_says_what_is_wrong() {
        for (path, says) in [
            ("", "between its dots"),
            ("spec..a", "between its dots"),
            ("spec.", "between its dots"),
            ("[0].a", "begin with a key"),
            ("spec.a[", "where an index"),
            ("spec.a[1]x", "where an index"),
            ("spec.a[-1]", "not an index"),
            ("spec.a[x]", "not an index"),
            ("spec.a[10001]", "the largest"),
            (&format!("spec{}", "[0]".repeat(32)), "33 steps"),
        ] {
            let error = Path::parse(path).unwrap_err();
            assert!(error.contains(says), "{path}: {error}");
        }
        assert!(Path::parse("spec.a[10000].b").is_ok());
        assert_eq!(Path::parse("spec.[0]"), Path::parse("spec[0]"));
        // Lists of lists of lists would take all memory.
        let (mut object, mut room) = (json!({}), ROOM);
        let large = Path::parse("spec.a[9000][9000][9000]").unwrap().walk(&mut object, &mut room).unwrap_err();
        assert!(large.as_str().contains("would have lists"), "{large}");
    }
}
