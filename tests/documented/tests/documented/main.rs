//! Every store of External Secrets Operator's, with every field and every login that its documentation has (`../../stores`):
//! its manifest is taken, and the store either asks the server that the manifest leads to, through a proxy that writes that
//! down and lets nobody pass, or tells what works in its place. What it is answered there is for the suites of stores.
//!
//! Modules, in reading order: [`entry`] what is documented, [`login`] what stores log in with here, [`fields`] whether anything
//! is left out, [`generators`] what of generators is refused.

mod entry;
mod login;
mod fields;
mod generators;

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Parser;
use keyferry::verbs::manifests::read;
use keyferry::verbs::validate::{Validate, finding::Severity, judge};
use keyferry_doubles::Proxy;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{BuildContext, Caller, Error, ErrorKind, Key};
use keyferry_stores::registry;
use serde_json::{Value, json};

use crate::entry::{Entry, Outcome};
use crate::login::Logins;

/// Stores of our own, which nobody else documents.
const OURS: [&str; 4] = ["age", "sealed", "sealedsecrets", "sops"];

/// The verb as a command of its own, for its flags.
#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    args: Validate,
}

/// What `keyferry validate` has against a manifest, but for what it warns of.
fn against(kind: &str, provider: &Value) -> Vec<String> {
    let args = Alone::parse_from(["validate", "-f", "-"]).args;
    let manifest = json!({
        "apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": {"name": "documented"}, "spec": {"provider": provider},
    });
    let manifests = read::read_closed(&args.filename, false, &mut manifest.to_string().as_bytes());
    let (count, found) = judge(&args, &manifests);
    assert_eq!(count, 1, "{manifest}");
    let errors = found.into_iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| format!("{}: {}", finding.path, finding.message)).collect()
}

#[test]
fn every_manifest_is_taken() {
    let mut refused = Vec::new();
    for entry in entry::all() {
        for kind in ["SecretStore", "ClusterSecretStore"] {
            refused.extend(against(kind, &entry.provider).into_iter().map(|why| format!("{entry}, {kind}: {why}")));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn no_store_and_no_field_is_left_out() {
    let entries = entry::all();
    let documented: BTreeSet<&str> = entries.iter().map(Entry::store).collect();
    let known: BTreeSet<&str> = keyferry_crds::provider_keys().into_iter().filter(|key| !OURS.contains(key)).collect();
    assert_eq!(documented, known);
    let missing: Vec<String> = known.iter().flat_map(|key| fields::missing(key, &entries)).collect();
    assert!(missing.is_empty(), "no manifest has these fields:\n{}", missing.join("\n"));
}

/// Builds a store as the operator does for a ClusterSecretStore that is used in the namespace `apps`, has it checked, and
/// reads from it where that can be.
async fn check(entry: &Entry, proxy: &Proxy) -> Result<(), Error> {
    let registration = registry::find(entry.store()).map_err(|told| Error::new(ErrorKind::Unsupported, told))?;
    let url = proxy.url();
    let proxies = Proxies::of(&move |name| matches!(name, "HTTP_PROXY" | "HTTPS_PROXY").then(|| url.clone()));
    let env = entry.env.clone();
    let mut ctx = BuildContext::new(Arc::new(Logins::new(&entry.secrets)), Arc::new(())).trusted();
    ctx.addresses = Addresses::anywhere().through(proxies.expect("a proxy"));
    ctx.environment = Arc::new(move |name| env.get(name).cloned());
    ctx.caller =
        Caller { store_kind: "ClusterSecretStore", store: "documented".into(), namespace: Some("apps".to_owned()) };
    let store = (registration.build)(&entry.spec(), ctx).await?;
    store.validate().await?;
    let key = Key { name: "app".to_owned(), version: None, metadata: false };
    let read = if store.capabilities().max_batch > 0 { store.fetch(&[key]).await? } else { Vec::new() };
    read.into_iter().try_for_each(|answer| answer.map(drop))
}

/// Why an entry does not come to what it says; none where it does.
async fn wrong(entry: &Entry) -> Option<String> {
    let proxy = Proxy::start();
    let checked = check(entry, &proxy).await;
    let asked: Vec<String> = proxy.take().into_iter().map(|passage| passage.target).collect();
    let told = checked.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let comes = match entry.outcome() {
        Outcome::Asks(server) => asked.first().is_some_and(|first| first == server) && told.contains("the proxy "),
        Outcome::Told(words) => asked.is_empty() && told.contains(words),
        Outcome::Ready => asked.is_empty() && checked.is_ok(),
    };
    (!comes).then(|| format!("{entry}: asked {asked:?}, told {told:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_asks_its_server_or_tells_what_works() {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut all = Vec::new();
    for entry in entry::all() {
        all.extend(wrong(&entry).await);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}
