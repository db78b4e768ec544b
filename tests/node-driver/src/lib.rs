//! What tests of the driver begin with: a namespace with a store and an ExternalSecret, a driver with a kubelet's folder of its own,
//! and the calls of a kubelet.

pub mod kubelet;
pub mod rig;
