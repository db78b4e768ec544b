//! What to do about an ExternalSecret now: what a reconcile decides. Pure: knows no clock, client or environment.
//!
//! [`decide`] is a list of named checks in order; the first that has something to say is the answer.

use std::time::Duration;

use jiff::Timestamp;
use keyferry_crds::{CreationPolicy, DeletionPolicy, ExternalSecret, RefreshPolicy, StoreKind};

use crate::data::StringMap;
use crate::outcome::{Failure, Headline, Retry};
use crate::request::{Request, generates, requests, used_stores};
use crate::settings::Settings;
use crate::store::KnownStores;
use crate::time::later;
use crate::told;
use crate::told::Told;
use crate::usable::{Usable, usable};
use crate::{schedule, spec, windows};

/// What to do.
#[derive(Debug)]
pub enum Plan {
    /// Nothing: another controller class looks after it.
    Ignore,
    /// Nothing: whoever mounts it has it resolved.
    LeaveToMounts,
    /// It is being deleted: delete the target where we own it and are asked to, then let go.
    Release {
        /// Whether deletionPolicy asks for the target's end.
        delete_target: bool,
    },
    /// It can't be done, because of this.
    Refuse(Failure),
    /// A store is still being checked, or the namespace has not been seen yet; that will wake us.
    Hold,
    /// Read the target first: whether it is as we left it decides.
    Observe,
    /// The target is as it should be, but the last attempt failed: finish what it left, and say that all is well.
    Settle,
    /// Nothing until then.
    Wait(Option<Timestamp>),
    /// Fetch these.
    Fetch(Vec<Request>),
}

/// How the target is known to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// Not looked at since it last changed.
    Unknown,
    /// There is none.
    Absent,
    /// As we, or External Secrets Operator, left it.
    Intact,
    /// Changed by somebody else, or not ours yet.
    Drifted,
}

/// When the last successful sync was, and of which version of the ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSync {
    /// When it began.
    pub at: Timestamp,
    /// `syncedResourceVersion` then.
    pub version: String,
}

/// What is known when an ExternalSecret is looked at.
pub struct Facts<'a> {
    /// The ExternalSecret.
    pub es: &'a ExternalSecret,
    /// Its version: what `syncedResourceVersion` would be now.
    pub version: &'a str,
    /// Now.
    pub now: Timestamp,
    /// When this process began to work.
    pub started: Timestamp,
    /// Until when refreshes that fell due before that are put off, so that they spread.
    pub overdue_until: Timestamp,
    /// The controller class that we are.
    pub class: &'a str,
    /// Whether a store must be Ready before it is asked.
    pub flood_gate: bool,
    /// Whether ClusterSecretStores are looked after.
    pub cluster_stores: bool,
    /// The kinds of generators that there are.
    pub generators: &'a [&'static str],
    /// Whether targets may be other than Secrets.
    pub generic_targets: bool,
    /// Whether who asks is a pod that mounts, and logs in as itself.
    pub mounts: bool,
    /// The stores that the spec names, where they exist.
    pub stores: &'a KnownStores,
    /// The labels of its namespace, where that has been seen.
    pub namespace_labels: Option<&'a StringMap>,
    /// How the target stands, where that is known without reading it; the answer may be to read it.
    pub target: TargetState,
    /// The last successful sync.
    pub last: Option<&'a LastSync>,
    /// Whether an object that its templates are taken from changed since the last sync.
    pub sources_changed: bool,
    /// By when what generators made is to be replaced, since it ends.
    pub refresh_by: Option<Timestamp>,
    /// Whether the last sync left no target on purpose (deleted with the data, or nothing to merge into).
    pub absence_is_fine: bool,
    /// Whether this process tried since, and failed.
    pub failed: bool,
}

