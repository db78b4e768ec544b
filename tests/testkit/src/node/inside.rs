//! How a process gets into a node: it joins the cgroups, then the namespaces of the node's first process.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType as Space, UnshareFlags, move_into_thread_name_spaces};

use super::cgroups::doors;
use crate::process::{Process, Signal, Spawner};

/// The inside of a node. Clones are of the same one.
#[derive(Clone)]
pub(crate) struct Inside {
    init: Arc<OwnedFd>,
    doors: Arc<Vec<CString>>,
    spawner: Arc<Spawner>,
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}

impl Inside {
    /// Starts the first process of a node; all of the node ends with it.
    pub fn create(init: Command, cgroups: &[PathBuf], log: &Path) -> Result<(Process, Self)> {
        let unshare = || {
            // SAFETY: what a thread shares with others is its memory and its open files, and those it keeps.
            #[expect(unsafe_code, reason = "other flags of it would be unsound")]
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }.map_err(io::Error::from)
        };
        let spawner = Spawner::elsewhere(unshare).context("cannot make a namespace of processes")?;
        let doors = doors(cgroups)?;
        let mut command = init;
        let joined = doors.clone();
        before_exec(&mut command, move || {
            join(&joined)?;
            let spaces = UnshareFlags::NEWNS
                | UnshareFlags::NEWNET
                | UnshareFlags::NEWUTS
                | UnshareFlags::NEWIPC
                | UnshareFlags::NEWCGROUP;
            // SAFETY: as above; this is the only thread of the child.
            #[expect(unsafe_code, reason = "other flags of it would be unsound")]
            unsafe { rustix::thread::unshare_unsafe(spaces) }.map_err(io::Error::from)
        });
        // The first child of a thread that made such a namespace is its number one.
        let process = Process::start_by(&spawner, "the node", command, log)?;
        let init = open(process.id())?;
        Ok((process, Self { init: Arc::new(init), doors: Arc::new(doors), spawner: Arc::new(spawner) }))
    }

    /// The inside of a node that another process started.
    pub fn of(init: u32, cgroups: &[PathBuf]) -> Result<Self> {
        let init = Arc::new(open(init)?);
        let target = Arc::clone(&init);
        let enter = move || Ok(move_into_thread_name_spaces(target.as_fd(), Space::PROCESS_ID)?);
        let spawner = Spawner::elsewhere(enter).context("cannot enter the node")?;
        Ok(Self { init, doors: Arc::new(doors(cgroups)?), spawner: Arc::new(spawner) })
    }

    /// Starts a program there, in the folder `dir`, with its output in `log`.
    pub fn start(&self, name: &str, mut command: Command, dir: &Path, log: &Path) -> Result<Process> {
        self.send_in(&mut command, dir)?;
        Process::start_by(&self.spawner, name, command, log)
    }

    /// Starts a program there whose output is the caller's to arrange.
    pub fn spawn(&self, mut command: Command, dir: &Path) -> Result<Child> {
        self.send_in(&mut command, dir)?;
        self.spawner.spawn(command, Signal::KILL).context("cannot start a program of the node")
    }

    fn send_in(&self, command: &mut Command, dir: &Path) -> Result<()> {
        let dir = CString::new(dir.as_os_str().as_encoded_bytes()).context("a path with a zero in it")?;
        let (init, doors) = (Arc::clone(&self.init), Arc::clone(&self.doors));
        before_exec(command, move || {
            join(&doors)?;
            let spaces = Space::MOUNT
                | Space::NETWORK
                | Space::HOST_NAME_AND_NIS_DOMAIN_NAME
                | Space::INTER_PROCESS_COMMUNICATION
                | Space::CONTROL_GROUP;
            move_into_thread_name_spaces(init.as_fd(), spaces)?;
            // Entering another tree of mounts leads to its root.
            Ok(rustix::process::chdir(dir.as_c_str())?)
        });
        Ok(())
    }

    /// The node's first process.
    pub fn init(&self) -> BorrowedFd<'_> {
        self.init.as_fd()
    }
}

/// Moves this thread into the node's network: sockets that it makes from now on are there.
pub(crate) fn enter_network(init: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_thread_name_spaces(init, Space::NETWORK)?)
}

/// The process is a child that nobody waited for, or one that lasts: its number is its own.
fn open(id: u32) -> Result<OwnedFd> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| anyhow!("{id} is no process id"))?;
    pidfd_open(pid, PidfdFlags::empty()).context("the node's first process is gone")
}

/// Its cgroups must be joined before it sees the node's own view of them.
fn join(doors: &[CString]) -> io::Result<()> {
    for door in doors {
        let door = rustix::fs::open(door.as_c_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(door, b"0")?;
    }
    Ok(())
}

fn before_exec(command: &mut Command, then: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: what is given makes system calls only, with what was allocated before.
    #[expect(unsafe_code, reason = "a process joins by itself, and only before it is another program")]
    unsafe {
        command.pre_exec(then);
    }
}
