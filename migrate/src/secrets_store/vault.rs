//! Classes of Vault's provider, and of OpenBao's, which is the same.

use serde_json::{Value, json};

use super::class::{Class, Entry, text};
use super::object::{FILL_IN, Object, Place, Store, WHOEVER, left, left_of, mode_of};
use crate::carry::{Said, Weight};

const PARAMETERS: [&str; 14] = [
    "objects",
    "roleName",
    "vaultAddress",
    "vaultNamespace",
    "vaultAuthMountPath",
    "vaultKubernetesMountPath",
    "audience",
    "vaultSkipTLSVerify",
    "vaultCAPem",
    "vaultCACertPath",
    "vaultCADirectory",
    "vaultTLSServerName",
    "vaultTLSClientCertPath",
    "vaultTLSClientKeyPath",
];

const FIELDS: [&str; 9] = [
    "objectName",
    "secretPath",
    "objectPath",
    "secretKey",
    "method",
    "secretArgs",
    "filePermission",
    "encoding",
    "objectVersion",
];

/// What stands behind the mount of engines that make what they answer, or answer another with each call.
const MADE: [&str; 7] = ["creds", "static-creds", "issue", "sign", "sign-verbatim", "sts", "export"];

/// The files of a class.
pub fn objects(class: &Class, place: &Place, said: &mut Said<'_>) -> Vec<Object> {
    let entries = match class.entries("objects") {
        Ok(entries) => entries,
        Err(why) => {
            said.say(Weight::Lost, why);
            return Vec::new();
        }
    };
    left_of(class, &PARAMETERS, said);
    let mut objects = Vec::new();
    for entry in &entries {
        let name = text(entry, "objectName").unwrap_or_default();
        said.place = class.place(&name);
        match object(class, entry, place, said) {
            Ok(object) => objects.push(object),
            Err(why) => said.say(Weight::Lost, format!("object {name:?}: {why}")),
        }
    }
    said.place = class.place("");
    objects
}

fn object(class: &Class, entry: &Entry, place: &Place, said: &mut Said<'_>) -> Result<Object, String> {
    let path = text(entry, "objectName").ok_or("it has no objectName")?;
    let at = text(entry, "secretPath").or_else(|| text(entry, "objectPath")).ok_or("it has no secretPath")?;
    if text(entry, "method").is_some_and(|method| !method.eq_ignore_ascii_case("get")) {
        return Err(format!(
            "{at} is written to with each read: what is made so is no secret of a KV engine; use the generator VaultDynamicSecret, \
             and deliver it by a Secret"
        ));
    }
    let (mount, version, key) = split(&at)?;
    let mut remote = json!({"key": key});
    match text(entry, "secretKey") {
        Some(property) => remote["property"] = json!(property),
        None => said.say(
            Weight::Note,
            format!("object {path:?}: without secretKey it is the secret as JSON; the provider wrote all that Vault answered"),
        ),
    }
    let arguments = entry.get("secretArgs").and_then(Value::as_object).into_iter().flatten();
    for (name, value) in arguments {
        match (name.as_str(), value) {
            ("version", value) if version == "v2" => {
                remote["version"] = json!(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
            _ => said.say(Weight::Lost, format!("object {path:?}: secretArgs.{name} has no counterpart")),
        }
    }
    if let Some(version) = text(entry, "objectVersion") {
        remote["version"] = json!(version);
    }
    match text(entry, "encoding").as_deref() {
        None | Some("utf-8") => {}
        Some("base64") => remote["decodingStrategy"] = json!("Base64"),
        Some(other) => return Err(format!("encoding {other} can't be undone by decodingStrategy")),
    }
    left(entry, &FIELDS, said);
    let mode = mode_of(entry, "filePermission", said);
    Ok(Object { path, mode, remote, store: store(class, &mount, version, place) })
}

/// Mount, version and key of a path of the API. Where `data` stands behind the mount it is of version 2.
fn split(path: &str) -> Result<(String, &'static str, String), String> {
    let path = path.trim_matches('/');
    let path = path.strip_prefix("v1/").unwrap_or(path);
    let owned = |(mount, version, key): (&str, &'static str, &str)| (mount.to_owned(), version, key.to_owned());
    if let Some((mount, key)) = path.split_once("/data/") {
        return Ok(owned((mount, "v2", key)));
    }
    let Some((mount, key)) = path.split_once('/') else { return Err(format!("{path} is no path of a secret")) };
    if key.split('/').next().is_some_and(|first| MADE.contains(&first)) {
        return Err(format!(
            "{path} is made anew for whoever asks, and no secret of a KV engine: use the generator VaultDynamicSecret, and deliver it \
             by a Secret"
        ));
    }
    Ok(owned((mount, "v1", key)))
}

fn store(class: &Class, mount: &str, version: &str, place: &Place) -> Store {
    let mut to_do = Vec::new();
    let server = class.parameter("vaultAddress").or(place.vault_server.as_deref());
    if server.is_none() {
        to_do.push("spec.provider.vault.server: set it, or give --vault-server".to_owned());
    }
    let server = server.map_or_else(|| format!("https://{FILL_IN}"), str::to_owned);
    let role = class.parameter("roleName").unwrap_or(FILL_IN);
    if role == FILL_IN {
        to_do.push("spec.provider.vault.auth.kubernetes.role: the class has no roleName".to_owned());
    }
    let login = class.parameter("vaultAuthMountPath").or_else(|| class.parameter("vaultKubernetesMountPath"));
    let login = login.map_or("kubernetes", |login| login.trim_start_matches("auth/"));
    let audience = class.parameter("audience").unwrap_or(&place.vault_audience);
    let kubernetes = json!({
        "mountPath": login, "role": role, "serviceAccountRef": {"name": WHOEVER, "audiences": [audience]},
    });
    let mut vault = json!({"server": server, "path": mount, "version": version, "auth": {"kubernetes": kubernetes}});
    if let Some(namespace) = class.parameter("vaultNamespace") {
        vault["namespace"] = json!(namespace);
    }
    let mut notes = vec![format!(
        "tokens of the audience {audience:?} log in: it has to be in node.audiences, or in tokenRequests of the Secrets Store CSI Driver"
    )];
    if class.parameter("audience").is_none() && role != FILL_IN {
        to_do.push(format!("role {role:?} of auth/{login} in Vault: have it take tokens of the audience {audience:?}"));
    }
    if version == "v1" {
        notes.push(format!("{mount} counts as a KV engine of version 1, since no data/ stands behind it"));
    }
    for (name, field) in [
        ("vaultCAPem", "caBundle"),
        ("vaultCACertPath", "caProvider"),
        ("vaultCADirectory", "caProvider"),
        ("vaultTLSClientCertPath", "tls"),
        ("vaultTLSClientKeyPath", "tls"),
    ] {
        if class.parameter(name).is_some() {
            to_do.push(format!(
                "spec.provider.vault.{field}: the class says it by {name}, which was for the provider's pod"
            ));
        }
    }
    for name in ["vaultSkipTLSVerify", "vaultTLSServerName"] {
        if class.parameter(name).is_some_and(|value| value != "false") {
            to_do.push(format!("{name} has no counterpart: give the store Vault's CA (caProvider), and call Vault by a name of its certificate"));
        }
    }
    let parts = ["vault", mount, role, if login == "kubernetes" { "" } else { login }];
    let made = Store::new(parts, json!({"vault": vault}), "/vault/auth/kubernetes/serviceAccountRef");
    Store { to_do, notes, ..made }
}
