//! What is asked for, and is not built, not allowed, or somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use super::generators;
use super::{Finding, Settings, Severity, number};
use crate::facts::{Cluster, Identity, Role, Sample, Store};
use crate::kinds;

/// Objects of kinds that nobody will look after.
pub fn kinds(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for unserved in cluster.unserved.iter().filter(|unserved| unserved.objects.count > 0) {
        let summary = format!(
            "{} of the kind {}, which keyferry does not serve yet",
            number(unserved.objects.count, "object"),
            unserved.kind
        );
        findings.push(
            Finding::new("kind-not-served", Severity::Attention, summary)
                .sample(&unserved.objects)
                .so("they stay as they are; nobody acts on them once External Secrets Operator is gone")
                .then("do without them, or keep External Secrets Operator for them with a controller class of its own"),
        );
    }
    for (name, kind) in cluster.cluster_generators.iter().filter(|(_, kind)| !kinds::is_generated(kind)) {
        findings.push(
            Finding::new(
                "generator-not-served",
                Severity::Attention,
                format!("ClusterGenerator {name} makes a {kind}, which keyferry can't yet"),
            )
            .about([name.clone()])
            .so("ExternalSecrets that use it keep the Secret that they have, which is not renewed"),
        );
    }
    if cluster.crds.is_empty() && !cluster.is_unread(crate::facts::Area::Crds) {
        findings.push(Finding::new(
            "no-crds",
            Severity::Note,
            "there are no CRDs of external-secrets.io in this cluster",
        ));
    }
}

/// Whether keyferry will look after a store.
fn is_of_class(store: &Store, settings: &Settings) -> bool {
    store.class.is_empty() || store.class == settings.class
}

/// Stores of providers that are not built.
pub fn stores(cluster: &Cluster, settings: &Settings, findings: &mut Vec<Finding>) {
    let mut by_provider: BTreeMap<&str, (Sample, usize)> = BTreeMap::new();
    for store in cluster.stores.iter().filter(|store| is_of_class(store, settings)) {
        for provider in store.providers.iter().filter(|provider| !settings.providers.contains(provider)) {
            let users = cluster.external_secrets.by_store.get(&store.name).copied().unwrap_or(0);
            let (sample, all) = by_provider.entry(provider).or_default();
            sample.add(|| format!("{} ({})", store.name, number(users, "ExternalSecret")));
            *all += users;
        }
    }
    for (provider, (sample, users)) in by_provider {
        findings.push(
            Finding::new(
                "provider-not-served",
                Severity::Attention,
                format!(
                    "{} of the provider {provider}, which this build of keyferry does not have",
                    number(sample.count, "store")
                ),
            )
            .sample(&sample)
            .so(format!(
                "what refers to them ({}) keeps its Secrets, which are not refreshed",
                number(users, "ExternalSecret")
            ))
            .then(format!("this build has: {}", settings.providers.join(", "))),
        );
    }
}

/// What allows these hosts: what a name leads to is an address of this machine.
pub fn hosts_as_addresses(hosts: BTreeSet<&str>) -> Vec<&str> {
    let hosts = hosts.into_iter().map(|host| if host.ends_with("localhost") { "127.0.0.1" } else { host });
    hosts.collect::<BTreeSet<&str>>().into_iter().collect()
}

/// SecretStores that lead where only the operator's own machine may.
pub fn addresses(cluster: &Cluster, settings: &Settings, findings: &mut Vec<Finding>) {
    let (mut sample, mut hosts) = (Sample::default(), BTreeSet::new());
    let ours = cluster.stores.iter().filter(|store| is_of_class(store, settings) && !store.local.is_empty());
    for store in ours.filter(|store| store.name.namespace.is_some()) {
        sample.add(|| store.name.to_string());
        hosts.extend(store.local.iter().map(String::as_str));
    }
    if sample.count > 0 {
        let hosts = hosts_as_addresses(hosts);
        let summary = format!("{} to the operator's own machine or its link", number(sample.count, "SecretStore"));
        findings.push(
            Finding::new("local-address", Severity::Attention, summary)
                .sample(&sample)
                .so("keyferry refuses such addresses for SecretStores, and for names that lead to them: whoever may write a store would reach what only the machine may")
                .then(format!("run keyferry with --allow-store-addresses={}, or use a ClusterSecretStore", hosts.join(","))),
        );
    }
}

/// What AWS must allow so that reading costs no more calls than it must.
pub fn permissions(cluster: &Cluster, settings: &Settings, findings: &mut Vec<Finding>) {
    const AWS: &str = "aws";
    let mut sample = Sample::default();
    let ours = cluster.stores.iter().filter(|store| is_of_class(store, settings));
    for store in ours.filter(|store| store.providers == [AWS] && settings.providers.iter().any(|known| known == AWS)) {
        sample.add(|| store.name.to_string());
    }
    if sample.count > 0 {
        findings.push(
            Finding::new("aws-batches", Severity::Note, format!("{} of the provider aws", number(sample.count, "store")))
                .sample(&sample)
                .so("keyferry reads many keys with one call where IAM allows it, and one by one where it does not; the policies of External Secrets Operator's users often name the latter only")
                .then("allow secretsmanager:BatchGetSecretValue and ssm:GetParameters, too"),
        );
    }
}

