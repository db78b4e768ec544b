//! Who holds which shard: as many each as can be, and no move without need. Pure: every replica comes to the same by
//! itself, and where two saw the Leases a moment apart, the Lease decides.

use std::collections::{BTreeMap, BTreeSet};

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
}
