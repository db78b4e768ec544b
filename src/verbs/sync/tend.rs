//! The loop: looks at what is due, tells what came of it, has the command run, and reads anew what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use keyferry_crds::ExternalSecret;
use keyferry_files::problem::Problem;
use keyferry_files::target::Place;
use keyferry_sync::dependency::{Name, name_of};
use keyferry_sync::look::{Look, Looked};
use keyferry_sync::settings::Settings;
use keyferry_sync::time::later;
use tokio::task::{JoinHandle, JoinSet};

use super::command::OnChange;
use super::marks::{self, Synced};
use super::output::{self, FileTargets, Form, places};
use super::report::{Count, Event, Reporter, Result as Came};
use super::source::{self, Loaded, Source};
use super::stamp::Stamp;
use super::subjects::Subjects;
use super::verdict::{Verdict, verdict};
use crate::clock;
use crate::threads::control::BoxedEnd;
use crate::verbs::manifests::failures;

/// How often files are looked at for changes. What has changed is read once it has stayed so for this long: whoever writes
/// may not be done.
const POLL: Duration = Duration::from_millis(300);

/// How often an API server is asked for changes, and how soon again where that failed.
const ASK: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What is told of a reading that came to nothing.
const BROKEN: &str = "error: a bug of keyferry while it read what is asked for, which stays as it was, and is read again every few \
                      seconds; please report it";

/// How long the command waits for other targets that are still being looked at.
const TOGETHER: Duration = Duration::from_secs(1);

/// When the command is tried again that failed, and a look that ended by a bug.
const AGAIN: Duration = Duration::from_secs(60);

/// How long an end waits for the command.
const LAST: Duration = Duration::from_secs(20);

/// What is to be done, all the time.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Whether to stay.
    pub watches: bool,
    /// Whether stores of all controller classes are asked: operators share a cluster by these, and here is none.
    pub takes_any_class: bool,
    /// Whether targets are removed that nobody asks for.
    pub prunes: bool,
    /// How targets are written.
    pub form: Form,
    /// What is run when they change.
    pub on_change: Option<OnChange>,
}

/// What came of it in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Whether something could not be read.
    pub is_unreadable: bool,
    /// Whether something failed.
    pub has_failed: bool,
    /// Whether it was asked to end before it was done.
    pub is_stopped: bool,
}

/// The targets whose changes the command is to hear of.
#[derive(Default)]
struct News {
    /// Since when, and which.
    waiting: BTreeMap<Place, PathBuf>,
    since: Option<Timestamp>,
    /// Not before then.
    after: Option<Timestamp>,
    running: Option<Run>,
    has_failed: bool,
}

/// The command while it runs, and what it hears of.
struct Run {
    task: JoinHandle<Result<(), String>>,
    told: BTreeMap<Place, PathBuf>,
}

/// The loop.
pub struct Tending<'a> {
    orders: Orders,
    source: Arc<Source>,
    settings: Arc<Settings>,
    reporter: Reporter<'a>,
    loaded: Loaded,
    targets: Arc<FileTargets>,
    subjects: Subjects,
    looks: JoinSet<(Name, Option<Looked>)>,
    news: News,
    /// The files as they were read, and as they were seen last.
    stamps: (Stamp, Stamp),
    /// When an API server is asked again.
    /// When it is read anew although nothing is known to have changed.
    ask_at: Option<Timestamp>,
    reading: Option<JoinHandle<Loaded>>,
    /// Whether the last reading ended by a bug, which has been told.
    has_broken: bool,
    /// Folders of which it was told that whom files are for can't enter them.
    barred: BTreeSet<Option<String>>,
    /// Whether what nobody asks for has been removed, and how much of it could not be.
    is_pruned: bool,
    unpruned: usize,
    changed: usize,
    told: Option<Count>,
}

impl<'a> Tending<'a> {
    /// Begins with what was read.
    pub fn new(
        orders: Orders,
        source: Source,
        settings: Settings,
        reporter: Reporter<'a>,
        (stamp, loaded): (Stamp, Loaded),
        root: keyferry_files::root::Root,
    ) -> Result<Self, Problem> {
        let targets = FileTargets {
            root: Arc::new(root),
            form: orders.form,
            folder: loaded.folder.clone(),
            places: BTreeMap::new(),
        };
        let mut tending = Self {
            orders,
            source: Arc::new(source),
            settings: Arc::new(settings),
            reporter,
            loaded,
            targets: Arc::new(targets),
            subjects: Subjects::default(),
            looks: JoinSet::new(),
            news: News::default(),
            stamps: (stamp.clone(), stamp),
            ask_at: None,
            reading: None,
            has_broken: false,
            barred: BTreeSet::new(),
            is_pruned: true,
            unpruned: 0,
            changed: 0,
            told: None,
        };
        if tending.orders.on_change.is_some() {
            for (place, _) in marks::all(&tending.targets.root)?.into_iter().filter(|(_, mark)| mark.untold) {
                tending.hear_of(place);
            }
        }
        if matches!(*tending.source, Source::Cluster { .. }) {
            tending.ask_at = Some(clock::now());
        }
        tending.tell_of_reading();
        tending.take();
        Ok(tending)
    }

