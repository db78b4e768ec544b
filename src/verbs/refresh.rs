//! `keyferry refresh`: has ExternalSecrets and PushSecrets looked at now, by the annotation that asks for it.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures::stream::{self, StreamExt as _};
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
use tokio::time::{Instant, timeout_at};

use super::explain::kind_of;
use super::gather;
use super::hint::did_you_mean;
use super::table::{note, plain};
use crate::clock;
use crate::report::snapshot::Snapshot;

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
    /// How long all of it may take, in seconds
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

/// What flags ask for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'a> {
    /// All that there are.
    All,
    /// Those that use a store.
    Of(StoreId),
    /// One, by its kind and name.
    One(&'static str, &'a str),
}

/// What flags ask for; the error is for a person.
fn wanted<'a>(args: &'a Refresh, namespace: &str) -> Result<Wanted<'a>, String> {
    let split = |of: &'a str, default: &'static str| match of.split_once('/') {
        Some((kind, name)) => kind_of(kind).map(|kind| (kind, name)),
        None => Ok((default, of)),
    };
    if let Some(store) = &args.store {
        let (kind, name) = split(store, "SecretStore")?;
        let of_namespace = match kind {
            "SecretStore" if args.all_namespaces => {
                return Err("a SecretStore is of one namespace: give --namespace, and not --all-namespaces".to_owned());
            }
            "SecretStore" => Some(namespace.to_owned()),
            "ClusterSecretStore" => None,
            _ => return Err(format!("a {kind} is no store: use --store NAME or --store clusterstore/NAME")),
        };
        return Ok(Wanted::Of(StoreId { namespace: of_namespace, name: name.to_owned() }));
    }
    let Some(name) = &args.name else { return Ok(Wanted::All) };
    if args.all_namespaces {
        return Err("a name is of one namespace: give --namespace, and not --all-namespaces".to_owned());
    }
    match split(name, "ExternalSecret")? {
        (kind @ ("ExternalSecret" | names::KIND_PUSH_SECRET), name) => Ok(Wanted::One(kind, name)),
        (kind, _) => Err(format!("a {kind} is not refreshed itself: --store refreshes all that use one")),
    }
}

/// Until when all is to be done.
struct Limit {
    at: Instant,
    seconds: u64,
}

impl Limit {
    fn of(seconds: u64) -> Self {
        // Nobody waits for longer, and clocks have an end.
        Self { at: Instant::now() + Duration::from_secs(seconds.min(365 * 86_400)), seconds }
    }
}

/// Asks, and waits where that is wanted. Exits with 1 where something was not refreshed in time, or failed.
pub async fn run(args: &Refresh, out: &mut dyn Write, err: &mut dyn Write) -> Result<ExitCode, String> {
    let limit = Limit::of(args.timeout);
    let client = timeout_at(limit.at, args.connection.client());
    let client = client.await.map_err(|_| format!("the cluster is not reached within {} s", limit.seconds))??;
    run_with(args, &client, &limit, out, err).await
}

