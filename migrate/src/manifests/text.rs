//! Where a text names an old version, and whether it can be changed without doubt. Pure.
//!
//! The text is not parsed as a whole: a Helm template is no YAML, and what a parser writes back has lost comments and
//! order. It is looked at where an old version stands, and around it as far as the object reaches.

use std::ops::Range;

use keyferry_crds::names::{GROUP, OLD_VERSION, VERSION};
use memchr::memmem;

use super::flow;
use super::lines::{Entry, Lines, entry, scalar};

/// The version before the old one. Some kinds have no other; of some the fields differ from those of today.
const OLDEST: &str = "v1alpha1";

/// What can be changed: only these bytes differ then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The line, from 1.
    pub line: usize,
    /// Where the version stands.
    pub at: Range<usize>,
    /// The version that stands there.
    pub from: String,
    /// The kind that it is about; empty where it is about all of the group.
    pub kind: String,
}

/// What names an old version, and is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The line, from 1.
    pub line: usize,
    /// Why it is left alone.
    pub why: String,
}

/// What was found in a text, in order.
#[derive(Debug, Default)]
pub struct Found {
    /// What can be changed.
    pub changes: Vec<Change>,
    /// What is left alone.
    pub doubts: Vec<Doubt>,
}

/// What is to be done about a mention of a version.
enum Verdict {
    Change(String),
    /// It is as it should be.
    Fine,
    Doubt(String),
}

/// Looks through a text.
pub fn find(text: &str) -> Found {
    let lines = Lines::new(text);
    let mut found = Found::default();
    for at in memmem::find_iter(text.as_bytes(), GROUP) {
        let before = text[..at].chars().next_back();
        // Another group, an annotation or a name that ends so.
        if before.is_some_and(|letter| letter.is_ascii_alphanumeric() || "-._".contains(letter)) {
            continue;
        }
        let after = &text[at + GROUP.len()..];
        let n = lines.at(at);
        if lines.is_comment(n, at) {
            continue;
        }
        match after.strip_prefix('/').and_then(version) {
            Some(version) => {
                let start = at + GROUP.len() + 1;
                let verdict = api_version(&lines, n, at, version);
                found.take(verdict, n, start..start + version.len(), version);
            }
            None => {
                if let Some((n, range, verdict)) = group(&lines, n, at) {
                    let version = text[range.clone()].to_owned();
                    found.take(verdict, n, range, &version);
                }
            }
        }
    }
    found
}

/// The text with what can be changed changed.
pub fn rewritten(text: &str, changes: &[Change]) -> String {
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    let mut ordered: Vec<&Change> = changes.iter().collect();
    ordered.sort_by_key(|change| change.at.start);
    for change in ordered {
        out.push_str(&text[done..change.at.start]);
        out.push_str(VERSION);
        done = change.at.end;
    }
    out.push_str(&text[done..]);
    out
}

impl Found {
    fn take(&mut self, verdict: Verdict, n: usize, at: Range<usize>, from: &str) {
        match verdict {
            Verdict::Change(kind) => {
                self.changes.push(Change { line: n + 1, at, from: from.to_owned(), kind });
            }
            Verdict::Fine => {}
            Verdict::Doubt(why) => self.doubts.push(Doubt { line: n + 1, why }),
        }
    }
}

/// The old version that a text begins with.
fn version(text: &str) -> Option<&'static str> {
    [OLD_VERSION, OLDEST].into_iter().find(|known| {
        let rest = text.strip_prefix(known);
        rest.is_some_and(|rest| {
            !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter))
        })
    })
}

/// What `external-secrets.io/<version>` at a place of a line is.
fn api_version(lines: &Lines<'_>, n: usize, at: usize, version: &str) -> Verdict {
    let unclear = || Verdict::Doubt(format!("{GROUP}/{version} does not stand in an apiVersion of its own here"));
    let wanted = format!("{GROUP}/{version}");
    let block = entry(lines.text(n)).filter(|entry| entry.key == "apiVersion" && scalar(entry.value) == wanted);
    let is_json = block.as_ref().is_some_and(|entry| entry.quoted);
    match flow::object(lines.all, at) {
        Some(object) if (block.is_none() || is_json) && object.value("apiVersion") == Some(wanted.as_str()) => {
            let body = &lines.all[object.range.clone()];
            let is_foreign = ["dataFrom", "template"].iter().any(|field| body.contains(field));
            judge(object.value("kind"), version, is_foreign)
        }
        _ => match block {
            Some(entry) => in_block(lines, n, &entry, version),
            None => unclear(),
        },
    }
}

