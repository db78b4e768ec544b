//! `scaleway`.

use super::super::node::*;
use super::super::shared::secret_ref;

pub(super) fn schema() -> Node {
    let key = |description| {
        object(description).field("value", string("It, as it is.")).field("secretRef", secret_ref("Where it is."))
    };
    object("Scaleway Secret Manager.")
        .field("apiUrl", string("Address of the API; https://api.scaleway.com if not set."))
        .required("region", string("Its region, like fr-par."))
        .required("projectId", string("Id of the project."))
        .required("accessKey", key("Id of the API key."))
        .required("secretKey", key("Secret of the API key."))
}
