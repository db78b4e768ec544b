//! What old manifests come to, and what could not be carried over. Pure.

use serde_json::{Map, Value, json};

use crate::carry::{LEFT_BEHIND, Note, Said, Stores, Taken, Weight, escaped, metadata};

use super::entry::{Entry, Spec};
use super::store::store;
use super::{Kes, Old};

/// What they come to.
#[derive(Default)]
pub struct Converted {
    /// Stores, then ExternalSecrets.
    pub manifests: Vec<Value>,
    /// What is to be said.
    pub notes: Vec<Note>,
}

/// Converts them all. Of several that ask the same there is one store.
pub fn convert(old: &[Old], args: &Kes) -> Converted {
    let (mut stores, mut secrets, mut notes) = (Stores::default(), Vec::new(), Vec::new());
    let mut taken = Taken::default();
    for one in old {
        let name = one.manifest["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = one.manifest["metadata"]["namespace"].as_str().unwrap_or_default();
        let place = format!("{}: ExternalSecret {namespace}/{name}", one.place);
        let mut said = Said { place, notes: &mut notes };
        let Some(spec) = Spec::of(&one.manifest) else {
            said.say(Weight::Lost, "its spec is not of the form of kubernetes-external-secrets");
            continue;
        };
        let Some(new) = external_secret(one, &spec, args, &mut stores, &mut said) else { continue };
        match taken.take("ExternalSecret", namespace, name, &said.place) {
            Ok(()) => secrets.push(new),
            Err(first) => said.say(Weight::Lost, format!("it is there already ({first}): only that is carried over")),
        }
    }
    let manifests = stores.manifests.into_iter().chain(secrets).collect();
    Converted { manifests, notes }
}

fn external_secret(one: &Old, spec: &Spec, args: &Kes, stores: &mut Stores, said: &mut Said<'_>) -> Option<Value> {
    let keys = || spec.data.iter().chain(&spec.data_from_with_options).filter_map(|entry| entry.key.as_deref());
    let mounts = if spec.backend_type == "vault" {
        mounts(spec, keys().chain(spec.data_from.iter().map(String::as_str)))
    } else {
        vec![String::new()]
    };
    let [mount] = mounts.as_slice() else {
        said.say(
            Weight::Lost,
            format!("its keys are of several engines of Vault ({}): split it, and run this again", mounts.join(", ")),
        );
        return None;
    };
    let made = match store(spec, mount, &args.place) {
        Ok(made) => made,
        Err(why) => {
            said.say(Weight::Lost, why);
            return None;
        }
    };
    let kind = if args.cluster_stores { "ClusterSecretStore" } else { "SecretStore" };
    let namespace = one.manifest["metadata"]["namespace"].as_str().filter(|_| !args.cluster_stores).unwrap_or_default();
    let provider = json!({"provider": made.provider});
    let (store_name, is_new) = stores.put(namespace, kind, &made.name, provider);
    if is_new {
        let to_do = made.to_do.iter().map(|text| (Weight::ToDo, text));
        for (weight, text) in to_do.chain(made.notes.iter().map(|text| (Weight::Note, text))) {
            said.say(weight, format!("{kind} {store_name:?}: {text}"));
        }
    }
    let (data, mut data_from) = entries(spec, mount, said);
    data_from.splice(0..0, whole(spec, said));
    if data.is_empty() && data_from.is_empty() {
        said.say(Weight::Lost, "it asks for nothing");
        return None;
    }
    left(spec, said);
    let mut target = json!({"creationPolicy": "Owner"});
    if let Some(template) = spec.template.as_ref().and_then(|template| templated(template, said)) {
        target["template"] = template;
    }
    let mut new = json!({
        "refreshInterval": args.refresh_interval,
        "secretStoreRef": {"name": store_name, "kind": kind},
        "target": target,
    });
    for (field, all) in [("data", data), ("dataFrom", data_from)] {
        if !all.is_empty() {
            new[field] = Value::Array(all);
        }
    }
    Some(
        json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": metadata(&one.manifest), "spec": new}),
    )
}

/// The engines of Vault that keys are in: what stands before `/data/`, or of the first version the first part.
fn mounts<'a>(spec: &Spec, keys: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = keys.map(|key| split(spec, key).0).collect();
    all.sort();
    all.dedup();
    if all.is_empty() { vec!["secret".to_owned()] } else { all }
}

fn split(spec: &Spec, key: &str) -> (String, String) {
    let key = key.trim_matches('/');
    let parts = if spec.kv_version == Some(1) { key.split_once('/') } else { key.split_once("/data/") };
    let (mount, path) = parts.or_else(|| key.split_once('/')).unwrap_or(("secret", key));
    (mount.to_owned(), path.to_owned())
}

/// The group that secrets of IBM are in where nobody made another.
const IBM_GROUP: &str = "default";

