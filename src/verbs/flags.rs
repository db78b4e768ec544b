//! Flags of `keyferry run`. Those that External Secrets Operator has keep its names and, where they can, its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use keyferry_provider_core::address::Network;
use keyferry_stores::access::{AmbientIdentity, ControllerToken};
use keyferry_sync::copies::CopierKind;
use keyferry_sync::settings::{Adopt, Scope};

use crate::audit::webhook::Webhook;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Flags of `keyferry run`. Switches take `=true` and `=false`, as in Go programs.
#[derive(Args, Debug)]
pub struct Run {
    /// Kubeconfig file to use outside a cluster; without it the pod's ServiceAccount, then $KUBECONFIG, then ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Look after these namespaces only
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACE,...")]
    pub namespace: Vec<String>,
    /// The controller class: stores with another spec.controller are left alone
    #[arg(long, default_value = "default", value_name = "CLASS")]
    pub controller_class: String,
    /// How many requests of syncs go to the API server at once; waiting for stores is not counted
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    pub concurrent: u16,

    /// Address of /metrics
    #[arg(long, default_value = ":8080", value_name = "HOST:PORT", value_parser = address)]
    pub metrics_addr: SocketAddr,
    /// Serve /metrics with TLS only; without --metrics-cert-dir the certificate is made at start, and signed by nobody
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub metrics_secure: bool,
    /// Serve /metrics only to those whom the API server knows (TokenReview) and lets GET /metrics (SubjectAccessReview)
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub metrics_auth: bool,
    /// Folder of the certificate of /metrics and its key; it is read again when it is renewed
    #[arg(long, default_value = "", value_name = "DIR")]
    pub metrics_cert_dir: String,
    /// The certificate's file in that folder
    #[arg(long, default_value = "tls.crt", value_name = "FILE")]
    pub metrics_cert_name: String,
    /// The key's file in that folder
    #[arg(long, default_value = "tls.key", value_name = "FILE")]
    pub metrics_key_name: String,
    /// Address of /healthz and /readyz
    #[arg(long, default_value = ":8082", value_name = "HOST:PORT", value_parser = address)]
    pub live_addr: SocketAddr,

    /// Log level: error, warn, info, debug or trace. Libraries log at info at most, whatever is said here
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub loglevel: tracing::Level,
    /// Log format
    #[arg(long, default_value = "json", value_enum)]
    pub log_format: LogFormat,
    /// Write a JSON line for each delivery (what was written, pushed, generated, revoked, and for whom), never with a value: into this file, or to standard error where it is -
    #[arg(long, value_name = "FILE|-")]
    pub audit_log: Option<String>,
    /// Whoever collects these lines.
    #[command(flatten)]
    pub audit_webhook: Webhook,

