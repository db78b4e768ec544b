//! The port for copies, over the API server. Their requests are in the lane of who makes them: one that has thousands to
//! write waits for its turn like a namespace that has.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Namespace;
use keyferry_crds::{ClusterExternalSecret, ClusterPushSecret, CopierStatus, names};
use keyferry_sync::address;
use keyferry_sync::copies::ports::{Copies, Made};
use keyferry_sync::copies::{Copier, CopierKind, Seen, kept_note};
use keyferry_sync::dependency::Name;
use keyferry_sync::ports::Problem;
use keyferry_sync::record::Note;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ObjectMeta, Patch, PatchParams, PostParams,
    Preconditions,
};
use serde_json::{Value, json};

use crate::client::{ApiProblem, Turns};
use crate::events::Events;
use crate::status::{self, Size};

/// How often something is read and decided anew that somebody else changes at the same time.
const TRIES: usize = 5;

/// Copies in a cluster.
pub struct ClusterCopies {
    /// The client.
    pub client: kube::Client,
    /// How many requests go out at once.
    pub turns: Turns,
    /// Where events go.
    pub events: Events,
}

impl ClusterCopies {
    fn turns(&self, copier: &Copier) -> Turns {
        // No namespace is called so.
        self.turns.of(&format!("{}/{}", copier.id.kind.as_str(), copier.id.name))
    }

    fn copies(&self, copier: &Copier, namespace: &str) -> Result<Api<DynamicObject>, ApiProblem> {
        let kind = copier.id.kind;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(names::GROUP, kind.version(), kind.copied()));
        Ok(Api::namespaced_with(self.client.clone(), address::namespace(namespace)?, &resource))
    }

    async fn try_create(&self, copier: &Copier, namespace: &str) -> Result<Seen, ApiProblem> {
        let api = self.copies(copier, namespace)?;
        let object = new_copy(copier);
        let made = self.turns(copier).run(async || api.create(&PostParams::default(), &object).await).await?;
        Ok(seen(copier, &made))
    }

    /// Reads what is there, and changes it where it is a copy; `None` where there is nothing.
    async fn try_change(&self, copier: &Copier, namespace: &str) -> Result<Option<Made>, ApiProblem> {
        let (api, turns) = (self.copies(copier, namespace)?, self.turns(copier));
        let name = address::name(&copier.copy_name)?;
        let Some(mut object) = turns.read(async || api.get_opt(name).await).await? else { return Ok(None) };
        let before = seen(copier, &object);
        if !before.is_copy_of(copier) {
            return Ok(Some(Made::Other(before)));
        }
        if before.is_going || (before.is_controlled_by(copier) && before.print == copier.print) {
            return Ok(Some(Made::Copy(before)));
        }
        make_as_wanted(copier, &mut object);
        let made = turns.run(async || api.replace(name, &PostParams::default(), &object).await).await?;
        Ok(Some(Made::Copy(seen(copier, &made))))
    }

    async fn put(&self, copier: &Copier, namespace: &str, mut creates: bool) -> Result<Made, Problem> {
        for _ in 0..TRIES {
            if creates {
                match self.try_create(copier, namespace).await {
                    Ok(seen) => return Ok(Made::Copy(seen)),
                    Err(problem) if problem.is_conflict() => creates = false,
                    Err(problem) => return Err(problem.into()),
                }
            } else {
                match self.try_change(copier, namespace).await {
                    Ok(Some(made)) => return Ok(made),
                    Ok(None) => creates = true,
                    Err(problem) if problem.is_not_found() => creates = true,
                    Err(problem) if problem.is_conflict() => {}
                    Err(problem) => return Err(problem.into()),
                }
            }
        }
        Err(ApiProblem::conflict().into())
    }

    async fn try_delete(&self, copier: &Copier, name: &Name, uid: &str) -> Result<(), ApiProblem> {
        let (api, turns) = (self.copies(copier, &name.0)?, self.turns(copier));
        let name = address::name(&name.1)?;
        // It may have been given away since it was last seen.
        let Some(object) = turns.run(async || api.get_metadata_opt(name).await).await? else { return Ok(()) };
        let found = Seen::object(copier.id.kind, &object.metadata, &Value::Null);
        if found.uid != uid || !found.is_controlled_by(copier) || found.is_going {
            return Ok(());
        }
        let preconditions = Preconditions { uid: Some(found.uid), resource_version: Some(found.version) };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        turns.run(async || api.delete(name, &params).await).await?;
        Ok(())
    }

    async fn try_free(&self, copier: &Copier, namespace: &str, finalizers: &[String]) -> Result<(), ApiProblem> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let (name, turns) = (address::namespace(namespace)?, self.turns(copier));
        let Some(found) = turns.run(async || api.get_metadata_opt(name).await).await? else { return Ok(()) };
        let held = found.metadata.finalizers.unwrap_or_default();
        let kept: Vec<&String> = held.iter().filter(|held| !finalizers.contains(held)).collect();
        if kept.len() == held.len() {
            return Ok(());
        }
        // At the version that was read: another finalizer that comes meanwhile must not get lost.
        let version = found.metadata.resource_version;
        let patch = Patch::Merge(json!({"metadata": {"finalizers": kept, "resourceVersion": version}}));
        turns.run(async || api.patch_metadata(name, &PatchParams::default(), &patch).await).await?;
        Ok(())
    }

    /// Patches a copier itself, or its status.
    async fn patch(&self, copier: &Copier, patch: Value, is_status: bool) -> Result<(), Problem> {
        let resource = match copier.id.kind {
            CopierKind::ClusterExternalSecret => ApiResource::erase::<ClusterExternalSecret>(&()),
            CopierKind::ClusterPushSecret => ApiResource::erase::<ClusterPushSecret>(&()),
        };
        // Of any form: only its metadata are read.
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let (name, turns) = (&copier.id.name, self.turns(copier));
        if is_status {
            // Only who rules the cluster writes them.
            status::patch(&turns, &api, name, Size::Usual, &patch).await?;
        } else {
            let patch = Patch::Merge(patch);
            turns.run(async || api.patch_metadata(name, &PatchParams::default(), &patch).await).await?;
        }
        Ok(())
    }
}

