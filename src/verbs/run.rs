//! `keyferry run`: everything is wired here, top to bottom.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::StreamExt as _;
use jiff::Timestamp;
use keyferry_cluster::client::Turns;
use keyferry_cluster::connection::of_operator;
use keyferry_cluster::copies::ClusterCopies;
use keyferry_cluster::events::Events;
use keyferry_cluster::journal::ClusterJournal;
use keyferry_cluster::leader::Election;
use keyferry_cluster::notices::ClusterNotices;
use keyferry_cluster::objects::ClusterObjects;
use keyferry_cluster::pairs::Pairs;
use keyferry_cluster::sealed_secrets::{self, SealedSecret, SealedSecrets};
use keyferry_cluster::shards::{FIRST, Part, Work};
use keyferry_cluster::states::ClusterStates;
use keyferry_cluster::target::ClusterTargets;
use keyferry_cluster::target::kinds::Kinds;
use keyferry_cluster::target::rotation;
use keyferry_cluster::workloads::Workloads;
use keyferry_crds::{ExternalSecret, names};
use keyferry_limits::{ALL_HELD, AUDIT_QUEUE};
use keyferry_provider_core::address::{Addresses, Network};
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{Environment, Unseal};
use keyferry_push::look::World;
use keyferry_push::memory::MacKey;
use keyferry_sealing::keys;
use keyferry_stores::access::LoginPorts;
use keyferry_stores::pool::{Pool, Rules};
use keyferry_stores::registry;
use keyferry_sync::audit::Audit;
use keyferry_sync::engine::Engine;
use keyferry_sync::ports::Ports;
use kube::core::ApiResource;
use tokio::sync::watch;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::audit::{self, Counts, Log, OfKind};
use crate::controller::Controller;
use crate::controller::change::Change;
use crate::controller::copier::Copiers;
use crate::controller::external_secret::ExternalSecrets;
use crate::controller::generator_state::{GeneratorStates, Revocations};
use crate::controller::index::{Index, Item, SubjectKind};
use crate::controller::kept::Kept;
use crate::controller::push_secret::PushSecrets;
use crate::controller::rotated::Teller;
use crate::controller::sealed_secret::{self, Unsealing};
use crate::controller::store::{Checks, Stores};
use crate::controller::subject::Shared;
use crate::controller::watch::ClusterWatches;
use crate::metrics::Metrics;
use crate::restart;
use crate::sealing::ring::Ring;
use crate::sealing::serve;
use crate::server::readers::Readers;
use crate::server::tls::{Certificate, Files};
use crate::threads::compute;
use crate::threads::control::Control;
use crate::threads::lease::{self, Sharding};
use crate::verbs::flags::{LogFormat, Run, Sealing};
use crate::{clock, server};

