//! Where it is computed what may take long: a few at once, by turns of their namespaces, apart from the threads that serve
//! everybody, and not for ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_cluster::turns::{Lanes, Permit};
use keyferry_limits::{Budget, COMPUTE_TIME};
use keyferry_sync::ports::{Compute, Turn};
use tokio::time::Instant;

/// How often it is looked whether somebody computes for too long.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// More would only be in each other's way: what is computed is short, or is stopped.
const MOST: usize = 4;

/// The turns, and who has one.
pub struct Pool {
    lanes: Arc<Lanes>,
    running: Arc<Running>,
}

/// Who computes.
#[derive(Default)]
struct Running(Mutex<Numbered>);

#[derive(Default)]
struct Numbered {
    /// The last number that was given.
    last: u64,
    /// By number: since when, and what stops it.
    all: HashMap<u64, (Instant, Weak<Budget>)>,
}

/// A turn; over when it is dropped.
struct Turned {
    number: u64,
    running: Arc<Running>,
    _permit: Permit,
}

impl Pool {
    /// For a machine with so many cores: one of them is left to serve.
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self { lanes: Lanes::new(cores.saturating_sub(1).clamp(1, MOST)), running: Arc::default() })
    }

    /// Stops for ever who computes for too long. To be run where nobody computes.
    pub fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        let running = self.running.clone();
        async move {
            loop {
                tokio::time::sleep(WATCH_EVERY).await;
                running.stop_late();
            }
        }
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Numbered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, budget: &Arc<Budget>) -> u64 {
        let mut running = self.lock();
        running.last += 1;
        let number = running.last;
        running.all.insert(number, (Instant::now(), Arc::downgrade(budget)));
        number
    }

    fn stop_late(&self) {
        let most = Duration::from_secs(COMPUTE_TIME.most);
        for (began, budget) in self.lock().all.values() {
            if let Some(budget) = budget.upgrade().filter(|_| began.elapsed() > most) {
                budget.stop();
            }
        }
    }
}

#[async_trait]
impl Compute for Pool {
    async fn turn(&self, namespace: &str, budget: &Arc<Budget>) -> Turn {
        let permit = self.lanes.acquire(&Arc::from(namespace)).await;
        let running = self.running.clone();
        Box::new(Turned { number: running.begin(budget), running, _permit: permit })
    }

    fn run(&self, work: &mut dyn FnMut()) {
        // Whatever waits on this thread goes on on another.
        tokio::task::block_in_place(work);
    }
}

impl Drop for Turned {
    fn drop(&mut self) {
        self.running.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// Computes for a while in a turn, as looks do.
    async fn compute(pool: Arc<Pool>, namespace: &str, mut work: impl FnMut() + Send) {
        let _turn = pool.turn(namespace, &Arc::default()).await;
        pool.run(&mut work);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_computes_keeps_nobody_waiting() {
        let (pool, over) = (Pool::new(2), Arc::new(AtomicBool::new(false)));
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut spinning = Vec::new();
        for _ in 0..8 {
            let (pool, over, at_once, most) = (pool.clone(), over.clone(), at_once.clone(), most.clone());
            spinning.push(tokio::spawn(compute(pool, "loud", move || {
                most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                while !over.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
                at_once.fetch_sub(1, Ordering::SeqCst);
            })));
        }
        // Timers go on, on the threads that are left.
        tokio::time::timeout(Duration::from_secs(10), tokio::time::sleep(Duration::from_millis(50))).await.unwrap();
        over.store(true, Ordering::SeqCst);
        for task in spinning {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 1, "one core of two is left to serve");
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_with_thousands_to_compute_keeps_others_waiting_for_one_of_them() {
        let pool = Pool::new(2);
        for _ in 0..5000 {
            let pool = pool.clone();
            tokio::spawn(async move {
                let _turn = pool.turn("loud", &Arc::default()).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        for namespace in ["quiet", "calm", "quiet"] {
            let asked = Instant::now();
            drop(pool.turn(namespace, &Arc::default()).await);
            let waited = asked.elapsed();
            assert!(waited <= Duration::from_secs(2), "{namespace} waited for {waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_computes_too_long_is_stopped_and_nobody_else() {
        let pool = Pool::new(3);
        tokio::spawn(pool.watch());
        let most = Duration::from_secs(COMPUTE_TIME.most);
        let (long, short, over) = (Arc::<Budget>::default(), Arc::<Budget>::default(), Arc::<Budget>::default());
        drop(pool.turn("a", &over).await);
        let _long = pool.turn("a", &long).await;
        tokio::time::sleep(most - Duration::from_secs(2)).await;
        let _short = pool.turn("b", &short).await;
        assert!(long.steps(1).is_ok());
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(long.steps(1).is_err());
        assert!(short.steps(1).is_ok() && over.steps(1).is_ok());
    }
}
