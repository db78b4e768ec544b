//! What a ClusterExternalSecret or ClusterPushSecret asks for, both alike. Pure.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use keyferry_crds::{
    ClusterExternalSecret, ClusterPushSecret, CopierStatus, CopyMetadata, ExternalSecretSpec, PushSecretSpec, duration,
    names,
};
use keyferry_limits::{COPY_NAMESPACES, COPY_SELECTORS};
use kube_core::{ObjectMeta, Resource};
use serde_json::Value;

use super::print::print;
use super::selectors;
use crate::data::StringMap;
use crate::excess;
use crate::schedule::SHORTEST;
use crate::told;
use crate::told::{Spec, Told};

/// How often all is looked through where nobody says otherwise.
const EVERY: Duration = Duration::from_secs(3600);

/// The kinds that make copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CopierKind {
    /// Makes ExternalSecrets.
    ClusterExternalSecret,
    /// Makes PushSecrets.
    ClusterPushSecret,
}

impl CopierKind {
    /// The kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterExternalSecret => names::KIND_CLUSTER_EXTERNAL_SECRET,
            Self::ClusterPushSecret => names::KIND_CLUSTER_PUSH_SECRET,
        }
    }

    /// The version of both this kind and its copies.
    pub fn version(self) -> &'static str {
        match self {
            Self::ClusterExternalSecret => names::VERSION,
            Self::ClusterPushSecret => names::PUSH_VERSION,
        }
    }

    /// The kind of the copies.
    pub fn copied(self) -> &'static str {
        match self {
            Self::ClusterExternalSecret => "ExternalSecret",
            Self::ClusterPushSecret => names::KIND_PUSH_SECRET,
        }
    }

    /// The kind of an owner, whichever version of it made the reference; `None` where it makes no copies.
    pub fn of_owner(owner: &OwnerReference) -> Option<Self> {
        let (group, _) = owner.api_version.split_once('/')?;
        let kinds = [Self::ClusterExternalSecret, Self::ClusterPushSecret];
        kinds.into_iter().find(|kind| group == names::GROUP && kind.as_str() == owner.kind)
    }
}

/// Names a copier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopierId {
    /// Its kind.
    pub kind: CopierKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for CopierId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind.as_str(), self.name)
    }
}

/// One as its watch tells of it, and what each of its copies is to be.
#[derive(Clone, Debug)]
pub struct Copier {
    /// Its name.
    pub id: CopierId,
    /// Its metadata, without what nobody reads.
    pub metadata: ObjectMeta,
    /// Its status.
    pub status: CopierStatus,
    /// The name of each copy.
    pub copy_name: String,
    /// The labels of each copy, which has no others.
    pub labels: StringMap,
    /// The annotations of each copy, which has no others.
    pub annotations: StringMap,
    /// The spec of each copy.
    pub spec: Value,
    /// What tells a copy from one that is to be changed.
    pub print: u64,
    /// The selectors of namespaces: one that matches is enough.
    pub selectors: Vec<LabelSelector>,
    /// How many of these are names of namespaces.
    named: usize,
    refresh_time: Option<String>,
}

/// The fields of either kind.
struct Asked {
    spec: Value,
    name: Option<String>,
    metadata: CopyMetadata,
    selectors: Vec<LabelSelector>,
    named: Vec<String>,
    refresh_time: Option<String>,
}

impl From<ClusterExternalSecret> for Copier {
    fn from(object: ClusterExternalSecret) -> Self {
        let spec = object.spec;
        let mut metadata = spec.external_secret_metadata;
        // As in External Secrets Operator, whose copies have the annotation of their copier or none.
        metadata.annotations.remove(names::ANNOTATION_FORCE_SYNC);
        let asked = Asked {
            spec: spec.external_secret_spec,
            name: spec.external_secret_name,
            metadata,
            selectors: spec.namespace_selector.into_iter().chain(spec.namespace_selectors).collect(),
            named: spec.namespaces,
            refresh_time: spec.refresh_time,
        };
        Self::new(CopierKind::ClusterExternalSecret, object.metadata, object.status, asked)
    }
}

impl From<ClusterPushSecret> for Copier {
    fn from(object: ClusterPushSecret) -> Self {
        let spec = object.spec;
        let asked = Asked {
            spec: spec.push_secret_spec,
            name: spec.push_secret_name,
            metadata: spec.push_secret_metadata,
            selectors: spec.namespace_selectors,
            named: Vec::new(),
            refresh_time: spec.refresh_time,
        };
        Self::new(CopierKind::ClusterPushSecret, object.metadata, object.status, asked)
    }
}

