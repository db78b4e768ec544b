//! The configuration of the SDK's clients, and counting what they do.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use keyferry_provider_core::{BuildContext, Calls, Environment, Error};

use crate::config::Config;
use crate::login::Login;
use crate::proxy::http_client;
use crate::reading::Reading;

/// How long a connection, and an attempt as a whole, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// How the SDK behaves: as the version that we build with.
pub(crate) fn behavior() -> BehaviorVersion {
    BehaviorVersion::latest()
}

/// A service of AWS.
#[derive(Clone, Copy)]
pub struct Service {
    /// Its name, for messages.
    pub name: &'static str,
    /// The name that External Secrets Operator's metric uses for it.
    pub metric: &'static str,
    /// The environment variables that name another endpoint, the first that is set counting: External Secrets
    /// Operator's own, then AWS's.
    pub endpoint: &'static [&'static str],
    /// The operations that are counted, and what the metric calls them.
    pub operations: &'static [(&'static str, &'static str)],
}

/// STS, which logins are made with.
pub(crate) const STS: Service = Service {
    name: "STS",
    metric: "AWS/STS",
    endpoint: &["AWS_STS_ENDPOINT", "AWS_ENDPOINT_URL_STS"],
    operations: &[
        ("AssumeRole", "AssumeRole"),
        ("AssumeRoleWithWebIdentity", "AssumeRoleWithWebIdentity"),
        ("GetCallerIdentity", "GetCallerIdentity"),
    ],
};

/// What the client of a service is made of.
pub struct Connection {
    /// Region, endpoint, credentials and HTTP.
    pub sdk: SdkConfig,
    /// Counts calls; to be added to the client.
    pub counter: Counter,
    /// Where the credentials come from.
    pub login: Login,
    /// The service and its region, for messages.
    pub service: String,
}

impl Connection {
    /// Prepares all that a client of `service` needs. Logs in nowhere yet, but reads the keys that the spec names.
    pub async fn new(config: &Config, service: &Service, ctx: &BuildContext) -> Result<Self, Error> {
        let base = Base::new(config, ctx)?;
        let login = Login::new(config, ctx, &base, service).await?;
        let sdk = base.of(service).into_builder().credentials_provider(login.provider()).build();
        let counter = Counter::new(service, ctx.calls.clone());
        Ok(Self { sdk, counter, login, service: format!("{} in {}", service.name, config.region) })
    }
}

impl Connection {
    /// The same for another service, whose endpoint these environment variables may name.
    pub fn at(&self, names: &[&str], environment: &Environment) -> SdkConfig {
        let mut builder = self.sdk.to_builder();
        builder.set_endpoint_url(endpoint(names, environment));
        builder.build()
    }
}

/// What is the same for all services.
pub(crate) struct Base {
    sdk: SdkConfig,
    environment: Environment,
}

impl Base {
    pub fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let is_on = |name| (ctx.environment)(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build();
        let sdk = SdkConfig::builder()
            .behavior_version(behavior())
            .region(Region::new(config.region.clone()))
            .use_fips(is_on("AWS_USE_FIPS_ENDPOINT"))
            .use_dual_stack(is_on("AWS_USE_DUALSTACK_ENDPOINT"))
            .http_client(Reading::bounded(http_client(ctx.addresses.proxies())?, ctx.room.clone()))
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .time_source(aws_smithy_async::time::SystemTimeSource::new())
            // The guard around all stores does this, and counts it.
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // `login` does this.
            .identity_cache(aws_smithy_runtime::client::identity::IdentityCache::no_cache())
            .build();
        Ok(Self { sdk, environment: ctx.environment.clone() })
    }

    /// For one service: with its endpoint.
    pub fn of(&self, service: &Service) -> SdkConfig {
        let mut builder = self.sdk.to_builder();
        builder.set_endpoint_url(endpoint(service.endpoint, &self.environment));
        builder.build()
    }

    /// Whether the operator is told where this service is.
    pub fn is_placed(&self, service: &Service) -> bool {
        endpoint(service.endpoint, &self.environment).is_some()
    }

    /// What is the same for all services.
    pub fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    pub fn http_client(&self) -> Option<SharedHttpClient> {
        self.sdk.http_client()
    }
}

/// Where the operator is told that a service is, by the first of these that is set, or for all services.
fn endpoint(names: &[&str], environment: &Environment) -> Option<String> {
    names.iter().chain(&["AWS_ENDPOINT_URL"]).filter_map(|name| environment(name)).find(|url| !url.is_empty())
}

/// Reports every attempt on the wire.
#[derive(Clone)]
pub struct Counter {
    service: Service,
    calls: Arc<dyn Calls>,
}

impl Counter {
    pub(crate) fn new(service: &Service, calls: Arc<dyn Calls>) -> Self {
        Self { service: *service, calls }
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.service.metric)
    }
}

