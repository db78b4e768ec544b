//! The folder that all targets are in. What is written down about them is in `.keyferry` within: which are ours, and no
//! value.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::access::Access;
use crate::at;
use crate::problem::Problem;

/// What we write down is in here.
const OWN: &str = ".keyferry";
const LOCK: &str = "lock";
const MARKS: &str = "marks";
/// Files come to be in here.
const NEW: &str = "new";
/// Which folders are ours is in here: whether the folder of all is, and each that we made within it.
const FOLDERS: &str = "folders";
/// What the folder of all is called there; none within is called so.
const ALL: &str = "%";
const OURS: &[u8] = b"ours";
const NOT_OURS: &[u8] = b"not ours";

/// The folder, for as long as nobody else writes there.
pub struct Root {
    path: PathBuf,
    access: Access,
    folder: OwnedFd,
    marks: OwnedFd,
    folders: OwnedFd,
    new: OwnedFd,
    /// Who makes a folder for targets.
    making: Mutex<()>,
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
    /// writer left that was killed is removed, and the folders that are ours are given to whom files are for: they may have been
    /// for somebody else before.
    pub fn open(path: &Path, access: Access) -> Result<Self, Problem> {
        let failed = |what: &'static str| move |error| Problem::of(what, path, error);
        if !path.is_dir() {
            make(path).map_err(failed("make the folder"))?;
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty()).map_err(failed("open the folder"))?;
        let (own, _) = at::folder_or_new(folder.as_fd(), OWN).map_err(failed("write to the folder"))?;
        is_for_us_alone(&own, &path.join(OWN))?;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = openat(&own, LOCK, flags, Mode::RUSR | Mode::WUSR).map_err(failed("write to the folder"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::AGAIN => Problem::new(format!(
                "{}: another keyferry writes there now: end it, or give each a folder of its own",
                path.display()
            )),
            error => Problem::of("lock the folder", path, error),
        })?;
        let part = |name| {
            let (part, _) = at::folder_or_new(own.as_fd(), name).map_err(failed("write to the folder"))?;
            is_for_us_alone(&part, &path.join(OWN).join(name)).map(|()| part)
        };
        let (marks, folders, new) = (part(MARKS)?, part(FOLDERS)?, part(NEW)?);
        let root = Self {
            path: path.to_owned(),
            access,
            folder,
            marks,
            folders,
            new,
            making: Mutex::default(),
            _lock: Lock(lock),
        };
        root.tidy().map_err(failed("remove what was left in the folder"))?;
        root.settle().map_err(failed("write to the folder"))?;
        root.grant_ours().map_err(failed("set the owner and mode of folders in"))?;
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
        // Who makes a folder of that name now is not us.
        for name in at::names(self.folders.as_fd())?.into_iter().filter(|name| name != ALL) {
            if at::stat(self.folder(), &name)?.is_none() {
                at::remove(self.folders.as_fd(), &name)?;
            }
        }
        Ok(())
    }

    /// Writes down, once, whether the folder is ours: one in which nothing is we made, or somebody for us. Another belongs to who made
    /// it.
    fn settle(&self) -> Result<(), Errno> {
        if at::stat(self.folders.as_fd(), ALL)?.is_some() {
            return Ok(());
        }
        let is_ours = at::names(self.folder())? == [OWN];
        self.put(self.folders.as_fd(), ALL, if is_ours { OURS } else { NOT_OURS })
    }

    fn is_ours(&self, folder: &str) -> Result<bool, Errno> {
        match at::read(self.folders.as_fd(), folder) {
            Ok(read) => Ok(read.is_some_and(|(text, _)| text.expose() == OURS)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn grant_ours(&self) -> Result<(), Errno> {
        if self.is_ours(ALL)? {
            grant(self.folder(), self.access)?;
        }
        for name in at::names(self.folders.as_fd())?.into_iter().filter(|name| name != ALL) {
            match at::folder(self.folder(), &name) {
                // It was replaced by something else.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                opened => grant(opened?.as_fd(), self.access)?,
            }
        }
        Ok(())
    }

    /// A folder for targets, which is made where it is not there.
    pub(crate) fn folder_for_targets(&self, name: &str, access: Access) -> Result<OwnedFd, Errno> {
        let folder = match at::folder(self.folder(), name) {
            Err(Errno::NOENT) => self.make_folder(name)?,
            opened => opened?,
        };
        if self.is_ours(name)? {
            grant(folder.as_fd(), access)?;
        }
        Ok(folder)
    }

    /// Makes a folder for targets, unless another target has made it meanwhile.
    fn make_folder(&self, name: &str) -> Result<OwnedFd, Errno> {
        let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        match at::folder(self.folder(), name) {
            Err(Errno::NOENT) => {}
            opened => return opened,
        }
        // First: whoever is killed in between has still made what is known to be ours.
        self.put(self.folders.as_fd(), name, OURS)?;
        at::make_folder(self.folder(), name)
    }

    /// That whom files are for can't enter a folder that was there before us, and what to do, where that is so; for a person. It is the
    /// folder of all, or one for targets within it.
    pub fn is_barred(&self, folder: Option<&str>) -> Option<String> {
        let stat = match folder {
            None => rustix::fs::fstat(&self.folder).ok()?,
            Some(name) => at::stat(self.folder(), name).ok()??,
        };
        if self.access.enters(&stat) {
            return None;
        }
        let path = folder.map_or_else(|| self.path.clone(), |folder| self.path.join(folder));
        Some(format!(
            "{} was there before, so its owner and mode stay as they are, and whom the files are for can't enter it: use chown or chmod, \
             or name a folder that keyferry makes",
            path.display()
        ))
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
        let written = self.put(self.marks.as_fd(), name, text);
        written.map_err(|error| Problem::of("write", &self.mark_path(name), error))
    }

    /// Puts a file of ours in its place, whole.
    fn put(&self, into: BorrowedFd<'_>, name: &str, text: &[u8]) -> Result<(), Errno> {
        let new = self.unfinished();
        at::remove(new, name)?;
        at::make_file(new, name, text, Access::default())?;
        at::rename((new, name), (into, name))
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

/// Refuses a folder of ours that belongs to somebody else, who could have written down anything in it; nobody else enters ours.
fn is_for_us_alone(folder: &OwnedFd, path: &Path) -> Result<(), Problem> {
    let failed = |error| Problem::of("look at", path, error);
    let stat = rustix::fs::fstat(folder).map_err(failed)?;
    if stat.st_uid != geteuid().as_raw() {
        return Err(Problem::new(format!(
            "{} belongs to another user (of number {}), who could have written anything into it, and it would be believed: run as that \
             user, or remove it, or write to a folder elsewhere",
            path.display(),
            stat.st_uid
        )));
    }
    if at::is_granted(&stat, 0o700, Access::default()) {
        return Ok(());
    }
    at::grant(folder.as_fd(), 0o700, Access::default()).map_err(failed)
}

/// Gives a folder of ours to whom files are for, where it is not theirs. One that somebody else made for us may not be ours to give:
/// it stays as it is.
fn grant(folder: BorrowedFd<'_>, access: Access) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(folder)?;
    if at::is_granted(&stat, access.folder_mode(), access) {
        return Ok(());
    }
    match at::grant(folder, access.folder_mode(), access) {
        Err(Errno::PERM) if stat.st_uid != geteuid().as_raw() => Ok(()),
        granted => granted,
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
