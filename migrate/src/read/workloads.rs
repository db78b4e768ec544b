//! Deployments of operators, and what clouds know their ServiceAccounts by.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, ServiceAccount};
use keyferry_cluster::pages;
use keyferry_cluster::problem::timely;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject};

use super::Reader;
use super::crds::pruned_by;
use crate::facts::{Area, Held, Operator, Pruned, Role};
use crate::images::{is_eso, is_keyferry};

/// Prefixes of annotations on ServiceAccounts that give an identity in a cloud.
const IDENTITIES: [&str; 4] =
    ["eks.amazonaws.com/", "iam.gke.io/", "azure.workload.identity/", "pod-identity.alibabacloud.com/"];

impl Reader {
    pub(super) async fn deployments(&mut self) {
        let api: Api<Deployment> = Api::all(self.client.clone());
        let mut operators = Vec::new();
        let listed = pages::all(&api, ListParams::default(), |deployment| operators.extend(operator(&deployment)));
        if let Err(problem) = listed.await {
            self.unread(Area::Deployments, "Deployments", &problem);
        }
        for mut operator in operators {
            if operator.role == Role::Controller {
                operator.identity = self.identity(&operator).await;
            }
            self.cluster.operators.push(operator);
        }
        self.accounts().await;
    }

    /// Of a release's ServiceAccounts its record tells; what a GitOps tool made has none.
    async fn accounts(&mut self) {
        let operators = self.cluster.operators.iter().filter(|operator| operator.role != Role::Keyferry);
        let namespaces: BTreeSet<String> = operators.map(|operator| operator.namespace.clone()).collect();
        let resource = ApiResource::erase::<ServiceAccount>(&());
        for namespace in namespaces {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &resource);
            let mut found = Vec::new();
            let listed = pages::all(&api, ListParams::default(), |account| found.extend(pruned(&account)));
            if let Err(problem) = listed.await {
                self.unread(Area::Objects, format!("ServiceAccounts in {namespace}"), &problem);
            }
            self.cluster.accounts.append(&mut found);
        }
    }

    async fn identity(&mut self, operator: &Operator) -> BTreeMap<String, String> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &operator.namespace);
        match timely(api.get_metadata_opt(&operator.account)).await {
            Ok(account) => {
                let mut annotations = account.and_then(|account| account.metadata.annotations).unwrap_or_default();
                annotations.retain(|key, _| IDENTITIES.iter().any(|prefix| key.starts_with(prefix)));
                annotations
            }
            Err(problem) => {
                let what = format!("ServiceAccount {}/{}", operator.namespace, operator.account);
                self.unread(Area::Objects, what, &problem);
                BTreeMap::new()
            }
        }
    }
}

/// A ServiceAccount that somebody would delete.
fn pruned(account: &DynamicObject) -> Option<Pruned> {
    let object = Held {
        kind: "ServiceAccount".to_owned(),
        namespace: account.metadata.namespace.clone().unwrap_or_default(),
        name: account.metadata.name.clone().unwrap_or_default(),
        ..Held::default()
    };
    Some(Pruned { object, by: pruned_by(account) }).filter(|pruned| !pruned.by.is_empty())
}

/// What a Deployment runs; `None` where that is nothing of interest.
pub(crate) fn operator(deployment: &Deployment) -> Option<Operator> {
    let spec = &deployment.spec;
    let pod = spec.template.spec.as_ref()?;
    let label = deployment.metadata.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/name"));
    let label = label.map(String::as_str).unwrap_or_default();
    // Our chart takes the names of External Secrets Operator's, this label among them, and says its own here.
    let chart = deployment.metadata.labels.as_ref().and_then(|labels| labels.get("helm.sh/chart"));
    let is_our_chart = chart.is_some_and(|chart| chart.starts_with("keyferry-"));
    let runs = |wanted: fn(&str) -> bool| {
        pod.containers.iter().find(|container| wanted(container.image.as_deref().unwrap_or_default()))
    };
    // The image tells more than a label, which a chart may let people choose.
    let (role, container) = if let Some(container) = runs(is_keyferry) {
        (Role::Keyferry, container)
    } else if let Some(container) = runs(is_eso) {
        (role(container), container)
    } else if label == "keyferry" || is_our_chart {
        (Role::Keyferry, pod.containers.first()?)
    } else if label == "external-secrets" {
        (role(pod.containers.first()?), pod.containers.first()?)
    } else {
        return None;
    };
    let shall = spec.replicas.unwrap_or(1) > 0;
    let has = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0) > 0;
    Some(Operator {
        role,
        namespace: deployment.metadata.namespace.clone().unwrap_or_default(),
        name: deployment.metadata.name.clone().unwrap_or_default(),
        class: flag(container, "--controller-class").filter(|c| !c.is_empty()).unwrap_or("default").to_owned(),
        running: shall || has,
        account: pod.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
        identity: BTreeMap::new(),
    })
}

