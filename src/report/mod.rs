//! How things stand, read from a cluster: [`status`] the table of ExternalSecrets.

pub mod status;
