//! What pushes come to.

use keyferry_provider_core::{ErrorKind, Origin, Reach};
use serde_json::{Value, json as value};

use super::KvVersion::{V1, V2};
use super::*;

const CANARY: &str = "canary-70aa";

fn secret(text: &str) -> SecretBytes {
    text.into()
}

fn push(property: Option<&str>, payload: Payload) -> Push {
    let remote = Remote { key: "app".to_owned(), property: property.map(str::to_owned), metadata: None };
    Push { remote, payload, origin: Origin::default(), reach: Reach::Ours }
}

fn of_value(property: Option<&str>, text: &str, there: Option<&str>) -> Result<String, Error> {
    let push = push(property, Payload::Value(secret(text)));
    let there = there.map(secret);
    wanted(&push, there.as_ref(), V2).map(|value| value.expose_str().unwrap().to_owned())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{error}");
    assert!(error.message().contains(words) && !error.message().contains(CANARY), "{error}");
}

#[test]
fn fields_come_together() {
    for (property, text, there, expected) in [
        (Some("a"), "v", None, r#"{"a":"v"}"#),
        (Some("b"), "v", Some(r#"{"a":{"z":1.50},"c":[null]}"#), r#"{"a":{"z":1.50},"b":"v","c":[null]}"#),
        (Some("a"), "new\"", Some(r#"{"a":"old","b":"x"}"#), r#"{"a":"new\"","b":"x"}"#),
        (Some("a"), "", Some("{}"), r#"{"a":""}"#),
        (Some("x.y"), "v", Some(r#"{"x":{"y":"z"}}"#), r#"{"x":{"y":"z"},"x.y":"v"}"#),
        (
            None,
            r#" {"b": 12345678901234567890, "a": {"y": 1, "x": []}} "#,
            Some(r#"{"c":"gone"}"#),
            r#"{"a":{"x":[],"y":1},"b":12345678901234567890}"#,
        ),
        (None, "{}", None, "{}"),
    ] {
        assert_eq!(of_value(property, text, there).unwrap(), expected);
    }
    let fields = [("b", "2"), ("a", "line\n")].map(|(name, text)| (name.to_owned(), secret(text)));
    let whole = wanted(&push(None, Payload::Fields(fields.clone().into())), None, V1).unwrap();
    assert_eq!(whole.expose_str(), Some(r#"{"a":"line\n","b":"2"}"#));
    let inside = wanted(&push(Some("p"), Payload::Fields(fields.into())), None, V1).unwrap();
    assert_eq!(inside.expose_str(), Some(r#"{"p":"{\"a\":\"line\\n\",\"b\":\"2\"}"}"#));
}

#[test]
fn what_no_engine_keeps_is_refused() {
    for text in [CANARY, "", "[1]", "\"canary-70aa\"", "1"] {
        refused(of_value(None, text, None), "is a JSON object, and what is pushed is none");
    }
    refused(of_value(Some("a"), "v", Some(r#"{"a":{"canary-70aa":1}}"#)), "something else than text");
    refused(of_value(Some("a"), "v", Some(r#"{"a":1}"#)), "something else than text");
    let bytes = || SecretBytes::new(b"canary-70aa\xff".to_vec());
    refused(wanted(&push(Some("a"), Payload::Value(bytes())), None, V2), "is not UTF-8");
    let fields = BTreeMap::from([("a".to_owned(), bytes())]);
    refused(wanted(&push(None, Payload::Fields(fields)), None, V2), "is not UTF-8");
    let own = Payload::Value(secret(r#"{"custom_metadata":"canary-70aa"}"#));
    refused(wanted(&push(None, own.clone()), None, V1), "rename it");
    assert!(wanted(&push(None, own), None, V2).is_ok());
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    refused(of_value(None, &deep, None), "nested too deep");
}

/// BUG in External Secrets Operator: where both sides hold an object or a list under the same key, comparing them panics.
#[test]
fn what_is_nested_is_compared_like_all_else() {
    for (a, b, version, equal) in [
        (r#"{"a":{"x":[1,{"y":null}]}}"#, r#"{"a":{"x":[1,{"y":null}]}}"#, V2, true),
        (r#"{"a":{"x":[1,{"y":null}]}}"#, r#"{"a":{"x":[1,{"y":false}]}}"#, V2, false),
        (r#"{"a":["x","y"]}"#, r#"{"a":["y","x"]}"#, V2, false),
        (r#"{"a":"1"}"#, r#"{"a":1}"#, V2, false),
        (r#"{"a":"x","b":"y"}"#, r#"{"a":"x"}"#, V2, false),
        // Version 2 keeps floats, and gives back what it kept; version 1 keeps every digit.
        (r#"{"a":[9007199254740993,1.50]}"#, r#"{"a":[9007199254740992,1.5]}"#, V2, true),
        (r#"{"a":1e21}"#, r#"{"a":1000000000000000000000}"#, V2, true),
        (r#"{"a":1e999}"#, r#"{"a":2e999}"#, V2, false),
        (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, V1, false),
        (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740993}"#, V1, true),
    ] {
        assert_eq!(same(&secret(a), &secret(b), version), equal, "{a} {b}");
    }
}

#[test]
fn fields_that_are_there_and_what_is_left() {
    let there = secret(r#"{"a":null,"b.c":{"d":1}}"#);
    assert_eq!(["a", "b.c", "b", "d"].map(|name| has(&there, name)), [true, true, false, false]);
    let left = |name| super::left(&there, name).map(|left| left.expose_str().unwrap().to_owned());
    assert_eq!(left("a").as_deref(), Some(r#"{"b.c":{"d":1}}"#));
    assert_eq!(super::left(&secret(r#"{"a":1}"#), "a"), None);
}

#[test]
fn bodies() {
    let text = |body: SecretBytes| body.expose_str().unwrap().to_owned();
    let fields = secret(r#"{"a":"x"}"#);
    assert_eq!(text(body(&fields, "7")), r#"{"data":{"a":"x"},"options":{"cas":7}}"#);
    assert_eq!(text(marked(&fields)), r#"{"custom_metadata":{"managed-by":"external-secrets"},"a":"x"}"#);
    assert_eq!(text(marked(&secret("{}"))), r#"{"custom_metadata":{"managed-by":"external-secrets"}}"#);
    let marks = Marks::from([("a".to_owned(), secret("\"")), ("b".to_owned(), secret(""))]);
    assert_eq!(text(of_marks(&marks)), r#"{"custom_metadata":{"a":"\"","b":""}}"#);
}

fn custom(metadata: Value, version: KvVersion) -> Result<Custom, Error> {
    Custom::new(&Remote { key: "app".to_owned(), property: None, metadata: Some(metadata) }, version)
}

fn envelope(spec: Value) -> Value {
    value!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec})
}

#[test]
fn marks_stay_are_set_and_go() {
    let marks = |pairs: &[(&str, &str)]| -> Marks {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), secret(text))).collect()
    };
    let ours = ("managed-by", "external-secrets");
    let (none, theirs) = (marks(&[]), marks(&[("owner", "them"), ("managed-by", "them")]));
    let over = |spec: Value, there: &Marks| custom(envelope(spec), V2).unwrap().over(there);
    assert_eq!(over(value!({}), &none), Some(marks(&[ours])));
    assert_eq!(over(value!({}), &marks(&[ours])), None);
    assert_eq!(over(value!({}), &theirs), Some(marks(&[ours, ("owner", "them")])));
    let wants = value!({"customMetadata": {"team": "a", "managed-by": "me"}});
    assert_eq!(over(wants, &theirs), Some(marks(&[ours, ("owner", "them"), ("team", "a")])));
    let replaces = value!({"customMetadata": {"team": "a"}, "mergePolicy": "Replace"});
    assert_eq!(over(replaces.clone(), &theirs), Some(marks(&[ours, ("team", "a")])));
    assert_eq!(over(replaces, &marks(&[ours, ("team", "a")])), None);
    assert_eq!(Custom::default().over(&none), Some(marks(&[ours])));
}

#[test]
fn metadata_of_another_form_are_refused() {
    for (metadata, words) in [
        (value!("canary-70aa"), "must be an object"),
        (value!({"customMetadata": {}}), "apiVersion must be"),
        (envelope(value!({"colour": "canary-70aa"})), "no field \"colour\""),
        (envelope(value!({"customMetadata": {"a": 1}})), "check the types"),
        (value!({"apiVersion": "v2", "kind": "PushSecretMetadata", "spec": {}}), "apiVersion must be"),
        (
            value!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "Canary", "spec": {}}),
            "kind must be PushSecretMetadata",
        ),
    ] {
        refused(custom(metadata, V2), words);
    }
    refused(custom(envelope(value!({"mergePolicy": "canary-70aa"})), V2), "must be Merge or Replace");
    refused(custom(envelope(value!({"customMetadata": {"a": "b"}})), V1), "KV version 1 keeps no metadata");
    for nothing in [value!(null), envelope(value!(null)), envelope(value!({})), envelope(value!({"mergePolicy": null}))]
    {
        assert_eq!(custom(nothing, V1).unwrap(), Custom::default());
    }
}
