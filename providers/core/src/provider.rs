//! The trait that every store implements.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use regex::Regex;

use crate::{Credentials, Error, ErrorKind, SecretBytes};

/// What to fetch: one secret of a store, whole. Properties are taken out of the value later, once for all stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The name or path as the user wrote it (`remoteRef.key`).
    pub name: String,
    /// The version or stage as the user wrote it; `None` is the current one.
    pub version: Option<String>,
    /// Whether to fetch what the store knows about the secret instead of its value (`metadataPolicy: Fetch`).
    pub metadata: bool,
}

/// What to search a store for (`dataFrom.find`). What is given must all hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// A pattern that matches anywhere in the name.
    pub name: Option<Regex>,
    /// Where to begin, by the store's own idea of a path.
    pub path: Option<String>,
    /// Tags that a secret must bear.
    pub tags: BTreeMap<String, String>,
}

impl Query {
    /// Whether the name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }
}

/// What a store lets its clients do; shown in the store's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Secrets can be read.
    ReadOnly,
    /// Secrets can be written.
    WriteOnly,
    /// Both.
    ReadWrite,
}

impl Access {
    /// The word in `status.capabilities`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "ReadOnly",
            Self::WriteOnly => "WriteOnly",
            Self::ReadWrite => "ReadWrite",
        }
    }
}

/// How `remoteRef.property` is looked up in a value; External Secrets Operator differs by store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PropertyLookup {
    /// As a path only.
    #[default]
    Path,
    /// A top-level key of exactly this name first, then as a path.
    ExactThenPath,
    /// The value is a JSON object of base64 strings, one for each field of the secret, which may be any bytes (metadata is
    /// not): a field of exactly this name first, then the field before the first dot and a path into it. Without a
    /// property it is shown as an object of strings, and extracted as the bytes.
    Base64Fields,
    /// A property with a dot: as a path whose dots are part of one key first, then as a path.
    DottedKeyThenPath,
}

/// What becomes of [`Key::metadata`]; External Secrets Operator differs by store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metadata {
    /// The store keeps none, and says so.
    #[default]
    Refused,
    /// It is passed over: the value is answered.
    PassedOver,
    /// It is answered, as a JSON object, or as nothing where there is none.
    Answered,
}

/// What a store can do. Everything is off by default, so that a new field is a safe addition.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The most keys that one [`Provider::fetch`] takes; 1 where the store has no batch call.
    pub max_batch: usize,
    /// Whether [`Key::version`] means something here; where it does not, it is passed over, as External Secrets Operator
    /// does.
    pub versions: bool,
    /// What becomes of [`Key::metadata`].
    pub metadata: Metadata,
    /// Whether secrets can be found by name.
    pub find_by_name: bool,
    /// Whether secrets can be found below a path.
    pub find_by_path: bool,
    /// Whether secrets can be found by tags.
    pub find_by_tags: bool,
    /// Whether a search by neither name nor tags finds all that is there, or all below the path. Elsewhere it is
    /// refused: what was forgotten must not bring every secret of a store into a target.
    pub find_all: bool,
    /// Whether the names of what is found are converted to keys before they are rewritten, and not only where nothing is
    /// rewritten. External Secrets Operator differs by store.
    pub find_converts_names: bool,
    /// How a property is looked up.
    pub property: PropertyLookup,
    /// Whether the fields that `dataFrom.extract` takes are written as Go writes what it read: numbers through a float,
    /// objects and lists anew. Elsewhere they stay as they stand in the value.
    pub extract_writes_anew: bool,
    /// Whether a missing property counts as a missing secret for deletionPolicy.
    pub missing_property_is_not_found: bool,
    /// Whether a missing secret is an error like any other for entries of `data`, so that deletionPolicy acts only on
    /// what `dataFrom` misses.
    pub missing_fails_data: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            max_batch: 1,
            versions: false,
            metadata: Metadata::Refused,
            find_by_name: false,
            find_by_path: false,
            find_by_tags: false,
            find_all: false,
            find_converts_names: false,
            property: PropertyLookup::Path,
            extract_writes_anew: false,
            missing_property_is_not_found: false,
            missing_fails_data: false,
        }
    }
}

/// The most secrets that one search may find.
pub const MOST_FOUND: usize = 10_000;

