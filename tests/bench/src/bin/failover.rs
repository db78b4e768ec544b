//! `failover`: what a second replica is worth. See `failover --help`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Parser;
use keyferry_bench::failover::{Settings, run};
use keyferry_bench::fleet::{Fleet, StoreKind};

/// Kills the replica that leads, again and again, while values change, and measures how the other goes on.
///
/// Fails where the store is not asked within the Lease's time and two seconds more, where a Secret is written twice for one
/// change, or where a change never arrives. Starts a control plane and a store double of its own; nothing is left running.
#[derive(Parser)]
struct Cli {
    /// How often it is killed
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many ExternalSecrets there are
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    objects: u32,
    /// Their refreshInterval in seconds
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// How long the Lease lasts
    #[arg(long, default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(3..))]
    lease: u64,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match failover(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(std::io::stderr(), "failover: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn failover(cli: Cli) -> Result<()> {
    let fleet = Fleet {
        store: StoreKind::Aws,
        objects: cli.objects as usize,
        interval: cli.interval,
        namespaces: (0..4).map(|n| format!("failover-{n}")).collect(),
    };
    let settings = Settings { fleet, rounds: cli.rounds as usize, lease: Duration::from_secs(cli.lease) };
    let report = run(settings).await?;
    let text = if cli.json { serde_json::to_string_pretty(&report)? } else { report.table() };
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    let complaints = report.complaints();
    if complaints.is_empty() { Ok(()) } else { Err(anyhow!("{}", complaints.join("\n"))) }
}
