//! What generators made for volumes, and somebody must revoke: ids, terms and the generator as it was, written down on the node
//! before it is made, and never a value. It outlives the process, and the volume where that ended before it could be revoked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keyferry_crds::{Condition, GeneratorState};
use keyferry_limits::MOUNT_LEASES;
use keyferry_provider_core::State;
use keyferry_sync::hash::data_hash;
use keyferry_sync::ports::{Generator, Problem, States};
use keyferry_sync::record::Note;
use keyferry_sync::states::{KnownState, Marks, NewState};
use keyferry_sync::time::later;
use keyferry_sync::told::Told;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::mounts::bytes;
use crate::refusal::Refusal;

/// So long after its end, as far as that is known, one that nobody could revoke is forgotten: servers' clocks differ.
const PAST_ITS_END: Duration = Duration::from_secs(300);

/// One of which no end is known is forgotten then.
const AT_LAST: Duration = Duration::from_secs(86_400);

/// What could not be revoked after its volume is passed over for so long, then for twice that, and so on.
const PASSED_OVER: Duration = Duration::from_secs(60);

/// And never for longer.
const AT_MOST: Duration = Duration::from_secs(900);

/// How much of the generator's spec and the state one may be: each lease of a generator has it anew.
const MOST: usize = 16 << 10;

/// What files end in.
const EXTENSION: &str = "leases";

/// What those end in that are not yet whole.
const NEW: &str = "leases-new";

/// One that was made, or is about to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Its name here.
    pub name: String,
    /// Which entry of which ExternalSecret it is for.
    key: String,
    /// The UID of that.
    owner: String,
    /// When it was begun.
    made: Timestamp,
    /// The generator, as it was then.
    kind: String,
    generator: String,
    spec: Value,
    /// By what it is revoked.
    pub state: State,
    /// By when it is to be replaced.
    pub refresh_by: Option<Timestamp>,
    /// When it is to be prolonged.
    pub renew_at: Option<Timestamp>,
    /// When it ends by itself.
    ends: Option<Timestamp>,
    /// When it is to be revoked.
    deadline: Option<Timestamp>,
}

impl Lease {
    /// The generator, for somebody in this namespace.
    pub fn generator<'a>(&'a self, namespace: &'a str) -> Generator<'a> {
        Generator { namespace, kind: &self.kind, name: &self.generator, spec: &self.spec }
    }

    /// Takes what is known of how long it works.
    fn lasts(&mut self, marks: &Marks, now: Timestamp) {
        (self.refresh_by, self.renew_at) = (marks.refresh_by, marks.renew_at);
        // It is replaced when a sixth is left.
        let rest = marks.refresh_by.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        self.ends = rest.map(|rest| later(now, rest.mul_f64(6.0 / 5.0)));
    }

    fn is_forgotten(&self, now: Timestamp) -> bool {
        self.ends.map_or(later(self.made, AT_LAST), |end| later(end, PAST_ITS_END)) < now
    }
}

/// Those of one volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Where it is.
    pub target: PathBuf,
    /// The namespace of its pod.
    pub namespace: String,
    /// The name of that.
    pub pod: String,
    /// The ServiceAccount of that.
    pub service_account: String,
    /// The ExternalSecret.
    pub external_secret: String,
    /// Whether stores are logged in to as whoever mounts.
    pub by_mount: bool,
    /// Whether the volume is gone.
    pub is_over: bool,
    leases: Vec<Lease>,
}

impl Held {
    /// None yet, of a volume there.
    pub fn none(target: &Path, pod: &crate::wanted::Pod, external_secret: &str, by_mount: bool) -> Self {
        Self {
            target: target.to_owned(),
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            service_account: pod.service_account.clone(),
            external_secret: external_secret.to_owned(),
            by_mount,
            is_over: false,
            leases: Vec::new(),
        }
    }

    fn is_of(&self, namespace: &str, service_account: &str) -> bool {
        self.namespace == namespace && self.service_account == service_account
    }
}

