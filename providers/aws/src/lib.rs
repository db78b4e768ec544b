//! AWS: Secrets Manager, and Parameter Store by way of `keyferry-provider-aws-ssm`.
//!
//! Modules, in reading order: `ids` which secret an answer is about, `store` Secrets Manager. The spec, logins, the
//! client and what answers mean are those of both stores, in `keyferry-provider-aws-common`.

#![forbid(unsafe_code)]

mod ids;
mod store;

use std::sync::Arc;

use keyferry_provider_aws_common::Config;
use keyferry_provider_aws_ssm::ParameterStore;
use keyferry_provider_core::{BuildContext, BuildFuture, Capabilities, Error, ErrorKind, Provider, Registration};

use crate::store::SecretsManager;

/// How the registry knows these stores.
pub const REGISTRATION: Registration = Registration { name: "aws", capabilities, maintained: true, build };

fn capabilities(spec: &serde_json::Value) -> Capabilities {
    match spec["service"].as_str() {
        Some("ParameterStore") => keyferry_provider_aws_ssm::CAPABILITIES,
        _ => store::CAPABILITIES,
    }
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let config = Config::new(spec, &ctx.caller)?;
        match config.service.as_str() {
            "SecretsManager" => Ok(Arc::new(SecretsManager::new(&config, &ctx).await?) as Arc<dyn Provider>),
            "ParameterStore" => Ok(Arc::new(ParameterStore::new(&config, &ctx).await?) as Arc<dyn Provider>),
            "CertificateManager" => Err(Error::new(
                ErrorKind::Unsupported,
                "spec.provider.aws.service: this version of keyferry supports SecretsManager and ParameterStore, not \
                 CertificateManager yet",
            )),
            _ => Err(Error::invalid(
                "spec.provider.aws.service must be SecretsManager, ParameterStore or CertificateManager",
            )),
        }
    })
}
