//! One look at a volume: its objects are read as the pod, and what is due is resolved into it. An error is why that could not be
//! done; what that means for the volume is for its life.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use keyferry_crds::{ExternalSecret, RefreshPolicy};
use keyferry_sync::hash::version_of;
use keyferry_sync::look::{Cancel, Look, Looked, Memory, Seen};
use keyferry_sync::outcome::{Outcome, SyncResult, TargetChange};
use keyferry_sync::plan::LastSync;
use keyferry_sync::ports::Ports;
use keyferry_sync::record::Severity;
use keyferry_sync::request::generates;
use keyferry_sync::schedule::{after_success, interval};
use keyferry_sync::told::Told;
use keyferry_sync::windows;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use crate::identity::{Identity, Login};
use crate::leases::Held;
use crate::marks::{Mark, Marks, Synced};
use crate::node::Node;
use crate::reading::{Read, Reader, Unread};
use crate::refusal::{Kind, Refusal};
use crate::sharing::{Shared, Sharing};
use crate::target::{Target, Writer};
use crate::telling::OfPod;
use crate::tokens::Tokens;
use crate::volumes::Remembered;
use crate::wanted::{Pod, Wanted};

/// For so long the API server must refuse a pod before its files go: what is granted anew is known some moments later.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// So long a call goes on with what generators made, after the volume is as it should be.
const TENDING: Duration = Duration::from_secs(30);

/// What a call came to.
enum Came {
    /// All is read anew, and this was done.
    Read(TargetChange),
    /// Nothing was due.
    Nothing,
    /// There is nothing to deliver any more: files go, for this reason.
    Gone(&'static str, Told),
}

/// Which volume is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Visit<'a> {
    /// Where it is.
    pub place: &'a Path,
    /// Who writes its files.
    pub writer: Writer<'a>,
    /// Whether files were there once.
    pub stands: bool,
    /// When whoever asks must have an answer.
    pub until: Instant,
}

/// What is asked for, and as whom.
pub(crate) struct Asked {
    /// The pod's.
    pub tokens: Tokens,
    /// What the volume is to hold.
    pub wanted: Wanted,
    /// The ExternalSecret, where who asks holds it and none is to be read.
    pub inline: Option<ExternalSecret>,
}

/// A volume that is asked for.
struct Call<'a> {
    visit: Visit<'a>,
    wanted: &'a Wanted,
    identity: &'a Identity,
    client: &'a kube::Client,
}

impl Node {
    /// Reads what is asked for and does what is due; an error is why it could not be done.
    pub(crate) async fn look(
        &self,
        visit: Visit<'_>,
        volume: &mut Remembered,
        asked: Asked,
        mark: Option<Mark>,
    ) -> Result<(), Refusal> {
        // Each has its turn before it holds anything: hundreds wait, and what a look works in takes as much as what it reads.
        let _turn = self.volumes.turn(&asked.wanted.pod.namespace, visit.until).await?;
        Box::pin(self.look_in_turn(visit, volume, asked, mark)).await
    }

    async fn look_in_turn(
        &self,
        visit: Visit<'_>,
        volume: &mut Remembered,
        Asked { tokens, wanted, inline }: Asked,
        mark: Option<Mark>,
    ) -> Result<(), Refusal> {
        let Visit { place, stands, .. } = visit;
        let (identity, client) = self.identities.of(&wanted.pod, tokens)?;
        let call = Call { visit, wanted: &wanted, identity: &identity, client: &client };
        if !stands {
            *volume = Remembered::default();
            self.tending.ledger.end(place);
        }
        let came = self.resolve(&call, volume, inline, mark).await;
        self.tend(&call, volume).await;
        came
    }

