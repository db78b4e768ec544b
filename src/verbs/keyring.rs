//! Where the keys of sealed documents lie on somebody's machine: beside what they seal, or in a folder above it in the same repository.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use keyferry_documents::{Identities, Recipients};
use keyferry_limits::DOCUMENT_SIZE;
use keyferry_provider_core::SecretBytes;

/// The file of the identities, which stays out of git.
pub const KEY_FILE: &str = "age.key";
/// The file of the recipients, which lies in git.
pub const RECIPIENTS_FILE: &str = ".age-recipients";

/// For whom is sealed.
#[derive(Args, Debug, Default)]
pub struct For {
    /// Seal for this recipient: age1..., or a public key of SSH; may be repeated
    #[arg(long, short = 'r', value_name = "RECIPIENT")]
    pub recipient: Vec<String>,
    /// Seal for the recipients in this file, one a line; may be repeated. Where neither is given it is the file .age-recipients beside
    /// what is sealed, or in the nearest folder above within the git repository
    #[arg(long, short = 'R', value_name = "FILE")]
    pub recipients_file: Vec<PathBuf>,
}

impl For {
    /// The recipients for what lies in `folder`.
    pub fn recipients(&self, folder: &Path) -> Result<Recipients, String> {
        let mut all = Recipients::default();
        for word in &self.recipient {
            all.add(word).map_err(|error| format!("--recipient: {error}"))?;
        }
        let mut files = self.recipients_file.clone();
        if self.recipient.is_empty() && files.is_empty() {
            let found = above(folder, RECIPIENTS_FILE)?;
            if let Some((file, Where::Above)) = &found {
                let _ = writeln!(std::io::stderr(), "sealing for the recipients in {}", file.display());
            }
            files.extend(found.map(|(file, _)| file));
        }
        for file in files {
            let text = read(&file)?;
            let text = text.expose_str().ok_or_else(|| format!("{} is no text", file.display()))?;
            all.add_file(text).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        if all.is_empty() {
            return Err(format!(
                "there are no recipients to seal for: name one by --recipient, or make {RECIPIENTS_FILE} by `keyferry init`"
            ));
        }
        Ok(all)
    }
}

/// What opens.
#[derive(Args, Debug, Default)]
pub struct With {
    /// Open with the identities in this file, or this private key of SSH; may be repeated. Where none is given it is the file age.key
    /// beside what is opened, or in the nearest folder above within the git repository
    #[arg(long, short = 'i', value_name = "FILE", env = "KEYFERRY_AGE_KEY_FILE")]
    pub identity: Vec<PathBuf>,
}

impl With {
    /// The files of the identities for what lies in `folder`: those that are named, or the one that is found.
    pub fn files(&self, folder: &Path) -> Vec<PathBuf> {
        if self.identity.is_empty() {
            above(folder, KEY_FILE).ok().flatten().map(|(file, _)| file).into_iter().collect()
        } else {
            self.identity.clone()
        }
    }

    /// The identities for what lies in `folder`.
    pub fn identities(&self, folder: &Path) -> Result<Identities, String> {
        let mut files = self.identity.clone();
        if files.is_empty() {
            files.extend(above(folder, KEY_FILE)?.map(|(file, _)| file));
        }
        if files.is_empty() {
            return Err(format!(
                "there is no identity to open it with: name one by --identity, or keep it as {KEY_FILE} beside it"
            ));
        }
        let mut all = Identities::default();
        for file in files {
            all.add(&read(&file)?).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(all)
    }
}

/// Where a file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Beside,
    Above,
}

/// A file of this name in the folder, or, within a git repository, in the nearest one above it. Not beyond: in a folder that
/// others may write to, somebody else would say for whom is sealed. For the same reason what others own is not taken.
fn above(folder: &Path, name: &str) -> Result<Option<(PathBuf, Where)>, String> {
    let Ok(folder) = folder.canonicalize() else { return Ok(None) };
    let top = folder.ancestors().position(|folder| is_own(&folder.join(".git"))).unwrap_or(0);
    let folders = folder.ancestors().take(top + 1).enumerate();
    let mut files = folders.map(|(n, folder)| (folder.join(name), if n == 0 { Where::Beside } else { Where::Above }));
    let Some((file, found)) = files.find(|(file, _)| file.is_file()) else { return Ok(None) };
    if !is_own(&file) {
        return Err(format!(
            "{} belongs to another user, so it is not taken unasked: name it by a flag if it is the right one",
            file.display()
        ));
    }
    Ok(Some((file, found)))
}

/// Whether it is there, and it and what it leads to are ours or the administrator's.
fn is_own(file: &Path) -> bool {
    let is_known = |owner: u32| owner == 0 || owner == rustix::process::geteuid().as_raw();
    [file.symlink_metadata(), file.metadata()]
        .into_iter()
        .all(|metadata| metadata.is_ok_and(|metadata| is_known(metadata.uid())))
}

/// The folder that a file lies in.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// Reads a file, as long as one may be.
pub fn read(file: &Path) -> Result<SecretBytes, String> {
    let length = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    if length > DOCUMENT_SIZE.most {
        return Err(format!("{}: {DOCUMENT_SIZE}", file.display()));
    }
    std::fs::read(file)
        .map(SecretBytes::new)
        .map_err(|error| format!("can't read {}: {}", file.display(), error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_looked_for_up_to_the_top_of_the_repository_and_no_further() {
        let outside = tempfile::tempdir().unwrap();
        let (top, inner) = (outside.path().join("top"), outside.path().join("top/a/b"));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(outside.path().join(RECIPIENTS_FILE), "a stranger's").unwrap();
        assert_eq!(above(&inner, RECIPIENTS_FILE), Ok(None), "without a repository only the folder itself counts");
        std::fs::create_dir(top.join(".git")).unwrap();
        assert_eq!(above(&inner, RECIPIENTS_FILE), Ok(None));
        std::fs::write(top.join(RECIPIENTS_FILE), "ours").unwrap();
        assert_eq!(
            above(&inner, RECIPIENTS_FILE),
            Ok(Some((top.canonicalize().unwrap().join(RECIPIENTS_FILE), Where::Above)))
        );
        std::fs::write(inner.join(RECIPIENTS_FILE), "nearer").unwrap();
        assert_eq!(
            above(&inner, RECIPIENTS_FILE),
            Ok(Some((inner.canonicalize().unwrap().join(RECIPIENTS_FILE), Where::Beside)))
        );
    }

    #[test]
    fn what_others_own_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(RECIPIENTS_FILE);
        std::fs::write(&file, "a stranger's").unwrap();
        assert!(is_own(&file) && !is_own(&folder.path().join("none")));
        // Only root may give a file away.
        if std::os::unix::fs::chown(&file, Some(12345), None).is_ok() {
            let error = above(folder.path(), RECIPIENTS_FILE).unwrap_err();
            assert!(error.contains("belongs to another user"), "{error}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(DOCUMENT_SIZE.most + 1).unwrap();
        assert!(read(file.path()).unwrap_err().contains("limit document-size"));
    }
}
