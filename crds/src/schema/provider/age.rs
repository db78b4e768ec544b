//! `age` and `sops`: encrypted documents, of keyferry's own.
//!
//! In few words: the definition of stores is nearly as long as one may be that is applied by clients. The operator says
//! what is wrong with names, and with what is of the form of another provider.

use super::super::node::*;

/// `age`.
pub(super) fn schema() -> Node {
    documents("Documents that age encrypted, whole or value by value.")
}

/// `sops`.
pub(super) fn sops() -> Node {
    documents("Files of SOPS.")
        .field("aws", anything("Whose KMS has their keys; fields of spec.provider.aws."))
        .field("azurekv", anything("Whose vault has their keys; fields of spec.provider.azurekv."))
        .field("gcpsm", anything("Whose KMS has their keys; auth of spec.provider.gcpsm."))
        .field("vault", anything("Whose transit engine, at path, has their keys; fields of spec.provider.vault."))
}

fn documents(description: &str) -> Node {
    let document = object("One of inline, configMapRef, secretRef and file.")
        .field("name", string("Key of it; that of its place if not set."))
        .field("format", word("By its name if not set.", &["yaml", "json", "dotenv", "ini", "binary"]))
        .field("inline", string("Itself."))
        .field("configMapRef", place("Its ConfigMap."))
        .field("secretRef", place("Its Secret."))
        .field("file", string("Its file; without a cluster only."));
    let identity = object("One of secretRef and file.")
        .field("secretRef", place("Their Secret."))
        .field("file", string("Their file; without a cluster only."));
    object(description)
        .required("documents", list("The documents.", document))
        .field("identities", list("Identities of age, or keys of SSH.", identity))
}

pub(super) fn place(description: &str) -> Node {
    object(description)
        .field("name", string("Its name."))
        .field("key", string("Key in it."))
        .field("namespace", string("Its namespace."))
}
