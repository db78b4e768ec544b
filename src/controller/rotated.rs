//! What is told of Secrets that changed, to whoever restarts their users.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use keyferry_cluster::leader::Lead;
use keyferry_crds::{ExternalSecret, names};
use keyferry_limits::RESTART_LIST;
use kube::core::ApiResource;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// For changes of how long ago workloads are still restarted, where an operator was stopped or killed before it did.
const RECENT: SignedDuration = SignedDuration::from_secs(3600);

/// A Secret that changed, and for whom.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// Its namespace and name.
    pub namespace: String,
    /// See `namespace`.
    pub secret: String,
    /// Since when it is as it is, as far as anybody is to be waited for: what changed before our time has been so for a while.
    pub since: Instant,
    /// Who wrote it: events are about that.
    pub writer: ObjectReference,
    /// In whose name they are.
    pub component: &'static str,
    /// Who restarts, as the writer's annotation says; of what is longer than it may be, as much as shows that it is.
    pub asked: Option<String>,
    /// Under which lead it was found: where it is another replica's by now, that one has found it, too.
    pub lead: Option<Lead>,
}

/// Where it is told that the Secret of an ExternalSecret changed.
#[derive(Clone)]
pub struct Teller {
    told: mpsc::UnboundedSender<Rotated>,
    now: fn() -> Timestamp,
    kind: ApiResource,
    component: &'static str,
}

impl Teller {
    /// By which writers of this kind tell.
    pub fn of(
        told: mpsc::UnboundedSender<Rotated>,
        now: fn() -> Timestamp,
        kind: ApiResource,
        component: &'static str,
    ) -> Self {
        Self { told, now, kind, component }
    }

    /// The Secret of this ExternalSecret changed then, just now or before a look that found it so.
    pub fn rotated(&self, es: &ExternalSecret, at: Timestamp) {
        self.tell(es, at, Instant::now());
    }

    /// It was found to have changed then: the operator before us may not have come to restart anybody.
    pub fn found(&self, es: &ExternalSecret, at: Timestamp) {
        let (now, ago) = (Instant::now(), (self.now)().duration_since(at));
        // One of the future is one of now.
        let since = now.checked_sub(ago.unsigned_abs()).filter(|_| ago.is_positive());
        self.tell(es, at, since.unwrap_or(now));
    }

    fn tell(&self, es: &ExternalSecret, at: Timestamp, since: Instant) {
        if es.target_manifest().is_some() || (self.now)().duration_since(at) > RECENT {
            return;
        }
        let metadata = &es.metadata;
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let asked = metadata.annotations.as_ref().and_then(|all| all.get(names::ANNOTATION_RESTART));
        let asked = asked.map(|text| text[..text.ceil_char_boundary(RESTART_LIST.size() + 1)].to_owned());
        // Whoever hears it may have ended, and so do we.
        let _ = self.told.send(Rotated {
            secret: es.target_name().to_owned(),
            since,
            writer: ObjectReference {
                api_version: Some(self.kind.api_version.clone()),
                kind: Some(self.kind.kind.clone()),
                namespace: Some(namespace.clone()),
                name: metadata.name.clone(),
                uid: metadata.uid.clone(),
                ..ObjectReference::default()
            },
            namespace,
            component: self.component,
            asked,
            lead: Lead::here(),
        });
    }
}
