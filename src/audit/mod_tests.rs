use std::io::{self, Write};
use std::sync::Condvar;

use jiff::Timestamp;
use keyferry_sync::audit::Action;
use serde_json::Value;

use super::*;

/// A place to write to that can be held up, and can fail.
#[derive(Clone, Default)]
struct Place(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    text: Vec<u8>,
    is_held: bool,
    fails: bool,
    /// How many bytes it takes before it fails.
    room: Option<usize>,
}

impl Place {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn lines(&self) -> Vec<Value> {
        let state = self.0.0.lock().unwrap();
        let text = String::from_utf8(state.text.clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = self.0.0.lock().unwrap();
        let mut state = self.0.1.wait_while(state, |state| state.is_held).unwrap();
        if state.fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        state.text.extend(&bytes[..taken]);
        if let Some(room) = &mut state.room {
            *room -= taken;
            state.fails = *room == 0;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn counts() -> Counts {
    let counter = |name: &str| IntCounterVec::new(prometheus::Opts::new(name, "of a test"), &["to"]).unwrap();
    Counts { written: counter("written"), dropped: counter("dropped") }
}

impl Counts {
    /// How many lines went this way, and how many did not.
    pub(super) fn of(&self, way: &str) -> (u64, u64) {
        (self.written.with_label_values(&[way]).get(), self.dropped.with_label_values(&[way]).get())
    }

    fn written(&self) -> u64 {
        self.of("log").0
    }

    fn dropped(&self) -> u64 {
        self.of("log").1
    }
}

pub(super) fn delivery(name: &str) -> Delivery {
    let object = Object { kind: "ExternalSecret".into(), name: name.into(), ..Object::default() };
    Delivery::new(Timestamp::UNIX_EPOCH, Action::Written, object)
}

fn log() -> (Place, Counts, Log) {
    let (place, counts, log) = (Place::default(), counts(), Log::new("run"));
    let out = Box::new(place.clone());
    log.goes("log", &counts, move |queued, account| file::write(queued, out, &account)).unwrap();
    (place, counts, log)
}

#[test]
fn a_thousand_deliveries_of_many_threads_are_a_thousand_lines_in_order() {
    let (place, counts, log) = log();
    std::thread::scope(|scope| {
        for thread in 0..10 {
            let log = &log;
            scope.spawn(move || (0..100).for_each(|n| log.take(delivery(&format!("{thread}-{n}")))));
        }
    });
    log.close().unwrap();
    let lines = place.lines();
    let numbers: Vec<u64> = lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=1000).collect::<Vec<u64>>());
    for thread in 0..10 {
        let of = |line: &&Value| line["object"]["name"].as_str().unwrap().starts_with(&format!("{thread}-"));
        let names = lines.iter().filter(of).map(|line| line["object"]["name"].as_str().unwrap().to_owned());
        let expected: Vec<String> = (0..100).map(|n| format!("{thread}-{n}")).collect();
        assert_eq!(names.collect::<Vec<_>>(), expected, "each thread's own order stays");
    }
    assert_eq!(counts.of("log"), (1000, 0));
    assert!(lines.iter().all(|line| line["mode"] == "run" && line["process"] == log.process));
}

#[test]
fn what_the_queue_has_no_room_for_is_counted_and_leaves_a_gap() {
    let (place, counts, log) = log();
    place.set(|state| state.is_held = true);
    let long = "x".repeat(1 << 20);
    let fits = AUDIT_QUEUE.size() / (1 << 20) - 1;
    for _ in 0..fits + 5 {
        log.take(delivery(&long));
    }
    assert_eq!(counts.dropped(), 5, "limit {}", AUDIT_QUEUE.name);
    place.set(|state| state.is_held = false);
    while counts.written() < fits as u64 {
        std::thread::yield_now();
    }
    log.take(delivery("last"));
    log.close().unwrap();
    let lines = place.lines();
    assert_eq!(lines.len(), fits + 1);
    assert_eq!(lines[fits]["sequence"], fits + 6, "the five that were dropped had numbers");
    log.take(delivery("late"));
    assert_eq!(counts.dropped(), 6, "after the end");
}

#[test]
fn what_can_not_be_written_is_counted_and_stops_nobody() {
    let (place, counts, log) = log();
    place.set(|state| state.fails = true);
    log.take(delivery("a"));
    while counts.dropped() == 0 {
        std::thread::yield_now();
    }
    place.set(|state| state.fails = false);
    log.take(delivery("b"));
    log.close().unwrap();
    assert_eq!(counts.of("log"), (1, 1));
    assert_eq!(place.lines()[0]["object"]["name"], "b");
}

#[test]
fn a_file_is_appended_to_and_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    for name in ["a", "b"] {
        let log = open(path.to_str(), &Webhook::default(), "sync", &counts()).unwrap();
        OfKind("SealedSecret", log.clone()).take(delivery(name));
        log.close().unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.lines().all(|line| line.contains("\"kind\":\"SealedSecret\"")), "{text}");
    let numbered = |line: &str| serde_json::from_str::<Value>(line).map(|line| line["process"].clone()).unwrap();
    let processes: std::collections::BTreeSet<_> = text.lines().map(|line| numbered(line).to_string()).collect();
    assert_eq!(processes.len(), 2, "numbers begin anew, and nobody takes one for the other: {text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let Err(problem) = open(folder.path().join("no/such").to_str(), &Webhook::default(), "run", &counts()) else {
        panic!("there is no such folder")
    };
    assert!(problem.starts_with("can't open the audit log"), "{problem}");
}

#[test]
fn half_a_line_spoils_no_other() {
    let (place, counts, log) = log();
    place.set(|state| state.room = Some(10));
    log.take(delivery("torn"));
    while counts.dropped() == 0 {
        std::thread::yield_now();
    }
    place.set(|state| (state.fails, state.room) = (false, None));
    log.take(delivery("whole"));
    log.close().unwrap();
    let text = String::from_utf8(place.0.0.lock().unwrap().text.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0].len()), (2, 10), "{text}");
    assert!(serde_json::from_str::<Value>(lines[1]).is_ok_and(|line| line["object"]["name"] == "whole"), "{text}");
}
