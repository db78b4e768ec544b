//! What people ask for, a file or folder each: [`mod@run`] the operator, [`render`] what manifests come to without a cluster.

pub mod run;
pub mod render;
