//! Reads a snapshot of a cluster, as far as whoever asks may read it.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, PodSpec};
use keyferry_cluster::guarded::Guarded;
use keyferry_cluster::pages;
use keyferry_cluster::problem::{ApiProblem, timely};
use keyferry_cluster::shards;
use keyferry_crds::{ClusterSecretStore, ExternalSecret, PushSecret, SecretStore};
use keyferry_sync::store::Store;
use kube::api::{Api, ListParams, ObjectMeta};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::hint::did_you_mean;
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

    /// The metrics of the pod that holds the Lease, or of those that hold shards' Leases: what one does not look after, its
    /// metrics do not tell of.
    async fn of_operator(&self, client: &Client) -> Option<String> {
        let leases: Api<Lease> = Api::all(client.clone());
        let named = ListParams::default().fields(&format!("metadata.name={}", self.leader_election_id));
        let lease = timely(leases.list(&named)).await.ok()?.items.into_iter().next()?;
        let namespace = lease.namespace()?;
        let holder = lease.spec?.holder_identity?;
        let Some(count) = shards::count_of(&holder) else { return metrics_of(client, &namespace, &holder).await };
        let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
        let mut holders = BTreeSet::new();
        for shard in 0..count {
            let lease = timely(leases.get_opt(&shards::lease_of(&self.leader_election_id, shard))).await.ok()?;
            holders.extend(lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty()));
        }
        let mut texts = String::new();
        for holder in holders {
            texts.push_str(&metrics_of(client, &namespace, &holder).await?);
            texts.push('\n');
        }
        Some(texts)
    }
}

/// The metrics of the pod that holds a Lease.
async fn metrics_of(client: &Client, namespace: &str, holder: &str) -> Option<String> {
    let name = holder.rsplit_once('_').map_or(holder, |(name, _)| name);
    let pod = timely(Api::<Pod>::namespaced(client.clone(), namespace).get_opt(name)).await.ok()??;
    let ports = pod.spec?.containers.into_iter().flat_map(|container| container.ports.unwrap_or_default());
    let port = ports.into_iter().find(|port| port.name.as_deref() == Some("metrics"));
    let port = port.map_or(8080, |port| port.container_port);
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics");
    text(client, &path).await
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
    let of: Api<Guarded<ExternalSecret>> = scoped_guard(client, namespace);
    let all = &mut snapshot.external_secrets;
    let listed = pages::all(&of, ListParams::default(), |object| all.push(read(object))).await;
    listed.map_err(|problem| unlisted("ExternalSecrets", &problem))?;
    let of: Api<Guarded<PushSecret>> = scoped_guard(client, namespace);
    let (all, unread) = (&mut snapshot.push_secrets, &mut snapshot.unread);
    let listed = pages::all(&of, ListParams::default(), |object| all.push(read(object))).await;
    note(notes, unread, "PushSecrets", listed);
    let all = &mut snapshot.stores;
    let of: Api<Guarded<SecretStore>> = scoped_guard(client, namespace);
    let each = |object| all.push(Arc::new(read(object).map_or_else(|of| Store::undecodable(*of), Store::namespaced)));
    note(notes, unread, "SecretStores", pages::all(&of, ListParams::default(), each).await);
    let of: Api<Guarded<ClusterSecretStore>> = Api::all(client.clone());
    let each = |object| all.push(Arc::new(read(object).map_or_else(|of| Store::undecodable(*of), Store::cluster)));
    note(notes, unread, "ClusterSecretStores", pages::all(&of, ListParams::default(), each).await);
    Ok(snapshot)
}

/// The same, of objects that need not be of the form of their kind: see [`scoped`].
pub fn scoped_guard<K>(client: &Client, namespace: Option<&str>) -> Api<Guarded<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// An object, or its metadata where it is not of the form of its kind.
pub fn read<K: Resource<DynamicType = ()>>(guarded: Guarded<K>) -> Read<K> {
    guarded.0
}

fn note(
    notes: &mut Vec<String>,
    unread: &mut BTreeSet<&'static str>,
    kinds: &'static str,
    listed: Result<(), ApiProblem>,
) {
    if let Err(problem) = listed {
        notes.push(unlisted(kinds, &problem));
        unread.insert(kinds);
    }
}

