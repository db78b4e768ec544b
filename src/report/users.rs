//! Who uses a Secret, or mounts an ExternalSecret without one: pods, and what makes pods, by what their specs say. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use keyferry_node::DRIVER;
use serde::Serialize;

/// Something that runs, the Secrets that it uses, and the ExternalSecrets that it mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The ServiceAccount that its pods run as.
    pub service_account: String,
    /// The Secrets, each with how it is used.
    pub secrets: BTreeSet<(String, Use)>,
    /// The ExternalSecrets that its pods mount by our driver.
    pub mounts: BTreeSet<String>,
}

/// How a Secret is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Use {
    /// As files.
    Volume,
    /// As variables: all of its keys.
    EnvFrom,
    /// As a variable: one of its keys.
    Env,
    /// To pull images, or by a driver of volumes.
    Kubelet,
}

impl User {
    /// Of a pod, or of what makes pods like this.
    pub fn new(kind: &str, namespace: &str, name: &str, spec: &PodSpec) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            secrets: secrets(spec),
            mounts: mounts(spec),
        }
    }

    /// Whether it uses or mounts anything.
    pub fn is_one(&self) -> bool {
        !self.secrets.is_empty() || !self.mounts.is_empty()
    }

    /// How it uses a Secret of its namespace; none where it does not.
    pub fn uses(&self, secret: &str) -> Vec<Use> {
        self.secrets.iter().filter(|(name, _)| name == secret).map(|(_, how)| *how).collect()
    }
}

/// The Secrets that a pod uses, and how.
fn secrets(spec: &PodSpec) -> BTreeSet<(String, Use)> {
    let mut found = BTreeSet::new();
    spec.volumes.iter().flatten().for_each(|of| volume(of, &mut found));
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers.for_each(|of| container(of, &mut found));
    let pull = spec.image_pull_secrets.iter().flatten();
    found.extend(pull.map(|reference| (reference.name.clone(), Use::Kubelet)));
    found
}

/// The ExternalSecrets that a pod mounts by our driver.
fn mounts(spec: &PodSpec) -> BTreeSet<String> {
    let ours =
        spec.volumes.iter().flatten().filter_map(|volume| volume.csi.as_ref()).filter(|csi| csi.driver == DRIVER);
    ours.filter_map(|csi| csi.volume_attributes.as_ref()?.get("externalSecret").cloned()).collect()
}

fn volume(volume: &Volume, found: &mut BTreeSet<(String, Use)>) {
    if let Some(name) = volume.secret.as_ref().and_then(|secret| secret.secret_name.clone()) {
        found.insert((name, Use::Volume));
    }
    let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let projected = projected.filter_map(|source| Some(source.secret.as_ref()?.name.clone()));
    found.extend(projected.map(|name| (name, Use::Volume)));
    let driver = volume.csi.as_ref().and_then(|csi| csi.node_publish_secret_ref.as_ref());
    found.extend(driver.map(|reference| (reference.name.clone(), Use::Kubelet)));
}

fn container(container: &Container, found: &mut BTreeSet<(String, Use)>) {
    let whole = container.env_from.iter().flatten().filter_map(|from| Some(from.secret_ref.as_ref()?.name.clone()));
    found.extend(whole.map(|name| (name, Use::EnvFrom)));
    let each = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()?.secret_key_ref.as_ref());
    found.extend(each.map(|reference| (reference.name.clone(), Use::Env)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_use_a_secret_is_seen() {
        let spec: PodSpec = serde_json::from_value(json!({
            "serviceAccountName": "app",
            "volumes": [
                {"name": "a", "secret": {"secretName": "files"}},
                {"name": "b", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "c"}}]}},
                {"name": "c", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "driver"}}},
                {"name": "d", "emptyDir": {}},
                {"name": "e", "csi": {"driver": "csi.keyferry.io", "volumeAttributes": {"externalSecret": "mounted"}}},
                {"name": "f", "csi": {"driver": "csi.example.com", "volumeAttributes": {"externalSecret": "another's"}}},
            ],
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "whole"}}]}],
            "containers": [{
                "name": "c",
                "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}}, {"name": "Y", "value": "v"}],
                "envFrom": [{"configMapRef": {"name": "c"}}],
            }],
        }))
        .unwrap();
        let user = User::new("Deployment", "shop", "web", &spec);
        let named: Vec<&str> = user.secrets.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(named, ["driver", "files", "one", "projected", "pull", "whole"]);
        assert_eq!(user.mounts.iter().collect::<Vec<_>>(), ["mounted"]);
        assert_eq!((user.uses("files"), user.uses("one"), user.uses("c")), (vec![Use::Volume], vec![Use::Env], vec![]));
        assert_eq!((user.service_account.as_str(), user.uses("whole")), ("app", vec![Use::EnvFrom]));
    }
}
