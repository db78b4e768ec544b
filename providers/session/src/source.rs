//! Where what is held comes from.

use async_trait::async_trait;
use keyferry_provider_core::Error;

use crate::Life;

/// What a login gave, and for how long.
pub struct Grant<T> {
    /// What calls are made with.
    pub value: T,
    /// How long it is good, from when the source was asked.
    pub life: Life,
}

/// Something that gives what calls are made with, at some cost. It is asked once at a time.
#[async_trait]
pub trait Source<T: Sync>: Send + Sync {
    /// Logs in.
    async fn get(&self) -> Result<Grant<T>, Error>;

    /// Prolongs what is held and still good. `None` where that can't be done, as with most kinds, or not any more: then
    /// there is a login in place of it. An error is for what may pass: what is held is used on, and this tried again after
    /// a pause.
    async fn renew(&self, _held: &T) -> Result<Option<Grant<T>>, Error> {
        Ok(None)
    }
}
