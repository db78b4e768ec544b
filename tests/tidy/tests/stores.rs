//! What a new store costs the rest of the tree: four lines.

use std::collections::BTreeSet;

use keyferry_tidy::{files, read};

/// Where users read what there is, and where tests ask stores: not what makes a store work.
const APART: [&str; 5] = ["tests/", "docs/", "README.md", "CHANGELOG.md", "Cargo.lock"];

/// The crates that are registered, by what is behind `keyferry-provider-`.
fn registered() -> BTreeSet<String> {
    let registry = read("stores/src/registry.rs");
    let named = registry.match_indices("keyferry_provider_").map(|(at, word)| &registry[at + word.len()..]);
    let crates = named.filter_map(|rest| rest.split_once("::")).map(|(name, _)| name.replace('_', "-"));
    crates.filter(|name| name != "core").collect()
}

/// The lines that name the crate of a store, outside of its folders.
fn places(name: &str) -> Vec<(String, String)> {
    let own = [format!("providers/{name}/"), format!("providers/{name}-")];
    let whole = format!("keyferry-provider-{name}");
    let mut places = Vec::new();
    for file in files(".") {
        if own.iter().any(|own| file.starts_with(own)) || APART.iter().any(|apart| file.starts_with(apart)) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(keyferry_tidy::root().join(&file)) else { continue };
        for line in text.lines() {
            let line = line.replace('_', "-");
            let mut ends = line.match_indices(&whole).map(|(at, word)| at + word.len());
            let ends_there = |end: usize| !line[end..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
            if ends.any(ends_there) {
                places.push((file.clone(), line.trim().to_owned()));
            }
        }
    }
    places
}

#[test]
fn a_store_is_its_folder_and_four_lines() {
    let registered = registered();
    assert!(registered.len() >= 5, "the check found its subjects: {registered:?}");
    for name in registered {
        let mut places = places(&name);
        // A crate of several registrations has a line for each.
        let is_registration = |(file, _): &(String, String)| file == "stores/src/registry.rs";
        assert!(places.iter().any(is_registration), "{name}: {places:?}");
        places.retain(|place| !is_registration(place));
        // What a store leaves out by default is a feature beside its own.
        places.retain(|(_, line)| !line.contains(&format!("keyferry-provider-{name}?/")));
        let lines: Vec<String> = places.into_iter().map(|(file, line)| format!("{file}: {line}")).collect();
        let expected = [
            format!("Cargo.toml: keyferry-provider-{name} = {{ path = \"providers/{name}\", version = \"0.1.0\" }}"),
            format!("stores/Cargo.toml: {name} = [\"dep:keyferry-provider-{name}\"]"),
            format!("stores/Cargo.toml: keyferry-provider-{name} = {{ workspace = true, optional = true }}"),
        ];
        assert_eq!(lines, expected, "what the store {name} needs outside of its folder");
        let default = read("stores/Cargo.toml");
        let default = default.lines().find(|line| line.starts_with("default = ")).unwrap_or_default();
        assert!(default.contains(&format!("\"{name}\"")), "{name} is in no build by default");
    }
}

#[test]
fn every_store_has_the_same_files() {
    for name in registered().into_iter().filter(|name| name != "local") {
        let has = |file: &str| keyferry_tidy::root().join(format!("providers/{name}/src/{file}.rs")).is_file();
        // A provider of several crates keeps what they share apart.
        let config =
            has("config") || keyferry_tidy::root().join(format!("providers/{name}-common/src/config.rs")).is_file();
        assert!(has("lib") && has("store") && config, "providers/{name}: the skeleton says what stands where");
        let lib = read(&format!("providers/{name}/src/lib.rs"));
        // A crate of several stores has a registration in the module of each, by the name that the registry has for it.
        let registers = lib.contains("pub const REGISTRATION: Registration") || lib.contains("::REGISTRATION as ");
        assert!(registers, "providers/{name}/src/lib.rs registers it");
    }
}

#[test]
fn every_page_about_a_store_is_linked_from_the_two_tables() {
    let pages: Vec<String> = files("docs/stores")
        .into_iter()
        .filter_map(|file| Some(file.strip_prefix("docs/stores/")?.strip_suffix(".md")?.to_owned()))
        .filter(|page| page != "README")
        .collect();
    assert!(pages.len() >= 19, "the check found its subjects: {pages:?}");
    let (readme, list) = (read("README.md"), read("docs/stores/README.md"));
    for page in pages {
        let row = format!("| [`{page}`](docs/stores/{page}.md)");
        assert!(readme.contains(&row), "README.md has no row that begins {row}");
        assert!(list.contains(&format!("[{page}]({page}.md)")), "docs/stores/README.md has no link to {page}.md");
    }
}
