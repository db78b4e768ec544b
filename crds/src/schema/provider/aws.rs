//! `aws`: Secrets Manager, Systems Manager Parameter Store, Certificate Manager.

use serde_json::json;

use super::super::node::*;
use super::super::shared::{secret_key, service_account};

pub(super) fn schema() -> Node {
    let tag = object("One tag.").required("key", string("Its key.")).required("value", string("Its value."));
    let secrets_manager = object("How secrets are deleted from Secrets Manager.")
        .field("forceDeleteWithoutRecovery", boolean("Delete at once; not together with recoveryWindowInDays."))
        .field(
            "recoveryWindowInDays",
            integer("Days in which a deleted secret can be brought back, 7 to 30.").set("format", json!("int64")),
        );
    object("AWS.")
        .required(
            "service",
            word("The service to read from.", &["SecretsManager", "ParameterStore", "CertificateManager"]),
        )
        .required("region", string("Its region, like eu-west-1."))
        .field("auth", auth())
        .field("role", string("ARN of a role to assume."))
        .field("additionalRoles", strings("ARNs of roles to assume before that one, in order."))
        .field("externalID", string("External id to assume the role with."))
        .field("prefix", string("Put before every key."))
        .field("secretsManager", secrets_manager)
        .field("sessionTags", list("Tags of the session in which the role is assumed.", tag))
        .field("transitiveTagKeys", strings("Keys of session tags that go on to the next role of a chain."))
        .field(
            "sessionTagsPolicy",
            word(
                "Simple: tag sessions with namespace and store; Custom: with customSessionTags too; None: not at all.",
                &["None", "Simple", "Custom"],
            )
            .default(json!("None")),
        )
        .field("customSessionTags", map_of_strings("Tags for sessionTagsPolicy Custom."))
}

pub(in crate::schema) fn auth() -> Node {
    let jwt = object("Log in with a token of a ServiceAccount that names a role (IRSA).")
        .field("serviceAccountRef", service_account("The ServiceAccount."));
    object("How to log in: secretRef or jwt; the operator's own identity if neither is set.")
        .field("jwt", jwt)
        .field("secretRef", access_key("Log in with an access key."))
}

/// An access key, kept in Secrets. Vault's login through AWS IAM takes the same.
pub(super) fn access_key(description: &str) -> Node {
    object(description)
        .field("accessKeyIDSecretRef", secret_key("Where the key's id is."))
        .field("secretAccessKeySecretRef", secret_key("Where the key is."))
        .field("sessionTokenSecretRef", secret_key("Where the session token of a temporary key is."))
}
