//! Memory that is mounted for one volume. It never goes to swap: where the kernel knows `noswap` (6.4 and newer) it is asked for,
//! and where not, a node that swaps is refused unless its admin allows it.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use keyferry_limits::MOUNT_MEMORY;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::refusal::{Kind, Refusal};

/// By this name ours are known among all mounts.
const SOURCE: &str = "keyferry";

const TABLE: &str = "/proc/self/mountinfo";
const SWAPS: &str = "/proc/swaps";

/// More mounts than that are not laid over each other at one place, whoever made them.
const MOST_LAYERS: usize = 16;

/// How often an unmount waits for who still holds it before it is only taken out of sight.
const TRIES: usize = 3;

/// What is mounted at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// Nothing.
    Nothing,
    /// Memory of ours.
    Ours,
    /// Something else.
    Others,
}

/// What is mounted at `place`, on top where there are several.
pub fn at(place: &Path) -> Result<Mounted, Refusal> {
    Ok(found(&table()?, place))
}

fn table() -> Result<Vec<u8>, Refusal> {
    fs::read(TABLE).map_err(|error| Refusal::of_node(format!("can't read {TABLE}: {}", error.kind())))
}

fn found(table: &[u8], place: &Path) -> Mounted {
    let lines = table.split(|byte| *byte == b'\n');
    let mut of_place = lines.filter_map(entry).filter(|(path, ..)| path == place);
    of_place.next_back().map_or(Mounted::Nothing, |(_, kind, source)| {
        if (kind, source) == (b"tmpfs".as_slice(), SOURCE.as_bytes()) { Mounted::Ours } else { Mounted::Others }
    })
}

/// Where ours are, below a folder.
pub fn below(folder: &Path) -> Result<Vec<PathBuf>, Refusal> {
    let table = table()?;
    let ours = table.split(|byte| *byte == b'\n').filter_map(entry);
    let ours = ours.filter(|(path, _, source)| *source == SOURCE.as_bytes() && path.starts_with(folder));
    Ok(ours.map(|(path, ..)| path).collect())
}

/// Place, kind and source of a line.
fn entry(line: &[u8]) -> Option<(PathBuf, &[u8], &[u8])> {
    let mut fields = line.split(|byte| *byte == b' ');
    let place = fields.nth(4)?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    Some((unescaped(place), rest.next()?, rest.next()?))
}

/// Blanks and the like stand there as a backslash and three digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let (mut path, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            path.push(byte);
            rest = &behind[3..];
        } else {
            path.push(*first);
            rest = behind;
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

/// Mounts memory at `place`, whose folder is made where it is not there.
pub fn mount(place: &Path, may_swap: bool) -> Result<(), Refusal> {
    match fs::DirBuilder::new().mode(0o750).create(place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Refusal::of_node(format!("can't make the folder of the volume: {}", error.kind())));
        }
        _ => {}
    }
    let size = format!("size={},nr_inodes=8192,mode=0755", MOUNT_MEMORY.most);
    match mount_with(place, &format!("{size},noswap")) {
        Err(Errno::INVAL) => {}
        mounted => return mounted.map_err(unmountable),
    }
    if !may_swap && swaps() {
        return Err(Refusal::new(
            Kind::Condition,
            "this node swaps, and its kernel can't keep a tmpfs out of swap (noswap, from 6.4 on): values would get to the \
             disk; turn swap off, or allow it with --allow-swap (Helm: node.allowSwap)",
        ));
    }
    mount_with(place, &size).map_err(unmountable)
}

fn mount_with(place: &Path, options: &str) -> Result<(), Errno> {
    let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(SOURCE, place, "tmpfs", flags, options.as_c_str())
}

fn unmountable(error: Errno) -> Refusal {
    let why = match error {
        Errno::PERM | Errno::ACCESS => "permission is denied: keyferry node must run as root and privileged",
        Errno::NOMEM => "no memory is left",
        Errno::NOENT => "the folder of the volume is not there",
        _ => "the system refuses it",
    };
    Refusal::of_node(format!("can't mount memory: {why}"))
}

/// Whether the node swaps to anything.
fn swaps() -> bool {
    // What can't be read may well say so.
    fs::read_to_string(SWAPS).map_or(true, |text| text.lines().count() > 1)
}

/// How full memory is that is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// By bytes.
    pub bytes: Room,
    /// By files, folders and links.
    pub inodes: Room,
}

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In all.
    pub total: u64,
    /// Now.
    pub available: u64,
}

/// How full what is ours at `place` is; absent where nothing is.
pub fn usage(place: &Path) -> Result<Usage, Refusal> {
    // What others mount may be far away, and never answer.
    if at(place)? != Mounted::Ours {
        return Err(Refusal::new(Kind::Absent, "no volume of keyferry's is mounted there"));
    }
    let unknown = |_| Refusal::of_node("the system does not tell how full the volume is");
    let found = rustix::fs::statvfs(place).map_err(unknown)?;
    let bytes = Room { total: found.f_blocks * found.f_frsize, available: found.f_bavail * found.f_frsize };
    Ok(Usage { bytes, inodes: Room { total: found.f_files, available: found.f_favail } })
}

/// Unmounts what is ours at `place`, and removes its folder. That nothing is there is as good.
pub fn unmount(place: &Path) -> Result<(), Refusal> {
    for layer in 0.. {
        match at(place)? {
            Mounted::Nothing => break,
            Mounted::Others => {
                return Err(Refusal::new(
                    Kind::Condition,
                    "what is mounted there is not of keyferry, and is left alone",
                ));
            }
            Mounted::Ours if layer == MOST_LAYERS => return Err(Refusal::of_node("it is mounted again and again")),
            Mounted::Ours => detach(place)?,
        }
    }
    match fs::remove_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Refusal::of_node(format!("can't remove the folder of the volume: {}", error.kind()))),
        Ok(()) => Ok(()),
    }
}

fn detach(place: &Path) -> Result<(), Refusal> {
    for _ in 0..TRIES {
        match rustix::mount::unmount(place, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) => std::thread::yield_now(),
            Err(Errno::INVAL | Errno::NOENT) | Ok(()) => return Ok(()),
            Err(_) => return Err(Refusal::of_node("can't unmount the volume: the system refuses it")),
        }
    }
    // Out of sight now, and gone when the last who holds it is.
    let detached = rustix::mount::unmount(place, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
    detached.map_err(|_| Refusal::of_node("can't unmount the volume: somebody holds it"))
}

/// A path as bytes, for names of files.
pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_mounts_is_read() {
        let table = b"22 1 0:21 / /proc rw,nosuid shared:5 - proc proc rw\n\
            90 22 0:50 / /k/pods/a\\040b/mount rw,nosuid,nodev,noexec shared:9 master:1 - tmpfs keyferry rw,size=16384k\n\
            91 22 0:51 / /k/pods/c/mount rw - tmpfs tmpfs rw\n\
            92 22 0:52 / /k/pods/d rw - ext4 /dev/sda rw\n\
            93 22 0:53 / /k/pods/d rw - tmpfs keyferry rw\n\
            94 22 0:53 / /k/pods/e rw - ext4 keyferry rw\nnonsense\n";
        for (place, mounted) in [
            ("/k/pods/a b/mount", Mounted::Ours),
            ("/k/pods/c/mount", Mounted::Others),
            ("/k/pods/d", Mounted::Ours),
            ("/k/pods/e", Mounted::Others),
            ("/k/pods/f", Mounted::Nothing),
        ] {
            assert_eq!(found(table, Path::new(place)), mounted, "{place}");
        }
    }
}