impl<'a> Facts<'a> {
    /// What is known of one that is looked at once, as if it were new: nothing was made of it yet.
    pub fn of_new(
        es: &'a ExternalSecret,
        version: &'a str,
        settings: &'a Settings,
        generators: &'a [&'static str],
        stores: &'a KnownStores,
        namespace_labels: Option<&'a StringMap>,
    ) -> Self {
        Self {
            es,
            version,
            now: (settings.now)(),
            started: settings.started,
            overdue_until: settings.started,
            class: &settings.class,
            flood_gate: settings.flood_gate,
            cluster_stores: settings.cluster_stores,
            generators,
            generic_targets: settings.generic_targets,
            mounts: settings.mounts,
            stores,
            namespace_labels,
            target: TargetState::Absent,
            last: None,
            sources_changed: false,
            refresh_by: None,
            absence_is_fine: false,
            failed: false,
        }
    }
}

/// The first check that has something to say decides; where none has, all that the spec asks for is fetched.
pub fn decide(facts: &Facts<'_>) -> Plan {
    match CHECKS.iter().find_map(|(_, check)| check(facts)) {
        Some(plan) => plan,
        None => Plan::Fetch(requests(facts.es, facts.stores)),
    }
}

type Check = fn(&Facts<'_>) -> Option<Plan>;

/// The checks, in order, each by what holds where it has nothing to say.
const CHECKS: [(&str, Check); 7] = [
    ("it is not being deleted", deleted),
    ("it is of this operator's controller class", foreign_class),
    ("its spec can be carried out", bad_spec),
    ("its target may be of this kind", forbidden_target),
    ("its stores are logged in to by whoever asks now", by_mount),
    ("a refresh is due", not_due),
    ("its stores can be used", stores_not_usable),
];

/// What each check says, for a person: what holds where it has nothing to say, and what it says where it has. The first that
/// says something decides.
pub fn verdicts(facts: &Facts<'_>) -> Vec<(&'static str, Option<Plan>)> {
    CHECKS.iter().map(|(holds, check)| (*holds, check(facts))).collect()
}

fn foreign_class(facts: &Facts<'_>) -> Option<Plan> {
    let foreign = facts.stores.values().any(|(store, _)| !store.is_of_class(facts.class));
    let cluster = &facts.es.spec.secret_store_ref.as_ref().map(|reference| &reference.kind);
    let disabled = !facts.cluster_stores && *cluster == Some(&StoreKind::ClusterSecretStore);
    (foreign || disabled).then_some(Plan::Ignore)
}

fn deleted(facts: &Facts<'_>) -> Option<Plan> {
    facts.es.metadata.deletion_timestamp.as_ref()?;
    Some(Plan::Release { delete_target: facts.es.spec.target.deletion_policy == DeletionPolicy::Delete })
}

fn bad_spec(facts: &Facts<'_>) -> Option<Plan> {
    let refuse = |headline, causes: Vec<Told>| {
        Some(Plan::Refuse(Failure {
            headline,
            causes,
            retry: Retry::OnChange,
            bound: false,
            theirs: false,
            denied: false,
        }))
    };
    let of_spec = |causes: Vec<String>| causes.into_iter().map(Told::without_values).collect();
    match (spec::problems(facts.es), spec::unsupported(facts.es, facts.generators)) {
        (problems, _) if !problems.is_empty() => refuse(Headline::Spec, of_spec(problems)),
        (_, features) if !features.is_empty() => refuse(Headline::Unsupported, of_spec(features)),
        _ => match spec::unanswerable(facts.es) {
            problems if problems.is_empty() => None,
            problems => refuse(Headline::Fetch, problems),
        },
    }
}

fn forbidden_target(facts: &Facts<'_>) -> Option<Plan> {
    let manifest = facts.es.target_manifest().filter(|_| !facts.generic_targets)?;
    let cause = told!(
        "spec.target.manifest asks for a {}, and this operator writes Secrets only: run it with \
         --unsafe-allow-generic-targets (Helm: genericTargets.enabled)",
        Told::without_values(manifest.kind.clone())
    );
    Some(Plan::Refuse(Failure::new(Headline::ManifestKind, cause, Retry::OnChange)))
}

/// Stores that whoever mounts logs in to are asked by nobody else.
fn by_mount(facts: &Facts<'_>) -> Option<Plan> {
    let used = used_stores(facts.es);
    let mut stores = used.iter().filter_map(|id| facts.stores.get(id)).map(|(store, _)| store);
    let store = stores.find(|store| store.is_for_mounts()).filter(|_| !facts.mounts)?;
    if facts.es.spec.target.creation_policy == CreationPolicy::None {
        return Some(Plan::LeaveToMounts);
    }
    let cause = told!(
        "{} has spec.loginBy: Mount, so that the pod that mounts logs in as itself, and nobody can fetch a Secret for it: set \
         spec.target.creationPolicy: None and mount it (driver csi.keyferry.io), or take spec.loginBy out of the store",
        store.id
    );
    Some(Plan::Refuse(Failure::new(Headline::Fetch, cause, Retry::OnChange)))
}

fn not_due(facts: &Facts<'_>) -> Option<Plan> {
    match due(facts) {
        Due::Now => None,
        Due::At(_) | Due::Never if is_changed_without_target(facts) => None,
        Due::At(_) | Due::Never if facts.target == TargetState::Unknown && needs_target(facts.es) => {
            Some(Plan::Observe)
        }
        Due::At(_) | Due::Never if !target_is_valid(facts) => None,
        // What failed may be mended, or be left half done; values that are made or read once stay as they are.
        Due::At(_) | Due::Never if facts.failed && facts.target == TargetState::Intact => Some(Plan::Settle),
        Due::At(_) | Due::Never if facts.failed && !is_fetched_once(facts.es) => None,
        Due::At(time) => Some(Plan::Wait(Some(time))),
        Due::Never => Some(Plan::Wait(None)),
    }
}

fn is_fetched_once(es: &ExternalSecret) -> bool {
    generates(es) || es.spec.refresh_policy == RefreshPolicy::CreatedOnce
}

/// That there is no target may be as it should be, but only for the ExternalSecret as it was then.
fn is_changed_without_target(facts: &Facts<'_>) -> bool {
    let changed = facts.last.is_some_and(|last| last.version != facts.version);
    changed && facts.target == TargetState::Absent && facts.es.spec.target.creation_policy != CreationPolicy::Orphan
}

enum Due {
    Now,
    At(Timestamp),
    Never,
}

/// Whether a refresh is due by the ExternalSecret's own rules, whatever became of the target.
fn due(facts: &Facts<'_>) -> Due {
    let interval = schedule::interval(facts.es);
    let Some(last) = facts.last else { return Due::Now };
    let changed = last.version != facts.version;
    match (&facts.es.spec.refresh_policy, interval) {
        (RefreshPolicy::CreatedOnce, _) => Due::Never,
        (RefreshPolicy::OnChange, _) if changed => Due::Now,
        (RefreshPolicy::OnChange, _) => Due::Never,
        // With interval 0 even a changed spec waits for nobody: External Secrets Operator's rule.
        (RefreshPolicy::Periodic | RefreshPolicy::Unknown(_), None) => Due::Never,
        (RefreshPolicy::Periodic | RefreshPolicy::Unknown(_), Some(interval))
            // What is generated would be generated anew.
            if changed || is_in_the_future(facts, last.at, interval) || (facts.sources_changed && !generates(facts.es)) =>
        {
            Due::Now
        }
        (RefreshPolicy::Periodic | RefreshPolicy::Unknown(_), Some(interval)) => {
            let at = schedule::due(facts.es, last.at, interval);
            let at = facts.refresh_by.map_or(at, |end| at.min(end));
            // A start that is yet to come is that of a clock which was set back since.
            let overdue = at < facts.started && facts.started <= facts.now;
            let at = if overdue { at.max(facts.overdue_until) } else { at };
            match (at <= facts.now, &facts.es.spec.sync_windows) {
                (false, _) => Due::At(at),
                (true, None) => Due::Now,
                // They restrain nothing but refreshes by time.
                (true, Some(windows)) => match windows::opening(windows, facts.now) {
                    Some(opening) if opening <= facts.now => Due::Now,
                    Some(opening) => Due::At(opening),
                    None => Due::Never,
                },
            }
        }
    }
}

/// Whether the last sync is told to be one of times to come: the clock was set back since, and nothing would be due until it
/// has caught up. What is generated waits for clocks that differ a little, such as that of who led before us: it would be
/// generated anew.
fn is_in_the_future(facts: &Facts<'_>, last: Timestamp, interval: Duration) -> bool {
    let tolerated = if generates(facts.es) { interval } else { Duration::ZERO };
    last > later(facts.now, tolerated)
}

/// Whether anybody cares how the target stands between refreshes.
fn needs_target(es: &ExternalSecret) -> bool {
    !matches!(es.spec.target.creation_policy, CreationPolicy::Orphan | CreationPolicy::None)
}

fn target_is_valid(facts: &Facts<'_>) -> bool {
    match facts.target {
        _ if !needs_target(facts.es) => true,
        TargetState::Intact => true,
        TargetState::Absent => facts.absence_is_fine || facts.es.spec.target.creation_policy == CreationPolicy::Merge,
        TargetState::Unknown | TargetState::Drifted => false,
    }
}

fn stores_not_usable(facts: &Facts<'_>) -> Option<Plan> {
    let namespace = facts.es.metadata.namespace.as_deref().unwrap_or_default();
    match usable(&used_stores(facts.es), facts.stores, namespace, facts.namespace_labels, facts.flood_gate) {
        Usable::Yes => None,
        Usable::NotYet => Some(Plan::Hold),
        Usable::No(causes) => {
            let causes = causes.into_iter().map(Told::without_values).collect();
            Some(Plan::Refuse(Failure {
                headline: Headline::Fetch,
                causes,
                retry: Retry::Late,
                bound: false,
                theirs: false,
                denied: false,
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyferry_builders::{at, es};
    use serde_json::{Value, json};

    use super::*;
    use crate::store::{Readiness, Store};

    const DAY: i64 = 86_400;

    fn store(spec: Value) -> Arc<Store> {
        Arc::new(Store::namespaced(keyferry_builders::store(spec)))
    }

    fn cluster_store(spec: Value) -> Arc<Store> {
        Arc::new(Store::cluster(keyferry_builders::cluster_store(spec)))
    }

    /// What is decided on day ten, all else being well.
    struct Case {
        es: ExternalSecret,
        last: Option<LastSync>,
        target: TargetState,
        readiness: Readiness,
        store: Option<Arc<Store>>,
        namespace_labels: Option<StringMap>,
        started: Timestamp,
        sources_changed: bool,
        refresh_by: Option<Timestamp>,
        absence_is_fine: bool,
        failed: bool,
    }

    impl Case {
        fn new(spec: Value) -> Self {
            Self {
                es: es(spec),
                last: None,
                target: TargetState::Intact,
                readiness: Readiness::Ready,
                store: Some(store(json!({"provider": {"fake": {}}}))),
                namespace_labels: Some(StringMap::new()),
                started: at(0),
                sources_changed: false,
                refresh_by: None,
                absence_is_fine: false,
                failed: false,
            }
        }

        fn synced(mut self, ago: i64, version: &str) -> Self {
            self.last = Some(LastSync { at: at(10 * DAY - ago), version: version.into() });
            self
        }

        fn target(mut self, target: TargetState) -> Self {
            self.target = target;
            self
        }

        fn decide(&self) -> Plan {
            let stores = self.store.iter().map(|store| (store.id.clone(), (store.clone(), self.readiness.clone())));
            decide(&Facts {
                es: &self.es,
                version: "now",
                now: at(10 * DAY),
                started: self.started,
                overdue_until: at(10 * DAY + 30),
                class: "default",
                flood_gate: true,
                generators: &["Fake", "Password", "UUID"],
                cluster_stores: true,
                generic_targets: false,
                mounts: false,
                stores: &stores.collect(),
                namespace_labels: self.namespace_labels.as_ref(),
                target: self.target,
                last: self.last.as_ref(),
                sources_changed: self.sources_changed,
                refresh_by: self.refresh_by,
                absence_is_fine: self.absence_is_fine,
                failed: self.failed,
            })
        }

        /// In a word.
        fn word(&self) -> String {
            match self.decide() {
                Plan::Ignore => "ignore".into(),
                Plan::LeaveToMounts => "leave to mounts".into(),
                Plan::Release { delete_target } => format!("release {delete_target}"),
                Plan::Refuse(failure) => format!("refuse {failure}"),
                Plan::Hold => "hold".into(),
                Plan::Observe => "observe".into(),
                Plan::Settle => "settle".into(),
                Plan::Wait(None) => "wait".into(),
                Plan::Wait(Some(until)) => format!("wait {}", until.as_second() - 10 * DAY),
                Plan::Fetch(requests) => format!("fetch {}", requests.len()),
            }
        }
    }

    /// Some 3000 s: the point before that of the store's grid.
    const WAITS: &str = "wait 2991";

    #[test]
    fn when_a_refresh_is_due() {
        let periodic = || Case::new(json!({"refreshInterval": "1h"}));
        let never = || Case::new(json!({"refreshInterval": "0"}));
        let once = || Case::new(json!({"refreshPolicy": "CreatedOnce"}));
        let change = || Case::new(json!({"refreshPolicy": "OnChange"}));
        for (case, expected) in [
            (periodic(), "fetch 1"),
            (periodic().synced(600, "now"), WAITS),
            (periodic().synced(3600, "now"), "fetch 1"),
            (periodic().synced(600, "before"), "fetch 1"),
            (periodic().synced(-600, "now"), "fetch 1"),
            (never(), "fetch 1"),
            (never().synced(600, "now"), "wait"),
            (never().synced(600, "before"), "wait"),
            (once(), "fetch 1"),
            (once().synced(9 * DAY, "before"), "wait"),
            (change().synced(9 * DAY, "now"), "wait"),
            (change().synced(600, "before"), "fetch 1"),
        ] {
            assert_eq!(case.word(), expected, "{:?} {:?}", case.es.spec.refresh_policy, case.last);
        }
    }

    #[test]
    fn what_fell_due_while_nobody_ran_is_spread_but_edits_and_drift_are_not() {
        let overdue = |version| {
            let mut case = Case::new(json!({"refreshInterval": "1h"})).synced(DAY, version);
            case.started = at(10 * DAY - 1);
            case
        };
        assert_eq!(overdue("now").word(), "wait 30");
        assert_eq!(overdue("before").word(), "fetch 1");
        assert_eq!(overdue("now").target(TargetState::Drifted).word(), "fetch 1");
        assert_eq!(overdue("now").target(TargetState::Absent).word(), "fetch 1");
    }

    #[test]
    fn windows_restrain_refreshes_by_time_and_nothing_else() {
        // Day ten is the eleventh of January 1970; it begins at midnight.
        let window = |kind: &str, schedule: &str| {
            Case::new(json!({
                "refreshInterval": "1h",
                "syncWindows": {"kind": kind, "windows": [{"schedule": schedule, "duration": "2h"}]},
            }))
        };
        let closed = || window("allow", "0 6 * * *");
        assert_eq!(closed().synced(3600, "now").word(), "wait 21600");
        assert_eq!(closed().synced(600, "now").word(), WAITS);
        assert_eq!(closed().word(), "fetch 1", "the first sync");
        assert_eq!(closed().synced(3600, "before").word(), "fetch 1", "a changed spec");
        assert_eq!(closed().synced(3600, "now").target(TargetState::Drifted).word(), "fetch 1", "an edited target");
        assert_eq!(window("allow", "0 22 * * *").synced(3600, "now").word(), "fetch 1", "open to the last moment");
        assert_eq!(window("deny", "0 23 * * *").synced(3600, "now").word(), "wait 3600");
        assert_eq!(window("allow", "@every 6h").synced(3600, "now").word(), "wait");
    }

    #[test]
    fn drift_is_repaired_whatever_the_refresh_policy() {
        for spec in [
            json!({"refreshInterval": "1h"}),
            json!({"refreshInterval": "0"}),
            json!({"refreshPolicy": "CreatedOnce"}),
            json!({"refreshPolicy": "OnChange"}),
            json!({"target": {"creationPolicy": "CreateOrMerge"}}),
        ] {
            let case = || Case::new(spec.clone()).synced(600, "now");
            assert_eq!(case().target(TargetState::Drifted).word(), "fetch 1", "{spec}");
            assert_eq!(case().target(TargetState::Absent).word(), "fetch 1", "{spec}");
            assert_eq!(case().target(TargetState::Unknown).word(), "observe", "{spec}");
        }
        for policy in ["Orphan", "None"] {
            let case =
                || Case::new(json!({"refreshInterval": "0", "target": {"creationPolicy": policy}})).synced(600, "now");
            for target in [TargetState::Drifted, TargetState::Absent, TargetState::Unknown] {
                assert_eq!(case().target(target).word(), "wait", "{policy} {target:?}");
            }
        }
        let merge = Case::new(json!({"target": {"creationPolicy": "Merge"}})).synced(600, "now");
        assert_eq!(merge.target(TargetState::Absent).word(), WAITS);
        for (policy, word) in [("None", "fetch 1"), ("Merge", "fetch 1"), ("Orphan", "wait")] {
            let spec = json!({"refreshInterval": "0", "target": {"creationPolicy": policy}});
            assert_eq!(Case::new(spec).synced(600, "before").target(TargetState::Absent).word(), word, "{policy}");
        }
        let mut deleted = Case::new(json!({})).synced(600, "now").target(TargetState::Absent);
        deleted.absence_is_fine = true;
        assert_eq!(deleted.word(), WAITS);
    }

    #[test]
    fn what_failed_is_tried_again_though_no_refresh_is_due() {
        let failed = |spec: Value, target: TargetState| {
            let mut case = Case::new(spec).synced(600, "now").target(target);
            (case.failed, case.absence_is_fine) = (true, true);
            case.word()
        };
        let generated = json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "UUID", "name": "u"}}}]});
        let orphan = json!({"target": {"creationPolicy": "Orphan"}});
        for (spec, intact, absent) in [
            (json!({}), "settle", "fetch 1"),
            (json!({"refreshInterval": "0"}), "settle", "fetch 1"),
            (json!({"refreshPolicy": "OnChange"}), "settle", "fetch 1"),
            (json!({"refreshPolicy": "CreatedOnce"}), "settle", "wait"),
            (generated, "settle", WAITS),
            (orphan, "settle", "fetch 1"),
        ] {
            assert_eq!(failed(spec.clone(), TargetState::Intact), intact, "{spec}");
            assert_eq!(failed(spec.clone(), TargetState::Absent), absent, "{spec}");
        }
        assert_eq!(failed(json!({}), TargetState::Drifted), "fetch 1");
        assert_eq!(failed(json!({}), TargetState::Unknown), "observe");
    }

    #[test]
    fn a_namespace_that_was_not_seen_yet_meets_no_conditions() {
        let not_in = json!({"key": "locked", "operator": "DoesNotExist"});
        let conditions = json!([{"namespaceSelector": {"matchExpressions": [not_in]}}]);
        let spec = json!({"provider": {"fake": {}}, "conditions": conditions});
        let mut cluster = Case::new(json!({"secretStoreRef": {"name": "s", "kind": "ClusterSecretStore"}}));
        cluster.store = Some(cluster_store(spec));
        assert_eq!(cluster.word(), "fetch 1");
        cluster.namespace_labels = Some([("locked".to_owned(), String::new())].into());
        assert!(cluster.word().contains("denied by spec.condition"), "{}", cluster.word());
        cluster.namespace_labels = None;
        assert_eq!(cluster.word(), "hold");
        cluster.store = Some(cluster_store(json!({"provider": {"fake": {}}})));
        assert_eq!(cluster.word(), "fetch 1", "a store for all namespaces");
    }

    #[test]
    fn a_changed_template_source_renders_anew_what_refreshes_by_time() {
        for (spec, expected) in [
            (json!({"refreshInterval": "1h"}), "fetch 1"),
            (json!({"refreshInterval": "0"}), "wait"),
            (json!({"refreshPolicy": "OnChange"}), "wait"),
            (json!({"refreshPolicy": "CreatedOnce"}), "wait"),
            (json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "UUID", "name": "u"}}}]}), WAITS),
        ] {
            let mut case = Case::new(spec.clone()).synced(600, "now");
            case.sources_changed = true;
            assert_eq!(case.word(), expected, "{spec}");
        }
    }

    #[test]
    fn stores_for_mounts_are_left_to_who_mounts() {
        let of = |spec: Value| {
            let mut case = Case::new(spec);
            case.store = Some(store(json!({"provider": {"fake": {}}, "loginBy": "Mount"})));
            // Nobody has checked it, nor ever will.
            case.readiness = Readiness::NotReady("nobody logs in here".into());
            case.word()
        };
        assert_eq!(of(json!({"target": {"creationPolicy": "None"}})), "leave to mounts");
        assert_eq!(of(json!({"target": {"creationPolicy": "None", "deletionPolicy": "Delete"}})), "leave to mounts");
        let refused = of(json!({}));
        assert!(refused.contains("SecretStore \"s\" has spec.loginBy: Mount"), "{refused}");
        assert!(refused.contains("spec.target.creationPolicy: None"), "{refused}");
    }

    #[test]
    fn stores_gate_a_refresh_that_is_due_and_no_other() {
        let mut case = Case::new(json!({}));
        case.readiness = Readiness::NotReady("unable to validate store: why".into());
        assert_eq!(
            case.word(),
            "refuse could not get secret data from provider: SecretStore \"s\" is not ready: unable to validate store: why"
        );
        case.readiness = Readiness::Unchecked;
        assert_eq!(case.word(), "hold");
        case.store = None;
        assert!(case.word().contains("SecretStore \"s\" does not exist in namespace \"ns\""), "{}", case.word());
        assert_eq!(case.synced(600, "now").word(), WAITS);
        let mut foreign = Case::new(json!({}));
        foreign.store = Some(store(json!({"provider": {"fake": {}}, "controller": "other"})));
        assert_eq!(foreign.word(), "ignore");
        // Nobody else takes our finalizer off.
        foreign.es.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
        assert_eq!(foreign.word(), "release false");
    }

    #[test]
    fn what_the_schema_could_not_stop_is_refused_with_its_cause() {
        let entry = |key: &str| json!({"secretKey": key, "remoteRef": {"key": "r"}});
        for (spec, cause) in [
            (json!({"data": []}), "neither data nor dataFrom"),
            (json!({"target": {"deletionPolicy": "Delete", "creationPolicy": "Merge"}}), "needs creationPolicy=Owner"),
            (json!({"target": {"deletionPolicy": "Merge", "creationPolicy": "None"}}), "creationPolicy=None has none"),
            (json!({"dataFrom": [{}]}), "spec.dataFrom[0] has none of"),
            (json!({"dataFrom": [{"extract": {"key": "a"}, "find": {}}]}), "more than one of"),
            (json!({"data": [entry("a"), entry("a")]}), "spec.data[1].secretKey \"a\" is there twice"),
            (json!({"secretStoreRef": null}), "spec.data[0] names no store"),
            (json!({"secretStoreRef": {"name": "s", "kind": "Shop"}}), "has kind \"Shop\""),
            (json!({"refreshPolicy": "Sometimes"}), "use one of Periodic, CreatedOnce, OnChange"),
            (json!({"refreshInterval": "soon"}), "\"soon\" is not a duration"),
            (
                json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "Oracle", "name": "d"}}}]}),
                "there are Fake, Pass",
            ),
            (json!({"target": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}}), "asks for a ConfigMap"),
            (json!({"target": {"manifest": {"apiVersion": "v1"}}}), "spec.target.manifest.kind is missing"),
            (
                json!({"target": {"manifest": {"apiVersion": "/v1", "kind": "Secret"}}}),
                "apiVersion \"/v1\" is no group and version",
            ),
            (
                json!({"target": {"manifest": {"apiVersion": "v1?", "kind": "Secret"}}}),
                "apiVersion \"v1?\" is no group and version",
            ),
            (
                json!({"target": {"template": {"templateFrom": [{"target": "spec.x"}]}}}),
                "templateFrom[0].target is \"spec.x\": use Data",
            ),
            (
                json!({"target": {
                    "manifest": {"apiVersion": "v1", "kind": "ConfigMap"},
                    "template": {"templateFrom": [{"target": "spec.x[a]"}]},
                }}),
                "templateFrom[0].target \"spec.x[a]\" has [a], which is not an index",
            ),
        ] {
            let word = Case::new(spec.clone()).word();
            assert!(word.starts_with("refuse") && word.contains(cause), "{spec}: {word}");
        }
        let twice = json!({"data": [entry("a"), entry("a")], "target": {"deletionPolicy": "Delete"}});
        assert_eq!(Case::new(twice).word(), "fetch 2", "only Retain refuses");
        let nothing = json!({"dataFrom": [{"sourceRef": {"storeRef": {"name": "s"}}}]});
        assert_eq!(Case::new(json!({"data": [entry("..a")]})).word(), "fetch 1", "a template may rename it");
        assert_eq!(Case::new(nothing).word(), "fetch 1", "an entry that asks for nothing gets nothing");
    }

    #[test]
    fn what_ends_is_replaced_before_that_unless_it_is_made_once() {
        let mut case = Case::new(generated("1h")).synced(60, "now");
        case.refresh_by = Some(at(10 * DAY + 5));
        assert!(matches!(case.decide(), Plan::Wait(Some(time)) if time == at(10 * DAY + 5)));
        case.refresh_by = Some(at(10 * DAY));
        assert_eq!(case.word(), "fetch 2");
        for interval in ["0", "0s"] {
            case.es = es(generated(interval));
            assert_eq!(case.word(), "wait", "{interval}: it never refreshes by time");
        }
        case.es = es(json!({"refreshPolicy": "CreatedOnce", "dataFrom": generated("1h")["dataFrom"]}));
        assert_eq!(case.word(), "wait");
    }

    fn generated(interval: &str) -> Value {
        json!({"refreshInterval": interval, "dataFrom": [{"sourceRef": {"generatorRef": {"kind": "UUID", "name": "u"}}}]})
    }

    #[test]
    fn deletion_comes_before_everything_else() {
        let mut case = Case::new(json!({"data": [], "target": {"deletionPolicy": "Delete"}}));
        case.es.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
        assert_eq!(case.word(), "release true");
        case.es.spec.target.deletion_policy = DeletionPolicy::Retain;
        assert_eq!(case.word(), "release false");
    }
}
