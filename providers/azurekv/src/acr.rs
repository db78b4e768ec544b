//! ACRAccessToken: a token of Azure's container registries, in exchange for one of Entra ID: for all that the identity may do
//! (a refresh token), or for a scope (an access token).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_provider_azure_common::identity::Id;
use keyferry_provider_azure_common::{Audience, Cloud, Federation, Identity, Login, Named, Proof};
use keyferry_provider_core::{
    BuildContext, Built, Error, ErrorKind, Generator, GeneratorRegistration, Keep, Made, SecretBytes, SecretRef,
    ServiceAccountRef, State, Term, filled, json,
};
use keyferry_provider_http::{Fields, Way, form, retry_after, secure_url, shared};
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;

/// Tokens of registries.
pub const ACR: GeneratorRegistration =
    GeneratorRegistration { kind: "ACRAccessToken", field: "acrAccessTokenSpec", has_state: false, build };

/// What metrics call it.
const PROVIDER: &str = "Azure/ContainerRegistry";

/// Whose name a token goes by.
const USERNAME: &str = "00000000-0000-0000-0000-000000000000";

const FIELDS: Fields =
    Fields { server: "spec.registry", ca: "the certificates of the system", identity: "spec.registry" };

const LOGIN_FIELDS: Fields =
    Fields { server: "spec.environmentType", ca: "the certificates of the system", identity: "spec.auth" };

