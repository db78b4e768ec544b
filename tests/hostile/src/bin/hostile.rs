//! `hostile`: the attacks of the table, one after the other. See `hostile --help`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use keyferry_hostile::report::progress;
use keyferry_hostile::round::{self, Bounds};
use keyferry_hostile::{Attack, Ground, Report, attacks};

/// Attacks the operator as a tenant may, beside one who behaves, and tells who suffered.
///
/// Starts a control plane of its own, with the built operator on it. For each attack: the operator's process lives, in
/// bounded memory; the honest tenant's changes arrive; the Lease is renewed; health answers; the attacker is told what he
/// met. In the end the operator is started anew with all attacks' objects there. Nothing is left running. Exits with 1
/// where something did not hold.
#[derive(Parser)]
struct Cli {
    /// Only this attack; may be given several times
    #[arg(long, value_name = "NAME")]
    attack: Vec<String>,
    /// How long each attack lasts [default: as the table says]
    #[arg(long)]
    seconds: Option<u64>,
    /// The most memory that the operator may have, in MiB
    #[arg(long, default_value_t = 256.0, value_name = "MIB")]
    memory: f64,
    /// All attacks at once instead of one after the other
    #[arg(long)]
    together: bool,
    /// Only the restart with all attacks' objects there
    #[arg(long, conflicts_with = "together")]
    restart: bool,
    /// Print the table as Markdown, with what the attacker was told
    #[arg(long)]
    markdown: bool,
    /// List the attacks, and make none
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = if cli.list { Ok((list(), true)) } else { run(&cli).await };
    match done.and_then(|(text, good)| Ok((writeln!(std::io::stdout(), "{}", text.trim_end())?, good))) {
        Ok(((), true)) => ExitCode::SUCCESS,
        Ok(((), false)) => ExitCode::FAILURE,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(std::io::stderr(), "hostile: error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn list() -> String {
    attacks::all().iter().map(|attack| format!("{:24} {}\n", attack.name, attack.about)).collect()
}

fn chosen(names: &[String]) -> Result<Vec<&'static Attack>> {
    let all = attacks::all();
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        let found = all.iter().find(|attack| attack.name == name);
        found.copied().ok_or_else(|| anyhow!("there is no attack {name:?}: --list tells which there are"))
    };
    names.iter().map(find).collect()
}

async fn run(cli: &Cli) -> Result<(String, bool)> {
    let attacks = chosen(&cli.attack)?;
    let bounds = Bounds { memory: cli.memory, seconds: cli.seconds };
    let mut ground = Ground::start().await?;
    let mut report = Report::default();
    let size = if cli.together { attacks.len() } else { 1 };
    let made: &[&Attack] = if cli.restart { &[] } else { &attacks };
    for (n, some) in made.chunks(size).enumerate() {
        let names: Vec<&str> = some.iter().map(|attack| attack.name).collect();
        progress(&format!("{}/{} {}: {}", n + 1, attacks.len().div_ceil(size), names.join(", "), some[0].about));
        let rows = round::attack(&mut ground, some, bounds).await?;
        rows.iter().for_each(|row| progress(&format!("  {}: {}", row.name, row.line())));
        report.0.extend(rows);
        round::tidy(&mut ground, bounds).await?;
    }
    progress("all of it once more, and a restart");
    let row = round::restart(&mut ground, &attacks, bounds).await?;
    progress(&format!("  {}", row.line()));
    report.0.push(row);
    let text = if cli.markdown { report.markdown() } else { report.table() };
    Ok((text, report.is_good()))
}