    /// Goes on until it is asked to end; where nobody watches, until all is done.
    pub async fn run(mut self, stopped: impl Fn() -> BoxedEnd) -> End {
        let mut stop = stopped();
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let is_stopped = loop {
            self.begin();
            if self.looks.is_empty() {
                self.prune();
                self.summarize();
            }
            self.run_command();
            if !self.orders.watches && self.looks.is_empty() && self.news.running.is_none() {
                break false;
            }
            tokio::select! {
                () = &mut stop => break true,
                Some(done) = self.looks.join_next() => {
                    if let Ok((name, looked)) = done {
                        self.looked(&name, looked);
                    }
                }
                done = command(&mut self.news.running) => self.command_ended(done),
                loaded = read(&mut self.reading) => self.reloaded(loaded),
                _ = tick.tick(), if self.orders.watches => self.poll(),
            }
        };
        // What waits is dropped; what is being written is written to its end.
        self.looks.shutdown().await;
        if let Some(run) = &mut self.news.running {
            let _ = tokio::time::timeout(LAST, &mut run.task).await;
        }
        End {
            is_unreadable: !self.loaded.problems.is_empty(),
            has_failed: self.count().failed > 0 || self.news.has_failed,
            is_stopped,
        }
    }

    /// Tells what there is to say of what was read last.
    fn tell_of_reading(&mut self) {
        let now = clock::now();
        for line in self.loaded.notes.iter().chain(&self.loaded.problems) {
            self.reporter.tell(&Event::Line(line), now);
        }
    }

    /// Takes what was read last.
    fn take(&mut self) {
        let now = clock::now();
        if self.orders.takes_any_class {
            source::take_any_class(&mut self.loaded.stores);
        }
        let all: Vec<&ExternalSecret> = self.loaded.wanted.iter().map(|wanted| &*wanted.es).collect();
        self.targets = Arc::new(FileTargets {
            root: self.targets.root.clone(),
            form: self.orders.form,
            folder: self.loaded.folder.clone(),
            places: places(all, &self.orders.form),
        });
        let remembered = |es: &ExternalSecret| -> Option<Synced> {
            let place = self.targets.places.get(&name_of(&es.metadata))?.as_ref().ok()?;
            let mark = marks::read(&self.targets.root, place).ok()??;
            mark.synced.filter(|_| marks::outlives_a_restart(es))
        };
        self.subjects.take(&self.loaded, remembered, now);
        self.tell_of_barred(now);
        self.is_pruned = !self.orders.prunes || !self.loaded.problems.is_empty();
    }

    /// Tells of folders that were there before us, where whom files are for can't enter them.
    fn tell_of_barred(&mut self, now: Timestamp) {
        let within = self.targets.places.values().flatten().filter_map(|place| place.folder.clone());
        let folders: BTreeSet<Option<String>> = std::iter::once(None).chain(within.map(Some)).collect();
        for folder in folders {
            if let Some(what) = self.targets.root.is_barred(folder.as_deref())
                && self.barred.insert(folder)
            {
                self.reporter.tell(&Event::Line(&format!("note: {what}")), now);
            }
        }
    }

