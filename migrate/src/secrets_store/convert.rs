//! What classes come to, and what could not be carried over. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::SecretsStore;
use super::class::Class;
use super::object::{Object, Store};
use super::{aws, azure, gcp, vault};
use crate::carry::{LEFT_BEHIND, Note, Said, Stores, Taken, Weight, escaped, metadata};

/// What they come to.
#[derive(Default)]
pub struct Converted {
    /// Stores, then ExternalSecrets, then classes of ours.
    pub manifests: Vec<Value>,
    /// What is to be said.
    pub notes: Vec<Note>,
}

/// The largest part of the name of a file (and of a key).
const LONGEST: usize = 253;

/// How deep files may lie.
const DEEPEST: usize = 9;

/// Converts them all. Of stores that are the same there is one in each namespace.
pub fn convert(classes: &[Class], args: &SecretsStore) -> Converted {
    let (mut known, mut secrets, mut ours, mut notes) = (Known::default(), Vec::new(), Vec::new(), Vec::new());
    let account = args.place.service_account.as_deref();
    let (mut taken, all) = (Taken::default(), classes.iter().map(|class| (class.namespace(), class.name())).collect());
    for class in classes {
        let mut said = Said { place: class.place(""), notes: &mut notes };
        let objects = match class.provider() {
            "vault" | "openbao" => vault::objects(class, &args.place, &mut said),
            "aws" => aws::objects(class, &args.place, &mut said),
            "azure" => azure::objects(class, &mut said),
            "gcp" => gcp::objects(class, &mut said),
            "keyferry" => {
                said.say(Weight::Note, "it is keyferry's already");
                continue;
            }
            other => {
                said.say(
                    Weight::Lost,
                    format!("provider {other:?} has no counterpart: write its ExternalSecret by hand"),
                );
                continue;
            }
        };
        let files = files(class, objects, &mut said);
        if files.is_empty() {
            said.say(Weight::Lost, "nothing of it is left to mount");
            continue;
        }
        if !is_free(class, class.name(), &mut taken, &mut said) {
            continue;
        }
        let objects = files.iter().map(|file| (file.key.as_str(), &file.object));
        let data = data(class, objects, By::Mount, &mut known, &mut said);
        let target = json!({"creationPolicy": "None"});
        secrets.push(external_secret(class, class.name(), metadata(&class.manifest), (args, &data), target));
        tell_how(class, &files, args, &mut said);
        if args.secrets {
            for (name, metadata, of, target) in secret_objects(class, &files, &all, &mut said) {
                said.place = class.place(target["name"].as_str().unwrap_or_default());
                let is_free = is_free(class, &name, &mut taken, &mut said);
                said.place = class.place("");
                if !is_free {
                    continue;
                }
                let of = of.iter().map(|(key, file)| (key.as_str(), &file.object));
                let data = self::data(class, of, By::Operator(account), &mut known, &mut said);
                secrets.push(external_secret(class, &name, metadata, (args, &data), target));
            }
        }
        if args.classes {
            ours.push(class_of_ours(class, &files, args));
        }
    }
    let manifests = known.stores.manifests.into_iter().chain(secrets).chain(ours).collect();
    Converted { manifests, notes }
}

/// Whether nothing else has the name of an ExternalSecret; else says what has.
fn is_free(class: &Class, name: &str, taken: &mut Taken, said: &mut Said<'_>) -> bool {
    let taken = taken.take("ExternalSecret", class.namespace(), name, &said.place);
    let lost =
        taken.map_err(|first| format!("ExternalSecret {name:?} is made already of {first}: give another name to one"));
    lost.map_err(|text| said.say(Weight::Lost, text)).is_ok()
}

/// A file, and the key of the ExternalSecret that it is made of.
struct File {
    key: String,
    object: Object,
}

/// Files by keys: what can't stand in a key is a dot there. What can't be a path of a volume is lost.
fn files(class: &Class, objects: Vec<Object>, said: &mut Said<'_>) -> Vec<File> {
    let (mut files, mut paths, mut keys): (Vec<File>, BTreeSet<String>, BTreeSet<String>) = Default::default();
    for object in objects {
        said.place = class.place(&object.path);
        if !is_path(&object.path) {
            said.say(
                Weight::Lost,
                format!(
                    "file {:?}: a path is of letters, digits, '-', '_' and '.', with '/' between: give it another name",
                    object.path
                ),
            );
            continue;
        }
        if !paths.insert(object.path.clone()) {
            said.say(Weight::Lost, format!("file {:?} is there twice", object.path));
            continue;
        }
        let plain = object.path.replace('/', ".");
        let numbered = (1..).map(|n| if n == 1 { plain.clone() } else { format!("{plain}.{n}") });
        let key = numbered.into_iter().find(|key| keys.insert(key.clone())).unwrap_or_default();
        files.push(File { key, object });
    }
    said.place = class.place("");
    files
}

fn is_path(path: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = |part: &str| {
        !part.is_empty() && part.len() <= LONGEST && part.bytes().all(fine) && part != "." && !part.starts_with("..")
    };
    path.split('/').count() <= DEEPEST && path.split('/').all(is_name)
}