    /// Reads the objects, and what is due of the stores.
    async fn resolve(
        &self,
        call: &Call<'_>,
        volume: &mut Remembered,
        inline: Option<ExternalSecret>,
        mark: Option<Mark>,
    ) -> Result<(), Refusal> {
        let (wanted, Visit { place, writer, stands, until }) = (call.wanted, call.visit);
        // What is known of one that stood before the node began anew is of no use.
        let mut mark = mark.filter(|_| stands).unwrap_or_else(|| Mark {
            target: place.to_owned(),
            namespace: wanted.pod.namespace.clone(),
            pod: wanted.pod.name.clone(),
            service_account: wanted.pod.service_account.clone(),
            external_secret: wanted.external_secret.clone(),
            is_delivered: false,
            synced: None,
            refused_since: None,
        });
        let reader = Reader {
            client: call.client,
            own: &self.own,
            pod: &call.wanted.pod,
            allows_static_logins: self.allows_static_logins,
            is_named: inline.is_none(),
        };
        let read = read(&reader, (&wanted.external_secret, inline), &self.marks, &mut mark, self.now());
        let late = |_| Refusal::new(Kind::Late, "the API server did not answer in time");
        let came = match timeout_at(until, read).await.map_err(late)?? {
            Ok(read) => self.deliver(call, read, volume, &mut mark).await?,
            Err(came) => came,
        };
        let may_go = match writer {
            Writer::Us { .. } => stands,
            Writer::Another(answer) => answer.may_take_away(),
        };
        match came {
            Came::Gone(_, why) if !may_go => Err(Refusal::new(Kind::Absent, why)),
            Came::Gone(reason, why) => self.empty(call, volume, mark, reason, why),
            Came::Nothing => self.marks.write(&mark),
            Came::Read(change) => self.delivered(call, mark, change),
        }
    }

    /// Resolves what is due into the volume.
    async fn deliver(
        &self,
        call: &Call<'_>,
        read: Read,
        volume: &mut Remembered,
        mark: &mut Mark,
    ) -> Result<Came, Refusal> {
        let (es, version, goes_on_denial) = (read.es.clone(), version_of(&read.es), read.goes_on_denial);
        let waits = volume.again.as_ref().is_some_and(|(again, failed)| *again > self.now() && *failed == version);
        if waits {
            return volume
                .told
                .clone()
                .map_or(Ok(Came::Nothing), |told| Err(Refusal::new(Kind::Temporary, Told::without_values(told))));
        }
        // Before it is mounted: whoever is killed in between has it known.
        self.marks.write(mark)?;
        let Visit { place, writer, until, .. } = call.visit;
        let arrived = self.now();
        let shared = call.identity.shared(read.login);
        let name = es.metadata.name.as_deref().unwrap_or_default();
        let mut memory = volume.memory.clone();
        mark.synced.clone().into_iter().for_each(|synced| synced.recall(&mut memory));
        // Who asks stores for nothing that others have waits for nobody who does.
        let waits = volume.memory.failures > 0 || is_due(&es, &version, memory.last.as_ref(), arrived);
        let _alone = if waits && !generates(&es) { Some(alone(&shared, name, until).await?) } else { None };
        let known = Mutex::new(volume.shown.take());
        let target = Target { wanted: call.wanted, place, writer, known };
        let stores = call.identity.stores(read.login);
        let sharing =
            Sharing::new(stores, shared.clone(), arrived, (name, &version, interval(&es)), memory.last.as_ref());
        // Another pod has newer values: this one takes them along, though it is not due.
        memory.last = memory.last.filter(|last| !shared.is_newer(&es, last));
        let looked = self.run(call, read, memory, (&target, &sharing)).await;
        volume.shown = target.known.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Looked { outcome, memory, next, .. } = looked?;
        volume.memory = memory;
        if let (Outcome::Synced(_), Some(last)) = (&outcome, &mut volume.memory.last) {
            // It is as old as the oldest of what it shows.
            last.at = sharing.oldest();
            sharing.is_read(name, &version);
        }
        mark.synced = Synced::of(&volume.memory);
        volume.again = match outcome {
            Outcome::Failed(_) => next.map(|next| (next, version)),
            _ => None,
        };
        self.came(name, outcome, goes_on_denial)
    }

