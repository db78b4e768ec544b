//! What was read of a cluster.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use keyferry_crds::{ExternalSecret, PushSecret};
use keyferry_sync::data::StringMap;
use keyferry_sync::store::{KnownStores, Store};
use kube::api::ObjectMeta;

use super::tries::Tries;
use super::users::User;

/// An object, or the metadata of one that is not of the form of its kind.
pub type Read<T> = Result<T, Box<ObjectMeta>>;

/// One of those that stand somehow, as it was last seen.
#[derive(Clone)]
pub enum Object {
    /// An ExternalSecret.
    ExternalSecret(Arc<Read<ExternalSecret>>),
    /// A PushSecret.
    PushSecret(Arc<Read<PushSecret>>),
    /// A store, of a namespace or of the cluster.
    Store(Arc<Store>),
}

/// All of it. What was not asked for, or may not be read, is empty.
#[derive(Default)]
pub struct Snapshot {
    /// The ExternalSecrets.
    pub external_secrets: Vec<Read<ExternalSecret>>,
    /// The PushSecrets.
    pub push_secrets: Vec<Read<PushSecret>>,
    /// The stores, of namespaces and of the cluster.
    pub stores: Vec<Arc<Store>>,
    /// Kinds, in the plural, that were asked for and could not be read, or not all of them.
    pub unread: BTreeSet<&'static str>,
    /// The labels of namespaces.
    pub namespaces: HashMap<String, StringMap>,
    /// Who uses which Secret.
    pub users: Vec<User>,
    /// What metrics tell of tries, where they could be read.
    pub tries: Option<Tries>,
}

impl Snapshot {
    /// Whether a kind, in the plural, could not be read.
    pub fn misses(&self, kinds: &str) -> bool {
        self.unread.contains(kinds)
    }

    /// The stores, as their conditions tell of them.
    pub fn known_stores(&self) -> KnownStores {
        self.stores.iter().map(|store| (store.id.clone(), (store.clone(), store.readiness_told()))).collect()
    }
}
