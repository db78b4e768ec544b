//! `keyferry migrate vault-agent`: workloads annotated for Vault's injector (`vault.hashicorp.com/agent-inject...`) become stores,
//! ExternalSecrets that no Secret is made of, and patches that have their pods mount these.
//!
//! Modules, in reading order: [`ask`] what annotations say, [`action`], [`functions`], [`inputs`], [`expression`] and [`translate`] their
//! templates in ours, [`workload`] what has them, [`convert`] what all comes to. Pure, but for what is
//! read of a cluster, and the files here.

pub mod ask;
pub mod action;
pub mod functions;
pub mod inputs;
pub mod expression;
pub mod translate;
pub mod workload;
pub mod convert;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use keyferry_cluster::connection::Connection;

use crate::carry::{Stand, Weight, collect};
use crate::manifests::unreadable;
use crate::written;
use ask::PREFIX;
use convert::{Converted, convert};
use workload::{Workload, of_cluster, of_file};

/// Flags of `keyferry migrate vault-agent`.
#[derive(Args, Clone, Debug, Default)]
pub struct VaultAgent {
    /// Files with manifests, and folders with all that is in them; without any, the cluster is looked at
    #[arg(value_name = "DIR")]
    pub paths: Vec<PathBuf>,
    /// In the cluster, only this namespace
    #[arg(long, short, conflicts_with = "paths", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Write the new manifests here, in place of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How often values are fetched, where no annotation says so
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    pub refresh_interval: String,
    /// Vault's URL, where no annotation names it (AGENT_INJECT_VAULT_ADDR)
    #[arg(long, value_name = "URL")]
    pub vault_server: Option<String>,
    /// Vault's namespace, where no annotation names it (AGENT_INJECT_VAULT_NAMESPACE)
    #[arg(long, value_name = "NAMESPACE")]
    pub vault_namespace: Option<String>,
    /// The mount of the login, where no annotation names it (AGENT_INJECT_VAULT_AUTH_PATH)
    #[arg(long, default_value = "kubernetes", value_name = "PATH")]
    pub auth_path: String,
    /// The audience of the tokens that pods log in to Vault with
    #[arg(long, default_value = "vault", value_name = "AUDIENCE")]
    pub audience: String,
    /// The way to the cluster.
    #[command(flatten)]
    pub connection: Connection,
}

/// Reads, converts, writes; the new manifests go to `out`, the report and commands to `err`.
pub async fn run(args: &VaultAgent, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Stand> {
    let (mut files, mut has_failed) = (Vec::new(), false);
    let workloads = if args.paths.is_empty() {
        let read = async { of_cluster(&args.connection.client().await?, args.namespace.as_deref()).await };
        match read.await {
            Ok(all) => all,
            Err(why) => {
                writeln!(err, "{why}")?;
                return Ok(Stand::Failed);
            }
        }
    } else {
        of_files((&args.paths, &mut files), err, &mut has_failed)?
    };
    let converted = convert(&workloads, args);
    if let Err(why) = written::manifests(args.out.as_deref(), &converted.manifests, (has_failed, &files), out) {
        has_failed = true;
        writeln!(err, "{why}")?;
    }
    let is_left = report(&converted, err)?;
    Ok(match (has_failed, is_left) {
        (true, _) => Stand::Failed,
        (false, true) => Stand::Left,
        (false, false) => Stand::Clear,
    })
}

fn of_files(
    (paths, files): (&[PathBuf], &mut Vec<PathBuf>),
    err: &mut dyn Write,
    has_failed: &mut bool,
) -> io::Result<Vec<Workload>> {
    let mut all = Vec::new();
    for path in paths {
        if let Err((path, error)) = collect(path, true, files) {
            *has_failed = true;
            writeln!(err, "{}", unreadable(&path, &error))?;
        }
    }
    for file in files {
        match fs::read_to_string(&*file) {
            Ok(text) if text.contains(PREFIX) => {
                for problem in of_file(file, &text, &mut all) {
                    *has_failed = true;
                    writeln!(err, "{}: {problem}", file.display())?;
                }
            }
            Err(error) if error.kind() != io::ErrorKind::InvalidData => {
                *has_failed = true;
                writeln!(err, "{}", unreadable(file, &error))?;
            }
            _ => {}
        }
    }
    Ok(all)
}

/// Says what is left, and the commands; whether anything is left.
fn report(converted: &Converted, err: &mut dyn Write) -> io::Result<bool> {
    for note in &converted.notes {
        let weight = match note.weight {
            Weight::Lost => "lost",
            Weight::ToDo => "to do",
            Weight::Note => "note",
        };
        writeln!(err, "{}: {weight}: {}", note.place, note.text)?;
    }
    if !converted.commands.is_empty() {
        writeln!(err, "\nOnce the new manifests are applied and what is to do is done:")?;
    }
    for (place, command) in &converted.commands {
        writeln!(err, "# {place}\n{command}")?;
    }
    let count = |weight| converted.notes.iter().filter(|note| note.weight == weight).count();
    let (lost, to_do) = (count(Weight::Lost), count(Weight::ToDo));
    let stores = converted.manifests.iter().filter(|manifest| manifest["kind"] != "ExternalSecret").count();
    writeln!(
        err,
        "\n{} ExternalSecrets and {stores} stores; {to_do} to do, {lost} lost",
        converted.manifests.len() - stores
    )?;
    Ok(lost + to_do > 0)
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
