//! Where it is told what became of a mount: events on the pod, a record of each delivery, and the log.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ObjectReference;
use keyferry_cluster::events::Events;
use keyferry_crds::{ExternalSecret, ExternalSecretStatus};
use keyferry_sync::audit::{Action, Audit, Delivery, Workload};
use keyferry_sync::ports::{Journal, Problem};
use keyferry_sync::record::Note;

use crate::wanted::Pod;

/// In whose name events are.
const COMPONENT: &str = "keyferry-node";

/// An event on a pod.
pub fn event(events: &Events, pod: &Pod, note: Note) {
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    };
    events.send(about, COMPONENT, note);
}

/// The port for what is told of a look that is for one pod.
pub struct OfPod {
    /// The pod.
    pub pod: Pod,
    /// Where records go.
    pub audit: Arc<dyn Audit>,
}

/// An ExternalSecret is never written by a node.
#[async_trait]
impl Journal for OfPod {
    async fn status(&self, _: &ExternalSecret, _: &ExternalSecretStatus) -> Result<Option<String>, Problem> {
        Ok(None)
    }

    async fn finalizers(&self, _: &ExternalSecret, _: &[String]) -> Result<(), Problem> {
        Ok(())
    }

    fn note(&self, _: &ExternalSecret, _: Note) {}
}

/// What is written for a pod is mounted for it.
impl Audit for OfPod {
    fn take(&self, delivery: Delivery) {
        let (pod, service_account) = (self.pod.name.clone(), self.pod.service_account.clone());
        let action = if delivery.action == Action::Written { Action::Mounted } else { delivery.action };
        self.audit.take(Delivery { action, workload: Some(Workload { pod, service_account }), ..delivery });
    }
}
