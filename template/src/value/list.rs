//! Slices.

use std::{mem, ops::Deref, rc::Rc};

use super::{Type, Value, map};

/// A Go slice: a window into shared, immutable elements, with a capacity that may reach beyond its length.
#[derive(Clone)]
pub struct List(Rc<Window>);

struct Window {
    elem: &'static Type,
    store: Option<Rc<Store>>,
    start: usize,
    len: usize,
    cap: usize,
}

struct Store(Vec<Value>);

impl List {
    /// A `[]interface {}`.
    pub fn new(items: Vec<Value>) -> Self {
        Self::typed(&Type::Any, items)
    }

    /// A slice whose elements are all of type `elem`; the caller sees to it that they are.
    pub fn typed(elem: &'static Type, items: Vec<Value>) -> Self {
        let len = items.len();
        Self(Rc::new(Window { elem, store: Some(Rc::new(Store(items))), start: 0, len, cap: len }))
    }

    /// The nil slice of that type. It differs from an empty one in `toJson`, `%#v` and comparison with nil.
    pub fn nil(elem: &'static Type) -> Self {
        Self(Rc::new(Window { elem, store: None, start: 0, len: 0, cap: 0 }))
    }

    /// The type of the elements.
    pub fn elem(&self) -> &'static Type {
        self.0.elem
    }

    /// Is it the nil slice?
    pub fn is_nil(&self) -> bool {
        self.0.store.is_none()
    }

    /// Are its elements held elsewhere too? Those of what was just made are not.
    pub(crate) fn is_shared(&self) -> bool {
        Rc::strong_count(&self.0) > 1 || self.0.store.as_ref().is_none_or(|store| Rc::strong_count(store) > 1)
    }

    /// How far the slice may be extended by slicing it again.
    pub fn cap(&self) -> usize {
        self.0.cap
    }

    /// Go's `list[from:to:cap]`; `None` unless `from <= to <= cap <= self.cap()`.
    pub fn slice(&self, from: usize, to: usize, cap: usize) -> Option<Self> {
        if from <= to && to <= cap && cap <= self.0.cap {
            Some(Self(Rc::new(Window {
                elem: self.0.elem,
                store: self.0.store.clone(),
                start: self.0.start + from,
                len: to - from,
                cap: cap - from,
            })))
        } else {
            None
        }
    }

    /// Are both windows at the same place of the same elements?
    pub fn same(&self, other: &Self) -> bool {
        match (&self.0.store, &other.0.store) {
            (Some(left), Some(right)) => {
                Rc::ptr_eq(left, right) && self.0.start == other.0.start && self.0.len == other.0.len
            }
            (None, None) => true,
            _ => false,
        }
    }

    /// The elements, if nobody else holds them: what the iterative drop takes apart.
    pub(super) fn take_unshared(self) -> Vec<Value> {
        let window = Rc::try_unwrap(self.0).ok();
        let store = window.and_then(|window| window.store).and_then(|store| Rc::try_unwrap(store).ok());
        store.map(|mut store| mem::take(&mut store.0)).unwrap_or_default()
    }
}

impl Deref for List {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        match &self.0.store {
            Some(store) => store.0.get(self.0.start..self.0.start + self.0.len).unwrap_or_default(),
            None => &[],
        }
    }
}

/// Nested lists are taken apart in a loop: recursion would let a template overflow the stack.
impl Drop for Store {
    fn drop(&mut self) {
        map::drop_values(mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slicing_again_reaches_up_to_the_capacity() {
        let list = List::new(vec![Value::int(1), Value::int(2), Value::int(3)]);
        let first = list.slice(0, 1, 3).unwrap();
        assert_eq!((first.len(), first.cap()), (1, 3));
        assert_eq!(first.slice(0, 3, 3).unwrap().len(), 3);
        assert!(list.slice(0, 1, 1).unwrap().slice(0, 2, 2).is_none());
        assert!(list.slice(2, 1, 3).is_none());
    }
}
