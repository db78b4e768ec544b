//! The life of a secret: plan, fetch, render, apply, record, schedule; first sync and refresh alike.
//!
//! Modules, in reading order: [`plan`] what to do (and [`spec`] what is wrong), [`fetch`] asking the stores, [`render`] from answers to data (with [`property`] and
//! [`decode`], and [`template`] and [`path`] where the target has a template), [`output`] writing the target: [`secret`]
//! makes Secrets as [`desired`] has them, [`object`] other kinds as [`manifest`] has them, with [`ownership`] for both; [`outcome`]
//! what it came to, [`record`] the status and events that tell, [`schedule`] when to look again. [`run`] joins them.

pub mod content;
pub mod decode;
pub mod dependency;
pub mod desired;
pub mod fetch;
pub mod fields;
pub mod generate;
pub mod manifest;
pub mod object;
pub mod outcome;
pub mod output;
pub mod ownership;
pub mod path;
pub mod plan;
pub mod property;
pub mod record;
pub mod render;
pub mod rewrite;
pub mod schedule;
pub mod secret;
pub mod sources;
pub mod spec;
pub mod template;
pub mod windows;

#[cfg(test)]
mod stages_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keyferry_crds::{CreationPolicy, DeletionPolicy, ExternalSecret, ExternalSecretStatus, names};
use keyferry_provider_core::{SecretBytes, json};
use kube::Resource as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::SemaphorePermit;
use zeroize::Zeroizing;

use self::content::fingerprint;
use self::dependency::Dependency;
use self::object::{Kinds, ObjectOutput};
use self::outcome::{Change, Failure, Outcome, Retry, SyncResult, Synced, headline};
use self::output::{Observed, Output, Version};
use self::plan::{Facts, LastSync, Plan, Readiness, Request, Target};
use self::render::Data;
use self::secret::SecretOutput;
use crate::cli::Adopt;
use crate::clock;
use crate::events::Events;
use crate::hash::{self, StringMap};
use crate::kubernetes::{Problem, Slots};
use crate::store::fetcher::PlanningGuard;
use crate::store::pool::Pool;
use crate::store::{Store, StoreId};

/// When a status that could not be written is tried again.
const STATUS_RETRY: Duration = Duration::from_secs(5);

/// What every sync works with.
pub struct Context {
    /// The API server.
    pub client: kube::Client,
    /// How many requests go to it at once.
    pub slots: Slots,
    /// The clients of stores.
    pub pool: Pool,
    /// Where events go.
    pub events: Events,
    /// The controller class that we are.
    pub class: String,
    /// Whether a store must be Ready before it is asked.
    pub flood_gate: bool,
    /// Whether ClusterSecretStores are looked after.
    pub cluster_stores: bool,
    /// What renders templates.
    pub engine: template::Engine,
    /// Which Secrets of others may be taken over.
    pub adopt: Adopt,
    /// Whether targets may be other than Secrets.
    pub generic_targets: bool,
    /// The kinds of those.
    pub kinds: Kinds,
    /// When this process began to work.
    pub started: Timestamp,
}

/// What is remembered of an ExternalSecret between syncs, beside what its status says.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The last successful sync. The status may tell of an earlier one: its time is not written every time.
    pub last: Option<LastSync>,
    /// Failures since.
    pub failures: u32,
    /// The target as it was last written or found intact, and what it was made from.
    pub target: Option<Remembered>,
    /// Whether the last sync left no target on purpose.
    pub absence_is_fine: bool,
    /// The objects that templates were taken from, as they were then.
    pub sources: BTreeMap<Dependency, Option<Version>>,
    /// A sync whose status could not be written: what it came to, of which version, and when it began.
    pub untold: Option<(Synced, String, Timestamp)>,
}

/// A target that is known without reading it.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Its UID and resourceVersion then.
    pub version: Version,
    /// Whether it was as its writer left it.
    pub intact: bool,
    /// What it was made from, where we made it: while neither this nor the version changes, there is nothing to do.
    pub made_from: Option<String>,
}

/// What the watches know of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Unknown,
    /// There is none.
    Absent,
    /// It has this UID and resourceVersion.
    At(Version),
}

