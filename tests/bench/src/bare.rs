//! What cannot be undercut: the writes of a first sync, made by a client that does nothing else.

use std::time::{Duration, Instant};

use anyhow::Result;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::bed::{self, Bed};
use crate::fleet::Fleet;

const NAMESPACE: &str = "bare";

/// Creates the target of each ExternalSecret of a fleet and patches its status, over 32 connections; gives how long
/// that took. Works on copies, in a namespace that is empty again when this returns.
pub async fn writes(bed: &Bed, fleet: &Fleet) -> Result<Duration> {
    bed.namespace(NAMESPACE).await?;
    let copies: Vec<Value> = fleet
        .external_secrets()
        .into_iter()
        .map(|mut copy| {
            copy["metadata"]["namespace"] = json!(NAMESPACE);
            copy
        })
        .collect();
    bed.create(&copies).await?;
    let numbers: Vec<usize> = (0..fleet.objects).collect();
    let begun = Instant::now();
    bed.each(&numbers, async |client, n| {
        let name = fleet.name(*n);
        let secret = serde_json::from_value(secret(&name, fleet, *n))?;
        bed::api(client.clone(), "Secret", Some(NAMESPACE)).create(&PostParams::default(), &secret).await?;
        let patch = Patch::Merge(status());
        let external_secrets = bed::api(client, "ExternalSecret", Some(NAMESPACE));
        external_secrets.patch_status(&name, &PatchParams::default(), &patch).await?;
        Ok(())
    })
    .await?;
    let took = begun.elapsed();
    bed.clear(NAMESPACE, &["ExternalSecret", "Secret"]).await?;
    Ok(took)
}

fn secret(name: &str, fleet: &Fleet, n: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": name,
            "labels": {"reconcile.external-secrets.io/managed": "true"},
            "annotations": {"reconcile.external-secrets.io/data-hash": "0".repeat(56)},
        },
        "stringData": fleet.data(n, 1),
    })
}

fn status() -> Value {
    json!({"status": {
        "binding": {"name": "x"},
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "refreshTime": "2026-01-01T00:00:00Z",
        "syncedResourceVersion": "1-0000000000000000000000000000000000000000000000000000000",
    }})
}
