//! What writes targets: the contract of outputs.
//!
//! Targets are never server-side applied: External Secrets Operator's managed fields are of plain updates, and whoever
//! goes back to it must find its own. Every write names the uid and resourceVersion that it was decided on.

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyferry_crds::{ExternalSecret, names};
use kube::api::{DeleteParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::content::Content;
pub use super::dependency::{Version, version};
use super::outcome::{Change, Failure};
use crate::hash;

/// The target of one ExternalSecret. It keeps what it read for the write that follows.
#[async_trait]
pub trait Output: Send + Sync {
    /// Reads the target; `None` where there is none.
    async fn observe(&mut self) -> Result<Option<Observed>, Failure>;

    /// Makes the target hold `content`, on the ground of what was observed last; reads it first where nothing was and
    /// it is not `presumed_absent`. Where it turns out to be otherwise, it is read once more and decided anew.
    async fn apply(&mut self, content: &Content, presumed_absent: bool) -> Result<Applied, Failure>;

    /// Deletes the target, where the ExternalSecret controls it. Answers whether there was one to delete.
    async fn remove(&mut self) -> Result<bool, Failure>;

    /// Deletes what the ExternalSecret wrote under other names than its target's. Answers their names.
    async fn remove_renamed(&mut self) -> Result<Vec<String>, Failure>;

    /// Puts the managed label on a target that is there and is not written, as External Secrets Operator does: its edits
    /// are seen then.
    async fn mark(&mut self) -> Result<(), Failure>;
}

/// A target as it was read.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its version.
    pub version: Option<Version>,
    /// Whether it is as its writer left it.
    pub intact: bool,
    /// When the ExternalSecret wrote it, to the second; `None` where it never did.
    pub written_at: Option<Timestamp>,
}

/// What an [`Output::apply`] did.
#[derive(Debug)]
pub struct Applied {
    /// What was done.
    pub change: Change,
    /// The target now; `None` where there is none.
    pub version: Option<Version>,
    /// The keys of an object that became ours.
    pub adopted: Option<Vec<String>>,
}

/// Writes under the ExternalSecret's own field manager, by which it knows its fields again.
pub fn as_manager(es: &ExternalSecret) -> PostParams {
    let manager = hash::field_manager(es.metadata.name.as_deref().unwrap_or_default());
    PostParams { field_manager: Some(manager), ..PostParams::default() }
}

/// Deletes just the object that was seen.
pub fn only_this(metadata: &ObjectMeta) -> DeleteParams {
    let preconditions =
        Preconditions { uid: metadata.uid.clone(), resource_version: metadata.resource_version.clone() };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// The merge patch that puts the managed label on the object that was seen.
pub fn mark(metadata: &ObjectMeta) -> Value {
    json!({"metadata": {"uid": metadata.uid, "labels": {names::LABEL_MANAGED: names::MANAGED}}})
}
