//! What stores log in with (credential resolution), under the scoping rules: a SecretStore may name objects of its own namespace only, a
//! ClusterSecretStore must name the namespace, or takes that of whoever asks.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_provider_core::names::{is_label, is_name};
use keyferry_provider_core::{
    Blame, CaRef, CaSource, Credentials, Error, ErrorKind, SecretBytes, SecretRef, ServiceAccountRef, Token, filled,
    json,
};
use keyferry_sync::data::Data;
use keyferry_sync::dependency::{Dependency, Kind, Version};
use keyferry_sync::ports::{Accounts, Objects, Problem, Versions};
use keyferry_sync::store::StoreId;

/// Who logs in: a store for everybody that may use it, or for one namespace where it takes its credentials from whoever
/// asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoginId {
    /// Which store is logged in to.
    pub store: StoreId,
    /// The namespace that asks, where the credentials are taken from it.
    pub namespace: Option<String>,
}

/// What tells of changes of the objects that stores log in with.
pub trait Watched: Send + Sync {
    /// `login` is about to read an object. Said before, so that a change in between is not missed.
    fn follow(&self, login: &LoginId, object: &Dependency);

    /// `login` is made from these objects now, and from no others.
    fn logged_in(&self, login: &LoginId, reads: &Versions);

    /// Whether these objects may still be as they were read: none was seen at another version since.
    fn may_be_at(&self, reads: &Versions) -> bool;
}

/// Nobody tells: for a process that reads once, and is done before anything changes.
impl Watched for () {
    fn follow(&self, _: &LoginId, _: &Dependency) {}

    fn logged_in(&self, _: &LoginId, _: &Versions) {}

    fn may_be_at(&self, _: &Versions) -> bool {
        true
    }
}

/// The ports that credentials are read through, and what may be read.
pub struct LoginPorts {
    /// Secrets and ConfigMaps.
    pub objects: Arc<dyn Objects>,
    /// ServiceAccounts, and the operator's own.
    pub accounts: Arc<dyn Accounts>,
    /// Whether the operator's own token may be sent for a ClusterSecretStore.
    pub controller_token: ControllerToken,
    /// Whether tokens of ServiceAccounts that the API server itself accepts are kept from being sent to stores.
    pub refuse_api_audiences: bool,
}

/// For whom the operator's own Kubernetes token may be sent to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerToken {
    /// For nobody.
    Never,
    /// For ClusterSecretStores.
    Cluster,
}

impl ControllerToken {
    /// The words for them.
    pub const NAMES: [&str; 2] = ["never", "cluster"];
}

impl FromStr for ControllerToken {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "never" => Ok(Self::Never),
            "cluster" => Ok(Self::Cluster),
            word => Err(format!("{word:?} is none of {}", Self::NAMES.join(", "))),
        }
    }
}

/// Which stores may use the identity that a cloud gives the operator itself, where they name no credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AmbientIdentity {
    /// All of them, as in External Secrets Operator.
    #[default]
    All,
    /// ClusterSecretStores.
    Cluster,
    /// None.
    Never,
}

impl AmbientIdentity {
    /// The words for them.
    pub const NAMES: [&str; 3] = ["all", "cluster", "never"];

    /// Whether a store of the whole cluster, or one of a namespace, may use it.
    pub fn is_for(self, is_of_cluster: bool) -> bool {
        match self {
            Self::All => true,
            Self::Cluster => is_of_cluster,
            Self::Never => false,
        }
    }
}

impl FromStr for AmbientIdentity {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "all" => Ok(Self::All),
            "cluster" => Ok(Self::Cluster),
            "never" => Ok(Self::Never),
            word => Err(format!("{word:?} is none of {}", Self::NAMES.join(", "))),
        }
    }
}

/// What the API server of most clusters is called in tokens.
const USUAL_AUDIENCES: [&str; 4] =
    ["https://kubernetes.default.svc.cluster.local", "https://kubernetes.default.svc", "kubernetes.default.svc", "api"];

