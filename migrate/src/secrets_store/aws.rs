//! Classes of AWS's provider: Secrets Manager and Parameter Store.

use serde_json::{Value, json};

use super::class::{Class, Entry, text};
use super::object::{FILL_IN, Object, Place, Store, WHOEVER, left, left_of, mode_of};
use crate::carry::{Said, Weight};

const PARAMETERS: [&str; 6] =
    ["objects", "region", "failoverRegion", "pathTranslation", "usePodIdentity", "preferredAddressType"];

const FIELDS: [&str; 8] = [
    "objectName",
    "objectType",
    "objectAlias",
    "objectVersion",
    "objectVersionLabel",
    "filePermission",
    "jmesPath",
    "failoverObject",
];

const OF_JSON: [&str; 3] = ["path", "objectAlias", "filePermission"];

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
    if class.parameter("failoverRegion").is_some() {
        said.place = class.place("failoverRegion");
        said.say(Weight::Lost, "failoverRegion has no counterpart: a store is of one region");
    }
    let mut objects = Vec::new();
    for entry in &entries {
        let name = text(entry, "objectName").unwrap_or_default();
        said.place = class.place(&name);
        match object(class, entry, place, said) {
            Ok(object) => {
                objects.push(object.clone());
                parts(class, entry, &object, said, &mut objects);
            }
            Err(why) => said.say(Weight::Lost, format!("object {name:?}: {why}")),
        }
    }
    said.place = class.place("");
    objects
}

fn object(class: &Class, entry: &Entry, place: &Place, said: &mut Said<'_>) -> Result<Object, String> {
    let name = text(entry, "objectName").ok_or("it has no objectName")?;
    let service = match text(entry, "objectType").as_deref() {
        Some("secretsmanager") => "SecretsManager",
        Some("ssmparameter") => "ParameterStore",
        None if name.starts_with("arn:") && name.contains(":secretsmanager:") => "SecretsManager",
        None if name.starts_with("arn:") && name.contains(":ssm:") => "ParameterStore",
        None => return Err("it has no objectType".to_owned()),
        Some(other) => return Err(format!("objectType {other:?} has no counterpart")),
    };
    let mut remote = json!({"key": name});
    let id = text(entry, "objectVersion");
    let id = id.map(|id| if service == "SecretsManager" { format!("uuid/{id}") } else { id });
    if let Some(version) = id.or_else(|| text(entry, "objectVersionLabel")) {
        remote["version"] = json!(version);
    }
    if entry.contains_key("failoverObject") {
        said.say(Weight::Lost, format!("object {name:?}: failoverObject has no counterpart: a store is of one region"));
    }
    left(entry, &FIELDS, said);
    let path = translated(class, &text(entry, "objectAlias").unwrap_or(name));
    let mode = mode_of(entry, "filePermission", said);
    Ok(Object { path, mode, remote, store: store(class, service, place) })
}

/// The file of a name: slashes are replaced unless the class says otherwise.
fn translated(class: &Class, name: &str) -> String {
    match class.parameter("pathTranslation").unwrap_or("_") {
        "False" => name.trim_start_matches('/').to_owned(),
        by => name.replace('/', by),
    }
}

/// The files of parts of a secret that is JSON.
fn parts(class: &Class, entry: &Entry, whole: &Object, said: &mut Said<'_>, objects: &mut Vec<Object>) {
    for part in entry.get("jmesPath").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let (Some(path), Some(alias)) = (text(part, "path"), text(part, "objectAlias")) else {
            said.say(Weight::Lost, format!("object {:?}: a jmesPath has no path or no objectAlias", whole.path));
            continue;
        };
        said.place = class.place(&alias);
        let Some(property) = property(&path) else {
            said.say(
                Weight::Lost,
                format!("jmesPath {path:?} is more than names with dots between: write it as a template"),
            );
            continue;
        };
        left(part, &OF_JSON, said);
        let mode = mode_of(part, "filePermission", said).or_else(|| whole.mode.clone());
        let mut object = Object { path: translated(class, &alias), mode, ..whole.clone() };
        object.remote["property"] = json!(property);
        objects.push(object);
    }
}

/// A path of JMESPath that is names with dots between, as gjson has it; `None` for more than that.
fn property(path: &str) -> Option<String> {
    let (mut names, mut rest) = (Vec::new(), path.trim());
    loop {
        let (name, behind) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (name, behind) = quoted.split_once('"')?;
                (name.strip_suffix('\\').is_none().then_some(name)?, behind)
            }
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let (name, behind) = rest.split_at(end);
                let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
                ((is_plain && begins).then_some(name)?, behind)
            }
        };
        names.push(escaped(name));
        match behind.strip_prefix('.') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Some(names.join(".")),
            None => return None,
        }
    }
}

/// A name in a path of gjson.
fn escaped(name: &str) -> String {
    let special = |c: char| ".*?|#@!{}[]()\\=<>%:\"".contains(c);
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn store(class: &Class, service: &str, place: &Place) -> Store {
    let region = class.parameter("region").or(place.region.as_deref());
    let jwt = json!({"serviceAccountRef": {"name": WHOEVER}});
    let aws = json!({"service": service, "region": region.unwrap_or(FILL_IN), "auth": {"jwt": jwt}});
    let parts = ["aws", &service.to_lowercase(), region.unwrap_or_default()];
    let mut made = Store::new(parts, json!({"aws": aws}), "/aws/auth/jwt/serviceAccountRef");
    if region.is_none() {
        made.to_do.push("spec.provider.aws.region: the provider took the node's; set it, or give --region".to_owned());
    }
    if class.is_set("usePodIdentity") {
        made.to_do.push(
            "usePodIdentity: a mount logs in by a token of the pod (IRSA): give the role a trust policy for the cluster's issuer, and \
             its ServiceAccount the annotation eks.amazonaws.com/role-arn"
                .to_owned(),
        );
    }
    made.notes.push(
        "tokens of the audience \"sts.amazonaws.com\" log in: it has to be in node.audiences, or in tokenRequests of the Secrets Store \
         CSI Driver"
            .to_owned(),
    );
    made
}

#[cfg(test)]
mod tests {
    use super::property;

    #[test]
    fn names_with_dots_between_are_paths_and_more_is_not() {
        for (jmes, gjson) in [
            ("username", "username"),
            ("dbUser.username", "dbUser.username"),
            ("\"user-name\"", "user-name"),
            ("\"a.b\".c", "a\\.b.c"),
        ] {
            assert_eq!(property(jmes).as_deref(), Some(gjson), "{jmes}");
        }
        for more in ["users[0]", "a || b", "join(',', a)", "*", "a-b", "", "a.", "\"a", "\"a\"b", "@"] {
            assert_eq!(property(more), None, "{more}");
        }
    }
}
