//! How each ExternalSecret, PushSecret and store stands: its condition, when it was last looked at, and when it will be.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keyferry_crds::{Condition, CreationPolicy, ExternalSecret, PushSecret, condition, names};
use keyferry_push::refers::named_stores;
use keyferry_sync::dependency::name_of;
use keyferry_sync::request::stores_of;
use keyferry_sync::schedule;
use keyferry_sync::store::{Store, StoreId};
use serde::Serialize;

use super::snapshot::{Object, Read, Snapshot};
use super::tries::Tries;

/// How one object stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace; empty where it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `Ready`, `Failed`, or `Unknown` before the first look.
    pub status: &'static str,
    /// The reason of its condition.
    pub reason: String,
    /// The message of its condition.
    pub message: String,
    /// When its condition last flipped.
    pub since: Option<Timestamp>,
    /// When all was last seen to be well; the status is not written each time.
    pub last_sync: Option<Timestamp>,
    /// When it is refreshed next, as far as its status and spec tell; `None` where it waits for a change.
    pub next_sync: Option<Timestamp>,
    /// Failed tries since; `None` where nothing is known of them.
    pub tries: Option<u64>,
    /// When it is tried again; `None` where it is not, or nothing is known of it.
    pub next_try: Option<Timestamp>,
    /// The stores that it names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<String>,
    /// What it writes, where it is one that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl Standing {
    fn new(kind: &'static str, metadata: &kube::api::ObjectMeta, ready: Option<&Condition>) -> Self {
        let (namespace, name) = name_of(metadata);
        Self {
            kind,
            namespace,
            name,
            status: match ready.map(|ready| ready.status.as_str()) {
                Some("True") => "Ready",
                Some("False") => "Failed",
                Some(_) | None => "Unknown",
            },
            reason: ready.and_then(|ready| ready.reason.clone()).unwrap_or_default(),
            message: ready.and_then(|ready| ready.message.clone()).unwrap_or_default(),
            since: ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0),
            last_sync: None,
            next_sync: None,
            tries: None,
            next_try: None,
            stores: Vec::new(),
            target: None,
        }
    }

    fn undecodable(kind: &'static str, metadata: &kube::api::ObjectMeta) -> Self {
        let message = "it is not of the form that the CustomResourceDefinition gives".to_owned();
        Self { status: "Failed", message, ..Self::new(kind, metadata, None) }
    }
}

/// How all of a snapshot stand: ExternalSecrets, PushSecrets, stores.
pub fn all(snapshot: &Snapshot, now: Timestamp) -> Vec<Standing> {
    let tries = snapshot.tries.as_ref();
    let external_secrets = snapshot.external_secrets.iter().map(|es| of_read(es, tries, now));
    let push_secrets = snapshot.push_secrets.iter().map(|ps| of_read_push(ps, now));
    external_secrets.chain(push_secrets).chain(snapshot.stores.iter().map(|of| store(of))).collect()
}

/// How one object stands.
pub fn of(object: &Object, tries: Option<&Tries>, now: Timestamp) -> Standing {
    match object {
        Object::ExternalSecret(es) => of_read(es, tries, now),
        Object::PushSecret(ps) => of_read_push(ps, now),
        Object::Store(of) => store(of),
    }
}

fn of_read(es: &Read<ExternalSecret>, tries: Option<&Tries>, now: Timestamp) -> Standing {
    match es {
        Ok(es) => external_secret(es, tries, now),
        Err(metadata) => Standing::undecodable("ExternalSecret", metadata),
    }
}

fn of_read_push(ps: &Read<PushSecret>, now: Timestamp) -> Standing {
    match ps {
        Ok(ps) => push_secret(ps, now),
        Err(metadata) => Standing::undecodable(names::KIND_PUSH_SECRET, metadata),
    }
}

/// How an ExternalSecret stands.
pub fn external_secret(es: &ExternalSecret, tries: Option<&Tries>, now: Timestamp) -> Standing {
    let standing = Standing::new("ExternalSecret", &es.metadata, es.ready());
    let name = name_of(&es.metadata);
    let last_sync = es.status.as_ref().and_then(|status| Some(status.refresh_time.as_ref()?.0));
    let next_sync = last_sync.and_then(|last| schedule::after_success(es, last));
    let is_failed = standing.status == "Failed";
    let kind = es.target_manifest().map_or("Secret", |manifest| manifest.kind.as_str());
    Standing {
        last_sync,
        next_sync: next_sync.map(|next| next.max(now)).filter(|_| !is_failed),
        tries: tries.map(|tries| tries.failed(&name).unwrap_or_default()),
        next_try: tries.and_then(|tries| tries.next(&name)).filter(|_| is_failed),
        stores: stores_of(es).iter().map(StoreId::to_string).collect(),
        target: (es.spec.target.creation_policy != CreationPolicy::None)
            .then(|| format!("{kind} {}", es.target_name())),
        ..standing
    }
}

