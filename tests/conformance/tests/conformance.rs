//! `cargo test -p keyferry-conformance [-- NAME]`: one test per case.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use keyferry_conformance::case::{self, Case};
use keyferry_conformance::features;
use keyferry_conformance::run::World;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OnceCell, RwLock};

/// Cases wait most of the time: for the namespace to be quiet.
const AT_ONCE: usize = 16;

/// Started by the first case that runs: a list of names needs no servers.
struct Shared {
    runtime: Runtime,
    cases: Vec<Case>,
    world: OnceCell<Result<RwLock<Option<World>>, String>>,
    log: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            say(&format!("conformance: error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let files = case::files(&case::folder())?;
    // A file that can't be read is a case that fails, and no reason to run no other.
    let cases: Vec<Option<Case>> = files.iter().map(|(_, file)| Case::read(file).ok()).collect();
    let log = std::env::temp_dir().join(format!("keyferry-conformance-{}.log", std::process::id()));
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let shared =
        Arc::new(Shared { runtime, cases: cases.iter().flatten().cloned().collect(), world: OnceCell::new(), log });
    let mut listed = Vec::new();
    let mut trials = Vec::new();
    for ((name, file), case) in files.into_iter().zip(&cases) {
        let missing = case.as_ref().map(features::missing).unwrap_or_default();
        if !missing.is_empty() {
            listed.push(format!("{name}: not built yet: {}", missing.join(", ")));
        }
        let kind = if missing.is_empty() { String::new() } else { format!("not built yet: {}", missing.join(", ")) };
        let shared = shared.clone();
        let trial = Trial::test(name, move || shared.run(file)).with_kind(kind);
        trials.push(trial.with_ignored_flag(!missing.is_empty()));
    }
    let list_only = arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    if list_only {
        return Ok(conclusion.exit_code());
    }
    let ended = shared.finish();
    if let Err(error) = &ended {
        say(&format!("conformance: after the last case: {error:#}"));
    }
    listed.iter().for_each(|line| say(&format!("listed: {line}")));
    say(&format!(
        "conformance: {} passed, {} failed, {} listed",
        conclusion.num_passed, conclusion.num_failed, conclusion.num_ignored
    ));
    Ok(match ended {
        Ok(()) => conclusion.exit_code(),
        Err(_) => ExitCode::FAILURE,
    })
}

impl Shared {
    fn run(&self, file: PathBuf) -> Result<(), Failed> {
        self.runtime.block_on(async {
            let start = async || match World::start(&self.cases, &self.log).await {
                Ok(world) => Ok(RwLock::new(Some(world))),
                Err(error) => Err(format!("{error:#}")),
            };
            match self.world.get_or_init(start).await {
                Err(error) => Err(Failed::from(error)),
                Ok(world) => match world.read().await.as_ref() {
                    Some(world) => world.run(&file).await.map_err(|error| Failed::from(format!("{error:#}"))),
                    None => Err(Failed::from("the run is over")),
                },
            }
        })
    }

    /// Ends the operator, and looks for values in what it said.
    fn finish(&self) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let world = match self.world.get() {
                Some(Ok(world)) => world.write().await.take(),
                _ => None,
            };
            match world {
                Some(world) => {
                    world.finish().await?;
                    // Of a run that failed it is worth reading.
                    Ok(std::fs::remove_file(&self.log)?)
                }
                None => Ok(()),
            }
        })
    }
}

/// A closed stdout leaves nobody to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
