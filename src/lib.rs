//! keyferry: carries secrets from the stores that keep them to the Kubernetes objects that use them.
//!
//! Modules, in reading order: [`program`] what `main` calls, [`cli`] what can be asked, [`verbs`] what each verb does, the wiring of the operator among them, [`report`] how things stand, [`controller`] what is looked at and when, [`restart`] who restarts for it, [`sealing`] the cluster's sealing keys, and the small ones that these share.

pub mod program;
pub mod cli;
pub mod verbs;
pub mod report;

pub mod controller;
pub mod restart;

pub mod sealing;

pub mod clock;
pub mod audit;
pub mod metrics;
pub mod threads;
pub mod server;