/// The audiences that a token of Kubernetes names; none where it can't be read.
fn audiences_of(token: &SecretBytes) -> Vec<String> {
    let read = || {
        let claims = URL_SAFE_NO_PAD.decode(token.expose_str()?.trim().split('.').nth(1)?).ok()?;
        let claims = json::object(&claims)?.remove("aud").map(|audiences| audiences.get().to_owned())?;
        let one = |text: &str| serde_json::from_str::<String>(text).ok().map(|one| vec![one]);
        serde_json::from_str::<Vec<String>>(&claims).ok().or_else(|| one(&claims))
    };
    read().unwrap_or_default()
}

/// The port for one client of one store, or for one making of a generator; remembers which objects were read.
pub struct Requester {
    ports: Arc<LoginPorts>,
    /// Who logs in, and who is to know what is read for that.
    login: Option<(LoginId, Arc<dyn Watched>)>,
    /// The namespace of a SecretStore.
    store_namespace: Option<String>,
    /// The namespace that asks a ClusterSecretStore.
    namespace: Option<String>,
    read: Mutex<Versions>,
}

impl Requester {
    /// The port for a login. `watched` is told what it reads.
    pub fn new(ports: Arc<LoginPorts>, watched: Arc<dyn Watched>, login: LoginId) -> Self {
        let (store_namespace, namespace) = (login.store.namespace.clone(), login.namespace.clone());
        Self { ports, login: Some((login, watched)), store_namespace, namespace, read: Mutex::default() }
    }

    /// The port for a generator that is asked for in `namespace`, and used once: nobody need know what that reads. It reads there,
    /// whatever namespace a reference names, as in External Secrets Operator.
    pub fn for_once(ports: Arc<LoginPorts>, namespace: &str) -> Self {
        let store_namespace = Some(namespace.to_owned());
        Self { ports, login: None, store_namespace, namespace: None, read: Mutex::default() }
    }

    /// The namespace that asks, where there is one.
    pub fn namespace(&self) -> Option<&str> {
        self.store_namespace.as_deref().or(self.namespace.as_deref())
    }

