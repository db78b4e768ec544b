//! What the report prints is run as it is printed, word for word, and no store stops working.

use std::time::Duration;

use keyferry_migrate::Outcome;
use keyferry_migrate_tests::{Cluster, Report, eso, text};
use keyferry_testkit::{Operator, PATIENT_LEASE, eventually};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(180);

/// The commands of what blocks, or of all findings of one code.
fn commands(report: &Report, is_wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let findings = report.json["findings"].as_array().into_iter().flatten().filter(|finding| is_wanted(finding));
    let commands = findings.flat_map(|finding| finding["commands"].as_array().into_iter().flatten());
    commands.map(|command| command.as_str().expect("a text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_is_run_word_for_word() {
    let cluster = Cluster::mine("apps").await;
    let chart = eso::chart();
    let chart = chart.path().to_str().unwrap();
    install(&cluster, chart).await;
    lay(&cluster);

    let first = cluster.report_with(chart, false).await;
    says_what_goes(&first);
    for command in commands(&first, |finding| finding["severity"] == "blocks") {
        cluster.shell(&command);
    }
    let second = cluster.report_with(chart, true).await;
    assert_eq!(second.outcome, Outcome::Clear, "{:#}", second.json);

    let steps = commands(&second, |finding| finding["code"] == "switch");
    assert_eq!(steps.len(), 2, "{steps:?}");
    let notes = cluster.shell(&steps[0]);
    assert!(notes.contains("image.repository: mirror.example/external-secrets/external-secrets"), "{notes}");
    let mut operator = operator(&cluster).await;
    ready(&cluster, "1").await;
    let known = cluster.fields("serviceaccounts", "/metadata/uid");

    cluster.shell(&steps[1]);
    // Time for whoever had a reason to take something away.
    tokio::time::sleep(Duration::from_secs(3)).await;
    // A new value has to come by way of the account.
    cluster.kubectl(
        &[
            "patch",
            "secret",
            "remote",
            "--namespace=apps",
            "--type=merge",
            "--patch",
            "{\"stringData\":{\"password\":\"2\"}}",
        ],
        "",
    );
    ready(&cluster, "2").await;
    let is_own = |(name, _): &(String, Value)| name == "ServiceAccount/eso/external-secrets";
    assert_eq!(
        cluster.fields("serviceaccounts", "/metadata/uid").into_iter().find(is_own),
        known.into_iter().find(is_own),
        "who trusts it goes on to"
    );
    let account = cluster.json(&["get", "serviceaccount", "external-secrets", "--namespace=eso"]);
    assert_eq!(text(&account, "/metadata/annotations/eks.amazonaws.com~1role-arn"), "arn:aws:iam::1:role/eso");
    assert_eq!(text(&account, "/metadata/annotations/meta.helm.sh~1release-name"), "keyferry");
    operator.kill9();
    // One that is as it should be has nothing in the way.
    let last = cluster.report_with(chart, false).await;
    assert_eq!((last.outcome, last.blocking()), (Outcome::Clear, Vec::<String>::new()), "{:#}", last.json);
    assert!(last.all("switch").is_empty(), "{:#}", last.json);
}

fn says_what_goes(first: &Report) {
    assert_eq!(
        first.blocking(),
        ["helm-deletes-crds", "helm-deletes-accounts", "helm-deletes-objects", "eso-runs"],
        "{:#}",
        first.json
    );
    let account = first.one("helm-deletes-accounts");
    assert_eq!(
        text(account, "/objects/0"),
        "ServiceAccount eso/external-secrets (for ClusterSecretStore extra, ClusterSecretStore own)"
    );
    let objects = &first.one("helm-deletes-objects")["objects"];
    assert_eq!(objects, &json!(["Secret eso/ca (for ClusterSecretStore extra)", "ClusterSecretStore extra"]));
    assert_eq!(
        text(first.one("image-in-values"), "/objects/0"),
        "image.repository: mirror.example/external-secrets/external-secrets"
    );
}

/// A release as real clusters have it: a mirror's image, a role in a cloud, a store and its certificate among its values.
async fn install(cluster: &Cluster, chart: &str) {
    let server = server(cluster);
    let values = json!({
        "image": {"repository": "mirror.example/external-secrets/external-secrets", "tag": "v2.14.0"},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/eso"}},
        "extraObjects": [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca"}, "data": {"ca.crt": cluster.testbed.kubernetes().ca_bundle}},
            store("extra", json!({"url": server["url"], "caProvider": {"type": "Secret", "name": "ca", "namespace": "eso", "key": "ca.crt"}})),
        ],
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values.to_string()).unwrap();
    let values = file.path().to_str().unwrap();
    // Stores can be made once their CRDs are there.
    let crds = [
        "install",
        "external-secrets",
        chart,
        "--namespace",
        "eso",
        "--create-namespace",
        "--set-json",
        "extraObjects=[]",
    ];
    cluster.helm(&crds);
    cluster.established().await;
    cluster.helm(&["upgrade", "external-secrets", chart, "--namespace", "eso", "--values", values]);
}

fn server(cluster: &Cluster) -> Value {
    let kubernetes = cluster.testbed.kubernetes();
    json!({"url": kubernetes.url, "caBundle": kubernetes.ca_bundle})
}

/// A store that reads this cluster's own Secrets as the account of the release.
fn store(name: &str, server: Value) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": name},
        "spec": {"provider": {"kubernetes": {
            "server": server, "remoteNamespace": "apps",
            "auth": {"serviceAccount": {"name": "external-secrets", "namespace": "eso"}},
        }}},
    })
}

