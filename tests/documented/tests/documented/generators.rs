//! Generators: what `keyferry migrate eso` says that keyferry refuses is what it refuses, and no more.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyferry_doubles::Proxy;
use keyferry_migrate::refused::refusals;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{BuildContext, Caller, Error, ErrorKind};
use keyferry_stores::registry;
use serde_json::{Value, json};

use crate::login::Logins;

/// One of each kind that is taken, and what External Secrets Operator takes there besides.
fn samples() -> Vec<(&'static str, Value, Vec<Value>)> {
    let secret = || json!({"secretRef": {"name": "login", "key": "key"}});
    let keys = json!({"accessKeyIDSecretRef": {"name": "login", "key": "id"}, "secretAccessKeySecretRef": {"name": "login", "key": "key"}});
    let jwt = json!({"jwt": {"serviceAccountRef": {"name": "app"}}});
    let plain = |field: &str| json!({field: "http://server.example.com"});
    let principal =
        json!({"clientId": {"name": "login", "key": "id"}, "clientSecret": {"name": "login", "key": "key"}});
    vec![
        (
            "ACRAccessToken",
            json!({
                "registry": "example.azurecr.io", "tenantId": "t",
                "auth": {"servicePrincipal": {"secretRef": principal}},
            }),
            [
                json!({"registry": "http://registry.example.com"}),
                json!({"environmentType": ""}),
                json!({"scope": "repository:app:pull"}),
            ]
            .into_iter()
            .chain(
                ["PublicCloud", "USGovernmentCloud", "ChinaCloud", "GermanCloud", "AzureStackCloud"]
                    .map(|cloud| json!({"environmentType": cloud})),
            )
            .collect(),
        ),
        (
            "CloudsmithAccessToken",
            json!({"orgSlug": "o", "serviceSlug": "s", "serviceAccountRef": {"name": "app"}}),
            vec![json!({"apiUrl": "https://api.example.com"}), plain("apiUrl")],
        ),
        (
            "ECRAuthorizationToken",
            json!({"region": "eu-west-1", "auth": {"secretRef": keys}}),
            ["", "private", "public", "other"].map(|scope| json!({"scope": scope})).into(),
        ),
        ("Fake", json!({"data": {"a": "b"}}), vec![json!({"data": {}})]),
        (
            "GCRAccessToken",
            json!({"projectID": "p", "auth": {"secretRef": {"secretAccessKeySecretRef": {"name": "gcp", "key": "key"}}}}),
            vec![],
        ),
        (
            "GithubAccessToken",
            json!({"appID": "1", "installID": "2", "auth": {"privateKey": {"secretRef": {"name": "rsa", "key": "key"}}}}),
            vec![json!({"url": "https://github.example.com"}), plain("url")],
        ),
        (
            "GitlabDeployToken",
            json!({"projectID": "1", "name": "n", "scopes": ["read_registry"], "auth": {"token": secret()}}),
            vec![json!({"expiresAt": "2099-01-31T12:00:00Z"}), plain("url")],
        ),
        (
            "Grafana",
            json!({
                "url": "https://grafana.example.com", "auth": {"token": {"name": "login", "key": "key"}},
                "serviceAccount": {"name": "n", "role": "Viewer"},
            }),
            vec![plain("url"), json!({"url": "http://grafana.monitoring.svc:3000/grafana"})],
        ),
        (
            "MFA",
            json!({"secret": {"name": "seed", "key": "key"}}),
            [json!({"length": 0}), json!({"length": 10}), json!({"length": 11}), json!({"timePeriod": 60})]
                .into_iter()
                .chain(
                    ["", "sha1", "sha256", "sha384", "sha512", "sha512_256", "SHA1", "md5"]
                        .map(|name| json!({"algorithm": name})),
                )
                .collect(),
        ),
        (
            "Password",
            json!({"length": 24, "allowRepeat": true}),
            vec![
                json!({"length": -1}),
                json!({"length": 65_536}),
                json!({"length": 65_537}),
                json!({"secretKeys": ["a", "b"]}),
                json!({"secretKeys": ["a", "b", "a"]}),
                json!({"secretKeys": ["a", ""]}),
                json!({"secretKeys": [], "prefix": "x".repeat((1 << 20) - 24)}),
                json!({"secretKeys": [], "prefix": "x".repeat((1 << 20) - 23)}),
                json!({"secretKeys": ["a", "b"], "suffix": "x".repeat(1 << 19)}),
                json!({"encoding": "hex", "noUpper": true, "symbolCharacters": "-_"}),
            ],
        ),
        (
            "QuayAccessToken",
            json!({"robotAccount": "o+robot", "serviceAccountRef": {"name": "app"}}),
            vec![json!({"url": "quay.example.com"}), json!({"url": "https://quay.example.com"}), plain("url")],
        ),
        (
            "SSHKey",
            json!({"keyType": "ed25519"}),
            [json!({"comment": "me@example.com"}), json!({"comment": "two\nlines"})]
                .into_iter()
                .chain([2048, 3072, 4096].map(|size| json!({"keyType": "rsa", "keySize": size})))
                .chain([1024, 8192].map(|size| json!({"keyType": "", "keySize": size})))
                .chain([256, 384, 521, 1000].map(|size| json!({"keyType": "ecdsa", "keySize": size})))
                .collect(),
        ),
        (
            "STSSessionToken",
            json!({"region": "eu-west-1", "auth": {"secretRef": keys}}),
            vec![json!({"requestParameters": {"sessionDuration": 900}}), json!({"auth": jwt})],
        ),
        ("UUID", json!({}), vec![]),
        (
            "VaultDynamicSecret",
            json!({
                "path": "database/creds/app",
                "provider": {"server": "https://vault.example.com", "auth": {"tokenSecretRef": {"name": "login", "key": "key"}}},
            }),
            ["GET", "LIST", "POST", "PUT", "DELETE"]
                .map(|method| json!({"method": method, "parameters": {"a": 1}}))
                .into_iter()
                .chain(["Data", "Auth", "Raw"].map(|part| json!({"resultType": part})))
                .chain([json!({"retrySettings": {"maxRetries": 1, "retryInterval": "1s"}, "controller": ""})])
                .collect(),
        ),
        (
            "Webhook",
            json!({"url": "http://server.example.com", "result": {"jsonPath": "$"}}),
            vec![
                json!({"auth": {"ntlm": {"usernameSecret": secret(), "passwordSecret": secret()}}}),
                json!({"auth": null, "method": "PATCH", "timeout": "5s", "body": "{}"}),
            ],
        ),
    ]
}

