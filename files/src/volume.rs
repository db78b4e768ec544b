//! A folder that is mounted on its own, with files in it at any depth, each with a mode of its own. It is swapped as all folders
//! of files are. Whoever it is for may have changed anything in it: no step follows a link, and what is not ours is left.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use keyferry_provider_core::SecretBytes;
use rustix::fs::{FileType, Mode, OFlags, open};
use rustix::io::Errno;

use crate::access::Access;
use crate::at;
use crate::contents::is_file_name;
use crate::problem::Problem;
use crate::versions;

/// How many folders a path may name above its file.
pub const DEEPEST: usize = 8;

/// The longest path.
const LONGEST: usize = 1024;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What it holds.
    pub value: SecretBytes,
    /// Its mode.
    pub mode: u32,
}

/// Files by path.
pub type Files = BTreeMap<String, File>;

/// How much is ever written to a volume. No more than that is read: whoever the volume is for may have filled it.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// How many files.
    pub files: usize,
    /// How long they are together.
    pub bytes: usize,
}

/// What a volume shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// No files.
    Nothing,
    /// Files such as are written.
    Files(Files),
    /// What was never written: more or larger files than that, links, pipes, folders in the place of files.
    Others,
}

/// The folder, opened.
pub struct Volume {
    path: PathBuf,
    folder: OwnedFd,
}

/// Whether a path leads to a file within, part by part.
pub fn is_path(path: &str) -> bool {
    let parts = path.split('/').count();
    path.len() <= LONGEST && parts <= DEEPEST + 1 && path.split('/').all(is_file_name)
}

/// Two paths of which one leads through the other, where there are such: a file is no folder.
pub fn in_the_way<'a>(paths: impl IntoIterator<Item = &'a String>) -> Option<(&'a str, &'a str)> {
    let all: BTreeSet<&str> = paths.into_iter().map(String::as_str).collect();
    all.iter().find_map(|path| {
        let mut above = path.match_indices('/').map(|(end, _)| &path[..end]);
        above.find_map(|above| all.get(above).map(|above| (*above, *path)))
    })
}

impl Volume {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = open(path, flags, Mode::empty()).map_err(|error| Problem::of("open the folder", path, error))?;
        Ok(Self { path: path.to_owned(), folder })
    }

    /// What it shows.
    pub fn read(&self, most: Most) -> Result<Shown, Problem> {
        self.read_version(most, self.version())
    }

    /// What it shows where another than us writes it, as the kubelet does: `..data` leads to a folder whose name begins with two
    /// dots, too.
    pub fn read_of_another(&self, most: Most) -> Result<Shown, Problem> {
        self.read_version(most, self.version_of_another())
    }

    /// Whether another than us has it show files, whatever they hold.
    pub fn shows_files_of_another(&self) -> Result<bool, Problem> {
        let version = self.version_of_another().map_err(|error| Problem::of("read", &self.path, error));
        version.map(|version| version.is_some())
    }

    fn version_of_another(&self) -> Result<Option<OwnedFd>, Errno> {
        let name = at::link(self.folder.as_fd(), versions::DATA).map(|to| to.filter(|to| is_hidden(to)));
        name.and_then(|name| self.folder_of(name))
    }

    fn read_version(&self, most: Most, version: Result<Option<OwnedFd>, Errno>) -> Result<Shown, Problem> {
        let read = || {
            let Some(version) = version? else { return Ok(Shown::Nothing) };
            let mut reading = Reading { files: Files::new(), left: most };
            match reading.below(version.as_fd(), "") {
                Ok(true) => Ok(Shown::Files(reading.files)),
                // It is changed while it is read.
                Ok(false) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Shown::Others),
                Err(error) => Err(error),
            }
        };
        read().map_err(|error| Problem::of("read", &self.path, error))
    }

    /// Whether it shows files, whatever they hold.
    pub fn shows_files(&self) -> Result<bool, Problem> {
        let version = self.version().map_err(|error| Problem::of("read", &self.path, error));
        version.map(|version| version.is_some())
    }

    /// The folder of the files that it shows.
    fn version(&self) -> Result<Option<OwnedFd>, Errno> {
        self.folder_of(versions::list(self.folder.as_fd())?.version)
    }

    fn folder_of(&self, version: Option<String>) -> Result<Option<OwnedFd>, Errno> {
        let Some(version) = version else { return Ok(None) };
        match at::folder(self.folder.as_fd(), &version) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Has it hold these files, which are for `owner` to read.
    pub fn write(&self, files: &Files, owner: Access) -> Result<(), Problem> {
        if let Some(path) = files.keys().find(|path| !is_path(path)) {
            return Err(Problem::new(format!("{} is no path of a file in a volume", shown(path))));
        }
        if let Some((above, path)) = in_the_way(files.keys()) {
            return Err(Problem::new(format!("{} can't be a file and the folder of {}", shown(above), shown(path))));
        }
        self.swap(files, owner).map_err(|error| Problem::of("write", &self.path, error))
    }

    fn swap(&self, files: &Files, owner: Access) -> Result<(), Errno> {
        let folder = self.folder.as_fd();
        at::grant(folder, owner.folder_mode(), owner)?;
        let before = versions::list(folder)?;
        let name = before.next();
        let version = at::make_folder(folder, &name)?;
        for (path, file) in files {
            make_file(version.as_fd(), path, file, owner)?;
        }
        at::grant(version.as_fd(), owner.folder_mode(), owner)?;
        let top = files.keys().filter_map(|path| path.split('/').next()).map(str::to_owned).collect();
        versions::show(folder, &name, &before, &top)
    }

    /// Removes all files that it shows, at once.
    pub fn clear(&self) -> Result<(), Problem> {
        versions::remove(self.folder.as_fd()).map_err(|error| Problem::of("remove the files of", &self.path, error))
    }
}

