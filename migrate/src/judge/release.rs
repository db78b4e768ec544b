//! External Secrets Operator's release: what goes with it although others need it, and the way from it to keyferry's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Settings, Severity, crds, number};
use crate::facts::{Area, Cluster, Held, Identity, Operator, Pruned, Release, Role, is_ours};
use crate::images;

/// What Helm deletes with the release, and others need.
pub fn objects(cluster: &Cluster, settings: &Settings, findings: &mut Vec<Finding>) {
    for release in cluster.releases.iter().filter(|release| release.is_eso) {
        let going = || release.objects.iter().filter(|object| !object.keeps);
        let needed: Vec<(&Held, BTreeSet<String>)> = going()
            .filter(|object| object.kind == "ServiceAccount")
            .map(|object| (object, users(cluster, object)))
            .collect();
        let needed: Vec<_> = needed.into_iter().filter(|(_, users)| !users.is_empty()).collect();
        if !needed.is_empty() {
            findings.push(accounts(cluster, release, &needed, settings));
        }
        let others: Vec<(&Held, BTreeSet<String>)> = going()
            .filter(|object| object.kind != "ServiceAccount")
            .map(|object| (object, users(cluster, object)))
            .filter(|(object, users)| is_ours(&object.group) || object.kind == "Namespace" || !users.is_empty())
            .collect();
        if !others.is_empty() {
            findings.push(rest(release, &others, settings));
        }
    }
}

/// ServiceAccounts that a GitOps tool deletes once they are gone from its source, and others need.
pub fn pruned(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let mut tools: BTreeMap<&str, Vec<(&Held, BTreeSet<String>)>> = BTreeMap::new();
    for Pruned { object, by } in &cluster.accounts {
        let users = users(cluster, object);
        for tool in by.iter().filter(|_| !users.is_empty()) {
            tools.entry(tool).or_default().push((object, users.clone()));
        }
    }
    for (tool, needed) in tools {
        let summary =
            format!("{tool} manages {}, which {} in as", number(needed.len(), "ServiceAccount"), log(&needed));
        findings.push(
            Finding::new("gitops-prunes-accounts", Severity::Attention, summary)
                .about(needed.iter().map(told))
                .so("when they leave its source, or it is deleted, it may delete them; such a store can log in no more then, unless keyferry's chart makes an account of the same name in the same namespace")
                .then(crds::MARK),
        );
    }
}

