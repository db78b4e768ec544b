//! The check of a store: can its client be made, does the store let it in. What it finds is the store's condition.

use std::time::Duration;

use jiff::Timestamp;
use keyferry_cluster::client::{ApiProblem, timely};
use keyferry_crds::{ClusterSecretStore, SecretStore, SecretStoreStatus, names};
use keyferry_provider_core::{Capabilities, ErrorKind, Registration};
use keyferry_stores::registry;
use keyferry_sync::record::{self, Note, Severity};
use keyferry_sync::store::{Readiness, Store};
use keyferry_sync::time::later;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::Context;
use crate::clock;

/// The longest wait between two checks of a store that fails.
const LONGEST: Duration = Duration::from_secs(300);

/// The reason of a store that can be used.
const VALID: &str = "Valid";

/// What a check came to.
pub struct Report {
    /// Whether the store can be used.
    pub readiness: Readiness,
    /// The status, where it was written.
    pub status: Option<SecretStoreStatus>,
    /// When to check again.
    pub next: Timestamp,
}

/// What the condition says.
struct Verdict {
    ready: bool,
    reason: &'static str,
    message: String,
    /// What the provider says of itself and of this store, where that is not bad.
    provider: Option<(&'static Registration, Capabilities)>,
}

/// Checks a store and writes its status where that changed. `failures` are those in a row before this check.
pub async fn run(context: &Context, store: &Store, failures: u32, every: Duration) -> Report {
    let verdict = examine(context, store).await;
    let now = clock::now();
    let mut status = store.status.clone();
    record::set_ready(&mut status.conditions, verdict.ready, verdict.reason, verdict.message.clone(), now);
    if let Some((_, can)) = verdict.provider.filter(|_| verdict.reason == VALID) {
        status.capabilities = Some(can.access().to_owned().into());
    }
    let mut next = if verdict.ready {
        later(now, store.spec.as_ref().ok().and_then(|spec| spec.refresh_every().ok().flatten()).unwrap_or(every))
    } else {
        later(now, Duration::from_secs(1).saturating_mul(2u32.saturating_pow(failures)).min(LONGEST))
    };
    let mut written = None;
    if status != store.status {
        match write(context, store, &status).await {
            Ok(()) => {
                tell(context, store, &verdict);
                written = Some(status);
            }
            Err(problem) if problem.is_not_found() => {}
            Err(problem) => {
                tracing::warn!(store = %store.id, namespace = store.id.namespace, %problem, "could not write the store's status");
                next = next.min(later(now, Duration::from_secs(5)));
            }
        }
    }
    let readiness = if verdict.ready { Readiness::Ready } else { Readiness::NotReady(verdict.message) };
    Report { readiness, status: written, next }
}

async fn examine(context: &Context, store: &Store) -> Verdict {
    let bad = |message: String| Verdict { ready: false, reason: "InvalidProviderConfig", message, provider: None };
    let provider = store.spec.as_ref().ok().and_then(|spec| {
        let (name, config) = spec.the_provider().ok()?;
        let registration = registry::find(name).ok()?;
        Some((registration, (registration.capabilities)(config)))
    });
    let good = || Verdict { ready: true, reason: VALID, message: "store validated".to_owned(), provider };
    if let Some(problem) = store.bad_regex() {
        return bad(format!("unable to validate store: {problem}"));
    }
    if let Some(problem) = store.spec.as_ref().ok().and_then(|spec| spec.refresh_every().err()) {
        return bad(format!("unable to validate store: spec.refreshInterval: {problem}"));
    }
    let client = match context.pool.client(store, None).await {
        Ok(client) => client,
        // Credentials come from whoever asks: there is nothing to check before somebody does.
        Err(error) if error.kind() == ErrorKind::Referent => return good(),
        Err(error) => return bad(format!("unable to create client: {error}")),
    };
    match client.provider.validate().await {
        Ok(()) => {
            let mut verdict = good();
            if client.fetcher.is_singly() {
                verdict.message.push_str(
                    "; reading key by key, since the store's batch call is denied: allow it to save calls (the \
                     documentation of the provider names the permission)",
                );
            }
            if let Some(note) = client.provider.identity_note() {
                verdict.message.push_str("; ");
                verdict.message.push_str(&note);
            }
            verdict
        }
        // As in External Secrets Operator, a store that can't tell is given the benefit of the doubt.
        Err(error) if error.kind() == ErrorKind::Unverified => Verdict {
            ready: true,
            reason: "ValidationUnknown",
            message: format!("could not determine validation status: {error}"),
            provider,
        },
        Err(error) => bad(format!("unable to validate store: {error}")),
    }
}

async fn write(context: &Context, store: &Store, status: &SecretStoreStatus) -> Result<(), ApiProblem> {
    let patch = Patch::Merge(json!({"metadata": {"uid": store.uid()}, "status": status}));
    let params = PatchParams::default();
    match &store.id.namespace {
        Some(namespace) => {
            let api: Api<SecretStore> = Api::namespaced(context.client.clone(), namespace);
            timely(api.patch_status(&store.id.name, &params, &patch)).await.map(|_| ())
        }
        None => {
            let api: Api<ClusterSecretStore> = Api::all(context.client.clone());
            timely(api.patch_status(&store.id.name, &params, &patch)).await.map(|_| ())
        }
    }
}

/// Only what changed is told: that a store is still fine would bury everything else.
fn tell(context: &Context, store: &Store, verdict: &Verdict) {
    let component = match store.id.namespace {
        Some(_) => names::EVENTS_SECRET_STORE,
        None => names::EVENTS_CLUSTER_SECRET_STORE,
    };
    let send = |note| context.events.send(store.object_ref(), component, note);
    let severity = if verdict.ready { Severity::Normal } else { Severity::Warning };
    send(Note::new(severity, verdict.reason, verdict.message.clone()));
    let silenced =
        store.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(names::ANNOTATION_IGNORE_MAINTENANCE));
    if verdict.provider.is_some_and(|(provider, _)| !provider.maintained) && !silenced {
        let message = "nobody maintains this provider: it is meant for tests".to_owned();
        send(Note::new(Severity::Warning, "StoreUnmaintained", message));
    }
    if verdict.ready {
        tracing::info!(store = %store.id, namespace = store.id.namespace, "store validated")
    } else {
        tracing::warn!(store = %store.id, namespace = store.id.namespace, "{}", verdict.message)
    }
}