/// A key as the store has it.
fn remote(spec: &Spec, entry: &Entry, key: &str) -> String {
    match spec.backend_type.as_str() {
        "vault" => split(spec, key).1,
        // A whole name says project and version besides.
        "gcpSecretsManager" => key.split('/').skip_while(|part| *part != "secrets").nth(1).unwrap_or(key).to_owned(),
        "ibmcloudSecretsManager" => match &entry.secret_type {
            Some(kind) if is_by_name(spec) => format!("{IBM_GROUP}/{kind}/{key}"),
            Some(kind) => format!("{kind}/{key}"),
            None => key.to_owned(),
        },
        _ => key.to_owned(),
    }
}

/// Whether keys are names of secrets of IBM, and no ids.
fn is_by_name(spec: &Spec) -> bool {
    spec.backend_type == "ibmcloudSecretsManager" && spec.key_by_name == Some(true)
}

/// What of a secret is asked for. The payload of an arbitrary one of IBM is its value.
fn property<'a>(spec: &Spec, entry: &'a Entry) -> Option<&'a str> {
    let is_payload = |property: &&str| {
        spec.backend_type == "ibmcloudSecretsManager"
            && (entry.secret_type.as_deref(), *property) == (Some("arbitrary"), "payload")
    };
    entry.property.as_deref().filter(|property| !property.is_empty() && !is_payload(property))
}

/// What there is to say of a secret of IBM, which is `asked` for.
fn of_ibm(spec: &Spec, entry: &Entry, asked: &str, said: &mut Said<'_>) {
    if spec.backend_type != "ibmcloudSecretsManager" {
        return;
    }
    let is_whole = entry.property.as_deref().is_none_or(str::is_empty);
    match entry.secret_type.as_deref() {
        None if is_by_name(spec) => said.say(
            Weight::ToDo,
            format!("{asked} has no secretType: a secret is named by GROUP/TYPE/NAME, so write its key so"),
        ),
        Some(_) if is_by_name(spec) => said.say(
            Weight::ToDo,
            format!("{asked}: a secret is named by its group, too: it is taken to be in {IBM_GROUP:?}, so write another one in its key where that is wrong"),
        ),
        _ => {}
    }
    match entry.secret_type.as_deref() {
        Some("arbitrary" | "iam_credentials") if is_whole && entry.name.is_some() => {
            said.say(Weight::Note, format!("{asked}: without a property it was JSON, and is the plain value now"));
        }
        Some("arbitrary") if entry.name.is_none() => {
            said.say(Weight::ToDo, format!("{asked}: its value was called payload, and is called arbitrary now: rename it by rewrite"));
        }
        Some("kv" | "service_credentials") | None => {}
        Some(kind) if is_whole && entry.name.is_some() && kind != "iam_credentials" => said.say(
            Weight::ToDo,
            format!("{asked}: without a property it was JSON of all that {kind} has: name a property, or take all by dataFrom"),
        ),
        Some(_) => {}
    }
}

fn version(spec: &Spec, entry: &Entry) -> Option<String> {
    let of_key =
        entry.key.as_deref().and_then(|key| key.split_once("/versions/")).map(|(_, version)| version.to_owned());
    let plain =
        entry.version.as_ref().map(|version| version.as_str().map_or_else(|| version.to_string(), str::to_owned));
    let id = entry
        .version_id
        .as_ref()
        .map(|id| if spec.backend_type == "secretsManager" { format!("uuid/{id}") } else { id.clone() });
    id.or_else(|| entry.version_stage.clone()).or(plain).or(of_key).filter(|version| !version.is_empty())
}

fn reference(spec: &Spec, entry: &Entry, key: &str) -> Value {
    let mut reference = json!({"key": remote(spec, entry, key)});
    if let Some(version) = version(spec, entry) {
        reference["version"] = json!(version);
    }
    if entry.is_binary == Some(true) {
        reference["decodingStrategy"] = json!("Base64");
    }
    reference
}

/// `data` and what of it is a whole secret or a search.
fn entries(spec: &Spec, mount: &str, said: &mut Said<'_>) -> (Vec<Value>, Vec<Value>) {
    let (mut data, mut data_from) = (Vec::new(), Vec::new());
    for (n, entry) in spec.data.iter().enumerate() {
        match (&entry.path, &entry.key, &entry.name) {
            (Some(path), _, _) => {
                data_from.push(search(path, entry.recursive == Some(true)));
                said.say(Weight::Note, format!("data[{n}].path: values are called by the last part of their names; where two are equal, one is taken"));
            }
            (None, Some(key), Some(name)) => {
                let mut remote = reference(spec, entry, key);
                if let Some(property) = property(spec, entry) {
                    remote["property"] = json!(property);
                    if property.contains(['*', '?', '#', '|', '@', '!', '[', '{', '\\']) {
                        said.say(Weight::ToDo, format!("data[{n}].property {property:?} has characters that mean something in gjson's paths: check it"));
                    }
                } else if spec.backend_type == "vault" {
                    said.say(Weight::Note, format!("data[{n}]: without a property it is all of {mount}/{key} as JSON"));
                }
                data.push(json!({"secretKey": name, "remoteRef": remote}));
            }
            (None, Some(key), None) => data_from.push(json!({"extract": reference(spec, entry, key)})),
            (None, None, _) => said.say(Weight::Lost, format!("data[{n}] has neither key nor path")),
        }
        if entry.is_binary == Some(true) && spec.backend_type == "secretsManager" {
            said.say(Weight::Note, format!("data[{n}].isBinary: it is decoded from base64; take decodingStrategy off where AWS keeps it as SecretBinary"));
        }
        of_ibm(spec, entry, &format!("data[{n}]"), said);
        for field in entry.unknown.keys() {
            said.say(Weight::Lost, format!("data[{n}].{field} is not known"));
        }
    }
    (data, data_from)
}

