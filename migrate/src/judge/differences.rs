//! What behaves differently here, as the compatibility page has it: one table of rules over specs of ExternalSecrets.
//!
//! A rule says which specs it is about, not whether anything will happen: what a store answers is not known. It names the
//! objects to look at before anybody switches.

use serde_json::Value;

use super::{Finding, Severity, number};
use crate::facts::{Cluster, Sample, Store};

/// One difference.
pub struct Rule {
    /// Its name, for programs and tests.
    pub name: &'static str,
    severity: Severity,
    applies: Applies,
    /// Where it matters which store is asked: whether it does for this one.
    store: fn(&Store) -> bool,
    /// After `3 ExternalSecrets`.
    what: &'static str,
    so: &'static str,
    then: &'static str,
}

/// What a rule looks at.
enum Applies {
    /// The spec.
    Spec(fn(&Value) -> bool),
    /// An entry of `dataFrom`, and the store that it asks.
    Find(fn(&Value) -> bool),
}

/// All of them.
pub const RULES: [Rule; 18] = [
    Rule {
        name: "find-below-prefix",
        severity: Severity::Attention,
        applies: Applies::Find(|entry| entry.get("find").is_some()),
        store: |store| store.prefixed,
        what: "that search a store with a prefix",
        so: "a search looks below the prefix only, and names what it finds without it; External Secrets Operator looks everywhere, in some stores by the whole path",
        then: "compare what `keyferry render` finds with the Secret that is there; name the whole path in a store without a prefix where it is less",
    },
    Rule {
        name: "find-by-name-and-tags",
        severity: Severity::Attention,
        applies: Applies::Find(|entry| {
            let is_set = |pointer: &str| entry.pointer(pointer).is_some_and(|value| !value.is_null());
            is_set("/find/name")
                && entry.pointer("/find/tags").and_then(Value::as_object).is_some_and(|tags| !tags.is_empty())
        }),
        store: |_| true,
        what: "that search by name and by tags at once",
        so: "both must hold; External Secrets Operator passes one of them over, so that fewer keys are found here, and those that are no longer found leave the Secret",
        then: "take off the condition that was passed over until now, where the Secret shall stay as it is",
    },
    Rule {
        name: "find-by-path-where-there-is-none",
        severity: Severity::Attention,
        applies: Applies::Find(|entry| !text(entry, "/find/path").is_empty()),
        store: |store| store.providers.iter().any(|provider| ["kubernetes", "fake"].contains(&provider.as_str())),
        what: "that search below a path in a store that has none",
        so: "such a search is refused; External Secrets Operator passes the path over, and finds what lies anywhere",
        then: "take the path off, and put what it was to say into name.regexp",
    },
    Rule {
        name: "find-that-may-find-nothing",
        severity: Severity::Note,
        applies: Applies::Spec(|spec| {
            !deletes(spec) && entries(spec, "dataFrom").any(|entry| entry.get("find").is_some_and(Value::is_object))
        }),
        store: |_| true,
        what: "that search",
        so: "a search that finds nothing is a condition here, which removes no key; in External Secrets Operator it is called synced",
        then: "",
    },
    Rule {
        name: "extract-of-what-may-be-empty",
        severity: Severity::Note,
        applies: Applies::Spec(|spec| {
            entries(spec, "dataFrom").any(|entry| entry.get("extract").is_some_and(Value::is_object))
        }),
        store: |_| true,
        what: "that extract all of a secret",
        so: "where that secret is {} or null it is a condition here, which removes nothing; External Secrets Operator takes it for nothing to write, with deletionPolicy Delete for a reason to delete",
        then: "",
    },
    Rule {
        name: "nothing-asked-for",
        severity: Severity::Attention,
        applies: Applies::Spec(asks_for_nothing),
        store: |_| true,
        what: "no entry of which asks for anything",
        so: "that is a condition here; in External Secrets Operator such an ExternalSecret is synced, and has nothing to write, or to keep",
        then: "set extract, find or generatorRef beside the storeRef, or delete it",
    },
    Rule {
        name: "find-and-delete",
        severity: Severity::Note,
        applies: Applies::Spec(|spec| {
            deletes(spec) && entries(spec, "dataFrom").any(|entry| entry.get("find").is_some())
        }),
        store: |_| true,
        what: "with deletionPolicy Delete that search",
        so: "a search that finds nothing is a condition here, and deletes no Secret; in External Secrets Operator it does",
        then: "",
    },
    Rule {
        name: "version-and-delete",
        severity: Severity::Note,
        applies: Applies::Spec(|spec| {
            deletes(spec) && references(spec).any(|reference| !is_empty(reference, "version"))
        }),
        store: |_| true,
        what: "with deletionPolicy Delete that name a version",
        so: "a version that is not there is a condition here, and deletes no Secret; in External Secrets Operator it may",
        then: "",
    },
    Rule {
        name: "version-that-may-be-missing",
        severity: Severity::Note,
        applies: Applies::Spec(|spec| {
            !deletes(spec) && references(spec).any(|reference| !is_empty(reference, "version"))
        }),
        store: |_| true,
        what: "that name a version",
        so: "a version that is not there is a condition here; in External Secrets Operator the Secret may be called retained, and the ExternalSecret synced",
        then: "",
    },
    Rule {
        name: "delete-of-what-is-not-owned",
        severity: Severity::Attention,
        applies: Applies::Spec(|spec| deletes(spec) && !["", "Owner"].contains(&text(spec, "/target/creationPolicy"))),
        store: |_| true,
        what: "with deletionPolicy Delete that do not own their Secret",
        so: "keyferry deletes only a Secret that the ExternalSecret controls; others stay when the store has nothing left",
        then: "set creationPolicy to Owner where the Secret shall go",
    },
    Rule {
        name: "rewrite-of-all-to-one",
        severity: Severity::Attention,
        applies: Applies::Spec(|spec| regexps(spec).any(|(source, target)| makes_all_one(source, target))),
        store: |_| true,
        what: "with a rewrite that may give several keys one name",
        so: "chance decides in External Secrets Operator which value stays; here it is an error where the values differ",
        then: "put the part that differs into the target, with a group ($1)",
    },
    Rule {
        name: "rewrite-that-may-collide",
        severity: Severity::Note,
        applies: Applies::Spec(|spec| {
            let may_collide = |(source, target)| !makes_all_one(source, target) && drops_what_varies(source, target);
            transforms(spec).next().is_some() || regexps(spec).any(may_collide)
        }),
        store: |_| true,
        what: "with a transform, or a rewrite that leaves out what differs between keys",
        so: "where two keys come to one name, chance decides in External Secrets Operator which value stays; here it is an error where the values differ",
        then: "",
    },
    Rule {
        name: "rewrite-to-an-unknown-group",
        severity: Severity::Attention,
        applies: Applies::Spec(|spec| regexps(spec).any(|(source, target)| names_unknown_group(source, target))),
        store: |_| true,
        what: "with a rewrite whose target names a group that its source does not have ($1_X, ${2} of one, $team)",
        so: "that is nothing: in External Secrets Operator keys that come to no name vanish, and with deletionPolicy Delete the Secret; here it is a condition",
        then: "write ${1}_X for the first group and _X, and compare the others with the source",
    },
    Rule {
        name: "property-that-may-be-a-key",
        severity: Severity::Note,
        applies: Applies::Spec(|spec| {
            references(spec).any(|reference| text(reference, "/property").contains(['*', '?', '|', '#', '@', '!']))
        }),
        store: |_| true,
        what: "with a property that is a path, and may be a key as it stands",
        so: "a key of exactly this name wins over the path here, in every store; in External Secrets Operator in some",
        then: "",
    },
    Rule {
        name: "function-that-fails-into-the-value",
        severity: Severity::Note,
        applies: Applies::Spec(|spec| {
            templates(spec).any(|text| ["b64dec", "b32dec", "hexdec"].iter().any(|name| text.contains(name)))
        }),
        store: |_| true,
        what: "with b64dec, b32dec or hexdec in a template",
        so: "where the input can't be decoded, the text of the error becomes the value, as in External Secrets Operator",
        then: "look whether the Secrets hold what they should",
    },
    Rule {
        name: "short-interval",
        severity: Severity::Note,
        applies: Applies::Spec(|spec| is_below_a_second(text(spec, "/refreshInterval"))),
        store: |_| true,
        what: "with a refreshInterval of less than a second",
        so: "a store is not asked more often than once in a second for one object",
        then: "",
    },
    Rule {
        name: "target-of-the-cluster",
        severity: Severity::Attention,
        applies: Applies::Spec(|spec| {
            let kind = text(spec, "/target/template/type");
            ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"].contains(&kind)
                || kind.starts_with("helm.sh/")
        }),
        store: |_| true,
        what: "whose Secret is a token of the cluster, or a record of Helm",
        so: "such targets are refused: who may write an ExternalSecret could become anybody with them",
        then: "make such Secrets in another way",
    },
    Rule {
        name: "fail-in-a-template",
        severity: Severity::Note,
        applies: Applies::Spec(|spec| {
            templates(spec).any(|text| text.contains("fail \"") || text.contains("fail (") || text.contains("| fail"))
        }),
        store: |_| true,
        what: "with the function fail in a template",
        so: "External Secrets Operator has taken it away with release 2.12",
        then: "",
    },
];

