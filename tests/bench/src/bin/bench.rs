//! `bench`: what an operator costs. See `bench --help`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use keyferry_bench::fleet::{Fleet, StoreKind};
use keyferry_bench::run::{Settings, run};
use keyferry_bench::weight::weigh;

/// Measures what an operator of ExternalSecrets costs: store calls, API requests, time, processor and memory.
///
/// Starts a control plane and a store double of its own, makes ExternalSecrets of two entries each, starts the operator
/// on them, and counts in three phases: first sync, idle refreshes, rotation of all values. Nothing is left running.
#[derive(Parser)]
struct Cli {
    /// How many ExternalSecrets, each with a key of its own
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    objects: u32,
    /// Their refreshInterval in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// In how many namespaces they are
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    namespaces: u32,
    /// What they ask
    #[arg(long, default_value = "aws", value_enum)]
    store: StoreKind,
    /// How long each answer of the store takes
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    latency: u64,
    /// How long idle refreshes are watched [default: the interval and a quarter more]
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
    /// Another operator than the built keyferry: a command line for a shell.
    ///
    /// It finds $KUBECONFIG, $METRICS_PORT and $HEALTH_PORT, and AWS's endpoints in AWS_SECRETSMANAGER_ENDPOINT and
    /// AWS_SSM_ENDPOINT.
    #[arg(long, value_name = "COMMAND")]
    operator: Option<String>,
    /// Create and edit so many ExternalSecrets while all refresh, and again while all are rotated, and say how soon they are Ready
    #[arg(long, default_value_t = 0, value_name = "N")]
    urgent: u16,
    /// So many Secrets of 20 KiB beside them that are nobody's: what the operator's watch of all Secrets costs
    #[arg(long, default_value_t = 0, value_name = "N")]
    unrelated: u16,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Weigh the built keyferry instead: its file, and its memory while it has nothing to do
    #[arg(long, exclusive = true)]
    weigh: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = bench(Cli::parse()).await;
    match done.and_then(|text| Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(std::io::stderr(), "bench: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(cli: Cli) -> Result<String> {
    if cli.weigh {
        return weigh().await;
    }
    let fleet = Fleet {
        store: cli.store,
        objects: cli.objects as usize,
        interval: cli.interval,
        namespaces: (0..cli.namespaces).map(|n| format!("bench-{n}")).collect(),
    };
    let idle = Duration::from_secs(cli.idle.unwrap_or(cli.interval + cli.interval.div_ceil(4)));
    let latency = Duration::from_millis(cli.latency);
    let (urgent, unrelated) = (usize::from(cli.urgent), usize::from(cli.unrelated));
    let report = run(Settings { fleet, latency, operator: cli.operator, idle, urgent, unrelated }).await?;
    if cli.json { Ok(serde_json::to_string_pretty(&report)?) } else { Ok(report.table()) }
}
