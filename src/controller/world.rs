//! What the watches have told so far, and who refers to whom. Pure: takes changes, answers what to look at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use keyferry_crds::{ExternalSecret, ExternalSecretStatus, Manifest};
use kube::api::ObjectMeta;

use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Dependency, Name};
use keyferry_sync::look::{Look, Memory, Remembered, Seen};
use keyferry_sync::request::{sources_of, stores_of};
use keyferry_sync::store::{Readiness, Store, StoreId};

/// How a target stood: its UID, and what counts its changes.
pub type Version = (String, String);

/// Names a target: what is of another kind than Secret, by its kind too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetId {
    kind: Option<Box<Manifest>>,
    name: Name,
}

impl TargetId {
    /// The Secret `name`.
    pub fn secret(name: Name) -> Self {
        Self { kind: None, name }
    }

    /// An object of another kind.
    pub fn other(kind: &Manifest, name: Name) -> Self {
        Self { kind: Some(Box::new(kind.clone())), name }
    }

    fn kind(&self) -> Option<&Manifest> {
        self.kind.as_deref()
    }

    /// The target of `es`.
    pub fn of(es: &ExternalSecret) -> Self {
        let name = (es.metadata.namespace.clone().unwrap_or_default(), es.target_name().to_owned());
        Self { kind: es.target_manifest().cloned().map(Box::new), name }
    }
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A store.
    Store(StoreId),
    /// An ExternalSecret.
    ExternalSecret(Name),
}

/// How the last look at an ExternalSecret left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not looked at yet.
    #[default]
    New,
    /// Well, or nothing to do with us.
    Well,
    /// It waits for the check of a store.
    Held,
    /// It failed.
    Failed,
}

/// An ExternalSecret that is looked after.
pub struct Subject {
    /// As last seen.
    pub es: Arc<ExternalSecret>,
    /// What is remembered of it.
    pub memory: Memory,
    /// How it stands.
    pub standing: Standing,
    /// Whether a look is under way, which judges by what was known when it began.
    pub looking: bool,
}

/// A store that is looked after.
pub struct Known {
    /// As last seen.
    pub store: Arc<Store>,
    /// Whether it can be used.
    pub readiness: Readiness,
    /// Failed checks in a row.
    pub failures: u32,
}

/// The world.
#[derive(Default)]
pub struct World {
    subjects: HashMap<Name, Subject>,
    stores: HashMap<StoreId, Known>,
    namespaces: HashMap<String, StringMap>,
    /// Who uses a store.
    users: HashMap<StoreId, BTreeSet<Name>>,
    /// Whose templates are taken from an object.
    readers: HashMap<Dependency, BTreeSet<Name>>,
    /// Targets, and how they were last seen.
    targets: HashMap<TargetId, Target>,
}

struct Target {
    sight: Sight,
    writers: BTreeSet<Name>,
}

/// What the watches know of a target.
#[derive(Clone)]
struct Sight {
    seen: Seen,
    /// The UID of the last object whose end was seen: what a look tells of that one is old news.
    gone: Option<String>,
    /// Whether the last list left it out, and nothing was seen since: what a look tells may be old news too.
    lost: bool,
}

impl Sight {
    const NONE: Self = Self { seen: Seen::Unknown, gone: None, lost: false };

    fn set(&mut self, seen: Seen) {
        self.seen = seen;
        self.lost = false;
    }
}

