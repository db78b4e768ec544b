//! `gcpsm`: Google Cloud Secret Manager.

use serde_json::json;

use super::super::node::*;
use super::super::shared::{secret_key, service_account};

pub(super) fn schema() -> Node {
    let policy = word(
        "When the last version is disabled or destroyed: fail, or take the last that is enabled.",
        &["LatestOrFail", "LatestOrFetch"],
    );
    object("Google Cloud Secret Manager.")
        .field(
            "projectID",
            string("Project of the secrets, by id or number; that of the operator's machine if not set."),
        )
        .field(
            "location",
            string("Location of regional secrets, like europe-west1; secrets kept everywhere if not set."),
        )
        .field("secretVersionSelectionPolicy", policy.default(json!("LatestOrFail")))
        .field("auth", auth())
}

pub(in crate::schema) fn auth() -> Node {
    object("How to log in: the first of these counts; the operator's own identity if none is set.")
        .field("secretRef", key())
        .field("workloadIdentity", workload_identity())
        .field("workloadIdentityFederation", federation())
}

/// A key of a service account. Vault's login takes the same.
pub(super) fn key() -> Node {
    object("Use a service account key.").field("secretAccessKeySecretRef", secret_key("Where the key (JSON) is."))
}

/// An identity of a GKE cluster. Vault's login takes the same.
pub(super) fn workload_identity() -> Node {
    object("Use GKE workload identity.")
        .required("serviceAccountRef", service_account("The ServiceAccount."))
        .field("clusterLocation", string("Location of the cluster; asked of the metadata server if not set."))
        .field("clusterName", string("Name of the cluster; asked of the metadata server if not set."))
        .field("clusterProjectID", string("Project of the cluster; asked of the metadata server if not set."))
}

fn federation() -> Node {
    let config = object("ConfigMap with the configuration that Google gives for a federation (JSON).")
        .required("name", object_name("Name of the ConfigMap."))
        .required("key", data_key("Key in the ConfigMap."))
        .field("namespace", namespace_name("Namespace of the ConfigMap: needed in a ClusterSecretStore."));
    let secret =
        object("Secret with aws_access_key_id, aws_secret_access_key and, where there is one, aws_session_token.")
            .required("name", object_name("Name of the Secret."))
            .field("namespace", namespace_name("Namespace of the Secret: needed in a ClusterSecretStore."));
    let aws = object("Show keys of AWS.")
        .required("region", string("AWS region.").length(1, 50).pattern("^[a-z0-9-]+$"))
        .required("awsCredentialsSecretRef", secret);
    object("Use workload identity federation: exactly one of credConfig, serviceAccountRef and awsSecurityCredentials.")
        .field("credConfig", config)
        .field("serviceAccountRef", service_account("Show a token of this ServiceAccount."))
        .field("awsSecurityCredentials", aws)
        .field(
            "audience",
            string("Provider of the pool, //iam.googleapis.com/projects/...; needed without credConfig."),
        )
        .field("externalTokenEndpoint", string("The URL that credConfig may ask for a token: the same as in there."))
        .field("gcpServiceAccountEmail", string("Service account to act as."))
}
