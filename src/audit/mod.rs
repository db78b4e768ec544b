//! The audit log: one JSON line for each delivery, in order. Whoever delivers waits for nothing: lines stand in queues of so
//! many bytes, one for each way that they go, and a thread of its own empties each. What a queue has no room for, or can't be
//! written, is counted. [`file`] writes into a file, or to standard error; [`webhook`] sends to whoever collects.

pub mod file;
pub mod webhook;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keyferry_limits::AUDIT_QUEUE;
use keyferry_sync::audit::{Audit, Delivery, Object};
use prometheus::{IntCounter, IntCounterVec};
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::webhook::Webhook;

/// How long an end waits until all is written.
const LAST: Duration = Duration::from_secs(10);

/// How often it is said at most that something goes on being wrong.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What is counted of it, by where it goes: label `to`.
#[derive(Clone)]
pub struct Counts {
    /// Lines that were written.
    pub written: IntCounterVec,
    /// Deliveries that have no line.
    pub dropped: IntCounterVec,
}

/// A line that waits, with its end. It may go several ways.
type Line = Arc<[u8]>;

/// What both ends of a queue know of it.
#[derive(Clone)]
struct Account {
    lines: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    written: IntCounter,
    dropped: IntCounter,
}

/// One way that lines go.
struct Way {
    /// For people.
    name: &'static str,
    lines: Option<UnboundedSender<Line>>,
    account: Account,
    told: Option<Instant>,
    ended: Option<Receiver<()>>,
}

/// Numbers and queues what comes, under one lock, so that the lines stand in the order of their numbers.
struct Queues {
    next: u64,
    ways: Vec<Way>,
}

/// The log.
pub struct Log {
    mode: &'static str,
    process: String,
    queues: Mutex<Queues>,
}

/// What a line holds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    sequence: u64,
    process: &'a str,
    mode: &'static str,
    #[serde(flatten)]
    delivery: &'a Delivery,
}

/// The log that goes to what `--audit-log` names, and to this webhook, as far as there are such. The error is for a person.
pub fn open(target: Option<&str>, webhook: &Webhook, mode: &'static str, counts: &Counts) -> Result<Arc<Log>, String> {
    let log = Log::new(mode);
    if let Some(target) = target {
        let out = file::open(target)?;
        log.goes("log", counts, move |queued, account| file::write(queued, out, &account))?;
    }
    if let Some(receiver) = webhook.receiver()? {
        log.goes("webhook", counts, move |queued, account| webhook::send(receiver, queued, account))?;
    }
    Ok(Arc::new(log))
}

impl Log {
    /// One of a process that works in this mode, and that goes nowhere yet.
    fn new(mode: &'static str) -> Self {
        // The node's name is the pod's; the rest tells it from the one before, whose numbers began at 1, too.
        let process =
            format!("{}_{:016x}", rustix::system::uname().nodename().to_string_lossy(), rand::random::<u64>());
        Self { mode, process, queues: Mutex::new(Queues { next: 1, ways: Vec::new() }) }
    }

    /// From now on lines go this way, too: what is queued is for `work`, which has a thread of its own and ends with the queue.
    fn goes(
        &self,
        name: &'static str,
        counts: &Counts,
        work: impl FnOnce(UnboundedReceiver<Line>, Account) + Send + 'static,
    ) -> Result<(), String> {
        let (lines, queued) = unbounded_channel();
        let (end, ended) = channel();
        let account = Account {
            lines: Arc::default(),
            bytes: Arc::default(),
            written: counts.written.with_label_values(&[name]),
            dropped: counts.dropped.with_label_values(&[name]),
        };
        let shared = account.clone();
        let working = move || {
            work(queued, shared);
            drop(end);
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(working)
            .map_err(|_| "can't start the thread of the audit log".to_owned())?;
        self.queues().ways.push(Way { name, lines: Some(lines), account, told: None, ended: Some(ended) });
        Ok(())
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which part of the room for lines that wait is taken, from 0 to 1: of the way where that is most.
    pub fn used(&self) -> f64 {
        let most = self.queues().ways.iter().map(|way| way.account.bytes.load(Ordering::Relaxed)).max();
        most.unwrap_or_default() as f64 / AUDIT_QUEUE.most as f64
    }

    /// Takes no more, and waits until all is written. An error where that takes too long.
    pub fn close(&self) -> Result<(), String> {
        let until = Instant::now() + LAST;
        let closing: Vec<_> = self.queues().ways.iter_mut().map(Way::close).collect();
        let mut late = Vec::new();
        for (name, account, ended) in closing {
            let left = until.saturating_duration_since(Instant::now());
            // It tells nothing, and ends.
            if ended.is_some_and(|ended| ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout)) {
                late.push(format!("{} lines to its {name}", account.lines.load(Ordering::Relaxed)));
            }
        }
        if late.is_empty() {
            return Ok(());
        }
        Err(format!(
            "the audit log was not written to its end within {} s: {} are lost",
            LAST.as_secs(),
            late.join(" and ")
        ))
    }
}

impl Audit for Log {
    fn take(&self, delivery: Delivery) {
        let mut queues = self.queues();
        if queues.ways.is_empty() {
            return;
        }
        // One that is dropped has its number, too: the gap is seen.
        let sequence = queues.next;
        queues.next += 1;
        let record = Record { sequence, process: &self.process, mode: self.mode, delivery: &delivery };
        // Texts and numbers can always be written.
        let mut line = serde_json::to_vec(&record).unwrap_or_default();
        line.push(b'\n');
        let line = Line::from(line);
        for way in &mut queues.ways {
            way.take(line.clone());
        }
    }
}

impl Way {
    fn take(&mut self, line: Line) {
        let Some(lines) = &self.lines else { return self.account.dropped.inc() };
        if self.account.bytes.load(Ordering::Relaxed) + line.len() > AUDIT_QUEUE.size() {
            self.account.dropped.inc();
            if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                self.told = Some(Instant::now());
                tracing::error!(to = self.name, dropped = self.account.dropped.get(), "{AUDIT_QUEUE}");
            }
            return;
        }
        self.account.waits(&line);
        if let Err(unsent) = lines.send(line) {
            self.account.drops(&unsent.0);
        }
    }

    fn close(&mut self) -> (&'static str, Account, Option<Receiver<()>>) {
        self.lines = None;
        (self.name, self.account.clone(), self.ended.take())
    }
}

impl Account {
    fn waits(&self, line: &Line) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(line.len(), Ordering::Relaxed);
    }

    fn leaves(&self, line: &Line) {
        self.lines.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
    }

    fn writes(&self, line: &Line) {
        self.leaves(line);
        self.written.inc();
    }

    fn drops(&self, line: &Line) {
        self.leaves(line);
        self.dropped.inc();
    }
}

/// The log of objects that the pipeline takes for ExternalSecrets, and that are of another kind.
pub struct OfKind(pub &'static str, pub Arc<dyn Audit>);

impl Audit for OfKind {
    fn take(&self, mut delivery: Delivery) {
        delivery.object = Object { kind: self.0.to_owned(), ..delivery.object };
        self.1.take(delivery);
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