/// The rules that a spec is about, each with the reference to the store that it asks, where that matters.
pub fn found(spec: &Value) -> Vec<(&'static str, Option<&Value>)> {
    let mut found = Vec::new();
    for rule in &RULES {
        match rule.applies {
            Applies::Spec(applies) if applies(spec) => found.push((rule.name, None)),
            Applies::Spec(_) => {}
            Applies::Find(applies) => {
                for entry in entries(spec, "dataFrom").filter(|entry| applies(entry)) {
                    let store = entry.pointer("/sourceRef/storeRef").or(spec.get("secretStoreRef"));
                    if !found.contains(&(rule.name, store)) {
                        found.push((rule.name, store));
                    }
                }
            }
        }
    }
    found
}

/// Names the objects that each rule is about.
pub fn judge(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for rule in &RULES {
        let mut all = Sample::default();
        for ((name, store), sample) in &cluster.external_secrets.different {
            let known = store.as_ref().and_then(|store| cluster.stores.iter().find(|known| known.name == *store));
            if *name != rule.name || !(store.is_none() || known.is_some_and(rule.store)) {
                continue;
            }
            all.merge(sample);
        }
        if all.count > 0 {
            let summary = format!("{} {}", number(all.count, "ExternalSecret"), rule.what);
            let finding = Finding::new("behaves-differently", rule.severity, summary).sample(&all).so(rule.so);
            findings.push(finding.then(rule.then));
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_empty(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_str).unwrap_or_default().is_empty()
}

fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn deletes(spec: &Value) -> bool {
    text(spec, "/target/deletionPolicy") == "Delete"
}

/// Everything that names a remote key.
fn references(spec: &Value) -> impl Iterator<Item = &Value> {
    let data = entries(spec, "data").filter_map(|entry| entry.get("remoteRef"));
    data.chain(entries(spec, "dataFrom").filter_map(|entry| entry.get("extract")))
}

/// Sources and targets of rewrites by regular expressions.
fn regexps(spec: &Value) -> impl Iterator<Item = (&str, &str)> {
    let rewrites = entries(spec, "dataFrom").flat_map(|entry| entries(entry, "rewrite"));
    rewrites
        .filter_map(|rewrite| rewrite.get("regexp"))
        .map(|regexp| (text(regexp, "/source"), text(regexp, "/target")))
}

/// Whether all that stands in a spec are entries that name a store and nothing to ask of it.
fn asks_for_nothing(spec: &Value) -> bool {
    let is_set = |entry: &Value, pointer: &str| entry.pointer(pointer).is_some_and(|value| !value.is_null());
    let asks = |entry: &Value| ["/extract", "/find", "/sourceRef/generatorRef"].iter().any(|at| is_set(entry, at));
    let from: Vec<&Value> = entries(spec, "dataFrom").collect();
    let is_all = from.iter().all(|entry| is_set(entry, "/sourceRef/storeRef") && !asks(entry));
    is_all && !from.is_empty() && entries(spec, "data").next().is_none()
}

/// Templates that keys are transformed by.
fn transforms(spec: &Value) -> impl Iterator<Item = &str> {
    let rewrites = entries(spec, "dataFrom").flat_map(|entry| entries(entry, "rewrite"));
    rewrites.map(|rewrite| text(rewrite, "/transform/template")).filter(|template| !template.is_empty())
}

/// Whether whatever a pattern finds becomes the same.
fn makes_all_one(source: &str, target: &str) -> bool {
    !target.is_empty() && !target.contains('$') && [".*", ".+"].iter().any(|any| source.contains(any))
}

/// Whether something that may differ between keys stands in the pattern outside of the groups that the target names.
fn drops_what_varies(source: &str, target: &str) -> bool {
    let named = named_groups(target);
    let is_named = |number: usize, name: &str| {
        named.iter().any(|known| known.parse() == Ok(number) || !name.is_empty() && *known == name)
    };
    // Whether each of the groups that are open stands in the target.
    let (mut open, mut number, mut rest) = (vec![is_named(0, "")], 0, source);
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        let is_kept = open.last().is_some_and(|kept| *kept);
        let varies = match letter {
            '\\' => {
                let class = rest.chars().next().unwrap_or_default();
                rest = &rest[class.len_utf8().min(rest.len())..];
                "dDwWsSpP".contains(class)
            }
            '[' => {
                let inner = rest.strip_prefix('^').unwrap_or(rest);
                let inner = inner.strip_prefix(']').unwrap_or(inner);
                rest = inner.split_once(']').map_or("", |(_, after)| after);
                true
            }
            '(' => {
                let flags = rest.strip_prefix('?');
                let name = flags.and_then(|flags| flags.strip_prefix("P<").or(flags.strip_prefix('<')));
                let name = name.and_then(|name| name.split_once('>')).map(|(name, _)| name);
                let captures = flags.is_none() || name.is_some();
                number += usize::from(captures);
                open.push(is_kept || captures && is_named(number, name.unwrap_or_default()));
                // What follows is no quantifier.
                rest = flags.unwrap_or(rest);
                false
            }
            ')' => {
                open.truncate(open.len().saturating_sub(1).max(1));
                false
            }
            '.' | '*' | '+' | '?' | '{' | '|' => true,
            _ => false,
        };
        if varies && !is_kept {
            return true;
        }
    }
    false
}

/// Whether a target refers to a group that the pattern does not have.
fn names_unknown_group(source: &str, target: &str) -> bool {
    let groups = groups(source);
    let is_known = |name: &str| match name.parse::<usize>() {
        // With a zero before it, it is a name.
        Ok(number) if name == "0" || !name.starts_with('0') => number < groups.len(),
        _ => groups.contains(&name),
    };
    named_groups(target).into_iter().any(|name| !is_known(name))
}

/// The groups that a target refers to: `$` takes all letters, digits and underscores that follow, so that `$1_X` is the group
/// `1_X`.
fn named_groups(target: &str) -> Vec<&str> {
    let is_word = |letter: char| letter == '_' || letter.is_alphanumeric();
    let (mut named, mut rest) = (Vec::new(), target);
    while let Some((_, after)) = rest.split_once('$') {
        // Two of them are one, and one before anything else is itself.
        if let Some(escaped) = after.strip_prefix('$') {
            rest = escaped;
            continue;
        }
        let (name, more) = match after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some(braced) => braced,
            None => after.split_at(after.find(|letter| !is_word(letter)).unwrap_or(after.len())),
        };
        if !name.is_empty() && name.chars().all(is_word) {
            named.push(name);
        }
        rest = more;
    }
    named
}

