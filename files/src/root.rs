//! The folder that all targets are in. What is written down about them is in `.keyferry` within: which are ours, and no
//! value.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open, openat};
use rustix::io::Errno;

use crate::access::Access;
use crate::at;
use crate::problem::Problem;

/// What we write down is in here.
const OWN: &str = ".keyferry";
const LOCK: &str = "lock";
const MARKS: &str = "marks";
/// Files come to be in here.
const NEW: &str = "new";

/// The folder, for as long as nobody else writes there.
pub struct Root {
    path: PathBuf,
    folder: OwnedFd,
    marks: OwnedFd,
    new: OwnedFd,
    _lock: Lock,
}

/// What keeps others out until it is dropped. That says so: a child that is just being started has the file, too, until its
/// program runs.
struct Lock(OwnedFd);

impl Drop for Lock {
    fn drop(&mut self) {
        _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Root {
    /// Opens it, and makes it where it is not there. Who else wants to write there is refused until this is dropped. What a
    /// writer left that was killed is removed.
    pub fn open(path: &Path, access: Access) -> Result<Self, Problem> {
        let failed = |what: &'static str| move |error| Problem::of(what, path, error);
        if !path.is_dir() {
            make(path).map_err(failed("make the folder"))?;
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty()).map_err(failed("open the folder"))?;
        let (own, is_new) = at::folder_or_new(folder.as_fd(), OWN).map_err(failed("write to the folder"))?;
        // A folder that was there belongs to who made it.
        if is_new && at::names(folder.as_fd()).is_ok_and(|names| names == [OWN]) {
            at::grant(folder.as_fd(), access.folder_mode(), access).or_else(|error| match error {
                Errno::PERM if access.uid.is_none() && access.gid.is_none() => Ok(()),
                error => Err(failed("set the owner and mode of the folder")(error)),
            })?;
        }
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = openat(&own, LOCK, flags, Mode::RUSR | Mode::WUSR).map_err(failed("write to the folder"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::AGAIN => Problem::new(format!(
                "{}: another keyferry writes there now: end it, or give each a folder of its own",
                path.display()
            )),
            error => Problem::of("lock the folder", path, error),
        })?;
        let part = |name| at::folder_or_new(own.as_fd(), name).map_err(failed("write to the folder"));
        let root = Self { path: path.to_owned(), marks: part(MARKS)?.0, new: part(NEW)?.0, folder, _lock: Lock(lock) };
        root.tidy().map_err(failed("remove what was left in the folder"))?;
        Ok(root)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    pub(crate) fn unfinished(&self) -> BorrowedFd<'_> {
        self.new.as_fd()
    }

    fn tidy(&self) -> Result<(), Errno> {
        for name in at::names(self.unfinished())? {
            at::remove(self.unfinished(), &name)?;
        }
        Ok(())
    }

    /// What is written down about a target; `None` where nothing is.
    pub fn mark(&self, name: &str) -> Result<Option<Vec<u8>>, Problem> {
        match at::read(self.marks.as_fd(), name) {
            Ok(read) => Ok(read.map(|(bytes, _)| bytes.expose().to_vec())),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Problem::of("read", &self.mark_path(name), error)),
        }
    }

    /// Writes that down, where it is not what is written already.
    pub fn set_mark(&self, name: &str, text: &[u8]) -> Result<(), Problem> {
        if self.mark(name)?.as_deref() == Some(text) {
            return Ok(());
        }
        let new = self.unfinished();
        let written = at::remove(new, name)
            .and_then(|_| at::make_file(new, name, text, Access::default()))
            .and_then(|()| at::rename((new, name), (self.marks.as_fd(), name)));
        written.map_err(|error| Problem::of("write", &self.mark_path(name), error))
    }

    /// Forgets it.
    pub fn forget(&self, name: &str) -> Result<(), Problem> {
        let removed = at::remove(self.marks.as_fd(), name);
        removed.map(|_| ()).map_err(|error| Problem::of("remove", &self.mark_path(name), error))
    }

    /// The targets that something is written down about.
    pub fn marks(&self) -> Result<BTreeSet<String>, Problem> {
        let names = at::names(self.marks.as_fd());
        names.map(|names| names.into_iter().collect()).map_err(|error| Problem::of("read", &self.mark_path(""), error))
    }

    fn mark_path(&self, name: &str) -> PathBuf {
        self.path.join(OWN).join(MARKS).join(name)
    }
}

/// Makes a folder and those above it; its own is for us alone until its mode is set.
fn make(path: &Path) -> Result<(), Errno> {
    let made = || {
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above)?;
        }
        std::fs::DirBuilder::new().mode(0o700).create(path)
    };
    made().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ended_keeps_nobody_out_though_a_child_of_his_has_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let take = || {
            let lock = Lock(file.reopen().unwrap().into());
            flock(&lock.0, FlockOperation::NonBlockingLockExclusive).map(|()| lock)
        };
        let lock = take().unwrap();
        let inherited = lock.0.try_clone().unwrap();
        assert!(take().is_err());
        drop(lock);
        assert!(take().is_ok());
        drop(inherited);
    }
}
