//! Generators: tokens of container registries (ECR), and sessions of a user (STS).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_types::region::Region;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_aws_common::config::Identity;
use keyferry_provider_aws_common::error::About;
use keyferry_provider_aws_common::{Config, Connection, Failure, JsonApi, JsonClient, Service};
use keyferry_provider_core::{
    BuildContext, Error, ErrorKind, Generator, GeneratorRegistration, Keep, Made, SecretBytes, State, Term, json,
};
use serde_json::Value;

/// Tokens of Amazon's container registries.
pub const ECR: GeneratorRegistration = GeneratorRegistration {
    kind: "ECRAuthorizationToken",
    field: "ecrAuthorizationTokenSpec",
    has_state: false,
    build: |spec, ctx| Ok(Arc::new(Aws { what: registry_token, spec: spec.clone(), ctx })),
};

/// Session tokens.
pub const STS: GeneratorRegistration = GeneratorRegistration {
    kind: "STSSessionToken",
    field: "stsSessionTokenSpec",
    has_state: false,
    build: |spec, ctx| Ok(Arc::new(Aws { what: session_token, spec: spec.clone(), ctx })),
};

const OPERATIONS: &[(&str, &str)] = &[("GetAuthorizationToken", "GetAuthorizationToken")];

const PRIVATE: Service = Service {
    name: "ECR",
    metric: "AWS/ECR",
    endpoint: &["AWS_ECR_ENDPOINT", "AWS_ENDPOINT_URL_ECR"],
    operations: OPERATIONS,
};

const PUBLIC: Service = Service {
    name: "ECR Public",
    metric: "AWS/ECR",
    endpoint: &["AWS_ECR_PUBLIC_ENDPOINT", "AWS_ENDPOINT_URL_ECR_PUBLIC"],
    operations: OPERATIONS,
};

const SESSIONS: Service = Service {
    name: "STS",
    metric: "AWS/STS",
    endpoint: &["AWS_STS_ENDPOINT", "AWS_ENDPOINT_URL_STS"],
    operations: &[("GetSessionToken", "GetSessionToken")],
};

/// Where public registries are, whatever the region.
const PUBLIC_REGION: &str = "us-east-1";

/// What is made.
type Work<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Made, Error>> + Send + 'a>>;

struct Aws {
    what: for<'a> fn(&'a Value, &'a BuildContext) -> Work<'a>,
    spec: Value,
    ctx: BuildContext,
}

#[async_trait]
impl Generator for Aws {
    async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
        (self.what)(&self.spec, &self.ctx).await.map_err(|error| error.at("spec.provider.aws", "spec"))
    }

    async fn revoke(&self, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}

fn registry_token<'a>(spec: &'a Value, ctx: &'a BuildContext) -> Work<'a> {
    Box::pin(async move {
        let config = Config::new(spec, &ctx.caller)?;
        let is_on = |name| (ctx.environment)(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        // Endpoints that are for FIPS or dual-stack have a shorter name.
        let is_plain = !is_on("AWS_USE_FIPS_ENDPOINT") && !is_on("AWS_USE_DUALSTACK_ENDPOINT");
        let host = if is_plain { "api.ecr" } else { "ecr" };
        match spec["scope"].as_str() {
            None | Some("" | "private") => {
                let target = "AmazonEC2ContainerRegistry_V20150921";
                let api = JsonApi { host, signs_as: Some("ecr"), target, is_fips_in_gov: false };
                let connection = Connection::new(&config, &PRIVATE, ctx).await?;
                let sdk = connection.sdk.clone();
                ask(&connection, &JsonClient::new(api, &connection, sdk), "authorizationData").await
            }
            Some("public") => {
                let (host, target) = ("api.ecr-public", "SpencerFrontendService");
                let api = JsonApi { host, signs_as: Some("ecr-public"), target, is_fips_in_gov: false };
                let connection = Connection::new(&config, &PUBLIC, ctx).await?;
                let sdk = connection.sdk.to_builder().region(Region::from_static(PUBLIC_REGION)).build();
                ask(&connection, &JsonClient::new(api, &connection, sdk), "authorizationData").await
            }
            Some(_) => Err(Error::invalid("spec.scope must be private or public")),
        }
    })
}

async fn ask(connection: &Connection, client: &JsonClient, field: &str) -> Result<Made, Error> {
    let answer = connection.login.renewing(async || {
        let answer = client.call("GetAuthorizationToken", "{}".into()).await;
        answer.map_err(|failure| failed(failure, connection, "ecr:GetAuthorizationToken"))
    });
    let answer = answer.await?;
    read(&answer, field).ok_or_else(|| {
        let message = format!("{} answered without a token that can be read", connection.service);
        Error::new(ErrorKind::Malformed, message)
    })
}

fn failed(failure: Failure, connection: &Connection, action: &str) -> Error {
    failure.error(&About { service: &connection.service, action, what: &"a token" })
}

/// What an answer of ECR holds: private registries have a list of one, public ones an object.
fn read(answer: &SecretBytes, field: &str) -> Option<Made> {
    let body = json::object(answer.expose())?;
    let data = body.get(field)?.get().as_bytes();
    let data = match json::array(data) {
        Some(all) => json::object(all.first()?.get().as_bytes())?,
        None => json::object(data)?,
    };
    let token = json::to_bytes(data.get("authorizationToken")?);
    let plain = SecretBytes::new(STANDARD.decode(token.expose()).ok()?);
    let colon = plain.expose().iter().position(|byte| *byte == b':')?;
    let (username, password) = (&plain.expose()[..colon], &plain.expose()[colon + 1..]);
    // Seconds, with or without a fraction.
    let end = data.get("expiresAt")?.get().parse::<f64>().ok().filter(|end| *end >= 0.0)? as u64;
    let mut values: BTreeMap<String, SecretBytes> = BTreeMap::from([
        ("username".to_owned(), SecretBytes::new(username.to_vec())),
        ("password".to_owned(), SecretBytes::new(password.to_vec())),
        ("expires_at".to_owned(), end.to_string().as_str().into()),
    ]);
    if let Some(endpoint) = data.get("proxyEndpoint") {
        values.insert("proxy_endpoint".to_owned(), json::to_bytes(endpoint));
    }
    let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end))?;
    Some(Made { values, state: None, term: Some(Term { end, renews: false }) })
}

