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
use keyferry_crds::document;
use serde_json::Value;

use convert::{Converted, Weight, convert};
use store::Place;

use crate::manifests::unreadable;
use crate::written::{is_among, replace};

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

/// How it stands. The numbers are exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// All was carried over.
    Clear = 0,
    /// Something is left to do, or could not be carried over.
    Left = 1,
    /// Something could not be read or written.
    Failed = 2,
}

/// Larger files are no manifests.
const LARGEST: u64 = 16 << 20;

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
    if let Err(why) = write(args, &converted, (has_failed, &inputs), out) {
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

/// The documents of a text, each with the line that it begins in.
pub(crate) fn documents(text: &str) -> Vec<(usize, String)> {
    let mut all = vec![(1, String::new())];
    for (n, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            all.push((n + 2, String::new()));
        } else if let Some((_, last)) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    all
}

/// The files below a path, in order. Links are not followed, and what is hidden is left out.
pub(crate) fn collect(path: &Path, is_named: bool, files: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let here = |error| (path.to_owned(), error);
    let metadata = if is_named { fs::metadata(path) } else { fs::symlink_metadata(path) }.map_err(here)?;
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if metadata.is_file() && metadata.len() <= LARGEST && (is_named || ["yaml", "yml", "json"].contains(&ending)) {
        files.push(path.to_owned());
    } else if metadata.is_dir() && (is_named || !is_hidden) {
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(here)?;
        let mut inner: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        inner.sort();
        for path in inner {
            collect(&path, false, files)?;
        }
    }
    Ok(())
}

/// Writes them; the error, for a person, is that they are not written. A file is not where something could not be read: it may hold what
/// came of that before.
fn write(
    args: &Kes,
    converted: &Converted,
    (has_failed, inputs): (bool, &[PathBuf]),
    out: &mut dyn Write,
) -> Result<(), String> {
    let mut text = String::new();
    for manifest in &converted.manifests {
        text.push_str("---\n");
        text.push_str(&document(manifest));
    }
    let Some(file) = &args.out else {
        return out
            .write_all(text.as_bytes())
            .map_err(|error| format!("the new manifests can't be written: {}", error.kind()));
    };
    let name = file.display();
    if is_among(file, inputs) {
        return Err(format!("nothing was written: {name} is one of the old manifests; name another file by --out"));
    }
    if has_failed {
        return Err(format!("nothing was written to {name}, since not all could be read"));
    }
    replace(file, &text).map_err(|error| format!("{name} can't be written: {}", error.kind()))
}

/// Says what is left; whether anything is.
fn report(old: &[Old], converted: &Converted, err: &mut dyn Write) -> io::Result<bool> {
    for note in &converted.notes {
        let weight = match note.weight {
            Weight::Lost => "lost",
            Weight::ToDo => "to do",
            Weight::Note => "note",
        };
        writeln!(err, "{}: {weight}: {}", note.place, note.text)?;
    }
    let count = |weight| converted.notes.iter().filter(|note| note.weight == weight).count();
    let (lost, to_do) = (count(Weight::Lost), count(Weight::ToDo));
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
