//! What holds for random specs, stores and targets, through all pure stages: plan, render, template, desired. The
//! expected data comes from a model of a few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use keyferry_builders::{es, key, store};
use keyferry_crds::{ExternalSecret, names};
use keyferry_limits::Budget;
use keyferry_provider_core::{Dialect, Error, ErrorKind, SecretBytes};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};

use super::desired::{desired, is_intact};
use super::ownership::Desired;
use crate::client::LiveSecret;
use keyferry_sync::data::Sources;
use keyferry_sync::data::StringMap;
use keyferry_sync::engine::{Engine, Means};
use keyferry_sync::hash;
use keyferry_sync::plan::{self, Facts, Plan, TargetState};
use keyferry_sync::render::{Answers, render};
use keyferry_sync::settings::Adopt;
use keyferry_sync::store::{Readiness, Store};
use keyferry_sync::template::content;

/// Keys of targets, and properties: few, so that they meet.
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const REMOTE: [&str; 5] = ["r0", "r1", "r2", "r3", "r4"];

type Texts = BTreeMap<String, String>;

/// What a store has under a name.
#[derive(Clone, Debug)]
enum Stored {
    Nothing,
    Text(String),
    Object(Texts),
}

fn any_texts(random: &mut StdRng) -> Texts {
    let some: Vec<&str> = KEYS.into_iter().filter(|_| random.random_bool(0.4)).collect();
    some.into_iter().map(|key| (key.to_owned(), random.random_range(0..100).to_string())).collect()
}

fn any_store(random: &mut StdRng) -> BTreeMap<&'static str, Stored> {
    let held = |random: &mut StdRng| match random.random_range(0..8) {
        0 => Stored::Nothing,
        1 | 2 => Stored::Text(random.random_range(100..200).to_string()),
        _ => Stored::Object(any_texts(random)),
    };
    REMOTE.into_iter().map(|name| (name, held(random))).collect()
}

fn any_of<'a>(random: &mut StdRng, of: &[&'a str]) -> &'a str {
    of[random.random_range(0..of.len())]
}

fn any_spec(random: &mut StdRng) -> Value {
    let creation = any_of(random, &["Owner", "Orphan", "Merge", "CreateOrMerge"]);
    let deletion =
        any_of(random, if creation == "Owner" { &["Retain", "Merge", "Delete"] } else { &["Retain", "Merge"] });
    let mut data: Vec<Value> = Vec::new();
    for _ in 0..random.random_range(0..4) {
        let key = any_of(random, &KEYS);
        // Only Retain refuses a key that is there twice.
        if deletion == "Retain" && data.iter().any(|entry| entry["secretKey"] == key) {
            continue;
        }
        let mut remote = json!({"key": any_of(random, &REMOTE)});
        if random.random_bool(0.3) {
            remote["property"] = json!(any_of(random, &KEYS));
        }
        data.push(json!({"secretKey": key, "remoteRef": remote}));
    }
    let from = random.random_range(if data.is_empty() { 1..4 } else { 0..4 });
    let from: Vec<Value> = (0..from).map(|_| json!({"extract": {"key": any_of(random, &REMOTE)}})).collect();
    let mut target = json!({"creationPolicy": creation, "deletionPolicy": deletion});
    match random.random_range(0..4) {
        0 => target["template"] = json!({"metadata": {"labels": {"made": "yes"}}}),
        1 => target["template"] = json!({"mergePolicy": "Merge", "data": {"e": "templated", "f": "{{ len . }}"}}),
        _ => {}
    }
    json!({"secretStoreRef": {"name": "s"}, "data": data, "dataFrom": from, "target": target})
}

/// What the data should be: `dataFrom` in order, then `data` in order, later over earlier; `None` where an entry fails.
fn model(spec: &Value, store: &BTreeMap<&str, Stored>) -> Option<Texts> {
    let retains = spec["target"]["deletionPolicy"] == "Retain";
    let mut all = Texts::new();
    let held = |entry: &Value| &store[entry["key"].as_str().unwrap()];
    for entry in spec["dataFrom"].as_array().unwrap() {
        match held(&entry["extract"]) {
            Stored::Object(texts) if !texts.is_empty() => all.extend(texts.clone()),
            Stored::Nothing if !retains => {}
            // What has no fields yields no key, and is no word of the store that there is nothing.
            Stored::Nothing | Stored::Text(_) | Stored::Object(_) => return None,
        }
    }
    for entry in spec["data"].as_array().unwrap() {
        let value = match (held(&entry["remoteRef"]), entry["remoteRef"]["property"].as_str()) {
            (Stored::Nothing, _) if !retains => continue,
            (Stored::Text(text), None) => text.clone(),
            (Stored::Object(texts), None) => json!(texts).to_string(),
            (Stored::Object(texts), Some(property)) => texts.get(property)?.clone(),
            (Stored::Nothing, _) | (Stored::Text(_), Some(_)) => return None,
        };
        all.insert(entry["secretKey"].as_str().unwrap().to_owned(), value);
    }
    // Where nothing is left and deletionPolicy Merge keeps the target, the template is rendered all the same.
    let goes_on = !all.is_empty() || spec["target"]["deletionPolicy"] == "Merge";
    if spec["target"]["template"]["mergePolicy"] == "Merge" && goes_on {
        let count = all.len().to_string();
        all.extend([("e".to_owned(), "templated".to_owned()), ("f".to_owned(), count)]);
    }
    Some(all)
}

