//! What is generated of `node/proto`; a test holds it to that.

/// The Container Storage Interface.
#[allow(clippy::all, clippy::allow_attributes_without_reason, missing_docs, reason = "generated")]
#[rustfmt::skip]
#[path = "rpc/csi.v1.rs"]
pub mod csi;

/// Registration with the kubelet.
#[allow(clippy::all, clippy::allow_attributes_without_reason, missing_docs, reason = "generated")]
#[rustfmt::skip]
#[path = "rpc/pluginregistration.rs"]
pub mod registration;

/// What the Secrets Store CSI Driver asks its providers.
#[allow(clippy::all, clippy::allow_attributes_without_reason, missing_docs, reason = "generated")]
#[rustfmt::skip]
#[path = "rpc/v1alpha1.rs"]
pub mod provider;
