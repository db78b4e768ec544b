//! Who holds which shard: as many each as can be, and no move without need. And which stores are divided among all shards.
//! Pure: every replica comes to the same by itself, and where two saw the Leases a moment apart, the Lease decides.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A store is split that at least so many ExternalSecrets use for each shard: of the batches that a part of it fills, the
/// last alone may be part-filled.
const WORTH: usize = 100;

/// It is split, too, only where it has more than this part of what is a shard's fair share: those that have less are about
/// as many in each shard.
const HEAVY: usize = 4;

/// It is whole again with less than this part of what it was split with: nothing goes to and fro with a few objects.
const LIGHT: usize = 2;

/// So many are split at most: an annotation names them.
const MOST_SPLIT: usize = 64;

/// What a replica does about shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Takes these, which nobody holds.
    pub take: Vec<u32>,
    /// Gives these up: another holds fewer.
    pub give: Vec<u32>,
}

/// What `me` does where the shards are held by `holders`, by number, and the replicas of `live` can take some; `me` is one
/// of them.
///
/// A shard that nobody holds goes to who holds the fewest. Only where each has a holder that lives does anybody give one
/// up, down to its fair share: who is gone keeps its shards until its Leases last out, and then they make up for others'.
pub fn moves(holders: &[Option<String>], live: &BTreeSet<String>, me: &str) -> Moves {
    let mut counts: BTreeMap<&str, usize> = live.iter().map(|replica| (replica.as_str(), 0)).collect();
    let mut is_at_rest = true;
    for holder in holders {
        match holder.as_deref().and_then(|holder| counts.get_mut(holder)) {
            Some(count) => *count += 1,
            None => is_at_rest = false,
        }
    }
    let numbered = || (0u32..).zip(holders);
    if is_at_rest {
        let mine = numbered().filter(|(_, holder)| holder.as_deref() == Some(me));
        let mine: Vec<u32> = mine.map(|(shard, _)| shard).collect();
        let excess = mine.len().saturating_sub(share(&counts, holders.len(), me));
        return Moves { take: Vec::new(), give: mine.into_iter().rev().take(excess).collect() };
    }
    let mut take = Vec::new();
    for (shard, _) in numbered().filter(|(_, holder)| holder.is_none()) {
        let Some((replica, count)) = counts.iter_mut().min_by_key(|(replica, count)| (**count, **replica)) else {
            break;
        };
        *count += 1;
        if *replica == me {
            take.push(shard);
        }
    }
    Moves { take, give: Vec::new() }
}

/// How many `me` is to hold: all the same, and what is left over stays with those who hold the most.
fn share(counts: &BTreeMap<&str, usize>, shards: usize, me: &str) -> usize {
    let mut by_most: Vec<(&str, usize)> = counts.iter().map(|(replica, count)| (*replica, *count)).collect();
    by_most.sort_by_key(|(replica, count)| (std::cmp::Reverse(*count), *replica));
    let (each, left_over) = (shards / by_most.len().max(1), shards % by_most.len().max(1));
    let place = by_most.iter().position(|(replica, _)| *replica == me);
    each + usize::from(place.is_some_and(|place| place < left_over))
}

/// The stores that are to be split, by how many ExternalSecrets use each; `now` are those that are.
pub fn split(weights: &BTreeMap<String, usize>, shards: u32, now: &BTreeSet<String>) -> BTreeSet<String> {
    let shards = shards as usize;
    if shards < 2 {
        return BTreeSet::new();
    }
    let bound = (WORTH * shards).max(weights.values().sum::<usize>() / (HEAVY * shards));
    let is_heavy = |(store, weight): &(&String, &usize)| {
        let is_split = now.contains(*store);
        **weight >= if is_split { bound.div_ceil(LIGHT) } else { bound }
    };
    let mut heavy: Vec<(&String, &usize)> = weights.iter().filter(is_heavy).collect();
    // Those that are split stay so.
    heavy.sort_by_key(|(store, weight)| (!now.contains(*store), Reverse(**weight)));
    heavy.into_iter().take(MOST_SPLIT).map(|(store, _)| store.clone()).collect()
}

/// Which stores are split, as all replicas have it from the Lease that they hold together.
///
/// It changes in steps. Each is taken once all replicas have told that they took the one before: at first nobody works any
/// more on an ExternalSecret of a store that is to change, and then all know where these are from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Division {
    /// How many steps led here.
    pub number: u64,
    /// The stores that are split.
    pub split: BTreeSet<String>,
    /// Those that are to be, while that is about to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<BTreeSet<String>>,
}

impl Division {
    /// The stores of which nobody works on any ExternalSecret now.
    pub fn moving(&self) -> BTreeSet<String> {
        self.next.iter().flat_map(|next| next.symmetric_difference(&self.split)).cloned().collect()
    }

