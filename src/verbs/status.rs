//! `keyferry status`: how the ExternalSecrets, PushSecrets and stores of a cluster stand.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures::stream::{BoxStream, StreamExt as _, select_all};
use jiff::Timestamp;
use keyferry_cluster::connection::Connection;
use keyferry_crds::{ClusterSecretStore, ExternalSecret, PushSecret, SecretStore};
use keyferry_sync::store::Store;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};

use super::gather::{self, MetricsFrom};
use super::table::{coloured, has_colours, lines};
use crate::clock;
use crate::report::standing::{self, Standing, ahead, span};
use crate::report::tries::Tries;

/// Flags of `keyferry status`.
#[derive(Args, Debug)]
pub struct Status {
    /// The way to the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// Look at this namespace only
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Look at all namespaces, which is done without --namespace, too
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Show those that are not ready only
    #[arg(long)]
    pub failed: bool,
    /// Stay, and print what changes
    #[arg(long, short)]
    pub watch: bool,
    /// Where tries are known.
    #[command(flatten)]
    pub metrics: MetricsFrom,
    /// How to print
    #[arg(long, short, default_value = "text", value_enum)]
    pub output: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person.
    Text,
    /// As JSON; what changes is an object on each line.
    Json,
}

/// Metrics are read anew for what changed, but not more often than this.
const METRICS_AGE: Duration = Duration::from_secs(1);

/// Reads and prints; the error is for a person.
pub async fn run(args: &Status, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), String> {
    let client = args.connection.client().await?;
    if args.watch {
        return watch(args, &client, out).await;
    }
    let mut notes = Vec::new();
    let mut snapshot = gather::snapshot(&client, args.namespace.as_deref(), &mut notes).await?;
    snapshot.tries = args.metrics.tries(&client, &mut notes).await?;
    let now = clock::now();
    let mut all = standing::all(&snapshot, now);
    let summary = summary(&all);
    all.retain(|of| !args.failed || of.status != "Ready");
    let text = match args.output {
        Format::Text => table(&all, snapshot.tries.is_some(), now, has_colours()) + &summary,
        Format::Json => serde_json::to_string_pretty(&all).map_err(|_| "can't write JSON".to_owned())? + "\n",
    };
    out.write_all(text.as_bytes()).map_err(|_| "can't write to standard output".to_owned())?;
    // Where nothing failed nobody misses tries.
    let wants_tries = all.iter().any(|of| of.status == "Failed");
    let is_missed = |note: &&String| wants_tries || !note.starts_with("tries");
    notes.iter().filter(is_missed).for_each(|note| _ = writeln!(err, "note: {note}"));
    Ok(())
}

/// What is on the table of one object.
fn row(of: &Standing, knows_tries: bool, now: Timestamp) -> Vec<String> {
    let is_failed = of.status == "Failed";
    let tries = match (is_failed && of.kind == "ExternalSecret", knows_tries) {
        (false, _) => String::new(),
        (true, false) => "?".to_owned(),
        (true, true) => of.tries.map_or_else(|| "?".to_owned(), |tries| tries.to_string()),
    };
    let next = match (is_failed, of.kind, of.next_try, of.next_sync) {
        (true, "ExternalSecret", None, _) if knows_tries => "when it changes".to_owned(),
        (true, "ExternalSecret", None, _) => "?".to_owned(),
        (_, _, Some(next), _) | (_, _, None, Some(next)) => ahead(next, now),
        (_, _, None, None) => String::new(),
    };
    let has_syncs = of.kind == "ExternalSecret" || of.kind == "PushSecret";
    let never = if has_syncs { "never" } else { "" };
    let last = of.last_sync.map_or_else(|| never.to_owned(), |last| span(now.duration_since(last)) + " ago");
    let named = [of.kind, &of.namespace, &of.name, of.status].map(str::to_owned);
    named.into_iter().chain([last, tries, next]).collect()
}

