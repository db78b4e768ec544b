//! `azurekv`: Azure Key Vault.

use serde_json::json;

use super::super::node::*;
use super::super::shared::{secret_key, service_account};

pub(super) fn schema() -> Node {
    let clouds = ["PublicCloud", "USGovernmentCloud", "ChinaCloud", "GermanCloud", "AzureStackCloud"];
    object("Azure Key Vault: secrets, keys and certificates.")
        .required("vaultUrl", string("The vault, like https://my-vault.vault.azure.net."))
        .field(
            "authType",
            word("How to log in.", &["ServicePrincipal", "ManagedIdentity", "WorkloadIdentity"])
                .default(json!("ServicePrincipal")),
        )
        .field("tenantId", string("Id of the tenant; needed for ServicePrincipal."))
        .field("environmentType", word("The cloud.", &clouds).default(json!("PublicCloud")))
        .field("authSecretRef", auth_secret())
        .field(
            "serviceAccountRef",
            service_account("WorkloadIdentity: the ServiceAccount; the operator's own pod if not set."),
        )
        .field("identityId", string("ManagedIdentity: client id of the identity, where there are several."))
        .field(
            "useAzureSDK",
            boolean("Taken for ESO's sake: one client does what either of its two can.").default(json!(false)),
        )
        .field("customCloudConfig", custom_cloud())
}

fn auth_secret() -> Node {
    object("The application that logs in.")
        .field("clientId", secret_key("Where its client id is."))
        .field("tenantId", secret_key("Where the id of its tenant is."))
        .field("clientSecret", secret_key("Where its secret is."))
        .field(
            "clientCertificate",
            secret_key("Where its certificate and RSA key are: PEM, or PKCS #12 without a password."),
        )
}

fn custom_cloud() -> Node {
    object("Where everything is in a cloud of one's own (AzureStackCloud).")
        .required("activeDirectoryEndpoint", string("Where tokens are given."))
        .field(
            "keyVaultEndpoint",
            string("What tokens for vaults are for, like https://vault.local.azurestack.external."),
        )
        .field("keyVaultDNSSuffix", string("Below which names the vaults are."))
        .field("resourceManagerEndpoint", string("Not needed for vaults."))
        .field("audience", string("WorkloadIdentity: audience of the ServiceAccount's token."))
}
