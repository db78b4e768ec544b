//! Why something could not be read or written, in words of ours.

use std::fmt;
use std::path::Path;

use rustix::io::Errno;

/// What went wrong; for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    message: String,
    /// Whether the same may succeed before long.
    pub is_temporary: bool,
}

impl Problem {
    /// With these words.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_temporary: false }
    }

    /// What the system said of something at this path.
    pub fn of(what: &str, path: &Path, error: Errno) -> Self {
        let why = match error {
            Errno::ACCESS | Errno::PERM => "permission is denied: it must belong to the user that this runs as",
            Errno::ROFS => "the file system is read-only",
            Errno::NOSPC | Errno::DQUOT => "no space is left",
            Errno::NOTDIR | Errno::LOOP => "it is no folder, or a symbolic link",
            Errno::ISDIR => "it is a folder",
            Errno::MLINK => "it is no file, or a file with other names (hard links): remove it, and it is written anew",
            Errno::NAMETOOLONG => "the name is too long",
            Errno::NOENT => "it does not exist",
            Errno::NOTEMPTY | Errno::EXIST => "something is there already",
            Errno::MFILE | Errno::NFILE => "too many files are open",
            _ => "input or output failed",
        };
        let is_temporary = matches!(error, Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE);
        Self { message: format!("can't {what} {}: {why}", path.display()), is_temporary }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
