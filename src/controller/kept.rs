//! How much of objects is kept (a quota): each is a tenant's to write and stays in memory until it goes, so that some hundreds
//! of the largest that an API server takes would be all there is. What finds no room is told so, as what does not decode is.

use std::any::TypeId;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyferry_cluster::guarded::Guarded;
use keyferry_crds::Condition;
use keyferry_limits::{LARGE_OBJECTS, LARGE_OBJECTS_SHARE, Limit, NAMESPACE_OBJECTS};
use keyferry_sync::dependency::{Name, name_of};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Serialize;

use super::relist::Update;

/// What is smaller is not counted: ten thousand of those are well below a namespace's limit.
const SMALL: usize = 4 << 10;

/// What is larger counts for all namespaces together, too, beyond the share that each has for sure.
const LARGE: usize = 32 << 10;

/// An object that is not looked after as it is.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What is known of it.
    pub metadata: Box<ObjectMeta>,
    /// The limit that it met; `None` where it does not decode.
    pub limit: Option<&'static Limit>,
    /// Its Ready condition, where that could be read: what it says need not be written again.
    pub ready: Option<Box<Condition>>,
}

impl From<Box<ObjectMeta>> for Refused {
    /// What does not decode.
    fn from(metadata: Box<ObjectMeta>) -> Self {
        Self { metadata, limit: None, ready: None }
    }
}

/// What a watch tells, of which some does not decode.
pub fn decoded<K>(update: Update<Guarded<K>>) -> Update<Result<K, Refused>> {
    update.map(|Guarded(object)| object.map_err(Refused::from))
}

/// The namespace and name of an object, as a watch tells of it.
pub fn name<K: Resource>(object: &Result<K, Refused>) -> Name {
    match object {
        Ok(object) => name_of(object.meta()),
        Err(refused) => name_of(&refused.metadata),
    }
}

/// What is kept, in bytes of JSON. Clones count together.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    /// Each that is not small, by the namespace of those of its kind.
    each: HashMap<(TypeId, String), HashMap<String, usize>>,
    of_namespace: HashMap<String, Bytes>,
    /// Of the large ones those beyond the shares of their namespaces.
    beyond: usize,
}

/// What a namespace has.
#[derive(Clone, Copy, Default)]
struct Bytes {
    all: usize,
    large: usize,
}

impl Bytes {
    /// What of the large ones is more than its share.
    fn beyond(self) -> usize {
        self.large.saturating_sub(LARGE_OBJECTS_SHARE.size())
    }
}

