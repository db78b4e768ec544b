//! ExternalSecret: which values to fetch, and the Secret to put them in.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::duration::{self, NotADuration};
use crate::lenient::{self, words};
use crate::resource::kind;

/// What [`ExternalSecretSpec::refresh_interval`] is where nobody set it; also the schema's default.
pub const DEFAULT_REFRESH_INTERVAL: &str = "1h0m0s";

kind! {
    /// Fetches values from a store, and keeps a Secret (or another object) equal to them.
    ExternalSecret, "externalsecrets", kube_core::NamespaceResourceScope, ExternalSecretSpec, ExternalSecretStatus
}

impl ExternalSecret {
    /// Name of the target: `target.name`, else that of the ExternalSecret itself.
    pub fn target_name(&self) -> &str {
        match self.spec.target.name.as_deref() {
            Some(name) if !name.is_empty() => name,
            _ => self.metadata.name.as_deref().unwrap_or_default(),
        }
    }

    /// The kind of the target, where it is not a Secret.
    pub fn target_manifest(&self) -> Option<&Manifest> {
        self.spec.target.manifest.as_ref().filter(|manifest| !manifest.is_secret())
    }
}

/// What to fetch, how often, and what to make of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSecretSpec {
    /// When to refresh.
    #[serde(default, deserialize_with = "lenient::null")]
    pub refresh_policy: RefreshPolicy,
    /// Time between two refreshes, as written; see [`ExternalSecretSpec::refresh_every`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub refresh_interval: Option<String>,
    /// The store of every entry that doesn't name its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_store_ref: Option<SecretStoreRef>,
    /// The object to write.
    #[serde(default, deserialize_with = "lenient::null")]
    pub target: Target,
    /// When periodic refreshes may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_windows: Option<SyncWindows>,
    /// Single values.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub data: Vec<DataEntry>,
    /// Whole secrets, searches and generators.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub data_from: Vec<DataFromEntry>,
}

impl ExternalSecretSpec {
    /// Time between two refreshes; `None` (zero or less) is never.
    pub fn refresh_every(&self) -> Result<Option<Duration>, NotADuration> {
        duration::interval(self.refresh_interval.as_deref().unwrap_or(DEFAULT_REFRESH_INTERVAL))
    }
}

words! {
    /// When an ExternalSecret is refreshed.
    RefreshPolicy {
        /// At every interval, and when it changes.
        default Periodic,
        /// Once, then never again.
        CreatedOnce,
        /// When it changes.
        OnChange,
    }
}

/// Names a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretStoreRef {
    /// Name of the store.
    #[serde(default, deserialize_with = "lenient::null")]
    pub name: String,
    /// Kind of the store.
    #[serde(default, deserialize_with = "lenient::null")]
    pub kind: StoreKind,
}

words! {
    /// The two kinds of store.
    StoreKind {
        /// A store of the ExternalSecret's own namespace.
        default SecretStore,
        /// A store of the whole cluster.
        ClusterSecretStore,
    }
}

/// The object to write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its name, where that is not the name of the ExternalSecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who makes it and who owns it.
    #[serde(default, deserialize_with = "lenient::null")]
    pub creation_policy: CreationPolicy,
    /// What happens when the store no longer has the values.
    #[serde(default, deserialize_with = "lenient::null")]
    pub deletion_policy: DeletionPolicy,
    /// Make the Secret immutable.
    #[serde(default, deserialize_with = "lenient::null")]
    pub immutable: bool,
    /// The kind of object, where it is not a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// How to shape it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

words! {
    /// Who makes the target and who owns it.
    CreationPolicy {
        /// We make it and own it: it goes when the ExternalSecret goes.
        default Owner,
        /// We make it, and it stays.
        Orphan,
        /// Somebody else makes it, we add our keys.
        Merge,
        /// Nothing is written.
        None,
        /// Made if absent, our keys added if present.
        CreateOrMerge,
    }
}

words! {
    /// What happens to the target when the store no longer has the values.
    DeletionPolicy {
        /// It stays, and a missing value is an error.
        default Retain,
        /// It goes when nothing is left.
        Delete,
        /// Its keys go, it stays.
        Merge,
    }
}

/// The kind of a target that is not (or not treated as) a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Group and version.
    #[serde(default, deserialize_with = "lenient::null")]
    pub api_version: String,
    /// Kind.
    #[serde(default, deserialize_with = "lenient::null")]
    pub kind: String,
}

impl Manifest {
    /// Is it a plain Secret after all?
    pub fn is_secret(&self) -> bool {
        self.api_version == "v1" && self.kind == "Secret"
    }
}

