use super::*;
use crate::facts::*;
use crate::plan;

pub(super) fn settings() -> Settings {
    Settings {
        class: "default".to_owned(),
        providers: vec!["aws".to_owned(), "vault".to_owned()],
        chart: "config/chart".to_owned(),
        eso_chart: None,
    }
}

pub(super) fn found(cluster: &Cluster) -> Vec<Finding> {
    judge(cluster, &settings())
}

#[track_caller]
pub(super) fn one(cluster: &Cluster) -> Finding {
    let mut all = found(cluster);
    // Most of these clusters have no CRDs, which is not what they are about.
    all.retain(|finding| !["no-crds", "switch"].contains(&finding.code));
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

#[track_caller]
fn nothing(cluster: &Cluster) {
    let mut all = found(cluster);
    all.retain(|finding| !["no-crds", "switch"].contains(&finding.code));
    assert_eq!(all, []);
}

/// With nothing in it, and nothing that could not be read.
pub(super) fn empty() -> Cluster {
    Cluster { push_secrets: Some(Vec::new()), cluster_external_secrets: Some(Default::default()), ..Default::default() }
}

pub(super) fn steps(cluster: &Cluster) -> Vec<String> {
    plan::steps(cluster).iter().map(ToString::to_string).collect()
}

pub(super) fn release() -> Release {
    Release {
        name: "old".to_owned(),
        namespace: "eso".to_owned(),
        revision: 3,
        chart: "external-secrets".to_owned(),
        version: "2.9.0".to_owned(),
        subchart: None,
        deletes: ["externalsecrets.external-secrets.io".to_owned()].into(),
        ..Default::default()
    }
}

#[test]
fn releases() {
    let with = |release| Cluster { releases: vec![release], ..empty() };
    let finding = one(&with(release()));
    assert_eq!((finding.code, finding.severity, finding.count), ("helm-deletes-crds", Severity::Blocks, 1));
    assert_eq!(
        finding.commands[1],
        r"helm upgrade old external-secrets/external-secrets --namespace eso --version 2.9.0 --reuse-values --set-string 'crds.annotations.helm\.sh/resource-policy=keep'"
    );
    assert!(plan::refusal(&with(release()), &settings()).unwrap().contains("eso/old"));

    let keeps = Release { keeps: release().deletes, deletes: Default::default(), ..release() };
    nothing(&with(keeps.clone()));
    assert_eq!(plan::refusal(&with(keeps.clone()), &settings()), None);
    // keyferry's own chart is like that.
    nothing(&with(Release { chart: "keyferry".to_owned(), ..keeps.clone() }));

    let elsewhere = Settings { eso_chart: Some("oci://mirror/eso".to_owned()), ..settings() };
    let all = judge(&with(release()), &elsewhere);
    assert!(
        all[0].commands[0].starts_with("helm upgrade old oci://mirror/eso --namespace eso"),
        "{:?}",
        all[0].commands
    );

    let umbrella = Release { chart: "platform".to_owned(), subchart: Some("eso".to_owned()), ..release() };
    let finding = one(&with(umbrella));
    assert!(finding.commands[0].contains(r"--set-string 'eso.crds.annotations.helm\.sh/resource-policy=keep'"));
    assert!(one(&with(Release { chart: "odd".to_owned(), ..release() })).commands.is_empty());

    let unclear = Release { unclear: 1, ..keeps };
    assert_eq!(one(&with(unclear.clone())).severity, Severity::Blocks);
    assert!(plan::refusal(&with(unclear), &settings()).is_some());
}

#[test]
fn records_of_helm() {
    let broken = |helm_may_read_it| {
        let record =
            BrokenRecord { object: "secret/a/b".to_owned(), why: "it is not base64".to_owned(), helm_may_read_it };
        Cluster { broken: vec![record], ..empty() }
    };
    assert_eq!(one(&broken(false)).severity, Severity::Attention);
    assert_eq!(plan::refusal(&broken(false), &settings()), None);
    assert_eq!(one(&broken(true)).severity, Severity::Blocks);
    assert!(plan::refusal(&broken(true), &settings()).is_some());

    let helm = Some(("eso".to_owned(), "old".to_owned()));
    let mut cluster = Cluster { crds: vec![Crd { helm, ..crd(&["v1"], "v1") }], ..empty() };
    nothing(&cluster);
    cluster.operators.push(Operator { running: false, ..controller() });
    assert_eq!(one(&cluster).code, "helm-record-missing");
    cluster.releases.push(Release { keeps: release().deletes, deletes: Default::default(), ..release() });
    nothing(&cluster);
}

/// An ExternalSecret's CRD that serves these versions and stores this one.
fn crd(served: &[&str], storage: &str) -> Crd {
    let version = |name: &&str| Version { name: (*name).to_owned(), served: true, storage: *name == storage };
    Crd {
        name: "externalsecrets.external-secrets.io".to_owned(),
        group: "external-secrets.io".to_owned(),
        kind: "ExternalSecret".to_owned(),
        plural: "externalsecrets".to_owned(),
        namespaced: true,
        versions: served.iter().map(version).collect(),
        stored: vec![storage.to_owned()],
        ..Default::default()
    }
}

fn with_crd(crd: Crd) -> Cluster {
    Cluster { crds: vec![crd], ..empty() }
}

#[test]
fn crds_that_somebody_prunes() {
    nothing(&with_crd(crd(&["v1"], "v1")));
    let pruned = Crd { pruned_by: vec!["Argo CD's Application eso".to_owned()], ..crd(&["v1"], "v1") };
    let finding = one(&with_crd(pruned));
    assert_eq!((finding.code, finding.severity), ("gitops-prunes-crds", Severity::Attention));
    let mut flux = with_crd(Crd { flux_helm: Some("flux-system/eso".to_owned()), ..crd(&["v1"], "v1") });
    assert!(one(&flux).summary.contains("HelmRelease flux-system/eso"));
    flux.releases.push(Release { keeps: release().deletes, deletes: Default::default(), ..release() });
    nothing(&flux);
}

#[test]
fn stored_versions() {
    let stored = |crd: Crd, stored: &[&str]| Crd { stored: stored.iter().map(|v| (*v).to_owned()).collect(), ..crd };
    let old = with_crd(stored(crd(&["v1"], "v1"), &["v1beta1", "v1"]));
    assert_eq!((one(&old).code, one(&old).severity), ("stored-versions", Severity::Attention));
    assert_eq!(steps(&old).len(), 1);
    // keyferry's own CRD lists that version; it lacks the one before.
    assert!(one(&old).consequence.starts_with("a CRD without v1beta1"));

    let older = with_crd(stored(crd(&["v1"], "v1"), &["v1alpha1", "v1"]));
    assert!(one(&older).consequence.starts_with("keyferry's CRD has no v1alpha1"));
    assert_eq!(steps(&older), [] as [&str; 0], "read as v1 it would have lost fields already");

    let converts = Crd { conversion: Some(Backend::Ready("service a/b".to_owned())), ..older.crds[0].clone() };
    let cluster = with_crd(converts);
    assert_eq!(steps(&cluster).len(), 1, "the webhook still converts: it stays until all is stored anew");
    assert!(steps(&cluster)[0].starts_with("store anew"));
    let dead = Crd { conversion: Some(Backend::Dead("service a/b".to_owned(), "x")), ..older.crds[0].clone() };
    assert_eq!(steps(&with_crd(dead)), [] as [&str; 0]);

    let mut hidden = stored(crd(&["v1beta1", "v1"], "v1"), &["v1beta1", "v1"]);
    hidden.versions[1].served = false;
    assert_eq!(steps(&with_crd(hidden)), [] as [&str; 0], "what is not served can't be read in that version");

    let served = with_crd(crd(&["v1beta1", "v1"], "v1"));
    assert_eq!((one(&served).code, one(&served).severity), ("version-served", Severity::Attention));
}

#[test]
fn conversions() {
    let by = |backend: Backend, versions: &[&str]| with_crd(Crd { conversion: Some(backend), ..crd(versions, "v1") });
    let dead = || Backend::Dead("service eso/webhook".to_owned(), "it does not exist");
    let ready = || Backend::Ready("service eso/webhook".to_owned());
    let severity = |cluster: &Cluster| {
        let all = found(cluster);
        all.iter().find(|finding| finding.code == "conversion-webhook").map(|finding| finding.severity)
    };
    assert_eq!(severity(&by(dead(), &["v1beta1", "v1"])), Some(Severity::Blocks));
    assert_eq!(severity(&by(dead(), &["v1"])), Some(Severity::Attention), "there is nothing to convert");
    assert_eq!(severity(&by(ready(), &["v1beta1", "v1"])), Some(Severity::Attention));
    assert_eq!(severity(&with_crd(crd(&["v1"], "v1"))), None);
    assert_eq!(steps(&by(ready(), &["v1beta1", "v1"])).len(), 1);
    assert_eq!(steps(&by(ready(), &["v1alpha1", "v1"])), [] as [&str; 0], "v1alpha1 has another form");
}

fn webhooks(name: &str, is_eso: bool, hooks: Vec<Webhook>) -> WebhookConfiguration {
    WebhookConfiguration {
        mutating: false,
        name: name.to_owned(),
        uid: "u".to_owned(),
        resource_version: "1".to_owned(),
        is_eso,
        hooks,
    }
}

fn hook(groups: &[&str], fails: bool, backend: Backend) -> Webhook {
    Webhook { groups: groups.iter().map(|group| (*group).to_owned()).collect(), fails, backend }
}

#[test]
fn webhook_configurations() {
    let dead = || Backend::Dead("service eso/webhook".to_owned(), "none of its endpoints is ready");
    let ready = || Backend::Ready("service eso/webhook".to_owned());
    let ours = ["external-secrets.io"];
    let with = |webhooks| Cluster { webhooks: vec![webhooks], ..empty() };
    for (is_eso, fails, backend, severity) in [
        (true, true, dead(), Severity::Blocks),
        (true, false, dead(), Severity::Attention),
        (true, true, ready(), Severity::Attention),
        (true, true, Backend::Unknown("a URL".to_owned()), Severity::Attention),
        (false, true, dead(), Severity::Blocks),
        (false, true, ready(), Severity::Note),
    ] {
        let cluster = with(webhooks("it", is_eso, vec![hook(&ours, fails, backend.clone())]));
        assert_eq!(one(&cluster).severity, severity, "{is_eso} {fails} {backend:?}");
        assert_eq!(steps(&cluster).len(), usize::from(is_eso));
    }
    // One rule for somebody else and it stays, whoever's it is.
    for groups in [&["external-secrets.io", "apps"][..], &["*"], &[]] {
        let both = vec![hook(&ours, true, ready()), hook(groups, true, ready())];
        let cluster = with(webhooks("it", true, both));
        assert_eq!(steps(&cluster), [] as [&str; 0], "{groups:?}");
    }
    let generators = ["external-secrets.io", "generators.external-secrets.io"];
    assert_eq!(
        steps(&with(webhooks("it", true, vec![hook(&generators, true, dead())]))),
        ["delete validatingwebhookconfiguration/it"]
    );
}

#[test]
fn groups() {
    for group in ["external-secrets.io", "generators.external-secrets.io"] {
        assert!(is_ours(group), "{group}");
    }
    for group in ["", "*", "io", "not-external-secrets.io", "external-secrets.io.example.com"] {
        assert!(!is_ours(group), "{group}");
    }
}

pub(super) fn controller() -> Operator {
    Operator {
        role: Role::Controller,
        namespace: "eso".to_owned(),
        name: "external-secrets".to_owned(),
        class: "default".to_owned(),
        running: true,
        account: "external-secrets".to_owned(),
        identity: Default::default(),
    }
}

#[test]
fn operators() {
    let with = |operator| Cluster { operators: vec![operator], ..empty() };
    let finding = one(&with(controller()));
    assert_eq!((finding.code, finding.severity), ("eso-runs", Severity::Blocks));
    assert_eq!(finding.commands, ["kubectl scale deployment external-secrets --namespace eso --replicas 0"]);
    assert!(plan::refusal(&with(controller()), &settings()).is_some());
    nothing(&with(Operator { running: false, ..controller() }));
    for other in [
        Operator { class: "blue".to_owned(), ..controller() },
        Operator { role: Role::Webhook, ..controller() },
        Operator { role: Role::CertController, ..controller() },
        Operator { role: Role::Keyferry, ..controller() },
    ] {
        assert_eq!(one(&with(other.clone())).severity, Severity::Note, "{other:?}");
        assert_eq!(plan::refusal(&with(other), &settings()), None);
    }
    let blue = Settings { class: "blue".to_owned(), ..settings() };
    assert_eq!(judge(&with(controller()), &blue)[0].severity, Severity::Note);
    assert_eq!(plan::refusal(&with(controller()), &blue), None);
}

pub(super) fn store(namespace: Option<&str>, provider: &str, identity: Identity) -> Store {
    Store {
        name: StoreName { namespace: namespace.map(str::to_owned), name: "it".to_owned() },
        class: String::new(),
        providers: vec![provider.to_owned()],
        identity,
        held: false,
        deleting: false,
        prefixed: false,
        local: Default::default(),
    }
}

#[test]
fn stores() {
    let with = |store: Store| Cluster { stores: vec![store], ..empty() };
    nothing(&with(store(Some("a"), "vault", Identity::Own)));
    let mut cluster = with(store(Some("a"), "gcpsm", Identity::Own));
    cluster.external_secrets.by_store.insert(cluster.stores[0].name.clone(), 3);
    let finding = one(&cluster);
    assert_eq!(
        (finding.code, finding.objects),
        ("provider-not-served", vec!["SecretStore a/it (3 ExternalSecrets)".to_owned()])
    );
    assert!(finding.consequence.contains("(3 ExternalSecrets)"));
    cluster.stores[0].class = "blue".to_owned();
    nothing(&cluster);

    assert_eq!(one(&with(store(Some("a"), "aws", Identity::Own))).code, "aws-batches");

    let code = |namespace, identity| one(&with(store(namespace, "vault", identity))).code;
    assert_eq!(code(Some("a"), Identity::ControllerToken), "controller-token");
    assert_eq!(code(None, Identity::ControllerToken), "controller-token");
    assert_eq!(code(Some("a"), Identity::Missing), "no-credentials");
    assert_eq!(code(None, Identity::Ambient), "ambient-identity");
    assert_eq!(code(None, Identity::AmbientElsewhere), "ambient-identity");
    assert_eq!(code(Some("a"), Identity::AmbientElsewhere), "ambient-identity-elsewhere");
    let said = |namespace| one(&with(store(namespace, "vault", Identity::ControllerToken))).consequence;
    assert!(said(Some("a")).contains("never sends its own token"));
    assert!(said(None).contains("--controller-token=never"));
}

#[test]
fn identities_of_clouds() {
    let annotation = ("eks.amazonaws.com/role-arn".to_owned(), "arn:aws:iam::1:role/a,b".to_owned());
    let mut cluster = empty();
    cluster.operators.push(Operator { running: false, identity: [annotation].into(), ..controller() });
    let finding = one(&cluster);
    assert_eq!(finding.code, "ambient-identity");
    assert!(finding.next.contains("eks.amazonaws.com/role-arn=arn:aws:iam::1:role/a,b"), "{}", finding.next);
    assert!(finding.commands.is_empty());
    // The command that installs keyferry gives it the same.
    cluster.operators[0].identity.insert("iam.gke.io/gcp-service-account".to_owned(), "eso@p".to_owned());
    let all = found(&cluster);
    let command = &all.iter().find(|finding| finding.code == "switch").unwrap().commands[0];
    let flag = r" --set-string 'serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn:aws:iam::1:role/a\,b'";
    assert!(command.contains(flag) && command.contains(r"iam\.gke\.io/gcp-service-account=eso@p"), "{command}");
}

pub(super) fn sample(names: &[&str]) -> Sample {
    let mut sample = Sample::default();
    names.iter().for_each(|name| sample.add(|| (*name).to_owned()));
    sample
}

#[test]
fn who_leads_to_the_operators_own_machine() {
    let with = |namespace: Option<&str>, hosts: &[&str]| {
        let local = hosts.iter().map(|host| (*host).to_owned()).collect();
        Cluster { stores: vec![Store { local, ..store(namespace, "vault", Identity::Own) }], ..empty() }
    };
    nothing(&with(Some("a"), &[]));
    nothing(&with(None, &["localhost"]));
    let finding = one(&with(Some("a"), &["localhost", "127.0.0.1", "169.254.169.254"]));
    assert_eq!((finding.code, finding.objects), ("local-address", vec!["SecretStore a/it".to_owned()]));
    assert!(finding.next.contains("--allow-store-addresses=127.0.0.1,169.254.169.254,"), "{}", finding.next);
    let blue = Settings { class: "blue".to_owned(), ..settings() };
    let mut others = with(Some("a"), &["localhost"]);
    others.stores[0].class = "green".to_owned();
    assert!(judge(&others, &blue).iter().all(|finding| finding.code != "local-address"));
}

#[test]
fn which_generators_will_not_do_what_they_did() {
    let made = |identity| Generator {
        name: "ClusterGenerator it".to_owned(),
        class: String::new(),
        identity,
        local: Default::default(),
        refused: Vec::new(),
    };
    let with = |generator: Generator| Cluster { generators: vec![generator], ..empty() };
    nothing(&with(made(Identity::Own)));
    for (identity, code) in [
        (Identity::ControllerToken, "controller-token"),
        (Identity::AmbientElsewhere, "ambient-identity-elsewhere"),
        (Identity::Ambient, "ambient-identity"),
    ] {
        let finding = one(&with(made(identity)));
        assert_eq!((finding.code, finding.objects), (code, vec!["ClusterGenerator it".to_owned()]));
    }
    let mut both = with(made(Identity::Ambient));
    both.stores.push(store(None, "aws", Identity::Ambient));
    let found = judge(&both, &settings());
    let finding = found.iter().find(|finding| finding.code == "ambient-identity").unwrap();
    assert!(finding.summary.starts_with("1 store and 1 generator use "), "{}", finding.summary);
    let local = ["localhost".to_owned(), "127.0.0.1".to_owned()].into();
    let finding = one(&with(Generator { local, ..made(Identity::Own) }));
    assert!(finding.code == "local-address" && finding.next.ends_with("--allow-store-addresses=127.0.0.1"));
    let finding = one(&with(Generator { refused: vec!["a code of more than 10 digits"], ..made(Identity::Own) }));
    assert_eq!((finding.code, finding.severity), ("generator-refused", Severity::Attention));
    assert_eq!(finding.summary, "1 generator with what keyferry refuses: a code of more than 10 digits");
    // It is of another controller.
    nothing(&with(Generator { class: "green".to_owned(), ..made(Identity::AmbientElsewhere) }));
}

#[test]
fn what_is_not_built() {
    let unserved = |names: &[&str]| {
        let kind = Unserved { kind: "PushSecret".to_owned(), crd: "x".to_owned(), objects: sample(names) };
        Cluster { unserved: vec![kind], ..empty() }
    };
    nothing(&unserved(&[]));
    let finding = one(&unserved(&["a", "b", "c", "d", "e", "f"]));
    assert_eq!((finding.code, finding.severity), ("kind-not-served", Severity::Attention));
    assert_eq!((finding.count, finding.objects.len()), (6, 5));

    let generator = |kind: &str| {
        let mut cluster = empty();
        cluster.external_secrets.by_generator.insert(kind.to_owned(), sample(&["a/b"]));
        cluster
    };
    nothing(&generator("Password"));
    assert_eq!(one(&generator("BeyondtrustWorkloadCredentialsDynamicSecret")).code, "generator-not-served");
    let cluster = |kind: &str| Cluster { cluster_generators: vec![("it".to_owned(), kind.to_owned())], ..empty() };
    nothing(&cluster("UUID"));
    assert_eq!(one(&cluster("BeyondtrustWorkloadCredentialsDynamicSecret")).code, "generator-not-served");

    let mut manifests = empty();
    manifests.external_secrets.manifests = sample(&["a/b"]);
    assert!(one(&manifests).consequence.contains("--unsafe-allow-generic-targets"));
}

#[test]
fn what_was_not_read_is_never_passed_over() {
    for (area, severity, refuses) in [
        (Area::Helm, Severity::Blocks, true),
        (Area::Crds, Severity::Blocks, true),
        (Area::Deployments, Severity::Blocks, true),
        (Area::Webhooks, Severity::Attention, false),
        (Area::Objects, Severity::Attention, false),
    ] {
        let unread = Unread { area, what: "it".to_owned(), why: "x".to_owned() };
        let cluster = Cluster { unread: vec![unread], ..empty() };
        assert_eq!(one(&cluster).severity, severity, "{area:?}");
        assert_eq!(plan::refusal(&cluster, &settings()).is_some(), refuses, "{area:?}");
    }
}

#[test]
fn what_matters_most_comes_first() {
    let mut cluster = empty();
    cluster.external_secrets.held = 1;
    cluster.operators.push(controller());
    cluster.generator_states = sample(&["a/b"]);
    let severities: Vec<_> = found(&cluster).iter().map(|finding| finding.severity).collect();
    assert!(severities.is_sorted(), "{severities:?}");
    assert!(blocks(&found(&cluster)));
    assert!(!blocks(&found(&empty())));
}

#[test]
fn the_page_about_it_tells_of_every_code() {
    let page = include_str!("../../../docs/migration.md");
    let part = page.split("\n## ").find(|part| part.contains(CODES[0])).expect("a part about codes");
    let told: Vec<&str> = part.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(told, CODES);
}
