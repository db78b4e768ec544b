//! Joins the life of a push, which is one look.
//!
//! What is about to be pushed is written into the status first, and what is deleted leaves it last: whenever the process
//! ends, nothing is in a store of which no status tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use futures::stream::{self, StreamExt as _};
use keyferry_crds::{PushDeletionPolicy, PushSecret, PushUpdatePolicy, names};
use keyferry_provider_core::{Error, SecretBytes};
use keyferry_sync::asking::Asking;
use keyferry_sync::audit::{Action, Object};
use keyferry_sync::compute::{are_few, in_turn};
use keyferry_sync::make::UnderWay;
use keyferry_sync::outcome as sync;
use keyferry_sync::outcome::Retry;
use keyferry_sync::plan::LastSync;
use keyferry_sync::ports::{Planning, Problem, Versions};
use keyferry_sync::redact::blank;
use keyferry_sync::store::{Store, StoreId};
use keyferry_sync::time::later;
use keyferry_sync::told;
use keyferry_sync::told::Told;

use crate::chosen::{self, active};
use crate::delete::{self, Deleted};
use crate::each::{AT_ONCE, Ended, Prepared, Task, unwritten};
use crate::expand::{Entry, Wanted};
use crate::ledger::Ledger;
use crate::look::{Look, Looked, World, version_of};
use crate::memory::{Held, InStore};
use crate::nameable::Nameable;
use crate::outcome::{Causes, Done, Failure, Headline, Outcome, retry_of};
use crate::parting::GONE_FOR_GOOD;
use crate::plan::{self, Plan, unusable};
use crate::refers::{found_in, is_generated, named_stores, namespace, store_key};
use crate::source::{self, Found, Layout, is_any_missing, not_there};
use crate::{audited, expand, generated, parting, record, schedule};

/// When a status that could not be written is tried again.
const STATUS_RETRY: Duration = Duration::from_secs(5);

/// Looks at a PushSecret and does what is due. `planning` is let go once it is clear what is asked.
pub fn run(world: &World, look: Look, planning: Planning) -> BoxFuture<'_, Looked> {
    carry_out(world, look, planning).boxed()
}

async fn carry_out(world: &World, look: Look, planning: Planning) -> Looked {
    let under_way = UnderWay { states: look.states.len(), ..UnderWay::default() };
    let (ledger, names) = (Ledger::of(&look.ps), Nameable::of(&look.memory));
    let asking = Asking::new(namespace(&look.ps), look.budget.clone());
    let mut work = Work { world, ledger, look, asking, values: Vec::new(), names, under_way };
    if is_generated(&work.look.ps) {
        work.look.memory.kept = generated::kept(&world.settings, &work.look);
    }
    let plan = plan::decide(&world.settings, &work.look);
    let keeps = plan == Plan::Keep;
    let done = match plan {
        Plan::Ignore => Ok(Outcome::Ignored),
        Plan::Hold => Ok(Outcome::Holding),
        Plan::Wait(until) => Ok(Outcome::Waiting(until)),
        Plan::Refuse(failure) => Err(failure),
        Plan::Release => Box::pin(work.release()).await,
        Plan::Check => Box::pin(work.check(planning)).await,
        Plan::Push => {
            drop(planning);
            Box::pin(work.push(Suspects::new())).await
        }
        Plan::Keep => work.keep(),
    };
    let outcome = match done {
        Ok(outcome) => outcome,
        Err(failure) => Outcome::Failed(work.blank(failure).await),
    };
    if !keeps {
        Box::pin(generated::settle(world, &mut work.look, &work.under_way, &outcome)).await;
    }
    Box::pin(work.end(outcome, keeps)).await
}

/// Places where a store has answered something else than before.
type Suspects = BTreeMap<StoreId, BTreeSet<String>>;

