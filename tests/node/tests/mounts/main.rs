//! Real pods that mount: the driver on the testbed's node, asked by a real kubelet. One program, so that its tests share a testbed;
//! apart from the release's, for which there may be no definitions yet. It needs root.
//!
//! Modules, in reading order: [`pods`] what they have and who may, [`crash`] a driver that is killed, [`chart`] the driver as the
//! chart runs it, [`gone`] when files go, [`injection`] pods that only say what they want, [`load`] the operator itself with a thousand ExternalSecrets,
//! [`prove`] what a hundred pods that mount take (`make prove-node`).

mod pods;
mod crash;
mod chart;
mod gone;
mod injection;
mod load;
mod prove;
