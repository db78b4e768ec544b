//! The steps of one look, each with what the ones before it found. [`crate::run`] joins them.

use std::time::Duration;

use futures::future::{AbortHandle, AbortRegistration, Abortable};
use jiff::Timestamp;
use keyferry_crds::{CreationPolicy, DeletionPolicy, ExternalSecret, RefreshPolicy, names};

use crate::audit::{self, Action};
use crate::content::{Content, Made, MadeFrom};
use crate::data::Data;
use crate::look::{Look, Memory, Remembered, Seen};
use crate::outcome::{Failure, Headline, Outcome, Retry, SyncResult, Synced, TargetChange};
use crate::plan::{self, Facts, LastSync, Plan, TargetState};
use crate::ports::{Applied, Change, Observed, Output, Planning, Ports, Presumed, Turn};
use crate::request::{Request, generates, generator};
use crate::resolve::{self, Asker, Kept, Resolved};
use crate::settings::{Adopt, Settings};
use crate::time::{later, seconds};
use crate::told;
use crate::told::{Spec, Told};
use crate::{compute, fetch, make, record, schedule, states};

/// A look under way.
pub(crate) struct Work<'a> {
    asker: Asker<'a>,
    output: Box<dyn Output + 'a>,
    version: String,
    look: Box<Look>,
    /// Let go once it is clear what is fetched: until then, others' batches wait for ours.
    planning: Option<Planning>,
    /// The target, where it was read.
    read: Option<Observed>,
    kept: Kept,
    cancel: Option<AbortHandle>,
    /// Whether all that it asks for was fetched and made, in this look.
    is_made: bool,
    /// Of which stores and generators what was fetched and made is.
    sources: Vec<audit::Source>,
    /// When what the target holds was made, where that was before this look, and nobody was left to tell of it.
    since: Option<Timestamp>,
}

impl<'a> Work<'a> {
    pub fn new(
        ports: &'a Ports,
        output: Box<dyn Output + 'a>,
        settings: &'a Settings,
        es: &'a ExternalSecret,
        version: String,
        mut look: Box<Look>,
        planning: Planning,
    ) -> Self {
        look.memory.made_ends = look.memory.made_ends.or_else(|| look.told_ends());
        let under_way = make::UnderWay { states: look.states.len(), ..make::UnderWay::default() };
        Self {
            asker: Asker {
                ports,
                settings,
                es,
                workload: None,
                now: look.began,
                is_asked_for: look.is_asked_for,
                budget: look.budget.clone(),
            },
            output,
            version,
            cancel: look.cancelled.as_ref().map(AbortRegistration::handle),
            look,
            planning: Some(planning),
            read: None,
            kept: Kept { under_way, ..Kept::default() },
            is_made: false,
            sources: Vec::new(),
            since: None,
        }
    }

    /// What outlives the steps: memory, since when the target is as they left it, of which version, and the turn.
    pub fn end(self) -> (Memory, Timestamp, String, Option<Turn>) {
        (self.look.memory, self.since.unwrap_or(self.asker.now), self.version, self.kept.turn)
    }

    /// What is to do. Where the spec is long that is found out in a turn, and nobody waits for what it will ask.
    pub async fn plan(&mut self, target: TargetState) -> Plan {
        let is_short = compute::is_short(self.asker.es);
        if !is_short {
            self.planning = None;
        }
        let plan = self.asker.compute(is_short, || self.decide(target)).await;
        if !matches!(plan, Plan::Observe | Plan::Fetch(_)) {
            self.planning = None;
        }
        plan
    }

    fn decide(&self, target: TargetState) -> Plan {
        let Asker { es, settings, ports, now, .. } = &self.asker;
        let reason = es.ready().and_then(|ready| ready.reason.as_deref());
        let deleted_on_purpose =
            reason.is_some_and(|reason| [record::SECRET_DELETED, record::RESOURCE_DELETED].contains(&reason));
        let memory = &self.look.memory;
        let plan = plan::decide(&Facts {
            es,
            version: &self.version,
            now: *now,
            started: settings.started,
            overdue_until: schedule::overdue_until(es, settings.started),
            class: &settings.class,
            flood_gate: settings.flood_gate,
            cluster_stores: settings.cluster_stores,
            generators: ports.stores.generators(),
            generic_targets: settings.generic_targets,
            mounts: settings.mounts,
            stores: &self.look.stores,
            namespace_labels: self.look.namespace_labels.as_deref(),
            target,
            last: self.look.last().as_ref(),
            sources_changed: self.look.sources_changed(),
            refresh_by: self.held_until(),
            absence_is_fine: memory.absence_is_fine || deleted_on_purpose,
            failed: memory.failures > 0,
        });
        // What must be revoked is not made where nothing is written: pods that mount have it made, each for itself.
        if matches!(plan, Plan::Fetch(_)) && self.makes_for_mounts() { Plan::LeaveToMounts } else { plan }
    }

