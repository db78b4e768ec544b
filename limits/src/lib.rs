//! What one object may take of the operator: every limit in one table, and the budget of a look.
//!
//! A limit stands here and nowhere else. Its message and the table in `docs/limits.md` are made from it, so that neither
//! can differ from what holds.

mod budget;
mod beyond;
mod table;

pub use beyond::*;
pub use budget::{Budget, Exceeded};
pub use table::*;

use std::fmt;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes; told in KiB or MiB where they are whole.
    Bytes,
    /// Things, which the limit's `of` names.
    Items,
    /// Steps of work: about a byte looked at or an operation carried out.
    Steps,
    /// Seconds.
    Seconds,
}

/// How much of something one object may take.
#[derive(Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name in messages and in the docs.
    pub name: &'static str,
    /// The most that is allowed.
    pub most: u64,
    /// What is counted.
    pub unit: Unit,
    /// What it bounds, after which "more than ..." can stand.
    pub of: &'static str,
    /// What who meets it can do.
    pub raise: &'static str,
}

impl Limit {
    /// The most that is allowed, for whoever counts in memory.
    pub const fn size(&self) -> usize {
        self.most as usize
    }

    /// How much it is, for a person.
    pub fn amount(&self) -> String {
        let most = self.most;
        match self.unit {
            Unit::Bytes if most >= 1 << 20 && most.is_multiple_of(1 << 20) => format!("{} MiB", most >> 20),
            Unit::Bytes if most >= 1 << 10 && most.is_multiple_of(1 << 10) => format!("{} KiB", most >> 10),
            Unit::Bytes => format!("{most} bytes"),
            Unit::Items => most.to_string(),
            Unit::Steps => format!("{most} steps"),
            Unit::Seconds => format!("{most} s"),
        }
    }
}

/// What is told where it is met: "data of one refresh: more than 64 MiB (limit look-bytes); split it into several
/// ExternalSecrets".
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, of, raise, .. } = self;
        write!(f, "{of}: more than {} (limit {name}); {raise}", self.amount())
    }
}

/// The limits that a message names, each as [`Limit`] is told.
pub fn met_in(message: &str) -> impl Iterator<Item = &'static Limit> + '_ {
    let names = message.split("(limit ").skip(1).filter_map(|rest| rest.split_once(')'));
    names.filter_map(|(name, _)| ALL.iter().find(|limit| limit.name == name).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_tells_what_it_bounds_and_what_to_do() {
        let limit = Limit { name: "x", most: 3 << 20, unit: Unit::Bytes, of: "a pattern", raise: "make it shorter" };
        assert_eq!(limit.to_string(), "a pattern: more than 3 MiB (limit x); make it shorter");
        assert_eq!(Limit { most: 1025, ..limit }.amount(), "1025 bytes");
    }

    #[test]
    fn limits_are_found_in_what_was_told_of_them() {
        let told = format!("data[0]: {TEMPLATE_STEPS}; data[1]: {LOOK_BYTES} (limit none), (limit");
        let met: Vec<&str> = met_in(&told).map(|limit| limit.name).collect();
        assert_eq!(met, ["template-steps", "look-bytes"]);
        for limit in ALL {
            assert!(met_in(&limit.to_string()).any(|met| met.name == limit.name), "{limit}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|limit| limit.name).collect();
        names.sort();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[test]
    fn the_docs_hold_this_table() {
        let page = include_str!("../../docs/limits.md");
        let rows = ALL
            .iter()
            .map(|limit| format!("| `{}` | {} | {} | {} |\n", limit.name, limit.of, limit.amount(), limit.raise));
        let table: String = rows.collect();
        assert!(page.contains(&table), "docs/limits.md must hold this table:\n\n{table}");
    }

    /// Whoever searches the page about troubles for the name in a message finds what to do.
    #[test]
    fn the_page_about_troubles_has_every_limit() {
        let page = include_str!("../../docs/troubleshooting.md");
        let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
        for limit in ALL {
            let name = format!("`{}`", limit.name);
            match groups.iter_mut().find(|(raise, _)| *raise == limit.raise) {
                Some((_, names)) => names.push(name),
                None => groups.push((limit.raise, vec![name])),
            }
        }
        let table: String =
            groups.into_iter().map(|(raise, names)| format!("| {} | {raise} |\n", names.join(", "))).collect();
        assert!(page.contains(&table), "docs/troubleshooting.md must hold this table:\n\n{table}");
    }
}
