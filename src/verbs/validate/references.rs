//! What manifests refer to among themselves: objects that are there twice, names that nothing bears, keys that are not there.
//! What is not among them may be in the cluster; where something of nearly that name is among them, it was most likely meant.

use std::collections::{BTreeMap, HashMap};

use keyferry_crds::{CreationPolicy, ExternalSecret, GeneratorRef, StoreKind, TemplateFrom, names};
use keyferry_sync::data::StringMap;
use keyferry_sync::request::generator;
use keyferry_sync::store::Store;

use super::super::manifests::read::Document;
use super::finding::{At, Finding, Severity};
use crate::verbs::hint::near;

/// Kind, namespace (empty where it has none) and name.
pub type Id = (String, String, String);

/// What there is.
#[derive(Default)]
pub struct Index<'a> {
    documents: HashMap<Id, &'a Document>,
    stores: HashMap<Id, Store>,
    /// Names by kind and namespace.
    names: BTreeMap<(String, String), Vec<&'a str>>,
    /// Who writes which target.
    targets: HashMap<Id, Id>,
    /// Whether what is not among the manifests is nowhere.
    is_complete: bool,
}

/// Who a document is.
pub fn id(document: &Document, namespace: &str) -> Id {
    let kind = document.text("/kind");
    let is_of_cluster = kind.starts_with("Cluster") || kind == "Namespace";
    let namespace = if is_of_cluster { String::new() } else { document.namespace(namespace) };
    (kind.to_owned(), namespace, document.text("/metadata/name").to_owned())
}

impl<'a> Index<'a> {
    /// Nothing yet.
    pub fn new(is_complete: bool) -> Self {
        Self { is_complete, ..Self::default() }
    }

    /// Takes an object; answers the place of another that is the same.
    pub fn put(&mut self, document: &'a Document, id: Id) -> Option<String> {
        self.names.entry((id.0.clone(), id.1.clone())).or_default().push(document.text("/metadata/name"));
        let store = match id.0.as_str() {
            "SecretStore" => document.decode().ok().map(Store::namespaced),
            "ClusterSecretStore" => document.decode().ok().map(Store::cluster),
            _ => None,
        };
        if let Some(store) = store {
            self.stores.insert(id.clone(), store);
        }
        let is_same = |before: &&&Document| before.text("/apiVersion") == document.text("/apiVersion");
        let before = self.documents.get(&id).filter(is_same).map(|before| before.place.to_string());
        self.documents.entry(id).or_insert(document);
        before
    }

    fn has(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.documents.contains_key(&(kind.to_owned(), namespace.to_owned(), name.to_owned()))
    }

    /// How bad it is where something else was most likely meant: what is not among the manifests may be in the cluster.
    fn guess(&self) -> Severity {
        if self.is_complete { Severity::Error } else { Severity::Warning }
    }

    /// Why a reference most likely leads nowhere.
    fn missing(&self, kind: &str, namespace: &str, name: &str) -> Option<(Severity, String)> {
        if name.is_empty() || self.has(kind, namespace, name) {
            return None;
        }
        let of = |kind: &str, namespace: &str| self.names.get(&(kind.to_owned(), namespace.to_owned()));
        if let Some(meant) = near(name, of(kind, namespace).into_iter().flatten().copied()) {
            return Some((self.guess(), format!("no {kind} {name:?} is among the manifests; did you mean {meant}?")));
        }
        let elsewhere = self.documents.keys().find(|(of, _, other)| of == kind && other == name);
        if let Some((_, other, _)) = elsewhere.filter(|_| !namespace.is_empty()) {
            return Some((self.guess(), format!("{kind} {name:?} is in namespace {other:?}, not in {namespace:?}")));
        }
        let says = format!("no {kind} {name:?} is among the manifests");
        self.is_complete.then_some((Severity::Error, says))
    }

    fn refer(&self, at: At, (kind, namespace, name): (&str, &str, &str), found: &mut Vec<Finding>) {
        if let Some((severity, message)) = self.missing(kind, namespace, name) {
            found.push(Finding::at(at, severity, "reference", message));
        }
    }

