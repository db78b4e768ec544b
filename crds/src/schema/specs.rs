//! The specs of generators that ask somebody. What they log in with is as in the stores of the same vendor.

use keyferry_limits::PROVIDER_ENTRIES;
use serde_json::json;

use super::node::*;
use super::provider::{aws_auth, gcp_auth, vault_store};
use super::shared::{ca_bundle, ca_provider, secret_key, service_account};

pub(super) fn acr() -> Node {
    let principal = object("Log in as an application with a client secret.").required(
        "secretRef",
        object("Where its id and secret are.")
            .field("clientId", secret_key("Where the id of the application is."))
            .field("clientSecret", secret_key("Where its client secret is.")),
    );
    let machine = object("Log in with a managed identity of the operator's machine.")
        .field("identityId", string("Its client id, or its place in Azure, where there are several."));
    let workload = object("Log in with workload identity.")
        .field("serviceAccountRef", service_account("The ServiceAccount; the operator's own if not set."));
    let auth = object("How to log in: one of these.")
        .field("servicePrincipal", principal)
        .field("managedIdentity", machine)
        .field("workloadIdentity", workload);
    let clouds = ["PublicCloud", "USGovernmentCloud", "ChinaCloud", "GermanCloud", "AzureStackCloud"];
    object("Which registry, and who asks.")
        .required("auth", auth)
        .field("tenantId", string("Id of the tenant; needed for servicePrincipal."))
        .required("registry", string("Name of the registry, like example.azurecr.io."))
        .field(
            "scope",
            string(
                "What the token is for, like repository:my-repository:pull; all that the identity may do if not set.",
            ),
        )
        .field("environmentType", word("The cloud.", &clouds).default(json!("PublicCloud")))
}

pub(super) fn cloudsmith() -> Node {
    object("Which service of which organisation, and who asks.")
        .field("apiUrl", string("Address of the API; https://api.cloudsmith.io if not set."))
        .required("orgSlug", string("Slug of the organisation."))
        .required("serviceSlug", string("Slug of the service."))
        .required("serviceAccountRef", service_account("The ServiceAccount whose tokens Cloudsmith believes."))
}

pub(super) fn ecr() -> Node {
    object("Which registry, and who asks.")
        .required("region", string("Region of the registry, like eu-west-1."))
        .field("auth", aws_auth())
        .field("role", string("ARN of a role to assume."))
        .field("scope", string("private, which is so if not set, or public."))
}

pub(super) fn gcr() -> Node {
    object("Who asks.")
        .required("auth", gcp_auth())
        .required("projectID", string("The project that a cluster of workloadIdentity is in, where that does not say."))
}

pub(super) fn github() -> Node {
    let key = object("The private key of the App.").required("secretRef", secret_key("Where the key (PEM) is."));
    let one = |field: &str| format!("has(it.{field}) != has(it.{field}Ref)");
    object("Which installation of which App, and what its token is for.")
        .field("url", string("Address of the API; https://api.github.com if not set."))
        .field("appID", string("Id of the App; use either this or appIDRef."))
        .field("appIDRef", secret_key("Where the id of the App is."))
        .field("installID", string("Id of the installation; use either this or installIDRef."))
        .field("installIDRef", secret_key("Where the id of the installation is."))
        .field("repositories", strings("Repositories that the token is for; all of the installation if not set."))
        .field("permissions", map_of_strings("What the token may do; all that the App may if not set."))
        .required("auth", object("How to log in.").required("privateKey", key))
        .rule(&one("appID"), "set exactly one of appID and appIDRef")
        .rule(&one("installID"), "set exactly one of installID and installIDRef")
}

pub(super) fn gitlab() -> Node {
    let token = object("An access token of the API.").required("secretRef", secret_key("Where the token is."));
    let scopes = [
        "read_repository",
        "read_registry",
        "write_registry",
        "read_package_registry",
        "write_package_registry",
        "read_virtual_registry",
        "write_virtual_registry",
    ];
    object("Which project or group, and what the token is for.")
        .field("url", string("Address of GitLab; https://gitlab.com if not set."))
        .field("projectID", string("Id or path of the project; use either this or groupID."))
        .field("groupID", string("Id or path of the group; use either this or projectID."))
        .required("name", string("Name of the token."))
        .required("scopes", list("What the token may do.", word("A scope.", &scopes)).set("minItems", json!(1)))
        .field("expiresAt", time("When the token ends; it is revoked when it is replaced in any case."))
        .field("expiresAfter", string("How long each token lives, like 720h; not together with expiresAt."))
        .field("username", string("Name that the token logs in by; one of GitLab's own if not set."))
        .required("auth", object("How to log in.").required("token", token))
        .rule("has(it.projectID) != has(it.groupID)", "set exactly one of projectID and groupID")
        .rule("!(has(it.expiresAt) && has(it.expiresAfter))", "set at most one of expiresAt and expiresAfter")
}

