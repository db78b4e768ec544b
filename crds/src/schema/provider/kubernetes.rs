//! `kubernetes`: Secrets of another namespace or cluster.

use serde_json::json;

use super::super::node::*;
use super::super::shared::{ca_bundle, ca_provider, secret_key, service_account};

pub(super) fn schema() -> Node {
    object("Secrets of a Kubernetes cluster.")
        .field("server", server())
        .field("auth", auth())
        .field("authRef", secret_key("A kubeconfig, in the place of server and auth."))
        .field("remoteNamespace", namespace_name("Namespace to read from.").default(json!("default")))
}

pub(super) fn server() -> Node {
    object("The API server.")
        .field("url", string("Its address.").default(json!("kubernetes.default")))
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
}

pub(super) fn auth() -> Node {
    let cert = object("Log in with a client certificate.")
        .field("clientCert", secret_key("Where the certificate is."))
        .field("clientKey", secret_key("Where its key is."));
    let token = object("Log in with a token.").field("bearerToken", secret_key("Where the token is."));
    object("How to log in: exactly one of these.")
        .field("cert", cert)
        .field("serviceAccount", service_account("Log in as a ServiceAccount of this cluster."))
        .field("token", token)
        .exactly_one_field()
}
