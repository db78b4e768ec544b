//! keyferry: carries secrets from the stores that keep them to the Kubernetes objects that use them.
//!
//! Modules, in reading order: [`cli`] what can be asked, [`mod@run`] how it is wired, [`status`] how
//! it stands, [`controller`] what is looked at and when, and the small ones that these share.

pub mod cli;
pub mod run;
pub mod status;

pub mod controller;

pub mod clock;
pub mod metrics;
pub mod server;
