//! `barbican`: OpenStack Barbican.

use serde_json::json;

use super::super::node::*;
use super::super::shared::secret_key;

pub(super) fn schema() -> Node {
    let auth = object("How to log in to Keystone.")
        .field("authType", word("Kind of the login.", &["password", "applicationCredential"]).default(json!("password")))
        .field("username", name("Name of the user."))
        .field("password", secret("Password of the user."))
        .field("applicationCredentialID", name("Id of the application credential."))
        .field("applicationCredentialSecret", secret("Secret of the application credential."))
        .rule(
            "it.authType == 'applicationCredential' || (has(it.username) && has(it.password))",
            "username and password are needed where authType is password",
        )
        .rule(
            "it.authType == 'applicationCredential' || !(has(it.applicationCredentialID) || \
             has(it.applicationCredentialSecret))",
            "applicationCredentialID and applicationCredentialSecret are for authType applicationCredential",
        )
        .rule(
            "it.authType == 'password' || (has(it.applicationCredentialID) && has(it.applicationCredentialSecret))",
            "applicationCredentialID and applicationCredentialSecret are needed where authType is applicationCredential",
        )
        .rule(
            "it.authType == 'password' || !(has(it.username) || has(it.password))",
            "username and password are for authType password",
        );
    object("OpenStack Barbican.")
        .field("authURL", string("Address of Keystone, like https://keystone.example.com:5000/v3."))
        .field("tenantName", string("Project whose secrets are read; that of the user if not set."))
        .field("domainName", string("Domain of the user and the project."))
        .field("region", string("Region of the key manager; any if not set."))
        .required("auth", auth)
}

fn name(description: &str) -> Node {
    object(description)
        .field("value", string("The value itself."))
        .field("secretRef", secret_key("Where it is."))
        .exactly_one_field()
}

fn secret(description: &str) -> Node {
    object(description).required("secretRef", secret_key("Where it is."))
}
