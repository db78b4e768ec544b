//! Pods that ask by an annotation get their volumes from the API server itself; who asks for what can't be is told why, and
//! nobody else notices.

use std::time::Duration;

use anyhow::Result;
use keyferry_chart_tests::{Rendered, folder, render, text, try_render};
use keyferry_limits::{INJECTED_CONTAINERS, INJECTED_MOUNTS, INJECTED_SECRETS};
use keyferry_testkit::{Namespace, Testbed, eventually};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const INJECT: &str = "keyferry.io/inject";

/// How long anything may take. Long, because machines are busy.
const SOON: Duration = Duration::from_secs(120);

/// A cluster with the policies, and what it made of a plain pod before.
struct Ready {
    testbed: Testbed,
    before: Value,
}

impl Ready {
    async fn get() -> &'static Self {
        static READY: OnceCell<Ready> = OnceCell::const_new();
        READY.get_or_init(Self::new).await
    }

    async fn new() -> Self {
        // The driver's pod is privileged.
        let start = || Testbed::private(&["--apiserver-arg=--allow-privileged=true"]).expect("a testbed");
        let testbed = tokio::task::spawn_blocking(start).await.expect("a testbed");
        let namespace = testbed.namespace("injection").await;
        testbed.kubectl(&["create", "namespace", "keyferry"], "").expect("a namespace");
        let before = eventually(SOON, || async { dry_run(&testbed, namespace.name(), &plain()) }).await;
        let chart = folder();
        let args = ["install", "keyferry", chart.to_str().expect("text"), "--namespace=keyferry"];
        let values = "node.enabled=true,node.injection.enabled=true,replicaCount=0,installCRDs=false";
        testbed.helm(&[&args[..], &["--set", values]].concat(), "").expect("it is installed");
        eventually(SOON, || async {
            let made = dry_run(&testbed, namespace.name(), &pod(json!({INJECT: "app"}), json!({})))?;
            if volumes(&made).is_empty() { Err("no volume".to_owned()) } else { Ok(()) }
        })
        .await;
        Self { testbed, before }
    }

    /// A namespace in which pods may be made.
    async fn namespace(&self) -> Namespace {
        let namespace = self.testbed.namespace("injected").await;
        eventually(SOON, || async { dry_run(&self.testbed, namespace.name(), &plain()) }).await;
        namespace
    }

    fn dry_run(&self, namespace: &Namespace, pod: &Value) -> Result<Value, String> {
        dry_run(&self.testbed, namespace.name(), pod)
    }

    /// What is said of a pod that is refused.
    #[track_caller]
    fn refused(&self, namespace: &Namespace, pod: &Value) -> String {
        match self.dry_run(namespace, pod) {
            Err(refusal) => refusal,
            Ok(made) => panic!("it is taken: {made}"),
        }
    }
}

