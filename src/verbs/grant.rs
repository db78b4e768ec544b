//! `keyferry grant`: who may mount an ExternalSecret.

use std::io::Write;

use clap::Args;
use keyferry_cluster::client::timely;
use keyferry_cluster::connection::Connection;
use keyferry_crds::{ClusterSecretStore, ExternalSecret, SecretStore};
use keyferry_node::grant::{generator_resource, generators, objects, rules};
use keyferry_provider_core::names::is_name;
use keyferry_sync::request::used_stores;
use keyferry_sync::spec::CLUSTER_GENERATOR;
use keyferry_sync::store::Store;
use kube::Api;
use kube::core::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Flags of `keyferry grant`.
#[derive(Args, Debug)]
pub struct Grant {
    /// The ExternalSecret
    pub name: String,
    /// The ServiceAccount that its pods run as, in the same namespace
    #[arg(long, value_name = "SERVICEACCOUNT")]
    pub to: String,
    /// The namespace
    #[arg(long, short, default_value = "default", value_name = "NAMESPACE")]
    pub namespace: String,
    /// The cluster.
    #[command(flatten)]
    pub connection: Connection,
}

impl Grant {
    /// Prints the objects; the error is for a person.
    pub async fn run(&self, out: &mut dyn Write) -> Result<(), String> {
        if !is_name(&self.to) {
            return Err(format!("--to {:?} is no name of a ServiceAccount", self.to));
        }
        let client = self.connection.client().await?;
        let of_namespace = Api::<ExternalSecret>::namespaced(client.clone(), &self.namespace);
        let what = format!("ExternalSecret {:?} in namespace {:?}", self.name, self.namespace);
        let es = get(of_namespace, &self.name, &what).await?;
        let mut stores = Vec::new();
        for id in used_stores(&es) {
            let what = id.to_string();
            stores.push(match &id.namespace {
                Some(of) => {
                    let found: SecretStore = get(Api::namespaced(client.clone(), of), &id.name, &what).await?;
                    Store::namespaced(found)
                }
                None => Store::cluster(get::<ClusterSecretStore>(Api::all(client.clone()), &id.name, &what).await?),
            });
        }
        let made_by = self.generators(&client, &es).await?;
        let rules = rules(&es, &stores, &made_by, &self.to);
        for object in objects(&self.namespace, &self.name, &self.to, &rules) {
            let written = writeln!(out, "---").and_then(|()| keyferry_crds::write_document(out, &object));
            written.map_err(|_| "can't write what is to be applied".to_owned())?;
        }
        Ok(())
    }

    /// Kinds, names and specs of the generators that it names.
    async fn generators(
        &self,
        client: &kube::Client,
        es: &ExternalSecret,
    ) -> Result<Vec<(String, String, Value)>, String> {
        let mut all = Vec::new();
        for generator in generators(es) {
            let (kind, name) = (&generator.kind, &generator.name);
            let resource = generator_resource(kind);
            let api: Api<DynamicObject> = if kind == CLUSTER_GENERATOR {
                Api::all_with(client.clone(), &resource)
            } else {
                Api::namespaced_with(client.clone(), &self.namespace, &resource)
            };
            let found = timely(api.get_opt(name)).await;
            let found = found
                .map_err(|problem| format!("generator {kind} {name:?} can't be read: {}", problem.for_person()))?;
            // Of one that is not there, or of a kind that can't be, no more than its name is known.
            let spec = found.and_then(|object| object.data.get("spec").cloned()).unwrap_or_default();
            all.push((kind.clone(), name.clone(), spec));
        }
        Ok(all)
    }
}

async fn get<K>(api: Api<K>, name: &str, what: &str) -> Result<K, String>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    match timely(api.get_opt(name)).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(format!("{what} does not exist")),
        Err(problem) => Err(format!("{what} can't be read: {}", problem.for_person())),
    }
}
