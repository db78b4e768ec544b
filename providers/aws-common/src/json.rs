//! Calls of services that have no SDK here: the JSON protocol of AWS, signed and sent by the parts that all SDKs share, so
//! that time limits, counting and errors are the same.

use std::error::Error as StdError;
use std::fmt;

use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_types::region::SigningRegion;
use aws_types::{SdkConfig, SigningName};
use keyferry_provider_core::SecretBytes;
use keyferry_provider_identity::aws::domain;
use serde::Deserialize;

use crate::client::{Connection, Counter, behavior};
use crate::error::Failure;
use crate::reading::lent;

/// A service, and how it is spoken to.
#[derive(Clone, Copy, Debug)]
pub struct JsonApi {
    /// What its hosts begin with, and what requests are signed for.
    pub host: &'static str,
    /// What requests are signed for, where that is another.
    pub signs_as: Option<&'static str>,
    /// What operations are called in the header that names them, up to the dot.
    pub target: &'static str,
    /// Whether it has no hosts of its own in the FIPS way in regions of the US government, where all are.
    pub is_fips_in_gov: bool,
}

/// A client of such a service.
pub struct JsonClient {
    api: JsonApi,
    endpoint: String,
    sdk: SdkConfig,
    counter: Counter,
    service: String,
}

impl JsonClient {
    /// A client with this configuration, that counts and tells as the connection does.
    pub fn new(api: JsonApi, connection: &Connection, sdk: SdkConfig) -> Self {
        let Connection { counter, service, .. } = connection;
        let is = |flag: Option<bool>| flag.unwrap_or_default();
        let region = sdk.region().map(|region| region.as_ref()).unwrap_or_default();
        let own = || endpoint(api, region, is(sdk.use_fips()), is(sdk.use_dual_stack()));
        let endpoint = sdk.endpoint_url().map_or_else(own, str::to_owned);
        Self { api, endpoint, sdk, counter: counter.clone(), service: service.clone() }
    }

    /// Makes one call with this body; gives the body of the answer.
    pub async fn call(&self, operation: &'static str, body: SecretBytes) -> Result<SecretBytes, Failure> {
        let target = format!("{}.{operation}", self.api.target);
        let request = move |body: SecretBytes| {
            let mut request = HttpRequest::new(lent(&body));
            request.set_method("POST")?;
            request.headers_mut().insert("content-type", "application/x-amz-json-1.1");
            request.headers_mut().insert("x-amz-target", target.clone());
            Ok(request)
        };
        let mut builder = Operation::builder()
            .service_name(self.api.host)
            .operation_name(operation)
            .behavior_version(behavior())
            .endpoint_url(&self.endpoint)
            .no_retry()
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(self.counter.clone())
            .runtime_plugin(self.signing());
        if let Some(client) = self.sdk.http_client() {
            builder = builder.http_client(client);
        }
        if let Some(timeouts) = self.sdk.timeout_config() {
            builder = builder.timeout_config(timeouts.clone());
        }
        if let Some(sleep) = self.sdk.sleep_impl() {
            builder = builder.sleep_impl(sleep);
        }
        if let Some(time) = self.sdk.time_source() {
            builder = builder.time_source(time);
        }
        let operation = builder.serializer(request).deserializer(answer).build();
        operation.invoke(body).await.map_err(|error| Failure::new(&error, &self.service))
    }

    /// With whose credentials requests are signed, and for what.
    fn signing(&self) -> StaticRuntimePlugin {
        let mut config = Layer::new("signing");
        config.store_put(AuthSchemeOptionResolverParams::new(()));
        config.store_put(SigV4OperationSigningConfig {
            region: self.sdk.region().cloned().map(SigningRegion::from),
            name: Some(SigningName::from_static(self.api.signs_as.unwrap_or(self.api.host))),
            ..SigV4OperationSigningConfig::default()
        });
        let components = RuntimeComponentsBuilder::new("signing")
            .with_auth_scheme(SigV4AuthScheme::new())
            .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])))
            .with_identity_cache(Some(IdentityCache::no_cache()));
        let components = match self.sdk.credentials_provider() {
            Some(provider) => components.with_identity_resolver(SCHEME_ID, provider),
            None => components,
        };
        StaticRuntimePlugin::new().with_config(config.freeze()).with_runtime_components(components)
    }
}

/// Where a service is. The region is a label, so that it leads to no other host.
fn endpoint(api: JsonApi, region: &str, fips: bool, dual_stack: bool) -> String {
    let suffix = domain(region, dual_stack);
    let fips = if fips && !(api.is_fips_in_gov && region.starts_with("us-gov-")) { "-fips" } else { "" };
    format!("https://{}{fips}.{region}.{suffix}", api.host)
}

/// An error as the service tells it. Its text is looked at, and goes nowhere.
struct Refusal(ErrorMetadata);

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a refusal of AWS")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a refusal of AWS")
    }
}

impl StdError for Refusal {}

impl ProvideErrorMetadata for Refusal {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

fn answer(response: &HttpResponse) -> Result<SecretBytes, OrchestratorError<Refusal>> {
    #[derive(Default, Deserialize)]
    struct Told {
        #[serde(rename = "__type")]
        code: Option<String>,
        #[serde(alias = "Message")]
        message: Option<String>,
    }
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return Ok(SecretBytes::new(body.to_vec()));
    }
    let Told { code, message } = serde_json::from_slice(body).unwrap_or_default();
    let header = response.headers().get("x-amzn-errortype").map(str::to_owned);
    let mut told = ErrorMetadata::builder();
    if let Some(code) = code.or(header) {
        told = told.code(code);
    }
    if let Some(message) = message {
        told = told.message(message);
    }
    Err(OrchestratorError::operation(Refusal(told.build())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_service_is() {
        let acm = JsonApi { host: "acm", signs_as: None, target: "CertificateManager", is_fips_in_gov: true };
        let tagging = JsonApi { host: "tagging", signs_as: None, target: "x", is_fips_in_gov: false };
        for (api, region, fips, dual, expected) in [
            (acm, "eu-west-1", false, false, "https://acm.eu-west-1.amazonaws.com"),
            (acm, "us-east-1", true, false, "https://acm-fips.us-east-1.amazonaws.com"),
            (acm, "us-east-1", false, true, "https://acm.us-east-1.api.aws"),
            (acm, "us-east-1", true, true, "https://acm-fips.us-east-1.api.aws"),
            (acm, "us-gov-west-1", true, false, "https://acm.us-gov-west-1.amazonaws.com"),
            (tagging, "us-gov-west-1", true, false, "https://tagging-fips.us-gov-west-1.amazonaws.com"),
            (acm, "cn-north-1", false, false, "https://acm.cn-north-1.amazonaws.com.cn"),
            (acm, "eusc-de-east-1", false, false, "https://acm.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(endpoint(api, region, fips, dual), expected);
        }
    }
}