/// One look at one ExternalSecret: everything known when it began.
pub struct Look {
    /// The ExternalSecret.
    pub es: Arc<ExternalSecret>,
    /// The stores that it names.
    pub stores: BTreeMap<StoreId, (Arc<Store>, Readiness)>,
    /// When it began: looks of one turn of the controller begin at once, so that their refreshes stay together.
    pub began: Timestamp,
    /// The labels of its namespace, where that has been seen.
    pub namespace_labels: Option<StringMap>,
    /// Its target, as the watches see it.
    pub seen: Seen,
    /// The objects that its templates are taken from, as the watches see them; `None` where they have not yet.
    pub sources: BTreeMap<Dependency, Option<Option<Version>>>,
    /// What is remembered.
    pub memory: Memory,
    /// Let go once it is clear what is fetched: until then, others' batches wait for ours.
    pub planning: Option<PlanningGuard>,
}

/// What a look came to.
pub struct Report {
    /// What it came to.
    pub outcome: Outcome,
    /// What to remember.
    pub memory: Memory,
    /// The status, where it was written, and the resourceVersion that it has been in since.
    pub status: Option<(ExternalSecretStatus, Option<String>)>,
    /// When to look again; `None` waits for a change.
    pub next: Option<Timestamp>,
}

/// Looks at an ExternalSecret and does what is due.
///
/// Thousands of looks may wait for stores at once, so that what comes after is boxed: a request to the API server takes
/// kilobytes, which a look would hold all the time.
pub async fn run(context: &Context, look: Look) -> Report {
    let began = look.began;
    let es = look.es.clone();
    let version = hash::synced_resource_version(
        es.metadata.generation.unwrap_or_default(),
        es.metadata.annotations.as_ref(),
        es.metadata.labels.as_ref(),
    );
    let mut work = Work {
        context,
        output: output(context, &es),
        version: &version,
        began,
        look,
        read: None,
        values: Vec::new(),
        turn: None,
    };
    let outcome = match work.sync().await {
        Ok(outcome) => outcome,
        Err(failure) => {
            let marks = failure.headline == headline::FETCH || failure.bound && failure.headline != headline::IMMUTABLE;
            if marks && work.look.memory.failures == 0 {
                // Told by the failure that there is already.
                let _ = work.mark_first().await;
            }
            Outcome::Failed(blank(failure, &work.values))
        }
    };
    // The turn lasts until the status is written.
    let Work { look: Look { mut memory, .. }, began, turn: _turn, .. } = work;

    match &outcome {
        Outcome::Synced(synced) => {
            memory.failures = 0;
            memory.last = Some(LastSync { at: began, version: version.clone() });
            memory.absence_is_fine = matches!(synced.result, SyncResult::Deleted | SyncResult::Missing);
        }
        Outcome::Failed(_) => memory.failures = memory.failures.saturating_add(1),
        Outcome::Waiting(_) | Outcome::Holding | Outcome::Ignored | Outcome::Released => {}
    }
    let mut next = match &outcome {
        Outcome::Waiting(until) => *until,
        // No watch tells when a generator comes into our class.
        Outcome::Ignored if plan::generates(&es) => schedule::after_success(&es, began),
        Outcome::Holding | Outcome::Ignored | Outcome::Released => None,
        Outcome::Synced(_) => schedule::after_success(&es, began),
        Outcome::Failed(failure) => schedule::after_failure(&es, failure, memory.failures, clock::now()),
    };
    // What could not be told of a sync is told by the next look, which may find nothing to do itself.
    let telling = match (&outcome, memory.untold.take()) {
        (Outcome::Waiting(_), untold) => untold,
        (Outcome::Synced(synced), _) => Some((synced.clone(), version.clone(), began)),
        _ => None,
    };
    let wanted = match &telling {
        Some((synced, version, began)) => record::status(&es, &Outcome::Synced(synced.clone()), version, *began),
        None => record::status(&es, &outcome, &version, began),
    };
    let mut status = None;
    if let Some(wanted) = wanted {
        match Box::pin(write_status(context, &es, &wanted)).await {
            Ok(version) => status = Some((wanted, version)),
            Err(problem) => {
                let (namespace, name) = (es.metadata.namespace.as_deref(), es.metadata.name.as_deref());
                tracing::warn!(namespace, name, %problem, "could not write the status");
                // A failure is told by the next attempt, which need not come sooner for it.
                if !problem.is_not_found() && (telling.is_some() || next.is_none()) {
                    let again = plan::later(clock::now(), STATUS_RETRY);
                    next = Some(next.map_or(again, |next| next.min(again)));
                    memory.untold = telling;
                }
            }
        }
    }
    for note in record::notes(&es, &outcome) {
        let mut reference = es.object_ref(&());
        reference.resource_version = None;
        context.events.send(reference, names::EVENTS_EXTERNAL_SECRET, note);
    }
    tell(&es, &outcome);
    Report { outcome, memory, status, next }
}

