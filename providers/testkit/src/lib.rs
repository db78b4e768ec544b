//! One behaviour suite for every store: what [`Provider`] promises, checked against a real backend and gated by the
//! capabilities that the store declares.
//!
//! A store gives a [`Fixture`] and calls [`suite`] in a test. A failed check panics with its name; the values that
//! the suite writes are canaries, and every error message is searched for them.
//!
//! Modules, in reading order: `checks` of reading, `searches` checks of searching, one of them for servers that fail in
//! between, `writes` checks of writing, `map` credentials out of a map.

#![forbid(unsafe_code)]

mod checks;
mod searches;
mod writes;
mod map;

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{Capabilities, Metadata, PropertyLookup, Provider};

pub use map::MapCredentials;
pub use searches::{FAULTS, Fault, a_search_under_faults};

/// A real backend that tests may write to, and the provider in front of it.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// What the store's registration says that a store of this spec can do.
    fn registered(&self) -> Capabilities;

    /// A provider that sees all that was put before.
    async fn provider(&self) -> Arc<dyn Provider>;

    /// Writes a secret, as a new version where there was one. Gives the name of the version where the store has any.
    async fn put(&self, name: &str, value: &[u8]) -> Option<String>;

    /// Writes a secret that bears tags. Called only where the store can be searched by them.
    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        panic!("{name}, of {} bytes, is to bear {tags:?}, and this backend has no tags", value.len());
    }

    /// Removes a secret in the way a user of the store would.
    async fn delete(&self, name: &str);

    /// What a fetch gives for a secret that was written so. Stores that keep several fields write one and give JSON.
    fn fetched(&self, value: &[u8]) -> Vec<u8> {
        value.to_vec()
    }

    /// Whether the backend keeps any bytes, rather than text only.
    fn takes_binary(&self) -> bool {
        false
    }

    /// The largest value that the backend takes, in bytes.
    fn largest(&self) -> usize {
        1 << 20
    }

    /// The property under which a push writes what [`put`](Fixture::put) writes; `None` where that is the whole secret.
    fn property(&self) -> Option<String> {
        None
    }

    /// Whether a push can write one property of a secret and leave the others.
    fn keeps_other_properties(&self) -> bool {
        true
    }

    /// Whether the store marks what it writes, so that it knows what others wrote.
    fn marks(&self) -> bool {
        true
    }

    /// Whether the current value of a store with versions is one of them, and says which.
    fn current_has_a_version(&self) -> bool {
        true
    }

    /// What stands between a path and the rest of a name: stores without folders take the beginning of a name for a path.
    fn separator(&self) -> char {
        '/'
    }

    /// Whether the backend itself takes secrets of this name.
    fn takes_name(&self, _name: &str) -> bool {
        true
    }
}

/// Runs every check that the store's capabilities ask for. Panics at the first that fails.
pub async fn suite(fixture: &dyn Fixture) {
    let capabilities = fixture.provider().await.capabilities();
    assert_eq!(fixture.registered(), capabilities, "the registration and the provider say different things");
    checks::validates(fixture).await;
    checks::nothing_asked_nothing_answered(fixture).await;
    checks::one_result_per_key_in_order(fixture, capabilities.max_batch).await;
    checks::missing_among_present(fixture, capabilities.max_batch).await;
    checks::deleted_is_missing(fixture).await;
    checks::a_new_value_is_read_at_once(fixture).await;
    checks::values_arrive_as_written(fixture).await;
    checks::names_of_every_kind(fixture).await;
    checks::many_at_once(fixture).await;
    if capabilities.versions {
        checks::versions(fixture).await
    } else {
        checks::versions_are_passed_over(fixture).await
    }
    match capabilities.metadata {
        Metadata::Answered => checks::metadata(fixture).await,
        Metadata::PassedOver => checks::metadata_is_passed_over(fixture).await,
        Metadata::Refused => checks::metadata_is_refused(fixture).await,
    }
    // Where names are those of parts, whoever has the values looks for them.
    let names_are_of_secrets = fixture.provider().await.dialect().property != PropertyLookup::Parts;
    if capabilities.find_by_name && names_are_of_secrets {
        searches::what_bears_the_name_is_found(fixture).await;
        searches::what_nothing_bears_is_not_found_and_no_error(fixture).await;
    }
    if capabilities.find_by_name && capabilities.find_by_tags && names_are_of_secrets {
        searches::a_name_and_tags_must_all_hold(fixture).await;
    }
    if capabilities.find_by_name && capabilities.find_by_path && names_are_of_secrets {
        searches::a_name_and_a_path_must_both_hold(fixture).await;
    }
    if capabilities.push {
        writes::suite(fixture, capabilities).await;
    } else {
        writes::pushes_are_refused(fixture).await;
    }
    if !capabilities.delete {
        writes::deletions_are_refused(fixture).await;
    }
}
