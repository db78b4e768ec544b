//! The ports in memory: a store, objects, a target and a journal that remember every call. A test compares all of them, so
//! that one too many fails as one too few does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::AbortRegistration;
use jiff::Timestamp;
use keyferry_builders::{at, key, store};
use keyferry_crds::{Condition, CreationPolicy, ExternalSecret, ExternalSecretStatus, GeneratorState};
use keyferry_provider_core::{
    Answer, Dialect, Error, ErrorKind, Keep, Key, Made, Query, SecretBytes, State as Kept, Term,
};
use keyferry_sync::asking::Asking;
use keyferry_sync::audit::{Audit, Delivery, Source};
use keyferry_sync::compute::Here;
use keyferry_sync::content::Content;
use keyferry_sync::data::Data;
use keyferry_sync::dependency::{Dependency, Version};
use keyferry_sync::engine::Engine;
use keyferry_sync::look::{Cancel, Look, Looked, Memory, Seen};
use keyferry_sync::outcome::{Failure, TargetChange};
use keyferry_sync::ports::{
    Applied, Change, Compute, Entered, Generator, Journal, Objects, Observed, Output, Outputs, Planning, Ports,
    Presumed, Problem, States, Stores, Turn,
};
use keyferry_sync::record::Note;
use keyferry_sync::request::{sources_of, stores_of};
use keyferry_sync::settings::{Adopt, Settings};
use keyferry_sync::states::{KnownState, Marks, NewState};
use keyferry_sync::store::{KnownStores, Readiness, Store, StoreId};
use serde_json::{Value, json};

/// What the world is made of, and what was asked of it.
#[derive(Default)]
pub struct State {
    /// The deliveries that were written down.
    pub audited: Vec<String>,
    /// What the store answers, by key. A key that is not there is not found.
    pub secrets: BTreeMap<String, Result<String, Error>>,
    /// What template sources hold, and their revision.
    pub sources: HashMap<Dependency, (String, Data)>,
    /// The values of the one generator.
    pub generated: BTreeMap<String, String>,
    /// What comes of making, once it is written down.
    pub making_fails: Option<Error>,
    /// Whether there is nothing to revoke after all.
    pub stateless: bool,
    /// How long what is made works.
    pub term: Option<Term>,
    /// The states of generators that the watch tells of.
    pub states: Vec<KnownState>,
    /// How many states were written down.
    pub begun: usize,
    /// How it is read.
    pub dialect: Dialect,
    /// What comes of every search but its answer.
    pub search_fails: Option<Error>,
    /// Whether the store never answers.
    pub hangs: bool,
    /// The target: its revision, and whether it is as it was left.
    pub target: Option<(u64, bool)>,
    /// What the target holds.
    pub held: BTreeMap<String, String>,
    /// The keys of it that were written by us.
    pub ours: BTreeSet<String>,
    /// When the target was written, as its managed fields say.
    pub written_at: Option<Timestamp>,
    /// By when what it holds is to be replaced, as is noted there.
    pub refresh_by: Option<Timestamp>,
    /// What goes wrong with these calls, by their first word.
    pub failing: HashMap<&'static str, Failure>,
    /// Why statuses can't be written.
    pub status_problem: Option<Problem>,
    /// What cancels the next look.
    pub cancelled: Option<AbortRegistration>,
    /// Cancelled when the target is written.
    pub cancel_at_write: Option<Cancel>,
    /// Whether the store never answers.
    pub silent: bool,
    /// Whether there is no room for what looks hold.
    pub is_crowded: bool,
    /// Why finalizers can't be changed.
    pub finalizers_problem: Option<Problem>,
    /// Why the store would not let anybody in with another login.
    pub login_problem: Option<Error>,
    /// How the store is.
    pub readiness: Option<Readiness>,
    /// Where what takes long is computed, if not here.
    pub compute: Option<Arc<dyn Compute>>,
    calls: Vec<String>,
}

/// The world of one test. Clones are the same one.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<State>>);

impl World {
    /// Where the store has the value `alpha` under `a`.
    pub fn new() -> Self {
        let world = Self::default();
        world.state().secrets.insert("a".into(), Ok("alpha-value".into()));
        world
    }

