//! The tree: nothing left over, a map that is true.

use keyferry_tidy::{files, read};

#[test]
fn every_module_is_part_of_its_crate() {
    for file in files(".").iter().filter(|file| file.ends_with(".rs")) {
        let Some((folder, name)) = file.rsplit_once('/') else { continue };
        let is_root = matches!(name, "main.rs" | "lib.rs" | "build.rs")
            || folder == "tests"
            || folder.ends_with("/tests")
            || folder.ends_with("/benches")
            || folder.ends_with("/bin")
            || folder.ends_with("/examples");
        if is_root || name == "mod.rs" {
            continue;
        }
        let module = name.trim_end_matches(".rs");
        let (parent_folder, parent_name) = folder.rsplit_once('/').unwrap_or(("", folder));
        let parents = [
            format!("{folder}/mod.rs"),
            format!("{folder}/lib.rs"),
            format!("{folder}/main.rs"),
            format!("{parent_folder}/{parent_name}.rs"),
        ];
        // Tests that are too long for their module's file stand beside it, and are named by path.
        let beside = name.strip_suffix("_tests.rs").map(|tested| format!("{folder}/{tested}.rs"));
        if beside.is_some_and(|tested| {
            files(".").contains(&tested) && read(&tested).contains(&format!("#[path = \"{name}\"]"))
        }) {
            continue;
        }
        let declared = files(".").iter().filter(|parent| parents.contains(parent)).any(|parent| {
            read(parent).lines().any(|line| {
                let line = line.trim();
                let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
                line == format!("mod {module};") || line == format!("mod {module} {{")
            })
        });
        assert!(declared, "{file} is no module of its crate: nothing compiles it");
    }
}

/// Names between backquotes, without what only links need.
fn quoted(text: &str) -> Vec<&str> {
    let words = text.split('`').skip(1).step_by(2);
    words.map(|word| word.trim_start_matches("mod@").trim_end_matches("()")).collect()
}

#[test]
fn modules_stand_in_the_order_that_is_promised() {
    let mut seen = 0;
    for file in files(".").iter().filter(|file| file.ends_with(".rs")) {
        let text = read(file);
        let docs: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim).collect();
        let docs = docs.join("\n");
        let Some((_, promise)) = docs.split_once("in reading order") else { continue };
        seen += 1;
        let promise = promise.split("\n\n").next().unwrap_or(promise);
        let declared: Vec<&str> = text
            .lines()
            .map(|line| line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line))
            .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
            .collect();
        let named: Vec<&str> = quoted(promise).into_iter().filter(|name| declared.contains(name)).collect();
        assert!(named.len() > 1, "{file} promises an order and names no modules");
        assert_eq!(declared[..named.len()], named, "{file}: its text and its modules have different orders");
    }
    assert!(seen > 20, "the check found its subjects: {seen}");
}

#[test]
fn no_paths_of_one_machine() {
    let root = keyferry_tidy::root();
    // Where people's files are, and where this checkout is, unless that is the root of all.
    let around = root.parent().and_then(|around| around.to_str()).filter(|around| *around != "/");
    let folders: Vec<String> =
        ["/root", "/home"].into_iter().chain(around).map(|folder| format!("{folder}/")).collect();
    for file in files(".").iter().filter(|file| !file.starts_with("tests/tidy/")) {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        for folder in &folders {
            // What stands behind another name is a folder of that.
            let begins = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c));
            assert!(!text.match_indices(folder).any(|(at, _)| begins(at)), "{file} names {folder}");
        }
    }
}

#[test]
fn the_map_names_every_folder_and_only_those() {
    let readme = read("README.md");
    let map = readme.split("## Map of the code").nth(1).expect("README.md has a Map of the code");
    let map = map.split("\n## ").next().unwrap_or(map);
    let named: Vec<&str> =
        map.lines().filter_map(|line| line.trim_start().strip_prefix('`')?.split('`').next()).collect();
    for path in &named {
        assert!(keyferry_tidy::root().join(path).exists(), "README's map names {path}, which is not there");
    }
    let all = files(".");
    let folders = all
        .iter()
        .filter_map(|file| file.split_once('/'))
        .map(|(folder, _)| folder)
        .filter(|folder| !folder.starts_with('.'));
    for folder in folders.collect::<std::collections::BTreeSet<_>>() {
        assert!(named.iter().any(|path| path.starts_with(folder)), "README's map does not name {folder}/");
    }
    for file in all.iter().filter(|file| file.starts_with("src/") && file.ends_with(".rs")) {
        let module = file.rsplit_once('/').map(|(folder, _)| folder).filter(|folder| *folder != "src");
        let known = named.contains(&file.as_str())
            || module.is_some_and(|folder| named.contains(&format!("{folder}/").as_str()));
        assert!(known, "README's map names neither {file} nor its folder");
    }
}

#[test]
fn the_compatibility_page_names_tests_that_exist() {
    let tests: String = files(".").iter().filter(|file| file.ends_with(".rs")).map(|file| read(file)).collect();
    let page = read("docs/compatibility.md");
    let (_, behaviour) = page.split_once("## Behaviour").expect("the page has a part about behaviour");
    let rows: Vec<&str> =
        behaviour.lines().filter(|line| line.starts_with("| ") && !line.contains("Held by")).collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, verdict, _, test] = cells[..] else { panic!("not four cells: {row}") };
        assert!(["same", "better", "not yet"].contains(&verdict), "{row}");
        assert!(tests.contains(&format!("fn {}(", test.trim_matches('`'))), "there is no test {test}");
    }
}