    fn makes_for_mounts(&self) -> bool {
        let Asker { es, settings, ports, .. } = &self.asker;
        let mut generators = es.spec.data_from.iter().filter_map(generator);
        !settings.mounts
            && es.spec.target.creation_policy == CreationPolicy::None
            && generators.any(|generator| ports.stores.has_state(&generator.kind))
    }

    pub async fn observe(&mut self) -> Result<TargetState, Failure> {
        self.read = self.output.observe().await?;
        let Some(read) = &self.read else { return Ok(TargetState::Absent) };
        self.look.memory.observed(read);
        Ok(if read.intact { TargetState::Intact } else { TargetState::Drifted })
    }

    /// Whether nobody needs this look any more: what it came to is not told, the next look tells.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(AbortHandle::is_aborted)
    }

    /// Fetches what is wanted, and makes the target hold it.
    pub async fn refresh(&mut self, requests: &[Request]) -> Result<Outcome, Failure> {
        let es = self.asker.es;
        let planning = self.planning.take().unwrap_or_else(|| Box::new(()));
        if generates(es) && Box::pin(self.was_written_before_us()).await? {
            self.look.memory.made = states::written_last(es, &self.look.states);
            return Ok(Outcome::Synced(Synced::unchanged()));
        }
        // Nothing is written yet. From here on a look is not cancelled: its target and its status belong together.
        let (_never, registration) = AbortHandle::new_pair();
        let cancelled = self.look.cancelled.take().unwrap_or(registration);
        let resolving = resolve::data(&self.asker, requests, planning, &mut self.kept);
        let Ok(resolved) = Abortable::new(resolving, cancelled).await else { return Ok(Outcome::Waiting(None)) };
        let Some(Resolved { data, missing, sources }) = resolved? else { return Ok(Outcome::Ignored) };
        self.is_made = true;
        self.sources = sources;
        let synced = Synced { missing, ..Synced::unchanged() };
        if data.is_empty()
            && let Some(result) = SyncResult::without_data(es)?
        {
            return Box::pin(self.delete(Synced { result, ..synced })).await;
        }
        if es.spec.target.creation_policy == CreationPolicy::None {
            Box::pin(self.output.mark()).await?;
            return Ok(Outcome::Synced(Synced { result: SyncResult::Unwritten, ..synced }));
        }
        let bound = self.read.is_some() || matches!(self.look.seen, Seen::At(_));
        let applied = Box::pin(self.apply(data, synced)).await;
        applied.map(Outcome::Synced).map_err(|failure| Failure { bound, ..failure })
    }

    /// Sees to what generators made, now that it is known what came of the look: what the target held before is revoked
    /// after the grace, and what nobody uses is at once.
    pub async fn settle_states(&mut self, done: &Result<Outcome, Failure>) {
        if self.is_made && matches!(done, Ok(Outcome::Synced(_))) {
            self.look.memory.made_ends = self.kept.under_way.ends;
        }
        let Some(grace) = self.asker.settings.generator_grace else { return };
        let (es, now) = (self.asker.es, (self.asker.settings.now)());
        let made = self.kept.under_way.made();
        match done {
            Ok(Outcome::Synced(_)) => {
                let made = self.is_made.then_some(made);
                let outdated = states::outdated(es, &self.look.states, made.as_ref()).into_iter();
                let outdated: Vec<String> = outdated.map(|state| state.name.clone()).collect();
                if let Some(made) = made {
                    self.look.memory.made = made;
                }
                self.flag(&outdated, later(now, grace)).await;
            }
            // Whoever could not be told that it was written may have written it all the same.
            Err(failure) if failure.headline != Headline::Fetch => {
                self.flag(made.values(), later(now, grace)).await;
            }
            Ok(_) | Err(_) => self.flag(made.values(), now).await,
        }
    }

    async fn flag<'s>(&self, names: impl IntoIterator<Item = &'s String>, deadline: Timestamp) {
        let namespace = self.asker.es.metadata.namespace.as_deref().unwrap_or_default();
        for name in names {
            // The next refresh that succeeds tries again.
            if let Err(problem) = self.asker.ports.states.flag(namespace, name, deadline).await
                && !problem.is_not_found
            {
                tracing::warn!(namespace, name, %problem, "could not say when a GeneratorState is to be revoked");
            }
        }
    }

    /// By when what generators have just made, or had made before a crash, is to be replaced.
    pub fn refresh_by(&self) -> Option<Timestamp> {
        let es = self.asker.es;
        schedule::interval(es)?;
        if self.is_made {
            return self.kept.under_way.refresh_by();
        }
        self.held_until()
    }

    /// By when what the target holds after this look is to be replaced, where a generator made it and that is for us to do.
    pub fn replace_by(&self, outcome: &Outcome) -> Option<Timestamp> {
        schedule::interval(self.asker.es)?;
        match outcome {
            Outcome::Synced(_) => self.refresh_by(),
            Outcome::Waiting(_) | Outcome::Holding | Outcome::Settled { .. } | Outcome::Failed(_) => self.held_until(),
            Outcome::Ignored | Outcome::MountOnly | Outcome::Released => None,
        }
    }

    /// By when what the target holds is to be replaced, where a generator made it.
    fn held_until(&self) -> Option<Timestamp> {
        let memory = &self.look.memory;
        let by_states = states::refresh_by(self.asker.es, &self.look.states, &memory.made);
        by_states.into_iter().chain(memory.made_ends).min()
    }

    /// The store has nothing of what the spec names, and deletionPolicy lets the target go with it.
    async fn delete(&mut self, mut synced: Synced) -> Result<Outcome, Failure> {
        if let Some((store, _)) = self.kept.logins.first() {
            let cause = told!("{} logs in with it: delete it yourself, once the store has another login", store.id);
            return Err(Failure::new(Headline::Delete, cause, Retry::Late));
        }
        if self.output.remove().await? {
            synced.change = TargetChange::Deleted;
            self.audit(Action::Deleted, None);
        }
        self.look.memory.target = None;
        Ok(Outcome::Synced(synced))
    }

    /// Whether the target holds what the refresh that is due would make: the operator before us had written it and only the status
    /// was left to write, or the status was lost. What was generated then must not be generated anew.
    async fn was_written_before_us(&mut self) -> Result<bool, Failure> {
        // What this process wrote, it remembers.
        if self.look.memory.last.is_some() || self.look.seen == Seen::Absent {
            return Ok(false);
        }
        if self.read.is_none() {
            self.read = self.output.observe().await?;
        }
        let intact = self.read.as_ref().filter(|read| read.intact);
        let Some((written, noted)) = intact.and_then(|read| Some((read.written_at?, read.refresh_by))) else {
            return Ok(false);
        };
        let (es, now) = (self.asker.es, self.asker.now);
        let (last, interval) = (self.look.last(), schedule::interval(es));
        let known = last.as_ref().filter(|last| last.version == self.version);
        let is_over = |end: Timestamp| end <= now;
        let is_written = if last.is_none() && is_made_once(es) {
            // Whatever else became of it.
            true
        } else if known.is_none() && interval.is_some_and(|interval| is_over(schedule::due(es, written, interval))) {
            false
        } else {
            let ends = self.held_until();
            let due = known.map(|last| {
                let due = interval.map(|interval| schedule::due_by_any_clock(es, last.at, interval));
                due.map_or(Timestamp::MAX, |due| ends.map_or(due, |ends| ends.min(due)))
            });
            make::is_that_of_now(written, self.changed_at().await?, due) && !noted.is_some_and(is_over)
        };
        if is_written {
            // Where it was not noted, who made it has told nobody when it ends: it works for as long as the one before.
            let length = self.look.memory.made_ends.zip(known).map(|(ends, last)| ends.duration_since(last.at));
            let length = length.and_then(|length| Duration::try_from(length).ok());
            self.look.memory.made_ends = noted.or(length.map(|length| later(written, length)));
            self.since = Some(written.min(now));
        }
        Ok(is_written)
    }

    /// When the ExternalSecret was last changed. The watch does not carry managed fields.
    async fn changed_at(&self) -> Result<Option<Timestamp>, Failure> {
        let changed = self.asker.ports.objects.changed_at(self.asker.es).await;
        changed.map_err(|problem| {
            let cause = Told::without_values(format!("can't read when it was changed: {problem}"));
            Failure::new(Headline::Update, cause, Retry::Soon)
        })
    }

    async fn apply(&mut self, data: Data, mut synced: Synced) -> Result<Synced, Failure> {
        let es = self.asker.es;
        self.hold().await?;
        let renamed = is_renamed(es);
        let is_little = compute::is_little(data.values());
        let Self { asker, look, version, .. } = &*self;
        let is_known = || look.is_made_from(|sources| MadeFrom::new(version, &data, sources));
        if !renamed && asker.compute(is_little, is_known).await {
            return Ok(synced);
        }
        let (mut content, sources) = resolve::content(&self.asker, data.clone(), &mut self.kept).await?;
        content.refresh_by = self.kept.under_way.ends.filter(|_| schedule::interval(es).is_some()).map(seconds);
        self.try_login(&content).await?;
        let is_little = is_little && compute::are_short(&content.labels) && compute::are_short(&content.annotations);
        let version = &self.version;
        let made = || Made { from: MadeFrom::new(version, &data, &sources), form: Some(content.form()) };
        let mut made = self.asker.compute(is_little, made).await;
        if self.look.memory.last.is_some() {
            self.output.was_synced();
        }
        let applied = self.output.apply(&content, presumed(&self.look, es, &made)).await;
        match &applied {
            Ok(Applied { change: TargetChange::Nothing, .. }) => {}
            Ok(_) => self.audit(Action::Written, None),
            Err(failure) => {
                let why = self.asker.blank(failure.clone(), &self.kept.values).await.told();
                self.audit(Action::Written, Some(&why));
            }
        }
        let applied = applied?;
        // Not earlier: what could not be written would never be written again.
        self.look.memory.sources = sources;
        if applied.version.is_none() {
            synced.result = SyncResult::Missing;
        }
        synced.change = applied.change;
        synced.adopted = applied.adopted;
        synced.rotated = applied.rotated;
        if synced.change != TargetChange::Nothing {
            synced.complaints = content.complaints;
        }
        made.form = made.form.filter(|_| applied.is_alike);
        let remembered = |version| Remembered { version, intact: true, made: Some(made) };
        self.look.memory.target = applied.version.map(remembered);
        if renamed {
            // Whatever becomes of the old one, the new one is written: it needs no other values.
            self.look.memory.last = Some(LastSync { at: self.asker.now, version: self.version.clone() });
            self.remove_renamed().await?;
        }
        Ok(synced)
    }

    /// Writes down what was done to the target, or why it could not be done.
    fn audit(&self, action: Action, why: Option<&Told>) {
        let Asker { ports, settings, es, .. } = &self.asker;
        let object = audit::Object::new("ExternalSecret", &es.metadata);
        let delivery = audit::Delivery {
            target: Some(self.output.named(es)),
            sources: self.sources.clone(),
            ..audit::Delivery::new((settings.now)(), action, object)
        };
        ports.audit.take(match why {
            Some(why) => delivery.failed(why),
            None => delivery,
        });
    }

    /// Where a store logs in with the target, it must be let in with what that is to hold: else nobody could mend it.
    async fn try_login(&mut self, content: &Content) -> Result<(), Failure> {
        let Some(object) = fetch::own_secret(self.asker.es).filter(|_| !self.kept.logins.is_empty()) else {
            return Ok(());
        };
        let Some(data) = self.output.foresee(content).await? else { return Ok(()) };
        for (store, key) in &self.kept.logins {
            let change = Change { object: &object, data: &data };
            let tried = self.asker.ports.stores.rehearse(store, &object.namespace, change, key.as_ref()).await;
            tried.map_err(|error| {
                let retry = error.retry_after().map_or_else(|| Retry::of(error.kind()), Retry::After);
                let cause = told!(
                    "{} logs in with Secret {}, and is not let in with what that is to hold, so that it is left as it is: {}",
                    store.id,
                    Spec(&object.name),
                    error
                );
                Failure::new(Headline::Update, cause, retry)
            })?;
        }
        Ok(())
    }

    /// Puts on the finalizer that deletionPolicy Delete needs, before there is a target to delete.
    async fn hold(&self) -> Result<(), Failure> {
        let es = self.asker.es;
        let mut finalizers = es.metadata.finalizers.clone().unwrap_or_default();
        let is_held = finalizers.iter().any(|finalizer| finalizer == names::FINALIZER_EXTERNAL_SECRET);
        if es.spec.target.deletion_policy != DeletionPolicy::Delete || is_held {
            return Ok(());
        }
        finalizers.push(names::FINALIZER_EXTERNAL_SECRET.to_owned());
        match self.asker.ports.journal.finalizers(es, &finalizers).await {
            Err(problem) if !problem.is_not_found => {
                let cause = format!("can't put on the finalizer that deletionPolicy=Delete needs: {problem}");
                Err(Failure::new(Headline::Update, Told::without_values(cause), Retry::Soon))
            }
            _ => Ok(()),
        }
    }

    async fn remove_renamed(&mut self) -> Result<(), Failure> {
        let metadata = &self.asker.es.metadata;
        for former in self.output.remove_renamed().await? {
            let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
            tracing::info!(namespace, name, former, "secret deleted because it was orphaned");
        }
        Ok(())
    }

    /// Finishes what a failure left that has nothing to fetch.
    pub async fn settle(&mut self) -> Result<Outcome, Failure> {
        if is_renamed(self.asker.es) {
            self.remove_renamed().await?;
        }
        Ok(Outcome::Settled { at: self.look.last().map_or(self.asker.now, |last| last.at) })
    }

    /// Marks a target that is there before it was ever written, as External Secrets Operator does before it asks a store;
    /// not where taking it over needs leave.
    async fn mark_first(&mut self) -> Result<(), Failure> {
        let never_synced = self.look.last().is_none();
        if never_synced && self.look.seen != Seen::Absent && self.asker.settings.adopt == Adopt::Any {
            Box::pin(self.output.mark()).await?;
        }
        Ok(())
    }

    /// The last of a sync that failed. Answers the failure as it may be told.
    pub async fn give_up(&mut self, failure: Failure) -> Failure {
        let marks = failure.headline == Headline::Fetch || failure.bound && failure.headline != Headline::Immutable;
        if marks && self.look.memory.failures == 0 {
            // Told by the failure that there is already.
            let _ = self.mark_first().await;
        }
        self.asker.blank(failure, &self.kept.values).await
    }

    pub async fn release(&mut self, delete_target: bool) -> Result<Outcome, Failure> {
        let es = self.asker.es;
        let finalizers = es.metadata.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == names::FINALIZER_EXTERNAL_SECRET) {
            return Ok(Outcome::Released);
        }
        if delete_target {
            match self.output.remove().await {
                // It is not ours, or its kind has gone: nothing to do, and no reason to hold the ExternalSecret. Where we are
                // not allowed to, there is.
                Err(failure) if failure.theirs || failure.headline == Headline::ManifestKind => {}
                removed => {
                    if removed? {
                        self.audit(Action::Deleted, None);
                    }
                }
            }
        }
        let kept: Vec<String> = finalizers.into_iter().filter(|f| f != names::FINALIZER_EXTERNAL_SECRET).collect();
        match self.asker.ports.journal.finalizers(es, &kept).await {
            Err(problem) if !problem.is_not_found => {
                let cause = Told::without_values(format!("can't remove the finalizer: {problem}"));
                Err(Failure::new(Headline::Delete, cause, Retry::Soon))
            }
            _ => Ok(Outcome::Released),
        }
    }
}

