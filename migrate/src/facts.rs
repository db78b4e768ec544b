//! What was read of a cluster, and no more than is needed to judge it: no value of any Secret.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_crds::names;

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The Helm releases that hold CRDs of ours, or are External Secrets Operator's.
    pub releases: Vec<Release>,
    /// Records of Helm that can't be read.
    pub broken: Vec<BrokenRecord>,
    /// The CRDs of the groups.
    pub crds: Vec<Crd>,
    /// The webhook configurations that see objects of the groups.
    pub webhooks: Vec<WebhookConfiguration>,
    /// The Deployments of External Secrets Operator and of keyferry.
    pub operators: Vec<Operator>,
    /// The ServiceAccounts beside them that a GitOps tool deletes once they are gone from its source.
    pub accounts: Vec<Pruned>,
    /// How many objects there are of each kind that keyferry does not serve.
    pub unserved: Vec<Unserved>,
    /// ClusterGenerators: name and the kind that is generated.
    pub cluster_generators: Vec<(String, String)>,
    /// The generators that keyferry has, ClusterGenerators among them.
    pub generators: Vec<Generator>,
    /// The stores of both kinds.
    pub stores: Vec<Store>,
    /// What stores and generators need of others.
    pub needs: Vec<Need>,
    /// Fields that keyferry's CRDs do not know, by kind and path.
    pub lost: BTreeMap<(String, String), Sample>,
    /// Objects that somebody writes in an old version, by kind.
    pub old_writers: BTreeMap<String, Sample>,
    /// What the ExternalSecrets ask for.
    pub external_secrets: ExternalSecrets,
    /// The PushSecrets; `None` where they could not be read.
    pub push_secrets: Option<Vec<PushSecret>>,
    /// GeneratorStates with a finalizer, as `namespace/name`.
    pub generator_states: Sample,
    /// Names of the ClusterExternalSecrets; `None` where they could not be read.
    pub cluster_external_secrets: Option<BTreeSet<String>>,
    /// Namespaces with finalizers of ClusterExternalSecrets.
    pub namespaces: Vec<HeldNamespace>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

impl Cluster {
    /// Whether something of this area could not be read.
    pub fn is_unread(&self, area: Area) -> bool {
        self.unread.iter().any(|unread| unread.area == area)
    }
}

/// Part of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Records of Helm releases.
    Helm,
    /// CustomResourceDefinitions.
    Crds,
    /// Webhook configurations.
    Webhooks,
    /// Deployments.
    Deployments,
    /// Anything else.
    Objects,
}

/// Something that could not be read.
#[derive(Clone, Debug)]
pub struct Unread {
    /// Where it belongs.
    pub area: Area,
    /// What it is, such as `ClusterSecretStores`.
    pub what: String,
    /// Why not, in our own words.
    pub why: String,
}

/// A number of objects of which a few are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub names: Vec<String>,
}

impl Sample {
    /// Adds one.
    pub fn add(&mut self, name: impl FnOnce() -> String) {
        const NAMED: usize = 5;
        self.count += 1;
        if self.names.len() < NAMED {
            self.names.push(name());
        }
    }

    /// Adds those of another one.
    pub fn merge(&mut self, other: &Self) {
        let counted = self.count + other.count;
        other.names.iter().for_each(|name| self.add(|| name.clone()));
        self.count = counted;
    }
}

/// A Helm release, as its latest readable revision has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The revision.
    pub revision: u64,
    /// Name of its chart.
    pub chart: String,
    /// Version of its chart.
    pub version: String,
    /// Under which key of its values the chart of External Secrets Operator is, where it is a part of a larger one.
    pub subchart: Option<String>,
    /// CRDs that go when the release is uninstalled.
    pub deletes: BTreeSet<String>,
    /// CRDs that stay.
    pub keeps: BTreeSet<String>,
    /// Documents about CRDs that could not be understood.
    pub unclear: usize,
    /// Whether External Secrets Operator came with it.
    pub is_eso: bool,
    /// What else came with External Secrets Operator.
    pub objects: Vec<Held>,
    /// The images that its values name, and where.
    pub images: Vec<(String, String)>,
}

/// An object of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its group; empty for Kubernetes' own.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, or that of the release where it names none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it stays when the release is uninstalled.
    pub keeps: bool,
    /// The name of the template's file.
    pub template: String,
}

impl Held {
    /// The resource in `kubectl`'s words.
    pub fn resource(&self) -> String {
        let kind = self.kind.to_lowercase();
        if self.group.is_empty() { kind } else { format!("{kind}.{}", self.group) }
    }

    /// Whether it is in a namespace, as far as its kind tells.
    pub fn is_namespaced(&self) -> bool {
        !(self.kind.starts_with("Cluster") || self.kind == "Namespace")
    }
}

