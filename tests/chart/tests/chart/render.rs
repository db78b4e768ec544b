//! What the chart renders: the parts that somebody relies on.

use std::collections::BTreeSet;

use keyferry_chart_tests::{NAMESPACE, Rendered, crds, files, render, template, text, try_render};
use serde_json::{Value, json};

#[test]
fn the_defaults() {
    let rendered = render(&json!({}));
    let crds = files(&crds()).into_iter().map(|(name, _)| {
        let (group, plural) =
            name.strip_suffix(".yaml").and_then(|name| name.split_once('_')).expect("group and plural");
        format!("CustomResourceDefinition/{plural}.{group}")
    });
    let crds: Vec<String> = crds.collect();
    assert_eq!(crds.len(), 25);
    let expected = [
        "ServiceAccount/keyferry",
        "ClusterRole/keyferry-view",
        "ClusterRole/keyferry-edit",
        "ClusterRole/keyferry-servicebindings",
        "ClusterRole/keyferry-controller",
        "ClusterRoleBinding/keyferry-controller",
        "Role/keyferry-leaderelection",
        "RoleBinding/keyferry-leaderelection",
        "Deployment/keyferry",
        // For `helm test`.
        "Pod/keyferry-status",
    ];
    assert_eq!(set(rendered.names()), set(expected.map(str::to_owned).into_iter().chain(crds)));
    assert_eq!(
        rendered.args(),
        [
            "run",
            "--concurrent=64",
            "--enable-leader-election=true",
            "--leader-election-namespace=secrets",
            "--live-addr=:8082",
            "--loglevel=info",
            "--metrics-addr=:8080",
        ]
    );
    let crd = rendered.get("CustomResourceDefinition", "externalsecrets.external-secrets.io");
    assert_eq!(crd["metadata"]["annotations"], json!({"helm.sh/resource-policy": "keep"}));
    assert_eq!(text(crd, "/metadata/labels/external-secrets.io~1component"), "controller");
}

#[test]
fn kinds_that_are_not_built_have_their_crds_where_they_are_wanted() {
    let served = |values: &Value| -> BTreeSet<(String, String)> {
        let rendered = render(values);
        let versions = rendered.all("CustomResourceDefinition").flat_map(|crd| {
            let kind = text(crd, "/spec/names/kind").to_owned();
            let versions = crd["spec"]["versions"].as_array().unwrap().iter();
            let served = versions.filter(|version| version["served"] == true);
            served.map(|version| (kind.clone(), text(version, "/name").to_owned())).collect::<Vec<_>>()
        });
        versions.collect()
    };
    let plain = served(&json!({}));
    let old = served(&json!({"crds": {"unsafeServeV1Beta1": true}}));
    let added: Vec<_> = old.difference(&plain).map(|(kind, version)| format!("{kind} {version}")).collect();
    let kinds = ["ClusterExternalSecret", "ClusterSecretStore", "ExternalSecret", "SecretStore"];
    assert_eq!(added, kinds.map(|kind| format!("{kind} v1beta1")));
    let switches =
        json!({"createClusterExternalSecret": false, "createClusterPushSecret": false, "createPushSecret": false});
    let without = served(&json!({"crds": switches}));
    let left_out: Vec<_> = plain.difference(&without).map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(left_out, ["ClusterExternalSecret", "ClusterPushSecret", "PushSecret"]);
}

