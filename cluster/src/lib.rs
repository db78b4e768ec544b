//! All that speaks to an API server, and the ports of [`keyferry_sync`] over it. Knows no store.
//!
//! Modules, in reading order: [`connection`] the way to it, [`problem`] what goes wrong, in our own words, [`leader`]
//! which replica works, [`division`] and [`shards`] where several do, [`turns`] how many requests go at once, [`client`] objects that zero themselves, [`guarded`] ones that need not be of their form, [`pages`] lists;
//! [`reads`] that are shared, [`objects`] what is referred to, [`target`] what is written, [`copies`] what is
//! written for ClusterExternalSecrets and ClusterPushSecrets, [`events`], [`states`] of generators, [`status`] how one is written, [`journal`] and [`notices`] what is told, [`push`] what PushSecrets need,
//! [`reviews`] who may read what we serve, [`pairs`] of sealing keys, [`sealed_secrets`] what is written and told of SealedSecrets,
//! [`workloads`] what restarts for Secrets that changed.

#![forbid(unsafe_code)]

pub mod connection;
pub mod problem;
pub mod leader;
pub mod division;
pub mod shards;
pub mod turns;
pub mod client;
pub mod guarded;
pub mod pages;
pub mod reads;
pub mod objects;
pub mod target;
pub mod copies;
pub mod events;
pub mod states;
pub mod status;
pub mod journal;
pub mod notices;
pub mod push;
pub mod reviews;
pub mod pairs;
pub mod sealed_secrets;
pub mod workloads;

#[cfg(test)]
mod fake_leases;
