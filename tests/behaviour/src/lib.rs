//! What tests of the running operator share: a testbed with our CRDs, the operator in it, and the check that no
//! value of a secret is to be seen anywhere.
//!
//! Modules, in reading order: [`cluster`] the testbed and its objects, [`operator`] the program under test,
//! [`leaks`] where values must not be, [`lines`] how its log reads, [`rig`] all of it for one test,
//! [`dynamic`] what engines of OpenBao make, [`postgres`] a database for one of them.

pub mod cluster;
pub mod operator;
pub mod leaks;
pub mod lines;
pub mod rig;
pub mod dynamic;
pub mod postgres;

pub use cluster::Cluster;
pub use leaks::Canaries;
pub use operator::Operator;
pub use rig::Rig;
