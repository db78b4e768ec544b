//! What `--apply` does, and when it does nothing. Pure.

use std::fmt;

use crate::facts::{Area, Cluster, StoreName};
use crate::judge::Settings;
use crate::judge::crds::{Rewrite, is_dangerous, rewrite};
use crate::judge::finalizers::{free_namespaces, free_stores};
use crate::judge::operators::is_rival;

/// One change, each for itself and safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Delete a webhook configuration, if it is still the one that was judged.
    DeleteWebhooks {
        /// Whether it is a MutatingWebhookConfiguration.
        mutating: bool,
        /// Its name.
        name: String,
        /// As it was read.
        uid: String,
        /// As it was read.
        resource_version: String,
    },
    /// Have the API server convert a CRD's objects itself.
    ConvertByName {
        /// The name of the CRD.
        crd: String,
    },
    /// Store every object of a CRD anew.
    Rewrite {
        /// The name of the CRD.
        crd: String,
        /// The version of storage.
        version: String,
    },
    /// Take the finalizer off a store.
    FreeStore(StoreName),
    /// Take the finalizer of a ClusterExternalSecret that is gone off a namespace.
    FreeNamespace {
        /// The namespace.
        namespace: String,
        /// The ClusterExternalSecret.
        by: String,
    },
}

impl Step {
    /// What was done, in the words that are printed then.
    pub fn done(&self) -> String {
        self.say(["deleted", "set", "stored anew", "removed"])
    }

    fn say(&self, [delete, set, store, remove]: [&str; 4]) -> String {
        match self {
            Self::DeleteWebhooks { mutating: false, name, .. } => {
                format!("{delete} validatingwebhookconfiguration/{name}")
            }
            Self::DeleteWebhooks { mutating: true, name, .. } => {
                format!("{delete} mutatingwebhookconfiguration/{name}")
            }
            Self::ConvertByName { crd } => format!("{set} spec.conversion.strategy of crd/{crd} to None"),
            Self::Rewrite { crd, version } => {
                format!("{store} the objects of crd/{crd} as {version}, its only stored version then")
            }
            Self::FreeStore(store) => format!("{remove} the finalizer of {store}"),
            Self::FreeNamespace { namespace, by } => {
                format!("{remove} the finalizer of ClusterExternalSecret {by} from namespace/{namespace}")
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.say(["delete", "set", "store anew", "remove"]))
    }
}

/// Why nothing may be changed now.
pub fn refusal(cluster: &Cluster, settings: &Settings) -> Option<String> {
    if let Some(release) = cluster.releases.iter().find(|release| is_dangerous(release)) {
        return Some(format!(
            "uninstalling the Helm release {}/{} would delete CRDs, and with them all their objects; deal with that first",
            release.namespace, release.name
        ));
    }
    if cluster.broken.iter().any(|broken| broken.helm_may_read_it) || cluster.is_unread(Area::Helm) {
        return Some("not all of Helm's records could be read, so one of them may delete the CRDs".to_owned());
    }
    if cluster.is_unread(Area::Crds) {
        return Some("not all CRDs could be read".to_owned());
    }
    if cluster.is_unread(Area::Deployments) {
        return Some("Deployments could not be read, so External Secrets Operator may still run".to_owned());
    }
    let rival = cluster.operators.iter().find(|operator| is_rival(operator, settings))?;
    Some(format!(
        "External Secrets Operator still runs (deployment/{}/{}), and needs what would be removed",
        rival.namespace, rival.name
    ))
}

/// What there is to do, in the order in which it is done: first what refuses writes, since the rest writes.
pub fn steps(cluster: &Cluster) -> Vec<Step> {
    let mut steps = Vec::new();
    for webhooks in cluster.webhooks.iter().filter(|webhooks| webhooks.is_removable()) {
        steps.push(Step::DeleteWebhooks {
            mutating: webhooks.mutating,
            name: webhooks.name.clone(),
            uid: webhooks.uid.clone(),
            resource_version: webhooks.resource_version.clone(),
        });
    }
    for crd in &cluster.crds {
        // While objects in another form are stored, the webhook is what reads them: it goes after that.
        if crd.conversion.is_some() && crd.foreign().is_empty() {
            steps.push(Step::ConvertByName { crd: crd.name.clone() });
        }
        let storage = crd.storage().filter(|_| !crd.stale().is_empty() && rewrite(crd) == Rewrite::Possible);
        if let Some(version) = storage {
            steps.push(Step::Rewrite { crd: crd.name.clone(), version: version.to_owned() });
        }
    }
    steps.extend(free_stores(cluster).into_iter().flatten().map(|store| Step::FreeStore(store.name.clone())));
    for (namespace, by) in free_namespaces(cluster).into_iter().flatten() {
        steps.push(Step::FreeNamespace { namespace: namespace.to_owned(), by: by.to_owned() });
    }
    steps
}
