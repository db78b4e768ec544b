//! Values: those of External Secrets Operator's chart are taken, wrong ones are not, and what does nothing is named.

use keyferry_chart_tests::{Rendered, folder, notes, render, try_render};
use serde_json::{Map, Value, json};

/// What people have in their values files, one of each kind.
fn for_external_secrets_operator() -> Value {
    json!({
        "replicaCount": 2,
        "revisionHistoryLimit": 3,
        "installCRDs": true,
        "crds": {
            "createClusterExternalSecret": false, "createClusterSecretStore": true, "createPushSecret": false,
            "annotations": {"argocd.argoproj.io/sync-options": "Prune=false"}, "conversion": {"enabled": false},
            "unsafeServeV1Beta1": false,
        },
        "image": {"repository": "registry.example/keyferry", "tag": "v1", "flavour": "ubi"},
        "imagePullSecrets": [{"name": "pull"}],
        "leaderElect": true,
        "concurrent": 5,
        "controllerClass": "blue",
        "extendedMetricLabels": true,
        "enableHTTP2": false,
        "processClusterExternalSecret": false, "processPushSecret": false, "processClusterGenerator": false,
        "genericTargets": {"enabled": true, "resources": [{"apiGroup": "argoproj.io", "resources": ["applications"]}]},
        "vault": {"enableTokenCache": true, "tokenCacheSize": 100},
        "log": {"level": "dpanic", "timeEncoding": "rfc3339"},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/r"}},
        "rbac": {"create": true, "servicebindings": {"create": false}, "aggregateToView": false},
        "extraEnv": [{"name": "AWS_REGION", "value": "eu-west-1"}],
        "extraArgs": {"loglevel": "debug", "client-qps": 100},
        "podSecurityContext": {"enabled": true, "fsGroup": 2000},
        "livenessProbe": {"enabled": true, "spec": {"port": 8083, "httpGet": {"path": "/healthz", "port": "live"}}},
        "serviceMonitor": {"enabled": true, "additionalLabels": {"release": "prometheus"}, "renderMode": "alwaysRender"},
        "metrics": {"listen": {"port": 8081, "secure": {"enabled": false}}},
        "grafanaDashboard": {"enabled": true},
        "networkPolicy": {"enabled": true, "webhook": {"ingressFrom": []}},
        "webhook": {"create": true, "replicaCount": 3, "certManager": {"enabled": true}, "hostNetwork": true},
        "certController": {"create": true, "requeueInterval": "5m", "resources": {}},
        "bitwarden-sdk-server": {"enabled": false},
        "global": {"nodeSelector": {"kubernetes.io/os": "linux"}, "someOtherChart": true},
        "somethingNewer": {"enabled": true},
    })
}

#[test]
fn a_values_file_for_external_secrets_operator_is_taken() {
    let rendered = render(&for_external_secrets_operator());
    assert_eq!(rendered.get("Deployment", "")["spec"]["replicas"], 2);
    assert_eq!(rendered.container()["image"], "registry.example/keyferry:v1");
    let args = rendered.args();
    for arg in ["--controller-class=blue", "--concurrent=5", "--loglevel=debug", "--client-qps=100"] {
        assert!(args.iter().any(|given| given == arg), "no {arg} in {args:?}");
    }
    let crd = rendered.get("CustomResourceDefinition", "externalsecrets.external-secrets.io");
    let expected = json!({"argocd.argoproj.io/sync-options": "Prune=false", "helm.sh/resource-policy": "keep"});
    assert_eq!(crd["metadata"]["annotations"], expected);
}

#[test]
fn what_has_no_effect_is_named() {
    let said = notes(&for_external_secrets_operator());
    for path in [
        "webhook",
        "certController",
        "log.timeEncoding",
        "vault",
        "image.flavour",
        "livenessProbe.spec.httpGet",
        "bitwarden-sdk-server",
        "networkPolicy.webhook",
    ] {
        assert!(said.contains(&format!("\n  {path}: ")), "{path} is not named in:\n{said}");
    }
    assert!(!said.contains("crds.createSecretStore"), "{said}");
    assert!(!notes(&json!({})).contains("no effect"), "{}", notes(&json!({})));
}

