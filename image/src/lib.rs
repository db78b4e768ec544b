//! Container images from files, without an engine: [`keyferry()`] says what is in ours, and [`Image`] is what any image
//! is made of. The same input gives the same bytes: no time, user or machine is in them.
//!
//! Modules, in reading order: [`tar`] the format that files travel in, [`oci`] images as archives and as folders,
//! `contents` what the image of keyferry holds.

mod tar;
pub mod oci;
mod contents;

pub use contents::{PROGRAM, USER, keyferry, libraries};
pub use oci::Image;
