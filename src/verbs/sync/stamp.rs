//! Whether files have changed since they were last looked at: by their metadata alone, on any file system.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::verbs::manifests::read::Visited;

/// What tells one state of a file from another.
type State = (u64, u64, u64, i64, i64);

/// What names of files begin with that are no manifests.
const HIDDEN: &str = ".";

/// What the names of those begin with that volumes of Secrets have beside the keys.
pub const OF_VOLUMES: &str = "..";

/// The states of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(BTreeMap<PathBuf, Option<State>>);

impl Stamp {
    /// Of files, and of all files in folders; each folder counts once, wherever links lead.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>, recursive: bool) -> Self {
        let (mut stamp, mut visited) = (Self::default(), Visited::default());
        for path in paths {
            if path.is_dir() {
                stamp.take_folder(path, recursive, HIDDEN, &mut visited);
            } else {
                stamp.take(path);
            }
        }
        stamp
    }

    /// Of all that a folder of credentials has; keys may begin with a dot.
    pub fn of_credentials(folder: &Path) -> Self {
        let mut stamp = Self::default();
        stamp.take_folder(folder, true, OF_VOLUMES, &mut Visited::default());
        stamp
    }

    /// Of those files that are not as they were.
    pub fn of_changed(files: &BTreeMap<PathBuf, Option<Metadata>>) -> Self {
        let now = files.iter().map(|(path, first)| (path, std::fs::metadata(path).ok().as_ref().map(state), first));
        let changed = now.filter(|(_, now, first)| *now != first.as_ref().map(state));
        Self(changed.map(|(path, now, _)| (path.clone(), now)).collect())
    }

    /// Names that begin so are `passed_over`.
    fn take_folder(&mut self, folder: &Path, recursive: bool, passed_over: &str, visited: &mut Visited) {
        if !visited.is_new(folder) {
            return;
        }
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        // Links count as where they lead to; in a volume of a ConfigMap that is what changes.
        for path in entries.map(|entry| entry.path()) {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(passed_over)) {
                continue;
            }
            if !path.is_dir() {
                self.take(&path);
            } else if recursive {
                self.take_folder(&path, recursive, passed_over, visited);
            }
        }
    }

    fn take(&mut self, file: &Path) {
        self.0.insert(file.to_owned(), std::fs::metadata(file).ok().as_ref().map(state));
    }

    /// Takes others along.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

fn state(stat: &Metadata) -> State {
    (stat.dev(), stat.ino(), stat.size(), stat.mtime(), stat.mtime_nsec())
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
        std::os::unix::fs::symlink("..", folder.path().join("in/loop")).unwrap();
        assert_eq!(Stamp::of(&paths, true).0.len(), 2, "links in a loop end");
    }

    #[test]
    fn hidden_keys_of_credentials_count() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("team/login");
        std::fs::create_dir_all(secret.join("..2026")).unwrap();
        let stamp = || Stamp::of_credentials(folder.path());
        let before = stamp();
        std::fs::write(secret.join(".dockerconfigjson"), "{}").unwrap();
        let arrived = stamp();
        assert_ne!(arrived, before);
        std::fs::write(secret.join("..2026/key"), "of the volume").unwrap();
        assert_eq!(stamp(), arrived, "it is no key");
        std::fs::write(secret.join(".dockerconfigjson"), "{ }").unwrap();
        assert_ne!(stamp(), arrived);
    }

    #[test]
    fn only_what_is_not_as_it_was_counts() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        std::fs::write(&a, "a").unwrap();
        let files = [&a, &b].map(|path| (path.clone(), std::fs::metadata(path).ok())).into();
        assert_eq!(Stamp::of_changed(&files), Stamp::default());
        std::fs::write(&b, "b").unwrap();
        let arrived = Stamp::of_changed(&files);
        assert_eq!(arrived.0.keys().collect::<Vec<_>>(), [&b]);
        std::fs::write(&a, "ab").unwrap();
        assert_ne!(Stamp::of_changed(&files), arrived);
    }
}
