//! The clients of stores. One lives as long as the spec of its store and every object that it logged in with stay
//! the same (a cache, keyed by login and invalidated by versions); all ExternalSecrets that may use the store share it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use keyferry_crds::{SecretStoreSpec, duration};
use keyferry_limits::{CREDENTIAL_AGE, LARGE_SEARCHES, STORE_WAIT};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{
    Answer, BuildContext, Built, Caller, Calls, Dialect, Environment, Error, ErrorKind, Files, Keep, Key, Made,
    Provider, Query, State, Term, Unseal,
};
use keyferry_provider_guard::{Delay, Guarded, Retries};
use keyferry_sync::asking::Asking;
use keyferry_sync::dependency::Dependency;
use keyferry_sync::excess;
use keyferry_sync::ports::{About, Change, Clients, Entered, Generator, Planning, Refused, Stores, Versions};
use keyferry_sync::settings::Scope;
use keyferry_sync::store::{Store, StoreId};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::access::{AmbientIdentity, LoginId, LoginPorts, Requester, Watched};
use crate::fetcher::{Barrier, Fetcher};
use crate::generators::{self, CALL_TIMEOUT, bounded};
use crate::instead::Instead;
use crate::registry;
use crate::room::{Door, Rooms};

/// How old a client is at least that is made anew since its store refuses it: one that is younger is refused rightly.
const TOO_YOUNG_TO_DOUBT: Duration = Duration::from_secs(60);

/// The most that a store may ask for in `retrySettings`: one refresh must end before long.
const MOST_RETRIES: i32 = 10;
const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(30);

/// What the users of a store whose batch call is denied should know.
const SINGLY: &str = "reading key by key, since the store's batch call is denied: allow it to save calls (the \
                      documentation of the provider names the permission)";

/// What stores may do beside reading secrets.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Where URLs of SecretStores may lead, and through which proxies; those of ClusterSecretStores may lead anywhere.
    pub addresses: Addresses,
    /// The proxies of ClusterSecretStores.
    pub proxies: Proxies,
    /// Which stores may use the operator's own identity in a cloud.
    pub ambient_identity: AmbientIdentity,
    /// The namespaces whose objects are watched.
    pub scope: Scope,
    /// The files that stores may read; an operator's may read none.
    pub files: Option<Arc<dyn Files>>,
    /// Who opens what was sealed, where somebody does.
    pub unseal: Option<Arc<dyn Unseal>>,
    /// The longest that what generators make is asked to live for at once, where that is bounded.
    pub longest_lease: Option<Duration>,
    /// The room of the process, which all pools that are made by these rules or copies of them share.
    pub rooms: Arc<Rooms>,
}

/// A client, and what it was made from.
pub struct StoreClient {
    /// The provider, guarded.
    pub provider: Arc<Guarded>,
    /// How its secrets are fetched.
    pub fetcher: Arc<Fetcher>,
    pub(crate) door: Arc<Door>,
    dependencies: Versions,
    /// Whether the store did not accept what it logged in with.
    is_doubted: AtomicBool,
    /// Whether the last that was asked of the store came to something, and that after the last check.
    has_answered: AtomicBool,
    trouble: Trouble,
    large_searches: Arc<LargeSearches>,
}

/// Tells of a store whose last check failed once it is seen to work.
#[derive(Clone)]
struct Trouble {
    store: StoreId,
    all: Arc<Mutex<HashSet<StoreId>>>,
    news: mpsc::UnboundedSender<StoreId>,
}

impl Trouble {
    /// Takes note of what a check came to.
    fn checked(&self, failed: bool) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if failed {
            all.insert(self.store.clone());
        } else {
            all.remove(&self.store);
        }
    }

    /// It works.
    fn is_over(&self) {
        if self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.store) {
            let _ = self.news.send(self.store.clone()); // nobody listens any more when the process ends
        }
    }
}

