//! The limits, in the order in which a look meets them.

use crate::beyond::*;
use crate::{Limit, Unit};

/// Every limit.
pub const ALL: &[&Limit] = &[
    &LOOK_BYTES,
    &LOOK_STEPS,
    &SEARCHES,
    &TEMPLATES_KEPT,
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
    &PATTERN_LENGTH,
    &PATTERN_DEPTH,
    &PATTERN_CLASSES,
    &PATTERN_GROUPS,
    &PATTERN_COMPILED,
    &PATTERNS_KEPT,
    &COMPUTE_TIME,
    &REFRESH_RATE,
    &RETRY_AFTER,
    &STORE_WAIT,
    &SEARCH_TIME,
    &SEARCH_CALLS,
    &SEARCH_FOUND,
    &SEARCH_BYTES,
    &CREDENTIAL_AGE,
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
    &SELECTOR_TERMS,
    &SELECTOR_VALUES,
    &LARGE_SEARCHES,
    &PROVIDER_ENTRIES,
    &CALLS_AT_ONCE,
    &LARGE_ANSWERS,
    &NAMESPACE_HELD,
    &NAMESPACE_SHARE,
    &ALL_HELD,
    &NAMESPACE_OBJECTS,
    &LARGE_OBJECTS_SHARE,
    &LARGE_OBJECTS,
    &SECRET_PARTS,
    &PUSH_ENTRIES,
    &PUSH_DATA_TO,
    &PUSH_STORES,
    &PUSH_SELECTORS,
    &PUSH_CANDIDATES,
    &PUSH_SOURCES,
    &PUSH_RECORD,
    &FAKE_PUSHED,
    &GENERATOR_STATES,
    &COPY_SELECTORS,
    &COPY_NAMESPACES,
    &COPIES_AT_ONCE,
    &FAILED_NAMESPACES,
    &PROJECT_GROUPS,
    &SELECTED_REPOSITORIES,
    &DOCUMENT_SIZE,
    &DOCUMENT_KEYS,
    &DOCUMENT_VALUES,
    &DOCUMENT_CALLS,
    &UNSEAL_TRIES,
    &PRIVATE_KEY_TRIES,
    &INJECTED_SECRETS,
    &INJECTED_CONTAINERS,
    &INJECTED_MOUNTS,
    &MOUNT_ITEMS,
    &MOUNT_FILES,
    &MOUNT_BYTES,
    &MOUNT_MEMORY,
    &MOUNT_SHARED,
    &MOUNT_LEASES,
    &MOUNTS_AT_ONCE,
    &RESTART_LIST,
    &AUDIT_QUEUE,
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
    most: 512 << 10,
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

/// Searches by name of one ExternalSecret: each has a compiled pattern, and all are held while the look goes on.
pub const SEARCHES: Limit = Limit {
    name: "searches",
    most: 50,
    unit: Unit::Items,
    of: "searches by name of one ExternalSecret",
    raise: "split it into several ExternalSecrets, or search by one pattern for several",
};

/// All parsed templates that are kept, and as much again of those that make names.
pub const TEMPLATES_KEPT: Limit = Limit {
    name: "templates-kept",
    most: 16 << 20,
    unit: Unit::Bytes,
    of: "parsed templates that are kept",
    raise: "nothing is refused: they are parsed anew",
};

/// How long a look may compute at once, rendering or templating. Who takes longer is stopped.
pub const COMPUTE_TIME: Limit = Limit {
    name: "compute-time",
    most: 10,
    unit: Unit::Seconds,
    of: "computing for one refresh",
    raise: "make its templates and patterns simpler, or split it into several ExternalSecrets",
};

/// How often something may be refreshed or checked by time.
pub const REFRESH_RATE: Limit = Limit {
    name: "refresh-rate",
    most: 1,
    unit: Unit::Items,
    of: "refreshes of one object in a second",
    raise: "a shorter interval acts as 1s",
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
    most: 8 << 20,
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

/// What a label selector asks for, each of which is looked up in the labels of whatever may be selected.
pub const SELECTOR_TERMS: Limit = Limit {
    name: "selector-terms",
    most: 20,
    unit: Unit::Items,
    of: "matchLabels and matchExpressions of one label selector, each",
    raise: "select by a label that all of them have",
};

/// Values that a label selector compares labels with.
pub const SELECTOR_VALUES: Limit = Limit {
    name: "selector-values",
    most: 1_000,
    unit: Unit::Items,
    of: "values in matchExpressions of one label selector",
    raise: "select by a label that all of them have",
};

/// Searches that hold many names, of one namespace, whatever the store.
pub const LARGE_SEARCHES: Limit = Limit {
    name: "large-searches",
    most: 2,
    unit: Unit::Items,
    of: "searches of one namespace that hold more than 128 KiB of names, at once",
    raise: "nothing: the others wait for their turn",
};

/// Entries of each list and map in a provider's spec: roles, tags, headers. Not of `fake`, whose values stand there.
pub const PROVIDER_ENTRIES: Limit = Limit {
    name: "provider-entries",
    most: 100,
    unit: Unit::Items,
    of: "entries of a list or map in spec.provider",
    raise: "keep fewer",
};

/// Calls of stores that are under way. A ClusterSecretStore is nobody's alone, and has as many for itself.
pub const CALLS_AT_ONCE: Limit = Limit {
    name: "calls-at-once",
    most: 128,
    unit: Unit::Items,
    of: "calls to all SecretStores of one namespace, or to one ClusterSecretStore, at once",
    raise: "nothing: the others wait for their turn",
};

/// Answers of stores that are larger than most, of all stores together; the stores of a namespace have at most a third.
pub const LARGE_ANSWERS: Limit = Limit {
    name: "large-answers",
    most: 96 << 20,
    unit: Unit::Bytes,
    of: "answers of more than 64 KiB that are read at once, with what is taken out of them",
    raise: "nothing: the others wait for their turn",
};

/// What stores answered, and the refreshes of one namespace hold until they are done. One of them goes beyond it at a time.
pub const NAMESPACE_HELD: Limit = Limit {
    name: "namespace-held",
    most: 32 << 20,
    unit: Unit::Bytes,
    of: "what all refreshes of one namespace hold of answers at once",
    raise: "nothing: larger ones go one at a time",
};

/// What a namespace holds whatever the others do: more than a Secret holds.
pub const NAMESPACE_SHARE: Limit = Limit {
    name: "namespace-share",
    most: 2 << 20,
    unit: Unit::Bytes,
    of: "what all refreshes of one namespace hold of answers without regard to other namespaces",
    raise: "nothing: what is more has its part of all-held",
};

/// What all namespaces hold beyond their shares. One refresh of all goes beyond it at a time.
pub const ALL_HELD: Limit = Limit {
    name: "all-held",
    most: 64 << 20,
    unit: Unit::Bytes,
    of: "what all refreshes of all namespaces hold of answers beyond their shares at once",
    raise: "nothing: larger ones go one at a time",
};

/// Each takes many times its text while it is sorted and written anew.
pub const SECRET_PARTS: Limit = Limit {
    name: "secret-parts",
    most: 200_000,
    unit: Unit::Items,
    of: "the fields and elements of one secret of a store",
    raise: "split it into several",
};
