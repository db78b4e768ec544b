//! Which module of a crate names which, as paths in its code tell it; tests apart.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::measure::without_docs_and_tests;
use crate::{read, root};

/// The name of the module that a crate begins with.
pub const ROOT: &str = "lib";

/// By module, the modules that it names. They go by their paths, like `target::writer`; the one that the crate begins with
/// is [`ROOT`].
pub type Modules = BTreeMap<String, BTreeSet<String>>;

/// The modules of the crate in `folder`.
///
/// # Panics
/// Where a file is no Rust, or not there.
pub fn modules(folder: &str) -> Modules {
    let mut codes = BTreeMap::new();
    load(folder, &[], &mut codes);
    let known: BTreeSet<Vec<String>> = codes.keys().cloned().collect();
    let named = |(module, code): (&Vec<String>, &Vec<TokenTree>)| {
        let mut paths = Vec::new();
        paths_in(code, &mut paths);
        let named: BTreeSet<String> = paths
            .iter()
            .filter_map(|path| resolve(path, module, &known))
            .filter(|to| to != module)
            .map(|to| name(&to))
            .collect();
        (name(module), named)
    };
    codes.iter().map(named).collect()
}

/// The shortest way from a module back to itself, if there is one.
pub fn circle(modules: &Modules) -> Option<Vec<String>> {
    modules.keys().filter_map(|module| way_back(modules, module)).min_by_key(Vec::len)
}

/// Modules of one folder taken together: what stands in front of the first `::`.
pub fn by_folder(modules: &Modules) -> Modules {
    let folder = |module: &String| module.split("::").next().unwrap_or_default().to_owned();
    let mut folders = Modules::new();
    for (module, named) in modules {
        let from = folder(module);
        let others = named.iter().map(folder).filter(|to| *to != from);
        folders.entry(from.clone()).or_default().extend(others);
    }
    folders
}

fn way_back(modules: &Modules, from: &String) -> Option<Vec<String>> {
    let mut ways: Vec<Vec<String>> = vec![vec![from.clone()]];
    let mut seen = BTreeSet::new();
    // By length: a way is followed only after all that are shorter.
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| modules.get(last)).into_iter().flatten() {
                let way: Vec<String> = way.iter().chain([next]).cloned().collect();
                if next == from {
                    return Some(way);
                }
                if seen.insert(next) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

fn name(module: &[String]) -> String {
    if module.is_empty() { ROOT.to_owned() } else { module.join("::") }
}

/// Reads a module and those that it declares.
fn load(folder: &str, module: &[String], codes: &mut BTreeMap<Vec<String>, Vec<TokenTree>>) {
    let at = format!("{folder}/src/{}", module.join("/"));
    let files = if module.is_empty() {
        [format!("{at}lib.rs"), format!("{at}main.rs")]
    } else {
        [format!("{at}.rs"), format!("{at}/mod.rs")]
    };
    let file = files.iter().find(|file| root().join(file).is_file());
    let file = file.unwrap_or_else(|| panic!("{folder} has no module {}", name(module)));
    let code: TokenStream = read(file).parse().unwrap_or_else(|error| panic!("{file} is no Rust: {error}"));
    let code = without_docs_and_tests(code.into_iter().collect());
    for declared in declared(&code) {
        load(folder, &[module, &[declared]].concat(), codes);
    }
    codes.insert(module.to_vec(), code);
}

/// The names in `mod name;`.
fn declared(code: &[TokenTree]) -> Vec<String> {
    let words = code.windows(3).filter_map(|tokens| match tokens {
        [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Punct(end)]
            if *word == "mod" && end.as_char() == ';' =>
        {
            Some(name.to_string())
        }
        _ => None,
    });
    words.collect()
}

/// All paths of more than one word, `use` trees taken apart.
fn paths_in(code: &[TokenTree], paths: &mut Vec<Vec<String>>) {
    let mut n = 0;
    while n < code.len() {
        match &code[n] {
            TokenTree::Ident(_) => n += path_at(&code[n..], &[], paths),
            TokenTree::Group(group) => {
                paths_in(&without_docs_and_tests(group.stream().into_iter().collect()), paths);
                n += 1;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => n += 1,
        }
    }
}

/// The path that begins here, below `before`; answers how many tokens it has.
fn path_at(code: &[TokenTree], before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    let mut n = 0;
    while let Some(TokenTree::Ident(word)) = code.get(n) {
        path.push(word.to_string());
        n += 1;
        let is_colon = |at: usize| matches!(code.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
        if !(is_colon(n) && is_colon(n + 1)) {
            break;
        }
        n += 2;
        if let Some(TokenTree::Group(group)) = code.get(n).filter(|next| is_braces(next)) {
            let branches: Vec<TokenTree> = group.stream().into_iter().collect();
            for branch in branches.split(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',')) {
                path_at(branch, &path, paths);
            }
            return n + 1;
        }
    }
    if path.len() > 1 {
        paths.push(path);
    }
    n.max(1)
}

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// The module that a path leads to from `module`, where it is one of the crate.
fn resolve(path: &[String], module: &[String], known: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let mut at = module.to_vec();
    let mut rest = path;
    match path[0].as_str() {
        "crate" => {
            at.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {}
        // A child by its bare name; anything else is of another crate, or was brought in by a `use`.
        child if known.contains(&[module, &[child.to_owned()]].concat()) => {}
        _ => return None,
    }
    while rest.first().is_some_and(|word| word == "super") {
        at.pop();
        rest = &rest[1..];
    }
    for word in rest {
        at.push(word.clone());
        if !known.contains(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(names: &[&str]) -> BTreeSet<Vec<String>> {
        let path = |name: &&str| name.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect();
        names.iter().map(path).collect()
    }

    #[test]
    fn paths_lead_to_modules() {
        let code = "
            use crate::{a::Thing, c};
            use super::d::{self, Other};
            mod e;
            fn f() -> std::io::Result<crate::g::H> { e::i(); serde_json::j(); super::K::new() }
        ";
        let code: TokenStream = code.parse().unwrap();
        let mut paths = Vec::new();
        paths_in(&code.into_iter().collect::<Vec<_>>(), &mut paths);
        let known = known(&["", "a", "b", "b::d", "b::here", "b::here::e", "c", "g"]);
        let here = ["b".to_owned(), "here".to_owned()];
        let named: BTreeSet<String> =
            paths.iter().filter_map(|path| resolve(path, &here, &known)).map(|module| name(&module)).collect();
        assert_eq!(named.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "b::d", "b::here::e", "c", "g"]);
    }

    #[test]
    fn the_shortest_circle_is_found() {
        let modules = |edges: &[(&str, &str)]| {
            let mut modules = Modules::new();
            for (from, to) in edges {
                modules.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            }
            modules
        };
        let straight = [("a", "b"), ("b", "c"), ("a", "c")];
        assert_eq!(circle(&modules(&straight)), None);
        let round = modules(&[&straight[..], &[("c", "a"), ("c::x", "b::y"), ("b::z", "c::x")]].concat());
        assert_eq!(circle(&round).map(|way| way.join(" ")).as_deref(), Some("a c a"));
        assert_eq!(circle(&by_folder(&round)).map(|way| way.len()), Some(3));
    }
}
