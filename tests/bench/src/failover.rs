//! What a second replica is worth: the one that leads is killed, again and again, in the middle of a rotation, and the one
//! that stands by goes on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde::Serialize;

use crate::bed::Bed;
use crate::double::Double;
use crate::fleet::Fleet;
use crate::report::progress;
use crate::subject::Subject;
use crate::watch::Watch;

/// How long everything else may take: machines are busy.
const SOON: Duration = Duration::from_secs(180);

/// How long after the Lease has lasted out the other is to ask the store.
const GRACE: Duration = Duration::from_secs(2);

/// What is done.
pub struct Settings {
    /// The ExternalSecrets.
    pub fleet: Fleet,
    /// How often the one that leads is killed.
    pub rounds: usize,
    /// How long the Lease lasts.
    pub lease: Duration,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// From each kill to the first call of the other's, in seconds.
    pub first_call: Vec<f64>,
    /// From each kill until all held the new values.
    pub all_synced: Vec<f64>,
    /// Secrets that were written twice in a round, or otherwise ill.
    pub faults: Vec<String>,
    /// How long the Lease lasts, in seconds.
    pub lease: f64,
}

impl Report {
    /// What is not as it must be.
    pub fn complaints(&self) -> Vec<String> {
        let most = self.lease + GRACE.as_secs_f64();
        let late = self.first_call.iter().enumerate().filter(|(_, took)| **took > most);
        let late = late.map(|(n, took)| format!("after kill {} nobody asked the store for {took:.1} s", n + 1));
        late.chain(self.faults.iter().cloned()).collect()
    }

    /// For people.
    pub fn table(&self) -> String {
        let row = |what: &str, all: &[f64]| {
            let mut sorted = all.to_vec();
            sorted.sort_by(f64::total_cmp);
            let (median, most) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
            format!("{what:<44} {median:>8.1} s {most:>8.1} s\n")
        };
        let Self { first_call, all_synced, faults, lease } = self;
        format!(
            "{} kills, a Lease of {lease} s{:>33} {:>10}\n{}{}writes of a Secret beyond one a rotation {:>14}\n",
            first_call.len(),
            "median",
            "most",
            row("from the kill to the other's first call", first_call),
            row("from the kill until all hold the new values", all_synced),
            faults.len(),
        )
    }
}

/// Kills the one that leads so often.
pub async fn run(Settings { fleet, rounds, lease }: Settings) -> Result<Report> {
    let (bed, double) = (Bed::start().await?, Double::start());
    fleet.put_store(&bed, &double).await?;
    fleet.put_values(&bed, &double, 1).await?;
    let watch = Watch::open(&bed.client()).await?;
    bed.create(&fleet.external_secrets()).await?;
    let lasts = format!("--leader-election-lease-duration={}ms", lease.as_millis());
    let renew = format!("--leader-election-renew-deadline={}ms", lease.as_millis() * 2 / 3);
    let retry = format!("--leader-election-retry-period={}ms", (lease.as_millis() / 10).min(2000));
    let start = || Subject::start(bed.testbed(), &double, None, &[&lasts, &renew, &retry]);
    // The oldest leads: whoever comes later finds the Lease held.
    let mut replicas = VecDeque::from([start()?]);
    let mut report = Report { first_call: vec![], all_synced: vec![], faults: vec![], lease: lease.as_secs_f64() };
    let synced = |round| {
        let fleet = &fleet;
        move |seen: &crate::watch::Seen| seen.missing(fleet, round)
    };
    watch.until("synced", SOON, || replicas[0].check(), synced(1)).await?;
    for round in 2..rounds + 2 {
        replicas.push_back(start()?);
        until_it_stands_by(&replicas[1]).await?;
        fleet.put_values(&bed, &double, round).await?;
        // Some are written, others not.
        let into_it = Duration::from_millis(rand::random_range(0..2 * fleet.interval * 1000));
        tokio::time::sleep(into_it).await;
        replicas.pop_front().ok_or_else(|| anyhow!("nobody leads"))?.kill();
        let killed = Instant::now();
        double.reset_counts();
        let first = loop {
            if let Some(call) = double.counts().log().iter().find(|call| call.at > killed) {
                break call.at - killed;
            }
            replicas[0].check()?;
            if killed.elapsed() > lease + SOON {
                return Err(anyhow!("nobody goes on; the end of the log:\n{}", replicas[0].log_end()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        report.first_call.push(first.as_secs_f64());
        let all = watch.until("synced", SOON, || replicas[0].check(), synced(round)).await?;
        report.all_synced.push((all - killed).as_secs_f64());
        progress(&format!("kill {} of {rounds}: the other went on after {:.1} s", round - 1, first.as_secs_f64()));
    }
    report.faults = watch.look(|seen| {
        let often = seen.history.versions.iter().filter(|(_, versions)| **versions > rounds + 1);
        let often = often.map(|((namespace, name), n)| format!("{namespace}/{name} was written {n} times"));
        seen.history.faults.iter().cloned().chain(often).collect()
    });
    replicas.into_iter().try_for_each(Subject::stop)?;
    Ok(report)
}

async fn until_it_stands_by(replica: &Subject) -> Result<()> {
    let begun = Instant::now();
    while !replica.log().contains("standing by: all is listed") {
        if begun.elapsed() > SOON {
            return Err(anyhow!("it does not stand by; the end of its log:\n{}", replica.log_end()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
