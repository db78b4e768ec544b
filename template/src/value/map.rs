//! Maps.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    mem,
    ops::Bound,
    rc::{Rc, Weak},
};

use super::{Str, Type, Value};
use crate::error::Failure;

/// A Go map with string keys: shared by its clones, sorted by key as Go prints and ranges it.
#[derive(Clone)]
pub struct Map(Rc<Cell>);

struct Cell {
    elem: &'static Type,
    nil: bool,
    entries: RefCell<BTreeMap<Str, Value>>,
}

impl Map {
    /// An empty `map[string]interface {}`.
    pub fn new() -> Self {
        Self::typed(&Type::Any)
    }

    /// An empty map to elements of type `elem`.
    pub fn typed(elem: &'static Type) -> Self {
        Self(Rc::new(Cell { elem, nil: false, entries: RefCell::default() }))
    }

    /// A map with these entries; the caller sees to it that they are of type `elem`.
    pub fn from_entries(elem: &'static Type, entries: impl IntoIterator<Item = (Str, Value)>) -> Self {
        Self(Rc::new(Cell { elem, nil: false, entries: RefCell::new(entries.into_iter().collect()) }))
    }

    /// The nil map of that type: empty, and writing to it fails.
    pub fn nil(elem: &'static Type) -> Self {
        Self(Rc::new(Cell { elem, nil: true, entries: RefCell::default() }))
    }

    /// The type of the elements.
    pub fn elem(&self) -> &'static Type {
        self.0.elem
    }

    /// Is it the nil map?
    pub fn is_nil(&self) -> bool {
        self.0.nil
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.entries.borrow().len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value under a key.
    pub fn get(&self, key: &[u8]) -> Option<Value> {
        self.0.entries.borrow().get(key).cloned()
    }

    /// Is there a value under the key?
    pub fn contains(&self, key: &[u8]) -> bool {
        self.0.entries.borrow().contains_key(key)
    }

    /// Puts a value under a key. It shows through every clone of the map.
    pub fn insert(&self, key: impl Into<Str>, value: Value) -> Result<(), Failure> {
        if self.0.nil {
            return Err(Failure::new("assignment to entry in nil map"));
        }
        if matches!(value, Value::Map(_) | Value::List(_)) {
            remember(&self.0);
        }
        self.0.entries.borrow_mut().insert(key.into(), value);
        Ok(())
    }

    /// Removes a key.
    pub fn remove(&self, key: &[u8]) {
        self.0.entries.borrow_mut().remove(key);
    }

    /// The keys, sorted.
    pub fn keys(&self) -> Vec<Str> {
        self.0.entries.borrow().keys().cloned().collect()
    }

    /// The entries as they are now, sorted by key: the map may change while they are used.
    pub fn entries(&self) -> Vec<(Str, Value)> {
        self.0.entries.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The entry behind this key, or the first one. Who walks so holds no copy of the map, however large it is and however
    /// often it holds itself.
    pub(crate) fn next(&self, key: Option<&[u8]>) -> Option<(Str, Value)> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.0.entries.borrow();
        entries.range::<[u8], _>((from, Bound::Unbounded)).next().map(|(key, value)| (key.clone(), value.clone()))
    }

    /// Are both the same map, not just equal ones?
    pub fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// A number that tells this map from every other one alive.
    pub fn address(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }
}

impl Default for Map {
    fn default() -> Self {
        Self::new()
    }
}

/// Nested maps are taken apart in a loop: recursion would let a template overflow the stack.
impl Drop for Cell {
    fn drop(&mut self) {
        drop_values(mem::take(self.entries.get_mut()).into_values().collect());
    }
}

/// Drops values without recursing into them.
pub(super) fn drop_values(mut values: Vec<Value>) {
    while let Some(value) = values.pop() {
        match value {
            Value::List(list) => values.append(&mut list.take_unshared()),
            Value::Map(Map(cell)) => {
                let alone = Rc::try_unwrap(cell).ok();
                let entries = alone.map(|mut cell| mem::take(cell.entries.get_mut()));
                values.extend(entries.into_iter().flat_map(BTreeMap::into_values));
            }
            _ => {}
        }
    }
}

thread_local! {
    /// Maps that were given a list or a map while a template was rendered: only they can be part of a cycle.
    static NURSERY: RefCell<Vec<Weak<Cell>>> = const { RefCell::new(Vec::new()) };
}

fn remember(cell: &Rc<Cell>) {
    NURSERY.with_borrow_mut(|nursery| match nursery.last() {
        Some(last) if Weak::as_ptr(last) == Rc::as_ptr(cell) => {}
        _ => nursery.push(Rc::downgrade(cell)),
    });
}

/// Breaks the cycles that `set` made while a template was rendered (`set $d "self" $d`), which reference counts alone
/// would keep for ever, secrets and all. Maps that came from outside are left alone: they were filled before.
pub(crate) struct Nursery(usize);

impl Nursery {
    pub(crate) fn open() -> Self {
        Self(NURSERY.with_borrow(Vec::len))
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        let young = NURSERY.with_borrow_mut(|nursery| nursery.split_off(self.0.min(nursery.len())));
        for cell in young.iter().filter_map(Weak::upgrade) {
            let entries = mem::take(&mut *cell.entries.borrow_mut());
            drop_values(entries.into_values().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_does_not_outlive_the_nursery() {
        let nursery = Nursery::open();
        let map = Map::new();
        map.insert("self", Value::Map(map.clone())).unwrap();
        let weak = Rc::downgrade(&map.0);
        drop(map);
        assert!(weak.upgrade().is_some());
        drop(nursery);
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn a_map_is_walked_in_the_order_of_its_entries() {
        let map = Map::new();
        for key in ["b", "", "a"] {
            map.insert(key, Value::Nil).unwrap();
        }
        let walk = std::iter::successors(map.next(None), |(key, _)| map.next(Some(key)));
        assert!(walk.map(|(key, _)| key).eq(map.entries().into_iter().map(|(key, _)| key)));
        assert!(map.next(Some(b"b")).is_none());
    }

    #[test]
    fn nil_maps_read_as_empty_and_refuse_writes() {
        let map = Map::nil(&Type::Any);
        assert!(map.get(b"k").is_none());
        assert!(map.insert("k", Value::Nil).is_err());
    }
}
