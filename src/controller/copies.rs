//! Which namespaces copiers (ClusterExternalSecrets, ClusterPushSecrets) select, and what stands where a copy is or should
//! be. Watches tell it, and it answers whom that concerns; nothing is gone through but what a label leads to.
//!
//! Pure. It knows nothing where no copiers are looked after.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use keyferry_crds::names;
use keyferry_sync::copies::{Copier, CopierId, CopierKind, Place, Seen, Surroundings};
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::Name;
use keyferry_sync::selection::{ByLabel, selects};
use kube::api::ObjectMeta;

use super::others::Others;

/// What is known.
#[derive(Debug, Default)]
pub struct Copies {
    /// The kinds that are looked after.
    kinds: BTreeSet<CopierKind>,
    namespaces: BTreeMap<String, Namespace>,
    namespaces_by_label: ByLabel<String>,
    copiers: BTreeMap<CopierId, Selection>,
    copiers_by_label: ByLabel<CopierId>,
    /// Who makes copies of this name.
    by_copy_name: HashMap<(CopierKind, String), BTreeSet<CopierId>>,
    /// Whose finalizers of External Secrets Operator's these are.
    by_finalizer: HashMap<String, CopierId>,
    /// The namespaces that have such a finalizer, whoever's.
    held: HashMap<String, BTreeSet<String>>,
    /// Where copies stand, and where they stood.
    places: BTreeMap<(CopierKind, Name), Place>,
    /// All other objects of these kinds: few stand where a copy is to be, and of those nothing matters but that they do.
    strangers: BTreeMap<CopierKind, Others<()>>,
    /// The copies of each, whether it is there or not.
    copies: HashMap<CopierId, BTreeSet<Name>>,
}

#[derive(Debug, Default)]
struct Namespace {
    labels: StringMap,
    is_going: bool,
    /// The finalizers on it that are of any copier.
    held: BTreeSet<String>,
}

/// What one selects.
#[derive(Debug, Default)]
struct Selection {
    copy_name: String,
    selectors: Vec<LabelSelector>,
    selected: BTreeSet<String>,
}

impl Selection {
    fn selects(&self, labels: &StringMap) -> bool {
        self.selectors.iter().any(|selector| selects(selector, labels))
    }

    /// Where its copies are to be, each by namespace and name.
    fn places(&self) -> impl Iterator<Item = (&String, &String)> {
        self.selected.iter().map(|namespace| (namespace, &self.copy_name))
    }
}

impl Copies {
    /// Begins to keep what concerns copiers of this kind.
    pub fn look_after(&mut self, kind: CopierKind) {
        self.kinds.insert(kind);
    }

    /// Takes a copier as it is now.
    pub fn put(&mut self, copier: &Copier) {
        self.remove(&copier.id);
        let id = &copier.id;
        // By a spec that is wrong nothing is done, nor is it looked through here.
        let selectors = if copier.fault().is_none() { copier.selectors.clone() } else { Vec::new() };
        self.copiers_by_label.add_selecting(id, &selectors);
        let mut selection = Selection { copy_name: copier.copy_name.clone(), selectors, selected: BTreeSet::new() };
        let candidates = self.namespaces_by_label.may_be_selected(&selection.selectors);
        let is_selected = |name: &&&String| selection.selects(&self.namespaces[**name].labels);
        selection.selected = candidates.iter().filter(is_selected).map(|name| (*name).clone()).collect();
        self.by_copy_name.entry((id.kind, copier.copy_name.clone())).or_default().insert(id.clone());
        if id.kind == CopierKind::ClusterExternalSecret {
            let finalizers = names::namespace_finalizers(&id.name);
            self.by_finalizer.extend(finalizers.into_iter().map(|finalizer| (finalizer, id.clone())));
        }
        self.copiers.insert(id.clone(), selection);
    }

    /// Forgets a copier. What it made is the garbage collector's.
    pub fn remove(&mut self, id: &CopierId) {
        let Some(selection) = self.copiers.remove(id) else { return };
        self.copiers_by_label.remove_selecting(id, &selection.selectors);
        let key = (id.kind, selection.copy_name);
        if let Some(same) = self.by_copy_name.get_mut(&key) {
            same.remove(id);
            if same.is_empty() {
                self.by_copy_name.remove(&key);
            }
        }
        for finalizer in names::namespace_finalizers(&id.name) {
            if self.by_finalizer.get(&finalizer) == Some(id) {
                self.by_finalizer.remove(&finalizer);
            }
        }
    }