/// The stores so far, and what was said of them.
#[derive(Default)]
struct Known {
    stores: Stores,
    said: BTreeSet<String>,
}

impl Known {
    /// Makes a store be there; its name.
    fn put(&mut self, class: &Class, store: &Store, by: By<'_>, said: &mut Said<'_>) -> String {
        let (store, mut spec) = match by {
            By::Mount => (store.clone(), json!({"loginBy": "Mount"})),
            By::Operator(account) => (store.of_operator(account), json!({})),
        };
        spec["provider"] = store.provider;
        let (name, _) = self.stores.put(class.namespace(), "SecretStore", &store.name, spec);
        let to_do = store.to_do.iter().map(|text| (Weight::ToDo, text));
        for (weight, text) in to_do.chain(store.notes.iter().map(|text| (Weight::Note, text))) {
            let text = format!("SecretStore {name:?}: {text}");
            if self.said.insert(format!("{}/{text}", class.namespace())) {
                said.say(weight, text);
            }
        }
        name
    }
}

/// Who logs in to a store.
#[derive(Clone, Copy)]
enum By<'a> {
    /// Whoever mounts.
    Mount,
    /// The operator, as this ServiceAccount.
    Operator(Option<&'a str>),
}

/// Entries, and the store of the first of them, which is that of all that name none.
struct Data {
    store: String,
    entries: Vec<Value>,
}

fn data<'a>(
    class: &Class,
    objects: impl Iterator<Item = (&'a str, &'a Object)>,
    by: By<'_>,
    known: &mut Known,
    said: &mut Said<'_>,
) -> Data {
    let mut data = Data { store: String::new(), entries: Vec::new() };
    for (key, object) in objects {
        let name = known.put(class, &object.store, by, said);
        let mut entry = json!({"secretKey": key, "remoteRef": object.remote});
        if data.store.is_empty() {
            data.store = name;
        } else if name != data.store {
            entry["sourceRef"] = json!({"storeRef": {"name": name, "kind": "SecretStore"}});
        }
        data.entries.push(entry);
    }
    data
}

fn external_secret(
    class: &Class,
    name: &str,
    mut metadata: Value,
    (args, data): (&SecretsStore, &Data),
    target: Value,
) -> Value {
    metadata["name"] = json!(name);
    if !class.namespace().is_empty() {
        metadata["namespace"] = json!(class.namespace());
    }
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": metadata,
        "spec": {
            "refreshInterval": args.refresh_interval,
            "secretStoreRef": {"name": data.store, "kind": "SecretStore"},
            "target": target,
            "data": data.entries,
        },
    })
}

/// The items of a volume; `None` where each key is a file of its name and nothing more.
fn items(files: &[File]) -> Option<String> {
    let is_plain = |file: &File| file.key == file.object.path && file.object.mode.is_none();
    if files.iter().all(is_plain) {
        return None;
    }
    let item = |file: &File| {
        let mut item = json!({"key": file.key});
        if file.key != file.object.path {
            item["path"] = json!(file.object.path);
        }
        if let Some(mode) = &file.object.mode {
            item["mode"] = json!(mode);
        }
        item
    };
    Some(Value::Array(files.iter().map(item).collect()).to_string())
}

/// Says how pods have it now.
fn tell_how(class: &Class, files: &[File], args: &SecretsStore, said: &mut Said<'_>) {
    let name = class.name();
    if args.classes {
        said.say(
            Weight::Note,
            "its class is keyferry's now, so that pods stay as they are: node.secretsStoreProvider.enabled has keyferry answer the \
             Secrets Store CSI Driver",
        );
    } else {
        let mut attributes = json!({"externalSecret": name});
        if let Some(items) = items(files) {
            attributes["items"] = json!(items);
        }
        let volume = json!({"driver": "csi.keyferry.io", "readOnly": true, "volumeAttributes": attributes});
        said.say(
            Weight::ToDo,
            format!(
                "pods that mount it have the volume {}; or give --classes, and leave them as they are",
                json!({"csi": volume})
            ),
        );
    }
    let namespace = Some(class.namespace()).filter(|namespace| !namespace.is_empty());
    let namespace = namespace.map_or_else(String::new, |namespace| format!(" --namespace {namespace}"));
    said.say(Weight::ToDo, format!("let its pods mount it: keyferry grant {name} --to SERVICEACCOUNT{namespace}"));
    let made = class.manifest["spec"]["secretObjects"].as_array().map_or(0, Vec::len);
    if made > 0 && !args.secrets {
        let (weight, what) = if args.classes {
            (Weight::Note, "are made by the Secrets Store CSI Driver still, of what pods mount")
        } else {
            (Weight::Lost, "are not made any more: give --secrets, and ExternalSecrets write them")
        };
        said.place = class.place("secretObjects");
        said.say(weight, format!("secretObjects: its {made} Secrets {what}"));
        said.place = class.place("");
    }
}

