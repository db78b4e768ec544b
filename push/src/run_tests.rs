use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use keyferry_builders::at;
use keyferry_crds::{Condition, ExternalSecret, ExternalSecretStatus, GeneratorState, PushSecretStatus};
use keyferry_limits::Budget;
use keyferry_provider_core::{
    Answer, Capabilities, Dialect, Error, ErrorKind, Fetched, Keep, Key, Made, PropertyLookup, Push, Reach, Remote,
    Term,
};
use keyferry_sync::data::{Data, StringMap};
use keyferry_sync::dependency::{Dependency, Version};
use keyferry_sync::engine::Engine;
use keyferry_sync::ports::{self as sync_ports, Change, Compute, Entered, Generator, Turn};
use keyferry_sync::record::Note;
use keyferry_sync::selection::selects;
use keyferry_sync::settings::{Adopt, Settings};
use keyferry_sync::states::{KnownState, Marks, NewState};
use keyferry_sync::store::{KnownStores, Readiness};
use serde_json::{Value, json};

use super::*;
use crate::memory::{MacKey, Memory};
use crate::ports::{self, Opened, Ports, Source};

#[path = "run_tests/generated_tests.rs"]
mod generated_tests;
#[path = "run_tests/elsewhere_tests.rs"]
mod elsewhere_tests;
#[path = "run_tests/told_tests.rs"]
mod told_tests;
#[path = "run_tests/undo_tests.rs"]
mod undo_tests;
#[path = "run_tests/found_tests.rs"]
mod found_tests;

/// How long what is replaced works on.
const GRACE: Duration = Duration::from_secs(120);

/// All that there is, and what was done.
#[derive(Default)]
struct State {
    /// What Secrets hold, their labels, and how often they changed.
    secrets: BTreeMap<String, (BTreeMap<String, String>, StringMap, u32)>,
    /// What stores hold, by store and key.
    held: BTreeMap<(String, String), String>,
    /// Of it what others wrote.
    theirs: Vec<(String, String)>,
    /// What fails, by store and key.
    failing: BTreeMap<(String, String), ErrorKind>,
    made: u32,
    /// How long what is made works, and whether making it fails once it is written down.
    term: Option<Term>,
    breaks: bool,
    states: Vec<KnownState>,
    /// Whether stores show nothing of what they hold.
    is_write_only: bool,
    has_no_marks: bool,
    merges: bool,
    /// Whether all stores lead to one place, and how every push fails once something was deleted.
    is_one: bool,
    fails_after_delete: Option<ErrorKind>,
    /// How often something was computed in a turn.
    turns: usize,
    log: Vec<String>,
    notes: Vec<String>,
    /// What is noted on the PushSecret of a generated value.
    noted: Option<String>,
}

#[derive(Clone, Default)]
struct Double(Arc<Mutex<State>>);

impl Double {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    fn secret(&self, name: &str, data: &[(&str, &str)]) {
        self.with(|state| {
            let entry = state.secrets.entry(name.to_owned()).or_default();
            entry.0 = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            entry.1 = [("push".to_owned(), "yes".to_owned())].into();
            entry.2 += 1;
        });
    }

    fn version(&self, name: &str) -> Option<Version> {
        self.with(|state| {
            let (_, _, revision) = state.secrets.get(name)?;
            Some(Version { uid: name.into(), revision: revision.to_string().into() })
        })
    }

    fn held(&self, store: &str, key: &str) -> Option<String> {
        self.with(|state| {
            let is_there = |(of, known): &(String, String)| (of == store || state.is_one) && known == key;
            state.held.iter().find(|(at, _)| is_there(at)).map(|(_, value)| value.clone())
        })
    }

    fn log(&self) -> Vec<String> {
        self.with(|state| std::mem::take(&mut state.log))
    }

    fn fail(&self, store: &str, key: &str, kind: Option<ErrorKind>) {
        let at = (store.to_owned(), key.to_owned());
        self.with(|state| match kind {
            Some(kind) => _ = state.failing.insert(at, kind),
            None => _ = state.failing.remove(&at),
        });
    }

    fn source(&self, name: &str) -> Option<Source> {
        let version = self.version(name);
        self.with(|state| {
            state.log.push(format!("read {name}"));
            let (data, labels, _) = state.secrets.get(name)?;
            let data = data.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
            Some(Source { name: name.to_owned(), version, data, labels: labels.clone(), ..Source::default() })
        })
    }
}

struct InStoreDouble {
    of: Double,
    store: String,
}

