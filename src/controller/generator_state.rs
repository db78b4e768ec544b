//! GeneratorStates: what generators made, and until when somebody needs it. A look at one prolongs what nears its end, and
//! revokes what nobody needs any more; ExternalSecrets are told by when theirs is to be replaced.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use keyferry_cluster::problem::NAMESPACE_ENDS;
use keyferry_crds::{GeneratorState, generator_field, names};
use keyferry_provider_core::{Error, ErrorKind};
use keyferry_sync::audit::{Action, Audit, Delivery, Object, Source};
use keyferry_sync::dependency::Name;
use keyferry_sync::ports::{Generator, Problem, States, Stores};
use keyferry_sync::record::{self, Note, READY_STATE, Severity};
use keyferry_sync::states::{Marks, annotated, deadline};
use keyferry_sync::time::later;
use keyferry_sync::told;
use keyferry_sync::told::Told;
use kube::core::ApiResource;
use serde_json::Value;

use super::change::Target;
use super::index::{Item, Role, SubjectKind};
use super::queue::Urgency;
use super::sight::Sighting;
use super::subject::{Next, Shared, Subject};
use crate::metrics::Metrics;

/// The first wait after a failure, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// How long one that is being deleted is held where what it takes to revoke it is gone: a namespace that ends takes its
/// Secrets along, and would never end for it.
const HELD_IN_VAIN: SignedDuration = SignedDuration::from_mins(10);

/// The reason of one that can't be revoked, or prolonged, and that of its event.
const ERROR: &str = "Error";

/// What looks at them work with.
pub struct Revocations {
    /// The generators.
    pub stores: Arc<dyn Stores>,
    /// Where they are written.
    pub states: Arc<dyn States>,
    /// Where it is written down what was revoked.
    pub audit: Arc<dyn Audit>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// What is known of one.
struct Known {
    state: Arc<GeneratorState>,
    /// The failed looks at it in a row.
    failures: u32,
}

/// All GeneratorStates.
pub struct GeneratorStates {
    all: HashMap<Name, Known>,
    /// How many of them failed when they were last looked at.
    failing: usize,
    work: Arc<Revocations>,
}

/// What a look came to.
pub struct Looked {
    uid: Option<String>,
    has_failed: bool,
    next: Option<Timestamp>,
}

/// What is to do about one.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing until then.
    Wait(Option<Timestamp>),
    /// See to it that it does not go before it is revoked.
    Hold,
    /// Delete it: its time has come.
    Delete,
    /// Revoke what it stands for, and let it go.
    Revoke,
    /// Prolong what it stands for.
    Renew,
}

fn step(state: &GeneratorState, now: Timestamp) -> Step {
    let finalizers = state.metadata.finalizers.iter().flatten();
    let is_held = finalizers.into_iter().any(|name| name == names::FINALIZER_GENERATOR_STATE);
    let renew_at = annotated(state, names::ANNOTATION_RENEW_AT);
    match (state.metadata.deletion_timestamp.is_some(), is_held, deadline(state)) {
        (true, true, _) => Step::Revoke,
        (true, false, _) => Step::Wait(None),
        (false, false, _) => Step::Hold,
        (false, true, Some(deadline)) if deadline <= now => Step::Delete,
        (false, true, Some(deadline)) => Step::Wait(Some(deadline)),
        (false, true, None) if renew_at.is_some_and(|at| at <= now) => Step::Renew,
        (false, true, None) => Step::Wait(renew_at),
    }
}

/// What is looked at anew when it changes. What we tell of it is not among that.
fn asks_for_the_same(a: &GeneratorState, b: &GeneratorState) -> bool {
    let of = |state: &GeneratorState| {
        let metadata = &state.metadata;
        (metadata.finalizers.clone(), metadata.annotations.clone(), metadata.deletion_timestamp.is_some())
    };
    a.metadata.uid == b.metadata.uid && of(a) == of(b) && a.spec == b.spec
}

impl Revocations {
    async fn run(&self, state: Arc<GeneratorState>, failures: u32) -> Looked {
        let now = (self.now)();
        let done = match step(&state, now) {
            Step::Wait(until) => Ok(until),
            Step::Hold => self.states.hold(&state).await.map(|()| None).map_err(of_cluster),
            Step::Delete => self.states.delete(&state).await.map(|()| None).map_err(of_cluster),
            Step::Revoke => self.revoke(&state, now).await.map(|()| None),
            Step::Renew => self.renew(&state).await.map(|()| None),
        };
        let has_failed = done.is_err();
        let next = match done {
            Ok(next) => next,
            Err(error) => {
                self.complain(&state, &error, now).await;
                let wait = FIRST.saturating_mul(2u32.saturating_pow(failures)).min(LONGEST);
                Some(later(now, error.retry_after().unwrap_or_default().max(wait)))
            }
        };
        Looked { uid: state.metadata.uid.clone(), has_failed, next }
    }