/// The Secrets of a class: name and metadata of the ExternalSecret, what it fetches, and its target.
type SecretObject<'a> = (String, Value, BTreeMap<String, &'a File>, Value);

fn secret_objects<'a>(
    class: &Class,
    files: &'a [File],
    classes: &BTreeSet<(&str, &str)>,
    said: &mut Said<'_>,
) -> Vec<SecretObject<'a>> {
    let mut all = Vec::new();
    for object in class.manifest["spec"]["secretObjects"].as_array().into_iter().flatten() {
        let name = object["secretName"].as_str().unwrap_or_default();
        said.place = class.place(name);
        if name.is_empty() {
            said.say(Weight::Lost, "a secretObject has no secretName");
            continue;
        }
        let (fetched, data) = entries(class, object, files, said);
        if fetched.is_empty() {
            said.say(Weight::Lost, format!("Secret {name:?}: nothing of it is left to write"));
            continue;
        }
        let mut template = json!({"engineVersion": "v2"});
        if let Some(kind) = object["type"].as_str().filter(|kind| !kind.is_empty()) {
            template["type"] = json!(kind);
        }
        for part in ["labels", "annotations"] {
            for (key, value) in object[part].as_object().into_iter().flatten() {
                if !LEFT_BEHIND.contains(&key.as_str()) {
                    template["metadata"][part][key] = json!(escaped(value.as_str().unwrap_or_default()));
                }
            }
        }
        if !data.is_empty() {
            template["data"] = Value::Object(data);
        }
        said.place = class.place(name);
        said.say(
            Weight::Note,
            format!(
                "Secret {name:?}: the Secrets Store CSI Driver deletes the one that it made with the last pod that mounts: take \
                 secretObjects out of the class first"
            ),
        );
        let is_of_class = classes.contains(&(class.namespace(), name));
        let own = if is_of_class { format!("{name}-secret") } else { name.to_owned() };
        all.push((own, json!({}), fetched, json!({"name": name, "creationPolicy": "Owner", "template": template})));
    }
    said.place = class.place("");
    all
}

/// What a Secret is made of: keys that are fetched, and, where they are not the Secret's as they are, what is made of them.
fn entries<'a>(
    class: &Class,
    object: &Value,
    files: &'a [File],
    said: &mut Said<'_>,
) -> (BTreeMap<String, &'a File>, Map<String, Value>) {
    let (mut fetched, mut made) = (BTreeMap::new(), Map::new());
    let is_tls = object["type"] == "kubernetes.io/tls";
    for entry in object["data"].as_array().into_iter().flatten() {
        let text = |field: &str| entry[field].as_str().map(str::trim).unwrap_or_default();
        let (key, name) = (text("key"), text("objectName"));
        said.place = class.place(&format!("key: {key}"));
        if key.is_empty() {
            said.say(Weight::Lost, format!("an entry of {name:?} has no key"));
        } else if let Some(plain) = entry["plainValue"].as_str() {
            made.insert(key.to_owned(), json!(escaped(plain)));
        } else if let Some(file) = files.iter().find(|file| file.object.path == name) {
            fetched.insert(key.to_owned(), file);
        } else {
            said.say(Weight::Lost, format!("key {key:?}: file {name:?} is not among those that are mounted"));
        }
    }
    // Of certificate and key in one file the driver takes either apart.
    let of = |key: &str| fetched.get(key).map(|file: &&File| file.object.path.as_str());
    if is_tls && of("tls.crt").is_some() && of("tls.crt") == of("tls.key") {
        made.insert("tls.crt".to_owned(), json!("{{ index . \"tls.crt\" | filterPEM \"CERTIFICATE\" }}"));
        made.insert("tls.key".to_owned(), json!("{{ index . \"tls.key\" | filterPEM \"PRIVATE KEY\" }}"));
        said.say(
            Weight::ToDo,
            "tls.crt and tls.key are taken out of one text of PEM blocks: check that its key is a block PRIVATE KEY, and not RSA PRIVATE KEY",
        );
    }
    if !made.is_empty() {
        for key in fetched.keys().filter(|key| !made.contains_key(*key)).cloned().collect::<Vec<_>>() {
            made.insert(key.clone(), json!(format!("{{{{ index . {key:?} }}}}")));
        }
    }
    (fetched, made)
}

/// The class under its own name, with keyferry as its provider.
fn class_of_ours(class: &Class, files: &[File], args: &SecretsStore) -> Value {
    let mut parameters = json!({"externalSecret": class.name()});
    if let Some(items) = items(files) {
        parameters["items"] = json!(items);
    }
    let mut spec = json!({"provider": "keyferry", "parameters": parameters});
    let objects = &class.manifest["spec"]["secretObjects"];
    if !args.secrets && objects.is_array() {
        spec["secretObjects"] = objects.clone();
    }
    let api = class.manifest["apiVersion"].as_str().unwrap_or_default();
    json!({"apiVersion": api, "kind": "SecretProviderClass", "metadata": metadata(&class.manifest), "spec": spec})
}
