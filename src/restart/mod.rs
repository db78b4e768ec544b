//! Restarts of workloads whose Secret changed.
//!
//! That it did is noted in the Secret, by the write that changed it (`cluster/src/target/rotation.rs`); for which change a
//! workload was restarted, in its pods. Who compares the two can do so at any time: a crash in between loses nothing, and
//! nobody is restarted twice for the same.
//!
//! Modules, in reading order: [`who`] restarts, [`noted`] for which changes that was, [`wave`] one round of a namespace. The
//! loop here waits until a namespace is quiet, and goes round.

pub mod who;
pub mod noted;
pub mod wave;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use keyferry_sync::record::{Note, Severity};
use keyferry_sync::told::Told;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::wave::{Failed, World};
use crate::controller::rotated::Rotated;

/// How long a namespace is quiet before anybody restarts, and how long that is waited for: what changes together restarts its
/// users once.
const QUIET: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long it is waited at least: changes of before our time are found one after the other.
const FOUND: Duration = Duration::from_secs(5);

/// When what failed is tried again at first, what passes by itself and what does not, at last, and no more.
const SOON: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_secs(15);
const LONGEST_RETRY: Duration = Duration::from_secs(300);
const GIVE_UP: Duration = Duration::from_secs(3600);

/// What changed in a namespace, and when its workloads restart.
#[derive(Debug)]
struct Pending {
    /// By Secret and writer.
    rotated: BTreeMap<(String, Option<String>), Rotated>,
    /// When somebody last told of a change, and when the last one has been so long ago that it is quiet.
    last: Instant,
    quiet: Instant,
    /// When the round begins, and since when that was put off by news.
    due: Instant,
    waits_since: Option<Instant>,
    /// How often that failed, and what was told of it.
    tries: u32,
    said: BTreeSet<String>,
}

impl Pending {
    fn new(now: Instant) -> Self {
        let (rotated, said) = (BTreeMap::new(), BTreeSet::new());
        Self { rotated, last: now, quiet: now, due: now, waits_since: None, tries: 0, said }
    }

    fn put(&mut self, rotated: Rotated, now: Instant) {
        self.quiet = self.quiet.max(rotated.since + QUIET);
        self.rotated.insert((rotated.secret.clone(), rotated.writer.name.clone()), rotated);
        self.last = now;
        let since = *self.waits_since.get_or_insert(now);
        self.due = self.quiet.max(since + FOUND).min(since + LONGEST_WAIT);
    }

    /// Waits for another try, shortly at first where what failed passes by itself; answers whether there is one.
    fn put_off(&mut self, now: Instant, is_passing: bool) -> bool {
        let first = if is_passing { SOON } else { FIRST_RETRY };
        let wait = first.saturating_mul(1 << self.tries.min(9)).min(LONGEST_RETRY);
        self.tries += 1;
        self.waits_since = None;
        self.due = now + wait;
        self.due.duration_since(self.last) < GIVE_UP
    }
}

