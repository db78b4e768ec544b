//! Who works in the cluster.

use super::{Finding, Settings, Severity};
use crate::facts::{Cluster, Operator, Role};

/// Judges the Deployments of operators.
pub fn judge(cluster: &Cluster, settings: &Settings, findings: &mut Vec<Finding>) {
    for operator in &cluster.operators {
        findings.extend(finding(operator, settings));
    }
}

/// Whether a Deployment is External Secrets Operator's controller, at work, and of our class.
pub fn is_rival(operator: &Operator, settings: &Settings) -> bool {
    operator.role == Role::Controller && operator.running && operator.class == settings.class
}

fn finding(operator: &Operator, settings: &Settings) -> Option<Finding> {
    let Operator { namespace, name, class, .. } = operator;
    let object = format!("deployment/{namespace}/{name}");
    let scale = format!("kubectl scale deployment {name} --namespace {namespace} --replicas 0");
    let note = |summary: String| Finding::new("operator", Severity::Note, summary).about([object.clone()]);
    let finding = match operator.role {
        _ if !operator.running => return None,
        Role::Controller if is_rival(operator, settings) => Finding::new(
            "eso-runs",
            Severity::Blocks,
            format!("External Secrets Operator runs with the controller class {class:?}: {object}"),
        )
        .about([object.clone()])
        .so("two operators of one class see each other's writes as changes to undo")
        .then("scale it down before keyferry starts; it can be scaled up again as long as nothing of it is deleted")
        .run(scale),
        Role::Controller => {
            note(format!("External Secrets Operator runs with another controller class, {class:?}: {object}"))
                .so(format!("it leaves alone what is for {:?}; stores without a class are for both", settings.class))
                .then("give every store a spec.controller if both shall stay")
        }
        Role::Webhook => note(format!("External Secrets Operator's webhook runs: {object}"))
            .so("it is of no use without its operator; as long as its configurations are there, it must go last")
            .then("scale it down once they are gone")
            .run(scale),
        Role::CertController => note(format!("External Secrets Operator's certificate controller runs: {object}"))
            .so("it keeps the webhook's certificate in webhook configurations and CRDs, and writes to them")
            .then("scale it down before the webhook")
            .run(scale),
        Role::Keyferry => note(format!("keyferry runs with the controller class {class:?}: {object}")),
    };
    Some(finding)
}
