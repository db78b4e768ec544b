//! The port for states of generators, over the API server: GeneratorStates.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keyferry_crds::{Condition, GeneratorState, names};
use keyferry_provider_core::State;
use keyferry_sync::ports::{Problem, States};
use keyferry_sync::record::{Note, READY_STATE};
use keyferry_sync::states::{Marks, NewState, PUSHER};
use keyferry_sync::time::seconds;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use crate::client::{ApiProblem, Turns};
use crate::events::Events;

/// GeneratorStates of a cluster.
pub struct ClusterStates {
    /// The client.
    pub client: kube::Client,
    /// How many requests go out at once.
    pub turns: Turns,
    /// Where events go.
    pub events: Events,
    /// The clock.
    pub now: fn() -> Timestamp,
}

impl ClusterStates {
    /// As objects of any form: nothing of an answer is of interest but its name.
    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<GeneratorState>(&()))
    }

    async fn patch(&self, namespace: &str, name: &str, patch: Value) -> Result<(), Problem> {
        let api = self.api(namespace);
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        self.turns.of(namespace).run(async || api.patch(name, &params, &patch).await).await?;
        Ok(())
    }
}

/// What annotations tell; `null` takes one away.
fn annotations(marks: &Marks) -> Value {
    let text = |time: Option<Timestamp>| time.map(|time| seconds(time).to_string());
    json!({names::ANNOTATION_REFRESH_BY: text(marks.refresh_by), names::ANNOTATION_RENEW_AT: text(marks.renew_at)})
}

fn place(state: &GeneratorState) -> (&str, &str) {
    let metadata = &state.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// What is not there need not be deleted, nor let go.
fn unless_gone(done: Result<(), Problem>) -> Result<(), Problem> {
    done.or_else(|problem| if problem.is_not_found { Ok(()) } else { Err(problem) })
}

#[async_trait]
impl States for ClusterStates {
    async fn begin(&self, new: &NewState, state: &State, marks: &Marks) -> Result<String, Problem> {
        let (namespace, name, uid) = &new.owner;
        let kind = new.owner_kind;
        let version = if kind == PUSHER { "v1alpha1" } else { "v1" };
        let api_version = format!("{}/{version}", names::GROUP);
        let owner = json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid});
        let condition = json!({
            "type": names::CONDITION_READY, "status": "True", "reason": READY_STATE, "message": "it can be revoked",
            "lastTransitionTime": Time(seconds((self.now)())),
        });
        let marks: BTreeMap<String, Option<String>> = serde_json::from_value(annotations(marks)).unwrap_or_default();
        let marks: BTreeMap<String, String> =
            marks.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": names::GENERATORS_API_VERSION,
            "kind": names::KIND_GENERATOR_STATE,
            "metadata": {
                "generateName": new.prefix,
                "namespace": namespace,
                "labels": {names::LABEL_GENERATOR_OWNER: new.key},
                "annotations": marks,
                "ownerReferences": [owner],
                "finalizers": [names::FINALIZER_GENERATOR_STATE],
            },
            "spec": {"resource": new.resource, "state": state},
            "status": {"conditions": [condition]},
        }))
        .map_err(|_| ApiProblem::Malformed)?;
        let api = self.api(namespace);
        let made = self.turns.of(namespace).run(async || api.create(&PostParams::default(), &object).await).await?;
        Ok(made.metadata.name.unwrap_or_default())
    }

    async fn amend(&self, namespace: &str, name: &str, state: &State, marks: &Marks) -> Result<(), Problem> {
        self.patch(namespace, name, json!({"metadata": {"annotations": annotations(marks)}, "spec": {"state": state}}))
            .await
    }

    async fn flag(&self, namespace: &str, name: &str, deadline: Timestamp) -> Result<(), Problem> {
        self.patch(namespace, name, json!({"spec": {"garbageCollectionDeadline": Time(seconds(deadline))}})).await
    }

    async fn forget(&self, namespace: &str, name: &str) -> Result<(), Problem> {
        unless_gone(self.patch(namespace, name, json!({"metadata": {"finalizers": null}})).await)?;
        let api = self.api(namespace);
        let deleted = self.turns.of(namespace).run(async || api.delete(name, &DeleteParams::default()).await).await;
        unless_gone(deleted.map(drop).map_err(Problem::from))
    }

    async fn hold(&self, state: &GeneratorState) -> Result<(), Problem> {
        let mut finalizers = state.metadata.finalizers.clone().unwrap_or_default();
        finalizers.push(names::FINALIZER_GENERATOR_STATE.to_owned());
        self.finalizers(state, &finalizers).await
    }

    async fn delete(&self, state: &GeneratorState) -> Result<(), Problem> {
        let (namespace, name) = place(state);
        let uid = state.metadata.uid.clone();
        let params = DeleteParams::default().preconditions(Preconditions { uid, resource_version: None });
        let api = self.api(namespace);
        let deleted = self.turns.of(namespace).run(async || api.delete(name, &params).await).await;
        unless_gone(deleted.map(drop).map_err(Problem::from))
    }

    async fn release(&self, state: &GeneratorState) -> Result<(), Problem> {
        let finalizers = state.metadata.finalizers.iter().flatten();
        let left: Vec<String> = finalizers.filter(|name| *name != names::FINALIZER_GENERATOR_STATE).cloned().collect();
        unless_gone(self.finalizers(state, &left).await)
    }

    async fn tell(&self, state: &GeneratorState, conditions: &[Condition]) -> Result<(), Problem> {
        let (namespace, name) = place(state);
        let patch = json!({"metadata": {"uid": state.metadata.uid}, "status": {"conditions": conditions}});
        unless_gone(self.patch(namespace, name, patch).await)
    }

    fn note(&self, state: &GeneratorState, note: Note) {
        let (namespace, name) = place(state);
        let object = ObjectReference {
            api_version: Some(names::GENERATORS_API_VERSION.to_owned()),
            kind: Some(names::KIND_GENERATOR_STATE.to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: state.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        self.events.send(object, names::EVENTS_GENERATOR_STATE, note);
    }
}

impl ClusterStates {
    /// Leaves one these finalizers, unless somebody changed it since.
    async fn finalizers(&self, state: &GeneratorState, finalizers: &[String]) -> Result<(), Problem> {
        let (namespace, name) = place(state);
        let metadata = &state.metadata;
        let seen = json!({"uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": finalizers});
        self.patch(namespace, name, json!({ "metadata": seen })).await
    }
}
