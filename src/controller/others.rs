//! What is known of objects of which little is kept: there may be a hundred thousand, of which a name alone costs more than all
//! else that is to be known. So each stands there by a hash of it. Pure.
//!
//! Two that have the same hash are taken for one; of as many that is likely once in a billion times.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash};

/// Objects by name, each with what is known of it.
#[derive(Debug)]
pub struct Others<T> {
    /// Nobody can choose names that have the same.
    hashes: RandomState,
    known: HashMap<u64, T>,
}

impl<T> Default for Others<T> {
    fn default() -> Self {
        Self { hashes: RandomState::new(), known: HashMap::new() }
    }
}

impl<T> Others<T> {
    /// Takes one as it is now; gives what was known of it.
    pub fn put(&mut self, name: &impl Hash, what: T) -> Option<T> {
        self.known.insert(self.hashes.hash_one(name), what)
    }

    /// Forgets one; gives what was known of it.
    pub fn remove(&mut self, name: &impl Hash) -> Option<T> {
        let what = self.known.remove(&self.hashes.hash_one(name));
        if self.known.len() * 8 < self.known.capacity() {
            self.known.shrink_to_fit();
        }
        what
    }

    /// Whether it is there.
    pub fn contains(&self, name: &impl Hash) -> bool {
        self.known.contains_key(&self.hashes.hash_one(name))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Forgets all but those of these names; gives them.
    pub fn retain<N: Hash>(&mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names: HashSet<u64> = names.into_iter().map(|name| self.hashes.hash_one(name)).collect();
        let gone = self.known.extract_if(|hash, _| !names.contains(hash)).collect();
        Self { hashes: self.hashes.clone(), known: gone }
    }

    /// What is known of each.
    pub fn into_known(self) -> impl Iterator<Item = T> {
        self.known.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> (String, String) {
        ("ns".to_owned(), format!("o{n}"))
    }

    #[test]
    fn each_is_known_by_its_name_until_it_is_forgotten_or_not_listed() {
        let mut others = Others::default();
        assert_eq!(
            (others.put(&name(1), "a"), others.put(&name(1), "b"), others.put(&name(2), "c")),
            (None, Some("a"), None)
        );
        // Whether it is owned or borrowed is the same.
        assert!(others.contains(&("ns", "o1")) && !others.contains(&name(3)));
        assert_eq!((others.remove(&name(2)), others.remove(&name(2))), (Some("c"), None));
        others.put(&name(3), "d");
        let gone = others.retain([name(3), name(4)]);
        assert!(gone.contains(&name(1)) && !gone.contains(&name(3)));
        assert_eq!(gone.into_known().collect::<Vec<_>>(), ["b"]);
        assert!(others.contains(&name(3)) && !others.is_empty());
    }

    #[test]
    fn what_many_took_is_given_back() {
        let mut others = Others::default();
        (0..10_000).for_each(|n| _ = others.put(&name(n), ()));
        (1..10_000).for_each(|n| _ = others.remove(&name(n)));
        assert!(others.known.capacity() < 100 && others.contains(&name(0)));
    }
}