/// All of the node.
pub struct Ledger {
    folder: PathBuf,
    now: fn() -> Timestamp,
    all: Mutex<BTreeMap<PathBuf, Held>>,
    /// By volume, what looks at it that are under way, or what they began, hear of its end by.
    ports: Mutex<HashMap<PathBuf, Vec<Weak<AtomicBool>>>>,
    /// What was tried of volumes that are gone.
    tried: Mutex<HashMap<PathBuf, Tried>>,
}

/// That what a volume left was tried to be revoked, and is there still.
struct Tried {
    at: Timestamp,
    /// For how long it is passed over.
    rests: Duration,
    why: Option<Told>,
}

impl Tried {
    fn rests(&self, now: Timestamp) -> bool {
        self.at <= now && now < later(self.at, self.rests)
    }
}

fn failed(error: &io::Error) -> Refusal {
    Refusal::of_node(format!("can't write down what is to be revoked (--state-dir): {}", error.kind()))
}

/// The files in a folder. One whose name was not yet exchanged counts where there is no other and it is whole. For what is not
/// nothing was made yet.
fn written(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).inspect_err(|error| untold(folder, &error.kind().to_string()));
    let entries = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let of_ours = entries.filter_map(|path| {
        let end = path.extension()?.to_str()?;
        [EXTENSION, NEW].contains(&end).then(|| path.with_extension(EXTENSION))
    });
    let files: BTreeSet<PathBuf> = of_ours.collect();
    for file in &files {
        let new = file.with_extension(NEW);
        let counts = || fs::read(&new).is_ok_and(|text| serde_json::from_slice::<Held>(&text).is_ok());
        // What is left there would count once the other is gone.
        let done = if !file.exists() && counts() { fs::rename(&new, file) } else { fs::remove_file(&new) };
        if let Err(error) = done.or_else(absent_is_fine) {
            untold(&new, &error.kind().to_string());
        }
    }
    files.into_iter().filter(|file| file.exists()).collect()
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn read(file: &Path) -> Option<Held> {
    let text = fs::read(file).inspect_err(|error| untold(file, &error.kind().to_string())).ok()?;
    serde_json::from_slice(&text).inspect_err(|_| untold(file, "it is not of its form")).ok()
}

/// What can't be read is nothing that anybody will revoke.
fn untold(file: &Path, why: &str) {
    tracing::warn!(file = %file.display(), "can't read what is to be revoked (--state-dir): {why}");
}

fn owed<'a>(
    all: &'a BTreeMap<PathBuf, Held>,
    namespace: &str,
    service_account: &str,
) -> impl Iterator<Item = &'a PathBuf> {
    let owed = all.iter().filter(move |(_, held)| held.is_over && held.is_of(namespace, service_account));
    owed.map(|(target, _)| target)
}

impl Ledger {
    /// Reads what a process before this one left in a folder.
    pub fn open(folder: &Path, now: fn() -> Timestamp) -> Self {
        let all = written(folder).into_iter().filter_map(|file| read(&file)).map(|held| (held.target.clone(), held));
        let all = all.collect();
        let (ports, tried) = Default::default();
        Self { folder: folder.to_owned(), now, all: Mutex::new(all), ports, tried }
    }