/// Notes that there is no such namespace, where that is certain: what is in it is asked for in vain.
pub async fn note_absent(client: &Client, namespace: &str, notes: &mut Vec<String>) {
    if let Ok(None) = timely(Api::<Namespace>::all(client.clone()).get_opt(namespace)).await {
        let known = namespaces(client).await;
        let hint = did_you_mean(namespace, known.keys().map(String::as_str));
        notes.push(format!("there is no namespace {namespace:?}{hint}"));
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

/// Whether what controls an object is itself asked for pods: one of these kinds of a group of Kubernetes.
fn is_made_by(metadata: &ObjectMeta, group: &str, kinds: &[&str]) -> bool {
    let mut owners = metadata.owner_references.iter().flatten().filter(|owner| owner.controller == Some(true));
    owners.any(|owner| {
        let is_of_group = owner.api_version.split_once('/').is_some_and(|(of, _)| of == group);
        is_of_group && kinds.contains(&owner.kind.as_str())
    })
}

/// Whether one of these kinds was made by something that is listed itself: operators make pods, too.
pub fn is_made(kinds: &str, metadata: &ObjectMeta) -> bool {
    match kinds {
        "pods" => {
            is_made_by(metadata, "apps", &["ReplicaSet", "StatefulSet", "DaemonSet"])
                || is_made_by(metadata, "batch", &["Job"])
        }
        "replicasets" => is_made_by(metadata, "apps", &["Deployment"]),
        "jobs" => is_made_by(metadata, "batch", &["CronJob"]),
        _ => false,
    }
}

fn of_pod(of: Pod) -> Option<(&'static str, ObjectMeta, PodSpec)> {
    let is_made = is_made("pods", &of.metadata);
    Some(("Pod", of.metadata, of.spec.filter(|_| !is_made)?))
}

fn of_replica_set(of: ReplicaSet) -> Option<(&'static str, ObjectMeta, PodSpec)> {
    let is_made = is_made("replicasets", &of.metadata);
    Some(("ReplicaSet", of.metadata, of.spec.template.filter(|_| !is_made)?.spec?))
}

fn of_job(of: Job) -> Option<(&'static str, ObjectMeta, PodSpec)> {
    let is_made = is_made("jobs", &of.metadata);
    Some(("Job", of.metadata, of.spec.filter(|_| !is_made)?.template.spec?))
}

/// Who uses Secrets in a namespace, or in all: what makes pods, and pods that nothing of these made; and the kinds that could not be
/// read.
pub async fn users(
    client: &Client,
    namespace: Option<&str>,
    notes: &mut Vec<String>,
) -> (Vec<User>, BTreeSet<&'static str>) {
    let mut found = Found { client, namespace, users: Vec::new(), unread: BTreeSet::new(), notes };
    found.of_kind("pods", of_pod).await;
    found.of_kind("deployments", |of: Deployment| Some(("Deployment", of.metadata, of.spec.template.spec?))).await;
    found.of_kind("replicasets", of_replica_set).await;
    found.of_kind("statefulsets", |of: StatefulSet| Some(("StatefulSet", of.metadata, of.spec.template.spec?))).await;
    found.of_kind("daemonsets", |of: DaemonSet| Some(("DaemonSet", of.metadata, of.spec.template.spec?))).await;
    found
        .of_kind("cronjobs", |of: CronJob| Some(("CronJob", of.metadata, of.spec.job_template.spec?.template.spec?)))
        .await;
    found.of_kind("jobs", of_job).await;
    (found.users, found.unread)
}

/// Who was found as yet.
struct Found<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    users: Vec<User>,
    unread: BTreeSet<&'static str>,
    notes: &'a mut Vec<String>,
}

impl Found<'_> {
    async fn of_kind<K>(
        &mut self,
        kinds: &'static str,
        pods_of: impl Fn(K) -> Option<(&'static str, ObjectMeta, PodSpec)>,
    ) where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let each = |object| {
            let user = pods_of(object).map(|(kind, metadata, spec)| {
                let namespace = metadata.namespace.as_deref().unwrap_or_default();
                User::new(kind, namespace, metadata.name.as_deref().unwrap_or_default(), &spec)
            });
            self.users.extend(user.filter(User::is_one));
        };
        let listed = pages::all(&scoped::<K>(self.client, self.namespace), ListParams::default(), each).await;
        note(self.notes, &mut self.unread, kinds, listed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::metrics::TRIES;

    fn object<K: DeserializeOwned>(owner: &Value, spec: &Value) -> K {
        let metadata = json!({"name": "o", "namespace": "ns", "ownerReferences": owner});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn owner(api_version: &str, kind: &str, is_controller: bool) -> Value {
        json!([{"apiVersion": api_version, "kind": kind, "name": "p", "uid": "u", "controller": is_controller}])
    }

    /// What an API server has of an operator of two shards, one of which a pod holds, and the other another.
    async fn serve(request: axum::extract::Request) -> String {
        let lease =
            |holder: &str| json!({"metadata": {"name": "l", "namespace": "ns"}, "spec": {"holderIdentity": holder}});
        let path = request.uri().path().to_owned();
        let end = path.rsplit_once("/ns/").map_or(path.as_str(), |(_, end)| end);
        let metrics = |name: &str| format!("keyferry_queue_length 1\n{TRIES}{{name=\"{name}\",namespace=\"n\"}} 3\n");
        match end {
            "leases/external-secrets-controller-shard-0" => lease("first_0123").to_string(),
            "leases/external-secrets-controller-shard-1" => lease("second_4567").to_string(),
            "pods/first" | "pods/second" => json!({"metadata": {"name": "p"}, "spec": {"containers": []}}).to_string(),
            "pods/first:8080/proxy/metrics" => metrics("a"),
            "pods/second:8080/proxy/metrics" => metrics("b"),
            _ => json!({"metadata": {}, "items": [lease("2-shards")]}).to_string(),
        }
    }

    #[tokio::test]
    async fn the_metrics_of_all_who_hold_shards_are_read() {
        let client = Client::new(axum::Router::new().fallback(serve), "ns");
        let from =
            MetricsFrom { leader_election_id: "external-secrets-controller".to_owned(), ..MetricsFrom::default() };
        let mut notes = Vec::new();
        let tries = from.tries(&client, &mut notes).await.unwrap().expect("they are read");
        for name in ["a", "b"] {
            assert_eq!(tries.failed(&("n".to_owned(), name.to_owned())), Some(3), "{name}");
        }
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn only_what_is_told_of_by_its_maker_is_passed_over() {
        let pod = json!({"containers": []});
        let template = json!({"selector": {}, "template": {"spec": pod}});
        let none = json!([]);
        for (of, is_told) in [
            (&none, true),
            (&owner("apps/v1", "ReplicaSet", true), false),
            (&owner("apps/v1", "StatefulSet", true), false),
            (&owner("apps/v1", "DaemonSet", true), false),
            (&owner("batch/v1", "Job", true), false),
            (&owner("apps/v1", "ReplicaSet", false), true),
            (&owner("postgresql.cnpg.io/v1", "Cluster", true), true),
            (&owner("batch.volcano.sh/v1alpha1", "Job", true), true),
            (&owner("v1", "ReplicationController", true), true),
        ] {
            assert_eq!(of_pod(object(of, &pod)).is_some(), is_told, "a pod of {of}");
        }
        for (of, is_told) in [
            (&none, true),
            (&owner("batch/v1", "CronJob", true), false),
            (&owner("argoproj.io/v1alpha1", "Workflow", true), true),
        ] {
            assert_eq!(of_job(object(of, &template)).is_some(), is_told, "a Job of {of}");
        }
        for (of, is_told) in [
            (&none, true),
            (&owner("apps/v1", "Deployment", true), false),
            (&owner("argoproj.io/v1alpha1", "Rollout", true), true),
        ] {
            assert_eq!(of_replica_set(object(of, &template)).is_some(), is_told, "a ReplicaSet of {of}");
        }
    }
}
