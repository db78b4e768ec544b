//! PushSecret: which values of which Secrets to write into which stores.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::condition::Condition;
use crate::duration::{self, NotADuration};
use crate::external_secret::{
    DEFAULT_REFRESH_INTERVAL, GeneratorRef, RewriteRegexp, RewriteTransform, StoreKind, Template,
};
use crate::lenient::{self, words};
use crate::names;
use crate::resource::kind;

kind! {
    /// Writes what Secrets hold into stores.
    PushSecret, "pushsecrets", kube_core::NamespaceResourceScope, PushSecretSpec, PushSecretStatus, names::PUSH_VERSION
}

/// What to write where, and how often to look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushSecretSpec {
    /// Time between two checks, as written; see [`PushSecretSpec::refresh_every`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub refresh_interval: Option<String>,
    /// The stores to write into.
    #[serde(default, deserialize_with = "lenient::null")]
    pub secret_store_refs: Vec<PushStoreRef>,
    /// What becomes of what is there.
    #[serde(default, deserialize_with = "lenient::null")]
    pub update_policy: PushUpdatePolicy,
    /// What becomes of what is not wanted any more.
    #[serde(default, deserialize_with = "lenient::null")]
    pub deletion_policy: PushDeletionPolicy,
    /// Where the values come from.
    #[serde(default, deserialize_with = "lenient::null")]
    pub selector: PushSelector,
    /// Single values, or all of a Secret in one.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub data: Vec<PushData>,
    /// Many values at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub data_to: Vec<PushDataTo>,
    /// How to shape what the source holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

impl PushSecretSpec {
    /// Time between two checks; `None` (zero or less) is never.
    pub fn refresh_every(&self) -> Result<Option<Duration>, NotADuration> {
        duration::interval(self.refresh_interval.as_deref().unwrap_or(DEFAULT_REFRESH_INTERVAL))
    }
}

/// Names a store, or several by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushStoreRef {
    /// Name of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels of the stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Their kind.
    #[serde(default, deserialize_with = "lenient::null")]
    pub kind: StoreKind,
}

impl PushStoreRef {
    /// The name, where it names one store.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }
}

words! {
    /// What becomes of what is there in the store.
    PushUpdatePolicy {
        /// It is replaced.
        default Replace,
        /// It stays.
        IfNotExists,
    }
}

words! {
    /// What becomes in the store of what is not wanted any more.
    PushDeletionPolicy {
        /// It stays.
        default None,
        /// It is deleted.
        Delete,
    }
}

/// Where the values come from: Secrets, or a generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushSelector {
    /// Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<PushSource>,
    /// A generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator_ref: Option<GeneratorRef>,
}

/// Names a Secret, or several by their labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PushSource {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels of the Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// One value of a Secret, or all of them, and where it goes. The status holds the same of what was pushed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushData {
    /// What goes where.
    #[serde(rename = "match", default, deserialize_with = "lenient::null")]
    pub matched: PushMatch,
    /// What is said to the store only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// How keys of the Secret are read.
    #[serde(default, deserialize_with = "lenient::null")]
    pub conversion_strategy: PushConversion,
}

impl PushData {
    /// The key of the Secret; empty for all of it.
    pub fn secret_key(&self) -> &str {
        self.matched.secret_key.as_deref().unwrap_or_default()
    }

    /// The field inside of the secret in the store, where it is one.
    pub fn property(&self) -> Option<&str> {
        self.matched.remote_ref.property.as_deref().filter(|property| !property.is_empty())
    }

    /// What the status calls it: `key`, or `key/property`.
    pub fn status_key(&self) -> String {
        let key = &self.matched.remote_ref.remote_key;
        self.property().map_or_else(|| key.clone(), |property| format!("{key}/{property}"))
    }
}

/// What goes where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushMatch {
    /// The key of the Secret; none for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<String>,
    /// The place in the store.
    #[serde(default, deserialize_with = "lenient::null")]
    pub remote_ref: PushRemoteRef,
}

/// A place in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushRemoteRef {
    /// Name of the secret.
    #[serde(default, deserialize_with = "lenient::null")]
    pub remote_key: String,
    /// The field inside of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
}

words! {
    /// How keys of a Secret are read.
    PushConversion {
        /// As they are.
        default None,
        /// A code point that stands for a character is that character again.
        ReverseUnicode,
    }
}

/// Many values of a Secret, and where they go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushDataTo {
    /// The stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_ref: Option<PushStoreRef>,
    /// The one secret for all of them, as JSON; none where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_key: Option<String>,
    /// Which keys; none for all.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<PushKeys>,
    /// Changes to the keys, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub rewrite: Vec<PushRewrite>,
    /// What is said to the store only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// How keys of the Secret are read.
    #[serde(default, deserialize_with = "lenient::null")]
    pub conversion_strategy: PushConversion,
}

impl PushDataTo {
    /// The one secret for all values, where there is one.
    pub fn bundle(&self) -> Option<&str> {
        self.remote_key.as_deref().filter(|key| !key.is_empty())
    }
}

/// Which keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushKeys {
    /// A regular expression in RE2's syntax, unanchored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regexp: Option<String>,
}

/// One change to the keys; exactly one of the two is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushRewrite {
    /// Search and replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regexp: Option<RewriteRegexp>,
    /// A template renders each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<RewriteTransform>,
}

/// What was pushed: by store (`Kind/name`), by place in it ([`PushData::status_key`]).
pub type Pushed = BTreeMap<String, BTreeMap<String, PushData>>;

/// What we last saw and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushSecretStatus {
    /// When all was last as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::time")]
    pub refresh_time: Option<Time>,
    /// Which version of the PushSecret that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_resource_version: Option<String>,
    /// What was pushed, or is about to be.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::null")]
    pub synced_push_secrets: Pushed,
    /// Of it what was there before, and is not ours to delete: by store, the places.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::null")]
    pub found_push_secrets: BTreeMap<String, Vec<String>>,
    /// How the PushSecret is.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub conditions: Vec<Condition>,
}