/// Where registries are that are Azure's own: nobody else answers by such a name.
const REGISTRIES: [&str; 3] = [".azurecr.io", ".azurecr.us", ".azurecr.cn"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    auth: Option<AuthSpec>,
    tenant_id: Option<String>,
    registry: Option<String>,
    scope: Option<String>,
    environment_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSpec {
    service_principal: Option<PrincipalSpec>,
    managed_identity: Option<MachineSpec>,
    workload_identity: Option<WorkloadSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrincipalSpec {
    secret_ref: Option<PrincipalSecrets>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrincipalSecrets {
    client_id: Option<SecretRef>,
    client_secret: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MachineSpec {
    identity_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadSpec {
    service_account_ref: Option<ServiceAccountRef>,
}

struct Acr {
    spec: serde_json::Value,
    ctx: BuildContext,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> Built {
    Ok(Arc::new(Acr { spec: spec.clone(), ctx }))
}

fn identity(spec: &Spec) -> Result<Identity, Error> {
    let missing = |field: &str| Error::invalid(format!("{field} is missing"));
    let Some(auth) = &spec.auth else { return Err(missing("spec.auth")) };
    match (&auth.service_principal, &auth.managed_identity, &auth.workload_identity) {
        (Some(principal), _, _) => {
            let secrets =
                principal.secret_ref.as_ref().ok_or_else(|| missing("spec.auth.servicePrincipal.secretRef"))?;
            let one = |reference: &Option<SecretRef>, field: &'static str| {
                reference.clone().map(|reference| Named::new(field, reference)).ok_or_else(|| missing(field))
            };
            let tenant = filled(spec.tenant_id.clone()).ok_or_else(|| missing("spec.tenantId"))?;
            Ok(Identity::Application {
                tenant: Id::Given(Named::new("spec.tenantId", tenant)),
                client: one(&secrets.client_id, "spec.auth.servicePrincipal.secretRef.clientId")?,
                proof: Proof::Secret(one(&secrets.client_secret, "spec.auth.servicePrincipal.secretRef.clientSecret")?),
            })
        }
        (None, Some(machine), _) => Ok(Identity::Machine { client: filled(machine.identity_id.clone()) }),
        (None, None, Some(workload)) => Ok(match &workload.service_account_ref {
            None => Identity::Pod,
            Some(account) => Identity::Federated(Federation {
                account: Named::new("spec.auth.workloadIdentity.serviceAccountRef", account.clone()),
                audience: Federation::AUDIENCE.to_owned(),
                client: None,
                tenant: None,
            }),
        }),
        (None, None, None) => {
            Err(missing("one of servicePrincipal, managedIdentity and workloadIdentity in spec.auth"))
        }
    }
}

fn audience(cloud: Cloud) -> Result<Audience, Error> {
    let resource = match cloud {
        Cloud::Public => "https://management.azure.com",
        Cloud::UsGovernment => "https://management.usgovcloudapi.net",
        Cloud::China => "https://management.chinacloudapi.cn",
        Cloud::Stack => {
            let message = "spec.environmentType is AzureStackCloud, which gives no tokens of registries";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    let authority = cloud.authority().ok_or_else(|| Error::invalid("spec.environmentType has no place of logins"))?;
    let (spec, machine) = ("spec.auth", "spec.auth.managedIdentity.identityId");
    let (resource, fields, provider) = (resource.to_owned(), LOGIN_FIELDS, PROVIDER);
    Ok(Audience { authority, resource, fields, spec, machine, provider })
}

/// For how long a token is good that says so. Only the time between the two counts: whose clock is right does not matter.
fn life(token: &SecretBytes) -> Option<Duration> {
    let payload = token.expose_str()?.split('.').nth(1)?;
    let payload = SecretBytes::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
    let claims = json::object(payload.expose())?;
    let seconds = |claim: &str| claims.get(claim)?.get().parse::<u64>().ok();
    seconds("exp")?.checked_sub(seconds("iat")?).map(Duration::from_secs)
}

/// A registry, ready to be asked.
struct Registry {
    http: reqwest::Client,
    way: Way,
    name: String,
    ctx: BuildContext,
}

impl Registry {
    fn new(name: String, identity: &Identity, ctx: &BuildContext) -> Result<Self, Error> {
        let url = if name.contains("://") { name.clone() } else { format!("https://{name}") };
        let server = secure_url(&url, FIELDS.server, "https://example.azurecr.io")?;
        // What the URL leads to counts, and not how it is written: a backslash ends a host as a slash does.
        let host = server.host_str().unwrap_or_default();
        let is_azures =
            server.scheme() == "https" && server.port().is_none() && REGISTRIES.iter().any(|end| host.ends_with(end));
        if identity.is_operator() && !is_azures {
            return Err(Error::invalid(
                "spec.registry is none of Azure's own, so that the operator's own identity is not shown to it: give \
                 spec.auth credentials of its own",
            ));
        }
        let way = Way::new(server, FIELDS);
        let http = way.client(way.client_builder(&ctx.addresses)?, None, None)?;
        let name = name.split_once("://").map_or(name.clone(), |(_, name)| name.to_owned());
        Ok(Self { http, way, name, ctx: ctx.clone() })
    }

    /// Buys a token with a form at this place.
    async fn buy(&self, path: &str, fields: &[(&str, &[u8])], wanted: &str) -> Result<SecretBytes, Error> {
        let mut url = self.way.server.clone();
        url.set_path(path);
        let start = Instant::now();
        let request = self.http.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let sent = request.body(shared(&form(fields))).send().await.map_err(|error| self.way.error(&error));
        self.ctx.calls.record(
            PROVIDER,
            "GetToken",
            sent.as_ref().is_ok_and(|answer| answer.status() == 200),
            start.elapsed(),
        );
        let answer = sent?;
        let (status, wait) = (answer.status().as_u16(), retry_after(&answer));
        let body = self.way.read_body(answer, &*self.ctx.room).await?;
        let host = self.way.host();
        let new = |kind, message: String| Err(Error::new(kind, message).with_retry_after(wait));
        match status {
            200 => {
                let token =
                    json::object(body.expose()).and_then(|body| body.get(wanted).map(|raw| json::to_bytes(raw)));
                token.filter(|token| !token.is_empty()).ok_or_else(|| {
                    Error::new(ErrorKind::Malformed, format!("{host} answered without a token: check spec.registry"))
                })
            }
            400 | 401 | 403 => new(
                ErrorKind::Unauthenticated,
                format!(
                    "{host} does not let the identity of spec.auth in: give it a role on the registry, AcrPull at least"
                ),
            ),
            429 => new(ErrorKind::Throttled, format!("{host} asks for fewer requests")),
            408 | 504 => new(ErrorKind::Timeout, format!("no answer from {host} in time")),
            500..600 => new(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            _ => new(
                ErrorKind::Malformed,
                format!("{host} does not answer as a registry of Azure does (status {status}): check spec.registry"),
            ),
        }
    }
}

impl Acr {
    /// Buys a token with one that is given for this.
    async fn buy(&self, audience: impl FnOnce(Cloud) -> Result<Audience, Error>) -> Result<Made, Error> {
        // The parser's own error would quote what it stumbles over.
        let spec = Spec::deserialize(&self.spec)
            .map_err(|_| Error::invalid("spec is not of the form that an ACRAccessToken has"))?;
        let cloud = Cloud::new(spec.environment_type.as_deref(), "spec.environmentType")?;
        let identity = identity(&spec)?;
        let name = filled(spec.registry.clone()).ok_or_else(|| Error::invalid("spec.registry is missing"))?;
        let registry = Registry::new(name, &identity, &self.ctx)?;
        let login = Login::new(&identity, &audience(cloud)?, &self.ctx).await?;
        let header = login.get().await?;
        let token = header.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
        let tenant = filled(spec.tenant_id).unwrap_or_default();
        let service = registry.name.as_bytes();
        let form: [(&str, &[u8]); 4] = [
            ("grant_type", b"access_token"),
            ("service", service),
            ("tenant", tenant.as_bytes()),
            ("access_token", token),
        ];
        let mut token = registry.buy("/oauth2/exchange", &form, "refresh_token").await?;
        if let Some(scope) = filled(spec.scope) {
            let form: [(&str, &[u8]); 4] = [
                ("grant_type", b"refresh_token"),
                ("service", service),
                ("scope", scope.as_bytes()),
                ("refresh_token", token.expose()),
            ];
            token = registry.buy("/oauth2/token", &form, "access_token").await?;
        }
        let term = life(&token).and_then(|life| SystemTime::now().checked_add(life));
        let term = term.map(|end| Term { end, renews: false });
        let values = [("username".to_owned(), USERNAME.into()), ("password".to_owned(), token)];
        Ok(Made { values: values.into(), state: None, term })
    }
}

#[async_trait]
impl Generator for Acr {
    async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
        self.buy(audience).await
    }

    async fn revoke(&self, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_registry_gives_its_token_for_one_of_a_login() {
        use keyferry_doubles::azurekv::{CLIENT, Double, SECRET, TENANT};
        use keyferry_provider_azure_common::Authority;

        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let double = Double::start_plain();
        let principal = |secret: &str| {
            let credentials = keyferry_provider_testkit::MapCredentials::new();
            credentials.with("azure/id", CLIENT).with("azure/secret", secret)
        };
        let secret_ref = serde_json::json!({
            "clientId": {"name": "azure", "key": "id"}, "clientSecret": {"name": "azure", "key": "secret"},
        });
        let made = async |tenant: &str, scope: &str, secret: &str| {
            let spec = serde_json::json!({
                "tenantId": tenant, "registry": double.server().url(), "scope": scope,
                "auth": {"servicePrincipal": {"secretRef": secret_ref}},
            });
            let ctx = BuildContext::new(Arc::new(principal(secret)), Arc::new(())).trusted();
            let server = double.server().url().parse().unwrap();
            let authority = Authority { server, is_custom: true };
            let made = Acr { spec, ctx }.buy(|cloud| Ok(Audience { authority, ..audience(cloud)? })).await;
            made.map(|made| made.values["password"].expose_str().unwrap().to_owned())
        };
        assert_eq!(made(TENANT, "", SECRET).await.unwrap(), "canary-of-a-registry");
        assert_eq!(made(TENANT, "repository:a:pull", SECRET).await.unwrap(), "canary-of-repository:a:pull");
        let error = made(TENANT, "", "another").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(!error.to_string().contains("canary"), "{error}");
        // A token that the registry does not know: nobody is let in.
        double.refuse_at_the_registry();
        let error = made(TENANT, "", SECRET).await.unwrap_err();
        assert!(error.message().contains("does not let the identity of spec.auth in"), "{error}");
    }

    #[test]
    fn a_token_says_for_how_long_it_is_good() {
        let token = |claims: &str| SecretBytes::from(format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims)).as_str());
        assert_eq!(life(&token(r#"{"iat":1000,"exp":11800}"#)), Some(Duration::from_secs(10_800)));
        for other in [token(r#"{"exp":7}"#), token(r#"{"iat":9,"exp":7}"#), token("no JSON"), "opaque".into()] {
            assert_eq!(life(&other), None);
        }
    }

    #[test]
    fn the_operators_own_identity_is_shown_to_azures_registries_only() {
        // An error means that a TLS library is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ctx = BuildContext::new(Arc::new(keyferry_provider_testkit::MapCredentials::new()), Arc::new(()));
        let own = Identity::Machine { client: None };
        let refused = |name: &str| Registry::new(name.to_owned(), &own, &ctx).is_err();
        assert!(!refused("example.azurecr.io"));
        for name in [
            "registry.example.com",
            "evil.com/x.azurecr.io",
            r"evil.com\x.azurecr.io",
            "x@evil.com:443#.azurecr.io",
            "http://a.azurecr.io",
            "a.azurecr.io:8443",
        ] {
            assert!(refused(name), "{name}");
        }
    }
}
