//! The documentation: links that lead somewhere, in all that is written in Markdown. `scripts/book` follows those of the site.

use std::collections::BTreeSet;

use keyferry_tidy::{files, read, root};

/// The lines of a page that are no code, with what is code within a line left out.
fn prose(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push(line.split('`').step_by(2).collect::<Vec<_>>().join("`"));
        }
    }
    lines
}

/// Where links of a page lead: what stands between `](` and `)`.
fn links(text: &str) -> Vec<String> {
    let lines = prose(text);
    let after = lines.iter().flat_map(|line| line.split("](").skip(1));
    after.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The names by which links lead to headings, as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut names = BTreeSet::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().to_lowercase().replace(' ', "-");
        names.insert(kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect());
    }
    names
}

/// A path with its `..` taken away.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut walked = 0;
    for file in files(".").iter().filter(|file| file.ends_with(".md")) {
        let text = read(file);
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in links(&text).iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { file.clone() } else { plain(&format!("{folder}/{path}")) };
            if !root().join(&path).exists() {
                wrong.push(format!("{file}: {link}: there is no {path}"));
            } else if !anchor.is_empty() && path.ends_with(".md") && !headings(&read(&path)).contains(anchor) {
                wrong.push(format!("{file}: {link}: there is no such heading"));
            }
            walked += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(walked > 200, "the check found its subjects: {walked}");
}

#[test]
fn headings_are_named_as_links_name_them() {
    let page = "# What `--on-change` does\n```\n# no heading\n```\n## What can't be zeroed\n#no heading either\n";
    assert_eq!(headings(page).into_iter().collect::<Vec<_>>(), ["what---on-change-does", "what-cant-be-zeroed"]);
    assert_eq!(links("[`a`](b.md#c) `[no](link)` ![p](d.svg)"), ["b.md#c", "d.svg"]);
}

/// What the site is made of is named in its table of contents, pages that were made among them.
#[test]
fn the_site_names_every_page() {
    let summary = read("docs/SUMMARY.md");
    let named: BTreeSet<String> = links(&summary).iter().map(|link| plain(&format!("docs/{link}"))).collect();
    let pages = files("docs").into_iter().filter(|file| file.ends_with(".md") && file != "docs/SUMMARY.md");
    let missing: Vec<String> = pages.filter(|page| !named.contains(page)).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not name {missing:?}");
}

/// The reasons of events in a source: what stands behind `Severity::...,` as text or as a constant of that file, and what the
/// record of a sync names apart.
fn reasons(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let value = |after: &str| match after.strip_prefix('"') {
        Some(rest) => rest.split('"').next().map(str::to_owned),
        None => {
            let name: String = after.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let (_, rest) = text.split_once(&format!("const {name}: &str = \""))?;
            rest.split('"').next().map(str::to_owned)
        }
    };
    let before = [
        "Severity::Normal, ",
        "Severity::Warning, ",
        "normal(",
        "done = match synced.change { TargetChange::Created => Some((",
        "TargetChange::Updated => Some((",
        "TargetChange::Deleted => Some((",
    ];
    let found = before.iter().flat_map(|before| text.split(before).skip(1)).filter_map(value);
    found.filter(|reason| reason.starts_with(|c: char| c.is_ascii_uppercase()) && !reason.contains(' ')).collect()
}

#[test]
fn the_page_about_troubles_has_every_event_and_no_other() {
    let sources = ["sync", "push", "cluster", "node", "src"].into_iter().flat_map(files);
    let sources =
        sources.filter(|file| file.ends_with(".rs") && !file.ends_with("tests.rs") && !file.contains("/tests/"));
    let told: BTreeSet<String> = sources.flat_map(|file| reasons(&read(&file))).collect();
    assert!(told.len() > 12, "the check found its subjects: {told:?}");
    let page = read("docs/troubleshooting.md");
    let (_, events) = page.split_once("\n## Events\n").expect("there is such a heading");
    let events = events.split("\n## ").next().unwrap_or_default();
    let rows = events.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(
        rows.map(str::to_owned).collect::<BTreeSet<_>>(),
        told,
        "the table of events in docs/troubleshooting.md"
    );
}
