use super::super::tests::{controller, empty, found, release, settings, store};
use super::*;
use crate::facts::{Named, Need, Pruned};
use crate::judge::judge;

fn held(kind: &str, name: &str, template: &str) -> Held {
    Held {
        kind: kind.to_owned(),
        namespace: "eso".to_owned(),
        name: name.to_owned(),
        template: template.to_owned(),
        ..Default::default()
    }
}

/// A release of its chart whose CRDs stay, with these objects besides.
fn with(objects: Vec<Held>) -> Cluster {
    let release = Release { keeps: release().deletes, deletes: Default::default(), is_eso: true, objects, ..release() };
    Cluster { releases: vec![release], ..empty() }
}

fn need(by: &str, namespace: Option<&str>, name: &str) -> Need {
    let named = Named { namespace: namespace.map(str::to_owned), name: name.to_owned() };
    Need { by: by.to_owned(), accounts: [named.clone()].into(), names: [named].into() }
}

#[test]
fn an_account_that_no_record_of_helm_holds_and_a_gitops_tool_deletes() {
    let by = ["Argo CD's Application eso".to_owned()].to_vec();
    let accounts = vec![Pruned { object: account(), by }];
    let needs = vec![
        need("ClusterSecretStore vault", Some("eso"), "external-secrets"),
        need("ClusterSecretStore other", Some("eso"), "other"),
    ];
    let cluster = Cluster { accounts, needs, ..empty() };
    let finding = of_code(&cluster, "gitops-prunes-accounts").unwrap();
    assert_eq!(finding.severity, Severity::Attention);
    assert_eq!(
        finding.summary,
        "Argo CD's Application eso manages 1 ServiceAccount, which 1 store or generator logs in as"
    );
    assert_eq!(finding.objects, ["ServiceAccount eso/external-secrets (for ClusterSecretStore vault)"]);
    assert!(finding.next.contains("Prune=false,Delete=false"), "{}", finding.next);
    assert_eq!(of_code(&Cluster { needs: Vec::new(), ..cluster }, "gitops-prunes-accounts"), None, "nobody needs it");
}

fn account() -> Held {
    held("ServiceAccount", "external-secrets", "serviceaccount.yaml")
}

fn of_code(cluster: &Cluster, code: &str) -> Option<Finding> {
    found(cluster).into_iter().find(|finding| finding.code == code)
}

#[test]
fn an_account_of_the_release_that_a_store_logs_in_as() {
    let mut cluster = with(vec![account()]);
    assert_eq!(of_code(&cluster, "helm-deletes-accounts"), None, "nobody needs it");
    cluster.needs = vec![need("ClusterSecretStore vault", Some("eso"), "external-secrets")];
    let finding = of_code(&cluster, "helm-deletes-accounts").unwrap();
    assert_eq!(finding.severity, Severity::Blocks);
    assert_eq!(finding.objects, ["ServiceAccount eso/external-secrets (for ClusterSecretStore vault)"]);
    assert_eq!(
        finding.commands,
        [
            "kubectl annotate serviceaccount external-secrets --namespace eso --overwrite helm.sh/resource-policy=keep",
            "helm repo add external-secrets https://charts.external-secrets.io",
            r"helm upgrade old external-secrets/external-secrets --namespace eso --version 2.9.0 --reuse-values --set-string 'serviceAccount.annotations.helm\.sh/resource-policy=keep'",
        ]
    );
    assert_eq!(of_code(&cluster, "switch"), None, "what blocks comes first");

    for (needs, why) in [
        (need("SecretStore a/x", Some("a"), "external-secrets"), "another namespace's"),
        (need("SecretStore a/x", Some("eso"), "other"), "another account"),
    ] {
        assert_eq!(of_code(&Cluster { needs: vec![needs], ..cluster.clone() }, "helm-deletes-accounts"), None, "{why}");
    }
    let referent = Cluster { needs: vec![need("ClusterSecretStore x", None, "external-secrets")], ..cluster.clone() };
    assert!(of_code(&referent, "helm-deletes-accounts").is_some(), "whoever asks may be in any namespace");

    let mut kept = cluster.clone();
    kept.releases[0].objects[0].keeps = true;
    assert_eq!(of_code(&kept, "helm-deletes-accounts"), None);
    let mut elsewhere = cluster;
    elsewhere.releases[0].is_eso = false;
    assert_eq!(of_code(&elsewhere, "helm-deletes-accounts"), None, "that release does not go");
}

#[test]
fn the_operators_own_account_is_needed_by_those_that_log_in_as_it() {
    for identity in [Identity::Ambient, Identity::ControllerToken] {
        let mut cluster = with(vec![account()]);
        cluster.operators.push(Operator { running: false, ..controller() });
        cluster.stores.push(store(None, "vault", identity));
        let finding = of_code(&cluster, "helm-deletes-accounts").unwrap();
        assert_eq!(finding.objects, ["ServiceAccount eso/external-secrets (for ClusterSecretStore it)"]);
        cluster.stores[0].identity = Identity::Own;
        assert_eq!(of_code(&cluster, "helm-deletes-accounts"), None);
    }
}