    /// Takes note of which volumes stand: what others had is to be revoked.
    pub fn begin(&self, stands: &dyn Fn(&Path) -> bool) {
        let gone: Vec<PathBuf> = self.lock().keys().filter(|target| !stands(target)).cloned().collect();
        for target in gone {
            self.end(&target);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Held>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one volume's down, whole or not at all; where it has none, nothing is left of it.
    fn write(&self, held: &Held) -> Result<(), Refusal> {
        let file = self.folder.join(format!("{}.{EXTENSION}", data_hash([("", bytes(&held.target))])));
        if held.leases.is_empty() {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&error)),
                _ => Ok(()),
            };
        }
        let new = file.with_extension(NEW);
        let write = || {
            let text = serde_json::to_vec(held)?;
            let mut to = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            to.write_all(&text)?;
            // What is made next may outlive the machine.
            to.sync_all()?;
            fs::rename(&new, &file)?;
            fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| failed(&error))
    }

    /// Changes one volume's, where it has some, and writes that down.
    fn change(&self, target: &Path, change: impl FnOnce(&mut Held)) -> Result<(), Refusal> {
        let mut all = self.lock();
        let Some(held) = all.get_mut(target) else { return Ok(()) };
        let before = held.clone();
        change(held);
        let after = held.clone();
        if after.leases.is_empty() {
            all.remove(target);
            self.tried().remove(target);
        }
        if before == after { Ok(()) } else { self.write(&after) }
    }

    /// What is known of one volume's, for a look at its ExternalSecret.
    pub fn known(&self, target: &Path) -> Vec<KnownState> {
        let all = self.lock();
        let leases = all.get(target).into_iter().flat_map(|held| held.leases.iter().enumerate());
        let known = |(place, lease): (usize, &Lease)| KnownState {
            name: lease.name.clone(),
            owner: lease.owner.clone(),
            key: lease.key.clone(),
            made: (Some(lease.made), place.to_string()),
            deadline: lease.deadline,
            refresh_by: lease.refresh_by,
        };
        leases.map(known).collect()
    }

    /// The port of one volume, until that ends: what is begun later by who still has it is refused.
    pub fn of(self: &Arc<Self>, volume: Held) -> Arc<dyn States> {
        let has_ended = Arc::new(AtomicBool::new(false));
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.retain(|_, ports| {
            ports.retain(|port| port.strong_count() > 0);
            !ports.is_empty()
        });
        ports.entry(volume.target.clone()).or_default().push(Arc::downgrade(&has_ended));
        Arc::new(OfVolume { ledger: self.clone(), volume, has_ended })
    }

    /// All of one volume that are to be revoked by now, and those that are to be prolonged.
    pub fn due(&self, target: &Path) -> (Vec<Lease>, Vec<Lease>) {
        let now = (self.now)();
        let all = self.lock();
        let leases = || all.get(target).into_iter().flat_map(|held| held.leases.iter());
        let ended = leases().filter(|lease| lease.deadline.is_some_and(|at| at <= now)).cloned().collect();
        let renewed = leases().filter(|lease| lease.deadline.is_none() && lease.renew_at.is_some_and(|at| at <= now));
        (ended, renewed.cloned().collect())
    }

    /// What is known of a volume that has some.
    pub fn held(&self, target: &Path) -> Option<Held> {
        self.lock().get(target).cloned()
    }

    /// The volumes that are gone, and left something to revoke that whoever is this can.
    pub fn owed(&self, namespace: &str, service_account: &str) -> Vec<PathBuf> {
        owed(&self.lock(), namespace, service_account).cloned().collect()
    }

    /// One of these that is to be tried now: of those that are not passed over the one that was tried longest ago.
    pub fn next_owed(&self, namespace: &str, service_account: &str) -> Option<PathBuf> {
        let now = (self.now)();
        let all = self.lock();
        let mut tried = self.tried();
        tried.retain(|target, _| all.contains_key(target));
        let next = owed(&all, namespace, service_account)
            .filter(|target| tried.get(*target).is_none_or(|tried| !tried.rests(now)));
        let next = next.min_by_key(|target| tried.get(*target).map(|tried| tried.at))?;
        let rests = tried.get(next).map_or(PASSED_OVER, |tried| (tried.rests * 2).min(AT_MOST));
        let why = tried.remove(next).and_then(|tried| tried.why);
        tried.insert(next.clone(), Tried { at: now, rests, why });
        Some(next.clone())
    }

    /// Takes note of why one that was tried could not be revoked.
    pub fn is_left(&self, target: &Path, why: Told) {
        if let Some(tried) = self.tried().get_mut(target) {
            tried.why = Some(why);
        }
    }

    /// Why what is owed is there still, where that is known of any.
    pub fn why_owed(&self, namespace: &str, service_account: &str) -> Option<Told> {
        let owed = self.owed(namespace, service_account);
        let tried = self.tried();
        owed.iter().find_map(|target| tried.get(target)?.why.clone())
    }

    fn tried(&self) -> MutexGuard<'_, HashMap<PathBuf, Tried>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A volume has no use for any of its own any more: all are to be revoked now. What can't be written down is told.
    pub fn end(&self, target: &Path) {
        let now = (self.now)();
        // Before what is there ends: what is begun in between ends with it.
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
        for port in ports.iter().flatten().filter_map(Weak::upgrade) {
            port.store(true, Ordering::SeqCst);
        }
        self.quietly(self.change(target, |held| {
            held.is_over = true;
            held.leases.iter_mut().for_each(|lease| lease.deadline = Some(now));
        }));
    }

    /// The same of a volume that stands: its files were taken away.
    pub fn let_go(&self, target: &Path) {
        let now = (self.now)();
        self.quietly(self.change(target, |held| {
            held.leases
                .iter_mut()
                .for_each(|lease| lease.deadline = Some(lease.deadline.map_or(now, |at| at.min(now))));
        }));
    }

    /// One is prolonged, or can't be any more.
    pub fn renewed(&self, target: &Path, name: &str, state: &State, marks: &Marks) {
        let now = (self.now)();
        self.quietly(self.change(target, |held| {
            if let Some(lease) = held.leases.iter_mut().find(|lease| lease.name == name) {
                lease.state = state.clone();
                // Where nothing is known anew, it has the end that it had.
                let ends = lease.ends;
                lease.lasts(marks, now);
                if marks.renew_at.is_none() {
                    lease.ends = ends;
                }
            }
        }));
    }

    /// One is revoked, or was none.
    pub fn forget(&self, target: &Path, name: &str) {
        self.quietly(self.change(target, |held| held.leases.retain(|lease| lease.name != name)));
    }

    /// Forgets what ended by itself and nobody could revoke.
    pub fn tidy(&self) {
        let now = (self.now)();
        let is_over = |lease: &Lease| lease.deadline.is_some() && lease.is_forgotten(now);
        // A change clones all of a volume's.
        let all = self.lock();
        let over = all.iter().filter(|(_, held)| held.leases.iter().any(is_over));
        let targets: Vec<PathBuf> = over.map(|(target, _)| target.clone()).collect();
        drop(all);
        for target in targets {
            self.quietly(self.change(&target, |held| {
                let Held { namespace, service_account, .. } = &held;
                for lease in held.leases.iter().filter(|lease| is_over(lease)) {
                    tracing::warn!(
                        namespace,
                        service_account,
                        kind = lease.kind,
                        generator = lease.generator,
                        "what was generated could not be revoked by who it was made for, and has ended by its term"
                    );
                }
                held.leases.retain(|lease| !is_over(lease));
            }));
        }
    }

    fn quietly(&self, done: Result<(), Refusal>) {
        if let Err(refusal) = done {
            tracing::warn!("{}", refusal.message);
        }
    }
}

