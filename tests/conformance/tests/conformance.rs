//! `cargo test -p keyferry-conformance [-- NAME] [--all]`: each case through `keyferry render`, at the API server, or both.
//!
//! `roads` says which. With `--all`, and with a folder of cases from elsewhere, whatever can be rendered goes both ways.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use keyferry_conformance::case::{self, Case, KEYFERRY_CONFORMANCE};
use keyferry_conformance::features;
use keyferry_conformance::rendered;
use keyferry_conformance::roads::{Roads, roads};
use keyferry_conformance::run::World;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OnceCell, RwLock};

/// Cases wait most of the time: for the namespace to be quiet.
const AT_ONCE: usize = 16;

/// Sends every case that can be rendered to the API server, too.
const ALL: &str = "--all";

/// Servers are started by the first case that needs them: a list of names, and what is only rendered, need none.
struct Shared {
    runtime: Runtime,
    cases: Vec<Case>,
    world: OnceCell<Result<RwLock<Option<World>>, String>>,
    log: PathBuf,
    tally: Mutex<BTreeMap<String, Went>>,
}

/// How a case went so far.
#[derive(Default)]
struct Went {
    rendered: bool,
    at_server: bool,
    failed: bool,
}

/// One way to run a case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Road {
    Render,
    Server,
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
    let mut arguments = Arguments::from_iter(std::env::args().filter(|argument| argument != ALL));
    arguments.test_threads.get_or_insert(AT_ONCE);
    let elsewhere = std::env::var_os(KEYFERRY_CONFORMANCE).is_some_and(|folder| !folder.is_empty());
    let all = elsewhere || std::env::args().any(|argument| argument == ALL);
    let files = case::files(&case::folder())?;
    // A file that can't be read is a case that fails, and no reason to run no other.
    let cases: Vec<Option<Case>> = files.iter().map(|(_, file)| Case::read(file).ok()).collect();
    let log = std::env::temp_dir().join(format!("keyferry-conformance-{}.log", std::process::id()));
    let shared = Arc::new(Shared {
        runtime: Builder::new_multi_thread().enable_all().build()?,
        cases: cases.iter().flatten().cloned().collect(),
        world: OnceCell::new(),
        log,
        tally: Mutex::default(),
    });
    let (trials, listed) = trials(&shared, &files, &cases, all);
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
    shared.count(conclusion.num_ignored);
    Ok(match ended {
        Ok(()) => conclusion.exit_code(),
        Err(_) => ExitCode::FAILURE,
    })
}

/// All ways of all cases, and what is not run, with the reason.
fn trials(
    shared: &Arc<Shared>,
    files: &[(String, PathBuf)],
    cases: &[Option<Case>],
    all: bool,
) -> (Vec<Trial>, Vec<String>) {
    let (mut built, mut listed, mut trials) = (Vec::new(), Vec::new(), Vec::new());
    for ((name, file), case) in files.iter().zip(cases) {
        let missing = case.as_ref().map(features::missing).unwrap_or_default();
        match (case, missing.is_empty()) {
            (Some(case), true) => built.push((name.as_str(), case)),
            (None, _) => trials.push(shared.trial(name, file, Road::Server)),
            (Some(_), false) => {
                let reason = format!("not built yet: {}", missing.join(", "));
                let trial = Trial::test(name, || Ok(())).with_kind(reason.clone());
                trials.push(trial.with_ignored_flag(true));
                listed.push(format!("{name}: {reason}"));
            }
        }
    }
    let roads = roads(&built, all);
    let files: BTreeMap<&str, &PathBuf> = files.iter().map(|(name, file)| (name.as_str(), file)).collect();
    // Those at the API server first: while they wait, the others have the processors.
    let takes = |road| {
        roads.iter().filter(move |(_, Roads { render, server })| match road {
            Road::Server => *server,
            Road::Render => *render,
        })
    };
    for road in [Road::Server, Road::Render] {
        trials.extend(takes(road).map(|(name, _)| shared.trial(name, files[name], road)));
    }
    (trials, listed)
}

impl Shared {
    fn trial(self: &Arc<Self>, name: &str, file: &Path, road: Road) -> Trial {
        let (shared, file, case) = (self.clone(), file.to_owned(), name.to_owned());
        let kind = if road == Road::Render { "render" } else { "server" };
        let run = move || {
            let result = match road {
                Road::Render => shared.runtime.block_on(rendered::run(&file)).map_err(|error| format!("{error:#}")),
                Road::Server => shared.at_server(&file),
            };
            let mut tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
            let went = tally.entry(case).or_default();
            went.rendered |= road == Road::Render;
            went.at_server |= road == Road::Server;
            went.failed |= result.is_err();
            result.map_err(Failed::from)
        };
        Trial::test(name, run).with_kind(kind)
    }

    fn at_server(&self, file: &Path) -> Result<(), String> {
        self.runtime.block_on(async {
            let start = async || match World::start(&self.cases, &self.log).await {
                Ok(world) => Ok(RwLock::new(Some(world))),
                Err(error) => Err(format!("{error:#}")),
            };
            match self.world.get_or_init(start).await {
                Err(error) => Err(error.clone()),
                Ok(world) => match world.read().await.as_ref() {
                    Some(world) => world.run(file).await.map_err(|error| format!("{error:#}")),
                    None => Err("the run is over".to_owned()),
                },
            }
        })
    }

    /// Says which way the cases went, and how many there were of each kind: a case counts once.
    fn count(&self, listed: u64) {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let ways = |rendered, at_server| {
            let went = tally.iter().filter(|(_, went)| (went.rendered, went.at_server) == (rendered, at_server));
            went.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        for (how, names) in [
            ("at the API server alone", ways(false, true)),
            ("at the API server and through render", ways(true, true)),
            ("through render alone (--all runs them at the API server, too)", ways(true, false)),
        ] {
            if !names.is_empty() {
                say(&format!("{} {how}: {}", names.len(), names.join(", ")));
            }
        }
        let failed = tally.values().filter(|went| went.failed).count();
        say(&format!("conformance: {} passed, {failed} failed, {listed} listed", tally.len() - failed));
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
