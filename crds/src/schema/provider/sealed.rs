//! `sealed` and `sealedsecrets`: what anybody may seal, of keyferry's own. In few words, as in `age`.

use super::super::node::*;
use super::age::place;

/// `sealed`.
pub(super) fn schema() -> Node {
    object("Values sealed for this namespace.")
        .required("values", map_of_strings("What `keyferry seal --for` printed, by names."))
}

/// `sealedsecrets`.
pub(super) fn sealed_secrets() -> Node {
    let document = object("One of inline, configMapRef, secretRef and file.")
        .field("inline", string("Itself."))
        .field("configMapRef", place("Its ConfigMap."))
        .field("secretRef", place("Its Secret."))
        .field("file", string("Its file; without a cluster only."));
    let key = object("A pair.").required("secretRef", place("Its Secret, with tls.crt and tls.key."));
    object("SealedSecrets.")
        .required("documents", list("Their manifests.", document))
        .field("keys", list("What opens them; the operator's own if not set.", key))
}
