//! Leader election by a Lease, with the semantics of client-go: whoever holds the Lease works, the others stand by.
//!
//! A holder's time is measured by our own clock from when we saw its last renewal, so that clocks need not agree. Who
//! can't renew for the renew deadline stops, well before the Lease lasts out and another may take it. That time begins
//! when a renewal was sent, not when its answer came: the others' may have begun then.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout};

use crate::problem::{ApiProblem, timely};

/// How long giving the Lease back may take.
pub(crate) const GIVING_BACK: Duration = Duration::from_secs(5);

/// How the Lease is used.
#[derive(Clone, Debug)]
pub struct Election {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Who we are: unique to this process.
    pub identity: String,
    /// How long it lasts without renewal.
    pub lease_duration: Duration,
    /// How long we try to renew it.
    pub renew_deadline: Duration,
    /// How long between two tries.
    pub retry_period: Duration,
    /// The wall clock, for times that people read.
    pub clock: fn() -> Timestamp,
}

impl Election {
    /// Whether the durations fit together; they must, or two could lead at once.
    pub fn check(&self) -> Result<(), String> {
        if self.lease_duration > self.renew_deadline && self.renew_deadline > self.retry_period {
            Ok(())
        } else {
            Err("--leader-election-lease-duration must be above --leader-election-renew-deadline, and that above \
                      --leader-election-retry-period"
                .to_owned())
        }
    }
}

tokio::task_local! {
    /// Under which lead is done what is done here: see [`Lead::over`].
    static LEAD: Lead;
}

/// Until when we may write. Whoever writes asks each time: one that stood still, and wakes after another took over, must
/// write nothing, even before it has learned of that. From then on the lease duration less the renew deadline is left for
/// what was begun to end.
#[derive(Clone, Debug)]
pub struct Lead {
    /// Since when it is counted, by the clock that nobody sets.
    began: Instant,
    /// In milliseconds since then.
    until: Arc<AtomicU64>,
    /// It lasts no longer than this one.
    within: Option<Arc<Lead>>,
}

impl Lead {
    /// For ever: there is no Lease.
    pub fn always() -> Self {
        Self { until: Arc::new(AtomicU64::new(u64::MAX)), ..Self::not_yet() }
    }

    /// Not yet: the Lease may be another's.
    pub fn not_yet() -> Self {
        Self { began: Instant::now(), until: Arc::default(), within: None }
    }

    /// For so long after the Lease was written, which was sent then.
    pub fn until(sent: Instant, lasts: Duration) -> Self {
        let lead = Self { began: sent, ..Self::not_yet() };
        lead.renewed(sent, lasts);
        lead
    }

    /// The Lease was written once more.
    pub fn renewed(&self, sent: Instant, lasts: Duration) {
        let until = sent.saturating_duration_since(self.began).saturating_add(lasts);
        self.until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// The same, and no longer than `outer`.
    pub fn within(self, outer: &Self) -> Self {
        Self { within: Some(Arc::new(outer.clone())), ..self }
    }

    /// It is over.
    pub(crate) fn lose(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether both are of the same time of holding the same Lease.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.until, &other.until)
    }

    /// Does `work` under this lead: what is written meanwhile, in the same task, asks this one, too.
    pub fn over<T>(self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        LEAD.scope(self, work)
    }

    /// The same for what takes no time.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> T {
        LEAD.sync_scope(self, work)
    }

    /// Under which lead this is done, where it is under any.
    pub fn here() -> Option<Self> {
        LEAD.try_with(Clone::clone).ok()
    }

    /// An error where another may lead.
    pub fn check(&self) -> Result<(), ApiProblem> {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now >= self.until.load(Ordering::Acquire) {
            return Err(ApiProblem::NotLeading);
        }
        self.within.as_ref().map_or(Ok(()), |outer| outer.check())
    }
}

/// A Lease that we hold.
pub struct Leadership {
    api: Api<Lease>,
    election: Election,
    lease: Lease,
    /// When what wrote it last was sent.
    renewed: Instant,
    lead: Lead,
}

