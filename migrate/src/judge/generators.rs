//! Generators that keyferry has, and that will not do what they did.
//!
//! Whatever a generator refers to is looked up in the namespace of who uses it, also where a ClusterGenerator holds it: it may
//! do no more than a SecretStore there.

use std::collections::{BTreeMap, BTreeSet};

use super::objects::hosts_as_addresses;
use super::{Finding, Settings, Severity, number};
use crate::facts::{Cluster, Generator, Identity, Sample};

const STALE: &str = "what uses it keeps the values that it has, which are not renewed";

/// Generators of our class.
pub fn ours<'a>(cluster: &'a Cluster, settings: &Settings) -> impl Iterator<Item = &'a Generator> {
    cluster.generators.iter().filter(|made| made.class.is_empty() || made.class == settings.class)
}

/// Generators that are refused.
pub fn judge(cluster: &Cluster, settings: &Settings, findings: &mut Vec<Finding>) {
    let (mut token, mut elsewhere, mut local) = (Sample::default(), Sample::default(), Sample::default());
    let (mut hosts, mut refused) = (BTreeSet::new(), BTreeMap::<&str, Sample>::new());
    for made in ours(cluster, settings) {
        match made.identity {
            Identity::ControllerToken => token.add(|| made.name.clone()),
            Identity::AmbientElsewhere => elsewhere.add(|| made.name.clone()),
            Identity::Own | Identity::Missing | Identity::Ambient => {}
        }
        if !made.local.is_empty() {
            local.add(|| made.name.clone());
            hosts.extend(made.local.iter().map(String::as_str));
        }
        for why in &made.refused {
            refused.entry(why).or_default().add(|| made.name.clone());
        }
    }
    let mut find = |code, sample: &Sample, what: &str, why: String, next: String| {
        if sample.count > 0 {
            let summary = format!("{} {what}", number(sample.count, "generator"));
            findings.push(Finding::new(code, Severity::Attention, summary).sample(sample).so(why).then(next));
        }
    };
    find(
        "controller-token",
        &token,
        "would log in with the operator's own Kubernetes token",
        format!("keyferry never sends its own token for a generator, whatever --controller-token says; {STALE}"),
        "set a serviceAccountRef in spec.provider.auth.kubernetes".to_owned(),
    );
    find(
        "ambient-identity-elsewhere",
        &elsewhere,
        "would show the operator's own identity in a cloud to a server of their own choice",
        format!("keyferry refuses that (a VaultDynamicSecret with iam or gcp and no credentials, an ACRAccessToken of a registry that is not Azure's), in a ClusterGenerator, too; {STALE}"),
        "name credentials in the generator: iam.jwt or iam.secretRef, gcp.workloadIdentity or gcp.secretRef, a servicePrincipal".to_owned(),
    );
    find(
        "local-address",
        &local,
        "to the operator's own machine or its link",
        format!("keyferry refuses such addresses for generators, those of ClusterGenerators too; {STALE}"),
        format!("run keyferry with --allow-store-addresses={}", hosts_as_addresses(hosts).join(",")),
    );
    for (why, sample) in refused {
        let next = "change it beforehand: docs/compatibility.md has what each field takes".to_owned();
        find("generator-refused", &sample, &format!("with what keyferry refuses: {why}"), STALE.to_owned(), next);
    }
}
