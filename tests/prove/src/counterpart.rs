//! What a store brings along.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::{Call, Server};
use serde_json::Value;

/// A store of one kind, and the other side of it.
#[async_trait]
pub trait Counterpart: Send + Sync {
    /// What its objects are called: lower-case letters, digits and dashes.
    fn name(&self) -> &'static str;

    /// `SecretStore`, or what else it must be.
    fn kind(&self) -> &'static str {
        "SecretStore"
    }

    /// Where the operator's environment has to lead this store.
    fn environment(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Flags that the operator needs for it.
    fn args(&self) -> Vec<String> {
        Vec::new()
    }

    /// The server that it is, where that is ours and has written down how it answered.
    fn server(&self) -> Option<&Server> {
        None
    }

    /// Whether this answer, which is none of success, is what a check of the store is after.
    fn is_wanted(&self, _: &Call) -> bool {
        false
    }

    /// `spec.provider` of the store, which logs in with keys of the Secret of this name.
    fn provider(&self, secret: &str) -> Value;

    /// Whether nobody is shown what it holds: then a PushSecret writes into it, and nobody else.
    fn is_write_only(&self) -> bool {
        false
    }

    /// The `remoteRef` of what is fetched, whose value is what [`put`](Counterpart::put) wrote last; or of what is pushed.
    fn remote(&self) -> Value;

    /// Writes a value there.
    async fn put(&self, _: &str) -> Result<()> {
        Ok(())
    }

    /// What was pushed there.
    fn held(&self) -> Option<String> {
        None
    }

    /// Makes a new credential, as texts of the Secret, which no log may show; those before stay good.
    async fn credential(&self) -> Result<Value>;

    /// Ends all credentials but the last.
    async fn retire(&self) -> Result<()>;
}