async fn run_with(
    args: &Refresh,
    client: &Client,
    limit: &Limit,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<ExitCode, String> {
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let wanted = wanted(args, &namespace)?;
    let scope = Some(namespace.as_str()).filter(|_| !args.all_namespaces);
    let mut notes = Vec::new();
    let snapshot = timeout_at(limit.at, gather::snapshot(client, scope, &mut notes)).await;
    let snapshot = snapshot
        .map_err(|_| format!("what there is is not listed within {} s: nothing was asked for", limit.seconds))??;
    note(&notes, err);
    let asked = chosen(&wanted, &namespace, snapshot)?;
    let (waiting, is_well) = ask_all(client, asked, args.wait, limit, out).await?;
    let is_well = is_well & (!args.wait || wait(client, waiting, limit, out).await?);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(out: &mut dyn Write, line: &str) -> Result<(), String> {
    writeln!(out, "{}", plain(line)).map_err(|_| "can't write to standard output".to_owned())
}

/// What of a snapshot is wanted; the error says why that is nothing.
fn chosen(wanted: &Wanted<'_>, namespace: &str, snapshot: Snapshot) -> Result<Vec<Asked>, String> {
    let known_stores: BTreeSet<StoreId> = snapshot.stores.iter().map(|store| store.id.clone()).collect();
    let unread = snapshot.unread;
    let external = snapshot.external_secrets.into_iter().flatten().map(|es| Asked::External(Box::new(es)));
    let push = snapshot.push_secrets.into_iter().flatten().map(|ps| Asked::Push(Box::new(ps)));
    let all: Vec<Asked> = external.chain(push).collect();
    let (found, none) = match wanted {
        Wanted::All => (all, "there is nothing to refresh".to_owned()),
        Wanted::Of(id) => {
            let is_there = known_stores.contains(id) || unread.contains(format!("{}s", id.kind()).as_str());
            let of_kind = known_stores.iter().filter(|known| known.namespace == id.namespace);
            let hint = did_you_mean(&id.name, of_kind.map(|known| known.name.as_str()));
            let none = if is_there { format!("nothing uses {id}") } else { format!("there is no {id}{hint}") };
            (all.into_iter().filter(|asked| asked.uses(id)).collect(), none)
        }
        Wanted::One(kind, name) => {
            let mut all = all;
            all.retain(|asked| matches!(asked, Asked::External(_)) == (*kind == "ExternalSecret"));
            let known: Vec<String> = all.iter().map(Asked::name).collect();
            let hint = did_you_mean(name, known.iter().map(String::as_str));
            all.retain(|asked| asked.name() == *name);
            (all, format!("there is no {kind} {name:?} in namespace {namespace:?}{hint}"))
        }
    };
    if found.is_empty() { Err(none) } else { Ok(found) }
}

/// How many requests are under way at once.
const AT_ONCE: usize = 8;

/// Asks for all of them; answers those that are to be waited for, and whether all could be asked for.
async fn ask_all(
    client: &Client,
    asked: Vec<Asked>,
    is_waited_for: bool,
    limit: &Limit,
    out: &mut dyn Write,
) -> Result<(Vec<Asked>, bool), String> {
    // Another text than any before it: it is the change that counts.
    let mark = clock::now().to_string();
    let (fixed, asked): (Vec<Asked>, Vec<Asked>) = asked.into_iter().partition(|of| of.is_fixed().is_some());
    for of in &fixed {
        tell(out, &format!("{}: {}", of.named(), of.is_fixed().unwrap_or_default()))?;
    }
    let (mut waiting, mut is_well) = (Vec::new(), true);
    let asking = stream::iter(asked).map(|of| {
        let mark = &mark;
        async move { (of.named(), timeout_at(limit.at, ask(client, of, mark)).await) }
    });
    let mut answers = asking.buffer_unordered(AT_ONCE);
    while let Some((named, answer)) = answers.next().await {
        match answer {
            Ok(Ok(of)) => {
                if !is_waited_for {
                    tell(out, &format!("{named}: asked for"))?;
                }
                waiting.push(of);
            }
            Ok(Err(why)) => {
                is_well = false;
                tell(out, &format!("{named}: {why}"))?;
            }
            Err(_) => {
                is_well = false;
                tell(out, &format!("{named}: not asked for within {} s", limit.seconds))?;
            }
        }
    }
    Ok((waiting, is_well))
}

/// What is said of what was deleted meanwhile.
const GONE: &str = "it went meanwhile";

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
    asked.map_err(|problem| {
        if problem.is_not_found() {
            GONE.to_owned()
        } else {
            format!("it can't be asked for: {}", problem.for_person())
        }
    })
}

/// Whether one is refreshed since it was asked for; `Err` says why it is not. `None` where that is not known yet.
async fn looked(client: &Client, asked: &Asked, has_waited: bool) -> Option<Result<(), String>> {
    let (synced, wanted, ready) = match asked {
        Asked::External(es) => {
            let api: Api<ExternalSecret> = Api::namespaced(client.clone(), &es.namespace().unwrap_or_default());
            let Some(now) = timely(api.get_opt(&es.name_any())).await.ok()? else { return Some(Err(GONE.to_owned())) };
            let synced = now.status.as_ref().and_then(|status| status.synced_resource_version.clone());
            (synced, hash::version_of(&now), now.ready().cloned())
        }
        Asked::Push(ps) => {
            let api: Api<PushSecret> = Api::namespaced(client.clone(), &ps.namespace().unwrap_or_default());
            let Some(now) = timely(api.get_opt(&ps.name_any())).await.ok()? else { return Some(Err(GONE.to_owned())) };
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

/// Waits for all of them; answers whether all were refreshed.
async fn wait(client: &Client, mut rest: Vec<Asked>, limit: &Limit, out: &mut dyn Write) -> Result<bool, String> {
    let began = Instant::now();
    let mut is_well = true;
    while !rest.is_empty() && Instant::now() < limit.at {
        let has_waited = began.elapsed() > SAME;
        let looking = stream::iter(rest).map(|of| async move {
            let seen = timeout_at(limit.at, looked(client, &of, has_waited)).await;
            (of, seen.ok().flatten())
        });
        let mut looks = looking.buffer_unordered(AT_ONCE);
        let mut left = Vec::new();
        while let Some((asked, seen)) = looks.next().await {
            match seen {
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
            tokio::time::sleep_until(limit.at.min(Instant::now() + POLL)).await;
        }
    }
    for asked in &rest {
        tell(
            out,
            &format!("{}: not refreshed within {} s: does an operator of its class run?", asked.named(), limit.seconds),
        )?;
    }
    Ok(is_well && rest.is_empty())
}

#[cfg(test)]
#[path = "refresh_tests.rs"]
mod tests;