/// Each has to be in the schema too, or a wrong type goes unnoticed until it has an effect.
#[test]
fn the_schema_knows_every_value() {
    let schema: Value = json_file("values.schema.json");
    let knows = |path: &[&str]| {
        let mut at = &schema;
        path.iter().all(|name| {
            at = &at["properties"][name];
            !at.is_null()
        })
    };
    let values = yaml_file("values.yaml");
    for (name, value) in values.as_object().unwrap() {
        assert!(knows(&[name]), "the schema does not know {name}");
        let open = ["capabilities", "seccompProfile"];
        for inner in value.as_object().into_iter().flatten().map(|(inner, _)| inner.as_str()) {
            let free = open.contains(&inner) || name == "resources";
            assert!(free || knows(&[name, inner]), "the schema does not know {name}.{inner}");
        }
    }
    for path in yaml_file("files/without-effect.yaml").as_object().unwrap().keys() {
        assert!(knows(&path.split('.').collect::<Vec<_>>()), "the schema does not know {path}");
    }
}

#[test]
fn wrong_types_are_refused() {
    for (values, says) in [
        (json!({"replicaCount": "two"}), "replicaCount"),
        (json!({"installCRDs": "yes"}), "installCRDs"),
        (json!({"crds": {"createSecretStore": "no"}}), "createSecretStore"),
        (json!({"extraArgs": ["--loglevel=debug"]}), "extraArgs"),
        (json!({"extraArgs": {"adopt": ["empty"]}}), "extraArgs"),
        (json!({"log": {"level": "loud"}}), "level"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "pullPolicy"),
        (json!({"metrics": {"listen": {"port": 80800}}}), "port"),
        (json!({"concurrent": 0}), "concurrent"),
        (json!({"nodeSelector": {"gpu": true}}), "nodeSelector"),
        (json!({"serviceMonitor": {"renderMode": "always"}}), "renderMode"),
        (json!({"prometheusRule": {"disabled": "KeyferryNoLeader"}}), "disabled"),
        (json!({"grafanaDashboard": {"sidecarLabelValue": 1}}), "sidecarLabelValue"),
        (json!({"webhook": true}), "webhook"),
        (json!({"networkPolicy": {"ports": ["https"]}}), "ports"),
        (json!({"image": {"digest": "latest"}}), "digest"),
        // What no other chart has can be held to its names.
        (json!({"node": {"enabeld": true}}), "enabeld"),
        (json!({"node": {"injection": {"enable": true}}}), "enable"),
        (json!({"sealing": {"sealedSecret": true}}), "sealedSecret"),
        (json!({"audit": {"file": "-"}}), "file"),
        (json!({"audit": {"webhook": {"token": "t"}}}), "token"),
        (json!({"audit": {"webhook": {"url": "collector:8080"}}}), "url"),
        (json!({"sealing": {"unseal": {"service": {"prot": 1}}}}), "prot"),
        (json!({"prometheusRule": {"severity": {}}}), "severity"),
    ] {
        let refusal = try_render(&values, &[]).err().unwrap_or_else(|| panic!("{values} is taken"));
        assert!(refusal.contains(says), "{values}: {refusal}");
    }
}

/// `podLabels:` with nothing after it is what is left when somebody removes the last label.
#[test]
fn a_name_without_a_value_is_the_same_as_none() {
    let values = yaml_file("values.yaml");
    let default = render(&json!({})).0;
    for (name, value) in values.as_object().unwrap() {
        let empty =
            value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty) || value == "";
        if empty {
            assert_eq!(render(&json!({name: null})).0, default, "{name}");
        }
    }
}

#[test]
fn what_can_not_work_is_refused_with_a_reason() {
    for (values, says) in [
        (json!({"scopedRBAC": true}), "scopedRBAC needs scopedNamespace"),
        (json!({"serviceMonitor": {"enabled": true, "renderMode": "failIfMissing"}}), "does not know ServiceMonitors"),
        (
            json!({"serviceMonitor": {"enabled": true, "renderMode": "alwaysRender"}, "extraArgs": {"metrics-auth": true}}),
            "set extraArgs.metrics-secure too",
        ),
    ] {
        let refusal = try_render(&values, &[]).err().unwrap_or_else(|| panic!("{values} is taken"));
        assert!(refusal.contains(says), "{values}: {refusal}");
    }
}

