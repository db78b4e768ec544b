//! Tests of [`super`], in a file of their own for their length.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use keyferry_sync::content::Content;
use keyferry_sync::data::Data;
use keyferry_sync::settings::Adopt;
use serde_json::{Value, json};

use super::*;
use crate::target::desired::desired;

const MANAGER: &str = "externalsecrets.external-secrets.io/e";

fn now() -> Timestamp {
    "2026-01-02T03:04:05.678901Z".parse().unwrap()
}

fn es(target: Value) -> ExternalSecret {
    keyferry_builders::es(json!({"target": target}))
}

fn data(value: &str) -> Data {
    [("key".to_owned(), value.into())].into()
}

/// What is written, by a process that has synced before or has not, where `existing` is there.
fn written(es: &ExternalSecret, value: &str, existing: Option<&LiveSecret>, was_synced: bool) -> Option<LiveSecret> {
    let mut rotations = Rotations::new(now);
    if was_synced {
        rotations.was_synced();
    }
    let mut wanted = desired(es, &Content::plain(es, data(value)), existing, Adopt::Any).unwrap();
    rotations.note(es, MANAGER, existing, &mut wanted);
    let (Desired::Create(secret) | Desired::Update { object: secret, .. }) = wanted else { return None };
    Some(owned(secret, MANAGER))
}

/// The Secret as the API server gives it back: this manager owns its key.
fn owned(mut secret: LiveSecret, manager: &str) -> LiveSecret {
    let annotations = secret.get().metadata.annotations.iter().flatten();
    let annotations: serde_json::Map<_, _> = annotations.map(|(name, _)| (format!("f:{name}"), json!({}))).collect();
    let fields = json!({"f:data": {".": {}, "f:key": {}}, "f:type": {}, "f:metadata": {"f:annotations": annotations}});
    secret.get_mut().metadata.managed_fields = Some(vec![ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        operation: Some("Update".into()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    }]);
    secret
}

fn of(secret: &LiveSecret) -> Option<&str> {
    noted(&secret.get().metadata)
}

#[test]
fn only_data_that_we_wrote_are_rotated() {
    let es = es(json!({}));
    let first = written(&es, "a", None, true).unwrap();
    assert_eq!(of(&first), Some("never"), "what is made was not rotated");
    assert!(written(&es, "a", Some(&first), false).is_none(), "what is as it was is not written");
    let second = written(&es, "b", Some(&first), false).unwrap();
    assert_eq!(of(&second), Some("2026-01-02T03:04:05.679Z"), "another process knows that it was ours");
    assert!(at(&first.get().metadata).is_none() && at(&second.get().metadata).is_some());
    let third = written(&es, "c", Some(&second), false).unwrap();
    assert_eq!(of(&third), Some("2026-01-02T03:04:05.68Z"), "later than the last, whatever the clock says");
}

#[test]
fn what_another_operator_wrote_is_rotated_once_we_have_synced_it() {
    let es = es(json!({}));
    let mut theirs = written(&es, "a", None, false).unwrap();
    theirs.get_mut().metadata.annotations.as_mut().unwrap().remove(names::ANNOTATION_ROTATED_AT);
    let switched = written(&es, "b", Some(&theirs), false).unwrap();
    assert_eq!(of(&switched), Some("never"));
    let known = written(&es, "b", Some(&theirs), true).unwrap();
    assert!(at(&known.get().metadata).is_some());
}

#[test]
fn what_is_repaired_or_taken_over_is_not_rotated() {
    let es = es(json!({}));
    let mut edited = written(&es, "a", None, true).unwrap();
    let byte = k8s_openapi::ByteString(b"edited".to_vec());
    edited.get_mut().data.as_mut().unwrap().insert("key".to_owned(), byte);
    assert_eq!(of(&written(&es, "a", Some(&edited), true).unwrap()), Some("never"), "an edit was put back");
    assert!(at(&written(&es, "b", Some(&edited), true).unwrap().get().metadata).is_some(), "and this is another value");
    let foreign = json!({"metadata": {"name": "e", "namespace": "ns", "uid": "u"}, "data": {"key": "eA=="}});
    let foreign = LiveSecret::new(serde_json::from_value::<Secret>(foreign).unwrap());
    assert_eq!(of(&written(&es, "b", Some(&foreign), true).unwrap()), Some("never"));
}

#[test]
fn a_secret_that_others_write_to_is_rotated_by_changes_of_ours_alone() {
    let es = es(json!({"creationPolicy": "Merge"}));
    let theirs = json!({"metadata": {"name": "e", "namespace": "ns", "uid": "u"}, "data": {"theirs": "eA=="}});
    let theirs = LiveSecret::new(serde_json::from_value::<Secret>(theirs).unwrap());
    let first = written(&es, "a", Some(&theirs), true).unwrap();
    assert_eq!(of(&first), Some("never"), "what was merged in first replaced nothing");
    let mut edited = first.clone();
    let byte = k8s_openapi::ByteString(b"edited".to_vec());
    edited.get_mut().data.as_mut().unwrap().insert("theirs".to_owned(), byte);
    assert_eq!(of(&written(&es, "a", Some(&edited), true).unwrap()), Some("never"));
    assert!(at(&written(&es, "b", Some(&first), true).unwrap().get().metadata).is_some());
}
