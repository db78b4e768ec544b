//! What an ExternalSecret takes of the operator's memory, counted byte by byte: the operator runs in a process of its own
//! whose allocator counts, against a real API server and the store double.
//!
//! `KEYFERRY_HEAP_PROFILE=1` says where the bytes were allocated, too, `KEYFERRY_HEAP_OBJECTS` for how many objects, and
//! `KEYFERRY_HEAP_STANDBY=1` what those take of a replica that stands by for another, and `KEYFERRY_HEAP_STANDBY=4` where they
//! are in shards of another: `docs/scaling.md` has what came of it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails here says so by itself")]

mod counting;
mod operator;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use keyferry_bench::double::Rule;
use keyferry_bench::subject::Subject;
use keyferry_bench::watch::Watch;
use keyferry_bench::{Bed, Double, Fleet, StoreKind};
use libtest_mimic::{Arguments, Trial};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// How many ExternalSecrets there are, where nobody says otherwise.
const OBJECTS: usize = 500;

/// The most that one may take, in bytes, while nothing is due, and while all wait for their store at once: they take 4,400 and
/// 14,800, with what the few connections and watches have taken since there was nothing to do.
const AT_REST: usize = 5500;
const UNDER_WAY: usize = 17_000;

/// How long the store is silent: long enough for all to be created and to wait for it.
const SILENCE: Duration = Duration::from_secs(30);

/// What an operator's log says that has begun.
const AT_WORK: &str = "at work";

/// How long anything may take. Long, because machines are busy.
const SOON: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, verb, socket, kubeconfig] = arguments.as_slice()
        && verb == operator::VERB
    {
        return operator::run(socket, kubeconfig);
    }
    let measure = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(measure());
        Ok(())
    };
    let trials = vec![Trial::test("an_external_secret_takes_little", measure)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

async fn measure() {
    let setting = |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok());
    let objects = setting("KEYFERRY_HEAP_OBJECTS").map_or(OBJECTS, |number| number.parse().unwrap());
    let (profile, standby) = (setting("KEYFERRY_HEAP_PROFILE").is_some(), setting(operator::STANDBY).is_some());
    let bed = Bed::start().await.unwrap();
    let double = Double::start();
    let namespaces = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    let fleet = Fleet { store: StoreKind::Aws, objects, interval: 3600, namespaces };
    fleet.put_store(&bed, &double).await.unwrap();
    fleet.put_values(&bed, &double, 1).await.unwrap();
    let watch = Watch::open(&bed.client()).await.unwrap();

    let works = if standby { Some(begun(&bed, &double, None, AT_WORK).await) } else { None };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("heap");
    let program = std::env::current_exe().unwrap();
    let command = format!("{} {} {} $KUBECONFIG", program.display(), operator::VERB, socket.display());
    let word = if standby { "standing by: all is listed" } else { AT_WORK };
    let mut subject = begun(&bed, &double, Some(&command), word).await;
    let alone = settled(&socket).await;

    double.script(Rule::delay(SILENCE));
    let silent = Instant::now();
    bed.create(&fleet.external_secrets()).await.unwrap();
    let under_way = settled(&socket).await;
    assert!(silent.elapsed() < SILENCE, "the store was silent for too short: {:?}", silent.elapsed());
    assert_eq!(watch.look(|seen| seen.ready.len()), 0, "all wait for the store");
    let waiting = if profile { ask(&socket, "profile") } else { String::new() };

    double.calm();
    watch.until("synced", SOON, || subject.check(), |seen| seen.missing(&fleet, 1)).await.unwrap();
    let rest = settled(&socket).await;
    let resting = if profile { ask(&socket, "profile") } else { String::new() };
    subject.stop().unwrap();

    let each = |counts: Counts| counts.live.saturating_sub(alone.live) / objects;
    let told = format!(
        "an operator alone: {} KiB\nbytes of each of {objects} ExternalSecrets: under way {}, at rest {}; at the peak {}",
        alone.live / 1024,
        each(under_way),
        each(rest),
        rest.peak.saturating_sub(alone.live) / objects,
    );
    let mut told_to = std::io::stderr();
    writeln!(told_to, "{told}").unwrap();
    for (when, profile) in [("under way", waiting), ("at rest", resting)].iter().filter(|(_, text)| !text.is_empty()) {
        writeln!(told_to, "\n{when}, bytes of each:").unwrap();
        for line in profile.lines() {
            let (bytes, place) = line.split_once('\t').unwrap();
            writeln!(told_to, "{:7} {place}", bytes.parse::<usize>().unwrap() / objects).unwrap();
        }
    }
    assert!(each(rest) <= AT_REST && each(under_way) <= UNDER_WAY, "{told}");
    works.into_iter().for_each(|works| works.stop().unwrap());
}

/// An operator that has begun: its log says so.
async fn begun(bed: &Bed, double: &Double, command: Option<&str>, word: &str) -> Subject {
    let mut subject = Subject::start(bed.testbed(), double, command, &[]).unwrap();
    while !subject.log().contains(word) {
        subject.check().unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    subject
}

/// What the operator's allocator counts.
#[derive(Clone, Copy)]
struct Counts {
    live: usize,
    peak: usize,
}

/// The counts once nothing changes any more for some seconds.
async fn settled(socket: &Path) -> Counts {
    const STILL: usize = 6;
    let (begun, mut last, mut still) = (Instant::now(), counts(socket), 0);
    while still < STILL {
        assert!(begun.elapsed() < SOON, "it does not settle: {} bytes", last.live);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = counts(socket);
        still = if now.live.abs_diff(last.live) * 200 < last.live { still + 1 } else { 0 };
        last = now;
    }
    last
}

fn counts(socket: &Path) -> Counts {
    let told = ask(socket, "counts");
    let numbers: Vec<usize> = told.split_whitespace().map(|number| number.parse().unwrap()).collect();
    Counts { live: numbers[0], peak: numbers[1] }
}

/// Asks the operator's process.
fn ask(socket: &Path, what: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    writeln!(stream, "{what}").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    told
}
