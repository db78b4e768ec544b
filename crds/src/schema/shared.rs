//! Nodes that several kinds and providers share.

use keyferry_limits as limits;
use serde_json::json;

use super::node::*;

/// A key of a Secret.
pub(super) fn secret_key(description: &str) -> Node {
    object(description)
        .field("name", object_name("Name of the Secret."))
        .field("key", data_key("Key in the Secret."))
        .field("namespace", credential_namespace("Namespace of the Secret"))
}

/// The same in few words, for providers that have many of them: a CustomResourceDefinition must not grow too large.
pub(super) fn secret_ref(description: &str) -> Node {
    object(description)
        .field("name", object_name("Its name."))
        .field("key", data_key("Key in it."))
        .field("namespace", namespace_name("Its namespace."))
}

/// A ServiceAccount to get a token for.
pub(super) fn service_account(description: &str) -> Node {
    object(description)
        .required("name", object_name("Name of the ServiceAccount."))
        .field("namespace", credential_namespace("Namespace of the ServiceAccount"))
        .field("audiences", strings("Audiences to ask for, beside those that the login needs anyway."))
}

/// Certificates to trust, kept in a Secret or a ConfigMap.
pub(super) fn ca_provider() -> Node {
    object("Where the certificates to trust are kept; use either this or caBundle.")
        .required("type", word("Kind of the object that holds them.", &["Secret", "ConfigMap"]))
        .required("name", object_name("Its name."))
        .field("key", data_key("Key in it."))
        .field("namespace", namespace_name("Its namespace."))
}

/// Certificates to trust, written down in the store.
pub(super) fn ca_bundle() -> Node {
    string("Certificates to trust: base64 of PEM; the system's own where nothing is given.")
        .set("format", json!("byte"))
}

fn credential_namespace(what: &str) -> Node {
    namespace_name(&format!("{what}; left out in a ClusterSecretStore, that of whoever asks."))
}

/// The label selector of Kubernetes.
pub(super) fn label_selector(description: &str) -> Node {
    let requirement = object("One requirement.")
        .required("key", string("Label to look at."))
        .required("operator", string("In, NotIn, Exists or DoesNotExist."))
        .field(
            "values",
            strings("Values to compare with, for In and NotIn.")
                .at_most(&limits::SELECTOR_VALUES)
                .set("x-kubernetes-list-type", json!("atomic")),
        );
    object(description)
        .field(
            "matchLabels",
            map_of_strings("Labels and the values that they must have.").at_most_keys(&limits::SELECTOR_TERMS),
        )
        .field(
            "matchExpressions",
            list("Requirements; all must hold.", requirement)
                .at_most(&limits::SELECTOR_TERMS)
                .set("x-kubernetes-list-type", json!("atomic")),
        )
        .set("x-kubernetes-map-type", json!("atomic"))
}

/// `status.conditions`.
pub(super) fn conditions(type_: Node) -> Node {
    let condition = object("One statement about the object.")
        .required("type", type_)
        .required("status", string("Does it hold: True, False or Unknown."))
        .field("reason", string("Why, in one word."))
        .field("message", string("Why, in one sentence, and what to do."))
        .field("lastTransitionTime", time("When status last changed."));
    list("How the object is.", condition)
}
