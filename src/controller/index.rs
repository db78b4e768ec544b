//! Who depends on what, and how each object that somebody depends on was last seen. One index for all: looks ask it,
//! watches tell it, and stores say in it what they log in with, while they do. Of objects that nobody depends on nothing
//! is kept.
//!
//! Pure but for its lock. It answers whom something may concern; whether it does, they know best.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyferry_stores::access::{LoginId, Watched};
use keyferry_sync::copies::{CopierId, CopierKind};
use keyferry_sync::dependency::{Dependency, Kind, Name, Version};
use keyferry_sync::look::Seen;
use keyferry_sync::ports::Versions;
use keyferry_sync::store::StoreId;

use super::few::Few;
use super::queue::InLane;
use super::sight::{News, Sight, Sighting};

/// The kinds of what is looked at. Of several that are due at once, the first in this order go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectKind {
    /// A ClusterSecretStore.
    ClusterSecretStore,
    /// A SecretStore.
    SecretStore,
    /// A ClusterExternalSecret.
    ClusterExternalSecret,
    /// A ClusterPushSecret.
    ClusterPushSecret,
    /// An ExternalSecret.
    ExternalSecret,
    /// A SealedSecret.
    SealedSecret,
    /// A PushSecret.
    PushSecret,
    /// A GeneratorState.
    GeneratorState,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// What it is.
    pub kind: SubjectKind,
    /// Its namespace and name: one copy for all who keep clones of this.
    pub name: Arc<Name>,
}

impl Item {
    /// The one of this kind and name.
    pub fn new(kind: SubjectKind, name: impl Into<Arc<Name>>) -> Self {
        Self { kind, name: name.into() }
    }

    /// A store.
    pub fn store(id: &StoreId) -> Self {
        let kind = if id.namespace.is_some() { SubjectKind::SecretStore } else { SubjectKind::ClusterSecretStore };
        Self::new(kind, (id.namespace.clone().unwrap_or_default(), id.name.clone()))
    }

    /// One that makes copies.
    pub fn copier(id: &CopierId) -> Self {
        let kind = match id.kind {
            CopierKind::ClusterExternalSecret => SubjectKind::ClusterExternalSecret,
            CopierKind::ClusterPushSecret => SubjectKind::ClusterPushSecret,
        };
        Self::new(kind, (String::new(), id.name.clone()))
    }
}

impl InLane for Item {
    fn lane(&self) -> &str {
        &self.name.0
    }
}

/// What an item refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// The object that it writes.
    pub target: Option<Dependency>,
    /// The objects that it reads.
    pub sources: BTreeSet<Dependency>,
    /// The stores that it uses.
    pub stores: BTreeSet<StoreId>,
}

/// In which role an item depends on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It writes it.
    Writer,
    /// It reads it.
    Reader,
    /// It logs in with it.
    Login,
}

/// The index.
#[derive(Debug, Default)]
pub struct Index(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    objects: HashMap<Dependency, Object>,
    /// What each login has read, or is about to read.
    logins: HashMap<LoginId, BTreeSet<Dependency>>,
    /// Who uses a store.
    users: HashMap<StoreId, BTreeSet<Item>>,
    /// The kinds, besides Secrets and ConfigMaps, of which a watch has listed all objects.
    listed: HashSet<Kind>,
}

/// An object that somebody depends on.
#[derive(Debug, Default)]
struct Object {
    sight: Sight,
    writers: Few<Item>,
    readers: Few<Item>,
    logins: BTreeSet<LoginId>,
}

impl Object {
    fn is_unused(&self) -> bool {
        self.writers.is_empty() && self.readers.is_empty() && self.logins.is_empty()
    }

    /// Whom `news` may concern.
    fn concerned(&self, news: News) -> BTreeSet<(Item, Role)> {
        let writers = self.writers.iter().filter(|_| news.for_writers).map(|item| (item.clone(), Role::Writer));
        let readers = self.readers.iter().filter(|_| news.for_readers).map(|item| (item.clone(), Role::Reader));
        let logins = self.logins.iter().filter(|_| news.for_readers);
        let stores = logins.map(|login| (Item::store(&login.store), Role::Login));
        writers.chain(readers).chain(stores).collect()
    }
}

