//! The life of a volume: it comes to be, is asked for again and again, and goes. The first mount fails with its cause. From then
//! on the volume stands: whatever happens it is answered for, never mounted or unmounted, and told of by an event on the pod.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use keyferry_cluster::events::Events;
use keyferry_crds::ExternalSecret;
use keyferry_files::volume::Volume;
use keyferry_sync::audit::Audit;
use keyferry_sync::hash::version_of;
use keyferry_sync::look::{Cancel, Look, Looked, Memory, Seen};
use keyferry_sync::outcome::{Outcome, SyncResult, TargetChange};
use keyferry_sync::ports::{Compute, Ports};
use keyferry_sync::record::{Note, Severity};
use keyferry_sync::schedule::interval;
use keyferry_sync::settings::Settings;
use keyferry_sync::told::Told;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout_at};

use crate::identity::{Identities, Identity, Login};
use crate::leases::Held;
use crate::marks::{Mark, Marks};
use crate::metrics::Metrics;
use crate::mounts::{self, Mounted};
use crate::place;
use crate::reading::{Read, Reader, Unread};
use crate::refusal::{Kind, Refusal};
use crate::rpc::csi::NodePublishVolumeRequest;
use crate::rpc::csi::volume_capability::AccessType;
use crate::sharing::Sharing;
use crate::target::{Target, Writer};
use crate::telling::{OfPod, event};
use crate::tending::{AT_THE_END, Tending};
use crate::tokens::{Asker, Tokens};
use crate::volumes::{Remembered, Volumes};
use crate::wanted::{Pod, Wanted};

/// How long a call may take in all: the kubelet gives up after two minutes.
pub(crate) const LONGEST: Duration = Duration::from_secs(100);

/// For so long the API server must refuse a pod before its files go: what is granted anew is known some moments later.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// So long a call goes on with what generators made, after the volume is as it should be.
const TENDING: Duration = Duration::from_secs(30);

