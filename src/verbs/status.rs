//! `keyferry status`: how the ExternalSecrets, PushSecrets and stores of a cluster stand.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures::stream::StreamExt as _;
use jiff::Timestamp;
use keyferry_cluster::connection::Connection;
use kube::Client;

use super::follow::{self, Change, Key};
use super::gather::{self, MetricsFrom};
use super::table::{coloured, has_colours, json, lines, note, plain};
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
    is_possible(args)?;
    let client = args.connection.client().await?;
    let mut notes = Vec::new();
    if let Some(namespace) = &args.namespace {
        gather::note_absent(&client, namespace, &mut notes).await;
    }
    if args.watch {
        note(&notes, err);
        return watch(args, &client, out, err).await;
    }
    let mut snapshot = gather::snapshot(&client, args.namespace.as_deref(), &mut notes).await?;
    snapshot.tries = args.metrics.tries(&client, &mut notes).await?;
    let now = clock::now();
    let mut all = standing::all(&snapshot, now);
    let summary = summary(&all);
    all.retain(|of| !args.failed || of.status != "Ready");
    let text = match args.output {
        Format::Text => table(&all, snapshot.tries.is_some(), now, has_colours()) + &summary,
        Format::Json => json(&all, true)?,
    };
    out.write_all(text.as_bytes()).map_err(|_| "can't write to standard output".to_owned())?;
    // Where nothing failed nobody misses tries.
    let wants_tries = all.iter().any(|of| of.status == "Failed");
    notes.retain(|note| wants_tries || !note.starts_with("tries"));
    note(&notes, err);
    Ok(())
}

/// Whether flags go together.
fn is_possible(args: &Status) -> Result<(), String> {
    let is_input = args.metrics.metrics.as_ref().is_some_and(|file| file.as_os_str() == "-");
    if args.watch && is_input {
        return Err(
            "--metrics - is read once, and --watch reads metrics again and again: name a file or --metrics-url"
                .to_owned(),
        );
    }
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
            text += &format!("    {}\n", plain(&of.message));
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

/// What metrics told last, and what is to be noted where they tell nothing.
struct Metrics<'a> {
    from: &'a MetricsFrom,
    tries: Option<Tries>,
    read: Option<Instant>,
    notes: Vec<String>,
}

impl Metrics<'_> {
    /// Reads them anew where they are old. What can't be read just now ends nothing.
    async fn renew(&mut self, client: &Client) {
        if self.read.is_some_and(|read| read.elapsed() <= METRICS_AGE) {
            return;
        }
        self.notes.clear();
        self.tries = self.from.tries(client, &mut self.notes).await.unwrap_or_else(|why| {
            self.notes.push(why);
            None
        });
        self.read = Some(Instant::now());
    }
}

/// Prints what changes, until it is ended, or nothing can be watched.
async fn watch(args: &Status, client: &Client, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), String> {
    let mut changes = follow::all(client, args.namespace.as_deref(), None);
    let mut last: BTreeMap<Key, Standing> = BTreeMap::new();
    let mut metrics = Metrics { from: &args.metrics, tries: None, read: None, notes: Vec::new() };
    let mut noted: BTreeSet<String> = BTreeSet::new();
    while let Some(change) = changes.next().await {
        let now = clock::now();
        let (told, notes) = match change {
            Change::Unread { why, .. } => (Vec::new(), vec![why]),
            Change::Gone(key) => (gone(&mut last, |of| *of == key), Vec::new()),
            Change::All(kind, there) => (gone(&mut last, |of| of.0 == kind && !there.contains(of)), Vec::new()),
            Change::Put(key, object) => {
                metrics.renew(client).await;
                let of = standing::of(&object, metrics.tries.as_ref(), now);
                let is_news = last.get(&key).is_none_or(|before| is_news(before, &of));
                last.insert(key, of.clone());
                // Where nothing failed nobody misses tries.
                let notes = if of.status == "Failed" { metrics.notes.clone() } else { Vec::new() };
                (Vec::from_iter(Some(of).filter(|of| is_news && (!args.failed || of.status != "Ready"))), notes)
            }
        };
        note(&notes.into_iter().filter(|of| noted.insert(of.clone())).collect::<Vec<_>>(), err);
        told.iter().try_for_each(|of| print_one(of, args.output, metrics.tries.is_some(), now, out))?;
    }
    Err("there is nothing that can be watched".to_owned())
}

/// What of the last went, by key.
fn gone(last: &mut BTreeMap<Key, Standing>, is_gone: impl Fn(&Key) -> bool) -> Vec<Standing> {
    let keys: Vec<Key> = last.keys().filter(|key| is_gone(key)).cloned().collect();
    let of = keys.into_iter().filter_map(|key| last.remove(&key));
    of.map(|of| Standing { status: "Gone", ..of }).collect()
}

fn print_one(
    of: &Standing,
    format: Format,
    knows_tries: bool,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), String> {
    let line = match format {
        Format::Json => json(of, false)?,
        Format::Text => {
            let whole = table(std::slice::from_ref(of), knows_tries, now, has_colours());
            whole.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default()
        }
    };
    let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    written.map_err(|_| "can't write to standard output".to_owned())
}