/// What the API server would make of an object.
fn dry_run(testbed: &Testbed, namespace: &str, object: &Value) -> Result<Value, String> {
    let args = ["create", "--dry-run=server", "--output=json", "--namespace", namespace, "--filename=-"];
    let made = testbed.kubectl(&args, &object.to_string()).map_err(|error| format!("{error:#}"))?;
    let mut made: Value = serde_json::from_str(&made).map_err(|error| error.to_string())?;
    for field in ["uid", "creationTimestamp", "namespace"] {
        made["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    Ok(made)
}

/// A pod with these annotations, and this in its spec.
fn pod(annotations: Value, spec: Value) -> Value {
    let mut all = json!({"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "x"}]});
    all.as_object_mut().expect("a spec").extend(spec.as_object().cloned().unwrap_or_default());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "annotations": annotations}, "spec": all})
}

/// One that asks for nothing, with what a patch might lose or move.
fn plain() -> Value {
    let env = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    let ports = json!([{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]);
    pod(
        json!({"keyferry.io/other": "app"}),
        json!({
            "initContainers": [{"name": "first", "image": "x"}],
            "containers": [{"name": "main", "image": "x", "env": env, "ports": ports,
                "volumeMounts": [{"name": "keyferry-app", "mountPath": "/keyferry/app"}]}],
            "volumes": [{"name": "keyferry-app", "emptyDir": {}}],
        }),
    )
}

/// The volumes of the driver: name and attributes of each.
fn volumes(pod: &Value) -> Vec<(String, Value)> {
    let all = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let ours = all.iter().filter(|volume| volume["csi"]["driver"] == "csi.keyferry.io");
    let of = |volume: &Value| {
        assert_eq!(volume["csi"]["readOnly"], true);
        (text(volume, "/name").to_owned(), volume["csi"]["volumeAttributes"].clone())
    };
    ours.map(of).collect()
}

/// Where each container mounts what, those that run first among them.
fn mounts(pod: &Value) -> Vec<(String, Vec<String>)> {
    let of = |container: &Value| {
        let all = container["volumeMounts"].as_array().cloned().unwrap_or_default();
        let all = all.iter().map(|mount| {
            let is_read_only = if mount["readOnly"] == true { "" } else { " (writable)" };
            format!("{} {}{is_read_only}", text(mount, "/name"), text(mount, "/mountPath"))
        });
        (text(container, "/name").to_owned(), all.collect())
    };
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array().cloned().unwrap_or_default());
    lists.iter().flatten().map(of).collect()
}

#[test]
fn a_chart_without_a_cluster_says_what_the_policy_needs() {
    let values =
        |version: &str| json!({"node": {"enabled": true, "injection": {"enabled": true, "apiVersion": version}}});
    let served =
        |version: &str| format!("--api-versions=admissionregistration.k8s.io/{version}/MutatingAdmissionPolicy");
    for version in ["v1", "v1beta1"] {
        let rendered = try_render(&values(version), &[&served(version)]).unwrap_or_else(|error| panic!("{error}"));
        for kind in ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"] {
            let object = rendered.get(kind, "keyferry-injection");
            assert_eq!(object["apiVersion"], format!("admissionregistration.k8s.io/{version}"));
        }
        let refusing = rendered.get("ValidatingAdmissionPolicy", "keyferry-injection");
        assert_eq!(refusing["apiVersion"], "admissionregistration.k8s.io/v1");
    }
    let refusal = |values: &Value, more: &[&str]| try_render(values, more).err().expect("it is refused");
    let neither = refusal(&values("v1"), &[]);
    assert!(neither.contains("needs MutatingAdmissionPolicy, which this cluster does not serve"), "{neither}");
    let other = refusal(&values("v1"), &[&served("v1beta1")]);
    assert!(other.contains("as v1beta1, not as v1: set node.injection.apiVersion=v1beta1"), "{other}");
    let driverless = refusal(&json!({"node": {"injection": {"enabled": true}}}), &[&served("v1")]);
    assert!(driverless.contains("node.injection needs node.enabled"), "{driverless}");
    let off = render(&json!({"node": {"enabled": true}}));
    assert!(!off.names().iter().any(|name| name.contains("AdmissionPolicy")), "{:?}", off.names());
}

