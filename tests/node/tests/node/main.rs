//! Real pods: what runs on the node of the testbed, and the operator among it.
//!
//! One program, so that its tests share a testbed. It needs root; it says what else where that is missing.
//!
//! Modules, in reading order: [`pods`] what tests can lean on, [`release`] the operator from its image and its chart.

mod pods;
mod release;