impl Copier {
    fn new(kind: CopierKind, metadata: ObjectMeta, status: Option<CopierStatus>, asked: Asked) -> Self {
        let id = CopierId { kind, name: metadata.name.clone().unwrap_or_default() };
        let CopyMetadata { labels, mut annotations } = asked.metadata;
        let forced = metadata.annotations.iter().flatten().find(|(key, _)| *key == names::ANNOTATION_FORCE_SYNC);
        annotations.extend(forced.map(|(key, value)| (key.clone(), value.clone())));
        let by_name = |name: String| LabelSelector {
            match_labels: Some([(names::LABEL_NAMESPACE.to_owned(), name)].into()),
            match_expressions: None,
        };
        let (mut selectors, named) = (asked.selectors, asked.named.len());
        selectors.extend(asked.named.into_iter().map(by_name));
        Self {
            copy_name: asked.name.filter(|name| !name.is_empty()).unwrap_or_else(|| id.name.clone()),
            print: print(&labels, &annotations, &comparable(kind, &asked.spec)),
            id,
            metadata,
            status: status.unwrap_or_default(),
            labels,
            annotations,
            spec: asked.spec,
            selectors,
            named,
            refresh_time: asked.refresh_time,
        }
    }

    /// The same with another status.
    pub fn with_status(&self, status: CopierStatus) -> Self {
        Self { status, ..self.clone() }
    }

    /// The UID.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Whether it is being deleted: its copies go with it, by their owner reference.
    pub fn is_going(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether it waits for a finalizer of External Secrets Operator's to be taken off.
    pub fn is_held(&self) -> bool {
        self.metadata.finalizers.iter().flatten().any(|held| held == names::FINALIZER_CLUSTER_EXTERNAL_SECRET)
    }

    /// How often all is looked through; `None` is never.
    pub fn every(&self) -> Option<Duration> {
        let written = self.refresh_time.as_deref().filter(|written| !written.is_empty());
        let every = written.map_or(Some(EVERY), |written| duration::interval(written).unwrap_or(Some(EVERY)));
        every.map(|every| every.max(SHORTEST))
    }

    /// Whether it looks through all less often than it asks for.
    pub fn is_slowed_down(&self) -> bool {
        let written = self.refresh_time.as_deref().and_then(|written| duration::interval(written).ok().flatten());
        written.is_some_and(|every| every < SHORTEST)
    }

    /// What is wrong with its spec, so that nothing is done by it.
    pub fn fault(&self) -> Option<Told> {
        if let Some(written) = self.refresh_time.as_deref().filter(|written| !written.is_empty())
            && duration::interval(written).is_err()
        {
            return Some(told!("spec.refreshTime: {} is not a duration: write it like 1h or 15m", Spec(written)));
        }
        if self.named > COPY_NAMESPACES.size() {
            return Some(told!("spec.namespaces: {}", COPY_NAMESPACES));
        }
        if self.selectors.len() - self.named > COPY_SELECTORS.size() {
            return Some(told!("spec.namespaceSelectors: {}", COPY_SELECTORS));
        }
        let mut excess = Vec::new();
        let written = &self.selectors[..self.selectors.len() - self.named];
        written.iter().for_each(|selector| excess::selector(&mut excess, "spec.namespaceSelectors", selector));
        if let Some(excess) = excess.into_iter().next() {
            // A place in the spec, and a limit.
            return Some(Told::without_values(excess));
        }
        let wrong = self.selectors.iter().find_map(selectors::fault);
        wrong.map(|wrong| told!("spec.namespaceSelectors: {}", wrong))
    }

    /// Whether a look by `self` would do what one by `other` does.
    pub fn asks_for_the_same(&self, other: &Self) -> bool {
        self.uid() == other.uid()
            && self.metadata.generation == other.metadata.generation
            && self.print == other.print
            && self.is_going() == other.is_going()
            && self.is_held() == other.is_held()
    }

    /// What each copy names as its controller.
    pub fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{}/{}", names::GROUP, self.id.kind.version()),
            kind: self.id.kind.as_str().to_owned(),
            name: self.id.name.clone(),
            uid: self.uid().to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// A reference for events.
    pub fn object_ref(&self) -> ObjectReference {
        let metadata = self.metadata.clone();
        let mut reference = match self.id.kind {
            CopierKind::ClusterExternalSecret => {
                ClusterExternalSecret { metadata, ..Default::default() }.object_ref(&())
            }
            CopierKind::ClusterPushSecret => ClusterPushSecret { metadata, ..Default::default() }.object_ref(&()),
        };
        reference.resource_version = None;
        reference
    }
}

/// A spec in the form that [`print`] compares: without the difference between what is left out and its default.
pub(super) fn comparable(kind: CopierKind, spec: &Value) -> Value {
    let typed = match kind {
        CopierKind::ClusterExternalSecret => {
            serde_json::from_value::<ExternalSecretSpec>(spec.clone()).and_then(serde_json::to_value)
        }
        CopierKind::ClusterPushSecret => {
            serde_json::from_value::<PushSecretSpec>(spec.clone()).and_then(serde_json::to_value)
        }
    };
    typed.unwrap_or_else(|_| spec.clone())
}
