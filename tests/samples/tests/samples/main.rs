//! The samples of `docs/stores` work as they stand there: a real API server takes each object, and each comes to the Secret
//! that its page promises. What is of the user's own in them (a server, what they log in with) is that of a counterpart here.
//!
//! Modules, in reading order: [`page`] what a page says, [`counterpart`] what stands for the user's store, [`doubles`] those
//! that are doubles of ours, [`servers`] those that are real, [`outcome`] what a sample comes to.

mod page;
mod counterpart;
mod doubles;
mod servers;
mod outcome;

use keyferry_behaviour_tests::cluster;
use kube::Api;
use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::core::DynamicObject;
use kube::discovery::pinned_kind;

use crate::page::Page;

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_takes_every_object_of_every_page() {
    let testbed = cluster::shared().await;
    let namespace = testbed.namespace("samples").await;
    let strict = PatchParams {
        dry_run: true,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("samples").force()
    };
    let mut refused = Vec::new();
    for page in Page::all() {
        for mut object in page.objects(&[]) {
            object["metadata"]["namespace"] = namespace.name().into();
            let object: DynamicObject = serde_json::from_value(object).expect("a Kubernetes object");
            let types = object.types.clone().expect("it has a kind");
            let kind = types.try_into().expect("it has a version");
            let (resource, _) = pinned_kind(&namespace.client(), &kind).await.expect("the API server knows the kind");
            let api: Api<DynamicObject> = Api::namespaced_with(namespace.client(), namespace.name(), &resource);
            let name = object.metadata.name.clone().expect("it has a name");
            if let Err(error) = api.patch(&name, &strict, &Patch::Apply(&object)).await {
                refused.push(format!("{}: {} {name}: {error}", page.file(), resource.kind));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_comes_to_its_secret() {
    let testbed = cluster::shared().await;
    let mut wrong = Vec::new();
    for page in Page::all() {
        let counterpart = counterpart::of(&page.store, testbed).await;
        let came = match counterpart.operator {
            false => outcome::rendered(&page, &counterpart).await,
            true => outcome::operated(&page, &counterpart, testbed).await,
        };
        if let Err(why) = came {
            wrong.push(format!("{}: {why}", page.file()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
