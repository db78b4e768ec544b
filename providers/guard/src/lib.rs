//! What every store gets around it: [`Guarded`] is a [`Provider`](keyferry_provider_core::Provider) around another. What
//! the store can't do is refused, what fails for now is tried again, and each try is bounded in time. No store does any
//! of this itself, so that it is the same for all and is tested once.
//!
//! Modules, in reading order: `refuse` what a store is not asked for, `retries` how often and how fast, `guarded` the
//! wrapper. How many calls run at once is the fetcher's business, which knows who waits.

#![forbid(unsafe_code)]

mod refuse;
mod retries;
mod guarded;

pub use guarded::Guarded;
pub use retries::{Delay, Retries};
