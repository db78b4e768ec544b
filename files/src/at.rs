//! Small steps in an open folder. No step follows a symbolic link, and what is made is for its owner alone until all of it is
//! there.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use keyferry_provider_core::{SecretBuf, SecretBytes};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::{Errno, Result};
use zeroize::Zeroizing;

use crate::access::Access;

const OPEN: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// More is read of no file: what a Secret holds is at most 1 MiB, which JSON's escapes make six times as long, and YAML's base64
/// and what is around it less than that.
pub const LARGEST: usize = 16 << 20;

/// Opens a folder.
pub fn folder(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    rustix::fs::openat(at, name, OPEN | OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())
}

/// Makes a folder and opens it. That it is there already is an error.
pub fn make_folder(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    rustix::fs::mkdirat(at, name, Mode::RWXU)?;
    folder(at, name)
}

/// Opens a folder that is made where there is none. Answers whether it was.
pub fn folder_or_new(at: BorrowedFd<'_>, name: &str) -> Result<(OwnedFd, bool)> {
    match folder(at, name) {
        Err(Errno::NOENT) => make_folder(at, name).map(|made| (made, true)),
        opened => opened.map(|opened| (opened, false)),
    }
}

/// Makes a file that holds this. Its mode and owner are set once all of it is there.
pub fn make_file(at: BorrowedFd<'_>, name: &str, bytes: &[u8], access: Access) -> Result<()> {
    let flags = OPEN | OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let file = rustix::fs::openat(at, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut left = bytes;
    while !left.is_empty() {
        match rustix::io::write(&file, left) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => left = &left[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    grant(file.as_fd(), access.mode, access)
}

/// Opens a file that is there, to set its mode and owner: it must be a file, and have no other name, since that could be
/// somebody else's.
pub fn file(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let opened = rustix::fs::openat(at, name, OPEN | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
    let stat = rustix::fs::fstat(&opened)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1 {
        Ok(opened)
    } else {
        Err(Errno::MLINK)
    }
}

/// Gives an open file or folder this mode and the owner that is asked for. The owner comes first: a mode for a group must not
/// open it to a group that it is not for.
pub fn grant(of: BorrowedFd<'_>, mode: u32, access: Access) -> Result<()> {
    if access.uid.is_some() || access.gid.is_some() {
        rustix::fs::fchown(of, access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw))?;
    }
    rustix::fs::fchmod(of, Mode::from_raw_mode(mode))
}

/// Whether a file or folder has this mode, and the owner that is asked for.
pub fn is_granted(stat: &Stat, mode: u32, access: Access) -> bool {
    stat.st_mode & 0o7777 == mode
        && access.uid.is_none_or(|uid| stat.st_uid == uid)
        && access.gid.is_none_or(|gid| stat.st_gid == gid)
}

/// What a file holds, and its mode and owner; `None` where it is no file, or larger than any of ours.
pub fn read(at: BorrowedFd<'_>, name: &str) -> Result<Option<(SecretBytes, Stat)>> {
    read_up_to(LARGEST, at, name)
}

/// The same, of a file that is no larger than this.
pub fn read_up_to(most: usize, at: BorrowedFd<'_>, name: &str) -> Result<Option<(SecretBytes, Stat)>> {
    // A pipe that somebody put there must not keep us waiting.
    let opened = match rustix::fs::openat(at, name, OPEN | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
        Err(Errno::LOOP | Errno::NXIO) => return Ok(None),
        opened => opened?,
    };
    let stat = rustix::fs::fstat(&opened)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let Some(size) = usize::try_from(stat.st_size).ok().filter(|size| *size <= most) else { return Ok(None) };
    let mut bytes = SecretBuf::with_capacity(size);
    let mut chunk = Zeroizing::new([0; 8192]);
    let mut file = File::from(opened);
    loop {
        match file.read(&mut *chunk) {
            Ok(0) => return Ok(Some((bytes.into(), stat))),
            // It grows while it is read.
            Ok(read) if bytes.len() + read > most => return Ok(None),
            Ok(read) => bytes.extend(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
}

/// Mode, owner and kind of what is there, links themselves; `None` where nothing is.
pub fn stat(at: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>> {
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        stat => stat.map(Some),
    }
}

/// Where a symbolic link leads; `None` where it is none.
pub fn link(at: BorrowedFd<'_>, name: &str) -> Result<Option<String>> {
    match rustix::fs::readlinkat(at, name, Vec::new()) {
        Ok(to) => Ok(to.into_string().ok()),
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has a name lead there, whatever it was before: at once.
pub fn set_link(at: BorrowedFd<'_>, name: &str, to: &str, by_way_of: &str) -> Result<()> {
    match rustix::fs::symlinkat(to, at, name) {
        Err(Errno::EXIST) => {}
        made => return made,
    }
    remove(at, by_way_of)?;
    rustix::fs::symlinkat(to, at, by_way_of)?;
    rename((at, by_way_of), (at, name))
}

/// Puts a file or link in the place of another.
pub fn rename(from: (BorrowedFd<'_>, &str), to: (BorrowedFd<'_>, &str)) -> Result<()> {
    rustix::fs::renameat(from.0, from.1, to.0, to.1)
}

/// Removes a file or link. Answers whether there was one.
pub fn remove(at: BorrowedFd<'_>, name: &str) -> Result<bool> {
    gone(rustix::fs::unlinkat(at, name, AtFlags::empty()))
}

/// Removes a folder that has nothing in it. Answers whether there was one.
pub fn remove_empty(at: BorrowedFd<'_>, name: &str) -> Result<bool> {
    gone(rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR))
}

/// How deep folders are that are removed with all that is in them.
const DEEPEST: u32 = 32;

/// Removes a folder with all that is in it.
pub fn remove_folder(at: BorrowedFd<'_>, name: &str) -> Result<()> {
    remove_to(at, name, DEEPEST)
}

fn remove_to(at: BorrowedFd<'_>, name: &str, depth: u32) -> Result<()> {
    let Some(depth) = depth.checked_sub(1) else { return Err(Errno::LOOP) };
    let inside = folder(at, name)?;
    for file in names(inside.as_fd())? {
        match remove(inside.as_fd(), &file) {
            Err(Errno::ISDIR) => remove_to(inside.as_fd(), &file, depth)?,
            removed => _ = removed?,
        }
    }
    remove_empty(at, name).map(|_| ())
}

fn gone(removed: Result<()>) -> Result<bool> {
    match removed {
        Err(Errno::NOENT) => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// The names of all that is in a folder. Names that are no text are not ours, and are passed over.
pub fn names(of: BorrowedFd<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(of)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    names.sort();
    Ok(names)
}
