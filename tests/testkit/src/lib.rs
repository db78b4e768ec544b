//! Real servers for tests, and what tests of keyferry need around them.
//!
//! [`Testbed::shared`] gives every test of a process the same Kubernetes control
//! plane, OpenBao and moto; each test takes a namespace of its own. The program
//! `testbed` of this crate starts them, and everything ends with the test process,
//! however that ends. It runs on Linux.
//!
//! ```no_run
//! # async fn test() {
//! let testbed = keyferry_testkit::Testbed::shared();
//! let namespace = testbed.namespace("demo").await;
//! let secrets = namespace.api::<k8s_openapi::api::core::v1::Secret>();
//! # }
//! ```
//!
//! Modules, in reading order: [`install`] the programs, [`process`] how one is run, [`node`] where pods run, [`server`] a
//! program that serves, [`supervisor`] all servers, [`description`] what is told of them; `testbed` the handle that tests
//! hold, `namespace`, `guests`, `pods` and [`vault`] what they use of it, `operator` the program under test with its
//! `rights`, built by `cargo_bin`; `canary` the search for values, [`eventually()`] waiting.

pub mod install;
pub mod process;
pub mod node;
pub mod server;
pub mod supervisor;
pub mod description;

mod testbed;
mod namespace;
mod guests;
mod pods;
pub mod vault;
mod operator;
mod rights;
mod cargo_bin;
mod canary;
mod eventually;

pub use anyhow::{Error, Result};
pub use canary::{Canary, Encoding, Finding};
pub use eventually::eventually;
pub use guests::Node;
pub use keyferry_image::Image;
pub use namespace::Namespace;
pub use operator::{Operator, OperatorBuilder, PATIENT_LEASE};
pub use pods::Pod;
pub use rights::{OPERATOR_ACCOUNT, OPERATOR_NAMESPACE};
pub use server::{Barbican, OpenBao, OpenBaoOptions};
pub use testbed::Testbed;
pub use vault::Vault;

/// Makes TLS work. Every client needs it once in the process; calling it again is free.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