fn lay(cluster: &Cluster) {
    cluster.create(&store("own", server(cluster)).to_string());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "remote", "namespace": "apps"}, "stringData": {"password": "1"}});
    cluster.create(&secret.to_string());
    for name in ["own", "extra"] {
        let external_secret = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name, "namespace": "apps"},
            "spec": {
                "refreshInterval": "2s",
                "secretStoreRef": {"name": name, "kind": "ClusterSecretStore"},
                "data": [{"secretKey": "password", "remoteRef": {"key": "remote", "property": "password"}}],
            },
        });
        cluster.create(&external_secret.to_string());
    }
}

/// keyferry with the arguments and the account of its Deployment.
async fn operator(cluster: &Cluster) -> Operator {
    let deployment = cluster.json(&["get", "deployment", "keyferry", "--namespace=eso"]);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "external-secrets");
    assert!(text(pod, "/containers/0/image").starts_with("localhost/keyferry:"), "{pod}");
    let kubeconfig = cluster.testbed.account_kubeconfig("eso", "external-secrets").unwrap();
    let args = pod["containers"][0]["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().to_owned());
    let args: Vec<String> =
        args.filter(|arg| !arg.starts_with("--live-addr") && !arg.starts_with("--metrics-addr")).collect();
    let live = Operator::free_port().unwrap();
    let mut operator = Operator::builder()
        .args(args)
        .arg(format!("--live-addr=127.0.0.1:{live}"))
        .arg("--metrics-addr=127.0.0.1:0")
        .arg("--store-requeue-interval=2s")
        .args(PATIENT_LEASE)
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .spawn()
        .unwrap();
    let ready = operator.wait_ready(&format!("http://127.0.0.1:{live}/readyz"), SOON).await;
    ready.unwrap_or_else(|error| panic!("{error:#}"));
    operator
}

/// Waits until every store is ready, and what it feeds holds this value.
async fn ready(cluster: &Cluster, value: &str) {
    eventually(SOON, || async {
        for (name, conditions) in cluster.fields("clustersecretstores", "/status/conditions") {
            let is_ready =
                conditions.as_array().into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
            if !is_ready {
                return Err(format!("{name}: {conditions}"));
            }
        }
        for name in ["own", "extra"] {
            let args =
                ["get", "secret", name, "--namespace=apps", "--ignore-not-found", "--output=jsonpath={.data.password}"];
            let found = cluster.kubectl(&args, "");
            let expected = if value == "1" { "MQ==" } else { "Mg==" };
            if found != expected {
                let status = cluster.json(&["get", "externalsecret", name, "--namespace=apps"]);
                return Err(format!("{name}: {}", status["status"]));
            }
        }
        Ok(())
    })
    .await;
}
