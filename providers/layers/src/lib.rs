//! What every store gets around it. A layer is a [`Provider`] around a [`Provider`]; no store does any of this
//! itself, so that it is the same for all and is tested once.
//!
//! For now: [`Timeout`].

#![forbid(unsafe_code)]

mod timeout;

pub use timeout::Timeout;
