//! Copiers over a port in memory, which stands for the API server and its watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use futures::FutureExt as _;
use jiff::Timestamp;
use keyferry_builders::at;
use keyferry_crds::{ClusterExternalSecret, ClusterPushSecret, CopierStatus, ExternalSecret, names};
use keyferry_limits::{COPIES_AT_ONCE, COPY_NAMESPACES, COPY_SELECTORS, FAILED_NAMESPACES};
use serde_json::{Value, json};

use super::plan::conflict;
use super::ports::{Copies, Made};
use super::*;
use crate::dependency::Name;
use crate::ports::Problem;
use crate::record::Note;

/// What stands in the cluster, and what was done.
#[derive(Default)]
struct World {
    objects: BTreeMap<Name, Seen>,
    refused: BTreeMap<String, Problem>,
    log: Vec<String>,
    notes: Vec<String>,
    /// Cancels the look at its next step.
    cancel: Option<Arc<AtomicBool>>,
    /// What the API server makes of every copy: the print it has then.
    mutated: Option<u64>,
    made: usize,
}

struct Port(Mutex<World>);

impl Port {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn put(&self, copier: &Copier, namespace: &str, verb: &str) -> Result<Made, Problem> {
        let mut world = self.world();
        world.log.push(format!("{verb} {namespace}"));
        if let Some(cancel) = &world.cancel {
            cancel.store(true, Ordering::Relaxed);
        }
        if let Some(problem) = world.refused.get(namespace) {
            return Err(problem.clone());
        }
        let name = (namespace.to_owned(), copier.copy_name.clone());
        if let Some(other) = world.objects.get(&name).filter(|seen| !seen.is_copy_of(copier)) {
            return Ok(Made::Other(other.clone()));
        }
        world.made += 1;
        let uid = world.objects.get(&name).map_or_else(|| format!("uid-{}", world.made), |seen| seen.uid.clone());
        let print = world.mutated.unwrap_or(copier.print);
        let seen = Seen { uid, version: world.made.to_string(), print, ..of(copier) };
        world.objects.insert(name, seen.clone());
        Ok(Made::Copy(seen))
    }
}

#[async_trait]
impl Copies for Port {
    async fn create(&self, copier: &Copier, namespace: &str) -> Result<Made, Problem> {
        self.put(copier, namespace, "create")
    }

    async fn change(&self, copier: &Copier, namespace: &str) -> Result<Made, Problem> {
        self.put(copier, namespace, "change")
    }

    async fn delete(&self, _: &Copier, name: &Name, _: &str) -> Result<(), Problem> {
        let mut world = self.world();
        world.log.push(format!("delete {}/{}", name.0, name.1));
        match world.refused.get(&name.0) {
            Some(problem) => Err(problem.clone()),
            None => {
                world.objects.remove(name);
                Ok(())
            }
        }
    }

    async fn free(&self, _: &Copier, namespace: &str, finalizers: &[String]) -> Result<(), Problem> {
        let mut world = self.world();
        world.log.push(format!("free {namespace} of {}", finalizers.len()));
        world.refused.get(namespace).map_or(Ok(()), |problem| Err(problem.clone()))
    }

    async fn release(&self, _: &Copier) -> Result<(), Problem> {
        self.world().log.push("release".to_owned());
        Ok(())
    }

    async fn status(&self, _: &Copier, status: &CopierStatus) -> Result<(), Problem> {
        self.world().log.push(format!("status {}", status.conditions[0].status));
        Ok(())
    }

    fn note(&self, _: &Copier, note: Note) {
        self.world().notes.push(format!("{} {}", note.reason, note.message));
    }
}

/// A copy of this copier, as it should be.
fn of(copier: &Copier) -> Seen {
    Seen {
        uid: "copy".to_owned(),
        version: "1".to_owned(),
        owner: Some(Owner { id: copier.id.clone(), uid: copier.uid().to_owned() }),
        print: copier.print,
        is_going: false,
    }
}

/// A cluster, one copier, and what is remembered of it.
struct Stage {
    port: Port,
    copier: Copier,
    memory: Memory,
    selected: BTreeMap<String, bool>,
    held: BTreeMap<String, Vec<String>>,
    /// Whether the watch tells nothing.
    is_blind: bool,
    left: BTreeMap<String, Place>,
}

