//! Targets of any other kind: `spec.target.manifest`.

use keyferry_crds::{ExternalSecret, Manifest};
use kube::api::{Api, Preconditions};
use kube::core::{DynamicObject, ObjectMeta};

use super::kinds::Kinds;
use super::manifest::{self, desired, name_of};
use super::ownership::Desired;
use super::shape::{Former, Headlines, Rehearsed, Removal, Shape};
use crate::client::{LiveObject, Turns};
use keyferry_sync::content::Content;
use keyferry_sync::outcome::{Failure, Headline};
use keyferry_sync::settings::Adopt;

/// The object of one ExternalSecret, whose kind is resolved when it is first needed.
pub struct ObjectShape<'a> {
    /// The API server.
    pub client: &'a kube::Client,
    /// How many requests go to it at once.
    pub turns: Turns,
    /// The kinds that are known.
    pub kinds: &'a Kinds,
    /// Whose.
    pub es: &'a ExternalSecret,
    /// Of which kind.
    pub manifest: &'a Manifest,
    /// Which objects of others may be taken over.
    pub adopt: Adopt,
}

impl Shape for ObjectShape<'_> {
    type Live = LiveObject;

    const HEADLINES: Headlines = Headlines {
        read: Headline::ManifestGet,
        remove: Removal { find: Headline::ManifestGet, delete: Headline::ManifestDelete },
        remove_renamed: Removal { find: Headline::ManifestGet, delete: Headline::ManifestDelete },
    };

    const REHEARSED: Option<Rehearsed<LiveObject>> = Some(manifest::rehearsed);

    fn name(&self) -> String {
        name_of(self.es, self.manifest)
    }

    async fn api(&self) -> Result<Api<DynamicObject>, Failure> {
        let resource = self.kinds.resolve(self.client, &self.turns, self.manifest).await?;
        let namespace = self.es.metadata.namespace.as_deref().unwrap_or_default();
        Ok(Api::namespaced_with(self.client.clone(), namespace, &resource))
    }

    /// It may be the kind that has gone.
    fn was_not_found(&self) {
        self.kinds.forget(self.manifest);
    }

    fn desired(&self, content: &Content, existing: Option<&LiveObject>) -> Result<Desired<LiveObject>, Failure> {
        desired(self.es, self.manifest, content, existing, self.adopt)
    }

    fn is_intact(object: &LiveObject) -> bool {
        manifest::is_intact(object)
    }

    /// What must not be touched are Secrets, which no kind resolves to.
    fn check_touchable(_: &LiveObject) -> Result<(), Failure> {
        Ok(())
    }

    /// By its UID alone: a new status meanwhile is no reason to leave it.
    fn preconditions(seen: &ObjectMeta) -> Preconditions {
        Preconditions { uid: seen.uid.clone(), resource_version: None }
    }

    /// The one that the status is bound to.
    fn former(es: &ExternalSecret) -> Former {
        Former::Named(es.status.as_ref().map(|status| status.binding.name.clone()).unwrap_or_default())
    }
}
