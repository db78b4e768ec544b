//! `keyferry node`: the wiring of the CSI driver.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use clap::Args;
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use keyferry_cluster::client::timely;
use keyferry_cluster::connection::{Bearers, of_operator};
use keyferry_cluster::events::Events;
use keyferry_cluster::leader::Lead;
use keyferry_node::DRIVER;
use keyferry_node::identity::{Identities, MakeStores};
use keyferry_node::leases::Ledger;
use keyferry_node::marks::Marks;
use keyferry_node::metrics::Metrics;
use keyferry_node::node::Node;
use keyferry_node::provider::Provider;
use keyferry_node::serving::{Paths, serve};
use keyferry_node::tending::Tending;
use keyferry_node::volumes::Volumes;
use keyferry_provider_core::address::{Addresses, Network};
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{Environment, Unseal};
use keyferry_stores::access::{AmbientIdentity, ControllerToken, LoginPorts};
use keyferry_stores::pool::{Pool, Rules};
use keyferry_sync::engine::Engine;
use keyferry_sync::settings::{Adopt, Scope, Settings};

use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::flags::{LogFormat, address};
use super::run::{forbid_core_dumps, forbid_looking_in, log};
use crate::audit::webhook::Webhook;
use crate::audit::{self, Counts};
use crate::sealing::remote::{ForPods, Remote};
use crate::threads::compute;
use crate::threads::control::Control;
use crate::{clock, server};

/// How many pods are asked for at once, and how many are named.
const PAGE: u32 = 500;
const NAMED: usize = 10;

/// How long what was generated works on once files hold the next: whoever read them has to read them again.
const GRACE: Duration = Duration::from_secs(120);

/// No lease that is made for a pod is asked for longer: so long it lives where nobody can revoke it.
const LONGEST_LEASE: Duration = Duration::from_secs(3600);

/// Flags of `keyferry node`.
#[derive(Args, Debug)]
pub struct NodeArgs {
    /// Name of the node
    #[arg(long, value_name = "NAME", required_unless_present = "check_unused")]
    pub node_name: Option<String>,
    /// Run nothing: end with 1, and name them, where pods of the cluster mount; for before an uninstall
    #[arg(long)]
    pub check_unused: bool,
    /// The kubelet's folder, which must be mounted at the same path, with Bidirectional propagation
    #[arg(long, default_value = "/var/lib/kubelet", value_name = "DIR")]
    pub kubelet_dir: PathBuf,
    /// Where is written down what is mounted: names and times, no values. Without it, a folder beside the driver's socket
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Kubeconfig file to use outside a cluster
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The controller class: stores with another spec.controller are left alone
    #[arg(long, default_value = "default", value_name = "CLASS")]
    pub controller_class: String,
    /// Serve the Secrets Store CSI Driver, too, as its provider keyferry, by a socket in its folder of providers' sockets
    #[arg(long, value_name = "DIR")]
    pub secrets_store_providers_dir: Option<PathBuf>,
    /// Let pods mount of stores that log in by themselves, with a Secret that the pod may read: such a pod could read all that the login can
    #[arg(long)]
    pub allow_static_logins: bool,
    /// Give stores that name no audience the pod's token for the API server: whoever writes such a store could act as the pod's ServiceAccount
    #[arg(long)]
    pub allow_api_audience: bool,
    /// Mount memory that may go to swap, where the kernel can't keep it out (noswap, from 6.4 on)
    #[arg(long)]
    pub allow_swap: bool,
    /// Let URLs of SecretStores lead to these addresses, of those that only the node itself may reach
    #[arg(long, value_delimiter = ',', value_name = "CIDR,...")]
    pub allow_store_addresses: Vec<Network>,
    /// Have stores of the kind sealed opened by the operator at this URL (https://... of --unseal-listen): the pod that mounts shows it its
    /// token of the audience keyferry
    #[arg(long, value_name = "URL")]
    pub unseal_from: Option<String>,
    /// Authorities to trust of that, in PEM
    #[arg(long, value_name = "FILE", requires = "unseal_from")]
    pub unseal_authority: Option<PathBuf>,
    /// Address of /metrics and /healthz
    #[arg(long, default_value = ":8080", value_name = "HOST:PORT", value_parser = address)]
    pub metrics_addr: SocketAddr,
    /// Write a JSON line for each delivery, never with a value: into this file, or to standard error where it is -
    #[arg(long, default_value = "-", value_name = "FILE|-")]
    pub audit_log: String,
    /// Whoever collects these lines.
    #[command(flatten)]
    pub audit_webhook: Webhook,
    /// Log level: error, warn, info, debug or trace. Libraries log at info at most, whatever is said here
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub loglevel: tracing::Level,
    /// Log format
    #[arg(long, default_value = "json", value_enum)]
    pub log_format: LogFormat,
}

