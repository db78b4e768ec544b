//! Tests of [`super::desired`], in a file of their own for their length.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Value, json};

use super::*;

fn es(target: Value) -> ExternalSecret {
    let mut es = keyferry_builders::es(json!({"target": target}));
    es.metadata.labels = Some([("team".to_owned(), "x".to_owned())].into());
    es
}

fn data(entries: &[(&str, &str)]) -> Data {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
}

fn live(secret: Value) -> LiveSecret {
    LiveSecret::new(serde_json::from_value(secret).unwrap())
}

/// A Secret as somebody else made it.
fn foreign(entries: &[(&str, &str)]) -> LiveSecret {
    let mut secret = live(
        json!({"metadata": {"name": "e", "namespace": "ns", "uid": "u", "resourceVersion": "1"}, "type": "Opaque"}),
    );
    let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    secret.get_mut().data = Some(entries.collect());
    secret
}

fn plainly(
    es: &ExternalSecret,
    data: &Data,
    existing: Option<&LiveSecret>,
    adopt: Adopt,
) -> Result<Desired<LiveSecret>, Failure> {
    desired(es, &Content::plain(es, data.clone()), existing, adopt)
}

/// The Secret after it was written, as the API server gives it back.
fn written(es: &ExternalSecret, data: &Data, existing: Option<&LiveSecret>) -> LiveSecret {
    let mut secret = match desired(es, &Content::plain(es, data.clone()), existing, Adopt::Any).unwrap() {
        Desired::Create(secret) | Desired::Update { object: secret, .. } => secret,
        other => panic!("{other:?}"),
    };
    let keys = |map: Vec<String>| {
        map.into_iter().map(|key| (format!("f:{key}"), json!({}))).collect::<serde_json::Map<_, _>>()
    };
    let labels = secret.get().metadata.labels.clone().unwrap_or_default().into_keys().collect();
    let fields = json!({"f:data": keys(data.keys().cloned().collect()), "f:metadata": {"f:labels": keys(labels)}});
    let entry = ManagedFieldsEntry {
        manager: Some(hash::field_manager("e")),
        operation: Some("Update".into()),
        fields_v1: Some(FieldsV1(fields)),
        ..Default::default()
    };
    let metadata = &mut secret.get_mut().metadata;
    metadata.managed_fields = Some(vec![entry]);
    metadata.uid.get_or_insert("u".into());
    metadata.resource_version = Some("2".into());
    secret
}

fn text(secret: &LiveSecret) -> Vec<(String, String)> {
    secret.data().map(|(key, value)| (key.to_owned(), String::from_utf8(value.to_vec()).unwrap())).collect()
}

fn pairs(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_second_look_changes_nothing() {
    for policy in ["Owner", "Orphan", "Merge", "CreateOrMerge"] {
        let es = es(json!({"creationPolicy": policy}));
        let data = data(&[("a", "1")]);
        let existing = foreign(&[("own", "0")]);
        let first = written(&es, &data, Some(&existing));
        assert!(is_intact(&first));
        assert!(
            matches!(desired(&es, &Content::plain(&es, data.clone()), Some(&first), Adopt::Any), Ok(Desired::Keep)),
            "{policy}"
        );
    }
}

#[test]
fn owner_replaces_and_merge_keeps_what_others_put_there() {
    let existing = foreign(&[("own", "0"), ("a", "old")]);
    let owner = written(&es(json!({})), &data(&[("a", "1")]), Some(&existing));
    assert_eq!(text(&owner), pairs(&[("a", "1")]));
    let merged = es(json!({"creationPolicy": "Merge"}));
    let first = written(&merged, &data(&[("a", "1"), ("b", "2")]), Some(&existing));
    assert_eq!(text(&first), pairs(&[("a", "1"), ("b", "2"), ("own", "0")]));
    let second = written(&merged, &data(&[("b", "3")]), Some(&first));
    assert_eq!(text(&second), pairs(&[("b", "3"), ("own", "0")]), "what we wrote and no longer have goes");
}

#[test]
fn labels_that_the_external_secret_no_longer_has_go() {
    let mut es = es(json!({}));
    let first = written(&es, &data(&[("a", "1")]), None);
    assert_eq!(first.get().metadata.labels.as_ref().unwrap()["team"], "x");
    es.metadata.labels = Some([("tier".to_owned(), "y".to_owned())].into());
    let second = written(&es, &data(&[("a", "1")]), Some(&first));
    let labels = second.get().metadata.labels.clone().unwrap();
    assert!(!labels.contains_key("team") && labels["tier"] == "y", "{labels:?}");
}

#[test]
fn a_target_of_another_is_refused() {
    let owned_by = |kind: &str, name: &str| {
        let mut secret = foreign(&[]);
        let api = if kind == "ExternalSecret" { "external-secrets.io/v1beta1" } else { "apps/v1" };
        let owner = json!({"apiVersion": api, "kind": kind, "name": name, "uid": "z", "controller": true});
        secret.get_mut().metadata.owner_references = Some(vec![serde_json::from_value(owner).unwrap()]);
        secret
    };
    let refuse = |target: Value, existing: &LiveSecret| {
        plainly(&es(target), &data(&[("a", "1")]), Some(existing), Adopt::Any).unwrap_err().to_string()
    };
    assert!(refuse(json!({}), &owned_by("ExternalSecret", "other")).starts_with(Headline::Owned.as_str()));
    assert!(
        refuse(json!({"creationPolicy": "Merge"}), &owned_by("ExternalSecret", "other"))
            .starts_with(Headline::Owned.as_str())
    );
    assert!(refuse(json!({}), &owned_by("Deployment", "web")).starts_with(Headline::Ownership.as_str()));
    // An ExternalSecret of our name that was deleted and came back: ours.
    let taken = written(&es(json!({})), &data(&[("a", "1")]), Some(&owned_by("ExternalSecret", "e")));
    assert!(ownership::is_controlled_by(&es(json!({})), &taken.get().metadata));
    // No longer Owner: the reference goes.
    let let_go = written(&es(json!({"creationPolicy": "Orphan"})), &data(&[("a", "1")]), Some(&taken));
    assert_eq!(let_go.get().metadata.owner_references, None);
    for type_ in ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "helm.sh/release.v1"] {
        let mut secret = foreign(&[]);
        secret.get_mut().type_ = Some(type_.into());
        assert!(refuse(json!({"creationPolicy": "Merge"}), &secret).contains(type_));
    }
}

