//! Classes of Azure's provider: Key Vault.

use serde_json::{Value, json};

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
        match object(entry, class, &store, said) {
            Ok(object) => objects.push(object),
            Err(why) => said.say(Weight::Lost, format!("object {name:?}: {why}")),
        }
    }
    said.place = class.place("");
    if entries.iter().any(|entry| pem(entry, class) == Some(Weight::Note)) {
        said.say(Weight::Note, format!("where an object without objectFormat is a certificate {AS_PKCS12}"));
    }
    objects
}

/// What happens to certificates of which the provider made PEM.
const AS_PKCS12: &str = "that the vault keeps as PKCS #12, it is read as that, in base64, where the provider made PEM of it: take it apart \
                         by a template (pkcs12key, pkcs12cert)";

/// How much it weighs that the provider made PEM of an entry, if it is a certificate: it did unless PFX is asked for, which is as the vault
/// keeps it, in base64, and only objectEncoding had that decoded.
fn pem(entry: &Entry, class: &Class) -> Option<Weight> {
    let format = text(entry, "objectFormat").map(|format| format.to_lowercase());
    if text(entry, "objectType").is_none_or(|kind| kind != "secret") || format.as_deref() == Some("pfx") {
        return None;
    }
    let is_needed = format.is_some() || path(entry).is_some_and(|path| makes_tls(class, &path));
    Some(if is_needed { Weight::ToDo } else { Weight::Note })
}

/// The file of an entry.
fn path(entry: &Entry) -> Option<String> {
    text(entry, "objectAlias").or_else(|| text(entry, "objectName"))
}

fn object(entry: &Entry, class: &Class, store: &Store, said: &mut Said<'_>) -> Result<Object, String> {
    let name = text(entry, "objectName").ok_or("it has no objectName")?;
    let path = path(entry).unwrap_or_else(|| name.clone());
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
    if pem(entry, class) == Some(Weight::ToDo) {
        said.say(Weight::ToDo, format!("object {name:?}: where it is a certificate {AS_PKCS12}"));
    }
    left(entry, &FIELDS, said);
    Ok(Object { path, mode: mode_of(entry, "filePermission", said), remote, store: store.clone() })
}

/// Whether a Secret for TLS is made of a file.
fn makes_tls(class: &Class, path: &str) -> bool {
    let all = class.manifest["spec"]["secretObjects"].as_array();
    let mut of_tls = all.into_iter().flatten().filter(|object| object["type"] == "kubernetes.io/tls");
    let is_it = |entry: &Value| entry["objectName"].as_str().is_some_and(|name| name.trim() == path);
    of_tls.any(|object| object["data"].as_array().is_some_and(|data| data.iter().any(is_it)))
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
