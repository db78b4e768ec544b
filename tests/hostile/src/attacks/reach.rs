//! Reach: what belongs to others, or to the operator itself.

use serde_json::{Value, json};

use crate::attack::{Attack, Scene, entry, many, with};
use crate::{attacker, honest};

/// Words of the API server's schema, and of ours, for what is no name.
const NO_NAME: &[&str] = &[
    "should match",
    "Unsupported value",
    "Invalid value",
    "is not a name",
    "no name",
    "not a valid",
    "apiVersion",
    "is no ",
];

/// What belongs to others.
pub const ATTACKS: &[Attack] = &[
    Attack::new("generator-path", "a generatorRef whose apiVersion goes on with a path into another namespace", |s| {
        let theirs = format!("generators.external-secrets.io/v1alpha1/namespaces/{}/fakes", honest::NAMESPACE);
        let versions = [
            format!("{theirs}/generator?x="),
            format!("{theirs}/generator#"),
            format!("{theirs}/generator%3f"),
            "generators.external-secrets.io/../../api/v1".to_owned(),
            "generators.external-secrets.io/v1alpha1/".to_owned(),
            "generators.external-secrets.io/".to_owned(),
        ];
        with([s.fake("v")], versions.iter().enumerate().map(|(n, version)| generated(s, n, version, "Fake", "x")))
    })
    .each(NO_NAME),
    Attack::new("generator-name", "names of generators that are paths", |s| {
        let names = [
            format!("../../{}/fakes/generator", honest::NAMESPACE),
            format!("..%2f..%2f{}%2ffakes%2fgenerator", honest::NAMESPACE),
            "../..".to_owned(),
            "x?y".to_owned(),
            "x#y".to_owned(),
            "x\ny".to_owned(),
        ];
        let version = "generators.external-secrets.io/v1alpha1";
        with([s.fake("v")], names.iter().enumerate().map(|(n, name)| generated(s, n, version, "Fake", name)))
    })
    .each(NO_NAME),
    Attack::new("generator-kind", "kinds of generators that are no kinds", |s| {
        let version = "generators.external-secrets.io/v1alpha1";
        let kinds = ["", "é", "€€", "Fake/../x", "Secret", "fakes", "\u{1f600}"];
        with([s.fake("v")], kinds.iter().enumerate().map(|(n, kind)| generated(s, n, version, kind, "x")))
    })
    .seconds(6),
    Attack::new("names-of-sources", "names of ConfigMaps, Secrets, stores and targets that are paths", |s| {
        let away = format!("../../{}/secrets/login", honest::NAMESPACE);
        let from = |kind: &str| {
            let source = json!({"name": away, "items": [{"key": "token"}]});
            json!({"target": {"template": {"templateFrom": [{ (kind): source }]}}})
        };
        vec![
            s.fake("v"),
            s.es(0, from("configMap")),
            s.es(1, from("secret")),
            s.es(2, json!({"secretStoreRef": {"name": away}})),
            s.es(3, json!({"target": {"name": away}})),
        ]
    })
    .each(NO_NAME),
    Attack::new("credentials-of-others", "a store that logs in with a Secret of another namespace", |s| {
        let theirs = json!({"name": "login", "namespace": honest::NAMESPACE, "key": "token"});
        let mut vault = s.vault_provider(&s.server.url("good"));
        vault["vault"]["auth"] = json!({ "tokenSecretRef": theirs });
        let mut role = s.vault_provider(&s.server.url("good"));
        role["vault"]["auth"] = json!({"appRole": {"path": "approle", "roleId": "r", "secretRef": theirs}});
        let mut account = s.vault_provider(&s.server.url("good"));
        let theirs = json!({"name": "default", "namespace": honest::NAMESPACE});
        account["vault"]["auth"] = json!({"kubernetes": {"mountPath": "k", "role": "r", "serviceAccountRef": theirs}});
        stores(s, &[vault, role, account])
    })
    .each(&["namespace", "Invalid value", "could not get", "not found", "no Secret", "is not ready"]),
    Attack::new("token-of-the-operator", "a store that wants the operator's own token", |s| {
        let mut vault = s.vault_provider(&s.server.url("good"));
        vault["vault"]["auth"] = json!({"kubernetes": {"mountPath": "kubernetes", "role": "r"}});
        stores(s, &[vault])
    })
    .each(&["operator's own", "--controller-token", "controller"]),
    Attack::new("token-of-the-store", "keys of KV version 1 that lead to a Vault's own paths", |s| {
        let mut vault = s.vault_provider(&s.server.url("good"));
        vault["vault"]["version"] = json!("v1");
        vault["vault"]["path"] = Value::Null;
        let keys = [
            "auth/token/lookup-self",
            "sys/mounts",
            "identity/entity/id",
            "cubbyhole/x",
            "AUTH/../auth/token/lookup-self",
        ];
        let secrets = keys.iter().enumerate().map(|(n, key)| s.es(n, json!({"data": [entry("k", key)]})));
        with([s.token(), s.store(vault)], secrets)
    })
    .each(&["auth", "sys", "identity", "cubbyhole", "holds \"..\"", "no KV"]),
    Attack::new("forbidden-types", "targets of types that are the cluster's own", |s| {
        let types = ["helm.sh/release.v1", "kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];
        let secrets = types.iter().enumerate().map(|(n, kind)| {
            let metadata = json!({"annotations": {"kubernetes.io/service-account.name": attacker::NAMESPACE}});
            s.es(n, json!({"target": {"template": {"type": kind, "metadata": metadata, "data": {"v": "x"}}}}))
        });
        with([s.fake("helm.sh/release.v1")], secrets)
    })
    .each(&["type", "release of Helm", "ServiceAccount", "join the cluster", "Invalid value", "bootstrap"]),
    Attack::new("forbidden-targets", "a release of Helm as a target by its name", |s| {
        let mut release = s.object("v1", "Secret", "release", json!({"stringData": {"release": "x"}}));
        release["type"] = json!("helm.sh/release.v1");
        vec![s.fake("v"), release, s.es(0, json!({"target": {"name": s.name("release"), "creationPolicy": "Merge"}}))]
    })
    .each(&["Helm"]),
    Attack::new("odd-bytes", "zeros and broken text in values, keys and names", |s| {
        let value = json!({"a\u{0}b": "c\u{0}d", "ü/..": "\u{fffe}", "": "x", "..": "y", ".": "z"}).to_string();
        vec![
            s.fake(&value),
            s.es(0, json!({"dataFrom": [{"extract": {"key": "k"}}]})),
            s.es(1, json!({"dataFrom": [{"extract": {"key": "k", "conversionStrategy": "Unicode"}}]})),
            s.es(2, json!({"data": [{"secretKey": "a\u{0}b", "remoteRef": {"key": "k"}}]})),
            s.es(3, json!({"data": [{"secretKey": "k", "remoteRef": {"key": "a\u{0}\n\u{202e}b"}}]})),
            s.es(4, json!({"data": [{"secretKey": "k", "remoteRef": {"key": "k", "decodingStrategy": "Base64"}}]})),
            s.templates(5, json!({"\u{0}": "x", "a/b": "{{ .k }}"})),
        ]
    })
    .seconds(6),
];

fn generated(s: &Scene, part: usize, api_version: &str, kind: &str, name: &str) -> Value {
    let generator = json!({"apiVersion": api_version, "kind": kind, "name": name});
    s.es(part, json!({"dataFrom": [{"sourceRef": {"generatorRef": generator}}]}))
}

/// Stores with these providers, and an ExternalSecret of each.
fn stores(s: &Scene, providers: &[Value]) -> Vec<Value> {
    let stores = providers.iter().enumerate().map(|(n, provider)| s.store_named(format!("s{n}"), provider.clone()));
    let secrets = many(providers.len(), |n| {
        s.es(n, json!({"secretStoreRef": {"name": s.name(format!("s{n}"))}, "data": [entry("k", "k")]}))
    });
    with([s.token()], stores.chain(secrets))
}