/// A world in which one ExternalSecret is looked at.
struct World {
    es: ExternalSecret,
    store: Arc<Store>,
    held: BTreeMap<&'static str, Stored>,
}

impl World {
    fn new(spec: &Value, held: BTreeMap<&'static str, Stored>) -> Self {
        let store = Arc::new(Store::namespaced(store(json!({"provider": {"fake": {}}}))));
        Self { es: es(spec.clone()), store, held }
    }

    /// What one look makes of the target. `Err` is the condition's message, `None` that there is nothing to write.
    fn look(&self, existing: Option<&LiveSecret>) -> Result<Option<LiveSecret>, String> {
        let stores = BTreeMap::from([(self.store.id.clone(), (self.store.clone(), Readiness::Ready))]);
        let plan = plan::decide(&Facts {
            es: &self.es,
            version: "1-a",
            now: Timestamp::UNIX_EPOCH,
            started: Timestamp::UNIX_EPOCH,
            overdue_until: Timestamp::UNIX_EPOCH,
            class: "default",
            flood_gate: true,
            cluster_stores: true,
            generators: &["Fake", "Password", "UUID"],
            generic_targets: false,
            mounts: false,
            stores: &stores,
            namespace_labels: Some(&StringMap::new()),
            target: TargetState::Unknown,
            last: None,
            sources_changed: false,
            refresh_by: None,
            absence_is_fine: false,
            failed: false,
        });
        let Plan::Fetch(requests) = plan else { panic!("{plan:?}") };
        let mut answers = Answers::default();
        answers.dialects.insert(self.store.id.clone(), Dialect::default());
        for (name, held) in &self.held {
            let key = key(*name);
            let value = match held {
                Stored::Nothing => Err(Error::new(ErrorKind::NotFound, "there is none")),
                Stored::Text(text) => Ok(SecretBytes::from(text.as_str())),
                Stored::Object(texts) => Ok(SecretBytes::from(json!(texts).to_string().as_str())),
            };
            answers.values.insert((self.store.id.clone(), key), value);
        }
        let (engine, budget) = (Engine::new("{{", "}}"), Budget::default());
        let means = Means { engine: &engine, now: Timestamp::UNIX_EPOCH, budget: &budget };
        let policy = &self.es.spec.target.deletion_policy;
        let rendered = render(&requests, &answers, policy, &means).map_err(|failure| failure.to_string())?;
        if rendered.data.is_empty() && policy.as_str() != "Merge" {
            return Ok(None);
        }
        let content = content(&self.es, rendered.data, &Sources::new(), &means).unwrap();
        match desired(&self.es, &content, existing, Adopt::Any).unwrap() {
            Desired::Create(secret) | Desired::Update { object: secret, .. } => {
                Ok(Some(stored(&self.es, existing, secret)))
            }
            Desired::Keep | Desired::Missing => Ok(None),
        }
    }
}

