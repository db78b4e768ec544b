//! The limits, in the order in which a look meets them.

use crate::{Limit, Unit};

/// Every limit.
pub const ALL: &[&Limit] = &[
    &LOOK_BYTES,
    &LOOK_STEPS,
    &RETRY_AFTER,
    &STORE_WAIT,
    &SEARCH_TIME,
    &SEARCH_CALLS,
    &SEARCH_FOUND,
    &SEARCH_BYTES,
    &CREDENTIAL_AGE,
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

/// The longest that a store may make us wait: what it asks for beyond that is not listened to.
pub const RETRY_AFTER: Limit = Limit {
    name: "retry-after",
    most: 300,
    unit: Unit::Seconds,
    of: "the pause that a store asks for",
    raise: "nothing: it is asked again after that",
};

/// How long a look waits for a store to answer what it asks for.
pub const STORE_WAIT: Limit = Limit {
    name: "store-wait",
    most: 300,
    unit: Unit::Seconds,
    of: "the wait for a store",
    raise: "look after the store, or set fewer retries in spec.retrySettings of it",
};

/// How long a search may take as a whole; each of its calls is bounded besides.
pub const SEARCH_TIME: Limit = Limit {
    name: "search-time",
    most: 300,
    unit: Unit::Seconds,
    of: "the time of one search",
    raise: "narrow it: find.path, or a store of its own with a prefix or path",
};

/// How many calls a search may make.
pub const SEARCH_CALLS: Limit = Limit {
    name: "search-calls",
    most: 100_000,
    unit: Unit::Items,
    of: "the calls of one search",
    raise: "narrow it: find.path, or a store of its own with a prefix or path",
};

/// How many secrets a search may find.
pub const SEARCH_FOUND: Limit = Limit {
    name: "search-found",
    most: 10_000,
    unit: Unit::Items,
    of: "the secrets that one search finds",
    raise: "narrow it: find.name.regexp, find.path or find.tags",
};

/// What a search may hold of names, found and still to be looked at.
pub const SEARCH_BYTES: Limit = Limit {
    name: "search-bytes",
    most: 16 << 20,
    unit: Unit::Bytes,
    of: "the names that one search holds",
    raise: "narrow it: find.path, or a store of its own with a prefix or path",
};

/// How long a login is used that was made from what nobody watches.
pub const CREDENTIAL_AGE: Limit = Limit {
    name: "credential-age",
    most: 600,
    unit: Unit::Seconds,
    of: "the age of a login made from objects outside of --namespace",
    raise: "nothing: it is made anew then",
};
