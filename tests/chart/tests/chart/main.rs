//! The Helm chart: what it renders, what it allows, and what it leaves alone.
//!
//! One program, so that its tests share testbeds. What needs a cluster comes last.

mod files;
mod render;
mod rights;
mod values;

mod adoption;
mod cluster;
mod lifecycle;