impl InStoreDouble {
    /// What a secret holds, where it is an object.
    fn fields(&self, key: &str) -> serde_json::Map<String, Value> {
        self.of.held(&self.store, key).and_then(|held| serde_json::from_str(&held).ok()).unwrap_or_default()
    }

    fn call(&self, what: &str, key: &str) -> Result<(), Error> {
        self.of.with(|state| {
            state.log.push(format!("{what} {}/{key}", self.store));
            match state.failing.get(&(self.store.clone(), key.to_owned())) {
                Some(kind) => Err(Error::new(*kind, format!("it is set to fail for {key:?}"))),
                None => Ok(()),
            }
        })
    }
}

#[async_trait]
impl Opened for InStoreDouble {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            push: true,
            delete: true,
            marks: !self.of.with(|state| state.has_no_marks),
            writes_elsewhere: self.store == "s",
            max_batch: if self.of.with(|state| state.is_write_only) { 0 } else { 20 },
            ..Capabilities::default()
        }
    }

    fn dialect(&self) -> Dialect {
        let merges = self.of.with(|state| state.merges);
        Dialect {
            property: if merges { PropertyLookup::Base64Fields } else { PropertyLookup::default() },
            ..Dialect::default()
        }
    }

    async fn fetch(&self, _: &Arc<Asking>, keys: Vec<Key>, _: Planning) -> HashMap<Key, Answer> {
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        self.of.with(|state| state.log.push(format!("fetch {}/{}", self.store, names.join(","))));
        let answer = |key: &Key| match self.of.held(&self.store, &key.name) {
            Some(value) => Ok(Fetched::from(SecretBytes::from(value.as_str()))),
            None => Err(Error::new(ErrorKind::NotFound, "there is none")),
        };
        keys.iter().map(|key| (key.clone(), answer(key))).collect()
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.call("push", &push.remote.key)?;
        let mut value = push.payload.whole()?.expose_str().unwrap_or_default().to_owned();
        if let Some(property) = &push.remote.property {
            let mut fields = self.fields(&push.remote.key);
            fields.insert(property.clone(), value.into());
            value = Value::Object(fields).to_string();
        }
        self.of.with(|state| _ = state.held.insert((self.store.clone(), push.remote.key.clone()), value));
        Ok(())
    }

    async fn delete(&self, remote: &Remote, _: Reach) -> Result<(), Error> {
        self.call("delete", &remote.key)?;
        let mut fields = self.fields(&remote.key);
        fields.retain(|field, _| remote.property.as_ref().is_some_and(|property| property != field));
        self.of.with(|state| {
            let at = (self.store.clone(), remote.key.clone());
            if state.is_one {
                state.held.retain(|(_, key), _| *key != remote.key);
            }
            if let Some(kind) = state.fails_after_delete {
                state.failing.insert(("t".into(), remote.key.clone()), kind);
            }
            if !state.theirs.contains(&at) {
                state.held.remove(&at);
                if !fields.is_empty() {
                    state.held.insert(at, Value::Object(fields).to_string());
                }
            }
        });
        Ok(())
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        self.call("exists", &remote.key)?;
        Ok(self.of.held(&self.store, &remote.key).is_some())
    }
}

#[async_trait]
impl Compute for Double {
    async fn turn(&self, _: &str, _: &Arc<Budget>) -> Turn {
        self.with(|state| state.turns += 1);
        Box::new(())
    }

    fn run(&self, work: &mut dyn FnMut()) {
        work();
    }
}

#[async_trait]
impl ports::Stores for Double {
    async fn open(&self, store: &Store, _: &str) -> Result<Arc<dyn Opened>, Error> {
        Ok(Arc::new(InStoreDouble { of: self.clone(), store: store.id.name.clone() }))
    }
}

#[async_trait]
impl ports::Sources for Double {
    async fn secret(&self, _: &str, name: &str) -> Result<Option<Source>, Problem> {
        Ok(self.source(name))
    }

    async fn selected(
        &self,
        _: &str,
        selector: &LabelSelector,
        _: &Budget,
        most: usize,
    ) -> Result<Option<Vec<Source>>, Problem> {
        let names: Vec<String> = self.with(|state| state.secrets.keys().cloned().collect());
        let all = names.iter().filter_map(|name| self.source(name));
        let selected = all.filter(|source| selects(selector, &source.labels)).collect::<Vec<_>>();
        let held = selected.iter().map(Source::cost).sum::<usize>();
        Ok((held <= most).then_some(selected))
    }
}