    /// Removes what was written before and nobody asks for, once what takes its place is there.
    fn prune(&mut self) {
        if std::mem::replace(&mut self.is_pruned, true) {
            return;
        }
        let now = clock::now();
        self.unpruned = 0;
        let wanted: Vec<&Place> = self.targets.places.values().flatten().collect();
        let all = marks::all(&self.targets.root);
        let all = all.inspect_err(|problem| self.reporter.tell(&Event::Line(&format!("error: {problem}")), now));
        let stale: Vec<_> = all.into_iter().flatten().filter(|(place, _)| !wanted.contains(&place)).collect();
        for (place, mark) in stale {
            let path = self.targets.at(&place).path();
            let (namespace, name) = mark.external_secret.split_once('/').unwrap_or_default();
            let name = (namespace.to_owned(), name.to_owned());
            if self.subjects.get_mut(&name).is_some_and(|subject| subject.trouble.is_some()) {
                continue;
            }
            match output::remove(&self.targets, &place) {
                // It was gone: what stays written down of it is for the command.
                Ok(false) => {}
                Ok(true) => {
                    let removed = Event::Target {
                        name: &name,
                        path: Some(&path),
                        result: Came::Removed,
                        message: None,
                        lines: &[],
                    };
                    self.reporter.tell(&removed, now);
                    self.changed += 1;
                    self.hear_of(place);
                }
                Err(problem) => {
                    self.unpruned += 1;
                    self.reporter.tell(&Event::Line(&format!("error: {problem}")), now);
                }
            }
        }
    }

    /// Begins looks at all that is due.
    fn begin(&mut self) {
        // Where nobody watches each is read once, also while others take long.
        let looks = self.subjects.begin(&self.loaded, !self.orders.watches, clock::now());
        // All of them are planned before the first is asked for: what they ask of one store goes together.
        let looks: Vec<(Look, _)> = looks.into_iter().map(|look| (look, self.loaded.ports.stores.planning())).collect();
        for (look, planning) in looks {
            let (ports, targets, settings) = (self.loaded.ports.clone(), self.targets.clone(), self.settings.clone());
            let name = name_of(&look.es.metadata);
            self.looks.spawn(async move {
                let looked = keyferry_sync::run(&ports, &*targets, &settings, Box::new(look), planning);
                (name, AssertUnwindSafe(looked).catch_unwind().await.ok())
            });
        }
    }

    /// Takes and tells what a look came to.
    fn looked(&mut self, name: &Name, looked: Option<Looked>) {
        let now = clock::now();
        let place = self.targets.places.get(name).and_then(|place| place.as_ref().ok()).cloned();
        let Some(subject) = self.subjects.get_mut(name) else { return };
        let was_known = subject.is_known;
        let said = match &looked {
            Some(looked) => verdict(&subject.wanted.es, &looked.outcome),
            None => Verdict::bug(),
        };
        if let Some(looked) = &looked {
            subject.looked(looked, now);
        } else {
            subject.ended_by_a_bug(later(now, AGAIN));
        }
        let had_trouble = std::mem::replace(&mut subject.trouble, said.trouble());
        let lines = match (&said.failure, &subject.wanted.asked) {
            (Some(failure), Some(asked)) => failures(asked, failure),
            (Some(failure), None) => vec![format!("error: ExternalSecret {}/{}: {failure}", name.0, name.1)],
            (None, _) => Vec::new(),
        };
        let is_news = !was_known || had_trouble != subject.trouble || said.is_changed();
        let synced = subject.to_be_remembered();
        let path = place.as_ref().map(|place| self.targets.at(place).path());
        if is_news {
            let (path, message) = (path.as_deref(), said.message.as_deref());
            self.reporter.tell(&Event::Target { name, path, result: said.came, message, lines: &lines }, now);
        }
        let Some(place) = place else { return };
        if let (Some(synced), None) = (synced, &said.failure) {
            self.remember(&place, synced);
        }
        if said.is_changed() {
            self.changed += 1;
            self.hear_of(place);
        }
        let done = self.subjects.iter().filter(|(_, subject)| subject.is_known).count();
        self.reporter.progress(done, self.loaded.wanted.len());
    }

    /// Writes down when values were made that are not to be made again.
    fn remember(&mut self, place: &Place, synced: Synced) {
        let root = &self.targets.root;
        let written = marks::read(root, place).and_then(|mark| match mark {
            Some(mark) => marks::write(root, place, &marks::Mark { synced: Some(synced), ..mark }),
            None => Ok(()),
        });
        if let Err(problem) = written {
            self.reporter.tell(&Event::Line(&format!("error: {problem}")), clock::now());
        }
    }

    /// The command is to hear of a target.
    fn hear_of(&mut self, place: Place) {
        if self.orders.on_change.is_some() {
            let path = self.targets.at(&place).path();
            self.news.waiting.insert(place, path);
            self.news.since.get_or_insert_with(clock::now);
        }
    }

