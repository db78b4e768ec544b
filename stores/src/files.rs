//! Files that stores may read, beside the manifests that name them.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use keyferry_provider_core::{Error, Files, SecretBuf, SecretBytes};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// The files that were asked for, each as it was the first time; `None` where it was not there.
pub type Sought = Arc<Mutex<BTreeMap<PathBuf, Option<Metadata>>>>;

/// The files within some folders; the first that has one counts. It tells which were asked for.
#[derive(Debug)]
pub struct Beside(Vec<PathBuf>, Sought);

impl Beside {
    /// Within these folders. A folder that is not there has no files.
    pub fn new(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(folders.into_iter().filter_map(|folder| folder.canonicalize().ok()).collect(), Sought::default())
    }

    /// Writes down there what it is asked for.
    pub fn telling(self, sought: Sought) -> Self {
        Self(self.0, sought)
    }

    /// Where the file is. A link may lead to another file of the same folder, as those of mounted volumes do, and not out of it.
    fn find(&self, path: &str) -> Result<PathBuf, Error> {
        let relative = Path::new(path);
        if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(Error::invalid(format!("file {path:?} must be named relative to the manifests, without ..")));
        }
        for folder in &self.0 {
            let mut sought = self.1.lock().unwrap_or_else(PoisonError::into_inner);
            let named = folder.join(relative);
            sought.entry(named).or_insert_with_key(|named| std::fs::metadata(named).ok());
            drop(sought);
            match folder.join(relative).canonicalize() {
                Ok(found) if found.starts_with(folder) => return Ok(found),
                Ok(_) => {
                    return Err(Error::invalid(format!("file {path:?} leads out of the folder of the manifests")));
                }
                Err(_) => {}
            }
        }
        Err(Error::invalid(format!("file {path:?} is not there: it is looked for beside the manifests")))
    }
}

impl Files for Beside {
    fn read(&self, path: &str, most: usize) -> Result<SecretBytes, Error> {
        let found = self.find(path)?;
        let unreadable = |_| Error::invalid(format!("file {path:?} can't be read: check its mode and owner"));
        // A pipe is not waited for.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(found).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Error::invalid(format!("file {path:?} is not a file")));
        }
        // With a byte more, so that whoever asked sees that it is longer.
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX).min(most + 1);
        let (mut out, mut part) = (SecretBuf::with_capacity(length), Zeroizing::new([0; 4096]));
        let mut file = file.take(most as u64 + 1);
        loop {
            match file.read(&mut *part).map_err(unreadable)? {
                0 => return Ok(out.into()),
                length => out.extend(&part[..length]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_is_read() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "no").unwrap();
        std::fs::write(inside.path().join("own"), "yes").unwrap();
        symlink("own", inside.path().join("link")).unwrap();
        symlink(outside.path().join("secret"), inside.path().join("out")).unwrap();
        let files = Beside::new([inside.path().to_owned()]);
        let pipe = inside.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let absolute = outside.path().join("secret");
        let up = format!("../{}/secret", outside.path().file_name().unwrap().to_str().unwrap());
        for (path, says) in [
            (absolute.to_str().unwrap(), "relative to the manifests"),
            (up.as_str(), "without .."),
            ("out", "leads out"),
            ("none", "is not there"),
            (".", "is not a file"),
            ("pipe", "is not a file"),
        ] {
            let error = files.read(path, 10).unwrap_err();
            assert!(error.message().contains(says), "{path}: {error}");
        }
        for path in ["own", "./own", "link"] {
            assert_eq!(files.read(path, 10).unwrap().expose(), b"yes");
        }
        assert_eq!(files.read("own", 1).unwrap().len(), 2, "one byte more than asked for");
    }
}
