//! Turns to compute: opening documents takes a processor, and nobody's many documents may keep others from theirs.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use keyferry_provider_core::{Error, ErrorKind};
use tokio::sync::Semaphore;

/// Of all at once.
static ALL: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));

/// Of each namespace: who waits in front of all has one place there.
static LANES: LazyLock<Mutex<HashMap<String, Weak<Semaphore>>>> = LazyLock::new(Mutex::default);

/// The turns of a namespace, one after the other; stores of the whole cluster are one of their own.
pub struct Turns(Arc<Semaphore>);

impl Turns {
    /// Those of this namespace.
    pub fn of(namespace: Option<&str>) -> Self {
        let mut lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let name = namespace.unwrap_or_default().to_owned();
        let known = lanes.get(&name).and_then(Weak::upgrade);
        let lane = known.unwrap_or_else(|| Arc::new(Semaphore::new(1)));
        lanes.insert(name, Arc::downgrade(&lane));
        Self(lane)
    }

    /// Computes where nobody else is served, when it is this one's turn.
    pub async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let own = self.0.clone().acquire_owned().await;
        let turn = ALL.clone().acquire_owned().await;
        // Whoever waits may give up; the work goes on all the same, and the turn is over when it is.
        let done = tokio::task::spawn_blocking(move || {
            let _held = (own, turn);
            work()
        });
        let done = done.await;
        done.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Malformed, "it could not be opened, which is a fault of keyferry"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_namespace_with_many_documents_takes_one_place_in_the_line() {
        let (many, one) = (Turns::of(Some("many")), Turns::of(Some("one")));
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |who: &'static str| {
            let order = order.clone();
            move || {
                std::thread::sleep(Duration::from_millis(5));
                order.lock().unwrap().push(who);
                Ok(())
            }
        };
        let many = futures::future::join_all((0..10).map(|_| many.compute(note("many"))));
        let (_, done) = tokio::join!(many, one.compute(note("one")));
        done.unwrap();
        let order = order.lock().unwrap();
        assert_eq!(order.len(), 11);
        assert!(order.iter().position(|who| *who == "one").unwrap() <= 1, "{order:?}");
        assert!(LANES.lock().unwrap().len() <= 4, "of all tests of this crate");
    }

    #[tokio::test]
    async fn a_turn_is_over_when_the_work_is_and_not_when_nobody_waits_for_it() {
        let turns = Turns::of(Some("given up"));
        let order = Arc::new(Mutex::new(Vec::new()));
        let (begun, begins) = tokio::sync::oneshot::channel();
        let first = order.clone();
        let work = turns.compute(move || {
            let _ = begun.send(());
            std::thread::sleep(Duration::from_millis(50));
            first.lock().unwrap().push("first");
            Ok(())
        });
        tokio::select! {
            _ = work => panic!("it is given up before it is done"),
            began = begins => began.unwrap(),
        }
        let second = order.clone();
        turns
            .compute(move || {
                second.lock().unwrap().push("second");
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(*order.lock().unwrap(), ["first", "second"]);
    }
}