/// An object that a GitOps tool deletes once it is gone from its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The object.
    pub object: Held,
    /// Who deletes it.
    pub by: Vec<String>,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_namespaced() {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        } else {
            write!(f, "{} {}", self.kind, self.name)
        }
    }
}

/// What a store or a generator names of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Who: a kind and a name.
    pub by: String,
    /// The ServiceAccounts that it logs in as.
    pub accounts: BTreeSet<Named>,
    /// Everything that it names, which may be Secrets and ConfigMaps.
    pub names: BTreeSet<Named>,
}

/// A name in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Its namespace; `None` for that of whoever asks, which may be any.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl Named {
    /// Whether it may mean an object.
    pub fn may_be(&self, object: &Held) -> bool {
        self.name == object.name && self.namespace.as_ref().is_none_or(|namespace| *namespace == object.namespace)
    }
}

/// A record of Helm that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenRecord {
    /// `secret/namespace/name` or `configmap/namespace/name`.
    pub object: String,
    /// What is wrong with it.
    pub why: String,
    /// Whether Helm may read it although we did not.
    pub helm_may_read_it: bool,
}

/// A CustomResourceDefinition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crd {
    /// Its name.
    pub name: String,
    /// The group of its kind.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// The resource in URLs.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Its versions.
    pub versions: Vec<Version>,
    /// The versions in which objects may be stored.
    pub stored: Vec<String>,
    /// `Some` where a webhook converts between versions.
    pub conversion: Option<Backend>,
    /// Who keeps it up to date, as words for people; empty for nobody who would prune it.
    pub pruned_by: Vec<String>,
    /// The HelmRelease of Flux that it came with.
    pub flux_helm: Option<String>,
    /// The Helm release that it says it belongs to: namespace and name.
    pub helm: Option<(String, String)>,
}

impl Crd {
    /// The version in which new objects are stored.
    pub fn storage(&self) -> Option<&str> {
        self.versions.iter().find(|version| version.storage).map(|version| version.name.as_str())
    }

    /// The version to read objects at: that of storage where it is served.
    pub fn readable(&self) -> Option<&str> {
        let served = || self.versions.iter().filter(|version| version.served);
        served().find(|version| version.storage).or(served().next()).map(|version| version.name.as_str())
    }

    /// Versions that objects may be stored in besides the one of storage.
    pub fn stale(&self) -> Vec<&str> {
        self.stored.iter().map(String::as_str).filter(|version| Some(*version) != self.storage()).collect()
    }

    /// Versions whose objects read as another's would lose fields. Those of `v1beta1` have the form of `v1`.
    pub fn foreign(&self) -> Vec<&str> {
        let alike = |version: &str| {
            Some(version) == self.storage()
                || ([names::VERSION, names::OLD_VERSION].contains(&version)
                    && self.storage().is_some_and(|s| [names::VERSION, names::OLD_VERSION].contains(&s)))
        };
        let served = self.versions.iter().filter(|version| version.served).map(|version| version.name.as_str());
        let mut all: Vec<&str> = served.chain(self.stored.iter().map(String::as_str)).collect();
        all.retain(|version| !alike(version));
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// A version of a CRD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its name.
    pub name: String,
    /// Whether the API server answers at it.
    pub served: bool,
    /// Whether objects are stored in it.
    pub storage: bool,
}

/// Who answers a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A service with an endpoint that is ready.
    Ready(String),
    /// A service that nobody answers for, and why.
    Dead(String, &'static str),
    /// A URL, or a service that could not be looked at.
    Unknown(String),
}

/// A ValidatingWebhookConfiguration or MutatingWebhookConfiguration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfiguration {
    /// Whether it may change objects.
    pub mutating: bool,
    /// Its name.
    pub name: String,
    /// As it was read: it is deleted as such or not at all.
    pub uid: String,
    /// One that was changed since is not deleted either.
    pub resource_version: String,
    /// Whether it is External Secrets Operator's, by its name or labels.
    pub is_eso: bool,
    /// Its webhooks, those for other groups included.
    pub hooks: Vec<Webhook>,
}

impl WebhookConfiguration {
    /// The resource in `kubectl`'s words.
    pub fn resource(&self) -> &'static str {
        if self.mutating { "mutatingwebhookconfiguration" } else { "validatingwebhookconfiguration" }
    }

    /// Whether it may be deleted: it is External Secrets Operator's, and nothing in it is for anybody else.
    pub fn is_removable(&self) -> bool {
        let all_ours = |hook: &Webhook| !hook.groups.is_empty() && hook.groups.iter().all(|group| is_ours(group));
        self.is_eso && !self.hooks.is_empty() && self.hooks.iter().all(all_ours)
    }

    /// The webhooks that see objects of the groups.
    pub fn matching(&self) -> impl Iterator<Item = &Webhook> {
        let is_eso = self.is_eso;
        self.hooks.iter().filter(move |hook| hook.groups.iter().any(|group| is_ours(group) || (is_eso && group == "*")))
    }
}