/// The turns of searches that hold many names, by the namespace that searches.
#[derive(Default)]
struct LargeSearches(Mutex<HashMap<String, Arc<Semaphore>>>);

impl LargeSearches {
    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = || Arc::new(Semaphore::new(LARGE_SEARCHES.size()));
        all.entry(namespace.to_owned()).or_insert_with(turns).clone()
    }

    /// Forgets what nobody uses.
    fn tidy(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, turns| Arc::strong_count(turns) > 1);
    }
}

impl StoreClient {
    /// Takes note of an error that a login made anew may well mend.
    pub(crate) fn note(&self, error: Option<&Error>) {
        if error.is_some_and(|error| error.kind() == ErrorKind::Unauthenticated) {
            self.is_doubted.store(true, Ordering::Relaxed);
        }
    }

    /// Takes note of what was asked for: a secret that was read is as good as a check, until something is wrong with the
    /// store as a whole.
    fn note_all<'a>(&self, answers: impl IntoIterator<Item = Option<&'a Error>>) {
        let (mut has_read, mut is_wrong) = (false, false);
        for error in answers {
            self.note(error);
            has_read |= error.is_none();
            is_wrong |= error.is_some_and(|error| error.kind().concerns_store());
        }
        if is_wrong {
            self.has_answered.store(false, Ordering::Relaxed);
        } else if has_read {
            self.has_answered.store(true, Ordering::Relaxed);
            self.trouble.is_over();
        }
    }

    /// Whether the store can be used.
    async fn check(&self) -> Result<(), Error> {
        if self.has_answered.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let validated = self.provider.validate().await;
        self.note(validated.as_ref().err());
        validated
    }
}

#[async_trait]
impl Entered for StoreClient {
    fn dialect(&self) -> Dialect {
        self.provider.dialect()
    }

    fn logs_in_with(&self, object: &Dependency) -> bool {
        self.dependencies.contains_key(object)
    }

    async fn fetch(&self, asking: &Arc<Asking>, keys: Vec<Key>, planning: Planning) -> HashMap<Key, Answer> {
        let answers = self.fetcher.fetch(asking, keys, Some(planning)).await;
        self.note_all(answers.values().map(|answer| answer.as_ref().err()));
        answers
    }

    async fn find(&self, namespace: &str, query: &Query) -> Result<Vec<Key>, Error> {
        let _call = self.door.call().await;
        let found = self.provider.find_all(query, &self.large_searches.of(namespace)).await;
        self.note_all([found.as_ref().err()]);
        found
    }
}

/// What there is for a login: the client, or why there is none, and what either was made from.
#[derive(Default)]
struct Slot {
    client: Option<Arc<StoreClient>>,
    /// Why there is none, and when that attempt began.
    failed: Option<(Error, Instant)>,
    uid: String,
    generation: i64,
    dependencies: Versions,
    /// Since when it is there, where it was made from what nobody watches.
    unwatched_since: Option<Instant>,
}

impl Slot {
    /// Whether what it was made from may well be another by now, and nobody would have told.
    fn is_stale(&self, now: Instant) -> bool {
        let is_doubted = self.client.as_ref().is_some_and(|client| client.is_doubted.load(Ordering::Relaxed));
        let most = if is_doubted { TOO_YOUNG_TO_DOUBT } else { Duration::from_secs(CREDENTIAL_AGE.most) };
        self.unwatched_since.is_some_and(|since| now.saturating_duration_since(since) >= most)
    }

    /// What there is for one who asked then, where that is enough.
    fn answer(&self, asked: Instant) -> Option<Result<Arc<StoreClient>, Error>> {
        match (&self.client, &self.failed) {
            (Some(client), _) => Some(Ok(client.clone())),
            // The store takes its credentials from whoever asks: there is no client for everybody.
            (None, Some((error, _))) if error.kind() == ErrorKind::Referent => Some(Err(error.clone())),
            // Who waited in line for an attempt that began after it asked need not make its own: else many would wait
            // for one dead store one after the other, and lock its account.
            (None, Some((error, began))) if *began >= asked => Some(Err(error.clone())),
            (None, _) => None,
        }
    }
}

