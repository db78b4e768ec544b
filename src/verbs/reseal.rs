//! `keyferry reseal`: values that `keyferry seal --for` sealed, with the latest key. The operator opens and seals; nobody here sees a
//! value.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use keyferry_limits::DOCUMENT_SIZE;
use keyferry_provider_core::SecretBytes;
use keyferry_sealing::{Sealed, text};

use crate::sealing::way::Way;
use crate::verbs::edit::replace;

/// The most folders within each other that are looked through.
const DEPTH: usize = 64;

/// Flags of `keyferry reseal`.
#[derive(Args, Debug)]
pub struct Reseal {
    /// The files, or folders with all that is in them; may be repeated
    #[arg(long, short, value_name = "FILE|DIR", required = true)]
    pub filename: Vec<PathBuf>,
    /// Only list what would be sealed anew, and exit with 1 where anything would be
    #[arg(long)]
    pub check: bool,
    /// The operator.
    #[command(flatten)]
    pub way: Way,
}

/// A value that an older key sealed.
struct Old {
    line: usize,
    at: Range<usize>,
    sealed: String,
}

impl Reseal {
    /// Seals anew; the error, for a person, is that it can't begin.
    pub async fn run(&self, out: &mut (dyn Write + Send)) -> Result<ExitCode, String> {
        let (operator, latest) = (self.way.operator().await?, self.way.public_key().await?);
        let (mut files, mut is_well) = (Vec::new(), true);
        for path in &self.filename {
            collect(path, DEPTH, &mut files)?;
        }
        let (mut anew, mut fine) = (0, 0);
        let told = |out: &mut (dyn Write + Send), line: String| {
            writeln!(out, "{line}").map_err(|_| "can't write the report".to_owned())
        };
        for file in files {
            let Some(before) = read(&file)? else { continue };
            let (old, current) = old(before.expose_str().unwrap_or_default(), latest.id());
            fine += current;
            if self.check || old.is_empty() {
                for one in &old {
                    told(out, format!("{}:{}: sealed with an older key", file.display(), one.line))?;
                }
                anew += old.len();
                is_well &= old.is_empty();
                continue;
            }
            let answers = operator.reseal(old.iter().map(|one| one.sealed.clone()).collect()).await?;
            let mut changed = before.expose_str().unwrap_or_default().to_owned();
            for (one, answer) in old.iter().zip(&answers).rev() {
                match answer {
                    Ok(sealed) => changed.replace_range(one.at.clone(), sealed),
                    Err(why) => {
                        is_well = false;
                        told(out, format!("{}:{}: error: {why}", file.display(), one.line))?;
                    }
                }
            }
            let done = answers.iter().flatten().count();
            if done > 0 {
                replace(&file, changed.as_bytes(), Some(&before))?;
                told(out, format!("{}: {done} sealed anew", file.display()))?;
            }
            anew += done;
        }
        let verb = if self.check { "to be sealed anew" } else { "sealed anew" };
        told(out, format!("{anew} {verb}, {fine} with the latest key already"))?;
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The values in a text that another key than this sealed, and how many this one did.
fn old(text: &str, latest: &str) -> (Vec<Old>, usize) {
    let (mut old, mut fine) = (Vec::new(), 0);
    for at in text::find(text) {
        match text[at.clone()].parse::<Sealed>() {
            Ok(sealed) if sealed.key == latest => fine += 1,
            _ => {
                let line = text[..at.start].matches('\n').count() + 1;
                old.push(Old { line, sealed: text[at.clone()].to_owned(), at });
            }
        }
    }
    (old, fine)
}

/// The files of a folder, but for what is hidden.
fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("can't read {}: {}", path.display(), error.kind());
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.is_file() {
        files.push(path.to_owned());
    }
    if !metadata.is_dir() || depth == 0 {
        return Ok(());
    }
    let entries = std::fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut entries: Vec<PathBuf> = entries.map_err(unreadable)?.into_iter().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let is_hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        // A link may lead round in a circle, or out of the repository.
        if !is_hidden && !entry.is_symlink() {
            collect(&entry, depth - 1, files)?;
        }
    }
    Ok(())
}

/// A text that may hold such values; none where it is no text, or too long for manifests.
fn read(file: &Path) -> Result<Option<SecretBytes>, String> {
    let unreadable = |error: std::io::Error| format!("can't read {}: {}", file.display(), error.kind());
    if std::fs::metadata(file).map_err(unreadable)?.len() > 16 * DOCUMENT_SIZE.most {
        return Ok(None);
    }
    let bytes = SecretBytes::new(std::fs::read(file).map_err(unreadable)?);
    Ok(Some(bytes).filter(|bytes| bytes.expose_str().is_some_and(|text| text.contains(text::PREFIX))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_looked_through_but_for_what_is_hidden_or_a_link() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b/c.txt", ".git/config", "b/.hidden"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "sealed:").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/round")).unwrap();
        let mut files = Vec::new();
        collect(folder.path(), DEPTH, &mut files).unwrap();
        let names: Vec<_> =
            files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.yaml", "b/c.txt"]);
        assert!(read(&files[0]).unwrap().is_some());
        std::fs::write(&files[0], [0xff]).unwrap();
        assert!(read(&files[0]).unwrap().is_none(), "no text");
        assert!(collect(Path::new("none"), DEPTH, &mut files).unwrap_err().contains("can't read none"));
    }

    #[test]
    fn what_the_latest_key_sealed_is_left_alone() {
        let text = "a: sealed:0a0a0a0a:n:AAAA\nb: sealed:0b0b0b0b:n/a:AAAA\n";
        let (old, fine) = old(text, "0a0a0a0a");
        assert_eq!((old.len(), fine), (1, 1));
        assert_eq!((old[0].line, old[0].sealed.as_str()), (2, "sealed:0b0b0b0b:n/a:AAAA"));
        assert_eq!(&text[old[0].at.clone()], old[0].sealed);
    }
}
