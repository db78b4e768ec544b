//! Webhooks that see objects of the groups: what happens to writes when nobody answers them.

use super::{Finding, Severity};
use crate::facts::{Backend, Cluster, WebhookConfiguration};

/// Judges the webhook configurations.
pub fn judge(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for configuration in &cluster.webhooks {
        findings.push(finding(configuration));
    }
}

fn finding(configuration: &WebhookConfiguration) -> Finding {
    let object = format!("{}/{}", configuration.resource(), configuration.name);
    let dead = configuration.matching().find_map(|hook| match &hook.backend {
        Backend::Dead(service, why) => Some((hook.fails, format!("{service}: {why}"))),
        Backend::Ready(_) | Backend::Unknown(_) => None,
    });
    let fails = configuration.matching().any(|hook| hook.fails);
    let whose = if configuration.is_eso { "External Secrets Operator's" } else { "somebody else's" };
    let (severity, summary, consequence) = match (dead, configuration.is_eso) {
        (Some((true, why)), _) => (
            Severity::Blocks,
            format!("{object} ({whose}) refuses writes, since nobody answers: {why}"),
            "no ExternalSecret and no store can be created or changed, by users or by keyferry",
        ),
        (Some((false, why)), _) => (
            Severity::Attention,
            format!("{object} ({whose}) delays writes, since nobody answers: {why}"),
            "writes of ExternalSecrets and stores wait for it until it times out",
        ),
        (None, true) if fails => (
            Severity::Attention,
            format!("{object} is External Secrets Operator's and will refuse writes once its pods are gone"),
            "no ExternalSecret and no store can be created or changed then, by users or by keyferry",
        ),
        (None, true) => (
            Severity::Attention,
            format!("{object} is External Secrets Operator's and will delay writes once its pods are gone"),
            "writes of ExternalSecrets and stores wait for it then until it times out",
        ),
        (None, false) => (
            Severity::Note,
            format!("{object} is somebody else's and sees writes of the groups, too"),
            "what it refuses to External Secrets Operator it may refuse to keyferry",
        ),
    };
    let finding = Finding::new("webhook", severity, summary).about([object]).so(consequence);
    match (configuration.is_removable(), configuration.is_eso) {
        (true, _) => finding
            .then("keyferry needs no webhook: --apply deletes it, or run:")
            .run(format!("kubectl delete {} {}", configuration.resource(), configuration.name)),
        (false, true) => finding.then("it is for other groups, too, so it is left alone here: take the rules for external-secrets.io out of it"),
        (false, false) if severity == Severity::Note => finding.then("look whether its rules name a user or an image of External Secrets Operator"),
        (false, false) => finding.then("it is not External Secrets Operator's, so it is left alone here: have its service answer, or take the rules for external-secrets.io out of it"),
    }
}
