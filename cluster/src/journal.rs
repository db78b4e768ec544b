//! The port for what is told, over the API server: statuses, finalizers, events.

use async_trait::async_trait;
use keyferry_crds::{ExternalSecret, ExternalSecretStatus, names};
use keyferry_sync::ports::{Journal, Problem};
use keyferry_sync::record::Note;
use kube::Resource as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::client::Turns;
use crate::events::Events;
use crate::status::{self, Size};

/// Statuses and events of a cluster.
pub struct ClusterJournal {
    /// The client.
    pub client: kube::Client,
    /// How many requests go out at once.
    pub turns: Turns,
    /// Where events go.
    pub events: Events,
}

impl ClusterJournal {
    fn api(&self, es: &ExternalSecret) -> Api<ExternalSecret> {
        Api::namespaced(self.client.clone(), es.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn turns(&self, es: &ExternalSecret) -> Turns {
        self.turns.of(es.metadata.namespace.as_deref().unwrap_or_default())
    }
}

#[async_trait]
impl Journal for ClusterJournal {
    async fn status(&self, es: &ExternalSecret, status: &ExternalSecretStatus) -> Result<Option<String>, Problem> {
        // With the UID, so that an object which took the place of this one is not told what is not so.
        let patch = json!({"metadata": {"uid": es.metadata.uid}, "status": changed(es, status)});
        let name = es.metadata.name.as_deref().unwrap_or_default();
        let written = status::patch(&self.turns(es), &self.api(es), name, Size::of(es), &patch).await?;
        Ok(written.resource_version)
    }

    async fn finalizers(&self, es: &ExternalSecret, finalizers: &[String]) -> Result<(), Problem> {
        let metadata =
            json!({"uid": es.metadata.uid, "resourceVersion": es.metadata.resource_version, "finalizers": finalizers});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let name = es.metadata.name.as_deref().unwrap_or_default();
        self.turns(es).run(async || self.api(es).patch_metadata(name, &PatchParams::default(), &patch).await).await?;
        Ok(())
    }

    fn note(&self, es: &ExternalSecret, note: Note) {
        let mut reference = es.object_ref(&());
        reference.resource_version = None;
        self.events.send(reference, names::EVENTS_EXTERNAL_SECRET, note);
    }
}

/// The status as a merge patch: what was there and is not any more is taken away.
fn changed(es: &ExternalSecret, status: &ExternalSecretStatus) -> Value {
    let mut patch = json!(status);
    let is_over = status.refresh_by.is_none() && es.status.as_ref().is_some_and(|before| before.refresh_by.is_some());
    if is_over {
        patch["refreshBy"] = Value::Null;
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_over_is_taken_out_of_the_status() {
        let ends = json!({"refreshBy": "2026-11-22T05:48:03Z"});
        let es = |status: Value| -> ExternalSecret {
            serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": status})).unwrap()
        };
        let status = |status: Value| -> ExternalSecretStatus { serde_json::from_value(status).unwrap() };
        let patch = |before: Value, after: Value| changed(&es(before), &status(after)).get("refreshBy").cloned();
        assert_eq!(patch(ends.clone(), json!({})), Some(Value::Null));
        assert_eq!(patch(ends.clone(), ends.clone()), Some(ends["refreshBy"].clone()));
        assert_eq!(patch(json!({}), json!({})), None);
    }
}
