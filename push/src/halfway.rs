//! Generated values that were replaced before all stores held them: while one may be in a store, what it stands for is not
//! revoked. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyferry_sync::store::StoreId;

/// Of how many a place may hold one: what so many were made after is not waited for, or a store that never tells whether it was
/// written would have states pile up until nothing is made for the others ([`GENERATOR_STATES`](keyferry_limits::GENERATOR_STATES)).
const REPLACED: usize = 64;

/// A place in a store.
type Place = (StoreId, String);

/// Values that never were everywhere, and where they may be.
#[derive(Debug, Default)]
pub struct Halfway {
    /// When each was made that was replaced, and its state.
    replaced: Vec<(Timestamp, String)>,
    /// When the first and the last of those were made that a place may hold.
    places: BTreeMap<Place, (Timestamp, Timestamp)>,
}

impl Halfway {
    /// The value that was made `at` this time, with this state, is replaced.
    pub fn replace(&mut self, at: Timestamp, state: String) {
        self.replaced.push((at, state));
    }

    /// A place holds the value that was made `at` this time, and nothing else.
    pub fn holds(&mut self, place: Place, at: Timestamp) {
        self.places.insert(place, (at, at));
    }

    /// A place may hold the value that was made `at` this time, or what it held before.
    pub fn may_hold(&mut self, place: Place, at: Timestamp) {
        self.places.entry(place).or_insert((at, at)).1 = at;
    }

    /// Takes out the states of those that no place holds any more, and of those that too many were made after.
    pub fn unused(&mut self) -> Vec<String> {
        let places = &self.places;
        let is_used = |at: Timestamp| places.values().any(|(first, last)| *first <= at && at <= *last);
        let (mut used, mut unused): (Vec<_>, Vec<_>) = self.replaced.drain(..).partition(|(at, _)| is_used(*at));
        unused.extend(used.drain(..used.len().saturating_sub(REPLACED)));
        self.replaced = used;
        unused.into_iter().map(|(_, state)| state).collect()
    }
}

#[cfg(test)]
mod tests {
    use keyferry_builders::at;

    use super::*;

    #[test]
    fn what_is_replaced_is_in_use_until_every_place_holds_another_for_certain() {
        let place = |name: &str| (StoreId { namespace: None, name: "s".into() }, name.to_owned());
        let mut halfway = Halfway::default();
        halfway.holds(place("a"), at(1));
        halfway.may_hold(place("b"), at(1));
        halfway.replace(at(1), "one".into());
        halfway.holds(place("a"), at(2));
        assert_eq!(halfway.unused(), [""; 0], "b may hold it");
        halfway.may_hold(place("b"), at(2));
        halfway.replace(at(2), "two".into());
        halfway.holds(place("a"), at(3));
        assert_eq!(halfway.unused(), [""; 0], "b may hold either");
        halfway.holds(place("b"), at(3));
        assert_eq!(halfway.unused(), ["one", "two"]);
        halfway.replace(at(4), "nowhere".into());
        assert_eq!(halfway.unused(), ["nowhere"], "a place that holds an earlier one is none for it");
        assert_eq!(halfway.unused(), [""; 0], "told once");
    }

    #[test]
    fn what_is_never_certain_piles_up_so_far() {
        let mut halfway = Halfway::default();
        for n in 0..100 {
            halfway.may_hold((StoreId { namespace: None, name: "s".into() }, "a".into()), at(n));
            halfway.replace(at(n), n.to_string());
            let oldest = usize::try_from(n).unwrap().checked_sub(REPLACED).map(|oldest| oldest.to_string());
            assert_eq!(halfway.unused(), Vec::from_iter(oldest));
        }
    }
}