impl Kept {
    /// Takes what a watch tells: refused is what does not decode, or is more than there is room for.
    pub fn take<K>(&self, update: Update<Guarded<K>>, ready: fn(&K) -> Option<&Condition>) -> Update<Result<K, Refused>>
    where
        K: Resource + Serialize + 'static,
    {
        let kind = TypeId::of::<K>();
        match decoded(update) {
            Update::Put(Ok(object)) => {
                let limit = self.lock().put(kind, &name_of(object.meta()), size(&object));
                Update::Put(match limit {
                    None => Ok(object),
                    limit => {
                        let (metadata, ready) =
                            (Box::new(object.meta().clone()), ready(&object).cloned().map(Box::new));
                        Err(Refused { metadata, limit, ready })
                    }
                })
            }
            Update::Put(Err(refused)) => {
                self.lock().remove(kind, &name_of(&refused.metadata));
                Update::Put(Err(refused))
            }
            Update::Gone(gone) => {
                self.lock().remove(kind, &name(&gone));
                Update::Gone(gone)
            }
            Update::Listed(names) => {
                self.lock().retain(kind, &names);
                Update::Listed(names)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Counts an object in place of what it was; the limit where there is no room for it.
    fn put(&mut self, kind: TypeId, name: &Name, bytes: usize) -> Option<&'static Limit> {
        self.remove(kind, name);
        if bytes < SMALL {
            return None;
        }
        let before = self.of_namespace.get(&name.0).copied().unwrap_or_default();
        let large = if bytes > LARGE { bytes } else { 0 };
        let now = Bytes { all: before.all + bytes, large: before.large + large };
        let beyond = self.beyond - before.beyond() + now.beyond();
        if now.all > NAMESPACE_OBJECTS.size() {
            return Some(&NAMESPACE_OBJECTS);
        }
        if large > 0 && now.beyond() > 0 && beyond > LARGE_OBJECTS.size() {
            return Some(&LARGE_OBJECTS);
        }
        self.beyond = beyond;
        self.of_namespace.insert(name.0.clone(), now);
        self.each.entry((kind, name.0.clone())).or_default().insert(name.1.clone(), bytes);
        None
    }

    fn remove(&mut self, kind: TypeId, name: &Name) {
        let place = (kind, name.0.clone());
        let Some(all) = self.each.get_mut(&place) else { return };
        let Some(bytes) = all.remove(&name.1) else { return };
        if all.is_empty() {
            self.each.remove(&place);
        }
        self.free(&name.0, bytes);
    }

    /// Forgets those of a kind that are not there any more.
    fn retain(&mut self, kind: TypeId, names: &HashSet<Name>) {
        let mut gone = Vec::new();
        for ((_, namespace), all) in self.each.iter().filter(|((of, _), _)| *of == kind) {
            gone.extend(all.keys().map(|name| (namespace.clone(), name.clone())).filter(|name| !names.contains(name)));
        }
        for name in gone {
            self.remove(kind, &name);
        }
    }

    fn free(&mut self, namespace: &str, bytes: usize) {
        let Some(of_namespace) = self.of_namespace.get_mut(namespace) else { return };
        let before = *of_namespace;
        of_namespace.all -= bytes;
        of_namespace.large -= if bytes > LARGE { bytes } else { 0 };
        self.beyond = self.beyond - before.beyond() + of_namespace.beyond();
        if of_namespace.all == 0 {
            self.of_namespace.remove(namespace);
        }
    }
}

/// How long an object is as JSON, without what tools noted of its fields.
fn size(object: &impl Serialize) -> usize {
    let mut count = Count(0);
    // What can't be written has no length, and was read from JSON a moment ago.
    serde_json::to_writer(&mut count, object).map_or(0, |()| count.0)
}

/// Counts what is written.
struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct A;
    struct B;

    fn named(namespace: &str, n: usize) -> Name {
        (namespace.to_owned(), format!("o{n}"))
    }

    #[test]
    fn a_namespace_has_so_much_and_what_goes_makes_room() {
        let (mut counts, a, b) = (Counts::default(), TypeId::of::<A>(), TypeId::of::<B>());
        let half = NAMESPACE_OBJECTS.size() / 2;
        assert_eq!(counts.put(a, &named("one", 0), half), None);
        assert_eq!(counts.put(b, &named("one", 0), half), None);
        assert_eq!(counts.put(b, &named("one", 1), SMALL), Some(&NAMESPACE_OBJECTS));
        assert_eq!(counts.put(b, &named("one", 1), SMALL - 1), None, "small ones are not counted");
        assert_eq!(counts.put(b, &named("one", 0), half), None, "it is there already");
        // What grew beyond is out altogether.
        assert_eq!(counts.put(b, &named("one", 0), half + 1), Some(&NAMESPACE_OBJECTS));
        assert_eq!(counts.put(b, &named("one", 1), half), None);
        counts.retain(b, &HashSet::new());
        counts.remove(a, &named("one", 0));
        assert!(counts.beyond == 0 && counts.of_namespace.is_empty() && counts.each.is_empty());
    }

    #[test]
    fn whatever_others_have_of_large_ones_a_namespace_has_its_share() {
        let (mut counts, a) = (Counts::default(), TypeId::of::<A>());
        let share = LARGE_OBJECTS_SHARE.size();
        let most = NAMESPACE_OBJECTS.size();
        let others = (0..).map(|n| named(&format!("loud{n}"), 0));
        let refused = others.map(|other| counts.put(a, &other, most)).find(Option::is_some).flatten();
        assert_eq!(refused, Some(&LARGE_OBJECTS));
        let mut more = (0..).map(|n| named("loud", n));
        assert!(more.any(|one| counts.put(a, &one, LARGE + 1).is_some()));
        assert_eq!(counts.put(a, &named("quiet", 0), share / 2), None);
        assert_eq!(counts.put(a, &named("quiet", 1), share / 2), None, "its share");
        assert_eq!(counts.put(a, &named("quiet", 2), share), Some(&LARGE_OBJECTS));
        assert_eq!(counts.put(a, &named("quiet", 2), LARGE), None, "it is not large");
        counts.remove(a, &named("loud0", 0));
        assert_eq!(counts.put(a, &named("quiet", 2), share), None, "there is room again");
        counts.retain(a, &HashSet::new());
        assert!(counts.beyond == 0 && counts.of_namespace.is_empty());
    }
}
