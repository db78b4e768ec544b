//! `doppler`.

use serde_json::json;

use super::super::node::*;
use super::super::shared::{secret_ref, service_account};

pub(super) fn schema() -> Node {
    let transformers = ["upper-camel", "camel", "lower-snake", "tf-var", "dotnet-env", "lower-kebab"];
    object("Doppler: the secrets of one config.")
        .required("auth", auth())
        .field("project", string("The project; needed where the token is not of one config."))
        .field("config", string("The config; needed where the token is not of one config."))
        .field("nameTransformer", word("How a search names what it finds.", &transformers))
        .field(
            "format",
            word(
                "A search finds all secrets as one file of this format, under DOPPLER_SECRETS_FILE.",
                &["json", "dotnet-json", "env", "yaml", "docker"],
            ),
        )
}

fn auth() -> Node {
    let token =
        object("Use a token.").required("dopplerToken", secret_ref("Where the token is; key dopplerToken if not set."));
    let oidc = object("Log in with a token of a ServiceAccount.")
        .required("identity", string("Id of Doppler's service account identity."))
        .required("serviceAccountRef", service_account("The ServiceAccount."))
        .field(
            "expirationSeconds",
            integer("Life of the token in seconds.").default(json!(600)).set("format", json!("int64")),
        );
    object("How to log in: one of these.")
        .field("secretRef", token)
        .field("oidcConfig", oidc)
        .rule("has(it.secretRef) != has(it.oidcConfig)", "set exactly one of secretRef and oidcConfig")
}