    fn run_command(&mut self) {
        let (now, news) = (clock::now(), &mut self.news);
        let Some(on_change) = self.orders.on_change.clone() else { return };
        let is_whole = self.looks.is_empty() || news.since.is_some_and(|since| later(since, TOGETHER) <= now);
        let is_early = news.after.is_some_and(|after| after > now);
        // Where nobody watches, what failed once is for the next run.
        let is_over = news.has_failed && !self.orders.watches;
        if news.waiting.is_empty() || news.running.is_some() || !is_whole || is_early || is_over {
            return;
        }
        let told = std::mem::take(&mut news.waiting);
        news.since = None;
        let paths: Vec<PathBuf> = told.values().cloned().collect();
        news.running = Some(Run { task: tokio::spawn(async move { on_change.run(&paths).await }), told });
    }

    fn command_ended(&mut self, done: Result<(), String>) {
        let (now, root) = (clock::now(), self.targets.root.clone());
        let Some(Run { told, .. }) = self.news.running.take() else { return };
        let result = done.as_ref().map(|()| told.len()).map_err(String::as_str);
        self.reporter.tell(&Event::Command(result), now);
        self.news.has_failed = done.is_err();
        if done.is_err() {
            self.news.after = Some(later(now, AGAIN));
            self.news.since.get_or_insert(now);
            for (place, path) in told {
                self.news.waiting.entry(place).or_insert(path);
            }
            return;
        }
        self.news.after = None;
        for place in told.keys().filter(|place| !self.news.waiting.contains_key(*place)) {
            // What stays untold is told once more after a restart.
            let _ = match marks::read(&root, place) {
                Ok(Some(mark)) if mark.is_removed() => root.forget(&place.mark()),
                Ok(Some(mark)) => marks::write(&root, place, &marks::Mark { untold: false, ..mark }),
                Ok(None) | Err(_) => Ok(()),
            };
        }
    }

    /// Looks whether what was read has changed, and has it read where it has.
    fn poll(&mut self) {
        if self.reading.is_some() {
            return;
        }
        let now = clock::now();
        let stamp = self.source.stamp();
        let is_settled = stamp == self.stamps.1;
        self.stamps.1 = stamp;
        let has_changed = is_settled && self.stamps.1 != self.stamps.0;
        if has_changed || self.ask_at.is_some_and(|at| at <= now) {
            self.stamps.0 = self.stamps.1.clone();
            self.ask_at = None;
            let source = self.source.clone();
            self.reading = Some(tokio::spawn(async move { source.load(&mut std::io::empty()).await }));
        }
    }

    fn reloaded(&mut self, loaded: Option<Loaded>) {
        self.reading = None;
        let now = clock::now();
        let had_broken = std::mem::replace(&mut self.has_broken, loaded.is_none());
        let Some(mut loaded) = loaded else {
            self.ask_at = Some(later(now, ASK_AGAIN));
            if !had_broken {
                self.reporter.tell(&Event::Line(BROKEN), now);
            }
            return;
        };
        let is_whole = loaded.problems.is_empty();
        if matches!(*self.source, Source::Cluster { .. }) {
            self.ask_at = Some(later(now, if is_whole { ASK } else { ASK_AGAIN }));
        }
        std::mem::swap(&mut self.loaded, &mut loaded);
        let before = loaded;
        // An API server is asked again and again: what can't be read is told once.
        let is_news = matches!(*self.source, Source::Files { .. }) || before.problems != self.loaded.problems;
        if is_news {
            self.tell_of_reading();
        }
        // What an API server does not answer now is as it was.
        if matches!(*self.source, Source::Cluster { .. }) && !is_whole {
            self.loaded.carry_over(before);
        }
        self.take();
    }

    fn count(&self) -> Count {
        let failed = self.subjects.iter().filter(|(_, subject)| subject.trouble.is_some()).count();
        Count { all: self.loaded.wanted.len(), changed: self.changed, failed: failed + self.unpruned }
    }

    /// Tells how all are, where that is news.
    fn summarize(&mut self) {
        let count = self.count();
        let is_told = self.told.is_some_and(|told| Count { changed: 0, ..told } == count);
        if !is_told {
            self.reporter.tell(&Event::Summary(count), clock::now());
            self.told = Some(count);
        }
        self.changed = 0;
    }
}

/// Waits for the command to end, where it runs.
async fn command(running: &mut Option<Run>) -> Result<(), String> {
    let bug = |_| Err("a bug of keyferry while it ran the command; please report it".to_owned());
    match running {
        Some(run) => (&mut run.task).await.unwrap_or_else(bug),
        None => std::future::pending().await,
    }
}

/// Waits for what is being read, where anything is.
async fn read(reading: &mut Option<JoinHandle<Loaded>>) -> Option<Loaded> {
    match reading {
        Some(reading) => reading.await.ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "tend_tests.rs"]
mod tests;
