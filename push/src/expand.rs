//! The entries of a source, by the place in a store that they go to. Pure.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem::take;
use std::sync::Arc;

use keyferry_crds::{PushData, PushDataTo, PushMatch, PushRemoteRef, PushSecret, Rewrite};
use keyferry_go::regexp;
use keyferry_limits::{Exceeded, PUSH_RECORD};
use keyferry_provider_core::{Origin, Payload, Push, Reach, Remote, SecretBytes};
use keyferry_sync::audit::Secret;
use keyferry_sync::data::{Data, StringMap};
use keyferry_sync::engine::{ENTRY, Means};
use keyferry_sync::rewrite::{rewrite, rewrite_shaped};
use keyferry_sync::store::Store;
use keyferry_sync::told;
use keyferry_sync::told::{Name, Spec, Told};

use crate::convert::{Keys, MADE};
use crate::memory::{Mac, MacKey};
use crate::ports::Source;
use crate::refers::{means as meant, namespace};
use crate::spec;

/// What a source bears. All of its entries share it.
pub struct Marks {
    labels: Arc<StringMap>,
    annotations: Arc<StringMap>,
    mac: Mac,
}

impl Marks {
    /// Takes them from the source.
    pub fn take(source: &mut Source, key: &MacKey) -> Self {
        let (labels, annotations) = (take(&mut source.labels), take(&mut source.annotations));
        let mac = key.of_marks(&labels, &annotations);
        Self { labels: Arc::new(labels), annotations: Arc::new(annotations), mac }
    }
}

/// One entry.
#[derive(Clone)]
pub struct Entry {
    /// As the status has it.
    pub data: PushData,
    /// What to write.
    pub push: Push,
    /// Its hash.
    pub mac: Mac,
    /// The name of the Secret that it is of.
    pub from: String,
    /// How many bytes of the status it takes.
    pub recorded: usize,
    /// The entry of `dataTo` that it is of, where the template made its key: who knows of what.
    pub made: Option<usize>,
}

impl Entry {
    /// Its key and the name of its place, where the template made them.
    pub fn names_made(&self) -> impl Iterator<Item = SecretBytes> {
        let texts = [self.data.secret_key(), self.data.matched.remote_ref.remote_key.as_str()];
        texts.into_iter().filter(|_| self.made.is_some()).map(SecretBytes::from)
    }

    /// Its place, as the audit log names it.
    pub fn audited(&self) -> Secret {
        audited(&self.data, self.made.map(|_| self.tell_key()))
    }

    /// Its key.
    pub fn tell_key(&self) -> Told {
        match self.made {
            Some(n) => told!("{} (dataTo[{}])", MADE, n),
            None => tell_key(self.data.secret_key()),
        }
    }

    /// Its place, which may be named after the key.
    pub fn tell_place(&self) -> Told {
        match self.made {
            Some(_) => "the place that is named after it".into(),
            None => told!("{}", Name(&self.data.status_key())),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("data", &self.data).field("from", &self.from).finish_non_exhaustive()
    }
}

/// What goes into one store.
#[derive(Default)]
pub struct Wanted {
    /// Where that is, as metadata would name it.
    pub own: Option<String>,
    /// By place.
    pub entries: BTreeMap<String, Entry>,
    /// Places that are wanted, and what keeps us from knowing what to write there.
    pub failed: BTreeMap<String, Told>,
    /// Why it is not known what is wanted: nothing may be taken for unwanted then.
    pub unknown: Vec<Told>,
}

impl Wanted {
    /// Nothing yet, for this store.
    pub fn of(store: &Store) -> Self {
        Self { own: own_place(store), ..Self::default() }
    }

    /// Whether anything is wanted at this place.
    pub fn is_wanted(&self, place: &str) -> bool {
        self.entries.contains_key(place) || self.failed.contains_key(place)
    }

    /// The keys that the template made, and the names of their places.
    pub fn made(&self) -> impl Iterator<Item = SecretBytes> {
        self.entries.values().flat_map(Entry::names_made)
    }

    /// How many bytes of the status it takes.
    pub fn recorded(&self) -> usize {
        self.entries.values().map(|entry| entry.recorded).sum()
    }

