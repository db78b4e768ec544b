//! `fake`: values written in the store itself, for trials and tests.

use super::super::node::*;

pub(super) fn schema() -> Node {
    let entry = object("One value.")
        .required("key", string("Name of the secret."))
        .required("value", string("Its value."))
        .field("version", string("Its version."));
    object("Values written down here, for trials and tests.")
        .required("data", list("The values.", entry))
        .field("validationResult", integer("What checking the store says: 0 ready, 1 unknown, 2 error."))
}
