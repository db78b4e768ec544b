//! The stores that take part. A new one is a file and a line.

mod vault;
mod aws;
mod kubernetes;
mod azurekv;
mod gcpsm;
mod onepassword;
mod conjur;
mod alibaba;
mod webhook;
mod doppler;
mod gitlab;
mod infisical;
mod akeyless;
mod fortanix;
mod ibm;
mod oracle;
mod ovh;
mod barbican;
mod bitwarden;
mod scaleway;
mod secretserver;
mod delinea;
mod crd;
mod github;
mod ngrok;
mod sealed;

use std::time::Duration;

use keyferry_behaviour_tests::Rig;

use crate::Counterpart;
use crate::stores::akeyless::Akeyless;
use crate::stores::alibaba::Alibaba;
use crate::stores::aws::{Aws, Service};
use crate::stores::azurekv::AzureKv;
use crate::stores::barbican::Barbican;
use crate::stores::bitwarden::Bitwarden;
use crate::stores::conjur::Conjur;
use crate::stores::crd::Crd;
use crate::stores::delinea::Delinea;
use crate::stores::doppler::Doppler;
use crate::stores::fortanix::Fortanix;
use crate::stores::gcpsm::GcpSm;
use crate::stores::github::GitHub;
use crate::stores::gitlab::GitLab;
use crate::stores::ibm::Ibm;
use crate::stores::infisical::Infisical;
use crate::stores::kubernetes::Kubernetes;
use crate::stores::ngrok::Ngrok;
use crate::stores::onepassword::OnePassword;
use crate::stores::oracle::Oracle;
use crate::stores::ovh::Ovh;
use crate::stores::scaleway::Scaleway;
use crate::stores::sealed::{Sealed, SealedSecrets};
use crate::stores::secretserver::SecretServer;
use crate::stores::vault::Vault;
use crate::stores::webhook::Webhook;

/// One of each kind, with its counterpart at work.
pub async fn all(rig: &Rig) -> Vec<Box<dyn Counterpart>> {
    vec![
        Box::new(Vault::new(rig, "vault").await),
        Box::new(Vault::new(rig, "openBao").await),
        Box::new(Aws::new(rig, Service::SecretsManager)),
        Box::new(Aws::new(rig, Service::ParameterStore)),
        Box::new(Kubernetes::new(rig)),
        Box::new(AzureKv::new()),
        Box::new(GcpSm::new(rig)),
        Box::new(OnePassword::new()),
        Box::new(Conjur::new()),
        Box::new(Alibaba::new()),
        Box::new(Webhook::new()),
        Box::new(Doppler::new()),
        Box::new(GitLab::new()),
        Box::new(Infisical::new()),
        Box::new(Akeyless::new()),
        Box::new(Fortanix::new()),
        Box::new(Ibm::new()),
        Box::new(Oracle::new()),
        Box::new(Ovh::new()),
        Box::new(Barbican::new().await),
        Box::new(Bitwarden::new()),
        Box::new(Scaleway::new()),
        Box::new(SecretServer::new()),
        Box::new(Delinea::new()),
        Box::new(Crd::new(rig)),
        Box::new(GitHub::new()),
        Box::new(Ngrok::new()),
        Box::new(Sealed::new(rig).await),
        Box::new(SealedSecrets::new(rig)),
    ]
}

/// How long what a login gives is good, where the server is ours: less than it is between two credentials.
const SESSION: Duration = Duration::from_secs(20);

/// A credential that nobody had before.
fn made() -> String {
    format!("made-{:032x}", rand::random::<u128>())
}
