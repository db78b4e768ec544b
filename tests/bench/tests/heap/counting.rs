//! An allocator that counts what is live, as the C library's would keep it, and remembers where some of it was allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of so many bytes one allocation is remembered.
const EVERY: usize = 4096;

/// How many functions of ours a place is named by, the innermost first.
const NAMED: usize = 3;

pub struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static COUNTS: AtomicBool = AtomicBool::new(false);
static PROFILES: AtomicBool = AtomicBool::new(false);
/// What was remembered and is live: for how many bytes it stands, and where it was allocated.
static PLACES: Mutex<BTreeMap<usize, (usize, Backtrace)>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// How many bytes are left until one is remembered.
    static LEFT: Cell<usize> = const { Cell::new(EVERY) };
    /// Whether what is done is the counting itself.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: it hands on to the system's, and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        let at = unsafe { System.alloc(layout) };
        if !at.is_null() {
            allocated(at as usize, layout.size());
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        freed(at as usize, layout.size());
        // SAFETY: as the caller says.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What the C library keeps of its memory for so many bytes, on 64 bits.
fn chunk(size: usize) -> usize {
    (size + 8).next_multiple_of(16).max(32)
}

fn allocated(at: usize, size: usize) {
    if !COUNTS.load(Ordering::Relaxed) || INSIDE.get() {
        return;
    }
    let size = chunk(size);
    let live = LIVE.fetch_add(size, Ordering::Relaxed) + size;
    PEAK.fetch_max(live, Ordering::Relaxed);
    if !PROFILES.load(Ordering::Relaxed) {
        return;
    }
    let left = LEFT.get();
    if left > size {
        LEFT.set(left - size);
        return;
    }
    let stands_for = (1 + (size - left) / EVERY) * EVERY;
    LEFT.set(EVERY - (size - left) % EVERY);
    uncounted(|| {
        let place = Backtrace::force_capture();
        places().insert(at, (stands_for, place));
    });
}

fn freed(at: usize, size: usize) {
    if !COUNTS.load(Ordering::Relaxed) || INSIDE.get() {
        return;
    }
    // What was allocated before the counting began was not counted.
    let _ = LIVE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| Some(live.saturating_sub(chunk(size))));
    if PROFILES.load(Ordering::Relaxed) {
        uncounted(|| drop(places().remove(&at)));
    }
}

fn places() -> MutexGuard<'static, BTreeMap<usize, (usize, Backtrace)>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something whose allocations are not the operator's.
pub fn uncounted<T>(work: impl FnOnce() -> T) -> T {
    INSIDE.set(true);
    let done = work();
    INSIDE.set(false);
    done
}

/// Counts from now on, and remembers places where `profiles`.
pub fn begin(profiles: bool) {
    PROFILES.store(profiles, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
}

/// What is live, and was at most.
pub fn counts() -> String {
    format!("{} {}", LIVE.load(Ordering::Relaxed), PEAK.load(Ordering::Relaxed))
}

/// What is live by where it was allocated, the most first: a line each.
pub fn profile() -> String {
    let mut by_place: BTreeMap<String, usize> = BTreeMap::new();
    let remembered: Vec<(usize, String)> =
        places().values().map(|(stands_for, place)| (*stands_for, place.to_string())).collect();
    for (stands_for, place) in remembered {
        *by_place.entry(named(&place)).or_default() += stands_for;
    }
    let mut all: Vec<_> = by_place.into_iter().collect();
    all.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    all.into_iter().map(|(place, bytes)| format!("{bytes}\t{place}\n")).collect()
}

/// The innermost functions of ours that a backtrace goes through, without what only the compiler needs; of one that goes
/// through none, the innermost of anybody's.
fn named(backtrace: &str) -> String {
    let symbols = backtrace.lines().filter_map(|line| Some(line.trim_start().split_once(": ")?.1));
    let symbols: Vec<&str> = symbols.filter(|symbol| !symbol.contains("heap::")).collect();
    let mut names: Vec<&str> = Vec::new();
    for symbol in &symbols {
        let Some(ours) = symbol.find("keyferry").map(|at| &symbol[at..]) else { continue };
        let end = ours.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(ours.len());
        let name = ours[..end].trim_end_matches(':');
        let name = name.rsplit_once("::h").filter(|(_, hash)| hash.len() == 16).map_or(name, |(name, _)| name);
        if names.last() != Some(&name) {
            names.push(name);
        }
        if names.len() == NAMED {
            break;
        }
    }
    if names.is_empty() {
        names = symbols.iter().filter(|symbol| !symbol.contains("alloc")).take(NAMED).copied().collect();
    }
    names.join(" < ")
}
