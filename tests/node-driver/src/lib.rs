//! What tests of the driver begin with: a namespace with a store and an ExternalSecret, a driver with a kubelet's folder of its own,
//! and the calls of a kubelet and of the Secrets Store CSI Driver.

pub mod kubelet;
pub mod secrets_store;
pub mod rig;
