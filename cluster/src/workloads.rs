//! What makes pods and can have them made anew (a rollout): Deployments, StatefulSets and DaemonSets. They are listed by
//! metadata and read one at a time: what they hold may be much.

use std::fmt;

use k8s_openapi::api::core::v1::{PodSpec, Secret};
use keyferry_crds::names;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{ApiProblem, Turns};

/// How many a page of a list holds: annotations alone may be a quarter of a MiB each.
const PAGE: u32 = 100;

/// A kind of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Deployment.
    Deployment,
    /// StatefulSet.
    StatefulSet,
    /// DaemonSet.
    DaemonSet,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_string() == name)
    }

    fn resource(self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", &self.to_string()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A workload, as it was read.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its kind.
    pub kind: Kind,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// The annotations of its pods.
    pub pod_metadata: ObjectMeta,
    /// Its pods.
    pub pods: PodSpec,
    /// How far its pods are as it wants them.
    pub rollout: Rollout,
}

/// How far the pods of a workload are as it wants them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rollout {
    /// What is wanted.
    pub spec: Wanted,
    /// What is there.
    pub status: There,
}

/// What a workload wants of its pods.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Wanted {
    /// How many, of a Deployment or a StatefulSet.
    pub replicas: Option<i64>,
    /// Whether a Deployment changes no pods for now.
    pub paused: bool,
    /// How a StatefulSet or a DaemonSet changes them.
    pub update_strategy: Value,
}

/// What there is of the pods of a workload.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct There {
    /// Of which generation this is told.
    pub observed_generation: i64,
    /// Pods, those that are as they are wanted, and those that serve.
    pub replicas: i64,
    /// See `replicas`.
    pub updated_replicas: i64,
    /// See `replicas`.
    pub available_replicas: i64,
    /// The same of a DaemonSet, and how many there should be.
    pub updated_number_scheduled: i64,
    /// See `updated_number_scheduled`.
    pub number_available: i64,
    /// See `updated_number_scheduled`.
    pub desired_number_scheduled: i64,
}

/// Workloads of a cluster.
#[derive(Clone)]
pub struct Workloads {
    /// The client.
    pub client: kube::Client,
    /// How many requests go out at once.
    pub turns: Turns,
}

impl Workloads {
    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// The annotations of a Secret, by metadata alone; `None` where there is none.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<ObjectMeta>, ApiProblem> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = self.turns.of(namespace).run(async || api.get_metadata_opt(name).await).await?;
        Ok(found.map(|secret| secret.metadata))
    }

    /// The metadata of those of a kind for which this holds, page by page.
    pub async fn list(
        &self,
        kind: Kind,
        namespace: &str,
        wanted: impl Fn(&ObjectMeta) -> bool,
    ) -> Result<Vec<ObjectMeta>, ApiProblem> {
        let (api, turns, mut found) = (self.api(kind, namespace), self.turns.of(namespace), Vec::new());
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = turns.run(async || api.list_metadata(&params).await).await?;
            let all = page.items.into_iter().map(|object| object.metadata);
            found.extend(all.filter(|metadata| wanted(metadata)).map(|metadata| ObjectMeta {
                name: metadata.name,
                uid: metadata.uid,
                ..ObjectMeta::default()
            }));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(found);
            }
            // Much of it is this namespace's alone: others have their turn on this thread.
            tokio::task::yield_now().await;
        }
    }

    /// One in full; `None` where there is none of this name and UID.
    pub async fn read(&self, kind: Kind, namespace: &str, seen: &ObjectMeta) -> Result<Option<Workload>, ApiProblem> {
        let (api, name) = (self.api(kind, namespace), seen.name.as_deref().unwrap_or_default());
        let found = self.turns.of(namespace).run(async || api.get_opt(name).await).await?;
        let Some(object) = found.filter(|found| found.metadata.uid == seen.uid) else { return Ok(None) };
        Workload::new(kind, object).map(Some).ok_or(ApiProblem::Malformed)
    }

    /// Has its pods made anew: they bear this annotation of ours from now on.
    pub async fn restart(&self, workload: &Workload, noted: &str) -> Result<(), ApiProblem> {
        let metadata = &workload.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let (api, name) = (self.api(workload.kind, namespace), metadata.name.as_deref().unwrap_or_default());
        let annotations = json!({names::ANNOTATION_RESTARTED_FOR: noted});
        // With the UID: what has taken its place began with what the Secret holds now.
        let patch = Patch::Merge(json!({
            "metadata": {"uid": metadata.uid},
            "spec": {"template": {"metadata": {"annotations": annotations}}},
        }));
        let params =
            PatchParams { field_manager: Some(names::FIELD_MANAGER_RESTARTS.to_owned()), ..PatchParams::default() };
        self.turns.of(namespace).run(async || api.patch_metadata(name, &params, &patch).await).await?;
        Ok(())
    }
}

