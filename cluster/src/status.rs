//! How a status is written: the answer is asked for as metadata only, since what an object holds besides may be a MiB, which
//! the API server would write and we would read for nothing. The API server itself writes the whole object, and tells everybody
//! who watches: those that are large go one after another.

use std::io::{self, Write};

use kube::Resource;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::core::{DynamicObject, PartialObjectMeta, Request};
use serde::Serialize;
use serde_json::Value;

use crate::client::{ApiProblem, Turns};

/// How long an object that is not large may be, as JSON, in bytes.
const LARGEST: usize = 64 << 10;

/// What of an object decides in whose turn its status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Whenever there is room for a request.
    Usual,
    /// One after another, with rests.
    Large,
}

impl Size {
    /// That of an object, or of what is large of it.
    pub fn of(object: &impl Serialize) -> Self {
        match serde_json::to_writer(Room(LARGEST), object) {
            Ok(()) => Self::Usual,
            Err(_) => Self::Large,
        }
    }
}

/// Merges `patch` into the status of an object of this name and size (and checks what it gives of the metadata) when it is its
/// turn. The object's metadata as they are then.
///
/// # Errors
/// What the API server, or the way to it, says; or that we do not lead any more.
pub async fn patch<K>(
    turns: &Turns,
    api: &Api<K>,
    name: &str,
    size: Size,
    patch: &Value,
) -> Result<ObjectMeta, ApiProblem>
where
    K: Resource + Clone,
{
    let write = async || merge(api, name, patch).await;
    match size {
        Size::Usual => turns.run(write).await,
        Size::Large => turns.write_large(write).await,
    }
}

async fn merge<K: Resource + Clone>(api: &Api<K>, name: &str, patch: &Value) -> kube::Result<ObjectMeta> {
    let object = Request::new(format!("{}/{name}", api.resource_url()));
    let request = object.patch_metadata("status", &PatchParams::default(), &Patch::Merge(patch));
    let request = request.map_err(kube::Error::BuildRequest)?;
    let answer: PartialObjectMeta<DynamicObject> = api.clone().into_client().request(request).await?;
    Ok(answer.metadata)
}

/// Takes so many bytes, keeps none of them, and refuses more.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_that_is_large() {
        let text = |length: usize| "x".repeat(length);
        assert_eq!(Size::of(&text(LARGEST - 2)), Size::Usual, "two are its quotes");
        assert_eq!(Size::of(&text(LARGEST - 1)), Size::Large);
        assert_eq!(Size::of(&vec![text(LARGEST / 4); 5]), Size::Large);
    }
}