fn is_hidden(name: &str) -> bool {
    name.starts_with("..") && name != ".." && !name.contains('/')
}

fn shown(path: &str) -> String {
    format!("{:?}", path.chars().take(100).collect::<String>())
}

/// Makes a file and the folders above it that are not there.
fn make_file(version: BorrowedFd<'_>, path: &str, file: &File, owner: Access) -> Result<(), Errno> {
    let access = Access { mode: file.mode, ..owner };
    let Some((first, rest)) = path.split_once('/') else {
        return at::make_file(version, path, file.value.expose(), access);
    };
    let (inner, is_new) = at::folder_or_new(version, first)?;
    if is_new {
        at::grant(inner.as_fd(), owner.folder_mode(), owner)?;
    }
    make_file(inner.as_fd(), rest, file, owner)
}

/// Files that are being read.
struct Reading {
    files: Files,
    left: Most,
}

impl Reading {
    /// Reads what is below a folder; `false` where that was never written. Each file is looked at before it is read.
    fn below(&mut self, folder: BorrowedFd<'_>, before: &str) -> Result<bool, Errno> {
        for name in at::names(folder)? {
            let path = format!("{before}{name}");
            if path.split('/').count() > DEEPEST + 1 {
                return Ok(false);
            }
            let stat = at::stat(folder, &name)?.ok_or(Errno::NOENT)?;
            let is_read = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.below(at::folder(folder, &name)?.as_fd(), &format!("{path}/"))?,
                FileType::RegularFile => self.file(folder, &name, path)?,
                _ => false,
            };
            if !is_read {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &str, path: String) -> Result<bool, Errno> {
        let Some(files) = self.left.files.checked_sub(1) else { return Ok(false) };
        let Some((value, stat)) = at::read_up_to(self.left.bytes, folder, name)? else { return Ok(false) };
        self.left = Most { files, bytes: self.left.bytes - value.len() };
        self.files.insert(path, File { value, mode: stat.st_mode & 0o7777 });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn files(all: &[(&str, &str, u32)]) -> Files {
        let file = |value: &str, mode| File { value: SecretBytes::from(value), mode };
        all.iter().map(|(path, value, mode)| ((*path).to_owned(), file(value, *mode))).collect()
    }

    const MOST: Most = Most { files: 3, bytes: 10 };

    fn owner() -> Access {
        Access { mode: 0o644, ..Access::default() }
    }

    #[test]
    fn files_lie_at_any_depth_behind_one_link() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        assert_eq!(volume.read(MOST).unwrap(), Shown::Nothing);
        let first = files(&[("a", "1", 0o400), ("b/c/d", "2", 0o644), ("b/e", "3", 0o440)]);
        volume.write(&first, owner()).unwrap();
        assert_eq!(volume.read(MOST).unwrap(), Shown::Files(first));
        let at = |path: &str| folder.path().join(path);
        assert_eq!(std::fs::read_to_string(at("b/c/d")).unwrap(), "2");
        assert_eq!(std::fs::read_link(at("b")).unwrap(), Path::new("..data/b"));
        assert_eq!(std::fs::metadata(at("b/e")).unwrap().mode() & 0o7777, 0o440);
        volume.write(&files(&[("b/e", "4", 0o440)]), owner()).unwrap();
        assert_eq!(std::fs::read_to_string(at("b/e")).unwrap(), "4");
        assert!(!at("a").exists() && std::fs::symlink_metadata(at("a")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "the link, what it leads to, and b");
        volume.clear().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(volume.read(MOST).unwrap(), Shown::Nothing);
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        for wrong in ["../a", "a/../b", "/a", "a/", "a//b", "", "..data", "a/./b", "a\0b", "1/2/3/4/5/6/7/8/9/10"] {
            let problem = volume.write(&files(&[(wrong, "v", 0o400)]), owner()).unwrap_err().to_string();
            assert!(problem.contains("is no path"), "{problem}");
        }
        assert!(volume.write(&files(&[("a", "v", 0o400), ("a/b", "v", 0o400)]), owner()).is_err());
        // Whoever the volume is for may write to it.
        symlink(elsewhere.path(), folder.path().join("..data-1")).unwrap();
        symlink("..data-1", folder.path().join("..data")).unwrap();
        symlink(elsewhere.path(), folder.path().join("b")).unwrap();
        assert_eq!(volume.read(MOST).unwrap(), Shown::Nothing);
        volume.write(&files(&[("b/c", "v", 0o400)]), owner()).unwrap();
        volume.clear().unwrap();
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_another_writes_is_read_and_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::write(elsewhere.path().join("a"), "secret").unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        assert_eq!(volume.read_of_another(MOST).unwrap(), Shown::Nothing);
        let version = folder.path().join("..2026_11_29_15_04_05.1234");
        std::fs::create_dir_all(version.join("b")).unwrap();
        std::fs::write(version.join("b/c"), "v").unwrap();
        let data = folder.path().join("..data");
        symlink("..2026_11_29_15_04_05.1234", &data).unwrap();
        let Shown::Files(shown) = volume.read_of_another(MOST).unwrap() else { panic!("files") };
        assert_eq!((shown.len(), shown["b/c"].value.expose()), (1, b"v".as_slice()));
        let elsewhere = elsewhere.path().to_str().unwrap();
        for to in [elsewhere, "..", "../..", "b", "..2026_11_29_15_04_05.1234/b"] {
            std::fs::remove_file(&data).unwrap();
            symlink(to, &data).unwrap();
            assert_eq!(volume.read_of_another(MOST).unwrap(), Shown::Nothing, "{to}");
        }
        symlink(elsewhere, folder.path().join("..link")).unwrap();
        std::fs::remove_file(&data).unwrap();
        symlink("..link", &data).unwrap();
        assert_eq!(volume.read_of_another(MOST).unwrap(), Shown::Nothing);
    }

    #[test]
    fn what_was_never_written_is_not_read_and_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        let ours = files(&[("a/b", "1", 0o400), ("c", "2", 0o400)]);
        let changes: [&dyn Fn(&Path); 6] = [
            // Thousands of these are made in no time, and take no room.
            &|data| std::fs::File::create(data.join("long")).unwrap().set_len(9).unwrap(),
            &|data| ["d", "e"].iter().for_each(|name| std::fs::write(data.join(name), "").unwrap()),
            &|data| symlink("c", data.join("d")).unwrap(),
            &|data| rustix::fs::mkfifoat(rustix::fs::CWD, data.join("d"), Mode::RUSR).unwrap(),
            &|data| drop(std::os::unix::net::UnixListener::bind(data.join("d")).unwrap()),
            &|data| std::fs::create_dir_all(data.join("1/2/3/4/5/6/7/8/9/10")).unwrap(),
        ];
        for (which, change) in changes.iter().enumerate() {
            volume.write(&ours, owner()).unwrap();
            assert_eq!(volume.read(MOST).unwrap(), Shown::Files(ours.clone()), "{which}");
            change(&folder.path().join("..data"));
            assert_eq!(volume.read(MOST).unwrap(), Shown::Others, "{which}");
            assert!(volume.shows_files().unwrap(), "{which}");
        }
        volume.clear().unwrap();
        assert!(!volume.shows_files().unwrap());
    }
}
