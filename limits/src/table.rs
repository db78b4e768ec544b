//! The limits, in the order in which a look meets them.

use crate::{Limit, Unit};

/// Every limit.
pub const ALL: &[&Limit] = &[
    &LOOK_BYTES,
    &LOOK_STEPS,
    &PATTERN_BYTES,
    &PATTERNS_BYTES,
    &PARSED_BYTES,
    &PASSWORD_LENGTH,
    &PASSWORD_BYTES,
    &TEMPLATE_TEXT,
    &TEMPLATE_STEPS,
    &TEMPLATE_DEPTH,
    &TEMPLATE_NESTING,
    &TEMPLATE_OUTPUT,
    &TEMPLATE_VALUE,
    &TEMPLATE_MEMORY,
    &TEMPLATE_LIST,
    &TEMPLATE_PATTERN,
    &TEMPLATE_HASH_COST,
    &TEMPLATE_KEY_BITS,
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

/// A pattern of the spec, compiled: a repetition of a class of characters takes as much as it stands for.
pub const PATTERN_BYTES: Limit = Limit {
    name: "pattern-bytes",
    most: 4 << 20,
    unit: Unit::Bytes,
    of: "a compiled regular expression",
    raise: "make it simpler: smaller repetitions, fewer classes",
};

/// They are all held while the look goes on.
pub const PATTERNS_BYTES: Limit = Limit {
    name: "patterns-bytes",
    most: 8 << 20,
    unit: Unit::Bytes,
    of: "all regular expressions of one ExternalSecret, compiled",
    raise: "split it into several ExternalSecrets",
};

/// A cache, not a look.
pub const PARSED_BYTES: Limit = Limit {
    name: "parsed-bytes",
    most: 16 << 20,
    unit: Unit::Bytes,
    of: "what is kept of each of parsed templates and compiled regular expressions, of all objects together",
    raise: "nothing: what is not kept is made anew",
};

/// A longer one would not fit beside others into a Secret.
pub const PASSWORD_LENGTH: Limit = Limit {
    name: "password-length",
    most: 65_536,
    unit: Unit::Items,
    of: "the length of a generated password",
    raise: "make it shorter",
};

/// What a Secret can hold.
pub const PASSWORD_BYTES: Limit = Limit {
    name: "password-bytes",
    most: 1 << 20,
    unit: Unit::Bytes,
    of: "all passwords of one Password, together",
    raise: "ask for fewer or shorter ones",
};

/// Parsed it takes many times as much.
pub const TEMPLATE_TEXT: Limit = Limit {
    name: "template-text",
    most: 256 << 10,
    unit: Unit::Bytes,
    of: "the text of one template",
    raise: "split it",
};

/// One for each piece of text, action, argument, round of a loop and element that a function walks.
pub const TEMPLATE_STEPS: Limit = Limit {
    name: "template-steps",
    most: 2_000_000,
    unit: Unit::Steps,
    of: "what one template computes",
    raise: "make it simpler, or split it",
};

/// Calls that wait for others.
pub const TEMPLATE_DEPTH: Limit = Limit {
    name: "template-depth",
    most: 100_000,
    unit: Unit::Items,
    of: "templates that call templates, within each other",
    raise: "make it simpler, or split it",
};

/// They are read by recursion.
pub const TEMPLATE_NESTING: Limit = Limit {
    name: "template-nesting",
    most: 100,
    unit: Unit::Items,
    of: "parentheses within each other",
    raise: "make it simpler, or split it",
};

/// A Secret holds a quarter of it.
pub const TEMPLATE_OUTPUT: Limit = Limit {
    name: "template-output",
    most: 4 << 20,
    unit: Unit::Bytes,
    of: "what one template renders",
    raise: "make it simpler, or split it",
};

/// A Secret holds a quarter of it.
pub const TEMPLATE_VALUE: Limit = Limit {
    name: "template-value",
    most: 4 << 20,
    unit: Unit::Bytes,
    of: "one value within a template",
    raise: "make it simpler, or split it",
};

/// Values that functions returned, added up.
pub const TEMPLATE_MEMORY: Limit = Limit {
    name: "template-memory",
    most: 64 << 20,
    unit: Unit::Bytes,
    of: "all values within one template together",
    raise: "make it simpler, or split it",
};

/// Elements are larger than their text.
pub const TEMPLATE_LIST: Limit = Limit {
    name: "template-list",
    most: 100_000,
    unit: Unit::Items,
    of: "the elements of a list within a template",
    raise: "make it simpler, or split it",
};

/// As a pattern of the spec.
pub const TEMPLATE_PATTERN: Limit = Limit {
    name: "template-pattern",
    most: 1 << 20,
    unit: Unit::Bytes,
    of: "a compiled regular expression within a template",
    raise: "make it simpler: smaller repetitions, fewer classes",
};

/// Each one more doubles the work.
pub const TEMPLATE_HASH_COST: Limit = Limit {
    name: "template-hash-cost",
    most: 14,
    unit: Unit::Items,
    of: "the cost factor of bcrypt within a template",
    raise: "use a smaller one",
};

/// The work grows with their fourth power.
pub const TEMPLATE_KEY_BITS: Limit = Limit {
    name: "template-key-bits",
    most: 8192,
    unit: Unit::Items,
    of: "the bits of a key that a template generates",
    raise: "use fewer",
};
