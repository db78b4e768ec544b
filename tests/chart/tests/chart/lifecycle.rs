//! A release from its first day to its last: what is installed works, and what users made outlives it.

use keyferry_chart_tests::{render, text};
use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn installed_upgraded_and_uninstalled() {
    let cluster = Cluster::mine("life").await;
    let said = cluster.install("ferry", "life", &[]).unwrap();
    assert!(said.contains("looks after all namespaces"), "{said}");
    let crds = cluster.crds();
    assert_eq!(crds.len(), keyferry_chart_tests::files(&keyferry_chart_tests::crds()).len(), "{crds:?}");

    // Each field is one that the API server knows: with strict validation a misspelt one is refused.
    for values in [
        json!({}),
        json!({"scopedRBAC": true, "scopedNamespace": "life"}),
        json!({"metrics": {"service": {"enabled": true}}, "podDisruptionBudget": {"enabled": true}, "systemAuthDelegator": true, "networkPolicy": {"enabled": true}}),
    ] {
        let objects = render(&values).0;
        let objects = objects.into_iter().map(|mut object| {
            if text(&object, "/metadata/namespace") == keyferry_chart_tests::NAMESPACE {
                object["metadata"]["namespace"] = json!("life");
            }
            // Those of this release have other names than those of the one that is rendered.
            if text(&object, "/kind") == "Pod" {
                object["spec"]["serviceAccountName"] = json!("default");
            }
            object
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<_>>()});
        let args =
            ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "--filename=-"];
        cluster.kubectl(&args, &list.to_string()).unwrap();
    }

    let mut operator = cluster.operator("ferry", "life").await;
    let before = cluster.synced("life").await;
    let lease = cluster.get("life", "lease", "external-secrets-controller").expect("it leads");
    assert_ne!(text(&lease, "/spec/holderIdentity"), "");

    let chart = keyferry_chart_tests::folder();
    let upgrade = ["upgrade", "ferry", chart.to_str().unwrap(), "--namespace", "life", "--set", "concurrent=8"];
    cluster.helm(&upgrade).unwrap();
    let deployment = cluster.get("life", "deployment", "ferry-external-secrets").unwrap();
    assert!(deployment.to_string().contains("--concurrent=8"));
    // Also where the release is told not to bring them any more.
    let mut without = upgrade.to_vec();
    without.extend(["--set", "installCRDs=false"]);
    cluster.helm(&without).unwrap();
    assert_eq!(cluster.crds(), crds);
    cluster.helm(&upgrade).unwrap();
    assert_eq!(cluster.crds(), crds);

    // As the end of its Deployment does, while it has its rights still.
    assert!(operator.terminate(std::time::Duration::from_secs(60)).unwrap().success(), "{:?}", operator.log());
    cluster.helm(&["uninstall", "ferry", "--namespace", "life"]).unwrap();
    assert_eq!(cluster.get("life", "deployment", "ferry-external-secrets"), None);
    assert_eq!(cluster.get("life", "clusterrole", "ferry-external-secrets-controller"), None);
    assert_eq!(cluster.crds(), crds);
    let uid = |kind| cluster.get("life", kind, "app").map(|o| text(&o, "/metadata/uid").to_owned());
    let after = (uid("externalsecret").unwrap(), uid("secret").unwrap());
    assert_eq!(after, before, "what users have is theirs");

    // Back again: the CRDs are its own still.
    cluster.install("ferry", "life", &[]).unwrap();
    assert_eq!(cluster.crds(), crds);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scoped_release_works_with_rights_in_its_namespaces_only() {
    let cluster = Cluster::mine("scoped").await;
    cluster.kubectl(&["create", "namespace", "elsewhere"], "").unwrap();
    cluster.kubectl(&["create", "namespace", "beside"], "").unwrap();
    let more = ["--set", "scopedRBAC=true,scopedNamespaces={scoped,beside}"];
    cluster.install("ferry", "scoped", &more).unwrap();
    // What was just granted is refused for some moments still.
    let account = "system:serviceaccount:scoped:ferry-external-secrets";
    for (verb, resource) in [
        ("watch", "externalsecrets.external-secrets.io"),
        ("update", "leases.coordination.k8s.io/external-secrets-controller"),
    ] {
        cluster.until_allowed(account, verb, resource, "scoped").await;
    }
    cluster.until_allowed(account, "watch", "externalsecrets.external-secrets.io", "beside").await;
    let mut operator = cluster.operator("ferry", "scoped").await;
    cluster.synced("scoped").await;
    cluster.synced("beside").await;
    // Nothing it asks for is refused: it knows that it is scoped. By its own words, and by those of the API server.
    let log = operator.log().unwrap();
    assert!(!log.contains("forbids it") && !log.contains("forbidden"), "{log}");
    operator.kill9();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_is_not_taken_from_under_pods() {
    let cluster = Cluster::mine("mounts").await;
    cluster.install("ferry", "mounts", &["--set", "node.enabled=true"]).unwrap();
    let pod = |name: &str, driver: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "automountServiceAccountToken": false, "containers": [{"name": "app", "image": "app"}],
                "volumes": [{"name": "v", "csi": {"driver": driver}}, {"name": "w", "emptyDir": {}}],
            },
        });
        cluster.kubectl(&["apply", "--namespace", "mounts", "--filename=-"], &object.to_string()).unwrap();
    };
    cluster.until_account("mounts").await;
    pod("others", "csi.example.com");
    let chart = keyferry_chart_tests::folder();
    let upgrade = |more: &[&str]| {
        let mut args = vec!["upgrade", "ferry", chart.to_str().unwrap(), "--namespace", "mounts"];
        args.extend(more);
        cluster.helm(&args)
    };
    let driver = || cluster.get("mounts", "daemonset", "ferry-external-secrets-node");
    pod("app", "csi.keyferry.io");
    upgrade(&["--set", "node.enabled=true,concurrent=8"]).unwrap();
    let refused = format!("{:#}", upgrade(&["--set", "node.enabled=false"]).unwrap_err());
    assert!(refused.contains("1 pods that mount") && refused.contains("mounts/app;"), "{refused}");
    assert!(driver().is_some());
    // What has ended needs nobody.
    let ended = json!({"status": {"phase": "Succeeded"}}).to_string();
    let patch = ["patch", "pod", "app", "--namespace", "mounts", "--subresource=status", "--type=merge", "--patch"];
    let status: Vec<&str> = patch.into_iter().chain([ended.as_str()]).collect();
    cluster.kubectl(&status, "").unwrap();
    upgrade(&["--set", "node.enabled=false"]).unwrap();
    assert_eq!(driver(), None);
    // Whoever forces it has it.
    upgrade(&["--set", "node.enabled=true"]).unwrap();
    pod("second", "csi.keyferry.io");
    upgrade(&["--set", "node.enabled=false"]).unwrap_err();
    upgrade(&["--set", "node.enabled=false,node.forceUninstall=true"]).unwrap();
    assert_eq!(driver(), None);
}
