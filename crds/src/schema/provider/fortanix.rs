//! `fortanix`.

use super::super::node::*;
use super::super::shared::secret_ref;

pub(super) fn schema() -> Node {
    object("Fortanix Data Security Manager.")
        .field("apiUrl", string("Address of the API; https://sdkms.fortanix.com if not set."))
        .field("apiKey", object("API key of an app.").field("secretRef", secret_ref("Where it is.")))
}
