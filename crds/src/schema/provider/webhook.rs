//! `webhook`: any HTTP service, described by templates.

use super::super::node::*;
use super::super::shared::{ca_bundle, ca_provider, secret_key};

pub(super) fn schema() -> Node {
    let secret = object("A Secret for the templates; it bears the label external-secrets.io/type: webhook.")
        .required("name", string("What templates call it."))
        .required("secretRef", secret_key("Which Secret; all its keys are there."));
    let result = object("What of the answer is the value.")
        .field("jsonPath", string("JSONPath of the value, a template; the whole answer if not set."));
    let ntlm = object("Log in by NTLM.")
        .required("usernameSecret", secret_key("Where the user name is."))
        .required("passwordSecret", secret_key("Where the password is."));
    let auth = object("How to log in: exactly one of these.").field("ntlm", ntlm).exactly_one_field();
    object("Any HTTP service, described by templates.")
        .field("method", string("HTTP method; GET if not set, POST to push."))
        .required("url", string("Address to call, a template."))
        .field("headers", map_of_strings("HTTP headers, whose values are templates."))
        .field("auth", auth)
        .field("body", string("Body of the request, a template."))
        .field("timeout", string("How long an answer may take, like 10s."))
        .required("result", result)
        .field("secrets", list("Secrets for the templates.", secret))
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
}
