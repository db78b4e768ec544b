//! What specs come to.

use keyferry_provider_core::ErrorKind;
use serde_json::{Value, json};

use super::*;

const CANARY: &str = "canary-51d2";

fn spec(more: Value) -> Value {
    let mut spec = json!({"server": "https://vault:8200", "auth": {"tokenSecretRef": {"name": "t", "key": "k"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn refusal(more: Value) -> Error {
    let error = Config::new(Product::Vault, &spec(more)).unwrap_err();
    assert!(!error.message().contains(CANARY), "{error}");
    error
}

#[test]
fn defaults() {
    let config = Config::new(Product::Vault, &spec(json!({}))).unwrap();
    assert_eq!((config.layout.version, &config.layout.mount), (KvVersion::V2, &None));
    assert!(config.namespace.is_none() && config.auth_namespace.is_none());
    assert!(config.ca == Ca::System && config.identity.is_none() && config.headers.is_empty());
    assert!(!config.read_your_writes);
    assert!(matches!(config.method, Method::Token(_)));
}

#[test]
fn nulls_are_absent() {
    let nulls = json!({"path": null, "version": null, "namespace": null, "caBundle": null, "caProvider": null,
        "tls": {"certSecretRef": null, "keySecretRef": null}, "headers": null, "readYourWrites": null,
        "forwardInconsistent": null, "checkAndSet": null,
        "auth": {"namespace": null, "tokenSecretRef": {"name": "t", "key": null, "namespace": null},
            "appRole": null, "kubernetes": null, "ldap": null}});
    assert!(matches!(Config::new(Product::Vault, &spec(nulls)).unwrap().method, Method::Token(_)));
    assert!(matches!(Config::new(Product::Vault, &spec(json!({"auth": null}))).unwrap().method, Method::None));
}

#[test]
fn servers() {
    for good in ["http://127.0.0.1:8200", "https://vault.example.com", " https://[::1]:8200/prefix/ "] {
        Config::new(Product::Vault, &spec(json!({"server": good}))).unwrap();
    }
    let user = format!("https://{CANARY}:{CANARY}@vault:8200");
    let query = format!("https://vault:8200?token={CANARY}");
    for bad in ["", "vault:8200", "unix:///run/vault.sock", "ftp://vault", "file:///etc", "https://", &user, &query] {
        let error = refusal(json!({"server": bad}));
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("spec.provider.vault.server"), "{error}");
    }
}

#[test]
fn fields_that_make_no_sense_are_named() {
    let canary = json!([CANARY]);
    for (more, field) in [
        (json!({"server": canary}), "spec.provider.vault "),
        (json!({"version": "v3"}), "version"),
        (json!({"path": "a/../b"}), "spec.provider.vault.path"),
        (json!({"path": "//"}), "spec.provider.vault.path"),
        (json!({"namespace": format!("{CANARY}\r\nX-Evil: 1")}), "spec.provider.vault.namespace"),
        (json!({"auth": {"namespace": "a\0", "tokenSecretRef": {}}}), "spec.provider.vault.auth.namespace"),
        (json!({"caBundle": CANARY}), "caBundle"),
        (json!({"tls": {"certSecretRef": {"name": "a"}}}), "keySecretRef"),
        (json!({"headers": {"a b": "c"}}), "headers[\"a b\"]"),
        (json!({"headers": {"x": format!("{CANARY}\n")}}), "headers[\"x\"]"),
        (json!({"headers": {"x": null}}), "headers[\"x\"]"),
        (json!({"headers": {"x": {"value": "a", "secretKeyRef": {"name": "b"}}}}), "headers[\"x\"]"),
        (json!({"headers": {"Content-Length": "1"}}), "headers[\"Content-Length\"]"),
    ] {
        let error = refusal(more);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(field), "{error}");
    }
}

#[test]
fn consistency_headers() {
    for (read, forward, header, index) in
        [(false, false, false, false), (true, false, false, true), (false, true, false, true), (true, true, true, true)]
    {
        let more = json!({"readYourWrites": read, "forwardInconsistent": forward});
        let config = Config::new(Product::Vault, &spec(more)).unwrap();
        assert_eq!(config.headers.iter().any(|(name, _)| name == "x-vault-inconsistent"), header);
        assert_eq!(config.read_your_writes, index);
    }
}

#[test]
fn namespaces() {
    let auth = json!({"namespace": "parent", "tokenSecretRef": {}});
    let config = Config::new(Product::Vault, &spec(json!({"namespace": "parent/child", "auth": auth}))).unwrap();
    assert_eq!(config.namespace.unwrap(), "parent/child");
    assert_eq!(config.auth_namespace.unwrap(), "parent");
    let config = Config::new(Product::Vault, &spec(json!({"namespace": "n"}))).unwrap();
    assert_eq!(config.auth_namespace.unwrap(), "n");
}
#[test]
fn under_its_own_key_open_bao_has_a_mount_and_is_named_in_messages() {
    let config = Config::new(Product::OpenBao, &spec(json!({}))).unwrap();
    assert_eq!(config.layout.mount, Some(Mount { path: "kv".to_owned(), keys_may_repeat_it: false }));
    let config = Config::new(Product::OpenBao, &spec(json!({"path": "team/kv"}))).unwrap();
    assert_eq!(config.layout.mount.unwrap().path, "team/kv");
    for (more, field) in [
        (json!({"server": "vault"}), "spec.provider.openBao.server"),
        (json!({"version": "v3"}), "spec.provider.openBao.version"),
        (json!({"path": "/"}), "spec.provider.openBao.path"),
        (json!({"server": []}), "spec.provider.openBao does not have the form of a store of OpenBao"),
        (json!({"auth": {}}), "spec.provider.openBao.auth sets no login method"),
    ] {
        let error = Config::new(Product::OpenBao, &spec(more)).unwrap_err();
        assert!(error.message().contains(field), "{error}");
    }
}

#[test]
fn a_login_by_certificate_shows_its_own_over_tls() {
    let cert = |name: &str| json!({"name": name, "key": "k"});
    let auth = json!({"cert": {"clientCert": cert("c"), "secretRef": cert("k")}});
    let tls = json!({"certSecretRef": cert("other"), "keySecretRef": cert("other")});
    let config = Config::new(Product::Vault, &spec(json!({"auth": auth, "tls": tls}))).unwrap();
    let (cert, key) = config.identity.unwrap();
    assert_eq!((cert.name.as_deref(), key.name.as_deref()), (Some("c"), Some("k")));
    let error = refusal(json!({"auth": auth, "server": "http://vault:8200"}));
    assert!(error.message().contains("must begin with https://"), "{error}");
}
