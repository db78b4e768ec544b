//! When nothing changes any more: watches over what the operator writes, for all cases together.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use keyferry_behaviour_tests::Cluster;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event, watcher};

/// A namespace is quiet when nothing in it has changed for this long. That what is to come has come by then is not sure
/// on a busy machine: who finds what it did not expect looks again.
const QUIET: Duration = Duration::from_millis(2500);

/// A namespace that never becomes quiet is an error by itself.
const LIMIT: Duration = Duration::from_secs(180);

/// When each namespace, and each cluster-wide object, last changed.
#[derive(Clone, Default)]
pub struct Changes(Arc<Mutex<HashMap<String, Instant>>>);

impl Changes {
    /// Begins to watch the whole cluster; never ends.
    pub fn watch(cluster: &Cluster) -> Self {
        let changes = Self::default();
        for kind in ["Secret", "ExternalSecret", "SecretStore", "ClusterSecretStore", "ClusterExternalSecret"] {
            let all = cluster.everywhere(kind);
            let changes = changes.clone();
            tokio::spawn(async move {
                let mut events = watcher(all, watcher::Config::default()).boxed();
                while let Some(event) = events.next().await {
                    match event {
                        Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) => {
                            changes.note(&object)
                        }
                        Ok(Event::Init | Event::InitDone) => {}
                        // Without a pause it would spin while the API server is away.
                        Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                    }
                }
            });
        }
        changes
    }

    fn note(&self, object: &DynamicObject) {
        // Cluster-wide objects have the name of their case's namespace.
        let key = object.namespace().unwrap_or_else(|| object.name_any());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Instant::now());
    }

    /// Waits until a namespace, and the cluster store of its name, are quiet.
    pub async fn quiet(&self, namespace: &str) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(namespace).copied();
            let since = last.unwrap_or(began).max(began);
            match QUIET.checked_sub(since.elapsed()) {
                None => return Ok(()),
                Some(_) if began.elapsed() > LIMIT => {
                    return Err(format!("the namespace still changes after {LIMIT:?}"));
                }
                Some(left) => tokio::time::sleep(left).await,
            }
        }
    }
}

impl Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes")
    }
}
