//! Reads a snapshot of a cluster, as far as whoever asks may read it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, PodSpec};
use keyferry_cluster::pages;
use keyferry_cluster::problem::{ApiProblem, timely};
use keyferry_crds::{ClusterSecretStore, ExternalSecret, PushSecret, SecretStore};
use keyferry_sync::store::Store;
use kube::api::{Api, ListParams, ObjectMeta};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::report::snapshot::{Read, Snapshot};
use crate::report::tries::Tries;
use crate::report::users::User;

/// Where the operator's metrics are read, which alone know tries and next tries.
#[derive(Args, Clone, Debug, Default)]
pub struct MetricsFrom {
    /// A file with the text of the operator's /metrics, or - for standard input; without it the operator's pod is asked, through the API server
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
    /// Ask for the operator's metrics at this URL
    #[arg(long, value_name = "URL", conflicts_with = "metrics")]
    pub metrics_url: Option<String>,
    /// Name of the operator's Lease, by which its pod is found
    #[arg(long, default_value = "external-secrets-controller", value_name = "NAME")]
    pub leader_election_id: String,
}

/// How many bytes of metrics are read of a file.
const MOST: u64 = 256 << 20;

impl MetricsFrom {
    /// What they tell; `None`, with a note for a person, where nobody could be asked.
    pub async fn tries(&self, client: &Client, notes: &mut Vec<String>) -> Result<Option<Tries>, String> {
        if let Some(file) = &self.metrics {
            let mut text = String::new();
            let read = if file.as_os_str() == "-" {
                std::io::stdin().take(MOST).read_to_string(&mut text)
            } else {
                std::fs::File::open(file).and_then(|opened| opened.take(MOST).read_to_string(&mut text))
            };
            read.map_err(|error| format!("can't read the metrics of {}: {}", file.display(), error.kind()))?;
            let tries = Tries::of(&text);
            return tries.map(Some).ok_or_else(|| format!("{} does not hold the metrics of keyferry", file.display()));
        }
        if let Some(url) = &self.metrics_url {
            let text = of_url(url).await.ok_or_else(|| format!("can't read the metrics at {url}"))?;
            return Tries::of(&text).map(Some).ok_or_else(|| format!("{url} does not have the metrics of keyferry"));
        }
        let tries = self.of_operator(client).await.as_deref().and_then(Tries::of);
        if tries.is_none() {
            notes.push(
                "tries and next tries stand in the operator's metrics, which could not be read: that takes `get` of its Lease and of \
                 pods/proxy, or --metrics-url"
                    .to_owned(),
            );
        }
        Ok(tries)
    }

    /// The metrics of the pod that holds the Lease.
    async fn of_operator(&self, client: &Client) -> Option<String> {
        let leases: Api<Lease> = Api::all(client.clone());
        let named = ListParams::default().fields(&format!("metadata.name={}", self.leader_election_id));
        let lease = timely(leases.list(&named)).await.ok()?.items.into_iter().next()?;
        let namespace = lease.namespace()?;
        let holder = lease.spec?.holder_identity?;
        let name = holder.rsplit_once('_').map_or(holder.as_str(), |(name, _)| name);
        let pod = timely(Api::<Pod>::namespaced(client.clone(), &namespace).get_opt(name)).await.ok()??;
        let ports = pod.spec?.containers.into_iter().flat_map(|container| container.ports.unwrap_or_default());
        let port = ports.into_iter().find(|port| port.name.as_deref() == Some("metrics"));
        let port = port.map_or(8080, |port| port.container_port);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics");
        text(client, &path).await
    }
}

/// What is at a path of an API server.
pub async fn text(client: &Client, path: &str) -> Option<String> {
    let request = hyper::Request::get(path).body(Vec::new()).ok()?;
    timely(client.request_text(request)).await.ok()
}

async fn of_url(url: &str) -> Option<String> {
    let uri: hyper::Uri = url.parse().ok()?;
    let path = uri.path_and_query().map_or("/metrics", |path| path.as_str()).to_owned();
    // What a client asks for stands behind the path of its server.
    let server = format!("{}://{}", uri.scheme_str()?, uri.authority()?).parse().ok()?;
    let client = Client::try_from(kube::Config::new(server)).ok()?;
    text(&client, if path == "/" { "/metrics" } else { &path }).await
}

/// A listing that is for some namespace, or for all.
pub fn scoped<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(
    client: &Client,
    namespace: Option<&str>,
) -> Api<K> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// What could not be listed, for a person.
pub fn unlisted(kinds: &str, problem: &ApiProblem) -> String {
    if problem.is_not_found() {
        format!("this cluster has no {kinds}: `keyferry crds | kubectl apply -f -` installs the kinds")
    } else {
        format!("can't list the {kinds}: {}", problem.for_person())
    }
}

