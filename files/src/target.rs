//! One target: a folder of files, or a file.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;

use crate::access::Access;
use crate::contents::{Contents, is_file_name};
use crate::plan::{Found, Step, decide};
use crate::problem::Problem;
use crate::root::Root;
use crate::{at, versions};

/// Where a target is, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The folder that it shares with others; `None` beside the folders.
    pub folder: Option<String>,
    /// The name of its own folder, or of its file.
    pub name: String,
}

/// A name with a separator that neither part has.
const SEPARATOR: char = '%';

impl Place {
    /// What it is called where it is written down.
    pub fn mark(&self) -> String {
        match &self.folder {
            Some(folder) => format!("{folder}{SEPARATOR}{}", self.name),
            None => self.name.clone(),
        }
    }

    /// The place that is called so; `None` where no target's is. Somebody else may have written it down, and it becomes a path.
    pub fn of_mark(mark: &str) -> Option<Self> {
        // What is hidden is no target: what we write down is.
        let is_part = |part: &&str| is_file_name(part) && !part.starts_with('.');
        let (folder, name) = match mark.split_once(SEPARATOR) {
            Some((folder, name)) => (Some(Some(folder).filter(is_part)?), name),
            None => (None, mark),
        };
        let name = Some(name).filter(is_part)?;
        Some(Self { folder: folder.map(str::to_owned), name: name.to_owned() })
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing, but perhaps tidying.
    Nothing,
    /// It was not there, and is.
    Created,
    /// It holds something else than before.
    Updated,
}

/// One target.
pub struct Target<'a> {
    /// The folder of all.
    pub root: &'a Root,
    /// Where in it.
    pub place: &'a Place,
    /// For whom.
    pub access: Access,
}

impl Target<'_> {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        let folder = self.place.folder.as_ref().map(|folder| self.root.path().join(folder));
        folder.as_deref().unwrap_or(self.root.path()).join(&self.place.name)
    }

    /// What is there; `None` where nothing is.
    pub fn read(&self) -> Result<Option<Found>, Problem> {
        let Some(around) = self.around(false)? else { return Ok(None) };
        self.found(&around).map_err(|error| Problem::of("read", &self.path(), error))
    }

    /// Has it hold this, where it does not. It `is_known` to be ours where that is written down; `claim` is called before
    /// it is written, to do that.
    pub fn write(
        &self,
        wanted: &Contents,
        is_known: bool,
        claim: impl FnOnce() -> Result<(), Problem>,
    ) -> Result<Change, Problem> {
        if wanted.sizes().any(|size| size > at::LARGEST) {
            return Err(Problem::new(format!(
                "{} would be larger than {} MiB, which no Secret is: give it less data",
                self.path().display(),
                at::LARGEST >> 20
            )));
        }
        let found = self.read()?;
        let step = decide(found.as_ref(), wanted, is_known);
        if step == Step::Refuse {
            return Err(Problem::new(format!(
                "{} is there, and not known to be written by keyferry: move it away, or name another target",
                self.path().display()
            )));
        }
        if step == Step::Nothing {
            return Ok(Change::Nothing);
        }
        if step == Step::Write {
            claim()?;
        }
        let written = self.around(true)?.ok_or(Errno::NOENT).and_then(|around| self.put(&around, wanted, step));
        written.map_err(|error| Problem::of("write", &self.path(), error))?;
        Ok(match (step, found) {
            (Step::Write, None) => Change::Created,
            (Step::Write, Some(_)) => Change::Updated,
            (Step::Nothing | Step::Tidy | Step::Refuse, _) => Change::Nothing,
        })
    }

    /// Removes it. Answers whether it was there. What others put into its folder stays, and the folder with it.
    pub fn remove(&self) -> Result<bool, Problem> {
        let Some(around) = self.around(false)? else { return Ok(false) };
        let removed = match at::folder(around.as_fd(), &self.place.name) {
            Ok(folder) => versions::remove(folder.as_fd()).and_then(|()| {
                match at::remove_empty(around.as_fd(), &self.place.name) {
                    Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(true),
                    removed => removed,
                }
            }),
            Err(Errno::NOENT) => Ok(false),
            Err(Errno::NOTDIR) => at::remove(around.as_fd(), &self.place.name),
            Err(error) => Err(error),
        };
        removed.map_err(|error| Problem::of("remove", &self.path(), error))
    }

    /// The folder that it is in; `None` where that is not there and is not to be made.
    fn around(&self, makes: bool) -> Result<Option<OwnedFd>, Problem> {
        let root = self.root.folder();
        let opened = match &self.place.folder {
            None => root.try_clone_to_owned().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            Some(name) if makes => self.root.folder_for_targets(name, self.access),
            Some(name) => at::folder(root, name),
        };
        match opened {
            Err(Errno::NOENT) if !makes => Ok(None),
            opened => opened.map(Some).map_err(|error| Problem::of("open the folder of", &self.path(), error)),
        }
    }

    fn found(&self, around: &OwnedFd) -> Result<Option<Found>, Errno> {
        let around = around.as_fd();
        match at::folder(around, &self.place.name) {
            Ok(folder) => versions::read(folder.as_fd(), self.access).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR) => Ok(Some(match at::read(around, &self.place.name)? {
                Some((bytes, stat)) => Found {
                    contents: Some(Contents::File(bytes)),
                    is_ours: false,
                    is_tidy: at::is_granted(&stat, self.access.mode, self.access),
                },
                None => Found { contents: None, is_ours: false, is_tidy: false },
            })),
            Err(error) => Err(error),
        }
    }

    fn put(&self, around: &OwnedFd, wanted: &Contents, step: Step) -> Result<(), Errno> {
        let (around, name) = (around.as_fd(), self.place.name.as_str());
        match (wanted, step) {
            (Contents::Folder(files), Step::Tidy) => {
                versions::tidy(at::folder(around, name)?.as_fd(), files, self.access)
            }
            (Contents::Folder(files), _) => {
                versions::write(at::folder_or_new(around, name)?.0.as_fd(), files, self.access)
            }
            (Contents::File(_), Step::Tidy) => {
                at::grant(at::file(around, name)?.as_fd(), self.access.mode, self.access)
            }
            (Contents::File(bytes), _) => {
                let (new, mark) = (self.root.unfinished(), self.place.mark());
                at::remove(new, &mark)?;
                at::make_file(new, &mark, bytes.expose(), self.access)?;
                at::rename((new, &mark), (around, name))
            }
        }
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
