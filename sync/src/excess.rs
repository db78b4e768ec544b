//! More of something than the limits allow. Pure.

use keyferry_crds::SecretStoreSpec;
use keyferry_limits::{self as limits, Limit};

/// How many causes are looked for: more than are told.
pub const MOST: usize = 20;

/// Finds more items than the limit allows.
pub fn count(found: &mut Vec<String>, at: &str, items: usize, limit: &Limit) {
    if found.len() < MOST && items > limit.size() {
        found.push(format!("{at}: {limit}"));
    }
}

/// Finds a text that is longer than the limit allows.
pub fn length(found: &mut Vec<String>, at: &str, text: &str, limit: &Limit) {
    if found.len() < MOST && is_longer(text, limit) {
        found.push(format!("{at}: {limit}"));
    }
}

/// Whether a text is longer than the limit allows. Characters are counted, as the API server counts them, and only where there may be too many.
pub fn is_longer(text: &str, limit: &Limit) -> bool {
    text.len() > limit.size() && text.chars().count() > limit.size()
}

/// What the conditions of a store hold more of than the limits allow.
pub fn of_conditions(spec: &SecretStoreSpec) -> Option<String> {
    let mut found = Vec::new();
    count(&mut found, "spec.conditions", spec.conditions.len(), &limits::STORE_CONDITIONS);
    for (n, condition) in spec.conditions.iter().enumerate().take(limits::STORE_CONDITIONS.size()) {
        let at = format!("spec.conditions[{n}]");
        count(&mut found, &at, condition.namespaces.len(), &limits::CONDITION_NAMESPACES);
        count(&mut found, &at, condition.namespace_regexes.len(), &limits::CONDITION_PATTERNS);
        for pattern in condition.namespace_regexes.iter().take(limits::CONDITION_PATTERNS.size()) {
            length(&mut found, &at, pattern, &limits::PATTERN_LENGTH);
        }
    }
    found.into_iter().next()
}