/// A store, logged in and ready. It lives as long as the store's spec and credentials stay the same, is shared by
/// all who use the store, and renews its own login.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What this store can do. Constant for the life of the provider.
    fn capabilities(&self) -> Capabilities;

    /// Whether `key` may travel in one [`fetch`](Provider::fetch) with these, of which there is at least one.
    fn joins(&self, batch: &[Key], _key: &Key) -> bool {
        batch.len() < self.capabilities().max_batch
    }

    /// Fetches up to [`Capabilities::max_batch`] distinct keys, each of which [`joins`](Provider::joins) the others.
    ///
    /// - Answers one result per key, in the order of `keys`; an error of one key never touches another's result.
    /// - The outer error is for a call that failed as a whole;
    ///   [`BatchDenied`](crate::ErrorKind::BatchDenied) where only several at once are refused.
    /// - A key that the store says does not exist is [`NotFound`](crate::ErrorKind::NotFound), and nothing else is:
    ///   a key that an answer simply leaves out is [`Malformed`](crate::ErrorKind::Malformed).
    /// - A key that asks for metadata where they are refused is [`Unsupported`](crate::ErrorKind::Unsupported).
    /// - A store that keeps several fields per secret answers them as one JSON object: compact, keys sorted,
    ///   numbers digit for digit.
    /// - Never retries and never caches a value.
    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Result<SecretBytes, Error>>, Error>;

    /// Finds the keys of all secrets that answer `query`, sorted; their values are fetched like any others.
    ///
    /// - Called only with what the `find_by_*` capabilities allow.
    /// - Secrets that are marked as deleted may be among them: fetching them is what tells.
    /// - More than [`MOST_FOUND`] is an error, not a part of them.
    async fn find(&self, _query: &Query) -> Result<Vec<Key>, Error> {
        Err(Error::new(ErrorKind::Unsupported, "this store can't be searched"))
    }

    /// Checks that the store can be reached and that the login is good, without reading a secret.
    async fn validate(&self) -> Result<(), Error>;

    /// What the store's status should say about whom it is used as, where that is not in the store's own spec: the
    /// operator itself.
    fn identity_note(&self) -> Option<String> {
        None
    }
}

/// Where a provider reports the calls it makes, for metrics. Called once per attempt on the wire.
pub trait Calls: Send + Sync {
    /// `call` is the name External Secrets Operator's metric uses for it, such as `ReadSecretData`.
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, elapsed: Duration);
}

impl Calls for () {
    fn record(&self, _: &'static str, _: &'static str, _: bool, _: Duration) {}
}

/// Whom a provider works for. Some stores tell the server, for its policies and its audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// `SecretStore` or `ClusterSecretStore`.
    pub store_kind: &'static str,
    /// The name of the store.
    pub store: String,
    /// The namespace that asks; always known for a SecretStore. Where it is `None` the provider will answer everybody
    /// who may use the store: one that tells the server who asks refuses that with
    /// [`Referent`](crate::ErrorKind::Referent), and is then built for each namespace.
    pub namespace: Option<String>,
}

/// Settings of the process, by the names of environment variables.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a provider is built with.
#[derive(Clone)]
pub struct BuildContext {
    /// Where to get secrets, tokens and CA bundles that the spec refers to.
    pub credentials: Arc<dyn Credentials>,
    /// Where to report calls.
    pub calls: Arc<dyn Calls>,
    /// Whether the store's URLs may lead to link-local addresses, where clouds keep their metadata services. Off for
    /// stores of a namespace, whose authors need not be trusted with what the node may reach.
    pub allow_link_local: bool,
    /// Whom the provider works for.
    pub caller: Caller,
    /// Settings of the process: what External Secrets Operator takes from its environment, such as endpoints.
    pub environment: Environment,
}

impl BuildContext {
    /// A context that allows nothing, for nobody in particular, in a process without settings.
    pub fn new(credentials: Arc<dyn Credentials>, calls: Arc<dyn Calls>) -> Self {
        let (allow_link_local, caller) = Default::default();
        Self { credentials, calls, allow_link_local, caller, environment: Arc::new(|_| None) }
    }
}

/// The future that [`Registration::build`] gives.
pub type BuildFuture<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn Provider>, Error>> + Send + 'a>>;

/// How a provider crate presents itself to the registry.
#[derive(Clone, Copy)]
pub struct Registration {
    /// The key under `spec.provider`.
    pub name: &'static str,
    /// What `status.capabilities` says: what External Secrets Operator publishes, though nothing can be pushed yet.
    pub access: Access,
    /// Whether the store's status should warn that nobody maintains this provider.
    pub maintained: bool,
    /// Builds the provider from what stands under that key, logging in where the method needs a login.
    pub build: for<'a> fn(&'a serde_json::Value, BuildContext) -> BuildFuture<'a>,
}
