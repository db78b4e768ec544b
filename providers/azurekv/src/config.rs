//! From `spec.provider.azurekv` to plain data that is known to make sense.

use keyferry_provider_azure_common::identity::Id;
use keyferry_provider_azure_common::{Audience, Authority, Cloud, Federation, Identity, Named, Proof};
use keyferry_provider_core::{Caller, Error, SecretRef, ServiceAccountRef, filled};
use keyferry_provider_http::{Fields, Way, secure_url};
use reqwest::Url;
use serde::Deserialize;

use crate::client::PROVIDER;

/// What messages call the spec and its fields.
const SPEC: &str = "spec.provider.azurekv";
const VAULT: &str = "spec.provider.azurekv.vaultUrl";
const TENANT: &str = "spec.provider.azurekv.tenantId";
const ACCOUNT: &str = "spec.provider.azurekv.serviceAccountRef";
const MACHINE: &str = "spec.provider.azurekv.identityId";
const CLIENT_REF: &str = "spec.provider.azurekv.authSecretRef.clientId";
const TENANT_REF: &str = "spec.provider.azurekv.authSecretRef.tenantId";
const SECRET_REF: &str = "spec.provider.azurekv.authSecretRef.clientSecret";
const CERTIFICATE_REF: &str = "spec.provider.azurekv.authSecretRef.clientCertificate";
const CUSTOM: &str = "spec.provider.azurekv.customCloudConfig";
const AUTHORITY: &str = "spec.provider.azurekv.customCloudConfig.activeDirectoryEndpoint";
const ENDPOINT: &str = "spec.provider.azurekv.customCloudConfig.keyVaultEndpoint";

const FIELDS: Fields = Fields { server: VAULT, ca: "the certificates of the system", identity: SPEC };

const LOGIN_FIELDS: Fields = Fields {
    server: "spec.provider.azurekv.environmentType and customCloudConfig",
    ca: "the certificates of the system",
    identity: SPEC,
};

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The way to the vault.
    pub way: Way,
    /// Who logs in.
    pub identity: Identity,
    /// What tokens are for.
    pub audience: Audience,
    /// Whether the vault is one of the cloud's own, and tokens for it are given by the cloud's own.
    is_of_cloud: bool,
}

/// `spec.provider.azurekv`. Nulls are taken as absent, as the API server leaves them. `useAzureSDK` chooses between two
/// clients of External Secrets Operator; ours does what either can.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    vault_url: Option<String>,
    auth_type: Option<String>,
    tenant_id: Option<String>,
    environment_type: Option<String>,
    auth_secret_ref: Option<AuthRef>,
    service_account_ref: Option<ServiceAccountRef>,
    identity_id: Option<String>,
    custom_cloud_config: Option<CustomCloud>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthRef {
    client_id: Option<SecretRef>,
    tenant_id: Option<SecretRef>,
    client_secret: Option<SecretRef>,
    client_certificate: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CustomCloud {
    active_directory_endpoint: Option<String>,
    key_vault_endpoint: Option<String>,
    #[serde(rename = "keyVaultDNSSuffix")]
    key_vault_dns_suffix: Option<String>,
    audience: Option<String>,
}

impl Config {
    /// Reads the spec.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote the value it stumbles over.
        let spec = Spec::deserialize(spec)
            .map_err(|_| Error::invalid(format!("{SPEC} is not of the form that the documentation gives")))?;
        let url = filled(spec.vault_url.clone()).ok_or_else(|| Error::invalid(format!("{VAULT} is missing")))?;
        let vault = secure_url(&url, VAULT, "https://my-vault.vault.azure.net")?;
        let cloud = Cloud::new(spec.environment_type.as_deref(), "spec.provider.azurekv.environmentType")?;
        let custom = spec.custom_cloud_config.as_ref();
        let authority = match custom {
            Some(custom) => {
                let endpoint = filled(custom.active_directory_endpoint.clone());
                let endpoint = endpoint.ok_or_else(|| Error::invalid(format!("{AUTHORITY} is missing")))?;
                Authority::custom(&endpoint, AUTHORITY)?
            }
            None => cloud
                .authority()
                .ok_or_else(|| Error::invalid(format!("{CUSTOM} is missing: AzureStackCloud is wherever that says")))?,
        };
        let (resource, is_of_cloud) = resource(cloud, custom, &vault)?;
        let is_of_cloud = is_of_cloud && !authority.is_custom;
        let (fields, provider) = (LOGIN_FIELDS, PROVIDER);
        Ok(Self {
            way: Way::new(vault, FIELDS),
            identity: identity(spec)?,
            audience: Audience { authority, resource, fields, spec: SPEC, machine: MACHINE, provider },
            is_of_cloud,
        })
    }

    /// Refuses the operator's own identity where a store of a namespace could carry its token to whoever its author likes.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check_identity(&self, caller: &Caller) -> Result<(), Error> {
        if !self.identity.is_operator() || self.is_of_cloud || caller.is_of_cluster() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{VAULT} is no vault of a cloud of Microsoft's, or {CUSTOM} is set: a token of the operator's own identity is \
             not sent there for a store of a namespace: name credentials in the store, or use a ClusterSecretStore"
        )))
    }
}

