//! What people ask for, a file or folder each: [`mod@run`] the operator, with its [`flags`]; [`crds`] the CustomResourceDefinitions; [`render`] what
//! manifests come to without a cluster.

pub mod run;
pub mod flags;
pub mod crds;
pub mod render;