/// Waits until the Lease is ours, which `lead` then tells, or until `stop`, whose word is the error. What is under way then
/// may have made it ours though we never hear of it: that is waited for, and the Lease given back.
pub async fn acquire<S>(
    client: &kube::Client,
    election: &Election,
    lead: &Lead,
    stop: impl Future<Output = S>,
) -> Result<Leadership, S> {
    let mut stop = pin!(stop);
    let api: Api<Lease> = Api::namespaced(client.clone(), &election.namespace);
    let (mut seen, mut told) = (None, None);
    let leadership = |lease, sent| Leadership::new(api.clone(), election.clone(), lease, sent, lead.clone());
    loop {
        let attempt = {
            let mut attempt = pin!(try_acquire(&api, election, &mut seen, |_| {}));
            tokio::select! {
                biased;
                why = &mut stop => {
                    if let Ok(Ok(Attempt::Ours(lease, sent))) = timeout(GIVING_BACK, attempt).await {
                        leadership(*lease, sent).release().await;
                    }
                    return Err(why);
                }
                attempt = &mut attempt => attempt,
            }
        };
        let mut pause = election.retry_period;
        match attempt {
            // An answer that took so long is worth nothing: the next try renews what it finds of us.
            Ok(Attempt::Ours(_, sent)) if sent.elapsed() >= election.renew_deadline => continue,
            Ok(Attempt::Ours(lease, sent)) => {
                lead.renewed(sent, election.renew_deadline);
                return Ok(leadership(*lease, sent));
            }
            Ok(Attempt::Theirs(holder, until)) => {
                // Who is gone is not waited for longer than its Lease lasts.
                pause = pause.min(until.saturating_duration_since(Instant::now()));
                if told.as_ref() != Some(&holder) {
                    tracing::info!(lease = election.name, holder, "standing by: another process holds the Lease");
                    told = Some(holder);
                }
            }
            // The next try tells who it was.
            Ok(Attempt::Conflict) => {}
            Err(problem) => {
                tracing::warn!(lease = election.name, namespace = election.namespace, %problem, "can't get the Lease; trying again")
            }
        }
        tokio::select! {
            why = &mut stop => return Err(why),
            () = sleep(pause) => {}
        }
    }
}

/// What a try to get a Lease came to.
pub(crate) enum Attempt {
    /// With when what wrote it was sent.
    Ours(Box<Lease>, Instant),
    /// Another holds it, until then where nobody renews it.
    Theirs(String, Instant),
    /// Another wrote it, just now.
    Conflict,
}

/// A holder's record as we last saw it, by its resourceVersion, and since when it has not moved.
pub(crate) type LastSeen = Option<(Option<String>, Instant)>;

/// Who holds a Lease, where somebody does and it has not lasted out; and when it does where nobody renews it.
pub(crate) fn holder(lease: &Lease, seen: &mut LastSeen) -> Option<(String, Instant)> {
    let spec = lease.spec.as_ref()?;
    let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
    let version = lease.metadata.resource_version.clone();
    let since = match seen {
        Some((last, since)) if *last == version => *since,
        _ => seen.insert((version, Instant::now())).1,
    };
    let lasts = Duration::from_secs(u64::from(spec.lease_duration_seconds.unwrap_or_default().unsigned_abs()));
    (since.elapsed() < lasts).then(|| (holder, since + lasts))
}

/// Tries to get a Lease, or to keep it; `mark` adds to its metadata what is to be told with that.
pub(crate) async fn try_acquire(
    api: &Api<Lease>,
    election: &Election,
    seen: &mut LastSeen,
    mark: impl FnOnce(&mut ObjectMeta),
) -> Result<Attempt, ApiProblem> {
    let parameters = PostParams::default();
    let found = timely(api.get_opt(&election.name)).await?;
    if let Some((holder, until)) = found.as_ref().and_then(|lease| holder(lease, seen))
        && holder != election.identity
    {
        return Ok(Attempt::Theirs(holder, until));
    }
    let is_there = found.is_some();
    let named = ObjectMeta { name: Some(election.name.clone()), ..ObjectMeta::default() };
    let mut lease = found.unwrap_or(Lease { metadata: named, spec: None });
    lease.spec = Some(record(election, lease.spec.as_ref(), (election.clock)()));
    mark(&mut lease.metadata);
    let sent = Instant::now();
    let written = if is_there {
        timely(api.replace(&election.name, &parameters, &lease)).await
    } else {
        timely(api.create(&parameters, &lease)).await
    };
    match written {
        Ok(lease) => Ok(Attempt::Ours(Box::new(lease), sent)),
        Err(problem) if problem.is_conflict() => Ok(Attempt::Conflict),
        Err(problem) => Err(problem),
    }
}

