//! What people ask for, a file or folder each: [`mod@run`] the operator, with its [`flags`]; [`crds`] the CustomResourceDefinitions; [`render`] what
//! manifests come to without a cluster; [`keyring`] whose keys seal and open, [`init`] makes them, [`seal`] seals a value, [`mod@edit`] edits a
//! sealed document.

pub mod run;
pub mod flags;
pub mod crds;
pub mod render;
pub mod keyring;
pub mod init;
pub mod seal;
pub mod edit;
