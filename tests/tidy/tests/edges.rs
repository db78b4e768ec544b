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
fn providers_do_not_know_each_other_nor_their_guard() {
    let graph = Graph::load();
    // One provider, in three crates: the SDK of Parameter Store takes longer to build than all the rest of AWS.
    let aws = ["keyferry-provider-aws", "keyferry-provider-aws-common", "keyferry-provider-aws-ssm"];
    let base = ["keyferry-provider-core", "keyferry-provider-guard", "keyferry-provider-testkit"];
    // What several stores need: HTTP without an SDK, and logins that last a while. It knows no store, nor each other.
    let shared = ["keyferry-provider-http", "keyferry-provider-session"];
    for (name, folder) in graph.members().into_iter().filter(|(_, folder)| folder.starts_with("providers/")) {
        let ours: Vec<_> = graph.direct(&name).into_iter().filter(|dep| dep.starts_with("keyferry")).collect();
        for dep in ours {
            let fine = dep == "keyferry-provider-core"
                || dep == "keyferry-provider-testkit"
                || (shared.contains(&dep.as_str()) && ![&base[..], &shared].concat().contains(&name.as_str()))
                || (base.contains(&name.as_str()) && base.contains(&dep.as_str()))
                || (aws.contains(&name.as_str()) && aws.contains(&dep.as_str()));
            assert!(fine, "{folder} depends on {dep}: a provider knows the contract, and what several stores need");
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
fn what_is_held_for_a_while_is_free_of_sdks() {
    let closure = Graph::load().closure("keyferry-provider-session");
    assert!(closure.contains("keyferry-provider-core"), "the check found its subject");
    let found: Vec<_> = closure.iter().filter(|name| is_sdk(name)).collect();
    assert!(found.is_empty(), "providers/session depends on {found:?}");
}

#[test]
fn the_template_engine_stands_alone() {
    let graph = Graph::load();
    assert!(graph.members().iter().any(|(name, _)| name == "keyferry-template"), "the check found its subject");
    let closure = graph.closure("keyferry-template");
    let found: Vec<_> = closure
        .iter()
        .filter(|name| name.starts_with("keyferry") || is_sdk(name) || KUBERNETES.contains(&name.as_str()))
        .collect();
    assert!(found.is_empty(), "template depends on {found:?}");
}

#[test]
fn the_migration_knows_the_api_and_nothing_of_the_operator() {
    let graph = Graph::load();
    assert!(graph.members().iter().any(|(name, _)| name == "keyferry-migrate"), "the check found its subject");
    let closure = graph.closure("keyferry-migrate");
    let found: Vec<_> =
        closure.iter().filter(|name| name.starts_with("keyferry") && *name != "keyferry-migrate").collect();
    assert_eq!(found, ["keyferry-crds"], "migrate depends on more of ours than the API");
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
            let other = crates.filter(|name| !name.contains(' ') && !["core", "guard"].contains(name)).count();
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