/// The table; what failed has its message below it.
fn table(all: &[Standing], knows_tries: bool, now: Timestamp, has_colours: bool) -> String {
    let head = ["KIND", "NAMESPACE", "NAME", "STATUS", "LAST SYNC", "TRIES", "NEXT"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = [head].into_iter().chain(all.iter().map(|of| row(of, knows_tries, now))).collect();
    let mut text = String::new();
    for (n, line) in lines(&rows).into_iter().enumerate() {
        let of = n.checked_sub(1).and_then(|n| all.get(n));
        text += &coloured(line.trim_end(), of.map_or("", |of| of.status), has_colours);
        text.push('\n');
        if let Some(of) = of.filter(|of| of.status == "Failed" && !of.message.is_empty()) {
            text += &format!("    {}\n", of.message);
        }
    }
    text
}

fn summary(all: &[Standing]) -> String {
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    kinds.entry("ExternalSecret").or_default();
    for of in all {
        let (count, failed) = kinds.entry(of.kind).or_default();
        *count += 1;
        *failed += usize::from(of.status == "Failed");
    }
    let mut told = String::new();
    for (kind, (count, failed)) in kinds {
        let more = if told.is_empty() { "\n" } else { "; " };
        told += &format!("{more}{count} {kind}s, {failed} failed");
    }
    told + "\n"
}

/// What a watch tells.
enum Change {
    Put(Box<Made>),
    Gone(Key),
    Lost(String),
}

type Key = (&'static str, String, String);
/// A standing once it is known what metrics tell.
type Made = dyn FnOnce(Option<&Tries>, Timestamp) -> Standing + Send;

/// Prints what changes, until it is ended.
async fn watch(args: &Status, client: &Client, out: &mut dyn Write) -> Result<(), String> {
    let namespace = args.namespace.as_deref();
    let of_ps: fn(&PushSecret, Option<&Tries>, Timestamp) -> Standing = |ps, _, now| standing::push_secret(ps, now);
    let of_store: fn(&SecretStore, Option<&Tries>, Timestamp) -> Standing =
        |store, _, _| standing::store(&Store::namespaced(store.clone()));
    let of_cluster: fn(&ClusterSecretStore, Option<&Tries>, Timestamp) -> Standing =
        |store, _, _| standing::store(&Store::cluster(store.clone()));
    let mut changes = select_all([
        changes::<ExternalSecret>(scoped(client, namespace), "ExternalSecret", standing::external_secret),
        changes::<PushSecret>(scoped(client, namespace), "PushSecret", of_ps),
        changes::<SecretStore>(scoped(client, namespace), "SecretStore", of_store),
        changes::<ClusterSecretStore>(Api::all(client.clone()), "ClusterSecretStore", of_cluster),
    ]);
    let mut last: BTreeMap<Key, Standing> = BTreeMap::new();
    let (mut tries, mut read): (Option<Tries>, Option<Instant>) = (None, None);
    while let Some(change) = changes.next().await {
        let now = clock::now();
        let told = match change {
            Change::Lost(why) => return Err(why),
            Change::Gone(key) => last.remove(&key).map(|of| Standing { status: "Gone", ..of }),
            Change::Put(made) => {
                if read.is_none_or(|read| read.elapsed() > METRICS_AGE) {
                    tries = args.metrics.tries(client, &mut Vec::new()).await?;
                    read = Some(Instant::now());
                }
                let of = made(tries.as_ref(), now);
                let key = (of.kind, of.namespace.clone(), of.name.clone());
                let is_news = last.get(&key).is_none_or(|before| is_news(before, &of));
                last.insert(key, of.clone());
                Some(of).filter(|of| is_news && (!args.failed || of.status != "Ready"))
            }
        };
        let Some(of) = told else { continue };
        let line = match args.output {
            Format::Json => serde_json::to_string(&of).map_err(|_| "can't write JSON".to_owned())? + "\n",
            Format::Text => {
                let whole = table(std::slice::from_ref(&of), tries.is_some(), now, has_colours());
                whole.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default()
            }
        };
        let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        written.map_err(|_| "can't write to standard output".to_owned())?;
    }
    Ok(())
}

/// Whether more differs than times that pass by themselves.
fn is_news(before: &Standing, after: &Standing) -> bool {
    let timeless = |of: &Standing| Standing { next_sync: None, next_try: None, tries: None, ..of.clone() };
    timeless(before) != timeless(after)
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<DeserializeGuard<K>>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn changes<K>(
    api: Api<DeserializeGuard<K>>,
    kind: &'static str,
    tell: fn(&K, Option<&Tries>, Timestamp) -> Standing,
) -> BoxStream<'static, Change>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + serde::de::DeserializeOwned + 'static,
{
    let key = move |of: &DeserializeGuard<K>| {
        let metadata = of.meta();
        (kind, metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
    };
    let stream = watcher::watcher(api, watcher::Config::default()).filter_map(move |event| {
        let change = match event {
            Ok(Event::Apply(of) | Event::InitApply(of)) => gather::read(of)
                .ok()
                .map(|of| Change::Put(Box::new(move |tries: Option<&Tries>, now: Timestamp| tell(&of, tries, now)))),
            Ok(Event::Delete(of)) => Some(Change::Gone(key(&of))),
            Ok(Event::Init | Event::InitDone) => None,
            // A watch that breaks off begins anew by itself.
            Err(watcher::Error::InitialListFailed(_)) => Some(Change::Lost(format!("can't list the {kind}s"))),
            Err(_) => None,
        };
        std::future::ready(change)
    });
    stream.boxed()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::report::snapshot::Snapshot;

    fn told(snapshot: &Snapshot, now: Timestamp) -> String {
        let all = standing::all(snapshot, now);
        table(&all, snapshot.tries.is_some(), now, false) + &summary(&all)
    }

    fn of(name: &str, status: Value) -> ExternalSecret {
        serde_json::from_value(json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": {"refreshInterval": "1h"}, "status": status,
        }))
        .unwrap()
    }

    fn ready(status: &str, message: &str) -> Value {
        json!([{"type": "Ready", "status": status, "reason": "R", "message": message}])
    }

    const METRICS: &str = "\
keyferry_queue_length 0
keyferry_externalsecret_failed_attempts{name=\"broken\",namespace=\"shop\"} 4
keyferry_externalsecret_failed_attempts{name=\"wrong\",namespace=\"shop\"} 1
keyferry_externalsecret_next_try_timestamp_seconds{name=\"broken\",namespace=\"shop\"} 10090
";

    #[test]
    fn what_failed_is_told_with_its_tries() {
        let now = Timestamp::from_second(10_000).unwrap();
        let mut snapshot = Snapshot {
            external_secrets: vec![
                Ok(of(
                    "db",
                    json!({"conditions": ready("True", "secret synced"), "refreshTime": "1970-01-01T01:30:00Z"}),
                )),
                Ok(of("broken", json!({"conditions": ready("False", "could not get secret data from provider: why")}))),
                Ok(of("wrong", json!({"conditions": ready("False", "invalid spec: what")}))),
                Ok(of("new", json!(null))),
            ],
            ..Snapshot::default()
        };
        let bare = told(&snapshot, now);
        assert!(bare.contains("ExternalSecret   shop        broken   Failed    never       ?       ?\n"), "{bare}");
        snapshot.tries = Tries::of(METRICS);
        let expected = "\
KIND             NAMESPACE   NAME     STATUS    LAST SYNC   TRIES   NEXT
ExternalSecret   shop        db       Ready     76m ago             now
ExternalSecret   shop        broken   Failed    never       4       in 90s
    could not get secret data from provider: why
ExternalSecret   shop        wrong    Failed    never       1       when it changes
    invalid spec: what
ExternalSecret   shop        new      Unknown   never

4 ExternalSecrets, 2 failed
";
        assert_eq!(told(&snapshot, now), expected);
    }

    #[test]
    fn what_passes_by_itself_is_no_news() {
        let snapshot = Snapshot { external_secrets: vec![Ok(of("db", json!(null)))], ..Snapshot::default() };
        let before = standing::all(&snapshot, Timestamp::UNIX_EPOCH).remove(0);
        assert!(!is_news(&before, &Standing { tries: Some(3), next_try: Some(Timestamp::MAX), ..before.clone() }));
        assert!(is_news(&before, &Standing { message: "other".into(), ..before.clone() }));
    }
}