#[async_trait]
impl ports::Journal for Double {
    async fn status(
        &self,
        _: &PushSecret,
        _: Option<&PushSecretStatus>,
        after: &PushSecretStatus,
    ) -> Result<Option<String>, Problem> {
        let places: Vec<String> = after.synced_push_secrets.values().flat_map(|all| all.keys().cloned()).collect();
        self.with(|state| state.log.push(format!("status {}", places.join(","))));
        Ok(None)
    }

    async fn finalizers(&self, _: &PushSecret, finalizers: &[String]) -> Result<(), Problem> {
        self.with(|state| state.log.push(format!("finalizers {}", finalizers.len())));
        Ok(())
    }

    async fn generated(&self, _: &PushSecret, note: &str) -> Result<(), Problem> {
        self.with(|state| {
            state.log.push("noted".to_owned());
            state.noted = Some(note.to_owned());
        });
        Ok(())
    }

    fn note(&self, _: &PushSecret, note: Note) {
        self.with(|state| {
            state.log.push(format!("event {}", note.reason));
            state.notes.push(note.message.as_str().to_owned());
        });
    }
}

#[async_trait]
impl sync_ports::Stores for Double {
    fn planning(&self) -> Planning {
        Box::new(())
    }

    fn asking(&self, _: &StoreId) -> Planning {
        Box::new(())
    }

    async fn enter(&self, _: &Store, _: &str) -> Result<Arc<dyn Entered>, Error> {
        Err(Error::cannot("be read here"))
    }

    async fn rehearse(&self, _: &Store, _: &str, _: Change<'_>, _: Option<&Key>) -> Result<(), Error> {
        Ok(())
    }

    fn generators(&self) -> &[&'static str] {
        &["UUID"]
    }

    fn generator_field(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn has_state(&self, kind: &str) -> bool {
        kind == "Kept"
    }

    async fn make(&self, generator: &Generator<'_>, keep: Arc<dyn Keep>) -> Result<Made, Error> {
        let (n, term) = self.with(|state| {
            state.made += 1;
            (state.made, state.term)
        });
        let values = [("uuid".to_owned(), SecretBytes::from(format!("made-{n}").as_str()))].into();
        if !self.has_state(generator.kind) {
            return Ok(Made { values, term, ..Made::default() });
        }
        let state = json!({"id": n});
        keep.keep(&state, term).await?;
        if self.with(|state| state.breaks) {
            return Err(Error::new(ErrorKind::Unavailable, "it breaks off"));
        }
        Ok(Made { values, state: Some(state), term })
    }

    async fn revoke(&self, _: &Generator<'_>, _: &Value) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &Generator<'_>, _: &Value) -> Result<Option<(Value, Term)>, Error> {
        Ok(None)
    }
}

#[async_trait]
impl sync_ports::States for Double {
    async fn begin(&self, new: &NewState, state: &Value, marks: &Marks) -> Result<String, Problem> {
        let name = format!("{}{}", new.prefix, state["id"]);
        let known = KnownState {
            name: name.clone(),
            owner: new.owner.2.clone(),
            key: new.key.clone(),
            made: (None, state["id"].to_string()),
            deadline: None,
            refresh_by: marks.refresh_by,
        };
        self.with(|state| state.states.push(known));
        Ok(name)
    }

    async fn amend(&self, _: &str, _: &str, _: &Value, _: &Marks) -> Result<(), Problem> {
        Ok(())
    }

    async fn flag(&self, _: &str, name: &str, deadline: Timestamp) -> Result<(), Problem> {
        self.with(|state| {
            let known = state.states.iter_mut().find(|known| known.name == name);
            known.expect("what is flagged is there").deadline = Some(deadline);
        });
        Ok(())
    }

    async fn forget(&self, _: &str, name: &str) -> Result<(), Problem> {
        self.with(|state| state.states.retain(|known| known.name != name));
        Ok(())
    }

    async fn hold(&self, _: &GeneratorState) -> Result<(), Problem> {
        unreachable!("a push holds nothing")
    }

    async fn delete(&self, _: &GeneratorState) -> Result<(), Problem> {
        unreachable!("a push deletes no state")
    }

    async fn release(&self, _: &GeneratorState) -> Result<(), Problem> {
        unreachable!("a push lets no state go")
    }

    async fn tell(&self, _: &GeneratorState, _: &[Condition]) -> Result<(), Problem> {
        unreachable!("a push tells nothing of states")
    }

    fn note(&self, _: &GeneratorState, _: Note) {
        unreachable!("a push tells nothing of states")
    }
}

#[async_trait]
impl sync_ports::Objects for Double {
    async fn turn(&self, _: &str) -> Turn {
        Box::new(())
    }