fn output<'a>(context: &'a Context, es: &'a ExternalSecret) -> Box<dyn Output + 'a> {
    let Context { client, slots, kinds, adopt, .. } = context;
    match es.target_manifest() {
        None => Box::new(SecretOutput::new(client, slots, es, *adopt)),
        Some(manifest) => Box::new(ObjectOutput::new(client, slots, kinds, es, manifest, *adopt)),
    }
}

/// Whether the target is ours to remove under another name, which it has until the status has the new one.
fn is_renamed(es: &ExternalSecret) -> bool {
    let bound = es.status.as_ref().map(|status| status.binding.name.as_str()).unwrap_or_default();
    es.spec.target.creation_policy == CreationPolicy::Owner && !bound.is_empty() && bound != es.target_name()
}

fn tell(es: &ExternalSecret, outcome: &Outcome) {
    let (namespace, name) = (es.metadata.namespace.as_deref(), es.metadata.name.as_deref());
    match outcome {
        Outcome::Failed(failure) => tracing::warn!(namespace, name, "{failure}"),
        Outcome::Synced(synced) if synced.change != Change::Nothing => {
            tracing::info!(namespace, name, target = es.target_name(), change = ?synced.change, "synced");
        }
        outcome => tracing::debug!(namespace, name, ?outcome, "looked"),
    }
}

struct Work<'a> {
    context: &'a Context,
    output: Box<dyn Output + 'a>,
    version: &'a str,
    began: Timestamp,
    look: Look,
    /// The target, where it was read.
    read: Option<Observed>,
    /// What was fetched, to blank out of messages.
    values: Vec<SecretBytes>,
    /// Taken when all is fetched.
    turn: Option<SemaphorePermit<'a>>,
}