impl Stage {
    fn new(copier: Copier, namespaces: &[&str]) -> Self {
        Self {
            port: Port(Mutex::default()),
            copier,
            memory: Memory::default(),
            selected: namespaces.iter().map(|name| ((*name).to_owned(), false)).collect(),
            held: BTreeMap::new(),
            is_blind: false,
            left: BTreeMap::new(),
        }
    }

    /// Gives the copier another spec.
    fn edit(&mut self, more: Value) {
        let status = std::mem::take(&mut self.copier.status);
        self.copier = ces(more);
        self.copier.status = status;
    }

    fn around(&self) -> Surroundings {
        let mut around =
            Surroundings { selected: self.selected.clone(), held: self.held.clone(), ..Default::default() };
        around.places = self.left.clone();
        for (name, seen) in self.port.world().objects.iter().filter(|_| !self.is_blind) {
            if name.1 == self.copier.copy_name && self.selected.contains_key(&name.0) {
                around.places.insert(name.0.clone(), Place::Taken(seen.clone()));
            } else if seen.is_copy_of(&self.copier) {
                around.strays.insert(name.clone(), seen.clone());
            }
        }
        around
    }

    /// A look at this second; what it did, and when the next is.
    fn look(&mut self, second: i64) -> (Vec<String>, Option<i64>) {
        std::thread_local! { static NOW: std::cell::Cell<i64> = const { std::cell::Cell::new(0) } }
        NOW.set(second);
        let around = self.around();
        let plan = plan(&self.copier, &around, &self.memory, at(second));
        let cancelled = Arc::new(AtomicBool::new(false));
        if let Some(cancel) = &mut self.port.world().cancel {
            *cancel = cancelled.clone();
        }
        fn now() -> Timestamp {
            at(NOW.get())
        }
        let looked = run(&self.port, &self.copier, plan, self.memory.clone(), cancelled, now);
        let looked = looked.now_or_never().expect("nothing waits here");
        self.memory = looked.memory;
        self.memory.tidy(&around, at(second));
        if let Some(status) = looked.status {
            self.copier.status = status;
        }
        (std::mem::take(&mut self.port.world().log), looked.again.map(|again| again.as_second()))
    }

    fn failed(&self) -> Vec<String> {
        let failed = self.copier.status.failed_namespaces.iter();
        failed.map(|failed| format!("{}: {}", failed.namespace, failed.reason)).collect()
    }

    fn provisioned(&self) -> Vec<&str> {
        self.copier.status.provisioned_namespaces.iter().map(String::as_str).collect()
    }
}

fn spec(value: &str) -> Value {
    json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": value, "remoteRef": {"key": "k"}}]})
}

/// A ClusterExternalSecret `c` of this spec, beside what it copies.
fn ces(more: Value) -> Copier {
    let mut whole = json!({"externalSecretSpec": spec("a"), "namespaceSelectors": [{}]});
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let metadata = json!({"name": "c", "uid": "c-uid", "generation": 1});
    let object: ClusterExternalSecret = serde_json::from_value(json!({"metadata": metadata, "spec": whole})).unwrap();
    object.into()
}

fn refusal(is_temporary: bool) -> Problem {
    Problem { message: "the API server forbids it".to_owned(), is_temporary, is_not_found: false }
}