/// The namespace and name of an object.
pub fn name_of(metadata: &ObjectMeta) -> Name {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

impl World {
    /// Takes an ExternalSecret. Answers whether it changed in more than its status.
    pub fn put_external_secret(&mut self, mut es: ExternalSecret) -> bool {
        let name = name_of(&es.metadata);
        let before = self.subjects.remove(&name);
        let same_object = |subject: &Subject| subject.es.metadata.uid == es.metadata.uid;
        let mut memory = Memory::default();
        let mut standing = Standing::New;
        let mut looking = false;
        let mut changed = true;
        // What was seen of the target outlives its last writer's leaving the index for a moment.
        let sight = self.targets.get(&TargetId::of(&es)).map_or(Sight::NONE, |target| target.sight.clone());
        if let Some(before) = &before {
            self.unindex(&name, &before.es.clone());
            if same_object(before) {
                memory = before.memory.clone();
                standing = before.standing;
                looking = before.looking;
                changed = !same_but_for_status(&before.es.metadata, &es.metadata);
                // News from before our own last word on its status.
                if is_earlier(&es.metadata.resource_version, &before.es.metadata.resource_version) {
                    es.status.clone_from(&before.es.status);
                    es.metadata.resource_version.clone_from(&before.es.metadata.resource_version);
                }
                if TargetId::of(&before.es) != TargetId::of(&es) {
                    memory.target = None;
                }
            }
        }
        for source in sources_of(&es) {
            self.readers.entry(source).or_default().insert(name.clone());
        }
        for store in stores_of(&es) {
            self.users.entry(store).or_default().insert(name.clone());
        }
        let target =
            self.targets.entry(TargetId::of(&es)).or_insert_with(|| Target { sight, writers: BTreeSet::new() });
        target.writers.insert(name.clone());
        self.subjects.insert(name, Subject { es: Arc::new(es), memory, standing, looking });
        changed
    }

    /// Takes the status that a look wrote, with its resourceVersion. The watch will bring the same, or has brought what
    /// came after it; a look before it does must not judge by the old status.
    pub fn put_status(&mut self, name: &Name, status: ExternalSecretStatus, version: Option<String>) {
        let Some(subject) = self.subjects.get_mut(name) else { return };
        if is_earlier(&version, &subject.es.metadata.resource_version) {
            return;
        }
        let mut newer = (*subject.es).clone();
        newer.status = Some(status);
        newer.metadata.resource_version = version;
        subject.es = Arc::new(newer);
    }

    /// Forgets an ExternalSecret.
    pub fn remove_external_secret(&mut self, name: &Name) {
        if let Some(subject) = self.subjects.remove(name) {
            self.unindex(name, &subject.es);
        }
    }

    fn unindex(&mut self, name: &Name, es: &ExternalSecret) {
        for store in stores_of(es) {
            if let Some(users) = self.users.get_mut(&store) {
                users.remove(name);
                if users.is_empty() {
                    self.users.remove(&store);
                }
            }
        }
        for source in sources_of(es) {
            if let Some(readers) = self.readers.get_mut(&source) {
                readers.remove(name);
                if readers.is_empty() {
                    self.readers.remove(&source);
                }
            }
        }
        let target = TargetId::of(es);
        if let Some(known) = self.targets.get_mut(&target) {
            known.writers.remove(name);
            if known.writers.is_empty() {
                self.targets.remove(&target);
            }
        }
    }

    /// Takes a store. Answers whether it has to be checked: it is new, or its spec changed.
    pub fn put_store(&mut self, store: Store) -> bool {
        let id = store.id.clone();
        let before = self.stores.remove(&id);
        let same = before
            .as_ref()
            .is_some_and(|known| known.store.uid() == store.uid() && known.store.generation() == store.generation());
        let (readiness, failures) = match before {
            Some(known) if same => (known.readiness, known.failures),
            _ => (Readiness::Unchecked, 0),
        };
        self.stores.insert(id, Known { store: Arc::new(store), readiness, failures });
        !same
    }

    /// Forgets a store.
    pub fn remove_store(&mut self, id: &StoreId) {
        self.stores.remove(id);
    }

    /// A store.
    pub fn store(&self, id: &StoreId) -> Option<&Known> {
        self.stores.get(id)
    }

    /// A store, to change.
    pub fn store_mut(&mut self, id: &StoreId) -> Option<&mut Known> {
        self.stores.get_mut(id)
    }

    /// The names of all stores.
    pub fn store_ids(&self) -> HashSet<StoreId> {
        self.stores.keys().cloned().collect()
    }

    /// Takes a namespace's labels. Answers whether they are news.
    pub fn put_namespace(&mut self, name: String, labels: StringMap) -> bool {
        self.namespaces.insert(name, labels.clone()) != Some(labels)
    }

    /// Forgets a namespace.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// Takes what a watch saw of an object. Answers the ExternalSecrets that should look at it.
    pub fn saw_target(&mut self, id: &TargetId, version: Version) -> Vec<Name> {
        let Some(target) = self.targets.get_mut(id) else { return Vec::new() };
        if matches!(&target.sight.seen, Seen::At(last) if is_older(&version, last)) {
            return Vec::new();
        }
        let known = |subject: &Subject| {
            subject.memory.target.as_ref().is_some_and(|known| known.version == version && known.intact)
        };
        let news = |writer: &&Name| !self.subjects.get(*writer).is_some_and(known);
        let news = target.writers.iter().filter(news).cloned().collect();
        target.sight.set(Seen::At(version));
        news
    }

    /// Takes the end of an object that a watch saw. Answers the ExternalSecrets that should look at it.
    pub fn saw_end_of_target(&mut self, id: &TargetId, uid: Option<String>) -> Vec<Name> {
        let Some(target) = self.targets.get_mut(id) else { return Vec::new() };
        // The end of one that another has replaced since is old news; what was never seen may have.
        match &target.sight.seen {
            Seen::At(last) if uid.as_ref() != Some(&last.0) => {}
            Seen::Unknown => {}
            Seen::At(_) | Seen::Absent => target.sight.set(Seen::Absent),
        }
        target.sight.gone = uid;
        let fine = |subject: &Subject| subject.memory.absence_is_fine;
        target.writers.iter().filter(|writer| !self.subjects.get(*writer).is_some_and(fine)).cloned().collect()
    }

    /// A list leaves out a target that was there. Answers the ExternalSecrets that should look at it.
    pub fn lost_target(&mut self, id: &TargetId) -> Vec<Name> {
        let Some(target) = self.targets.get_mut(id) else { return Vec::new() };
        target.sight = Sight { seen: Seen::Unknown, lost: true, ..target.sight.clone() };
        target.writers.iter().cloned().collect()
    }

    /// The first list of a kind, Secret where there is none, is complete: targets not on it do not exist.
    pub fn saw_all_of(&mut self, kind: Option<&Manifest>) {
        for sight in self.sights_of(kind).filter(|sight| sight.seen == Seen::Unknown) {
            sight.set(Seen::Absent);
        }
    }

    /// The targets of a kind that were there, or may be since a look is under way, and are not among `listed`.
    pub fn targets_not_in(&self, kind: Option<&Manifest>, listed: &HashSet<Name>) -> Vec<Name> {
        let looking = |writer: &Name| self.subjects.get(writer).is_some_and(|subject| subject.looking);
        let there = |target: &Target| matches!(target.sight.seen, Seen::At(_)) || target.writers.iter().any(looking);
        self.targets
            .iter()
            .filter(|(id, target)| id.kind() == kind && there(target) && !listed.contains(&id.name))
            .map(|(id, _)| id.name.clone())
            .collect()
    }

    /// Before the first list of Secrets is complete nothing is known of any.
    pub fn forget_sight_of_secrets(&mut self) {
        for sight in self.sights_of(None) {
            sight.set(Seen::Unknown);
        }
    }

    fn sights_of(&mut self, kind: Option<&Manifest>) -> impl Iterator<Item = &mut Sight> {
        let of_kind = self.targets.iter_mut().filter(move |(id, _)| id.kind() == kind);
        of_kind.map(|(_, target)| &mut target.sight)
    }

    /// Whether any target is of this kind.
    pub fn has_targets_of(&self, kind: &Manifest) -> bool {
        self.targets.keys().any(|id| id.kind() == Some(kind))
    }

    /// Remembers whether a target is as its writer left it.
    pub fn put_target(&mut self, id: &TargetId, version: &Version, intact: bool) {
        let Some(target) = self.targets.get_mut(id) else { return };
        if matches!(&target.sight.seen, Seen::At(last) if is_older(version, last)) {
            return;
        }
        target.sight.set(Seen::At(version.clone()));
        for writer in &target.writers {
            if let Some(subject) = self.subjects.get_mut(writer) {
                subject.memory.target = Some(Remembered { version: version.clone(), intact, made_from: None });
            }
        }
    }

    /// Whether this object is a target.
    pub fn is_target(&self, id: &TargetId) -> bool {
        self.targets.contains_key(id)
    }

    /// Takes what a look left of its target, where the watches have nothing newer: they may have told of an edit or of
    /// its end while the look went on.
    pub fn left_target(&mut self, es: &ExternalSecret, version: Option<&Version>) {
        let Some(Target { sight, .. }) = self.targets.get_mut(&TargetId::of(es)) else { return };
        if std::mem::take(&mut sight.lost) {
            return;
        }
        match (version, &sight.seen) {
            (Some(version), _) if sight.gone.as_ref() == Some(&version.0) => {}
            (Some(version), Seen::At(last)) if is_older(version, last) => {}
            (Some(version), Seen::At(last)) if last.0 == version.0 => sight.seen = Seen::At(version.clone()),
            // Which of two is there now, only a reader or the watch can tell.
            (Some(_), Seen::At(_)) => sight.seen = Seen::Unknown,
            (Some(_), Seen::Absent) if sight.gone.is_some() => sight.seen = Seen::Unknown,
            (Some(version), Seen::Absent | Seen::Unknown) => sight.seen = Seen::At(version.clone()),
            (None, Seen::Unknown) => sight.seen = Seen::Absent,
            // The watch will tell of its end.
            (None, _) => {}
        }
    }

    /// The ExternalSecrets whose templates are taken from an object.
    pub fn readers_of(&self, source: &Dependency) -> Vec<Name> {
        self.readers.get(source).into_iter().flatten().cloned().collect()
    }

    /// An ExternalSecret.
    pub fn subject(&self, name: &Name) -> Option<&Subject> {
        self.subjects.get(name)
    }

    /// An ExternalSecret, to change.
    pub fn subject_mut(&mut self, name: &Name) -> Option<&mut Subject> {
        self.subjects.get_mut(name)
    }

    /// The names of all ExternalSecrets.
    pub fn external_secrets(&self) -> HashSet<Name> {
        self.subjects.keys().cloned().collect()
    }

    /// The ExternalSecrets that use a store and wait for it, or failed the last time.
    pub fn troubled_users(&self, store: &StoreId) -> Vec<Name> {
        let users = self.users.get(store).into_iter().flatten();
        users.filter(|name| self.is_troubled(name)).cloned().collect()
    }

    /// The ExternalSecrets of a namespace that wait for something, or failed the last time.
    pub fn troubled_in(&self, namespace: &str) -> Vec<Name> {
        self.subjects.keys().filter(|name| name.0 == namespace && self.is_troubled(name)).cloned().collect()
    }

    /// Also while a look is under way: it may come to wait for, or to fail by, what has just changed.
    fn is_troubled(&self, name: &Name) -> bool {
        let troubled = |subject: &Subject| matches!(subject.standing, Standing::Held | Standing::Failed);
        self.subjects.get(name).is_some_and(|subject| troubled(subject) || subject.looking)
    }

    /// All that is known of an ExternalSecret, for a look that begins now.
    pub fn look(&mut self, name: &Name, now: Timestamp) -> Option<Look> {
        let subject = self.subjects.get_mut(name)?;
        subject.looking = true;
        let stores: BTreeMap<_, _> = stores_of(&subject.es)
            .into_iter()
            .filter_map(|id| {
                let known = self.stores.get(&id)?;
                Some((id, (known.store.clone(), known.readiness.clone())))
            })
            .collect();
        Some(Look {
            es: subject.es.clone(),
            stores,
            began: now,
            namespace_labels: self.namespaces.get(&name.0).cloned(),
            seen: self
                .targets
                .get(&TargetId::of(&subject.es))
                .map_or(Seen::Unknown, |target| target.sight.seen.clone()),
            memory: subject.memory.clone(),
            sources: sources_of(&subject.es).into_iter().map(|source| (source, None)).collect(),
        })
    }
}

/// Status writes move the resourceVersion and nothing of this.
fn same_but_for_status(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    a.generation == b.generation
        && a.labels == b.labels
        && a.annotations == b.annotations
        && a.finalizers == b.finalizers
        && a.deletion_timestamp == b.deletion_timestamp
}

/// Whether `a` is an earlier state of the object than `b`. resourceVersions of one object are numbers that grow; where
/// they are something else, nothing is taken to be older.
fn is_older(a: &Version, b: &Version) -> bool {
    a.0 == b.0 && is_earlier(&Some(a.1.as_str()), &Some(b.1.as_str()))
}

fn is_earlier<T: AsRef<str>>(a: &Option<T>, b: &Option<T>) -> bool {
    let number = |version: &Option<T>| version.as_ref()?.as_ref().parse::<u64>().ok();
    number(a).zip(number(b)).is_some_and(|(a, b)| a < b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn es(target: &str, store: &str) -> ExternalSecret {
        let spec = serde_json::json!({"secretStoreRef": {"name": store}, "target": {"name": target}});
        let mut es = ExternalSecret::new("e", serde_json::from_value(spec).unwrap());
        es.metadata.namespace = Some("ns".into());
        es.metadata.uid = Some("u".into());
        es.metadata.generation = Some(1);
        es
    }

    fn name(name: &str) -> Name {
        ("ns".into(), name.into())
    }

    fn target(target: &str) -> TargetId {
        TargetId::secret(name(target))
    }

    fn at(version: &str) -> Version {
        ("uid".into(), version.into())
    }

    fn seen(world: &mut World) -> Seen {
        world.look(&name("e"), Timestamp::UNIX_EPOCH).unwrap().seen
    }

    #[test]
    fn our_own_write_wakes_nobody_and_an_edit_does() {
        let mut world = World::default();
        world.put_external_secret(es("t", "s"));
        world.put_target(&target("t"), &at("5"), true);
        assert!(world.saw_target(&target("t"), at("5")).is_empty());
        assert_eq!(world.saw_target(&target("t"), at("6")), [name("e")]);
        assert!(world.saw_target(&target("t"), at("4")).is_empty(), "old news");
        assert_eq!(world.saw_end_of_target(&target("t"), Some("uid".into())), [name("e")]);
        assert!(world.saw_target(&target("other"), at("9")).is_empty());
    }

    #[test]
    fn what_a_watch_told_during_a_look_is_newer_than_what_the_look_left() {
        let mut world = World::default();
        world.put_external_secret(es("t", "s"));
        let left = |world: &mut World, version: &Version| world.left_target(&es("t", "s"), Some(version));
        // Written, and gone before the look ended.
        world.saw_target(&target("t"), at("4"));
        world.look(&name("e"), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(world.saw_end_of_target(&target("t"), Some("uid".into())), [name("e")]);
        left(&mut world, &at("5"));
        assert_eq!(seen(&mut world), Seen::Absent);
        // Even where somebody else's is there by now.
        let theirs: Version = ("another".into(), "7".into());
        world.saw_target(&target("t"), theirs.clone());
        left(&mut world, &at("5"));
        assert_eq!(seen(&mut world), Seen::At(theirs));
        // The look made one, another watch event of which is still to come: which came last?
        let later: Version = ("later".into(), "9".into());
        left(&mut world, &later);
        assert_eq!(seen(&mut world), Seen::Unknown);
        assert!(world.saw_target(&target("t"), later.clone()).contains(&name("e")));
        // The end of the one before, late.
        assert_eq!(world.saw_end_of_target(&target("t"), Some("another".into())), [name("e")]);
        assert_eq!(seen(&mut world), Seen::At(later));
        // Left out by a list that was made during the look: before the write, or after the end?
        assert_eq!(world.targets_not_in(None, &HashSet::new()), [name("t")]);
        assert_eq!(world.lost_target(&target("t")), [name("e")]);
        left(&mut world, &("last".into(), "11".into()));
        assert_eq!(seen(&mut world), Seen::Unknown);
    }

    #[test]
    fn a_target_that_is_written_is_asked_for_though_no_watch_has_seen_it() {
        let mut world = World::default();
        world.put_external_secret(es("t", "s"));
        assert!(world.targets_not_in(None, &HashSet::new()).is_empty());
        world.look(&name("e"), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(world.targets_not_in(None, &HashSet::new()), [name("t")]);
        world.left_target(&es("t", "s"), None);
        assert_eq!(seen(&mut world), Seen::Absent);
    }

    #[test]
    fn objects_of_other_kinds_have_names_of_their_own() {
        let mut world = World::default();
        let kind = Manifest { api_version: "v1".into(), kind: "ConfigMap".into() };
        let mut other = es("t", "s");
        other.spec.target.manifest = Some(kind.clone());
        world.put_external_secret(other);
        let id = TargetId::other(&kind, name("t"));
        assert!(world.saw_target(&target("t"), at("5")).is_empty(), "a Secret of that name is not the target");
        assert_eq!(world.saw_target(&id, at("5")), [name("e")]);
        assert!(world.has_targets_of(&kind));
        assert!(world.targets_not_in(None, &HashSet::new()).is_empty());
        assert_eq!(world.targets_not_in(Some(&kind), &HashSet::new()), [name("t")]);
        world.forget_sight_of_secrets();
        assert_eq!(seen(&mut world), Seen::At(at("5")));
        assert_eq!(world.lost_target(&id), [name("e")]);
        assert_eq!(seen(&mut world), Seen::Unknown, "it may be there: the list is older than its write");
        world.saw_all_of(Some(&kind));
        assert_eq!(seen(&mut world), Seen::Absent);
    }

    #[test]
    fn a_status_is_no_change_and_a_new_object_forgets() {
        let mut world = World::default();
        assert!(world.put_external_secret(es("t", "s")));
        world.subject_mut(&name("e")).unwrap().memory.failures = 3;
        let mut again = es("t", "s");
        again.metadata.resource_version = Some("99".into());
        again.status = Some(Default::default());
        assert!(!world.put_external_secret(again));
        assert_eq!(world.subject(&name("e")).unwrap().memory.failures, 3);
        let mut other = es("t", "s");
        other.metadata.uid = Some("v".into());
        assert!(world.put_external_secret(other));
        assert_eq!(world.subject(&name("e")).unwrap().memory.failures, 0);
    }

    #[test]
    fn an_event_from_before_our_status_brings_the_spec_and_not_the_status() {
        let at = |target: &str, version: &str, bound: &str| {
            let mut es = es(target, "s");
            es.metadata.resource_version = Some(version.into());
            let binding = keyferry_crds::Binding { name: bound.into() };
            es.status = Some(keyferry_crds::ExternalSecretStatus { binding, ..Default::default() });
            es
        };
        let mut world = World::default();
        world.put_external_secret(at("a", "10", ""));
        world.put_status(&name("e"), at("a", "12", "a").status.unwrap(), Some("12".into()));
        world.put_external_secret(at("b", "11", ""));
        let subject = world.subject(&name("e")).unwrap();
        assert_eq!((subject.es.target_name(), subject.es.status.as_ref().unwrap().binding.name.as_str()), ("b", "a"));
        world.put_external_secret(at("b", "13", "b"));
        world.put_status(&name("e"), at("a", "12", "a").status.unwrap(), Some("12".into()));
        assert_eq!(world.subject(&name("e")).unwrap().es.status.as_ref().unwrap().binding.name, "b");
    }

    #[test]
    fn the_first_sight_of_a_namespace_is_news() {
        let mut world = World::default();
        world.put_external_secret(es("t", "s"));
        assert_eq!(world.look(&name("e"), Timestamp::UNIX_EPOCH).unwrap().namespace_labels, None);
        assert!(world.put_namespace("ns".into(), StringMap::new()));
        assert!(!world.put_namespace("ns".into(), StringMap::new()));
        assert!(world.put_namespace("ns".into(), [("a".to_owned(), "b".to_owned())].into()));
        assert!(world.look(&name("e"), Timestamp::UNIX_EPOCH).unwrap().namespace_labels.is_some());
    }

    #[test]
    fn what_was_seen_of_a_target_outlives_a_new_status() {
        let mut world = World::default();
        world.put_external_secret(es("t", "s"));
        world.saw_target(&target("t"), at("5"));
        world.put_external_secret(es("t", "s"));
        assert_eq!(seen(&mut world), Seen::At(at("5")));
    }

    #[test]
    fn what_changes_during_a_look_wakes() {
        let mut world = World::default();
        world.put_external_secret(es("t", "s"));
        let store = StoreId { namespace: Some("ns".into()), name: "s".into() };
        assert!(world.troubled_users(&store).is_empty());
        world.look(&name("e"), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(world.troubled_users(&store), [name("e")]);
        assert_eq!(world.troubled_in("ns"), [name("e")]);
        world.subject_mut(&name("e")).unwrap().looking = false;
        assert!(world.troubled_users(&store).is_empty());
    }

    #[test]
    fn indexes_follow_the_spec() {
        let mut world = World::default();
        world.put_external_secret(es("t", "s"));
        world.put_external_secret(es("t2", "s2"));
        world.subject_mut(&name("e")).unwrap().standing = Standing::Failed;
        let store = |name: &str| StoreId { namespace: Some("ns".into()), name: name.into() };
        assert!(world.troubled_users(&store("s")).is_empty());
        assert_eq!(world.troubled_users(&store("s2")), [name("e")]);
        assert!(!world.is_target(&target("t")) && world.is_target(&target("t2")));
        world.remove_external_secret(&name("e"));
        assert!(!world.is_target(&target("t2")) && world.users.is_empty());
    }
}
