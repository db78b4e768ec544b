//! `keyferry diff`: which keys of a target a refresh would add, remove and change. Asks the stores as whoever runs it; shows no
//! value, and nothing that is made of one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use k8s_openapi::api::core::v1::Secret;
use keyferry_cluster::client::{LiveSecret, Turns};
use keyferry_cluster::connection::Connection;
use keyferry_cluster::leader::Lead;
use keyferry_cluster::objects::ClusterObjects;
use keyferry_cluster::problem::timely;
use keyferry_cluster::target::desired::desired;
use keyferry_cluster::target::ownership::Desired;
use keyferry_crds::ExternalSecret;
use keyferry_provider_core::SecretBytes;
use keyferry_sync::compute::Here;
use keyferry_sync::data::StringMap;
use keyferry_sync::hash;
use keyferry_sync::plan::{Facts, Plan, decide};
use keyferry_sync::ports::Ports;
use keyferry_sync::request::Request;
use keyferry_sync::resolve::{Asker, resolve};
use keyferry_sync::settings::{Adopt, Settings};
use keyferry_sync::store::{KnownStores, Readiness};
use kube::Client;
use kube::api::Api;
use serde::Serialize;

use super::gather;
use super::hint::did_you_mean;
use super::manifests::folder::{Nowhere, UNRECORDED};
use super::manifests::{Pipeline, proxies, stores};
use super::status::Format;
use super::table::{json, note, plain};

/// Flags of `keyferry diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// An ExternalSecret
    pub name: String,
    /// The way to the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// Its namespace; without it that of the kubeconfig's context
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// How to print
    #[arg(long, short, default_value = "text", value_enum)]
    pub output: Format,
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: Pipeline,
}

/// Something failed, rather than differs.
const FAILED: u8 = 2;

/// What a refresh would do to the keys of a target.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What would be done to the target: created, updated, unchanged, or nothing where there is none to merge into.
    pub target: &'static str,
    /// Keys that it would have besides.
    pub added: BTreeSet<String>,
    /// Keys that it would lose.
    pub removed: BTreeSet<String>,
    /// Keys that would have another value.
    pub changed: BTreeSet<String>,
    /// How many would stay as they are.
    pub unchanged: usize,
    /// How many would be added whose names a template makes of values: they are not told.
    pub untold: usize,
}

impl Change {
    fn is_any(&self) -> bool {
        self.target == "created"
            || self.untold > 0
            || [&self.added, &self.removed, &self.changed].iter().any(|keys| !keys.is_empty())
    }
}

