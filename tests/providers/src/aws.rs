//! Stores of AWS, in front of moto.

use std::sync::Arc;

use keyferry_provider_aws::REGISTRATION;
use keyferry_provider_core::{BuildContext, Calls, Credentials, Provider};
use keyferry_provider_testkit::MapCredentials;
use keyferry_testkit::Testbed;
use serde_json::{Value, json};

use crate::{REGION, context};

/// The secret of [`aws_keys`].
pub const AWS_SECRET: &str = "not-a-real-secret";

/// The keys that [`aws_spec`] names.
pub fn aws_keys() -> MapCredentials {
    MapCredentials::new().with("aws/id", "AKIAIOSFODNN7EXAMPLE\n").with("aws/secret", AWS_SECRET)
}

/// A store of this service that logs in with keys, and these fields besides.
pub fn aws_spec(service: &str, more: Value) -> Value {
    let mut spec = json!({
        "service": service, "region": REGION,
        "auth": {"secretRef": {
            "accessKeyIDSecretRef": {"name": "aws", "key": "id"},
            "secretAccessKeySecretRef": {"name": "aws", "key": "secret"},
        }},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// What a store is built with that is to ask moto.
pub fn aws_context(credentials: impl Credentials + 'static, calls: Arc<dyn Calls>) -> BuildContext {
    aws_context_at(&Testbed::shared().moto_url(), credentials, calls)
}

/// The same where AWS is at this URL.
pub fn aws_context_at(url: &str, credentials: impl Credentials + 'static, calls: Arc<dyn Calls>) -> BuildContext {
    keyferry_testkit::install_crypto_provider();
    let url = url.to_owned();
    let environment = move |name: &str| (name == "AWS_ENDPOINT_URL").then(|| url.clone());
    BuildContext { environment: Arc::new(environment), ..context(credentials, calls) }
}

/// The store of this spec, with the usual keys.
pub async fn build_aws(spec: Value) -> Arc<dyn Provider> {
    (REGISTRATION.build)(&spec, aws_context(aws_keys(), Arc::new(()))).await.unwrap()
}
