//! keyferry: carries secrets from the stores that keep them to the Kubernetes objects that use them.
//!
//! Modules, in reading order: [`cli`] what can be asked, [`mod@run`] how it is wired, [`status`] how
//! it stands, [`controller`] what is looked at and
//! when, [`sync`] the life of a secret, [`store`] the stores, and the small ones that these share.

pub mod cli;
pub mod run;
pub mod status;

pub mod controller;
pub mod sync;

pub mod store;

pub mod clock;
pub mod events;
pub mod hash;
pub mod kubernetes;
pub mod leader;
pub mod metrics;
pub mod server;
