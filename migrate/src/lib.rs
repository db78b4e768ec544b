//! What stands between a cluster of External Secrets Operator and keyferry: found, told, and cleared away.
//!
//! Facts are read at the edge (`read`), judged without any IO (`judge`, `plan`), and printed; `apply` alone writes.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

// In reading order.
pub mod facts;
pub mod helm;
pub mod judge;
pub mod kinds;
pub mod plan;
pub mod print;

mod apply;
mod problem;
mod read;
mod rewrite;

use judge::{Settings, judge};
use print::{Applied, Report};

/// Flags of `keyferry migrate eso`.
#[derive(Args, Clone, Debug)]
pub struct Eso {
    /// Kubeconfig file; without it $KUBECONFIG, then ~/.kube/config, then the pod's ServiceAccount
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Remove what External Secrets Operator left behind; without it nothing is changed
    #[arg(long)]
    pub apply: bool,
    /// The controller class that keyferry will have
    #[arg(long, default_value = "default", value_name = "CLASS")]
    pub controller_class: String,
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
    };
    let client = client(args).await?;
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

async fn client(args: &Eso) -> Result<Client, String> {
    let options = KubeConfigOptions { context: args.context.clone(), ..Default::default() };
    // The library's own errors may quote the file.
    let named = match &args.kubeconfig {
        Some(file) => Some((
            Kubeconfig::read_from(file).map_err(|_| format!("can't read the kubeconfig {}", file.display()))?,
            format!("the kubeconfig {}", file.display()),
        )),
        None => match Kubeconfig::read() {
            Ok(read) => Some((read, "the kubeconfig".to_owned())),
            Err(KubeconfigError::FindPath) => None,
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(_) => return Err("can't read the kubeconfig of $KUBECONFIG or ~/.kube/config".to_owned()),
        },
    };
    let config = match named {
        Some((read, what)) => {
            let known: Vec<String> = read.contexts.iter().map(|context| context.name.clone()).collect();
            match &args.context {
                Some(context) if !known.contains(context) => {
                    return Err(format!("{what} has no context {context:?}; it has: {}", known.join(", ")));
                }
                _ => {}
            }
            Config::from_custom_kubeconfig(read, &options)
                .await
                .map_err(|_| format!("{what} is not complete: `kubectl config view` tells more"))?
        }
        None if args.context.is_some() => return Err("there is no kubeconfig to find the context in".to_owned()),
        None => Config::infer().await.map_err(|_| "found no way to the API server: give --kubeconfig".to_owned())?,
    };
    Client::try_from(config)
        .map_err(|_| "can't make a client from the kubeconfig: check its certificates and credentials".to_owned())
}
