//! What would take the CRDs away, or keeps new ones from being installed.

use super::{Finding, Settings, Severity, number, release};
use crate::facts::{Backend, Cluster, Crd, Release, Role};
use crate::kinds;

/// Helm releases that delete the CRDs when they are uninstalled.
pub fn releases(cluster: &Cluster, settings: &Settings, findings: &mut Vec<Finding>) {
    for release in cluster.releases.iter().filter(|release| is_dangerous(release)) {
        findings.push(dangerous(release, settings));
    }
    for broken in &cluster.broken {
        let severity = if broken.helm_may_read_it { Severity::Blocks } else { Severity::Attention };
        findings.push(
            Finding::new("helm-record-unreadable", severity, format!("a record of Helm can't be read: {}", broken.why))
                .about([broken.object.clone()])
                .so("what its release would delete is not known from this revision; Helm passes over records that it can't read, and so does this report")
                .then("look at the release with `helm get manifest` before anybody uninstalls it"),
        );
    }
    if cluster.is_unread(crate::facts::Area::Helm) {
        return; // said as such
    }
    // Records may be elsewhere: Helm can keep them in a database. Where nothing else of the release is left it has been
    // uninstalled, and its name on a CRD is a memory.
    let recorded = |(namespace, name): &(String, String)| {
        cluster.releases.iter().any(|release| release.namespace == *namespace && release.name == *name)
            || !cluster.operators.iter().any(|o| o.role != Role::Keyferry && o.namespace == *namespace)
    };
    let mut lost: Vec<(&(String, String), Vec<String>)> = Vec::new();
    for crd in &cluster.crds {
        let Some(release) = crd.helm.as_ref().filter(|release| !recorded(release)) else { continue };
        match lost.iter_mut().find(|(known, _)| *known == release) {
            Some((_, crds)) => crds.push(crd.name.clone()),
            None => lost.push((release, vec![crd.name.clone()])),
        }
    }
    for ((namespace, name), crds) in lost {
        findings.push(
            Finding::new(
                "helm-record-missing",
                Severity::Attention,
                format!(
                    "{} to the Helm release {namespace}/{name}, of which there is no record with them here",
                    if crds.len() == 1 { "1 CRD says that it belongs".to_owned() } else { format!("{} CRDs say that they belong", crds.len()) }
                ),
            )
            .about(crds)
            .so("if its record is kept elsewhere (HELM_DRIVER=sql), uninstalling it may delete them, and with them every ExternalSecret and its Secret")
            .then("look whether the release still exists, and whether its manifest has helm.sh/resource-policy: keep on every CRD")
            .run(format!("helm get manifest {name} --namespace {namespace}")),
        );
    }
}

/// Whether a `helm uninstall` would, or might, take CRDs with it.
pub fn is_dangerous(release: &Release) -> bool {
    !release.deletes.is_empty() || release.unclear > 0
}

fn dangerous(release: &Release, settings: &Settings) -> Finding {
    let Release { name, namespace, revision, chart, version, .. } = release;
    let of = format!("Helm release {namespace}/{name} (revision {revision}, chart {chart} {version})");
    let summary = match (release.deletes.len(), release.unclear) {
        (0, unclear) => format!(
            "{of} may delete CRDs when it is uninstalled: {} could not be understood",
            number(unclear, "document")
        ),
        (count, _) => format!("{of} deletes {} when it is uninstalled", number(count, "CRD")),
    };
    let finding = Finding::new("helm-deletes-crds", Severity::Blocks, summary)
        .about(release.deletes.iter().cloned())
        .so("with a CRD go all its objects, and with every ExternalSecret the Secret that it owns; Helm looks for helm.sh/resource-policy: keep in the manifest that the release has stored, so annotating the CRD in the cluster does not help");
    let set = |key: &str| format!(r"--set-string '{key}crds.annotations.helm\.sh/resource-policy=keep'");
    match (chart.as_str(), &release.subchart) {
        ("external-secrets", _) => release::upgrade(
            finding.then("upgrade the release to itself with the annotation on its CRDs, before anything else"),
            release,
            &set(""),
            settings,
        ),
        (chart, Some(key)) => release::upgrade(
            finding.then(format!("upgrade the release to itself with the annotation on its CRDs; in the chart {chart} it is set below {key:?}")),
            release,
            &set(&format!("{key}.")),
            settings,
        ),
        (chart, None) => finding.then(format!(
            "have the chart {chart} put helm.sh/resource-policy: keep on every CRD (in the chart external-secrets the value is crds.annotations, below the subchart's key where it is part of another), and upgrade the release"
        )),
    }
}

