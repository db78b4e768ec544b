//! What the operator's plan says of an ExternalSecret now: the same code decides, over what a snapshot tells. Pure.

use jiff::Timestamp;
use keyferry_crds::ExternalSecret;
use keyferry_sync::hash;
use keyferry_sync::plan::{Facts, LastSync, Plan, TargetState, verdicts};
use serde::Serialize;

use super::snapshot::Snapshot;

/// How the operator runs, as far as its plan depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Operator<'a> {
    /// Its controller class.
    pub class: &'a str,
    /// The kinds of generators that it has.
    pub generators: &'a [&'static str],
    /// Whether targets may be other than Secrets.
    pub generic_targets: bool,
}

/// What one check says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// What holds where it has nothing to say.
    pub check: &'static str,
    /// What it says, where it does.
    pub says: Option<String>,
    /// Whether this is the one that decides.
    pub decides: bool,
}

/// All that the plan says, and what it comes to.
pub fn of(
    es: &ExternalSecret,
    snapshot: &Snapshot,
    target: TargetState,
    operator: Operator<'_>,
    now: Timestamp,
) -> (Vec<Verdict>, String) {
    let version = hash::version_of(es);
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let stores = snapshot.known_stores();
    let last = es.status.as_ref().and_then(|status| {
        let version = status.synced_resource_version.clone().filter(|version| !version.is_empty())?;
        Some(LastSync { at: status.refresh_time.as_ref()?.0, version })
    });
    let facts = Facts {
        es,
        version: &version,
        now,
        started: Timestamp::MIN,
        overdue_until: Timestamp::MIN,
        class: operator.class,
        flood_gate: true,
        cluster_stores: true,
        generators: operator.generators,
        generic_targets: operator.generic_targets,
        mounts: false,
        stores: &stores,
        namespace_labels: snapshot.namespaces.get(namespace),
        target,
        last: last.as_ref(),
        sources_changed: false,
        refresh_by: es.status.as_ref().and_then(|status| status.refresh_by.as_ref()).map(|by| by.0),
        absence_is_fine: false,
        failed: es.ready().is_some_and(|ready| !ready.is_true()),
    };
    let mut verdicts: Vec<Verdict> = verdicts(&facts)
        .into_iter()
        .map(|(check, plan)| Verdict { check, says: plan.map(|plan| told(&plan, now)), decides: false })
        .collect();
    let decides = verdicts.iter_mut().find(|verdict| verdict.says.is_some());
    let outcome = match decides {
        Some(verdict) => {
            verdict.decides = true;
            verdict.says.clone().unwrap_or_default()
        }
        None => "it is fetched now".to_owned(),
    };
    (verdicts, outcome)
}

fn told(plan: &Plan, now: Timestamp) -> String {
    match plan {
        Plan::Ignore => "another controller class, or no controller, looks after it".to_owned(),
        Plan::LeaveToMounts => "whoever mounts it has it fetched, logged in as itself".to_owned(),
        Plan::Release { delete_target: true } => "it is being deleted, and its target with it".to_owned(),
        Plan::Release { delete_target: false } => "it is being deleted".to_owned(),
        Plan::Refuse(failure) => failure.to_string(),
        Plan::Hold => "it waits for the check of a store, or for its namespace to be seen".to_owned(),
        Plan::Observe => "not before the target is read: it is fetched where that was changed".to_owned(),
        Plan::Settle => "the target is as it should be: what failed is finished, and nothing fetched".to_owned(),
        Plan::Wait(Some(until)) => format!("nothing is due before {until} ({})", super::standing::ahead(*until, now)),
        Plan::Wait(None) => "nothing is due until it changes".to_owned(),
        Plan::Fetch(_) => "it is fetched now".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyferry_builders::{at, es};
    use keyferry_sync::store::Store;
    use serde_json::{Value, json};

    use super::*;

    fn told(es: &ExternalSecret, store: Option<Value>) -> (Vec<String>, String) {
        let stores = store.map(|status| {
            let mut of = keyferry_builders::store(json!({"provider": {"fake": {}}}));
            of.status = serde_json::from_value(status).unwrap();
            Arc::new(Store::namespaced(of))
        });
        let snapshot = Snapshot { stores: stores.into_iter().collect(), ..Snapshot::default() };
        let operator = Operator { class: "default", generators: &[], generic_targets: false };
        let (verdicts, outcome) = of(es, &snapshot, TargetState::Intact, operator, at(10_000));
        let said = verdicts.into_iter().filter_map(|v| Some(format!("{}: {}", v.check, v.says?)));
        (said.collect(), outcome)
    }

    #[test]
    fn the_first_that_says_something_decides_and_the_others_are_told_too() {
        let (said, outcome) = told(&es(json!({"refreshPolicy": "Sometimes"})), None);
        assert!(said[0].starts_with("its spec can be carried out: invalid spec: spec.refreshPolicy"), "{said:?}");
        assert!(said[1].contains("SecretStore \"s\" does not exist in namespace \"ns\""), "{said:?}");
        assert!(outcome.starts_with("invalid spec"), "{outcome}");
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(told(&es(json!({})), Some(ready.clone())), (vec![], "it is fetched now".to_owned()));
        let mut synced = es(json!({"refreshInterval": "1h"}));
        let version = hash::version_of(&synced);
        synced.status =
            serde_json::from_value(json!({"refreshTime": at(9_990).to_string(), "syncedResourceVersion": version}))
                .unwrap();
        let (_, outcome) = told(&synced, Some(ready));
        assert!(outcome.starts_with("nothing is due before 1970-01-01T03:"), "{outcome}");
        let checking = json!({"conditions": []});
        assert!(told(&es(json!({})), Some(checking)).1.starts_with("it waits for the check of a store"));
    }
}
