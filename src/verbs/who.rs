//! `keyferry who`: who reaches a Secret, by using it, by reading it, and by becoming somebody who may; and which pods mount what no
//! Secret is made of.

use std::io::Write;

use clap::Args;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use keyferry_cluster::connection::Connection;
use keyferry_cluster::guarded::Guarded;
use keyferry_cluster::pages;
use keyferry_cluster::problem::{ApiProblem, timely};
use keyferry_crds::{CreationPolicy, ExternalSecret};
use kube::api::{Api, ListParams};
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
    /// An ExternalSecret, whose target is meant, and the pods that mount it, or a Secret as secret/NAME
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

/// What is meant.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Meant {
    /// The Secret; `None` where none is made of the ExternalSecret.
    secret: Option<String>,
    /// The ExternalSecret, where one was named.
    external_secret: Option<String>,
}

impl Meant {
    /// How somebody uses it; nothing where they do not.
    fn uses(&self, user: &User) -> Vec<String> {
        let uses = self.secret.as_ref().map(|secret| user.uses(secret)).unwrap_or_default();
        let mounts = self.external_secret.iter().filter(|name| user.mounts.contains(*name)).map(|_| "Mount".to_owned());
        uses.iter().map(|how| format!("{how:?}")).chain(mounts).collect()
    }
}

/// Who reaches it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reached {
    namespace: String,
    #[serde(flatten)]
    meant: Meant,
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

/// What is meant. Whoever may look is told where there is no such Secret.
async fn meant(args: &Who, client: &Client, namespace: &str, notes: &mut Vec<String>) -> Result<Meant, String> {
    let meant = match args.name.strip_prefix("secret/") {
        Some(name) => Meant { secret: Some(name.to_owned()), external_secret: None },
        None => {
            Meant { secret: target(&args.name, client, namespace).await?, external_secret: Some(args.name.clone()) }
        }
    };
    let Some(secret) = &meant.secret else { return Ok(meant) };
    // Its metadata are enough: who asks who may read it need not read it.
    let there = timely(Api::<Secret>::namespaced(client.clone(), namespace).get_metadata_opt(secret)).await;
    if matches!(there, Ok(None)) {
        notes.push(format!("there is no Secret {secret:?} in namespace {namespace:?} now: this is who could read it"));
    }
    Ok(meant)
}

/// The name of an ExternalSecret's target; `None` where no Secret is made of it.
async fn target(name: &str, client: &Client, namespace: &str) -> Result<Option<String>, String> {
    let api: Api<ExternalSecret> = Api::namespaced(client.clone(), namespace);
    let es = timely(api.get_opt(name)).await;
    let es = es.map_err(|problem| format!("can't read the ExternalSecret: {}", problem.for_person()))?;
    if let Some(es) = es {
        let is_made = es.spec.target.creation_policy != CreationPolicy::None;
        return Ok(is_made.then(|| es.target_name().to_owned()));
    }
    let mut known = Vec::new();
    let api: Api<Guarded<ExternalSecret>> = Api::namespaced(client.clone(), namespace);
    let each = |of: Guarded<ExternalSecret>| known.push(of.name_any());
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
    let meant = meant(args, &client, &namespace, &mut notes).await?;
    let mut ways = Vec::new();
    if let Some(secret) = &meant.secret {
        let rbac = rbac(&client, Some(&namespace)).await;
        let rbac = rbac.map_err(|problem| format!("can't list roles and bindings: {}", problem.for_person()))?;
        ways = rbac.ways(&namespace, secret);
        ways.retain(|way| !args.without_system || !way.who.is_system());
    }
    let (users, _) = gather::users(&client, Some(&namespace), &mut notes).await;
    let users = users.into_iter().filter(|user| !meant.uses(user).is_empty()).collect();
    let reached = Reached { namespace, meant, users, ways };
    let text = match args.output {
        Format::Text => told(&reached),
        Format::Json => json(&reached, true)?,
    };
    note(&notes, err);
    out.write_all(text.as_bytes()).map_err(|_| "can't write to standard output".to_owned())
}

fn told(reached: &Reached) -> String {
    let Reached { namespace, meant, users, ways } = reached;
    let mut text = match (&meant.secret, &meant.external_secret) {
        (Some(secret), _) => format!("Secret {namespace}/{secret}\n"),
        (None, name) => format!(
            "ExternalSecret {namespace}/{}: no Secret is made of it, so that none can be read; pods mount it, with what their \
             ServiceAccount may read (`keyferry grant`)\n",
            name.as_deref().unwrap_or_default()
        ),
    };
    if !users.is_empty() {
        let head = ["KIND", "NAME", "SERVICE ACCOUNT", "AS"].map(str::to_owned).to_vec();
        let rows = users.iter().map(|user| {
            vec![user.kind.clone(), user.name.clone(), user.service_account.clone(), meant.uses(user).join(", ")]
        });
        text += &format!(
            "\nUsed by (and so by the kubelets of their nodes)\n{}",
            table(&[head].into_iter().chain(rows).collect::<Vec<_>>())
        );
    }
    if meant.secret.is_none() {
        return if users.is_empty() { text + "\nMounted by: nobody\n" } else { text };
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
            let told = meant(&args, &api(), "ns", &mut notes).await.map(|meant| meant.secret.unwrap_or_default());
            match expected {
                Ok(secret) => assert_eq!(told.as_deref(), Ok(secret), "{name}"),
                Err(hint) => assert!(told.as_ref().is_err_and(|why| why.ends_with(hint)), "{name}: {told:?}"),
            }
            assert_eq!(notes.len(), noted, "{name}: {notes:?}");
        }
    }

    #[test]
    fn what_no_secret_is_made_of_is_told_by_who_mounts_it() {
        let spec = json!({"containers": [], "volumes": [
            {"name": "s", "csi": {"driver": "csi.keyferry.io", "volumeAttributes": {"externalSecret": "db"}}},
        ]});
        let user = User::new("Pod", "shop", "web", &serde_json::from_value(spec).unwrap());
        let told = |users| {
            let meant = Meant { secret: None, external_secret: Some("db".to_owned()) };
            told(&Reached { namespace: "shop".to_owned(), meant, users, ways: Vec::new() })
        };
        let by_one = told(vec![user]);
        assert!(by_one.contains("no Secret is made of it") && !by_one.contains("Can read"), "{by_one}");
        assert!(by_one.lines().any(|line| line.starts_with("Pod") && line.ends_with("Mount")), "{by_one}");
        assert!(told(Vec::new()).ends_with("Mounted by: nobody\n"));
    }
}