/// How a PushSecret stands.
pub fn push_secret(ps: &PushSecret, now: Timestamp) -> Standing {
    let standing = Standing::new(names::KIND_PUSH_SECRET, &ps.metadata, ps.ready());
    let last_sync = ps.status.as_ref().and_then(|status| Some(status.refresh_time.as_ref()?.0));
    let interval = keyferry_push::schedule::interval(ps);
    let next = last_sync.zip(interval).map(|(last, interval)| keyferry_push::schedule::due(last, interval));
    let is_failed = standing.status == "Failed";
    Standing {
        last_sync,
        next_sync: next.map(|next| next.max(now)).filter(|_| !is_failed),
        stores: named_stores(ps).iter().map(StoreId::to_string).collect(),
        ..standing
    }
}

/// How a store stands.
pub fn store(store: &Store) -> Standing {
    let kind = if store.id.namespace.is_some() { "SecretStore" } else { "ClusterSecretStore" };
    let ready = condition::find(&store.status.conditions, names::CONDITION_READY);
    match &store.spec {
        Ok(_) => Standing::new(kind, &store.metadata, ready),
        Err(message) => {
            let standing = Standing::new(kind, &store.metadata, ready);
            Standing { status: "Failed", message: message.clone(), ..standing }
        }
    }
}

/// A span of time as kubectl tells ages.
pub fn span(span: SignedDuration) -> String {
    let seconds = span.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// When something will be, as seen from now.
pub fn ahead(at: Timestamp, now: Timestamp) -> String {
    if at <= now { "now".to_owned() } else { format!("in {}", span(at.duration_since(now))) }
}

/// An interval, for a person.
pub fn every(interval: Duration) -> String {
    format!("every {}", span(SignedDuration::try_from(interval).unwrap_or(SignedDuration::MAX)))
}

#[cfg(test)]
mod tests {
    use keyferry_builders::{at, es};
    use serde_json::{Value, json};

    use super::*;

    fn with(status: Value) -> ExternalSecret {
        let mut es = es(json!({"refreshInterval": "1h", "target": {"name": "t"}}));
        es.status = serde_json::from_value(status).unwrap();
        es
    }

    fn ready(status: &str) -> Value {
        json!([{"type": "Ready", "status": status, "reason": "R", "message": "why", "lastTransitionTime": at(5).to_string()}])
    }

    #[test]
    fn what_is_well_tells_when_it_is_refreshed_and_what_failed_when_it_is_tried() {
        let metrics = "keyferry_queue_length 0\n\
                       keyferry_externalsecret_failed_attempts{name=\"e\",namespace=\"ns\"} 4\n\
                       keyferry_externalsecret_next_try_timestamp_seconds{name=\"e\",namespace=\"ns\"} 1090\n";
        let tries = Tries::of(metrics);
        let well = with(json!({"conditions": ready("True"), "refreshTime": at(1000).to_string()}));
        let well = external_secret(&well, tries.as_ref(), at(1000));
        assert_eq!((well.status, well.last_sync, well.next_try), ("Ready", Some(at(1000)), None));
        assert!(well.next_sync.is_some_and(|next| next > at(4000) && next <= at(4600)), "{:?}", well.next_sync);
        assert_eq!((well.target.as_deref(), well.since), (Some("Secret t"), Some(at(5))));
        let failed = with(json!({"conditions": ready("False"), "refreshTime": at(1000).to_string()}));
        let failed = external_secret(&failed, tries.as_ref(), at(1000));
        assert_eq!((failed.status, failed.tries, failed.next_try), ("Failed", Some(4), Some(at(1090))));
        assert_eq!((failed.next_sync, failed.message.as_str()), (None, "why"));
        let new = external_secret(&with(json!(null)), None, at(1000));
        assert_eq!((new.status, new.last_sync, new.tries), ("Unknown", None, None));
    }

    #[test]
    fn what_is_overdue_is_due_now_and_not_in_the_past() {
        let es = with(json!({"conditions": ready("True"), "refreshTime": at(1000).to_string()}));
        assert_eq!(external_secret(&es, None, at(90_000)).next_sync, Some(at(90_000)));
        assert_eq!(ahead(at(10), at(10)), "now");
        assert_eq!(ahead(at(100), at(10)), "in 90s");
    }

    #[test]
    fn stores_and_what_does_not_decode_stand_somehow_too() {
        let mut of = keyferry_builders::store(json!({"provider": {"fake": {}}}));
        of.status = serde_json::from_value(json!({"conditions": ready("False")})).unwrap();
        let standing = store(&Store::namespaced(of.clone()));
        assert_eq!((standing.kind, standing.status), ("SecretStore", "Failed"));
        let odd = store(&Store::undecodable(of.metadata.clone()));
        assert!(odd.status == "Failed" && odd.message.contains("kubectl explain"), "{odd:?}");
        let snapshot = Snapshot { external_secrets: vec![Err(Box::new(of.metadata))], ..Snapshot::default() };
        assert_eq!(all(&snapshot, at(0))[0].status, "Failed");
    }
}
