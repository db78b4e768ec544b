use keyferry_provider_core::ErrorKind;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::*;
use crate::object::Kind;

fn said(metadata: Value) -> Result<Said, Error> {
    Said::new(&Remote { key: "app".into(), property: None, metadata: Some(metadata) })
}

fn metadata(spec: Value) -> Value {
    json!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec})
}

fn parsed(body: Result<Option<SecretBytes>, Error>) -> Value {
    serde_json::from_slice(body.unwrap().unwrap().expose()).unwrap()
}

/// A secret as a vault has it.
fn there(value: &str, more: Value) -> Found {
    let mut body = json!({"value": value, "id": "https://v/secrets/a/1", "tags": {"managed-by": "external-secrets"}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Found::new(Kind::Secret, &body.to_string().as_str().into()).unwrap()
}

#[test]
fn what_a_push_says_is_read_whole_or_refused() {
    assert_eq!(Said::new(&Remote::default()), Ok(Said::default()));
    assert_eq!(said(Value::Null), Ok(Said::default()));
    let all = metadata(json!({"expirationDate": "2024-12-31T21:00:00+01:00", "contentType": "t", "tags": {"a": "b"}}));
    let read = said(all).unwrap();
    assert_eq!((read.expires, read.content_type.as_deref(), read.tags.len()), (Some(1_735_675_200), Some("t"), 1));
    assert_eq!(said(metadata(json!({"expirationDate": "", "contentType": ""}))), Ok(Said::default()));
    for (wrong, words) in [
        (json!("canary"), "must be an object"),
        (json!({"tags": {"canary": "x"}}), "apiVersion must be"),
        (metadata(json!({"colour": "canary"})), "no field \"colour\""),
        (metadata(json!({"tags": {"a": 1}})), "check the types"),
        (
            json!({"apiVersion": "v1", "kind": "PushSecretMetadata", "spec": {}}),
            "apiVersion must be kubernetes.external-secrets.io/v1alpha1",
        ),
        (metadata(json!({"expirationDate": "canary"})), "no time like"),
        (metadata(json!({"expirationDate": "2024-12-31"})), "no time like"),
        (metadata(json!({"tags": {"managed-by": "canary"}})), "managed-by"),
    ] {
        let error = said(wrong).unwrap_err();
        assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request));
        assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
    }
}

#[test]
fn a_secret_is_written_with_its_mark_and_only_where_something_differs() {
    let said = Said { expires: Some(7), content_type: Some("t".into()), tags: [("a".into(), "b".into())].into() };
    let body = parsed(secret(&"<v>\"".into(), &said, None));
    let tags = json!({"a": "b", "managed-by": "external-secrets"});
    let attributes = json!({"enabled": true, "exp": 7});
    assert_eq!(body, json!({"value": "<v>\"", "contentType": "t", "attributes": attributes, "tags": tags}));
    let none = Said::default();
    let is_same = |found: Found, said: &Said| secret(&"v".into(), said, Some(&found)).unwrap().is_none();
    assert!(is_same(there("v", json!({})), &none));
    assert!(is_same(there("v", json!({"contentType": "t"})), &none), "what nobody says stays");
    assert!(is_same(there("v", json!({"contentType": "t", "attributes": {"exp": 7}})), &said));
    assert!(!is_same(there("w", json!({})), &none));
    assert!(!is_same(there("v", json!({"attributes": {"exp": 8}})), &said), "another end");
    assert!(!is_same(there("v", json!({"attributes": {"exp": 8}})), &none), "no end any more");
    assert!(!is_same(there("v", json!({})), &said), "another type");
    assert!(!is_same(there("v", json!({"tags": {}})), &none), "without the mark");
    let kept = parsed(secret(&"new".into(), &none, Some(&there("v", json!({"contentType": "t"})))));
    assert_eq!(kept["contentType"], "t");
    let error = secret(&SecretBytes::new(vec![0xff]), &none, None).unwrap_err();
    assert!(error.message().contains("not text") && error.blame() == Blame::Request, "{error}");
}

#[test]
fn private_keys_become_jwks_and_are_known_by_their_public_half() {
    let (rsa, ec) = (KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), KeyPair::generate().unwrap());
    for (pair, kty, public) in [(&rsa, "RSA", &["n", "e"][..]), (&ec, "EC", &["crv", "x", "y"])] {
        let pem = SecretBytes::from(pair.serialize_pem().as_str());
        let body = parsed(key(&pem, &Said::default(), None));
        assert_eq!((&body["key"]["kty"], &body["tags"]["managed-by"]), (&json!(kty), &json!("external-secrets")));
        assert!(body["key"]["d"].is_string() && public.iter().all(|name| body["key"][name].is_string()), "{kty}");
        let mut shown = json!({"kid": "https://v/keys/k/1"});
        for name in public {
            shown[*name] = body["key"][name].clone();
        }
        let answer = json!({"key": shown, "tags": {"managed-by": "external-secrets"}}).to_string();
        let found = Found::new(Kind::Key, &answer.as_str().into()).unwrap();
        assert_eq!(key(&pem, &Said::default(), Some(&found)), Ok(None));
        let other = KeyPair::generate().unwrap().serialize_pem();
        assert!(key(&other.as_str().into(), &Said::default(), Some(&found)).unwrap().is_some());
        let mut foreign = found;
        foreign.tags.clear();
        assert!(key(&pem, &Said::default(), Some(&foreign)).unwrap().is_some());
    }
    assert_eq!(parsed(key(&"bytes".into(), &Said::default(), None))["key"], json!({"kty": "oct", "k": "Ynl0ZXM"}));
    let certificate = CertificateParams::default().self_signed(&ec).unwrap().pem();
    let endless = String::from_utf8(pem::text("RSA PRIVATE KEY", &vec![0x30; 1 << 20]).to_vec()).unwrap();
    assert!(key(&endless.as_str().into(), &Said::default(), None).unwrap_err().message().contains("too much work"));
    for wrong in [certificate.as_str(), "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n"] {
        let error = key(&wrong.into(), &Said::default(), None).unwrap_err();
        assert!(error.message().contains("no key to import") && !error.message().contains("canary"), "{error}");
    }
}

#[test]
fn a_certificate_goes_with_its_key_and_only_where_it_is_another() {
    let pair = KeyPair::generate().unwrap();
    let signed = CertificateParams::default().self_signed(&pair).unwrap();
    let pem = SecretBytes::from(format!("{}{}", pair.serialize_pem(), signed.pem()).as_str());
    let body = parsed(certificate(&pem, &Said::default(), None));
    assert_eq!(STANDARD.decode(body["value"].as_str().unwrap()).unwrap(), pem.expose());
    assert_eq!(body["policy"]["secret_props"]["contentType"], "application/x-pem-file");
    let answer = json!({
        "id": "https://v/certificates/c/1",
        "cer": STANDARD.encode(signed.der()),
        "tags": {"managed-by": "external-secrets"},
    });
    let found = Found::new(Kind::Certificate, &answer.to_string().as_str().into()).unwrap();
    assert_eq!(certificate(&pem, &Said::default(), Some(&found)), Ok(None));
    for (wrong, words) in
        [("canary", "malformed"), (signed.pem().as_str(), "no private key"), (&pair.serialize_pem(), "no certificate")]
    {
        let error = certificate(&wrong.into(), &Said::default(), None).unwrap_err();
        assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
    }
}
