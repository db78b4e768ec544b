//! `keyferry refresh`: has ExternalSecrets and PushSecrets looked at now, by the annotation that asks for it.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use keyferry_cluster::connection::Connection;
use keyferry_cluster::problem::timely;
use keyferry_crds::{ExternalSecret, PushSecret, RefreshPolicy, names};
use keyferry_push::look::version_of as push_version_of;
use keyferry_push::refers::named_stores;
use keyferry_sync::dependency::name_of;
use keyferry_sync::hash;
use keyferry_sync::request::stores_of;
use keyferry_sync::schedule;
use keyferry_sync::store::StoreId;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::explain::kind_of;
use super::gather;
use super::hint::did_you_mean;
use crate::clock;

/// Flags of `keyferry refresh`.
#[derive(Args, Debug)]
pub struct Refresh {
    /// An ExternalSecret, or a PushSecret as push/NAME
    #[arg(value_name = "[KIND/]NAME", required_unless_present_any = ["store", "all"], conflicts_with_all = ["store", "all"])]
    pub name: Option<String>,
    /// All that use this store: a SecretStore, or a ClusterSecretStore as clusterstore/NAME
    #[arg(long, value_name = "[KIND/]NAME", conflicts_with = "all")]
    pub store: Option<String>,
    /// All of the namespace; of all namespaces with --all-namespaces
    #[arg(long)]
    pub all: bool,
    /// The way to the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// The namespace; without it that of the kubeconfig's context
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// In all namespaces, with --all or a ClusterSecretStore
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Wait until all are refreshed
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub timeout: u64,
}

/// How often it is looked whether all are refreshed.
const POLL: Duration = Duration::from_millis(250);

/// How long a condition that says the same as before is waited for: an operator that fails in the same way writes nothing.
const SAME: Duration = Duration::from_secs(10);

/// What is refreshed.
enum Asked {
    External(Box<ExternalSecret>),
    Push(Box<PushSecret>),
}

impl Asked {
    fn named(&self) -> String {
        let (kind, (namespace, name)) = match self {
            Self::External(es) => ("ExternalSecret", name_of(&es.metadata)),
            Self::Push(ps) => (names::KIND_PUSH_SECRET, name_of(&ps.metadata)),
        };
        format!("{kind} {namespace}/{name}")
    }

    fn name(&self) -> String {
        match self {
            Self::External(es) => es.name_any(),
            Self::Push(ps) => ps.name_any(),
        }
    }

    /// Why asking changes nothing, where that is so.
    fn is_fixed(&self) -> Option<&'static str> {
        let Self::External(es) = self else { return None };
        es.status.as_ref()?.refresh_time.as_ref()?;
        match es.spec.refresh_policy {
            RefreshPolicy::CreatedOnce => Some("it was fetched once, and by refreshPolicy CreatedOnce never again"),
            RefreshPolicy::OnChange => None,
            RefreshPolicy::Periodic | RefreshPolicy::Unknown(_) if schedule::interval(es).is_none() => {
                Some("it was fetched once, and by refreshInterval 0 never again")
            }
            RefreshPolicy::Periodic | RefreshPolicy::Unknown(_) => None,
        }
    }

    fn uses(&self, store: &StoreId) -> bool {
        match self {
            Self::External(es) => stores_of(es).contains(store),
            Self::Push(ps) => named_stores(ps).contains(store),
        }
    }
}

/// Asks, and waits where that is wanted. Exits with 1 where something was not refreshed in time, or failed.
pub async fn run(args: &Refresh, out: &mut dyn Write) -> Result<ExitCode, String> {
    let client = args.connection.client().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let scope = Some(namespace.as_str()).filter(|_| !args.all_namespaces);
    let mut notes = Vec::new();
    let snapshot = gather::snapshot(&client, scope, &mut notes).await?;
    let external = snapshot.external_secrets.into_iter().flatten().map(|es| Asked::External(Box::new(es)));
    let push = snapshot.push_secrets.into_iter().flatten().map(|ps| Asked::Push(Box::new(ps)));
    let asked = chosen(args, &namespace, external.chain(push).collect())?;
    if asked.is_empty() {
        return Err("there is nothing to refresh".to_owned());
    }
    // Another text than any before it: it is the change that counts.
    let mark = clock::now().to_string();
    let mut waiting = Vec::new();
    for of in asked {
        let named = of.named();
        if let Some(why) = of.is_fixed() {
            tell(out, &format!("{named}: {why}"))?;
            continue;
        }
        waiting.push(ask(&client, of, &mark).await.map_err(|why| format!("{named}: {why}"))?);
        if !args.wait {
            tell(out, &format!("{named}: asked for"))?;
        }
    }
    if !args.wait {
        return Ok(ExitCode::SUCCESS);
    }
    wait(&client, waiting, Duration::from_secs(args.timeout), out).await
}

fn tell(out: &mut dyn Write, line: &str) -> Result<(), String> {
    writeln!(out, "{line}").map_err(|_| "can't write to standard output".to_owned())
}

