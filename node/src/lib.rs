//! Secrets as files in the memory of the pods that mount them: a CSI driver of ephemeral volumes, which registers itself with the
//! kubelet. Whoever mounts needs the rights: all is read with the pod's own identity, and stores are logged in to as the pod. No
//! watch and no queue: the kubelet asks again and again, and the plan of `sync/` says what is due.
//!
//! Modules, in reading order: [`rpc`] what is generated of the interface, [`refusal`] why a volume can't be had, [`tokens`] the
//! pod's, [`wanted`] what a volume asks for, [`place`] where volumes may be, [`grant`] who may mount (these are pure); [`mounts`]
//! memory that is mounted, [`marks`] what is written down, [`leases`] what of it is to be revoked, [`answer`] what another driver
//! writes, [`target`] the port for targets, [`sharing`] what pods of one ServiceAccount have in common, [`identity`] the other ports
//! for whoever mounts, [`reading`] the objects as the pod reads them, [`telling`] where it is told, [`metrics`] counts; [`tending`]
//! prolongs and revokes, [`volumes`] what is remembered, [`node`] what all is done with, [`look`] at a volume, and its [`life`];
//! [`driver`] the services of the interface; [`class`] what the Secrets Store CSI Driver asks for, and [`provider`] how it is
//! answered; [`authority`] what clients of a socket call its host, [`serving`] the sockets.

#![forbid(unsafe_code)]

pub mod rpc;
pub mod refusal;
pub mod tokens;
pub mod wanted;
pub mod place;
pub mod grant;

pub mod mounts;
pub mod marks;
pub mod leases;
pub mod answer;
pub mod target;
pub mod sharing;
pub mod identity;
pub mod reading;
pub mod telling;
pub mod metrics;

pub mod tending;
pub mod volumes;
pub mod node;
mod look;
pub mod life;
pub mod driver;
mod class;
pub mod provider;
pub mod authority;
pub mod serving;

/// The name of the driver.
pub const DRIVER: &str = "csi.keyferry.io";
