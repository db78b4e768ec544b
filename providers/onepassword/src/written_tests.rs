use serde_json::json;

use super::*;
use crate::answers;

const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaa";

fn item(rest: &str) -> Item {
    answers::item(&format!(r#"{{"id":"{ID}",{rest}}}"#).as_str().into()).unwrap()
}

fn one(label: &str, value: &str) -> BTreeMap<String, SecretBytes> {
    [(label.to_owned(), value.into())].into()
}

fn said(metadata: serde_json::Value) -> Result<Metadata, Error> {
    Metadata::new(&Remote { key: "app".into(), property: None, metadata: Some(metadata) })
}

fn metadata(spec: serde_json::Value) -> Result<Metadata, Error> {
    said(json!({
        "apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec
    }))
}

#[test]
fn metadata_is_read_whole_or_refused() {
    assert_eq!(Metadata::new(&Remote::default()).unwrap(), Metadata::default());
    assert_eq!(said(json!(null)).unwrap(), Metadata::default());
    let read = metadata(json!({"tags": ["a"], "vault": "v", "fieldType": "Text"})).unwrap();
    assert_eq!((read.tags.as_deref(), read.vault.as_deref()), (Some(&["a".to_owned()][..]), Some("v")));
    assert_eq!(read.type_of_fields(), Some("STRING"));
    for wrong in [json!({"tag": "canary"}), json!({"tags": "canary"}), json!({"fieldType": "canary"})] {
        let error = metadata(wrong).unwrap_err();
        assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request));
        assert!(!error.message().contains("canary"), "{error}");
    }
    assert!(said(json!({"spec": {"tags": []}})).is_err(), "of no kind");
}

#[test]
fn one_field_is_changed_and_all_else_stays_as_it_stands() {
    let there = item(
        r#""fields":[{"id":"x","label":"a","value":"1","section":{"id":"s"}},{"id":"y","label":"b","value":"2"}],
           "new":{"digits":1.50},"files":[{"id":"f"}],"version":2"#,
    );
    let body = with_fields(&there, &one("a", "<\"é"), &Metadata::default(), "t").unwrap().unwrap();
    let whole: serde_json::Value = serde_json::from_slice(body.expose()).unwrap();
    let fields = json!([
        {"id": "x", "label": "a", "value": "<\"é", "section": {"id": "s"}},
        {"id": "y", "label": "b", "value": "2"},
    ]);
    assert_eq!(whole["fields"], fields);
    assert!(body.expose_str().unwrap().contains(r#""new":{"digits":1.50}"#));
    assert_eq!((&whole["files"][0]["id"], &whole["version"]), (&json!("f"), &json!(2)));
}

#[test]
fn what_is_equal_is_not_written() {
    let there = item(r#""fields":[{"label":"a","value":"1"}],"tags":["t"]"#);
    let none = Metadata::default();
    assert!(with_fields(&there, &one("a", "1"), &none, "t").unwrap().is_none());
    let same = metadata(json!({"tags": ["t"]})).unwrap();
    assert!(with_fields(&there, &one("a", "1"), &same, "t").unwrap().is_none());
    let others = metadata(json!({"tags": ["u"]})).unwrap();
    let body = with_fields(&there, &one("a", "1"), &others, "t").unwrap().unwrap();
    assert!(body.expose_str().unwrap().contains(r#""tags":["u"]"#));
}

#[test]
fn a_new_field_is_concealed_unless_said() {
    let there = item(r#""fields":null"#);
    let body = with_fields(&there, &one("a", "1"), &Metadata::default(), "t").unwrap().unwrap();
    assert!(body.expose_str().unwrap().contains(r#"[{"label":"a","type":"CONCEALED","value":"1"}]"#));
    let url = metadata(json!({"fieldType": "url", "tags": []})).unwrap();
    let body = new_item("t\"", "v", &one("a", "1"), &url).unwrap();
    let expected = r#"{"category":"SERVER","fields":[{"label":"a","type":"URL","value":"1"}],"tags":[],"title":"t\"","vault":{"id":"v"}}"#;
    assert_eq!(body.expose_str(), Some(expected));
}

#[test]
fn what_is_there_twice_is_neither_written_nor_taken_away() {
    let there = item(r#""fields":[{"label":"a","value":"1"},{"label":"a","value":"2"}]"#);
    assert!(with_fields(&there, &one("a", "1"), &Metadata::default(), "t").is_err());
    assert!(without_field(&there, "a", "t").is_err());
    assert!(matches!(without_field(&there, "b", "t"), Ok(Left::All)));
}

#[test]
fn the_last_value_takes_the_item_along() {
    let notes = r#"{"id":"notesPlain","label":"notesPlain","purpose":"NOTES"}"#;
    let there = item(&format!(r#""fields":[{{"label":"a","value":"1"}},{notes}],"sections":[{{"id":"s"}}]"#));
    assert!(matches!(without_field(&there, "a", "t"), Ok(Left::Nothing)));
    let there = item(&format!(r#""fields":[{{"label":"a","value":"1"}},{notes}],"files":[{{"id":"f"}}]"#));
    let Ok(Left::Item(body)) = without_field(&there, "a", "t") else { panic!("files are left") };
    assert!(!body.expose_str().unwrap().contains(r#""label":"a""#));
}

#[test]
fn what_is_no_text_is_refused_and_not_shown() {
    let payload = Payload::Value(SecretBytes::new(b"canary\xff".to_vec()));
    let error = fields_of(&payload, None).unwrap_err();
    assert!(error.message().contains("\"password\"") && !error.message().contains("canary"), "{error}");
    let both = Payload::Fields([("a".to_owned(), "1".into()), ("b".to_owned(), "\"".into())].into());
    assert_eq!(fields_of(&both, None).unwrap().len(), 2);
    assert_eq!(fields_of(&both, Some("all")).unwrap()["all"].expose_str(), Some(r#"{"a":"1","b":"\""}"#));
    assert!(fields_of(&Payload::Fields(BTreeMap::new()), None).is_err());
}
