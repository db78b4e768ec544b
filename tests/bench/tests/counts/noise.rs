//! How late this machine wakes who sleeps, while something is measured on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

const NAP: Duration = Duration::from_millis(10);

/// Somebody who sleeps and wakes, until this is dropped.
pub struct Noise {
    worst: Arc<AtomicU64>,
    sleeper: JoinHandle<()>,
}

impl Noise {
    /// Begins to listen.
    pub fn listen() -> Self {
        let worst = Arc::<AtomicU64>::default();
        let heard = worst.clone();
        let sleeper = tokio::spawn(async move {
            loop {
                let napped = Instant::now();
                tokio::time::sleep(NAP).await;
                let late = napped.elapsed().saturating_sub(NAP).as_micros();
                heard.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { worst, sleeper }
    }

    /// The most by which it was late so far.
    pub fn worst(&self) -> Duration {
        Duration::from_micros(self.worst.load(Ordering::Relaxed))
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.sleeper.abort();
    }
}