/// All clients of this process.
pub struct Pool {
    ports: Arc<LoginPorts>,
    watched: Arc<dyn Watched>,
    calls: Arc<dyn Calls>,
    rules: Rules,
    environment: Environment,
    rooms: Arc<Rooms>,
    /// Who is about to ask, and does not know yet which stores.
    barrier: Arc<Barrier>,
    /// Who is about to ask which store.
    barriers: Mutex<HashMap<StoreId, Arc<Barrier>>>,
    news: mpsc::UnboundedSender<StoreId>,
    /// The stores whose last check failed.
    trouble: Arc<Mutex<HashSet<StoreId>>>,
    large_searches: Arc<LargeSearches>,
    slots: Mutex<HashMap<LoginId, Arc<tokio::sync::Mutex<Slot>>>>,
}

impl Pool {
    /// An empty pool. `watched` is where changes of credentials show; `news` is told of stores whose condition has
    /// more to say than before.
    pub fn new(
        ports: Arc<LoginPorts>,
        watched: Arc<dyn Watched>,
        calls: Arc<dyn Calls>,
        rules: Rules,
        environment: Environment,
        news: mpsc::UnboundedSender<StoreId>,
    ) -> Self {
        let barrier = Arc::new(Barrier::default());
        let (barriers, trouble, large_searches, slots) = Default::default();
        let rooms = rules.rooms.clone();
        Self {
            ports,
            watched,
            calls,
            rules,
            environment,
            rooms,
            barrier,
            barriers,
            news,
            trouble,
            large_searches,
            slots,
        }
    }

    /// The client of `store` for `namespace` (`None`: for checking the store itself), built and logged in where there
    /// is none that is still good. Whoever asks meanwhile waits for the same one.
    pub async fn client(&self, store: &Store, namespace: Option<&str>) -> Result<Arc<StoreClient>, Error> {
        // A ClusterSecretStore may take credentials from the namespace that asks. Whether it does shows once a client
        // for everybody can't be had.
        match self.slot(store, None).await {
            Err(error) if error.kind() == ErrorKind::Referent && namespace.is_some() => {
                self.slot(store, namespace).await
            }
            answer => answer,
        }
    }