/// Where a pod finds its own token and namespace.
pub const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Runs the operator until a signal asks it to stop, or it can't go on; the error is for a person.
pub async fn run(args: Run, control: Control) -> Result<(), String> {
    let stopped = control.ends_when_asked();
    log(args.loglevel, args.log_format);
    forbid_core_dumps();
    let election = args.enable_leader_election.then(|| election(&args));
    if let Some(election) = &election {
        election.check()?;
    }
    let shards = args.sharding()?;
    let metrics = Arc::new(Metrics::new());
    // Standing by is ready too, once it could go on at once: a replica that waits for the Lease must not fail a rollout.
    let (ready, readiness) = watch::channel(false);
    let client = tokio::select! {
        client = begin(&args, &control, metrics.clone(), readiness.clone()) => client?,
        () = stopped() => return Ok(()),
    };
    let compute = compute::Pool::new(std::thread::available_parallelism().map_or(1, usize::from));
    control.spawn(compute.watch());
    let sealing = sealing(&args.sealing, &client, compute.clone(), &metrics).await?;
    let (works, work) = watch::channel(Work::default());
    let sharding = shards.map(|count| Sharding { count, ready: readiness, work });
    let mut standing = lease::stand(&control, args.kubeconfig.clone(), election, sharding);
    let lead = standing.lead();

    let turns = Turns::new(usize::from(args.concurrent), lead.clone());
    let events = Events::start(client.clone(), clock::now, lead.clone());
    let index = Arc::new(Index::default());
    let token_file = PathBuf::from(POD).join("token");
    let objects = Arc::new(ClusterObjects::new(client.clone(), turns.of_reader(), token_file));
    let login_ports = LoginPorts {
        objects: objects.clone(),
        accounts: objects.clone(),
        controller_token: args.controller_token,
        refuse_api_audiences: args.refuse_api_audiences,
    };
    let calls = metrics.calls();
    #[expect(clippy::disallowed_methods, reason = "endpoints of stores, which External Secrets Operator takes so too")]
    let environment: Environment = Arc::new(|name| std::env::var(name).ok());
    let (told, news) = tokio::sync::mpsc::unbounded_channel();
    let unseal = sealing.as_ref().map(|(ring, _)| ring.clone() as Arc<dyn Unseal>);
    let rules = Rules { unseal, ..rules(&args, Proxies::of(&*environment)?) };
    let rooms = rules.rooms.clone();
    let scope = args.scope();
    if let Some((ring, pairs)) = sealing {
        let period = Some(args.sealing.key_renew_period).filter(|period| !period.is_zero());
        tokio::spawn(renew(ring, pairs, turns.clone(), period, standing.ours()));
    }
    let login_ports = Arc::new(login_ports);
    // SealedSecrets come to stores of their own, which nobody else can name.
    let nobody = tokio::sync::mpsc::unbounded_channel().0;
    let (counted, limits, settled) = (calls.clone(), rules.clone(), environment.clone());
    let unsealed = Arc::new(Pool::new(login_ports.clone(), Arc::new(()), counted, limits, settled, nobody));
    let pool = Arc::new(Pool::new(login_ports, index.clone(), calls, rules, environment, told));
    let room = pool.clone();
    metrics.process.watch(&ALL_HELD, move || room.held_ratio());
    let kinds = Kinds::default();
    let rotations = args.enable_restarts.then_some(clock::now as rotation::Clock);
    let targets = ClusterTargets {
        client: client.clone(),
        turns: turns.clone(),
        kinds: kinds.clone(),
        adopt: args.adopt,
        rotations,
    };
    let restarts = args.enable_restarts.then(|| {
        restarts(restart::wave::World {
            workloads: Workloads { client: client.clone(), turns: turns.clone() },
            events: events.clone(),
            counted: metrics.restarts.clone(),
            waiting: metrics.restarts_waiting.clone(),
            without_opt_in: args.restart_without_opt_in,
        })
    });
    let states = Arc::new(ClusterStates {
        client: client.clone(),
        turns: turns.clone(),
        events: events.clone(),
        now: clock::now,
    });
    let copiers = args.copiers();
    let sealed_secrets =
        SealedSecrets { client: client.clone(), turns: turns.clone(), events: events.clone(), rotations };
    let log = audit_log(&args, &metrics)?;
    let audit: Arc<dyn Audit> = log.clone();
    let journal = Arc::new(ClusterJournal { client: client.clone(), turns: turns.clone(), events: events.clone() });
    let copies = Arc::new(ClusterCopies { client: client.clone(), turns: turns.clone(), events: events.clone() });
    let notices = Arc::new(ClusterNotices::new(client.clone(), events, turns));
    let checks = Arc::new(Checks {
        clients: pool.clone(),
        notices: notices.clone(),
        class: args.controller_class.clone(),
        every: args.store_requeue_interval,
        pushes: args.enable_push_secret_reconciler,
        now: clock::now,
    });
    let settings = Arc::new(keyferry_sync::settings::Settings {
        class: args.controller_class,
        flood_gate: args.enable_flood_gate,
        cluster_stores: args.enable_cluster_store_reconciler,
        adopt: args.adopt,
        generic_targets: args.unsafe_allow_generic_targets,
        mounts: false,
        generator_grace: args.enable_generator_state.then_some(args.generator_gc_grace_period),
        engine: Engine::new(&args.template_left_delimiter, &args.template_right_delimiter)
            .strict(args.strict_templates),
        started: clock::now(),
        now: clock::now,
    });
    let ports = Ports {
        stores: pool.clone(),
        objects: objects.clone(),
        journal: journal.clone(),
        compute,
        states: states.clone(),
        audit: audit.clone(),
    };
    let pushes = keyferry_push::ports::Ports { sync: ports.clone(), stores: pool.clone(), sources: objects, journal };
    let key = MacKey::new(rand::random());
    let world = Arc::new(World { ports: pushes, settings: settings.clone(), key });
    let unsealing = Arc::new(Unsealing {
        ports: Ports {
            stores: unsealed.clone(),
            journal: Arc::new(sealed_secrets.clone()),
            audit: Arc::new(OfKind("SealedSecret", audit.clone())),
            ..ports.clone()
        },
        clients: unsealed,
        cluster: sealed_secrets,
        settings: settings.clone(),
    });
    let work = Arc::new((ports, targets, settings));
    let watches = ClusterWatches {
        client,
        scope,
        cluster_stores: args.enable_cluster_store_reconciler,
        pushes: args.enable_push_secret_reconciler,
        generator_states: args.enable_generator_state,
        sealed_secrets: args.sealing.enable_sealed_secrets,
        copiers: copiers.clone(),
        kinds,
        kept: Kept::default(),
        again: Arc::default(),
    };

    let shared = Shared::new(index, metrics, notices, clock::now).divided(shards.unwrap_or(1));
    let mut controller = Controller::new(shared, Arc::new(watches), ready, standing.ours(), works);
    controller.share(rooms);
    let sync = move |look| {
        let (work, planning) = (work.clone(), work.0.stores.planning());
        let look = Box::new(look);
        async move {
            let (ports, targets, settings) = &*work;
            keyferry_sync::run(ports, targets, settings, look, planning).await
        }
        .boxed()
    };
    let (of_secrets, of_sealed) = restarts.unzip();
    controller.tend(SubjectKind::ExternalSecret, ExternalSecrets::new(Box::new(sync), of_secrets));
    if args.sealing.enable_sealed_secrets {
        let unseal = move |look| {
            let (work, planning) = (unsealing.clone(), unsealing.ports.stores.planning());
            async move { sealed_secret::run(&work, look, planning).await }.boxed()
        };
        controller.tend(SubjectKind::SealedSecret, sealed_secret::SealedSecrets::new(Box::new(unseal), of_sealed));
    }
    if args.enable_push_secret_reconciler {
        let carry = move |look| {
            let (world, planning) = (world.clone(), world.ports.sync.stores.planning());
            async move { keyferry_push::run(&world, look, planning).await }.boxed()
        };
        controller.tend(SubjectKind::PushSecret, PushSecrets::new(Box::new(carry)));
    }
    let secret_stores = Stores::namespaced(checks.clone(), args.enable_secret_store_reconciler);
    controller.tend(SubjectKind::SecretStore, secret_stores);
    if args.enable_cluster_store_reconciler {
        controller.tend(SubjectKind::ClusterSecretStore, Stores::of_cluster(checks));
    }
    if args.enable_generator_state {
        let revocations = Arc::new(Revocations { stores: pool, states, audit, now: clock::now });
        controller.tend(SubjectKind::GeneratorState, GeneratorStates::new(revocations));
    }
    for kind in copiers {
        controller.tend_copiers(Copiers::new(kind, copies.clone(), clock::now));
    }
    let news =
        futures::stream::unfold(news, async |mut news| Some((Change::Asked(Item::store(&news.recv().await?)), news)));
    controller.hear(news.boxed());
    let lost = tokio::select! {
        () = controller.run(stopped()) => None,
        // Not one write more: dropping the controller cancels what is under way.
        lost = standing.ended() => Some(lost),
    };
    if lost.is_none() {
        standing.release().await;
    }
    if let Err(problem) = log.close() {
        tracing::error!("{problem}");
    }
    if let Some(lost) = lost {
        return Err(lost);
    }
    tracing::info!("stopped");
    Ok(())
}

