//! `keyferry render`: what manifests come to, without a cluster. The pipeline is the operator's; here it runs over files.
//!
//! Modules, in reading order: [`lines`] where the parts of a document stand, [`manifests`] objects out of files, [`folder`]
//! the ports over them, [`mod@one`] what one ExternalSecret comes to, [`print`] what is shown.

pub mod lines;
pub mod manifests;
pub mod folder;
pub mod one;
pub mod print;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use keyferry_provider_core::Environment;
use keyferry_provider_core::address::Addresses;
use keyferry_stores::access::{ControllerToken, LoginPorts};
use keyferry_stores::files::Beside;
use keyferry_stores::pool::{Pool, Rules};
use keyferry_sync::compute::Here;
use keyferry_sync::data::SecretJson;
use keyferry_sync::engine::Engine;
use keyferry_sync::outcome::Failure;
use keyferry_sync::ports::{Ports, Stores};
use keyferry_sync::settings::{Adopt, Settings};

use self::folder::{Asked, Folder, Given, Nowhere};
use self::manifests::Place;
use self::print::Mask;
use crate::clock;

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
    /// Render what belongs to this controller class
    #[arg(long, default_value = "default", value_name = "CLASS")]
    pub controller_class: String,
    /// What opens an action in templates
    #[arg(long, default_value = "{{", value_name = "TEXT")]
    pub template_left_delimiter: String,
    /// What closes an action in templates
    #[arg(long, default_value = "}}", value_name = "TEXT")]
    pub template_right_delimiter: String,
    /// Fail where a template's function fails whose complaint Go takes for its result
    #[arg(long)]
    pub strict_templates: bool,
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
    let manifests = manifests::read(&args.filename, args.recursive, input);
    let (mut folder, mut problems) = Folder::new(&manifests.documents, &args.namespace);
    problems.splice(..0, manifests.problems);
    manifests.notes.iter().for_each(|note| tell(note));
    let values = match args.values.as_deref().map(manifests::values).transpose() {
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
    let (folder, settings) = (Arc::new(folder), settings(args));
    let ports = ports(folder.clone(), values, files(&args.filename));
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

fn told(place: &Place, how: &str, asked: &Asked, what: &str) -> String {
    let (namespace, name) = (asked.es.metadata.namespace.as_deref(), asked.es.metadata.name.as_deref());
    format!("{place}: {how}: ExternalSecret {}/{}: {what}", namespace.unwrap_or_default(), name.unwrap_or_default())
}

/// A failure as the condition tells it, but each cause on a line of its own, with the place of the entry that it names.
fn failures(asked: &Asked, failure: &Failure) -> Vec<String> {
    let lines = failure.causes.iter().map(|cause| {
        let line = asked.lines.named_in(cause.as_str()).unwrap_or(asked.place.line);
        let place = Place { line, ..asked.place.clone() };
        told(&place, "error", asked, &format!("{}: {cause}", failure.headline.as_str()))
    });
    lines.collect()
}

fn summary(folder: &Folder, rendered: usize, failed: usize) -> String {
    let mut text = format!("{rendered} of {} rendered, {failed} failed", folder.external_secrets.len());
    if !folder.others.is_empty() {
        let others: Vec<String> = folder.others.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        text += &format!("; passed over: {}", others.join(", "));
    }
    text
}

fn settings(args: &Render) -> Settings {
    Settings {
        class: args.controller_class.clone(),
        flood_gate: true,
        cluster_stores: true,
        adopt: Adopt::Any,
        generic_targets: true,
        generator_grace: Some(Duration::ZERO),
        engine: Engine::new(&args.template_left_delimiter, &args.template_right_delimiter)
            .strict(args.strict_templates),
        started: Timestamp::UNIX_EPOCH,
        now: clock::now,
    }
}

/// The files that stores may read: those beside the manifests, or here where they come from standard input.
fn files(manifests: &[PathBuf]) -> Beside {
    let folder = |path: &PathBuf| match path.parent() {
        _ if path.as_os_str() == "-" => PathBuf::from("."),
        _ if path.is_dir() => path.clone(),
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Beside::new(manifests.iter().map(folder))
}

fn ports(folder: Arc<Folder>, values: Option<BTreeMap<String, SecretJson>>, files: Beside) -> Ports {
    let login_ports = LoginPorts {
        objects: folder.clone(),
        accounts: folder.clone(),
        controller_token: ControllerToken::Never,
        refuse_api_audiences: false,
    };
    #[expect(clippy::disallowed_methods, reason = "endpoints of stores, which External Secrets Operator takes so too")]
    let environment: Environment = Arc::new(|name| std::env::var(name).ok());
    let (news, _) = tokio::sync::mpsc::unbounded_channel();
    // Whoever renders manifests could ask these stores by hand as well.
    let rules = Rules { addresses: Addresses::anywhere(), files: Some(Arc::new(files)), ..Rules::default() };
    let pool = Arc::new(Pool::new(Arc::new(login_ports), Arc::new(()), Arc::new(()), rules, environment, news));
    let stores: Arc<dyn Stores> = match values {
        Some(values) => Arc::new(Given { values: Arc::new(values), inner: pool }),
        None => pool,
    };
    Ports { stores, objects: folder, journal: Arc::new(Nowhere), compute: Arc::new(Here), states: Arc::new(Nowhere) }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
