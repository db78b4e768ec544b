//! Seeds of tests that draw: a test that fails tells its seed, and draws the same again where the environment variable
//! `KEYFERRY_SEED` says so.
//!
//! ```
//! let seed = keyferry_seed::Seed::new("pairs of paths and documents");
//! let drawn = seed.number() % 6; // or StdRng::seed_from_u64(seed.number())
//! assert!(drawn < 6);
//! ```

#![expect(clippy::print_stderr, reason = "whoever reads why a test failed reads its seed beside it")]

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::thread;

/// The name of the environment variable.
pub const VARIABLE: &str = "KEYFERRY_SEED";

/// The seed of one test. Where the test fails while it is held, it is told.
#[derive(Debug)]
pub struct Seed {
    what: &'static str,
    number: u64,
}

impl Seed {
    /// The seed that the environment asks for, or else a new one; `what` is what is drawn by it.
    ///
    /// # Panics
    /// Where the environment asks for something that is no number.
    pub fn new(what: &'static str) -> Self {
        // Keys of a hash map are all the randomness that there is without a dependency, and enough.
        let fresh = || RandomState::new().hash_one(what) >> 32;
        Self { what, number: asked().unwrap_or_else(fresh) }
    }

    /// What to draw by.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn words(&self) -> String {
        format!("{} were drawn by a seed: {VARIABLE}={} draws them again", self.what, self.number)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.words());
        }
    }
}

/// The seeds of a test that tries many and tells in its own messages which one failed: all of them, or the one that the
/// environment asks for.
///
/// # Panics
/// Where the environment asks for something that is no number.
pub fn each(all: Range<u64>) -> Range<u64> {
    asked().map_or(all, |seed| seed..seed + 1)
}

#[expect(clippy::disallowed_methods, reason = "tests have no flags of their own")]
fn asked() -> Option<u64> {
    read(std::env::var(VARIABLE).ok().as_deref())
}

fn read(asked: Option<&str>) -> Option<u64> {
    let number = |text: &str| text.trim().parse().unwrap_or_else(|_| panic!("{VARIABLE}={text} is no whole number"));
    asked.filter(|text| !text.is_empty()).map(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_may_ask_for_one() {
        assert_eq!(read(Some(" 17 ")), Some(17));
        assert_eq!(read(Some("")), None);
        assert_eq!(read(None), None);
        let refused = std::panic::catch_unwind(|| read(Some("a lucky one")));
        assert!(refused.is_err());
    }

    #[test]
    fn every_test_has_a_new_one_and_can_tell_it() {
        let [a, b] = [0; 2].map(|_| Seed { what: "dice", number: RandomState::new().hash_one("dice") });
        assert_ne!(a.number(), b.number());
        assert_eq!(
            Seed { what: "dice", number: 17 }.words(),
            "dice were drawn by a seed: KEYFERRY_SEED=17 draws them again"
        );
    }
}