fn record(election: &Election, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
    let same = before.and_then(|spec| spec.holder_identity.as_ref()) == Some(&election.identity);
    let before = before.cloned().unwrap_or_default();
    // Others must not think it over before it is.
    let lasts = election.lease_duration;
    let seconds = (lasts.as_secs() + u64::from(lasts.subsec_nanos() > 0)).max(1);
    let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
    LeaseSpec {
        holder_identity: Some(election.identity.clone()),
        lease_duration_seconds: Some(seconds),
        acquire_time: if same { before.acquire_time } else { Some(MicroTime(now)) },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(before.lease_transitions.unwrap_or_default() + i32::from(!same)),
        ..LeaseSpec::default()
    }
}

impl Leadership {
    /// Of a Lease that is ours by what was sent then.
    pub(crate) fn new(api: Api<Lease>, election: Election, lease: Lease, sent: Instant, lead: Lead) -> Self {
        Self { api, election, lease, renewed: sent, lead }
    }

    /// Until when we may write.
    pub(crate) fn lead(&self) -> &Lead {
        &self.lead
    }

    /// How long what was begun has to end, once we lead no longer, before another may.
    pub(crate) fn margin(&self) -> Duration {
        self.election.lease_duration.saturating_sub(self.election.renew_deadline)
    }

    fn left(&self) -> Duration {
        self.election.renew_deadline.saturating_sub(self.renewed.elapsed())
    }

    /// Renews the Lease until that fails for the renew deadline, or another holds it; then we lead no longer.
    pub async fn hold(&mut self) {
        self.renew_until_it_fails().await;
        self.lead.lose();
    }

    async fn renew_until_it_fails(&mut self) {
        let mut pause = self.election.retry_period;
        loop {
            sleep(pause.min(self.left())).await;
            if self.left().is_zero() {
                return tracing::error!(lease = self.election.name, "could not renew the Lease in time");
            }
            // Half of the time at most: a second try goes where a first hangs.
            let patience = self.left().min(self.election.renew_deadline / 2);
            let asked = Instant::now();
            pause = self.election.retry_period;
            match timeout(patience, self.renew()).await {
                Ok(Ok(true)) => {
                    self.renewed = asked;
                    self.lead.renewed(asked, self.election.renew_deadline);
                }
                Ok(Ok(false)) => return tracing::error!(lease = self.election.name, "another process took the Lease"),
                Ok(Err(problem)) => {
                    tracing::warn!(lease = self.election.name, %problem, "can't renew the Lease; trying again")
                }
                Err(_) => {
                    tracing::warn!(lease = self.election.name, "no answer to the renewal of the Lease; trying again");
                    // It has been waited for long enough, and what is left may be just what a slow answer takes.
                    pause = Duration::ZERO;
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<bool, ApiProblem> {
        let mut lease = self.lease.clone();
        lease.spec = Some(record(&self.election, lease.spec.as_ref(), (self.election.clock)()));
        match timely(self.api.replace(&self.election.name, &PostParams::default(), &lease)).await {
            Ok(lease) => {
                self.lease = lease;
                Ok(true)
            }
            // Somebody touched it: a person, or a holder that we don't know of yet.
            Err(problem) if problem.is_conflict() || problem.is_not_found() => match self.read().await? {
                Some(lease) if !self.is_ours(&lease) => Ok(false),
                Some(lease) => {
                    self.lease = lease;
                    Err(problem)
                }
                None => {
                    self.lease.metadata.resource_version = None;
                    self.lease = timely(self.api.create(&PostParams::default(), &self.lease)).await?;
                    Ok(true)
                }
            },
            Err(problem) => Err(problem),
        }
    }

    /// Gives the Lease back, so that another need not wait for its end.
    pub async fn release(mut self) {
        self.lead.lose();
        match timeout(GIVING_BACK, self.give_back()).await {
            Ok(Ok(())) => tracing::info!(lease = self.election.name, "gave the Lease back"),
            _ => tracing::warn!(lease = self.election.name, "could not give the Lease back; it will last out"),
        }
    }

    async fn give_back(&mut self) -> Result<(), ApiProblem> {
        loop {
            let mut lease = self.lease.clone();
            lease.spec = Some(LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                ..record(&self.election, lease.spec.as_ref(), (self.election.clock)())
            });
            match timely(self.api.replace(&self.election.name, &PostParams::default(), &lease)).await {
                // A renewal was under way when we were told to stop: its answer never reached us.
                Err(problem) if problem.is_conflict() => {
                    self.lease = self.read().await?.filter(|lease| self.is_ours(lease)).ok_or(problem)?;
                }
                result => return result.map(|_| ()),
            }
        }
    }

    async fn read(&self) -> Result<Option<Lease>, ApiProblem> {
        timely(self.api.get_opt(&self.election.name)).await
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.election.identity)
    }
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
