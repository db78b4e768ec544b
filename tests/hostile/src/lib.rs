//! A tenant who attacks, beside one who behaves: whatever one namespace writes, the operator lives within its memory,
//! keeps its Lease, answers for its health, and carries the other tenant's changes as fast as before.
//!
//! Modules, in reading order: [`attack`] what an attack is, and the objects that it is made of, [`attacks`] the table of
//! them, [`server`] the attacker's own store, [`mod@api`] objects of any kind, [`attacker`] what he may do and does, [`honest`] the tenant who behaves,
//! [`probe`] how the operator fares, [`ground`] all of it together, [`round`] one attack from beginning to end, [`report`]
//! the table of results.

pub mod attack;
pub mod attacks;
pub mod server;
pub mod api;
pub mod attacker;
pub mod honest;
pub mod probe;
pub mod ground;
pub mod round;
pub mod report;

pub use attack::Attack;
pub use ground::Ground;
pub use report::Report;
