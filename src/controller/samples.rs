//! Objects for tests of the controller, and what a watch tells of them. All are in the namespace `ns`.

use keyferry_crds::{ClusterExternalSecret, ClusterSecretStore, Condition, ExternalSecret, SecretStore};
use keyferry_provider_core::{Error, ErrorKind};
use keyferry_sync::copies::Copier;
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Kind, Name, Version, name_of};
use keyferry_sync::ports::Refused;
use keyferry_sync::store::Store;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::change::Change;
use super::index::{Item, SubjectKind};
use super::kept;
use super::relist::Update;
use super::subject::Told;

/// A version of the one object that has this name in a test.
pub fn at(revision: &str) -> Version {
    Version { uid: "uid".into(), revision: revision.into() }
}

/// A name in the namespace `ns`.
pub fn name(name: &str) -> Name {
    ("ns".to_owned(), name.to_owned())
}

fn metadata(name: &str, generation: i64) -> ObjectMeta {
    ObjectMeta {
        namespace: Some("ns".to_owned()),
        name: Some(name.to_owned()),
        uid: Some("uid".to_owned()),
        generation: Some(generation),
        ..ObjectMeta::default()
    }
}

/// An ExternalSecret in the namespace `ns` whose target has its name and that uses the store `s`, with `spec` besides.
pub fn es(name: &str, generation: i64, spec: Value) -> ExternalSecret {
    ExternalSecret { metadata: metadata(name, generation), ..keyferry_builders::es(spec) }
}

/// A SecretStore in the namespace `ns`, with `spec` besides its provider.
pub fn store(name: &str, generation: i64, spec: Value) -> Store {
    let mut store = SecretStore::new(name, store_spec(spec));
    store.metadata = metadata(name, generation);
    Store::namespaced(store)
}

/// A ClusterSecretStore.
pub fn cluster_store(name: &str, generation: i64, spec: Value) -> Store {
    let mut store = ClusterSecretStore::new(name, store_spec(spec));
    store.metadata = ObjectMeta { namespace: None, ..metadata(name, generation) };
    Store::cluster(store)
}

fn store_spec(spec: Value) -> keyferry_crds::SecretStoreSpec {
    let mut whole = json!({"provider": {"fake": {"data": []}}});
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    serde_json::from_value(whole).unwrap()
}

/// An ExternalSecret is there.
pub fn put(es: ExternalSecret) -> Change {
    let told = Told { name: name_of(&es.metadata), object: Ok(es) };
    Change::Subject(SubjectKind::ExternalSecret, Update::Put(told.pass_on()))
}

/// An ExternalSecret is there, and does not decode.
pub fn put_undecodable(name: &str, generation: i64) -> Change {
    put_told(name, generation, None)
}

/// The same, where it is known what its condition says.
pub fn put_told(name: &str, generation: i64, ready: Option<Condition>) -> Change {
    let metadata = metadata(name, generation);
    let refused = kept::Refused { ready: ready.map(Box::new), ..Box::new(metadata.clone()).into() };
    let told = Told::<()> { name: name_of(&metadata), object: Err(refused) };
    Change::Subject(SubjectKind::ExternalSecret, Update::Put(told.pass_on()))
}

/// An ExternalSecret has gone.
pub fn gone(es_name: &str) -> Change {
    let told = Told { name: name(es_name), object: Ok(es(es_name, 1, json!({}))) };
    Change::Subject(SubjectKind::ExternalSecret, Update::Gone(told.pass_on()))
}

fn of_store(store: Store) -> (SubjectKind, Told<Store>) {
    let Item { kind, name } = Item::store(&store.id);
    (kind, Told { name: (*name).clone(), object: Ok(store) })
}

/// A store is there.
pub fn put_store(store: Store) -> Change {
    let (kind, told) = of_store(store);
    Change::Subject(kind, Update::Put(told.pass_on()))
}

/// A store has gone.
pub fn gone_store(store: Store) -> Change {
    let (kind, told) = of_store(store);
    Change::Subject(kind, Update::Gone(told.pass_on()))
}

/// A namespace is there, with these labels.
pub fn put_namespace(name: &str, labels: &[(&str, &str)]) -> Change {
    let labels: StringMap = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    Change::Namespace(Update::Put(metadata))
}

/// A ClusterExternalSecret for the namespaces of this team, of this generation; with `more` in its spec.
pub fn copier(name: &str, generation: i64, more: Value) -> ClusterExternalSecret {
    let data = json!([{"secretKey": "a", "remoteRef": {"key": format!("key {generation}")}}]);
    let mut spec =
        json!({"externalSecretSpec": {"data": data}, "namespaceSelectors": [{"matchLabels": {"team": "a"}}]});
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": name, "uid": format!("{name}-uid"), "generation": generation});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// A ClusterExternalSecret is there.
pub fn put_copier(object: ClusterExternalSecret) -> Change {
    let told = Told { name: name_of(&object.metadata), object: Ok(Copier::from(object)) };
    Change::Subject(SubjectKind::ClusterExternalSecret, Update::Put(told.pass_on()))
}

/// A ClusterExternalSecret has gone.
pub fn gone_copier(object: ClusterExternalSecret) -> Change {
    let told = Told { name: name_of(&object.metadata), object: Ok(Copier::from(object)) };
    Change::Subject(SubjectKind::ClusterExternalSecret, Update::Gone(told.pass_on()))
}

/// The copy that a ClusterExternalSecret makes in this namespace, at this revision.
pub fn copied(object: &ClusterExternalSecret, namespace: &str, revision: &str) -> ExternalSecret {
    let copier = Copier::from(object.clone());
    let metadata = ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(copier.copy_name.clone()),
        uid: Some("copy".to_owned()),
        resource_version: Some(revision.to_owned()),
        owner_references: Some(vec![copier.owner_reference()]),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    ExternalSecret { metadata, spec: serde_json::from_value(copier.spec).unwrap(), status: None }
}

fn object(name: &str, revision: &str) -> ObjectMeta {
    ObjectMeta { generation: None, resource_version: Some(revision.to_owned()), ..metadata(name, 0) }
}

/// An object is there, at this revision.
pub fn put_object(kind: &Kind, name: &str, revision: &str) -> Change {
    Change::Object(kind.clone(), Update::Put(object(name, revision)))
}

/// An object has gone.
pub fn gone_object(kind: &Kind, name: &str) -> Change {
    Change::Object(kind.clone(), Update::Gone(object(name, "0")))
}

/// A store that can't be logged in to.
pub fn unreachable() -> Refused {
    Refused::Client(Error::new(ErrorKind::Unavailable, "it can't be reached"))
}

/// A store that does not know what it is logged in to with: nothing that passes.
pub fn locked_out() -> Refused {
    Refused::Client(Error::new(ErrorKind::Unauthenticated, "it knows nobody of that name"))
}