/// All parameters below a path, each by the last part of its name.
fn search(path: &str, is_recursive: bool) -> Value {
    let path = path.trim_end_matches('/');
    let quoted: String = path
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "/_-".contains(c) { c.to_string() } else { format!("\\{c}") })
        .collect();
    let rest = if is_recursive { ".+" } else { "[^/]+" };
    json!({
        "find": {"path": path, "name": {"regexp": format!("^{quoted}/{rest}$")}},
        "rewrite": [{"regexp": {"source": "^.*/", "target": ""}}],
    })
}

/// `dataFrom`.
fn whole(spec: &Spec, said: &mut Said<'_>) -> Vec<Value> {
    let mut all = Vec::new();
    for (n, key) in spec.data_from.iter().enumerate() {
        let entry = Entry { key: Some(key.clone()), ..Entry::default() };
        of_ibm(spec, &entry, &format!("dataFrom[{n}]"), said);
        all.push(json!({"extract": reference(spec, &entry, key)}));
    }
    for (n, entry) in spec.data_from_with_options.iter().enumerate() {
        let Some(key) = &entry.key else { continue };
        of_ibm(spec, entry, &format!("dataFromWithOptions[{n}]"), said);
        all.push(json!({"extract": reference(spec, entry, key)}));
    }
    all
}

/// What of the template is a template of ours.
fn templated(old: &Map<String, Value>, said: &mut Said<'_>) -> Option<Value> {
    let mut new = json!({"engineVersion": "v2", "mergePolicy": "Merge"});
    for (field, value) in old {
        match field.as_str() {
            "type" if value.as_str().is_some_and(is_lodash) => said.say(Weight::Lost, lodash("type")),
            "type" => new["type"] = value.clone(),
            "metadata" => {
                for (part, value) in value.as_object().into_iter().flatten() {
                    match part.as_str() {
                        "finalizers" => new["metadata"][part] = value.clone(),
                        "labels" | "annotations" => marks(part, value, &mut new, said),
                        _ => said.say(Weight::Lost, format!("template.metadata.{part} can't be said of a target")),
                    }
                }
            }
            "data" | "stringData" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    let text = value.as_str().unwrap_or_default();
                    if is_lodash(text) {
                        said.say(
                            Weight::Lost,
                            format!("{} under target.template.data", lodash(&format!("{field}.{key}"))),
                        );
                    } else if field == "data" {
                        said.say(
                            Weight::Lost,
                            format!("template.data.{key} is a value in base64: put it where secrets are kept"),
                        );
                    } else {
                        new["data"][key] = json!(escaped(text));
                    }
                }
            }
            "immutable" => said.say(
                Weight::ToDo,
                "template.immutable: set spec.target.immutable, and know that its values never change then",
            ),
            other => said.say(Weight::Lost, format!("template.{other} can't be said of a target")),
        }
    }
    let is_empty = new.as_object().is_some_and(|fields| fields.len() == 2);
    (!is_empty).then_some(new)
}

/// Labels or annotations: what is no template of lodash stays as it is.
fn marks(part: &str, all: &Value, new: &mut Value, said: &mut Said<'_>) {
    for (name, value) in all.as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        if is_lodash(text) {
            said.say(Weight::Lost, lodash(&format!("metadata.{part}.{name}")));
        } else if !LEFT_BEHIND.contains(&name.as_str()) {
            new["metadata"][part][name] = json!(escaped(text));
        }
    }
}

fn is_lodash(text: &str) -> bool {
    text.contains("<%")
}

fn lodash(field: &str) -> String {
    format!("template.{field} is a template of lodash: write it in Go's language")
}

fn left(spec: &Spec, said: &mut Said<'_>) {
    if let Some(id) = &spec.controller_id {
        said.say(
            Weight::Note,
            format!("controllerId {id:?}: set spec.controller of its store where several operators run"),
        );
    }
    for field in spec.unknown.keys() {
        said.say(Weight::Lost, format!("spec.{field} is not known"));
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
