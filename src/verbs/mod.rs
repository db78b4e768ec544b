//! What people ask for, a file or folder each: [`mod@run`] the operator, with its [`flags`]; [`crds`] the CustomResourceDefinitions; [`manifests`]
//! in place of a cluster, of which [`render`] shows what they come to, and [`sync`] makes files.

pub mod run;
pub mod flags;
pub mod crds;
pub mod manifests;
pub mod render;
pub mod sync;