/// How to shape the target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Type of the Secret.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// The template language.
    #[serde(default, deserialize_with = "lenient::null")]
    pub engine_version: EngineVersion,
    /// Labels, annotations and finalizers.
    #[serde(default, deserialize_with = "lenient::null")]
    pub metadata: TemplateMetadata,
    /// Do the fetched keys stay beside the rendered ones?
    #[serde(default, deserialize_with = "lenient::null")]
    pub merge_policy: MergePolicy,
    /// Templates, by key of the target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::null")]
    pub data: BTreeMap<String, String>,
    /// Templates kept elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub template_from: Vec<TemplateFrom>,
}

words! {
    /// The template language.
    #[expect(non_camel_case_types, reason = "the variant is the word on the wire")]
    EngineVersion {
        /// Go text/template with sprig.
        default v2,
    }
}

words! {
    /// Do the fetched keys stay beside the rendered ones?
    MergePolicy {
        /// No: the template's keys are all.
        default Replace,
        /// Yes.
        Merge,
    }
}

/// What a template adds to the target's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateMetadata {
    /// Annotations, values rendered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::null")]
    pub annotations: BTreeMap<String, String>,
    /// Labels, values rendered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::null")]
    pub labels: BTreeMap<String, String>,
    /// Finalizers, added and never removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub finalizers: Vec<String>,
}

/// Templates from a ConfigMap, a Secret or the manifest itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateFrom {
    /// A ConfigMap that holds templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<TemplateRef>,
    /// A Secret that holds templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<TemplateRef>,
    /// A template that renders to a YAML map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub literal: Option<String>,
    /// Where results go, as written: `Data`, `Annotations`, `Labels` in any case, or a path for targets that are not
    /// Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How rendered values are decoded.
    #[serde(default, deserialize_with = "lenient::null")]
    pub values_decoding_strategy: DecodingStrategy,
}

/// A ConfigMap or Secret, and which of its keys are templates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateRef {
    /// Its name.
    #[serde(default, deserialize_with = "lenient::null")]
    pub name: String,
    /// Its keys.
    #[serde(default, deserialize_with = "lenient::null")]
    pub items: Vec<TemplateItem>,
}

/// One key that holds a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateItem {
    /// The key.
    #[serde(default, deserialize_with = "lenient::null")]
    pub key: String,
    /// What the rendered text is.
    #[serde(default, deserialize_with = "lenient::null")]
    pub template_as: TemplateScope,
}

words! {
    /// What a rendered template is.
    TemplateScope {
        /// The value of the key.
        default Values,
        /// A YAML map of keys and values.
        KeysAndValues,
    }
}

/// When periodic refreshes may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncWindows {
    /// Whether refreshes run only inside or only outside of the windows.
    #[serde(default, deserialize_with = "lenient::null")]
    pub kind: SyncWindowKind,
    /// The windows.
    #[serde(default, deserialize_with = "lenient::null")]
    pub windows: Vec<SyncWindow>,
}

words! {
    /// What a window does.
    #[expect(non_camel_case_types, reason = "the variant is the word on the wire")]
    SyncWindowKind {
        /// Refreshes run inside of it.
        default allow,
        /// Refreshes wait until it is over.
        deny,
    }
}

/// A span of time that comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncWindow {
    /// When it opens: cron.
    #[serde(default, deserialize_with = "lenient::null")]
    pub schedule: String,
    /// How long it stays open, as written.
    #[serde(default, deserialize_with = "lenient::null")]
    pub duration: String,
}

/// One value, and the key to put it under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataEntry {
    /// Key in the target.
    #[serde(default, deserialize_with = "lenient::null")]
    pub secret_key: String,
    /// Where the value is.
    #[serde(default, deserialize_with = "lenient::null")]
    pub remote_ref: RemoteRef,
    /// Another store than that of the ExternalSecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<SourceRef>,
}

/// A place in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteRef {
    /// Name of the secret.
    #[serde(default, deserialize_with = "lenient::null")]
    pub key: String,
    /// Path inside of its value; empty is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// Version; empty is the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Fetch the value or its metadata?
    #[serde(default, deserialize_with = "lenient::null")]
    pub metadata_policy: MetadataPolicy,
    /// How names become keys of a Secret.
    #[serde(default, deserialize_with = "lenient::null")]
    pub conversion_strategy: ConversionStrategy,
    /// How the value is decoded.
    #[serde(default, deserialize_with = "lenient::null")]
    pub decoding_strategy: DecodingStrategy,
    /// What a zero byte in the value means.
    #[serde(default, deserialize_with = "lenient::null")]
    pub null_byte_policy: NullBytePolicy,
}

words! {
    /// Fetch the value or its metadata?
    MetadataPolicy {
        /// The value.
        default None,
        /// Its tags, labels or annotations, as JSON.
        Fetch,
    }
}

