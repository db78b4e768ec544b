//! Classes of Azure's provider: Key Vault.

use serde_json::json;

use super::class::{Class, Entry, text};
use super::object::{FILL_IN, Object, Store, WHOEVER, left, left_of, mode_of};
use crate::carry::{Said, Weight};

const PARAMETERS: [&str; 10] = [
    "objects",
    "keyvaultName",
    "tenantID",
    "tenantId",
    "clientID",
    "cloudName",
    "usePodIdentity",
    "useVMManagedIdentity",
    "userAssignedIdentityID",
    "useAzureTokenProxy",
];

const FIELDS: [&str; 8] = [
    "objectName",
    "objectAlias",
    "objectType",
    "objectVersion",
    "objectVersionHistory",
    "objectFormat",
    "objectEncoding",
    "filePermission",
];

/// Clouds, as the class and a store name them, and where their vaults are.
const CLOUDS: [(&str, &str, &str); 4] = [
    ("AzurePublicCloud", "PublicCloud", "vault.azure.net"),
    ("AzureUSGovernmentCloud", "USGovernmentCloud", "vault.usgovcloudapi.net"),
    ("AzureChinaCloud", "ChinaCloud", "vault.azure.cn"),
    ("AzureGermanCloud", "GermanCloud", "vault.microsoftazure.de"),
];

/// The files of a class.
pub fn objects(class: &Class, said: &mut Said<'_>) -> Vec<Object> {
    let entries = match class.entries("objects") {
        Ok(entries) => entries,
        Err(why) => {
            said.say(Weight::Lost, why);
            return Vec::new();
        }
    };
    left_of(class, &PARAMETERS, said);
    let store = store(class);
    let mut objects = Vec::new();
    for entry in &entries {
        let name = text(entry, "objectName").unwrap_or_default();
        said.place = class.place(&name);
        match object(entry, &store, said) {
            Ok(object) => objects.push(object),
            Err(why) => said.say(Weight::Lost, format!("object {name:?}: {why}")),
        }
    }
    said.place = class.place("");
    objects
}

fn object(entry: &Entry, store: &Store, said: &mut Said<'_>) -> Result<Object, String> {
    let name = text(entry, "objectName").ok_or("it has no objectName")?;
    let kind = text(entry, "objectType").ok_or("it has no objectType")?;
    let key = match kind.as_str() {
        "secret" => name.clone(),
        "key" => {
            said.say(Weight::ToDo, format!("object {name:?}: a key is read as JWK, where the provider wrote PEM"));
            format!("key/{name}")
        }
        "cert" => {
            said.say(
                Weight::ToDo,
                format!(
                    "object {name:?}: a certificate is read as DER, where the provider wrote PEM; objectType secret has it as the vault \
                     keeps it, with its key"
                ),
            );
            format!("cert/{name}")
        }
        other => return Err(format!("objectType {other:?} has no counterpart")),
    };
    let history = text(entry, "objectVersionHistory").and_then(|count| count.parse::<u32>().ok()).unwrap_or_default();
    if history > 1 {
        return Err(format!("objectVersionHistory {history}: a file for each of the last versions has no counterpart"));
    }
    let mut remote = json!({"key": key});
    if let Some(version) = text(entry, "objectVersion") {
        remote["version"] = json!(version);
    }
    match text(entry, "objectEncoding").as_deref() {
        None | Some("utf-8") => {}
        Some("base64") => remote["decodingStrategy"] = json!("Base64"),
        Some(other) => return Err(format!("objectEncoding {other} can't be undone by decodingStrategy")),
    }
    match text(entry, "objectFormat").map(|format| format.to_lowercase()).as_deref() {
        Some("pfx") => remote["decodingStrategy"] = json!("Base64"),
        Some("pem") => said.say(
            Weight::ToDo,
            format!(
                "object {name:?}: a certificate that the vault keeps as PKCS #12 is read as that, in base64, where the provider made PEM \
                 of it: take it apart by a template (pkcs12key, pkcs12cert)"
            ),
        ),
        _ => {}
    }
    left(entry, &FIELDS, said);
    let path = text(entry, "objectAlias").unwrap_or(name);
    Ok(Object { path, mode: mode_of(entry, "filePermission", said), remote, store: store.clone() })
}

fn store(class: &Class) -> Store {
    let mut to_do = Vec::new();
    let name = class.parameter("keyvaultName").unwrap_or(FILL_IN);
    let cloud = class.parameter("cloudName").unwrap_or(CLOUDS[0].0);
    let known = CLOUDS.iter().find(|(of_class, ..)| of_class.eq_ignore_ascii_case(cloud));
    let (_, environment, domain) = known.copied().unwrap_or(CLOUDS[0]);
    if known.is_none() {
        to_do.push(format!(
            "spec.provider.azurekv.environmentType: cloudName {cloud:?} is not known; set vaultUrl, too"
        ));
    }
    let url = if name == FILL_IN {
        to_do.push("spec.provider.azurekv.vaultUrl: the class has no keyvaultName".to_owned());
        format!("https://{name}")
    } else {
        format!("https://{name}.{domain}")
    };
    let mut azurekv = json!({"vaultUrl": url, "authType": "WorkloadIdentity", "serviceAccountRef": {"name": WHOEVER}});
    if environment != "PublicCloud" {
        azurekv["environmentType"] = json!(environment);
    }
    if let Some(tenant) = class.parameter("tenantID").or_else(|| class.parameter("tenantId")) {
        azurekv["tenantId"] = json!(tenant);
    }
    let identity = class.parameter("clientID").or_else(|| class.parameter("userAssignedIdentityID"));
    let client = identity.unwrap_or("its client id");
    to_do.push(format!(
        "annotate the ServiceAccounts of pods that mount with azure.workload.identity/client-id: {client}; a mount logs in as them"
    ));
    for of_node in ["usePodIdentity", "useVMManagedIdentity"].into_iter().filter(|name| class.is_set(name)) {
        to_do.push(format!(
            "{of_node}: that was the node's identity; give the pods' own a federated credential for the cluster's issuer"
        ));
    }
    let made = Store::new(["azure", name], json!({"azurekv": azurekv}), "/azurekv/serviceAccountRef");
    let notes = vec![
        "tokens of the audience \"api://AzureADTokenExchange\" log in: it has to be in node.audiences, or in tokenRequests of the \
         Secrets Store CSI Driver"
            .to_owned(),
    ];
    Store { to_do, notes, ..made }
}