/// Runs the driver until a signal asks it to stop; the error is for a person.
pub async fn run(args: NodeArgs, control: Control) -> Result<(), String> {
    log(args.loglevel, args.log_format);
    forbid_core_dumps();
    forbid_looking_in();
    if args.check_unused {
        return check_unused(of_operator(args.kubeconfig.as_deref()).await?).await;
    }
    let mut paths = Paths::below(&args.kubelet_dir);
    if let Some(folder) = args.state_dir.clone() {
        paths.state = folder;
    }
    paths.providers = args.secrets_store_providers_dir.clone();
    let own = of_operator(args.kubeconfig.as_deref()).await?;
    let bearers = Bearers::of_operator(args.kubeconfig.as_deref()).await?;
    let connect = Arc::new(move |token: &_| bearers.bearing(token));
    let compute = compute::Pool::new(std::thread::available_parallelism().map_or(1, usize::from));
    control.spawn(compute.watch());
    let metrics = Arc::new(Metrics::new());
    tell_of_health(&control, args.metrics_addr, metrics.clone()).await?;
    let counts = Counts { written: metrics.audit_written.clone(), dropped: metrics.audit_dropped.clone() };
    let audit = audit::open(Some(&args.audit_log), &args.audit_webhook, "node", &counts)?;
    let events = Events::start(own.clone(), clock::now, Lead::always());
    let settings = Arc::new(settings(&args));
    let node = |state: &Path, identities, volumes| {
        // Their folder is made by the marks.
        let marks = Marks::open(state).map_err(|refusal| refusal.message.into_string())?;
        let ledger = Arc::new(Ledger::open(state, clock::now));
        Ok::<_, String>(Arc::new(Node {
            settings: settings.clone(),
            kubelet: args.kubelet_dir.clone(),
            may_swap: args.allow_swap,
            allows_static_logins: args.allow_static_logins,
            marks,
            tending: Tending { ledger, audit: audit.clone(), now: clock::now },
            identities,
            events: events.clone(),
            own: own.clone(),
            audit: audit.clone(),
            metrics: metrics.clone(),
            compute: compute.clone(),
            volumes,
        }))
    };
    let identities = Identities::new(connect, stores(&args)?, args.allow_api_audience, clock::now);
    let volumes = Volumes::default();
    let beside = (Identities::beside(&identities), Volumes::beside(&volumes));
    let ours = node(&paths.state, identities, volumes)?;
    ours.begin().map_err(|refusal| refusal.message.into_string())?;
    let provide = |_| node(&paths.state.join("provided"), beside.0, beside.1).map(Provider::begin);
    let provider = paths.providers.as_ref().map(provide).transpose()?;
    let stopped = control.ends_when_asked();
    serve(ours, provider, args.node_name.unwrap_or_default(), &paths, move || stopped().boxed()).await?;
    audit.close()?;
    tracing::info!("stopped");
    Ok(())
}

/// Serves metrics and health where nothing computes: who looks whether it is alive is answered whatever pods mount.
async fn tell_of_health(control: &Control, address: SocketAddr, metrics: Arc<Metrics>) -> Result<(), String> {
    let serving = control.run(async move {
        let listener = server::bind(address, "--metrics-addr").await?;
        tokio::spawn(server::serve(listener, exposition(metrics), None));
        Ok(())
    });
    serving.await?
}