fn in_block(lines: &Lines<'_>, n: usize, found: &Entry<'_>, version: &str) -> Verdict {
    let own = mapping(lines, n, found.column, version);
    let Some(anchor) = found.value.strip_prefix('&').and_then(|value| value.split_whitespace().next()) else {
        return own;
    };
    // Whoever repeats it gets what it gets.
    let alias = format!("*{anchor}");
    let repeats = (0..lines.count()).filter_map(|n| Some((n, entry(lines.text(n))?)));
    for (n, entry) in repeats.filter(|(_, entry)| scalar(entry.value) == alias) {
        if entry.key != "apiVersion" || !matches!(mapping(lines, n, entry.column, version), Verdict::Change(_)) {
            return Verdict::Doubt(format!("line {} repeats it (*{anchor}), and may need the old version", n + 1));
        }
    }
    own
}

/// Judges the object whose apiVersion stands in line `n`, with its key in this column.
fn mapping(lines: &Lines<'_>, n: usize, column: usize, version: &str) -> Verdict {
    let around = lines.mapping(n, column);
    let of = |key: &'static str| around.siblings.iter().filter(move |(_, entry)| entry.key == key);
    if of("apiVersion").count() > 0 {
        return Verdict::Doubt("a template chooses between this version and another".to_owned());
    }
    let mut inner = around.lines.clone().filter_map(|n| entry(lines.text(n)));
    let is_foreign = inner.any(|entry| ["dataFrom", "template"].contains(&entry.key));
    judge(of("kind").next().map(|(_, entry)| scalar(entry.value)), version, is_foreign)
}

/// What a version of a kind is to become. `is_foreign`: there are fields that had another form in the oldest version.
fn judge(kind: Option<&str>, version: &str, is_foreign: bool) -> Verdict {
    let Some(kind) = kind else { return Verdict::Doubt("it has no kind beside it".to_owned()) };
    let change = || Verdict::Change(kind.to_owned());
    match (kind, version) {
        ("ExternalSecret" | "SecretStore" | "ClusterSecretStore" | "ClusterExternalSecret", OLD_VERSION)
        | ("SecretStore" | "ClusterSecretStore", OLDEST) => change(),
        ("ExternalSecret", OLDEST) if !is_foreign => change(),
        ("ExternalSecret", OLDEST) => Verdict::Doubt(format!(
            "dataFrom and target.template had another form in {OLDEST}: write it as {VERSION} by hand"
        )),
        ("PushSecret" | "ClusterPushSecret", OLDEST) => Verdict::Fine,
        _ if kind.chars().all(|letter| letter.is_ascii_alphanumeric()) => {
            Verdict::Doubt(format!("the kind {kind} of {version} has no {VERSION} that is known here"))
        }
        _ => Verdict::Doubt("a template chooses its kind".to_owned()),
    }
}

/// `group` and `version` apart, as Kustomize's patches name their targets: the line and place of the version.
fn group(lines: &Lines<'_>, n: usize, at: usize) -> Option<(usize, Range<usize>, Verdict)> {
    let judged = |kind: Option<&str>, version: &str| match kind {
        // A patch of all kinds: those that have the old version have the new one, too.
        None if version == OLD_VERSION => Verdict::Change(String::new()),
        None => Verdict::Doubt(format!("it is about all kinds of {version}, and some have no other")),
        // Its own fields are elsewhere.
        Some(_) => judge(kind, version, true),
    };
    if let Some(found) = entry(lines.text(n)).filter(|entry| entry.key == "group" && scalar(entry.value) == GROUP) {
        let around = lines.mapping(n, found.column);
        let of = |key: &str| around.siblings.iter().find(|(_, entry)| entry.key == key);
        let (n, stands) = of("version")?;
        let version = version(scalar(stands.value)).filter(|known| *known == scalar(stands.value))?;
        let start = lines.start(*n) + stands.value_at + stands.value.find(version)?;
        let verdict = judged(of("kind").map(|(_, entry)| scalar(entry.value)), version);
        return Some((*n, start..start + version.len(), verdict));
    }
    let object = flow::object(lines.all, at)?;
    if object.value("group") != Some(GROUP) {
        return None;
    }
    let (stands, range) = object.field("version")?;
    let version = version(stands).filter(|known| *known == stands)?;
    Some((lines.at(range.start), range, judged(object.value("kind"), version)))
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
