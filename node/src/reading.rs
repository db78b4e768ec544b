//! The objects that a mount needs, read with the pod's own token: an ExternalSecret and its stores. Labels of namespaces, which
//! decide who may use a store, are read by the node itself.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use keyferry_cluster::problem::{ApiProblem, timely};
use keyferry_crds::{ClusterSecretStore, ExternalSecret, SecretStore};
use keyferry_sync::data::StringMap;
use keyferry_sync::look::as_files;
use keyferry_sync::request::used_stores;
use keyferry_sync::store::{KnownStores, Readiness, Store, StoreId};
use keyferry_sync::told::Told;
use kube::Api;
use serde::de::DeserializeOwned;

use crate::grant::Rule;
use crate::identity::{Login, same_for_all};
use crate::refusal::{Kind, Refusal};
use crate::wanted::Pod;

/// Says that a store's denial is to remove files, too.
pub const ON_DENIED: &str = "keyferry.io/on-denied";

/// What there is to deliver.
pub struct Read {
    /// The ExternalSecret, as it is delivered here.
    pub es: Arc<ExternalSecret>,
    /// Its stores, which count as ready.
    pub stores: KnownStores,
    /// The labels of its namespace, where a store asks for them.
    pub labels: Option<StringMap>,
    /// As whom the stores are logged in to.
    pub login: Login,
    /// Whether files go where a store denies them.
    pub goes_on_denial: bool,
}

/// Why there is nothing.
#[derive(Debug)]
pub enum Unread {
    /// The ExternalSecret is not there, or on its way out.
    Gone(Told),
    /// The API server knows the pod, and says that it may not read it.
    Refused(Refusal),
    /// Something else.
    Other(Refusal),
}

/// Reads with the rights of a pod.
pub struct Reader<'a> {
    /// A client with the pod's token.
    pub client: &'a kube::Client,
    /// One with the node's own.
    pub own: &'a kube::Client,
    /// The pod.
    pub pod: &'a Pod,
    /// Whether stores may be logged in to as they say.
    pub allows_static_logins: bool,
    /// Whether the ExternalSecret is an object, and no spec that who asks holds.
    pub is_named: bool,
}