#[test]
fn every_selected_namespace_gets_one_and_then_nothing_is_done() {
    let mut stage = Stage::new(ces(json!({})), &["a", "b"]);
    stage.selected.insert("leaving".to_owned(), true);
    assert_eq!(stage.look(0).0, ["create a", "create b", "status True"]);
    assert_eq!((stage.provisioned(), stage.failed()), (vec!["a", "b"], vec![]));
    let status = serde_json::to_value(&stage.copier.status).unwrap();
    let ready = json!([{"type": "Ready", "status": "True"}]);
    assert_eq!(status, json!({"conditions": ready, "externalSecretName": "c", "provisionedNamespaces": ["a", "b"]}));
    for second in [1, 31, 3600] {
        assert_eq!(stage.look(second), (vec![], (second < 30).then_some(30)), "{second}");
    }
    assert_eq!(stage.port.world().notes, [r#"Synced ExternalSecret "c" is in all selected namespaces"#]);
}

#[test]
fn a_raised_interval_is_told() {
    let mut stage = Stage::new(ces(json!({"refreshTime": "10ms"})), &["a"]);
    stage.look(0);
    let ready = &stage.copier.status.conditions[0];
    let told = format!("spec.refreshTime: {}", keyferry_limits::REFRESH_RATE);
    assert_eq!((ready.status.as_str(), ready.message.as_deref()), ("True", Some(told.as_str())));
    stage.edit(json!({"refreshTime": "1s"}));
    stage.look(1);
    assert_eq!(stage.copier.status.conditions[0].message, None);
}

#[test]
fn what_is_not_selected_any_more_goes_and_what_is_renamed_goes_too() {
    let mut stage = Stage::new(ces(json!({})), &["a", "b"]);
    stage.look(0);
    stage.selected.remove("a");
    assert_eq!(stage.look(10).0, ["delete a/c", "status True"]);
    assert_eq!(stage.provisioned(), ["b"]);
    stage.edit(json!({"externalSecretName": "d"}));
    assert_eq!(stage.look(20).0, ["delete b/c", "create b", "status True"]);
    assert_eq!(stage.copier.status.external_secret_name.as_deref(), Some("d"));
    // One that another of the same name had made before is its collector's.
    let mut former = of(&stage.copier);
    former.owner.as_mut().unwrap().uid = "before".to_owned();
    stage.port.world().objects.insert(("x".to_owned(), "d".to_owned()), former.clone());
    assert_eq!(stage.look(60).0, [""; 0]);
    // Where one is wanted, it is taken over, as in External Secrets Operator.
    stage.selected.insert("x".to_owned(), false);
    assert_eq!(stage.look(61).0, ["change x", "status True"]);
}

#[test]
fn what_is_somebody_elses_is_left_alone_and_told() {
    let mut stage = Stage::new(ces(json!({})), &["a", "b"]);
    let theirs = Seen { owner: None, ..of(&stage.copier) };
    stage.port.world().objects.insert(("a".to_owned(), "c".to_owned()), theirs.clone());
    assert_eq!(stage.look(0).0, ["create b", "status False"]);
    assert_eq!(stage.failed(), ["a: external secret already exists in namespace"]);
    assert_eq!(stage.copier.status.conditions[0].message.as_deref(), Some("one or more namespaces failed"));
    assert_eq!(stage.look(3600).0, [""; 0], "it is known to be there");
    stage.port.world().objects.clear();
    assert_eq!(stage.look(3601).0, ["create a", "create b", "status True"]);
    // One of which the watch has not told yet is found when it is in the way.
    let mut stage = Stage::new(ces(json!({})), &["a"]);
    stage.port.world().objects.insert(("a".to_owned(), "c".to_owned()), theirs);
    stage.is_blind = true;
    assert_eq!(stage.look(0).0, ["create a", "status False"]);
    assert_eq!(stage.look(1).0, [""; 0]);
    assert_eq!(
        stage.port.world().notes,
        [r#"Errored one or more namespaces failed: "a": external secret already exists in namespace"#]
    );
    assert_eq!(conflict(CopierKind::ClusterPushSecret).as_str(), "push secret already exists in namespace");
}

#[test]
fn what_was_changed_is_changed_back_and_who_insists_is_answered_ever_later() {
    let mut stage = Stage::new(ces(json!({})), &["a"]);
    stage.look(0);
    let edit = |stage: &Stage| stage.port.world().objects.values_mut().for_each(|seen| seen.print ^= 1);
    edit(&stage);
    assert_eq!(stage.look(100).0, ["change a"]);
    edit(&stage);
    assert_eq!(stage.look(100), (vec![], Some(101)));
    assert_eq!(stage.look(101).0, ["change a"]);
    edit(&stage);
    assert_eq!((stage.look(102), stage.look(103).0), ((vec![], Some(103)), vec!["change a".to_owned()]));
    // Whoever deletes it again and again is no better.
    stage.port.world().objects.clear();
    stage.left.insert("a".to_owned(), Place::Left("uid-1".to_owned()));
    assert_eq!(stage.look(104).1, Some(107));
    assert_eq!(stage.look(107).0, ["create a", "status True"]);
    // After a while it is news again.
    edit(&stage);
    assert_eq!(stage.look(1000).0, ["change a"]);
    // A new spec waits for nobody.
    stage.edit(json!({"externalSecretSpec": spec("b")}));
    assert_eq!(stage.look(1000).0, ["change a"]);
}

#[test]
fn what_admission_makes_of_a_copy_is_not_fought() {
    let mut stage = Stage::new(ces(json!({})), &["a"]);
    stage.port.world().mutated = Some(7);
    assert_eq!(stage.look(0).0, ["create a", "status True"]);
    assert_eq!(stage.look(3600).0, [""; 0]);
    // The next process writes it once, and knows then.
    stage.memory = Memory::default();
    assert_eq!(stage.look(7200).0, ["change a"]);
    assert_eq!(stage.look(9000).0, [""; 0]);
}

#[test]
fn a_failure_is_told_and_tried_again_ever_later() {
    let mut stage = Stage::new(ces(json!({})), &["a", "b"]);
    stage.port.world().refused.insert("a".to_owned(), refusal(true));
    assert_eq!(stage.look(0), (vec!["create a".to_owned(), "create b".to_owned(), "status False".to_owned()], Some(1)));
    assert_eq!(stage.failed(), ["a: could not create or update ExternalSecret: the API server forbids it"]);
    let mut times = vec![0];
    for second in 1..20 {
        if stage.look(second).0.contains(&"create a".to_owned()) {
            times.push(second);
        }
    }
    assert_eq!(times, [0, 1, 3, 7, 15]);
    stage.port.world().refused.insert("a".to_owned(), refusal(false));
    stage.edit(json!({"externalSecretSpec": spec("b")}));
    assert_eq!(
        stage.look(20),
        (vec!["create a".to_owned(), "change b".to_owned()], Some(35)),
        "a new spec is tried at once"
    );
    stage.port.world().refused.clear();
    assert_eq!(stage.look(35).0, ["create a", "status True"]);
    // A copy that can't be deleted is told too.
    stage.port.world().refused.insert("b".to_owned(), refusal(false));
    stage.selected.remove("b");
    assert_eq!(stage.look(100).0, ["delete b/c", "status False"]);
    assert!(stage.failed()[0].starts_with("b: external secret in non matching namespace could not be deleted"));
}

#[test]
fn what_the_watch_is_late_to_tell_is_not_done_twice() {
    let mut stage = Stage::new(ces(json!({})), &["a"]);
    stage.is_blind = true;
    assert_eq!(stage.look(0).0, ["create a", "status True"]);
    assert_eq!(stage.look(1), (vec![], Some(30)));
    // It was deleted by somebody, as the watch says.
    stage.left.insert("a".to_owned(), Place::Left("uid-1".to_owned()));
    stage.port.world().objects.clear();
    assert_eq!(stage.look(2).0, ["create a"]);
    // A watch that never tells is not believed for ever.
    assert_eq!(stage.look(3).0, [""; 0]);
    assert_eq!(stage.look(40).0, ["create a"]);
}

#[test]
fn many_are_made_in_turns_and_told_at_the_end() {
    let names: Vec<String> = (0..COPIES_AT_ONCE.size() + 5).map(|n| format!("ns{n:04}")).collect();
    let mut stage = Stage::new(ces(json!({})), &names.iter().map(String::as_str).collect::<Vec<_>>());
    let (first, again) = stage.look(0);
    assert_eq!((first.len(), again), (COPIES_AT_ONCE.size(), Some(0)), "and no status");
    let (second, _) = stage.look(0);
    assert_eq!((second.len(), stage.provisioned().len()), (6, COPIES_AT_ONCE.size() + 5));
    // In between, what was deselected goes first.
    stage.port.world().objects.values_mut().for_each(|seen| seen.print ^= 1);
    stage.selected.remove("ns0104");
    assert_eq!(stage.look(700).0[0], "delete ns0104/c");
}

#[test]
fn a_look_that_is_cancelled_begins_nothing_more_and_tells_nothing() {
    let names: Vec<String> = (0..50).map(|n| format!("ns{n:02}")).collect();
    let mut stage = Stage::new(ces(json!({})), &names.iter().map(String::as_str).collect::<Vec<_>>());
    stage.port.world().cancel = Some(Arc::default());
    let (done, again) = stage.look(0);
    assert_eq!((done.len(), again), (1, None));
    stage.port.world().cancel = None;
    assert_eq!(stage.look(1).0.len(), 50, "the rest, and the status");
}

#[test]
fn finalizers_of_another_operator_go_also_at_the_end() {
    let mut stage = Stage::new(ces(json!({})), &[]);
    stage.held.insert("a".to_owned(), names::namespace_finalizers("c").to_vec());
    stage.port.world().refused.insert("a".to_owned(), refusal(false));
    assert_eq!(stage.look(0), (vec!["free a of 2".to_owned(), "status True".to_owned()], Some(15)));
    assert_eq!(stage.look(1).0, [""; 0]);
    stage.copier.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
    stage.copier.metadata.finalizers = Some(vec![names::FINALIZER_CLUSTER_EXTERNAL_SECRET.to_owned()]);
    stage.selected.insert("b".to_owned(), false);
    assert_eq!(stage.look(2).0, [""; 0], "it stays until they are gone");
    stage.port.world().refused.clear();
    assert_eq!(stage.look(15).0, ["free a of 2", "release"]);
}

#[test]
fn a_spec_that_is_wrong_changes_nothing() {
    let many: Vec<Value> = (0..=COPY_SELECTORS.size()).map(|_| json!({})).collect();
    let names: Vec<String> = (0..=COPY_NAMESPACES.size()).map(|n| format!("n{n}")).collect();
    for (more, cause) in [
        (json!({"refreshTime": "soon"}), "spec.refreshTime: \"soon\" is not a duration"),
        (json!({"namespaceSelectors": many}), "(limit copy-selectors)"),
        (json!({"namespaces": names}), "(limit copy-namespaces)"),
        (json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}), "\"Is\" is no operator"),
    ] {
        let mut stage = Stage::new(ces(more), &["a"]);
        stage.copier.status.provisioned_namespaces = vec!["a".to_owned()];
        stage.port.world().objects.insert(("b".to_owned(), "c".to_owned()), of(&stage.copier));
        assert_eq!(stage.look(0).0, ["status False"], "{cause}");
        let told = stage.copier.status.conditions[0].message.clone().unwrap();
        assert!(told.contains(cause), "{told}");
        assert_eq!(stage.provisioned(), ["a"], "it stays told where they are");
    }
}

#[test]
fn a_status_names_so_many_failures_and_counts_the_rest() {
    let names: Vec<String> = (0..=FAILED_NAMESPACES.size()).map(|n| format!("ns{n:05}")).collect();
    let mut stage = Stage::new(ces(json!({})), &names.iter().map(String::as_str).collect::<Vec<_>>());
    let theirs = Seen { owner: None, ..of(&stage.copier) };
    stage.port.world().objects.extend(names.iter().map(|name| ((name.clone(), "c".to_owned()), theirs.clone())));
    assert_eq!(stage.look(0).0, ["status False"]);
    assert_eq!(stage.failed().len(), FAILED_NAMESPACES.size());
    let told = stage.copier.status.conditions[0].message.clone().unwrap();
    assert!(
        told.starts_with("one or more namespaces failed, 1001 in all: ") && told.contains("failed-namespaces"),
        "{told}"
    );
    assert!(stage.port.world().notes[0].ends_with("and 996 more"));
}

#[test]
fn a_copy_has_the_annotations_of_its_copier_that_ask_for_a_sync_and_no_others() {
    let of = |annotations: Value| {
        let object = json!({
            "metadata": {"name": "c", "uid": "u", "annotations": annotations},
            "spec": {
                "externalSecretSpec": spec("a"),
                "externalSecretMetadata": {"annotations": {names::ANNOTATION_FORCE_SYNC: "own", "b": "1"}, "labels": {"l": "2"}},
            },
        });
        Copier::from(serde_json::from_value::<ClusterExternalSecret>(object).unwrap())
    };
    let (plain, forced) = (of(json!({"other": "x"})), of(json!({names::ANNOTATION_FORCE_SYNC: "now"})));
    assert_eq!(plain.annotations.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(forced.annotations[names::ANNOTATION_FORCE_SYNC], "now");
    assert_ne!(plain.print, forced.print);
    assert!(!plain.asks_for_the_same(&forced));
    assert_eq!(plain.labels["l"], "2");
}

#[test]
fn what_the_api_server_adds_by_default_is_no_difference() {
    let copier = ces(json!({}));
    let mut stored = spec("a");
    stored["refreshInterval"] = Value::Null;
    stored["target"] = json!({"creationPolicy": "Owner", "deletionPolicy": "Retain"});
    let owner = serde_json::to_value(copier.owner_reference()).unwrap();
    let object = |spec: Value, labels: Value| {
        let metadata =
            json!({"name": "c", "uid": "u", "resourceVersion": "9", "labels": labels, "ownerReferences": [owner]});
        serde_json::from_value::<ExternalSecret>(json!({"metadata": metadata, "spec": spec})).unwrap()
    };
    let seen = Seen::external_secret(&object(stored.clone(), json!({})));
    assert!(seen.is_controlled_by(&copier) && seen.print == copier.print);
    assert_ne!(Seen::external_secret(&object(stored, json!({"more": "x"}))).print, copier.print);
    assert_ne!(Seen::external_secret(&object(spec("b"), json!({}))).print, copier.print);
    // Owners that are no controllers, and those of other kinds, are none.
    let mut other = object(spec("a"), json!({}));
    other.metadata.owner_references.as_mut().unwrap()[0].controller = None;
    assert_eq!(Seen::external_secret(&other).owner, None);
}

#[test]
fn what_is_noted_of_a_generated_value_is_no_edit_and_anything_else_in_its_place_is() {
    let annotated = |kind, note: Option<&str>| {
        let annotations = note.map(|note| json!({ names::ANNOTATION_GENERATED: note }));
        let owner = json!({"apiVersion": "external-secrets.io/v1alpha1", "kind": "ClusterPushSecret", "name": "c", "uid": "u", "controller": true});
        let metadata = json!({"name": "c", "ownerReferences": [owner], "annotations": annotations});
        Seen::object(kind, &serde_json::from_value(metadata).unwrap(), &json!({})).print
    };
    let good = "2026-01-01T00:00:00Z 1-a gen-grafana-g-b";
    let (pushes, fetches) = (CopierKind::ClusterPushSecret, CopierKind::ClusterExternalSecret);
    assert_eq!(annotated(pushes, Some(good)), annotated(pushes, None));
    assert_ne!(annotated(fetches, Some(good)), annotated(fetches, None), "nothing is generated for its stores");
    for forged in ["n", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z 1-a b c", &format!("{good}{}", "x".repeat(600))] {
        assert_ne!(annotated(pushes, Some(forged)), annotated(pushes, None), "{forged}");
    }
}

#[test]
fn push_secrets_are_told_in_their_own_words() {
    let object = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"pushSecretSpec": {"any": [1, null]}, "namespaceSelectors": [{}]}});
    let copier = Copier::from(serde_json::from_value::<ClusterPushSecret>(object).unwrap());
    assert_eq!(copier.owner_reference().api_version, "external-secrets.io/v1alpha1");
    let mut stage = Stage::new(copier, &["a", "b"]);
    stage.port.world().refused.insert("b".to_owned(), refusal(true));
    stage.look(5);
    let status = serde_json::to_value(&stage.copier.status).unwrap();
    let ready = json!([{"type": "Ready", "status": "False", "message": "one or more namespaces failed", "lastTransitionTime": "1970-01-01T00:00:05Z"}]);
    let failed =
        json!([{"namespace": "b", "reason": "could not create or update push secret: the API server forbids it"}]);
    assert_eq!(
        status,
        json!({"conditions": ready, "pushSecretName": "p", "provisionedNamespaces": ["a"], "failedNamespaces": failed})
    );
    let kinds: BTreeSet<_> =
        [CopierKind::ClusterExternalSecret, CopierKind::ClusterPushSecret].map(CopierKind::copied).into();
    assert_eq!(kinds, ["ExternalSecret", "PushSecret"].into());
}
