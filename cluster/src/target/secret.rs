//! Targets that are Secrets.

use k8s_openapi::api::core::v1::Secret;
use keyferry_crds::{ExternalSecret, names};
use kube::api::{Api, Preconditions};
use kube::core::ObjectMeta;

use super::desired::{self, desired};
use super::ownership::Desired;
use super::rotation::Rotations;
use super::shape::{DataPatch, Former, Headlines, Rehearsed, Removal, Shape};
use crate::client::LiveSecret;
use keyferry_sync::content::Content;
use keyferry_sync::dependency::Version;
use keyferry_sync::hash;
use keyferry_sync::outcome::{Failure, Headline};
use keyferry_sync::settings::Adopt;

/// The Secret of one ExternalSecret.
pub struct SecretShape<'a> {
    /// The API server.
    pub client: &'a kube::Client,
    /// Whose.
    pub es: &'a ExternalSecret,
    /// Which Secrets of others may be taken over.
    pub adopt: Adopt,
    /// Where it is noted when its data change.
    pub rotations: Option<Rotations>,
}

impl SecretShape<'_> {
    /// Notes in what is to be written, under this field manager, whether data of ours make room for others.
    pub(crate) fn noted(
        &self,
        manager: &str,
        existing: Option<&LiveSecret>,
        mut desired: Desired<LiveSecret>,
    ) -> Desired<LiveSecret> {
        if let Some(rotations) = &self.rotations {
            rotations.note(self.es, manager, existing, &mut desired);
        }
        desired
    }
}

impl Shape for SecretShape<'_> {
    type Live = LiveSecret;

    const HEADLINES: Headlines = Headlines {
        read: Headline::Update,
        remove: Removal { find: Headline::Delete, delete: Headline::Delete },
        remove_renamed: Removal { find: Headline::Orphans, delete: Headline::Orphans },
    };

    /// All that it fills in is known.
    const REHEARSED: Option<Rehearsed<LiveSecret>> = None;

    fn name(&self) -> String {
        format!("Secret {:?}", self.es.target_name())
    }

    async fn api(&self) -> Result<Api<Secret>, Failure> {
        Ok(Api::namespaced(self.client.clone(), self.es.metadata.namespace.as_deref().unwrap_or_default()))
    }

    fn was_not_found(&self) {}

    fn desired(&self, content: &Content, existing: Option<&LiveSecret>) -> Result<Desired<LiveSecret>, Failure> {
        let wanted = desired(self.es, content, existing, self.adopt)?;
        Ok(self.noted(&Self::manager(self.es), existing, wanted))
    }

    fn was_synced(&mut self) {
        self.rotations.iter_mut().for_each(Rotations::was_synced);
    }

    fn data_patch(&self, content: &Content, version: &Version) -> Option<DataPatch> {
        if self.rotations.is_some() {
            // Whether these are other data only shows beside those that are there.
            return None;
        }
        desired::data_patch(self.es, content, version)
    }

    fn is_intact(secret: &LiveSecret) -> bool {
        desired::is_intact(secret)
    }

    fn check_touchable(secret: &LiveSecret) -> Result<(), Failure> {
        desired::check_touchable(secret)
    }

    /// Just as it was seen: whoever changed it meanwhile may have made it somebody else's.
    fn preconditions(seen: &ObjectMeta) -> Preconditions {
        Preconditions { uid: seen.uid.clone(), resource_version: seen.resource_version.clone() }
    }

    fn former(es: &ExternalSecret) -> Former {
        let created_by = hash::created_by(
            es.metadata.namespace.as_deref().unwrap_or_default(),
            es.metadata.name.as_deref().unwrap_or_default(),
        );
        Former::Labelled(format!("{}={created_by}", names::LABEL_CREATED_BY))
    }
}
