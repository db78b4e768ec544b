//! The life of a volume: it comes to be, is asked for again and again, and goes. The first mount fails with its cause. From then
//! on the volume stands: whatever happens it is answered for, never mounted or unmounted, and told of by an event on the pod.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use keyferry_files::volume::Volume;
use keyferry_sync::record::Severity;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout_at};

use crate::leases::Held;
use crate::look::{Asked, Visit};
use crate::marks::Mark;
use crate::mounts::{self, Mounted, Usage};
use crate::node::Node;
use crate::place;
use crate::refusal::{Kind, Refusal};
use crate::rpc::csi::NodePublishVolumeRequest;
use crate::rpc::csi::volume_capability::AccessType;
use crate::target::Writer;
use crate::tending::AT_THE_END;
use crate::tokens::{Asker, Tokens};
use crate::volumes::Remembered;
use crate::wanted::{Pod, Wanted};

/// How long a call may take in all: the kubelet gives up after two minutes.
pub(crate) const LONGEST: Duration = Duration::from_secs(100);

impl Node {
    /// Takes note of the volumes that a process before this one left. Fails where it can't be told which those are: for what
    /// does not stand, what was made is revoked.
    pub fn begin(&self) -> Result<(), Refusal> {
        let standing = mounts::below(&self.kubelet.join("pods"))?;
        for mark in self.marks.all() {
            if standing.contains(&mark.target) {
                self.volumes.stands(&mark.target, mark.is_delivered);
                self.metrics.stands(&mark);
            }
        }
        self.tending.ledger.begin(&|target| standing.iter().any(|place| place == target));
        self.metrics.mounts.set(i64::try_from(standing.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// The same of volumes that another driver mounts.
    pub(crate) fn begin_beside(&self) {
        for mark in self.marks.all().into_iter().filter(|mark| mark.is_delivered) {
            self.metrics.stands(&mark);
            self.metrics.mounts.inc();
        }
        self.tending.ledger.begin(&Path::exists);
    }

    /// Forgets the volumes that another driver mounted, and that have ended, and revokes what was made for them.
    pub(crate) async fn sweep(&self) {
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

    /// How full a volume is. What can be none of ours is not there.
    pub fn usage(&self, target: &str) -> Result<Usage, Refusal> {
        let place =
            place::target(target, &self.kubelet).map_err(|refusal| Refusal { kind: Kind::Absent, ..refusal })?;
        mounts::usage(&place)
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