    /// Takes a namespace as it is now. Answers whom that concerns.
    pub fn put_namespace(&mut self, metadata: &ObjectMeta) -> BTreeSet<CopierId> {
        if self.kinds.is_empty() {
            return BTreeSet::new();
        }
        let finalizers = metadata.finalizers.iter().flatten();
        let now = Namespace {
            labels: metadata.labels.clone().unwrap_or_default(),
            is_going: metadata.deletion_timestamp.is_some(),
            held: finalizers.filter(|held| held.starts_with(names::FINALIZER_NAMESPACE_PREFIX)).cloned().collect(),
        };
        self.change_namespace(&metadata.name.clone().unwrap_or_default(), Some(now))
    }

    /// A namespace has gone. Answers whom that concerns.
    pub fn remove_namespace(&mut self, name: &str) -> BTreeSet<CopierId> {
        self.change_namespace(name, None)
    }

    /// There are no objects of a kind that is copied but these. Answers whom that concerns.
    pub fn listed(&mut self, kind: CopierKind, listed: &HashSet<Name>) -> BTreeSet<CopierId> {
        let known = self.places.iter().filter(|(key, place)| key.0 == kind && matches!(place, Place::Taken(_)));
        let known = known.map(|((_, name), _)| name);
        let gone: Vec<Name> = known.filter(|name| !listed.contains(*name)).cloned().collect();
        let mut concerned: BTreeSet<CopierId> = gone.iter().flat_map(|name| self.gone(kind, name)).collect();
        let gone = self.strangers.get_mut(&kind).map(|strangers| strangers.retain(listed)).unwrap_or_default();
        if !gone.is_empty() {
            let of_kind = self.copiers.iter().filter(|(id, _)| id.kind == kind);
            let wanting = of_kind.filter(|(_, selection)| selection.places().any(|place| gone.contains(&place)));
            concerned.extend(wanting.map(|(id, _)| id.clone()));
        }
        concerned
    }

    fn change_namespace(&mut self, name: &str, now: Option<Namespace>) -> BTreeSet<CopierId> {
        let key = name.to_owned();
        let before = self.namespaces.remove(name);
        let (old, new) = (before.as_ref(), now.as_ref());
        let mut concerned = BTreeSet::new();
        if old.map(|old| &old.labels) != new.map(|new| &new.labels) {
            let candidates = [old, new].into_iter().flatten().flat_map(|n| self.copiers_by_label.may_select(&n.labels));
            for id in candidates.cloned().collect::<BTreeSet<_>>() {
                let Some(selection) = self.copiers.get_mut(&id) else { continue };
                let is_selected = new.is_some_and(|new| selection.selects(&new.labels));
                let is_news =
                    if is_selected { selection.selected.insert(key.clone()) } else { selection.selected.remove(name) };
                if is_news {
                    concerned.insert(id);
                }
            }
        } else if old.map(|old| old.is_going) != new.map(|new| new.is_going)
            && let Some(new) = new
        {
            let selecting = self.copiers_by_label.may_select(&new.labels).into_iter();
            concerned.extend(selecting.filter(|id| self.copiers[*id].selected.contains(name)).cloned());
        }
        let none = BTreeSet::new();
        let (held, holds) = (old.map_or(&none, |old| &old.held), new.map_or(&none, |new| &new.held));
        for finalizer in held.difference(holds) {
            if let Some(namespaces) = self.held.get_mut(finalizer) {
                namespaces.remove(name);
                if namespaces.is_empty() {
                    self.held.remove(finalizer);
                }
            }
        }
        for finalizer in holds.difference(held) {
            self.held.entry(finalizer.clone()).or_default().insert(key.clone());
            concerned.extend(self.by_finalizer.get(finalizer).cloned());
        }
        if let Some(old) = old {
            self.namespaces_by_label.remove_labelled(&key, &old.labels);
        }
        if let Some(new) = now {
            self.namespaces_by_label.add_labelled(&key, &new.labels);
            self.namespaces.insert(key, new);
        }
        concerned
    }

