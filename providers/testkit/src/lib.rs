//! One behaviour suite for every store: what [`Provider::fetch`] promises, checked against a real backend and gated
//! by the capabilities that the store declares.
//!
//! A store gives a [`Fixture`] and calls [`suite`] in a test. A failed check panics with its name; the values that
//! the suite writes are canaries, and every error message is searched for them.

#![forbid(unsafe_code)]

mod checks;
mod map;

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{ErrorKind, Metadata, Provider};

pub use map::MapCredentials;

/// A real backend that tests may write to, and the provider in front of it.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A provider that sees all that was put before.
    async fn provider(&self) -> Arc<dyn Provider>;

    /// Writes a secret, as a new version where there was one. Gives the name of the version where the store has any.
    async fn put(&self, name: &str, value: &[u8]) -> Option<String>;

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

    /// How the store refuses a version that never was of a secret that is there. As for a secret that is not there,
    /// unless it can tell.
    fn absent_version(&self) -> ErrorKind {
        ErrorKind::NotFound
    }

    /// Whether the backend itself takes secrets of this name.
    fn takes_name(&self, _name: &str) -> bool {
        true
    }
}

/// Runs every check that the store's capabilities ask for. Panics at the first that fails.
pub async fn suite(fixture: &dyn Fixture) {
    let capabilities = fixture.provider().await.capabilities();
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
}
