//! SealedSecrets, unsealed to Secrets by the pipeline of ExternalSecrets: each stands there as the ExternalSecret that it comes to, whose
//! store holds it alone. Of one that nobody looks at only metadata is kept: it may be large.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use keyferry_cluster::sealed_secrets::{SealedSecret, SealedSecrets as Cluster};
use keyferry_crds::{ExternalSecret, SecretStore, names};
use keyferry_sync::dependency::Name;
use keyferry_sync::look::{Look, Looked};
use keyferry_sync::outcome::{Failure, Headline, Outcome, Retry};
use keyferry_sync::ports::{Clients, Planning, Ports};
use keyferry_sync::record;
use keyferry_sync::settings::Settings;
use keyferry_sync::store::{KnownStores, Readiness, Store};
use keyferry_sync::time::later;
use keyferry_sync::told::Told;
use kube::api::ObjectMeta;
use kube::core::ApiResource;
use serde_json::{Value, json};

use super::change::Target;
use super::external_secret::{ExternalSecrets, Sync};
use super::index::{Role, SubjectKind};
use super::queue::Urgency;
use super::rotated::Teller;
use super::sight::Sighting;
use super::subject::{Next, Shared, Subject};
use crate::metrics::Metrics;

/// Annotations that say for whom one is sealed.
const SCOPES: [&str; 2] = ["sealedsecrets.bitnami.com/namespace-wide", "sealedsecrets.bitnami.com/cluster-wide"];

/// By this annotation of the template the Secret outlives the SealedSecret.
const NO_OWNER: &str = "sealedsecrets.bitnami.com/skip-set-owner-references";

/// When one that could not be read is looked at again.
const READ_RETRY: Duration = Duration::from_secs(30);

/// All SealedSecrets.
pub struct SealedSecrets(ExternalSecrets);

impl SealedSecrets {
    /// None yet. `sync` carries out looks; `restarts` is told of Secrets that changed.
    pub fn new(sync: Sync, restarts: Option<Teller>) -> Self {
        Self(ExternalSecrets::of_kind(SubjectKind::SealedSecret, sync, restarts))
    }
}

/// What looks at SealedSecrets work with.
pub struct Unsealing {
    /// The ports; the stores among them are those that SealedSecrets come to, and no others.
    pub ports: Ports,
    /// The clients of these.
    pub clients: Arc<dyn Clients>,
    /// The API server.
    pub cluster: Cluster,
    /// Settings.
    pub settings: Arc<Settings>,
}

/// A look at one: reads it, and has the pipeline do what it comes to.
pub async fn run(world: &Unsealing, look: Look, planning: Planning) -> Looked {
    let Unsealing { ports, clients, cluster, settings } = world;
    let sealed = match cluster.read(&look.es).await {
        Ok(Some(sealed)) => sealed,
        Ok(None) => return Looked { outcome: Outcome::Ignored, memory: look.memory, status: None, next: None },
        Err(problem) => {
            return failed(world, look, format!("can't read the SealedSecret: {problem}"), Retry::Soon).await;
        }
    };
    let Some((mut es, store)) = comes_to(&sealed) else {
        let why = "it is not of the form of a SealedSecret: check spec.encryptedData and spec.template".to_owned();
        // It is what was read, maybe of a later generation than the watch told of, that the status is about.
        let es = ExternalSecret { status: look.es.status.clone(), ..known(sealed.metadata) };
        return failed(world, Look { es: Arc::new(es), ..look }, why, Retry::OnChange).await;
    };
    es.status.clone_from(&look.es.status);
    let id = store.id.clone();
    let stores = KnownStores::from([(id.clone(), (Arc::new(store), Readiness::Ready))]);
    let look = Look { es: Arc::new(es), stores, ..look };
    let looked = keyferry_sync::run(ports, cluster, settings, Box::new(look), planning).await;
    // What it holds is not kept: it is looked at again when it changes.
    clients.keep(&|known| *known != id);
    looked
}

