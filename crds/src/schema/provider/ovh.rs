//! `ovh`.

use serde_json::json;

use super::super::node::*;
use super::super::shared::{ca_bundle, ca_provider, secret_ref};

pub(super) fn schema() -> Node {
    let mtls = object("Log in with a client certificate.")
        .required("certSecretRef", secret_ref("Where the certificate is, as PEM."))
        .required("keySecretRef", secret_ref("Where its key is, as PEM."));
    let token = object("Log in with a token.").required("tokenSecretRef", secret_ref("Where the token is."));
    // Newer ways to log in are kept, and a condition says that they are not supported.
    let auth = anything("How to log in: mtls or token.").field("mtls", mtls).field("token", token);
    object("OVHcloud Secret Manager.")
        .required("server", string("Address of the Key Management Service."))
        .required("okmsid", string("Id of the domain."))
        .required("auth", auth)
        .field("casRequired", boolean("Have writes name the version that they follow."))
        .field("okmsTimeout", integer("Passed over: every call has its time.").default(json!(30)))
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
}