    async fn slot(&self, store: &Store, namespace: Option<&str>) -> Result<Arc<StoreClient>, Error> {
        let login = LoginId { store: store.id.clone(), namespace: namespace.map(str::to_owned) };
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(login.clone()).or_default().clone()
        };
        let asked = Instant::now();
        let mut slot = slot.lock().await;
        let current = slot.uid == store.uid()
            && slot.generation == store.generation()
            && self.watched.may_be_at(&slot.dependencies)
            && !slot.is_stale(asked);
        if let Some(answer) = slot.answer(asked).filter(|_| current) {
            return answer;
        }
        let began = Instant::now();
        let requester = Arc::new(Requester::new(self.ports.clone(), self.watched.clone(), login.clone()));
        let built = self.build(store, requester.clone()).await.map(Arc::new);
        let dependencies = requester.dependencies();
        self.watched.logged_in(&login, &dependencies);
        let is_watched = |object: &Dependency| self.rules.scope.has(&object.namespace);
        *slot = Slot {
            client: built.as_ref().ok().cloned(),
            failed: built.as_ref().err().map(|error| (error.clone(), began)),
            uid: store.uid().to_owned(),
            generation: store.generation(),
            unwatched_since: (!dependencies.keys().all(is_watched)).then_some(began),
            dependencies,
        };
        built
    }

    async fn build(&self, store: &Store, requester: Arc<Requester>) -> Result<StoreClient, Error> {
        let spec = store.spec.as_ref().map_err(|message| Error::invalid(message.clone()))?;
        let (name, config) = spec.the_provider().map_err(|problem| Error::invalid(problem.to_string()))?;
        let registration = registry::find(name).map_err(Error::invalid)?;
        excess::of_provider(name, &config).map_or(Ok(()), |problem| Err(Error::invalid(problem)))?;
        let retries = retries(spec).map_err(Error::invalid)?;
        let context = self.context(requester.clone(), store.id.kind(), &store.id);
        let provider = timeout(CALL_TIMEOUT, (registration.build)(&config, context)).await;
        let provider = provider.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "the login took too long")))?;
        let provider = Arc::new(Guarded::new(provider, CALL_TIMEOUT, retries));
        let (news, id) = (self.news.clone(), store.id.clone());
        let on_singly = move || {
            let _ = news.send(id.clone()); // nobody listens any more when the process ends
        };
        let door = self.rooms.of_store(&store.id);
        let room = (self.rooms.clone(), door.clone());
        let counted = (self.calls.clone(), registration.name);
        let fetcher = Fetcher::new(provider.clone(), self.barrier_of(&store.id), room, counted, on_singly);
        let (is_doubted, has_answered) = Default::default();
        let trouble = self.trouble_of(&store.id);
        let (dependencies, large_searches) = (requester.dependencies(), self.large_searches.clone());
        Ok(StoreClient { provider, fetcher, door, dependencies, is_doubted, has_answered, trouble, large_searches })
    }

    fn trouble_of(&self, store: &StoreId) -> Trouble {
        Trouble { store: store.clone(), all: self.trouble.clone(), news: self.news.clone() }
    }

    /// What a provider or generator of this kind and name is built with.
    fn context(&self, asks: Arc<Requester>, kind: &'static str, id: &StoreId) -> BuildContext {
        let namespace = asks.namespace().map(str::to_owned);
        let is_of_cluster = id.namespace.is_none();
        BuildContext {
            credentials: asks,
            calls: self.calls.clone(),
            room: self.rooms.of_store(id),
            addresses: if is_of_cluster {
                Addresses::anywhere().through(self.rules.proxies.clone())
            } else {
                self.rules.addresses.clone()
            },
            ambient_identity: self.rules.ambient_identity.is_for(is_of_cluster),
            caller: Caller { store_kind: kind, store: id.name.clone(), namespace },
            environment: self.environment.clone(),
            files: self.rules.files.clone(),
            key_services: registry::key_service,
            unseal: self.rules.unseal.clone(),
            longest_lease: self.rules.longest_lease,
        }
    }

    /// Builds a generator. What it refers to is looked up where the ExternalSecret is, as for a SecretStore there.
    fn generator(&self, generator: &Generator<'_>) -> Built {
        let Generator { namespace, kind, name, spec } = generator;
        let Some(registration) = registry::generator(kind) else {
            let message = format!("the kind {kind:?} is not supported by this version of keyferry");
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let requester = Requester::for_once(self.ports.clone(), namespace);
        let id = StoreId { namespace: Some((*namespace).to_owned()), name: (*name).to_owned() };
        (registration.build)(spec, self.context(Arc::new(requester), registration.kind, &id))
    }

    /// Which part of what all looks may hold beyond their shares is held now.
    pub fn held_ratio(&self) -> f64 {
        self.rooms.held_ratio()
    }

    fn barrier_of(&self, store: &StoreId) -> Arc<Barrier> {
        let mut barriers = self.barriers.lock().unwrap_or_else(PoisonError::into_inner);
        barriers.entry(store.clone()).or_insert_with(|| Arc::new(Barrier::of_store(&self.barrier))).clone()
    }
}

#[async_trait]
impl Stores for Pool {
    fn planning(&self) -> Planning {
        Box::new(self.barrier.begin())
    }

    fn asking(&self, store: &StoreId) -> Planning {
        Box::new(self.barrier_of(store).begin())
    }

    async fn enter(&self, store: &Store, namespace: &str) -> Result<Arc<dyn Entered>, Error> {
        Ok(self.client(store, Some(namespace)).await?)
    }

