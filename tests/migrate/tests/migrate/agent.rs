//! What Vault's injector was asked for in a cluster, and what is printed of it: manifests and commands, as they are.

use std::time::Duration;

use keyferry_cluster::connection::Connection;
use keyferry_migrate::agent::{VaultAgent, run};
use keyferry_migrate::kes::Stand;
use keyferry_migrate_tests::Cluster;
use keyferry_testkit::{Testbed, eventually};
use serde_json::json;

/// How long anything may take. Long, because machines are busy.
const SOON: Duration = Duration::from_secs(120);

const WORKLOADS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: team}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata:
      labels: {app: app}
      annotations: &asks
        example.com/other: stays
        vault.hashicorp.com/agent-inject: "true"
        vault.hashicorp.com/agent-inject-status: "update"
        vault.hashicorp.com/role: app
        vault.hashicorp.com/service: https://vault.example.com
        vault.hashicorp.com/agent-inject-perms-config: "0440"
        vault.hashicorp.com/agent-inject-template-config: |
          {{ with secret "secret/data/app" }}it's {{ .Data.data.password }}{{ end }}
    spec: &pod
      restartPolicy: Always
      containers: [{name: main, image: x}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: team}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      template:
        metadata: {annotations: *asks}
        spec: {restartPolicy: Never, containers: [{name: main, image: x}]}
---
apiVersion: v1
kind: Pod
metadata: {name: alone, namespace: team, annotations: *asks}
spec: *pod
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: team}
spec: *pod
"#;

/// What the command says of a cluster: how it stands, the manifests, the report.
async fn looked(cluster: &Cluster) -> (Stand, String, String) {
    let args = VaultAgent {
        connection: Connection { kubeconfig: Some(cluster.testbed.kubeconfig()), context: None },
        refresh_interval: "5m".to_owned(),
        auth_path: "kubernetes".to_owned(),
        audience: "vault".to_owned(),
        ..VaultAgent::default()
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let stand = run(&args, &mut out, &mut err).await.expect("it writes into memory");
    (stand, String::from_utf8(out).expect("text"), String::from_utf8(err).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_of_a_cluster_is_taken_as_it_is() {
    let cluster = Cluster::mine("team").await;
    let chart = Testbed::chart().expect("the chart");
    for kind in ["externalsecrets", "secretstores"] {
        let file = chart.join(format!("../../crds/yaml/external-secrets.io_{kind}.yaml"));
        cluster.kubectl(&["create", "--filename", file.to_str().expect("text")], "");
    }
    cluster.established().await;
    eventually(SOON, || async {
        cluster
            .testbed
            .kubectl(&["get", "serviceaccount", "default", "--namespace=team"], "")
            .map_err(|error| error.to_string())
    })
    .await;
    // Anchors end with their document: it is a list for kubectl.
    let all =
        WORKLOADS.trim().replace("\n---\n", "\n").replace("\n", "\n  ").replace("\n  apiVersion", "\n- apiVersion");
    cluster.create(&format!("apiVersion: v1\nkind: List\nitems:\n- {all}"));
    eventually(SOON, || async {
        let pods = cluster.json(&["get", "pods", "--namespace=team"]);
        let count = pods["items"].as_array().map_or(0, Vec::len);
        if count == 3 { Ok(()) } else { Err(format!("{count} pods")) }
    })
    .await;
    let (stand, manifests, report) = looked(&cluster).await;
    assert_eq!(stand, Stand::Left);
    assert!(report.contains("3 ExternalSecrets and 1 stores; "), "{report}");
    assert!(report.contains("cluster: Pod team/alone: to do: a Pod can't be given volumes"), "{report}");
    cluster.create(&manifests);
    let patches: Vec<&str> = report.lines().filter(|line| line.starts_with("kubectl patch")).collect();
    assert_eq!(patches.len(), 2, "{report}");
    for patch in patches {
        cluster.shell(patch);
    }
    for (kind, name, at) in
        [("deployment", "app", "/spec/template"), ("cronjob", "nightly", "/spec/jobTemplate/spec/template")]
    {
        let object = cluster.json(&["get", kind, name, "--namespace=team"]);
        let annotations = object.pointer(at).expect("a template")["metadata"]["annotations"].clone();
        let expected = json!({
            "example.com/other": "stays", "keyferry.io/inject": name, format!("keyferry.io/inject-path-{name}"): "/vault/secrets",
            format!("keyferry.io/inject-items-{name}"): r#"[{"key":"config","mode":"0440","path":"config"}]"#,
        });
        assert_eq!(annotations, expected);
    }
    // The pod alone is left.
    let (_, _, report) = looked(&cluster).await;
    assert!(report.contains("1 ExternalSecrets and 1 stores; "), "{report}");
}
