//! What a push needs of the world beside what `sync` needs, as traits. The operator answers them with an API server and
//! real stores; tests with maps.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use keyferry_crds::{PushSecret, PushSecretStatus};
use keyferry_limits::Budget;
use keyferry_provider_core::{Answer, Capabilities, Dialect, Error, Key, Push, Reach, Remote};
use keyferry_sync::asking::Asking;
use keyferry_sync::data::{Data, StringMap, cost, cost_of};
use keyferry_sync::dependency::Version;
use keyferry_sync::engine::ENTRY;
use keyferry_sync::ports::{self as sync, Planning, Problem};
use keyferry_sync::record::Note;
use keyferry_sync::store::Store;

/// The stores, for who writes.
#[async_trait]
pub trait Stores: Send + Sync {
    /// Lets `namespace` into a store.
    async fn open(&self, store: &Store, namespace: &str) -> Result<Arc<dyn Opened>, Error>;
}

/// A store that let somebody in who may write.
#[async_trait]
pub trait Opened: Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// How it is read.
    fn dialect(&self) -> Dialect;

    /// Fetches distinct keys with whoever else asks at the time; `planning` is let go as soon as they are asked for.
    async fn fetch(&self, asking: &Arc<Asking>, keys: Vec<Key>, planning: Planning) -> HashMap<Key, Answer>;

    /// Writes. What is there already and equal is not written again.
    async fn push(&self, push: &Push) -> Result<(), Error>;

    /// Deletes. What is not there, or not ours, is no error.
    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error>;

    /// Whether something is there.
    async fn exists(&self, remote: &Remote) -> Result<bool, Error>;
}

/// A Secret that is pushed, or what stands for one.
#[derive(Clone, Default)]
pub struct Source {
    /// Its name; empty where it was generated.
    pub name: String,
    /// The version that was read.
    pub version: Option<Version>,
    /// What it holds.
    pub data: Data,
    /// Its type.
    pub type_: Option<String>,
    /// Its labels.
    pub labels: StringMap,
    /// Its annotations.
    pub annotations: StringMap,
}

impl Source {
    /// What it takes, about: of an entry of each of its maps its texts, and a place.
    pub fn cost(&self) -> usize {
        let marks = self.labels.iter().chain(&self.annotations);
        let marks = cost_of(marks.map(|(name, value)| (name.as_str(), value.len())));
        cost(&self.data).saturating_add(marks).saturating_add(ENTRY)
    }
}

/// Without annotations, which may hold values: kubectl writes the whole Secret into one.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

/// The Secrets that are pushed.
#[async_trait]
pub trait Sources: Send + Sync {
    /// A Secret in full; `None` where there is none.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Source>, Problem>;

    /// The Secrets that bear these labels, in full, as far as `budget` can pay for them and limits allow: else it is an
    /// error. `None` where they take more than `most` bytes.
    async fn selected(
        &self,
        namespace: &str,
        selector: &LabelSelector,
        budget: &Budget,
        most: usize,
    ) -> Result<Option<Vec<Source>>, Problem>;
}

/// Where it is told what happened.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Makes the status `after`, which was `before`; gives the resourceVersion that the object has since.
    async fn status(
        &self,
        ps: &PushSecret,
        before: Option<&PushSecretStatus>,
        after: &PushSecretStatus,
    ) -> Result<Option<String>, Problem>;

    /// Leaves a PushSecret these finalizers and no other, unless it has changed since.
    async fn finalizers(&self, ps: &PushSecret, finalizers: &[String]) -> Result<(), Problem>;

    /// Notes on a PushSecret of which generated value its stores hold.
    async fn generated(&self, ps: &PushSecret, note: &str) -> Result<(), Problem>;

    /// An event on the PushSecret. Nobody waits for it.
    fn note(&self, ps: &PushSecret, note: Note);
}

/// All of it.
#[derive(Clone)]
pub struct Ports {
    /// What every life of a secret needs.
    pub sync: sync::Ports,
    /// The stores.
    pub stores: Arc<dyn Stores>,
    /// What is pushed.
    pub sources: Arc<dyn Sources>,
    /// Where it is told.
    pub journal: Arc<dyn Journal>,
}
