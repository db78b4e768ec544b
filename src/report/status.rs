//! `keyferry status`: how the ExternalSecrets of a cluster stand, in a table. Pure, but for [`run`].
//!
//! What conditions must not say, since it would rewrite them all the time, stands in the operator's metrics: how often a
//! sync failed, and when it is tried again. They are read from a file, as nobody else can know how to reach the operator.

use std::collections::HashMap;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use keyferry_cluster::connection::Connection;
use keyferry_cluster::pages;
use keyferry_crds::ExternalSecret;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Resource as _, ResourceExt as _};
use serde::Serialize;

use crate::clock;
use crate::metrics::{NEXT_TRY, TRIES};

/// Flags of `keyferry status`.
#[derive(Args, Debug)]
pub struct Status {
    /// The way to the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// Look at this namespace only
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Show those that are not ready only
    #[arg(long)]
    pub failed: bool,
    /// A file with the text of the operator's /metrics, or - for standard input: it knows tries and next tries
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
    /// How to print
    #[arg(long, short, default_value = "text", value_enum)]
    pub output: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table.
    Text,
    /// A JSON array.
    Json,
}

/// How one ExternalSecret stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `Ready`, `Failed`, or `Unknown` before the first sync.
    pub status: &'static str,
    /// The reason of its condition.
    pub reason: String,
    /// The message of its condition.
    pub message: String,
    /// When it last synced.
    pub last_sync: Option<Timestamp>,
    /// Failed syncs since; `None` where the metrics do not say.
    pub tries: Option<u64>,
    /// When it is tried again; `None` where it is not, or the metrics do not say.
    pub next_try: Option<Timestamp>,
}

/// Reads and prints; the error is for a person.
pub async fn run(args: &Status, out: &mut dyn Write) -> Result<(), String> {
    let client = args.connection.client().await?;
    let metrics = args.metrics.as_deref().map(read).transpose()?;
    let api: Api<DeserializeGuard<ExternalSecret>> = match &args.namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let mut lines = Vec::new();
    let listed = pages::all(&api, ListParams::default(), |object| lines.push(line(object))).await;
    listed.map_err(|problem| {
        if problem.is_not_found() {
            "this cluster has no ExternalSecrets: `keyferry crds | kubectl apply -f -` installs the kinds".to_owned()
        } else {
            format!("can't list the ExternalSecrets: {problem}")
        }
    })?;
    if let Some(metrics) = &metrics {
        add_tries(&mut lines, metrics);
    }
    let all = lines.len();
    lines.retain(|line| !args.failed || line.status != "Ready");
    let text = match args.output {
        Format::Text => table(&lines, all, metrics.is_some(), clock::now()),
        Format::Json => serde_json::to_string_pretty(&lines).map_err(|_| "can't write JSON".to_owned())? + "\n",
    };
    out.write_all(text.as_bytes()).map_err(|_| "can't write to standard output".to_owned())
}

fn read(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = read.map_err(|error| format!("can't read the metrics of {}: {error}", file.display()))?;
    if text.contains("externalsecret_sync_calls_total") || text.contains("keyferry_queue_length") {
        Ok(text)
    } else {
        Err(format!("{} does not hold the metrics of keyferry", file.display()))
    }
}

fn line(guarded: DeserializeGuard<ExternalSecret>) -> Line {
    let metadata = guarded.meta();
    let mut line = Line {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: guarded.name_any(),
        status: "Unknown",
        reason: String::new(),
        message: String::new(),
        last_sync: None,
        tries: None,
        next_try: None,
    };
    match &guarded.0 {
        Ok(es) => {
            line.last_sync = es.status.as_ref().and_then(|status| Some(status.refresh_time.as_ref()?.0));
            if let Some(ready) = es.ready() {
                line.status = if ready.is_true() { "Ready" } else { "Failed" };
                line.reason = ready.reason.clone().unwrap_or_default();
                line.message = ready.message.clone().unwrap_or_default();
            }
        }
        Err(_) => {
            line.status = "Failed";
            line.message = "it is not of the form that the CustomResourceDefinition gives".to_owned();
        }
    }
    line
}

/// Adds what metrics say of each.
fn add_tries(lines: &mut [Line], metrics: &str) {
    let (tries, next) = (series(metrics, TRIES), series(metrics, NEXT_TRY));
    for line in lines {
        let object = (line.namespace.as_str(), line.name.as_str());
        line.tries = tries.get(&object).map(|tries| *tries as u64);
        line.next_try = next.get(&object).and_then(|next| Timestamp::from_second(*next as i64).ok());
    }
}