/// A values file often names the image that it was written for: whose it is shows in its name, whatever the registry.
#[test]
fn the_image_of_external_secrets_operator_is_passed_over() {
    let own = "localhost/keyferry:0.1.0";
    for (values, expected) in [
        (json!({"image": {"repository": "ghcr.io/external-secrets/external-secrets"}}), own),
        (
            json!({"image": {"repository": "oci.external-secrets.io/external-secrets/external-secrets", "tag": "v2.14.0"}}),
            own,
        ),
        (json!({"image": {"repository": "r.example:5000/a/b/external-secrets/external-secrets", "tag": "mine"}}), own),
        (json!({"image": {"repository": "r.example/external-secrets", "tag": "v0.9.11@sha256:00"}}), own),
        (json!({"image": {"repository": "r.example/external-secrets/external-secrets@sha256:00"}}), own),
        (json!({"image": {"repository": "external-secrets/external-secrets-ubi:v1", "flavour": "ubi"}}), own),
        (json!({"image": {"repository": "rancher/mirrored-external-secrets-external-secrets"}}), own),
        (json!({"global": {"repository": "r.example/external-secrets/external-secrets"}}), own),
        // A version of its, for an image that the file does not name.
        (json!({"image": {"tag": "v0.9.11"}}), own),
        (json!({"image": {"tag": "dev"}}), "localhost/keyferry:dev"),
        (
            json!({"image": {"repository": "r.example/external-secrets/keyferry", "tag": "v1"}}),
            "r.example/external-secrets/keyferry:v1",
        ),
        (
            json!({"image": {"repository": "r.example/external-secrets-of-ours", "tag": "1"}}),
            "r.example/external-secrets-of-ours:1",
        ),
        (
            json!({"global": {"repository": "r.example/keyferry"}, "image": {"repository": "ghcr.io/external-secrets/external-secrets", "tag": "v2.14.0"}}),
            "r.example/keyferry:0.1.0",
        ),
        (
            json!({"global": {"repository": "r.example/external-secrets/external-secrets"}, "image": {"repository": "r.example/keyferry", "tag": "dev"}}),
            "r.example/keyferry:dev",
        ),
    ] {
        assert_eq!(render(&values).container()["image"], expected, "{values}");
    }
    let digest = format!("sha256:{}", "0".repeat(64));
    let image = |repository: &str| {
        let values = json!({"image": {"repository": repository, "tag": "dev", "digest": digest}});
        render(&values).container()["image"].as_str().unwrap().to_owned()
    };
    assert_eq!(image("r.example/keyferry"), format!("r.example/keyferry:dev@{digest}"));
    assert_eq!(
        image("ghcr.io/external-secrets/external-secrets"),
        own,
        "a digest is of the image that it stands beside"
    );
    let said = notes(&json!({"image": {"repository": "ghcr.io/external-secrets/external-secrets", "tag": "v2.14.0"}}));
    for line in ["image.repository: ghcr.io/external-secrets/external-secrets", "image.tag: v2.14.0", "passed over"] {
        assert!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    assert!(!notes(&json!({"image": {"repository": "r.example/keyferry", "tag": "v1"}})).contains("passed over"));
    assert_eq!(yaml_file("values.yaml")["image"]["repository"], "localhost/keyferry", "what the chart falls back to");
}

/// One node that goes must not take all replicas along.
#[test]
fn several_replicas_are_spread_over_nodes_unless_somebody_says_otherwise() {
    let spread = |values: Value| render(&values).pod().get("topologySpreadConstraints").cloned();
    let mine = json!([{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]);
    assert_eq!(spread(json!({})), None);
    let rendered = render(&json!({"replicaCount": 2}));
    let constraint = &rendered.pod()["topologySpreadConstraints"][0];
    assert_eq!(constraint["topologyKey"], "kubernetes.io/hostname");
    let selector = &rendered.get("Deployment", "")["spec"]["selector"]["matchLabels"];
    assert_eq!(&constraint["labelSelector"]["matchLabels"], selector);
    assert_eq!(spread(json!({"replicaCount": 2, "topologySpreadConstraints": mine})), Some(mine.clone()));
    assert_eq!(spread(json!({"replicaCount": 2, "global": {"topologySpreadConstraints": mine}})), Some(mine.clone()));
    let extra = json!({"replicaCount": 2, "podSpecExtra": {"topologySpreadConstraints": mine}});
    assert_eq!(spread(extra), Some(mine));
}

#[test]
fn the_notes_say_what_is_to_be_known() {
    let said = notes(&json!({}));
    assert!(said.contains("looks after all namespaces"), "{said}");
    assert!(said.contains("No image is published"), "{said}");
    assert!(said.contains("stay when this release is uninstalled"), "{said}");
    let said = notes(&json!({
        "image": {"repository": "registry.example/keyferry"}, "installCRDs": false, "leaderElect": false,
        "scopedNamespaces": ["team", "other"], "serviceMonitor": {"enabled": true}, "rbac": {"serviceAccountTokenCreate": false},
    }));
    assert!(!said.contains("No image"), "{said}");
    for part in
        ["the namespaces other, team", "installCRDs is off", "leaderElect is off", "no ServiceMonitor", "can't log in"]
    {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(notes(&json!({"createOperator": false})).contains("No operator was installed"));
}

fn json_file(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

fn yaml_file(name: &str) -> Value {
    Rendered::parse(&std::fs::read_to_string(folder().join(name)).unwrap()).0.remove(0)
}
