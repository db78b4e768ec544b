//! `ibm`.

use super::super::node::*;
use super::super::shared::secret_ref;

pub(super) fn schema() -> Node {
    let endpoint = || string("Address of IAM; https://iam.cloud.ibm.com if not set.");
    let key = object("Log in with an API key.")
        .field("secretApiKeySecretRef", secret_ref("Where the API key is."))
        .field("iamEndpoint", endpoint());
    let container = object("Log in as a trusted profile, by a token that is mounted.")
        .required("profile", string("The trusted profile."))
        .field("tokenLocation", string("Path of the token."))
        .field("iamEndpoint", endpoint());
    let auth = object("How to log in: exactly one of these.")
        .field("secretRef", key)
        .field("containerAuth", container)
        .exactly_one_field();
    object("IBM Cloud Secrets Manager.").required("auth", auth).field("serviceUrl", string("Address of the instance."))
}
