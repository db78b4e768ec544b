//! What people ask for, a file or folder each: [`mod@run`] the operator, with its [`flags`]; [`node`] the CSI driver, and [`grant`] who may mount; [`crds`] the CustomResourceDefinitions; [`manifests`]
//! in place of a cluster, of which [`render`] shows what they come to, and [`sync`] makes files; [`keyring`] whose keys
//! seal and open, [`init`] makes them, [`seal`] seals a value, [`mod@edit`] edits a sealed document, [`reseal`] has values sealed with the latest key, [`kubesec`] takes over what kubesec encrypted.

pub mod run;
pub mod flags;
pub mod node;
pub mod grant;
pub mod crds;
pub mod manifests;
pub mod render;
pub mod sync;
pub mod keyring;
pub mod init;
pub mod seal;
pub mod edit;
pub mod reseal;
pub mod kubesec;