/// Tells why there is nothing to do anything with.
async fn failed(Unsealing { ports, settings, .. }: &Unsealing, look: Look, why: String, retry: Retry) -> Looked {
    let now = (settings.now)();
    let is_final = retry == Retry::OnChange;
    let failure = Failure::new(Headline::Fetch, Told::without_values(why), retry);
    let (namespace, name) = (look.es.metadata.namespace.as_deref(), look.es.metadata.name.as_deref());
    tracing::warn!(namespace, name, "{failure}");
    let outcome = Outcome::Failed(failure);
    let (mut status, mut is_told) = (None, true);
    if let Some(new) = record::status(&look.es, &outcome, "", now, None) {
        match ports.journal.status(&look.es, &new).await {
            Ok(version) => status = Some((new, version)),
            Err(problem) => {
                tracing::warn!(namespace, name, %problem, "could not write the status");
                is_told = false;
            }
        }
    }
    for note in record::notes(&look.es, &outcome) {
        ports.journal.note(&look.es, note);
    }
    let next = if is_final && is_told { None } else { Some(later(now, READ_RETRY)) };
    Looked { outcome, memory: look.memory, status, next }
}

/// What is kept of one.
fn known(metadata: ObjectMeta) -> ExternalSecret {
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.retain(|name, _| SCOPES.contains(&name.as_str()) || name == names::ANNOTATION_RESTART);
    let metadata = ObjectMeta {
        annotations: Some(annotations).filter(|all| !all.is_empty()),
        labels: None,
        managed_fields: None,
        owner_references: None,
        ..metadata
    };
    ExternalSecret { metadata, ..ExternalSecret::default() }
}

/// The ExternalSecret that it comes to, and the store that this asks; `None` where it is not of its form.
fn comes_to(sealed: &SealedSecret) -> Option<(ExternalSecret, Store)> {
    let read = keyferry_sealing::SealedSecret::new(&json!({"spec": sealed.spec})).ok()?;
    let es = known(sealed.metadata.clone());
    let name = es.metadata.name.clone()?;
    // Others of this name are in another pool.
    let store_name = name.clone();
    let template = read.spec.template.unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let plain = |all: Option<BTreeMap<String, String>>| -> BTreeMap<String, String> {
        all.unwrap_or_default().into_iter().map(|(name, text)| (name, text.replace("{{", "{{ \"{{\" }}"))).collect()
    };
    let owns = metadata.annotations.as_ref().and_then(|all| all.get(NO_OWNER)).is_none_or(|value| value != "true");
    let spec = json!({
        "refreshPolicy": "OnChange",
        "secretStoreRef": {"name": store_name, "kind": "SecretStore"},
        "target": {
            "creationPolicy": if owns { "Owner" } else { "Orphan" },
            "immutable": template.immutable.unwrap_or_default(),
            "template": {
                "type": template.kind,
                "mergePolicy": "Merge",
                "metadata": {"labels": plain(metadata.labels), "annotations": plain(metadata.annotations)},
                "data": template.data,
            },
        },
        "dataFrom": [{"extract": {"key": name}}],
    });
    let spec = serde_json::from_value(spec).ok()?;
    let document = json!({
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": {"name": name, "annotations": es.metadata.annotations},
        "spec": {"encryptedData": sealed.spec.get("encryptedData"), "data": sealed.spec.get("data")},
    });
    let provider = json!({"sealedsecrets": {"documents": [{"inline": document.to_string()}]}});
    let store: SecretStore = serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStore",
        "metadata": {
            "name": store_name,
            "namespace": es.metadata.namespace,
            "uid": es.metadata.uid,
            "generation": state(&document),
        },
        "spec": {"provider": provider},
    }))
    .ok()?;
    Some((ExternalSecret { spec, ..es }, Store::namespaced(store)))
}

/// A number that another document does not have: annotations move no generation.
fn state(document: &Value) -> i64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    document.to_string().hash(&mut hasher);
    i64::try_from(hasher.finish() >> 1).unwrap_or_default()
}

impl Subject for SealedSecrets {
    type Object = ObjectMeta;
    type Looked = (Arc<ExternalSecret>, Looked);

    fn names(&self) -> Vec<Name> {
        self.0.names()
    }

    fn concerned_by(&self, _: &str) -> Vec<Name> {
        Vec::new()
    }

    fn put(&mut self, name: &Name, metadata: ObjectMeta, shared: &mut Shared) {
        self.0.put(name, known(metadata), shared);
    }

    fn remove(&mut self, name: &Name, shared: &mut Shared) {
        self.0.remove(name, shared);
    }

    fn examined(&mut self, name: &Name, target: &Target) {
        self.0.examined(name, target);
    }

