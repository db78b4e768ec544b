//! CustomResourceDefinitions of the groups.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject};

use super::{Reader, annotation, label, list, pages, text};
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
        helm: some(annotation(object, "meta.helm.sh/release-name"))
            .map(|name| (annotation(object, "meta.helm.sh/release-namespace").to_owned(), name)),
    }
}

/// Who would delete the CRD once it is no longer in a repository, and was not told to leave it.
fn pruned_by(object: &DynamicObject) -> Vec<String> {
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
    let prune = [label(object, PRUNE), annotation(object, PRUNE)];
    let name = label(object, "kustomize.toolkit.fluxcd.io/name");
    if !name.is_empty() && !prune.contains(&"disabled") {
        let namespace = label(object, "kustomize.toolkit.fluxcd.io/namespace");
        by.push(format!("Flux's Kustomization {namespace}/{name}"));
    }
    by
}

const PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";