/// Restarts workloads, for as long as somebody may tell of a Secret that changed.
pub async fn run(world: World, mut told: mpsc::UnboundedReceiver<Rotated>) {
    let world = Arc::new(world);
    let mut pending: HashMap<String, Pending> = HashMap::new();
    let mut under_way: HashSet<String> = HashSet::new();
    let mut waves = JoinSet::new();
    loop {
        let now = Instant::now();
        let due = |(namespace, waiting): (&String, &Pending)| {
            (waiting.due <= now && !under_way.contains(namespace)).then(|| namespace.clone())
        };
        let ready: Vec<String> = pending.iter().filter_map(due).collect();
        for namespace in ready {
            if let Some(waiting) = pending.remove(&namespace) {
                under_way.insert(namespace.clone());
                waves.spawn(round(world.clone(), namespace, waiting));
            }
        }
        let open = pending.iter().filter(|(namespace, _)| !under_way.contains(*namespace));
        let next = open.map(|(_, waiting)| waiting.due).min();
        tokio::select! {
            news = told.recv() => match news {
                Some(news) => {
                    let waiting = pending.entry(news.namespace.clone()).or_insert_with(|| Pending::new(now));
                    waiting.put(news, Instant::now());
                }
                None => return,
            },
            // An error is a round that was cancelled, which happens only as we end.
            Some(ended) = waves.join_next(), if !waves.is_empty() => if let Ok((namespace, failed)) = ended {
                under_way.remove(&namespace);
                if let Some(failed) = failed {
                    again(&mut pending, namespace, failed);
                }
            },
            () = tokio::time::sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }
}

/// What failed waits with what was told meanwhile.
fn again(pending: &mut HashMap<String, Pending>, namespace: String, failed: Pending) {
    match pending.entry(namespace) {
        std::collections::hash_map::Entry::Vacant(place) => {
            place.insert(failed);
        }
        std::collections::hash_map::Entry::Occupied(mut place) => {
            let newer = place.get_mut();
            for (key, rotated) in failed.rotated {
                newer.rotated.entry(key).or_insert(rotated);
            }
            newer.said.extend(failed.said);
        }
    }
}

/// One round; answers what is left to do.
async fn round(world: Arc<World>, namespace: String, mut waiting: Pending) -> (String, Option<Pending>) {
    // What is another replica's by now it has found itself, where nobody was restarted for it.
    waiting.rotated.retain(|_, of| of.lead.as_ref().is_none_or(|lead| lead.check().is_ok()));
    if waiting.rotated.is_empty() {
        return (namespace, None);
    }
    let rotated: Vec<Rotated> = waiting.rotated.values().cloned().collect();
    let wave = AssertUnwindSafe(wave::run(&world, &namespace, &rotated)).catch_unwind().await;
    let Ok(failed) = wave else {
        tracing::error!(namespace, "a bug of keyferry: nobody is restarted for this change; please report it");
        return (namespace, None);
    };
    if failed.is_empty() {
        return (namespace, None);
    }
    let goes_on = waiting.put_off(Instant::now(), failed.iter().all(|failed| failed.is_passing));
    for Failed { secrets, why, .. } in failed {
        let concerned = |of: &&Rotated| secrets.as_ref().is_none_or(|secrets| secrets.contains(&of.secret));
        let is_news = waiting.said.insert(why.clone());
        for of in rotated.iter().filter(concerned) {
            if is_news {
                tracing::warn!(namespace, secret = of.secret, "{why}");
                warn(&world, of, why.clone());
            }
            if !goes_on {
                warn(&world, of, format!("{why}; this is not tried again: restart it yourself"));
            }
        }
    }
    (namespace, goes_on.then_some(waiting))
}

fn warn(world: &World, of: &Rotated, why: String) {
    // Names of objects, and words of ours.
    let note = Note::new(Severity::Warning, "RestartFailed", Told::without_values(why));
    world.events.send(of.writer.clone(), of.component, note);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn rotated(secret: &str, since: Instant) -> Rotated {
        Rotated {
            namespace: "ns".to_owned(),
            secret: secret.to_owned(),
            since,
            writer: ObjectReference::default(),
            component: "test",
            asked: None,
            lead: None,
        }
    }

    #[test]
    fn what_changes_together_is_waited_for_but_not_for_ever() {
        let began = Instant::now();
        let mut waiting = Pending::new(began);
        let mut put = |secret, second| {
            let at = began + Duration::from_secs(second);
            waiting.put(rotated(secret, at), at);
            (waiting.due, waiting.rotated.len())
        };
        assert_eq!(put("a", 0), (began + QUIET, 1));
        assert_eq!(put("b", 5), (began + Duration::from_secs(5) + QUIET, 2));
        for second in 6..200 {
            put("a", second);
        }
        assert_eq!(put("a", 200), (began + LONGEST_WAIT, 2));
    }

    #[test]
    fn what_changed_before_our_time_has_been_quiet() {
        let changed = Instant::now();
        let found = changed + Duration::from_secs(600);
        let mut waiting = Pending::new(found);
        waiting.put(rotated("a", changed), found);
        waiting.put(rotated("b", changed), found + Duration::from_secs(1));
        assert_eq!(waiting.due, found + FOUND);
        let news = found + Duration::from_secs(4);
        waiting.put(rotated("b", news), news);
        assert_eq!(waiting.due, news + QUIET, "it is quiet no more");
    }

    #[test]
    fn what_fails_is_tried_for_an_hour() {
        let (mut now, mut tries) = (Instant::now(), 0);
        let mut waiting = Pending::new(now);
        waiting.put(rotated("a", now), now);
        let began = now;
        while waiting.put_off(now, false) {
            assert!(waiting.due - now >= FIRST_RETRY && waiting.due - now <= LONGEST_RETRY);
            (now, tries) = (waiting.due, tries + 1);
        }
        assert!(now - began > GIVE_UP - LONGEST_RETRY && now - began < GIVE_UP, "{tries} tries");
        waiting.put(rotated("a", now), now);
        assert_eq!(waiting.due, now + QUIET, "news is not put off");
        assert!(waiting.put_off(now, true), "and is tried for as long");
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_soon() {
        let now = Instant::now();
        let mut waiting = Pending::new(now);
        waiting.put(rotated("a", now), now);
        let waits: Vec<u64> = (0..10)
            .map(|_| {
                assert!(waiting.put_off(now, true));
                (waiting.due - now).as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    }

    #[test]
    fn what_failed_goes_along_with_what_is_new() {
        let now = Instant::now();
        let mut failed = Pending::new(now);
        failed.put(rotated("a", now), now);
        failed.said.insert("why".to_owned());
        let mut pending = HashMap::new();
        let mut news = Pending::new(now);
        news.put(rotated("b", now + QUIET), now + QUIET);
        pending.insert("ns".to_owned(), news);
        again(&mut pending, "ns".to_owned(), failed);
        assert_eq!((pending["ns"].rotated.len(), pending["ns"].due), (2, now + QUIET + QUIET));
        assert!(pending["ns"].said.contains("why"), "it is not told twice");
    }
}
