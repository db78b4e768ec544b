//! What the facts mean: findings, each with what follows and what to do. Pure: the same facts give the same findings.
//!
//! Modules, in reading order, which is that of what matters most: [`crds`], [`release`], `webhooks`, [`operators`], `objects`, `generators`,
//! [`differences`], [`pushes`], [`finalizers`].

pub mod crds;
pub mod release;
mod webhooks;
pub mod operators;
mod objects;
mod generators;
pub mod differences;
pub mod pushes;
pub mod finalizers;

use serde::Serialize;

use crate::facts::{Area, Cluster, Sample};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Do not go on: data would be lost, or writes fail.
    Blocks,
    /// Something will behave differently, or not work.
    Attention,
    /// Good to know.
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of finding this is: a word for programs, which stays.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was found, in a sentence.
    pub summary: String,
    /// How many objects it is about.
    pub count: usize,
    /// Their names, or those of the first of them.
    pub objects: Vec<String>,
    /// What follows from it.
    pub consequence: String,
    /// What to do.
    pub next: String,
    /// Commands to copy, where there are any.
    pub commands: Vec<String>,
}

/// Every code that a finding may have. Scripts know them: none is taken away or gets another meaning.
pub const CODES: [&str; 36] = [
    "helm-deletes-crds",
    "helm-deletes-accounts",
    "helm-deletes-objects",
    "helm-record-unreadable",
    "helm-record-missing",
    "gitops-prunes-crds",
    "gitops-prunes-accounts",
    "webhook",
    "conversion-webhook",
    "eso-runs",
    "operator",
    "kind-not-served",
    "generator-not-served",
    "generator-refused",
    "provider-not-served",
    "generic-target",
    "controller-token",
    "no-credentials",
    "ambient-identity",
    "ambient-identity-elsewhere",
    "local-address",
    "aws-batches",
    "behaves-differently",
    "stored-versions",
    "version-served",
    "old-manifests",
    "fields-lost",
    "externalsecret-finalizers",
    "store-finalizers",
    "pushsecret-finalizers",
    "generatorstate-finalizers",
    "namespace-finalizers",
    "image-in-values",
    "switch",
    "no-crds",
    "unread",
];

impl Finding {
    fn new(code: &'static str, severity: Severity, summary: impl Into<String>) -> Self {
        debug_assert!(CODES.contains(&code), "{code} is not listed");
        Self {
            code,
            severity,
            summary: summary.into(),
            count: 0,
            objects: Vec::new(),
            consequence: String::new(),
            next: String::new(),
            commands: Vec::new(),
        }
    }

    fn about(mut self, objects: impl IntoIterator<Item = String>) -> Self {
        self.objects.extend(objects);
        self.count = self.objects.len();
        self
    }

    fn sample(mut self, sample: &Sample) -> Self {
        self.objects.clone_from(&sample.names);
        self.count = sample.count;
        self
    }

    fn so(mut self, consequence: impl Into<String>) -> Self {
        self.consequence = consequence.into();
        self
    }

    fn then(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    fn run(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }
}

/// What the caller knows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The controller class that keyferry will have.
    pub class: String,
    /// The providers of this build.
    pub providers: Vec<String>,
    /// Where keyferry's chart is.
    pub chart: String,
    /// Where External Secrets Operator's chart is, or the larger one that it is a part of; `None` for its own repository.
    pub eso_chart: Option<String>,
}

/// Judges a cluster. What matters most comes first.
pub fn judge(cluster: &Cluster, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    crds::releases(cluster, settings, &mut findings);
    release::objects(cluster, settings, &mut findings);
    crds::pruned(cluster, &mut findings);
    release::pruned(cluster, &mut findings);
    webhooks::judge(cluster, &mut findings);
    crds::conversions(cluster, &mut findings);
    operators::judge(cluster, settings, &mut findings);
    objects::kinds(cluster, &mut findings);
    objects::stores(cluster, settings, &mut findings);
    objects::identities(cluster, settings, &mut findings);
    objects::addresses(cluster, settings, &mut findings);
    generators::judge(cluster, settings, &mut findings);
    objects::permissions(cluster, settings, &mut findings);
    objects::external_secrets(cluster, &mut findings);
    differences::judge(cluster, &mut findings);
    pushes::judge(cluster, &mut findings);
    crds::versions(cluster, &mut findings);
    crds::writers(cluster, &mut findings);
    crds::lost(cluster, &mut findings);
    finalizers::judge(cluster, &mut findings);
    release::images(cluster, &mut findings);
    unread(cluster, &mut findings);
    release::way(cluster, settings, &mut findings);
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Whether anything forbids to go on.
pub fn blocks(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Blocks)
}

fn unread(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for unread in &cluster.unread {
        let (severity, consequence) = match unread.area {
            Area::Helm => {
                (Severity::Blocks, "it can't be ruled out that a `helm uninstall` takes every ExternalSecret with it")
            }
            Area::Deployments => (Severity::Blocks, "it can't be ruled out that two operators would work at once"),
            Area::Crds => (Severity::Blocks, "what they hold and who deletes them is not known"),
            Area::Webhooks => (Severity::Attention, "webhooks may refuse writes once the pods behind them are gone"),
            Area::Objects => (Severity::Attention, "what is said about them here is not complete"),
        };
        findings.push(
            Finding::new("unread", severity, format!("could not look at {}: {}", unread.what, unread.why))
                .about([unread.what.clone()])
                .so(consequence)
                .then("run this again as somebody who may read them"),
        );
    }
}

/// `1 CRD`, `2 CRDs`.
fn number(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