    /// Work only while holding the Lease, so that several replicas can stand by
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_leader_election: bool,
    /// Name of the Lease
    #[arg(long, default_value = "external-secrets-controller", value_name = "NAME")]
    pub leader_election_id: String,
    /// Namespace of the Lease; without it the pod's, or default
    #[arg(long, value_name = "NAMESPACE")]
    pub leader_election_namespace: Option<String>,
    /// How long a Lease lasts that is not renewed
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = duration)]
    pub leader_election_lease_duration: Duration,
    /// How long the leader tries to renew before it gives up and stops
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub leader_election_renew_deadline: Duration,
    /// How long to wait between two tries
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = duration)]
    pub leader_election_retry_period: Duration,

    /// Into how many shards all is divided, so that several replicas work at once, each on some: docs/scaling.md. 0 or 1: one replica works, the others stand by
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=256), value_name = "N")]
    pub shards: u32,

    /// Look after SecretStores
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_secret_store_reconciler: bool,
    /// Look after ClusterSecretStores
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_cluster_store_reconciler: bool,
    /// Look after PushSecrets
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_push_secret_reconciler: bool,
    /// Look after ClusterPushSecrets
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_cluster_push_secret_reconciler: bool,
    /// Look after ClusterExternalSecrets
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_cluster_external_secret_reconciler: bool,
    /// How often a healthy store is checked, where its spec does not say
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = duration)]
    pub store_requeue_interval: Duration,
    /// Ask a store only while its condition is Ready
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_flood_gate: bool,

    /// Write down in GeneratorStates what generators made, and revoke it when nobody needs it any more
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_generator_state: bool,
    /// How long what a generator made works on after it was replaced
    #[arg(long, default_value = "2m", value_name = "DURATION", value_parser = duration)]
    pub generator_gc_grace_period: Duration,

    /// Let spec.target.manifest name other kinds than Secret: their values are as readable as those kinds are, and the operator needs the rights to write them
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub unsafe_allow_generic_targets: bool,

    /// What opens an action in templates
    #[arg(long, default_value = "{{", value_name = "TEXT")]
    pub template_left_delimiter: String,
    /// What closes an action in templates
    #[arg(long, default_value = "}}", value_name = "TEXT")]
    pub template_right_delimiter: String,

    /// Fail where a template's function fails whose complaint Go takes for its result (b64dec, hexdec, ...), instead of writing that with a Warning event
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub strict_templates: bool,

    /// Which Secrets that no ExternalSecret manages may be taken over
    #[arg(long, default_value = "any", value_parser = PossibleValuesParser::new(Adopt::NAMES).try_map(|word| word.parse::<Adopt>()))]
    pub adopt: Adopt,
    /// For which stores the operator's own Kubernetes token may be sent
    #[arg(long, default_value = "cluster", value_parser = PossibleValuesParser::new(ControllerToken::NAMES).try_map(|word| word.parse::<ControllerToken>()))]
    pub controller_token: ControllerToken,
    /// Which stores that name no credentials may use the identity that a cloud gives the operator itself
    #[arg(long, default_value = "all", value_parser = PossibleValuesParser::new(AmbientIdentity::NAMES).try_map(|word| word.parse::<AmbientIdentity>()))]
    pub ambient_identity: AmbientIdentity,
    /// Send stores no ServiceAccount token that the API server itself accepts: their references must name other audiences
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub refuse_api_audiences: bool,
    /// Let URLs of SecretStores lead to these addresses, of those that only the operator's own machine may reach: loopback, link-local, and the clouds' metadata services
    #[arg(long, value_delimiter = ',', value_name = "CIDR,...")]
    pub allow_store_addresses: Vec<Network>,
    /// The same for all link-local addresses, where most clouds keep their metadata services
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub allow_link_local: bool,
    /// Reach SecretStores, too, through the proxies that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name: the addresses of a server are then judged here, and the proxy resolves its name once more, out of our sight
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub proxy_namespaced_stores: bool,

    /// Restart Deployments, StatefulSets and DaemonSets whose Secret changed, where these and the ExternalSecret have it so by annotations: docs/restarts.md. Needs the right to patch them
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_restarts: bool,
    /// Let ExternalSecrets have workloads restarted that say nothing themselves
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub restart_without_opt_in: bool,

    /// Values that anybody may seal.
    #[command(flatten)]
    pub sealing: Sealing,

    /// What is taken without effect.
    #[command(flatten)]
    pub accepted: Accepted,
}

/// Flags of `keyferry run` for values that anybody may seal.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sealed values")]
pub struct Sealing {
    /// Hold the sealing keys of this namespace, Sealed Secrets' own among them, and make one where there is none: for stores of the kinds sealed and sealedsecrets
    #[arg(long, value_name = "NAMESPACE")]
    pub sealing_keys: Option<String>,
    /// How old the latest sealing key gets before another one is made; 0 makes none. Older ones go on opening
    #[arg(long, default_value = "720h", value_name = "DURATION", value_parser = period)]
    pub key_renew_period: Duration,
    /// Unseal SealedSecrets (bitnami.com/v1alpha1) to Secrets, in place of Sealed Secrets' own controller
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_sealed_secrets: bool,
    /// Serve here what kubeseal and `keyferry seal --for` ask for: the certificate, whether something opens, and the same sealed with the latest key; never a value
    #[arg(long, requires = "sealing_keys", value_name = "HOST:PORT", value_parser = address)]
    pub seal_listen: Option<SocketAddr>,
    /// Serve here, by TLS, to pods what is sealed for them: they show a token of their own of the audience keyferry
    #[arg(long, requires = "sealing_keys", requires = "unseal_cert_dir", value_name = "HOST:PORT", value_parser = address)]
    pub unseal_listen: Option<SocketAddr>,
    /// Folder of tls.crt and tls.key of --unseal-listen; it is read again when it is renewed
    #[arg(long, value_name = "DIR")]
    pub unseal_cert_dir: Option<PathBuf>,
}

impl Run {
    /// The namespaces to look after. An empty name is none, as in External Secrets Operator.
    pub fn scope(&self) -> Scope {
        Scope::of(self.namespace.iter().cloned())
    }

    /// How many shards there are, where there are several. The error is for a person.
    pub fn sharding(&self) -> Result<Option<u32>, String> {
        let count = Some(self.shards).filter(|count| *count > 1);
        if count.is_some() && !self.enable_leader_election {
            return Err(
                "--shards needs leader election, which says whose a shard is: leave --enable-leader-election=false \
                        out, or --shards"
                    .to_owned(),
            );
        }
        Ok(count)
    }

    /// The kinds that make copies and are looked after: for whoever looks after the whole cluster.
    pub fn copiers(&self) -> Vec<CopierKind> {
        let kinds = [
            (CopierKind::ClusterExternalSecret, self.enable_cluster_external_secret_reconciler),
            (CopierKind::ClusterPushSecret, self.enable_cluster_push_secret_reconciler),
        ];
        let wanted = kinds.into_iter().filter(|(_, is_wanted)| *is_wanted && self.scope() == Scope::All);
        wanted.map(|(kind, _)| kind).collect()
    }
}

