//! Stores the objects of a CRD anew at its version of storage.
//!
//! Each is written back as it was read. The API server sees that nothing changed, so generation, managed fields and all
//! that watches them stay; but it stores what is stored in another version anew, at once and in no other way.

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_cluster::pages::some;
use keyferry_cluster::problem::{ApiProblem, patiently, timely};
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::json;

use crate::facts::{Crd, Sample};
use crate::read::resource;

/// How many are written at once.
const AT_ONCE: usize = 8;

/// How often one is read and written again while others change it.
const TRIES: usize = 5;

/// How it ended for one object.
enum Written {
    Yes,
    /// The API server finds it invalid, refuses it, or can't take it now.
    No(String, ApiProblem),
}

/// Rewrites all, then takes the other versions off the CRD's list; not before each was written.
pub async fn all(client: &Client, crd: &Crd, version: &str, progress: &mut dyn FnMut(String)) -> Result<(), String> {
    let said = |problem: ApiProblem| problem.for_person();
    let list: Api<DynamicObject> = Api::all_with(client.clone(), &resource(crd, version));
    let every = ListParams::default();
    let (mut from, mut count) = (None, 0);
    let (mut refused, mut why) = (Sample::default(), None);
    loop {
        let (objects, token) = patiently(|| some(&list, &every, from.as_deref())).await.map_err(said)?;
        count += objects.len();
        let writes = objects.into_iter().map(|object| write(client, crd, version, object));
        let mut written = futures::stream::iter(writes).buffer_unordered(AT_ONCE);
        while let Some(result) = written.next().await {
            match result {
                Written::Yes => {}
                // It is not about the object, and will not be better for the next.
                Written::No(_, problem) if problem.is_temporary() => return Err(said(problem)),
                Written::No(name, problem) => {
                    refused.add(|| name);
                    why.get_or_insert(problem);
                }
            }
        }
        progress(format!("{}: {count} objects", crd.name));
        match token {
            Some(token) => from = Some(token),
            None => break,
        }
    }
    if let Some(why) = why {
        let more = refused.count - refused.names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(format!(
            "the list of stored versions stays as it is, since {}{more} could not be stored anew: {why}",
            refused.names.join(", ")
        ));
    }
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let now = timely(api.get(&crd.name)).await.map_err(said)?;
    let storage = now.spec.versions.iter().find(|known| known.storage).map(|known| known.name.as_str());
    if storage != Some(version) {
        return Err("its version of storage was changed meanwhile: run this again".to_owned());
    }
    // With the version that was read: the API server adds to the list when the version of storage changes.
    let patch = json!({
        "metadata": {"resourceVersion": now.metadata.resource_version},
        "status": {"storedVersions": [version]},
    });
    timely(api.patch_status(&crd.name, &PatchParams::default(), &Patch::Merge(patch))).await.map(drop).map_err(said)
}

async fn write(client: &Client, crd: &Crd, version: &str, mut object: DynamicObject) -> Written {
    let name = object.metadata.name.clone().unwrap_or_default();
    let namespace = object.metadata.namespace.clone();
    let full_name = namespace.iter().chain([&name]).cloned().collect::<Vec<_>>().join("/");
    let resource = resource(crd, version);
    let api: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let params = PostParams::default();
    let mut last = ApiProblem::conflict();
    for _ in 0..TRIES {
        match patiently(|| timely(api.replace(&name, &params, &object))).await {
            Ok(_) => return Written::Yes,
            // What is gone needs no version.
            Err(problem) if problem.is_not_found() => return Written::Yes,
            Err(problem) if problem.is_conflict() => last = problem,
            Err(problem) => return Written::No(full_name, problem),
        }
        object = match patiently(|| timely(api.get_opt(&name))).await {
            Ok(Some(object)) => object,
            Ok(None) => return Written::Yes,
            Err(problem) => return Written::No(full_name, problem),
        };
    }
    Written::No(full_name, last)
}
