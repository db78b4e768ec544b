//! `infisical`.

use serde_json::json;

use super::super::node::*;
use super::super::shared::{ca_bundle, ca_provider, secret_ref};

pub(super) fn schema() -> Node {
    let scope = object("Which secrets are the store's.")
        .required("projectSlug", string("Slug of the project."))
        .required("environmentSlug", string("Slug of the environment."))
        .field("organizationSlug", string("Slug of the organization to log in to."))
        .field("secretsPath", string("Folder to read from.").default(json!("/")))
        .field("recursive", boolean("Search the folders below it too.").default(json!(false)))
        .field("expandSecretReferences", boolean("Expand references to other secrets.").default(json!(true)));
    object("Infisical.")
        .required("auth", auth())
        .required("secretsScope", scope)
        .field("hostAPI", string("Address of the API.").default(json!("https://app.infisical.com/api")))
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
}

fn auth() -> Node {
    let identity = |description| object(description).required("identityId", secret_ref("Where the identity's id is."));
    let universal = object("Log in with a client id and secret.")
        .required("clientId", secret_ref("Where the client id is."))
        .required("clientSecret", secret_ref("Where the client secret is."));
    let azure = identity("Log in with the operator's own identity in Azure.")
        .field("resource", secret_ref("Where the resource is that the token is for."));
    let jwt = identity("Log in with a JWT.").required("jwt", secret_ref("Where the JWT is."));
    let ldap = identity("Log in with an LDAP user.")
        .required("ldapUsername", secret_ref("Where the name of the user is."))
        .required("ldapPassword", secret_ref("Where the password is."));
    let google = identity("Log in with the key of a service account of Google Cloud.")
        .required("serviceAccountKeyFilePath", secret_ref("Where the key file itself is, as JSON: a path is refused."));
    let oracle = identity("Log in with a user of Oracle's cloud.")
        .required("userId", secret_ref("Where the user's OCID is."))
        .required("tenancyId", secret_ref("Where the tenancy's OCID is."))
        .required("region", secret_ref("Where the name of the region is."))
        .required("fingerprint", secret_ref("Where the fingerprint of the key is."))
        .required("privateKey", secret_ref("Where the private key is, as PEM."))
        .field("privateKeyPassphrase", secret_ref("Where the passphrase of the key is, if it is encrypted."));
    let kubernetes = identity("Log in with the operator's own Kubernetes token.")
        .field("serviceAccountTokenPath", secret_ref("Not supported: it names a file. Leave it out."));
    let token = object("Use a token that was made before.").required("accessToken", secret_ref("Where the token is."));
    object("How to log in: one of these.")
        .field("universalAuthCredentials", universal)
        .field("azureAuthCredentials", azure)
        .field("gcpIdTokenAuthCredentials", identity("Log in with the operator's own identity in Google Cloud."))
        .field("gcpIamAuthCredentials", google)
        .field("jwtAuthCredentials", jwt)
        .field("ldapAuthCredentials", ldap)
        .field("ociAuthCredentials", oracle)
        .field("kubernetesAuthCredentials", kubernetes)
        .field("awsAuthCredentials", identity("Log in with the operator's own identity in AWS."))
        .field("tokenAuthCredentials", token)
}
