//! A tenant who attacks, beside one who behaves: whatever one namespace writes, the operator lives within its memory,
//! keeps its Lease, answers for its health, and carries the other tenant's changes as fast as before.
//!
//! A run of all attacks takes 27 minutes on two cores: 17 as the table says, and some six seconds for each to write its
//! objects, to see what they are told, and to tidy up. With `--seconds 5` it takes 17. A machine that does other things
//! besides is slower, and then it may be its fault that health is late.
//!
//! Modules, in reading order: [`attack`] what an attack is, and the objects that it is made of, [`attacks`] the table of
//! them, [`server`] the attacker's own store, [`mod@api`] objects of any kind, [`stranger`] who is no tenant, [`attacker`] what he may do and does, [`honest`] the tenant who behaves,
//! [`probe`] how the operator fares, [`ground`] all of it together, [`round`] one attack from beginning to end, [`report`]
//! the table of results.

pub mod attack;
pub mod attacks;
pub mod server;
pub mod api;
pub mod stranger;
pub mod attacker;
pub mod honest;
pub mod probe;
pub mod ground;
pub mod round;
pub mod report;

pub use attack::Attack;
pub use ground::Ground;
pub use report::Report;
