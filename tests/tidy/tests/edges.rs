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
    // One provider, in four crates: the SDK of Parameter Store takes longer to build than all the rest of AWS.
    let aws = ["", "-acm", "-common", "-ssm"].map(|part| format!("keyferry-provider-aws{part}"));
    // Logins of Google, for its stores and generators.
    let gcp = ["keyferry-provider-gcpsm", "keyferry-provider-gcp-common"];
    // Logins of Microsoft's clouds, which a generator needs too.
    let azure = ["keyferry-provider-azurekv", "keyferry-provider-azure-common"];
    let base = ["keyferry-provider-core", "keyferry-provider-guard", "keyferry-provider-testkit"];
    // What several stores need: HTTP without an SDK, and logins that last a while. It knows no store, nor each other.
    let shared = ["keyferry-provider-http", "keyferry-provider-session"];
    // Who clouds say that we are, to servers that are none of theirs: it asks clouds over HTTP.
    let identity = "keyferry-provider-identity";
    for (name, folder) in graph.members().into_iter().filter(|(_, folder)| folder.starts_with("providers/")) {
        let ours: Vec<_> = graph.direct(&name).into_iter().filter(|dep| dep.starts_with("keyferry")).collect();
        for dep in ours {
            let fine = dep == "keyferry-provider-core"
                || dep == "keyferry-limits"
                || dep == "keyferry-go"
                || dep == "keyferry-keys"
                || dep == "keyferry-way"
                || dep == "keyferry-doubles"
                || dep == "keyferry-provider-testkit"
                // Its users write templates into the store: a language, as Go's words are, and no layer.
                || (dep == "keyferry-documents" && ["keyferry-provider-age", "keyferry-provider-sealed"].contains(&name.as_str()))
                || (dep == "keyferry-sealing" && name == "keyferry-provider-sealed")
                || (dep == "keyferry-template" && name == "keyferry-provider-webhook")
                || (shared.contains(&dep.as_str()) && ![&base[..], &shared].concat().contains(&name.as_str()))
                || (dep == identity && ![&base[..], &shared].concat().contains(&name.as_str()))
                || (base.contains(&name.as_str()) && base.contains(&dep.as_str()))
                || (aws.contains(&name) && aws.contains(&dep))
                || (gcp.contains(&name.as_str()) && gcp.contains(&dep.as_str()))
                || (azure.contains(&name.as_str()) && azure.contains(&dep.as_str()));
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
fn the_languages_know_go_and_nothing_else_of_ours() {
    let graph = Graph::load();
    for (name, allowed) in [
        ("keyferry-limits", &[][..]),
        ("keyferry-way", &[][..]),
        ("keyferry-go", &["keyferry-limits"][..]),
        ("keyferry-gjson", &["keyferry-go", "keyferry-limits"][..]),
        ("keyferry-keys", &["keyferry-go", "keyferry-limits"][..]),
        ("keyferry-template", &["keyferry-go", "keyferry-keys", "keyferry-limits"][..]),
    ] {
        assert!(graph.members().iter().any(|(member, _)| member == name), "the check found its subject");
        let closure = graph.closure_without_tests(name);
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
    let fine = ["keyferry-go", "keyferry-limits"];
    assert!(found.iter().all(|name| fine.contains(&name.as_str())), "crds depends on more than Go's words: {found:?}");
}

#[test]
fn the_migration_knows_the_api_and_a_cluster_and_nothing_of_the_operator() {
    let graph = Graph::load();
    assert!(graph.members().iter().any(|(name, _)| name == "keyferry-migrate"), "the check found its subject");
    let direct = graph.direct("keyferry-migrate");
    let found: Vec<_> = direct.iter().filter(|name| name.starts_with("keyferry")).collect();
    assert_eq!(
        found,
        ["keyferry-cluster", "keyferry-crds"],
        "migrate depends on more of ours than the API and a cluster"
    );
    let sdks: Vec<_> = graph.direct("keyferry-migrate").into_iter().filter(|name| is_sdk(name)).collect();
    assert!(sdks.is_empty(), "migrate depends on {sdks:?}");
}

/// What a pipeline that runs anywhere must not be able to reach.
fn is_edge(name: &str) -> bool {
    is_sdk(name) || ["tokio", "mio", "socket2", "kube-client", "kube-runtime", "kube", "rustls"].contains(&name)
}

#[test]
fn the_life_of_a_secret_has_no_client_and_no_runtime() {
    let graph = Graph::load();
    let closure = graph.closure_without_tests("keyferry-sync");
    assert!(closure.contains("keyferry-provider-core"), "the check found its subject");
    let found: Vec<_> = closure.iter().filter(|name| is_edge(name)).collect();
    assert!(found.is_empty(), "sync depends on {found:?}: what it needs of the world are its ports");
    let ours: Vec<_> = closure.iter().filter(|name| name.starts_with("keyferry")).collect();
    let fine = [
        "keyferry-crds",
        "keyferry-gjson",
        "keyferry-go",
        "keyferry-keys",
        "keyferry-limits",
        "keyferry-provider-core",
        "keyferry-template",
    ];
    assert!(ours.iter().all(|name| fine.contains(&name.as_str())), "sync depends on {ours:?}");
}

#[test]
fn the_other_direction_stands_on_the_same_ports() {
    let graph = Graph::load();
    let closure = graph.closure_without_tests("keyferry-push");
    assert!(closure.contains("keyferry-sync"), "the check found its subject");
    let found: Vec<_> = closure.iter().filter(|name| is_edge(name)).collect();
    assert!(found.is_empty(), "push depends on {found:?}: what it needs of the world are its ports");
    assert!(!graph.closure_without_tests("keyferry-sync").contains("keyferry-push"), "sync depends on push");
}

#[test]
fn stores_and_cluster_never_know_each_other() {
    let graph = Graph::load();
    let stores = graph.direct("keyferry-stores");
    let kubernetes: Vec<_> = KUBERNETES.iter().filter(|name| stores.contains(**name)).collect();
    assert!(kubernetes.is_empty(), "stores depends on {kubernetes:?}");
    let cluster: Vec<String> = graph.closure("keyferry-cluster").into_iter().collect();
    let ours: Vec<_> = cluster.iter().filter(|name| name.starts_with("keyferry")).collect();
    let fine = [
        "keyferry-builders",
        "keyferry-crds",
        "keyferry-gjson",
        "keyferry-go",
        "keyferry-keys",
        "keyferry-limits",
        "keyferry-provider-core",
        "keyferry-push",
        "keyferry-seed",
        "keyferry-sync",
        "keyferry-template",
        "keyferry-way",
    ];
    assert!(ours.len() > 2 && ours.iter().all(|name| fine.contains(&name.as_str())), "cluster depends on {ours:?}");
    assert!(!graph.closure("keyferry-stores").contains("keyferry-cluster"), "stores depends on cluster");
}

#[test]
fn the_operator_knows_no_store_but_in_the_registry() {
    let graph = Graph::load();
    // What /metrics is served with is no way to a store.
    let served = ["hyper", "hyper-util"];
    let direct = graph.direct("keyferry").into_iter().filter(|name| !served.contains(&name.as_str()));
    let sdks: Vec<_> = direct.filter(|name| is_sdk(name)).collect();
    assert!(sdks.is_empty(), "the operator depends on {sdks:?}: that belongs into a provider");
    let fine = ["keyferry-provider-core", "keyferry-provider-guard"];
    for (name, folder) in graph.members() {
        let at_home = ["providers/", "tests/"].iter().any(|home| folder.starts_with(home));
        let known = graph.direct(&name);
        let providers = known.iter().filter(|dep| dep.starts_with("keyferry-provider-"));
        let providers: Vec<_> = providers.filter(|dep| !fine.contains(&dep.as_str())).collect();
        assert!(at_home || name == "keyferry-stores" || providers.is_empty(), "{folder} names {providers:?}");
    }
    for file in files("stores/src").into_iter().filter(|file| file != "stores/src/registry.rs") {
        let text = read(&file);
        let named = text.match_indices("keyferry_provider_").map(|(at, word)| &text[at + word.len()..]);
        let other: Vec<_> = named.filter(|rest| !["core", "guard"].iter().any(|f| rest.starts_with(f))).collect();
        assert!(other.is_empty(), "{file}: only stores/src/registry.rs names a provider");
    }
}

#[test]
fn the_driver_knows_no_store() {
    let graph = Graph::load();
    let closure = graph.closure_without_tests("keyferry-node");
    let ours: Vec<_> = graph.direct("keyferry-node").into_iter().filter(|name| name.starts_with("keyferry")).collect();
    assert!(ours.iter().any(|name| name == "keyferry-sync"), "the check found its subject");
    let stores: Vec<_> = closure
        .iter()
        .filter(|name| name.starts_with("keyferry-provider-") && *name != "keyferry-provider-core")
        .chain(closure.get("keyferry-stores"))
        .collect();
    assert!(stores.is_empty(), "node depends on {stores:?}: stores come through the ports");
}
