//! The part of a rig to which copies are written.

use async_trait::async_trait;
use keyferry_crds::CopierStatus;
use keyferry_sync::copies::ports::{Copies, Made};
use keyferry_sync::copies::{Copier, Owner, Seen};
use keyferry_sync::dependency::Name;
use keyferry_sync::ports::Problem;
use keyferry_sync::record::Note;

use super::rig::Ports;

impl Ports {
    /// Notes a write of a copy; waits where the test makes it wait.
    async fn copy(&self, what: String, namespace: &str) {
        let held = self.log(what, namespace);
        if let Some(held) = held {
            held.notified().await;
        }
    }
}

/// Where copies are written: what comes of it is for the test to tell.
#[async_trait]
impl Copies for Ports {
    async fn create(&self, copier: &Copier, namespace: &str) -> Result<Made, Problem> {
        self.copy(format!("create {namespace}/{}", copier.copy_name), namespace).await;
        Ok(Made::Copy(copy_of(copier)))
    }

    async fn change(&self, copier: &Copier, namespace: &str) -> Result<Made, Problem> {
        self.copy(format!("change {namespace}/{}", copier.copy_name), namespace).await;
        Ok(Made::Copy(copy_of(copier)))
    }

    async fn delete(&self, _: &Copier, name: &Name, _: &str) -> Result<(), Problem> {
        self.copy(format!("delete {}/{}", name.0, name.1), &name.0).await;
        Ok(())
    }

    async fn free(&self, copier: &Copier, namespace: &str, _: &[String]) -> Result<(), Problem> {
        self.copy(format!("free {namespace} of {}", copier.id.name), namespace).await;
        Ok(())
    }

    async fn release(&self, copier: &Copier) -> Result<(), Problem> {
        self.copy(format!("release {}", copier.id.name), "").await;
        Ok(())
    }

    async fn status(&self, copier: &Copier, status: &CopierStatus) -> Result<(), Problem> {
        if let Some(problem) = self.unwritable() {
            return Err(problem);
        }
        let told = format!("{} is in {}", copier.id.name, status.provisioned_namespaces.join(" "));
        self.log(told.trim_end().to_owned(), "");
        Ok(())
    }

    fn note(&self, _: &Copier, note: Note) {
        self.noted(note.reason);
    }
}

/// The copy that this one makes, as it should be.
pub fn copy_of(copier: &Copier) -> Seen {
    let owner = Some(Owner { id: copier.id.clone(), uid: copier.uid().to_owned() });
    Seen { uid: "copy".to_owned(), version: "1".to_owned(), owner, print: copier.print, is_going: false }
}