    /// What it is made of, to change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What was asked of it since this was last asked.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    fn called(&self, call: impl Into<String>) {
        self.state().calls.push(call.into());
    }

    fn failing(&self, call: &'static str) -> Result<(), Failure> {
        self.state().failing.get(call).cloned().map_or(Ok(()), Err)
    }

    fn version(&self) -> Option<Version> {
        let state = self.state();
        let (revision, _) = state.target?;
        Some(Version { uid: "target".into(), revision: revision.to_string().into() })
    }

    /// A look at `es` that begins at `second`, as the controller would make it.
    pub async fn look(&self, es: &Arc<ExternalSecret>, memory: &Memory, second: i64) -> Looked {
        let seen = self.version().map_or(Seen::Absent, Seen::At);
        self.look_seeing(es, memory, second, seen).await
    }

    /// The same, where the watches see this of the target.
    pub async fn look_seeing(&self, es: &Arc<ExternalSecret>, memory: &Memory, second: i64, seen: Seen) -> Looked {
        let readiness = self.state().readiness.clone().unwrap_or(Readiness::Ready);
        let mut stores = known(es);
        stores.values_mut().for_each(|(_, is)| is.clone_from(&readiness));
        let revision = |source: &Dependency| {
            let state = self.state();
            let (revision, _) = state.sources.get(source)?;
            Some(Version { uid: source.name.as_str().into(), revision: revision.as_str().into() })
        };
        let sources = sources_of(es).into_iter().map(|source| (source.clone(), Some(revision(&source)))).collect();
        // One after the other: what a literal borrows is held until it is whole.
        let states = self.state().states.clone();
        let cancelled = self.state().cancelled.take();
        let look = Look {
            es: es.clone(),
            stores,
            began: at(second),
            is_asked_for: false,
            namespace_labels: Some(Default::default()),
            seen,
            sources,
            memory: memory.clone(),
            states,
            budget: Arc::default(),
            cancelled,
        };
        keyferry_sync::run(&self.ports(), self, &settings(), Box::new(look), Stores::planning(self)).await
    }

    /// The ports that it answers.
    pub fn ports(&self) -> Ports {
        let world = Arc::new(self.clone());
        Ports {
            stores: world.clone(),
            objects: world.clone(),
            journal: world.clone(),
            compute: self.state().compute.clone().unwrap_or_else(|| Arc::new(Here)),
            states: world.clone(),
            audit: world,
        }
    }
}

/// The one store, where `es` names it.
pub fn known(es: &ExternalSecret) -> KnownStores {
    let store = Arc::new(Store::namespaced(store(json!({"provider": {"fake": {}}}))));
    let named = stores_of(es).into_iter().filter(|id| *id == store.id);
    named.map(|id| (id, (store.clone(), Readiness::Ready))).collect()
}

/// The settings of all tests.
pub fn settings() -> Settings {
    Settings {
        class: "default".into(),
        flood_gate: true,
        cluster_stores: true,
        adopt: Adopt::Any,
        generic_targets: false,
        mounts: false,
        generator_grace: Some(Duration::from_secs(120)),
        engine: Engine::new("{{", "}}"),
        started: at(0),
        now: || at(0),
    }
}

/// The report's status in the ExternalSecret, as the controller keeps it.
pub fn told(es: &Arc<ExternalSecret>, report: &Looked) -> Arc<ExternalSecret> {
    let mut es = (**es).clone();
    if let Some((status, version)) = &report.status {
        es.status = Some(status.clone());
        es.metadata.resource_version.clone_from(version);
    }
    Arc::new(es)
}

/// Tells when it goes.
struct Guard(World, &'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.called(self.1);
    }
}

#[async_trait]
impl Stores for World {
    fn planning(&self) -> Planning {
        Box::new(Guard(self.clone(), "planned"))
    }

    fn asking(&self, _: &StoreId) -> Planning {
        Box::new(Guard(self.clone(), "planned"))
    }

    async fn enter(&self, store: &Store, namespace: &str) -> Result<Arc<dyn Entered>, Error> {
        self.called(format!("enter {} {namespace}", store.id.name));
        Ok(Arc::new(self.clone()))
    }

    fn hold(&self, _: &Asking, bytes: usize) -> bool {
        assert!(bytes > 0);
        !self.state().is_crowded
    }

    async fn alone(&self, _: &Asking) -> bool {
        self.called("alone");
        true
    }

    async fn rehearse(&self, store: &Store, _: &str, change: Change<'_>, key: Option<&Key>) -> Result<(), Error> {
        let data = change.data.iter().map(|(key, value)| format!("{key}={}", value.expose_str().unwrap()));
        let data = data.collect::<Vec<_>>().join(" ");
        let key = key.map_or("nothing", |key| key.name.as_str());
        self.called(format!("rehearse {} {} {data}: {key}", store.id.name, change.object.name));
        self.state().login_problem.clone().map_or(Ok(()), Err)
    }

    fn generators(&self) -> &[&'static str] {
        &["Made", "Kept"]
    }

