//! `keyferry render`: what manifests come to, without a cluster. The pipeline is the operator's; here it runs over files.
//!
//! Modules, in reading order: [`given`] values in place of stores, [`mod@one`] what one ExternalSecret comes to, [`print`]
//! what is shown.

pub mod given;
pub mod one;
pub mod print;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use keyferry_provider_core::proxy::Proxies;
use keyferry_stores::files::Beside;
use keyferry_sync::compute::Here;
use keyferry_sync::data::SecretJson;
use keyferry_sync::ports::{Ports, Stores};

use self::given::Given;
use self::print::Mask;
use super::keyring::With;
use super::manifests::folder::{Folder, Nowhere, UNRECORDED};
use super::manifests::{Pipeline, beside, failures, proxies, read, stores, told};

/// Flags of `keyferry render`.
#[derive(Args, Debug)]
pub struct Render {
    /// The manifests: a file, a folder whose .yaml, .yml and .json files are read, or - for standard input; may be repeated
    #[arg(long, short, value_name = "FILE|DIR|-", required = true)]
    pub filename: Vec<PathBuf>,
    /// Read the folders within folders, too
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// A YAML map of remote keys and their values, which stands in for all stores: none is asked, and none need be there
    #[arg(long, value_name = "FILE")]
    pub values: Option<PathBuf>,
    /// Print values, rather than their lengths and hashes that only this run knows
    #[arg(long)]
    pub show_values: bool,
    /// How to print
    #[arg(long, short, default_value = "yaml", value_enum)]
    pub output: Format,
    /// The namespace of what names none
    #[arg(long, short, default_value = "default", value_name = "NAMESPACE")]
    pub namespace: String,
    /// What opens encrypted Secrets among the manifests.
    #[command(flatten)]
    pub identities: With,
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: Pipeline,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A YAML document for each object.
    Yaml,
    /// One JSON object of kind List.
    Json,
}

/// Some manifests can't be read.
const UNREADABLE: u8 = 2;

/// Reads, renders and prints. Of what can be read all is rendered, whatever else can't be.
pub async fn run(
    args: &Render,
    input: &mut (dyn Read + Send),
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<ExitCode, String> {
    let mut tell = |line: &str| _ = writeln!(err, "{line}");
    let manifests = read::read(&args.filename, args.recursive, input, &args.identities).await;
    let (mut folder, mut problems) = Folder::new(&manifests.documents, &args.namespace);
    problems.splice(..0, manifests.problems);
    manifests.notes.iter().for_each(|note| tell(note));
    let values = match args.values.as_deref().map(read::values).transpose() {
        Ok(values) => values,
        Err(problem) => {
            problems.iter().chain([&problem]).for_each(|problem| tell(problem));
            return Ok(ExitCode::from(UNREADABLE));
        }
    };
    problems.iter().for_each(|problem| tell(problem));
    if values.is_some() {
        let made_up = folder.make_up_stores();
        made_up.iter().for_each(|store| tell(&format!("note: {store} is not among the manifests; --values stands in")));
    }
    let (folder, settings) = (Arc::new(folder), args.pipeline.settings());
    let ports = ports(folder.clone(), values, beside(&args.filename), proxies()?);
    let came = folder.external_secrets.iter().map(|asked| one::one(&folder, &ports, &settings, &asked.es));
    let came = futures::future::join_all(came).await;
    let (mut rendered, mut failed) = (Vec::new(), 0);
    for (asked, came) in folder.external_secrets.iter().zip(came) {
        match came {
            Ok(one) => {
                one.notes.iter().for_each(|note| tell(&told(&asked.place, "note", asked, note)));
                rendered.extend(one.written);
            }
            Err(failure) => {
                failed += 1;
                failures(asked, &failure).iter().for_each(|line| tell(line));
            }
        }
    }
    let mask = if args.show_values { None } else { Some(Mask::new()) };
    print::print(&rendered, mask.as_ref(), args.output, out)
        .map_err(|_| "can't write to standard output".to_owned())?;
    tell(&summary(&folder, rendered.len(), failed));
    Ok(match (problems.len(), failed) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => ExitCode::from(UNREADABLE),
    })
}

fn summary(folder: &Folder, rendered: usize, failed: usize) -> String {
    let mut text = format!("{rendered} of {} rendered, {failed} failed", folder.external_secrets.len());
    if !folder.others.is_empty() {
        let others: Vec<String> = folder.others.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        text += &format!("; passed over: {}", others.join(", "));
    }
    text
}

fn ports(folder: Arc<Folder>, values: Option<BTreeMap<String, SecretJson>>, files: Beside, proxies: Proxies) -> Ports {
    let pool = stores(folder.clone(), folder.clone(), Some(files), None, proxies);
    let stores: Arc<dyn Stores> = match values {
        Some(values) => Arc::new(Given { values: Arc::new(values), inner: pool }),
        None => pool,
    };
    Ports {
        stores,
        objects: folder,
        journal: Arc::new(Nowhere),
        compute: Arc::new(Here),
        states: Arc::new(UNRECORDED),
        audit: Arc::new(()),
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
