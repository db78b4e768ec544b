//! Providers that we don't serve, as far as what External Secrets Operator's own CRDs refuse is refused here too: its
//! documentation is full of places to fill in, and one that was forgotten is told at once. They stay open: what they don't
//! name is kept.

use super::super::node::*;
use super::super::shared::secret_ref;

pub(super) fn onboardbase() -> Node {
    // Closed, as it is there: a login of another form is none.
    let auth = object("How to log in.")
        .required("apiKeyRef", secret_ref("Where the API key is."))
        .required("passcodeRef", secret_ref("Where the passcode is."));
    anything("Onboardbase.").required("auth", auth)
}

pub(super) fn pulumi() -> Node {
    let token = anything("The access token.").field("secretRef", secret_ref("Where it is."));
    anything("Pulumi ESC environments.")
        .required("organization", string("The organization."))
        .required("project", string("The project."))
        .required("environment", string("The environment."))
        .field("accessToken", token)
}
