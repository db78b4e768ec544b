//! The port for what is told of stores, and of objects that do not decode, over the API server.

use std::time::Duration;

use async_trait::async_trait;
use keyferry_crds::{ClusterSecretStore, Condition, SecretStore, SecretStoreStatus, names};
use keyferry_sync::ports::{Notices, Problem};
use keyferry_sync::record::Note;
use keyferry_sync::store::Store;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams};
use serde_json::json;

use crate::client::timely;
use crate::events::Events;
use crate::leader::Lead;

/// Seconds between attempts to tell an object why its spec is not read.
const TELLING: [u64; 5] = [1, 4, 15, 60, 60];

/// Statuses and events of a cluster.
pub struct ClusterNotices {
    /// The client.
    pub client: kube::Client,
    /// Where events go.
    pub events: Events,
    /// Until when we may write.
    pub lead: Lead,
}

#[async_trait]
impl Notices for ClusterNotices {
    async fn status(&self, store: &Store, status: &SecretStoreStatus) -> Result<(), Problem> {
        let patch = Patch::Merge(json!({"metadata": {"uid": store.uid()}, "status": status}));
        self.lead.check()?;
        let (client, name, params) = (self.client.clone(), &store.id.name, PatchParams::default());
        match &store.id.namespace {
            Some(namespace) => {
                let api: Api<SecretStore> = Api::namespaced(client, namespace);
                timely(api.patch_status(name, &params, &patch)).await?;
            }
            None => {
                let api: Api<ClusterSecretStore> = Api::all(client);
                timely(api.patch_status(name, &params, &patch)).await?;
            }
        }
        Ok(())
    }

    fn note(&self, store: &Store, note: Note) {
        let component = match store.id.namespace {
            Some(_) => names::EVENTS_SECRET_STORE,
            None => names::EVENTS_CLUSTER_SECRET_STORE,
        };
        self.events.send(store.object_ref(), component, note);
    }

    async fn set_conditions(&self, resource: &ApiResource, mut metadata: ObjectMeta, conditions: Vec<Condition>) {
        let name = metadata.name.clone().unwrap_or_default();
        // As an object of any form: the answer is the object itself, which is not of the form we know.
        let api: Api<DynamicObject> = match &metadata.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        };
        for wait in TELLING {
            // By its resourceVersion: the object may have been mended since, and synced.
            let seen = json!({"uid": metadata.uid, "resourceVersion": metadata.resource_version});
            let patch = Patch::Merge(json!({"metadata": seen, "status": {"conditions": conditions}}));
            let told = match self.lead.check() {
                Ok(()) => timely(api.patch_status(&name, &PatchParams::default(), &patch)).await,
                Err(problem) => Err(problem),
            };
            let Err(problem) = told else { return };
            tracing::warn!(namespace = metadata.namespace, name, %problem, "could not write the status");
            if problem.is_not_found() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(wait)).await;
            match timely(api.get_metadata_opt(&name)).await {
                Ok(Some(now)) if now.metadata.uid == metadata.uid && now.metadata.generation == metadata.generation => {
                    metadata = now.metadata;
                }
                Ok(_) => return,
                Err(_) => {}
            }
        }
    }
}
