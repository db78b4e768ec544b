//! `keyferry migrate secrets-store`: SecretProviderClasses of the providers of Vault, AWS, Azure and Google become ExternalSecrets and
//! stores.
//!
//! Modules, in reading order: [`class`] what a class says, [`object`] what a provider makes of it, [`vault`], [`aws`], [`azure`], [`gcp`]
//! the providers, [`convert`] what it comes to; all of them pure. Here are the files, and the cluster.

pub mod class;
pub mod object;
pub mod vault;
pub mod aws;
pub mod azure;
pub mod gcp;
pub mod convert;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use keyferry_cluster::connection::Connection;
use keyferry_cluster::problem::timely;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use class::Class;
use convert::{Converted, convert};
use object::Place;

use crate::carry::{Stand, collect, documents, tell};
use crate::manifests::unreadable;
use crate::written;

/// The group of the classes.
pub const GROUP: &str = "secrets-store.csi.x-k8s.io";

/// How many classes are asked for at once.
const PAGE: u32 = 500;

/// Flags of `keyferry migrate secrets-store`.
#[derive(Args, Clone, Debug, Default)]
pub struct SecretsStore {
    /// Files with manifests, and folders with all that is in them; without one, the cluster's SecretProviderClasses
    #[arg(value_name = "DIR")]
    pub paths: Vec<PathBuf>,
    /// The way to the cluster, where no path is named.
    #[command(flatten)]
    pub connection: Connection,
    /// Write the new manifests here, in place of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print the classes, too, with keyferry as their provider: pods stay as they are, and so does the Secrets Store CSI Driver
    #[arg(long)]
    pub classes: bool,
    /// Have ExternalSecrets write the Secrets of secretObjects
    #[arg(long)]
    pub secrets: bool,
    /// How often values are fetched
    #[arg(long, default_value = "2m", value_name = "DURATION")]
    pub refresh_interval: String,
    /// What the providers' own settings said, and classes do not.
    #[command(flatten)]
    pub place: Place,
}

/// Reads, converts, writes; the new manifests go to `out`, the report to `err`. The error is for a person.
pub async fn run(args: &SecretsStore, out: &mut dyn Write, err: &mut dyn Write) -> Result<Stand, String> {
    let (mut classes, mut files, mut has_failed) = (Vec::new(), Vec::new(), false);
    if args.paths.is_empty() {
        classes = of_cluster(&args.connection).await?;
    } else {
        let mut complain = |line: String| {
            has_failed = true;
            writeln!(err, "{line}")
        };
        of_files((&args.paths, &mut files), &mut classes, &mut complain).map_err(cannot_write)?;
    }
    let converted = convert(&classes, args);
    if let Err(why) = written::manifests(args.out.as_deref(), &converted.manifests, (has_failed, &files), out) {
        has_failed = true;
        writeln!(err, "{why}").map_err(cannot_write)?;
    }
    let is_left = report(&classes, &converted, err).map_err(cannot_write)?;
    Ok(match (has_failed, is_left) {
        (true, _) => Stand::Failed,
        (false, true) => Stand::Left,
        (false, false) => Stand::Clear,
    })
}

fn cannot_write(_: io::Error) -> String {
    "can't write the report".to_owned()
}

/// The classes of what is below paths, which are the files; what can't be read is complained of.
fn of_files(
    (paths, files): (&[PathBuf], &mut Vec<PathBuf>),
    classes: &mut Vec<Class>,
    complain: &mut dyn FnMut(String) -> io::Result<()>,
) -> io::Result<()> {
    for path in paths {
        if let Err((path, error)) = collect(path, true, files) {
            complain(unreadable(&path, &error))?;
        }
    }
    for file in files {
        match fs::read_to_string(&*file) {
            Ok(text) if text.contains(GROUP) => {
                for problem in take(file, &text, classes) {
                    complain(format!("{}: {problem}", file.display()))?;
                }
            }
            Err(error) if error.kind() != io::ErrorKind::InvalidData => complain(unreadable(file, &error))?,
            _ => {}
        }
    }
    Ok(())
}

/// The classes of a file; what can't be read of it is told.
fn take(file: &Path, text: &str, classes: &mut Vec<Class>) -> Vec<String> {
    let mut problems = Vec::new();
    for (line, document) in documents(text) {
        if !document.contains(GROUP) {
            continue;
        }
        match serde_saphyr::from_str::<Value>(&document) {
            Ok(manifest) => collect_classes(manifest, &file.display().to_string(), (line, &document), classes),
            Err(error) => {
                let at = error.location().map_or(0, |location| location.line() as usize);
                problems.push(format!("{}: it is not YAML; render templates first", line + at.saturating_sub(1)));
            }
        }
    }
    problems
}

fn is_class(manifest: &Value) -> bool {
    let version = manifest["apiVersion"].as_str().unwrap_or_default();
    manifest["kind"] == "SecretProviderClass" && version.split_once('/').is_some_and(|(group, _)| group == GROUP)
}

fn collect_classes(mut manifest: Value, file: &str, (line, text): (usize, &str), classes: &mut Vec<Class>) {
    if is_class(&manifest) {
        classes.push(Class { file: Some(file.to_owned()), line, text: text.to_owned(), manifest });
    } else if manifest["kind"].as_str().is_some_and(|kind| kind.ends_with("List"))
        && let Value::Array(items) = manifest["items"].take()
    {
        for item in items {
            collect_classes(item, file, (line, text), classes);
        }
    }
}

/// The classes of a cluster.
async fn of_cluster(connection: &Connection) -> Result<Vec<Class>, String> {
    let client = connection.client().await?;
    let kind = GroupVersionKind::gvk(GROUP, "v1", "SecretProviderClass");
    let resource = ApiResource::from_gvk_with_plural(&kind, "secretproviderclasses");
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let (mut classes, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let list = timely(api.list(&page)).await;
        let list = list.map_err(|problem| format!("can't list SecretProviderClasses: {}", problem.for_person()))?;
        for object in list.items {
            let mut manifest = serde_json::to_value(&object).map_err(|_| "a class can't be read".to_owned())?;
            manifest["apiVersion"] = format!("{GROUP}/v1").into();
            manifest["kind"] = "SecretProviderClass".into();
            classes.push(Class { file: None, line: 0, text: String::new(), manifest });
        }
        let Some(next) = list.metadata.continue_.filter(|next| !next.is_empty()) else { return Ok(classes) };
        page = page.continue_token(&next);
    }
}

/// Says what is left; whether anything is.
fn report(classes: &[Class], converted: &Converted, err: &mut dyn Write) -> io::Result<bool> {
    let (lost, to_do) = tell(&converted.notes, err)?;
    let count = |kind: &str| converted.manifests.iter().filter(|manifest| manifest["kind"] == kind).count();
    writeln!(
        err,
        "{} SecretProviderClasses: {} ExternalSecrets, {} stores; {to_do} to do, {lost} lost",
        classes.len(),
        count("ExternalSecret"),
        count("SecretStore"),
    )?;
    Ok(lost + to_do > 0)
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
