//! `crd`: fields of custom resources.

use super::super::node::*;
use super::super::shared::{secret_key, service_account};
use super::kubernetes::{auth, server};

pub(super) fn schema() -> Node {
    let resource = object("The kind of what is read; not Secret.")
        .required("group", string("Its API group; \"\" for the core group."))
        .required("version", string("Its version, like v1.").length(1, 63))
        .required("kind", string("The kind.").length(1, 63));
    let rule = object("What may be read: all that is set must match.")
        .field("name", string("A regular expression for names."))
        .field("namespace", string("One for namespaces, in a ClusterSecretStore."))
        .field("properties", strings("Some for paths of fields; all of the object if there are none."));
    let whitelist =
        object("What may be read; all if there are no rules.").field("rules", list("One of them must match.", rule));
    object("Fields of custom resources in a Kubernetes cluster.")
        .required("resource", resource)
        .field("serviceAccountRef", service_account("Read from this cluster as this ServiceAccount."))
        .field("serviceAccountName", string("The same by its name alone."))
        .field("server", server())
        .field("auth", auth())
        .field("authRef", secret_key("A kubeconfig, in the place of server and auth."))
        .field("remoteNamespace", namespace_name("Namespace to read from."))
        .field("whitelist", whitelist)
        .rule("!(has(self.auth) && has(self.authRef))", "set either auth or authRef")
        .rule(
            "has(self.serviceAccountRef) || has(self.serviceAccountName) || has(self.auth) || has(self.authRef)",
            "set one of serviceAccountRef, auth and authRef",
        )
}
