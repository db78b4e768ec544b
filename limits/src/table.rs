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
