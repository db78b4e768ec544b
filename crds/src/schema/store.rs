//! The schema of SecretStore and ClusterSecretStore, which is the same.
//!
//! Its defaults are those of External Secrets Operator: a null there means the default, also in server-side apply. The
//! provider crates know the same, for objects that were stored without.
//!
//! Left to the operator, with a condition:
//! - a provider that isn't known or not compiled in, and a second one where either isn't known (CEL sees known keys
//!   only; `maxProperties` sees all, but would hold fast an old object with two: see [`Node::rule`]);
//! - whatever only a provider can judge of its configuration;
//! - `namespaceRegexes` that don't compile, and durations too long for Go. CEL could try either, but an attempt that
//!   fails is an error, and errors, unlike refusals, also hit an object that is older than the rule.

use keyferry_limits as limits;
use serde_json::json;

use super::node::*;
use super::provider;
use super::shared::{conditions, label_selector};
use crate::store::{Capabilities, LoginBy};

/// A Go duration that isn't negative; kept in step with [`crate::duration`] by a test.
pub(crate) const DURATION: &str = r"^\\+?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$";

pub(super) fn spec() -> Node {
    let namespaces = strings("Namespaces with one of these names.").set(
        "items",
        json!({"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}),
    );
    let namespaces = namespaces.at_most(&limits::CONDITION_NAMESPACES);
    let patterns = strings("Namespaces whose name matches one of these regular expressions (RE2) somewhere.")
        .set("items", json!({"type": "string", "maxLength": limits::PATTERN_LENGTH.most}))
        .at_most(&limits::CONDITION_PATTERNS);
    let condition = object("Namespaces that any of these lets in.")
        .field("namespaceSelector", label_selector("Namespaces with these labels."))
        .field("namespaces", namespaces)
        .field("namespaceRegexes", patterns);
    let retry = object("How often and how fast a failed call is tried again.")
        .field("maxRetries", integer("Tries after the first.").set("format", json!("int32")))
        .field("retryInterval", string("Time between two tries, like 10s.").within(&limits::WORD_LENGTH));
    object("Where secrets are kept, and how to get in.")
        .field("controller", string("Controller class that serves this store; every class if not set."))
        .field("provider", provider::schema())
        .field("retrySettings", retry)
        .field(
            "refreshInterval",
            integer_or_string(
                "Time between two checks of the store: seconds, or a duration like 5m; the operator's own if 0.",
            )
            .plain_rule(
                &format!("type(self) == int ? self >= 0 : self.matches('{DURATION}')"),
                "write seconds (300) or a duration (5m, 1h30m) that is not negative",
            ),
        )
        .field(
            "conditions",
            list("Namespaces that may use a ClusterSecretStore; all if none is given.", condition)
                .at_most(&limits::STORE_CONDITIONS),
        )
        .field(
            "loginBy",
            word(
                "Who logs in: Store whoever the store names, for all that use it; Mount the pod that mounts, as itself, so that \
                 nothing is fetched for anybody else.",
                LoginBy::NAMES,
            ),
        )
        .rule("has(it.provider)", "no provider: set exactly one")
}

pub(super) fn status() -> Node {
    object("What the operator last saw.")
        .field("conditions", conditions(string("What the statement is about.")))
        .field("capabilities", word("What can be done with the store.", Capabilities::NAMES))
}