    /// What an ExternalSecret refers to.
    pub fn external_secret(&mut self, own: &Id, es: &ExternalSecret) -> Vec<Finding> {
        let (mut found, namespace) = (Vec::new(), own.1.as_str());
        let spec = At::from(&["spec"][..]);
        if let Some(reference) = &es.spec.secret_store_ref {
            let at = spec.clone().named("secretStoreRef").named("name");
            self.store(at, &reference.kind, namespace, &reference.name, &mut found);
        }
        let data = es.spec.data.iter().enumerate().map(|(n, entry)| ("data", n, entry.source_ref.as_ref()));
        let from = es.spec.data_from.iter().enumerate().map(|(n, entry)| ("dataFrom", n, entry.source_ref.as_ref()));
        for (list, n, source) in data.chain(from) {
            let Some(reference) = source.and_then(|source| source.store_ref.as_ref()) else { continue };
            let at = spec.clone().named(list).then(n).named("sourceRef").named("storeRef").named("name");
            self.store(at, &reference.kind, namespace, &reference.name, &mut found);
        }
        for (n, entry) in es.spec.data_from.iter().enumerate() {
            let Some(GeneratorRef { kind, name, .. }) = generator(entry) else { continue };
            let at = spec.clone().named("dataFrom").then(n).named("sourceRef").named("generatorRef").named("name");
            let namespace = if kind == "ClusterGenerator" { "" } else { namespace };
            self.refer(at, (kind, namespace, name), &mut found);
        }
        let sources = es.spec.target.template.iter().flat_map(|template| &template.template_from).enumerate();
        for (n, from) in sources {
            let at = spec.clone().named("target").named("template").named("templateFrom").then(n);
            self.source(&at, namespace, from, &mut found);
        }
        found.extend(self.target(own, es));
        found
    }

    fn store(&self, at: At, kind: &StoreKind, namespace: &str, name: &str, found: &mut Vec<Finding>) {
        let (kind, of, other, of_other) = match kind {
            StoreKind::SecretStore => ("SecretStore", namespace, "ClusterSecretStore", ""),
            StoreKind::ClusterSecretStore => ("ClusterSecretStore", "", "SecretStore", namespace),
            StoreKind::Unknown(_) => return,
        };
        if !self.has(kind, of, name) && self.has(other, of_other, name) {
            let message = format!("no {kind} {name:?} is among the manifests, but a {other} is: set kind: {other}");
            found.push(Finding::at(at, self.guess(), "reference", message));
            return;
        }
        self.refer(at.clone(), (kind, of, name), found);
        let id = (kind.to_owned(), of.to_owned(), name.to_owned());
        let Some(store) = self.stores.get(&id) else { return };
        let labels = self.labels(namespace);
        let is_known = labels.is_some() || !store.asks_for_labels();
        if is_known && !store.allows(namespace, &labels.unwrap_or_default()) {
            let message = format!("spec.conditions of {kind} {name:?} do not let namespace {namespace:?} in");
            found.push(Finding::at(at, Severity::Error, "reference", message));
        }
    }

    /// The labels of a namespace that is among the manifests.
    fn labels(&self, namespace: &str) -> Option<StringMap> {
        let id = ("Namespace".to_owned(), String::new(), namespace.to_owned());
        let document = self.documents.get(&id)?;
        let labels = document.object.get().pointer("/metadata/labels").cloned().unwrap_or_default();
        let mut labels: StringMap = serde_json::from_value(labels).unwrap_or_default();
        labels.insert(names::LABEL_NAMESPACE.to_owned(), namespace.to_owned());
        Some(labels)
    }

    fn source(&self, at: &At, namespace: &str, from: &TemplateFrom, found: &mut Vec<Finding>) {
        for (field, kind, reference) in
            [("configMap", "ConfigMap", &from.config_map), ("secret", "Secret", &from.secret)]
        {
            let Some(reference) = reference else { continue };
            let at = at.clone().named(field);
            self.refer(at.clone().named("name"), (kind, namespace, &reference.name), found);
            let id = (kind.to_owned(), namespace.to_owned(), reference.name.clone());
            let Some(document) = self.documents.get(&id) else { continue };
            let maps = ["/data", "/binaryData", "/stringData"].into_iter();
            let maps = maps.filter_map(|map| document.object.get().pointer(map)?.as_object());
            let keys: Vec<&str> = maps.flat_map(|map| map.keys().map(String::as_str)).collect();
            for (n, item) in reference.items.iter().enumerate().filter(|(_, item)| !keys.contains(&item.key.as_str())) {
                let hint = crate::verbs::hint::did_you_mean(&item.key, keys.iter().copied());
                let message = format!("{kind} {:?} has no key {:?}{hint}", reference.name, item.key);
                let at = at.clone().named("items").then(n).named("key");
                found.push(Finding::at(at, Severity::Error, "reference", message));
            }
        }
    }

    /// That another one writes the same target.
    fn target(&mut self, own: &Id, es: &ExternalSecret) -> Option<Finding> {
        if !matches!(es.spec.target.creation_policy, CreationPolicy::Owner) {
            return None;
        }
        let kind = es.target_manifest().map_or("Secret", |manifest| manifest.kind.as_str()).to_owned();
        let target = (kind, own.1.clone(), es.target_name().to_owned());
        let other = self.targets.entry(target).or_insert_with(|| own.clone());
        (*other != *own).then(|| {
            let message = format!("ExternalSecret {:?} writes the same target: only one can own it", other.2);
            Finding::at(At::from(&["spec", "target", "name"][..]), Severity::Error, "reference", message)
        })
    }
}