    fn hold(&self, asking: &Asking, bytes: usize) -> bool {
        asking.is_alone() || {
            let room = self.rooms.account(&asking.namespace).hold(bytes);
            room.map(|room| asking.keep(Box::new(room))).is_some()
        }
    }

    async fn alone(&self, asking: &Asking) -> bool {
        let account = self.rooms.account(&asking.namespace);
        timeout(Duration::from_secs(STORE_WAIT.most), account.alone(asking)).await.is_ok()
    }

    async fn rehearse(
        &self,
        store: &Store,
        namespace: &str,
        change: Change<'_>,
        key: Option<&Key>,
    ) -> Result<(), Error> {
        let ports = Arc::new(LoginPorts {
            objects: Arc::new(Instead::of(self.ports.objects.clone(), change)),
            accounts: self.ports.accounts.clone(),
            controller_token: self.ports.controller_token,
            refuse_api_audiences: self.ports.refuse_api_audiences,
        });
        // It ends here, so that nobody need tell of what it reads.
        let build = |namespace: Option<&str>| {
            let login = LoginId { store: store.id.clone(), namespace: namespace.map(str::to_owned) };
            self.build(store, Arc::new(Requester::new(ports.clone(), Arc::new(()), login)))
        };
        let client = match build(None).await {
            Err(error) if error.kind() == ErrorKind::Referent => build(Some(namespace)).await?,
            built => built?,
        };
        match client.provider.validate().await {
            // A key that is answered says more.
            Err(error) if error.kind() == ErrorKind::Unverified && key.is_some() => {}
            checked => checked?,
        }
        if let Some(key) = key {
            let answers = client.provider.fetch(std::slice::from_ref(key)).await?;
            answers.into_iter().next().unwrap_or_else(|| Err(Error::new(ErrorKind::Malformed, "no answer")))?;
        }
        Ok(())
    }

    fn generators(&self) -> &[&'static str] {
        &registry::GENERATOR_KINDS
    }

    fn generator_field(&self, kind: &str) -> Option<&'static str> {
        registry::generator(kind).map(|generator| generator.field)
    }

    fn has_state(&self, kind: &str) -> bool {
        registry::generator(kind).is_some_and(|generator| generator.has_state)
    }

    async fn make(&self, generator: &Generator<'_>, keep: Arc<dyn Keep>) -> Result<Made, Error> {
        let built = self.generator(generator)?;
        if !self.has_state(generator.kind) {
            return bounded(built.make(&*keep)).await;
        }
        // Who asks may stop waiting. What is being made must be written down all the same.
        let making = tokio::spawn(generators::make(built, generators::Named::of(generator), keep));
        making.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "the generator was broken off")))
    }

    async fn revoke(&self, generator: &Generator<'_>, state: &State) -> Result<(), Error> {
        bounded(self.generator(generator)?.revoke(state)).await
    }

    async fn renew(&self, generator: &Generator<'_>, state: &State) -> Result<Option<(State, Term)>, Error> {
        bounded(self.generator(generator)?.renew(state)).await
    }
}

#[async_trait]
impl Clients for Pool {
    fn about(&self, store: &Store) -> Option<About> {
        let (name, config) = store.spec.as_ref().ok()?.the_provider().ok()?;
        let registration = registry::find(name).ok()?;
        Some(About { can: (registration.capabilities)(&config), maintained: registration.maintained })
    }

    async fn check(&self, store: &Store) -> Result<Vec<String>, Refused> {
        let trouble = self.trouble_of(&store.id);
        let client = self.client(store, None).await.inspect_err(|_| trouble.checked(true)).map_err(Refused::Client)?;
        let checked = client.check().await;
        trouble.checked(checked.is_err());
        checked.map_err(Refused::Validation)?;
        let singly = client.fetcher.is_singly().then(|| SINGLY.to_owned());
        Ok(singly.into_iter().chain(client.provider.identity_note()).collect())
    }