fn session_token<'a>(spec: &'a Value, ctx: &'a BuildContext) -> Work<'a> {
    Box::pin(async move {
        let config = Config::new(spec, &ctx.caller)?;
        if matches!(config.identity, Identity::ServiceAccount(_)) {
            let message = "spec.auth.jwt can't be used: AWS gives session tokens to users with an access key only";
            return Err(Error::invalid(message));
        }
        let connection = Connection::new(&config, &SESSIONS, ctx).await?;
        let sdk = aws_sdk_sts::config::Builder::from(&connection.sdk).interceptor(connection.counter.clone()).build();
        let client = aws_sdk_sts::Client::from_conf(sdk);
        let parameters = &spec["requestParameters"];
        let text = |name: &str| parameters[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let seconds = parameters["sessionDuration"].as_i64().map(i32::try_from).transpose();
        let seconds = seconds.map_err(|_| Error::invalid("spec.requestParameters.sessionDuration is too long"))?;
        let answer = connection.login.renewing(async || {
            let request = client
                .get_session_token()
                .set_duration_seconds(seconds)
                .set_serial_number(text("serialNumber"))
                .set_token_code(text("tokenCode"));
            let answer = request.send().await;
            answer
                .map_err(|error| failed(Failure::new(&error, &connection.service), &connection, "sts:GetSessionToken"))
        });
        let given = answer.await?.credentials.ok_or_else(|| {
            Error::new(ErrorKind::Malformed, format!("{} answered without credentials", connection.service))
        })?;
        let end = SystemTime::try_from(given.expiration)
            .map_err(|_| Error::new(ErrorKind::Malformed, "the session has no end that can be read"))?;
        let values = [
            ("access_key_id", given.access_key_id),
            ("secret_access_key", given.secret_access_key),
            ("session_token", given.session_token),
            ("expiration", given.expiration.secs().to_string()),
        ];
        let values = values.into_iter().map(|(key, value)| (key.to_owned(), SecretBytes::new(value.into_bytes())));
        Ok(Made { values: values.collect(), state: None, term: Some(Term { end, renews: false }) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_both_kinds_of_registries_are_read() {
        let token = STANDARD.encode("AWS:canary:with:colons");
        let one =
            format!(r#"{{"authorizationToken":"{token}","expiresAt":1700000000.123,"proxyEndpoint":"https://r"}}"#);
        let private =
            read(&format!(r#"{{"authorizationData":[{one}]}}"#).as_str().into(), "authorizationData").unwrap();
        let text = |made: &Made, key: &str| made.values[key].expose_str().unwrap().to_owned();
        assert_eq!(
            ["username", "password", "proxy_endpoint", "expires_at"].map(|key| text(&private, key)),
            ["AWS", "canary:with:colons", "https://r", "1700000000"]
        );
        let public = format!(r#"{{"authorizationData":{{"authorizationToken":"{token}","expiresAt":1.7E9}}}}"#);
        let public = read(&public.as_str().into(), "authorizationData").unwrap();
        assert_eq!(public.values.keys().collect::<Vec<_>>(), ["expires_at", "password", "username"]);
        for bad in ["", "{}", r#"{"authorizationData":[]}"#, r#"{"authorizationData":[{"authorizationToken":"?"}]}"#] {
            assert_eq!(read(&bad.into(), "authorizationData"), None, "{bad}");
        }
    }
}
