//! The audit log: one JSON line for each delivery, in order. Whoever delivers waits for nothing: lines stand in a queue of so
//! many bytes, and a thread of its own writes them. What the queue has no room for, or can't be written, is counted.

use std::fs::{OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyferry_limits::AUDIT_QUEUE;
use keyferry_sync::audit::{Audit, Delivery, Object};
use prometheus::IntCounter;
use serde::Serialize;

/// How long an end waits until all is written.
const LAST: Duration = Duration::from_secs(10);

/// What is counted of it.
#[derive(Clone)]
pub struct Counts {
    /// Lines that were written.
    pub written: IntCounter,
    /// Deliveries that have no line.
    pub dropped: IntCounter,
}

/// Numbers and queues what comes, under one lock, so that the lines stand in the order of their numbers.
struct Queue {
    next: u64,
    lines: Option<Sender<Vec<u8>>>,
}

/// The log.
pub struct Log {
    mode: &'static str,
    queue: Mutex<Queue>,
    held: Arc<AtomicUsize>,
    counts: Counts,
    is_full: AtomicBool,
    ended: Mutex<Receiver<()>>,
}

/// A line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    sequence: u64,
    mode: &'static str,
    #[serde(flatten)]
    delivery: &'a Delivery,
}

/// Where `--audit-log` says that it goes: `-` is standard error, anything else a file, which is appended to and is for its
/// owner alone. The error is for a person.
pub fn open(target: &str, mode: &'static str, counts: Counts) -> Result<Arc<Log>, String> {
    let out: Box<dyn Write + Send> = if target == "-" {
        Box::new(std::io::stderr())
    } else {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(target);
        let failed = |error: std::io::Error| format!("can't open the audit log {target}: {}", error.kind());
        let file = file.map_err(failed)?;
        // One that was there already may be for others, too; what is no file has an access of its own.
        if file.metadata().map_err(failed)?.is_file() {
            file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
        }
        Box::new(file)
    };
    Log::start(out, mode, counts)
}

impl Log {
    /// A log that goes there, of a process that works in this mode.
    pub fn start(out: Box<dyn Write + Send>, mode: &'static str, counts: Counts) -> Result<Arc<Self>, String> {
        let (lines, queued) = channel::<Vec<u8>>();
        let (end, ended) = channel();
        let held = Arc::new(AtomicUsize::new(0));
        let (counted, room) = (counts.clone(), held.clone());
        let writing = move || {
            write(&queued, out, &counted, &room);
            let _ = end.send(());
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(writing)
            .map_err(|_| "can't start the thread of the audit log".to_owned())?;
        Ok(Arc::new(Self {
            mode,
            queue: Mutex::new(Queue { next: 1, lines: Some(lines) }),
            held,
            counts,
            is_full: AtomicBool::new(false),
            ended: Mutex::new(ended),
        }))
    }

    /// Which part of the room for lines that wait is taken, from 0 to 1.
    pub fn used(&self) -> f64 {
        self.held.load(Ordering::Relaxed) as f64 / AUDIT_QUEUE.most as f64
    }

    /// Takes no more, and waits until all is written. An error where that takes too long.
    pub fn close(&self) -> Result<(), String> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).lines = None;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match ended.recv_timeout(LAST) {
            Ok(()) => Ok(()),
            Err(_) => Err(format!("the audit log was not written to its end within {} s", LAST.as_secs())),
        }
    }
}

impl Audit for Log {
    fn take(&self, delivery: Delivery) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is dropped has its number, too: the gap is seen.
        let sequence = queue.next;
        queue.next += 1;
        let line = serde_json::to_vec(&Line { sequence, mode: self.mode, delivery: &delivery });
        let has_room = |bytes: usize| self.held.load(Ordering::Relaxed) + bytes <= AUDIT_QUEUE.size();
        if let (Ok(mut line), Some(lines)) = (line, &queue.lines)
            && has_room(line.len())
        {
            line.push(b'\n');
            self.held.fetch_add(line.len(), Ordering::Relaxed);
            self.is_full.store(false, Ordering::Relaxed);
            // Who writes ends after us.
            let _ = lines.send(line);
            return;
        }
        self.counts.dropped.inc();
        if queue.lines.is_some() && !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::error!("{AUDIT_QUEUE}");
        }
    }
}

/// Writes a line, in one piece where that can be: others write to the same place. `is_torn` says, before and after, that a part
/// of one stands there without its end: the next begins a line of its own.
fn write_line(out: &mut dyn Write, line: &[u8], is_torn: &mut bool) -> std::io::Result<()> {
    if *is_torn {
        out.write_all(b"\n")?;
        *is_torn = false;
    }
    let mut rest = line;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        *is_torn = !rest.is_empty();
    }
    out.flush()
}

fn write(queued: &Receiver<Vec<u8>>, mut out: Box<dyn Write + Send>, counts: &Counts, held: &AtomicUsize) {
    let (mut has_failed, mut is_torn) = (false, false);
    for line in queued {
        let written = write_line(&mut *out, &line, &mut is_torn);
        held.fetch_sub(line.len(), Ordering::Relaxed);
        match written {
            Ok(()) => {
                has_failed = false;
                counts.written.inc();
            }
            Err(error) => {
                counts.dropped.inc();
                if !std::mem::replace(&mut has_failed, true) {
                    tracing::error!(cause = %error.kind(), "can't write the audit log: deliveries are not in it");
                }
            }
        }
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
