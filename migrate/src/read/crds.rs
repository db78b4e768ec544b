//! CustomResourceDefinitions of the groups.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_cluster::pages;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject};

use super::{Reader, annotation, label, list, text};
use crate::facts::{Area, Crd, Version, is_ours};

impl Reader {
    pub(super) async fn crds(&mut self) {
        let resource = ApiResource::erase::<CustomResourceDefinition>(&());
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        // Schemas are large, and a cluster may have a thousand CRDs of others: names first.
        let mut names = Vec::new();
        let listed = pages::all_metadata(&api, ListParams::default(), |metadata| {
            let name = metadata.name.unwrap_or_default();
            if name.split_once('.').is_some_and(|(_, group)| is_ours(group)) {
                names.push(name);
            }
        });
        if let Err(problem) = listed.await {
            return self.unread(Area::Crds, "CustomResourceDefinitions", &problem);
        }
        for name in names {
            match pages::one(&api, &name).await {
                Ok(None) => {} // gone meanwhile
                Ok(Some(object)) => {
                    let mut crd = facts(&object);
                    if text(&object.data, "/spec/conversion/strategy") == "Webhook" {
                        crd.conversion = Some(self.backend(&object.data["spec"]["conversion"]["webhook"]).await);
                    }
                    self.cluster.crds.push(crd);
                }
                Err(problem) => self.unread(Area::Crds, format!("CustomResourceDefinition {name}"), &problem),
            }
        }
    }
}

/// All but who converts.
fn facts(object: &DynamicObject) -> Crd {
    let data = &object.data;
    let owned = |pointer| text(data, pointer).to_owned();
    let versions = list(data, "/spec/versions").map(|version| Version {
        name: text(version, "/name").to_owned(),
        served: version["served"] == true,
        storage: version["storage"] == true,
    });
    let stored = list(data, "/status/storedVersions").filter_map(|version| version.as_str()).map(str::to_owned);
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Crd {
        name: object.metadata.name.clone().unwrap_or_default(),
        group: owned("/spec/group"),
        kind: owned("/spec/names/kind"),
        plural: owned("/spec/names/plural"),
        namespaced: text(data, "/spec/scope") == "Namespaced",
        versions: versions.collect(),
        stored: stored.collect(),
        conversion: None,
        pruned_by: pruned_by(object),
        flux_helm: some(label(object, "helm.toolkit.fluxcd.io/name")).map(|name| {
            match label(object, "helm.toolkit.fluxcd.io/namespace") {
                "" => name,
                namespace => format!("{namespace}/{name}"),
            }
        }),
        helm: some(annotation(object, HELM))
            .map(|name| (annotation(object, "meta.helm.sh/release-namespace").to_owned(), name)),
    }
}

/// Who would delete an object once it is no longer in a repository, and was not told to leave it.
pub fn pruned_by(object: &DynamicObject) -> Vec<String> {
    let mut by = Vec::new();
    let options = annotation(object, "argocd.argoproj.io/sync-options");
    let is_told = |option: &str| options.split(',').any(|told| told.trim() == option);
    if !(is_told("Prune=false") && is_told("Delete=false")) {
        let instance = label(object, "argocd.argoproj.io/instance");
        let tracked = annotation(object, "argocd.argoproj.io/tracking-id").split(':').next().unwrap_or_default();
        if let Some(application) = [instance, tracked].into_iter().find(|name| !name.is_empty()) {
            by.push(format!("Argo CD's Application {application}"));
        }
    }
    // The label by which Argo CD tracks where nothing else is set. Helm's charts use it, too, but Helm leaves its own mark.
    let instance = label(object, "app.kubernetes.io/instance");
    if by.is_empty() && options.is_empty() && !instance.is_empty() && annotation(object, HELM).is_empty() {
        by.push(format!("Argo CD's Application {instance}, by the label app.kubernetes.io/instance"));
    }
    let prune = [label(object, PRUNE), annotation(object, PRUNE)];
    let name = label(object, "kustomize.toolkit.fluxcd.io/name");
    if !name.is_empty() && !prune.contains(&"disabled") {
        let namespace = label(object, "kustomize.toolkit.fluxcd.io/namespace");
        by.push(format!("Flux's Kustomization {namespace}/{name}"));
    }
    by
}

const HELM: &str = "meta.helm.sh/release-name";

const PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn crd(metadata: Value) -> Crd {
        let object = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata,
            "spec": {
                "group": "external-secrets.io", "scope": "Namespaced",
                "names": {"kind": "ExternalSecret", "plural": "externalsecrets"},
                "versions": [{"name": "v1beta1", "served": false, "storage": false}, {"name": "v1", "served": true, "storage": true}],
            },
            "status": {"storedVersions": ["v1beta1", "v1"]},
        });
        facts(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_is_taken_of_a_crd() {
        let crd = crd(json!({"name": "externalsecrets.external-secrets.io", "annotations": {
            "meta.helm.sh/release-name": "old", "meta.helm.sh/release-namespace": "eso",
        }}));
        assert_eq!((crd.storage(), crd.readable(), crd.stale()), (Some("v1"), Some("v1"), vec!["v1beta1"]));
        assert_eq!(crd.helm, Some(("eso".to_owned(), "old".to_owned())));
        assert!(crd.namespaced && crd.conversion.is_none() && crd.pruned_by.is_empty() && crd.flux_helm.is_none());
        assert_eq!(crd.foreign(), [] as [&str; 0]);
    }

    #[test]
    fn who_prunes() {
        let by = |labels: Value, annotations: Value| {
            crd(json!({"name": "it", "labels": labels, "annotations": annotations})).pruned_by
        };
        let none = || json!({});
        assert_eq!(by(none(), none()), [] as [&str; 0]);
        let argo = ["Argo CD's Application eso"];
        assert_eq!(by(json!({"argocd.argoproj.io/instance": "eso"}), none()), argo);
        let tracked = |options: &str| json!({"argocd.argoproj.io/tracking-id": "eso:apiextensions.k8s.io/CustomResourceDefinition:/it", "argocd.argoproj.io/sync-options": options});
        assert_eq!(by(none(), tracked("")), argo);
        assert_eq!(by(none(), tracked("Prune=false")), argo, "a deleted Application would still take it along");
        assert_eq!(by(none(), tracked("ServerSideApply=true, Prune=false,Delete=false")), [] as [&str; 0]);
        let instance = json!({"app.kubernetes.io/instance": "eso"});
        assert_eq!(by(instance.clone(), none()).len(), 1);
        assert_eq!(by(instance, json!({"meta.helm.sh/release-name": "eso"})), [] as [&str; 0]);
        let flux = json!({"kustomize.toolkit.fluxcd.io/name": "infra", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
        assert_eq!(by(flux.clone(), none()), ["Flux's Kustomization flux-system/infra"]);
        assert_eq!(by(flux, json!({"kustomize.toolkit.fluxcd.io/prune": "disabled"})), [] as [&str; 0]);
    }
}