/// Where a look at one volume's ExternalSecret writes down what is made for it.
struct OfVolume {
    ledger: Arc<Ledger>,
    volume: Held,
    has_ended: Arc<AtomicBool>,
}

fn unwritten(refusal: Refusal) -> Problem {
    Problem { message: refusal.message.into_string(), is_temporary: true, is_not_found: false }
}

/// Refuses what is too large to be written down for each lease.
fn fits(spec: &Value, state: &State) -> Result<(), Problem> {
    if spec.to_string().len() + state.to_string().len() <= MOST {
        return Ok(());
    }
    let message = format!(
        "the generator's spec and what its leases are revoked by are more than {} KiB: shorten the spec",
        MOST >> 10
    );
    Err(Problem { message, is_temporary: false, is_not_found: false })
}

/// What nobody would revoke: whoever made it does.
fn ended() -> Problem {
    let message = "the volume that it is made for has ended".to_owned();
    Problem { message, is_temporary: false, is_not_found: true }
}

#[async_trait]
impl States for OfVolume {
    async fn begin(&self, new: &NewState, state: &State, marks: &Marks) -> Result<String, Problem> {
        let now = (self.ledger.now)();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut all = self.ledger.lock();
        if self.has_ended.load(Ordering::SeqCst) {
            return Err(ended());
        }
        let Held { namespace, service_account, target, .. } = &self.volume;
        // Those that stand are written down, too.
        let of_account = all.values().filter(|held| held.is_of(namespace, service_account));
        if of_account.map(|held| held.leases.len()).sum::<usize>() >= MOUNT_LEASES.size() {
            return Err(Problem { message: MOUNT_LEASES.to_string(), is_temporary: true, is_not_found: false });
        }
        let spec = &new.resource["spec"];
        fits(spec, state)?;
        let held = all.entry(target.clone()).or_insert_with(|| self.volume.clone());
        (held.is_over, held.by_mount) = (false, self.volume.by_mount);
        let mut lease = Lease {
            // None has the name of one that is forgotten: who made that may still have it.
            name: format!("{}{:016x}", new.prefix, rand::random::<u64>()),
            key: new.key.clone(),
            owner: new.owner.2.clone(),
            made: now,
            kind: text(&new.resource["kind"]),
            generator: text(&new.resource["metadata"]["name"]),
            spec: spec.clone(),
            state: state.clone(),
            refresh_by: None,
            renew_at: None,
            ends: None,
            deadline: None,
        };
        lease.lasts(marks, now);
        let name = lease.name.clone();
        held.leases.push(lease);
        let written = self.ledger.write(held);
        if written.is_err() {
            held.leases.pop();
        }
        written.map(|()| name).map_err(unwritten)
    }

