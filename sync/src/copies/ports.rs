//! What looks at copiers need of the world.

use async_trait::async_trait;
use keyferry_crds::CopierStatus;

use super::copier::Copier;
use super::copy::Seen;
use crate::dependency::Name;
use crate::ports::Problem;
use crate::record::Note;

/// What became of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It stands there, like this.
    Copy(Seen),
    /// Something else stands there, and was left alone.
    Other(Seen),
}

/// Where copies are written, and where it is told.
#[async_trait]
pub trait Copies: Send + Sync {
    /// Creates the copy in this namespace, or changes what is there to what it should be, where that is a copy.
    async fn create(&self, copier: &Copier, namespace: &str) -> Result<Made, Problem>;

    /// Changes the copy in this namespace to what it should be, or creates it where there is none.
    async fn change(&self, copier: &Copier, namespace: &str) -> Result<Made, Problem>;

    /// Deletes this copy, of this UID, where the copier controls it. One that is not there is fine.
    async fn delete(&self, copier: &Copier, name: &Name, uid: &str) -> Result<(), Problem>;

    /// Takes these finalizers off a namespace.
    async fn free(&self, copier: &Copier, namespace: &str, finalizers: &[String]) -> Result<(), Problem>;

    /// Takes the finalizer of External Secrets Operator off a copier.
    async fn release(&self, copier: &Copier) -> Result<(), Problem>;

    /// Writes the status.
    async fn status(&self, copier: &Copier, status: &CopierStatus) -> Result<(), Problem>;

    /// An event on the copier. Nobody waits for it.
    fn note(&self, copier: &Copier, note: Note);
}
