//! `conjur`: CyberArk Conjur.

use super::super::node::*;
use super::super::shared::{ca_provider, secret_key, service_account};

pub(super) fn schema() -> Node {
    let apikey = object("Log in with an API key.")
        .required("account", string("Account in Conjur."))
        .required("userRef", secret_key("Where the name of the user or host is, like host/apps/a."))
        .required("apiKeyRef", secret_key("Where its API key is."));
    let jwt = object("Log in with a JWT.")
        .required("account", string("Account in Conjur."))
        .required("serviceID", string("Name of the authenticator."))
        .field("hostId", string("Host to log in as, where the token does not say it."))
        .field("secretRef", secret_key("Where the JWT is; key token if not set."))
        .field("serviceAccountRef", service_account("The ServiceAccount to get a token for."));
    let cert = object("Log in with a client certificate.")
        .required("account", string("Account in Conjur."))
        .required("serviceID", string("Name of the authenticator."))
        .field("hostId", string("Host to log in as, where the certificate does not say it."))
        .required("clientCertRef", secret_key("Where the certificate is."))
        .required("clientKeyRef", secret_key("Where its key is."));
    let auth = object("How to log in: one of these.").field("apikey", apikey).field("jwt", jwt).field("cert", cert);
    object("CyberArk Conjur.")
        .required("url", string("Its address, like https://conjur.example.com."))
        .field("caBundle", string("Certificates to trust, PEM or base64 of it; the system's own if not set."))
        .field("caProvider", ca_provider())
        .required("auth", auth)
}
