//! The Lease, held on the control thread: whoever computes can't keep it from being renewed, and whoever writes learns at
//! once that it is lost.

use std::path::PathBuf;
use std::time::Duration;

use keyferry_cluster::connection::of_operator;
use keyferry_cluster::leader::{self, Election, Lead};
use tokio::sync::{oneshot, watch};

use super::control::Control;

/// How long the process may live on without the Lease. No write is begun in that time; who does not get to ending, since all
/// threads compute, is ended.
const WITHOUT_LEASE: Duration = Duration::from_secs(1);

/// A Lease that is waited for, then held until it is released or lost; or none, where nobody else is to be feared.
pub struct Standing {
    lead: Lead,
    leads: watch::Receiver<bool>,
    ended: oneshot::Receiver<String>,
    release: oneshot::Sender<oneshot::Sender<()>>,
}

/// Stands for the Lease, with a client of its own; without an election none is needed.
pub fn stand(control: &Control, kubeconfig: Option<PathBuf>, election: Option<Election>) -> Standing {
    let (ending, ended) = oneshot::channel();
    let (release, mut released) = oneshot::channel::<oneshot::Sender<()>>();
    let (leading, leads) = watch::channel(election.is_none());
    let Some(election) = election else {
        control.spawn(async move {
            // Kept, as it would be lost by being dropped.
            let _kept = (ending, leading);
            let _ = released.await;
        });
        return Standing { lead: Lead::always(), leads, ended, release };
    };
    let lead = Lead::not_yet();
    let ours = lead.clone();
    control.spawn(async move {
        let client = match of_operator(kubeconfig.as_deref()).await {
            Ok(client) => client,
            Err(why) => return drop(ending.send(why)),
        };
        let mut leadership = match leader::acquire(&client, &election, &ours, &mut released).await {
            Ok(leadership) => leadership,
            Err(done) => return drop(done.map(|done| done.send(()))),
        };
        leading.send_replace(true);
        let done = tokio::select! { () = leadership.hold() => None, done = released => done.ok() };
        if let Some(done) = done {
            leadership.release().await;
            let _ = done.send(());
            return;
        }
        drop(ending);
        tokio::time::sleep(WITHOUT_LEASE).await;
        std::process::exit(1);
    });
    Standing { lead, leads, ended, release }
}

impl Standing {
    /// Until when we may write.
    pub fn lead(&self) -> Lead {
        self.lead.clone()
    }

    /// Told once the Lease is ours.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }

    /// Waits until it is lost, or can't be asked for; answers why we stop.
    pub async fn ended(&mut self) -> String {
        let lost = |_| "lost the Lease: stopping, so that only its holder works".to_owned();
        (&mut self.ended).await.unwrap_or_else(lost)
    }

    /// Gives it back, whether it is held or about to be, and waits for that.
    pub async fn release(self) {
        let (done, given_back) = oneshot::channel();
        if self.release.send(done).is_ok() {
            let _ = given_back.await;
        }
    }
}