/// Why a generator of this spec is refused for what it asks for, whatever its server might say; `None` where it is not.
async fn refused(kind: &'static str, spec: &Value) -> Option<Error> {
    let registration = registry::generator(kind).expect("it is built");
    let (proxy, logins) = (
        Proxy::start(),
        [("seed/key", "JBSWY3DPEHPK3PXP"), ("rsa/key", "(an RSA key)"), ("gcp/key", "(a Google key file)")],
    );
    let url = proxy.url();
    let proxies = Proxies::of(&move |name| matches!(name, "HTTP_PROXY" | "HTTPS_PROXY").then(|| url.clone()));
    let logins = Logins::new(&logins.map(|(at, text)| (at.to_owned(), text.to_owned())).into());
    let mut ctx = BuildContext::new(Arc::new(logins), Arc::new(())).trusted();
    ctx.addresses = Addresses::anywhere().through(proxies.expect("a proxy"));
    ctx.caller = Caller { store_kind: kind, store: "documented".into(), namespace: Some("apps".to_owned()) };
    let making = async { (registration.build)(spec, ctx)?.make(&()).await };
    making.await.err().filter(|error| matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_migrate_says_is_refused_is() {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (mut kinds, mut told, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (kind, taken, others) in samples() {
        kinds.insert(kind);
        let asked = others.iter().map(|other| {
            let mut spec = taken.clone();
            let fields = other.as_object().expect("fields").clone();
            spec.as_object_mut().expect("a spec").extend(fields);
            spec
        });
        for spec in [taken.clone()].into_iter().chain(asked) {
            let (says, refused) = (refusals(kind, &spec), refused(kind, &spec).await);
            if says.is_empty() != refused.is_none() || spec == taken && refused.is_some() {
                let spec: String = spec.to_string().chars().take(200).collect();
                wrong.push(format!("{kind} {spec}: migrate says {says:?}, and it is refused: {refused:?}"));
            }
            told.extend(says);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(kinds, registry::GENERATOR_KINDS.iter().copied().collect());
    // Whatever it may say, it said here.
    let source = include_str!("../../../../migrate/src/refused.rs");
    let arms = source.split("#[cfg(test)]").next().unwrap_or_default();
    let said = arms.lines().filter(|line| !line.trim_start().starts_with("//") && line.contains('"'));
    let phrases = said.flat_map(|line| line.split('"').skip(1).step_by(2)).filter(|text| text.contains(' '));
    let silent: Vec<&str> = phrases.filter(|phrase| !told.contains(phrase)).collect();
    assert!(silent.is_empty(), "nothing here is refused for {silent:?}");
}