/// How GitOps tools are told to leave what is gone from their source.
pub const MARK: &str = "mark them in the source before anything is taken out of it: annotation argocd.argoproj.io/sync-options: Prune=false,Delete=false (Argo CD), kustomize.toolkit.fluxcd.io/prune: disabled (a Kustomization)";

/// CRDs that a GitOps tool deletes once they are gone from its source.
pub fn pruned(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let mut tools: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |tool: String, crd: &Crd| match tools.iter_mut().find(|(known, _)| *known == tool) {
        Some((_, crds)) => crds.push(crd.name.clone()),
        None => tools.push((tool, vec![crd.name.clone()])),
    };
    for crd in &cluster.crds {
        for tool in &crd.pruned_by {
            add(tool.clone(), crd);
        }
        let keeps = cluster.releases.iter().any(|release| release.keeps.contains(&crd.name));
        if let Some(name) = crd.flux_helm.as_ref().filter(|_| !keeps) {
            add(format!("Flux's HelmRelease {name}"), crd);
        }
    }
    for (tool, crds) in tools {
        findings.push(
            Finding::new("gitops-prunes-crds", Severity::Attention, format!("{tool} manages {}", number(crds.len(), "CRD")))
                .about(crds)
                .so("when they leave its source, or it is deleted, it may delete them, and with them every ExternalSecret and its Secret")
                .then(format!("{MARK}, or helm.sh/resource-policy: keep through the chart's value crds.annotations (a HelmRelease)")),
        );
    }
}

/// CRDs whose objects a webhook converts.
pub fn conversions(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for crd in &cluster.crds {
        let Some(backend) = &crd.conversion else { continue };
        let several = crd.versions.iter().filter(|version| version.served).count() > 1 || !crd.stale().is_empty();
        let (severity, summary, consequence) = match backend {
            // With one version there is nothing to convert, and nobody is asked.
            Backend::Dead(service, why) => (
                if several { Severity::Blocks } else { Severity::Attention },
                format!("the conversion webhook of {} does not answer: {service}: {why}", crd.name),
                "objects in another version than the one asked for can be neither read nor written",
            ),
            Backend::Ready(service) | Backend::Unknown(service) => (
                Severity::Attention,
                format!("{} is converted by a webhook ({service})", crd.name),
                "once External Secrets Operator's pods are gone, objects in another version than the one asked for can be neither read nor written",
            ),
        };
        let finding = Finding::new("conversion-webhook", severity, summary).about([crd.name.clone()]).so(consequence);
        let foreign = crd.foreign();
        findings.push(if foreign.is_empty() { finding.then("--apply sets spec.conversion.strategy to None, or run:").run(format!(
            r#"kubectl patch crd {} --type merge --patch '{{"spec":{{"conversion":{{"strategy":"None","webhook":null}}}}}}'"#,
            crd.name
        )) } else { finding.then(format!(
            "it is needed as long as objects may be stored or asked for as {}: while the webhook answers, --apply stores them anew as {}; then stop serving {0}, and run this again",
            foreign.join(", "),
            crd.storage().unwrap_or("the version of storage"),
        )) });
    }
}

/// Fields that keyferry's CRDs do not know.
pub fn lost(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for ((kind, path), sample) in &cluster.lost {
        findings.push(
            Finding::new(
                "fields-lost",
                Severity::Attention,
                format!("{} with the field {path}, which keyferry's CRD does not know", number(sample.count, kind)),
            )
            .sample(sample)
            .so("the field is dropped when the object is stored under that CRD, and clients that check refuse it")
            .then("look whether it is misspelt or belongs elsewhere, and take it out of the manifest"),
        );
    }
}