    fn generator_field(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn has_state(&self, kind: &str) -> bool {
        kind == "Kept"
    }

    async fn make(&self, generator: &Generator<'_>, keep: Arc<dyn Keep>) -> Result<Made, Error> {
        let Generator { namespace, kind, name, .. } = generator;
        self.called(format!("make {kind} {namespace}/{name}"));
        let mut made = Made::default();
        if !self.has_state(kind) {
            made.term = self.state().term;
        } else {
            keep.keep(&json!({"id": 0}), None).await?;
            let term = self.state().term;
            made.state = Some(json!({"id": 1})).filter(|_| !self.state().stateless);
            if let Some(state) = &made.state {
                keep.keep(state, term).await?;
            }
        }
        if let Some(error) = self.state().making_fails.clone() {
            return Err(error);
        }
        let state = self.state();
        made.values = state.generated.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        Ok(made)
    }

    async fn revoke(&self, _: &Generator<'_>, _: &Kept) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &Generator<'_>, _: &Kept) -> Result<Option<(Kept, Term)>, Error> {
        Ok(None)
    }
}

#[async_trait]
impl Entered for World {
    fn dialect(&self) -> Dialect {
        self.state().dialect
    }

    fn logs_in_with(&self, object: &Dependency) -> bool {
        object.name == "login"
    }

    async fn fetch(&self, asking: &Arc<Asking>, keys: Vec<Key>, planning: Planning) -> HashMap<Key, Answer> {
        drop(planning);
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        self.called(format!("fetch {}", names.join(" ")));
        if self.state().silent || self.state().hangs {
            std::future::pending::<()>().await;
        }
        let state = self.state();
        let missing = || Err(Error::new(ErrorKind::NotFound, "the secret does not exist"));
        let answer = |key: &Key| match (state.secrets.get(&key.name), key.version.as_deref()) {
            (None, _) => missing(),
            (Some(_), Some(version)) if version != "1" => Err(Error::invalid("the secret has no such version")),
            (Some(answer), _) => answer.clone().map(|value| SecretBytes::from(value.as_str()).into()),
        };
        keys.iter().map(|key| (key.clone(), asking.paid(answer(key)))).collect()
    }

    async fn find(&self, _: &str, query: &Query) -> Result<Vec<Key>, Error> {
        self.called("find");
        let state = self.state();
        if let Some(error) = &state.search_fails {
            return Err(error.clone());
        }
        let names = state.secrets.keys().filter(|name| query.matches(name));
        Ok(names.map(key).collect())
    }
}

#[async_trait]
impl Objects for World {
    async fn turn(&self, _: &str) -> Turn {
        self.called("turn");
        Box::new(Guard(self.clone(), "turn over"))
    }

    async fn source(&self, source: &Dependency) -> Result<Option<(Option<Version>, Data)>, Problem> {
        self.called(format!("source {} {}", source.kind, source.name));
        let version =
            |revision: &String| Some(Version { uid: source.name.as_str().into(), revision: revision.as_str().into() });
        Ok(self.state().sources.get(source).map(|(revision, data)| (version(revision), data.clone())))
    }

    async fn labels(&self, object: &Dependency) -> Result<Option<BTreeMap<String, String>>, Problem> {
        Ok(self.state().sources.contains_key(object).then(BTreeMap::new))
    }

    async fn generator(&self, _: Option<&str>, _: &str, kind: &str, name: &str) -> Result<Option<Value>, Problem> {
        self.called(format!("generator {kind} {name}"));
        Ok(Some(json!({})))
    }

    async fn changed_at(&self, es: &ExternalSecret) -> Result<Option<Timestamp>, Problem> {
        self.called("changed_at");
        Ok(es.metadata.creation_timestamp.as_ref().map(|time| time.0))
    }
}

impl Outputs for World {
    fn of<'a>(&'a self, es: &'a ExternalSecret) -> Box<dyn Output + 'a> {
        Box::new(Target { world: self.clone(), policy: es.spec.target.creation_policy.clone() })
    }
}

/// The target of one ExternalSecret.
struct Target {
    world: World,
    policy: CreationPolicy,
}

#[async_trait]
impl Output for Target {
    async fn observe(&mut self) -> Result<Option<Observed>, Failure> {
        self.world.called("observe");
        self.world.failing("observe")?;
        let version = self.world.version();
        let state = self.world.state();
        Ok(state.target.map(|(_, intact)| Observed {
            version,
            intact,
            written_at: state.written_at,
            refresh_by: state.refresh_by,
        }))
    }

