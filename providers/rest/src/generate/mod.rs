//! Generators that are a login and one request: tokens of a vendor's own, made at each refresh.
//!
//! What stands elsewhere until somebody revokes it has a state (GitLab, Grafana); what ends by itself has none.
//!
//! Modules, in reading order: `proof` what requests carry and tokens tell, and the vendors: `github`, `gitlab`, `grafana`,
//! `quay` and `cloudsmith`.

mod proof;
pub(crate) use proof::end_of;
pub(crate) mod github;
mod gitlab;
mod grafana;
mod quay;
mod cloudsmith;

pub use cloudsmith::REGISTRATION as CLOUDSMITH;
pub use github::REGISTRATION as GITHUB;
pub use gitlab::REGISTRATION as GITLAB;
pub use grafana::REGISTRATION as GRAFANA;
pub use quay::REGISTRATION as QUAY;
