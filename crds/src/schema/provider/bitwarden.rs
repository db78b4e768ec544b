//! `bitwardensecretsmanager`: Bitwarden Secrets Manager through the server that wraps the vendor's library.

use super::super::node::*;
use super::super::shared::{ca_bundle, ca_provider, secret_key};

pub(super) fn schema() -> Node {
    let secret = object("The token of a machine account.").required("credentials", secret_key("Where the token is."));
    object("Bitwarden Secrets Manager through bitwarden-sdk-server.")
        .field("apiURL", string("Address of Bitwarden's API; the vendor's own if not set."))
        .field("identityURL", string("Address of Bitwarden's identity service; the vendor's own if not set."))
        .field("bitwardenServerSDKURL", string("Address of bitwarden-sdk-server."))
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
        .required("organizationID", string("Id of the organization."))
        .required("projectID", string("Id of the project that secrets are read from and pushed to."))
        .required("auth", object("How to log in.").required("secretRef", secret))
}
