//! `keyferry doctor`: what is wrong with a cluster as a whole, as far as whoever asks may see it.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_cluster::connection::Connection;
use keyferry_cluster::pages;
use keyferry_cluster::problem::timely;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::status::Format;
use super::table::{coloured, has_colours, json, note, plain};
use super::{gather, who};
use crate::clock;
use crate::report::faults::{self, Cluster, Fault, Level};
use crate::report::snapshot::Snapshot;

/// Flags of `keyferry doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// The way to the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print
    #[arg(long, short, default_value = "text", value_enum)]
    pub output: Format,
}

/// What is not asked for either, where ExternalSecrets can't be listed.
const UNREAD: [&str; 4] = ["ExternalSecrets", "PushSecrets", "SecretStores", "ClusterSecretStores"];

/// How many objects of a finding are named to a person.
const NAMED: usize = 10;

/// Looks and prints. Exits with 1 where something wants attention.
pub async fn run(args: &Doctor, out: &mut dyn Write, err: &mut dyn Write) -> Result<ExitCode, String> {
    let client = args.connection.client().await?;
    let mut notes = Vec::new();
    let mut snapshot = match gather::snapshot(&client, None, &mut notes).await {
        Ok(snapshot) => snapshot,
        Err(why) => {
            notes.push(why);
            Snapshot { unread: UNREAD.into(), ..Snapshot::default() }
        }
    };
    let (users, unread) = gather::users(&client, None, &mut notes).await;
    snapshot.users = users;
    snapshot.unread.extend(unread);
    let mut kinds = Vec::new();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let each = |crd: CustomResourceDefinition| {
        let served = crd.spec.versions.iter().filter(|version| version.served).map(|version| version.name.clone());
        kinds.push((crd.name_any(), served.collect()));
    };
    let kinds = pages::all(&api, ListParams::default(), each).await.is_ok().then_some(kinds);
    let cluster = Cluster {
        metrics: gather::text(&client, "/metrics").await,
        version: timely(client.apiserver_version()).await.ok().map(|version| version.git_version),
        rbac: who::rbac(&client, None).await.ok(),
        kinds,
    };
    let found = faults::of(&snapshot, &cluster, clock::now());
    let text = match args.output {
        Format::Text => found.iter().map(|fault| told(fault, has_colours())).collect(),
        Format::Json => json(&found, true)?,
    };
    note(&notes, err);
    out.write_all(text.as_bytes()).map_err(|_| "can't write to standard output".to_owned())?;
    let is_well = found.iter().all(|fault| fault.level != Level::Warning);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(fault: &Fault, has_colours: bool) -> String {
    let level = match fault.level {
        Level::Warning => "warning",
        Level::Unknown => "unknown",
        Level::Good => "good",
    };
    let mut text = coloured(&format!("{level:7} {}: {}", fault.check, fault.message), level, has_colours) + "\n";
    for object in fault.objects.iter().take(NAMED) {
        text += &format!("          {}\n", plain(object));
    }
    match fault.objects.len().checked_sub(NAMED) {
        None | Some(0) => text,
        Some(more) => text + &format!("          and {more} more (-o json has all)\n"),
    }
}