/// Whether more differs than times that pass by themselves.
fn is_news(before: &Standing, after: &Standing) -> bool {
    let timeless = |of: &Standing| Standing { next_sync: None, next_try: None, tries: None, ..of.clone() };
    timeless(before) != timeless(after)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::extract::Request;
    use keyferry_crds::ExternalSecret;
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
    fn a_message_stays_on_its_line() {
        let hostile =
            of("db", json!({"conditions": ready("False", "a\u{1b}[2J\nExternalSecret   shop   all   Ready")}));
        let snapshot = Snapshot { external_secrets: vec![Ok(hostile)], ..Snapshot::default() };
        let text = told(&snapshot, Timestamp::UNIX_EPOCH);
        assert!(text.contains("\n    a\\u{1b}[2J\\nExternalSecret   shop   all   Ready\n"), "{text:?}");
    }

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        args: Status,
    }

    fn args(more: &[&str]) -> Status {
        <Alone as clap::Parser>::parse_from(["status"].iter().chain(more)).args
    }

    #[test]
    fn standard_input_is_not_read_again_and_again() {
        assert!(is_possible(&args(&["--watch", "--metrics=-"])).is_err());
        assert!(
            is_possible(&args(&["--watch", "--metrics=f"])).is_ok() && is_possible(&args(&["--metrics=-"])).is_ok()
        );
    }

    /// Watches an API server for a minute: what is printed, what is noted, and how often each path was asked for.
    async fn a_minute<F: Future<Output = (u16, String)> + Send + 'static>(
        answer: impl Fn(String, bool, usize) -> F + Clone + Send + Sync + 'static,
    ) -> (String, String, BTreeMap<String, usize>) {
        let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let count = asked.clone();
        let serve = move |request: Request| {
            let kind = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
            let path = if is_watch { format!("{kind} watch") } else { kind.clone() };
            let n = {
                let mut count = count.lock().unwrap();
                *count.entry(path).and_modify(|n| *n += 1).or_insert(1)
            };
            let answer = answer(kind, is_watch, n);
            async move {
                let (code, body) = answer.await;
                (axum::http::StatusCode::from_u16(code).unwrap(), body)
            }
        };
        let client = Client::new(axum::Router::new().fallback(serve), "shop");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args = args(&["--watch", "-o=json", "-n=shop"]);
        let _ = tokio::time::timeout(Duration::from_secs(60), watch(&args, &client, &mut out, &mut err)).await;
        let [out, err] = [out, err].map(|bytes| String::from_utf8(bytes).unwrap());
        (out, err, asked.lock().unwrap().clone())
    }

    fn status(code: u16) -> String {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "", "reason": "", "code": code}).to_string()
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_is_asked_less_and_less() {
        let (out, err, asked) = a_minute(|_, _, _| async { (500, status(500)) }).await;
        assert_eq!(out, "");
        assert_eq!(err.lines().count(), 4, "each kind is noted once: {err}");
        assert_eq!(asked.len(), 4, "{asked:?}");
        assert!(asked.values().all(|n| (3..20).contains(n)), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_left_alone_and_what_went_during_a_relist_is_told() {
        let answer = |kind: String, is_watch: bool, n: usize| async move {
            match (kind.as_str(), is_watch, n) {
                ("externalsecrets", false, n) => {
                    let names = if n == 1 { vec!["a", "b"] } else { vec!["a"] };
                    let items: Vec<ExternalSecret> = names.into_iter().map(|name| of(name, json!(null))).collect();
                    (200, json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecretList", "metadata": {"resourceVersion": "1"}, "items": items}).to_string())
                }
                ("externalsecrets", true, 1) => (200, format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", status(410))),
                ("externalsecrets", true, _) => std::future::pending().await,
                ("pushsecrets", ..) => (403, status(403)),
                _ => (404, status(404)),
            }
        };
        let (out, err, asked) = a_minute(answer).await;
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<(&str, &str)> =
            lines.iter().map(|of| (of["name"].as_str().unwrap(), of["status"].as_str().unwrap())).collect();
        assert_eq!(told, [("a", "Unknown"), ("b", "Unknown"), ("b", "Gone")]);
        for kind in ["pushsecrets", "secretstores", "clustersecretstores"] {
            assert_eq!(asked[kind], 1, "{asked:?}");
        }
        assert!(err.contains("note: can't list the PushSecrets: the API server forbids it"), "{err}");
        assert_eq!(err.lines().count(), 3, "{err}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_of_nothing_ends() {
        let began = tokio::time::Instant::now();
        let (_, err, _) = a_minute(|_, _, _| async { (403, status(403)) }).await;
        assert!(began.elapsed() < Duration::from_secs(60) && err.lines().count() == 4, "{err}");
    }

    #[test]
    fn what_passes_by_itself_is_no_news() {
        let snapshot = Snapshot { external_secrets: vec![Ok(of("db", json!(null)))], ..Snapshot::default() };
        let before = standing::all(&snapshot, Timestamp::UNIX_EPOCH).remove(0);
        assert!(!is_news(&before, &Standing { tries: Some(3), next_try: Some(Timestamp::MAX), ..before.clone() }));
        assert!(is_news(&before, &Standing { message: "other".into(), ..before.clone() }));
    }
}