/// What is presumed of the target that is to be `made`.
fn presumed<'a>(look: &'a Look, es: &ExternalSecret, made: &Made) -> Presumed<'a> {
    match &look.seen {
        // Most likely there is none, and the API server will say where there is.
        Seen::Absent => Presumed::Absent,
        Seen::Unknown if es.status.is_none() && es.spec.target.creation_policy != CreationPolicy::Merge => {
            Presumed::Absent
        }
        Seen::Unknown => Presumed::Nothing,
        Seen::At(_) => {
            let alike = look.made().filter(|(_, was)| was.from.is_by_the_same(&made.from) && was.form == made.form);
            alike.map_or(Presumed::Nothing, |(version, _)| Presumed::Alike(version))
        }
    }
}

/// Whether what is made for it stays for good, though its spec changes.
fn is_made_once(es: &ExternalSecret) -> bool {
    es.spec.refresh_policy != RefreshPolicy::OnChange && schedule::interval(es).is_none()
}

/// Whether the target is ours to remove under another name, which it has until the status has the new one.
fn is_renamed(es: &ExternalSecret) -> bool {
    let bound = es.status.as_ref().map(|status| status.binding.name.as_str()).unwrap_or_default();
    es.spec.target.creation_policy == CreationPolicy::Owner && !bound.is_empty() && bound != es.target_name()
}