    /// What there is to do about files after a look at an ExternalSecret of this name.
    fn came(&self, name: &str, outcome: Outcome, goes_on_denial: bool) -> Result<Came, Refusal> {
        match outcome {
            Outcome::Synced(synced) if synced.result == SyncResult::Deleted => {
                if synced.change == TargetChange::Deleted {
                    self.metrics.emptied.with_label_values(&["missing"]).inc();
                }
                let why =
                    format!("the store says that nothing of ExternalSecret {name:?} is there (deletionPolicy: Delete)");
                Ok(Came::Gone("missing", Told::without_values(why)))
            }
            Outcome::Synced(synced) => Ok(Came::Read(synced.change)),
            Outcome::Settled { .. } => Ok(Came::Read(TargetChange::Nothing)),
            Outcome::Waiting(_) => Ok(Came::Nothing),
            Outcome::Failed(failure) if failure.denied && goes_on_denial => Ok(Came::Gone("denied", failure.told())),
            Outcome::Failed(failure) => Err(failure.into()),
            Outcome::Ignored => Err(Refusal::new(
                Kind::Condition,
                "a store of the ExternalSecret belongs to another controller class (--controller-class)",
            )),
            Outcome::Holding | Outcome::Released | Outcome::MountOnly => {
                Err(Refusal::new(Kind::Temporary, "the ExternalSecret is being changed"))
            }
        }
    }