#[test]
fn what_keeps_an_account_hangs_on_who_made_it() {
    let commands = |template: &str, chart: &str, subchart: Option<&str>| {
        let mut cluster = with(vec![held("ServiceAccount", "it", template)]);
        cluster.releases[0].chart = chart.to_owned();
        cluster.releases[0].subchart = subchart.map(str::to_owned);
        cluster.needs = vec![need("ClusterSecretStore vault", Some("eso"), "it")];
        of_code(&cluster, "helm-deletes-accounts").unwrap().commands
    };
    let last = |template: &str| commands(template, "external-secrets", None).pop().unwrap();
    assert!(
        last("webhook-serviceaccount.yaml")
            .ends_with(r"'webhook.serviceAccount.annotations.helm\.sh/resource-policy=keep'")
    );
    assert!(last("extra-objects.yaml").ends_with("--reuse-values --set-json 'extraObjects=[]'"));
    let part = commands("serviceaccount.yaml", "platform", Some("eso"));
    assert!(part[1].starts_with("helm upgrade old CHART"), "{part:?}");
    assert!(
        part[1].ends_with(r"--set-string 'eso.serviceAccount.annotations.helm\.sh/resource-policy=keep'"),
        "{part:?}"
    );
    assert_eq!(commands("sa.yaml", "a-fork", None).len(), 1, "how that chart is told is not known");
}

#[test]
fn stores_and_credentials_that_came_with_the_release() {
    let extra = "extra-objects.yaml";
    let store = Held { group: "external-secrets.io".to_owned(), ..held("ClusterSecretStore", "vault", extra) };
    let webhook = held("Secret", "external-secrets-webhook", "webhook-secret.yaml");
    let unneeded = held("ConfigMap", "dashboard", extra);
    let mut cluster = with(vec![store, held("Secret", "token", extra), webhook, unneeded, account()]);
    cluster.needs = vec![need("ClusterSecretStore vault", Some("eso"), "token")];
    cluster.needs[0].accounts.clear();
    let finding = of_code(&cluster, "helm-deletes-objects").unwrap();
    assert_eq!(finding.severity, Severity::Blocks);
    assert_eq!(finding.objects, ["ClusterSecretStore vault", "Secret eso/token (for ClusterSecretStore vault)"]);
    assert_eq!(
        finding.commands[..3],
        [
            "kubectl annotate clustersecretstore.external-secrets.io vault --overwrite helm.sh/resource-policy=keep",
            "kubectl annotate secret token --namespace eso --overwrite helm.sh/resource-policy=keep",
            // It leaves the release with the others.
            "kubectl annotate configmap dashboard --namespace eso --overwrite helm.sh/resource-policy=keep",
        ]
    );
    assert!(finding.commands[4].ends_with("--set-json 'extraObjects=[]'"), "{:?}", finding.commands);
}

#[test]
fn the_last_steps() {
    let mut cluster = with(vec![account()]);
    cluster.operators.push(Operator { running: false, ..controller() });
    let commands = |cluster: &Cluster| of_code(cluster, "switch").map(|finding| finding.commands).unwrap_or_default();
    assert_eq!(
        commands(&cluster),
        [
            "helm get values old --namespace eso --output yaml | helm install keyferry config/chart --namespace eso --values - --set fullnameOverride=keyferry --set serviceAccount.create=true --set serviceAccount.name=external-secrets --take-ownership --force-conflicts",
            "helm uninstall old --namespace eso",
        ]
    );
    cluster.operators.push(Operator { role: Role::Keyferry, ..controller() });
    assert_eq!(commands(&cluster), ["helm uninstall old --namespace eso"]);
    cluster.operators.remove(1);
    cluster.releases[0].objects.clear();
    assert!(commands(&cluster)[0].contains("--set serviceAccount.create=false"), "the account is somebody else's");
    cluster.releases.clear();
    assert_eq!(
        commands(&cluster),
        [
            "helm install keyferry config/chart --namespace eso --set fullnameOverride=keyferry --set serviceAccount.create=true --set serviceAccount.name=external-secrets --take-ownership --force-conflicts"
        ]
    );
    cluster.operators[0].running = true;
    assert_eq!(commands(&cluster), [] as [&str; 0], "it runs, which blocks");
}

#[test]
fn images_that_values_name() {
    let mut cluster = with(Vec::new());
    let named = |image: &str| ("image.repository".to_owned(), image.to_owned());
    cluster.releases[0].images = vec![named("r.example/keyferry")];
    assert_eq!(of_code(&cluster, "image-in-values"), None);
    cluster.releases[0].images = vec![named("r.example/external-secrets/external-secrets")];
    let finding = of_code(&cluster, "image-in-values").unwrap();
    assert_eq!(finding.objects, ["image.repository: r.example/external-secrets/external-secrets"]);
}

#[test]
fn what_a_crd_of_ours_would_change() {
    let mut cluster = empty();
    cluster.lost.insert(
        ("ExternalSecret".to_owned(), "spec.refreshIntervall".to_owned()),
        super::super::tests::sample(&["a/b"]),
    );
    let finding = of_code(&cluster, "fields-lost").unwrap();
    assert!(
        finding.summary.starts_with("1 ExternalSecret with the field spec.refreshIntervall"),
        "{}",
        finding.summary
    );
    cluster.old_writers.insert("ExternalSecret".to_owned(), super::super::tests::sample(&["a/b (by argocd)"]));
    let finding = judge(&cluster, &settings()).into_iter().find(|finding| finding.code == "old-manifests").unwrap();
    assert_eq!(finding.commands, ["keyferry migrate manifests . --write"]);
}