/// One webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The API groups of all its rules.
    pub groups: Vec<String>,
    /// Whether a write fails where it does not answer.
    pub fails: bool,
    /// Who answers.
    pub backend: Backend,
}

/// Whether a group is one of External Secrets Operator's.
pub fn is_ours(group: &str) -> bool {
    group.strip_suffix(names::GROUP).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What a Deployment runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// External Secrets Operator's controller.
    Controller,
    /// Its webhook.
    Webhook,
    /// Its certificate controller.
    CertController,
    /// keyferry.
    Keyferry,
}

/// A Deployment of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// What it runs.
    pub role: Role,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The controller class.
    pub class: String,
    /// Whether it has, or shall have, pods.
    pub running: bool,
    /// The ServiceAccount of its pods.
    pub account: String,
    /// What clouds read from that ServiceAccount's annotations.
    pub identity: BTreeMap<String, String>,
}

/// Objects of a kind that keyferry does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// The kind.
    pub kind: String,
    /// The name of its CRD.
    pub crd: String,
    /// How many.
    pub objects: Sample,
}

/// Names a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreName {
    /// Its namespace; `None` for a ClusterSecretStore.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for StoreName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "SecretStore {namespace}/{}", self.name),
            None => write!(f, "ClusterSecretStore {}", self.name),
        }
    }
}

/// A store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Its name.
    pub name: StoreName,
    /// Its class; empty is every class.
    pub class: String,
    /// The keys under `spec.provider`.
    pub providers: Vec<String>,
    /// With whose identity it logs in.
    pub identity: Identity,
    /// Whether it has External Secrets Operator's finalizer.
    pub held: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it bounds what it reads by a prefix of names.
    pub prefixed: bool,
    /// The hosts that it names which are the operator's own machine, or on its link.
    pub local: BTreeSet<String>,
}

/// A generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generator {
    /// Its kind and name, as a person is told.
    pub name: String,
    /// Its class; empty is every class.
    pub class: String,
    /// With whose identity it logs in.
    pub identity: Identity,
    /// The hosts that it names which are the operator's own machine, or on its link.
    pub local: BTreeSet<String>,
    /// What it asks for that keyferry refuses.
    pub refused: Vec<&'static str>,
}

/// With whose identity a store or a generator logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// That which its spec names.
    Own,
    /// The operator's own Kubernetes token.
    ControllerToken,
    /// None: it names no credentials where External Secrets Operator used its own, and keyferry does not.
    Missing,
    /// The operator's own identity in a cloud.
    Ambient,
    /// The same, shown to a server that its spec names and that is none of that cloud's.
    AmbientElsewhere,
}

/// What all ExternalSecrets ask for, counted.
#[derive(Clone, Debug, Default)]
pub struct ExternalSecrets {
    /// How many there are.
    pub count: usize,
    /// How many refer to each store.
    pub by_store: BTreeMap<StoreName, usize>,
    /// Which name a generator of each kind.
    pub by_generator: BTreeMap<String, Sample>,
    /// Those whose target is no Secret.
    pub manifests: Sample,
    /// How many have External Secrets Operator's finalizer.
    pub held: usize,
    /// Which will behave differently: by the name of the rule, and by the store that they ask, where that matters.
    pub different: BTreeMap<(&'static str, Option<StoreName>), Sample>,
}

/// A PushSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSecret {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether what it pushed is deleted with it.
    pub deletes: bool,
    /// The stores that it names, or has pushed to.
    pub stores: BTreeSet<StoreName>,
    /// Whether it selects stores by labels, which may be any.
    pub selects: bool,
    /// Whether it has a finalizer.
    pub held: bool,
    /// What it does differently: the names of the rules.
    pub different: Vec<&'static str>,
}

impl PushSecret {
    /// Whether it may still have to delete something in this store.
    pub fn may_need(&self, store: &StoreName) -> bool {
        let in_reach = store.namespace.as_ref().is_none_or(|namespace| *namespace == self.namespace);
        self.deletes && (self.stores.contains(store) || (self.selects && in_reach))
    }
}

/// A namespace with finalizers of ClusterExternalSecrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldNamespace {
    /// Its name.
    pub name: String,
    /// The names of the ClusterExternalSecrets.
    pub by: Vec<String>,
}
