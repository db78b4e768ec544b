//! `ngrok`.

use serde_json::json;

use super::super::node::*;
use super::super::shared::secret_ref;

pub(super) fn schema() -> Node {
    let key = object("Log in with an API key.").field("secretRef", secret_ref("Where it is."));
    object("ngrok vaults (write only).")
        .field("apiUrl", string("Address of the API.").default(json!("https://api.ngrok.com")))
        .required("auth", object("How to log in.").field("apiKey", key).exactly_one_field())
        .required("vault", object("The vault.").required("name", string("Its name.")))
}