/// Does something that is decided anew on a conflict.
async fn again<F: Future<Output = Result<(), ApiProblem>>>(mut attempt: impl FnMut() -> F) -> Result<(), Problem> {
    for _ in 0..TRIES {
        match attempt().await {
            Err(problem) if problem.is_conflict() => {}
            Err(problem) if problem.is_not_found() => return Ok(()),
            done => return Ok(done?),
        }
    }
    Err(ApiProblem::conflict().into())
}

fn new_copy(copier: &Copier) -> DynamicObject {
    let kind = copier.id.kind;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(names::GROUP, kind.version(), kind.copied()));
    let mut object = DynamicObject::new(&copier.copy_name, &resource);
    make_as_wanted(copier, &mut object);
    object
}

/// Its labels, annotations and spec are those that its copier gives it, and no others; other owners and finalizers stay,
/// and so does what is noted of a generated value.
fn make_as_wanted(copier: &Copier, object: &mut DynamicObject) {
    let metadata = &mut object.metadata;
    metadata.labels = Some(copier.labels.clone()).filter(|labels| !labels.is_empty());
    let noted = kept_note(copier.id.kind, metadata).cloned().map(|note| (names::ANNOTATION_GENERATED.to_owned(), note));
    let mut annotations = copier.annotations.clone();
    annotations.extend(noted);
    metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    own(copier, metadata);
    object.data["spec"] = copier.spec.clone();
}

fn own(copier: &Copier, metadata: &mut ObjectMeta) {
    let owners = metadata.owner_references.get_or_insert_default();
    // Also one of the same name before it, which has another UID.
    owners.retain(|owner| owner.controller != Some(true));
    owners.push(copier.owner_reference());
}

fn seen(copier: &Copier, object: &DynamicObject) -> Seen {
    Seen::object(copier.id.kind, &object.metadata, &object.data["spec"])
}

#[async_trait]
impl Copies for ClusterCopies {
    async fn create(&self, copier: &Copier, namespace: &str) -> Result<Made, Problem> {
        self.put(copier, namespace, true).await
    }

