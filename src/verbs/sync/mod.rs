//! `keyferry sync`: files in place of Secrets, without a cluster, or in a pod. The pipeline is the operator's; what it asks of
//! the world is answered by manifests and files.
//!
//! Modules, in reading order: [`args`] the flags, [`stamp`] whether files have changed, [`credentials`] what stores log in
//! with, [`source`] what is asked for, [`marks`] what is written down, [`mod@output`] the port for targets, [`report`] what
//! is told, [`mod@verdict`] what a look came to, [`subjects`] what is due, [`command`] what is run on changes, and [`tend`]
//! the loop.

pub mod args;
pub mod stamp;
pub mod credentials;
pub mod source;
pub mod marks;
pub mod output;
pub mod report;
pub mod verdict;
pub mod subjects;
pub mod command;
pub mod tend;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use keyferry_cluster::connection::of_operator;
use keyferry_files::root::Root;
use keyferry_stores::files::Sought;
use keyferry_stores::registry::CREDENTIAL_VARIABLES;
use keyferry_sync::audit::Audit;

use self::args::{Output, Sync};
use self::command::OnChange;
use self::credentials::Credentials;
use self::output::Form;
use self::report::Reporter;
use self::source::{Source, pod_namespace};
use self::tend::{End, Orders, Tending};
use crate::audit::{self, Counts, Log};
use crate::metrics::Metrics;
use crate::threads::control::BoxedEnd;
use crate::verbs::manifests::proxies;
use crate::verbs::run::{forbid_core_dumps, forbid_looking_in};

/// The namespace of what names none.
const NAMESPACE: &str = "default";

/// Something can't be read.
const UNREADABLE: u8 = 2;

/// Reads, and writes files; the error, for a person, is that it can't begin.
pub async fn run(
    args: Sync,
    stopped: impl Fn() -> BoxedEnd,
    input: &mut (dyn Read + Send),
    out: &mut (dyn Write + Send),
    is_terminal: bool,
) -> Result<ExitCode, String> {
    forbid_core_dumps();
    forbid_looking_in();
    check(&args)?;
    let by_default = if is_terminal { Output::Text } else { Output::Json };
    let reporter = Reporter::new(out, args.output.unwrap_or(by_default), is_terminal);
    let form = Form {
        format: args.format,
        by_namespace: args.by_namespace,
        access: args.access(),
        tells: args.on_change.is_some(),
    };
    let root = Root::open(&args.to, form.access).map_err(|problem| problem.to_string())?;
    let named = args.credential_env.iter().map(|named| named.variable.clone());
    let known = CREDENTIAL_VARIABLES.iter().copied().flatten().map(|name| (*name).to_owned());
    let without = named.chain(known).collect();
    let orders = Orders {
        watches: args.watch,
        takes_any_class: args.pipeline.controller_class.is_none(),
        prunes: args.prune,
        form,
        on_change: args.on_change.clone().map(|command| OnChange { command, without }),
    };
    let settings = args.pipeline.settings();
    let log = audit_log(&args)?;
    let source = source(args, log.clone()).await?;
    let stamp = source.stamp();
    let loaded = tokio::select! {
        loaded = source.load(input) => loaded,
        () = stopped() => return Ok(ExitCode::FAILURE),
    };
    let watches = orders.watches;
    let tending = Tending::new(orders, source, settings, reporter, (stamp, loaded), root);
    let end = tending.map_err(|problem| problem.to_string())?.run(stopped).await;
    log.close()?;
    Ok(match end {
        // Who stays ends well when asked to.
        End { is_stopped: true, .. } if watches => ExitCode::SUCCESS,
        End { is_unreadable: true, .. } => ExitCode::from(UNREADABLE),
        End { has_failed: false, is_stopped: false, .. } => ExitCode::SUCCESS,
        End { .. } => ExitCode::FAILURE,
    })
}

/// What flags alone can't say.
fn check(args: &Sync) -> Result<(), String> {
    let is_stdin = |path: &PathBuf| path.as_os_str() == "-";
    if args.watch && args.filename.iter().any(is_stdin) {
        return Err("--watch reads manifests again when they change, which standard input can't: name files".to_owned());
    }
    if let Some(folder) = args.credentials.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(format!(
            "--credentials {} is no folder that can be read: make it, or name another",
            folder.display()
        ));
    }
    let absolute = |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_default();
    let to = absolute(&args.to);
    for folder in args.filename.iter().filter(|path| path.is_dir()) {
        let from = absolute(folder);
        if to == from || (args.recursive && to.starts_with(&from)) {
            return Err(format!(
                "--to {} is among the manifests of {}: what is written there would be read as one of them; name a folder \
                 elsewhere",
                args.to.display(),
                folder.display()
            ));
        }
    }
    Ok(())
}

/// The audit log, as far as one is asked for. The error is for a person.
fn audit_log(args: &Sync) -> Result<Arc<Log>, String> {
    let metrics = Metrics::new();
    let counts =
        Counts { written: metrics.process.audit_written.clone(), dropped: metrics.process.audit_dropped.clone() };
    audit::open(args.audit_log.as_deref(), &args.audit_webhook, "sync", &counts)
}

async fn source(args: Sync, audit: Arc<dyn Audit>) -> Result<Source, String> {
    let unseal = args.unseal.remote()?;
    let proxies = proxies()?;
    if args.from_cluster.is_empty() {
        let credentials = Credentials { folder: args.credentials, environment: args.credential_env };
        let namespace = args.namespace.unwrap_or_else(|| NAMESPACE.to_owned());
        return Ok(Source::Files {
            paths: args.filename,
            recursive: args.recursive,
            namespace,
            credentials,
            identities: args.identities,
            sought: Sought::default(),
            unseal,
            audit,
            proxies,
        });
    }
    let is_named = args.connection.kubeconfig.is_some() || args.connection.context.is_some();
    let client = if is_named { args.connection.client().await? } else { of_operator(None).await? };
    let namespace = args.namespace.or_else(pod_namespace).unwrap_or_else(|| NAMESPACE.to_owned());
    Ok(Source::cluster(client, namespace, args.from_cluster, unseal, audit, proxies))
}
