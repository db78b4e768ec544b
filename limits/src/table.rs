//! The limits, in the order in which a look meets them.

use crate::{Limit, Unit};

/// Every limit.
pub const ALL: &[&Limit] = &[
    &LOOK_BYTES,
    &LOOK_STEPS,
    &PATTERN_LENGTH,
    &PATTERN_DEPTH,
    &PATTERN_CLASSES,
    &PATTERN_GROUPS,
    &PATTERN_COMPILED,
    &PATTERNS_KEPT,
    &DATA_ENTRIES,
    &DATA_FROM_ENTRIES,
    &REWRITES,
    &PRIORITIES,
    &FIND_TAGS,
    &TEMPLATE_KEYS,
    &TEMPLATE_SOURCES,
    &TEMPLATE_FINALIZERS,
    &SYNC_WINDOWS,
    &REFERENCE_LENGTH,
    &RENAME_LENGTH,
    &WORD_LENGTH,
    &STORE_CONDITIONS,
    &CONDITION_NAMESPACES,
    &CONDITION_PATTERNS,
    &PASSWORD_KEYS,
];

/// What a look may hold at once and in sum: all that is fetched, decoded, rewritten, rendered and made. A Secret holds
/// 1 MiB, so that nothing sensible needs more.
pub const LOOK_BYTES: Limit = Limit {
    name: "look-bytes",
    most: 64 << 20,
    unit: Unit::Bytes,
    of: "what one refresh fetches and makes",
    raise: "split it into several ExternalSecrets",
};

/// What a look may compute.
pub const LOOK_STEPS: Limit = Limit {
    name: "look-steps",
    most: 200_000_000,
    unit: Unit::Steps,
    of: "what one refresh computes",
    raise: "split it into several ExternalSecrets, or make its templates and patterns simpler",
};

/// The text of a regular expression.
pub const PATTERN_LENGTH: Limit = Limit {
    name: "pattern-length",
    most: 32 << 10,
    unit: Unit::Bytes,
    of: "a regular expression",
    raise: "split it into several",
};

/// How deep groups and repetitions stand in each other. Compiling goes down them on the stack; Go stops at 1000.
pub const PATTERN_DEPTH: Limit = Limit {
    name: "pattern-depth",
    most: 250,
    unit: Unit::Items,
    of: "groups and repetitions within each other in a regular expression",
    raise: "make it simpler",
};

/// Ranges of characters that the classes of a regular expression come to: `\pL` is some 700 of them.
pub const PATTERN_CLASSES: Limit = Limit {
    name: "pattern-classes",
    most: 65_536,
    unit: Unit::Items,
    of: "ranges of characters in the classes of a regular expression",
    raise: "name fewer or smaller classes",
};

/// Groups of a regular expression by which something is replaced: where each begins and ends is noted for each state.
pub const PATTERN_GROUPS: Limit = Limit {
    name: "pattern-groups",
    most: 32,
    unit: Unit::Items,
    of: "groups in a regular expression",
    raise: "write (?:...) for those that are not referred to",
};

/// A regular expression, compiled. Templates have a limit of their own.
pub const PATTERN_COMPILED: Limit = Limit {
    name: "pattern-compiled",
    most: 1 << 20,
    unit: Unit::Bytes,
    of: "a regular expression, compiled",
    raise: "repeat less often, or smaller classes",
};

/// All regular expressions that are kept compiled. Beyond it they are compiled anew.
pub const PATTERNS_KEPT: Limit = Limit {
    name: "patterns-kept",
    most: 16 << 20,
    unit: Unit::Bytes,
    of: "regular expressions that are kept compiled",
    raise: "nothing is refused: they are compiled anew",
};

/// Entries of spec.data. The schema says so too, of this and all that follow; older objects are judged when they are
/// looked at.
pub const DATA_ENTRIES: Limit = Limit {
    name: "data-entries",
    most: 5_000,
    unit: Unit::Items,
    of: "entries of spec.data",
    raise: "split it into several ExternalSecrets",
};

