//! The stores that take part. A new one is a file and a line.

mod vault;
mod aws;
mod kubernetes;

use keyferry_behaviour_tests::Rig;

use crate::Counterpart;
use crate::stores::aws::{Aws, Service};
use crate::stores::kubernetes::Kubernetes;
use crate::stores::vault::Vault;

/// One of each kind, with its counterpart at work.
pub async fn all(rig: &Rig) -> Vec<Box<dyn Counterpart>> {
    vec![
        Box::new(Vault::new(rig).await),
        Box::new(Aws::new(rig, Service::SecretsManager)),
        Box::new(Aws::new(rig, Service::ParameterStore)),
        Box::new(Kubernetes::new(rig)),
    ]
}
