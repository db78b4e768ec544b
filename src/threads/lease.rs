//! The Lease, held on the control thread: whoever computes can't keep it from being renewed, and whoever writes learns at
//! once that it is lost. Or those of shards.

use std::path::PathBuf;
use std::time::Duration;

use keyferry_cluster::connection::of_operator;
use keyferry_cluster::leader::{self, Election, Lead};
use keyferry_cluster::shards::{FIRST, Held, Part, Shards, Work};
use tokio::sync::{oneshot, watch};

use super::control::Control;

/// How long the process may live on without the Lease. No write is begun in that time; who does not get to ending, since all
/// threads compute, is ended.
const WITHOUT_LEASE: Duration = Duration::from_secs(1);

/// A Lease that is waited for, then held until it is released or lost; or none, where nobody else is to be feared.
pub struct Standing {
    lead: Lead,
    ours: watch::Receiver<Part>,
    ended: oneshot::Receiver<String>,
    release: oneshot::Sender<oneshot::Sender<()>>,
}

/// How shards are stood for.
pub struct Sharding {
    /// How many there are.
    pub count: u32,
    /// Whether all is listed: who has not could do nothing with one.
    pub ready: watch::Receiver<bool>,
    /// What is done about them.
    pub work: watch::Receiver<Work>,
}

/// Stands for the Lease, with a client of its own; without an election none is needed.
pub fn stand(
    control: &Control,
    kubeconfig: Option<PathBuf>,
    election: Option<Election>,
    sharding: Option<Sharding>,
) -> Standing {
    let (ending, ended) = oneshot::channel();
    let (release, mut released) = oneshot::channel::<oneshot::Sender<()>>();
    let (leading, ours) = watch::channel(Part::default());
    let Some(election) = election else {
        let lead = Lead::always();
        leading.send_replace(Held::from([(FIRST, lead.clone())]).into());
        control.spawn(async move {
            // Kept, as it would be lost by being dropped.
            let _kept = (ending, leading);
            let _ = released.await;
        });
        return Standing { lead, ours, ended, release };
    };
    let lead = Lead::not_yet();
    let standing = Standing { lead: lead.clone(), ours, ended, release };
    if let Some(sharding) = sharding {
        control.spawn(async move {
            let client = match of_operator(kubeconfig.as_deref()).await {
                Ok(client) => client,
                Err(why) => return drop(ending.send(why)),
            };
            // Nothing ends where a shard is lost: others go on.
            let _kept = ending;
            stand_for_shards(client, election, sharding, lead, leading, released).await;
        });
        return standing;
    }
    control.spawn(async move {
        let client = match of_operator(kubeconfig.as_deref()).await {
            Ok(client) => client,
            Err(why) => return drop(ending.send(why)),
        };
        let mut leadership = match leader::acquire(&client, &election, &lead, &mut released).await {
            Ok(leadership) => leadership,
            Err(done) => return drop(done.map(|done| done.send(()))),
        };
        leading.send_replace(Held::from([(FIRST, lead)]).into());
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
    standing
}

/// Holds shards until they are to be released, and tells that.
async fn stand_for_shards(
    client: kube::Client,
    election: Election,
    sharding: Sharding,
    all: Lead,
    ours: watch::Sender<Part>,
    mut released: oneshot::Receiver<oneshot::Sender<()>>,
) {
    let Sharding { count, mut ready, work } = sharding;
    tokio::select! {
        done = &mut released => return drop(done.map(|done| done.send(()))),
        _ = ready.wait_for(|ready| *ready) => {}
    }
    let mut done = None;
    let stop = async { done = released.await.ok() };
    Shards::new(client, election, count, all, ours, work).hold(stop).await;
    let _ = done.map(|done| done.send(()));
}

impl Standing {
    /// Until when we may write at all.
    pub fn lead(&self) -> Lead {
        self.lead.clone()
    }

    /// What is ours, by shard: all is the first where there are none.
    pub fn ours(&self) -> watch::Receiver<Part> {
        self.ours.clone()
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
