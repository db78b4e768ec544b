//! AWS: Secrets Manager, and by way of crates beside this one Parameter Store (`keyferry-provider-aws-ssm`) and Certificate
//! Manager (`keyferry-provider-aws-acm`).
//!
//! Modules, in reading order: `ids` which secret an answer is about, `store` Secrets Manager and reading it, `metadata` what a
//! push says beside the value, `push` writing, `generate` tokens and sessions, `kms` keys that others' documents are encrypted with. The spec, logins, the client and what answers mean are those of all stores of
//! AWS, in `keyferry-provider-aws-common`.

#![forbid(unsafe_code)]

mod ids;
mod store;
mod metadata;
mod push;
mod generate;
mod kms;

use std::sync::Arc;

use keyferry_provider_aws_acm::CertificateManager;
use keyferry_provider_aws_common::Config;
use keyferry_provider_aws_ssm::ParameterStore;
use keyferry_provider_core::{BuildContext, BuildFuture, Capabilities, Error, Provider, Registration};

use crate::store::SecretsManager;
pub use generate::{ECR, STS};
pub use kms::KMS;

/// The variables by which programs find what to log in to AWS with: who runs others may keep these from them.
pub const CREDENTIAL_VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
];

/// How the registry knows these stores.
pub const REGISTRATION: Registration = Registration { name: "aws", capabilities, maintained: true, build };

fn capabilities(spec: &serde_json::Value) -> Capabilities {
    match spec["service"].as_str() {
        Some("ParameterStore") => keyferry_provider_aws_ssm::CAPABILITIES,
        Some("CertificateManager") => keyferry_provider_aws_acm::CAPABILITIES,
        _ => store::CAPABILITIES,
    }
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let config = Config::new(spec, &ctx.caller)?;
        match config.service.as_str() {
            "SecretsManager" => Ok(Arc::new(SecretsManager::new(&config, &ctx).await?) as Arc<dyn Provider>),
            "ParameterStore" => Ok(Arc::new(ParameterStore::new(&config, &ctx).await?) as Arc<dyn Provider>),
            "CertificateManager" => Ok(Arc::new(CertificateManager::new(&config, &ctx).await?) as Arc<dyn Provider>),
            _ => Err(Error::invalid(
                "spec.provider.aws.service must be SecretsManager, ParameterStore or CertificateManager",
            )),
        }
    })
}