    /// The next step, where there is one; to be taken once all have taken this one. `wanted` are the stores that are to be
    /// split.
    pub fn step(&self, wanted: Option<&BTreeSet<String>>) -> Option<Self> {
        let (split, next) = match (&self.next, wanted) {
            (Some(next), _) => (next.clone(), None),
            (None, Some(wanted)) if *wanted != self.split => (self.split.clone(), Some(wanted.clone())),
            (None, _) => return None,
        };
        Some(Self { number: self.number + 1, split, next })
    }
}

#[cfg(test)]
mod tests {
    use keyferry_seed::Seed;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn held(by: &[&str]) -> Vec<Option<String>> {
        by.iter().map(|holder| Some((*holder).to_owned()).filter(|holder| !holder.is_empty())).collect()
    }

    fn live(replicas: &[&str]) -> BTreeSet<String> {
        replicas.iter().map(|replica| (*replica).to_owned()).collect()
    }

    fn does(by: &[&str], replicas: &[&str], me: &str) -> (Vec<u32>, Vec<u32>) {
        let Moves { take, give } = moves(&held(by), &live(replicas), me);
        (take, give)
    }

    #[test]
    fn what_nobody_holds_goes_to_who_holds_the_fewest() {
        assert_eq!(does(&["", "", "", ""], &["a"], "a"), (vec![0, 1, 2, 3], vec![]));
        assert_eq!(does(&["", "", "", ""], &["a", "b"], "a"), (vec![0, 2], vec![]));
        assert_eq!(does(&["", "", "", ""], &["a", "b"], "b"), (vec![1, 3], vec![]));
        assert_eq!(does(&["a", "a", "", ""], &["a", "b"], "a"), (vec![], vec![]));
        assert_eq!(does(&["a", "a", "", ""], &["a", "b"], "b"), (vec![2, 3], vec![]));
    }

    #[test]
    fn who_holds_more_than_its_share_gives_up_what_is_beyond_it() {
        assert_eq!(does(&["a", "a", "a", "a"], &["a"], "a"), (vec![], vec![]));
        assert_eq!(does(&["a", "a", "a", "a"], &["a", "b"], "a"), (vec![], vec![3, 2]));
        // Three of four shares: one of the two who hold two gives one up, and not both.
        assert_eq!(does(&["a", "a", "b", "b"], &["a", "b", "c"], "a"), (vec![], vec![]));
        assert_eq!(does(&["a", "a", "b", "b"], &["a", "b", "c"], "b"), (vec![], vec![3]));
        assert_eq!(does(&["a", "a", "b", "c"], &["a", "b", "c"], "a"), (vec![], vec![]), "as even as can be");
        assert_eq!(does(&["a", "b"], &["a", "b", "c"], "a"), (vec![], vec![]), "there are too few for all");
    }

    #[test]
    fn nothing_is_given_up_while_the_shards_of_one_that_is_gone_are_on_their_way() {
        assert_eq!(does(&["a", "a", "a", "gone"], &["a", "b"], "a"), (vec![], vec![]));
        assert_eq!(does(&["a", "a", "a", ""], &["a", "b"], "a"), (vec![], vec![]));
        assert_eq!(does(&["a", "a", "a", ""], &["a", "b"], "b"), (vec![3], vec![]));
    }

    /// The Leases as they are, and each replica's view of them, which may be a moment old.
    #[test]
    fn whoever_comes_and_goes_all_is_held_soon_evenly_and_then_nothing_moves() {
        let seed = Seed::new("joins and leaves");
        let mut random = StdRng::seed_from_u64(seed.number());
        for _ in 0..200 {
            let mut holders: Vec<Option<String>> = vec![None; random.random_range(1..20)];
            let mut replicas = live(&["r0"]);
            for step in 1..12 {
                if random.random_bool(0.5) {
                    replicas.insert(format!("r{step}"));
                } else if replicas.len() > 1 {
                    let leaves = replicas.iter().nth(random.random_range(0..replicas.len())).unwrap().clone();
                    replicas.remove(&leaves);
                    // Its Leases last out.
                    for holder in holders.iter_mut().filter(|holder| **holder == Some(leaves.clone())) {
                        *holder = None;
                    }
                }
                let mut rounds = 0;
                let moved = loop {
                    let before = holders.clone();
                    for me in &replicas {
                        // Some have read the Leases after those before them wrote, others before.
                        let seen = if random.random_bool(0.5) { &before } else { &holders };
                        let Moves { take, give } = moves(seen, &replicas, me);
                        for shard in take {
                            let place = &mut holders[shard as usize];
                            // As the API server: who comes second has a conflict.
                            *place = place.take().or(Some(me.clone()));
                        }
                        for shard in give {
                            let place = &mut holders[shard as usize];
                            *place = place.take().filter(|holder| holder != me);
                        }
                    }
                    rounds += 1;
                    let is_even = is_even(&holders, &replicas);
                    if is_even || rounds > 10 {
                        break is_even;
                    }
                };
                assert!(moved, "after ten rounds {holders:?} of {replicas:?}");
                for me in &replicas {
                    assert_eq!(moves(&holders, &replicas, me), Moves::default(), "{holders:?} of {replicas:?}");
                }
            }
        }
    }