    fn keep(&self, is_there: &dyn Fn(&StoreId) -> bool) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|login, _| is_there(&login.store));
        self.barriers.lock().unwrap_or_else(PoisonError::into_inner).retain(|store, _| is_there(store));
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).retain(|store| is_there(store));
        self.large_searches.tidy();
        self.rooms.tidy();
    }
}

/// The retries that a store asks for.
fn retries(spec: &SecretStoreSpec) -> Result<Retries, String> {
    let usual = Retries::default();
    let Some(settings) = &spec.retry_settings else { return Ok(usual) };
    let most = settings.max_retries.map_or(usual.most, |most| most.clamp(0, MOST_RETRIES).unsigned_abs());
    let delay = match settings.retry_interval.as_deref() {
        None | Some("") => usual.delay,
        Some(text) => {
            let delay =
                duration::interval(text).map_err(|problem| format!("spec.retrySettings.retryInterval: {problem}"))?;
            Delay::Fixed(delay.unwrap_or_default().min(LONGEST_RETRY_DELAY))
        }
    };
    // Who asks for tries gets them, however long each takes.
    let patience = settings.max_retries.map_or(usual.patience, |_| Duration::MAX);
    Ok(Retries { most, delay, patience })
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Capabilities, Page, Push, Reach, Remote};

    use super::*;

    #[tokio::test]
    async fn searches_that_hold_much_have_turns_in_each_namespace() {
        let turns = LargeSearches::default();
        let of_loud = turns.of("loud");
        let all = of_loud.acquire_many(LARGE_SEARCHES.size() as u32).await.unwrap();
        assert!(turns.of("loud").try_acquire().is_err());
        assert!(turns.of("quiet").try_acquire().is_ok());
        turns.tidy();
        assert_eq!(turns.0.lock().unwrap().len(), 1, "what nobody uses is forgotten");
        drop(all);
    }

    /// A store that is checked in a way that shows.
    struct Checked(std::sync::atomic::AtomicUsize);

    #[async_trait]
    impl Provider for Checked {
        fn capabilities(&self) -> Capabilities {
            Capabilities::default()
        }

        fn dialect(&self) -> Dialect {
            Dialect::default()
        }

        fn joins(&self, _: &[Key], _: &Key) -> bool {
            false
        }

        async fn fetch(&self, _: &[Key]) -> Result<Vec<Answer>, Error> {
            Err(Error::cannot("read"))
        }

        async fn find(&self, _: &Query, _: &[String]) -> Result<Page, Error> {
            Err(Error::cannot("searched"))
        }

        async fn push(&self, _: &Push) -> Result<(), Error> {
            Err(Error::cannot("pushed to"))
        }

        async fn delete(&self, _: &Remote, _: Reach) -> Result<(), Error> {
            Err(Error::cannot("deleted from"))
        }

        async fn exists(&self, _: &Remote) -> Result<bool, Error> {
            Err(Error::cannot("asked"))
        }

        async fn validate(&self) -> Result<(), Error> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn identity_note(&self) -> Option<String> {
            None
        }
    }

    #[tokio::test]
    async fn a_secret_that_is_read_is_as_good_as_a_check_and_ends_what_a_check_found() {
        let store = StoreId { namespace: Some("ns".to_owned()), name: "s".to_owned() };
        let (news, mut told) = mpsc::unbounded_channel();
        let trouble = Trouble { store: store.clone(), all: Arc::default(), news };
        let asked = Arc::new(Checked(0.into()));
        let provider = Arc::new(Guarded::new(asked.clone(), CALL_TIMEOUT, Retries::default()));
        let rooms = Arc::new(Rooms::default());
        let door = rooms.of_store(&store);
        let client = StoreClient {
            fetcher: Fetcher::new(
                provider.clone(),
                Arc::default(),
                (rooms, door.clone()),
                (Arc::new(()), "fake"),
                || {},
            ),
            provider,
            door,
            dependencies: Versions::default(),
            is_doubted: AtomicBool::default(),
            has_answered: AtomicBool::default(),
            trouble,
            large_searches: Arc::default(),
        };
        let (down, missing) = (Error::new(ErrorKind::Unavailable, "down"), Error::new(ErrorKind::NotFound, "gone"));
        let checks = async |answers: &[Option<&Error>]| {
            client.note_all(answers.iter().copied());
            let before = asked.0.load(Ordering::Relaxed);
            client.check().await.unwrap();
            asked.0.load(Ordering::Relaxed) - before
        };
        assert_eq!(checks(&[]).await, 1);
        assert_eq!(checks(&[None, Some(&missing)]).await, 0, "it has read");
        assert_eq!(checks(&[]).await, 1, "and once only");
        assert_eq!(checks(&[Some(&missing)]).await, 1, "that there is none may be anybody's word");
        assert_eq!(checks(&[None, Some(&down)]).await, 1);
        client.note_all([None]);
        assert_eq!(checks(&[Some(&down)]).await, 1, "what was read before says nothing of now");
        // Who waits for the store need not wait for its next check.
        client.trouble.checked(true);
        client.note_all([Some(&down)]);
        assert!(told.try_recv().is_err());
        client.note_all([None]);
        assert_eq!(told.try_recv().ok(), Some(store));
        client.note_all([None]);
        assert!(told.try_recv().is_err(), "once");
    }

    #[test]
    fn a_failed_login_is_that_of_all_who_waited_for_it_and_of_nobody_else() {
        let began = Instant::now();
        let earlier = began - Duration::from_secs(1);
        let later = began + Duration::from_secs(1);
        let failed = |kind| Slot { failed: Some((Error::new(kind, "why"), began)), ..Slot::default() };
        let shared = |slot: &Slot, asked| slot.answer(asked).is_some();
        assert!(shared(&failed(ErrorKind::Timeout), earlier) && !shared(&failed(ErrorKind::Timeout), later));
        assert!(shared(&failed(ErrorKind::Referent), later), "what the spec says holds until that changes");
        assert!(!shared(&Slot::default(), later));
    }

    #[test]
    fn what_nobody_watches_has_a_greatest_age() {
        let since = Instant::now();
        let later = |seconds| since + Duration::from_secs(seconds);
        let unwatched = Slot { unwatched_since: Some(since), ..Slot::default() };
        assert!(!unwatched.is_stale(later(CREDENTIAL_AGE.most - 1)) && unwatched.is_stale(later(CREDENTIAL_AGE.most)));
        assert!(!Slot::default().is_stale(later(86400)));
    }

    #[test]
    fn the_retries_of_a_store() {
        let retries = |settings| {
            let spec = serde_json::json!({"provider": {"fake": {}}, "retrySettings": settings});
            retries(&serde_json::from_value(spec).unwrap())
        };
        let usual = Retries::default();
        let fixed = |seconds| Delay::Fixed(Duration::from_secs(seconds));
        let asked = Retries { patience: Duration::MAX, ..usual };
        for (settings, expected) in [
            (serde_json::json!(null), usual),
            (serde_json::json!({}), usual),
            (serde_json::json!({"maxRetries": 0}), Retries { most: 0, ..asked }),
            (
                serde_json::json!({"maxRetries": 5, "retryInterval": "2s"}),
                Retries { most: 5, delay: fixed(2), ..asked },
            ),
            (serde_json::json!({"maxRetries": -1}), Retries { most: 0, ..asked }),
            (
                serde_json::json!({"maxRetries": 1000, "retryInterval": "24h"}),
                Retries { most: 10, delay: fixed(30), ..asked },
            ),
            (serde_json::json!({"retryInterval": "0s"}), Retries { delay: fixed(0), ..usual }),
        ] {
            assert_eq!(retries(settings.clone()), Ok(expected), "{settings}");
        }
        assert!(retries(serde_json::json!({"retryInterval": "soon"})).unwrap_err().contains("retryInterval"));
    }
}
