//! Searching a store: what is asked, in how many calls, and that it is whole or an error.
//!
//! A store answers one call of a search at a time ([`Provider::find`]); whoever wants it whole gathers the pages in a
//! [`Search`], which holds the bounds that are the same for all stores. So each call can be bounded in time and made again
//! by itself, and no store can answer less than it has without saying so.

use std::collections::BTreeSet;

use keyferry_limits::{Limit, SEARCH_BYTES, SEARCH_CALLS, SEARCH_FOUND};

use crate::{Error, ErrorKind, Key, Page, Provider, Query};

/// What a name takes beside its letters, about.
const NAME: usize = 64;

/// What one call of a search comes to, name by name as they are read, so that no more of them are held than a search may.
#[derive(Debug, Default)]
pub struct Gathered {
    page: Page,
    length: usize,
}

impl Gathered {
    /// A secret of this name was found, in its current version.
    ///
    /// # Errors
    /// `Invalid` where that is more than a search may find or hold.
    pub fn found(&mut self, name: String) -> Result<(), Error> {
        self.hold(&name)?;
        self.page.keys.push(Key { name, version: None, metadata: false });
        within(&SEARCH_FOUND, self.page.keys.len())
    }

    /// This is where to go on, after all others.
    ///
    /// # Errors
    /// `Invalid` where that is more than a search may hold.
    pub fn open(&mut self, next: String) -> Result<(), Error> {
        self.hold(&next)?;
        self.page.next.push(next);
        Ok(())
    }

    fn hold(&mut self, name: &str) -> Result<(), Error> {
        self.length = self.length.saturating_add(name.len() + NAME);
        within(&SEARCH_BYTES, self.length)
    }
}

impl From<Gathered> for Page {
    fn from(gathered: Gathered) -> Self {
        gathered.page
    }
}

/// What these names take.
fn held<'a>(names: impl IntoIterator<Item = &'a String>) -> usize {
    names.into_iter().map(|name| name.len() + NAME).sum()
}

/// A search under way.
#[derive(Debug, Default)]
pub struct Search {
    found: BTreeSet<Key>,
    /// What all names together take that were found.
    length: usize,
    at: Vec<String>,
    calls: u64,
}

impl Search {
    /// Where it goes on: the beginning at first; `None` when there is nothing left to ask.
    pub fn at(&self) -> Option<&[String]> {
        (self.calls == 0 || !self.at.is_empty()).then_some(&self.at)
    }

    /// Adds what the call for [`at`](Self::at) came to.
    ///
    /// # Errors
    /// `Invalid` where a limit is met: part of what there is would be taken for all. `Malformed` where the store sends us
    /// in circles.
    pub fn add(&mut self, page: Page) -> Result<(), Error> {
        if !page.next.is_empty() && page.next == self.at {
            return Err(Error::new(
                ErrorKind::Malformed,
                "the store answers the same part of a search again and again",
            ));
        }
        self.calls += 1;
        self.at = page.next;
        for key in page.keys {
            let length = key.name.len() + NAME;
            if self.found.insert(key) {
                self.length = self.length.saturating_add(length);
            }
        }
        within(&SEARCH_FOUND, self.found.len())?;
        within(&SEARCH_BYTES, self.length.saturating_add(held(&self.at)))?;
        within(&SEARCH_CALLS, usize::try_from(self.calls).unwrap_or(usize::MAX))
    }

    /// What it holds once it has this page too.
    pub fn held_with(&self, page: &Page) -> usize {
        self.length + held(page.keys.iter().map(|key| &key.name)) + held(&page.next)
    }

    /// All that was found, sorted.
    pub fn found(self) -> Vec<Key> {
        self.found.into_iter().collect()
    }
}

fn within(limit: &Limit, count: usize) -> Result<(), Error> {
    if count > limit.size() { Err(Error::limit(limit)) } else { Ok(()) }
}

/// A search as a whole, sorted, call after call. What is around a store bounds and repeats the calls besides.
pub async fn find_all(provider: &dyn Provider, query: &Query) -> Result<Vec<Key>, Error> {
    let mut search = Search::default();
    while let Some(at) = search.at() {
        let page = provider.find(query, at).await?;
        search.add(page)?;
    }
    Ok(search.found())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(names: &[&str], next: &[&str]) -> Page {
        let text = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Page::of_names(text(names), text(next))
    }

    #[test]
    fn pages_are_gathered_until_none_is_left() {
        let mut search = Search::default();
        assert_eq!(search.at(), Some(&[][..]));
        search.add(page(&["c", "a"], &["two"])).unwrap();
        assert_eq!(search.at(), Some(&["two".to_owned()][..]));
        search.add(page(&[], &["three"])).unwrap();
        search.add(page(&["b", "a"], &[])).unwrap();
        assert_eq!(search.at(), None);
        let names: Vec<_> = search.found().into_iter().map(|key| key.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn more_than_a_limit_is_an_error_and_never_a_part() {
        let names = |count: usize| (0..count).map(|n| n.to_string());
        let mut search = Search::default();
        search.add(Page::of_names(names(10_000), ["more".to_owned()])).unwrap();
        // Known ones do not count twice.
        search.add(Page::of_names(names(10_000), ["still more".to_owned()])).unwrap();
        let error = search.add(page(&["one too many"], &[])).unwrap_err();
        assert!(error.message().contains("search-found") && error.kind() == ErrorKind::Invalid, "{error}");

        let mut search = Search::default();
        let error = search.add(Page::of_names(["x".repeat(8 << 20)], ["y".to_owned()])).unwrap_err();
        assert!(error.message().contains("search-bytes"), "{error}");

        let mut search = Search::default();
        let mut call = |n: u32| search.add(Page::of_names([], [n.to_string()]));
        assert!((1..=100_000).all(|n| call(n).is_ok()));
        let error = call(100_001).unwrap_err();
        assert!(error.message().contains("(limit search-calls)"), "{error}");
    }

    #[test]
    fn a_page_ends_where_a_search_would() {
        let mut page = Gathered::default();
        let end = (0..).find_map(|n| page.found(format!("{n}")).err().map(|error| (n, error)));
        assert!(matches!(end, Some((10_000, error)) if error.message().contains("search-found")));
        // Short names take more than their letters.
        let mut page = Gathered::default();
        let end = (0usize..).find_map(|n| page.open("a/".into()).err().map(|error| (n, error)));
        let Some((count, error)) = end else { unreachable!() };
        assert!(count < SEARCH_BYTES.size() / 60 && error.message().contains("search-bytes"), "{count}: {error}");
        let mut search = Search::default();
        let error = search.add(Page::of_names([], (0..200_000).map(|_| "a/".to_owned()))).unwrap_err();
        assert!(error.message().contains("search-bytes"), "{error}");
    }

    #[test]
    fn a_search_in_circles_ends() {
        let mut search = Search::default();
        search.add(page(&["a"], &["token"])).unwrap();
        assert_eq!(search.add(page(&["a"], &["token"])).unwrap_err().kind(), ErrorKind::Malformed);
    }
}
