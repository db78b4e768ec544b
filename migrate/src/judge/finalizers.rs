//! What External Secrets Operator left on objects so that they can't go without it.

use std::collections::BTreeSet;

use keyferry_crds::names;

use super::{Finding, Severity, number};
use crate::facts::{Cluster, Sample, Store};

/// Finds what can't be deleted since nobody is left to take its finalizer off.
pub fn judge(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let held = cluster.external_secrets.held;
    if held > 0 {
        let mut finding = Finding::new(
            "externalsecret-finalizers",
            Severity::Note,
            format!("{} with External Secrets Operator's finalizer", number(held, "ExternalSecret")),
        )
        .so("one that is deleted while neither operator runs stays until keyferry does, which takes it off");
        finding.count = held;
        findings.push(finding);
    }
    stores(cluster, findings);
    let mut pushing = Sample::default();
    for push in cluster.push_secrets.iter().flatten().filter(|push| push.held) {
        pushing.add(|| format!("{}/{}", push.namespace, push.name));
    }
    left(
        findings,
        &pushing,
        ("pushsecret-finalizers", "PushSecret", names::FINALIZER_PUSH_SECRET),
        "what they pushed would stay in the stores",
    );
    let states = &cluster.generator_states;
    if states.count > 0 {
        let finalizer = names::FINALIZER_GENERATOR_STATE;
        let summary = format!("{} with the finalizer {finalizer}", number(states.count, "GeneratorState"));
        findings.push(
            Finding::new("generatorstate-finalizers", Severity::Note, summary)
                .sample(states)
                .so("one that is deleted while neither operator runs stays until keyferry does, which revokes what it stands for"),
        );
    }
    namespaces(cluster, findings);
}

/// Finalizers that are never taken off here, since something outside of the cluster hangs on them.
fn left(findings: &mut Vec<Finding>, objects: &Sample, (code, kind, finalizer): (&'static str, &str, &str), why: &str) {
    if objects.count > 0 {
        findings.push(
            Finding::new(code, Severity::Attention, format!("{} with the finalizer {finalizer}", number(objects.count, kind)))
                .sample(objects)
                .so(format!("one that is deleted stays, and so does its namespace; taking the finalizer off by hand is not done here, since {why}"))
                .then("delete those that are not needed while External Secrets Operator still runs"),
        );
    }
}

/// The stores that have a finalizer of which nobody has any use. `None` where that can't be known.
pub fn free_stores(cluster: &Cluster) -> Option<Vec<&Store>> {
    let pushes = cluster.push_secrets.as_ref()?;
    let held = cluster.stores.iter().filter(|store| store.held);
    Some(held.filter(|store| !pushes.iter().any(|push| push.may_need(&store.name))).collect())
}

fn stores(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let free = free_stores(cluster);
    let (mut idle, mut needed) = (Sample::default(), Sample::default());
    for store in cluster.stores.iter().filter(|store| store.held) {
        let is_free = free.as_ref().is_some_and(|free| free.iter().any(|f| f.name == store.name));
        let deleting = if store.deleting { ", being deleted" } else { "" };
        if is_free { &mut idle } else { &mut needed }.add(|| format!("{}{deleting}", store.name));
    }
    let finding = |sample: &Sample| {
        let summary = format!("{} with the finalizer {}", number(sample.count, "store"), names::FINALIZER_STORE);
        Finding::new("store-finalizers", Severity::Attention, summary)
            .sample(sample)
            .so("one that is deleted stays, and so does its namespace")
    };
    if idle.count > 0 {
        findings.push(finding(&idle).then("no PushSecret needs them any more: --apply takes it off"));
    }
    if needed.count > 0 {
        findings.push(finding(&needed).then(match free {
            Some(_) => "PushSecrets with deletionPolicy Delete refer to them: delete those that are not needed while External Secrets Operator still runs, or set their deletionPolicy to None",
            None => "whether a PushSecret still needs them is not known: run this again as somebody who may read PushSecrets",
        }));
    }
}

/// Finalizers on namespaces, with the namespace: those of ClusterExternalSecrets that are gone. `None` where that can't
/// be known.
pub fn free_namespaces(cluster: &Cluster) -> Option<BTreeSet<(&str, &str)>> {
    let there = cluster.cluster_external_secrets.as_ref()?;
    let all = cluster.namespaces.iter().flat_map(|held| held.by.iter().map(|by| (held.name.as_str(), by.as_str())));
    // A name that is too long for a finalizer stands in it cut, with a hash.
    let of = |name: &String| names::namespace_finalizers(name);
    let held_by: BTreeSet<String> = there.iter().flat_map(of).collect();
    let is_there = |by: &str| held_by.contains(&format!("{}{by}", names::FINALIZER_NAMESPACE_PREFIX));
    Some(all.filter(|(_, by)| !is_there(by)).collect())
}

fn namespaces(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let free = free_namespaces(cluster);
    let (mut idle, mut needed) = (Sample::default(), Sample::default());
    for held in &cluster.namespaces {
        for by in &held.by {
            let is_free = free.as_ref().is_some_and(|free| free.contains(&(held.name.as_str(), by.as_str())));
            if is_free { &mut idle } else { &mut needed }.add(|| format!("{} (ClusterExternalSecret {by})", held.name));
        }
    }
    let finding = |sample: &Sample| {
        Finding::new(
            "namespace-finalizers",
            Severity::Attention,
            format!("{} of ClusterExternalSecrets on namespaces", number(sample.count, "finalizer")),
        )
        .sample(sample)
        .so("a namespace that is deleted stays, and nothing can be created in it")
    };
    if idle.count > 0 {
        findings.push(finding(&idle).then("there are no such ClusterExternalSecrets any more: --apply takes them off"));
    }
    if needed.count > 0 {
        findings.push(finding(&needed).then(match free {
            Some(_) => "keyferry takes them off, and puts none there",
            None => "whether there are such ClusterExternalSecrets is not known: run this again as somebody who may read them",
        }));
    }
}

#[cfg(test)]
#[path = "finalizers_tests.rs"]
mod tests;