struct Work<'a> {
    world: &'a World,
    look: Look,
    ledger: Ledger,
    /// For whom stores are asked, and what is held of their answers.
    asking: Arc<Asking>,
    /// What must not be told.
    values: Vec<SecretBytes>,
    /// Which places may be.
    names: Nameable,
    /// What a generator makes.
    under_way: UnderWay,
}

/// The UID and generation of a store.
fn version(store: &Store) -> (String, i64) {
    (store.uid().to_owned(), store.generation())
}

impl Work<'_> {
    /// Whether all stores still answer what they answered: then nothing else is read, and nothing is written.
    async fn check(&mut self, planning: Planning) -> Result<Outcome, Failure> {
        let stores: Vec<Arc<Store>> = active(&self.world.settings, &self.look).cloned().collect();
        let guards: Vec<Planning> = stores.iter().map(|store| self.world.ports.sync.stores.asking(&store.id)).collect();
        drop(planning);
        let checks = stores.iter().zip(guards).map(|(store, guard)| self.check_one(store, guard).boxed());
        let checked: Vec<Option<BTreeSet<String>>> = join_all(checks).await;
        let is_well = |found: &Option<BTreeSet<String>>| found.as_ref().is_some_and(BTreeSet::is_empty);
        if checked.iter().all(is_well) && named_stores(&self.look.ps).len() <= stores.len() {
            return Ok(Outcome::Done(Done::default()));
        }
        let suspects = stores.iter().zip(checked).filter_map(|(store, found)| Some((store.id.clone(), found?)));
        let suspects = suspects.collect();
        self.push(suspects).await
    }

    /// The places of one store where something else is than before; `None` where that takes the source to tell.
    async fn check_one(&self, store: &Store, planning: Planning) -> Option<BTreeSet<String>> {
        let known = self.look.memory.stores.get(&store.id)?;
        if known.version != version(store) || unusable(&self.world.settings, &self.look, store).is_some() {
            return None;
        }
        let opened = self.world.ports.stores.open(store, namespace(&self.look.ps)).await.ok()?;
        // What can't be read can be asked whether it is there.
        if self.look.ps.spec.update_policy == PushUpdatePolicy::IfNotExists || opened.capabilities().max_batch == 0 {
            let recorded = self.ledger.recorded(&store_key(&store.id));
            // What is recorded and not wanted may be gone: nothing is pushed for it.
            let wanted = recorded.iter().filter(|(place, _)| known.held.contains_key(*place));
            let asked = wanted.map(|(place, data)| {
                let opened = &opened;
                async move { (place, opened.exists(&expand::remote(data)).await) }.boxed()
            });
            // Gathered before any is asked: what lies in wait must not borrow who gathers.
            let asked: Vec<_> = asked.collect();
            let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
            let is_passing = |(_, exists): &(_, Result<bool, Error>)| exists.as_ref().is_err_and(Error::is_temporary);
            if opened.capabilities().max_batch == 0 && answers.iter().any(is_passing) {
                return None;
            }
            let gone = answers.into_iter().filter(|(_, exists)| !matches!(exists, Ok(true)));
            return Some(gone.map(|(place, _)| place.clone()).collect());
        }
        if known.held.values().any(|held| held.answer.is_none()) {
            return None;
        }
        let keys: BTreeSet<_> = known.held.values().map(|held| held.key.clone()).collect();
        let answers = opened.fetch(&self.asking, keys.into_iter().collect(), planning).await;
        let is_other = |held: &Held| match answers.get(&held.key) {
            Some(Ok(found)) => held.answer != Some(self.world.key.of_answer(&found.value)),
            _ => true,
        };
        let others = known.held.iter().filter(|(_, held)| is_other(held));
        Some(others.map(|(place, _)| place.clone()).collect())
    }

    /// The stores hold what was generated: that is told, and recorded where the record was lost.
    fn keep(&mut self) -> Result<Outcome, Failure> {
        for store in active(&self.world.settings, &self.look) {
            self.ledger.make_up(&store_key(&store.id), &self.look.ps);
        }
        let missing = not_there(&self.look, &Layout::new());
        Failure::of(Headline::Stores, missing).map_or(Ok(Outcome::Done(Done::default())), Err)
    }

    /// Reads the source, makes all stores hold it, and nothing that is not wanted any more.
    async fn push(&mut self, suspects: Suspects) -> Result<Outcome, Failure> {
        self.hold().await?;
        let mut versions = Versions::new();
        let read = source::read(self.world, &mut self.look, &mut versions, &mut self.under_way, &self.asking).await;
        if !matches!(read, Ok(Found::Gone)) {
            self.look.memory.gone_since = None;
        }
        let sources = match read? {
            Found::Theirs => return Ok(Outcome::Ignored),
            Found::Gone => {
                self.look.memory.read = Some(versions);
                return self.source_gone().await;
            }
            Found::Sources(sources) => sources,
        };
        let names: BTreeSet<String> = sources.iter().map(|source| source.name.clone()).collect();
        self.values = sources.iter().flat_map(|source| source.data.values().cloned()).collect();
        self.names.read(sources.iter().map(|source| &source.data));
        let templates = source::templates(self.world, &self.look, &self.asking, &mut versions).await?;
        let stores: Vec<Arc<Store>> = active(&self.world.settings, &self.look).cloned().collect();
        let layout = source::lay_out(self.world, &self.look, sources, &templates, &stores).await?;
        // Nor may keys be told that are made of them, whoever tells: nor what is named after those.
        self.values.extend(layout.values().flat_map(Wanted::made));
        let unwanted = delete::unwanted(&self.ledger.status.synced_push_secrets, &layout, namespace(&self.look.ps));
        parting::note(&mut self.look, &unwanted, &names);
        let (mut causes, mut done) = (not_there(&self.look, &layout), Done::default());
        // That goes first, and before anything was set.
        let is_told_missing = is_any_missing(&self.look);
        let filled = self.fill(&stores, &layout, &suspects).await?;
        for (store, result) in filled {
            match result {
                Ok(ended) => {
                    done.pushed += ended.pushed;
                    self.take(&store, ended, &mut causes);
                }
                Err(cause) => causes.push(cause),
            }
        }
        self.look.memory.read = Some(versions);
        let deleted = self.undo(&layout, &mut done, &mut causes).await;
        self.ledger.tidy(&layout);
        let headline = if is_told_missing { Headline::Stores } else { Headline::Set };
        match Failure::of(headline, causes).or(Failure::of(Headline::Delete, deleted)) {
            Some(failure) => Err(failure),
            None => {
                let made = self.look.memory.generated.take().filter(|_| is_generated(&self.look.ps));
                if let Some(made) = made {
                    generated::note(self.world, &mut self.look, made).await;
                }
                Ok(Outcome::Done(done))
            }
        }
    }

    /// Pushes once more what may have gone with a deletion elsewhere; where something is that is to stay, it did not go.
    async fn put_back(&self, store: &Store, entry: &Entry) -> Result<(), Error> {
        let opened = self.world.ports.stores.open(store, namespace(&self.look.ps)).await?;
        let stays = self.look.ps.spec.update_policy == PushUpdatePolicy::IfNotExists;
        if stays && opened.exists(&entry.push.remote).await? {
            return Ok(());
        }
        let pushed = opened.push(&entry.push).await;
        let values = if pushed.is_err() { audited::untold(entry) } else { Vec::new() };
        let object = Object::store(&store.id);
        audited::tell(self.world, &self.look.ps, Action::Pushed, object, entry.audited(), &pushed, &values);
        pushed
    }

    /// Pushes into all stores, none of which waits for another.
    async fn fill(
        &mut self,
        stores: &[Arc<Store>],
        layout: &Layout,
        suspects: &Suspects,
    ) -> Result<Vec<Filled>, Failure> {
        if self.look.ps.spec.update_policy == PushUpdatePolicy::IfNotExists {
            // Nothing is written over any more: what is there stays whose it was.
            self.look.memory.doubtful.clear();
        }
        let (world, look, ledger) = (self.world, &self.look, &mut self.ledger);
        let mut doubtful = BTreeSet::new();
        let is_due = plan::is_overdue(look);
        let tasks = stores.iter().filter_map(|store| {
            let known = look.memory.stores.get(&store.id).filter(|known| known.version == version(store));
            Some(Task {
                world,
                look,
                store: store.clone(),
                wanted: layout.get(&store.id)?,
                held: known.map(|known| known.held.clone()).unwrap_or_default(),
                recorded: ledger.recorded(&store_key(&store.id)),
                suspects: suspects.get(&store.id).cloned(),
                is_due: is_due || suspects.contains_key(&store.id),
            })
        });
        let tasks: Vec<Task<'_>> = tasks.collect();
        let prepared = join_all(tasks.iter().map(|task| prepare(world, look, task).boxed())).await;
        for (task, prepared) in tasks.iter().zip(&prepared) {
            if let Ok(prepared) = prepared {
                ledger.intend(&store_key(&task.store.id), prepared, task.wanted, &task.ours(prepared));
                doubtful.extend(prepared.doubtful.iter().map(|place| (task.store.id.clone(), place.clone())));
            }
        }
        let is_news = ledger.stored.as_ref().map(|stored| &stored.synced_push_secrets)
            != Some(&ledger.status.synced_push_secrets);
        if is_news {
            ledger.write(world, &look.ps).await.map_err(|problem| own(&problem, "what is about to be pushed"))?;
        }
        let carried = tasks.iter().zip(prepared).map(|(task, prepared)| fill_one(task, prepared, &self.asking).boxed());
        let filled = join_all(carried).await;
        doubtful.extend(std::mem::take(&mut self.look.memory.doubtful));
        doubtful.retain(|(id, place)| layout.get(id).is_some_and(|wanted| wanted.is_wanted(place)));
        self.look.memory.doubtful = doubtful;
        Ok(filled)
    }

    /// Takes what pushing into one store came to.
    fn take(&mut self, store: &Store, ended: Ended, causes: &mut Causes) {
        generated::placed(&mut self.look, &store.id, &ended);
        let key = store_key(&store.id);
        for place in ended.held.keys() {
            if self.look.memory.doubtful.remove(&(store.id.clone(), place.clone())) {
                self.ledger.own(&key, place);
            }
        }
        let before = self.look.ps.status.as_ref().and_then(|status| status.synced_push_secrets.get(&key));
        for problem in ended.problems {
            let is_known = before.is_some_and(|before| before.contains_key(&problem.place));
            if problem.is_certain && !is_known {
                self.ledger.remove(&key, &problem.place);
            }
            causes.push((problem.cause, problem.retry));
        }
        let held = InStore { version: version(store), held: ended.held };
        self.look.memory.stores.insert(store.id.clone(), held);
    }

    /// Deletes what is not wanted any more, where that is asked for; else it is only forgotten.
    async fn undo(&mut self, layout: &Layout, done: &mut Done, causes: &mut Causes) -> Causes {
        let mut unwanted = delete::unwanted(&self.ledger.status.synced_push_secrets, layout, namespace(&self.look.ps));
        self.look.memory.stores.retain(|id, _| layout.contains_key(id));
        let is_unwanted = |store: &str, place: &str| unwanted.get(store).is_some_and(|all| all.contains_key(place));
        self.look.memory.kept_apart.retain(|(store, place)| is_unwanted(store, place));
        if unwanted.is_empty() {
            return Causes::new();
        }
        if self.look.ps.spec.deletion_policy != PushDeletionPolicy::Delete {
            for (store, places) in &unwanted {
                places.keys().for_each(|place| self.ledger.remove(store, place));
            }
            return Causes::new();
        }
        unwanted.retain(|store, _| chosen::may_undo(&self.world.settings, &self.look, store));
        self.look.memory.parting.retain(|(store, _), _| unwanted.contains_key(store));
        parting::keep(&self.look, &mut unwanted);
        delete::keep_overlapping(self.world, &self.look.ps, &self.names, &mut self.ledger, &mut unwanted, layout);
        let deleted = delete::delete(self.world, &self.look, &self.names, unwanted.clone(), layout).await;
        self.forget(&deleted);
        let recorded = &self.ledger.status.synced_push_secrets;
        let stays = |store: &str, place: &str| recorded.get(store).is_some_and(|places| places.contains_key(place));
        self.look.memory.parting.retain(|at, _| stays(&at.0, &at.1) && !deleted.kept.contains(at));
        self.look.memory.kept_apart.extend(deleted.kept);
        done.deleted += deleted.deleted.len();
        // Two stores may lead to one place: what is wanted there is there again.
        for (store, place) in &deleted.deleted {
            let remote_key = unwanted.get(store).and_then(|places| places.get(place));
            let Some(remote_key) = remote_key.map(|data| &data.matched.remote_ref.remote_key) else { continue };
            let (failed, lost) = self.mend(layout, store, remote_key).await;
            causes.extend(failed);
            // The next look asks for it, and pushes it.
            for (id, place) in lost {
                self.look.memory.stores.get_mut(&id).and_then(|known| known.held.remove(&place));
            }
        }
        deleted.failed
    }

    /// Puts back what may have gone with a deletion through another store. Why that failed, and where.
    async fn mend(&self, layout: &Layout, from: &str, remote_key: &str) -> (Causes, Vec<(StoreId, String)>) {
        let (mut causes, mut lost) = (Causes::new(), Vec::new());
        for (id, wanted) in layout.iter().filter(|(id, _)| store_key(id) != from) {
            let Some((store, _)) = self.look.stores.get(id) else { continue };
            let found = found_in(Some(&self.ledger.status), &store_key(id));
            // What is somebody's there, or was to stay, nobody has taken away from here.
            let is_ours = |place: &String, entry: &Entry| entry.push.remote.key == remote_key && !found.contains(place);
            for (place, entry) in wanted.entries.iter().filter(|(place, entry)| is_ours(place, entry)) {
                if let Err(error) = self.put_back(store, entry).await {
                    causes.push((unwritten(store, entry, &error), retry_of(&error)));
                    lost.push((id.clone(), place.clone()));
                }
            }
        }
        (causes, lost)
    }

    fn forget(&mut self, deleted: &Deleted) {
        for (store, place) in deleted.deleted.iter().chain(&deleted.left) {
            self.ledger.remove(store, place);
        }
    }

    /// There is nothing to push any more: with deletionPolicy Delete, what was pushed goes.
    async fn source_gone(&mut self) -> Result<Outcome, Failure> {
        let ps = self.look.ps.clone();
        let mut recorded = self.ledger.status.synced_push_secrets.clone();
        recorded.retain(|store, _| !chosen::is_theirs(&self.world.settings, &self.look, store));
        let deletes = ps.spec.deletion_policy == PushDeletionPolicy::Delete;
        let was_gone = ps.ready().and_then(|ready| ready.reason.as_deref()) == Some("SourceDeleted");
        if !deletes || recorded.values().all(BTreeMap::is_empty) && !was_gone {
            let Some(cause) = source::missing(&ps) else { return Ok(Outcome::Done(Done::default())) };
            return Err(Failure::new(Headline::Source, cause, Retry::Late));
        }
        // Who replaces a Secret deletes it first: it may be there again in a moment.
        let version = version_of(&ps);
        let known = self.look.memory.gone_since.take().filter(|(of, _)| *of == version);
        let (_, since) = self.look.memory.gone_since.insert(known.unwrap_or((version, self.look.began)));
        let left = later(*since, GONE_FOR_GOOD).duration_since(self.look.began);
        if let Ok(left) = Duration::try_from(left)
            && !left.is_zero()
            && !was_gone
        {
            let cause = source::missing(&ps).unwrap_or_else(|| "no Secret bears the labels of spec.selector".into());
            let cause = told!("{}; what was pushed is deleted where that stays so for a minute", cause);
            return Err(Failure::new(Headline::Source, cause, Retry::After(left)));
        }
        let nothing = Layout::new();
        let deleted = delete::delete(self.world, &self.look, &self.names, recorded, &nothing).await;
        self.forget(&deleted);
        self.ledger.tidy(&nothing);
        self.look.memory.stores.clear();
        self.look.memory.parting.clear();
        Failure::of(Headline::Delete, deleted.failed).map_or(Ok(Outcome::SourceGone), Err)
    }

    /// The PushSecret is going, and what it pushed goes first where that is asked for.
    async fn release(&mut self) -> Result<Outcome, Failure> {
        let ps = self.look.ps.clone();
        if !has_finalizer(&ps) {
            return Ok(Outcome::Released);
        }
        if ps.spec.deletion_policy == PushDeletionPolicy::Delete {
            let nothing = Layout::new();
            let mut recorded = self.ledger.status.synced_push_secrets.clone();
            let theirs = delete::of_others(self.world, &self.look, &self.names, &mut recorded);
            // A namespace that ends takes its stores along, and would never end for what was pushed into them.
            let stranded = delete::stranded(self.world, &self.look, &self.names, &mut recorded);
            let deleted = delete::delete(self.world, &self.look, &self.names, recorded, &nothing).await;
            self.forget(&deleted);
            self.ledger.tidy(&nothing);
            if let Some(failure) = Failure::of(Headline::Delete, deleted.failed) {
                return Err(failure);
            }
            delete::tell_left(self.world, &ps, &stranded, &theirs);
        }
        self.finalizers(false).await?;
        Ok(Outcome::Released)
    }

    /// Puts on the finalizer that deletionPolicy Delete needs before there is anything to delete, or takes it off.
    async fn hold(&self) -> Result<(), Failure> {
        let is_needed = self.look.ps.spec.deletion_policy == PushDeletionPolicy::Delete;
        if is_needed == has_finalizer(&self.look.ps) {
            return Ok(());
        }
        self.finalizers(is_needed).await
    }

    async fn finalizers(&self, is_held: bool) -> Result<(), Failure> {
        let ps = &self.look.ps;
        let mut finalizers = ps.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|finalizer| finalizer != names::FINALIZER_PUSH_SECRET);
        finalizers.extend(is_held.then(|| names::FINALIZER_PUSH_SECRET.to_owned()));
        match self.world.ports.journal.finalizers(ps, &finalizers).await {
            Err(problem) if !problem.is_not_found => Err(own(&problem, "its finalizer")),
            _ => Ok(()),
        }
    }

    /// A failure as it may be told: without the values.
    async fn blank(&self, failure: Failure) -> Failure {
        let Failure { headline, causes, retry } = failure;
        let told = sync::Failure { causes, ..sync::Failure::new(sync::Headline::Fetch, "", Retry::Soon) };
        let mut values = self.values.clone();
        if headline == Headline::Delete {
            values.extend(self.names.all_untold(&self.look.ps, &self.ledger.status.synced_push_secrets));
        }
        let values = &values;
        let is_small = are_few(values) && told.causes.len() <= crate::outcome::NAMED_CAUSES;
        let told = if is_small {
            blank(told, values)
        } else {
            let (compute, namespace) = (&*self.world.ports.sync.compute, namespace(&self.look.ps));
            in_turn(compute, namespace, &self.look.budget, || blank(told, values)).await
        };
        Failure { headline, causes: told.causes, retry }
    }

    /// Writes down and tells what it came to, and when to look again. `keeps` says that nothing was done but to find that out.
    async fn end(mut self, outcome: Outcome, keeps: bool) -> Looked {
        let (world, look) = (self.world, &mut self.look);
        let (ps, began, version) = (look.ps.clone(), look.began, version_of(&look.ps));
        match &outcome {
            Outcome::Done(_) | Outcome::SourceGone => {
                look.memory.failures = 0;
                look.memory.last = Some(LastSync { at: began, version: version.clone() });
            }
            Outcome::Failed(_) => look.memory.failures = look.memory.failures.saturating_add(1),
            Outcome::Waiting(_) | Outcome::Holding | Outcome::Ignored | Outcome::Released => {}
        }
        let now = (world.settings.now)();
        let mut next = schedule::next(&ps, &outcome, look.memory.failures, began, now);
        let replaced_by = generated::replaced_by(look, &self.under_way, &outcome);
        next = [next, replaced_by, parting::next(look)].into_iter().flatten().min();
        look.memory.replace_by = generated::replace_by(look, &self.under_way, &outcome);
        let (before, after) = (self.ledger.stored.as_ref(), self.ledger.status.clone());
        let refreshed = if keeps { generated::refreshed(look) } else { began };
        if outcome != Outcome::Released
            && let Some(after) = record::status(&ps, before, after, &outcome, &version, began, refreshed)
        {
            self.ledger.status = after;
            if let Err(problem) = self.ledger.write(world, &ps).await {
                let (namespace, name) = (ps.metadata.namespace.as_deref(), ps.metadata.name.as_deref());
                tracing::warn!(namespace, name, %problem, "could not write the status");
                if !problem.is_not_found {
                    let again = later(now, STATUS_RETRY);
                    next = Some(next.map_or(again, |next| next.min(again)));
                    // The next look writes it.
                    look.memory.failures = look.memory.failures.max(1);
                }
            }
        }
        for note in record::notes(&ps, &outcome) {
            world.ports.journal.note(&ps, note);
        }
        tell(&ps, &outcome);
        let stored = self.ledger.stored.unwrap_or_default();
        let status = self.ledger.written.map(|revision| (stored, revision));
        Looked { outcome, memory: self.look.memory, status, next }
    }
}

