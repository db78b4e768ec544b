//! What a watch tells, in three words: put, gone, and listed. Pure.
//!
//! A watch that begins, or begins anew, lists what there is, and tells nothing of the end of what went meanwhile: whoever
//! takes a list removes what it leaves out.

use std::collections::HashSet;

use keyferry_sync::dependency::{Name, name_of};
use kube::Resource;
use kube::runtime::watcher::Event;

/// What a watch of one kind tells.
#[derive(Debug)]
pub enum Update<K> {
    /// There is this object, and this is its state.
    Put(K),
    /// This object has gone.
    Gone(K),
    /// The list is complete: objects of other names are not there. Those on it were put before.
    Listed(HashSet<Name>),
}

impl<K> Update<K> {
    /// The same of what `into` makes of an object.
    pub fn map<T>(self, into: impl FnOnce(K) -> T) -> Update<T> {
        match self {
            Self::Put(object) => Update::Put(into(object)),
            Self::Gone(object) => Update::Gone(into(object)),
            Self::Listed(names) => Update::Listed(names),
        }
    }
}

/// Makes updates of a watch's events.
#[derive(Debug, Default)]
pub struct Relist {
    /// What the list under way has named so far.
    named: HashSet<Name>,
}

impl Relist {
    /// Takes an event; most are an update.
    pub fn take<K: Resource>(&mut self, event: Event<K>) -> Option<Update<K>> {
        match event {
            // One that failed half way counts for nothing.
            Event::Init => {
                self.named.clear();
                None
            }
            Event::InitApply(object) => {
                self.named.insert(name_of(object.meta()));
                Some(Update::Put(object))
            }
            Event::InitDone => Some(Update::Listed(std::mem::take(&mut self.named))),
            Event::Apply(object) => Some(Update::Put(object)),
            Event::Delete(object) => Some(Update::Gone(object)),
        }
    }
}

/// Makes one list of several watches', each of another part of a kind's objects.
#[derive(Debug)]
pub struct Union {
    /// What each part has, once it has listed it.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Default)]
struct Part {
    names: HashSet<Name>,
    is_listed: bool,
}

impl Union {
    /// Of so many watches.
    pub fn of(parts: usize) -> Self {
        Self { parts: vec![Part::default(); parts] }
    }

    /// Takes what one of the watches tells. A list is told once all have one, and then names what all have.
    pub fn take<K: Resource>(&mut self, part: usize, update: Update<K>) -> Option<Update<K>> {
        let own = self.parts.get_mut(part)?;
        match update {
            Update::Put(object) => {
                own.names.insert(name_of(object.meta()));
                Some(Update::Put(object))
            }
            Update::Gone(object) => {
                own.names.remove(&name_of(object.meta()));
                Some(Update::Gone(object))
            }
            Update::Listed(names) => {
                (own.names, own.is_listed) = (names, true);
                let all = self.parts.iter().all(|part| part.is_listed);
                all.then(|| Update::Listed(self.parts.iter().flat_map(|part| part.names.iter().cloned()).collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Namespace, Secret};
    use kube::api::ObjectMeta;

    use super::*;

    fn secret(name: &str) -> Secret {
        let (namespace, name) = (Some("ns".to_owned()), Some(name.to_owned()));
        Secret { metadata: ObjectMeta { namespace, name, ..ObjectMeta::default() }, ..Secret::default() }
    }

    /// The updates that events become, as text.
    fn told<K: Resource>(relist: &mut Relist, events: impl IntoIterator<Item = Event<K>>) -> Vec<String> {
        let updates = events.into_iter().filter_map(|event| relist.take(event));
        let text = |update| match update {
            Update::Put(object) => format!("put {}", name_of(K::meta(&object)).1),
            Update::Gone(object) => format!("gone {}", name_of(K::meta(&object)).1),
            Update::Listed(names) => {
                let mut names: Vec<_> =
                    names.into_iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
                names.sort();
                format!("listed {}", names.join(" "))
            }
        };
        updates.map(text).collect()
    }

    #[test]
    fn a_list_names_what_it_put_and_nothing_of_one_that_failed() {
        let mut relist = Relist::default();
        let failed = [Event::Init, Event::InitApply(secret("a")), Event::InitApply(secret("b"))];
        assert_eq!(told(&mut relist, failed), ["put a", "put b"]);
        let again = [Event::Init, Event::InitApply(secret("b")), Event::InitApply(secret("c")), Event::InitDone];
        assert_eq!(told(&mut relist, again), ["put b", "put c", "listed ns/b ns/c"]);
    }

    #[test]
    fn what_comes_after_a_list_is_on_no_list() {
        let mut relist = Relist::default();
        let events = [Event::Init, Event::InitDone, Event::Apply(secret("a")), Event::Delete(secret("a"))];
        assert_eq!(told(&mut relist, events), ["listed ", "put a", "gone a"]);
        assert_eq!(told::<Secret>(&mut relist, [Event::Init, Event::InitDone]), ["listed "]);
    }

    #[test]
    fn a_list_of_several_watches_is_there_when_all_are() {
        let mut union = Union::of(2);
        let listed = |names: &[&str]| {
            Update::<Secret>::Listed(names.iter().map(|name| ("ns".to_owned(), (*name).to_owned())).collect())
        };
        let mut told = |part, update: Update<Secret>| match union.take(part, update) {
            Some(Update::Listed(names)) => {
                let mut names: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
                names.sort();
                names.join(" ")
            }
            Some(Update::Put(_)) => "put".to_owned(),
            Some(Update::Gone(_)) => "gone".to_owned(),
            None => "nothing".to_owned(),
        };
        assert_eq!(told(0, Update::Put(secret("a"))), "put");
        assert_eq!(told(0, listed(&["a"])), "nothing", "of the other nobody knows yet");
        assert_eq!(told(1, listed(&["b", "c"])), "a b c");
        // What comes and goes between lists counts, too: one that begins anew knows of its own part alone.
        assert_eq!(told(0, Update::Put(secret("d"))), "put");
        assert_eq!(told(1, Update::Gone(secret("b"))), "gone");
        assert_eq!(told(1, listed(&["c"])), "a c d");
        assert_eq!(told(0, listed(&[])), "c");
    }

    #[test]
    fn what_has_no_namespace_is_listed_by_name_alone() {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("team".into());
        let events = [Event::Init, Event::InitApply(namespace), Event::InitDone];
        assert_eq!(told(&mut Relist::default(), events), ["put team", "listed /team"]);
    }
}
