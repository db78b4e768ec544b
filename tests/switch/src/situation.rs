//! Situations: those that were recorded, and others made from them. Pure, but for reading the files.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use keyferry_sync::hash;
use serde_json::{Value, json};

/// One ExternalSecret as External Secrets Operator left it, with its store and, where it has one, its target.
#[derive(Clone)]
pub struct Situation {
    /// Where it is laid down.
    pub namespace: String,
    /// The SecretStore.
    pub store: Value,
    /// The ExternalSecret.
    pub es: Value,
    /// The target.
    pub secret: Option<Value>,
}

/// Reads the recorded situations of a folder.
pub fn situations(folder: &Path) -> Vec<Situation> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> Situation {
    let text = std::fs::read_to_string(file).expect("readable");
    // The files hold words like `y` and `yes`, which YAML 1.1 takes for booleans, and Kubernetes doesn't.
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options).expect("YAML");
    let of_kind = |kind: &str| documents.iter().find(|object| object["kind"] == kind).cloned();
    let mut es = of_kind("ExternalSecret").expect("an ExternalSecret");
    // That of External Secrets Operator keeps a null here; ours takes it for what is not set.
    if es["status"]["refreshTime"].is_null() {
        for entry in es["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            if let Some(fields) = entry.pointer_mut("/fieldsV1/f:status").and_then(Value::as_object_mut) {
                fields.remove("f:refreshTime");
            }
        }
    }
    let namespace = es["metadata"]["namespace"].as_str().expect("a namespace").to_owned();
    Situation { namespace, store: of_kind("SecretStore").expect("a store"), es, secret: of_kind("Secret") }
}

impl Situation {
    /// The name of the ExternalSecret.
    pub fn name(&self) -> &str {
        self.es["metadata"]["name"].as_str().expect("a name")
    }

    /// Whether its last sync failed: it is due at once.
    pub fn failed(&self) -> bool {
        self.es["status"]["refreshTime"].is_null()
    }

    /// This one, moved to where `namespace` says, with the status and labels that it would have there. Its last refresh
    /// was so long before `now`.
    #[must_use]
    pub fn moved(&self, namespace: &str, now: Timestamp, ago: SignedDuration) -> Self {
        let mut moved = self.clone();
        namespace.clone_into(&mut moved.namespace);
        for object in [Some(&mut moved.store), Some(&mut moved.es), moved.secret.as_mut()].into_iter().flatten() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        if !self.failed() {
            let then = Timestamp::from_second((now - ago).as_second()).expect("a time of our days");
            moved.es["status"]["refreshTime"] = json!(then.to_string());
        }
        moved.with_hashes()
    }

    /// Sets what depends on names, labels and annotations.
    fn with_hashes(mut self) -> Self {
        let metadata = &self.es["metadata"];
        let map = |value: &Value| serde_json::from_value(value.clone()).ok();
        if self.es["status"]["syncedResourceVersion"].is_string() {
            // Laid down anew it begins with generation 1.
            let (annotations, labels) = (map(&metadata["annotations"]), map(&metadata["labels"]));
            self.es["status"]["syncedResourceVersion"] =
                json!(hash::synced_resource_version(1, annotations.as_ref(), labels.as_ref()));
        }
        let created_by = hash::created_by(&self.namespace, self.name());
        let label = "reconcile.external-secrets.io/created-by";
        if let Some(secret) = &mut self.secret
            && !secret["metadata"]["labels"][label].is_null()
        {
            secret["metadata"]["labels"][label] = json!(created_by);
        }
        self
    }

    /// This one as it was before any operator came: what users wrote, and the value that its target holds in the store.
    #[must_use]
    pub fn begun(&self, namespace: &str) -> Self {
        let mut begun = self.clone();
        namespace.clone_into(&mut begun.namespace);
        for object in [Some(&mut begun.store), Some(&mut begun.es), begun.secret.as_mut()].into_iter().flatten() {
            object["metadata"]["namespace"] = json!(namespace);
            let entries = object["metadata"]["managedFields"].as_array_mut().expect("managed fields");
            entries.retain(|entry| entry["manager"] == "unknown");
        }
        begun.secret = begun.secret.filter(|secret| secret["metadata"]["managedFields"] != json!([]));
        let held = serde_json::to_string(&self.secret).expect("plain data");
        let value = if held.contains("YWxwaGEy") { "alpha2" } else { "alpha" };
        for entry in begun.store["spec"]["provider"]["fake"]["data"].as_array_mut().into_iter().flatten() {
            if entry["key"] == "a" {
                entry["value"] = json!(value);
            }
        }
        begun
    }

    /// Others like this one, each in a namespace of its own.
    pub fn variants(&self, now: Timestamp) -> Vec<Self> {
        let place = |how: &str| format!("{how}-{}", self.namespace);
        let moved = |how: &str, minutes| self.moved(&place(how), now, SignedDuration::from_mins(minutes));
        let mut all = vec![moved("old", 55)];

        // A pipeline put labels and annotations on the ExternalSecret, before it was last synced.
        let mut labelled = moved("labelled", 1);
        labelled.es["metadata"]["labels"]["argocd.argoproj.io/instance"] = json!("shop");
        labelled.es["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = json!("shop:external-secrets.io");
        own(
            &mut labelled.es,
            "argocd-controller",
            &["labels", "annotations"],
            &["argocd.argoproj.io/instance", "argocd.argoproj.io/tracking-id"],
        );
        all.push(labelled.with_hashes());

        // Somebody else put labels and annotations on the target: nobody's drift.
        let mut marked = moved("marked", 1);
        if let Some(secret) = &mut marked.secret {
            secret["metadata"]["labels"]["marked-by"] = json!("red");
            secret["metadata"]["annotations"]["marked-at"] = json!("ours");
            own(secret, "kubectl-label", &["labels", "annotations"], &["marked-by", "marked-at"]);
        }
        all.push(marked);

        // It refreshes never by time.
        for (how, field, value) in [("never", "refreshInterval", "0s"), ("change", "refreshPolicy", "OnChange")] {
            let mut other = moved(how, 600);
            // One that failed is tried again whatever it says.
            if !self.failed() {
                other.es["spec"][field] = json!(value);
                let owner = other.es["metadata"]["managedFields"].as_array_mut().into_iter().flatten();
                for entry in owner.filter(|entry| entry["fieldsV1"]["f:spec"].is_object()) {
                    entry["fieldsV1"]["f:spec"][format!("f:{field}")] = json!({});
                }
                all.push(other);
            }
        }
        all
    }
}

/// Notes that a manager owns these keys of maps in the metadata.
fn own(object: &mut Value, manager: &str, maps: &[&str], keys: &[&str]) {
    let mut fields = json!({"f:metadata": {}});
    for map in maps {
        let here = keys.iter().filter(|key| !object["metadata"][map][**key].is_null());
        let mut owned: serde_json::Map<String, Value> = here.map(|key| (format!("f:{key}"), json!({}))).collect();
        // Whoever makes the map owns it too.
        let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
        let known = entries.clone().any(|entry| !entry["fieldsV1"]["f:metadata"][format!("f:{map}")].is_null());
        if !known {
            owned.insert(".".to_owned(), json!({}));
        }
        fields["f:metadata"][format!("f:{map}")] = Value::Object(owned);
    }
    let version = object["apiVersion"].clone();
    let entry = json!({"manager": manager, "operation": "Update", "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": fields});
    object["metadata"]["managedFields"].as_array_mut().expect("managed fields").push(entry);
}