/// Entries of spec.dataFrom.
pub const DATA_FROM_ENTRIES: Limit = Limit {
    name: "data-from-entries",
    most: 1_000,
    unit: Unit::Items,
    of: "entries of spec.dataFrom",
    raise: "split it into several ExternalSecrets",
};

/// Changes to the keys of one entry, each of which goes over all of them.
pub const REWRITES: Limit = Limit {
    name: "rewrites",
    most: 100,
    unit: Unit::Items,
    of: "changes in one rewrite",
    raise: "put several into one pattern, or split the entry",
};

/// Keys that win in a merge.
pub const PRIORITIES: Limit = Limit {
    name: "priorities",
    most: 1_000,
    unit: Unit::Items,
    of: "keys in one rewrite.merge.priority",
    raise: "split the entry",
};

/// Tags of one search.
pub const FIND_TAGS: Limit =
    Limit { name: "find-tags", most: 100, unit: Unit::Items, of: "tags of one find", raise: "search by fewer" };

/// Keys of template.data, and of its labels and annotations: each is a template.
pub const TEMPLATE_KEYS: Limit = Limit {
    name: "template-keys",
    most: 2_000,
    unit: Unit::Items,
    of: "keys of a map in spec.target.template",
    raise: "put several into one templateFrom, or split the ExternalSecret",
};

/// Where templates come from.
pub const TEMPLATE_SOURCES: Limit = Limit {
    name: "template-sources",
    most: 1_000,
    unit: Unit::Items,
    of: "entries of templateFrom, or items of one of them",
    raise: "put several templates into one",
};

/// Finalizers of a target.
pub const TEMPLATE_FINALIZERS: Limit = Limit {
    name: "template-finalizers",
    most: 100,
    unit: Unit::Items,
    of: "finalizers of a template",
    raise: "keep fewer",
};

/// Windows, each of which is asked for its next opening.
pub const SYNC_WINDOWS: Limit = Limit {
    name: "sync-windows",
    most: 100,
    unit: Unit::Items,
    of: "windows of spec.syncWindows",
    raise: "put several into one schedule",
};

/// Names in a store.
pub const REFERENCE_LENGTH: Limit = Limit {
    name: "reference-length",
    most: 4_096,
    unit: Unit::Items,
    of: "characters of a key, a property, a version or a path",
    raise: "shorten it",
};

/// What takes the place of what a pattern found in a key, and the template that each key is rendered with.
pub const RENAME_LENGTH: Limit = Limit {
    name: "rename-length",
    most: 16_384,
    unit: Unit::Items,
    of: "characters of the target or template of a rewrite",
    raise: "shorten it",
};

/// What is a word or a few.
pub const WORD_LENGTH: Limit = Limit {
    name: "word-length",
    most: 1_024,
    unit: Unit::Items,
    of: "characters of an interval, a schedule, a duration or a type",
    raise: "shorten it",
};

/// Conditions of a ClusterSecretStore.
pub const STORE_CONDITIONS: Limit = Limit {
    name: "store-conditions",
    most: 100,
    unit: Unit::Items,
    of: "entries of a store's spec.conditions",
    raise: "put several into one",
};

/// Namespaces that a condition names.
pub const CONDITION_NAMESPACES: Limit = Limit {
    name: "condition-namespaces",
    most: 1_000,
    unit: Unit::Items,
    of: "namespaces of one condition",
    raise: "choose them by a label",
};

/// Patterns of a condition, each of which is compiled and kept.
pub const CONDITION_PATTERNS: Limit = Limit {
    name: "condition-patterns",
    most: 100,
    unit: Unit::Items,
    of: "patterns in one namespaceRegexes",
    raise: "put several into one, or choose namespaces by a label",
};

/// Passwords that one generator makes at once.
pub const PASSWORD_KEYS: Limit = Limit {
    name: "password-keys",
    most: 1_000,
    unit: Unit::Items,
    of: "secretKeys of a Password",
    raise: "use several generators",
};
