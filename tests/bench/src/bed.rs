//! The control plane of a run: private, so that nobody else's requests are counted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use keyferry_testkit::Testbed;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// How many connections objects are made over.
pub const CONNECTIONS: usize = 32;

/// A control plane with our CustomResourceDefinitions.
pub struct Bed {
    testbed: Testbed,
    clients: Vec<Client>,
}

impl Bed {
    /// Starts one; it ends when the last handle of its testbed goes.
    pub async fn start() -> Result<Self> {
        // From the start: the garbage collector takes half a minute to notice kinds that come later.
        let files = crds()?;
        let args: Vec<String> = files.iter().map(|file| format!("--manifest={}", file.display())).collect();
        let start = move || Testbed::private(&args.iter().map(String::as_str).collect::<Vec<_>>());
        Self::on(tokio::task::spawn_blocking(start).await??).await
    }

    /// Takes a testbed that has the CustomResourceDefinitions.
    pub async fn on(testbed: Testbed) -> Result<Self> {
        // A client has one connection that its requests share; these have one each.
        let clients = futures::future::join_all((0..CONNECTIONS).map(|_| testbed.kube_client())).await;
        Ok(Self { testbed, clients })
    }

    /// The testbed underneath.
    pub fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// A client of a cluster admin.
    pub fn client(&self) -> Client {
        self.clients[0].clone()
    }

    /// The objects of a kind, in a namespace where it has one.
    pub fn api(&self, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        api(self.client(), kind, namespace)
    }

    /// Creates objects over all connections.
    pub async fn create(&self, objects: &[Value]) -> Result<()> {
        self.each(objects, async |client, object| create(client, object).await).await
    }

    /// Does something with each item, over all connections at once: each has one request under way.
    pub async fn each<'a, T: Sync>(
        &'a self,
        items: &'a [T],
        act: impl AsyncFn(Client, &'a T) -> Result<()>,
    ) -> Result<()> {
        let act = &act;
        let lanes = self.clients.iter().enumerate().map(|(lane, client)| async move {
            for item in items.iter().skip(lane).step_by(self.clients.len()) {
                act(client.clone(), item).await?;
            }
            anyhow::Ok(())
        });
        stream::iter(lanes).buffer_unordered(CONNECTIONS).try_collect::<Vec<()>>().await.map(drop)
    }

    /// Creates a namespace, and waits for its ServiceAccount: what its birth costs is not to be counted later.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        create(self.client(), &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await?;
        let accounts = self.api("ServiceAccount", Some(name));
        for _ in 0..2400 {
            if accounts.get_opt("default").await?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(anyhow!("{name} has no ServiceAccount yet"))
    }

    /// Deletes all objects of these kinds in a namespace, and waits until they are gone.
    pub async fn clear(&self, namespace: &str, kinds: &[&str]) -> Result<()> {
        for kind in kinds {
            let objects = self.api(kind, Some(namespace));
            objects.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
            let one = ListParams::default().limit(1);
            while !objects.list(&one).await?.items.is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }
}

/// Creates an object.
pub async fn create(client: Client, object: &Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let objects = api(client, &kind, object.metadata.namespace.as_deref());
    objects.create(&PostParams::default(), &object).await.with_context(|| format!("cannot create {kind} {name}"))?;
    Ok(())
}

/// The objects of a kind that runs use.
pub fn api(client: Client, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let (group, version) = match kind {
        "ExternalSecret" | "SecretStore" | "ClusterSecretStore" | "ClusterExternalSecret" => {
            ("external-secrets.io", "v1")
        }
        "Lease" => ("coordination.k8s.io", "v1"),
        _ => ("", "v1"),
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    }
}

/// The CustomResourceDefinitions as they are committed.
fn crds() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/yaml");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}