/// Objects that are applied in a version that is not served any more.
pub fn writers(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let old = keyferry_crds::names::OLD_VERSION;
    let is_served = |kind: &str| {
        kinds::find(keyferry_crds::names::GROUP, kind)
            .is_some_and(|kind| kind.served.iter().any(|served| served == old))
    };
    for (kind, sample) in cluster.old_writers.iter().filter(|(kind, _)| !is_served(kind)) {
        findings.push(
            Finding::new(
                "old-manifests",
                Severity::Attention,
                format!("{} that somebody applies as {old}", number(sample.count, kind)),
            )
            .sample(sample)
            .so(format!("keyferry's CRD serves no {old}: the next time such a manifest is applied, it is refused, and so is everything that is applied with it"))
            .then("change the manifests, Kustomize patches and charts on disk before the CRDs are replaced; without --write this lists them")
            .run("keyferry migrate manifests . --write"),
        );
    }
}

/// Versions that new CRDs do not have.
pub fn versions(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for crd in &cluster.crds {
        stored(crd, findings);
        let Some(kind) = kinds::find(&crd.group, &crd.kind) else { continue };
        let gone = crd.versions.iter().filter(|version| version.served && !kind.served.contains(&version.name));
        let gone: Vec<&str> = gone.map(|version| version.name.as_str()).collect();
        if !gone.is_empty() {
            let names = gone.join(", ");
            findings.push(
                Finding::new(
                    "version-served",
                    Severity::Attention,
                    format!(
                        "{} is served at {names}, where keyferry's CRD serves {} only",
                        crd.name,
                        kind.served.join(", ")
                    ),
                )
                .about([crd.name.clone()])
                .so(format!("manifests and clients that say {names} stop working once keyferry's CRDs are installed"))
                .then(format!(
                    "have every manifest say {}/{} before: in those on disk `keyferry migrate manifests` changes it",
                    crd.group,
                    kind.served.join(" or ")
                )),
            );
        }
    }
}

fn stored(crd: &Crd, findings: &mut Vec<Finding>) {
    let stale = crd.stale();
    if stale.is_empty() {
        return;
    }
    let lacks = |version: &&str| {
        kinds::find(&crd.group, &crd.kind).is_some_and(|kind| !kind.versions.iter().any(|known| known == version))
    };
    let consequence = match stale.iter().copied().filter(|version| lacks(version)).collect::<Vec<_>>() {
        ours if !ours.is_empty() => {
            format!("keyferry's CRD has no {}, and can't be installed over this one", ours.join(", "))
        }
        _ => format!("a CRD without {} can't be installed over this one", stale.join(", ")),
    };
    let next = match rewrite(crd) {
        Rewrite::Possible => {
            format!(
                "--apply stores every object anew as {}, unchanged, and takes the others off the list",
                crd.storage().unwrap_or_default()
            )
        }
        Rewrite::Unserved => format!(
            "have the CRD serve {}, the version that it stores, and run this again",
            crd.storage().unwrap_or_default()
        ),
        Rewrite::NeedsWebhook(foreign) => format!(
            "objects stored as {foreign} have another form, and nothing converts them now: have External Secrets Operator's conversion webhook run, and run this again with --apply while it answers"
        ),
    };
    findings.push(
        Finding::new(
            "stored-versions",
            Severity::Attention,
            format!("{} may have objects stored as {}", crd.name, stale.join(", ")),
        )
        .about([crd.name.clone()])
        .so(consequence)
        .then(next),
    );
}

/// Whether the objects of a CRD can be stored anew at its version of storage.
#[derive(Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// They can.
    Possible,
    /// The version of storage is not served, so that nothing can be read in it.
    Unserved,
    /// These versions have another form, and no webhook converts them.
    NeedsWebhook(String),
}

/// Can they? The version of storage must be readable, and others of another form need a webhook that converts them.
pub fn rewrite(crd: &Crd) -> Rewrite {
    let foreign: Vec<&str> =
        crd.foreign().into_iter().filter(|version| crd.stored.iter().any(|s| s == version)).collect();
    match &crd.conversion {
        _ if crd.readable() != crd.storage() => Rewrite::Unserved,
        Some(Backend::Ready(_)) => Rewrite::Possible,
        _ if foreign.is_empty() => Rewrite::Possible,
        _ => Rewrite::NeedsWebhook(foreign.join(", ")),
    }
}
