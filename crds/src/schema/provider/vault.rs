//! `vault`: HashiCorp Vault, and OpenBao, which speaks the same language; `openBao`: OpenBao under a key of its own, which has
//! fewer fields.

use serde_json::json;

use super::super::node::*;
use super::super::shared::{ca_bundle, ca_provider, secret_key, service_account};
use super::aws::access_key;
use super::gcpsm;

pub(in crate::schema) fn schema() -> Node {
    let tls = object("Client certificate for the connection itself (for a login by certificate see auth.cert).")
        .field("certSecretRef", secret_key("Where the certificate is; key tls.crt if not set."))
        .field("keySecretRef", secret_key("Where its key is; key tls.key if not set."));
    let check_and_set = object("Write only over the version that was read (KV version 2).")
        .field("required", boolean("Send the version with every write."));
    object("HashiCorp Vault or OpenBao, KV secrets engine.")
        .required("server", string("Its address, like https://vault.example.com:8200."))
        .field(
            "path",
            string("Path at which the secrets engine is mounted, like secret; left out, keys begin with it."),
        )
        .field("version", word("Version of the secrets engine.", &["v1", "v2"]).default(json!("v2")))
        .field("namespace", string("Vault namespace to read from."))
        .field("auth", auth())
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
        .field("tls", tls)
        .field("headers", map_of_strings("HTTP headers to send with every request."))
        .field("readYourWrites", boolean("Read from a replica only what is as new as our last write."))
        .field("forwardInconsistent", boolean("With readYourWrites: let replicas that lag hand the request on."))
        .field("checkAndSet", check_and_set)
}

pub(super) fn open_bao() -> Node {
    let one = |fields: [&str; 2], count: &str| {
        format!("[has(it.{}), has(it.{})].filter(is_set, is_set).size() {count}", fields[0], fields[1])
    };
    let app_role = object("Log in with an AppRole.")
        .field("path", mounted_at("approle"))
        .field("roleId", string("Id of the role; use either this or roleRef.").set("minLength", json!(1)))
        .field("roleRef", secret_key("Where the id of the role is."))
        .required("secretRef", secret_key("Where the secret id is."))
        .rule(&one(["roleId", "roleRef"], "== 1"), "set exactly one of roleId and roleRef");
    let kubernetes = object("Log in with a token of a ServiceAccount.")
        .field("path", mounted_at("kubernetes"))
        .required("role", string("OpenBao role to take.").set("minLength", json!(1)))
        .field("serviceAccountRef", service_account("The ServiceAccount."))
        .field("secretRef", secret_key("Where a ServiceAccount's token is; key token if not set."))
        .rule(&one(["serviceAccountRef", "secretRef"], "== 1"), "set exactly one of serviceAccountRef and secretRef");
    let auth = object("How to log in: one of these.")
        .field("namespace", string("OpenBao namespace to log in to; that of the store if not set."))
        .field("tokenSecretRef", secret_key("Use this token."))
        .field("appRole", app_role)
        .field("kubernetes", kubernetes)
        .field("userPass", password("Log in with a user of OpenBao.", "userpass"))
        .rule(
            "[has(it.tokenSecretRef), has(it.appRole), has(it.kubernetes), has(it.userPass)].filter(is_set, is_set).size() \
             == 1",
            "set exactly one of tokenSecretRef, appRole, kubernetes and userPass",
        );
    object("OpenBao, KV secrets engine.")
        .required("server", string("Its address, like https://openbao.example.com:8200."))
        .field("path", string("Path at which the secrets engine is mounted; kv if not set. Keys are inside it."))
        .field("version", word("Version of the secrets engine.", &["v1", "v2"]).default(json!("v2")))
        .field("namespace", string("OpenBao namespace to read from."))
        .field("auth", auth)
        .field("caBundle", ca_bundle())
        .field("caProvider", ca_provider())
        .rule(&one(["caBundle", "caProvider"], "<= 1"), "set at most one of caBundle and caProvider")
}