    async fn revoke(&self, state: &GeneratorState, now: Timestamp) -> Result<(), Error> {
        let revoked = match generator(state) {
            Some(generator) => self.stores.revoke(&generator, &state.spec.state).await,
            None => Err(Error::invalid("spec.resource is not the manifest of a generator")),
        };
        self.audit(state, &revoked);
        match revoked {
            Err(error) if is_held_in_vain(state, &error, now) => {
                let message = told!("let go without being revoked: {}", error);
                let (namespace, name) = (state.metadata.namespace.as_deref(), state.metadata.name.as_deref());
                tracing::error!(
                    namespace, name, state = %state.spec.state, %error,
                    "what was generated can't be revoked any more: revoke it yourself"
                );
                self.states.note(state, Note::new(Severity::Warning, ERROR, message));
            }
            Err(error) => return Err(error.context("can't be revoked")),
            Ok(()) => {
                let (namespace, name) = (state.metadata.namespace.as_deref(), state.metadata.name.as_deref());
                tracing::info!(namespace, name, "what was generated is revoked");
            }
        }
        self.states.release(state).await.map_err(of_cluster)
    }

    fn audit(&self, state: &GeneratorState, revoked: &Result<(), Error>) {
        let object = Object::new("GeneratorState", &state.metadata);
        let maker = generator(state).map(|generator| Object {
            kind: generator.kind.to_owned(),
            namespace: generator.namespace.to_owned(),
            name: generator.name.to_owned(),
            uid: None,
        });
        let sources = maker.into_iter().map(|object| Source { object, keys: Vec::new() }).collect();
        let delivery = Delivery { sources, ..Delivery::new((self.now)(), Action::Revoked, object) };
        self.audit.take(match revoked {
            Ok(()) => delivery,
            Err(error) => delivery.failed(&Told::from(error)),
        });
    }

    async fn renew(&self, state: &GeneratorState) -> Result<(), Error> {
        let generator = generator(state);
        let generator = generator.ok_or_else(|| Error::invalid("spec.resource is not the manifest of a generator"))?;
        let renewed = self.stores.renew(&generator, &state.spec.state).await;
        let renewed = renewed.map_err(|error| error.context("can't be prolonged"))?;
        let metadata = &state.metadata;
        let (namespace, name) = (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref());
        let name = name.unwrap_or_default();
        let (new, marks) = match renewed {
            Some((new, term)) => {
                let now = (self.now)();
                let Marks { refresh_by, renew_at } = Marks::of(Some(term), now);
                // What could not be prolonged beyond now is replaced at once.
                (new, Marks { refresh_by: refresh_by.or(Some(now)), renew_at })
            }
            // It works until its end, as was known before.
            None => {
                let refresh_by = annotated(state, names::ANNOTATION_REFRESH_BY);
                (state.spec.state.clone(), Marks { refresh_by, renew_at: None })
            }
        };
        self.states.amend(namespace, name, &new, &marks).await.map_err(of_cluster)?;
        if conditions(state).iter().any(|condition| condition.status != "True") {
            self.tell(state, true, READY_STATE, "it can be revoked".into(), (self.now)()).await;
        }
        Ok(())
    }

    async fn complain(&self, state: &GeneratorState, error: &Error, now: Timestamp) {
        let (namespace, name) = (state.metadata.namespace.as_deref(), state.metadata.name.as_deref());
        tracing::warn!(namespace, name, %error, "a GeneratorState");
        let message = Told::from(error);
        let said = conditions(state).iter().any(|condition| condition.message.as_deref() == Some(message.as_str()));
        if !said {
            self.states.note(state, Note::new(Severity::Warning, ERROR, message.clone()));
            self.tell(state, false, ERROR, message, now).await;
        }
    }

    async fn tell(&self, state: &GeneratorState, ready: bool, reason: &str, message: Told, now: Timestamp) {
        let mut conditions = conditions(state).to_vec();
        record::set_ready(&mut conditions, ready, reason, message, now);
        // What is not told now is told by the next attempt.
        if let Err(problem) = self.states.tell(state, &conditions).await {
            let (namespace, name) = (state.metadata.namespace.as_deref(), state.metadata.name.as_deref());
            tracing::warn!(namespace, name, %problem, "could not write the status of a GeneratorState");
        }
    }
}

fn conditions(state: &GeneratorState) -> &[keyferry_crds::Condition] {
    state.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
}

