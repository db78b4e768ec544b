//! Whether files have changed since they were last looked at: by their metadata alone, on any file system.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells one state of a file from another.
type State = (u64, u64, u64, i64, i64);

/// The states of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(BTreeMap<PathBuf, Option<State>>);

impl Stamp {
    /// Of files, and of all files in folders.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>, recursive: bool) -> Self {
        let mut stamp = Self::default();
        for path in paths {
            if path.is_dir() {
                stamp.take_folder(path, recursive);
            } else {
                stamp.take(path);
            }
        }
        stamp
    }

    fn take_folder(&mut self, folder: &Path, recursive: bool) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        // Links count as where they lead to; in a volume of a ConfigMap that is what changes.
        for path in entries.map(|entry| entry.path()) {
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if is_hidden {
                continue;
            }
            if !path.is_dir() {
                self.take(&path);
            } else if recursive {
                self.take_folder(&path, recursive);
            }
        }
    }

    fn take(&mut self, file: &Path) {
        let state = std::fs::metadata(file).ok();
        let state = state.map(|stat| (stat.dev(), stat.ino(), stat.size(), stat.mtime(), stat.mtime_nsec()));
        self.0.insert(file.to_owned(), state);
    }

    /// Takes others along.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Those of all files but these.
    pub fn without(mut self, files: &[&Path]) -> Self {
        self.0.retain(|path, _| !files.contains(&path.as_path()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_owned()];
        let stamp = || Stamp::of(&paths, false);
        let file = folder.path().join("a.yaml");
        let mut seen = vec![stamp()];
        let mut changed = |what: &str| {
            let now = stamp();
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        std::fs::write(&file, "a").unwrap();
        changed("a new file");
        std::fs::write(&file, "ab").unwrap();
        changed("another size");
        std::fs::write(folder.path().join("b"), "ab").unwrap();
        std::fs::rename(folder.path().join("b"), &file).unwrap();
        changed("another file of that name and size");
        assert_eq!(stamp(), stamp());
        std::fs::create_dir(folder.path().join("in")).unwrap();
        std::fs::write(folder.path().join("in/c.yaml"), "c").unwrap();
        assert_eq!(&stamp(), seen.last().unwrap(), "folders within are not read");
        assert_ne!(&Stamp::of(&paths, true), seen.last().unwrap());
        let rest = |stamp: Stamp| stamp.without(&[&file]);
        assert_eq!(rest(stamp()), Stamp::default());
    }
}
