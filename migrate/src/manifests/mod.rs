//! `keyferry migrate manifests`: manifests on disk that say old versions.
//!
//! Modules, in reading order: [`lines`] and [`flow`] what belongs together in a text, [`text`] what can be changed in it.

pub mod lines;
pub mod flow;
pub mod text;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use keyferry_crds::names::{GROUP, VERSION};
use memchr::memmem;

use text::Found;

use crate::written::replace;

/// Flags of `keyferry migrate manifests`.
#[derive(Args, Clone, Debug)]
pub struct Manifests {
    /// Folders and files with manifests
    #[arg(required = true, value_name = "DIR")]
    pub paths: Vec<PathBuf>,
    /// Change the files; without it nothing is changed
    #[arg(long)]
    pub write: bool,
}

/// How it stands. The numbers are exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// No old version is left.
    Clear = 0,
    /// Some are: not asked to change them, or not sure how.
    Left = 1,
    /// Something could not be read or written.
    Failed = 2,
}

/// Endings of files in which an apiVersion means what it says. What stands in other files is told only.
const ENDINGS: [&str; 7] = ["yaml", "yml", "json", "tpl", "tmpl", "gotmpl", "j2"];

/// Larger files are no manifests.
const LARGEST: u64 = 16 * 1024 * 1024;

#[derive(Default)]
struct Tally {
    files: usize,
    changes: usize,
    doubts: usize,
    failed: usize,
}

/// Looks through the files, changes them where that is asked for, and says each place in `out` and each file that can't
/// be read or written in `err`.
pub fn run(args: &Manifests, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Stand> {
    let mut files = Vec::new();
    let mut tally = Tally::default();
    for path in &args.paths {
        if let Err((path, error)) = collect(path, true, &mut files) {
            failed(&path, &error, &mut tally, err)?;
        }
    }
    for path in files {
        if let Err(error) = file(&path, args.write, &mut tally, out) {
            failed(&path, &error, &mut tally, err)?;
        }
    }
    if tally.failed == 0 || tally.changes + tally.doubts > 0 {
        summary(&tally, args.write, out)?;
    }
    Ok(match (tally.failed, tally.doubts, tally.changes) {
        (1.., _, _) => Stand::Failed,
        (0, 0, 0) => Stand::Clear,
        (0, 0, _) if args.write => Stand::Clear,
        _ => Stand::Left,
    })
}

fn failed(path: &Path, error: &io::Error, tally: &mut Tally, err: &mut dyn Write) -> io::Result<()> {
    tally.failed += 1;
    writeln!(err, "{}", unreadable(path, error))
}

/// What can't be read, and what to do; for a person.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such file or folder: name the folder that your manifests are in, or a file of them".to_owned()
        }
        io::ErrorKind::PermissionDenied => "it can't be read: run this as who may read it".to_owned(),
        kind => format!("it can't be read: {kind}"),
    };
    format!("{}: error: {why}", path.display())
}

/// The files below a path, in order. Links are not followed, so that no file is seen twice or outside of what was named;
/// what Git keeps for itself is left out.
fn collect(path: &Path, is_named: bool, files: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let here = |error| (path.to_owned(), error);
    let metadata = if is_named { fs::metadata(path) } else { fs::symlink_metadata(path) }.map_err(here)?;
    if metadata.is_file() && metadata.len() <= LARGEST {
        files.push(path.to_owned());
    } else if metadata.is_dir() && path.file_name().is_none_or(|name| is_named || name != ".git") {
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(here)?;
        let mut inner: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        inner.sort();
        for path in inner {
            collect(&path, false, files)?;
        }
    }
    Ok(())
}

fn file(path: &Path, write: bool, tally: &mut Tally, out: &mut dyn Write) -> io::Result<()> {
    let bytes = fs::read(path)?;
    if memmem::find(&bytes, GROUP.as_bytes()).is_none() {
        return Ok(());
    }
    let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
    let found = text::find(&text);
    let name = path.display();
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if !ENDINGS.contains(&ending) {
        for line in found.changes.iter().map(|change| change.line).chain(found.doubts.iter().map(|doubt| doubt.line)) {
            tally.doubts += 1;
            writeln!(out, "{name}:{line}: left alone: it is no file of manifests by its name")?;
        }
        return Ok(());
    }
    say(&name.to_string(), &found, write, out)?;
    tally.doubts += found.doubts.len();
    if found.changes.is_empty() {
        return Ok(());
    }
    if write {
        replace(path, &text::rewritten(&text, &found.changes))?;
    }
    tally.files += 1;
    tally.changes += found.changes.len();
    Ok(())
}

fn say(name: &str, found: &Found, write: bool, out: &mut dyn Write) -> io::Result<()> {
    let becomes = if write { "is now" } else { "would be" };
    let changes = found.changes.iter().map(|change| {
        let kind = if change.kind.is_empty() { "all kinds" } else { &change.kind };
        (change.line, format!("{kind}: {} {becomes} {VERSION}", change.from))
    });
    let doubts = found.doubts.iter().map(|doubt| (doubt.line, format!("left alone: {}", doubt.why)));
    let mut all: Vec<(usize, String)> = changes.chain(doubts).collect();
    all.sort_by_key(|(line, _)| *line);
    for (line, what) in all {
        writeln!(out, "{name}:{line}: {what}")?;
    }
    Ok(())
}

fn summary(tally: &Tally, write: bool, out: &mut dyn Write) -> io::Result<()> {
    let Tally { files, changes, doubts, .. } = *tally;
    let places = |count: usize| format!("{count} {}", if count == 1 { "place" } else { "places" });
    let in_files = format!("{} in {files} {}", places(changes), if files == 1 { "file" } else { "files" });
    match (changes, write) {
        (0, _) if doubts == 0 => writeln!(out, "No manifest says an old version.")?,
        (0, _) => {}
        (_, true) => writeln!(out, "Changed: {in_files}.")?,
        (_, false) => writeln!(out, "Run again with --write to change {in_files}.")?,
    }
    if doubts > 0 {
        writeln!(out, "Left alone, to be looked at by hand: {}.", places(doubts))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
