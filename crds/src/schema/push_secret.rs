//! The schema of PushSecret. Defaults are External Secrets Operator's, and so are the rules; that a selector may not be
//! empty is ours: such a one would push every Secret of the namespace.

use keyferry_limits as limits;
use serde_json::json;

use super::external_secret::{generator_ref, pattern, reference, renaming, template};
use super::node::*;
use super::shared::{conditions, label_selector};
use crate::external_secret::{DEFAULT_REFRESH_INTERVAL, StoreKind};
use crate::push_secret::*;

pub(super) fn spec() -> Node {
    object("What to write where, and how often to look.")
        .field(
            "refreshInterval",
            string("Time between two checks, like 1h, 15m or 90s; 0 pushes once.")
                .within(&limits::WORD_LENGTH)
                .default(json!(DEFAULT_REFRESH_INTERVAL)),
        )
        .required(
            "secretStoreRefs",
            list("The stores to write into.", store_ref("A store, or several by their labels."))
                .at_most(&limits::PUSH_STORES),
        )
        .field(
            "updatePolicy",
            word("Replace: what is there is written over; IfNotExists: it stays.", PushUpdatePolicy::NAMES)
                .default(json!("Replace")),
        )
        .field(
            "deletionPolicy",
            word(
                "Delete: what was pushed and is not wanted any more is deleted in the store; None: it stays.",
                PushDeletionPolicy::NAMES,
            )
            .default(json!("None")),
        )
        .required("selector", selector())
        .field("data", list("What goes where, one by one.", data("One value.")).at_most(&limits::PUSH_ENTRIES))
        .field("dataTo", list("What goes where, many at once.", data_to()).at_most(&limits::PUSH_DATA_TO))
        .field("template", template())
}

fn store_ref(description: &str) -> Node {
    object(description)
        .field("name", object_name("Its name."))
        .field("labelSelector", label_selector("Labels of the stores, instead of a name."))
        .field("kind", word("Its kind.", StoreKind::NAMES).default(json!("SecretStore")))
}

fn selector() -> Node {
    let secret = object("Secrets.")
        .field("name", object_name("Name of the Secret."))
        .field("selector", label_selector("Labels of the Secrets, instead of a name."))
        .rule(
            "(has(it.name) && it.name != '') != has(it.selector)",
            "name one Secret, or select several by their labels",
        )
        .rule(
            "!has(it.selector) || (has(it.selector.matchLabels) && size(it.selector.matchLabels) > 0) \
             || (has(it.selector.matchExpressions) && size(it.selector.matchExpressions) > 0)",
            "an empty selector would push every Secret of the namespace: say which labels they must have",
        );
    object("Where the values come from.")
        .field("secret", secret)
        .field("generatorRef", generator_ref())
        .exactly_one_field()
}

fn conversion() -> Node {
    word("ReverseUnicode: _U002f_ in a key is / again, and so on; None: keys are as they are.", PushConversion::NAMES)
        .default(json!("None"))
}

fn metadata() -> Node {
    any_value("What is said to the store only; its documentation tells the form.")
}

fn data(description: &str) -> Node {
    let remote = object("The place in the store.")
        .required("remoteKey", reference("Name of the secret."))
        .field("property", reference("Field inside of the secret."));
    let matched = object("What goes where.")
        .field("secretKey", string("Key of the Secret; all of it if not set.").at_most_long(253))
        .required("remoteRef", remote);
    object(description)
        .required("match", matched)
        .field("metadata", metadata())
        .field("conversionStrategy", conversion())
}

fn data_to() -> Node {
    let matched = object("Which keys; all if not set.")
        .field("regexp", pattern("Regular expression (RE2) that the key must match somewhere."));
    let store = store_ref("The stores, of those that secretStoreRefs names.").plain_rule(
        "(has(self.name) && self.name != '') || has(self.labelSelector)",
        "storeRef must specify either name or labelSelector",
    );
    object("Many values.")
        .required("storeRef", store)
        .field("remoteKey", reference("The one secret for all of them, as a JSON object; if not set each has its own."))
        .field("match", matched)
        .field(
            "rewrite",
            list("Changes to the keys, in order; the result is the name in the store.", renaming().exactly_one_field())
                .at_most(&limits::REWRITES),
        )
        .field("metadata", metadata())
        .field("conversionStrategy", conversion())
        .plain_rule(
            "!has(self.remoteKey) || self.remoteKey == '' || !has(self.rewrite) || size(self.rewrite) == 0",
            "remoteKey and rewrite are mutually exclusive",
        )
}

pub(super) fn status() -> Node {
    let pushed = map("By the place that it went to.", data("The entry that was pushed."));
    object("What the operator last saw and did.")
        .field("refreshTime", time("When all was last as it should be."))
        .field("syncedResourceVersion", string("Which version of this object that was."))
        .field("syncedPushSecrets", map("What was pushed, or is about to be, by store.", pushed))
        .field(
            "foundPushSecrets",
            map(
                "What was there before by updatePolicy IfNotExists, and is never deleted, by store.",
                strings("Places."),
            ),
        )
        .field("conditions", conditions(string("What the statement is about.")))
}
