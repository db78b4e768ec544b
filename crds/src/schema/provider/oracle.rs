//! `oracle`.

use super::super::node::*;
use super::super::shared::{secret_ref, service_account};

pub(super) fn schema() -> Node {
    let secrets = object("Where the key is.")
        .required("privatekey", secret_ref("Where the private key is, as PEM."))
        .required("fingerprint", secret_ref("Where its fingerprint is."));
    let auth = object("The user who logs in.")
        .required("tenancy", string("OCID of the tenancy."))
        .required("user", string("OCID of the user."))
        .required("secretRef", secrets);
    object("Oracle Cloud Infrastructure Vault.")
        .required("region", string("The region."))
        .required("vault", string("OCID of the vault."))
        .field("compartment", string("OCID of the compartment: for searches and pushes."))
        .field("encryptionKey", string("OCID of the key that new secrets are encrypted with: for pushes."))
        .field(
            "deletionGracePeriod",
            string("How long a deleted secret waits, 24h to 720h; Oracle's own choice if not set."),
        )
        .field(
            "principalType",
            word("Who logs in; only a user is supported.", &["", "UserPrincipal", "InstancePrincipal", "Workload"]),
        )
        .field("auth", auth)
        .field("serviceAccountRef", service_account("The ServiceAccount of a workload: not supported."))
}
