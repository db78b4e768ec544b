//! `keyferry who`: who reaches a Secret, by using it, by reading it, and by becoming somebody who may.

use std::io::Write;

use clap::Args;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use keyferry_cluster::connection::Connection;
use keyferry_cluster::pages;
use keyferry_cluster::problem::ApiProblem;
use keyferry_crds::ExternalSecret;
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::gather;
use super::status::Format;
use super::table::table;
use crate::report::access::{Rbac, Way};
use crate::report::users::User;

/// Flags of `keyferry who`.
#[derive(Args, Debug)]
pub struct Who {
    /// An ExternalSecret, whose target is meant, or a Secret as secret/NAME
    #[arg(value_name = "[secret/]NAME")]
    pub name: String,
    /// The way to the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// Its namespace; without it that of the kubeconfig's context
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Leave out what is the system's own: names that begin with system:, and ServiceAccounts of kube-system
    #[arg(long)]
    pub without_system: bool,
    /// How to print
    #[arg(long, short, default_value = "text", value_enum)]
    pub output: Format,
}

/// Who reaches it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reached {
    namespace: String,
    secret: String,
    users: Vec<User>,
    ways: Vec<Way>,
}

/// Roles and bindings: of one namespace with those of the cluster, or of all.
pub async fn rbac(client: &Client, namespace: Option<&str>) -> Result<Rbac, ApiProblem> {
    async fn all<K>(api: Api<K>) -> Result<Vec<K>, ApiProblem>
    where
        K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut found = Vec::new();
        pages::all(&api, ListParams::default(), |object| found.push(object)).await?;
        Ok(found)
    }
    let roles: Vec<Role> = all(gather::scoped(client, namespace)).await?;
    let bindings: Vec<RoleBinding> = all(gather::scoped(client, namespace)).await?;
    let cluster_roles: Vec<ClusterRole> = all(Api::all(client.clone())).await?;
    let cluster_bindings: Vec<ClusterRoleBinding> = all(Api::all(client.clone())).await?;
    Ok(Rbac::new(roles, cluster_roles, bindings, cluster_bindings))
}

/// Reads and prints; the error is for a person.
pub async fn run(args: &Who, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), String> {
    let client = args.connection.client().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let secret = match args.name.strip_prefix("secret/") {
        Some(name) => name.to_owned(),
        None => {
            let api: Api<ExternalSecret> = Api::namespaced(client.clone(), &namespace);
            let es = keyferry_cluster::problem::timely(api.get_opt(&args.name)).await;
            let es = es.map_err(|problem| format!("can't read the ExternalSecret: {}", problem.for_person()))?;
            let none = || {
                format!(
                    "there is no ExternalSecret {:?} in namespace {namespace:?}; of a Secret it is secret/NAME",
                    args.name
                )
            };
            es.ok_or_else(none)?.target_name().to_owned()
        }
    };
    let rbac = rbac(&client, Some(&namespace)).await;
    let rbac = rbac.map_err(|problem| format!("can't list roles and bindings: {}", problem.for_person()))?;
    let mut notes = Vec::new();
    let users = gather::users(&client, Some(&namespace), &mut notes).await;
    let mut ways = rbac.ways(&namespace, &secret);
    ways.retain(|way| !args.without_system || !way.who.is_system());
    let users = users.into_iter().filter(|user| !user.uses(&secret).is_empty()).collect();
    let reached = Reached { namespace, secret, users, ways };
    let text = match args.output {
        Format::Text => told(&reached),
        Format::Json => serde_json::to_string_pretty(&reached).map_err(|_| "can't write JSON".to_owned())? + "\n",
    };
    notes.iter().for_each(|note| _ = writeln!(err, "note: {note}"));
    out.write_all(text.as_bytes()).map_err(|_| "can't write to standard output".to_owned())
}

fn told(reached: &Reached) -> String {
    let Reached { namespace, secret, users, ways } = reached;
    let mut text = format!("Secret {namespace}/{secret}\n");
    if !users.is_empty() {
        let head = ["KIND", "NAME", "SERVICE ACCOUNT", "AS"].map(str::to_owned).to_vec();
        let rows = users.iter().map(|user| {
            let uses: Vec<String> = user.uses(secret).iter().map(|how| format!("{how:?}")).collect();
            vec![user.kind.clone(), user.name.clone(), user.service_account.clone(), uses.join(", ")]
        });
        text += &format!(
            "\nUsed by (and so by the kubelets of their nodes)\n{}",
            table(&[head].into_iter().chain(rows).collect::<Vec<_>>())
        );
    }
    for (title, is_direct) in [("Can read it", true), ("Can come to read it", false)] {
        let head = ["WHO", "MAY", "SO", "BY"].map(str::to_owned).to_vec();
        let rows = ways.iter().filter(|way| way.is_direct == is_direct).map(|way| {
            let bindings: Vec<&str> = way.bindings.iter().map(String::as_str).collect();
            vec![way.who.to_string(), way.by.clone(), way.so.to_owned(), bindings.join(", ")]
        });
        let rows: Vec<Vec<String>> = [head].into_iter().chain(rows).collect();
        text += &if rows.len() > 1 { format!("\n{title}\n{}", table(&rows)) } else { format!("\n{title}: nobody\n") };
    }
    text
}