fn identity(spec: Spec) -> Result<Identity, Error> {
    let missing = |field: &str| Error::invalid(format!("{field} is missing"));
    let keeps = spec.auth_secret_ref.unwrap_or_default();
    let named = |field, reference: Option<SecretRef>| reference.map(|reference| Named::new(field, reference));
    let client = named(CLIENT_REF, keeps.client_id);
    let given = filled(spec.tenant_id).map(|tenant| Id::Given(Named::new(TENANT, tenant)));
    let kept = named(TENANT_REF, keeps.tenant_id).map(Id::Kept);
    match spec.auth_type.as_deref() {
        None | Some("" | "ServicePrincipal") => {
            let secret = named(SECRET_REF, keeps.client_secret).map(Proof::Secret);
            let certificate = named(CERTIFICATE_REF, keeps.client_certificate).map(Proof::Certificate);
            let proof = match (secret, certificate) {
                (Some(_), Some(_)) => {
                    return Err(Error::invalid(format!("{SECRET_REF} and {CERTIFICATE_REF} are both set: keep one")));
                }
                (secret, certificate) => {
                    secret.or(certificate).ok_or_else(|| missing(&format!("{SECRET_REF} or clientCertificate")))?
                }
            };
            let tenant = given.or(kept).ok_or_else(|| missing(TENANT))?;
            Ok(Identity::Application { tenant, client: client.ok_or_else(|| missing(CLIENT_REF))?, proof })
        }
        Some("ManagedIdentity") => Ok(Identity::Machine { client: filled(spec.identity_id) }),
        Some("WorkloadIdentity") => Ok(match spec.service_account_ref {
            None => Identity::Pod,
            Some(account) => {
                let audience = spec.custom_cloud_config.and_then(|custom| filled(custom.audience));
                Identity::Federated(Federation {
                    account: Named::new(ACCOUNT, account),
                    audience: audience.unwrap_or_else(|| Federation::AUDIENCE.to_owned()),
                    client,
                    tenant: kept.or(given),
                })
            }
        }),
        Some(_) => Err(Error::invalid(
            "spec.provider.azurekv.authType must be ServicePrincipal, ManagedIdentity or WorkloadIdentity",
        )),
    }
}

/// Below which names a cloud has its vaults; tokens for them are for the service of that name.
fn suffixes(cloud: Cloud) -> [&'static str; 2] {
    match cloud {
        Cloud::Public => ["vault.azure.net", "managedhsm.azure.net"],
        Cloud::UsGovernment => ["vault.usgovcloudapi.net", "managedhsm.usgovcloudapi.net"],
        Cloud::China => ["vault.azure.cn", "managedhsm.azure.cn"],
        Cloud::Stack => ["", ""],
    }
}

/// What tokens must be for, and whether the vault is one of the cloud's own.
fn resource(cloud: Cloud, custom: Option<&CustomCloud>, vault: &Url) -> Result<(String, bool), Error> {
    let host = vault.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let below = |suffix: &str| host.strip_suffix(suffix).is_some_and(|name| name.ends_with('.'));
    let of_suffix = |suffix: &str| format!("https://{suffix}");
    if let Some(endpoint) = custom.and_then(|custom| filled(custom.key_vault_endpoint.clone())) {
        let endpoint = secure_url(&endpoint, ENDPOINT, "https://vault.example.com")?;
        return Ok((endpoint.as_str().trim_end_matches('/').to_owned(), false));
    }
    if let Some(suffix) = custom.and_then(|custom| filled(custom.key_vault_dns_suffix.clone())) {
        return Ok((of_suffix(suffix.trim_matches(['.', '/', ' '])), false));
    }
    match (cloud, suffixes(cloud).into_iter().find(|suffix| !suffix.is_empty() && below(suffix))) {
        (_, Some(suffix)) => Ok((of_suffix(suffix), true)),
        // As vaults themselves have it: what is behind the vault's name.
        (Cloud::Stack, None) => match host.split_once('.') {
            Some((_, behind)) => Ok((of_suffix(behind), false)),
            None => Err(Error::invalid(format!("{ENDPOINT} is missing, and {VAULT} does not tell it"))),
        },
        (_, None) => Ok((of_suffix(suffixes(cloud)[0]), false)),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