    /// Takes what goes into the same store from another source. One place can hold one value.
    pub fn add(&mut self, other: Self) {
        self.failed.extend(other.failed);
        self.unknown.extend(other.unknown);
        for (place, entry) in other.entries {
            match self.entries.entry(place) {
                Slot::Vacant(free) => _ = free.insert(entry),
                Slot::Occupied(taken) if taken.get().push.payload == entry.push.payload => {}
                Slot::Occupied(taken) => {
                    let (place, first) = taken.remove_entry();
                    let cause = match first.made.or(entry.made) {
                        Some(n) => told!(
                            "Secrets {} and {} have the same key that spec.template made (dataTo[{}]): give each a place of its own",
                            Spec(&first.from),
                            Spec(&entry.from),
                            n
                        ),
                        None => told!(
                            "Secrets {} and {} both go to {}: give each a place of its own",
                            Spec(&first.from),
                            Spec(&entry.from),
                            Name(&place)
                        ),
                    };
                    self.failed.insert(place, cause);
                }
            }
        }
        self.entries.retain(|place, _| !self.failed.contains_key(place));
    }
}

/// A key as External Secrets Operator tells it, where it is one of a Secret.
pub fn tell_key(key: &str) -> Told {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.bytes().all(is_plain) { Told::without_values(key.to_owned()) } else { told!("{}", Name(key)) }
}

/// What goes into one store, found out once for all sources.
pub struct Aims<'a> {
    /// The store.
    pub store: &'a Store,
    /// The entries of `dataTo` that mean it, and where they stand.
    many: Vec<(usize, &'a PushDataTo)>,
}

impl<'a> Aims<'a> {
    /// Those for `store`.
    pub fn of(ps: &'a PushSecret, store: &'a Store) -> Self {
        let means =
            |many: &PushDataTo| many.store_ref.as_ref().is_some_and(|reference| meant(reference, store, namespace(ps)));
        let many = ps.spec.data_to.iter().enumerate().filter(|(_, many)| means(many));
        Self { store, many: many.collect() }
    }
}

/// A source, as its entries are made of it.
pub struct Pushed<'a> {
    /// What it is, as the template shaped it, its marks taken.
    pub source: &'a Source,
    /// Its values by their keys.
    pub keys: &'a Keys<'a>,
    /// What it bears.
    pub marks: &'a Marks,
}

/// All that goes from a source into a store. Fails where there is more than can be recorded, and where the budget of the look
/// is spent: nothing else can be made then.
pub fn entries(
    ps: &PushSecret,
    pushed: &Pushed<'_>,
    aims: &Aims<'_>,
    explicit: &BTreeSet<&str>,
    key: &MacKey,
    means: &Means<'_>,
) -> Result<Wanted, Told> {
    let mut work = Expansion { pushed, key, means, wanted: Wanted::default(), recorded: 0 };
    for (n, many) in &aims.many {
        if let Err(problem) = work.many(*n, many, explicit) {
            // The words before the place are External Secrets Operator's.
            let problem = problem.only_here()?;
            work.wanted.unknown.push(told!("failed to expand dataTo: dataTo[{}]: {}", *n, problem));
        }
    }
    for (n, data) in ps.spec.data.iter().enumerate() {
        if let Err(problem) = work.one(data) {
            let problem = problem.only_here()?;
            work.wanted.entries.remove(&data.status_key());
            work.wanted.failed.insert(data.status_key(), told!("{} (spec.data[{}])", problem, n));
        }
    }
    Ok(work.wanted)
}

/// What keeps an entry from being made.
enum Problem {
    /// Something about the entry: the others are made all the same.
    Here(Told),
    /// There is nothing left for any other.
    Spent(Told),
}

impl Problem {
    /// What is wrong with the entry; fails where that ends it all.
    fn only_here(self) -> Result<Told, Told> {
        match self {
            Self::Here(problem) => Ok(problem),
            Self::Spent(problem) => Err(problem),
        }
    }
}

impl From<Told> for Problem {
    fn from(problem: Told) -> Self {
        Self::Here(problem)
    }
}

impl From<Exceeded> for Problem {
    fn from(exceeded: Exceeded) -> Self {
        Self::Spent(exceeded.into())
    }
}

struct Expansion<'a> {
    pushed: &'a Pushed<'a>,
    key: &'a MacKey,
    means: &'a Means<'a>,
    wanted: Wanted,
    /// How many bytes of the status it takes so far.
    recorded: usize,
}

/// What an entry costs in steps beside what it reads, whatever becomes of it.
const EACH: usize = 64;

