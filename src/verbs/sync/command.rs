//! The command that is run when targets have changed. It gets their paths and no value.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

/// How many paths one run gets; more are for another run.
const PATHS: usize = 1000;

/// The command.
#[derive(Clone, Debug)]
pub struct OnChange {
    /// For `sh -c`.
    pub command: String,
    /// Variables of our environment that hold values, or that stores log in with; the command's has none of them.
    pub without: Vec<String>,
}

impl OnChange {
    /// Runs it for these targets; the error is for a person.
    pub async fn run(&self, changed: &[PathBuf]) -> Result<(), String> {
        for paths in changed.chunks(PATHS) {
            let mut command = Command::new("sh");
            // What is told of us goes to standard output: a reader of JSON lines must find nothing else there.
            command.arg("-c").arg(&self.command).arg("keyferry").args(paths);
            command.stdin(Stdio::null()).stdout(std::io::stderr()).stderr(Stdio::inherit());
            self.without.iter().for_each(|name| _ = command.env_remove(name));
            let status = command.status().await;
            let status = status.map_err(|error| format!("sh can't be run: {}", error.kind()))?;
            if !status.success() {
                return Err(format!("the command of --on-change ended with {status}"));
            }
        }
        Ok(())
    }
}