/// Program and arguments, without the program.
fn words(container: &Container) -> impl Iterator<Item = &str> {
    let command = container.command.iter().flatten().skip(1);
    command.chain(container.args.iter().flatten()).map(String::as_str)
}

fn role(container: &Container) -> Role {
    match words(container).next() {
        Some("webhook") => Role::Webhook,
        Some("certcontroller") => Role::CertController,
        _ => Role::Controller,
    }
}

/// The value of a flag, which stands in the same word or the next. Go takes the last.
fn flag<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    let words: Vec<&str> = words(container).collect();
    let mut values = words.iter().enumerate().rev().filter_map(|(n, word)| match word.strip_prefix(name)? {
        "" => words.get(n + 1).copied(),
        rest => rest.strip_prefix('='),
    });
    values.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(image: &str, label: &str, args: &[&str]) -> Option<Operator> {
        let object = serde_json::json!({
            "metadata": {"namespace": "eso", "name": "it", "labels": {"app.kubernetes.io/name": label}},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "image": image, "args": args}]}}},
        });
        operator(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn images_of_any_registry_and_flavour() {
        for image in [
            "ghcr.io/external-secrets/external-secrets:v2.9.0",
            "oci.external-secrets.io/external-secrets/external-secrets:v2.9.0-ubi",
            "registry.example:5000/mirror/external-secrets/external-secrets@sha256:00",
            "registry.example:5000/external-secrets/external-secrets",
            "external-secrets/external-secrets-ubi:v1@sha256:00",
        ] {
            assert_eq!(deployment(image, "", &[]).map(|found| found.role), Some(Role::Controller), "{image}");
        }
        for image in ["nginx", "example/external-secrets-reporter:1", "localhost:5000/nginx"] {
            assert_eq!(deployment(image, "", &[]), None, "{image}");
        }
    }

    #[test]
    fn roles_and_classes() {
        let eso = "ghcr.io/external-secrets/external-secrets:v2.9.0";
        let role = |args: &[&str]| deployment(eso, "", args).unwrap().role;
        assert_eq!(role(&["webhook", "--port=10250"]), Role::Webhook);
        assert_eq!(role(&["certcontroller"]), Role::CertController);
        assert_eq!(role(&["--concurrent=1", "webhook"]), Role::Controller);
        let class = |args: &[&str]| deployment(eso, "", args).unwrap().class;
        assert_eq!(class(&[]), "default");
        assert_eq!(class(&["--controller-class=blue"]), "blue");
        assert_eq!(class(&["--controller-class", "blue"]), "blue");
        assert_eq!(class(&["--controller-class-of=blue"]), "default");
    }

    #[test]
    fn the_image_counts_more_than_the_label() {
        assert_eq!(deployment("a/keyferry:1", "external-secrets", &[]).unwrap().role, Role::Keyferry);
        assert_eq!(deployment("mirror/eso:1", "external-secrets", &[]).unwrap().role, Role::Controller);
        assert_eq!(deployment("mirror/kf:1", "keyferry", &[]).unwrap().role, Role::Keyferry);
    }

    #[test]
    fn our_chart_is_known_whatever_its_names_are() {
        let object = serde_json::json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "external-secrets", "helm.sh/chart": "keyferry-0.1.0"}},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "image": "mirror/kf:1"}]}}},
        });
        assert_eq!(operator(&serde_json::from_value(object).unwrap()).unwrap().role, Role::Keyferry);
    }
}