/// What a node does, and with what.
pub struct Node {
    /// How is resolved: the flags.
    pub settings: Arc<Settings>,
    /// The kubelet's folder.
    pub kubelet: PathBuf,
    /// Whether what we mount may go to swap.
    pub may_swap: bool,
    /// Whether stores may be logged in to as they say.
    pub allows_static_logins: bool,
    /// What is written down.
    pub marks: Marks,
    /// What prolongs and revokes what generators made.
    pub tending: Tending,
    /// As whom all is read.
    pub identities: Identities,
    /// A client with the node's own rights.
    pub own: kube::Client,
    /// Where events go.
    pub events: Events,
    /// Where records of deliveries go.
    pub audit: Arc<dyn Audit>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where is computed what may take long.
    pub compute: Arc<dyn Compute>,
    /// The volumes of this process.
    pub volumes: Volumes,
}

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
    fn now(&self) -> Timestamp {
        (self.settings.now)()
    }

    /// Takes note of the volumes that a process before this one left.
    pub fn begin(&self) {
        let standing = mounts::below(&self.kubelet.join("pods"));
        for mark in self.marks.all() {
            if standing.contains(&mark.target) {
                self.volumes.stands(&mark.target, mark.is_delivered);
                self.metrics.stands(&mark);
            }
        }
        self.tending.ledger.begin(&|target| standing.iter().any(|place| place == target));
        self.metrics.mounts.set(i64::try_from(standing.len()).unwrap_or(i64::MAX));
    }

    /// The same of volumes that another driver mounts.
    pub fn begin_beside(&self) {
        for mark in self.marks.all().into_iter().filter(|mark| mark.is_delivered) {
            self.metrics.stands(&mark);
            self.metrics.mounts.inc();
        }
        self.tending.ledger.begin(&Path::exists);
    }

    /// Forgets the volumes that another driver mounted, and that have ended, and revokes what was made for them.
    pub async fn sweep(&self) {
        let mut ended = Vec::new();
        for mark in self.marks.all().into_iter().filter(|mark| !mark.target.exists()) {
            let volume = self.volumes.of(&mark.target);
            // Whoever is at it sees for himself.
            let Ok(_alone) = volume.try_lock() else { continue };
            self.metrics.forget(&mark);
            if mark.is_delivered {
                self.metrics.mounts.dec();
            }
            let _ = self.marks.remove(&mark.target).inspect_err(|refusal| tracing::warn!("{}", refusal.message));
            self.volumes.forget(&mark.target);
            self.tending.ledger.end(&mark.target);
            ended.push(mark.target);
        }
        // A store that does not answer holds up none of the others'.
        join_all(ended.iter().map(|place| self.revoke(place))).await;
    }

    /// Has a volume be there, and as it should be now. Older kubelets delete the folder of a volume on an error, so that one that
    /// stands is answered for whatever happens, though there be no file to open left, or a bug.
    pub async fn publish(self: Arc<Self>, request: NodePublishVolumeRequest) -> Result<(), Refusal> {
        let place = PathBuf::from(&request.target_path);
        // Whoever asked may be gone: what has begun is ended all the same, and answered to nobody.
        let node = self.clone();
        let done = tokio::spawn(async move { node.have(request).await }).await;
        answered(done, self.volumes.is_standing(&place))
    }

    async fn have(&self, mut request: NodePublishVolumeRequest) -> Result<(), Refusal> {
        let until = Instant::now() + LONGEST;
        let place = place::target(&request.target_path, &self.kubelet)?;
        let volume = self.volumes.of(&place);
        let mut volume = alone(&volume, until).await?;
        let mark = self.marks.read(&place);
        let stands = self.stands(&place, mark.as_ref())?;
        self.volumes.stands(&place, stands);
        let pod = Wanted::of(&request.volume_context, "").ok().map(|wanted| wanted.pod);
        let writer = Writer::Us { may_swap: self.may_swap };
        let visit = Visit { place: &place, writer, stands, until };
        let came = match asked(&mut request) {
            Ok(asked) => self.look(visit, &mut volume, asked, mark).await,
            Err(refusal) => Err(refusal),
        };
        match self.conclude(visit, &mut volume, pod.as_ref(), came) {
            Err(refusal) if !stands => {
                self.clear_away(&place);
                Err(refusal)
            }
            // It is told of by an event.
            _ => Ok(()),
        }
    }

    /// Counts what a call came to, and tells of it on the pod where that is news; the first mount tells whoever asked.
    pub(crate) fn conclude(
        &self,
        Visit { place, stands, .. }: Visit<'_>,
        volume: &mut Remembered,
        pod: Option<&Pod>,
        came: Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let result = if came.is_ok() {
            "ok"
        } else if stands {
            "kept"
        } else {
            "failed"
        };
        self.metrics.publishes.with_label_values(&[result]).inc();
        let Err(refusal) = came else {
            // What is gone from the store stays so until it is asked for again.
            if !volume.memory.absence_is_fine && volume.told.take().is_some() {
                let words = "what is mounted is as it should be again";
                self.tell(pod, Severity::Normal, "MountRefreshed", words.into());
            }
            return Ok(());
        };
        if !stands {
            tracing::warn!(place = %place.display(), "can't mount: {}", refusal.message);
        } else if volume.told.as_deref() != Some(refusal.message.as_str()) {
            volume.told = Some(refusal.message.as_str().to_owned());
            tracing::warn!(place = %place.display(), "can't refresh what is mounted: {}", refusal.message);
            self.tell(pod, Severity::Warning, "MountNotRefreshed", refusal.message.clone());
        }
        Err(refusal)
    }

    /// Has a volume be gone.
    pub async fn unpublish(&self, target: &str) -> Result<(), Refusal> {
        let place = place::target(target, &self.kubelet)?;
        let volume = self.volumes.of(&place);
        let _alone = volume.lock().await;
        let was_there = mounts::at(&place)? == Mounted::Ours;
        self.volumes.stands(&place, false);
        mounts::unmount(&place)?;
        if let Some(mark) = self.marks.read(&place) {
            self.metrics.forget(&mark);
        }
        if was_there {
            self.metrics.mounts.dec();
        }
        self.marks.remove(&place)?;
        self.volumes.forget(&place);
        self.tending.ledger.end(&place);
        self.revoke(&place).await;
        Ok(())
    }

    /// Revokes what was made for a volume that is gone. Nobody gives no token for that: it is done with the last that a pod of
    /// the same ServiceAccount came with. Where that can't be, the next such pod's is used.
    async fn revoke(&self, place: &Path) {
        let Some(Held { namespace, service_account, .. }) = self.tending.ledger.held(place) else { return };
        let Some(identity) = self.identities.known(&namespace, &service_account) else { return };
        if let Err(why) = self.tending.volume(place, &identity, Instant::now() + AT_THE_END).await {
            tracing::warn!(namespace, service_account, "{why}: the next pod of the ServiceAccount here has it done");
        }
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

    /// Whether files were there once. What was mounted when a process was killed, and never shown, does not stand.
    fn stands(&self, place: &Path, mark: Option<&Mark>) -> Result<bool, Refusal> {
        if mounts::at(place)? != Mounted::Ours {
            return Ok(false);
        }
        let shows = || Volume::open(place).is_ok_and(|volume| volume.shows_files().unwrap_or_default());
        Ok(mark.is_some_and(|mark| mark.is_delivered) || shows())
    }

    /// Leaves nothing of a mount that failed.
    fn clear_away(&self, place: &Path) {
        let was_there = mounts::at(place).is_ok_and(|mounted| mounted == Mounted::Ours);
        if was_there || place.exists() {
            // The kubelet asks for it again, or for its end.
            let _ = mounts::unmount(place).inspect_err(|refusal| tracing::warn!("{}", refusal.message));
        }
        let _ = self.marks.remove(place).inspect_err(|refusal| tracing::warn!("{}", refusal.message));
        self.tending.ledger.end(place);
        self.volumes.forget(place);
    }

    fn tell(&self, pod: Option<&Pod>, severity: Severity, reason: &'static str, message: Told) {
        if let Some(pod) = pod {
            event(&self.events, pod, Note::new(severity, reason, message));
        }
    }

    /// Reads what is asked for and does what is due; an error is why it could not be done.
    pub(crate) async fn look(
        &self,
        visit: Visit<'_>,
        volume: &mut Remembered,
        Asked { tokens, wanted, inline }: Asked,
        mark: Option<Mark>,
    ) -> Result<(), Refusal> {
        let Visit { place, stands, until, .. } = visit;
        // Each has its turn before it holds anything.
        let _turn = self.volumes.turn(&wanted.pod.namespace, until).await?;
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
        let late = |_| Refusal::new(Kind::Late, "another pod of its ServiceAccount still waits for the same stores");
        let _alone = timeout_at(until, shared.alone(name)).await.map_err(late)?;
        let known = Mutex::new(volume.shown.take());
        let target = Target { wanted: call.wanted, place, writer, known };
        let mut memory = volume.memory.clone();
        memory.last = memory.last.or_else(|| mark.synced.clone().map(Into::into));
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
            shared.is_read(name, &version, last.at);
        }
        mark.synced = volume.memory.last.clone().map(Into::into);
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
            namespace_labels: read.labels,
            seen: Seen::Unknown,
            sources: Default::default(),
            memory,
            states: ledger.known(place),
            budget,
            cancelled,
        };
        let planning = ports.stores.planning();
        let mut looking = Box::pin(keyferry_sync::run(&ports, target, &self.settings, look, planning));
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
}

