//! Compares random paths and documents with Go: `cargo run --release -p keyferry-gjson --example fuzz-paths -- PAIRS SEED`.
#![expect(clippy::print_stdout, reason = "a command")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

use support::{Outcome, Pair, oracle::Oracle, random::Random};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let pairs = arguments.next().unwrap_or(200_000) as usize;
    let seed = arguments.next().unwrap_or(1);
    let mut random = Random::new(seed);
    let mut oracle = Oracle::start();
    let mut outcome = Outcome::default();
    while outcome.asked < pairs && outcome.different.len() < 10 {
        let batch: Vec<Pair> =
            (0..pairs.min(5_000))
                .map(|_| {
                    if random.chance(5) {
                        Pair { path: random.noise(24), json: random.noise(60) }
                    } else {
                        random.pair()
                    }
                })
                .collect();
        outcome.add(&mut oracle, &batch);
    }
    let Outcome { asked, found, refused, different } = &outcome;
    println!("seed {seed}: {asked} pairs, {found} find something, {refused} refused, {} differ", different.len());
    if different.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{}", outcome.report(&mut oracle));
    ExitCode::FAILURE
}