impl Expansion<'_> {
    /// Pays for looking at an entry.
    fn pay(&self, data: &PushData) -> Result<(), Exceeded> {
        let remote = &data.matched.remote_ref;
        let texts = [data.secret_key(), &remote.remote_key, remote.property.as_deref().unwrap_or_default()];
        self.means.budget.steps(EACH + texts.iter().map(|text| text.len()).sum::<usize>())
    }

    fn one(&mut self, data: &PushData) -> Result<(), Problem> {
        self.pay(data)?;
        let converted = self.pushed.keys.by(&data.conversion_strategy, self.means.budget)?;
        let converted =
            converted.map_err(|problem| told!("could not apply conversion strategy to keys: {}", problem))?;
        let payload = match data.secret_key() {
            "" => Payload::Fields(self.copied(converted)?),
            key => {
                let value = converted.get(key).cloned();
                Payload::Value(value.ok_or_else(|| told!("secret key {} does not exist", tell_key(key)))?)
            }
        };
        self.put(data.clone(), payload, None)
    }

    /// All values, once more.
    fn copied(&self, data: &Data) -> Result<Data, Exceeded> {
        let bytes = data.iter().map(|(key, value)| key.len() + value.len() + ENTRY).sum();
        self.means.budget.steps(bytes)?;
        self.means.budget.bytes(bytes)?;
        Ok(data.clone())
    }

    fn many(&mut self, n: usize, many: &PushDataTo, explicit: &BTreeSet<&str>) -> Result<(), Problem> {
        let converted = self.pushed.keys.by(&many.conversion_strategy, self.means.budget)??;
        let mut matched = self.copied(converted)?;
        if let Some(pattern) = spec::pattern(many) {
            let pattern = regexp::compile(pattern).map_err(|why| {
                let why = Told::without_values(why.to_string());
                told!("match failed: failed to compile regexp pattern {}: {}", Spec(pattern), why)
            })?;
            for key in matched.keys() {
                self.means.budget.steps(key.len() + 1)?;
            }
            matched.retain(|key, _| pattern.is_match(key));
        }
        if matched.is_empty() {
            return Ok(());
        }
        let data = |key: Option<&str>, remote_key: &str| PushData {
            matched: PushMatch {
                secret_key: key.map(str::to_owned),
                remote_ref: PushRemoteRef { remote_key: remote_key.to_owned(), property: None },
            },
            metadata: many.metadata.clone(),
            conversion_strategy: many.conversion_strategy.clone(),
        };
        if let Some(bundle) = many.bundle() {
            return self.put(data(None, bundle), Payload::Fields(matched), None);
        }
        for (remote_key, key) in self.renamed(many, &matched)? {
            if !explicit.contains(key.as_str()) {
                let value = matched.remove(&key).unwrap_or_default();
                let made = self.pushed.keys.is_made(&key, &many.conversion_strategy).then_some(n);
                self.put(data(Some(&key), &remote_key), Payload::Value(value), made)?;
            }
        }
        Ok(())
    }

    /// The keys by their names in the store.
    fn renamed(&self, many: &PushDataTo, matched: &Data) -> Result<Vec<(String, String)>, Problem> {
        // Keys stand for values, so that no two become one.
        let keys: Data = matched.keys().map(|key| (key.clone(), SecretBytes::from(key.as_str()))).collect();
        let changes = many.rewrite.iter().map(|change| Rewrite {
            merge: None,
            regexp: change.regexp.clone(),
            transform: change.transform.clone(),
        });
        let is_made = |key: &String| self.pushed.keys.is_made(key, &many.conversion_strategy);
        let rewrite = if keys.keys().any(is_made) { rewrite_shaped } else { rewrite };
        let renamed = rewrite(keys, &changes.collect::<Vec<_>>(), self.means)?;
        let pairs = renamed.into_iter().map(|(name, key)| (name, key.expose_str().unwrap_or_default().to_owned()));
        Ok(pairs.collect())
    }

    /// `made` is the entry of `dataTo` whose key the template made.
    fn put(&mut self, data: PushData, payload: Payload, made: Option<usize>) -> Result<(), Problem> {
        let bytes = match &payload {
            Payload::Value(value) => value.len(),
            Payload::Fields(fields) => fields.iter().map(|(key, value)| key.len() + value.len() + ENTRY).sum(),
        };
        let place = data.status_key();
        let recorded = record_bytes(&place, &data);
        self.recorded += recorded;
        if self.recorded > PUSH_RECORD.size() {
            return Err(Problem::Spent(told!("{}", PUSH_RECORD)));
        }
        // Where it goes to and what is said of it stands there twice.
        self.means.budget.bytes(bytes + 2 * recorded + ENTRY)?;
        self.means.budget.steps(bytes + recorded)?;
        let remote = remote(&data);
        let Pushed { source, marks, .. } = self.pushed;
        let origin = Origin {
            key: Some(data.secret_key().to_owned()).filter(|key| !key.is_empty()),
            secret_type: source.type_.clone(),
            labels: marks.labels.clone(),
            annotations: marks.annotations.clone(),
        };
        let push = Push { remote, payload, origin, reach: Reach::Ours };
        let mac = self.key.of_push(&push, &marks.mac);
        let entry = Entry { data, push, mac, from: source.name.clone(), recorded, made };
        match self.wanted.entries.entry(place) {
            Slot::Vacant(free) => {
                free.insert(entry);
                Ok(())
            }
            Slot::Occupied(taken) => {
                let (first, second) = (taken.get().tell_key(), entry.tell_key());
                let place = if made.is_some() { entry.tell_place() } else { taken.get().tell_place() };
                Err(told!("duplicate remote key {}: source keys {} and {}", place, first, second).into())
            }
        }
    }
}

