//! `keyferry who`: who reaches a Secret, by using it, by reading it, and by becoming somebody who may.

use std::io::Write;

use clap::Args;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use keyferry_cluster::connection::Connection;
use keyferry_cluster::pages;
use keyferry_cluster::problem::{ApiProblem, timely};
use keyferry_crds::ExternalSecret;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::gather;
use super::hint::did_you_mean;
use super::status::Format;
use super::table::{json, note, table};
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
    /// Leave out what is the system's own: system:masters, what begins with system:kube-, system:node or system:controller:, and the ServiceAccounts of kube-system
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

/// The name of the Secret that is meant. Whoever may look is told where it is not there.
async fn secret(args: &Who, client: &Client, namespace: &str, notes: &mut Vec<String>) -> Result<String, String> {
    let secret = match args.name.strip_prefix("secret/") {
        Some(name) => name.to_owned(),
        None => target(&args.name, client, namespace).await?,
    };
    // Its metadata are enough: who asks who may read it need not read it.
    let there = timely(Api::<Secret>::namespaced(client.clone(), namespace).get_metadata_opt(&secret)).await;
    if matches!(there, Ok(None)) {
        notes.push(format!("there is no Secret {secret:?} in namespace {namespace:?} now: this is who could read it"));
    }
    Ok(secret)
}

/// The name of an ExternalSecret's target.
async fn target(name: &str, client: &Client, namespace: &str) -> Result<String, String> {
    let api: Api<ExternalSecret> = Api::namespaced(client.clone(), namespace);
    let es = timely(api.get_opt(name)).await;
    let es = es.map_err(|problem| format!("can't read the ExternalSecret: {}", problem.for_person()))?;
    if let Some(es) = es {
        return Ok(es.target_name().to_owned());
    }
    let mut known = Vec::new();
    let api: Api<DeserializeGuard<ExternalSecret>> = Api::namespaced(client.clone(), namespace);
    let each = |of: DeserializeGuard<ExternalSecret>| known.push(of.name_any());
    // A hint is not worth an error.
    let _ = pages::all(&api, ListParams::default(), each).await;
    let hint = did_you_mean(name, known.iter().map(String::as_str));
    Err(format!("there is no ExternalSecret {name:?} in namespace {namespace:?}; of a Secret it is secret/NAME{hint}"))
}

/// Reads and prints; the error is for a person.
pub async fn run(args: &Who, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), String> {
    let client = args.connection.client().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let mut notes = Vec::new();
    let secret = secret(args, &client, &namespace, &mut notes).await?;
    let rbac = rbac(&client, Some(&namespace)).await;
    let rbac = rbac.map_err(|problem| format!("can't list roles and bindings: {}", problem.for_person()))?;
    let (users, _) = gather::users(&client, Some(&namespace), &mut notes).await;
    let mut ways = rbac.ways(&namespace, &secret);
    ways.retain(|way| !args.without_system || !way.who.is_system());
    let users = users.into_iter().filter(|user| !user.uses(&secret).is_empty()).collect();
    let reached = Reached { namespace, secret, users, ways };
    let text = match args.output {
        Format::Text => told(&reached),
        Format::Json => json(&reached, true)?,
    };
    note(&notes, err);
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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::Request;
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: Who,
    }

    /// An API server that has one ExternalSecret, `db`, whose target `there` is there.
    fn api() -> Client {
        let serve = |request: Request| async move {
            let es = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "db", "namespace": "ns"}, "spec": {"target": {"name": "there"}}});
            let absent = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": ""});
            let (code, body) = match request.uri().path().rsplit('/').next() {
                Some("externalsecrets") => (200, json!({"metadata": {}, "items": [es]})),
                Some("db") => (200, es),
                Some("there") => (
                    200,
                    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "there"}}),
                ),
                _ => (404, absent),
            };
            (axum::http::StatusCode::from_u16(code).unwrap(), body.to_string())
        };
        Client::new(Router::new().fallback(serve), "ns")
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_with_what_was_meant() {
        for (name, expected, noted) in [
            ("db", Ok("there"), 0),
            ("bd", Err("did you mean db?"), 0),
            ("secret/there", Ok("there"), 0),
            ("secret/ther", Ok("ther"), 1),
        ] {
            let args = Alone::parse_from(["who", name]).args;
            let mut notes = Vec::new();
            let told = secret(&args, &api(), "ns", &mut notes).await;
            match expected {
                Ok(secret) => assert_eq!(told.as_deref(), Ok(secret), "{name}"),
                Err(hint) => assert!(told.as_ref().is_err_and(|why| why.ends_with(hint)), "{name}: {told:?}"),
            }
            assert_eq!(notes.len(), noted, "{name}: {notes:?}");
        }
    }
}
