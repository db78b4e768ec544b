//! What people ask for, a file or folder each: [`mod@run`] the operator, with its [`flags`]; [`node`] the CSI driver, and [`grant`] who may mount; [`crds`] the CustomResourceDefinitions; [`hint`] what was meant, [`table`] how it is shown, [`gather`] what is read of a cluster, and [`follow`] how that changes, for
//! [`status`], [`explain`], [`refresh`], [`diff`], [`who`], [`doctor`] and [`ui`], the page; [`manifests`]
//! in place of a cluster, of which [`validate`] says what is wrong with them, [`render`] shows what they come to, and [`sync`] makes files; [`keyring`] whose keys
//! seal and open, [`init`] makes them, [`seal`] seals a value, [`mod@edit`] edits a sealed document, [`reseal`] has values sealed with the latest key, [`kubesec`] takes over what kubesec encrypted.

pub mod run;
pub mod flags;
pub mod node;
pub mod grant;
pub mod crds;
pub mod hint;
pub mod table;
pub mod gather;
pub mod follow;
pub mod status;
pub mod explain;
pub mod refresh;
pub mod diff;
pub mod who;
pub mod doctor;
pub mod ui;
pub mod manifests;
pub mod validate;
pub mod render;
pub mod sync;
pub mod keyring;
pub mod init;
pub mod seal;
pub mod edit;
pub mod reseal;
pub mod kubesec;
