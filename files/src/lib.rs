//! Folders and files that hold secrets. A target is old or new at any moment and never half, whenever whoever writes it is
//! killed; it is written only when it changes, and from its first byte on nobody can read it for whom it is not.
//!
//! Modules, in reading order: [`problem`] what is told of failures, [`access`] for whom files are, [`contents`] what a target
//! holds, [`format`](mod@format) data as one text, [`plan`] what is to do (these are pure); [`at`] the small steps in an
//! open folder, [`root`] the folder that all targets are in, [`versions`] how a folder of files is swapped, [`target`] one
//! target, [`volume`] a folder that is mounted on its own.
//!
//! A power cut is not a kill: what is written is not forced to the disk, which for secrets should be memory (`tmpfs`). What
//! a disk lost is written again by the next run.

#![forbid(unsafe_code)]

pub mod problem;
pub mod access;
pub mod contents;
pub mod format;
pub mod plan;

mod at;
pub mod root;
mod versions;
pub mod target;
pub mod volume;
