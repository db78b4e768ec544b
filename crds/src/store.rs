//! SecretStore and ClusterSecretStore: where secrets are kept, and how to get in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::condition::{self, Condition};
use crate::duration::{self, NotADuration};
use crate::lenient::{self, words};
use crate::names;
use crate::resource::kind;

kind! {
    /// A place where secrets are kept, for the ExternalSecrets of its namespace.
    SecretStore, "secretstores", kube_core::NamespaceResourceScope, SecretStoreSpec, SecretStoreStatus
}

kind! {
    /// A place where secrets are kept, for the namespaces that its conditions let in.
    ClusterSecretStore, "clustersecretstores", kube_core::ClusterResourceScope, SecretStoreSpec, SecretStoreStatus
}

impl SecretStore {
    /// The Ready condition as last written.
    pub fn ready(&self) -> Option<&Condition> {
        condition::find(&self.status.as_ref()?.conditions, names::CONDITION_READY)
    }
}

impl ClusterSecretStore {
    /// The Ready condition as last written.
    pub fn ready(&self) -> Option<&Condition> {
        condition::find(&self.status.as_ref()?.conditions, names::CONDITION_READY)
    }
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
    pub fn the_provider(&self) -> Result<(&str, &Value), ProviderProblem> {
        let mut set = self.provider.0.iter().filter(|(_, config)| !config.is_null());
        match (set.next(), set.next()) {
            (None, _) => Err(ProviderProblem::None),
            (Some((name, config)), None) => Ok((name, config)),
            (Some((first, _)), Some((second, _))) => {
                let rest = set.map(|(name, _)| name.clone());
                Err(ProviderProblem::Several([first.clone(), second.clone()].into_iter().chain(rest).collect()))
            }
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

/// Configurations by provider key. It should hold one; see [`SecretStoreSpec::the_provider`].
///
/// `Debug` shows the keys only: the configuration of a `fake` store holds values.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provider(pub BTreeMap<String, Value>);

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a store has no provider to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderProblem {
    /// No key is set.
    None,
    /// These keys are set, in alphabetical order.
    Several(Vec<String>),
}

impl fmt::Display for ProviderProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("spec.provider names no provider: set exactly one"),
            Self::Several(names) => write!(f, "spec.provider names {}: keep exactly one", names.join(" and ")),
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
