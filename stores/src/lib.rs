//! Stores: which there are, what they log in with, and the clients that speak to them. Knows no API server.
//!
//! Modules, in reading order: [`registry`] which providers and generators there are, [`access`] what
//! stores log in with, [`files`] which files they may read, [`instead`] what that would be, [`room`] how much of their answers
//! there is room for, [`generators`] making what must be revoked, [`pool`] the clients, alive as long as their spec and credentials, [`pushes`] the same for who
//! writes, [`fetcher`] how they are shared.

#![forbid(unsafe_code)]

pub mod registry;
pub mod access;
pub mod files;
pub mod instead;
pub mod room;
pub mod generators;
pub mod pool;
pub mod pushes;
pub mod fetcher;
