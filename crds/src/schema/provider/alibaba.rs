//! `alibaba`: Alibaba Cloud KMS. External Secrets Operator dropped it in 2.0; the fields are those of its v1beta1.

use super::super::node::*;
use super::super::shared::secret_key;

pub(super) fn schema() -> Node {
    let key = object("Log in with an access key.")
        .required("accessKeyIDSecretRef", secret_key("Where its id is."))
        .required("accessKeySecretSecretRef", secret_key("Where its secret is."));
    let role = object("Take a role with the operator's own token (RRSA); only in a ClusterSecretStore.")
        .required("oidcProviderArn", string("ARN of the identity provider that vouches for the cluster."))
        .required("oidcTokenFilePath", string("File in the operator's Pod that holds the token."))
        .required("roleArn", string("ARN of the role."))
        .required("sessionName", string("What logs call the session."));
    let auth = object("How to log in: one of these.").field("secretRef", key).field("rrsa", role);
    object("Secrets of Alibaba Cloud KMS.")
        .required("regionID", string("Region, like cn-hangzhou."))
        .required("auth", auth)
}
