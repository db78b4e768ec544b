//! The kinds of targets that are not Secrets, as the API server names their resources.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use keyferry_crds::Manifest;
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Scope, pinned_kind};

use crate::client::Turns;
use keyferry_sync::address::{self, ApiVersion, NoAddress};
use keyferry_sync::outcome::{Failure, Headline, Retry};
use keyferry_sync::told::Told;

/// The kinds of targets, as the API server names their resources. Clones share what they know.
#[derive(Clone, Default)]
pub struct Kinds(Arc<Mutex<HashMap<Manifest, ApiResource>>>);

impl Kinds {
    /// The resource of a kind, where it was asked for before.
    pub fn known(&self, manifest: &Manifest) -> Option<ApiResource> {
        self.lock().get(manifest).cloned()
    }

    /// Forgets a kind: it may have gone, or come back as something else.
    pub fn forget(&self, manifest: &Manifest) {
        self.lock().remove(manifest);
    }

    /// The resource of a kind; asks the API server where it is not known yet.
    pub async fn resolve(
        &self,
        client: &kube::Client,
        turns: &Turns,
        manifest: &Manifest,
    ) -> Result<ApiResource, Failure> {
        if let Some(known) = self.known(manifest) {
            return Ok(known);
        }
        let Manifest { api_version, kind } = manifest;
        let refuse = |cause: String, retry| Failure::new(Headline::ManifestKind, Told::without_values(cause), retry);
        let bad = |problem: NoAddress| refuse(format!("spec.target.manifest: {problem}"), Retry::OnChange);
        let ApiVersion { group, version } = ApiVersion::parse(api_version).map_err(bad)?;
        let named = GroupVersionKind::gvk(group, version, address::kind(kind).map_err(bad)?);
        let asked = turns.run(async || match pinned_kind(client, &named).await {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(error) => Err(error),
        });
        let unknown = || {
            let cause = format!(
                "the API server knows no {kind:?} of {api_version:?}: correct spec.target.manifest, or install its \
                 CustomResourceDefinition"
            );
            refuse(cause, Retry::Late)
        };
        match asked.await {
            Ok(Some((_, capabilities))) if capabilities.scope == Scope::Cluster => {
                let cause = format!("{kind} has no namespace, and an ExternalSecret writes into its own only");
                Err(refuse(cause, Retry::OnChange))
            }
            // Under another spelling of its version: what holds for Secrets would not hold for it.
            Ok(Some((resource, _))) if resource.group.is_empty() && resource.plural == "secrets" => {
                let cause = "a Secret is asked for by apiVersion \"v1\", or without spec.target.manifest".to_owned();
                Err(refuse(cause, Retry::OnChange))
            }
            Ok(Some((resource, _))) => {
                self.lock().insert(manifest.clone(), resource.clone());
                Ok(resource)
            }
            Ok(None) => Err(unknown()),
            Err(problem) if problem.is_not_found() => Err(unknown()),
            Err(problem) => Err(refuse(format!("can't ask what {kind} is: {problem}"), Retry::Soon)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Manifest, ApiResource>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