    async fn amend(&self, _: &str, name: &str, state: &State, marks: &Marks) -> Result<(), Problem> {
        let now = (self.ledger.now)();
        let mut amended = Err(ended());
        let changed = self.ledger.change(&self.volume.target, |held| {
            let Some(lease) = held.leases.iter_mut().find(|lease| lease.name == name) else { return };
            amended = fits(&lease.spec, state);
            if amended.is_ok() {
                lease.state = state.clone();
                lease.lasts(marks, now);
            }
        });
        changed.map_err(unwritten)?;
        amended
    }

    async fn flag(&self, _: &str, name: &str, deadline: Timestamp) -> Result<(), Problem> {
        let changed = self.ledger.change(&self.volume.target, |held| {
            if let Some(lease) = held.leases.iter_mut().find(|lease| lease.name == name) {
                lease.deadline = Some(lease.deadline.map_or(deadline, |known| known.min(deadline)));
            }
        });
        changed.map_err(unwritten)
    }

    async fn forget(&self, _: &str, name: &str) -> Result<(), Problem> {
        let changed = self.ledger.change(&self.volume.target, |held| held.leases.retain(|lease| lease.name != name));
        changed.map_err(unwritten)
    }

    // What follows is of GeneratorStates, which a node has none of.

    async fn hold(&self, _: &GeneratorState) -> Result<(), Problem> {
        Ok(())
    }

    async fn delete(&self, _: &GeneratorState) -> Result<(), Problem> {
        Ok(())
    }

    async fn release(&self, _: &GeneratorState) -> Result<(), Problem> {
        Ok(())
    }

    async fn tell(&self, _: &GeneratorState, _: &[Condition]) -> Result<(), Problem> {
        Ok(())
    }

    fn note(&self, _: &GeneratorState, _: Note) {}
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
