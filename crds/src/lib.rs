//! The `external-secrets.io/v1` API: its types for the operator, and its CustomResourceDefinitions for the cluster.
//!
//! The two are written apart on purpose. The types read: they take whatever an API server may have stored, however old,
//! and leave judgement to the operator, which can say in a condition what is wrong. The schema judges what is new, and
//! drops fields that it doesn't know, but in what we don't look into; [`pruned`] says which. The operator never writes a
//! spec back.
//!
//! Modules, in reading order: [`names`] what users and tools know us by; `lenient` and `resource` what all kinds share,
//! [`condition`] and [`duration`] parts of several, `external_secret`, `push_secret`, `store`, `generator_state` and `copier` the kinds themselves; `schema` and
//! `yaml` their CustomResourceDefinitions, `reference` the same for people.

pub mod names;
mod lenient;
mod resource;
pub mod condition;
pub mod duration;
mod external_secret;
mod push_secret;
mod store;
mod generator_state;
mod copier;
mod schema;
mod yaml;
mod reference;

pub use condition::Condition;
pub use copier::*;
pub use external_secret::*;
pub use generator_state::{GeneratorState, GeneratorStateSpec, GeneratorStateStatus};
pub use push_secret::*;
pub use reference::reference;
pub use schema::{crds, file_name, generator_field, is_built, kinds, provider_keys, pruned, schema, serve_v1beta1};
pub use store::*;
pub use yaml::{document, write_document, yaml};

#[cfg(test)]
mod tests;