    async fn source(&self, object: &Dependency) -> Result<Option<(Option<Version>, Data)>, Problem> {
        let data = self.source(&object.name).map(|source| source.data);
        Ok(data.map(|data| (self.version(&object.name), data)))
    }

    async fn labels(&self, _: &Dependency) -> Result<Option<StringMap>, Problem> {
        Ok(None)
    }

    async fn generator(&self, _: Option<&str>, _: &str, _: &str, _: &str) -> Result<Option<Value>, Problem> {
        Ok(Some(json!({})))
    }

    async fn changed_at(&self, _: &ExternalSecret) -> Result<Option<Timestamp>, Problem> {
        Ok(None)
    }
}

#[async_trait]
impl sync_ports::Journal for Double {
    async fn status(&self, _: &ExternalSecret, _: &ExternalSecretStatus) -> Result<Option<String>, Problem> {
        Ok(None)
    }

    async fn finalizers(&self, _: &ExternalSecret, _: &[String]) -> Result<(), Problem> {
        Ok(())
    }

    fn note(&self, _: &ExternalSecret, _: Note) {}
}

/// A PushSecret, and all around it.
struct Rig {
    double: Double,
    world: World,
    stores: KnownStores,
    ps: PushSecret,
    memory: Memory,
    now: i64,
    said: Vec<String>,
    budget: Arc<Budget>,
    next: Option<Timestamp>,
}

fn store(name: &str, provider: Value) -> Store {
    let metadata = json!({"name": name, "namespace": "ns", "uid": name, "generation": 1});
    Store::namespaced(serde_json::from_value(json!({"metadata": metadata, "spec": {"provider": provider}})).unwrap())
}

fn entry(key: &str, remote: &str) -> Value {
    json!({"match": {"secretKey": key, "remoteRef": {"remoteKey": remote}}})
}

fn settings() -> Settings {
    Settings {
        class: "ours".into(),
        flood_gate: true,
        cluster_stores: true,
        adopt: Adopt::Any,
        generic_targets: false,
        mounts: false,
        generator_grace: Some(GRACE),
        engine: Engine::new("{{", "}}"),
        started: at(0),
        now: || at(0),
    }
}

impl Rig {
    fn new(spec: Value) -> Self {
        let double = Double::default();
        let arc = || Arc::new(double.clone());
        let sync = sync_ports::Ports {
            stores: arc(),
            objects: arc(),
            journal: arc(),
            compute: arc(),
            states: arc(),
            audit: Arc::new(()),
        };
        let ports = Ports { sync, stores: arc(), sources: arc(), journal: arc() };
        let settings = settings();
        let world = World { ports, settings: Arc::new(settings), key: MacKey::new([7; 32]) };
        let metadata = json!({"name": "p", "namespace": "ns", "uid": "u", "generation": 1});
        let mut whole = json!({"secretStoreRefs": [{"name": "s"}], "selector": {"secret": {"name": "src"}}});
        whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        let ps = serde_json::from_value(json!({"metadata": metadata, "spec": whole})).unwrap();
        let mut rig = Self {
            double,
            world,
            stores: KnownStores::new(),
            ps,
            memory: Memory::default(),
            now: 100_000,
            said: Vec::new(),
            budget: Arc::default(),
            next: None,
        };
        rig.put_store("s", json!({"fake": {"a": 1}}));
        rig.put_store("t", json!({"fake": {"b": 1}}));
        rig
    }

    fn put_store(&mut self, name: &str, provider: Value) {
        let store = store(name, provider);
        self.stores.insert(store.id.clone(), (Arc::new(store), Readiness::Ready));
    }

    fn respec(&mut self, spec: Value) {
        let mut whole = serde_json::to_value(&self.ps.spec).unwrap();
        whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        self.ps.spec = serde_json::from_value(whole).unwrap();
        self.ps.metadata.generation = self.ps.metadata.generation.map(|generation| generation + 1);
    }

    /// One look; gives what it did.
    async fn look(&mut self) -> Vec<String> {
        let read = self.memory.read.clone().unwrap_or_default();
        let seen = read.into_keys().map(|object| {
            let version = self.double.version(&object.name);
            (object, Some(version))
        });
        let look = Look {
            ps: Arc::new(self.ps.clone()),
            stores: self.stores.clone(),
            has_many_stores: false,
            began: at(self.now),
            namespace_labels: Some(StringMap::new()),
            seen: seen.collect(),
            has_new_source: false,
            states: self.double.with(|state| state.states.clone()),
            memory: std::mem::take(&mut self.memory),
            budget: self.budget.clone(),
        };
        let looked = run(&self.world, look, Box::new(())).await;
        self.memory = looked.memory;
        self.next = looked.next;
        if let Some((status, _)) = looked.status {
            self.ps.status = Some(status);
        }
        if let Some(note) = self.double.with(|state| state.noted.take()) {
            let annotations = self.ps.metadata.annotations.get_or_insert_default();
            annotations.insert(names::ANNOTATION_GENERATED.to_owned(), note);
        }
        self.said = vec![match &looked.outcome {
            Outcome::Failed(failure) => failure.to_string(),
            outcome => format!("{outcome:?}"),
        }];
        self.double.log()
    }