impl Work<'_> {
    async fn sync(&mut self) -> Result<Outcome, Failure> {
        let mut target = self.known_target();
        loop {
            let plan = self.plan(target);
            if !matches!(plan, Plan::Observe | Plan::Fetch(_)) {
                self.look.planning = None;
            }
            return match plan {
                Plan::Ignore => Ok(Outcome::Ignored),
                Plan::Hold => Ok(Outcome::Holding),
                Plan::Wait(until) => Ok(Outcome::Waiting(until)),
                Plan::Settle => Box::pin(self.settle()).await,
                Plan::Refuse(failure) => Err(failure),
                Plan::Release { delete_target } => Box::pin(self.release(delete_target)).await,
                Plan::Observe => {
                    target = Box::pin(self.observe()).await?;
                    continue;
                }
                Plan::Fetch(requests) => self.refresh(&requests).await,
            };
        }
    }

    /// The last successful sync, as remembered or told by the status.
    fn last(&self) -> Option<LastSync> {
        let Look { es, memory, .. } = &self.look;
        // A status that tells of a later sync than we remember is that of another replica, or of the operator before us.
        let told = es.status.as_ref().and_then(|status| {
            Some(LastSync {
                at: status.refresh_time.as_ref()?.0,
                version: status.synced_resource_version.clone().filter(|v| !v.is_empty())?,
            })
        });
        match (&memory.last, told) {
            (Some(own), Some(told)) if told.at > own.at => Some(told),
            (Some(own), _) => Some(own.clone()),
            (None, told) => told,
        }
    }

    fn plan(&self, target: Target) -> Plan {
        let Look { es, stores, namespace_labels, memory, .. } = &self.look;
        let sources_changed = self.look.sources.iter().any(|(source, seen)| {
            seen.as_ref().is_some_and(|seen| memory.sources.get(source).is_some_and(|known| known != seen))
        });
        let reason = es.ready().and_then(|ready| ready.reason.as_deref());
        let deleted_on_purpose =
            reason.is_some_and(|reason| [record::SECRET_DELETED, record::RESOURCE_DELETED].contains(&reason));
        plan::decide(&Facts {
            es,
            version: self.version,
            now: self.began,
            started: self.context.started,
            overdue_until: schedule::overdue_until(es, self.context.started),
            class: &self.context.class,
            flood_gate: self.context.flood_gate,
            cluster_stores: self.context.cluster_stores,
            generic_targets: self.context.generic_targets,
            stores,
            namespace_labels: namespace_labels.as_ref(),
            target,
            last: self.last().as_ref(),
            sources_changed,
            absence_is_fine: memory.absence_is_fine || deleted_on_purpose,
            failed: memory.failures > 0,
        })
    }

    /// What is known of the target without reading it.
    fn known_target(&self) -> Target {
        match (&self.look.seen, &self.look.memory.target) {
            (Seen::Absent, _) => Target::Absent,
            (Seen::At(seen), Some(known)) if known.version == *seen && known.intact => Target::Intact,
            (Seen::At(seen), Some(known)) if known.version == *seen => Target::Drifted,
            _ => Target::Unknown,
        }
    }

    async fn observe(&mut self) -> Result<Target, Failure> {
        self.read = self.output.observe().await?;
        let Some(Observed { version, intact, .. }) = self.read.clone() else { return Ok(Target::Absent) };
        self.look.memory.target = version.map(|version| {
            // Another version may well hold other data, with the hash of those: a restored backup does.
            let known = self.look.memory.target.take().filter(|known| intact && known.version == version);
            Remembered { version, intact, made_from: known.and_then(|known| known.made_from) }
        });
        Ok(if intact { Target::Intact } else { Target::Drifted })
    }

    async fn refresh(&mut self, requests: &[Request]) -> Result<Outcome, Failure> {
        let es = self.look.es.clone();
        let planning = self.look.planning.take();
        if plan::generates(&es) && Box::pin(self.was_written_before_a_crash()).await? {
            return Ok(Outcome::Synced(Synced::unchanged()));
        }
        let mut answers = fetch::fetch(&self.context.pool, &es, requests, planning).await?;
        self.turn = self.context.slots.turn().await;
        if plan::generates(&es) {
            let Context { client, slots, class, .. } = self.context;
            match Box::pin(generate::generate(client, slots, class, &es, requests)).await {
                Some(generated) => answers.generated = generated,
                None => return Ok(Outcome::Ignored),
            }
            self.values.extend(answers.generated.values().flatten().flat_map(BTreeMap::values).cloned());
        }
        self.values.extend(answers.values.values().flatten().cloned());
        let rendered =
            render::render(requests, &answers, &es.spec.target.deletion_policy, &self.context.engine, self.began)?;
        self.values.extend(rendered.data.values().cloned());
        let mut synced = Synced { missing: rendered.missing, ..Synced::unchanged() };

        if rendered.data.is_empty() {
            match (&es.spec.target.deletion_policy, &es.spec.target.creation_policy) {
                (DeletionPolicy::Delete, CreationPolicy::Owner) => {
                    synced.result = SyncResult::Deleted;
                    if Box::pin(self.output.remove()).await? {
                        synced.change = Change::Deleted;
                    }
                    self.look.memory.target = None;
                    return Ok(Outcome::Synced(synced));
                }
                (DeletionPolicy::Delete, policy) => {
                    let cause = format!("deletionPolicy=Delete needs creationPolicy=Owner, not {policy}");
                    return Err(Failure::new(headline::DELETE, cause, Retry::OnChange));
                }
                (DeletionPolicy::Retain | DeletionPolicy::Unknown(_), _) => {
                    self.mark_first().await?;
                    synced.result = SyncResult::Retained;
                    return Ok(Outcome::Synced(synced));
                }
                (DeletionPolicy::Merge, _) => {}
            }
        }
        if es.spec.target.creation_policy == CreationPolicy::None {
            Box::pin(self.output.mark()).await?;
            synced.result = SyncResult::Unwritten;
            return Ok(Outcome::Synced(synced));
        }
        let bound = self.read.is_some() || matches!(self.look.seen, Seen::At(_));
        let applied = Box::pin(self.apply(&es, &rendered.data, &mut synced)).await;
        applied.map_err(|failure| Failure { bound, ..failure })?;
        Ok(Outcome::Synced(synced))
    }

    /// Whether the refresh that is due had written its target when the operator before us went, and only the status
    /// was left to write: what was generated then must not be generated anew.
    async fn was_written_before_a_crash(&mut self) -> Result<bool, Failure> {
        // What this process wrote, it remembers.
        if self.look.memory.last.is_some() || self.look.seen == Seen::Absent {
            return Ok(false);
        }
        if self.read.is_none() {
            self.read = self.output.observe().await?;
        }
        let intact = self.read.as_ref().filter(|read| read.intact);
        let Some(written) = intact.and_then(|read| read.written_at) else { return Ok(false) };
        // The watch does not carry managed fields.
        let Context { client, slots, .. } = self.context;
        let metadata = &self.look.es.metadata;
        let api: Api<ExternalSecret> =
            Api::namespaced(client.clone(), metadata.namespace.as_deref().unwrap_or_default());
        let es = slots.run(api.get_metadata(metadata.name.as_deref().unwrap_or_default())).await;
        let es = es.map_err(|problem| {
            Failure::new(headline::UPDATE, format!("can't read when it was changed: {problem}"), Retry::Soon)
        })?;
        let due = self.last().filter(|last| last.version == self.version).map(|last| {
            let interval = schedule::interval(&self.look.es);
            interval.map_or(Timestamp::MAX, |interval| schedule::due(&self.look.es, last.at, interval))
        });
        Ok(generate::is_that_of_now(written, &es.metadata, due))
    }

    async fn apply(&mut self, es: &ExternalSecret, data: &Data, synced: &mut Synced) -> Result<(), Failure> {
        let renamed = is_renamed(es);
        if let (Some(known), Seen::At(seen), false) = (&self.look.memory.target, &self.look.seen, renamed)
            && known.version == *seen
            && known.intact
            && let Some(sources) = self.seen_sources()
            && known.made_from.as_ref() == Some(&fingerprint(es, data, &sources))
        {
            return Ok(());
        }
        let wanted: BTreeSet<Dependency> = self.look.sources.keys().cloned().collect();
        let (sources, versions) = sources::read(&self.context.client, &self.context.slots, &wanted).await?;
        let content = template::content(es, data.clone(), &sources, &self.context.engine, self.began)?;
        drop(sources);
        self.values.extend(content.values());
        let made_from = fingerprint(es, data, &versions);
        let presumed_absent = match &self.look.seen {
            // Most likely there is none, and the API server will say where there is.
            Seen::Absent => true,
            Seen::Unknown => es.status.is_none() && es.spec.target.creation_policy != CreationPolicy::Merge,
            Seen::At(_) => false,
        };
        let applied = self.output.apply(&content, presumed_absent).await?;
        // Not earlier: what could not be written would never be written again.
        self.look.memory.sources = versions;
        if applied.version.is_none() {
            synced.result = SyncResult::Missing;
        }
        synced.change = applied.change;
        synced.adopted = applied.adopted;
        self.look.memory.target =
            applied.version.map(|version| Remembered { version, intact: true, made_from: Some(made_from) });

        if renamed {
            // Whatever becomes of the old one, the new one is written: it needs no other values.
            self.look.memory.last = Some(LastSync { at: self.began, version: self.version.to_owned() });
            self.remove_renamed().await?;
        }
        Ok(())
    }

    async fn remove_renamed(&mut self) -> Result<(), Failure> {
        let metadata = &self.look.es.metadata;
        for target in self.output.remove_renamed().await? {
            let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
            tracing::info!(namespace, name, target, "secret deleted because it was orphaned");
        }
        Ok(())
    }

    /// Says that all is well, as of the last refresh, after a failure that left nothing to fetch.
    async fn settle(&mut self) -> Result<Outcome, Failure> {
        if is_renamed(&self.look.es) {
            self.remove_renamed().await?;
        }
        if let Some(last) = self.last() {
            self.began = last.at;
        }
        Ok(Outcome::Synced(Synced::unchanged()))
    }

    /// Marks a target that is there before it was ever written, as External Secrets Operator does before it asks a store;
    /// not where taking it over needs leave.
    async fn mark_first(&mut self) -> Result<(), Failure> {
        let never_synced = self.last().is_none();
        if never_synced && self.look.seen != Seen::Absent && self.context.adopt == Adopt::Any {
            Box::pin(self.output.mark()).await
        } else {
            Ok(())
        }
    }

    /// The template sources as the watches see them; `None` where they have not seen all.
    fn seen_sources(&self) -> Option<BTreeMap<Dependency, Option<Version>>> {
        self.look.sources.iter().map(|(source, seen)| Some((source.clone(), seen.clone()?))).collect()
    }

    async fn release(&mut self, delete_target: bool) -> Result<Outcome, Failure> {
        let es = &self.look.es;
        let finalizers = es.metadata.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == names::FINALIZER_EXTERNAL_SECRET) {
            return Ok(Outcome::Released);
        }
        if delete_target {
            self.output.remove().await.or_else(|failure| match failure.retry {
                // It is not ours: nothing to do, and no reason to hold the ExternalSecret.
                Retry::Late | Retry::OnChange => Ok(false),
                _ => Err(failure),
            })?;
        }
        let kept: Vec<&String> = finalizers.iter().filter(|f| *f != names::FINALIZER_EXTERNAL_SECRET).collect();
        let metadata =
            json!({"uid": es.metadata.uid, "resourceVersion": es.metadata.resource_version, "finalizers": kept});
        let problem = patch(self.context, es, &json!({"metadata": metadata})).await;
        match problem {
            Ok(()) => Ok(Outcome::Released),
            Err(problem) if problem.is_not_found() => Ok(Outcome::Released),
            Err(problem) => {
                Err(Failure::new(headline::DELETE, format!("can't remove the finalizer: {problem}"), Retry::Soon))
            }
        }
    }
}

