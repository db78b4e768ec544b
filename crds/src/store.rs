//! SecretStore and ClusterSecretStore: where secrets are kept, and how to get in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::condition::Condition;
use crate::duration::{self, NotADuration};
use crate::lenient::{self, words};
use crate::resource::kind;

kind! {
    /// A place where secrets are kept, for the ExternalSecrets of its namespace.
    SecretStore, "secretstores", kube_core::NamespaceResourceScope, SecretStoreSpec, SecretStoreStatus
}

kind! {
    /// A place where secrets are kept, for the namespaces that its conditions let in.
    ClusterSecretStore, "clustersecretstores", kube_core::ClusterResourceScope, SecretStoreSpec, SecretStoreStatus
}

/// Where secrets are kept, and how to get in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretStoreSpec {
    /// The controller class that serves this store; empty is every class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// The provider and its configuration; see [`SecretStoreSpec::the_provider`].
    #[serde(default, deserialize_with = "lenient::null")]
    pub provider: Provider,
    /// How often and how fast a failed call is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_settings: Option<RetrySettings>,
    /// Time between two validations, as written; see [`SecretStoreSpec::refresh_every`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<Value>,
    /// The namespaces that may use a ClusterSecretStore; none given lets all in.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub conditions: Vec<NamespaceCondition>,
    /// Who logs in, where that is not the store's own word; External Secrets Operator does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_by: Option<LoginBy>,
}

words! {
    /// Who logs in to a store.
    LoginBy {
        /// Whoever the store names, for all that use it.
        default Store,
        /// Whoever mounts, as itself: nothing is fetched for anybody else.
        Mount,
    }
}

impl SecretStoreSpec {
    /// The one provider: its key, and its configuration for its crate to decode. A key that is null counts as not
    /// there.
    pub fn the_provider(&self) -> Result<(&str, Value), ProviderProblem> {
        match self.provider.0.as_slice() {
            [] => Err(ProviderProblem::None),
            [(name, config)] => {
                let config = serde_json::from_str(config);
                Ok((name, config.map_err(|_| ProviderProblem::TooDeep(name.to_string()))?))
            }
            several => Err(ProviderProblem::Several(several.iter().map(|(name, _)| name.to_string()).collect())),
        }
    }

    /// Time between two validations: whole seconds or a duration string. `None` (unset or zero) is the operator's own
    /// default.
    pub fn refresh_every(&self) -> Result<Option<Duration>, NotADuration> {
        let seconds = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        match &self.refresh_interval {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => match duration::nanoseconds(text)? {
                negative if negative < 0 => Err(NotADuration(text.clone())),
                nanoseconds => Ok((nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds.unsigned_abs()))),
            },
            Some(other) => other.as_u64().map(seconds).ok_or_else(|| NotADuration(other.to_string())),
        }
    }
}

/// Configurations by provider key, sorted, without those that are null. It should hold one; see
/// [`SecretStoreSpec::the_provider`].
///
/// Each is kept as its JSON text: decoded, a map of two fields takes more than half a KiB, and there may be thousands of
/// stores. `Debug` shows the keys only: the configuration of a `fake` store holds values.
#[derive(Clone, Default, PartialEq)]
pub struct Provider(Vec<(Box<str>, Box<str>)>);

impl Provider {
    /// The keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Serialize for Provider {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let decoded = |text: &str| serde_json::from_str::<Value>(text).map_err(S::Error::custom);
        let all = self.0.iter().map(|(name, text)| Ok((name, decoded(text)?)));
        output.collect_map(all.collect::<Result<Vec<_>, S::Error>>()?)
    }
}

impl<'de> Deserialize<'de> for Provider {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let all = BTreeMap::<Box<str>, Value>::deserialize(input)?;
        let set = all.into_iter().filter(|(_, config)| !config.is_null());
        Ok(Self(set.map(|(name, config)| (name, config.to_string().into_boxed_str())).collect()))
    }
}

/// Why a store has no provider to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderProblem {
    /// No key is set.
    None,
    /// These keys are set, in alphabetical order.
    Several(Vec<String>),
    /// What stands under this key is nested deeper than JSON is read.
    TooDeep(String),
}

impl fmt::Display for ProviderProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("spec.provider names no provider: set exactly one"),
            Self::Several(names) => write!(f, "spec.provider names {}: keep exactly one", names.join(" and ")),
            Self::TooDeep(name) => write!(f, "spec.provider.{name} is nested too deeply"),
        }
    }
}

impl std::error::Error for ProviderProblem {}

/// How often and how fast a failed call is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetrySettings {
    /// Tries after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i32>,
    /// Time between two tries, as written.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub retry_interval: Option<String>,
}

/// Namespaces that may use a ClusterSecretStore: those that any of the three lets in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceCondition {
    /// Namespaces with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Namespaces with these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub namespaces: Vec<String>,
    /// Namespaces whose name one of these regular expressions (RE2, unanchored) matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub namespace_regexes: Vec<String>,
}

/// What we last saw of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecretStoreStatus {
    /// How it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub conditions: Vec<Condition>,
    /// What can be done with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
}

words! {
    /// What can be done with a store.
    Capabilities {
        /// Read.
        default ReadOnly,
        /// Write.
        WriteOnly,
        /// Both.
        ReadWrite,
    }
}