impl Index {
    /// Takes what `item` refers to now, where before it was that. What was seen of an object outlives its last user's
    /// changing.
    pub fn refer(&self, item: &Item, before: &References, now: &References) {
        if before == now {
            return;
        }
        let mut known = self.lock();
        if let Some(object) = &now.target {
            known.object(object).writers.insert(item.clone());
        }
        for object in &now.sources {
            known.object(object).readers.insert(item.clone());
        }
        for store in now.stores.difference(&before.stores) {
            known.users.entry(store.clone()).or_default().insert(item.clone());
        }
        for object in before.target.iter().filter(|object| now.target.as_ref() != Some(*object)) {
            known.leave(object, |object| object.writers.remove(item));
        }
        for object in before.sources.difference(&now.sources) {
            known.leave(object, |object| object.readers.remove(item));
        }
        for store in before.stores.difference(&now.stores) {
            if let Some(users) = known.users.get_mut(store) {
                users.remove(item);
                if users.is_empty() {
                    known.users.remove(store);
                }
            }
        }
    }

    /// Who uses a store.
    pub fn users_of(&self, store: &StoreId) -> Vec<Item> {
        self.lock().users.get(store).into_iter().flatten().cloned().collect()
    }

    /// Takes what a watch tells of an object; `is_looked_at` says of whom a look is under way. Answers whom it may
    /// concern.
    pub fn saw(
        &self,
        object: &Dependency,
        sighting: &Sighting,
        is_looked_at: impl Fn(&Item) -> bool,
    ) -> BTreeSet<(Item, Role)> {
        let mut known = self.lock();
        let Some(object) = known.objects.get_mut(object) else { return BTreeSet::new() };
        let news = object.sight.saw(sighting, object.writers.iter().any(is_looked_at));
        object.concerned(news)
    }

    /// The objects of a kind that somebody depends on and that are not among `listed`.
    pub fn not_in(&self, kind: &Kind, listed: &HashSet<Name>) -> Vec<Dependency> {
        let known = self.lock();
        let of_kind = known.objects.keys().filter(|object| object.kind == *kind);
        of_kind.filter(|object| !listed.contains(&object.full_name())).cloned().collect()
    }

    /// Whether a watch has listed all objects of a kind. Before, and where it can't, nothing is known of how they stand;
    /// nobody looks before Secrets and ConfigMaps are listed.
    pub fn set_listed(&self, kind: &Kind, is_listed: bool) {
        let mut known = self.lock();
        if is_listed {
            known.listed.insert(kind.clone());
        } else {
            known.listed.remove(kind);
        }
    }

    /// How an object stands by all that is known.
    pub fn now(&self, object: &Dependency) -> Seen {
        let known = self.lock();
        let is_listed = !matches!(object.kind, Kind::Other(_)) || known.listed.contains(&object.kind);
        let object = known.objects.get(object).filter(|_| is_listed);
        object.map_or(Seen::Unknown, |object| object.sight.now().clone())
    }

    /// How a watch last saw an object, or a reader where none has, for one who read it at this version.
    pub fn told(&self, object: &Dependency, read: Option<&Version>) -> Seen {
        self.lock().objects.get(object).map_or(Seen::Unknown, |object| object.sight.told(read))
    }

    /// Takes how a look left what it writes, or found it: `None` where there is none.
    pub fn left(&self, object: &Dependency, version: Option<&Version>) {
        if let Some(object) = self.lock().objects.get_mut(object) {
            object.sight.left(version);
        }
    }

    /// Takes how a look found what it only reads: `None` where there is none.
    pub fn found(&self, object: &Dependency, version: Option<&Version>) {
        if let Some(object) = self.lock().objects.get_mut(object) {
            object.sight.found(version);
        }
    }

    /// Takes the state that the list at start has an object in. Answers who writes it, where nothing later is known.
    pub fn examined(&self, object: &Dependency, version: &Version) -> Vec<Item> {
        let mut known = self.lock();
        let Some(object) = known.objects.get_mut(object).filter(|object| !object.writers.is_empty()) else {
            return Vec::new();
        };
        if object.sight.examined(version) { object.writers.iter().cloned().collect() } else { Vec::new() }
    }

    /// Whether anybody depends on an object of this kind.
    pub fn knows_any_of(&self, kind: &Kind) -> bool {
        self.lock().objects.keys().any(|object| object.kind == *kind)
    }