impl Reader<'_> {
    /// All that it takes to mount this ExternalSecret.
    pub async fn read(&self, es: ExternalSecret) -> Result<Read, Refusal> {
        let name = es.metadata.name.clone().unwrap_or_default();
        let goes_on_denial = es.metadata.annotations.as_ref().and_then(|all| all.get(ON_DENIED));
        let goes_on_denial = goes_on_denial.is_some_and(|word| word == "remove");
        let es = as_files(es);
        deliverable(&es)?;
        let mut stores = KnownStores::new();
        for id in used_stores(&es) {
            let store = self.store(&id, &name).await?;
            // Where the spec names one that is not there, the plan says so.
            if let Some(store) = store {
                stores.insert(id, (Arc::new(store), Readiness::Ready));
            }
        }
        let login = self.login(&stores)?;
        let labels =
            if stores.values().any(|(store, _)| store.asks_for_labels()) { Some(self.labels().await?) } else { None };
        Ok(Read { es: Arc::new(es), stores, labels, login, goes_on_denial })
    }

    /// The ExternalSecret itself.
    pub async fn external_secret(&self, name: &str) -> Result<ExternalSecret, Unread> {
        let namespace = &self.pod.namespace;
        let what = || format!("ExternalSecret {name:?} in namespace {namespace:?}");
        match get::<ExternalSecret>(Api::namespaced(self.client.clone(), namespace), name).await {
            Ok(Some(es)) if es.metadata.deletion_timestamp.is_some() => {
                Err(Unread::Gone(Told::without_values(format!("{} is being deleted", what()))))
            }
            Ok(Some(es)) => Ok(es),
            Ok(None) => Err(Unread::Gone(Told::without_values(format!("{} does not exist", what())))),
            Err(problem) => {
                let refusal = self.unreadable(&problem, &what(), &Rule::ours("externalsecrets", name), name);
                // A token that is not taken says nothing of what its pod may do: keys are exchanged, clocks go wrong.
                Err(if refusal.kind == Kind::Denied { Unread::Refused(refusal) } else { Unread::Other(refusal) })
            }
        }
    }

    async fn store(&self, id: &StoreId, external_secret: &str) -> Result<Option<Store>, Refusal> {
        let (read, resource) = match &id.namespace {
            Some(of) => {
                let found = get::<SecretStore>(Api::namespaced(self.client.clone(), of), &id.name).await;
                let namespaced = |mut store: SecretStore| {
                    store.metadata.namespace = Some(of.clone());
                    Store::namespaced(store)
                };
                (found.map(|store| store.map(namespaced)), "secretstores")
            }
            None => {
                let found = get::<ClusterSecretStore>(Api::all(self.client.clone()), &id.name).await;
                (found.map(|store| store.map(Store::cluster)), "clustersecretstores")
            }
        };
        read.map_err(|problem| {
            self.unreadable(&problem, &id.to_string(), &Rule::ours(resource, &id.name), external_secret)
        })
    }

    fn unreadable(&self, problem: &ApiProblem, what: &str, rule: &Rule, external_secret: &str) -> Refusal {
        let kind = Kind::from(problem);
        let message = match kind {
            Kind::Denied => {
                let named = Some(external_secret).filter(|_| self.is_named);
                rule.missing(&self.pod.namespace, &self.pod.service_account, named)
            }
            Kind::Unknown => format!(
                "{what} can't be read: the API server does not accept the pod's token: is ServiceAccount {:?} gone?",
                self.pod.service_account
            ),
            _ => format!("{what} can't be read: {problem}"),
        };
        Refusal::new(kind, Told::without_values(message))
    }

    /// As whom all of the stores are logged in to.
    fn login(&self, stores: &KnownStores) -> Result<Login, Refusal> {
        let is_by_mount = |store: &Store| store.is_for_mounts();
        let (by_mount, others): (Vec<_>, Vec<_>) = stores.values().partition(|(store, _)| is_by_mount(store));
        match (by_mount.first(), others.first()) {
            (_, None) => Ok(Login::ByMount),
            (None, Some(_)) if self.allows_static_logins => Ok(Login::AsWritten),
            (Some(_), Some((store, _))) if self.allows_static_logins => Err(Refusal::new(
                Kind::Condition,
                Told::without_values(format!(
                    "{} has no spec.loginBy: Mount, and another store of the ExternalSecret has: mount them apart",
                    store.id
                )),
            )),
            (_, Some((store, _))) => Err(Refusal::new(
                Kind::Condition,
                Told::without_values(format!(
                    "{} logs in by itself: a pod that mounts of it could read all that this login can. Set spec.loginBy: Mount \
                     there, so that whoever mounts logs in as itself, or allow it with --allow-static-logins (Helm: \
                     node.allowStaticLogins)",
                    store.id
                )),
            )),
        }
    }

    async fn labels(&self) -> Result<StringMap, Refusal> {
        let namespace = &self.pod.namespace;
        let problem = match get::<Namespace>(Api::all(self.own.clone()), namespace).await {
            Ok(Some(found)) => return Ok(found.metadata.labels.unwrap_or_default()),
            Ok(None) => "it does not exist".to_owned(),
            Err(problem) => problem.to_string(),
        };
        Err(Refusal::new(
            Kind::Temporary,
            Told::without_values(format!(
                "a store asks for the labels of namespace {namespace:?}, unreadable: {problem}"
            )),
        ))
    }
}

/// Whether it is anything that files can be made of for one pod.
fn deliverable(es: &ExternalSecret) -> Result<(), Refusal> {
    if es.target_manifest().is_some() {
        return Err(Refusal::new(
            Kind::Condition,
            "spec.target.manifest asks for another kind than Secrets, of which no files are made",
        ));
    }
    // What a ClusterGenerator holds is known once it is read.
    let mut generators = es.spec.data_from.iter().filter_map(keyferry_sync::request::generator);
    let same = generators.try_for_each(|generator| same_for_all(&generator.kind));
    same.map_err(|why| Refusal::new(Kind::Condition, Told::without_values(why)))
}

async fn get<K>(api: Api<K>, name: &str) -> Result<Option<K>, ApiProblem>
where
    K: Clone + DeserializeOwned + Debug,
{
    timely(api.get_opt(name)).await
}
