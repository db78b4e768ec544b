//! What stands between a cluster of External Secrets Operator and keyferry: found, told, and cleared away.
//!
//! Facts are read at the edge (`read`), judged without any IO (`judge`, `plan`), and printed; `apply` alone writes.
//!
//! Modules, in reading order: [`kinds`] what we serve, [`facts`] what may be known
//! of a cluster, [`images`], [`helm`] and [`held`] what a release's record says, [`lost`] what a schema does not know, [`refused`] what of
//! generators is refused, `read` the reading, [`judge`] what the facts mean, [`plan`]
//! what is to be done, `apply` and `rewrite` the doing, [`print`] the report. Beside that, [`written`] files that are written whole, [`manifests`] old
//! versions on disk, [`carry`] what verbs have in common that carry manifests over: [`kes`] those of kubernetes-external-secrets, [`agent`] of Vault's
//! injector, [`secrets_store`] of the Secrets Store CSI Driver.

use keyferry_cluster::connection::Connection;
use std::io::Write;

use clap::{Args, ValueEnum};
use kube::Client;

pub mod kinds;
pub mod facts;
pub mod images;
pub mod helm;
pub mod held;
pub mod lost;
pub mod refused;
mod read;
pub mod judge;
pub mod plan;
mod apply;
mod rewrite;
pub mod print;
pub mod written;
pub mod manifests;
pub mod carry;
pub mod kes;
pub mod agent;
pub mod secrets_store;

use judge::{Settings, judge};
use print::{Applied, Report};

/// Flags of `keyferry migrate eso`.
#[derive(Args, Clone, Debug)]
pub struct Eso {
    /// The way to the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// Remove what External Secrets Operator left behind; without it nothing is changed
    #[arg(long)]
    pub apply: bool,
    /// The controller class that keyferry will have
    #[arg(long, default_value = "default", value_name = "CLASS")]
    pub controller_class: String,
    /// Where keyferry's chart is: a folder, or any other name that Helm knows; for the commands that are printed
    #[arg(long, default_value = "config/chart", value_name = "CHART")]
    pub chart: String,
    /// Where External Secrets Operator's chart is, or that of which it is a part, if not in its own repository
    #[arg(long, value_name = "CHART")]
    pub eso_chart: Option<String>,
    /// Form of the report
    #[arg(long, default_value = "text", value_enum, value_name = "FORM")]
    pub output: Output,
}

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing blocks.
    Clear,
    /// Something blocks, or was not done.
    Blocked,
}

/// Looks at the cluster, clears away what may be where that is asked for, and reports. `providers` are those of this
/// build; `out` gets the report, `progress` lines while something takes long.
pub async fn run(
    args: &Eso,
    providers: &[&str],
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<Outcome, String> {
    let settings = Settings {
        class: args.controller_class.clone(),
        providers: providers.iter().map(|provider| (*provider).to_owned()).collect(),
        chart: args.chart.clone(),
        eso_chart: args.eso_chart.clone(),
    };
    let client = args.connection.client().await?;
    let mut cluster = look(&client).await?;
    let mut applied = None;
    if args.apply {
        let mut result = Applied::default();
        if plan::refusal(&cluster, &settings).is_none() {
            for step in plan::steps(&cluster) {
                let mut tell = |line: String| drop(writeln!(progress, "{line}"));
                match apply::take(&client, &cluster, &step, &mut tell).await {
                    Ok(()) => tell_step(args, out, &mut result.done, step.done())?,
                    Err(why) => tell_step(args, out, &mut result.failed, format!("could not {step}: {why}"))?,
                }
            }
            cluster = look(&client).await?;
        }
        if args.output == Output::Text && !(result.done.is_empty() && result.failed.is_empty()) {
            writeln!(out).map_err(cannot_write)?;
        }
        applied = Some(result);
    }
    let would = plan::steps(&cluster).iter().map(ToString::to_string).collect();
    let refusal = plan::refusal(&cluster, &settings);
    let report = Report::new(judge(&cluster, &settings), would, refusal, applied);
    let written = match args.output {
        Output::Text => report.text(out),
        Output::Json => report.json(out),
    };
    written.map_err(cannot_write)?;
    Ok(if report.is_bad() { Outcome::Blocked } else { Outcome::Clear })
}

/// Notes what became of a step. For people it is printed at once: the next may take long, or fail.
fn tell_step(args: &Eso, out: &mut dyn Write, list: &mut Vec<String>, line: String) -> Result<(), String> {
    if args.output == Output::Text {
        writeln!(out, "{line}").map_err(cannot_write)?;
    }
    list.push(line);
    Ok(())
}

fn cannot_write(_: std::io::Error) -> String {
    "can't write the report".to_owned()
}

async fn look(client: &Client) -> Result<facts::Cluster, String> {
    read::cluster(client).await.map_err(|problem| format!("can't look at the cluster: {problem}"))
}
