//! `onepassword`: 1Password through a Connect server; and `onepasswordSDK`, which nobody but the vendor's library can speak.

use serde_json::json;

use super::super::node::*;
use super::super::shared::secret_key;

pub(super) fn schema() -> Node {
    let secret = object("The token of the Connect server.")
        .required("connectTokenSecretRef", secret_key("Where the token is; name and key are needed."));
    let auth = object("How to log in.").required("secretRef", secret);
    let order = integer("Its place in the order: the least comes first. Each vault has its own.");
    object("Items of 1Password through a Connect server.")
        .required("connectHost", string("Address of the Connect server, like http://onepassword-connect:8080."))
        .required("vaults", map("The vaults to look through, by name or id.", order))
        .required("auth", auth)
}

pub(super) fn sdk() -> Node {
    let auth = object("How to log in.")
        .required("serviceAccountSecretRef", secret_key("Where the token of the service account is."));
    let integration = object("What the integration calls itself.")
        .field("name", string("Its name.").default(json!("1Password SDK")))
        .field("version", string("Its version.").default(json!("v1.0.0")));
    let cache = object("Keeps what was read.")
        .field("ttl", string("For how long.").default(json!("5m")))
        .field("maxSize", integer("How many secrets.").set("minimum", json!(1)).default(json!(100)));
    object("1Password with a service account: use onepassword (a Connect server) instead.")
        .field("vault", string("Name or id of the vault."))
        .field("environment", string("Id of the environment, in place of a vault."))
        .field("integrationInfo", integration)
        .required("auth", auth)
        .field("cache", cache)
}
