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

/// What an API server says of a patch that does not fit the object.
const UNPROCESSABLE: u16 = 422;

/// Replaces the whole state, and what annotations tell. `is_bare` says that there are no annotations.
fn replacement(state: &State, marks: &Marks, is_bare: bool) -> Value {
    let mut steps = vec![json!({"op": "add", "path": "/spec/state", "value": state})];
    if is_bare {
        steps.push(json!({"op": "test", "path": "/metadata/annotations", "value": null}));
        steps.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    for (name, text) in annotations(marks).as_object().into_iter().flatten() {
        let path = format!("/metadata/annotations/{}", name.replace('~', "~0").replace('/', "~1"));
        // What is not there can't be taken away.
        steps.push(json!({"op": "add", "path": path, "value": text.as_str().unwrap_or_default()}));
        if text.is_null() {
            steps.push(json!({"op": "remove", "path": path}));
        }
    }
    steps.into()
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
        // A merge patch takes nothing out of a state.
        match self.replace(namespace, name, state, marks, false).await {
            // There are no annotations to change.
            Err(ApiProblem::Status { code: UNPROCESSABLE, .. }) => {
                self.replace(namespace, name, state, marks, true).await.map_err(Problem::from)
            }
            amended => amended.map_err(Problem::from),
        }
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
    async fn replace(
        &self,
        namespace: &str,
        name: &str,
        state: &State,
        marks: &Marks,
        is_bare: bool,
    ) -> Result<(), ApiProblem> {
        let api = self.api(namespace);
        let steps = serde_json::from_value(replacement(state, marks, is_bare)).map_err(|_| ApiProblem::Malformed)?;
        let (params, patch) = (PatchParams::default(), Patch::Json::<()>(steps));
        self.turns.of(namespace).run(async || api.patch(name, &params, &patch).await).await.map(drop)
    }

    /// Leaves one these finalizers, unless somebody changed it since.
    async fn finalizers(&self, state: &GeneratorState, finalizers: &[String]) -> Result<(), Problem> {
        let (namespace, name) = place(state);
        let metadata = &state.metadata;
        let seen = json!({"uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": finalizers});
        self.patch(namespace, name, json!({ "metadata": seen })).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amended(mut object: Value, state: &Value, marks: &Marks, is_bare: bool) -> Option<Value> {
        // To an API server what is not there is null.
        let (tests, steps): (Vec<Value>, Vec<Value>) = replacement(state, marks, is_bare)
            .as_array()
            .cloned()
            .unwrap()
            .into_iter()
            .partition(|step| step["op"] == "test");
        let holds =
            |test: &Value| *object.pointer(test["path"].as_str().unwrap()).unwrap_or(&Value::Null) == test["value"];
        if !tests.iter().all(holds) {
            return None;
        }
        let steps: json_patch::Patch = serde_json::from_value(steps.into()).unwrap();
        json_patch::patch(&mut object, &steps).ok().map(|()| object)
    }

    #[test]
    fn a_state_is_replaced_whole_and_others_annotations_stay() {
        let at = Timestamp::UNIX_EPOCH;
        let object = json!({
            "metadata": {"annotations": {"theirs": "x", names::ANNOTATION_RENEW_AT: "1970-01-01T00:00:00Z"}},
            "spec": {"state": {"tokenID": 0, "group": "g"}, "resource": {"kind": "GitlabDeployToken"}},
        });
        let none = amended(object.clone(), &json!({}), &Marks::default(), false).unwrap();
        assert_eq!((&none["spec"]["state"], &none["spec"]["resource"]), (&json!({}), &object["spec"]["resource"]));
        assert_eq!(none["metadata"]["annotations"], json!({"theirs": "x"}));
        let marks = Marks { refresh_by: Some(at), renew_at: None };
        let bare = json!({"metadata": {}, "spec": {"state": {"tokenID": 0}}});
        assert_eq!(amended(bare.clone(), &json!({"tokenID": 7}), &marks, false), None, "there is nothing to change");
        let marked = amended(bare, &json!({"tokenID": 7}), &marks, true).unwrap();
        assert_eq!(marked["spec"]["state"], json!({"tokenID": 7}));
        assert_eq!(marked["metadata"]["annotations"], json!({names::ANNOTATION_REFRESH_BY: "1970-01-01T00:00:00Z"}));
        // Whoever put annotations on meanwhile keeps them.
        assert_eq!(amended(object, &json!({}), &marks, true), None);
    }
}
