//! `akeyless`.

use super::super::node::*;
use super::super::shared::{ca_bundle, ca_provider, secret_ref, service_account};

pub(super) fn schema() -> Node {
    let secrets = object("Log in as Secrets say.")
        .field("accessID", secret_ref("Where the access id is."))
        .field("accessType", secret_ref("Where the kind of login is: api_key, k8s, azure_ad or gcp."))
        .field("accessTypeParam", secret_ref("Where the key is, or what else the kind of login takes."));
    let kubernetes = object("Log in with a Kubernetes token; the operator's own where none is named.")
        .required("accessID", string("Access id of the login."))
        .required("k8sConfName", string("Name of the cluster's configuration in the gateway."))
        .field("serviceAccountRef", service_account("Use a token of this ServiceAccount."))
        .field("secretRef", secret_ref("Use this token; key token if not set."));
    let auth = object("How to log in: one of secretRef and kubernetesAuth.")
        .field("secretRef", secrets)
        .field("kubernetesAuth", kubernetes)
        .field("serviceAccountRef", service_account("Not supported: use kubernetesAuth."));
    object("Akeyless.")
        .required("akeylessGWApiURL", string("Address of the API, or of a gateway."))
        .required("authSecretRef", auth)
        .field("ignoreCache", boolean("Have a gateway ask for values anew."))
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
}
