//! The cluster's sealing keys: who holds them, who asks whom holds them, and what is served.
//!
//! Modules, in reading order: [`ring`] the keys and what opens with them, [`serve`] what is served of that, [`remote`] the same
//! from the other side, and [`way`] how people get there.

pub mod ring;
pub mod serve;
pub mod remote;
pub mod way;
