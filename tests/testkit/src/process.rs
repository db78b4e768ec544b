//! Child processes that never outlive the process that started them.
//!
//! A test can be killed at any moment, and then no destructor runs. So the kernel
//! is asked to do it: every child gets SIGKILL when its parent is gone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
pub use rustix::process::Signal;
use rustix::process::{Pid, getpid, getppid, kill_process, set_parent_process_death_signal};

/// How often we look whether a child has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

type Request = (Command, Signal, Sender<io::Result<Child>>);

/// A thread that starts children. To Linux the parent of a process is the thread that
/// started it: a child of a test's own thread would die with that test. What such a thread
/// is part of (a namespace of processes, say) its children are part of too.
#[derive(Debug)]
pub(crate) struct Spawner(Sender<Request>);

static SPAWNER: LazyLock<Spawner> = LazyLock::new(|| Spawner::start(Some(getpid())));

impl Spawner {
    /// One whose children are in a namespace of processes of their own, which `enter` makes or joins on the new thread.
    pub fn elsewhere(enter: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let (entered, answer) = channel();
        // From there a parent outside has no number.
        let spawner = Self::begin(None, move || entered.send(enter()).is_ok());
        answer.recv().map_err(|_| thread_is_gone())?.map(|()| spawner)
    }

    fn start(parent: Option<Pid>) -> Self {
        Self::begin(parent, || true)
    }

    fn begin(parent: Option<Pid>, first: impl FnOnce() -> bool + Send + 'static) -> Self {
        let (requests, incoming) = channel::<Request>();
        std::thread::spawn(move || {
            if !first() {
                return;
            }
            for (mut command, signal, reply) in incoming {
                tie_to_parent(&mut command, signal, parent);
                // Whoever asked may be gone; then nobody is left to use the child.
                if let Err(unwanted) = reply.send(command.spawn())
                    && let Ok(mut child) = unwanted.0
                {
                    let _ = child.kill();
                }
            }
        });
        Self(requests)
    }

    /// Starts `command`; the child gets `signal` when this process ends, however it ends.
    pub fn spawn(&self, command: Command, signal: Signal) -> io::Result<Child> {
        let (reply, answer) = channel();
        self.0.send((command, signal, reply)).map_err(|_| thread_is_gone())?;
        answer.recv().map_err(|_| thread_is_gone())?
    }
}

fn thread_is_gone() -> io::Error {
    io::Error::other("the spawning thread is gone")
}

/// `parent` is what the child sees of its parent while that lives.
fn tie_to_parent(command: &mut Command, signal: Signal, parent: Option<Pid>) {
    let tie = move || {
        set_parent_process_death_signal(Some(signal))?;
        // The parent may have died before the line above took effect.
        if getppid() == parent { Ok(()) } else { Err(io::Error::other("the parent process is gone")) }
    };
    // SAFETY: between fork and exec only two system calls are made, and nothing
    // is allocated unless starting fails anyway.
    #[expect(unsafe_code, reason = "the kernel takes the wish only from the child itself")]
    unsafe {
        command.pre_exec(tie);
    }
}

/// Starts `command`; the child gets `signal` when this process ends, however it ends.
pub(crate) fn spawn(command: Command, signal: Signal) -> io::Result<Child> {
    SPAWNER.spawn(command, signal)
}

/// A running child with its output in a file. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own (Ctrl-C at the terminal is
    /// for its parent), appending both output streams to `log`.
    pub fn start(name: &str, command: Command, log: &Path) -> Result<Self> {
        Self::start_by(&SPAWNER, name, command, log)
    }

    /// The same, where `spawner` is.
    pub(crate) fn start_by(spawner: &Spawner, name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = append(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let program = PathBuf::from(command.get_program());
        let child = spawner
            .spawn(command, Signal::KILL)
            .with_context(|| format!("cannot start {name} ({})", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait();
        status.with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Sends a signal; fails when the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        match self.exited()? {
            Some(status) => Err(anyhow!("{} has already ended: {status}", self.name)),
            None => send_signal(self.id(), signal),
        }
    }

    /// Ends it at once and waits for it.
    pub fn kill(&mut self) {
        // Both fail only when it has ended and was waited for: that is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself; an error when it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.exited()? {
                Some(status) => return Ok(status),
                None if start.elapsed() < limit => std::thread::sleep(LOOK_EVERY),
                None => {
                    return Err(anyhow!(
                        "{} still runs after {limit:?}; the end of its log:\n{}",
                        self.name,
                        tail(&self.log, 20)
                    ));
                }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends `signal` to any process, by id.
pub fn send_signal(id: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| anyhow!("{id} is no process id"))?;
    kill_process(pid, signal).with_context(|| format!("cannot send signal {} to process {id}", signal.as_raw()))
}

/// Whether a process of this id exists and is more than a zombie.
pub fn is_running(id: u32) -> bool {
    // The state stands after the name, which is in parentheses and may hold any character.
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| !state.starts_with(['Z', 'X']))
    })
}

/// The last `lines` lines of a file, for error messages.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    match std::fs::read(file) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", file.display()),
    }
}

pub(crate) fn append(file: &Path) -> Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.with_context(|| format!("cannot write {}", file.display()))
}