/// What is answered of a call that came to this.
fn answered(done: Result<Result<(), Refusal>, JoinError>, stands: bool) -> Result<(), Refusal> {
    let bug = |_| Err(Refusal::of_node("a bug of keyferry ended it; please report it"));
    done.unwrap_or_else(bug).or_else(|refusal| {
        if !stands {
            return Err(refusal);
        }
        tracing::warn!("what is mounted stays as it is: {}", refusal.message);
        Ok(())
    })
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

/// What the kubelet asks for.
fn asked(request: &mut NodePublishVolumeRequest) -> Result<Asked, Refusal> {
    let tokens = Tokens::take(Asker::Kubelet, &mut request.secrets, &mut request.volume_context)?;
    let wanted = Wanted::of(&request.volume_context, group(request)?)?;
    Ok(Asked { tokens, wanted, inline: None })
}

/// Waits until nobody else is at a volume.
pub(crate) async fn alone(
    volume: &tokio::sync::Mutex<Remembered>,
    until: Instant,
) -> Result<tokio::sync::MutexGuard<'_, Remembered>, Refusal> {
    let late = |_| Refusal::new(Kind::Late, "what was asked for the volume before is still under way");
    timeout_at(until, volume.lock()).await.map_err(late)
}

/// The group that the kubelet names, where the volume is of files.
fn group(request: &NodePublishVolumeRequest) -> Result<&str, Refusal> {
    match request.volume_capability.as_ref().and_then(|capability| capability.access_type.as_ref()) {
        Some(AccessType::Mount(mount)) => Ok(&mount.volume_mount_group),
        Some(AccessType::Block(_)) => Err(Refusal::invalid("csi.keyferry.io has files and no devices".to_owned())),
        None => Err(Refusal::invalid("the kubelet did not say what the volume is used for".to_owned())),
    }
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;
