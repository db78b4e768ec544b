//! `gitlab`.

use super::super::node::*;
use super::super::shared::{ca_bundle, ca_provider, secret_ref};

pub(super) fn schema() -> Node {
    let token = object("Use an access token.").field("accessToken", secret_ref("Where the token is."));
    object("GitLab CI/CD variables.")
        .field("url", string("Address of GitLab; https://gitlab.com/ if not set."))
        .required("auth", object("How to log in.").required("SecretRef", token))
        .field("projectID", string("Project to read from: its id, or its path."))
        .field("inheritFromGroups", boolean("Read from the groups of the project too."))
        .field("groupIDs", strings("Groups to read from too; the last counts most, and the project before all."))
        .field("environment", string("Environment to read variables of, and those of all environments after it."))
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
}
