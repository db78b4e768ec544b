//! An answer while it is read: no larger than what we are ready to hold, zeroed, and in its turn where it is not small.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::{Error, ErrorKind, Room, SecretBuf, SecretBytes};

/// The largest answer that is read.
pub const MAX_BODY: usize = 16 << 20;

/// Up to which size an answer is read without asking for room, and then room for how much is asked for where nobody says how
/// large it is: seldom larger than a Secret may be.
pub const SMALL_BODY: usize = 64 << 10;
const STEPS: [usize; 2] = [1 << 20, MAX_BODY];

/// Room that was taken; there is some while it lives.
type Guard = Box<dyn Send + Sync>;

thread_local! {
    /// The room of the answer that the try of a call which runs here read last; `None` outside of a try.
    static LAST: RefCell<Option<Vec<Guard>>> = const { RefCell::new(None) };
}

/// Makes one try of a call. The answer that it reads last keeps its room until the try is over: what the answer says is
/// taken out of it meanwhile, beside it. Where it reads the next one, it is done with the one before: what reads several at
/// once makes a try of each.
pub fn attempt<T>(call: impl Future<Output = T>) -> impl Future<Output = T> {
    Attempt { call: Box::pin(call), last: Some(Vec::new()) }
}

/// A call, and what it read last: that is in [`LAST`] while the call runs, on whatever thread. Runtimes have such things,
/// and the contract has no runtime.
struct Attempt<F> {
    call: Pin<Box<F>>,
    last: Option<Vec<Guard>>,
}

impl<F: Future> Future for Attempt<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { call, last } = &mut *self;
        let entered = Entered::new(last);
        let polled = call.as_mut().poll(context);
        drop(entered);
        if polled.is_ready() {
            *last = None;
        }
        polled
    }
}

/// The try that runs here; whatever ended it, the one around it is back afterwards.
struct Entered<'a>(&'a mut Option<Vec<Guard>>);

impl<'a> Entered<'a> {
    fn new(last: &'a mut Option<Vec<Guard>>) -> Self {
        LAST.with_borrow_mut(|here| std::mem::swap(here, last));
        Self(last)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        LAST.with_borrow_mut(|here| std::mem::swap(here, self.0));
    }
}

/// Keeps this as what was read last, and gives back what is kept no more.
fn keep(guards: Vec<Guard>) -> Vec<Guard> {
    LAST.with_borrow_mut(|last| match last {
        Some(last) => std::mem::replace(last, guards),
        // Where nobody tells when a try is over, they go at once.
        None => guards,
    })
}

/// What was read of an answer so far. Its room is given back when it is whole, or with the [`attempt`] that read it.
pub struct Body<'a> {
    room: &'a dyn Room,
    has_room_for: usize,
    guards: Vec<Guard>,
    bytes: SecretBuf,
}

impl<'a> Body<'a> {
    /// An answer that is said to be so long. One that is not small waits for `room`.
    pub async fn begin(said: Option<u64>, room: &'a dyn Room) -> Self {
        // Whoever waits with room for one and needs room for another may wait for itself.
        drop(keep(Vec::new()));
        let said = said.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(MAX_BODY);
        let mut body = Self { room, has_room_for: 0, guards: Vec::new(), bytes: SecretBuf::default() };
        body.reach(said, said.next_power_of_two()).await;
        body.bytes = SecretBuf::with_capacity(said);
        body
    }

