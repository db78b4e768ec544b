//! `delinea`: DevOps Secrets Vault.

use super::super::node::*;
use super::super::shared::secret_ref;

pub(super) fn schema() -> Node {
    let given = |description| {
        object(description).field("value", string("It, as it is.")).field("secretRef", secret_ref("Where it is."))
    };
    object("Delinea DevOps Secrets Vault.")
        .required("clientId", given("Id of the client."))
        .required("clientSecret", given("Secret of the client."))
        .required("tenant", string("Name of the tenant."))
        .field("tld", string("Top-level domain; com if not set."))
        .field("urlTemplate", string("URL with %s for tenant, tld, resource and path."))
}