#[test]
fn adoption_follows_the_flag_and_names_the_keys() {
    let adopt = |existing: &LiveSecret, adopt| plainly(&es(json!({})), &data(&[("a", "1")]), Some(existing), adopt);
    let full = foreign(&[("own", "0")]);
    match adopt(&full, Adopt::Any) {
        Ok(Desired::Update { adopted, .. }) => assert_eq!(adopted, Some(vec!["own".to_owned()])),
        other => panic!("{other:?}"),
    }
    assert!(adopt(&full, Adopt::Empty).unwrap_err().to_string().contains("--adopt=empty"));
    assert!(adopt(&foreign(&[]), Adopt::Empty).is_ok());
    assert!(adopt(&foreign(&[]), Adopt::Never).unwrap_err().to_string().contains("--adopt=never"));
    let ours = written(&es(json!({})), &data(&[("b", "1")]), None);
    assert!(adopt(&ours, Adopt::Never).is_ok());
}

#[test]
fn what_others_have_is_not_ours_for_having_been_marked_or_merged_into() {
    let adopt = |existing: &LiveSecret, adopt| plainly(&es(json!({})), &data(&[("a", "1")]), Some(existing), adopt);
    // creationPolicy None leaves the label, Merge its own keys, the label and the hash.
    let mut labelled = foreign(&[("own", "0")]);
    let labels = [(names::LABEL_MANAGED.to_owned(), names::MANAGED.to_owned())];
    labelled.get_mut().metadata.labels = Some(labels.into());
    let merged =
        written(&es(json!({"creationPolicy": "Merge"})), &data(&[("b", "2")]), Some(&foreign(&[("own", "0")])));
    for existing in [&labelled, &merged] {
        assert!(adopt(existing, Adopt::Never).unwrap_err().to_string().contains("--adopt=never"));
        let refused = adopt(existing, Adopt::Empty).unwrap_err().to_string();
        assert!(refused.contains("--adopt=empty") && refused.contains("own"), "{refused}");
        match adopt(existing, Adopt::Any) {
            Ok(Desired::Update { adopted, .. }) => assert!(adopted.unwrap().contains(&"own".to_owned())),
            other => panic!("{other:?}"),
        }
    }
    // Whoever has it may give it away, to nobody but the one that is named.
    for (to, taken) in [("e", true), ("other", false)] {
        let mut given = foreign(&[("own", "0")]);
        given.get_mut().metadata.annotations = Some([(names::ANNOTATION_ADOPTED_BY.to_owned(), to.to_owned())].into());
        assert_eq!(adopt(&given, Adopt::Never).is_ok(), taken, "{to}");
    }
    // Made by us, and nothing holds it any more: ours, also where somebody edited it.
    let orphan = es(json!({"creationPolicy": "Orphan"}));
    let mut made = written(&orphan, &data(&[("a", "1")]), None);
    assert!(plainly(&orphan, &data(&[("a", "2")]), Some(&made), Adopt::Never).is_ok());
    let metadata = &mut made.get_mut().metadata;
    metadata.managed_fields.as_mut().unwrap()[0].fields_v1 = Some(FieldsV1(json!({"f:data": {".": {}}, "f:type": {}})));
    assert!(plainly(&orphan, &data(&[("a", "2")]), Some(&made), Adopt::Never).is_ok());
}

#[test]
fn immutable_targets() {
    let immutable = es(json!({"immutable": true}));
    let first = written(&immutable, &data(&[("a", "1")]), None);
    assert_eq!(first.get().immutable, Some(true));
    // Asked for: new values wait for a new Secret.
    assert!(matches!(plainly(&immutable, &data(&[("a", "2")]), Some(&first), Adopt::Any), Ok(Desired::Keep)));
    // What is there already is frozen as it is.
    let mutable = written(&es(json!({})), &data(&[("a", "1")]), None);
    let frozen = written(&immutable, &data(&[("a", "2")]), Some(&mutable));
    assert_eq!((frozen.get().immutable, &frozen.get().data), (Some(true), &mutable.get().data));
    // Somebody else's doing: said.
    let refused = plainly(&es(json!({})), &data(&[("a", "2")]), Some(&first), Adopt::Any).unwrap_err();
    assert!(refused.to_string().starts_with(Headline::Immutable.as_str()));
}

#[test]
fn a_secret_that_is_too_large_is_refused() {
    let large = "x".repeat(600 * 1024);
    let refused = plainly(&es(json!({})), &data(&[("a", &large), ("b", &large)]), None, Adopt::Any).unwrap_err();
    assert!(refused.to_string().contains("at most 1048576"), "{refused}");
}

#[test]
fn merge_waits_for_its_target() {
    assert!(matches!(
        plainly(&es(json!({"creationPolicy": "Merge"})), &data(&[]), None, Adopt::Any),
        Ok(Desired::Missing)
    ));
}