/// The series of one metric by namespace and name. Names of objects hold nothing that would be escaped.
fn series<'a>(metrics: &'a str, name: &str) -> HashMap<(&'a str, &'a str), f64> {
    let of = |line: &'a str| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once('}')?;
        let label = |wanted: &str| {
            labels.split(',').find_map(|label| label.strip_prefix(wanted)?.strip_prefix("=\"")?.strip_suffix('"'))
        };
        Some(((label("namespace")?, label("name")?), value.trim().parse().ok()?))
    };
    metrics.lines().filter_map(of).collect()
}

/// The table; what failed has its message below it.
fn table(lines: &[Line], all: usize, with_tries: bool, now: Timestamp) -> String {
    let mut rows = vec![["NAMESPACE", "NAME", "STATUS", "LAST SYNC", "TRIES", "NEXT TRY"].map(str::to_owned)];
    for line in lines {
        let failed = line.status == "Failed";
        let tries = match (failed, with_tries) {
            (false, _) => String::new(),
            (true, false) => "?".to_owned(),
            (true, true) => line.tries.map_or_else(|| "?".to_owned(), |tries| tries.to_string()),
        };
        let next = match (failed, with_tries, line.next_try) {
            (false, ..) => String::new(),
            (true, false, _) => "?".to_owned(),
            (true, true, None) => "when it changes".to_owned(),
            (true, true, Some(next)) if next <= now => "now".to_owned(),
            (true, true, Some(next)) => format!("in {}", span(next.duration_since(now))),
        };
        let last = line.last_sync.map_or_else(|| "never".to_owned(), |last| span(now.duration_since(last)) + " ago");
        rows.push([line.namespace.clone(), line.name.clone(), line.status.to_owned(), last, tries, next]);
    }
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|n| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text += cells.join("   ").trim_end();
        text.push('\n');
        let message = n.checked_sub(1).and_then(|n| lines.get(n)).filter(|line| line.status == "Failed");
        if let Some(line) = message.filter(|line| !line.message.is_empty()) {
            text += &format!("    {}\n", line.message);
        }
    }
    let failed = lines.iter().filter(|line| line.status == "Failed").count();
    text += &format!("\n{all} ExternalSecrets, {failed} failed\n");
    if failed > 0 && !with_tries {
        text += "TRIES and NEXT TRY stand in the operator's metrics: \
                 kubectl get --raw /api/v1/namespaces/NAMESPACE/pods/POD:8080/proxy/metrics | keyferry status --metrics -\n";
    }
    text
}

/// A span of time as kubectl tells ages.
fn span(span: SignedDuration) -> String {
    let seconds = span.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(name: &str, status: Value) -> Line {
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": name, "namespace": "shop"}, "spec": {}, "status": status,
        });
        line(serde_json::from_value(object).unwrap())
    }

    fn ready(status: &str, message: &str) -> Value {
        json!([{"type": "Ready", "status": status, "reason": "R", "message": message}])
    }

    const METRICS: &str = "\
# TYPE keyferry_externalsecret_failed_attempts gauge
keyferry_externalsecret_failed_attempts{name=\"broken\",namespace=\"shop\"} 4
keyferry_externalsecret_failed_attempts{name=\"broken\",namespace=\"other\"} 9
keyferry_externalsecret_failed_attempts{name=\"wrong\",namespace=\"shop\"} 1
keyferry_externalsecret_next_try_timestamp_seconds{name=\"broken\",namespace=\"shop\"} 10090
";

    #[test]
    fn what_failed_is_told_with_its_tries() {
        let now = Timestamp::from_second(10_000).unwrap();
        let mut lines = vec![
            of("db", json!({"conditions": ready("True", "secret synced"), "refreshTime": "1970-01-01T02:30:00Z"})),
            of("broken", json!({"conditions": ready("False", "could not get secret data from provider: why")})),
            of("wrong", json!({"conditions": ready("False", "invalid spec: what")})),
            of("new", json!(null)),
        ];
        let bare = table(&lines, 4, false, now);
        assert!(bare.contains("shop        broken   Failed    never       ?       ?\n"), "{bare}");
        assert!(bare.contains("keyferry status --metrics -"), "{bare}");
        add_tries(&mut lines, METRICS);
        let expected = "\
NAMESPACE   NAME     STATUS    LAST SYNC   TRIES   NEXT TRY
shop        db       Ready     16m ago
shop        broken   Failed    never       4       in 90s
    could not get secret data from provider: why
shop        wrong    Failed    never       1       when it changes
    invalid spec: what
shop        new      Unknown   never

4 ExternalSecrets, 2 failed
";
        assert_eq!(table(&lines, 4, true, now), expected);
    }

    #[test]
    fn what_does_not_decode_is_told_too() {
        let object = json!({"metadata": {"name": "odd", "namespace": "shop"}, "spec": {"data": "none"}});
        let line = line(serde_json::from_value(object).unwrap());
        assert_eq!((line.name.as_str(), line.status), ("odd", "Failed"));
    }
}