/// Flags of External Secrets Operator that keyferry takes and has no use for, so that a Deployment need not be edited.
/// Each that is given is named in the log at start.
#[derive(Args, Debug)]
#[command(next_help_heading = "Taken for compatibility, without effect")]
pub struct Accepted {
    /// requests are bounded by --concurrent
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub client_qps: Option<f64>,
    /// requests are bounded by --concurrent
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub client_burst: Option<f64>,
    /// log times are RFC 3339
    #[arg(long, value_name = "NAME")]
    pub zap_time_encoding: Option<String>,
    /// values are never cached
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_secrets_caching: Option<bool>,
    /// values are never cached
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_configmaps_caching: Option<bool>,
    /// values are never cached
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_managed_secrets_caching: Option<bool>,
    /// there is no cache to disagree with
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_secret_api_read_on_cache_mismatch: Option<bool>,
    /// logins are always kept
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_vault_token_cache: Option<bool>,
    /// logins are always kept
    #[arg(long, value_name = "N")]
    pub vault_token_cache_size: Option<u64>,
    /// logins are always kept
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub experimental_enable_vault_token_cache: Option<bool>,
    /// logins are always kept
    #[arg(long, value_name = "N")]
    pub experimental_vault_token_cache_size: Option<u64>,
    /// metrics have no labels of the object's labels yet
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_extended_metric_labels: Option<bool>,
    /// /metrics speaks HTTP/1.1
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_http2: Option<bool>,
    /// this store is not built yet
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub experimental_enable_doppler_oidc_cache: Option<bool>,
    /// this store is not built yet
    #[arg(long, value_name = "N")]
    pub experimental_doppler_oidc_cache_size: Option<u64>,
    /// this store is not built yet
    #[arg(long, value_name = "N")]
    pub doppler_etag_cache_size: Option<u64>,
    /// this store is not built yet
    #[arg(long, value_name = "N")]
    pub mysterybox_tokens_cache_size: Option<u64>,
    /// this store is not built yet
    #[arg(long, value_name = "N")]
    pub mysterybox_connections_cache_size: Option<u64>,
}

impl Accepted {
    /// The flags that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let all = [
            (self.client_qps.is_some(), "--client-qps"),
            (self.client_burst.is_some(), "--client-burst"),
            (self.zap_time_encoding.is_some(), "--zap-time-encoding"),
            (self.enable_secrets_caching.is_some(), "--enable-secrets-caching"),
            (self.enable_configmaps_caching.is_some(), "--enable-configmaps-caching"),
            (self.enable_managed_secrets_caching.is_some(), "--enable-managed-secrets-caching"),
            (self.enable_secret_api_read_on_cache_mismatch.is_some(), "--enable-secret-api-read-on-cache-mismatch"),
            (self.enable_vault_token_cache.is_some(), "--enable-vault-token-cache"),
            (self.vault_token_cache_size.is_some(), "--vault-token-cache-size"),
            (self.experimental_enable_vault_token_cache.is_some(), "--experimental-enable-vault-token-cache"),
            (self.experimental_vault_token_cache_size.is_some(), "--experimental-vault-token-cache-size"),
            (self.enable_extended_metric_labels.is_some(), "--enable-extended-metric-labels"),
            (self.enable_http2.is_some(), "--enable-http2"),
            (self.experimental_enable_doppler_oidc_cache.is_some(), "--experimental-enable-doppler-oidc-cache"),
            (self.experimental_doppler_oidc_cache_size.is_some(), "--experimental-doppler-oidc-cache-size"),
            (self.doppler_etag_cache_size.is_some(), "--doppler-etag-cache-size"),
            (self.mysterybox_tokens_cache_size.is_some(), "--mysterybox-tokens-cache-size"),
            (self.mysterybox_connections_cache_size.is_some(), "--mysterybox-connections-cache-size"),
        ];
        all.into_iter().filter(|(given, _)| *given).map(|(_, flag)| flag).collect()
    }
}

/// An address as Go writes it: `:8080` is every interface.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let full = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.replacen("localhost:", "127.0.0.1:", 1),
    };
    full.parse().map_err(|_| format!("{text:?} is not an address: write it like :8080 or 127.0.0.1:8080"))
}

/// A duration as Go writes it; zero is none.
fn period(text: &str) -> Result<Duration, String> {
    let period = if text == "0" { Ok(None) } else { keyferry_crds::duration::interval(text) };
    period.map(Option::unwrap_or_default).map_err(|problem| problem.to_string())
}

/// A duration as Go writes it, above zero.
fn duration(text: &str) -> Result<Duration, String> {
    match keyferry_crds::duration::interval(text) {
        Ok(Some(duration)) => Ok(duration),
        Ok(None) => Err(format!("{text:?} must be above zero")),
        Err(problem) => Err(problem.to_string()),
    }
}