/// The Secret as the API server gives it back: who writes a field that changes owns it.
fn stored(es: &ExternalSecret, before: Option<&LiveSecret>, mut secret: LiveSecret) -> LiveSecret {
    let manager = hash::field_manager(es.metadata.name.as_deref().unwrap());
    let data_of = |secret: &LiveSecret| secret.data().map(|(k, v)| (k.to_owned(), v.to_vec())).collect();
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (before.map(data_of).unwrap_or_default(), data_of(&secret));
    let mut fields: Map<String, Value> = Map::new();
    for entry in before.iter().flat_map(|secret| secret.get().metadata.managed_fields.iter().flatten()) {
        let owned = entry.fields_v1.as_ref().and_then(|fields| fields.0["f:data"].as_object());
        fields.extend(owned.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    }
    fields.retain(|key, _| new.contains_key(key.trim_start_matches("f:")));
    fields.extend(new.iter().filter(|(k, v)| old.get(*k) != Some(*v)).map(|(k, _)| (format!("f:{k}"), json!({}))));
    let entry = ManagedFieldsEntry {
        manager: Some(manager),
        operation: Some("Update".into()),
        fields_v1: Some(FieldsV1(json!({"f:data": fields}))),
        ..Default::default()
    };
    let metadata = &mut secret.get_mut().metadata;
    metadata.managed_fields = Some(vec![entry]);
    metadata.uid.get_or_insert("u".into());
    metadata.resource_version = Some("2".into());
    secret
}

fn texts(secret: &LiveSecret) -> Texts {
    secret.data().map(|(key, value)| (key.to_owned(), String::from_utf8(value.to_vec()).unwrap())).collect()
}

fn foreign(data: &Texts) -> LiveSecret {
    let mut secret = Secret::default();
    secret.metadata.name = Some("e".into());
    secret.metadata.namespace = Some("ns".into());
    secret.metadata.uid = Some("u".into());
    secret.metadata.resource_version = Some("1".into());
    secret.type_ = Some("Opaque".into());
    secret.data = Some(data.iter().map(|(k, v)| (k.clone(), ByteString(v.clone().into_bytes()))).collect());
    LiveSecret::new(secret)
}

/// Spoils one thing of a target; answers what.
fn spoil(random: &mut StdRng, target: &LiveSecret, ours: &BTreeSet<String>) -> (LiveSecret, &'static str) {
    let mut spoilt = target.clone();
    let secret = spoilt.get_mut();
    let one = ours.iter().nth(random.random_range(0..ours.len().max(1)));
    let what = match (random.random_range(0..6), one, secret.data.as_mut()) {
        (0, Some(key), Some(data)) => {
            data.remove(key);
            "a key is gone"
        }
        (1, Some(key), Some(data)) => {
            data.insert(key.clone(), ByteString(b"spoilt".to_vec()));
            "a value is another"
        }
        (2, ..) => {
            secret.metadata.labels.as_mut().and_then(|labels| labels.remove(names::LABEL_MANAGED));
            "the label is gone"
        }
        (3, ..) => {
            secret.metadata.annotations.as_mut().and_then(|all| all.remove(names::ANNOTATION_DATA_HASH));
            "the hash is gone"
        }
        (4, ..) => {
            secret.metadata.owner_references = None;
            "the owner is gone"
        }
        _ => {
            secret.metadata.labels = None;
            secret.metadata.annotations = None;
            "labels and annotations are gone"
        }
    };
    (spoilt, what)
}

#[test]
fn what_holds_for_all_specs_stores_and_targets() {
    let (mut written, mut failed, mut repaired) = (0, 0, 0);
    let seeds = keyferry_seed::each(0..4000);
    let many = seeds.end - seeds.start > 1;
    for seed in seeds {
        let random = &mut StdRng::seed_from_u64(seed);
        let (spec, held) = (any_spec(random), any_store(random));
        let before = random.random_bool(0.6).then(|| any_texts(random));
        let existing = before.as_ref().map(foreign);
        let at = format!("{}={seed}: {spec}\n{held:?}\nbefore: {before:?}", keyferry_seed::VARIABLE);
        let world = World::new(&spec, held.clone());
        let expected = model(&spec, &held);
        let merges = ["Merge", "CreateOrMerge"].map(|policy| json!(policy)).contains(&spec["target"]["creationPolicy"]);
        let looked = world.look(existing.as_ref());
        let Some(expected) = expected else {
            let message = looked.err().unwrap_or_else(|| panic!("it should fail: {at}"));
            assert!(message.starts_with("could not get secret data from provider: "), "{at}\n{message}");
            failed += 1;
            continue;
        };
        let Some(target) = looked.unwrap_or_else(|error| panic!("{error}: {at}")) else { continue };
        written += 1;

        // The order of entries decides; what others own stays where keys are merged, and only there.
        let mut holds = expected.clone();
        if merges {
            for (key, value) in before.iter().flatten() {
                holds.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        assert_eq!(texts(&target), holds, "{at}");
        assert!(is_intact(&target), "{at}");
        assert!(world.look(Some(&target)).unwrap().is_none(), "a second look writes: {at}");

        let ours = expected.keys().cloned().collect();
        let (spoilt, what) = spoil(random, &target, &ours);
        if let Some(mended) = world.look(Some(&spoilt)).unwrap() {
            assert_eq!(texts(&mended), texts(&target), "{what}: {at}");
            assert_eq!(mended.get().metadata.labels, target.get().metadata.labels, "{what}: {at}");
            assert_eq!(mended.get().metadata.annotations, target.get().metadata.annotations, "{what}: {at}");
            assert_eq!(mended.get().metadata.owner_references, target.get().metadata.owner_references, "{what}: {at}");
            repaired += 1;
        }

        // Another state of the store: what we wrote and no longer have goes, what others have stays.
        let later = World::new(&spec, any_store(random));
        if let (Some(expected), Ok(Some(target))) = (model(&spec, &later.held), later.look(Some(&target))) {
            let now = texts(&target);
            for (key, value) in &expected {
                assert_eq!(now.get(key), Some(value), "{at}");
            }
            for key in before.iter().flat_map(BTreeMap::keys).filter(|key| merges && !ours.contains(*key)) {
                assert!(now.contains_key(key), "{key} of others is lost: {at}");
            }
            for key in now.keys().filter(|key| !expected.contains_key(*key)) {
                assert!(merges && before.as_ref().is_some_and(|before| before.contains_key(key)), "{key} stays: {at}");
            }
        }
    }
    assert!(
        !many || written > 1000 && failed > 500 && repaired > 500,
        "{written} written, {failed} failed, {repaired} repaired"
    );
}
