//! Searching a store: what is asked, in how many calls, and that it is whole or an error.
//!
//! A store answers one call of a search at a time ([`Provider::find`]); whoever wants it whole gathers the pages in a
//! [`Search`], which holds the bounds that are the same for all stores. So each call can be bounded in time and made again
//! by itself, and no store can answer less than it has without saying so.

use std::collections::BTreeSet;

use keyferry_limits::{Limit, SEARCH_BYTES, SEARCH_CALLS, SEARCH_FOUND};

use crate::{Error, ErrorKind, Key, Page, Provider, Query};

/// A search under way.
#[derive(Debug, Default)]
pub struct Search {
    found: BTreeSet<Key>,
    /// How long all names together are that were found.
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
            let length = key.name.len();
            if self.found.insert(key) {
                self.length = self.length.saturating_add(length);
            }
        }
        let open: usize = self.at.iter().map(String::len).sum();
        within(&SEARCH_FOUND, self.found.len())?;
        within(&SEARCH_BYTES, self.length.saturating_add(open))?;
        within(&SEARCH_CALLS, usize::try_from(self.calls).unwrap_or(usize::MAX))
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
        let error = search.add(Page::of_names(["x".repeat(16 << 20)], ["y".to_owned()])).unwrap_err();
        assert!(error.message().contains("search-bytes"), "{error}");

        let mut search = Search::default();
        let mut call = |n: u32| search.add(Page::of_names([], [n.to_string()]));
        assert!((1..=100_000).all(|n| call(n).is_ok()));
        let error = call(100_001).unwrap_err();
        assert!(error.message().contains("(limit search-calls)"), "{error}");
    }

    #[test]
    fn a_search_in_circles_ends() {
        let mut search = Search::default();
        search.add(page(&["a"], &["token"])).unwrap();
        assert_eq!(search.add(page(&["a"], &["token"])).unwrap_err().kind(), ErrorKind::Malformed);
    }
}