/// A store's own place, where metadata may name others: a namespace.
pub fn own_place(store: &Store) -> Option<String> {
    let (provider, config) = store.spec.as_ref().ok()?.the_provider().ok()?;
    let given = config.get("remoteNamespace").and_then(serde_json::Value::as_str).filter(|given| !given.is_empty());
    given.or((provider == "kubernetes").then_some("default")).map(str::to_owned)
}

/// How many bytes of the status an entry takes.
pub fn record_bytes(place: &str, data: &PushData) -> usize {
    place.len() + serde_json::to_vec(data).map_or(0, |bytes| bytes.len())
}

/// The place that metadata name beside the store's `own`, where they do: a namespace of another cluster.
pub fn elsewhere<'a>(data: &'a PushData, own: Option<&str>) -> Option<&'a str> {
    let place = data.metadata.as_ref()?.get("spec")?.get("remoteNamespace")?.as_str()?;
    (!place.is_empty() && Some(place) != own).then_some(place)
}

/// Whether both lead to the same place in the store's own. The status may call two such places by one name.
pub fn is_same_entry(a: &PushData, b: &PushData) -> bool {
    a.matched.remote_ref.remote_key == b.matched.remote_ref.remote_key && a.property() == b.property()
}

/// Whether both lead to the same place, wherever that is, in a store whose own place this is.
pub fn is_same_place(a: &PushData, b: &PushData, own: Option<&str>) -> bool {
    is_same_entry(a, b) && elsewhere(a, own) == elsewhere(b, own)
}

/// The place, as the audit log names it; `made` is what it is told by where its name may be made of a value.
pub fn audited(data: &PushData, made: Option<Told>) -> Secret {
    let PushRemoteRef { remote_key, property } = &data.matched.remote_ref;
    match made {
        Some(told) => Secret { key: told.into_string(), property: None, version: None },
        None => Secret { key: remote_key.clone(), property: property.clone(), version: None },
    }
}

/// The place in the store.
pub fn remote(data: &PushData) -> Remote {
    Remote {
        key: data.matched.remote_ref.remote_key.clone(),
        property: data.property().map(str::to_owned),
        metadata: data.metadata.clone(),
    }
}

/// The wanted place in the same store that an unwanted one is a part of, or that is a part of it: the whole secret, or a
/// property around or inside of the other. To delete the one would take from the other.
pub fn overlapping<'a>(unwanted: &PushData, wanted: &'a Wanted) -> Option<&'a str> {
    let key = &unwanted.matched.remote_ref.remote_key;
    let own = wanted.own.as_deref();
    let is_same =
        |entry: &Entry| entry.push.remote.key == *key && elsewhere(&entry.data, own) == elsewhere(unwanted, own);
    let at = |place: &str| {
        let found = wanted.entries.get_key_value(place).filter(|(_, entry)| is_same(entry));
        let failed = || wanted.failed.get_key_value(place).map(|(place, _)| place.as_str());
        found.map(|(place, _)| place.as_str()).or_else(failed)
    };
    let below = |start: String| {
        let mut from = wanted.entries.range(start.clone()..).take_while(|(place, _)| place.starts_with(&start));
        let found = from.find(|(_, entry)| is_same(entry));
        // Of what can't be made now no more is known than what it is called.
        let failed = || wanted.failed.range(start.clone()..).next().map(|(place, _)| place.as_str());
        found.map(|(place, _)| place.as_str()).or_else(|| failed().filter(|place| place.starts_with(&start)))
    };
    let Some(property) = unwanted.property() else { return below(format!("{key}/")) };
    let around = || property.match_indices('.').find_map(|(end, _)| at(&format!("{key}/{}", &property[..end])));
    at(key).or_else(around).or_else(|| below(format!("{key}/{property}.")))
}