    async fn apply(&mut self, content: &Content, presumed: Presumed<'_>) -> Result<Applied, Failure> {
        let data = content.data.iter().map(|(key, value)| format!("{key}={}", value.expose_str().unwrap()));
        let how = match presumed {
            Presumed::Nothing => "",
            Presumed::Absent => " (presumed absent)",
            Presumed::Alike(_) => " (data alone)",
        };
        self.world.called(format!("apply {}{how}", data.collect::<Vec<_>>().join(" ")));
        self.world.failing("apply")?;
        if let Some(cancel) = self.world.state().cancel_at_write.take() {
            cancel.cancel();
        }
        let mut state = self.world.state();
        if self.policy == CreationPolicy::Merge && state.target.is_none() {
            return Ok(Applied {
                change: TargetChange::Nothing,
                version: None,
                adopted: None,
                is_alike: false,
                rotated: None,
            });
        }
        let merges = matches!(self.policy, CreationPolicy::Merge | CreationPolicy::CreateOrMerge);
        let before = std::mem::take(&mut state.ours);
        state.held.retain(|key, _| merges && !before.contains(key));
        for (key, value) in &content.data {
            state.held.insert(key.clone(), value.expose_str().unwrap().to_owned());
            state.ours.insert(key.clone());
        }
        let change = if state.target.is_some() { TargetChange::Updated } else { TargetChange::Created };
        state.target = Some((state.target.map_or(1, |(revision, _)| revision + 1), true));
        drop(state);
        Ok(Applied { change, version: self.world.version(), adopted: None, is_alike: true, rotated: None })
    }

    async fn foresee(&mut self, content: &Content) -> Result<Option<Data>, Failure> {
        self.world.called("foresee");
        Ok(Some(content.data.clone()))
    }

    async fn remove(&mut self) -> Result<bool, Failure> {
        self.world.called("remove");
        self.world.failing("remove")?;
        let mut state = self.world.state();
        state.held.clear();
        Ok(state.target.take().is_some())
    }

    async fn remove_renamed(&mut self) -> Result<Vec<String>, Failure> {
        self.world.called("remove renamed");
        self.world.failing("remove renamed")?;
        Ok(vec!["old".into()])
    }

    async fn mark(&mut self) -> Result<(), Failure> {
        self.world.called("mark");
        Ok(())
    }
}

#[async_trait]
impl Journal for World {
    async fn status(&self, _: &ExternalSecret, status: &ExternalSecretStatus) -> Result<Option<String>, Problem> {
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        self.called(format!("status {} {}", ready.status, ready.reason.as_deref().unwrap_or_default()));
        self.state().status_problem.clone().map_or(Ok(Some("7".into())), Err)
    }

    async fn finalizers(&self, _: &ExternalSecret, finalizers: &[String]) -> Result<(), Problem> {
        self.called(format!("finalizers {finalizers:?}"));
        self.state().finalizers_problem.clone().map_or(Ok(()), Err)
    }

    fn note(&self, _: &ExternalSecret, note: Note) {
        self.called(format!("note {}", note.reason));
    }
}

impl Audit for World {
    fn take(&self, delivery: Delivery) {
        let named = |source: &Source| {
            let keys = source.keys.iter().map(|secret| format!(" {}", secret.key));
            source.object.name.clone() + &keys.collect::<String>()
        };
        let of: Vec<String> = delivery.sources.iter().map(named).collect();
        let entry = format!("{:?} {:?} {}", delivery.action, delivery.outcome, of.join(", "));
        self.state().audited.push(entry.trim_end().to_owned());
    }
}

#[async_trait]
impl States for World {
    async fn begin(&self, new: &NewState, state: &Kept, _: &Marks) -> Result<String, Problem> {
        let name = {
            let mut state = self.state();
            state.begun += 1;
            format!("{}{}", new.prefix, state.begun)
        };
        self.called(format!("begin {name} {state}"));
        Ok(name)
    }

    async fn amend(&self, _: &str, name: &str, state: &Kept, marks: &Marks) -> Result<(), Problem> {
        let by = marks.refresh_by.map(|by| format!(" by {}", by.as_second())).unwrap_or_default();
        self.called(format!("amend {name} {state}{by}"));
        Ok(())
    }

    async fn flag(&self, _: &str, name: &str, deadline: Timestamp) -> Result<(), Problem> {
        self.called(format!("flag {name} {}", deadline.as_second()));
        Ok(())
    }

    async fn forget(&self, _: &str, name: &str) -> Result<(), Problem> {
        self.called(format!("forget {name}"));
        Ok(())
    }

    async fn hold(&self, _: &GeneratorState) -> Result<(), Problem> {
        unreachable!("a sync holds nothing")
    }

    async fn delete(&self, _: &GeneratorState) -> Result<(), Problem> {
        unreachable!("a sync deletes no state")
    }

    async fn release(&self, _: &GeneratorState) -> Result<(), Problem> {
        unreachable!("a sync lets no state go")
    }

    async fn tell(&self, _: &GeneratorState, _: &[Condition]) -> Result<(), Problem> {
        unreachable!("a sync tells nothing of states")
    }

    fn note(&self, _: &GeneratorState, note: Note) {
        self.called(format!("note {}", note.reason));
    }
}