    async fn change(&self, copier: &Copier, namespace: &str) -> Result<Made, Problem> {
        self.put(copier, namespace, false).await
    }

    async fn delete(&self, copier: &Copier, name: &Name, uid: &str) -> Result<(), Problem> {
        again(|| self.try_delete(copier, name, uid)).await
    }

    async fn free(&self, copier: &Copier, namespace: &str, finalizers: &[String]) -> Result<(), Problem> {
        again(|| self.try_free(copier, namespace, finalizers)).await
    }

    async fn release(&self, copier: &Copier) -> Result<(), Problem> {
        let finalizers = copier.metadata.finalizers.iter().flatten();
        let kept: Vec<&String> = finalizers.filter(|held| *held != names::FINALIZER_CLUSTER_EXTERNAL_SECRET).collect();
        let version = &copier.metadata.resource_version;
        let metadata = json!({"uid": copier.uid(), "resourceVersion": version, "finalizers": kept});
        self.patch(copier, json!({ "metadata": metadata }), false).await
    }

    async fn status(&self, copier: &Copier, status: &CopierStatus) -> Result<(), Problem> {
        // What is empty is taken out: a merge keeps what it does not name.
        let mut patch = json!({"failedNamespaces": null, "provisionedNamespaces": null});
        if let (Some(patch), Ok(Value::Object(status))) = (patch.as_object_mut(), serde_json::to_value(status)) {
            patch.extend(status);
        }
        // With the UID, so that an object which took the place of this one is not told what is not so.
        self.patch(copier, json!({"metadata": {"uid": copier.uid()}, "status": patch}), true).await
    }

    fn note(&self, copier: &Copier, note: Note) {
        let component = match copier.id.kind {
            CopierKind::ClusterExternalSecret => names::EVENTS_CLUSTER_EXTERNAL_SECRET,
            CopierKind::ClusterPushSecret => names::EVENTS_CLUSTER_PUSH_SECRET,
        };
        self.events.send(copier.object_ref(), component, note);
    }
}

#[cfg(test)]
mod tests {
    use keyferry_crds::ClusterPushSecret;

    use super::*;

    #[test]
    fn a_copy_that_pushes_keeps_what_is_noted_of_its_generated_value_and_nothing_else() {
        let pushed = json!({"metadata": {"name": "c", "uid": "u"}, "spec": {
            "pushSecretSpec": {}, "pushSecretMetadata": {"annotations": {"a": "1"}},
        }});
        let fetched = json!({"metadata": {"name": "c", "uid": "u"}, "spec": {
            "externalSecretSpec": {}, "externalSecretMetadata": {"annotations": {"a": "1"}},
        }});
        let pushes = Copier::from(serde_json::from_value::<ClusterPushSecret>(pushed).unwrap());
        let fetches = Copier::from(serde_json::from_value::<ClusterExternalSecret>(fetched).unwrap());
        let long = format!("2026-01-01T00:00:00Z {}", "x".repeat(600));
        let good = "2026-01-01T00:00:00Z 1-a gen-grafana-g-b";
        for (copier, note, is_kept) in [
            (&pushes, good, true),
            (&pushes, "2026-01-01T00:00:00Z 1-a", true),
            (&pushes, "any", false),
            (&pushes, "never 1-a", false),
            (&pushes, &long, false),
            (&fetches, good, false),
        ] {
            let mut copy = new_copy(copier);
            let annotations = |copy: &DynamicObject| copy.metadata.annotations.clone().unwrap_or_default();
            assert_eq!(annotations(&copy).keys().collect::<Vec<_>>(), ["a"]);
            let noted =
                [(names::ANNOTATION_GENERATED.to_owned(), note.to_owned()), ("other".to_owned(), "o".to_owned())];
            copy.metadata.annotations.get_or_insert_default().extend(noted);
            make_as_wanted(copier, &mut copy);
            let kept = annotations(&copy).get(names::ANNOTATION_GENERATED).map(String::as_str) == Some(note);
            assert_eq!((annotations(&copy).len(), kept), (1 + usize::from(is_kept), is_kept), "{note}");
        }
    }
}
