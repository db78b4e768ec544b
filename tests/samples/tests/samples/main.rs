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

use futures::future::join_all;
use keyferry_behaviour_tests::cluster;
use kube::api::PostParams;
use kube::core::{DynamicObject, Request, TypeMeta};
use kube::discovery::pinned_kind;
use kube::{Api, Client};
use serde_json::Value;

use crate::page::Page;

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_takes_every_object_of_every_page() {
    let testbed = cluster::shared().await;
    let namespace = testbed.namespace("samples").await;
    let mut refused = Vec::new();
    for page in Page::all() {
        for mut object in page.objects(&[]) {
            object["metadata"]["namespace"] = namespace.name().into();
            if let Err(error) = try_create(&namespace.client(), namespace.name(), &object).await {
                refused.push(format!("{}: {} {}: {error}", page.file(), object["kind"], object["metadata"]["name"]));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// Has an API server judge an object, unknown fields too, and keep nothing of it.
async fn try_create(client: &Client, namespace: &str, object: &Value) -> Result<(), kube::Error> {
    let types: TypeMeta = serde_json::from_value(object.clone()).expect("a Kubernetes object");
    let kind = types.try_into().expect("it has a version");
    let (resource, _) = pinned_kind(client, &kind).await.expect("the API server knows the kind");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let mut request =
        Request::new(api.resource_url()).create(&dry, object.to_string().into_bytes()).expect("a request");
    // Its apply takes unknown fields without a word.
    *request.uri_mut() = format!("{}&fieldValidation=Strict", request.uri()).parse().expect("a URI");
    client.request::<Value>(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_comes_to_its_secret() {
    let testbed = cluster::shared().await;
    // What is sealed is for one cluster: the operator's own test seals it.
    let pages = Page::all().into_iter().filter(|page| page.store != "sealed");
    let came = pages.map(async |page| {
        let counterpart = counterpart::of(&page.store, testbed).await;
        let came = if counterpart.operator {
            outcome::operated(&page, &counterpart, testbed).await
        } else {
            outcome::rendered(&page, &counterpart).await
        };
        came.err().map(|why| format!("{}: {why}", page.file()))
    });
    let wrong: Vec<String> = join_all(came).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
