//! `github`.

use serde_json::json;

use super::super::node::*;
use super::super::shared::secret_ref;

pub(super) fn schema() -> Node {
    let number = |description| integer(description).set("format", json!("int64"));
    let auth =
        object("How to log in.").required("privateKey", secret_ref("Where the private key of the App is, as PEM."));
    object("GitHub Actions secrets (write only).")
        .field("url", string("Address of the API.").default(json!("https://github.com/")))
        .field("uploadURL", string("Passed over: nothing is uploaded."))
        .required("appID", number("Id of the GitHub App."))
        .required("installationID", number("Id of its installation."))
        .required("organization", string("The organization, or the user."))
        .field("repository", string("The repository, where secrets are of one."))
        .field("environment", string("The environment of the repository, where secrets are of one."))
        .field(
            "orgSecretVisibility",
            word(
                "Who sees secrets of the organization; those that are there keep it if not set.",
                &["all", "private", "selected"],
            ),
        )
        .required("auth", auth)
}
