use serde_json::json;

use super::*;
use crate::envelope::tests::pair;

#[test]
fn a_file_may_hold_several_and_what_else_there_is() {
    let text = "# why\n---\napiVersion: v1\nkind: ConfigMap\n---\napiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: a}\n--- # next\n\
                apiVersion: v1\nkind: List\nitems:\n- {apiVersion: bitnami.com/v1alpha1, kind: SealedSecret, metadata: {name: b, namespace: n}}\n...\n";
    let all = SealedSecret::of_file(text.as_bytes()).unwrap();
    assert_eq!(all.iter().map(SealedSecret::name).collect::<Vec<_>>(), ["a", "b"]);
    let json = br#"{"apiVersion":"bitnami.com/v1alpha1","kind":"SealedSecret","metadata":{"name":"c"},"spec":{"template":null}}"#;
    assert_eq!(SealedSecret::of_file(json).unwrap()[0].name(), "c");
    assert!(SealedSecret::of_file(b"a: [").is_err());
    assert!(SealedSecret::of_file(&[0xff]).is_err());
}

#[test]
fn the_annotations_say_for_whom_it_is() {
    let of = |annotations: Value| {
        SealedSecret::new(&json!({"metadata": {"name": "a", "annotations": annotations}})).unwrap().scope("n")
    };
    assert_eq!(of(json!(null)), Scope::Secret("n".into(), "a".into()));
    assert_eq!(of(json!({NAMESPACE_WIDE: "true"})), Scope::Secrets("n".into()));
    assert_eq!(of(json!({NAMESPACE_WIDE: "true", CLUSTER_WIDE: "true"})), Scope::AnySecret);
    assert_eq!(of(json!({CLUSTER_WIDE: "yes"})), Scope::Secret("n".into(), "a".into()));
}

#[test]
fn what_is_wrong_with_one_is_said_by_its_key() {
    let keys = SealingKeys::new(vec![pair(1)]).unwrap();
    let unseal =
        |spec: Value| SealedSecret::new(&json!({"metadata": {"name": "a"}, "spec": spec})).unwrap().unseal(&keys, "n");
    let error = unseal(json!({"encryptedData": {"password": "%"}})).unwrap_err();
    assert_eq!(error.to_string(), "spec.encryptedData \"password\" is no base64");
    let error = unseal(json!({"encryptedData": {"password": "AAAA"}})).unwrap_err();
    assert!(error.to_string().starts_with("spec.encryptedData \"password\": what is sealed was changed"), "{error}");
    assert_eq!(unseal(json!({"data": "%"})).unwrap_err().to_string(), "spec.data is no base64");
    let error = unseal(json!({"data": "AAAA"})).unwrap_err();
    assert!(error.to_string().starts_with("spec.data: what is sealed was changed"), "{error}");
    let error = unseal(json!({"data": "AAAA", "encryptedData": {"a": "AAAA"}})).unwrap_err();
    assert!(error.to_string().contains("both set"), "{error}");
    assert!(unseal(json!({})).unwrap().is_empty());
    assert!(SealedSecret::new(&json!({"spec": {"encryptedData": 1}})).is_err());
}

#[test]
fn what_is_sealed_anew_is_by_the_latest_key_and_opens_as_before() {
    let (old, new) = (pair(1), pair(2));
    let scope = Scope::Secret("n".into(), "a".into());
    let sealed = STANDARD.encode(seal(old.public(), &scope, b"x").unwrap());
    let manifest = json!({"kind": KIND, "metadata": {"name": "a", "namespace": "n"}, "spec": {"encryptedData": {"k": sealed}, "more": 1}});
    let both = SealingKeys::new(vec![old, new]).unwrap();
    let anew = reseal(&manifest, &both).unwrap();
    assert_eq!(anew["spec"]["more"], 1);
    let latest = SealingKeys::new(vec![pair(3)]).unwrap();
    assert!(SealedSecret::new(&anew).unwrap().unseal(&latest, "n").is_err());
    let opened = SealedSecret::new(&anew).unwrap().unseal(&both, "n").unwrap();
    assert!(opened["k"].expose() == b"x");
    assert_ne!(anew["spec"]["encryptedData"]["k"], manifest["spec"]["encryptedData"]["k"]);
}

#[test]
fn a_secret_that_was_sealed_in_one_is_its_values() {
    let (old, new) = (pair(1), pair(2));
    let scope = Scope::Secret("n".into(), "a".into());
    let manifest = |whole: &str| {
        let sealed = STANDARD.encode(seal(old.public(), &scope, whole.as_bytes()).unwrap());
        json!({"kind": KIND, "metadata": {"name": "a", "namespace": "n"}, "spec": {"data": sealed}})
    };
    let secret = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a","creationTimestamp":null},"data":{"k":"eA==","\u00e9":"/w=="}}"#;
    let first = manifest(secret);
    let nothing = [manifest(r#"{"kind":"Secret"}"#), manifest(r#"{"data":null}"#)];
    let broken = [manifest("canary"), manifest(r#"{"data":{"k":"canary%"}}"#)];
    let both = SealingKeys::new(vec![old, new]).unwrap();
    let unseal = |manifest: &Value| SealedSecret::new(manifest).unwrap().unseal(&both, "n");
    for manifest in [&first, &reseal(&first, &both).unwrap()] {
        let values = unseal(manifest).unwrap();
        let held: Vec<(&str, &[u8])> = values.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
        assert!(held == [("k", &b"x"[..]), ("\u{e9}", &[0xff])]);
        assert!(manifest["spec"].get("encryptedData").is_none());
    }
    assert!(nothing.iter().all(|one| unseal(one).unwrap().is_empty()));
    for one in &broken {
        let error = unseal(one).unwrap_err().to_string();
        assert_eq!(error, "spec.data: what was sealed is no Secret");
    }
}
