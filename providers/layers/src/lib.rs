//! What every store gets around it. A layer is a [`Provider`](keyferry_provider_core::Provider) around another; no
//! store does any of this itself, so that it is the same for all and is tested once.
//!
//! From outside to inside: [`Check`] what the store can do, [`Retry`] what failed for now, [`Timeout`] for each try.
//! How many calls run at once is the fetcher's business, which knows who waits.

#![forbid(unsafe_code)]

mod check;
mod retry;
mod timeout;

use std::sync::Arc;
use std::time::Duration;

use keyferry_provider_core::Provider;

pub use check::Check;
pub use retry::{Delay, Retries, Retry};
pub use timeout::Timeout;

/// All layers around `provider`: each try ends within `limit`.
pub fn around(provider: Arc<dyn Provider>, limit: Duration, retries: Retries) -> Arc<dyn Provider> {
    let timeout = Arc::new(Timeout::new(provider, limit));
    Arc::new(Check::new(Arc::new(Retry::new(timeout, retries))))
}