    /// Takes an object of a kind that is copied, as `of` describes it. Answers whom that concerns.
    pub fn saw(&mut self, kind: CopierKind, name: &Name, of: impl FnOnce() -> Seen) -> BTreeSet<CopierId> {
        if !self.kinds.contains(&kind) {
            return BTreeSet::new();
        }
        let (now, key, strangers) = (of(), (kind, name.clone()), self.strangers.entry(kind).or_default());
        let (was_stranger, before) = if now.owner.is_some() {
            (strangers.remove(name).is_some(), self.places.insert(key, Place::Taken(now.clone())))
        } else {
            (strangers.put(name, ()).is_some(), self.places.remove(&key))
        };
        let before = match &before {
            Some(Place::Taken(before)) => Some(before),
            Some(Place::Left(_)) | None => None,
        };
        let is_known = match before {
            Some(before) => before.is_same_but_for_version(&now),
            None => was_stranger && now.owner.is_none(),
        };
        if is_known {
            return BTreeSet::new();
        }
        self.own(name, before, Some(&now));
        self.concerned(kind, name, [before, Some(&now)])
    }

    /// An object of a kind that is copied has gone. Answers whom that concerns.
    pub fn gone(&mut self, kind: CopierKind, name: &Name) -> BTreeSet<CopierId> {
        let was_stranger = self.strangers.get_mut(&kind).and_then(|strangers| strangers.remove(name)).is_some();
        let key = (kind, name.clone());
        let Some(Place::Taken(before)) = self.places.remove(&key) else {
            return if was_stranger { self.concerned(kind, name, [None, None]) } else { BTreeSet::new() };
        };
        self.own(name, Some(&before), None);
        self.places.insert(key, Place::Left(before.uid.clone()));
        self.concerned(kind, name, [Some(&before), None])
    }

    fn own(&mut self, name: &Name, before: Option<&Seen>, now: Option<&Seen>) {
        if let Some(owner) = before.and_then(|seen| seen.owner.as_ref())
            && let Some(copies) = self.copies.get_mut(&owner.id)
        {
            copies.remove(name);
            if copies.is_empty() {
                self.copies.remove(&owner.id);
            }
        }
        if let Some(owner) = now.and_then(|seen| seen.owner.as_ref()) {
            self.copies.entry(owner.id.clone()).or_default().insert(name.clone());
        }
    }

    /// Those whose copy this is or was, and those that want a copy there.
    fn concerned(&self, kind: CopierKind, name: &Name, seen: [Option<&Seen>; 2]) -> BTreeSet<CopierId> {
        let owners = seen.into_iter().flatten().filter_map(|seen| seen.owner.as_ref()).map(|owner| &owner.id);
        let wanting = self.by_copy_name.get(&(kind, name.1.clone())).into_iter().flatten();
        let wanting = wanting.filter(|id| self.copiers[*id].selected.contains(&name.0));
        owners.filter(|id| self.copiers.contains_key(*id)).chain(wanting).cloned().collect()
    }

    /// All that matters for one copier.
    pub fn around(&self, id: &CopierId) -> Surroundings {
        let mut around = Surroundings::default();
        let Some(selection) = self.copiers.get(id) else { return around };
        for namespace in &selection.selected {
            let is_going = self.namespaces.get(namespace).is_some_and(|known| known.is_going);
            around.selected.insert(namespace.clone(), is_going);
            let name = (namespace.clone(), selection.copy_name.clone());
            let is_strangers = self.strangers.get(&id.kind).is_some_and(|strangers| strangers.contains(&name));
            let place = match self.places.get(&(id.kind, name)) {
                None if is_strangers => Some(Place::Taken(Seen::of_nobody())),
                known => known.cloned(),
            };
            around.places.extend(place.map(|place| (namespace.clone(), place)));
        }
        for name in self.copies.get(id).into_iter().flatten() {
            let is_in_place = name.1 == selection.copy_name && selection.selected.contains(&name.0);
            if let (false, Some(Place::Taken(seen))) = (is_in_place, self.places.get(&(id.kind, name.clone()))) {
                around.strays.insert(name.clone(), seen.clone());
            }
        }
        for finalizer in names::namespace_finalizers(&id.name) {
            if self.by_finalizer.get(&finalizer) == Some(id) {
                for namespace in self.held.get(&finalizer).into_iter().flatten() {
                    around.held.entry(namespace.clone()).or_default().push(finalizer.clone());
                }
            }
        }
        around
    }

    /// Forgets whose place was left: that matters for a moment only.
    pub fn prune(&mut self) {
        self.places.retain(|_, place| matches!(place, Place::Taken(_)));
    }
}

#[cfg(test)]
#[path = "copies_tests.rs"]
mod tests;
