//! What we wrote a moment ago, by ids and versions: a Connect server may not show it yet. Pure, but for ages.

use std::collections::HashMap;

use tokio::time::{Duration, Instant};

use crate::items::Place;

/// How long a server may lag behind what was written through it.
const LAG: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Default)]
pub struct Recent {
    /// The version that an item has at least.
    versions: HashMap<String, (u64, Instant)>,
    /// Where an item was made, by its title.
    made: HashMap<String, (Place, Instant)>,
    /// Items that were deleted.
    deleted: HashMap<String, Instant>,
}

impl Recent {
    /// An item was written, as this version.
    pub fn wrote(&mut self, id: &str, version: u64) {
        self.forget_what_is_old();
        self.versions.insert(id.to_owned(), (version, Instant::now()));
    }

    /// An item of this title was made.
    pub fn made(&mut self, title: &str, place: Place) {
        self.forget_what_is_old();
        self.made.insert(title.to_owned(), (place, Instant::now()));
    }

    /// An item was deleted.
    pub fn deleted(&mut self, id: &str) {
        self.forget_what_is_old();
        self.made.retain(|_, (place, _)| place.item != id);
        self.versions.remove(id);
        self.deleted.insert(id.to_owned(), Instant::now());
    }

    /// Whether this version of an item is older than what we wrote.
    pub fn is_behind(&self, id: &str, version: Option<u64>) -> bool {
        let wrote = self.versions.get(id).filter(|(_, at)| is_young(at)).map(|(wrote, _)| *wrote);
        wrote.zip(version).is_some_and(|(wrote, version)| version < wrote)
    }

    /// Where we made an item of this title.
    pub fn where_made(&self, title: &str) -> Option<Place> {
        self.made.get(title).filter(|(_, at)| is_young(at)).map(|(place, _)| place.clone())
    }

    /// Whether we deleted this item, which a list may still show.
    pub fn is_deleted(&self, id: &str) -> bool {
        self.deleted.get(id).is_some_and(is_young)
    }

    fn forget_what_is_old(&mut self) {
        self.versions.retain(|_, (_, at)| is_young(at));
        self.made.retain(|_, (_, at)| is_young(at));
        self.deleted.retain(|_, at| is_young(at));
    }
}

fn is_young(at: &Instant) -> bool {
    at.elapsed() < LAG
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_written_is_remembered_for_a_while() {
        let place = Place { rank: 0, vault: "v".into(), item: "i".into() };
        let mut recent = Recent::default();
        recent.wrote("i", 3);
        recent.made("title", place.clone());
        assert!(recent.is_behind("i", Some(2)) && !recent.is_behind("i", Some(3)) && !recent.is_behind("j", Some(1)));
        assert!(!recent.is_behind("i", None), "a server that tells no versions is believed");
        assert_eq!(recent.where_made("title"), Some(place));
        recent.deleted("i");
        assert!(recent.is_deleted("i") && recent.where_made("title").is_none() && !recent.is_behind("i", Some(1)));
        recent.wrote("k", 2);
        advance(LAG).await;
        assert!(!recent.is_deleted("i") && !recent.is_behind("k", Some(1)));
        recent.wrote("l", 1);
        assert_eq!((recent.versions.len(), recent.deleted.len()), (1, 0), "what is old takes no memory");
    }
}
