//! Paths and documents, in Go and here: the same value, its text and its raw text.

#![expect(clippy::print_stdout, reason = "how many pairs there were")]

mod support;

use keyferry_seed::Seed;
use support::{Outcome, corpus, oracle::Oracle, random::Random};

fn check(name: &str, outcome: &Outcome, oracle: &mut Oracle) {
    let (asked, different) = (outcome.asked, outcome.different.len());
    assert!(different == 0, "{name}: {different} of {asked} pairs differ\n{}", outcome.report(oracle));
    println!("{name}: {asked} pairs, {} find something, {} refused", outcome.found, outcome.refused);
}

#[test]
fn written_pairs() {
    let mut oracle = Oracle::start();
    let pairs = corpus();
    assert!(pairs.len() >= 400, "only {} pairs", pairs.len());
    let mut outcome = Outcome::default();
    outcome.add(&mut oracle, &pairs);
    check("written", &outcome, &mut oracle);
    assert_eq!(outcome.refused, 0, "no limit of ours is in the way of a written path");
    assert!(outcome.found * 10 > outcome.asked * 6, "most pairs find something");
}

#[test]
fn random_pairs() {
    let seed = Seed::new("paths and documents");
    let mut random = Random::new(seed.number());
    let mut oracle = Oracle::start();
    let mut outcome = Outcome::default();
    let pairs: Vec<_> = (0..5_000).map(|_| random.pair()).collect();
    outcome.add(&mut oracle, &pairs);
    check("random", &outcome, &mut oracle);
}
