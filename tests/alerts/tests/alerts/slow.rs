//! What goes wrong slowly: looks that do not begin, a lease that is not replaced, limits that are nearly reached, and volumes of a
//! driver. It is begun first, and has a minute before it is told.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use keyferry_behaviour_tests::{Cluster, Rig, cluster, dynamic};
use keyferry_node_driver_tests::rig::{APP, Base, Rig as Node, STRANGER};
use keyferry_testkit::{Namespace, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::prometheus::SOON;

/// Of one namespace so many looks are under way at once: half of the two thousand of all.
const AT_ONCE: usize = 1000;

/// So many more wait for longer than a minute: each half minute some calls are given up, and their looks end.
const MORE: usize = 200;

/// What the namespace of these is called, and more.
pub const STUCK: &str = "alerts-stuck";

/// Who collects the audit log, and lets everybody wait.
pub struct Collector {
    listener: TcpListener,
}

impl Collector {
    /// One that takes connections, and reads nothing.
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// The operator's flag for it.
    pub fn flag(&self) -> String {
        format!("--audit-webhook=http://{}/", self.listener.local_addr().unwrap())
    }

    /// From now on it takes whatever comes.
    pub fn wakes(self) {
        tokio::spawn(async move {
            while let Ok((stream, _)) = self.listener.accept().await {
                tokio::spawn(take_all(stream));
            }
        });
    }
}

/// Answers requests of a length that is told, whatever is in them.
async fn take_all(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        while line.trim_end() != "" || length == 0 {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = told.trim().parse().unwrap_or_default();
            }
        }
        tokio::io::copy(&mut (&mut stream).take(length), &mut tokio::io::sink()).await?;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
}

/// All of it but the driver. It ends with what is given.
pub async fn provoke(rig: &Rig) -> (Namespace, JoinSet<()>) {
    // What takes longest to show is begun first.
    leased(rig).await;
    let namespace = rig.testbed.namespace(STUCK).await;
    let hanging = stuck(&Cluster::new(namespace.client(), namespace.name()), rig.namespace()).await;
    lines_that_wait(rig).await;
    near_its_budget(rig).await;
    (namespace, hanging)
}

/// An ExternalSecret that makes five sixths of what one may make, and keeps a word of it.
async fn near_its_budget(rig: &Rig) {
    let wasteful = "{{ range until 14 }}{{ $x := repeat 4000000 `x` }}{{ end }}small";
    let fixed = json!({"data": [{"key": "fixed", "value": "no secret"}]});
    rig.apply("SecretStore", "small", json!({"spec": {"provider": {"fake": fixed}}})).await;
    let spec = json!({
        "refreshInterval": "1h", "secretStoreRef": {"name": "small"}, "target": {"template": {"data": {"k": wasteful}}},
        "data": [{"secretKey": "k", "remoteRef": {"key": "fixed"}}],
    });
    rig.external_secret("near", spec).await;
}

/// ExternalSecrets of hundreds of keys with long names, which are written each second: so large are their lines of the audit log.
async fn lines_that_wait(rig: &Rig) {
    let key = |n: usize| format!("{n}-{}", "long".repeat(120));
    let values: Vec<Value> = (0..400).map(|n| json!({"key": key(n), "value": "no secret"})).collect();
    rig.apply("SecretStore", "wordy", json!({"spec": {"provider": {"fake": {"data": values}}}})).await;
    let data: Vec<Value> =
        (0..400).map(|n| json!({"secretKey": format!("k{n}"), "remoteRef": {"key": key(n)}})).collect();
    // Each time another value.
    rig.apply("UUID", "new", json!({"spec": {}})).await;
    for n in 0..5 {
        let spec = json!({
            "refreshInterval": "1s", "secretStoreRef": {"name": "wordy"}, "data": data,
            "dataFrom": [{"sourceRef": {"generatorRef": {"kind": "UUID", "name": "new"}}}],
        });
        rig.external_secret(&format!("wordy-{n}"), spec).await;
    }
}

/// A token that OpenBao gives for six seconds, and of which there is not to be another one.
async fn leased(rig: &Rig) {
    let policy = format!("{}-leased", rig.namespace());
    let rules = "path \"auth/token/create\" { capabilities = [\"create\", \"update\"] }".to_owned();
    rig.vault.write_policy(&policy, rules).await.unwrap();
    let token = rig.vault.create_token(&[&policy]).await.unwrap();
    rig.canaries.add("the token of OpenBao", &token);
    rig.secret("login", json!({ "token": token })).await;
    let more = json!({"parameters": {"ttl": "6s", "renewable": false}, "resultType": "Auth"});
    rig.apply("VaultDynamicSecret", "leased", dynamic::secret(rig.vault.url(), "auth/token/create", more)).await;
    dynamic::ask(rig, "leased", "VaultDynamicSecret", "leased", "1h").await;
    rig.until_synced("leased").await;
    rig.cluster.delete("Secret", "login").await;
}

/// More ExternalSecrets than are looked at at once, of a store of this class that never answers.
async fn stuck(cluster: &Cluster, class: &str) -> JoinSet<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/{{{{ .remoteRef.key }}}}", listener.local_addr().unwrap());
    let mut hanging = JoinSet::new();
    hanging.spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let object = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": cluster.namespace()}, "spec": spec,
        })
    };
    let webhook = json!({"url": url, "timeout": "30s", "result": {"jsonPath": "$.x"}});
    cluster
        .apply(&object("SecretStore", "hangs", json!({"controller": class, "provider": {"webhook": webhook}})))
        .await;
    let each = |n: usize| {
        let data = json!([{"secretKey": "k", "remoteRef": {"key": format!("k{n}")}}]);
        let spec = json!({"refreshInterval": "1h", "secretStoreRef": {"name": "hangs"}, "data": data});
        let object = object("ExternalSecret", &format!("e{n}"), spec);
        async move { _ = cluster.apply(&object).await }
    };
    stream::iter((0..AT_ONCE + MORE).map(each)).buffer_unordered(16).collect::<Vec<()>>().await;
    hanging
}

/// A driver with a volume that stands, which a pod has that may mount, and one that is refused: the kubelet asks for both all the
/// time. Gives where its metrics are; it ends with what is given.
pub async fn driver() -> (String, Arc<Node>, JoinSet<()>) {
    let testbed = cluster::shared().await;
    let node = Node::of(Base::new(testbed, "alerts", testbed.vault_url()).await, &[]).await;
    node.put("db", json!({"user": "ada"})).await;
    node.declare("db", json!({}));
    node.grant("db", APP).await;
    let (stands, refused) = (node.ask("web", APP, "db").await, node.ask("other", STRANGER, "db").await);
    eventually(SOON, || async { node.kubelet.publish(&stands).await }).await;
    let (node, mut asking) = (Arc::new(node), JoinSet::new());
    let kubelet = node.clone();
    asking.spawn(async move {
        loop {
            let _ = kubelet.kubelet.publish(&stands).await;
            let _ = kubelet.kubelet.publish(&refused).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    (node.kubelet.metrics_address(), node, asking)
}