fn tell(ps: &PushSecret, outcome: &Outcome) {
    let (namespace, name) = (ps.metadata.namespace.as_deref(), ps.metadata.name.as_deref());
    match outcome {
        Outcome::Failed(failure) => tracing::warn!(namespace, name, "{failure}"),
        Outcome::Done(done) if *done != Done::default() => {
            tracing::info!(namespace, name, pushed = done.pushed, deleted = done.deleted, "pushed");
        }
        outcome => tracing::debug!(namespace, name, ?outcome, "looked"),
    }
}

fn own(problem: &Problem, what: &str) -> Failure {
    Failure::new(Headline::Own, Told::without_values(format!("can't write {what}: {problem}")), Retry::Soon)
}

fn has_finalizer(ps: &PushSecret) -> bool {
    ps.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == names::FINALIZER_PUSH_SECRET)
}

/// Logs in to one store, where that can be used.
async fn prepare(world: &World, look: &Look, task: &Task<'_>) -> Result<Prepared, (Told, Retry)> {
    match unusable(&world.settings, look, &task.store) {
        Some(cause) => Err((cause, Retry::Soon)),
        None => task.prepare().await.map_err(|error| (Told::from(&error), retry_of(&error))),
    }
}

/// A store, and what pushing into it came to.
type Filled = (Arc<Store>, Result<Ended, (Told, Retry)>);

async fn fill_one(task: &Task<'_>, prepared: Result<Prepared, (Told, Retry)>, asking: &Arc<Asking>) -> Filled {
    let ended = match prepared {
        Ok(prepared) => Ok(task.carry_out(prepared, asking).await),
        Err((cause, retry)) => {
            let name = Told::without_values(task.store.id.name.clone());
            Err((told!("could not get secrets client for store {}: {}", name, cause), retry))
        }
    };
    (task.store.clone(), ended)
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