fn auth() -> Node {
    object("How to log in: one of these.")
        .field("namespace", string("Vault namespace to log in to; that of the store if not set."))
        .field("tokenSecretRef", secret_key("Use this token."))
        .field("appRole", app_role())
        .field("kubernetes", kubernetes())
        .field("ldap", password("Log in with an LDAP user.", "ldap"))
        .field("userPass", password("Log in with a user of Vault.", "userpass"))
        .field("jwt", jwt())
        .field("cert", cert())
        .field("iam", iam())
        .field("gcp", gcp())
}

fn mounted_at(default: &str) -> Node {
    string("Path at which the login method is mounted.").default(json!(default))
}

fn app_role() -> Node {
    object("Log in with an AppRole.")
        .field("path", mounted_at("approle"))
        .field("roleId", string("Id of the role; use either this or roleRef."))
        .field("roleRef", secret_key("Where the id of the role is."))
        .required("secretRef", secret_key("Where the secret id is."))
}

fn kubernetes() -> Node {
    object("Log in with a token of a ServiceAccount.")
        .field("mountPath", mounted_at("kubernetes"))
        .required("role", string("Vault role to take."))
        .field(
            "serviceAccountRef",
            service_account("The ServiceAccount; the operator's own if secretRef is not set either."),
        )
        .field("secretRef", secret_key("Where a ServiceAccount's token is; key token if not set."))
}

fn password(description: &str, mount: &str) -> Node {
    object(description)
        .field("path", mounted_at(mount))
        .required("username", string("Name of the user."))
        .field("secretRef", secret_key("Where the password is."))
}

fn jwt() -> Node {
    let token = object("Ask Kubernetes for a token.")
        .required("serviceAccountRef", service_account("The ServiceAccount to ask for."))
        .field("audiences", strings("Audiences of the token; vault if not set. Better: serviceAccountRef.audiences."))
        .field(
            "expirationSeconds",
            integer("Life of the token in seconds; 600 if not set.").set("format", json!("int64")),
        );
    object("Log in with a JWT.")
        .field("path", mounted_at("jwt"))
        .field("role", string("Vault role to take."))
        .field("secretRef", secret_key("Where the JWT is."))
        .field("kubernetesServiceAccountToken", token)
}

fn cert() -> Node {
    object("Log in with a client certificate.")
        .field("path", mounted_at("cert"))
        .field("vaultRole", string("Vault role to take; any that fits if not set."))
        .field("clientCert", secret_key("Where the certificate is."))
        .field("secretRef", secret_key("Where its key is."))
}

fn iam() -> Node {
    let jwt = object("Get AWS credentials with a token of a ServiceAccount (IRSA).")
        .field("serviceAccountRef", service_account("The ServiceAccount."));
    object("Log in with an AWS identity; the operator's own if neither jwt nor secretRef is set.")
        .field("path", string("Path at which the login method is mounted; aws if not set."))
        .field("region", string("AWS region."))
        .field("role", string("ARN of an AWS role to assume first."))
        .field("externalID", string("External id to assume that role with."))
        .required("vaultRole", string("Vault role to take."))
        .field("vaultAwsIamServerID", string("Value of the header X-Vault-AWS-IAM-Server-ID."))
        .field("jwt", jwt)
        .field("secretRef", access_key("Get AWS credentials from an access key."))
}

fn gcp() -> Node {
    object("Log in with a Google Cloud identity; the operator's own if none is named.")
        .field("path", mounted_at("gcp"))
        .required("role", string("Vault role to take."))
        .field("projectID", string("Google Cloud project."))
        .field("location", string("Google Cloud location."))
        .field("secretRef", gcpsm::key())
        .field("serviceAccountRef", service_account("A ServiceAccount to act as."))
        .field("workloadIdentity", gcpsm::workload_identity())
}
