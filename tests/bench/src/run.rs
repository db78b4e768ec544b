//! The phases of a run, and what is measured in each.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::api::Requests;
use crate::bed::Bed;
use crate::double::{Double, Rule};
use crate::fleet::{self, Fleet, UNRELATED};
use crate::report::{Phase, Report, progress};
use crate::subject::Subject;
use crate::urgent::{Waits, waits};
use crate::watch::Watch;
use crate::{bare, usage};

/// After the last Secret, statuses and events may still be on their way: a phase ends when nothing came for so long.
const SETTLE: Duration = Duration::from_secs(3);
const LONGEST_SETTLE: Duration = Duration::from_secs(60);

/// How long everything may take at most, beside the interval.
const LIMIT: Duration = Duration::from_secs(600);

/// So many large Secrets are made at a time.
const CHUNK: usize = 200;

/// What to run.
pub struct Settings {
    /// The objects.
    pub fleet: Fleet,
    /// How long each answer of the store takes.
    pub latency: Duration,
    /// The operator's command line; keyferry where there is none.
    pub operator: Option<String>,
    /// How long idle refreshes are watched.
    pub idle: Duration,
    /// How many are created and edited while all refresh, and as many again while all are rotated.
    pub urgent: usize,
    /// How many Secrets there are that are nobody's.
    pub unrelated: usize,
}

/// Everything that is running.
struct Run {
    bed: Bed,
    double: Double,
    watch: Watch,
    subject: Subject,
    fleet: Fleet,
}

/// Where the counters stood when a phase began.
struct Before {
    at: Instant,
    requests: Requests,
    cpu: f64,
}

/// Runs all phases; nothing is left running.
pub async fn run(settings: Settings) -> Result<Report> {
    let Settings { fleet, latency, operator, idle, urgent, unrelated } = settings;
    progress("starting a control plane");
    let bed = Bed::start().await?;
    let double = Double::start();
    progress(&format!("a bare client writes {} Secrets and statuses", fleet.objects));
    let bare = bare::writes(&bed, &fleet).await.context("the bare client")?;

    progress(&format!("creating {} ExternalSecrets", fleet.objects));
    let with_urgent = Fleet { objects: fleet.objects + 2 * urgent, ..fleet.clone() };
    with_urgent.put_store(&bed, &double).await?;
    with_urgent.put_values(&bed, &double, 1).await?;
    bed.create(&fleet.external_secrets()).await?;
    if unrelated > 0 {
        progress(&format!("creating {unrelated} Secrets that are nobody's"));
        bed.namespace(UNRELATED).await?;
        for chunk in (0..unrelated).collect::<Vec<_>>().chunks(CHUNK) {
            bed.create(&chunk.iter().map(|n| fleet::unrelated(*n)).collect::<Vec<_>>()).await?;
        }
    }
    double.script(Rule::delay(latency));
    let watch = Watch::open(&bed.client()).await?;
    tokio::time::sleep(SETTLE).await;

    progress("starting the operator: first sync");
    let requests = Requests::read(&bed.client()).await?;
    let at = Instant::now();
    let subject = Subject::start(bed.testbed(), &double, operator.as_deref(), &[])?;
    let mut run = Run { bed, double, watch, subject, fleet };
    let ready = run.wait_for(1, "Ready").await?;
    let first = run.end("first sync", Before { at, requests, cpu: 0.0 }, Some(ready)).await?;

    progress(&format!("idle refreshes for {} s", idle.as_secs()));
    let before = run.begin().await?;
    run.idle(idle).await?;
    let idle = run.end("idle refreshes", before, None).await?;

    progress("rotating all values");
    let before = run.begin().await?;
    run.fleet.put_values(&run.bed, &run.double, 2).await?;
    let ready = run.wait_for(2, "rotated").await?;
    let rotation = run.end("rotation", before, Some(ready)).await?;
    let waits = if urgent > 0 { run.urgent(urgent).await? } else { Vec::new() };

    let Run { subject, fleet, .. } = run;
    subject.stop()?;
    let report = Report::new(&fleet, latency, operator, bare, vec![first, idle, rotation]);
    Ok(Report { waits, unrelated, ..report })
}

impl Run {
    async fn begin(&self) -> Result<Before> {
        self.double.reset_counts();
        usage::forget_peak(self.subject.id());
        let requests = Requests::read(&self.bed.client()).await?;
        Ok(Before { at: Instant::now(), requests, cpu: usage::cpu_seconds(self.subject.id())? })
    }

    async fn wait_for(&mut self, round: usize, what: &str) -> Result<Instant> {
        let Self { watch, subject, fleet, .. } = self;
        let limit = LIMIT + Duration::from_secs(2 * fleet.interval);
        let done = watch.until(what, limit, || subject.check(), |seen| seen.missing(fleet, round)).await;
        done.with_context(|| format!("the end of the operator's log:\n{}", self.subject.log_end()))
    }

    /// Creates and edits some while all refresh, and while all are rotated.
    async fn urgent(&mut self, count: usize) -> Result<Vec<Waits>> {
        let first = self.fleet.objects;
        progress("creating and editing some while all refresh");
        let idle = waits(&self.bed, &self.watch, &self.fleet, first..first + count, 2).await?;
        progress("creating and editing some while all are rotated");
        self.fleet.put_values(&self.bed, &self.double, 3).await?;
        let rotating = waits(&self.bed, &self.watch, &self.fleet, first + count..first + 2 * count, 3).await?;
        self.wait_for(3, "rotated").await?;
        Ok(vec![Waits::of("while all refresh", idle), Waits::of("while all are rotated", rotating)])
    }

    async fn idle(&mut self, time: Duration) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let left = time.saturating_sub(begun.elapsed());
            tokio::time::sleep(left.min(Duration::from_secs(15))).await;
            self.subject.check()?;
            progress(&format!("idle for {} s", begun.elapsed().as_secs()));
        }
        Ok(())
    }

    /// The end of a phase, which was `ready` some moments ago.
    async fn end(&mut self, name: &str, before: Before, ready: Option<Instant>) -> Result<Phase> {
        let end = Instant::now();
        let mut requests = Requests::read(&self.bed.client()).await?.since(&before.requests);
        while ready.is_some() && end.elapsed() < LONGEST_SETTLE {
            tokio::time::sleep(SETTLE).await;
            let later = Requests::read(&self.bed.client()).await?.since(&before.requests);
            let is_quiet = later.of_operators() == requests.of_operators();
            requests = later;
            if is_quiet {
                break;
            }
        }
        self.subject.check()?;
        let id = self.subject.id();
        let counts = self.double.counts();
        Ok(Phase {
            name: name.to_owned(),
            seconds: ready.unwrap_or(end).duration_since(before.at).as_secs_f64(),
            keys_read: counts.keys(),
            store_calls: counts.by_action(),
            api_requests: requests.of_operators(),
            leases: requests.leases(),
            cpu_seconds: usage::cpu_seconds(id)? - before.cpu,
            peak_mib: usage::peak_mib(id)?,
        })
    }
}
