//! The tenant who attacks: who he is, and what he does. He has what the chart gives to whoever has the role `edit` in a
//! namespace, so that nothing is tried that a tenant could not do.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use futures::stream::{self, StreamExt as _};
use keyferry_testkit::{OPERATOR_ACCOUNT, OPERATOR_NAMESPACE, Testbed};
use kube::Client;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::api::{api, of};
use crate::attack::{Attack, Press};
use crate::stranger::Listeners;

/// His namespace.
pub const NAMESPACE: &str = "attacker";

const ACCOUNT: &str = "mallory";

/// How many connections he writes over at once.
const CONNECTIONS: usize = 16;

/// All that he writes, in the order in which it goes: who refers first.
const KINDS: [(&str, &str); 9] = [
    ("external-secrets.io/v1", "ExternalSecret"),
    ("external-secrets.io/v1alpha1", "PushSecret"),
    ("external-secrets.io/v1", "SecretStore"),
    ("generators.external-secrets.io/v1alpha1", "Password"),
    ("generators.external-secrets.io/v1alpha1", "UUID"),
    ("generators.external-secrets.io/v1alpha1", "Fake"),
    ("apps/v1", "Deployment"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
];

/// The attacker, with connections of his own.
pub struct Attacker {
    clients: Vec<Client>,
    /// An admin, who tidies up after him.
    admin: Client,
    /// What strangers reach.
    listeners: Listeners,
}

/// What the API server refused him: why, by the name of the object.
pub type Refused = BTreeMap<String, String>;

impl Attacker {
    /// Makes his namespace, and gives him what tenants have.
    pub async fn new(testbed: &Testbed, listeners: Listeners) -> Result<Self> {
        let roles = roles(testbed)?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "tenant", "namespace": NAMESPACE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        });
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE},
        });
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        let manifest = format!("{roles}\n---\n{namespace}\n---\n{account}\n---\n{binding}\n");
        testbed.kubectl(&["apply", "--server-side", "--filename=-"], &manifest)?;
        let user = format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}");
        testbed.until_allowed(&user, "create", "externalsecrets.external-secrets.io", Some(NAMESPACE)).await;
        testbed.until_allowed(&user, "create", "pushsecrets.external-secrets.io", Some(NAMESPACE)).await;
        testbed.until_allowed(&user, "create", "fakes.generators.external-secrets.io", Some(NAMESPACE)).await;
        let kubeconfig = Kubeconfig::read_from(testbed.account_kubeconfig(NAMESPACE, ACCOUNT)?)?;
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
            config.proxy_url = None;
            clients.push(Client::try_from(config)?);
        }
        Ok(Self { clients, admin: testbed.kube_client().await, listeners })
    }

    /// Writes objects over all connections, what others refer to first. Gives what the API server refuses him; any
    /// other failure is an error.
    pub async fn create(&self, objects: &[Value]) -> Result<Refused> {
        let refused = Mutex::new(Refused::new());
        let is_late = |object: &&Value| object["kind"] == "ExternalSecret" || object["kind"] == "PushSecret";
        for late in [false, true] {
            let batch: Vec<&Value> = objects.iter().filter(|object| is_late(object) == late).collect();
            let lanes = self.clients.iter().enumerate().map(|(lane, client)| {
                let (batch, refused) = (&batch, &refused);
                async move {
                    for object in batch.iter().skip(lane).step_by(CONNECTIONS) {
                        if let Some(why) = create(client, object).await? {
                            let name = of(object).2.to_owned();
                            refused.lock().map_err(|_| anyhow!("a lane panicked"))?.insert(name, why);
                        }
                    }
                    anyhow::Ok(())
                }
            });
            let done: Vec<Result<()>> = stream::iter(lanes).buffer_unordered(CONNECTIONS).collect().await;
            done.into_iter().collect::<Result<()>>()?;
        }
        refused.into_inner().map_err(|_| anyhow!("a lane panicked"))
    }

    /// Does what the attack does once its objects are there, for so long.
    pub async fn press(&self, attack: &Attack, objects: &[Value], time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        match attack.press {
            Press::Wait => {}
            Press::Flap => {
                let own: Vec<Value> =
                    objects.iter().filter(|object| object["kind"] == "ExternalSecret").cloned().collect();
                while Instant::now() < end {
                    self.delete(&own).await;
                    // Some may still be going: they are made in the next round.
                    let _ = self.create(&own).await;
                }
            }
            Press::Delete => self.delete(objects).await,
            Press::Stranger(stranger) => self.listeners.press(stranger, end).await?,
            Press::Patch(kind, part, patch) => {
                let api = api(&self.clients[0], NAMESPACE, api_version(kind), kind);
                let name = format!("{}--{part}", attack.name);
                for round in 0.. {
                    if Instant::now() >= end {
                        break;
                    }
                    // It may not be there yet, or somebody else may have been faster: he goes on.
                    let _ = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch(round))).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        tokio::time::sleep(end.saturating_duration_since(Instant::now())).await;
        Ok(())
    }

    /// Deletes the ExternalSecrets among these objects.
    async fn delete(&self, objects: &[Value]) {
        let api = api(&self.clients[0], NAMESPACE, api_version("ExternalSecret"), "ExternalSecret");
        for object in objects.iter().filter(|object| object["kind"] == "ExternalSecret") {
            // Gone already is as good.
            let _ = api.delete(of(object).2, &DeleteParams::default()).await;
        }
    }

    /// His objects of a kind.
    pub async fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let api = api(&self.admin, NAMESPACE, api_version(kind), kind);
        let mut all = Vec::new();
        let mut page = ListParams::default().limit(100);
        loop {
            let list = api.list(&page).await?;
            all.extend(list.items.into_iter().map(|object| serde_json::to_value(object).unwrap_or_default()));
            match list.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => page = page.continue_token(&next),
                None => return Ok(all),
            }
        }
    }

    /// Removes all that he wrote, as an admin.
    pub async fn clear(&self) -> Result<()> {
        for (version, kind) in KINDS {
            let api = api(&self.admin, NAMESPACE, version, kind);
            api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        }
        let begun = Instant::now();
        for kind in ["ExternalSecret", "PushSecret", "SecretStore"] {
            let api = api(&self.admin, NAMESPACE, api_version(kind), kind);
            loop {
                let left = api.list(&ListParams::default().limit(50)).await?;
                if left.items.is_empty() {
                    break;
                }
                for object in left.items.iter().filter(|object| object.metadata.finalizers.is_some()) {
                    let name = object.metadata.name.as_deref().unwrap_or_default();
                    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                    // It may have gone meanwhile.
                    let _ = api.patch(name, &PatchParams::default(), &free).await;
                }
                if begun.elapsed() > Duration::from_secs(180) {
                    return Err(anyhow!("the attacker's {kind}s do not go"));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }
}

/// The roles of people, as the chart has them.
fn roles(testbed: &Testbed) -> Result<String> {
    let chart = Testbed::chart()?;
    let chart = chart.to_str().context("the chart's folder is no text")?;
    let args = ["template", OPERATOR_ACCOUNT, chart, "--namespace", OPERATOR_NAMESPACE];
    testbed.helm(&[args.as_slice(), &["--show-only", "templates/rbac-users.yaml"]].concat(), "")
}

/// Creates an object. Gives why the API server refuses it.
async fn create(client: &Client, object: &Value) -> Result<Option<String>> {
    let (api_version, kind, _) = of(object);
    let api = api(client, NAMESPACE, api_version, kind);
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let (mut last, mut is_unanswered) = (None, false);
    for _ in 0..5 {
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => return Ok(None),
            // A try before this one came through, and its answer did not.
            Err(kube::Error::Api(status)) if is_unanswered && status.reason == "AlreadyExists" => return Ok(None),
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 429 => {
                // It is still going, or there is too much to do.
                last = Some(anyhow!("{kind}: {}", status.message));
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Err(kube::Error::Api(status))
                if status.code < 500 || status.message.contains("etcdserver: request is too") =>
            {
                return Ok(Some(format!("{} {}", status.code, status.message)));
            }
            Err(error) => {
                (last, is_unanswered) = (Some(error.into()), true);
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    }
    Err(last.unwrap_or_else(|| anyhow!("never tried"))).context("the API server did not judge what the attacker wrote")
}

fn api_version(kind: &str) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == kind).map_or("v1", |(version, _)| version)
}
