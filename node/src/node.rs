//! What a node does its work with, and how it tells of it.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use keyferry_cluster::events::Events;
use keyferry_sync::audit::Audit;
use keyferry_sync::ports::Compute;
use keyferry_sync::record::{Note, Severity};
use keyferry_sync::settings::Settings;
use keyferry_sync::told::Told;

use crate::identity::Identities;
use crate::marks::Marks;
use crate::metrics::Metrics;
use crate::telling::event;
use crate::tending::Tending;
use crate::volumes::Volumes;
use crate::wanted::Pod;

/// What a node does, and with what.
pub struct Node {
    /// How is resolved: the flags.
    pub settings: Arc<Settings>,
    /// The kubelet's folder.
    pub kubelet: PathBuf,
    /// Whether what we mount may go to swap.
    pub may_swap: bool,
    /// Whether stores may be logged in to as they say.
    pub allows_static_logins: bool,
    /// What is written down.
    pub marks: Marks,
    /// What prolongs and revokes what generators made.
    pub tending: Tending,
    /// As whom all is read.
    pub identities: Identities,
    /// A client with the node's own rights.
    pub own: kube::Client,
    /// Where events go.
    pub events: Events,
    /// Where records of deliveries go.
    pub audit: Arc<dyn Audit>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where is computed what may take long.
    pub compute: Arc<dyn Compute>,
    /// The volumes of this process.
    pub volumes: Volumes,
}

impl Node {
    pub(crate) fn now(&self) -> Timestamp {
        (self.settings.now)()
    }

    /// Tells something on a pod, where that is known.
    pub(crate) fn tell(&self, pod: Option<&Pod>, severity: Severity, reason: &'static str, message: Told) {
        if let Some(pod) = pod {
            event(&self.events, pod, Note::new(severity, reason, message));
        }
    }
}
