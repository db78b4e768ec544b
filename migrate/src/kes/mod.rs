//! `keyferry migrate kes`: manifests of kubernetes-external-secrets (`kubernetes-client.io/v1`) become ExternalSecrets and stores.
//!
//! Modules, in reading order: [`entry`] what an old manifest says, [`store`] where its values are, [`convert`] what it comes to; all of them
//! pure. Here are the files.

pub mod entry;
pub mod store;
pub mod convert;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use convert::{Converted, convert};
use store::Place;

use crate::carry::{Stand, collect, documents, tell};
use crate::manifests::unreadable;
use crate::written;

/// The group of the old manifests.
pub const GROUP: &str = "kubernetes-client.io";

/// Flags of `keyferry migrate kes`.
#[derive(Args, Clone, Debug, Default)]
pub struct Kes {
    /// Files with manifests, and folders with all that is in them
    #[arg(required = true, value_name = "DIR")]
    pub paths: Vec<PathBuf>,
    /// Write the new manifests here, in place of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Make ClusterSecretStores: one for all namespaces, in place of a SecretStore in each
    #[arg(long)]
    pub cluster_stores: bool,
    /// How often values are fetched
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    pub refresh_interval: String,
    /// What the operator's environment said, and manifests do not.
    #[command(flatten)]
    pub place: Place,
}

/// Reads, converts, writes; the new manifests go to `out`, the report to `err`.
pub fn run(args: &Kes, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Stand> {
    let (mut files, mut old, mut has_failed) = (Vec::new(), Vec::new(), false);
    let mut inputs = args.paths.clone();
    for path in &args.paths {
        if let Err((path, error)) = collect(path, true, &mut files) {
            has_failed = true;
            writeln!(err, "{}", unreadable(&path, &error))?;
        }
    }
    for file in files {
        match fs::read_to_string(&file) {
            Ok(text) if text.contains(GROUP) => {
                inputs.push(file.clone());
                for problem in take(&file, &text, &mut old) {
                    has_failed = true;
                    writeln!(err, "{}: {problem}", file.display())?;
                }
            }
            Err(error) if error.kind() != io::ErrorKind::InvalidData => {
                has_failed = true;
                writeln!(err, "{}", unreadable(&file, &error))?;
            }
            _ => {}
        }
    }
    let converted = convert(&old, args);
    if let Err(why) = written::manifests(args.out.as_deref(), &converted.manifests, (has_failed, &inputs), out) {
        has_failed = true;
        writeln!(err, "{why}")?;
    }
    let is_left = report(&old, &converted, err)?;
    Ok(match (has_failed, is_left) {
        (true, _) => Stand::Failed,
        (false, true) => Stand::Left,
        (false, false) => Stand::Clear,
    })
}

/// An old manifest, and where it stands.
pub struct Old {
    /// The file, and the line that it begins in.
    pub place: String,
    /// What it says.
    pub manifest: Value,
}

/// The old manifests of a file; what can't be read of it is told.
fn take(file: &Path, text: &str, old: &mut Vec<Old>) -> Vec<String> {
    let mut problems = Vec::new();
    for (line, document) in documents(text) {
        if !document.contains(GROUP) {
            continue;
        }
        let options = serde_saphyr::options! { strict_booleans: true };
        match serde_saphyr::from_str_with_options::<Value>(&document, options) {
            Ok(value) => collect_old(value, &format!("{}:{line}", file.display()), old),
            Err(error) => {
                let at = error.location().map_or(0, |location| location.line() as usize);
                problems.push(format!("{}: it is not YAML; render templates first", line + at.saturating_sub(1)));
            }
        }
    }
    problems
}

fn collect_old(mut value: Value, place: &str, old: &mut Vec<Old>) {
    let group = value["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    if group == Some(GROUP) && value["kind"] == "ExternalSecret" {
        old.push(Old { place: place.to_owned(), manifest: value });
    } else if value["kind"] == "List"
        && let Value::Array(items) = value["items"].take()
    {
        for item in items {
            collect_old(item, place, old);
        }
    }
}

/// Says what is left; whether anything is.
fn report(old: &[Old], converted: &Converted, err: &mut dyn Write) -> io::Result<bool> {
    let (lost, to_do) = tell(&converted.notes, err)?;
    let stores = converted.manifests.iter().filter(|manifest| manifest["kind"] != "ExternalSecret").count();
    writeln!(
        err,
        "{} ExternalSecrets of {GROUP}: {} carried over, with {stores} stores; {to_do} to do, {lost} lost",
        old.len(),
        converted.manifests.len() - stores
    )?;
    Ok(lost + to_do > 0)
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
