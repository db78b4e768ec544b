//! Classes of Google's provider: Secret Manager.

use serde_json::json;

use super::class::{Class, Entry, text};
use super::object::{Object, Store, WHOEVER, left, left_of, mode_of};
use crate::carry::{Said, Weight};

const PARAMETERS: [&str; 2] = ["secrets", "auth"];

const FIELDS: [&str; 6] = ["resourceName", "fileName", "path", "mode", "extractJSONKey", "extractYAMLKey"];

/// The files of a class.
pub fn objects(class: &Class, said: &mut Said<'_>) -> Vec<Object> {
    let entries = match class.entries("secrets") {
        Ok(entries) => entries,
        Err(why) => {
            said.say(Weight::Lost, why);
            return Vec::new();
        }
    };
    left_of(class, &PARAMETERS, said);
    let mut objects = Vec::new();
    for entry in &entries {
        let name = text(entry, "resourceName").unwrap_or_default();
        said.place = class.place(&name);
        match object(class, entry, said) {
            Ok(object) => objects.push(object),
            Err(why) => said.say(Weight::Lost, format!("secret {name:?}: {why}")),
        }
    }
    said.place = class.place("");
    objects
}

fn object(class: &Class, entry: &Entry, said: &mut Said<'_>) -> Result<Object, String> {
    let name = text(entry, "resourceName").ok_or("it has no resourceName")?;
    let parts: Vec<&str> = name.split('/').collect();
    let (project, location, secret, version) = match parts.as_slice() {
        ["projects", project, "secrets", secret, "versions", version] => (*project, None, *secret, *version),
        ["projects", project, "locations", location, "secrets", secret, "versions", version] => {
            (*project, Some(*location), *secret, *version)
        }
        ["projects", _, "locations", _, "parameters", ..] => {
            return Err("parameters of Parameter Manager are not in Secret Manager".to_owned());
        }
        _ => return Err("it is no projects/PROJECT/secrets/NAME/versions/VERSION".to_owned()),
    };
    let mut remote = json!({"key": secret});
    if version != "latest" {
        remote["version"] = json!(version);
    }
    if let Some(key) = text(entry, "extractJSONKey") {
        remote["property"] = json!(key.replace('.', "\\."));
    }
    if text(entry, "extractYAMLKey").is_some() {
        return Err("extractYAMLKey takes a template (fromYaml)".to_owned());
    }
    left(entry, &FIELDS, said);
    let path = text(entry, "path").or_else(|| text(entry, "fileName")).ok_or("it has neither path nor fileName")?;
    Ok(Object { path, mode: mode_of(entry, "mode", said), remote, store: store(class, project, location) })
}

fn store(class: &Class, project: &str, location: Option<&str>) -> Store {
    let mut gcpsm =
        json!({"projectID": project, "auth": {"workloadIdentity": {"serviceAccountRef": {"name": WHOEVER}}}});
    if let Some(location) = location {
        gcpsm["location"] = json!(location);
    }
    let parts = ["gcp", project, location.unwrap_or_default()];
    let account = "/gcpsm/auth/workloadIdentity/serviceAccountRef";
    let mut made = Store::new(parts, json!({"gcpsm": gcpsm}), account);
    if class.parameter("auth") == Some("provider-adc") {
        made.to_do.push(
            "auth: provider-adc was the provider's own identity, for all pods: let the pods' own read the secrets (roles/secretmanager.\
             secretAccessor)"
                .to_owned(),
        );
    }
    made.notes.push(
        "tokens of the audience PROJECT.svc.id.goog, of the cluster's project, log in: it has to be in node.audiences, or in \
         tokenRequests of the Secrets Store CSI Driver; clusters outside of GKE take auth.workloadIdentityFederation"
            .to_owned(),
    );
    made
}