    /// One look at it, which is given up where it takes too long: not while it writes.
    async fn run(
        &self,
        call: &Call<'_>,
        read: Read,
        memory: Memory,
        (target, stores): (&Target<'_>, &Sharing),
    ) -> Result<Looked, Refusal> {
        let (cancel, budget, cancelled) = Cancel::new();
        let of_pod = Arc::new(OfPod { pod: call.wanted.pod.clone(), audit: self.audit.clone() });
        let ledger = &self.tending.ledger;
        let place = call.visit.place;
        let held = Held::none(place, &call.wanted.pod, &call.wanted.external_secret, read.login == Login::ByMount);
        let ports = Ports {
            stores: Arc::new(stores.clone()),
            objects: call.identity.objects(),
            journal: of_pod.clone(),
            audit: of_pod,
            compute: self.compute.clone(),
            states: ledger.of(held),
        };
        let look = Look {
            es: read.es,
            stores: read.stores,
            began: self.now(),
            is_asked_for: true,
            namespace_labels: read.labels.map(Arc::new),
            seen: Seen::Unknown,
            sources: Default::default(),
            memory,
            states: ledger.known(place),
            budget,
            cancelled,
        };
        let planning = ports.stores.planning();
        let mut looking = Box::pin(keyferry_sync::run(&ports, target, &self.settings, Box::new(look), planning));
        if let Ok(looked) = timeout_at(call.visit.until, &mut looking).await {
            return Ok(looked);
        }
        cancel.cancel();
        looking.await;
        Err(Refusal::new(Kind::Late, "its stores did not answer in time"))
    }

    fn delivered(&self, call: &Call<'_>, mut mark: Mark, change: TargetChange) -> Result<(), Refusal> {
        let is_new = match call.visit.writer {
            Writer::Us { .. } => !call.visit.stands,
            Writer::Another(_) => !mark.is_delivered,
        };
        mark.is_delivered = true;
        self.marks.write(&mark)?;
        if let Writer::Us { .. } = call.visit.writer {
            self.volumes.stands(call.visit.place, true);
        }
        self.metrics.stands(&mark);
        if is_new {
            self.metrics.mounts.inc();
        }
        let word = match change {
            TargetChange::Created => "created",
            TargetChange::Updated => "updated",
            TargetChange::Deleted | TargetChange::Nothing => return Ok(()),
        };
        self.metrics.deliveries.with_label_values(&[word]).inc();
        let Pod { namespace, name: pod, .. } = &call.wanted.pod;
        tracing::info!(namespace, pod, external_secret = call.wanted.external_secret, word, "delivered");
        Ok(())
    }

    /// Takes the files away; the volume stands. They come back with what was there before.
    fn empty(
        &self,
        call: &Call<'_>,
        volume: &mut Remembered,
        mark: Mark,
        reason: &'static str,
        why: Told,
    ) -> Result<(), Refusal> {
        let Visit { place, writer, .. } = call.visit;
        let target = Target { wanted: call.wanted, place, writer, known: Mutex::default() };
        let had_files = target.clear().map_err(Refusal::from)?;
        self.tending.ledger.let_go(place);
        // What the store says is gone is asked for again when that is due; all else at once when it is back.
        if reason != "missing" {
            (volume.memory, volume.shown) = (Memory::default(), None);
        }
        let synced = mark.synced.clone().filter(|_| reason == "missing");
        self.marks.write(&Mark { is_delivered: true, synced, ..mark })?;
        if had_files {
            self.metrics.emptied.with_label_values(&[reason]).inc();
        }
        Err(Refusal::new(Kind::Absent, keyferry_sync::told!("the files were taken away: {}", why)))
    }

    /// Does what is due about what generators made, and tells where it can't be done.
    async fn tend(&self, call: &Call<'_>, volume: &mut Remembered) {
        let Visit { place, until, .. } = call.visit;
        let until = until.min(Instant::now() + TENDING);
        let tended = self.tending.tend(place, call.identity, until).await;
        let why = tended.err();
        if let Some(why) = why.as_ref().filter(|why| volume.lease_told.as_deref() != Some(why.as_str())) {
            tracing::warn!(place = %place.display(), "{why}");
            self.tell(Some(&call.wanted.pod), Severity::Warning, "MountLease", why.clone());
        }
        volume.lease_told = why.map(Told::into_string);
    }
}

/// Waits until no other pod of the ServiceAccount resolves it.
async fn alone(shared: &Shared, external_secret: &str, until: Instant) -> Result<OwnedMutexGuard<()>, Refusal> {
    let late = |_| Refusal::new(Kind::Late, "another pod of its ServiceAccount still waits for the same stores");
    timeout_at(until, shared.alone(external_secret)).await.map_err(late)
}

/// Whether a refresh is due by the ExternalSecret's own rules, of what was read `last`.
fn is_due(es: &ExternalSecret, version: &str, last: Option<&LastSync>, now: Timestamp) -> bool {
    let Some(last) = last else { return true };
    if last.version != version {
        return interval(es).is_some() || es.spec.refresh_policy == RefreshPolicy::OnChange;
    }
    let is_open = |windows| windows::opening(windows, now).is_some_and(|opening| opening <= now);
    after_success(es, last.at).is_some_and(|at| at <= now) && es.spec.sync_windows.as_ref().is_none_or(is_open)
}

/// Reads the objects. What goes for want of them is told apart from what can't be read now.
async fn read(
    reader: &Reader<'_>,
    (name, inline): (&str, Option<ExternalSecret>),
    marks: &Marks,
    mark: &mut Mark,
    now: Timestamp,
) -> Result<Result<Read, Came>, Refusal> {
    let es = match inline {
        Some(es) => Ok(es),
        None => reader.external_secret(name).await,
    };
    match es {
        Ok(es) => {
            // Whatever becomes of its stores, and though this process may end: the next refusal is the first again.
            if mark.refused_since.take().is_some() && mark.is_delivered {
                marks.write(mark)?;
            }
            reader.read(es).await.map(Ok)
        }
        Err(Unread::Gone(why)) => Ok(Err(Came::Gone("deleted", why))),
        Err(Unread::Other(refusal)) => Err(refusal),
        Err(Unread::Refused(refusal)) => {
            let since = *mark.refused_since.get_or_insert(now);
            if mark.is_delivered {
                marks.write(mark)?;
            }
            let for_long = now.duration_since(since).unsigned_abs() >= REFUSED_FOR;
            if for_long { Ok(Err(Came::Gone("refused", refusal.message))) } else { Err(refusal) }
        }
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