    /// Forgets what stores log in with that are not there any more. One may have been about to when it went.
    pub fn keep_logins(&self, is_there: impl Fn(&StoreId) -> bool) {
        let mut known = self.lock();
        let gone: Vec<LoginId> = known.logins.keys().filter(|login| !is_there(&login.store)).cloned().collect();
        for login in gone {
            known.log_in(&login, BTreeSet::new());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn object(&mut self, object: &Dependency) -> &mut Object {
        self.objects.entry(object.clone()).or_default()
    }

    /// Takes an item out of an object; that is forgotten with the last.
    fn leave(&mut self, id: &Dependency, take_out: impl FnOnce(&mut Object)) {
        let Some(object) = self.objects.get_mut(id) else { return };
        take_out(object);
        if object.is_unused() {
            self.objects.remove(id);
        }
    }

    /// `login` reads these objects and no others any more.
    fn log_in(&mut self, login: &LoginId, reads: BTreeSet<Dependency>) {
        for object in self.logins.remove(login).unwrap_or_default().difference(&reads) {
            self.leave(object, |object| _ = object.logins.remove(login));
        }
        for object in &reads {
            self.object(object).logins.insert(login.clone());
        }
        if !reads.is_empty() {
            self.logins.insert(login.clone(), reads);
        }
    }
}

impl Watched for Index {
    fn follow(&self, login: &LoginId, object: &Dependency) {
        let mut known = self.lock();
        known.object(object).logins.insert(login.clone());
        known.logins.entry(login.clone()).or_default().insert(object.clone());
    }

    fn logged_in(&self, login: &LoginId, reads: &Versions) {
        let mut known = self.lock();
        known.log_in(login, reads.keys().cloned().collect());
        for (object, version) in reads {
            known.object(object).sight.found(version.as_ref());
        }
    }

    fn may_be_at(&self, reads: &Versions) -> bool {
        let known = self.lock();
        reads.iter().all(|(object, version)| {
            known.objects.get(object).is_none_or(|object| object.sight.may_be_at(version.as_ref()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, name: &str) -> Dependency {
        Dependency::new(kind, ("ns".into(), name.into()))
    }

    fn secret(name: &str) -> Dependency {
        object(Kind::Secret, name)
    }

    fn store(name: &str) -> StoreId {
        StoreId { namespace: Some("ns".into()), name: name.into() }
    }

    fn login(store_name: &str, namespace: Option<&str>) -> LoginId {
        LoginId { store: store(store_name), namespace: namespace.map(str::to_owned) }
    }

    fn item(name: &str) -> Item {
        Item::new(SubjectKind::ExternalSecret, ("ns".into(), name.into()))
    }

    fn at(revision: &str) -> Version {
        Version { uid: "u".into(), revision: revision.into() }
    }

    fn refers(target: &str, sources: &[&str], stores: &[&str]) -> References {
        References {
            target: Some(secret(target)),
            sources: sources.iter().map(|name| secret(name)).collect(),
            stores: stores.iter().map(|name| store(name)).collect(),
        }
    }

    fn saw(index: &Index, object: &Dependency, revision: &str) -> Vec<(Item, Role)> {
        index.saw(object, &Sighting::There(at(revision)), |_| false).into_iter().collect()
    }

    #[test]
    fn everybody_is_told_in_every_role() {
        let index = Index::default();
        index.refer(&item("writer"), &References::default(), &refers("x", &[], &["s"]));
        index.refer(&item("both"), &References::default(), &refers("x", &["x", "y"], &["s"]));
        index.follow(&login("s", None), &secret("x"));
        index.follow(&login("s", Some("team")), &secret("x"));
        let mut all = [
            (item("writer"), Role::Writer),
            (item("both"), Role::Writer),
            (item("both"), Role::Reader),
            (Item::store(&store("s")), Role::Login),
        ];
        all.sort();
        assert_eq!(saw(&index, &secret("x"), "5"), all, "a store once, however often it logs in");
        assert_eq!(saw(&index, &secret("y"), "5"), [(item("both"), Role::Reader)]);
        assert_eq!(saw(&index, &object(Kind::ConfigMap, "x"), "5"), [], "another kind is another object");
        assert_eq!(saw(&index, &secret("z"), "5"), []);
        assert_eq!(index.users_of(&store("s")), [item("both"), item("writer")]);
    }

    #[test]
    fn references_follow_the_spec_and_leave_nothing_behind() {
        let index = Index::default();
        let (first, second) = (refers("a", &["c"], &["s"]), refers("b", &["d"], &["t"]));
        index.refer(&item("e"), &References::default(), &first);
        index.refer(&item("e"), &first, &second);
        for gone in ["a", "c"] {
            assert_eq!(saw(&index, &secret(gone), "5"), []);
        }
        assert_eq!(saw(&index, &secret("b"), "5"), [(item("e"), Role::Writer)]);
        assert_eq!((index.users_of(&store("s")), index.users_of(&store("t"))), (vec![], vec![item("e")]));
        index.refer(&item("e"), &second, &References::default());
        let known = index.lock();
        assert!(known.objects.is_empty() && known.users.is_empty());
    }

    #[test]
    fn what_was_seen_outlives_a_change_of_who_depends_on_it() {
        let index = Index::default();
        index.refer(&item("e"), &References::default(), &refers("t", &[], &[]));
        saw(&index, &secret("t"), "5");
        index.refer(&item("e"), &refers("t", &[], &[]), &refers("t", &["c"], &[]));
        assert_eq!(index.now(&secret("t")), Seen::At(at("5")));
        index.refer(&item("e"), &refers("t", &["c"], &[]), &refers("other", &["t"], &[]));
        assert_eq!(index.now(&secret("t")), Seen::At(at("5")), "the writer is a reader now");
    }

    #[test]
    fn a_login_is_told_from_before_it_reads_until_it_reads_something_else() {
        let index = Index::default();
        let (one, woken) = (login("s", None), [(Item::store(&store("s")), Role::Login)]);
        index.follow(&one, &secret("a"));
        assert_eq!(saw(&index, &secret("a"), "5"), woken, "it may have read what was before");
        index.logged_in(&one, &[(secret("a"), Some(at("5")))].into());
        assert_eq!(saw(&index, &secret("a"), "6"), woken);
        index.follow(&one, &secret("b"));
        index.logged_in(&one, &[(secret("b"), Some(at("1")))].into());
        assert_eq!(saw(&index, &secret("a"), "7"), [], "it logs in with another now");
        assert_eq!(saw(&index, &secret("b"), "1"), [], "that is what it read");
        assert_eq!(saw(&index, &secret("b"), "2"), woken);
        index.keep_logins(|id| *id != store("s"));
        assert_eq!(saw(&index, &secret("b"), "3"), []);
        assert!(index.lock().objects.is_empty() && index.lock().logins.is_empty());
    }

    #[test]
    fn a_client_is_good_while_nothing_that_it_was_made_from_was_seen_otherwise() {
        let index = Index::default();
        let reads = Versions::from([(secret("a"), Some(at("5"))), (secret("b"), None)]);
        assert!(index.may_be_at(&reads), "nobody has seen them");
        reads.keys().for_each(|object| index.follow(&login("s", None), object));
        index.logged_in(&login("s", None), &reads);
        assert!(index.may_be_at(&reads));
        saw(&index, &secret("a"), "6");
        assert!(!index.may_be_at(&reads));
        saw(&index, &secret("b"), "1");
        assert!(!index.may_be_at(&[(secret("b"), None)].into()), "one that was missing has come");
    }

    #[test]
    fn a_list_leaves_out_what_it_does_not_name_and_only_of_its_kind() {
        let index = Index::default();
        let config_map = References { sources: [object(Kind::ConfigMap, "a")].into(), ..References::default() };
        index.refer(&item("e"), &References::default(), &refers("a", &["b"], &[]));
        index.refer(&item("f"), &References::default(), &config_map);
        assert_eq!(index.not_in(&Kind::Secret, &[("ns".into(), "b".into())].into()), [secret("a")]);
        assert_eq!(index.not_in(&Kind::ConfigMap, &HashSet::new()), [object(Kind::ConfigMap, "a")]);
        saw(&index, &secret("a"), "5");
        let woken = index.saw(&secret("a"), &Sighting::LeftOut, |looked_at| *looked_at == item("e"));
        assert_eq!(woken.into_iter().collect::<Vec<_>>(), [(item("e"), Role::Writer)]);
        assert_eq!(index.now(&secret("a")), Seen::Unknown, "the look may have written it since");
    }

    #[test]
    fn the_list_at_start_tells_the_writers_unless_something_later_is_known() {
        let index = Index::default();
        index.refer(&item("e"), &References::default(), &refers("t", &["c"], &[]));
        assert_eq!(index.examined(&secret("t"), &at("5")), [item("e")]);
        assert_eq!(index.now(&secret("t")), Seen::At(at("5")));
        assert_eq!(index.examined(&secret("t"), &at("4")), []);
        assert_eq!(index.examined(&secret("c"), &at("5")), [], "nobody writes it");
    }
}