/// The ExternalSecrets, PushSecrets and stores of a namespace, or of all. What may not be listed is noted, but for
/// ExternalSecrets, without which there is nothing to tell.
pub async fn snapshot(client: &Client, namespace: Option<&str>, notes: &mut Vec<String>) -> Result<Snapshot, String> {
    let mut snapshot = Snapshot::default();
    let of: Api<DeserializeGuard<ExternalSecret>> = scoped_guard(client, namespace);
    let all = &mut snapshot.external_secrets;
    let listed = pages::all(&of, ListParams::default(), |object| all.push(read(object))).await;
    listed.map_err(|problem| unlisted("ExternalSecrets", &problem))?;
    let of: Api<DeserializeGuard<PushSecret>> = scoped_guard(client, namespace);
    let all = &mut snapshot.push_secrets;
    note(notes, "PushSecrets", pages::all(&of, ListParams::default(), |object| all.push(read(object))).await);
    let all = &mut snapshot.stores;
    let of: Api<DeserializeGuard<SecretStore>> = scoped_guard(client, namespace);
    let each = |object| all.push(Arc::new(read(object).map_or_else(|of| Store::undecodable(*of), Store::namespaced)));
    note(notes, "SecretStores", pages::all(&of, ListParams::default(), each).await);
    let of: Api<DeserializeGuard<ClusterSecretStore>> = Api::all(client.clone());
    let each = |object| all.push(Arc::new(read(object).map_or_else(|of| Store::undecodable(*of), Store::cluster)));
    note(notes, "ClusterSecretStores", pages::all(&of, ListParams::default(), each).await);
    Ok(snapshot)
}

fn scoped_guard<K>(client: &Client, namespace: Option<&str>) -> Api<DeserializeGuard<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// An object, or its metadata where it is not of the form of its kind.
pub fn read<K: Resource<DynamicType = ()>>(guarded: DeserializeGuard<K>) -> Read<K> {
    guarded.0.map_err(|invalid| Box::new(invalid.metadata))
}

fn note(notes: &mut Vec<String>, kinds: &str, listed: Result<(), ApiProblem>) {
    if let Err(problem) = listed {
        notes.push(unlisted(kinds, &problem));
    }
}

/// The labels of namespaces; none where they may not be read.
pub async fn namespaces(client: &Client) -> HashMap<String, keyferry_sync::data::StringMap> {
    let mut all = HashMap::new();
    let of: Api<Namespace> = Api::all(client.clone());
    let each = |namespace: Namespace| {
        let (name, labels) = (namespace.name_any(), namespace.metadata.labels.unwrap_or_default());
        all.insert(name, labels);
    };
    let _ = pages::all(&of, ListParams::default(), each).await;
    all
}

/// Who uses Secrets in a namespace, or in all: what makes pods, and pods that nothing made.
pub async fn users(client: &Client, namespace: Option<&str>, notes: &mut Vec<String>) -> Vec<User> {
    let mut all = Vec::new();
    of_kind(client, namespace, "pods", &mut all, notes, |pod: Pod| {
        let is_own = pod.metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
        Some(("Pod", pod.metadata, pod.spec.filter(|_| is_own)?))
    })
    .await;
    of_kind(client, namespace, "deployments", &mut all, notes, |of: Deployment| {
        Some(("Deployment", of.metadata, of.spec.template.spec?))
    })
    .await;
    of_kind(client, namespace, "statefulsets", &mut all, notes, |of: StatefulSet| {
        Some(("StatefulSet", of.metadata, of.spec.template.spec?))
    })
    .await;
    of_kind(client, namespace, "daemonsets", &mut all, notes, |of: DaemonSet| {
        Some(("DaemonSet", of.metadata, of.spec.template.spec?))
    })
    .await;
    of_kind(client, namespace, "cronjobs", &mut all, notes, |of: CronJob| {
        Some(("CronJob", of.metadata, of.spec.job_template.spec?.template.spec?))
    })
    .await;
    of_kind(client, namespace, "jobs", &mut all, notes, |of: Job| {
        let is_own = of.metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
        Some(("Job", of.metadata, of.spec.filter(|_| is_own)?.template.spec?))
    })
    .await;
    all
}

async fn of_kind<K>(
    client: &Client,
    namespace: Option<&str>,
    kinds: &str,
    all: &mut Vec<User>,
    notes: &mut Vec<String>,
    pods_of: impl Fn(K) -> Option<(&'static str, ObjectMeta, PodSpec)>,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let each = |object| {
        let user = pods_of(object).map(|(kind, metadata, spec)| {
            User::new(
                kind,
                metadata.namespace.as_deref().unwrap_or_default(),
                metadata.name.as_deref().unwrap_or_default(),
                &spec,
            )
        });
        all.extend(user.filter(|user| !user.secrets.is_empty()));
    };
    note(notes, kinds, pages::all(&scoped::<K>(client, namespace), ListParams::default(), each).await);
}