    /// What was read, and at which version.
    pub fn dependencies(&self) -> Versions {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn resolve(&self, what: &str, name: &str, named: Option<&str>) -> Result<String, Error> {
        let named = named.filter(|namespace| !namespace.is_empty());
        // Both become parts of a path of the API.
        if !is_name(name) || named.is_some_and(|namespace| !is_label(namespace)) {
            let message =
                format!("{what} {name:?} in namespace {:?}: Kubernetes gives no such names", named.unwrap_or(""));
            return Err(Error::invalid(message));
        }
        match (&self.store_namespace, named) {
            (Some(own), Some(other)) if own != other && self.login.is_some() => Err(Error::invalid(format!(
                "{what} {name:?}: a SecretStore may refer to its own namespace only, not to {other:?}; use a ClusterSecretStore"
            ))),
            (Some(own), _) => Ok(own.clone()),
            (None, Some(named)) => Ok(named.to_owned()),
            (None, None) => self.namespace.clone().ok_or_else(|| {
                Error::new(
                    ErrorKind::Referent,
                    format!("{what} {name:?} has no namespace: it is taken from the ExternalSecret"),
                )
            }),
        }
    }

    /// Marks the object as depended on, before it is read.
    fn follow(&self, kind: Kind, namespace: &str, name: &str) -> Dependency {
        let object = Dependency { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        if let Some((login, watched)) = &self.login {
            watched.follow(login, &object);
        }
        object
    }

    fn note(&self, object: Dependency, version: Option<Version>) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(object, version);
    }

    /// Reads an object, and notes at which version.
    async fn read(&self, kind: Kind, namespace: &str, name: &str) -> Result<Data, Error> {
        let what = kind.to_string();
        let object = self.follow(kind, namespace, name);
        let found = self.ports.objects.source(&object).await;
        let found = found.map_err(|problem| unreadable(&what, namespace, name, &problem))?;
        let (version, data) = found.map_or((None, None), |(version, data)| (version, Some(data)));
        self.note(object, version);
        data.ok_or_else(|| absent(&what, namespace, name))
    }

    /// Refuses a token of a ServiceAccount that the API server itself would accept: whoever it is sent to could act as that
    /// account.
    async fn refuse_api_audiences(&self, name: &str, audiences: &[String]) -> Result<(), Error> {
        if !self.ports.refuse_api_audiences {
            return Ok(());
        }
        // What the operator's own token is for is what the API server takes.
        let own = self.ports.accounts.own_token().await.map(|token| audiences_of(&token)).unwrap_or_default();
        let is_its = |audience: &String| own.contains(audience) || USUAL_AUDIENCES.contains(&audience.as_str());
        if audiences.is_empty() || audiences.iter().any(is_its) {
            Err(Error::invalid(format!(
                "the API server itself accepts the token of ServiceAccount {name:?} that the store asks for, and \
                 --refuse-api-audiences keeps such a token from being sent: set audiences in the reference to what the \
                 store's server expects"
            )))
        } else {
            Ok(())
        }
    }

    async fn read_secret(&self, namespace: &str, name: &str, key: &str) -> Result<SecretBytes, Error> {
        let mut data = self.read(Kind::Secret, namespace, name).await?;
        data.remove(key).ok_or_else(|| {
            // Not which keys it has: whoever may name a Secret here may not be one who may read it.
            let message = format!("Secret {name:?} in namespace {namespace:?} has no key {key:?}");
            Error::invalid(message).with_blame(Blame::Credentials)
        })
    }

    async fn read_config_map(&self, namespace: &str, name: &str, key: &str) -> Result<SecretBytes, Error> {
        let mut data = self.read(Kind::ConfigMap, namespace, name).await?;
        data.remove(key).ok_or_else(|| {
            let message = format!("ConfigMap {name:?} in namespace {namespace:?} has no key {key:?}");
            Error::invalid(message).with_blame(Blame::Credentials)
        })
    }
}

fn absent(kind: &str, namespace: &str, name: &str) -> Error {
    Error::invalid(format!("{kind} {name:?} does not exist in namespace {namespace:?}")).with_blame(Blame::Credentials)
}

fn unreadable(kind: &str, namespace: &str, name: &str, problem: &Problem) -> Error {
    of_cluster(problem, format!("can't read {kind} {name:?} in namespace {namespace:?}"))
}

/// What the cluster that we run in did not give us.
fn of_cluster(problem: &Problem, what: String) -> Error {
    let kind = if problem.is_temporary { ErrorKind::Unavailable } else { ErrorKind::Denied };
    Error::new(kind, format!("{what}: {problem}")).with_blame(Blame::Keyferry)
}

#[async_trait]
impl Credentials for Requester {
    async fn secret(&self, reference: &SecretRef, default_key: Option<&str>) -> Result<SecretBytes, Error> {
        let name =
            filled(reference.name.clone()).ok_or_else(|| Error::invalid("a reference to a Secret has no name"))?;
        let key = filled(reference.key.clone())
            .or(default_key.map(str::to_owned))
            .ok_or_else(|| Error::invalid(format!("the reference to Secret {name:?} has no key")))?;
        let namespace = self.resolve("Secret", &name, reference.namespace.as_deref())?;
        self.read_secret(&namespace, &name, &key).await
    }

    async fn labelled_secret(
        &self,
        reference: &SecretRef,
        label: &str,
        value: &str,
    ) -> Result<BTreeMap<String, SecretBytes>, Error> {
        let name =
            filled(reference.name.clone()).ok_or_else(|| Error::invalid("a reference to a Secret has no name"))?;
        let namespace = self.resolve("Secret", &name, reference.namespace.as_deref())?;
        // Followed before its labels are read: a label that is taken away after that makes the login anew.
        let object = self.follow(Kind::Secret, &namespace, &name);
        let labels = self.ports.objects.labels(&object).await;
        let labels = labels.map_err(|problem| unreadable("Secret", &namespace, &name, &problem))?;
        let labels = labels.ok_or_else(|| absent("Secret", &namespace, &name))?;
        if labels.get(label).map(String::as_str) != Some(value) {
            let message = format!(
                "Secret {name:?} in namespace {namespace:?} does not bear the label {label}: {value}, by which its owner \
                 lets a store have all of it"
            );
            return Err(Error::invalid(message).with_blame(Blame::Credentials));
        }
        self.read(Kind::Secret, &namespace, &name).await
    }

