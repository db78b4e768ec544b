//! What is asked of targets: the contract of outputs.
//!
//! Removing what was renamed and marking are methods of their own, though only targets in a cluster know them: a failed
//! removal must not take along what is known of a write that went well, and is made up for when nothing is to be
//! written; and a target is marked when something failed before it came to a write.

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::content::Content;
use super::outcome::{Change, Failure};

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

/// A target as it was read or written: UID, and what counts its changes.
pub type Version = (String, String);

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

/// The UID of an object, and its generation where its kind has one: that does not count statuses, which controllers may
/// write all the time. Otherwise the resourceVersion.
pub fn version(metadata: &ObjectMeta) -> Option<Version> {
    let generation = metadata.generation.filter(|generation| *generation > 0).map(|generation| generation.to_string());
    Some((metadata.uid.clone()?, generation.or_else(|| metadata.resource_version.clone())?))
}
