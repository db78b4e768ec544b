//! Reads that are shared: who asks for an object while the request of somebody else for it still waits for its turn, has
//! the answer to that. What is asked for once it was sent is read anew, so that who asks after a write sees it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyferry_sync::data::Data;
use keyferry_sync::dependency::{Dependency, Version};
use tokio::sync::OnceCell;

use crate::problem::ApiProblem;

/// What an object holds, and its version; `None` where there is none.
pub type Answer = Result<Option<(Option<Version>, Data)>, ApiProblem>;

/// The reads that nobody has sent yet.
#[derive(Default)]
pub struct Reads(Mutex<HashMap<Dependency, Arc<OnceCell<Answer>>>>);

/// One who waits for an answer, until this is dropped.
pub struct Waiting<'a> {
    reads: &'a Reads,
    object: &'a Dependency,
    answer: Arc<OnceCell<Answer>>,
}

impl Reads {
    /// The answer of `read`, or of the same by another who began before. Of those who wait one reads; where it is dropped,
    /// the next does. `read` says when its request goes out, by [`Waiting::sent`].
    pub async fn share(&self, object: &Dependency, read: impl AsyncFnOnce(&Waiting<'_>) -> Answer) -> Answer {
        let answer = self.lock().entry(object.clone()).or_default().clone();
        let waiting = Waiting { reads: self, object, answer };
        waiting.answer.get_or_init(async || read(&waiting).await).await.clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Dependency, Arc<OnceCell<Answer>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody joins these any more, if `over` says so with how many there are that know of them, the map among them.
    fn close(&self, waiting: &Waiting<'_>, over: impl FnOnce(usize) -> bool) {
        if let Entry::Occupied(open) = self.lock().entry(waiting.object.clone())
            && Arc::ptr_eq(open.get(), &waiting.answer)
            && over(Arc::strong_count(open.get()))
        {
            open.remove();
        }
    }
}

impl Waiting<'_> {
    /// The request goes out: who asks from now on may ask for what is written after it.
    pub fn sent(&self) {
        self.reads.close(self, |_| true);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // The last to go takes the place along, and so does the first that has an answer which was never sent for.
        let answered = self.answer.initialized();
        self.reads.close(self, |known| answered || known <= 2);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::FutureExt as _;
    use keyferry_sync::dependency::Kind;
    use tokio::sync::Semaphore;

    use super::*;

    fn object() -> Dependency {
        Dependency { kind: Kind::ConfigMap, namespace: "ns".to_owned(), name: "a".to_owned() }
    }

    /// A read that waits for its turn, goes out, waits for its answer, and counts.
    async fn read(reads: &Reads, turn: &Semaphore, answer: &Semaphore, sent: &Cell<usize>) -> Answer {
        let object = object();
        reads
            .share(&object, async |waiting| {
                turn.acquire().await.unwrap().forget();
                waiting.sent();
                sent.set(sent.get() + 1);
                answer.acquire().await.unwrap().forget();
                Ok(None)
            })
            .await
    }

    #[tokio::test]
    async fn who_waits_joins_and_who_comes_after_it_was_sent_does_not() {
        let (reads, turn, answer, sent) = (Reads::default(), Semaphore::new(0), Semaphore::new(0), Cell::new(0));
        let mut first = Box::pin(read(&reads, &turn, &answer, &sent));
        let mut second = Box::pin(read(&reads, &turn, &answer, &sent));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        turn.add_permits(1);
        assert!(first.as_mut().now_or_never().is_none());
        let mut late = Box::pin(read(&reads, &turn, &answer, &sent));
        assert!(late.as_mut().now_or_never().is_none());
        turn.add_permits(1);
        assert!(late.as_mut().now_or_never().is_none());
        assert_eq!(sent.get(), 2);
        answer.add_permits(2);
        for answered in [first, second, late] {
            assert_eq!(answered.now_or_never(), Some(Ok(None)));
        }
        assert!(reads.lock().is_empty());
    }

    #[tokio::test]
    async fn who_is_dropped_leaves_it_to_the_next() {
        let (reads, turn, answer, sent) = (Reads::default(), Semaphore::new(0), Semaphore::new(1), Cell::new(0));
        let mut first = Box::pin(read(&reads, &turn, &answer, &sent));
        let mut second = Box::pin(read(&reads, &turn, &answer, &sent));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(first);
        turn.add_permits(1);
        assert_eq!((second.now_or_never(), sent.get()), (Some(Ok(None)), 1));
        let mut alone = Box::pin(read(&reads, &turn, &answer, &sent));
        assert!(alone.as_mut().now_or_never().is_none());
        drop(alone);
        assert!(reads.lock().is_empty(), "nobody waits any more");
    }

    #[tokio::test]
    async fn what_failed_before_it_was_sent_is_tried_anew() {
        let reads = Reads::default();
        let failed = reads.share(&object(), async |_| Err(ApiProblem::NotLeading)).await;
        assert_eq!(failed, Err(ApiProblem::NotLeading));
        assert_eq!(reads.share(&object(), async |_| Ok(None)).await, Ok(None));
    }
}
