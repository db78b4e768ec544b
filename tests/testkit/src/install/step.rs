//! Running the tools that install things: with signs of life, and with the end of
//! their output when they fail.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::process::{Signal, append, spawn, tail};

const SAY_EVERY: Duration = Duration::from_secs(10);

/// Tells whoever waits what is going on, on stderr.
pub(super) struct Progress {
    title: String,
    start: Instant,
}

impl Progress {
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), start: Instant::now() }
    }

    #[expect(clippy::print_stderr, reason = "progress is for the terminal")]
    pub fn say(&self, what: &str) {
        eprintln!("testbed: {}: {what}", self.title);
    }

    pub fn done(&self) {
        self.say(&format!("installed in {} s", self.start.elapsed().as_secs()));
    }

    /// Runs `command` to its end with its output in `log`. `count` reads the log and
    /// says how far it is.
    pub fn run(
        &self,
        what: &str,
        hint: &str,
        mut command: Command,
        log: &Path,
        count: fn(&str) -> String,
    ) -> Result<()> {
        self.say(what);
        let program = command.get_program().to_owned();
        let output = append(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // Not SIGINT: whatever a shell starts in the background ignores that.
        let mut child =
            spawn(command, Signal::TERM).with_context(|| format!("cannot run {}; {hint}", program.display()))?;
        let start = Instant::now();
        let mut said = start;
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                let so_far = count(&std::fs::read_to_string(log).unwrap_or_default());
                self.say(&format!("{what}, {} s{so_far}", start.elapsed().as_secs()));
            }
        };
        if status.success() {
            Ok(())
        } else {
            Err(anyhow!(
                "{what}: {} ended with {status}; the end of its output ({}):\n{}",
                program.display(),
                log.display(),
                tail(log, 30)
            ))
        }
    }
}
