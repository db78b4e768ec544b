//! An answer while it is read: no larger than what we are ready to hold, zeroed, and in its turn where it is not small.

use crate::{Error, ErrorKind, Room, SecretBuf, SecretBytes};

/// The largest answer that is read.
pub const MAX_BODY: usize = 16 << 20;

/// Up to which size an answer is read without asking for room, and then room for how much is asked for: what is not said to
/// be large is seldom larger than a Secret may be.
pub const SMALL_BODY: usize = 64 << 10;
const STEPS: [usize; 2] = [1 << 20, MAX_BODY];

/// What was read of an answer so far. Its room is given back when it is whole.
pub struct Body<'a> {
    room: &'a dyn Room,
    has_room_for: usize,
    guards: Vec<Box<dyn Send + Sync>>,
    bytes: SecretBuf,
}

impl<'a> Body<'a> {
    /// An answer that is said to be so long. One that is not small waits for `room`.
    pub async fn begin(said: Option<u64>, room: &'a dyn Room) -> Self {
        let said = said.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(MAX_BODY);
        let mut body = Self { room, has_room_for: 0, guards: Vec::new(), bytes: SecretBuf::default() };
        body.reach(said).await;
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
        self.reach(length).await;
        self.bytes.extend(chunk);
        Ok(())
    }

    /// The whole answer. The buffer is zeroed when its last holder drops it.
    pub fn whole(self) -> SecretBytes {
        self.bytes.into()
    }

    /// Sees to it that there is room for so many bytes.
    async fn reach(&mut self, bytes: usize) {
        if bytes <= self.has_room_for.max(SMALL_BODY) {
            return;
        }
        let step = STEPS.into_iter().find(|step| bytes <= *step).unwrap_or(MAX_BODY);
        self.guards.push(self.room.take(step).await);
        self.has_room_for = step;
    }
}