#[test]
fn the_policy_s_limits_are_those_of_the_table() {
    let rendered = policies();
    for kind in ["MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"] {
        let policy = rendered.get(kind, "keyferry-injection").to_string();
        for (limit, of) in [
            (INJECTED_SECRETS, "size(variables.names)"),
            (INJECTED_CONTAINERS, "size(variables.containers)"),
            (INJECTED_MOUNTS, ": 0).sum()"),
        ] {
            assert!(policy.contains(&format!("{of} <= {}", limit.most)), "{kind}: {}", limit.name);
            assert!(kind.starts_with('M') || policy.contains(&format!("limit {}", limit.name)), "{}", limit.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_ask_is_left_as_it_is() {
    let ready = Ready::get().await;
    let namespace = ready.namespace().await;
    let after = ready.dry_run(&namespace, &plain()).expect("it is taken");
    assert_eq!(after.to_string(), ready.before.to_string());
    // Nor is who asks where nobody is to be given anything.
    let asks = pod(json!({INJECT: "app,not A name"}), json!({}));
    let label = format!("{INJECT}=disabled");
    ready.testbed.kubectl(&["label", "namespace", namespace.name(), &label], "").expect("a label");
    let made = eventually(SOON, || async { ready.dry_run(&namespace, &asks) }).await;
    assert_eq!(mounts(&made), [("main".to_owned(), vec![])]);
    for namespace in ["kube-system", "keyferry"] {
        let made = eventually(SOON, || async { dry_run(&ready.testbed, namespace, &asks) }).await;
        assert_eq!(volumes(&made), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_container_gets_what_its_pod_asks_for() {
    let ready = Ready::get().await;
    let namespace = ready.namespace().await;
    let items = r#"[{"key": "password", "path": "db/password", "mode": "0400"}]"#;
    let annotations = json!({
        INJECT: "app, db", format!("{INJECT}-path-db"): "/vault/secrets", format!("{INJECT}-items-db"): items,
        format!("{INJECT}-owner-db"): "1000",
    });
    let own = json!([{"name": "own", "mountPath": "/keyferry"}, {"name": "own", "mountPath": "/keyferry/apples"}]);
    let asks = pod(
        annotations,
        json!({
            "initContainers": [
                {"name": "first", "image": "x"},
                {"name": "sidecar", "image": "x", "restartPolicy": "Always"},
            ],
            "containers": [
                {"name": "one", "image": "x", "volumeMounts": own}, {"name": "two", "image": "x"}, {"name": "three", "image": "x"},
            ],
            "volumes": [{"name": "own", "emptyDir": {}}],
        }),
    );
    let made = ready.dry_run(&namespace, &asks).expect("it is taken");
    let of_db = json!({"externalSecret": "db", "items": items, "owner": "1000"});
    let expected = [("keyferry-app", json!({"externalSecret": "app"})), ("keyferry-db", of_db)];
    assert_eq!(volumes(&made), expected.map(|(name, attributes)| (name.to_owned(), attributes)));
    let added = ["keyferry-app /keyferry/app", "keyferry-db /vault/secrets"].map(str::to_owned).to_vec();
    let with_own =
        [vec!["own /keyferry (writable)".to_owned(), "own /keyferry/apples (writable)".to_owned()], added.clone()]
            .concat();
    let expected = [("first", &added), ("sidecar", &added), ("one", &with_own), ("two", &added), ("three", &added)];
    assert_eq!(mounts(&made), expected.map(|(name, all)| (name.to_owned(), all.clone())));
    assert_eq!(made["spec"]["initContainers"][1]["restartPolicy"], "Always");
    // What has it all is not changed.
    let mut again = made.clone();
    again.as_object_mut().expect("a pod").remove("status");
    assert_eq!(ready.dry_run(&namespace, &again).expect("it is taken"), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_workloads_make_is_given_too_and_can_be_debugged() {
    let ready = Ready::get().await;
    let namespace = ready.namespace().await;
    let template = |policy: &str| {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "main", "image": "x"}]});
        json!({"metadata": {"labels": {"app": "w"}, "annotations": {INJECT: "app"}}, "spec": spec})
    };
    let selector = json!({"matchLabels": {"app": "w"}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "deployment"},
        "spec": {"replicas": 2, "selector": selector, "template": template("Always")},
    });
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": template("Never")},
    });
    let kubectl = |args: &[&str], input: &str| {
        let args = [args, &["--namespace", namespace.name()]].concat();
        ready.testbed.kubectl(&args, input).map_err(|error| format!("{error:#}"))
    };
    for object in [&deployment, &job, &pod(json!({INJECT: "app"}), json!({}))] {
        kubectl(&["create", "--filename=-"], &object.to_string()).expect("it is taken");
    }
    let pods = eventually(SOON, || async {
        let all: Value = serde_json::from_str(&kubectl(&["get", "pods", "--output=json"], "")?).expect("JSON");
        let all = all["items"].as_array().cloned().unwrap_or_default();
        if all.len() == 4 { Ok(all) } else { Err(format!("{} pods", all.len())) }
    })
    .await;
    for pod in &pods {
        assert_eq!(volumes(pod).len(), 1, "{pod}");
        assert!(mounts(pod)[0].1.contains(&"keyferry-app /keyferry/app".to_owned()), "{pod}");
    }
    kubectl(&["debug", "app", "--image=x", "--container=look"], "").expect("a container to look with is added");
    kubectl(&["annotate", "pod", "app", &format!("{INJECT}=not A name"), "--overwrite"], "").expect("it is too late");
}

/// The policies as they are rendered.
fn policies() -> Rendered {
    let values = json!({"node": {"enabled": true, "injection": {"enabled": true}}});
    let served = "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";
    try_render(&values, &[served]).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_add_after_it_is_given_it_too() {
    let ready = Ready::get().await;
    let namespace = ready.namespace().await;
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let only = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace.name()}});
    let adding =
        "[JSONPatch{op: 'add', path: '/spec/containers/-', value: Object.spec.containers{name: 'proxy', image: 'p'}}]";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": "zzz-adds"},
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {"namespaceSelector": only, "resourceRules": [rule]},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": adding}}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "zzz-adds"}, "spec": {"policyName": "zzz-adds"},
    });
    ready.testbed.kubectl(&["apply", "--filename=-"], &format!("{policy}\n---\n{binding}")).expect("a policy");
    let made = eventually(SOON, || async {
        let made = ready.dry_run(&namespace, &pod(json!({INJECT: "app"}), json!({})))?;
        if mounts(&made).len() == 2 { Ok(made) } else { Err(made.to_string()) }
    })
    .await;
    let app = vec!["keyferry-app /keyferry/app".to_owned()];
    assert_eq!(mounts(&made), [("main".to_owned(), app.clone()), ("proxy".to_owned(), app)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_was_given_nothing_is_refused() {
    let ready = Ready::get().await;
    let namespace = ready.namespace().await;
    // Only who refuses sees this namespace: who injects leaves it alone.
    let label = format!("{INJECT}=disabled");
    ready.testbed.kubectl(&["label", "namespace", namespace.name(), &label], "").expect("a label");
    let rendered = policies();
    for kind in ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"] {
        let mut object = rendered.get(kind, "keyferry-injection").clone();
        object["metadata"] = json!({"name": "alone"});
        match kind {
            "ValidatingAdmissionPolicy" => {
                let only = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace.name()}});
                object["spec"]["matchConstraints"]["namespaceSelector"] = only;
            }
            _ => object["spec"]["policyName"] = json!("alone"),
        }
        ready.testbed.kubectl(&["apply", "--filename=-"], &object.to_string()).expect("a policy");
    }
    let volume = json!({"name": "keyferry-app", "csi": {
        "driver": "csi.keyferry.io", "readOnly": true, "volumeAttributes": {"externalSecret": "app"},
    }});
    let mount = json!([{"name": "keyferry-app", "mountPath": "/keyferry/app", "readOnly": true}]);
    let half = json!({
        "volumes": [volume],
        "containers": [{"name": "main", "image": "x", "volumeMounts": mount}, {"name": "proxy", "image": "x"}],
    });
    for spec in [json!({}), json!({ "volumes": [volume] }), half.clone()] {
        eventually(SOON, || async {
            match ready.dry_run(&namespace, &pod(json!({INJECT: "app"}), spec.clone())) {
                Err(refusal) if refusal.contains("keyferry.io/inject was not carried out for app") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    let mut whole = half;
    whole["containers"][1]["volumeMounts"] = mount;
    ready.dry_run(&namespace, &pod(json!({INJECT: "app"}), whole)).expect("it has all that it asks for");
}

/// A pod with these annotations and this in its spec, and what is said of it.
type Refused = (Value, Value, &'static str);

async fn are_refused(all: Vec<Refused>) {
    let ready = Ready::get().await;
    let namespace = ready.namespace().await;
    for (annotations, spec, says) in all {
        let refusal = ready.refused(&namespace, &pod(annotations.clone(), spec.clone()));
        assert!(refusal.contains(says), "{annotations} {spec}: {refusal}");
        assert!(!refusal.contains(['\u{1b}', '\u{7}']), "{refusal:?}");
    }
}

/// So many names.
fn many(n: usize) -> String {
    (0..n).map(|n| format!("a{n}")).collect::<Vec<_>>().join(",")
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_paths_that_can_t_be_are_refused_with_what_to_change() {
    let names = |names: &str, says| (json!({INJECT: names}), json!({}), says);
    let path = |path: &str, says| (json!({INJECT: "app", "keyferry.io/inject-path-app": path}), json!({}), says);
    let with = |name: &str, says| (json!({INJECT: "a", name: "1"}), json!({}), says);
    let within = json!({INJECT: "a,b", "keyferry.io/inject-path-a": "/x", "keyferry.io/inject-path-b": "/x/y"});
    are_refused(vec![
        names(&"a,".repeat(5120), "is longer than 1024 characters"),
        names(&many(500), "is longer than 1024 characters"),
        names(&",".repeat(1000), "more than 16 ExternalSecrets (limit injected-secrets)"),
        names(&many(17), "more than 16 ExternalSecrets (limit injected-secrets)"),
        names("", "entry 1 of keyferry.io/inject is no name"),
        names("app,", "entry 2 of keyferry.io/inject is no name"),
        names("app,\u{1b}[31m\u{7}\n", "entry 2 of keyferry.io/inject is no name"),
        names("a.b", "by a volume of the pod's own"),
        names(&"a".repeat(51), "at most 50 characters"),
        names("a,b,a", "names a twice"),
        with("keyferry.io/inject-path-b", "is about nothing that keyferry.io/inject names"),
        with("keyferry.io/inject-mode", "there are inject-path-a, inject-items-a and"),
        path("x", "keyferry.io/inject-path-app is no path of a folder"),
        path("/", "is no path"),
        path("/a/../b", "is no path"),
        path("/a/.", "is no path"),
        path("/a\n", "is no path"),
        path(&format!("/{}", "a".repeat(256)), "is no path"),
        (within, json!({}), "has the same path as a or one within it"),
    ])
    .await;
}

/// So many containers.
fn crowd(n: usize) -> Value {
    json!({"containers": (0..n).map(|n| json!({"name": format!("c{n}"), "image": "x"})).collect::<Vec<_>>()})
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_with_something_in_the_way_are_refused_with_what_to_change() {
    let app = json!({INJECT: "app"});
    let mount = |list: &str, path: &str| {
        let container = json!({"name": "own", "image": "x", "volumeMounts": [{"name": "own", "mountPath": path}]});
        let mut spec = json!({"volumes": [{"name": "own", "emptyDir": {}}]});
        spec[list] = json!([container]);
        spec
    };
    let other = json!({"driver": "csi.keyferry.io", "volumeAttributes": {"externalSecret": "other"}});
    let elsewhere = json!({INJECT: "app", "keyferry.io/inject-path-app": "/x"});
    are_refused(vec![
        (app.clone(), mount("containers", "/keyferry/app"), "or set the annotation keyferry.io/inject-path-app"),
        (app.clone(), mount("containers", "/keyferry//app/"), "of its own at or within /keyferry/app"),
        (app.clone(), mount("initContainers", "/keyferry/app/x"), "of its own at or within /keyferry/app"),
        (elsewhere, mount("containers", "/x"), "of its own at or within /x"),
        (
            app.clone(),
            json!({"volumes": [{"name": "keyferry-app", "emptyDir": {}}]}),
            "a volume keyferry-app of its own",
        ),
        (app.clone(), json!({"volumes": [{"name": "keyferry-app", "csi": other}]}), "a volume keyferry-app of its own"),
        (app, crowd(65), "at most 64 containers (limit injected-containers)"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_much_as_may_be_is_within_what_the_api_server_computes() {
    let ready = Ready::get().await;
    let namespace = ready.namespace().await;
    let mut most = crowd(64);
    most["volumes"] = json!([{"name": "own", "emptyDir": {}}]);
    for container in most["containers"].as_array_mut().expect("containers") {
        let own = (0..15).map(|n| json!({"name": "own", "mountPath": format!("/own/{n}")}));
        container["volumeMounts"] = own.collect();
    }
    let made = ready.dry_run(&namespace, &pod(json!({INJECT: many(16)}), most)).expect("it is taken");
    assert!(mounts(&made).iter().all(|(_, all)| all.len() == 31));
}