    fn concern(&mut self, name: &Name, role: Role, sighting: &Sighting, shared: &mut Shared) -> Option<Urgency> {
        self.0.concern(name, role, sighting, shared)
    }

    fn may_wait(&self, _: &Name, _: bool) -> bool {
        false
    }

    fn look(&mut self, name: &Name, now: Timestamp, shared: &Shared) -> Option<BoxFuture<'static, Self::Looked>> {
        self.0.look(name, now, shared)
    }

    fn end(&mut self, name: &Name, (es, mut report): Self::Looked, took: Duration, shared: &mut Shared) -> Next {
        shared.metrics.sealing.unsealed(&es, &report, took);
        // The status tells its generation, which is not compared: what was told of the one before, in the same words, is to be
        // told anew.
        if self.0.generation(name) != es.metadata.generation {
            report.status = None;
        }
        self.0.end(name, (es, report), took, shared)
    }

    fn prune(&mut self, _: &Shared) {}

    fn let_go(&mut self, name: &Name, shared: &mut Shared) {
        self.0.let_go(name, shared);
    }

    fn forget(&self, name: &Name, metrics: &Metrics) {
        metrics.sealing.forget(name);
    }

    fn resource(&self) -> ApiResource {
        ApiResource::erase::<SealedSecret>(&())
    }

    fn reason_undecodable(&self) -> &'static str {
        "Failed"
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use keyferry_crds::ExternalSecretStatus;

    use super::super::rig::shared;
    use super::*;

    #[test]
    fn one_comes_to_an_external_secret_whose_store_holds_it_alone() {
        let sealed: SealedSecret = serde_json::from_value(json!({
            "metadata": {"name": "app", "namespace": "n", "uid": "u", "generation": 2, "labels": {"a": "b"}, "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "long",
                "sealedsecrets.bitnami.com/namespace-wide": "true",
            }},
            "spec": {
                "encryptedData": {"k": "AAAA"},
                "template": {"type": "kubernetes.io/tls", "metadata": {"labels": {"l": "{{ x }}"}}, "data": {"t": "{{ .k }}"}},
            },
        }))
        .unwrap();
        let (es, store) = comes_to(&sealed).unwrap();
        assert_eq!(es.metadata.annotations.as_ref().unwrap().len(), 1, "what is large is not kept");
        let template = es.spec.target.template.unwrap();
        assert_eq!(template.type_.as_deref(), Some("kubernetes.io/tls"));
        assert_eq!(template.metadata.labels["l"], "{{ \"{{\" }} x }}", "no template there, as in Sealed Secrets");
        assert_eq!(template.data["t"], "{{ .k }}");
        assert_eq!(store.id.name, "app");
        let mut other = sealed.clone();
        other.metadata.annotations = None;
        assert_ne!(comes_to(&other).unwrap().1.generation(), store.generation(), "another scope is another store");
        other.spec = json!({"encryptedData": 1});
        assert!(comes_to(&other).is_none());
    }

    #[tokio::test]
    async fn what_was_told_of_one_generation_is_told_of_the_next_in_the_same_words() {
        let told =
            ExternalSecretStatus { synced_resource_version: Some("told".into()), ..ExternalSecretStatus::default() };
        let written = told.clone();
        let sync: Sync = Box::new(move |look| {
            let before: u64 = look.es.metadata.resource_version.as_ref().expect("one").parse().expect("a number");
            let status = Some((written.clone(), Some((before + 2).to_string())));
            async { Looked { outcome: Outcome::Holding, memory: look.memory, status, next: None } }.boxed()
        });
        let (mut all, mut shared) = (SealedSecrets::new(sync, None), shared());
        let name = ("n".to_owned(), "app".to_owned());
        let of = |generation: i64, version: &str| ObjectMeta {
            name: Some("app".into()),
            namespace: Some("n".into()),
            uid: Some("u".into()),
            generation: Some(generation),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        all.put(&name, of(1, "1"), &mut shared);
        for (generation, version, is_known) in [(1, "2", true), (2, "4", false)] {
            let look = all.look(&name, Timestamp::UNIX_EPOCH, &shared).expect("a look");
            all.put(&name, of(generation, version), &mut shared);
            all.end(&name, look.await, Duration::ZERO, &mut shared);
            assert_eq!(all.0.status(&name), is_known.then(|| told.clone()), "generation {generation} came meanwhile");
        }
    }
}
