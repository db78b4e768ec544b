//! Sets of which most have one element or none: those take no more than that. Pure.

use std::collections::BTreeSet;

/// A set.
#[derive(Clone, Debug, Default)]
pub enum Few<T> {
    /// The empty one.
    #[default]
    None,
    /// One of one element.
    One(T),
    /// Any other.
    Many(Box<BTreeSet<T>>),
}

impl<T: Ord> Few<T> {
    /// Adds an element.
    pub fn insert(&mut self, element: T) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(element),
            Self::One(one) if one == element => Self::One(one),
            Self::One(one) => Self::Many(Box::new([one, element].into())),
            Self::Many(mut all) => {
                all.insert(element);
                Self::Many(all)
            }
        };
    }

    /// Takes an element out.
    pub fn remove(&mut self, element: &T) {
        *self = match std::mem::take(self) {
            Self::One(one) if one == *element => Self::None,
            Self::Many(mut all) => {
                all.remove(element);
                match all.len() {
                    1 => all.pop_first().map_or(Self::None, Self::One),
                    _ => Self::Many(all),
                }
            }
            other => other,
        };
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The elements, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(one) => (Some(one), None),
            Self::Many(all) => (None, Some(all.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set_of_any_size() {
        let mut few = Few::default();
        let elements = |few: &Few<u8>| few.iter().copied().collect::<Vec<_>>();
        assert!(few.is_empty() && elements(&few).is_empty());
        for (element, after) in [(5, &[5][..]), (5, &[5]), (3, &[3, 5]), (3, &[3, 5]), (9, &[3, 5, 9])] {
            few.insert(element);
            assert_eq!(elements(&few), after);
        }
        for (element, after) in [(7, &[3, 5, 9][..]), (3, &[5, 9]), (9, &[5]), (9, &[5])] {
            few.remove(&element);
            assert_eq!(elements(&few), after);
            assert!(!few.is_empty());
        }
        few.remove(&5);
        assert!(few.is_empty() && elements(&few).is_empty());
    }
}