    fn recorded(&self, store: &str) -> Vec<String> {
        let status = self.ps.status.clone().unwrap_or_default();
        status.synced_push_secrets.get(store).map(|all| all.keys().cloned().collect()).unwrap_or_default()
    }

    async fn next_check(&mut self) -> Vec<String> {
        self.now += 3600;
        self.look().await
    }
}

#[tokio::test]
async fn what_is_about_to_be_pushed_is_recorded_first_and_then_there_is_one_read_a_check() {
    let mut rig = Rig::new(json!({"data": [entry("a", "k"), entry("b", "l")]}));
    rig.double.secret("src", &[("a", "1"), ("b", "2")]);
    assert_eq!(rig.look().await, ["read src", "status k,l", "push s/k", "push s/l", "status k,l", "event Synced"]);
    assert_eq!(rig.look().await, [""; 0], "nothing is due");
    // What the store answers is not known yet, and what it is compared with has to be read.
    assert_eq!(rig.next_check().await, ["read src", "fetch s/k,l", "status k,l"]);
    for _ in 0..3 {
        let done = rig.next_check().await;
        assert_eq!(done[0], "fetch s/k,l");
        assert!(done[1..].iter().all(|what| what.starts_with("status")), "{done:?}");
    }
}

#[tokio::test]
async fn a_change_is_one_push_and_drift_is_mended() {
    let mut rig = Rig::new(json!({"data": [entry("a", "k"), entry("b", "l")]}));
    rig.double.secret("src", &[("a", "1"), ("b", "2")]);
    rig.look().await;
    rig.double.secret("src", &[("a", "changed"), ("b", "2")]);
    rig.now += 1;
    assert_eq!(rig.look().await, ["read src", "push s/k", "status k,l", "event Synced"]);
    rig.next_check().await;
    rig.next_check().await;
    rig.double.with(|state| _ = state.held.insert(("s".into(), "l".into()), "edited".into()));
    let done = rig.next_check().await;
    assert_eq!(done[..3], ["fetch s/k,l", "read src", "push s/l"], "{done:?}");
    assert_eq!(rig.double.held("s", "l").as_deref(), Some("2"));
}

#[tokio::test]
async fn what_a_store_shows_to_nobody_is_written_again_where_it_went() {
    let labels = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    for (selector, reads) in [(json!({"secret": {"name": "src"}}), 0), (labels, 1)] {
        let mut rig = Rig::new(json!({"selector": selector, "data": [entry("a", "k"), entry("b", "l")]}));
        rig.double.with(|state| state.is_write_only = true);
        rig.double.secret("src", &[("a", "1"), ("b", "2")]);
        rig.look().await;
        for _ in 0..4 {
            let mut done = rig.next_check().await;
            assert_eq!(done.drain(..reads).filter(|what| what == "read src").count(), reads);
            assert_eq!(done[..2], ["exists s/k", "exists s/l"], "{done:?}");
            assert!(done[2..].iter().all(|what| what.starts_with("status")), "{done:?}");
            rig.double.with(|state| _ = state.held.remove(&("s".into(), "l".into())));
            let done = rig.next_check().await;
            let pushed: Vec<&str> = done.iter().map(String::as_str).filter(|what| what.starts_with("push")).collect();
            assert_eq!((pushed, rig.double.held("s", "l").as_deref()), (vec!["push s/l"], Some("2")), "{done:?}");
        }
        // That it could not be asked is told.
        rig.double.fail("s", "k", Some(ErrorKind::Unavailable));
        let done = rig.next_check().await;
        assert!(rig.said[0].contains("it is set to fail"), "{:?} {done:?}", rig.said);
        rig.double.fail("s", "k", None);
    }
}

#[tokio::test]
async fn the_next_process_asks_before_it_writes() {
    let mut rig = Rig::new(json!({"data": [entry("a", "k")]}));
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    rig.memory = Memory::default();
    rig.now += 1;
    let done = rig.look().await;
    assert_eq!(done[..2], ["read src", "fetch s/k"], "{done:?}");
    rig.memory = Memory::default();
    rig.double.secret("src", &[("a", "2")]);
    rig.now += 1;
    assert_eq!(rig.look().await[..3], ["read src", "fetch s/k", "push s/k"]);
}

#[tokio::test]
async fn what_may_have_been_written_stays_recorded_and_what_was_not_does_not() {
    for (kind, recorded) in [(ErrorKind::Timeout, vec!["k"]), (ErrorKind::Denied, vec![])] {
        let mut rig = Rig::new(json!({"data": [entry("a", "k")]}));
        rig.double.secret("src", &[("a", "1")]);
        rig.double.fail("s", "k", Some(kind));
        rig.look().await;
        assert_eq!(rig.recorded("SecretStore/s"), recorded, "{kind:?}");
        let said = rig.said[0].clone();
        assert!(
            said.starts_with("set secret failed: could not write remote ref a to target secretstore s: "),
            "{said}"
        );
    }
}

#[tokio::test]
async fn what_is_not_wanted_is_deleted_and_tried_again_until_it_is() {
    let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k"), entry("b", "l")]}));
    rig.double.secret("src", &[("a", "1"), ("b", "2")]);
    assert_eq!(rig.look().await[0], "finalizers 1");
    rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
    rig.double.fail("s", "l", Some(ErrorKind::Unavailable));
    rig.respec(json!({"data": [entry("a", "k")]}));
    rig.look().await;
    assert!(rig.said[0].starts_with("Failed to Delete Secrets from Provider: \"l\""), "{:?}", rig.said);
    assert_eq!(rig.recorded("SecretStore/s"), ["k", "l"]);
    rig.double.fail("s", "l", None);
    rig.look().await;
    assert_eq!((rig.recorded("SecretStore/s"), rig.double.held("s", "l")), (vec!["k".to_owned()], None));
    rig.ps.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
    let done = rig.look().await;
    assert_eq!(done, ["delete s/k", "finalizers 0"], "gone before the finalizer is");
}

#[tokio::test]
async fn a_source_that_goes_takes_its_own_along_and_no_other() {
    let selector = json!({"secret": {"selector": {"matchLabels": {"push": "yes"}}}});
    let mut rig = Rig::new(json!({
        "selector": selector, "deletionPolicy": "Delete", "dataTo": [{"storeRef": {"name": "s"}}],
    }));
    rig.double.secret("one", &[("a", "1")]);
    rig.double.secret("two", &[("b", "2")]);
    rig.look().await;
    assert_eq!(rig.recorded("SecretStore/s"), ["a", "b"]);
    rig.double.with(|state| state.secrets.remove("one"));
    rig.now += 1;
    rig.look().await;
    assert_eq!(rig.double.held("s", "a").as_deref(), Some("1"), "it may be there again in a moment");
    assert_eq!((rig.said[0].as_str(), rig.next), ("Done(Done { pushed: 0, deleted: 0 })", Some(at(rig.now + 60))));
    rig.now += 60;
    rig.look().await;
    assert_eq!((rig.double.held("s", "a"), rig.double.held("s", "b")), (None, Some("2".into())));
    assert_eq!((rig.recorded("SecretStore/s"), rig.memory.parting.len()), (vec!["b".to_owned()], 0));
    // Two that go to one place are an error, and neither wins.
    rig.double.secret("three", &[("b", "3")]);
    rig.respec(json!({}));
    rig.look().await;
    assert!(rig.said[0].contains("both go to \"b\""), "{:?}", rig.said);
    assert_eq!(rig.double.held("s", "b").as_deref(), Some("2"));
    rig.double.with(|state| state.secrets.clear());
    rig.look().await;
    assert!(rig.said[0].contains("for a minute"), "{:?}", rig.said);
    assert_eq!(rig.double.held("s", "b").as_deref(), Some("2"), "it may be there again in a moment");
    rig.now += 60;
    rig.look().await;
    assert_eq!((rig.said[0].as_str(), rig.double.held("s", "b")), ("SourceGone", None));
}

/// One that has pushed into two stores, and is being deleted while the first is not there any more.
async fn going(refs: Value) -> Rig {
    let mut rig = Rig::new(json!({"secretStoreRefs": refs, "deletionPolicy": "Delete", "data": [entry("a", "k")]}));
    let cluster =
        json!({"metadata": {"name": "s", "uid": "c", "generation": 1}, "spec": {"provider": {"fake": {"c": 1}}}});
    let cluster = Store::cluster(serde_json::from_value(cluster).unwrap());
    rig.stores.insert(cluster.id.clone(), (Arc::new(cluster), Readiness::Ready));
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    rig.ps.metadata.finalizers = Some(vec![names::FINALIZER_PUSH_SECRET.to_owned()]);
    rig.ps.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
    rig.double.with(|state| state.notes.clear());
    rig
}

#[tokio::test]
async fn who_goes_does_not_wait_for_a_store_that_is_gone_and_tells_what_stays() {
    let mut rig = going(json!([{"name": "s"}, {"name": "t"}])).await;
    rig.stores.retain(|id, _| id.name != "s");
    rig.double.fail("t", "k", Some(ErrorKind::Unavailable));
    let done = rig.look().await;
    assert!(!done.iter().any(|what| what.starts_with("finalizers")), "{done:?}");
    assert_eq!(rig.recorded("SecretStore/s"), ["k"], "nothing is forgotten before it is told");
    rig.double.fail("t", "k", None);
    rig.double.with(|state| state.notes.clear());
    assert_eq!(rig.look().await, ["delete t/k", "event Errored", "finalizers 0"]);
    let notes = rig.double.with(|state| state.notes.clone());
    assert_eq!(notes, ["SecretStore/s does not exist: what was pushed there stays, delete it yourself: \"k\""]);
}

#[tokio::test]
async fn a_cluster_store_that_nobody_looks_after_may_be_there() {
    let mut rig = going(json!([{"name": "s", "kind": "ClusterSecretStore"}])).await;
    rig.stores.clear();
    let cluster_stores = |is_seen| Settings { cluster_stores: is_seen, ..settings() };
    rig.world.settings = Arc::new(cluster_stores(false));
    let done = rig.look().await;
    assert!(!done.iter().any(|what| what.starts_with("finalizers")), "{done:?}");
    rig.world.settings = Arc::new(cluster_stores(true));
    assert!(rig.look().await.contains(&"finalizers 0".to_owned()));
}

#[tokio::test]
async fn one_store_that_is_down_keeps_no_other_from_it() {
    let mut rig = Rig::new(json!({
        "secretStoreRefs": [{"name": "s"}, {"name": "t"}, {"name": "gone"}], "data": [entry("a", "k")],
    }));
    let down = rig.stores.keys().find(|id| id.name == "s").cloned().unwrap();
    rig.stores.get_mut(&down).unwrap().1 = Readiness::NotReady("nobody answers".into());
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    assert_eq!((rig.double.held("s", "k"), rig.double.held("t", "k").as_deref()), (None, Some("1")));
    assert_eq!(rig.recorded("SecretStore/s"), [""; 0]);
    assert!(
        rig.said[0].contains("could not get SecretStore \"gone\", SecretStore.external-secrets.io \"gone\" not found")
    );
    assert!(
        rig.said[0].contains("client for store s: SecretStore \"s\" is not ready: nobody answers"),
        "{:?}",
        rig.said
    );
}

#[tokio::test]
async fn many_keys_go_as_they_match_and_are_rewritten() {
    let data_to = json!([
        {"storeRef": {"name": "s"}, "match": {"regexp": "^db_"}, "rewrite": [
            {"regexp": {"source": "^db_(.*)$", "target": "app/$1"}}, {"transform": {"template": "{{ .value | upper }}"}},
        ]},
        {"storeRef": {"name": "s"}, "remoteKey": "all", "conversionStrategy": "ReverseUnicode"},
        {"storeRef": {"name": "t"}, "match": {"regexp": "x"}},
    ]);
    let mut rig = Rig::new(json!({
        "secretStoreRefs": [{"name": "s"}, {"name": "t"}], "dataTo": data_to, "data": [entry("db_b", "explicit")],
    }));
    rig.double.secret("src", &[("db_a", "1"), ("db_b", "2"), ("c_U002f_", "3")]);
    rig.look().await;
    assert_eq!(rig.recorded("SecretStore/s"), ["APP/A", "all", "explicit"]);
    assert_eq!(rig.double.held("s", "all").as_deref(), Some(r#"{"c/":"3","db_a":"1","db_b":"2"}"#));
    assert_eq!(rig.recorded("SecretStore/t"), ["explicit"]);
}

#[tokio::test]
async fn a_template_is_over_what_the_source_holds_which_stays() {
    let template = json!({"data": {"url": "https://{{ .user }}@host"}});
    let mut rig = Rig::new(json!({"template": template, "data": [entry("url", "k"), entry("user", "l")]}));
    rig.double.secret("src", &[("user", "u")]);
    rig.look().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("https://u@host"));
    assert_eq!(rig.double.held("s", "l").as_deref(), Some("u"));
}

#[tokio::test]
async fn what_is_rendered_later_sees_what_was_rendered_before() {
    let literal = r#"first: "{{ .user }}-1""#;
    let template = json!({
        "templateFrom": [{"literal": literal}],
        "data": {"second": "{{ .first }}-2"},
    });
    let mut rig = Rig::new(json!({"template": template, "data": [entry("second", "k")]}));
    rig.double.secret("src", &[("user", "u")]);
    rig.look().await;
    assert_eq!(rig.double.held("s", "k").as_deref(), Some("u-1-2"), "{:?}", rig.said);
}

#[tokio::test]
async fn a_raised_interval_is_told() {
    for (interval, is_raised) in [("10ms", true), ("1s", false), ("0", false)] {
        let mut rig = Rig::new(json!({"refreshInterval": interval, "data": [entry("a", "k")]}));
        rig.double.secret("src", &[("a", "1")]);
        rig.look().await;
        let status = rig.ps.status.clone().unwrap();
        let message = status.conditions[0].message.clone().unwrap();
        assert!(message.starts_with("PushSecret synced successfully"), "{message}");
        let told = message.ends_with(&format!("; spec.refreshInterval: {}", keyferry_limits::REFRESH_RATE));
        assert_eq!(told, is_raised, "{message}");
    }
}

#[tokio::test]
async fn messages_begin_with_the_words_of_external_secrets_operator() {
    let transform = json!({"data": [], "dataTo": [{"storeRef": {"name": "s"}, "match": {"regexp": "("}}]});
    for (spec, words) in [
        (json!({"data": [entry("b", "k")]}), "set secret failed: secret key b does not exist"),
        (
            transform,
            "set secret failed: failed to expand dataTo: dataTo[0]: match failed: failed to compile regexp pattern",
        ),
        (
            json!({"data": [entry("a", "k")], "secretStoreRefs": [{"name": "gone"}]}),
            "could not get SecretStore \"gone\", SecretStore.external-secrets.io \"gone\" not found",
        ),
        (
            json!({"data": [], "dataTo": [{"storeRef": {"name": "x"}}]}),
            "dataTo[0]: storeRef \"x\" not found in secretStoreRefs",
        ),
        (
            json!({"data": [{
                "match": {"secretKey": "a", "remoteRef": {"remoteKey": "k"}}, "conversionStrategy": "ReverseUnicode",
            }]}),
            "set secret failed: could not apply conversion strategy to keys: ",
        ),
    ] {
        let mut rig = Rig::new(spec);
        rig.double.secret("src", &[("a", "1"), ("_U0061_", "2")]);
        rig.look().await;
        assert!(rig.said.first().is_some_and(|said| said.starts_with(words)), "{words}: {:?}", rig.said);
    }
}

#[tokio::test]
async fn what_has_no_value_is_told_and_not_deleted() {
    let mut rig = Rig::new(json!({"deletionPolicy": "Delete", "data": [entry("a", "k"), entry("b", "l")]}));
    rig.double.secret("src", &[("a", "1"), ("b", "2")]);
    rig.look().await;
    rig.double.secret("src", &[("a", "1")]);
    rig.now += 1;
    rig.look().await;
    assert!(rig.said[0].contains("set secret failed: secret key b does not exist (spec.data[1])"), "{:?}", rig.said);
    assert_eq!(rig.double.held("s", "l").as_deref(), Some("2"));
}

#[tokio::test]
async fn what_is_recorded_has_an_end() {
    let metadata = json!({"apiVersion": "x".repeat(keyferry_limits::PUSH_RECORD.size())});
    let mut rig = Rig::new(json!({
        "data": [{"match": {"secretKey": "a", "remoteRef": {"remoteKey": "k"}}, "metadata": metadata}],
    }));
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    assert!(rig.said[0].contains("(limit push-record)"), "{:?}", rig.said);
    assert_eq!(rig.double.held("s", "k"), None, "nothing of it is written");
}

#[tokio::test]
async fn labels_select_so_many_stores() {
    let stores = json!([{"labelSelector": {"matchExpressions": [{"key": "no", "operator": "DoesNotExist"}]}}]);
    let mut rig = Rig::new(json!({"secretStoreRefs": stores, "data": [entry("a", "k")]}));
    for n in 0..keyferry_limits::PUSH_STORES.size() {
        rig.put_store(&format!("many-{n}"), json!({"fake": {}}));
    }
    rig.double.secret("src", &[("a", "1")]);
    rig.look().await;
    assert!(rig.said[0].contains("(limit push-stores)"), "{:?}", rig.said);
}