/// Makes sealing keys while the first shard is ours: one replica does.
async fn renew(ring: Arc<Ring>, pairs: Pairs, turns: Turns, period: Option<Duration>, mut ours: watch::Receiver<Part>) {
    let has_first = |ours: &Part| ours.held.contains_key(&FIRST);
    loop {
        let Ok(lead) = ours.wait_for(has_first).await.map(|ours| ours.held[&FIRST].clone()) else {
            return;
        };
        let renewed = lead.over(ring.clone().renew(pairs.clone(), turns.clone(), period, clock::now));
        tokio::select! {
            () = renewed => {}
            _ = ours.wait_for(|ours| !has_first(ours)) => {}
        }
    }
}

/// Restarts workloads; answers where it is told that a Secret changed, of an ExternalSecret and of a SealedSecret.
fn restarts(world: restart::wave::World) -> (Teller, Teller) {
    let (told, news) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(restart::run(world, news));
    let secrets = ApiResource::erase::<ExternalSecret>(&());
    let sealed = ApiResource::erase::<SealedSecret>(&());
    (
        Teller::of(told.clone(), clock::now, secrets, names::EVENTS_EXTERNAL_SECRET),
        Teller::of(told, clock::now, sealed, sealed_secrets::COMPONENT),
    )
}

/// Says who we are, serves health and metrics, and makes the client for all that is not on the control thread.
async fn begin(
    args: &Run,
    control: &Control,
    metrics: Arc<Metrics>,
    readiness: watch::Receiver<bool>,
) -> Result<kube::Client, String> {
    let client = of_operator(args.kubeconfig.as_deref()).await?;
    let certificate = certificate(args, &metrics)?;
    let (live, exposed, kubeconfig) = (args.live_addr, args.metrics_addr, args.kubeconfig.clone());
    let asks_who_reads = args.metrics_auth;
    // What a listener or a client holds lives on the thread that it was made on.
    let address = control.run(async move {
        let health = server::bind(live, "--live-addr").await?;
        let exposition = server::bind(exposed, "--metrics-addr").await?;
        let address = exposition.local_addr().unwrap_or(exposed);
        let readers = if asks_who_reads { Some(Readers::new(of_operator(kubeconfig.as_deref()).await?)) } else { None };
        tokio::spawn(server::health(health, readiness));
        tokio::spawn(server::metrics(exposition, metrics, certificate, readers));
        Ok::<_, String>(address)
    });
    let address = address.await??;
    let providers: Vec<&str> = registry::PROVIDERS.iter().map(|provider| provider.name).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        providers = providers.join(","),
        class = args.controller_class,
        "keyferry"
    );
    for flag in args.accepted.given() {
        tracing::info!(flag, "this flag of External Secrets Operator is taken, and has no effect here");
    }
    tracing::info!(%address, tls = args.metrics_secure, auth = args.metrics_auth, "serving metrics");
    Ok(client)
}