fn chosen(args: &Refresh, namespace: &str, all: Vec<Asked>) -> Result<Vec<Asked>, String> {
    if let Some(store) = &args.store {
        let (kind, name) = match store.split_once('/') {
            Some((kind, name)) => (kind_of(kind)?, name),
            None => ("SecretStore", store.as_str()),
        };
        let of = Some(namespace.to_owned()).filter(|_| kind != "ClusterSecretStore");
        let id = StoreId { namespace: of, name: name.to_owned() };
        return Ok(all.into_iter().filter(|asked| asked.uses(&id)).collect());
    }
    let Some(name) = &args.name else { return Ok(all) };
    let (kind, name) = match name.split_once('/') {
        Some((kind, name)) => (kind_of(kind)?, name),
        None => ("ExternalSecret", name.as_str()),
    };
    let is_of_kind = |asked: &Asked| matches!(asked, Asked::External(_)) == (kind == "ExternalSecret");
    let hint = {
        let known: Vec<String> = all.iter().filter(|asked| is_of_kind(asked)).map(Asked::name).collect();
        did_you_mean(name, known.iter().map(String::as_str))
    };
    let named: Vec<Asked> = all.into_iter().filter(|asked| is_of_kind(asked) && asked.name() == name).collect();
    if named.is_empty() {
        return Err(format!("there is no {kind} {name:?} in namespace {namespace:?}{hint}"));
    }
    Ok(named)
}

/// Writes the annotation; answers the object as it is since.
async fn ask(client: &Client, asked: Asked, mark: &str) -> Result<Asked, String> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {names::ANNOTATION_FORCE_SYNC: mark}}}));
    let params = PatchParams::default();
    let asked = match asked {
        Asked::External(es) => {
            let api: Api<ExternalSecret> = Api::namespaced(client.clone(), &es.namespace().unwrap_or_default());
            timely(api.patch(&es.name_any(), &params, &patch)).await.map(|es| Asked::External(Box::new(es)))
        }
        Asked::Push(ps) => {
            let api: Api<PushSecret> = Api::namespaced(client.clone(), &ps.namespace().unwrap_or_default());
            timely(api.patch(&ps.name_any(), &params, &patch)).await.map(|ps| Asked::Push(Box::new(ps)))
        }
    };
    asked.map_err(|problem| format!("it can't be asked for: {}", problem.for_person()))
}

/// Whether one is refreshed since it was asked for; `Err` says why it is not. `None` where that is not known yet.
async fn looked(client: &Client, asked: &Asked, has_waited: bool) -> Option<Result<(), String>> {
    let (synced, wanted, ready) = match asked {
        Asked::External(es) => {
            let api: Api<ExternalSecret> = Api::namespaced(client.clone(), &es.namespace().unwrap_or_default());
            let now = timely(api.get(&es.name_any())).await.ok()?;
            let synced = now.status.as_ref().and_then(|status| status.synced_resource_version.clone());
            (synced, hash::version_of(&now), now.ready().cloned())
        }
        Asked::Push(ps) => {
            let api: Api<PushSecret> = Api::namespaced(client.clone(), &ps.namespace().unwrap_or_default());
            let now = timely(api.get(&ps.name_any())).await.ok()?;
            let synced = now.status.as_ref().and_then(|status| status.synced_resource_version.clone());
            (synced, push_version_of(&now), now.ready().cloned())
        }
    };
    let ready = ready?;
    if ready.is_true() && synced.as_deref() == Some(wanted.as_str()) {
        return Some(Ok(()));
    }
    let before = match asked {
        Asked::External(es) => es.ready(),
        Asked::Push(ps) => ps.ready(),
    };
    let is_news = before.is_none_or(|before| before.message != ready.message || before.status != ready.status);
    let failed = ready.status == "False" && (is_news || has_waited);
    failed.then(|| Err(ready.message.unwrap_or_default()))
}

async fn wait(client: &Client, mut rest: Vec<Asked>, most: Duration, out: &mut dyn Write) -> Result<ExitCode, String> {
    let began = Instant::now();
    let mut is_well = true;
    while !rest.is_empty() && began.elapsed() < most {
        let mut left = Vec::new();
        for asked in rest {
            match looked(client, &asked, began.elapsed() > SAME).await {
                Some(Ok(())) => tell(out, &format!("{}: refreshed", asked.named()))?,
                Some(Err(why)) => {
                    is_well = false;
                    tell(out, &format!("{}: failed: {why}", asked.named()))?;
                }
                None => left.push(asked),
            }
        }
        rest = left;
        if !rest.is_empty() {
            tokio::time::sleep(POLL).await;
        }
    }
    for asked in &rest {
        tell(
            out,
            &format!(
                "{}: not refreshed within {} s: does an operator of its class run?",
                asked.named(),
                most.as_secs()
            ),
        )?;
    }
    Ok(if is_well && rest.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