/// Refuses where pods mount, and names some of them.
async fn check_unused(client: kube::Client) -> Result<(), String> {
    let mut mounting: Vec<String> = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let pods = timely(Api::<Pod>::all(client.clone()).list(&page)).await;
        let pods = pods.map_err(|problem| format!("can't list the cluster's pods: {}", problem.for_person()))?;
        mounting.extend(
            pods.items
                .iter()
                .filter(|pod| mounts(pod))
                .map(|pod| format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), pod.name_any())),
        );
        let Some(next) = pods.metadata.continue_.filter(|next| !next.is_empty()) else { break };
        page = page.continue_token(&next);
    }
    if mounting.is_empty() {
        return Ok(());
    }
    let named = mounting.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    Err(format!(
        "{} pods mount of {DRIVER}, and could neither be refreshed nor end without it: {named}; delete them first, or set \
         node.forceUninstall",
        mounting.len()
    ))
}

/// Whether a pod that has not ended mounts.
fn mounts(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut drivers = volumes.filter_map(|volume| volume.csi.as_ref()).map(|csi| csi.driver.as_str());
    !["Succeeded", "Failed"].contains(&phase) && drivers.any(|driver| driver == DRIVER)
}

fn settings(args: &NodeArgs) -> Settings {
    Settings {
        class: args.controller_class.clone(),
        flood_gate: true,
        cluster_stores: true,
        adopt: Adopt::Any,
        generic_targets: false,
        mounts: true,
        generator_grace: Some(GRACE),
        engine: Engine::new("{{", "}}"),
        started: clock::now(),
        now: clock::now,
    }
}

/// The stores of whoever mounts. Neither the node's own identity in a cloud nor its Kubernetes token is for any of them.
fn stores(args: &NodeArgs) -> Result<MakeStores, String> {
    #[expect(clippy::disallowed_methods, reason = "endpoints of stores, which External Secrets Operator takes so too")]
    let environment: Environment = Arc::new(|name| std::env::var(name).ok());
    let proxies = Proxies::of(&*environment)?;
    let addresses = Addresses::not_local_but(args.allow_store_addresses.iter().copied());
    let operator = args.unseal_from.as_deref().map(|url| Remote::for_pods(url, args.unseal_authority.as_deref()));
    let operator = operator.transpose().map_err(|problem| format!("--unseal-from: {problem}"))?.map(Arc::new);
    // Each ServiceAccount has a pool, and all of them the room of one process: a tenant may have as many of these as it likes.
    let rooms = Arc::default();
    Ok(Arc::new(move |objects, accounts, token| {
        let for_pods = |remote: &Arc<Remote>| Arc::new(ForPods { remote: remote.clone(), token }) as Arc<dyn Unseal>;
        let ports =
            LoginPorts { objects, accounts, controller_token: ControllerToken::Never, refuse_api_audiences: false };
        let (news, _) = tokio::sync::mpsc::unbounded_channel();
        // No namespace is watched: each login has a greatest age.
        let rules = Rules {
            addresses: addresses.clone(),
            proxies: proxies.clone(),
            ambient_identity: AmbientIdentity::Never,
            scope: Scope::These(Vec::new()),
            longest_lease: Some(LONGEST_LEASE),
            unseal: operator.as_ref().map(for_pods),
            rooms: Arc::clone(&rooms),
            ..Rules::default()
        };
        Arc::new(Pool::new(Arc::new(ports), Arc::new(()), Arc::new(()), rules, environment.clone(), news))
    }))
}

fn exposition(metrics: Arc<Metrics>) -> Router {
    let text = move || {
        let metrics = metrics.clone();
        async move { ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], metrics.text()) }
    };
    Router::new().route("/healthz", get(async || "ok\n")).route("/metrics", get(text))
}
