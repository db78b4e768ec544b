//! All that speaks to an API server, and the ports of [`keyferry_sync`] over it. Knows no store.
//!
//! Modules, in reading order: [`client`] problems in our own words, how many requests go at once, objects that zero
//! themselves; [`objects`] what is referred to, [`target`] what is written, [`events`], [`journal`] and [`notices`]
//! what is told, [`leader`] whose turn it is.

#![forbid(unsafe_code)]

pub mod client;
pub mod objects;
pub mod target;
pub mod events;
pub mod journal;
pub mod notices;
pub mod leader;