words! {
    /// How names become keys of a Secret.
    ConversionStrategy {
        /// What a key can't hold becomes `_`.
        default Default,
        /// What a key can't hold becomes its code point.
        Unicode,
    }
}

words! {
    /// How a value is decoded.
    DecodingStrategy {
        /// It is taken as it is.
        default None,
        /// From base64 of either alphabet if it is that, else as it is.
        Auto,
        /// From base64.
        Base64,
        /// From base64 with the alphabet for URLs.
        Base64URL,
    }
}

words! {
    /// What a zero byte in a value means.
    NullBytePolicy {
        /// Nothing.
        default Ignore,
        /// An error.
        Fail,
    }
}

/// Several values at once: a whole secret, a search, or a generator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataFromEntry {
    /// Every field of one secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<RemoteRef>,
    /// Every secret that matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
    /// Changes to the keys, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub rewrite: Vec<Rewrite>,
    /// Another store than that of the ExternalSecret, or a generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<SourceRef>,
}

/// What to search a store for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Find {
    /// Where to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Names to find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<FindName>,
    /// Tags to find; all must match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::null")]
    pub tags: BTreeMap<String, String>,
    /// How names become keys of a Secret.
    #[serde(default, deserialize_with = "lenient::null")]
    pub conversion_strategy: ConversionStrategy,
    /// How the values are decoded.
    #[serde(default, deserialize_with = "lenient::null")]
    pub decoding_strategy: DecodingStrategy,
    /// What a zero byte in a value means.
    #[serde(default, deserialize_with = "lenient::null")]
    pub null_byte_policy: NullBytePolicy,
}

/// Names to find.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindName {
    /// A regular expression in RE2's syntax, unanchored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regexp: Option<String>,
}

/// One change to the keys; exactly one of the three is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// All values become one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<RewriteMerge>,
    /// Search and replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regexp: Option<RewriteRegexp>,
    /// A template renders each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<RewriteTransform>,
}

/// All values, which are JSON objects, become one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RewriteMerge {
    /// Key of the result, with [`MergeStrategy::JSON`].
    #[serde(default, deserialize_with = "lenient::null")]
    pub into: String,
    /// Keys that win, the last one most.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub priority: Vec<String>,
    /// What an absent key of `priority` means.
    #[serde(default, deserialize_with = "lenient::null")]
    pub priority_policy: MergePriorityPolicy,
    /// What it means that two values hold the same field.
    #[serde(default, deserialize_with = "lenient::null")]
    pub conflict_policy: MergeConflictPolicy,
    /// What the result is.
    #[serde(default, deserialize_with = "lenient::null")]
    pub strategy: MergeStrategy,
}

words! {
    /// What an absent key of `priority` means.
    MergePriorityPolicy {
        /// An error.
        default Strict,
        /// Nothing.
        IgnoreNotFound,
    }
}

words! {
    /// What it means that two values hold the same field.
    MergeConflictPolicy {
        /// An error.
        default Error,
        /// The later one wins.
        Ignore,
    }
}

words! {
    /// What the result of a merge is.
    MergeStrategy {
        /// One key for each field.
        default Extract,
        /// One key that holds JSON.
        JSON,
    }
}

/// Search and replace in keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewriteRegexp {
    /// A regular expression in RE2's syntax.
    #[serde(default, deserialize_with = "lenient::null")]
    pub source: String,
    /// The replacement, with `$1` for groups.
    #[serde(default, deserialize_with = "lenient::null")]
    pub target: String,
}

/// A template renders each key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewriteTransform {
    /// The template; `.value` is the key.
    #[serde(default, deserialize_with = "lenient::null")]
    pub template: String,
}

/// Another source than the ExternalSecret's own store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// A store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_ref: Option<SecretStoreRef>,
    /// A generator; without effect in `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator_ref: Option<GeneratorRef>,
}

/// Names a generator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorRef {
    /// Its group and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Its kind.
    #[serde(default, deserialize_with = "lenient::null")]
    pub kind: String,
    /// Its name.
    #[serde(default, deserialize_with = "lenient::null")]
    pub name: String,
}

/// What we last saw and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSecretStatus {
    /// When the values were last fetched.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::time")]
    pub refresh_time: Option<Time>,
    /// Which generation, labels and annotations that was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_resource_version: Option<String>,
    /// By when what generators made is to be replaced, where that ends and no GeneratorState tells of it. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::time")]
    pub refresh_by: Option<Time>,
    /// How it went.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub conditions: Vec<Condition>,
    /// The Secret to bind to; written even where the name is empty, as ESO does.
    #[serde(default, deserialize_with = "lenient::null")]
    pub binding: Binding,
}

/// A Secret that applications can bind to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Its name.
    #[serde(default, deserialize_with = "lenient::null")]
    pub name: String,
}