pub(super) fn grafana() -> Node {
    let basic = object("Log in with a user.")
        .required("username", string("Name of the user."))
        .required("password", key_of_secret("Where the password is."));
    let auth = object("How to log in: one of these, with the right to make tokens of service accounts.")
        .field("token", key_of_secret("Where a token of a service account is."))
        .field("basic", basic);
    let account = object("The service account; it is made where there is none of its name.")
        .required("name", string("Its name."))
        .required("role", string("Its role, where it is made: Viewer, Editor, Admin or None."))
        .field("secondsToLive", integer("How long each token lives; until it is replaced if not set."));
    object("Which service account of which Grafana.")
        .required("url", string("Address of Grafana."))
        .required("auth", auth)
        .required("serviceAccount", account)
}

pub(super) fn mfa() -> Node {
    object("What the codes are made of.")
        .required("secret", secret_key("Where the seed (base32) is."))
        .field("length", integer("Number of digits; 6 if not set, at most 10."))
        .field("timePeriod", integer("How many seconds a code is good; 30 if not set."))
        .field("algorithm", string("sha1, which is so if not set, sha256, sha384, sha512 or sha512_256."))
        .field("when", time("The time that codes are of; now if not set."))
}

pub(super) fn quay() -> Node {
    object("Which robot account of which registry, and who asks.")
        .field("url", string("Name of the registry; quay.io if not set."))
        .required("robotAccount", string("Name of the robot account, like organisation+robot."))
        .required("serviceAccountRef", service_account("The ServiceAccount whose tokens the robot account believes."))
}

pub(super) fn ssh() -> Node {
    object("What the keys are.")
        .field("keyType", word("Kind of the keys.", &["rsa", "ecdsa", "ed25519"]).default(json!("rsa")))
        .field(
            "keySize",
            integer("Size: 2048 (if not set), 3072 or 4096 of rsa; 256 (if not set), 384 or 521 of ecdsa."),
        )
        .field("comment", string("What the public key says of itself."))
}

pub(super) fn sts() -> Node {
    let parameters = object("What AWS is told.")
        .field(
            "sessionDuration",
            integer("Seconds that a session lasts; twelve hours if not set.").set("format", json!("int64")),
        )
        .field("serialNumber", string("Serial number or ARN of an MFA device."))
        .field("tokenCode", string("The code that the device shows."));
    object("Who asks, and for what.")
        .required("region", string("Region of STS, like eu-west-1."))
        .field("auth", aws_auth())
        .field("role", string("ARN of a role to assume."))
        .field("requestParameters", parameters)
}

pub(super) fn vault() -> Node {
    let retries = object("How often a failed call is tried again; an ExternalSecret tries again by itself.")
        .field("maxRetries", integer("Number of tries after the first.").set("format", json!("int32")))
        .field("retryInterval", string("Time between two tries, like 5s."));
    object("What is asked of which Vault.")
        .field("controller", string("Controller class that looks after it; empty is any."))
        .required("path", string("Path that is asked, like database/creds/my-role."))
        .field("method", string("GET, which is so if not set, LIST, DELETE; whatever else writes."))
        .field("parameters", any_value("Body of a request that writes: an object."))
        .field("getParameters", map("Query of a GET.", strings("Values.")))
        .field(
            "resultType",
            word("What of the answer the values are: data, auth, or all of it.", &["Data", "Auth", "Raw"])
                .default(json!("Data")),
        )
        .field("allowEmptyResponse", boolean("Take an empty answer for no values.").default(json!(false)))
        .field("retrySettings", retries)
        .required("provider", vault_store().bounded(&PROVIDER_ENTRIES))
}

pub(super) fn webhook() -> Node {
    let secret = object("A Secret for the templates; it bears the label external-secrets.io/type: webhook.")
        .required("name", string("What templates call it."))
        .required("secretRef", secret_key("Which Secret; all its keys are there."));
    let ntlm = object("Log in by NTLM.")
        .required("usernameSecret", secret_key("Where the user name is."))
        .required("passwordSecret", secret_key("Where the password is."));
    object("Any HTTP service, described by templates.")
        .field("method", string("HTTP method; GET if not set."))
        .required("url", string("Address to call, a template."))
        .field("headers", map_of_strings("HTTP headers, whose values are templates."))
        .field("auth", object("How to log in: exactly one of these.").field("ntlm", ntlm).exactly_one_field())
        .field("body", string("Body of the request, a template."))
        .field("timeout", string("How long an answer may take, like 10s."))
        .required(
            "result",
            object("What of the answer the values are.")
                .field("jsonPath", string("JSONPath of an object, a template; the whole answer if not set.")),
        )
        .field("secrets", list("Secrets for the templates.", secret))
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
}

/// A key of a Secret of the same namespace.
fn key_of_secret(description: &str) -> Node {
    object(description).field("name", object_name("Name of the Secret.")).field("key", data_key("Key in the Secret."))
}
