//! Who may know whom. README's map says why.

use keyferry_tidy::{Graph, files, read};

const KUBERNETES: [&str; 6] = ["kube", "kube-client", "kube-core", "kube-runtime", "kube-derive", "k8s-openapi"];

/// Crates that are a client of one store or of HTTP.
fn is_sdk(name: &str) -> bool {
    let prefixes = ["aws-", "azure_", "google-cloud-", "vaultrs", "reqwest", "hyper", "tonic"];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) && !name.starts_with("aws-lc") // that is the TLS library
}

#[test]
fn providers_never_see_kubernetes() {
    let graph = Graph::load();
    let providers: Vec<_> =
        graph.members().into_iter().filter(|(_, folder)| folder.starts_with("providers/")).collect();
    assert!(providers.len() >= 5, "the check found its subjects: {providers:?}");
    for (name, folder) in providers {
        let closure = graph.closure(&name);
        let known: Vec<_> = KUBERNETES.iter().filter(|kubernetes| closure.contains(**kubernetes)).collect();
        assert!(
            known.is_empty(),
            "{folder} depends on {known:?}: what it needs of Kubernetes goes through the port Credentials"
        );
    }
}

#[test]
fn providers_do_not_know_each_other_nor_their_layers() {
    let graph = Graph::load();
    // One provider, in three crates: the SDK of Parameter Store takes longer to build than all the rest of AWS.
    let aws = ["keyferry-provider-aws", "keyferry-provider-aws-common", "keyferry-provider-aws-ssm"];
    let base = ["keyferry-provider-core", "keyferry-provider-layers", "keyferry-provider-testkit"];
    // What is the same for all that speak HTTP without an SDK; it knows none of them.
    let shared = "keyferry-provider-http";
    for (name, folder) in graph.members().into_iter().filter(|(_, folder)| folder.starts_with("providers/")) {
        let ours: Vec<_> = graph.direct(&name).into_iter().filter(|dep| dep.starts_with("keyferry")).collect();
        for dep in ours {
            let fine = dep == "keyferry-provider-core"
                || dep == "keyferry-provider-testkit"
                || (dep == shared && !base.contains(&name.as_str()))
                || (base.contains(&name.as_str()) && base.contains(&dep.as_str()))
                || (aws.contains(&name.as_str()) && aws.contains(&dep.as_str()));
            assert!(fine, "{folder} depends on {dep}: a provider knows the contract, and HTTP where that is its way");
        }
    }
}

#[test]
fn the_contract_is_free_of_sdks_and_runtimes() {
    let closure = Graph::load().closure("keyferry-provider-core");
    let found: Vec<_> = closure.iter().filter(|name| is_sdk(name) || *name == "tokio").collect();
    assert!(found.is_empty(), "providers/core depends on {found:?}");
}

#[test]
fn the_languages_know_go_and_nothing_else_of_ours() {
    let graph = Graph::load();
    for (name, allowed) in [
        ("keyferry-go", &[][..]),
        // Its tests draw.
        ("keyferry-gjson", &["keyferry-go", "keyferry-seed"][..]),
        ("keyferry-template", &["keyferry-go"][..]),
    ] {
        assert!(graph.members().iter().any(|(member, _)| member == name), "the check found its subject");
        let closure = graph.closure(name);
        let found: Vec<_> = closure
            .iter()
            .filter(|dep| dep.starts_with("keyferry") || is_sdk(dep) || KUBERNETES.contains(&dep.as_str()))
            .filter(|dep| !allowed.contains(&dep.as_str()))
            .collect();
        assert!(found.is_empty(), "{name} depends on {found:?}");
    }
}

#[test]
fn the_api_knows_go_and_nothing_else_of_ours() {
    let closure = Graph::load().closure("keyferry-crds");
    let found: Vec<_> = closure.iter().filter(|name| name.starts_with("keyferry")).collect();
    assert_eq!(found, ["keyferry-go"], "crds depends on more than Go's words");
}

#[test]
fn the_migration_knows_the_api_and_nothing_of_the_operator() {
    let graph = Graph::load();
    assert!(graph.members().iter().any(|(name, _)| name == "keyferry-migrate"), "the check found its subject");
    let closure = graph.closure("keyferry-migrate");
    let found: Vec<_> =
        closure.iter().filter(|name| name.starts_with("keyferry") && *name != "keyferry-migrate").collect();
    assert_eq!(found, ["keyferry-crds", "keyferry-go"], "migrate depends on more of ours than the API");
    let sdks: Vec<_> = graph.direct("keyferry-migrate").into_iter().filter(|name| is_sdk(name)).collect();
    assert!(sdks.is_empty(), "migrate depends on {sdks:?}");
}

#[test]
fn the_operator_knows_no_store_but_in_the_registry() {
    let graph = Graph::load();
    let sdks: Vec<_> = graph.direct("keyferry").into_iter().filter(|name| is_sdk(name)).collect();
    assert!(sdks.is_empty(), "the operator depends on {sdks:?}: that belongs into a provider");
    for file in files("src") {
        for (n, line) in read(&file).lines().enumerate() {
            let named = line.match_indices("keyferry_provider_").map(|(at, word)| &line[at + word.len()..]);
            let crates = named.filter_map(|rest| rest.split_once("::")).map(|(name, _)| name);
            let other = crates.filter(|name| !name.contains(' ') && !["core", "layers"].contains(name)).count();
            assert!(
                other == 0 || file == "src/store/registry.rs",
                "{file}:{}: only src/store/registry.rs names a provider",
                n + 1
            );
        }
    }
}

#[test]
fn pure_stages_stay_pure() {
    let pure = [
        "migrate/src/facts.rs",
        "migrate/src/helm.rs",
        "migrate/src/judge/crds.rs",
        "migrate/src/judge/finalizers.rs",
        "migrate/src/judge/mod.rs",
        "migrate/src/judge/objects.rs",
        "migrate/src/judge/operators.rs",
        "migrate/src/judge/webhooks.rs",
        "migrate/src/kinds.rs",
        "migrate/src/plan.rs",
        "migrate/src/print.rs",
        "src/hash.rs",
        "src/controller/queue.rs",
        "src/controller/world.rs",
        "src/sync/content.rs",
        "src/sync/decode.rs",
        "src/sync/desired.rs",
        "src/sync/fields.rs",
        "src/sync/manifest.rs",
        "src/sync/outcome.rs",
        "src/sync/ownership.rs",
        "src/sync/path.rs",
        "src/sync/plan.rs",
        "src/sync/property.rs",
        "src/sync/record.rs",
        "src/sync/render.rs",
        "src/sync/rewrite.rs",
        "src/sync/schedule.rs",
        "src/sync/spec.rs",
        "src/sync/windows.rs",
    ];
    let impure =
        ["async ", ".await", "clock::", "kube::Client", "std::env", "tokio", "Instant::now", "std::fs", "rand::"];
    for file in pure {
        for (n, line) in read(file).lines().enumerate() {
            let found = impure.iter().find(|word| line.contains(**word));
            assert!(found.is_none(), "{file}:{}: {found:?} in a pure stage: IO belongs to the edge", n + 1);
        }
    }
}
