//! Carries out the plan: the only part that writes.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_cluster::pages::some;
use keyferry_cluster::problem::{ApiProblem, patiently, timely};
use keyferry_crds::names;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, DynamicObject};
use serde_json::json;

use crate::facts::{Cluster, Crd, StoreName};
use crate::plan::Step;
use crate::read::resource;
use crate::rewrite;

/// How often a write is tried again after somebody else changed the object at the same time.
const TRIES: usize = 5;

/// Takes one step. The error says why not, in our own words.
pub async fn take(
    client: &Client,
    cluster: &Cluster,
    step: &Step,
    progress: &mut dyn FnMut(String),
) -> Result<(), String> {
    match step {
        Step::DeleteWebhooks { mutating, name, uid, resource_version } => {
            let resource = match mutating {
                false => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
                true => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            };
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let is_the_same =
                Preconditions { uid: Some(uid.clone()), resource_version: Some(resource_version.clone()) };
            let params = DeleteParams { preconditions: Some(is_the_same), ..Default::default() };
            match timely(api.delete(name, &params)).await {
                Ok(_) => Ok(()),
                Err(problem) if problem.is_not_found() => Ok(()),
                Err(problem) => Err(problem.for_person()),
            }
        }
        Step::ConvertByName { crd } => {
            let api: Api<CustomResourceDefinition> = Api::all(client.clone());
            let patch = json!({"spec": {"conversion": {"strategy": "None", "webhook": null}}});
            let patched = timely(api.patch_metadata(crd, &PatchParams::default(), &Patch::Merge(patch))).await;
            patched.map_err(|problem| problem.for_person())?;
            // What follows reads objects, and should not meet the webhook once more. Whether it does is its own affair.
            let known = find(cluster, |known| known.name == *crd)?;
            let objects: Api<DynamicObject> =
                Api::all_with(client.clone(), &resource(known, known.readable().unwrap_or_default()));
            let all = ListParams::default();
            let _ = patiently(|| some(&objects, &all, None)).await;
            Ok(())
        }
        Step::Rewrite { crd, version } => {
            rewrite::all(client, find(cluster, |known| known.name == *crd)?, version, progress).await
        }
        Step::FreeStore(StoreName { namespace, name }) => {
            let kind = if namespace.is_some() { "SecretStore" } else { "ClusterSecretStore" };
            let crd = find(cluster, |known| known.group == names::GROUP && known.kind == kind)?;
            let resource = resource(crd, crd.readable().unwrap_or_default());
            let api: Api<DynamicObject> = match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            free(&api, name, names::FINALIZER_STORE).await
        }
        Step::FreeNamespace { namespace, by } => {
            let resource = ApiResource::erase::<Namespace>(&());
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            free(&api, namespace, &format!("{}{by}", names::FINALIZER_NAMESPACE_PREFIX)).await
        }
    }
}

fn find(cluster: &Cluster, is_it: impl Fn(&Crd) -> bool) -> Result<&Crd, String> {
    cluster.crds.iter().find(|crd| is_it(crd)).ok_or_else(|| "its CRD is gone".to_owned())
}

/// Takes one finalizer off an object, and leaves the others.
async fn free(api: &Api<DynamicObject>, name: &str, finalizer: &str) -> Result<(), String> {
    for _ in 0..TRIES {
        let found = patiently(|| timely(api.get_metadata_opt(name))).await.map_err(|problem| problem.for_person())?;
        let Some(object) = found else { return Ok(()) };
        let mut finalizers = object.metadata.finalizers.unwrap_or_default();
        let before = finalizers.len();
        finalizers.retain(|held| held != finalizer);
        if finalizers.len() == before {
            return Ok(());
        }
        // With the version that was read: another finalizer that comes meanwhile must not get lost.
        let version = object.metadata.resource_version;
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": version}});
        let patch = Patch::Merge(patch);
        let params = PatchParams::default();
        match patiently(|| timely(api.patch_metadata(name, &params, &patch))).await {
            Ok(_) => return Ok(()),
            Err(problem) if problem.is_not_found() => return Ok(()),
            Err(problem) if problem.is_conflict() => {}
            Err(problem) => return Err(problem.for_person()),
        }
    }
    Err(ApiProblem::conflict().for_person())
}