/// Whether nobody will ever be able to revoke it, and it holds up what is being deleted.
fn is_held_in_vain(state: &GeneratorState, error: &Error, now: Timestamp) -> bool {
    let deleted = state.metadata.deletion_timestamp.as_ref();
    let is_in_vain = match error.kind() {
        ErrorKind::Invalid | ErrorKind::Unsupported => true,
        // A namespace that ends lets nobody have a token of its ServiceAccounts.
        ErrorKind::Denied => error.to_string().contains(NAMESPACE_ENDS),
        _ => false,
    };
    is_in_vain && deleted.is_some_and(|since| now.duration_since(since.0) >= HELD_IN_VAIN)
}

fn of_cluster(problem: Problem) -> Error {
    let kind = if problem.is_temporary { ErrorKind::Unavailable } else { ErrorKind::Denied };
    Error::new(kind, problem.message)
}

/// The generator whose manifest a state holds: External Secrets Operator leaves ClusterGenerators as they are.
fn generator(state: &GeneratorState) -> Option<Generator<'_>> {
    let manifest = &state.spec.resource;
    let (kind, name) = (manifest["kind"].as_str()?, manifest["metadata"]["name"].as_str().unwrap_or_default());
    let namespace = state.metadata.namespace.as_deref()?;
    let spec: &Value = &manifest["spec"];
    if kind == "ClusterGenerator" {
        let kind = spec["kind"].as_str()?;
        Some(Generator { namespace, kind, name, spec: &spec["generator"][generator_field(kind)?] })
    } else {
        Some(Generator { namespace, kind, name, spec })
    }
}

impl GeneratorStates {
    /// None yet.
    pub fn new(work: Arc<Revocations>) -> Self {
        Self { all: HashMap::new(), failing: 0, work }
    }

    fn tell_counts(&self, shared: &Shared) {
        for (gauge, count) in shared.metrics.states.iter().zip([self.all.len(), self.failing]) {
            gauge.set(count as i64);
        }
    }
}

fn item(name: &Name) -> Item {
    Item::new(SubjectKind::GeneratorState, name.clone())
}

impl Subject for GeneratorStates {
    type Object = GeneratorState;
    type Looked = Looked;

    fn names(&self) -> Vec<Name> {
        self.all.keys().cloned().collect()
    }

    fn concerned_by(&self, _: &str) -> Vec<Name> {
        Vec::new()
    }

    fn put(&mut self, name: &Name, state: GeneratorState, shared: &mut Shared) {
        shared.generated.put(&name.0, &state);
        let state = Arc::new(state);
        let is_changed = match self.all.get_mut(name) {
            Some(known) => {
                let is_changed = !asks_for_the_same(&known.state, &state);
                known.state = state;
                is_changed
            }
            None => {
                self.all.insert(name.clone(), Known { state, failures: 0 });
                true
            }
        };
        if is_changed {
            shared.wake(&item(name), Urgency::Due);
        }
        self.tell_counts(shared);
    }

    fn remove(&mut self, name: &Name, shared: &mut Shared) {
        if let Some(known) = self.all.remove(name) {
            shared.generated.remove(&name.0, &known.state);
            self.failing -= usize::from(known.failures > 0);
        }
        self.tell_counts(shared);
    }

    fn examined(&mut self, _: &Name, _: &Target) {}

    fn concern(&mut self, _: &Name, _: Role, _: &Sighting, _: &mut Shared) -> Option<Urgency> {
        None
    }

    fn may_wait(&self, _: &Name, _: bool) -> bool {
        false
    }

    fn look(&mut self, name: &Name, _: Timestamp, _: &Shared) -> Option<BoxFuture<'static, Looked>> {
        let Known { state, failures } = self.all.get(name)?;
        let (work, state, failures) = (self.work.clone(), state.clone(), *failures);
        Some(async move { work.run(state, failures).await }.boxed())
    }

    fn end(&mut self, name: &Name, report: Looked, _: Duration, shared: &mut Shared) -> Next {
        shared.metrics.state_looked_at(report.has_failed);
        let same = |known: &&mut Known| known.state.metadata.uid == report.uid;
        let Some(known) = self.all.get_mut(name).filter(same) else { return Next::Gone };
        self.failing -= usize::from(known.failures > 0);
        known.failures = if report.has_failed { known.failures.saturating_add(1) } else { 0 };
        self.failing += usize::from(known.failures > 0);
        self.tell_counts(shared);
        report.next.into()
    }

    fn prune(&mut self, _: &Shared) {}

    fn let_go(&mut self, name: &Name, shared: &mut Shared) {
        if let Some(known) = self.all.get_mut(name) {
            self.failing -= usize::from(std::mem::take(&mut known.failures) > 0);
        }
        self.tell_counts(shared);
    }

    fn forget(&self, _: &Name, _: &Metrics) {}

    fn resource(&self) -> ApiResource {
        ApiResource::erase::<GeneratorState>(&())
    }

    fn reason_undecodable(&self) -> &'static str {
        ERROR
    }
}

#[cfg(test)]
#[path = "generator_state_tests.rs"]
mod tests;
