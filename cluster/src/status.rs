//! How a status is written: the answer is asked for as metadata only, since what an object holds besides may be a MiB, which
//! the API server would write and we would read for nothing.

use kube::Resource;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::core::{DynamicObject, PartialObjectMeta, Request};
use serde_json::Value;

/// Merges `patch` into the status of an object of this name (and checks what it gives of the metadata). The object's metadata
/// as they are then.
///
/// # Errors
/// What the API server, or the way to it, says.
pub async fn patch<K: Resource + Clone>(api: &Api<K>, name: &str, patch: &Value) -> kube::Result<ObjectMeta> {
    let object = Request::new(format!("{}/{name}", api.resource_url()));
    let request = object.patch_metadata("status", &PatchParams::default(), &Patch::Merge(patch));
    let request = request.map_err(kube::Error::BuildRequest)?;
    let answer: PartialObjectMeta<DynamicObject> = api.clone().into_client().request(request).await?;
    Ok(answer.metadata)
}