/// The last filter: takes every fetched or derived value of four bytes or more out of a failure's causes. They are in
/// our own words, but a key name can hold a value that somebody put in the wrong field, and is told quoted.
fn blank(mut failure: Failure, values: &[SecretBytes]) -> Failure {
    let mut parts = values.to_vec();
    values.iter().for_each(|value| take_apart(value, NESTED, &mut parts));
    let texts = parts.iter().filter_map(SecretBytes::expose_str).filter(|text| text.len() >= 4);
    let mut forms: Vec<Zeroizing<String>> = texts
        .flat_map(|text| {
            let quoted = Zeroizing::new(format!("{text:?}"));
            [Zeroizing::new(text.to_owned()), Zeroizing::new(quoted[1..quoted.len() - 1].to_owned())]
        })
        .collect();
    // The longest first: one value may be part of another.
    forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    forms.dedup();
    for cause in &mut failure.causes {
        for text in forms.iter().filter(|text| !text.is_empty()) {
            if cause.contains(text.as_str()) {
                *cause = cause.replace(text.as_str(), "[redacted]");
            }
        }
    }
    failure
}

/// How deep within a value a part of it is still looked for in messages.
const NESTED: usize = 16;

/// Everything inside a JSON value, however deep.
fn take_apart(value: &SecretBytes, depth: usize, into: &mut Vec<SecretBytes>) {
    let object = || json::object(value.expose()).map(|object| object.into_values().collect());
    let inside: Vec<_> = object().or_else(|| json::array(value.expose())).unwrap_or_default();
    for part in inside.into_iter().map(json::to_bytes) {
        if depth > 1 {
            take_apart(&part, depth - 1, into);
        }
        into.push(part);
    }
}