/// The groups of a pattern, by name where they have one; the first is all of it.
fn groups(source: &str) -> Vec<&str> {
    let mut groups = vec![""];
    let (mut rest, mut in_class) = (source, false);
    while let Some(at) = rest.find(['\\', '[', ']', '(']) {
        let (letter, after) = rest[at..].split_at(1);
        rest = after;
        match letter {
            "\\" => rest = rest.get(rest.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default(),
            // One that stands first in a class is a part of it.
            "[" if !in_class => {
                in_class = true;
                rest = rest.strip_prefix('^').unwrap_or(rest);
                rest = rest.strip_prefix(']').unwrap_or(rest);
            }
            "]" => in_class = false,
            "(" if !in_class => match rest.strip_prefix('?') {
                None => groups.push(""),
                Some(flags) => {
                    let named = flags.strip_prefix("P<").or(flags.strip_prefix('<'));
                    groups.extend(named.and_then(|named| named.split_once('>')).map(|(name, _)| name));
                }
            },
            _ => {}
        }
    }
    groups
}

/// Texts of templates that stand in the spec.
fn templates(spec: &Value) -> impl Iterator<Item = &str> {
    let template = spec.pointer("/target/template");
    let in_data = template.and_then(|template| template.get("data")).and_then(Value::as_object);
    let in_data = in_data.into_iter().flatten().filter_map(|(_, text)| text.as_str());
    let literal = template.into_iter().flat_map(|template| entries(template, "templateFrom"));
    in_data.chain(literal.filter_map(|from| from.get("literal").and_then(Value::as_str))).chain(transforms(spec))
}

/// Whether a duration in Go's form is less than a second; none at all is another thing.
fn is_below_a_second(duration: &str) -> bool {
    seconds(duration).is_some_and(|seconds| seconds > 0.0 && seconds < 1.0)
}

fn seconds(mut duration: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("\u{b5}s", 1e-6),
        ("\u{3bc}s", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let mut all = 0.0;
    while !duration.is_empty() {
        let digits = duration.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, rest) = duration.split_at(digits);
        let (rest, unit) = UNITS.iter().find_map(|(name, unit)| Some((rest.strip_prefix(name)?, unit)))?;
        all += number.parse::<f64>().ok()? * unit;
        duration = rest;
    }
    Some(all)
}

#[cfg(test)]
#[path = "differences_tests.rs"]
mod tests;
