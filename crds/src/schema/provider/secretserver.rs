//! `secretserver`.

use serde_json::json;

use super::super::node::*;
use super::super::shared::{ca_bundle, ca_provider, secret_ref};

pub(super) fn schema() -> Node {
    let given = |description| {
        object(description).field("value", string("It, as it is.")).field("secretRef", secret_ref("Where it is."))
    };
    object("Delinea Secret Server.")
        .required("serverURL", string("Address of the server."))
        .field("username", given("Name of the user who logs in."))
        .field("password", given("Password of the user."))
        .field("domain", string("Domain of the user."))
        .field("token", given("An access token; user and password are not looked at then."))
        .field(
            "siteId",
            integer("Site of what is made by pushes; 1 if not set.")
                .set("format", json!("int64"))
                .set("minimum", json!(1)),
        )
        .field("disableSiteIDValidation", boolean("Make secrets of no site where siteId is not set."))
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
}
