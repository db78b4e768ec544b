//! How the operator fares, asked all the time from a thread of its own: is it the same process, how much memory does it
//! have, does it hold its Lease, does it answer for its health.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use k8s_openapi::api::coordination::v1::Lease;
use keyferry_bench::usage;
use keyferry_testkit::Testbed;
use keyferry_testkit::process::{Signal, is_running, send_signal};
use kube::Api;
use tokio::sync::oneshot;

/// The Lease that operators hold by default, and where.
pub const LEASE: &str = "external-secrets-controller";
/// Its namespace.
pub const LEASE_NAMESPACE: &str = "default";

/// What an operator has this much of it is ended for, so that the machine lives: it has failed by then.
const TOO_MUCH_MIB: f64 = 2048.0;

/// How long health may take to answer.
pub const HEALTH: Duration = Duration::from_secs(1);

/// What was found since [`Probe::forget`].
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Why it lives no more.
    pub died: Option<String>,
    /// The most memory, in MiB.
    pub peak_mib: f64,
    /// The longest that health took to answer.
    pub health: Duration,
    /// How often it did not answer in time, or not well.
    pub health_failures: usize,
    /// The oldest that the Lease's last renewal ever was.
    pub lease_age: Duration,
    /// The longest that the API server took to answer us, who ask little: whether the machine has time for anybody.
    pub answer: Duration,
    /// What befell the Lease.
    pub lease_faults: Vec<String>,
    /// Holder and transitions, as they were first seen.
    pub lease: Option<(String, i32)>,
}

/// Asks until it is dropped.
pub struct Probe {
    id: u32,
    readings: Arc<Mutex<Readings>>,
    _end: oneshot::Sender<()>,
}

impl Probe {
    /// Begins to ask about a process, which answers for its health at this URL.
    pub fn start(testbed: &Testbed, id: u32, health: String) -> Self {
        let readings = Arc::new(Mutex::new(Readings::default()));
        let (end, ended) = oneshot::channel::<()>();
        let (testbed, kept) = (testbed.clone(), readings.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let leases: Api<Lease> = Api::namespaced(testbed.kube_client().await, LEASE_NAMESPACE);
                tokio::select! {
                    () = ask_process(id, &kept) => {}
                    () = ask_health(&health, &kept) => {}
                    () = ask_lease(&leases, &kept) => {}
                    _ = ended => {}
                }
            });
        });
        let probe = Self { id, readings, _end: end };
        probe.forget();
        probe
    }

    /// Begins anew, with the Lease as it is then.
    pub fn forget(&self) {
        usage::forget_peak(self.id);
        let died = lock(&self.readings).died.take();
        *lock(&self.readings) = Readings { died, ..Readings::default() };
    }

    /// What was found.
    pub fn readings(&self) -> Readings {
        lock(&self.readings).clone()
    }

    /// The processor seconds that it has used.
    pub fn cpu(&self) -> f64 {
        usage::cpu_seconds(self.id).unwrap_or_default()
    }
}

fn lock(readings: &Mutex<Readings>) -> MutexGuard<'_, Readings> {
    readings.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ask_process(id: u32, readings: &Mutex<Readings>) {
    loop {
        if !is_running(id) {
            lock(readings).died.get_or_insert_with(|| "it ended".to_owned());
        } else if let Ok(peak) = usage::peak_mib(id) {
            let mut readings = lock(readings);
            readings.peak_mib = readings.peak_mib.max(peak);
            if peak > TOO_MUCH_MIB && readings.died.is_none() {
                readings.died = Some(format!("ended by us with more than {TOO_MUCH_MIB} MiB"));
                // It may have ended by itself.
                let _ = send_signal(id, Signal::KILL);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn ask_health(url: &str, readings: &Mutex<Readings>) {
    keyferry_testkit::install_crypto_provider();
    // A connection of its own for each, as the kubelet has.
    let http = reqwest::Client::builder().no_proxy().timeout(HEALTH).pool_max_idle_per_host(0).build();
    let Ok(http) = http else { return };
    loop {
        let begun = Instant::now();
        let well = http.get(url).send().await.is_ok_and(|answer| answer.status().is_success());
        {
            let mut readings = lock(readings);
            readings.health = readings.health.max(begun.elapsed());
            // Of the dead nobody asks for health.
            readings.health_failures += usize::from(!well && readings.died.is_none());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn ask_lease(leases: &Api<Lease>, readings: &Mutex<Readings>) {
    loop {
        // An age at the time of asking: the API server may take its time.
        let now = SystemTime::now();
        let asked = Instant::now();
        let lease = leases.get(LEASE).await;
        {
            let mut readings = lock(readings);
            readings.answer = readings.answer.max(asked.elapsed());
            if let Ok(lease) = lease {
                let _ = take_lease(&lease, now, &mut readings);
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn take_lease(lease: &Lease, now: SystemTime, readings: &mut Readings) -> Result<()> {
    let Some(spec) = &lease.spec else { return Ok(()) };
    let now_is = (spec.holder_identity.clone().unwrap_or_default(), spec.lease_transitions.unwrap_or_default());
    if let Some(was) = readings.lease.replace(now_is.clone())
        && was != now_is
        && readings.died.is_none()
    {
        readings.lease_faults.push("it changed hands".to_owned());
    }
    let renewed = spec.renew_time.as_ref().map(|time| SystemTime::from(time.0));
    let age = renewed.and_then(|renewed| now.duration_since(renewed).ok()).unwrap_or_default();
    readings.lease_age = readings.lease_age.max(age);
    let lasts = Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(15))?);
    if age > lasts && readings.died.is_none() && readings.lease_faults.is_empty() {
        readings.lease_faults.push(format!("it was not renewed for {} s", age.as_secs()));
    }
    Ok(())
}