/// The sealing keys, and what is served of them: by replicas that stand by, too.
async fn sealing(
    args: &Sealing,
    client: &kube::Client,
    compute: Arc<compute::Pool>,
    metrics: &Arc<Metrics>,
) -> Result<Option<(Arc<Ring>, Pairs)>, String> {
    let Some(namespace) = args.sealing_keys.clone() else { return Ok(None) };
    let pairs = Pairs { client: client.clone(), namespace, label: (keys::LABEL, keys::ACTIVE) };
    let ring = Ring::new(pairs.clone(), compute);
    if let Err(problem) = ring.read(Duration::ZERO).await {
        tracing::warn!(%problem, "can't read the sealing keys; trying again");
    }
    if let Some(address) = args.seal_listen {
        let listener = server::bind(address, "--seal-listen").await?;
        let served = serve::counted(serve::for_anybody(ring.clone(), client.clone()), metrics.clone());
        tokio::spawn(server::serve(listener, served, None));
    }
    if let (Some(address), Some(folder)) = (args.unseal_listen, &args.unseal_cert_dir) {
        let files = Files { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        let certificate = Certificate::of(files, ends(metrics, "unseal"))?;
        let listener = server::bind(address, "--unseal-listen").await?;
        let served = serve::counted(serve::for_pods(ring.clone(), client.clone()), metrics.clone());
        tokio::spawn(server::serve(listener, served, Some(certificate)));
    }
    tokio::spawn(ring.clone().follow());
    Ok(Some((ring, pairs)))
}

/// What `/metrics` is served with, where that is asked for.
fn certificate(args: &Run, metrics: &Arc<Metrics>) -> Result<Option<Certificate>, String> {
    if !args.metrics_secure {
        return Ok(None);
    }
    if args.metrics_cert_dir.is_empty() {
        return Certificate::self_signed().map(Some);
    }
    let folder = PathBuf::from(&args.metrics_cert_dir);
    let (certificate, key) = (folder.join(&args.metrics_cert_name), folder.join(&args.metrics_key_name));
    Certificate::of(Files { certificate, key }, ends(metrics, "metrics")).map(Some)
}

/// Where it is told when a certificate that is served ends.
fn ends(metrics: &Arc<Metrics>, certificate: &'static str) -> impl Fn(Timestamp) + Send + Sync + 'static {
    let metrics = metrics.clone();
    move |end| metrics.process.certificate_ends(certificate, end)
}

/// The audit log, as far as one is asked for. The error is for a person.
fn audit_log(args: &Run, metrics: &Metrics) -> Result<Arc<Log>, String> {
    let counted = &metrics.process;
    let counts = Counts { written: counted.audit_written.clone(), dropped: counted.audit_dropped.clone() };
    let log = audit::open(args.audit_log.as_deref(), &args.audit_webhook, "run", &counts)?;
    let used = log.clone();
    counted.watch(&AUDIT_QUEUE, move || used.used());
    Ok(log)
}

/// Our own lines at the level asked for; those of libraries at info at most, since some log what they carry below. The
/// client of the API server shows whole answers that it can't read even in its warnings; of those we tell ourselves.
pub fn log(level: Level, log_format: LogFormat) {
    let filter = Targets::new()
        .with_default(level.min(Level::INFO))
        .with_target("kube_client", LevelFilter::OFF)
        .with_target("keyferry", level);
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    // A second call, as in tests, keeps the first.
    let _ = match log_format {
        LogFormat::Json => registry.with(format.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(format).try_init(),
    };
}

/// What stores may do beside reading secrets.
fn rules(args: &Run, proxies: Proxies) -> Rules {
    if !proxies.is_none() {
        let of_namespaces = args.proxy_namespaced_stores;
        tracing::info!(?proxies, of_namespaces, "stores are reached through proxies");
    }
    let link_local = args.allow_link_local.then_some(Network::LINK_LOCAL).into_iter().flatten();
    let addresses = Addresses::not_local_but(args.allow_store_addresses.iter().copied().chain(link_local));
    Rules {
        files: None,
        unseal: None,
        longest_lease: None,
        rooms: Arc::default(),
        addresses: if args.proxy_namespaced_stores { addresses.through(proxies.clone()) } else { addresses },
        proxies,
        ambient_identity: args.ambient_identity,
        scope: args.scope(),
    }
}

/// A core dump would hold every value in flight.
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_err() {
        tracing::warn!("can't switch core dumps off");
    }
}

/// Nor may a core dump go to another program, for which its size counts nothing, and no other process of this user looks into
/// this one.
pub fn forbid_looking_in() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // Only a value that the kernel does not know is refused.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

fn election(args: &Run) -> Election {
    let namespace = args
        .leader_election_namespace
        .clone()
        .or_else(|| std::fs::read_to_string(PathBuf::from(POD).join("namespace")).ok());
    // Unlike a host name, unique to this process even where two run on one host.
    let identity = format!("{}_{:016x}", rustix::system::uname().nodename().to_string_lossy(), rand::random::<u64>());
    Election {
        name: args.leader_election_id.clone(),
        namespace: namespace.map_or_else(|| "default".to_owned(), |namespace| namespace.trim().to_owned()),
        identity,
        lease_duration: args.leader_election_lease_duration,
        renew_deadline: args.leader_election_renew_deadline,
        retry_period: args.leader_election_retry_period,
        clock: clock::now,
    }
}