/// Compares and prints. Exits with 0 where nothing would change, with 1 where something would, and with 2 where that can't be told.
pub async fn run(args: &Diff, out: &mut dyn Write, err: &mut dyn Write) -> Result<ExitCode, String> {
    match compared(args, err).await {
        Ok((title, change)) => {
            let text = match args.output {
                Format::Text => told(&title, &change),
                Format::Json => json(&change, true)?,
            };
            out.write_all(text.as_bytes()).map_err(|_| "can't write to standard output".to_owned())?;
            Ok(if change.is_any() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Err(why) => {
            let _ = writeln!(err, "keyferry: {}", plain(&why));
            Ok(ExitCode::from(FAILED))
        }
    }
}

async fn compared(args: &Diff, err: &mut dyn Write) -> Result<(String, Change), String> {
    let client = args.connection.client().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let mut notes = Vec::new();
    let snapshot = gather::snapshot(&client, Some(&namespace), &mut notes).await?;
    note(&notes, err);
    let all = || snapshot.external_secrets.iter().flatten();
    let named = |es: &&ExternalSecret| es.metadata.name.as_deref() == Some(args.name.as_str());
    let es = all().find(named).ok_or_else(|| {
        let hint = did_you_mean(&args.name, all().filter_map(|es| es.metadata.name.as_deref()));
        format!("there is no ExternalSecret {:?} in namespace {namespace:?}{hint}", args.name)
    })?;
    if es.target_manifest().is_some() {
        return Err("its target is no Secret: `keyferry render` shows what it comes to".to_owned());
    }
    let existing = read(&client, &namespace, es.target_name()).await?;
    let mut known = snapshot.known_stores();
    // Whoever asks finds out by themselves whether a store lets them in.
    known.values_mut().for_each(|(_, readiness)| *readiness = Readiness::Ready);
    let namespaces = gather::namespaces(&client).await;
    // The operator fetches nothing of stores that pods log in to.
    let (ports, settings) = (ports(&client)?, Settings { mounts: false, ..args.pipeline.settings() });
    let now = (settings.now)();
    let requests = requests(es, &known, namespaces.get(&namespace), &ports, &settings)?;
    let asker = Asker {
        ports: &ports,
        settings: &settings,
        es,
        workload: None,
        now,
        is_asked_for: true,
        budget: Arc::default(),
    };
    let resolved = resolve(&asker, &requests).await.map_err(|failure| failure.to_string())?;
    let (resolved, content) = resolved.ok_or_else(|| "its generator is of another controller class".to_owned())?;
    let wanted = desired(es, &content, existing.as_ref(), Adopt::Any).map_err(|failure| failure.to_string())?;
    let open: BTreeSet<&str> = resolved
        .data
        .keys()
        .chain(es.spec.target.template.iter().flat_map(|template| template.data.keys()))
        .map(String::as_str)
        .collect();
    let title = format!("ExternalSecret {namespace}/{} -> Secret {namespace}/{}", args.name, es.target_name());
    Ok((title, change(existing.as_ref(), &wanted, &open)))
}

/// What is to be fetched, by the operator's own plan for one that is new.
fn requests(
    es: &ExternalSecret,
    stores: &KnownStores,
    namespace_labels: Option<&StringMap>,
    ports: &Ports,
    settings: &Settings,
) -> Result<Vec<Request>, String> {
    let version = hash::version_of(es);
    let plan = decide(&Facts::of_new(es, &version, settings, ports.stores.generators(), stores, namespace_labels));
    match plan {
        Plan::Fetch(requests) => Ok(requests),
        Plan::Refuse(failure) => Err(failure.to_string()),
        Plan::Ignore => Err("it is of another controller class: give --controller-class".to_owned()),
        Plan::Hold => Err("a store asks for the labels of the namespace, which you may not read".to_owned()),
        _ => Err("it is being deleted".to_owned()),
    }
}

async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<LiveSecret>, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = timely(api.get_opt(name)).await;
    found
        .map(|found| found.map(LiveSecret::new))
        .map_err(|problem| format!("can't read the target: {}", problem.for_person()))
}

fn ports(client: &Client) -> Result<Ports, String> {
    let turns = Turns::new(8, Lead::always());
    let objects = Arc::new(ClusterObjects::new(client.clone(), turns, PathBuf::new()));
    Ok(Ports {
        stores: stores(objects.clone(), objects.clone(), None, None, proxies()?),
        objects,
        journal: Arc::new(Nowhere),
        compute: Arc::new(Here),
        states: Arc::new(UNRECORDED),
        audit: Arc::new(()),
    })
}

fn values(secret: &LiveSecret) -> BTreeMap<String, SecretBytes> {
    secret.data().map(|(key, value)| (key.to_owned(), SecretBytes::new(value.to_vec()))).collect()
}

/// What would become of the keys. Names that nobody has seen yet are told where they are in `open`.
fn change(existing: Option<&LiveSecret>, wanted: &Desired<LiveSecret>, open: &BTreeSet<&str>) -> Change {
    let before = existing.map(values).unwrap_or_default();
    let (target, after) = match wanted {
        Desired::Create(object) => ("created", values(object)),
        Desired::Update { object, .. } => ("updated", values(object)),
        Desired::Keep => ("unchanged", existing.map(values).unwrap_or_default()),
        Desired::Missing => return Change { target: "nothing", ..Change::default() },
    };
    let mut change = Change { target, ..Change::default() };
    for (key, value) in &after {
        match before.get(key) {
            Some(old) if old.expose() == value.expose() => change.unchanged += 1,
            Some(_) => _ = change.changed.insert(key.clone()),
            None if open.contains(key.as_str()) => _ = change.added.insert(key.clone()),
            None => change.untold += 1,
        }
    }
    change.removed = before.into_keys().filter(|key| !after.contains_key(key)).collect();
    change
}

fn told(title: &str, change: &Change) -> String {
    let mut text = format!(
        "{title}: {}\n",
        match change.target {
            "created" => "it would be created",
            "updated" => "it would be updated",
            "nothing" => "there is nothing to merge into",
            _ => "nothing would change",
        }
    );
    for (mark, keys) in [("+", &change.added), ("-", &change.removed), ("~", &change.changed)] {
        keys.iter().for_each(|key| text += &format!("  {mark} {}\n", plain(key)));
    }
    if change.untold > 0 {
        text += &format!("  + {} keys whose names a template makes of values\n", change.untold);
    }
    text + &format!("  {} keys unchanged\n", change.unchanged)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(data: &[(&str, &str)]) -> LiveSecret {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        LiveSecret::new(Secret { data: Some(data.collect()), ..Secret::default() })
    }

    #[test]
    fn keys_are_told_and_values_are_not() {
        let before = secret(&[("same", "canary-1"), ("gone", "canary-2"), ("other", "canary-3")]);
        let after = secret(&[("same", "canary-1"), ("other", "canary-4"), ("new", "canary-5"), ("canary-6", "x")]);
        let wanted = Desired::Update { object: after, adopted: None };
        let change = change(Some(&before), &wanted, &["new"].into());
        let text = told("t", &change);
        assert_eq!(
            text,
            "t: it would be updated\n  + new\n  - gone\n  ~ other\n  + 1 keys whose names a template makes of values\n  1 keys unchanged\n"
        );
        assert!(change.is_any() && !serde_json::to_string(&change).unwrap().contains("canary"));
    }

    #[test]
    fn a_key_is_told_on_its_own_line() {
        let change = change(Some(&secret(&[("a\u{1b}[2J\nb", "v")])), &Desired::Create(secret(&[])), &BTreeSet::new());
        assert!(told("t", &change).contains("\n  - a\\u{1b}[2J\\nb\n"));
    }

    #[test]
    fn what_stays_is_no_change_and_what_is_not_there_is_one() {
        let there = secret(&[("a", "v")]);
        assert!(!change(Some(&there), &Desired::Keep, &BTreeSet::new()).is_any());
        assert!(change(None, &Desired::Create(secret(&[])), &BTreeSet::new()).is_any());
        assert!(!change(None, &Desired::Missing, &BTreeSet::new()).is_any());
    }
}
