//! `prove`: all stores at once for a while. See `prove --help`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use keyferry_behaviour_tests::{Rig, cluster};
use keyferry_prove::{Proof, prove};

/// Runs the operator with a store of each kind at once, against its counterpart, while values and credentials change.
///
/// Starts a testbed of its own, with the built operator on it. Nothing is left running. Exits with 1 where a call of a
/// store failed, a value did not arrive, or anything was not Ready.
#[derive(Parser)]
struct Cli {
    /// How long
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = Cli::parse().seconds;
    let (text, code) = match run(Duration::from_secs(seconds)).await {
        Ok(proof) => (told(&proof), ExitCode::SUCCESS),
        Err(error) => (format!("prove: {error:#}"), ExitCode::FAILURE),
    };
    // A closed stdout leaves nobody to tell.
    let _ = writeln!(std::io::stdout(), "{text}");
    code
}

async fn run(lasting: Duration) -> Result<Proof> {
    let testbed = cluster::private(&[])?;
    let mut rig = Rig::on(&testbed, "prove").await;
    let proof = prove(&mut rig, lasting).await;
    rig.finish().await;
    proof
}

fn told(proof: &Proof) -> String {
    let Proof { stores, values, credentials, slowest, calls } = proof;
    format!(
        "{} stores ({}): {values} values arrived, the slowest within {slowest:.1?}; {credentials} credentials were \
         replaced; {calls} calls, none failed",
        stores.len(),
        stores.join(", ")
    )
}
