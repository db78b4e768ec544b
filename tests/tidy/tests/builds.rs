//! What a build with one store compiles: that store, and nothing of another.

use std::collections::BTreeSet;
use std::process::Command;

use keyferry_tidy::{read, root};

/// The features of `stores`, each the crate of a store.
fn features() -> BTreeSet<String> {
    let manifest = read("stores/Cargo.toml");
    let named = manifest.lines().filter_map(|line| line.split_once(" = [\"dep:keyferry-provider-"));
    named.map(|(name, _)| name.to_owned()).collect()
}

/// The crates of `cargo build -p keyferry` with these flags.
fn built(flags: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package=keyferry", "--edges=normal,build", "--prefix=none"])
        .arg("--format={lib}")
        .args(flags)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8_lossy(&tree.stdout).lines().map(|line| line.replace('_', "-")).collect()
}

/// Those with one store.
fn built_with(feature: &str) -> BTreeSet<String> {
    built(&["--no-default-features", &format!("--features=keyferry-stores/{feature}")])
}

/// Whether it is a vendor's library. That of TLS bears AWS's name, too.
fn is_sdk(name: &str) -> bool {
    let vendors = ["aws-", "azure-", "google-cloud-"];
    vendors.iter().any(|vendor| name.starts_with(vendor)) && !name.starts_with("aws-lc-")
}

#[test]
fn a_build_with_one_store_compiles_no_other_and_no_vendors_library_but_its_own() {
    let features = features();
    assert!(features.len() >= 14 && features.contains("vault"), "the check found its subjects: {features:?}");
    for feature in &features {
        let built = built_with(feature);
        assert!(built.contains(&format!("keyferry-provider-{feature}")), "{feature}: {built:?}");
        let others: Vec<_> = features
            .iter()
            .filter(|other| *other != feature && built.contains(&format!("keyferry-provider-{other}")))
            .collect();
        assert!(others.is_empty(), "a build with {feature} compiles {others:?}");
        let sdks: Vec<_> = built.iter().filter(|name| is_sdk(name)).collect();
        assert!(feature == "aws" || sdks.is_empty(), "a build with {feature} compiles {sdks:?}");
        assert!(feature != "aws" || !sdks.is_empty(), "the check knows a vendor's library: {built:?}");
    }
}

/// The workspace has them always, to build and test them once; a program has what its own features say.
#[test]
fn a_build_reads_keys_of_pgp_where_it_is_asked_to_and_nowhere_else() {
    for (flags, has) in [(&[][..], false), (&["--features=keyferry-stores/pgp"][..], true)] {
        let built = built(flags);
        assert!(built.contains("keyferry-documents"), "the check found its subject: {built:?}");
        for name in ["keyferry-documents-pgp", "pgp", "rsa"] {
            assert_eq!(built.contains(name), has, "{name} with {flags:?}");
        }
    }
}
