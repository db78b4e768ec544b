//! The Lease, held on the control thread: whoever computes can't keep it from being renewed, and whoever writes learns at
//! once that it is lost.

use std::path::PathBuf;
use std::time::Duration;

use keyferry_cluster::connection::of_operator;
use keyferry_cluster::leader::{self, Election, Lead};
use tokio::sync::oneshot;

use super::control::Control;

/// How long the process may live on without the Lease. No write is begun in that time; who does not get to ending, since all
/// threads compute, is ended.
const WITHOUT_LEASE: Duration = Duration::from_secs(1);

/// A Lease that is held until it is released or lost; or none, where nobody else is to be feared.
pub struct Held {
    lead: Lead,
    lost: oneshot::Receiver<()>,
    release: oneshot::Sender<oneshot::Sender<()>>,
}

/// Waits until the Lease is ours, with a client of its own; without an election none is needed. `None` where `stop` came
/// first: then it is not ours. The error is for a person.
pub async fn hold(
    control: &Control,
    kubeconfig: Option<PathBuf>,
    election: Option<Election>,
    stop: impl Future<Output = ()>,
) -> Result<Option<Held>, String> {
    let (losing, lost) = oneshot::channel();
    let (release, mut released) = oneshot::channel::<oneshot::Sender<()>>();
    let lead = match election {
        None => {
            control.spawn(async move {
                // Kept, as it would be lost by being dropped.
                let _losing = losing;
                let _ = released.await;
            });
            Lead::always()
        }
        Some(election) => {
            let acquired = control.run(async move {
                let client = of_operator(kubeconfig.as_deref()).await?;
                let mut leadership = match leader::acquire(&client, &election, &mut released).await {
                    Ok(leadership) => leadership,
                    Err(done) => {
                        let _ = done.map(|done| done.send(()));
                        return Ok(None);
                    }
                };
                let lead = leadership.lead();
                tokio::spawn(async move {
                    let done = tokio::select! { () = leadership.hold() => None, done = released => done.ok() };
                    match done {
                        Some(done) => {
                            leadership.release().await;
                            let _ = done.send(());
                        }
                        None => {
                            drop(losing);
                            tokio::time::sleep(WITHOUT_LEASE).await;
                            std::process::exit(1);
                        }
                    }
                });
                Ok::<_, String>(Some(lead))
            });
            let acquired = tokio::select! {
                acquired = acquired => acquired??,
                () = stop => None,
            };
            let Some(lead) = acquired else {
                give_back(release).await;
                return Ok(None);
            };
            lead
        }
    };
    Ok(Some(Held { lead, lost, release }))
}

impl Held {
    /// Until when we may write.
    pub fn lead(&self) -> Lead {
        self.lead.clone()
    }

    /// Waits until it is lost; answers why we stop.
    pub async fn lost(&mut self) -> String {
        let _ = (&mut self.lost).await;
        "lost the Lease: stopping, so that only its holder works".to_owned()
    }

    /// Gives it back.
    pub async fn release(self) {
        give_back(self.release).await;
    }
}

/// Has whoever holds the Lease, or is about to, give it back, and waits for that.
async fn give_back(release: oneshot::Sender<oneshot::Sender<()>>) {
    let (done, given_back) = oneshot::channel();
    if release.send(done).is_ok() {
        let _ = given_back.await;
    }
}