/// Who needs an object of a release.
fn users(cluster: &Cluster, object: &Held) -> BTreeSet<String> {
    match object.kind.as_str() {
        "ServiceAccount" => {
            let named = cluster.needs.iter().filter(|need| need.accounts.iter().any(|named| named.may_be(object)));
            let mut users: BTreeSet<String> = named.map(|need| need.by.clone()).collect();
            // The operator's own: whoever trusts it knows it by namespace and name.
            if controllers(cluster).any(|own| own.namespace == object.namespace && own.account == object.name) {
                let own = [Identity::Ambient, Identity::AmbientElsewhere, Identity::ControllerToken];
                let stores = cluster.stores.iter().filter(|store| own.contains(&store.identity));
                users.extend(stores.map(|store| store.name.to_string()));
                let generators = cluster.generators.iter().filter(|made| own.contains(&made.identity));
                users.extend(generators.map(|made| made.name.clone()));
            }
            users
        }
        "Secret" | "ConfigMap" => {
            let named = cluster.needs.iter().filter(|need| need.names.iter().any(|named| named.may_be(object)));
            named.map(|need| need.by.clone()).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn controllers(cluster: &Cluster) -> impl Iterator<Item = &Operator> {
    cluster.operators.iter().filter(|operator| operator.role == Role::Controller)
}

fn told((object, users): &(&Held, BTreeSet<String>)) -> String {
    const NAMED: usize = 5;
    let mut named: Vec<String> = users.iter().take(NAMED).cloned().collect();
    if users.len() > NAMED {
        named.push(format!("and {} more", users.len() - NAMED));
    }
    if named.is_empty() { object.to_string() } else { format!("{object} (for {})", named.join(", ")) }
}

fn of(release: &Release) -> String {
    let Release { name, namespace, revision, chart, version, .. } = release;
    format!("Helm release {namespace}/{name} (revision {revision}, chart {chart} {version})")
}

/// How many log in as these.
fn log(needed: &[(&Held, BTreeSet<String>)]) -> String {
    let by: BTreeSet<&String> = needed.iter().flat_map(|(_, users)| users).collect();
    if by.len() == 1 {
        "1 store or generator logs".to_owned()
    } else {
        format!("{} stores and generators log", by.len())
    }
}

fn accounts(
    cluster: &Cluster,
    release: &Release,
    needed: &[(&Held, BTreeSet<String>)],
    settings: &Settings,
) -> Finding {
    let summary = format!(
        "{} deletes {} when it is uninstalled, which {} in as",
        of(release),
        number(needed.len(), "ServiceAccount"),
        log(needed),
    );
    let finding = Finding::new("helm-deletes-accounts", Severity::Blocks, summary)
        .about(needed.iter().map(told))
        .so("such a store can log in no more, and what it feeds is not refreshed; roles in Vault and in clouds trust the account by namespace and name, so it is kept, and keyferry's chart takes it over");
    let values: BTreeSet<Option<String>> = needed.iter().map(|(held, _)| value(cluster, held)).collect();
    keep(finding, release, needed.iter().map(|(held, _)| *held), values, settings)
}

fn rest(release: &Release, needed: &[(&Held, BTreeSet<String>)], settings: &Settings) -> Finding {
    let summary =
        format!("{} deletes {} when it is uninstalled that others need", of(release), number(needed.len(), "object"));
    let finding = Finding::new("helm-deletes-objects", Severity::Blocks, summary).about(needed.iter().map(told)).so(
        "with a store or a credential goes what refreshes Secrets, and with an ExternalSecret the Secret that it owns",
    );
    let extra = |held: &Held| (held.template == EXTRA).then(|| "--set-json 'extraObjects=[]'".to_owned());
    let values: BTreeSet<Option<String>> = needed.iter().map(|(held, _)| extra(held)).collect();
    // Those beside them leave the release with them.
    let all = release.objects.iter().filter(|held| held.template == EXTRA && !held.keeps);
    let all = all.chain(needed.iter().map(|(held, _)| *held).filter(|held| held.template != EXTRA));
    keep(finding, release, all, values, settings)
}

/// The template in which that chart has what users add.
const EXTRA: &str = "extra-objects.yaml";

/// Which value of that chart keeps an object: the argument of an upgrade.
fn value(cluster: &Cluster, account: &Held) -> Option<String> {
    let of = match account.template.as_str() {
        "serviceaccount.yaml" => "",
        "webhook-serviceaccount.yaml" => "webhook.",
        "cert-controller-serviceaccount.yaml" => "certController.",
        EXTRA => return Some("--set-json 'extraObjects=[]'".to_owned()),
        _ if controllers(cluster).any(|own| own.namespace == account.namespace && own.account == account.name) => "",
        _ => return None,
    };
    Some(format!(r"--set-string '{of}serviceAccount.annotations.helm\.sh/resource-policy=keep'"))
}

/// What keeps these objects. On the objects themselves the annotation is for an upgrade that leaves them out of the
/// release; in the release's own record it is for its uninstallation.
fn keep<'a>(
    mut finding: Finding,
    release: &Release,
    objects: impl Iterator<Item = &'a Held>,
    values: BTreeSet<Option<String>>,
    settings: &Settings,
) -> Finding {
    for object in objects {
        let namespace =
            if object.is_namespaced() { format!(" --namespace {}", object.namespace) } else { String::new() };
        let (resource, name) = (object.resource(), &object.name);
        finding = finding
            .run(format!("kubectl annotate {resource} {name}{namespace} --overwrite helm.sh/resource-policy=keep"));
    }
    let known: Vec<String> = values.iter().flatten().cloned().collect();
    let below = release.subchart.as_ref().filter(|_| release.chart != ESO_CHART);
    if known.len() < values.len() || (release.chart != ESO_CHART && below.is_none()) {
        return finding.then(format!(
            "keep the objects, and then have the chart {} put helm.sh/resource-policy: keep on them or leave them out, and upgrade the release",
            release.chart
        ));
    }
    let known = known.iter().map(|value| match below {
        Some(key) => value.replace(" '", &format!(" '{key}.")),
        None => value.clone(),
    });
    finding = finding.then("keep the objects, and then upgrade the release to itself so that its record keeps them, too, or no longer holds them");
    upgrade(finding, release, &known.collect::<Vec<_>>().join(" "), settings)
}

const ESO_CHART: &str = "external-secrets";

/// An upgrade of a release to itself with some values changed.
pub fn upgrade(mut finding: Finding, release: &Release, values: &str, settings: &Settings) -> Finding {
    let Release { name, namespace, version, chart, .. } = release;
    let from = match &settings.eso_chart {
        Some(chart) => chart.as_str(),
        None if chart == ESO_CHART => {
            finding = finding.run("helm repo add external-secrets https://charts.external-secrets.io");
            "external-secrets/external-secrets"
        }
        None => {
            finding.next.push_str("; write where the chart is for CHART, or run this again with --eso-chart");
            "CHART"
        }
    };
    finding
        .run(format!("helm upgrade {name} {from} --namespace {namespace} --version {version} --reuse-values {values}"))
}

/// Values that name External Secrets Operator's image: they will be given to keyferry's chart.
pub fn images(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for release in &cluster.releases {
        let named = release.images.iter().filter(|(_, image)| images::is_eso(image));
        let named: Vec<String> = named.map(|(path, image)| format!("{path}: {image}")).collect();
        if !named.is_empty() {
            findings.push(
                Finding::new(
                    "image-in-values",
                    Severity::Note,
                    format!(
                        "the values of the Helm release {}/{} name External Secrets Operator's image",
                        release.namespace, release.name
                    ),
                )
                .about(named)
                .so("keyferry's chart takes the same values, and passes that image and its tag over")
                .then("name keyferry's image in image.repository and image.tag"),
            );
        }
    }
}

/// The last steps, once nothing forbids them: keyferry in, External Secrets Operator out.
pub fn way(cluster: &Cluster, settings: &Settings, findings: &mut Vec<Finding>) {
    if super::blocks(findings) || cluster.is_unread(Area::Deployments) {
        return;
    }
    let is_there = cluster.operators.iter().any(|operator| operator.role == Role::Keyferry && operator.running);
    let is_its = |release: &&Release| {
        let is_empty = release.keeps.is_empty() && release.objects.is_empty();
        release.is_eso && !crds::is_dangerous(release) && (release.chart == ESO_CHART || !is_empty)
    };
    for release in cluster.releases.iter().filter(is_its) {
        let own = controllers(cluster).find(|own| own.namespace == release.namespace);
        let mut finding =
            Finding::new("switch", Severity::Note, format!("{} is External Secrets Operator's", of(release)));
        if !is_there {
            finding = finding.run(install(own, Some(release), &release.namespace, settings));
        }
        let then = match (release.chart == ESO_CHART, is_there) {
            (true, true) => "uninstall it",
            (true, false) => "install keyferry with its values, its ServiceAccount and the CRDs; and then uninstall it",
            (false, true) => "take External Secrets Operator's part out of the chart",
            (false, false) => "install keyferry; and then take External Secrets Operator's part out of the chart",
        };
        finding = finding.then(format!("{then}. Until that, the way back is to scale keyferry down and it up"));
        if release.chart == ESO_CHART {
            finding = finding.run(format!("helm uninstall {} --namespace {}", release.name, release.namespace));
        }
        findings.push(finding);
    }
    let of_no_release =
        |own: &&Operator| !cluster.releases.iter().filter(is_its).any(|release| release.namespace == own.namespace);
    for own in controllers(cluster).filter(of_no_release).filter(|own| !is_there && own.class == settings.class) {
        findings.push(
            Finding::new("switch", Severity::Note, format!("External Secrets Operator is there, and belongs to no release of Helm: deployment/{}/{}", own.namespace, own.name))
                .then("install keyferry with its ServiceAccount and the CRDs; and then take External Secrets Operator away as it came, but for those")
                .run(install(Some(own), None, &own.namespace, settings)),
        );
    }
}

/// The installation of keyferry in the place of External Secrets Operator.
fn install(own: Option<&Operator>, release: Option<&Release>, namespace: &str, settings: &Settings) -> String {
    // A name of its own beside what is there still, whatever the values say.
    let mut set = " --set fullnameOverride=keyferry".to_owned();
    if let Some(own) = own {
        let is_held = |release: &Release| {
            release.objects.iter().any(|held| held.kind == "ServiceAccount" && held.name == own.account)
        };
        let create = release.is_none_or(is_held);
        set.push_str(&format!(" --set serviceAccount.create={create} --set serviceAccount.name={}", own.account));
        set.push_str(&identity(own));
    }
    let install = format!("helm install keyferry {} --namespace {namespace}", settings.chart);
    let take = "--take-ownership --force-conflicts";
    match release.filter(|release| release.chart == ESO_CHART) {
        // Its values are ours: what they name that we have no use for is told by the chart.
        Some(Release { name, .. }) => {
            format!("helm get values {name} --namespace {namespace} --output yaml | {install} --values -{set} {take}")
        }
        None => format!("{install}{set} {take}"),
    }
}

/// What clouds read from the ServiceAccount, as arguments.
fn identity(own: &Operator) -> String {
    let all = own.identity.iter().map(|(key, value)| {
        format!(" --set-string 'serviceAccount.annotations.{}={}'", key.replace('.', r"\."), value.replace(',', r"\,"))
    });
    all.collect()
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