    async fn service_account_token(&self, reference: &ServiceAccountRef, audiences: &[&str]) -> Result<Token, Error> {
        let name = &reference.name;
        let namespace = self.resolve("ServiceAccount", name, reference.namespace.as_deref())?;
        let mut all: Vec<String> = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        for audience in reference.audiences.iter().flatten() {
            if !all.contains(audience) {
                all.push(audience.clone());
            }
        }
        self.refuse_api_audiences(name, &all).await?;
        match self.ports.accounts.token(&namespace, name, all).await {
            Ok(Some(token)) => Ok(token),
            Ok(None) => Err(absent("ServiceAccount", &namespace, name)),
            Err(problem) => {
                let what = format!("can't get a token of ServiceAccount {name:?} in namespace {namespace:?}");
                Err(of_cluster(&problem, what))
            }
        }
    }

    async fn service_account_annotations(
        &self,
        reference: &ServiceAccountRef,
    ) -> Result<BTreeMap<String, String>, Error> {
        let name = &reference.name;
        let namespace = self.resolve("ServiceAccount", name, reference.namespace.as_deref())?;
        let annotations = self.ports.accounts.annotations(&namespace, name).await;
        annotations
            .map_err(|problem| unreadable("ServiceAccount", &namespace, name, &problem))?
            .ok_or_else(|| absent("ServiceAccount", &namespace, name))
    }

    async fn controller_token(&self) -> Result<SecretBytes, Error> {
        if self.login.is_none() {
            return Err(Error::invalid(
                "it names no credentials, and the operator's own Kubernetes token is never sent for a generator, nor for \
                 one in a ClusterGenerator: set a serviceAccountRef",
            ));
        }
        if self.store_namespace.is_some() {
            return Err(Error::invalid(
                "the store names no credentials, and the operator's own Kubernetes token is never sent for a \
                 SecretStore: set a serviceAccountRef, or use a ClusterSecretStore",
            ));
        }
        if self.ports.controller_token == ControllerToken::Never {
            return Err(Error::invalid(
                "the store names no credentials, and --controller-token=never forbids sending the operator's own \
                 Kubernetes token: set a serviceAccountRef",
            ));
        }
        self.ports.accounts.own_token().await.ok_or_else(|| {
            Error::invalid("the operator has no Kubernetes token of its own here: set a serviceAccountRef")
        })
    }

    async fn config_map(&self, reference: &SecretRef) -> Result<SecretBytes, Error> {
        let name =
            filled(reference.name.clone()).ok_or_else(|| Error::invalid("a reference to a ConfigMap has no name"))?;
        let key = filled(reference.key.clone())
            .ok_or_else(|| Error::invalid(format!("the reference to ConfigMap {name:?} has no key")))?;
        let namespace = self.resolve("ConfigMap", &name, reference.namespace.as_deref())?;
        self.read_config_map(&namespace, &name, &key).await
    }

    async fn ca_bundle(&self, reference: &CaRef) -> Result<Vec<u8>, Error> {
        let name = &reference.name;
        if self.store_namespace.is_none() && reference.namespace.as_deref().unwrap_or_default().is_empty() {
            return Err(Error::invalid(format!("caProvider {name:?} of a ClusterSecretStore must have a namespace")));
        }
        let namespace = self.resolve("caProvider", name, reference.namespace.as_deref())?;
        let key =
            filled(reference.key.clone()).ok_or_else(|| Error::invalid(format!("caProvider {name:?} has no key")))?;
        match reference.source {
            CaSource::Secret => Ok(self.read_secret(&namespace, name, &key).await?.expose().to_vec()),
            CaSource::ConfigMap => Ok(self.read_config_map(&namespace, name, &key).await?.expose().to_vec()),
        }
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