impl Workload {
    fn new(kind: Kind, mut object: DynamicObject) -> Option<Self> {
        let mut metadata = std::mem::take(&mut object.metadata);
        metadata.managed_fields = None;
        let template = object.data.pointer_mut("/spec/template").map(Value::take)?;
        let rollout = serde_json::from_value(object.data).ok()?;
        let Template { metadata: pod_metadata, spec: pods } = serde_json::from_value(template).ok()?;
        Some(Self { kind, metadata, pod_metadata, pods, rollout })
    }

    /// Whether no pod is to be changed any more.
    pub fn is_rolled_out(&self) -> bool {
        let Rollout { spec, status } = &self.rollout;
        let strategy = |path: &str| spec.update_strategy.pointer(path);
        let waits_for_deletion = strategy("/type").and_then(Value::as_str) == Some("OnDelete");
        if spec.paused || waits_for_deletion {
            return true;
        }
        if status.observed_generation < self.metadata.generation.unwrap_or_default() {
            return false;
        }
        match self.kind {
            Kind::Deployment | Kind::StatefulSet => {
                let replicas = spec.replicas.unwrap_or(1);
                // Pods below it are left as they are.
                let partition = strategy("/rollingUpdate/partition").and_then(Value::as_i64).unwrap_or_default();
                status.updated_replicas >= replicas - partition.min(replicas)
                    && status.replicas <= replicas
                    && status.available_replicas >= replicas
            }
            Kind::DaemonSet => {
                let wanted = status.desired_number_scheduled;
                status.updated_number_scheduled >= wanted && status.number_available >= wanted
            }
        }
    }
}

/// What pods are made of.
#[derive(Deserialize)]
struct Template {
    #[serde(default)]
    metadata: ObjectMeta,
    spec: PodSpec,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(kind: Kind, spec: Value, status: Value) -> Workload {
        let mut object = json!({
            "metadata": {"name": "w", "namespace": "ns", "uid": "u", "generation": 2},
            "spec": {"template": {"spec": {"containers": []}}},
            "status": status,
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Workload::new(kind, serde_json::from_value(object).unwrap()).unwrap()
    }

    fn is_done(kind: Kind, spec: Value, status: Value) -> bool {
        workload(kind, spec, status).is_rolled_out()
    }

    #[test]
    fn a_deployment_is_rolled_out_when_all_of_its_pods_are_new_and_serve() {
        let done = |status| is_done(Kind::Deployment, json!({"replicas": 2}), status);
        let all =
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "other": []});
        assert!(done(all.clone()));
        for (field, value) in
            [("observedGeneration", 1), ("replicas", 3), ("updatedReplicas", 1), ("availableReplicas", 1)]
        {
            let mut but = all.clone();
            but[field] = json!(value);
            assert!(!done(but), "{field}");
        }
        assert!(!done(json!({})));
        assert!(is_done(Kind::Deployment, json!({"paused": true}), json!({})), "nothing is to be waited for");
        assert!(is_done(Kind::Deployment, json!({"replicas": 0}), json!({"observedGeneration": 2})));
    }

    #[test]
    fn other_kinds_have_their_own_ways() {
        let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
        assert!(
            is_done(Kind::StatefulSet, on_delete.clone(), json!({})) && is_done(Kind::DaemonSet, on_delete, json!({}))
        );
        let partition =
            json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
        let one = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 3});
        assert!(is_done(Kind::StatefulSet, partition, one.clone()));
        assert!(!is_done(Kind::StatefulSet, json!({"replicas": 3}), one));
        let of = |updated, available| {
            let status = json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": available});
            is_done(Kind::DaemonSet, json!({}), status)
        };
        assert!(of(2, 2) && !of(1, 2) && !of(2, 1));
    }

    #[test]
    fn kinds_are_named_as_in_the_api() {
        assert!(Kind::ALL.into_iter().all(|kind| Kind::named(&kind.to_string()) == Some(kind)));
        assert_eq!((Kind::named("Pod"), Kind::StatefulSet.resource().plural.as_str()), (None, "statefulsets"));
    }
}
