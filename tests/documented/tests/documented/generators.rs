//! Generators: what `keyferry migrate eso` says that keyferry refuses is what it refuses, and no more.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyferry_doubles::Proxy;
use keyferry_migrate::refused::refusals;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{BuildContext, Caller, Error, ErrorKind, GeneratorRegistration};
use keyferry_stores::registry;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::login::Logins;

/// Generators of a kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    kind: String,
    /// One that is taken.
    taken: Map<String, Value>,
    /// What is over it.
    others: Vec<Map<String, Value>>,
}

/// What Secrets hold that must be of a form.
const SECRETS: [(&str, &str); 3] =
    [("mfa/seed", "JBSWY3DPEHPK3PXP"), ("github/pem", "(an RSA key)"), ("google/key.json", "(a Google key file)")];

/// Why a generator is refused for what it asks for, whatever its server might say; `None` where it is not.
async fn refused(registration: &'static GeneratorRegistration, spec: &Value) -> Option<Error> {
    let proxy = Proxy::start();
    let url = proxy.url();
    let proxies = Proxies::of(&move |name| matches!(name, "HTTP_PROXY" | "HTTPS_PROXY").then(|| url.clone()));
    let logins = Logins::new(&SECRETS.map(|(at, text)| (at.to_owned(), text.to_owned())).into());
    let mut ctx = BuildContext::new(Arc::new(logins), Arc::new(())).trusted();
    ctx.addresses = Addresses::anywhere().through(proxies.expect("a proxy"));
    ctx.caller =
        Caller { store_kind: registration.kind, store: "documented".into(), namespace: Some("apps".to_owned()) };
    let making = async { (registration.build)(spec, ctx)?.make(&()).await };
    making.await.err().filter(|error| matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_migrate_says_is_refused_is() {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let samples: Vec<Sample> = serde_saphyr::from_str(include_str!("../../generators.yaml")).expect("samples");
    let (mut kinds, mut told, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for Sample { kind, taken, others } in samples {
        let registration = registry::generator(&kind).expect("it is built");
        kinds.insert(registration.kind);
        for other in [Map::new()].into_iter().chain(others) {
            let is_taken = other.is_empty();
            let spec = Value::Object(taken.clone().into_iter().chain(other).collect());
            let (says, refused) = (refusals(&kind, &spec), refused(registration, &spec).await);
            if says.is_empty() != refused.is_none() || is_taken && refused.is_some() {
                wrong.push(format!("{kind} {spec}: migrate says {says:?}, and what is refused is {refused:?}"));
            }
            told.extend(says);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(kinds, registry::GENERATOR_KINDS.iter().copied().collect());
    // Whatever it may say, it said here.
    let source = include_str!("../../../../migrate/src/refused.rs");
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let phrases = lines.flat_map(|line| line.split('"').skip(1).step_by(2)).filter(|text| text.contains(' '));
    let silent: Vec<&str> = phrases.filter(|phrase| !told.contains(phrase)).collect();
    assert!(silent.is_empty(), "nothing here is refused for {silent:?}");
}
