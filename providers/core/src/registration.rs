//! How providers and generators present themselves, and what they are built with.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::address::Addresses;
use crate::{Capabilities, Credentials, Error, Generator, KeyServices, Provider, SecretBytes, Unseal};

/// Where it is told, for metrics, what calls are made: by a provider each attempt on the wire, and by who fetches for many what
/// they share. A `store_type` is a key of `spec.provider`.
pub trait Calls: Send + Sync {
    /// `call` is the name External Secrets Operator's metric uses for it, such as `ReadSecretData`.
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, elapsed: Duration);

    /// So many keys are fetched at once, of the most that one call takes.
    fn fetching(&self, _store_type: &'static str, _keys: usize, _most: usize) {}

    /// So many who waited for a key were answered, by so many such calls.
    fn fetched(&self, _store_type: &'static str, _answers: usize, _calls: usize) {}

    /// A store asked to slow down.
    fn throttled(&self, _store_type: &'static str) {}
}

impl Calls for () {
    fn record(&self, _: &'static str, _: &'static str, _: bool, _: Duration) {}
}

/// Where there is room to read large answers: of many at once, some wait.
#[async_trait]
pub trait Room: Send + Sync {
    /// Waits for room to read an answer of up to so many bytes, which there is while the guard lives. Who has some and
    /// needs more asks for all of it, and keeps what it has.
    async fn take(&self, bytes: usize) -> Box<dyn Send + Sync>;
}

/// Room for everything.
#[async_trait]
impl Room for () {
    async fn take(&self, _: usize) -> Box<dyn Send + Sync> {
        Box::new(())
    }
}

/// Files that stores may read: those of who runs keyferry on a machine of their own. An operator has none.
pub trait Files: fmt::Debug + Send + Sync {
    /// Reads a file of up to `most` bytes; `path` is relative, and leads nowhere outside.
    ///
    /// # Errors
    /// `Invalid`, which names the path.
    fn read(&self, path: &str, most: usize) -> Result<SecretBytes, Error>;
}

/// Whom a provider works for. Some stores tell the server, for its policies and its audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// `SecretStore` or `ClusterSecretStore`; the kind of a generator.
    pub store_kind: &'static str,
    /// The name of the store or generator.
    pub store: String,
    /// The namespace that asks; always known for a SecretStore and for a generator. Where it is `None` the provider will
    /// answer everybody who may use the store: one that tells the server who asks refuses that with
    /// [`Referent`](crate::ErrorKind::Referent), and is then built for each namespace.
    pub namespace: Option<String>,
}

impl Caller {
    /// Whether the author of the spec is trusted with the whole cluster: who may say to which server the operator shows
    /// what it is itself.
    pub fn is_of_cluster(&self) -> bool {
        self.store_kind == "ClusterSecretStore"
    }

    /// Whether it is a generator, by itself or in a ClusterGenerator.
    pub fn is_of_generator(&self) -> bool {
        !["", "SecretStore", "ClusterSecretStore"].contains(&self.store_kind)
    }
}

/// Settings of the process, by the names of environment variables.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a provider or generator is built with.
#[derive(Clone)]
pub struct BuildContext {
    /// Where to get secrets, tokens and CA bundles that the spec refers to.
    pub credentials: Arc<dyn Credentials>,
    /// Where to report calls.
    pub calls: Arc<dyn Calls>,
    /// Where to ask for room before a large answer is read.
    pub room: Arc<dyn Room>,
    /// Where the store's URLs may lead, and through which proxies. The authors of stores of a namespace need not be
    /// trusted with what the operator's own machine may reach.
    pub addresses: Addresses,
    /// Whether the identity that a cloud gives the operator itself may be used where the spec names no other.
    pub ambient_identity: bool,
    /// Whom the provider works for.
    pub caller: Caller,
    /// Settings of the process: what External Secrets Operator takes from its environment, such as endpoints.
    pub environment: Environment,
    /// The files that the spec may name; `None` where it may name none.
    pub files: Option<Arc<dyn Files>>,
    /// Services that keep keys.
    pub key_services: KeyServices,
    /// Who opens what was sealed; `None` where nobody does.
    pub unseal: Option<Arc<dyn Unseal>>,
    /// The longest that what a generator makes is asked to live for at once, where that is bounded.
    pub longest_lease: Option<Duration>,
}

impl BuildContext {
    /// A context that allows nothing, for nobody in particular, in a process without settings.
    pub fn new(credentials: Arc<dyn Credentials>, calls: Arc<dyn Calls>) -> Self {
        Self {
            credentials,
            calls,
            room: Arc::new(()),
            addresses: Addresses::default(),
            ambient_identity: false,
            caller: Caller::default(),
            environment: Arc::new(|_| None),
            files: None,
            key_services: |_| None,
            unseal: None,
            longest_lease: None,
        }
    }

    /// The same for a store whose author is trusted with what the operator itself may reach and be.
    pub fn trusted(self) -> Self {
        let addresses = Addresses::anywhere().through(self.addresses.proxies().clone());
        Self { addresses, ambient_identity: true, ..self }
    }
}

/// The future that [`Registration::build`] gives.
pub type BuildFuture<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn Provider>, Error>> + Send + 'a>>;

/// How a provider crate presents itself to the registry.
#[derive(Clone, Copy)]
pub struct Registration {
    /// The key under `spec.provider`.
    pub name: &'static str,
    /// What a store with this under that key can do: known before anybody has logged in, and of a spec that makes no
    /// sense, too. `status.capabilities` follows from it.
    pub capabilities: fn(&serde_json::Value) -> Capabilities,
    /// Whether the store's status should warn that nobody maintains this provider.
    pub maintained: bool,
    /// Builds the provider from what stands under that key, logging in where the method needs a login.
    pub build: for<'a> fn(&'a serde_json::Value, BuildContext) -> BuildFuture<'a>,
}

/// What [`GeneratorRegistration::build`] gives.
pub type Built = Result<Arc<dyn Generator>, Error>;

/// How a crate presents a kind of generator to the registry.
#[derive(Clone, Copy)]
pub struct GeneratorRegistration {
    /// The kind.
    pub kind: &'static str,
    /// The field of a ClusterGenerator's `spec.generator` that holds the spec of this kind.
    pub field: &'static str,
    /// Whether what it makes may have a state, by which it is revoked.
    pub has_state: bool,
    /// Builds the generator from its spec. Nothing is asked of anybody before it makes something.
    pub build: fn(&serde_json::Value, BuildContext) -> Built,
}