#[test]
fn who_is_not_told_needs_no_right() {
    let resources = |values: &Value, role: &str| {
        let rendered = render(values);
        let rules =
            rendered.all(role).find(|role| text(role, "/metadata/name").ends_with("-controller")).unwrap()["rules"]
                .clone();
        let resources = rules.as_array().unwrap().iter().flat_map(|rule| rule["resources"].as_array().unwrap().clone());
        resources.map(|resource| resource.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let all = ["pushsecrets", "clusterpushsecrets", "clusterexternalsecrets"];
    let has = |resources: &BTreeSet<String>, name: &str| {
        resources.contains(name) && resources.contains(&format!("{name}/status"))
    };
    let plain = resources(&json!({}), "ClusterRole");
    assert!(all.iter().all(|name| has(&plain, name)), "{plain:?}");
    let off =
        json!({"processPushSecret": false, "processClusterPushSecret": false, "processClusterExternalSecret": false});
    let none = resources(&off, "ClusterRole");
    assert!(all.iter().all(|name| !none.contains(*name)), "{none:?}");
    assert!(render(&off).args().contains(&"--enable-push-secret-reconciler=false".to_owned()));
    let scoped = resources(&json!({"scopedRBAC": true, "scopedNamespace": "team"}), "Role");
    assert!(has(&scoped, "pushsecrets") && !scoped.contains("clusterpushsecrets"), "{scoped:?}");
}

#[test]
fn only_who_is_to_restart_workloads_may_write_them() {
    let of_apps = |values: Value, role: &str| {
        let rendered = render(&values);
        let role =
            rendered.all(role).find(|role| text(role, "/metadata/name").ends_with("-controller")).unwrap().clone();
        let rules = role["rules"].as_array().unwrap().iter();
        let rules: Vec<Value> = rules.filter(|rule| rule["apiGroups"] == json!(["apps"])).cloned().collect();
        (rules, rendered.args())
    };
    let (rules, args) = of_apps(json!({"restarts": {"withoutOptIn": false}}), "ClusterRole");
    assert!(rules.is_empty() && !args.iter().any(|arg| arg.contains("restart")), "{rules:?} {args:?}");
    let wanted = json!({
        "apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": ["get", "list", "patch"],
    });
    let scoped = json!({"restarts": {"enabled": true}, "scopedRBAC": true, "scopedNamespace": "team"});
    for (values, role) in [
        (json!({"restarts": {"enabled": true, "withoutOptIn": true}}), "ClusterRole"),
        (json!({"extraArgs": {"enable-restarts": "true"}}), "ClusterRole"),
        (scoped, "Role"),
    ] {
        let (rules, args) = of_apps(values.clone(), role);
        assert_eq!(rules, std::slice::from_ref(&wanted), "{values}");
        assert!(args.contains(&"--enable-restarts=true".to_owned()), "{args:?}");
        let is_free = args.contains(&"--restart-without-opt-in=true".to_owned());
        assert_eq!(is_free, values.pointer("/restarts/withoutOptIn").is_some(), "{args:?}");
    }
    let (rules, _) =
        of_apps(json!({"restarts": {"enabled": true}, "extraArgs": {"enable-restarts": false}}), "ClusterRole");
    assert!(rules.is_empty(), "extraArgs win: {rules:?}");
    assert!(try_render(&json!({"restarts": {"enable": true}}), &[]).is_err(), "a typo is refused");
}

#[test]
fn targets_of_other_kinds_need_to_be_named() {
    let resources = json!([
        {"apiGroup": "", "resources": ["configmaps"]},
        {"apiGroups": ["argoproj.io"], "resources": ["applications"], "verbs": ["get", "update"]},
    ]);
    let on = render(&json!({"genericTargets": {"enabled": true, "resources": resources}}));
    assert!(on.args().contains(&"--unsafe-allow-generic-targets=true".to_owned()), "{:?}", on.args());
    let rules =
        |rendered: &Rendered| rendered.get("ClusterRole", "keyferry-controller")["rules"].as_array().unwrap().clone();
    let all = json!(["get", "list", "watch", "create", "update", "patch", "delete"]);
    assert!(rules(&on).contains(&json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": all})));
    let argo = json!({"apiGroups": ["argoproj.io"], "resources": ["applications"], "verbs": ["get", "update"]});
    assert!(rules(&on).contains(&argo));
    let off = render(&json!({"genericTargets": {"enabled": false, "resources": resources}}));
    assert_eq!(rules(&off), rules(&render(&json!({}))));
    assert!(!off.args().iter().any(|arg| arg.contains("generic")));
    let nameless = try_render(&json!({"genericTargets": {"enabled": true, "resources": [{"apiGroup": "x"}]}}), &[]);
    assert!(nameless.is_err_and(|refusal| refusal.contains("each needs resources")));
}

/// Helm runs it when asked to, and nobody takes it for the operator.
#[test]
fn the_pod_of_helm_test_is_as_harmless_and_no_replica() {
    let rendered = render(&json!({"scopedNamespace": "team"}));
    let test = rendered.get("Pod", "keyferry-status");
    assert_eq!(test["metadata"]["annotations"]["helm.sh/hook"], "test");
    assert_eq!(test["spec"]["containers"][0]["args"], json!(["status", "--namespace=team"]));
    assert_eq!(test["spec"]["containers"][0]["securityContext"], rendered.container()["securityContext"]);
    assert_eq!(test["spec"]["serviceAccountName"], rendered.pod()["serviceAccountName"]);
    let selected = &rendered.get("Deployment", "")["spec"]["selector"]["matchLabels"];
    for (label, value) in selected.as_object().unwrap() {
        assert_ne!(&test["metadata"]["labels"][label], value, "{label}");
    }
    assert!(!render(&json!({"createOperator": false})).names().iter().any(|name| name.starts_with("Pod/")));
}

#[test]
fn the_pod_is_as_harmless_as_a_pod_can_be() {
    let rendered = render(&json!({}));
    assert_eq!(
        rendered.container()["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    assert_eq!(rendered.pod()["hostNetwork"], false);
    assert!(rendered.pod().get("volumes").is_none() && rendered.pod().get("hostPID").is_none());
    // OpenShift gives ids itself, and refuses others.
    let openshift =
        try_render(&json!({}), &["--api-versions=security.openshift.io/v1"]).unwrap_or_else(|e| panic!("{e}"));
    let context = &openshift.container()["securityContext"];
    assert_eq!((context.get("runAsUser"), &context["runAsNonRoot"]), (None, &json!(true)));
    // Its stand-in for a switch is not a field of Kubernetes.
    let off = render(&json!({"securityContext": {"enabled": false}}));
    assert!(off.container().get("securityContext").is_none());
}

#[test]
fn it_is_asked_where_it_answers_and_stopped_in_its_own_time() {
    let rendered = render(&json!({"livenessProbe": {"spec": {"port": 9090, "httpGet": {"path": "/x", "port": "x"}}}}));
    let container = rendered.container();
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/healthz", "port": "live"}));
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/readyz", "port": "live"}));
    assert_eq!(container["livenessProbe"]["failureThreshold"], 5);
    assert!(rendered.args().contains(&"--live-addr=:9090".to_owned()));
    let live = container["ports"].as_array().unwrap().iter().find(|port| port["name"] == "live").unwrap();
    assert_eq!(live["containerPort"], 9090);
    // 20 s for what is under way, 5 s for the Lease, 10 s for the audit log.
    assert!(rendered.pod()["terminationGracePeriodSeconds"].as_u64().unwrap() > 35);
    let off = render(&json!({"livenessProbe": {"enabled": false}, "readinessProbe": {"enabled": false}}));
    assert!(off.container().get("livenessProbe").is_none() && off.container().get("readinessProbe").is_none());
}

#[test]
fn flags_are_given_once_and_extra_args_win() {
    let rendered = render(&json!({
        "storeRequeueInterval": "1m",
        "log": {"level": "WARN"},
        "extraArgs": {
            "concurrent": 8, "leader-election-id": "mine", "adopt": "empty", "client-burst": 1_000_000,
            "allow-link-local": null, "enable-flood-gate": false, "client-qps": 0.5,
        },
    }));
    let args = rendered.args();
    let names: Vec<&str> = args.iter().map(|arg| arg.split('=').next().unwrap_or(arg)).collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "{args:?}");
    for arg in [
        "--concurrent=8",
        "--leader-election-id=mine",
        "--adopt=empty",
        "--client-burst=1000000",
        "--client-qps=0.5",
        "--allow-link-local",
        "--enable-flood-gate=false",
        "--store-requeue-interval=1m",
        "--loglevel=warn",
    ] {
        assert!(args.iter().any(|given| given == arg), "no {arg} in {args:?}");
    }
    // The Role must be about the Lease that the operator asks for.
    assert_eq!(rendered.get("Role", "-leaderelection")["rules"][0]["resourceNames"], json!(["mine"]));
    let elsewhere = render(&json!({"extraArgs": {"leader-election-namespace": "leases"}}));
    assert_eq!(elsewhere.get("Role", "-leaderelection")["metadata"]["namespace"], "leases");
    assert_eq!(elsewhere.get("RoleBinding", "-leaderelection")["subjects"][0]["namespace"], NAMESPACE);
}

#[test]
fn switches_take_rights_away_with_what_needs_them() {
    let resources = |values: Value| {
        let rendered = render(&values);
        let rules = rendered.get("ClusterRole", "-controller")["rules"].as_array().unwrap().clone();
        let names = rules.iter().flat_map(|rule| rule["resources"].as_array().unwrap().clone());
        (set(names.map(|name| name.as_str().unwrap().to_owned())), rendered.args().join(" "))
    };
    let (all, _) = resources(json!({}));
    let without = |values: Value| all.difference(&resources(values).0).cloned().collect::<Vec<_>>();
    assert_eq!(
        without(json!({"rbac": {"serviceAccountTokenCreate": false}})),
        ["serviceaccounts", "serviceaccounts/token"]
    );
    assert_eq!(
        without(json!({"openshiftFinalizers": false})),
        ["clusterexternalsecrets/finalizers", "clusterpushsecrets/finalizers", "externalsecrets/finalizers"]
    );
    let sealed = |finalizers: bool| {
        let values = json!({"extraArgs": {"enable-sealed-secrets": true}, "openshiftFinalizers": finalizers});
        resources(values).0.contains("sealedsecrets/finalizers")
    };
    assert!(sealed(true) && !sealed(false) && !all.contains("sealedsecrets/finalizers"));
    let stores = json!({"processClusterStore": false});
    assert_eq!(without(stores.clone()), ["clustersecretstores", "clustersecretstores/status"]);
    assert_eq!(without(json!({"processClusterGenerator": false})), ["clustergenerators"]);
    let none =
        json!({"processClusterStore": false, "processClusterExternalSecret": false, "processClusterPushSecret": false});
    assert!(without(none).contains(&"namespaces".to_owned()), "whoever chooses by labels needs them");
    assert!(resources(stores).1.contains("--enable-cluster-store-reconciler=false"));
    assert!(resources(json!({"processSecretStore": false})).1.contains("--enable-secret-store-reconciler=false"));
    let alone = render(&json!({"leaderElect": false}));
    assert!(alone.all("Role").next().is_none() && alone.args().contains(&"--enable-leader-election=false".to_owned()));
    assert_eq!(render(&json!({"rbac": {"create": false}})).all("ClusterRole").count(), 0);
}

#[test]
fn shards_bring_their_flag_and_rights_to_their_leases() {
    let of = |values: Value| {
        let rendered = render(&values);
        let rules = rendered.all("Role").next().unwrap()["rules"].clone();
        let shards = rendered.args().into_iter().find(|arg| arg.starts_with("--shards"));
        (rules[0]["resourceNames"].clone(), rules.as_array().unwrap().len(), shards)
    };
    let one = json!(["external-secrets-controller"]);
    for none in [json!({}), json!({"shards": 1})] {
        assert_eq!(of(none), (one.clone(), 2, None));
    }
    let (leases, rules, flag) = of(json!({"shards": 12, "extraArgs": {"leader-election-id": "mine"}}));
    let names: Vec<&str> = leases.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((names.len(), names[0], names[12]), (13, "mine", "mine-shard-11"));
    assert_eq!((rules, flag.as_deref()), (3, Some("--shards=12")));
    assert_eq!(of(json!({"extraArgs": {"shards": 2}})).0.as_array().unwrap().len(), 3, "a flag counts, too");
}

/// kubeseal looks for this name, and asks by the name of the first port.
#[test]
fn sealing_brings_its_flags_ports_services_and_rights() {
    let values = json!({"networkPolicy": {"enabled": true}, "sealing": {
        "keys": "kube-system", "sealedSecrets": true,
        "seal": {"enabled": true}, "unseal": {"enabled": true, "certSecret": "unseal-tls"},
    }});
    let rendered = render(&values);
    let args = rendered.args();
    for flag in [
        "--sealing-keys=kube-system",
        "--enable-sealed-secrets=true",
        "--seal-listen=:8083",
        "--unseal-listen=:8084",
        "--unseal-cert-dir=/etc/keyferry/unseal",
    ] {
        assert!(args.iter().any(|arg| arg == flag), "{flag}: {args:?}");
    }
    let service = rendered.get("Service", "sealed-secrets-controller");
    assert_eq!(
        service["spec"]["ports"][0],
        json!({"name": "http", "port": 8080, "targetPort": "seal", "protocol": "TCP"})
    );
    let unseal = rendered.get("Service", "-unseal");
    assert_eq!(
        (&unseal["spec"]["ports"][0]["port"], &unseal["spec"]["ports"][0]["targetPort"]),
        (&json!(443), &json!("unseal"))
    );
    let ports = rendered.container()["ports"].as_array().unwrap().clone();
    let of = |name: &str| ports.iter().find(|port| port["name"] == name).map(|port| port["containerPort"].clone());
    assert_eq!((of("seal"), of("unseal")), (Some(json!(8083)), Some(json!(8084))));
    assert_eq!(rendered.container()["volumeMounts"][0]["mountPath"], "/etc/keyferry/unseal");
    let all = serde_json::to_string(&rendered.0).unwrap();
    assert!(
        all.contains(r#""secretName":"unseal-tls""#)
            && all.contains("sealedsecrets/status")
            && all.contains("auth-delegator")
    );
    let policy = serde_json::to_string(&rendered.all("NetworkPolicy").next().unwrap()["spec"]["ingress"]).unwrap();
    assert!(policy.contains("8083") && policy.contains("8084"), "{policy}");
    // Without keys nothing of it is on; a flag of one's own wins.
    let off = render(&json!({"sealing": {"sealedSecrets": true, "seal": {"enabled": true}}}));
    assert!(!off.args().iter().any(|arg| arg.contains("seal")) && off.all("Service").next().is_none());
    let own = render(
        &json!({"sealing": {"keys": "k", "sealedSecrets": true}, "extraArgs": {"enable-sealed-secrets": false}}),
    );
    assert!(own.args().contains(&"--enable-sealed-secrets=false".to_owned()));
    assert!(!serde_json::to_string(&own.0).unwrap().contains("sealedsecrets/status"));
    let refusal = try_render(&json!({"sealing": {"keys": "k", "unseal": {"enabled": true}}}), &[]).err().unwrap();
    assert!(refusal.contains("needs sealing.unseal.certSecret"), "{refusal}");
}

#[test]
fn mounts_ask_the_operator_for_what_is_sealed_where_it_is_said() {
    let node = |more: Value| {
        let mut values = json!({"node": {"enabled": true, "unsealFrom": more}});
        values["node"]["audiences"] = json!(["vault"]);
        let rendered = render(&values);
        let set = rendered.all("DaemonSet").next().expect("a DaemonSet")["spec"]["template"]["spec"].clone();
        let driver = rendered.all("CSIDriver").next().expect("a driver")["spec"]["tokenRequests"].clone();
        (set, driver)
    };
    let of = |audiences: &[&str]| audiences.iter().map(|audience| json!({"audience": audience})).collect::<Vec<_>>();
    let says = |set: &Value, flag: &str| set["containers"][0]["args"].as_array().expect("flags").contains(&json!(flag));
    let (set, tokens) = node(json!({}));
    assert_eq!(tokens, json!(of(&["", "vault"])));
    assert!(!set.to_string().contains("unseal"), "{set}");
    let url = "https://keyferry-unseal.keyferry-system";
    let (set, tokens) = node(json!({"url": url, "caConfigMap": "ca"}));
    assert_eq!(tokens, json!(of(&["", "vault", "keyferry"])));
    assert!(
        says(&set, &format!("--unseal-from={url}")) && says(&set, "--unseal-authority=/etc/keyferry/unseal/ca.crt"),
        "{set}"
    );
    assert!(
        set["volumes"]
            .as_array()
            .expect("volumes")
            .contains(&json!({"name": "unseal-authority", "configMap": {"name": "ca"}}))
    );
    assert!(try_render(&json!({"node": {"enabled": true, "unsealFrom": {"url": "http://plain"}}}), &[]).is_err());
}

#[test]
fn the_audit_log_goes_where_the_values_say_from_both() {
    let plain = render(&json!({"node": {"enabled": true}}));
    let of_node =
        |rendered: &Rendered| rendered.all("DaemonSet").next().expect("the node")["spec"]["template"]["spec"].clone();
    let plain = [plain.pod().to_string(), of_node(&plain).to_string()].concat();
    assert!(!plain.contains("audit"), "{plain}");

    let url = "https://collector.example/keyferry?from=prod";
    let webhook = json!({"url": url, "caConfigMap": "ca", "tokenSecret": "of-audit"});
    let rendered = render(&json!({"node": {"enabled": true}, "audit": {"log": "-", "webhook": webhook}}));
    assert!(rendered.args().contains(&"--audit-log=-".to_owned()), "{:?}", rendered.args());
    for pod in [rendered.pod().clone(), of_node(&rendered)] {
        let container = &pod["containers"][0];
        let has = |list: &Value, item: Value| list.as_array().is_some_and(|list| list.contains(&item));
        for flag in [
            &format!("--audit-webhook={url}"),
            "--audit-webhook-ca-file=/etc/keyferry/audit/authority/ca.crt",
            "--audit-webhook-token-file=/etc/keyferry/audit/token/token",
        ] {
            assert!(has(&container["args"], json!(flag)), "{flag}: {pod}");
        }
        for (name, source, at) in [
            ("audit-authority", ("configMap", json!({"name": "ca"})), "authority"),
            ("audit-token", ("secret", json!({"secretName": "of-audit"})), "token"),
        ] {
            assert!(has(&pod["volumes"], json!({"name": name, (source.0): source.1})), "{pod}");
            let mount = json!({"name": name, "mountPath": format!("/etc/keyferry/audit/{at}"), "readOnly": true});
            assert!(has(&container["volumeMounts"], mount), "{pod}");
        }
    }
    let near = render(&json!({"audit": {"webhook": {"url": "http://collector", "allowHttp": true}}}));
    assert!(near.args().contains(&"--audit-webhook-allow-http=true".to_owned()), "{:?}", near.args());
    assert!(near.pod().get("volumes").is_none(), "{}", near.pod());
    let nowhere = render(&json!({"audit": {"webhook": {"tokenSecret": "of-audit"}}}));
    assert!(!nowhere.pod().to_string().contains("audit"), "{}", nowhere.pod());
}

#[test]
fn the_secrets_store_driver_is_served_where_that_is_asked_for() {
    let node = |values: Value| {
        let rendered = render(&json!({"node": values}));
        rendered.all("DaemonSet").next().expect("the node")["spec"]["template"]["spec"].clone()
    };
    let off = node(json!({"enabled": true})).to_string();
    assert!(!off.contains("secrets-store"), "{off}");
    let on = node(json!({"enabled": true, "secretsStoreProvider": {"enabled": true, "dir": "/var/run/providers"}}));
    let container = &on["containers"][0];
    let args = container["args"].as_array().expect("flags");
    assert!(args.contains(&json!("--secrets-store-providers-dir=/var/run/providers")), "{args:?}");
    assert_eq!(container["volumeMounts"][1], json!({"name": "providers", "mountPath": "/var/run/providers"}));
    let volume = json!({"name": "providers", "hostPath": {"path": "/var/run/providers", "type": "DirectoryOrCreate"}});
    assert_eq!(on["volumes"][1], volume);
    let by_default = node(json!({"enabled": true, "secretsStoreProvider": {"enabled": true}}));
    assert_eq!(by_default["volumes"][1]["hostPath"]["path"], "/etc/kubernetes/secrets-store-csi-providers");
}

#[test]
fn scoped_means_nothing_in_the_whole_cluster() {
    let rendered = render(&json!({"scopedNamespace": "team", "scopedRBAC": true, "installCRDs": false}));
    for object in &rendered.0 {
        assert_ne!(text(object, "/metadata/namespace"), "", "{} belongs to the cluster", text(object, "/kind"));
    }
    let role = rendered.get("Role", "-controller");
    assert_eq!(role["metadata"]["namespace"], "team");
    assert!(!role.to_string().contains("clustersecretstores") && !role.to_string().contains("namespaces\""));
    assert_eq!(rendered.get("Role", "-leaderelection")["metadata"]["namespace"], NAMESPACE);
    let args = rendered.args();
    for arg in ["--namespace=team", "--enable-cluster-store-reconciler=false"] {
        assert!(args.iter().any(|given| given == arg), "no {arg} in {args:?}");
    }
    // Several are as one: no more, and nothing elsewhere.
    let several = json!({"scopedNamespaces": ["team", "other"], "scopedRBAC": true, "installCRDs": false});
    let rendered = render(&several);
    for kind in ["Role", "RoleBinding"] {
        let of_operator = rendered.all(kind).filter(|role| text(role, "/metadata/name").ends_with("-controller"));
        assert_eq!(
            set(of_operator.map(|role| text(role, "/metadata/namespace").to_owned())),
            set(["team", "other"].map(str::to_owned))
        );
    }
    assert!(rendered.all("ClusterRole").chain(rendered.all("ClusterRoleBinding")).next().is_none());
    assert!(rendered.args().contains(&"--namespace=other,team".to_owned()), "{:?}", rendered.args());
    let asked = rendered.get("Pod", "keyferry-status")["spec"]["containers"].as_array().unwrap().iter();
    let asked: Vec<&Value> = asked.map(|container| &container["args"][1]).collect();
    assert_eq!(asked, ["--namespace=other", "--namespace=team"]);
    // Without scopedRBAC it is only told where to look.
    let told = render(&json!({"scopedNamespace": "team"}));
    assert!(told.args().contains(&"--namespace=team".to_owned()));
    told.get("ClusterRole", "-controller");
}

#[test]
fn crds_can_be_left_out() {
    let names = |values: Value| {
        set(render(&values).all("CustomResourceDefinition").map(|crd| text(crd, "/spec/names/kind").to_owned()))
    };
    assert_eq!(names(json!({"installCRDs": false})), set([]));
    let without = json!({
        "crds": {"createClusterSecretStore": false, "createSecretStore": false, "createClusterGenerator": false},
    });
    let left_out: Vec<_> = names(json!({})).difference(&names(without)).cloned().collect();
    assert_eq!(left_out, ["ClusterGenerator", "ClusterSecretStore", "SecretStore"]);
}

#[test]
fn a_service_monitor_reads_metrics_as_they_are_served() {
    let endpoint = |monitor: Value, args: Value| {
        let mut values = json!({"serviceMonitor": monitor, "extraArgs": args});
        values["serviceMonitor"]["enabled"] = true.into();
        values["serviceMonitor"]["renderMode"] = "alwaysRender".into();
        render(&values).get("ServiceMonitor", "keyferry-metrics")["spec"]["endpoints"][0].clone()
    };
    for args in [json!({}), json!({"metrics-secure": false, "metrics-auth": "false"})] {
        let plain = endpoint(json!({"tlsConfig": {"serverName": "x"}}), args);
        assert!(["scheme", "tlsConfig", "bearerTokenFile"].iter().all(|field| plain[field].is_null()), "{plain}");
    }
    for on in [json!(true), json!(null), json!("true")] {
        let secure = endpoint(json!({}), json!({ "metrics-secure": on }));
        assert_eq!((&secure["scheme"], &secure["bearerTokenFile"]), (&json!("https"), &json!(null)));
        assert_eq!(secure["tlsConfig"], json!({"insecureSkipVerify": true}));
    }
    let config = json!({"ca": {"secret": {"name": "metrics", "key": "ca.crt"}}, "serverName": "keyferry-metrics"});
    let args = json!({"metrics-secure": true, "metrics-auth": true});
    let checked = endpoint(json!({ "tlsConfig": config }), args);
    assert_eq!(checked["tlsConfig"], config);
    assert_eq!(checked["bearerTokenFile"], "/var/run/secrets/kubernetes.io/serviceaccount/token");
}

#[test]
fn metrics_can_be_scraped() {
    let service = json!({"metrics": {"service": {"enabled": true, "port": 9000, "annotations": {"a": "b"}}}});
    let rendered = render(&service);
    let object = rendered.get("Service", "keyferry-metrics");
    assert_eq!(object["spec"]["ports"][0]["port"], 9000);
    assert_eq!(object["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(object["spec"]["selector"], selector(&rendered));

    let monitor = json!({"serviceMonitor": {"enabled": true, "interval": "10s", "namespace": "monitoring"}});
    let unknown = render(&monitor);
    assert_eq!((unknown.all("ServiceMonitor").count(), unknown.all("Service").count()), (0, 1));
    let known = try_render(&monitor, &["--api-versions=monitoring.coreos.com/v1/ServiceMonitor"]);
    let known = known.unwrap_or_else(|error| panic!("{error}"));
    let object = known.get("ServiceMonitor", "keyferry-metrics");
    assert_eq!(object["metadata"]["namespace"], "monitoring");
    assert_eq!(object["spec"]["endpoints"][0]["interval"], "10s");
    assert_eq!(object["spec"]["namespaceSelector"]["matchNames"], json!([NAMESPACE]));
    let labels = &known.get("Service", "-metrics")["metadata"]["labels"];
    for (name, value) in object["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&labels[name], value, "the Service is found by its labels");
    }
}

#[test]
fn a_budget_has_one_of_two_numbers() {
    let budget =
        |values: Value| render(&json!({"podDisruptionBudget": values})).get("PodDisruptionBudget", "")["spec"].clone();
    let spec = budget(json!({"enabled": true}));
    assert_eq!((&spec["minAvailable"], spec.get("maxUnavailable")), (&json!(1), None));
    let spec = budget(json!({"enabled": true, "maxUnavailable": "50%"}));
    assert_eq!((spec.get("minAvailable"), &spec["maxUnavailable"]), (None, &json!("50%")));
}

#[test]
fn what_is_said_of_the_pod_arrives() {
    let rendered = render(&json!({
        "commonLabels": {"team": "platform", "app.kubernetes.io/name": "mine"},
        "podLabels": {"tier": "system"}, "podAnnotations": {"a": "1"}, "deploymentAnnotations": {"d": "1"},
        "imagePullSecrets": [{"name": "one"}], "extraEnv": [{"name": "E", "value": "v"}],
        "extraVolumes": [{"name": "v", "emptyDir": {}}], "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}],
        "extraContainers": [{"name": "side", "image": "side:1"}], "extraInitContainers": [{"name": "init", "image": "i:1"}],
        "nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "high",
        "runtimeClassName": "kata", "schedulerName": "second",
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        "affinity": {"nodeAffinity": {}}, "resources": {"limits": {"memory": "1Gi"}}, "hostUsers": false,
        "podSpecExtra": {"shareProcessNamespace": true}, "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        "strategy": {"type": "Recreate"}, "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["vault"]}],
        "global": {
            "nodeSelector": {"disk": "hdd"}, "podLabels": {"tier": "other", "more": "x"}, "podAnnotations": {"b": "2"},
            "imagePullSecrets": [{"name": "two"}],
        },
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: text-{{ .Release.Namespace }}\n",
        ],
    }));
    let pod = rendered.pod();
    let template = &rendered.get("Deployment", "")["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"], json!({"a": "1", "b": "2"}));
    let labels = &template["metadata"]["labels"];
    // A selector that changes with a label of the user's would lose the pods.
    assert_eq!(
        (&labels["team"], &labels["tier"], &labels["more"]),
        (&json!("platform"), &json!("system"), &json!("x"))
    );
    assert_eq!(labels["app.kubernetes.io/name"], "keyferry");
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "one"}, {"name": "two"}]));
    assert_eq!(pod["nodeSelector"], json!({"disk": "ssd"}), "the chart's own before the global one");
    assert_eq!(pod["containers"].as_array().unwrap().len(), 2);
    assert_eq!(rendered.container()["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(rendered.container()["env"][0]["name"], "E");
    for field in [
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
        "volumes",
        "initContainers",
        "dnsConfig",
        "hostAliases",
    ] {
        assert!(pod.get(field).is_some(), "no {field}");
    }
    assert_eq!((&pod["shareProcessNamespace"], &pod["hostUsers"]), (&json!(true), &json!(false)));
    assert_eq!((&pod["runtimeClassName"], &pod["schedulerName"]), (&json!("kata"), &json!("second")));
    rendered.get("ConfigMap", "keyferry-extra");
    rendered.get("ConfigMap", "text-secrets");
}

#[test]
fn names_can_be_chosen() {
    let name = |values: Value| text(render(&values).get("Deployment", ""), "/metadata/name").to_owned();
    assert_eq!(name(json!({"fullnameOverride": "external-secrets"})), "external-secrets");
    assert_eq!(name(json!({"nameOverride": "ferry"})), "keyferry");
    assert_eq!(name(json!({"nameOverride": "eso"})), "keyferry-eso");
    let rendered = render(&json!({
        "namespaceOverride": "other", "serviceAccount": {"name": "mine", "extraLabels": {"l": "1"}, "automount": false},
    }));
    let account = rendered.get("ServiceAccount", "mine");
    assert_eq!(
        (&account["metadata"]["namespace"], &account["metadata"]["labels"]["l"]),
        (&json!("other"), &json!("1"))
    );
    let pod = rendered.pod();
    assert_eq!((&pod["serviceAccountName"], &pod["automountServiceAccountToken"]), (&json!("mine"), &json!(false)));
    let subject = json!([{"kind": "ServiceAccount", "name": "mine", "namespace": "other"}]);
    assert_eq!(rendered.get("ClusterRoleBinding", "-controller")["subjects"], subject);
    assert_eq!(rendered.get("RoleBinding", "-leaderelection")["subjects"], subject);
    let theirs = render(&json!({"serviceAccount": {"create": false}}));
    assert_eq!((theirs.all("ServiceAccount").count(), &theirs.pod()["serviceAccountName"]), (0, &json!("default")));
}

/// Roles in Vault and in clouds trust a ServiceAccount by name and namespace; NetworkPolicies and dashboards find pods by
/// their labels. What External Secrets Operator's chart makes of these releases is written down here.
#[test]
fn names_are_those_of_external_secrets_operators_chart() {
    let long = "a-release-with-a-name-of-no-more-than-53-letters-in-it";
    for (release, values, name, label) in [
        ("external-secrets", json!({}), "external-secrets", "external-secrets"),
        ("external-secrets-operator", json!({}), "external-secrets-operator", "external-secrets"),
        ("eso", json!({}), "eso-external-secrets", "external-secrets"),
        (&long[..53], json!({}), "a-release-with-a-name-of-no-more-than-53-letters-in-i-external", "external-secrets"),
        ("eso", json!({"nameOverride": "eso"}), "eso", "eso"),
        ("prod", json!({"nameOverride": "eso"}), "prod-eso", "eso"),
        ("eso", json!({"fullnameOverride": "secrets"}), "secrets", "external-secrets"),
        // No release of that chart was called so.
        ("keyferry", json!({}), "keyferry", "keyferry"),
    ] {
        let rendered = Rendered::parse(&template(release, &values));
        assert_eq!(text(rendered.get("ServiceAccount", ""), "/metadata/name"), name, "{release} {values}");
        assert_eq!(rendered.pod()["serviceAccountName"], name);
        let deployment = rendered.get("Deployment", "");
        assert_eq!(text(deployment, "/metadata/name"), name);
        // A Deployment of the same name can only be upgraded where it is found by the same labels.
        let selector = json!({"app.kubernetes.io/name": label, "app.kubernetes.io/instance": release});
        assert_eq!(self::selector(&rendered), selector, "{release} {values}");
    }
    let chosen =
        render(&json!({"serviceAccount": {"name": "vault", "annotations": {"eks.amazonaws.com/role-arn": "a"}}}));
    assert_eq!(chosen.get("ServiceAccount", "vault")["metadata"]["annotations"]["eks.amazonaws.com/role-arn"], "a");
}

#[test]
fn the_network_is_closed_where_that_is_asked_for() {
    assert_eq!(render(&json!({})).all("NetworkPolicy").count(), 0);
    let spec =
        |values: Value| render(&json!({"networkPolicy": values})).get("NetworkPolicy", "keyferry")["spec"].clone();
    let closed = spec(json!({"enabled": true}));
    assert_eq!(closed["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(closed["podSelector"]["matchLabels"], selector(&render(&json!({}))));
    let port = |number: u16, protocol: &str| json!({"port": number, "protocol": protocol});
    let (metrics, health) = (json!({"ports": [port(8080, "TCP")]}), json!({"ports": [port(8082, "TCP")]}));
    assert_eq!(closed["ingress"], json!([metrics, health]));
    let names = json!({"ports": [port(53, "UDP"), port(53, "TCP"), port(5353, "UDP"), port(5353, "TCP")]});
    assert_eq!(closed["egress"], json!([names, {"ports": [port(443, "TCP"), port(6443, "TCP")]}]));

    let peer = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    let vault = json!({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [port(8200, "TCP")]});
    let chosen =
        spec(json!({"enabled": true, "ports": [443], "controller": {"ingressFrom": peer, "egressTo": [vault]}}));
    assert_eq!(
        chosen["ingress"],
        json!([{"ports": [port(8080, "TCP")], "from": peer}, health]),
        "health is for the kubelet"
    );
    assert_eq!(chosen["egress"], json!([names, {"ports": [port(443, "TCP")]}, vault]));
    assert_eq!(spec(json!({"enabled": true, "ports": []}))["egress"], json!([names]));
    let own = spec(json!({"enabled": true, "ingress": [metrics], "egress": [vault]}));
    assert_eq!((&own["ingress"], &own["egress"]), (&json!([metrics]), &json!([vault])));
}

fn selector(rendered: &Rendered) -> Value {
    rendered.get("Deployment", "")["spec"]["selector"]["matchLabels"].clone()
}

fn set(items: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    items.into_iter().collect()
}

/// The pre-delete hook goes where the operator may go, and ends; and neither it nor the driver is given what the operator's
/// variables hold.
#[test]
fn the_nodes_own_and_its_hook() {
    let rendered = render(&json!({
        "node": {"enabled": true, "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy"}]},
        "extraEnv": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "canary"}],
        "nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "only", "operator": "Exists"}],
        "resources": {"limits": {"memory": "1Gi"}}, "global": {"nodeSelector": {"disk": "hdd"}},
    }));
    let job = &rendered.get("Job", "-node-check")["spec"];
    let pod = &job["template"]["spec"];
    assert!(job["activeDeadlineSeconds"].as_u64().is_some_and(|seconds| seconds <= 600));
    assert_eq!(pod["nodeSelector"], json!({"disk": "ssd"}));
    assert_eq!(pod["tolerations"], json!([{"key": "only", "operator": "Exists"}]));
    assert_eq!(pod["containers"][0]["resources"]["limits"], json!({"memory": "1Gi"}));
    assert_eq!(pod["containers"][0]["securityContext"]["runAsNonRoot"], true);
    let pod = &rendered.get("DaemonSet", "-node")["spec"]["template"]["spec"];
    let names: Vec<&str> =
        pod["containers"][0]["env"].as_array().unwrap().iter().map(|env| text(env, "/name")).collect();
    assert_eq!(names, ["NODE_NAME", "HTTPS_PROXY"]);
    let others = rendered.0.iter().filter(|object| object["kind"] != "Deployment");
    assert!(!others.map(Value::to_string).any(|text| text.contains("canary")));
}
