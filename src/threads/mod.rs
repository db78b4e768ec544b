//! What runs where, so that nothing that computes keeps waiting what must not: [`control`] the thread of its own for that,
//! [`lease`] the Lease on it, [`compute`] turns for all that computes.

pub mod control;
pub mod lease;
pub mod compute;
