//! How long somebody waits who creates or edits an ExternalSecret, whatever else is under way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::json;

use crate::bed::{self, Bed};
use crate::fleet::Fleet;
use crate::watch::{Watch, holds};

/// How long one may take at most before it is given up.
const LIMIT: Duration = Duration::from_secs(120);

/// What an edit calls the key that was called `password`.
const RENAMED: &str = "secret";

/// How long they waited, until the Secret held what they asked for and the ExternalSecret was Ready.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waits {
    /// What was under way.
    pub during: String,
    /// How many there were.
    pub count: usize,
    /// What half of them waited at most, in seconds.
    pub half: f64,
    /// What 99 of a hundred did.
    pub p99: f64,
}

/// Creates the ExternalSecrets of these numbers and edits each, one after the other, as somebody does who waits for it; the
/// values are those of a round.
pub async fn waits(
    bed: &Bed,
    watch: &Watch,
    fleet: &Fleet,
    numbers: Range<usize>,
    round: usize,
) -> Result<Vec<Duration>> {
    let mut waits = Vec::new();
    for n in numbers {
        let data = fleet.data(n, round);
        let begun = Instant::now();
        bed::create(bed.client(), &fleet.external_secret(n, "1h")).await?;
        waits.push(until_held(watch, fleet, n, &data).await?.duration_since(begun));

        let renamed =
            data.into_iter().map(|(key, text)| (if key == "password" { RENAMED.to_owned() } else { key }, text));
        let mut object = fleet.external_secret(n, "1h");
        object["spec"]["data"][1]["secretKey"] = json!(RENAMED);
        let patch = Patch::Merge(json!({"spec": {"data": object["spec"]["data"]}}));
        let begun = Instant::now();
        let external_secrets = bed.api("ExternalSecret", Some(fleet.namespace(n)));
        external_secrets.patch(&fleet.name(n), &PatchParams::default(), &patch).await?;
        waits.push(until_held(watch, fleet, n, &renamed.collect()).await?.duration_since(begun));
    }
    Ok(waits)
}

/// Waits until a Secret holds these texts, and its ExternalSecret is Ready; gives when that was.
async fn until_held(watch: &Watch, fleet: &Fleet, n: usize, data: &BTreeMap<String, String>) -> Result<Instant> {
    let name = (fleet.namespace(n).to_owned(), fleet.name(n));
    let missing = |seen: &crate::watch::Seen| {
        let is_ready = seen.ready.get(&name).is_some_and(|ready| ready.is);
        usize::from(!is_ready || !seen.data.get(&name).is_some_and(|held| holds(held, data)))
    };
    watch.until(&format!("{} held", fleet.name(n)), LIMIT, || Ok(()), missing).await
}

impl Waits {
    /// Puts them together.
    pub fn of(during: &str, mut waits: Vec<Duration>) -> Self {
        waits.sort();
        let at = |part: f64| {
            let last = waits.len().saturating_sub(1);
            waits.get(((waits.len() as f64 * part) as usize).min(last)).map(Duration::as_secs_f64).unwrap_or_default()
        };
        Self { during: during.to_owned(), count: waits.len(), half: at(0.5), p99: at(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_a_hundred_is_the_last_that_counts() {
        let waits = Waits::of("nothing", (1..=100).rev().map(Duration::from_secs).collect());
        assert_eq!((waits.count, waits.half, waits.p99), (100, 51.0, 100.0));
        assert_eq!(Waits::of("nothing", Vec::new()).p99, 0.0);
    }
}