/// Writes the status; gives the resourceVersion that it is in.
async fn write_status(
    context: &Context,
    es: &ExternalSecret,
    status: &ExternalSecretStatus,
) -> Result<Option<String>, Problem> {
    let api: Api<ExternalSecret> =
        Api::namespaced(context.client.clone(), es.metadata.namespace.as_deref().unwrap_or_default());
    // With the UID, so that an object which took the place of this one is not told what is not so.
    let patch = json!({"metadata": {"uid": es.metadata.uid}, "status": status});
    let name = es.metadata.name.as_deref().unwrap_or_default();
    let written = context.slots.run(api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch))).await;
    written.map(|written| written.metadata.resource_version)
}

async fn patch(context: &Context, es: &ExternalSecret, patch: &serde_json::Value) -> Result<(), Problem> {
    let api: Api<ExternalSecret> =
        Api::namespaced(context.client.clone(), es.metadata.namespace.as_deref().unwrap_or_default());
    let name = es.metadata.name.as_deref().unwrap_or_default();
    context.slots.run(api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch))).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::outcome::headline;

    #[test]
    fn a_value_is_blanked_wherever_it_is_told_and_however_quoted() {
        let value = r#"{"plain":"correct-horse","odd":"a\"b\\c","deep":[{"x":"battery-staple"}],"pin":123}"#;
        let said = format!(
            "no property {:?} in {:?}, nor {:?}, which is a\"b\\c; {:?} stays",
            "correct-horse", "a\"b\\c", "battery-staple", "123"
        );
        let failure = Failure::new(headline::FETCH, said, Retry::Soon);
        let blanked = blank(failure, &[SecretBytes::from(value)]);
        let redacted = r#""[redacted]""#;
        let expected =
            format!("no property {redacted} in {redacted}, nor {redacted}, which is [redacted]; \"123\" stays");
        assert_eq!(blanked.causes, [expected]);
    }

    #[test]
    fn a_look_that_waits_takes_little_memory() {
        fn size<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
            std::mem::size_of::<F>()
        }
        let size = size(|context: &'static Context, look: Look| run(context, look));
        assert!(size < 4096, "{size} bytes: box what comes after the wait for stores");
    }
}