    /// Whether each shard has a holder that lives, and nobody holds two more than another.
    fn is_even(holders: &[Option<String>], replicas: &BTreeSet<String>) -> bool {
        let of = |replica| holders.iter().filter(|holder| holder.as_ref() == Some(replica)).count();
        let counts: Vec<usize> = replicas.iter().map(of).collect();
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        counts.iter().sum::<usize>() == holders.len() && least.zip(most).is_some_and(|(least, most)| most - least <= 1)
    }

    fn weights(stores: &[(&str, usize)]) -> BTreeMap<String, usize> {
        stores.iter().map(|(store, weight)| ((*store).to_owned(), *weight)).collect()
    }

    /// The names of those that are split of these, where those are now.
    fn splits(stores: &[(&str, usize)], shards: u32, now: &[&str]) -> Vec<String> {
        split(&weights(stores), shards, &live(now)).into_iter().collect()
    }

    #[test]
    fn a_store_is_split_that_is_heavy_and_whose_parts_fill_batches() {
        assert_eq!(splits(&[("a", 100_000)], 16, &[]), ["a"], "all on one");
        assert_eq!(splits(&[("a", 100_000)], 1, &[]), [""; 0], "there is one shard");
        assert_eq!(splits(&[("a", 399), ("b", 1)], 4, &[]), [""; 0], "the parts would be small");
        assert_eq!(splits(&[("a", 400), ("b", 1)], 4, &[]), ["a"]);
        // A quarter of what a shard has of all is more than what is worth it: 10,000 of 160,000 in 4.
        assert_eq!(splits(&[("a", 9_999), ("b", 10_000), ("c", 140_001)], 4, &[]), ["b", "c"]);
        let many: Vec<(String, usize)> = (0..100).map(|n| (format!("s{n}"), 2_000 + n)).collect();
        let many: Vec<(&str, usize)> = many.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
        let first = split(&weights(&many), 20, &BTreeSet::new());
        assert_eq!(first.len(), 0, "each has a hundredth, and a shard a twentieth");
        let first = split(&weights(&many[..70]), 20, &live(&["s0"]));
        assert!(first.len() == MOST_SPLIT && first.contains("s0") && first.contains("s69") && !first.contains("s1"));
    }

    #[test]
    fn what_is_split_stays_so_until_it_is_half_as_heavy() {
        assert_eq!(splits(&[("a", 200), ("b", 1)], 4, &["a"]), ["a"]);
        assert_eq!(splits(&[("a", 199), ("b", 1)], 4, &["a"]), [""; 0]);
        assert_eq!(splits(&[("b", 1)], 4, &["a"]), [""; 0], "nobody uses it any more");
    }

    #[test]
    fn small_changes_split_a_store_once_at_most_and_never_join_one() {
        let seed = Seed::new("weights of stores");
        let mut random = StdRng::seed_from_u64(seed.number());
        for _ in 0..200 {
            let shards = random.random_range(2..24);
            let stores = random.random_range(1..60);
            let base: BTreeMap<String, usize> = (0..stores)
                .map(|n| (format!("s{n}"), 10_usize.pow(random.random_range(1..5)) * random.random_range(1..10)))
                .collect();
            let mut now = split(&base, shards, &BTreeSet::new());
            for _ in 0..30 {
                let jitter = |weight: &usize, percent: usize| weight * percent / 100;
                let moved =
                    base.iter().map(|(store, weight)| (store.clone(), jitter(weight, random.random_range(85..=115))));
                let moved: BTreeMap<String, usize> = moved.collect();
                let next = split(&moved, shards, &now);
                assert!(next.is_superset(&now), "{now:?} became {next:?} of {base:?} in {shards}");
                now = next;
            }
            assert_eq!(split(&base, shards, &now), now, "and then nothing moves");
        }
    }

    #[test]
    fn a_division_changes_in_two_steps_and_only_what_differs_moves() {
        let before = Division { number: 4, split: live(&["a", "b"]), next: None };
        assert_eq!((before.step(None), before.step(Some(&live(&["a", "b"])))), (None, None));
        let about = before.step(Some(&live(&["b", "c"]))).unwrap();
        assert_eq!((about.number, &about.split, about.moving()), (5, &before.split, live(&["a", "c"])));
        // What is wanted meanwhile has its turn afterwards.
        let after = about.step(Some(&live(&[]))).unwrap();
        assert_eq!(after, Division { number: 6, split: live(&["b", "c"]), next: None });
        assert_eq!(after.moving(), live(&[]));
        for division in [before, about, after, Division::default()] {
            let text = serde_json::to_string(&division).unwrap();
            assert_eq!(serde_json::from_str::<Division>(&text).unwrap(), division, "{text}");
        }
    }
}
