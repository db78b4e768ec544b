//! A Kubernetes namespace for one test.

use std::fmt::Debug;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Namespace as Object;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::testbed::Testbed;

/// A namespace that is deleted when this is dropped. Nobody waits for the deletion.
pub struct Namespace {
    name: String,
    client: Client,
    testbed: Testbed,
}

impl Namespace {
    pub(crate) async fn create(testbed: &Testbed, name: String) -> Result<Self> {
        let client = testbed.kube_client().await;
        let object =
            Object { metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() }, ..Object::default() };
        Api::<Object>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("cannot create the namespace {name}"))?;
        Ok(Self { name, client, testbed: testbed.clone() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The testbed that it is in.
    pub fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// A client of a cluster admin.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The objects of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        Api::namespaced(self.client(), &self.name)
    }
}

impl Drop for Namespace {
    /// The test's runtime is busy with the test itself, or gone: a thread of its own asks.
    fn drop(&mut self) {
        let delete = async {
            let client = self.testbed.kube_client().await;
            let namespaces = Api::<Object>::all(client);
            namespaces.delete(&self.name, &DeleteParams::default()).await
        };
        std::thread::scope(|scope| {
            // It fails only when the API server is gone, and the namespace with it.
            let asked = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map(|runtime| runtime.block_on(delete).is_ok())
            });
            let _ = asked.join();
        });
    }
}