/// Stores that log in as the operator.
pub fn identities(cluster: &Cluster, settings: &Settings, findings: &mut Vec<Finding>) {
    let mut samples: [Sample; 5] = Default::default();
    let [refused, shared, missing, ambient, elsewhere] = &mut samples;
    for store in cluster.stores.iter().filter(|store| is_of_class(store, settings)) {
        let sample = match (store.identity, &store.name.namespace) {
            (Identity::Own, _) => continue,
            (Identity::ControllerToken, Some(_)) => &mut *refused,
            (Identity::ControllerToken, None) => &mut *shared,
            (Identity::Missing, _) => &mut *missing,
            (Identity::AmbientElsewhere, Some(_)) => &mut *elsewhere,
            (Identity::Ambient | Identity::AmbientElsewhere, _) => &mut *ambient,
        };
        sample.add(|| store.name.to_string());
    }
    if refused.count > 0 {
        let summary =
            format!("{} would log in with the operator's own Kubernetes token", number(refused.count, "SecretStore"));
        findings.push(
            Finding::new("controller-token", Severity::Attention, summary)
                .sample(refused)
                .so("keyferry never sends its own token for a namespaced store, whatever --controller-token says: whoever may write the store would choose who gets it")
                .then("set a serviceAccountRef in spec.provider.vault.auth.kubernetes, or use a ClusterSecretStore"),
        );
    }
    if shared.count > 0 {
        let summary =
            format!("{} logs in with the operator's own Kubernetes token", number(shared.count, "ClusterSecretStore"));
        findings.push(
            Finding::new("controller-token", Severity::Attention, summary)
                .sample(shared)
                .so("the token will be keyferry's ServiceAccount's, which the roles in Vault do not know; with --controller-token=never it is not sent at all")
                .then("bind the roles in Vault to keyferry's ServiceAccount and namespace, too, or set a serviceAccountRef"),
        );
    }
    if missing.count > 0 {
        let summary = format!("{} of the provider kubernetes without credentials", number(missing.count, "store"));
        findings.push(
            Finding::new("no-credentials", Severity::Attention, summary)
                .sample(missing)
                .so("keyferry never uses its own rights for such a store")
                .then("set auth.serviceAccount, auth.token, auth.cert or authRef in spec.provider.kubernetes"),
        );
    }
    ambient_identity_elsewhere(elsewhere, findings);
    let stores = ambient.count;
    for made in generators::ours(cluster, settings).filter(|made| made.identity == Identity::Ambient) {
        ambient.add(|| made.name.clone());
    }
    ambient_identity(cluster, stores, ambient, findings);
}

/// Whose identity would be shown to servers of their own choice.
fn ambient_identity_elsewhere(elsewhere: &Sample, findings: &mut Vec<Finding>) {
    if elsewhere.count > 0 {
        let summary = format!(
            "{} would show the operator's own identity in a cloud to a server that the store names",
            number(elsewhere.count, "SecretStore")
        );
        findings.push(
            Finding::new("ambient-identity-elsewhere", Severity::Attention, summary)
                .sample(elsewhere)
                .so("keyferry refuses such a SecretStore: what the server is shown is as good at other servers, and whoever may write the store would choose who gets it")
                .then("name credentials in the store, or use a ClusterSecretStore"),
        );
    }
}

fn ambient_identity(cluster: &Cluster, stores: usize, ambient: &Sample, findings: &mut Vec<Finding>) {
    let mut annotations: BTreeMap<&String, &String> = BTreeMap::new();
    for operator in cluster.operators.iter().filter(|operator| operator.role == Role::Controller) {
        annotations.extend(&operator.identity);
    }
    if ambient.count == 0 && annotations.is_empty() {
        return;
    }
    let summary = match ambient.count {
        0 => "External Secrets Operator's ServiceAccount has an identity in a cloud".to_owned(),
        count => {
            let counts = [(stores, "store"), (count - stores, "generator")].into_iter().filter(|(count, _)| *count > 0);
            let told: Vec<String> = counts.map(|(count, what)| number(count, what)).collect();
            let verb = if count == 1 { "uses" } else { "use" };
            format!("{} {verb} the operator's own identity in a cloud", told.join(" and "))
        }
    };
    let mut finding = Finding::new("ambient-identity", Severity::Attention, summary)
        .sample(ambient)
        .so("it belongs to External Secrets Operator's ServiceAccount or nodes; keyferry has its own ServiceAccount");
    if annotations.is_empty() {
        finding.next = "no annotation on External Secrets Operator's ServiceAccount gives it away: look for an EKS pod identity association, a role of the nodes, or variables of its pod".to_owned();
    } else {
        let said: Vec<String> = annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
        finding.next = format!(
            "keyferry's chart keeps name and namespace of the account, which a cloud checks, and is given the same annotations ({}) by the command for its installation; installed in another way, have the role trust it",
            said.join(", ")
        );
    }
    findings.push(finding);
}

/// ExternalSecrets that ask for what is not built.
pub fn external_secrets(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let all = &cluster.external_secrets;
    for (kind, sample) in &all.by_generator {
        if kinds::is_generated(kind) {
            continue;
        }
        let summary = format!(
            "{} with a generator of the kind {kind}, which keyferry does not serve yet",
            number(sample.count, "ExternalSecret")
        );
        findings.push(
            Finding::new("generator-not-served", Severity::Attention, summary)
                .sample(sample)
                .so("they keep the Secrets that they have, which are not renewed"),
        );
    }
    if all.manifests.count > 0 {
        let summary = format!(
            "{} with another target than a Secret (target.manifest)",
            number(all.manifests.count, "ExternalSecret")
        );
        findings.push(
            Finding::new("generic-target", Severity::Attention, summary)
                .sample(&all.manifests)
                .so("such targets are written only where keyferry runs with --unsafe-allow-generic-targets, and has rights for their kinds")
                .then("give it both: genericTargets.enabled and genericTargets.resources in the chart's values, as in those of External Secrets Operator's"),
        );
    }
}
