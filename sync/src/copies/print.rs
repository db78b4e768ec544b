//! What tells whether a copy is as it should be, without its having to be kept. Pure but for a key of this process.

use std::hash::{BuildHasher as _, Hash as _, Hasher, RandomState};
use std::sync::LazyLock;

use serde_json::Value;

use crate::data::StringMap;

/// A number that is the same for what is the same, within this process. Null is what is not there.
pub(super) fn print(labels: &StringMap, annotations: &StringMap, spec: &Value) -> u64 {
    // By a key that nobody knows: who could make two specs of one print could change a copy unseen.
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut hasher = KEY.build_hasher();
    (labels, annotations).hash(&mut hasher);
    hash(spec, &mut hasher);
    hasher.finish()
}

fn hash(value: &Value, into: &mut impl Hasher) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !value.is_null()).collect();
            fields.sort_by_key(|(name, _)| *name);
            (0u8, fields.len()).hash(into);
            for (name, value) in fields {
                name.hash(into);
                hash(value, into);
            }
        }
        Value::Array(items) => {
            (1u8, items.len()).hash(into);
            items.iter().for_each(|item| hash(item, into));
        }
        Value::String(text) => (2u8, text).hash(into),
        Value::Number(number) => (3u8, number.to_string()).hash(into),
        Value::Bool(is) => (4u8, is).hash(into),
        Value::Null => 5u8.hash(into),
    }
}