    /// Takes the next piece. Where that makes the answer larger than it has room for, it waits with what it has so far.
    ///
    /// # Errors
    /// `Malformed` where the answer is larger than 16 MiB, however it is sent.
    pub async fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let length = self.bytes.len() + chunk.len();
        if length > MAX_BODY {
            return Err(Error::new(ErrorKind::Malformed, "the server's answer is larger than 16 MiB"));
        }
        let step = STEPS.into_iter().find(|step| length <= *step).unwrap_or(MAX_BODY);
        self.reach(length, step).await;
        self.bytes.extend(chunk);
        Ok(())
    }

    /// The whole answer. The buffer is zeroed when its last holder drops it.
    pub fn whole(self) -> SecretBytes {
        drop(keep(self.guards));
        self.bytes.into()
    }

    /// Sees to it that there is room for so many bytes, up to the next step.
    async fn reach(&mut self, bytes: usize, step: usize) {
        if bytes <= self.has_room_for.max(SMALL_BODY) {
            return;
        }
        self.guards.push(self.room.take(step).await);
        self.has_room_for = step;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use super::*;

    /// Counts the bytes that there is room for.
    #[derive(Default)]
    struct Taken(Arc<AtomicUsize>);

    struct Part(Arc<AtomicUsize>, usize);

    impl Drop for Part {
        fn drop(&mut self) {
            self.0.fetch_sub(self.1, Ordering::SeqCst);
        }
    }

    #[async_trait::async_trait]
    impl Room for Taken {
        async fn take(&self, bytes: usize) -> Box<dyn Send + Sync> {
            self.0.fetch_add(bytes, Ordering::SeqCst);
            Box::new(Part(self.0.clone(), bytes))
        }
    }

    /// What comes of something that waits for nothing.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(out) => out,
            Poll::Pending => panic!("it waits"),
        }
    }

    async fn read(said: Option<u64>, room: &Taken, bytes: usize) -> Result<SecretBytes, Error> {
        let mut body = Body::begin(said, room).await;
        for chunk in vec![b'v'; bytes].chunks(40_000) {
            body.push(chunk).await?;
        }
        Ok(body.whole())
    }

    #[test]
    fn an_answer_keeps_its_room_until_the_try_that_read_it_is_over_or_reads_another() {
        let room = Taken::default();
        let taken = || room.0.load(Ordering::SeqCst);
        now(attempt(async {
            let whole = read(None, &room, 3 << 20).await.unwrap();
            assert_eq!(taken(), (1 << 20) + MAX_BODY);
            // Whatever becomes of the bytes, others may have been made of them.
            drop(whole);
            assert_eq!(taken(), (1 << 20) + MAX_BODY);
            read(Some(70_000), &room, 70_000).await.unwrap();
            assert_eq!(taken(), 128 << 10);
            read(None, &room, 100).await.unwrap();
            assert_eq!(taken(), 0);
            read(Some(3 << 20), &room, 3 << 20).await.unwrap();
            assert_eq!(taken(), 4 << 20);
        }));
        assert_eq!(taken(), 0);
    }

    #[test]
    fn tries_that_run_at_once_keep_their_own() {
        let room = Taken::default();
        let taken = || room.0.load(Ordering::SeqCst);
        let mut one = pin!(attempt(async {
            read(Some(3 << 20), &room, 3 << 20).await.unwrap();
            let mut is_back = false;
            poll_fn(|_| if std::mem::replace(&mut is_back, true) { Poll::Ready(()) } else { Poll::Pending }).await;
            assert_eq!(taken(), 4 << 20, "the other is over, this one is not");
        }));
        let mut context = Context::from_waker(Waker::noop());
        assert!(one.as_mut().poll(&mut context).is_pending());
        now(attempt(async {
            read(Some(1 << 20), &room, 1 << 20).await.unwrap();
            assert_eq!(taken(), 5 << 20);
        }));
        assert!(one.as_mut().poll(&mut context).is_ready());
        assert_eq!(taken(), 0);
    }

    #[test]
    fn what_fails_or_is_read_outside_of_a_try_keeps_nothing() {
        let room = Taken::default();
        now(attempt(async {
            assert!(read(None, &room, MAX_BODY + 1).await.is_err());
            assert_eq!(room.0.load(Ordering::SeqCst), 0);
        }));
        now(read(None, &room, 3 << 20)).unwrap();
        assert_eq!(room.0.load(Ordering::SeqCst), 0);
    }
}