/// When the attempt under way began.
#[derive(Debug)]
struct Begun(Instant);

impl Storable for Begun {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for Counter {
    fn name(&self) -> &'static str {
        "keyferry: counts calls"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Begun(Instant::now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let name = bag.load::<Metadata>().map(Metadata::name).unwrap_or_default();
        let known = self.service.operations.iter().find(|(operation, _)| *operation == name);
        // An attempt that ended before it was sent, for want of credentials, is none.
        if let (Some((_, name)), Some(Begun(begun))) = (known, bag.load::<Begun>()) {
            let ok = context.output_or_error().is_some_and(|outcome| outcome.is_ok());
            self.calls.record(self.service.metric, name, ok, begun.elapsed());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use keyferry_provider_core::{
        CaRef, Caller, Credentials, ErrorKind, SecretBytes, SecretRef, ServiceAccountRef, Token,
    };
    use serde_json::json;

    use super::*;

    /// Nobody has anything.
    struct Nothing;

    #[async_trait::async_trait]
    impl Credentials for Nothing {
        async fn secret(&self, _: &SecretRef, _: Option<&str>) -> Result<SecretBytes, Error> {
            Err(Error::new(ErrorKind::Invalid, "there is none"))
        }

        async fn labelled_secret(
            &self,
            _: &SecretRef,
            _: &str,
            _: &str,
        ) -> Result<std::collections::BTreeMap<String, SecretBytes>, Error> {
            Err(Error::new(ErrorKind::Invalid, "there is none"))
        }

        async fn service_account_token(&self, _: &ServiceAccountRef, _: &[&str]) -> Result<Token, Error> {
            Err(Error::new(ErrorKind::Invalid, "there is none"))
        }

        async fn service_account_annotations(
            &self,
            _: &ServiceAccountRef,
        ) -> Result<std::collections::BTreeMap<String, String>, Error> {
            Err(Error::new(ErrorKind::Invalid, "there are none"))
        }

        async fn controller_token(&self) -> Result<SecretBytes, Error> {
            Err(Error::new(ErrorKind::Invalid, "there is none"))
        }

        async fn config_map(&self, _: &SecretRef) -> Result<SecretBytes, Error> {
            Err(Error::new(ErrorKind::Invalid, "there is none"))
        }

        async fn ca_bundle(&self, _: &CaRef) -> Result<Vec<u8>, Error> {
            Err(Error::new(ErrorKind::Invalid, "there is none"))
        }
    }

    /// Goes nowhere, and tells where it would have gone.
    #[derive(Clone, Debug, Default)]
    struct Noted(Arc<Mutex<Vec<String>>>);

    impl HttpConnector for Noted {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            self.0.lock().unwrap().push(request.uri().to_owned());
            HttpConnectorFuture::ready(Err(ConnectorError::user("nowhere".into())))
        }
    }

    /// Where STS is asked in this region, in a process with these settings.
    async fn asked(region: &str, settings: &'static [&'static str]) -> String {
        let config = Config::new(&json!({"service": "SecretsManager", "region": region}), &Caller::default()).unwrap();
        let environment: Environment = Arc::new(|name: &str| settings.contains(&name).then(|| "true".to_owned()));
        let ctx = BuildContext { environment, ..BuildContext::new(Arc::new(Nothing), Arc::new(())) };
        let noted = Noted::default();
        let connector = SharedHttpConnector::new(noted.clone());
        let sdk = Base::new(&config, &ctx).unwrap().of(&STS).into_builder();
        let sdk = sdk.http_client(http_client_fn(move |_, _| connector.clone())).build();
        let client = aws_sdk_sts::Client::new(&sdk);
        client
            .assume_role_with_web_identity()
            .role_arn("r")
            .role_session_name("s")
            .web_identity_token("t")
            .send()
            .await
            .unwrap_err();
        noted.0.lock().unwrap().first().cloned().unwrap_or_default()
    }

    #[tokio::test]
    async fn fips_and_dual_stack_are_settings_of_the_process_for_logins_too() {
        const FIPS: &str = "AWS_USE_FIPS_ENDPOINT";
        const DUAL: &str = "AWS_USE_DUALSTACK_ENDPOINT";
        for (region, settings, expected) in [
            ("eu-west-1", &[][..], "https://sts.eu-west-1.amazonaws.com/"),
            ("us-east-1", &[FIPS], "https://sts-fips.us-east-1.amazonaws.com/"),
            ("us-east-1", &[DUAL], "https://sts.us-east-1.api.aws/"),
            ("us-east-1", &[FIPS, DUAL], "https://sts-fips.us-east-1.api.aws/"),
            ("cn-north-1", &[], "https://sts.cn-north-1.amazonaws.com.cn/"),
        ] {
            assert_eq!(asked(region, settings).await, expected, "{region} {settings:?}");
        }
    }
}
