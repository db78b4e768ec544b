//! Regular expressions: what a few characters compile to, and how long they look.

use serde_json::{Value, json};

use crate::attack::{Attack, LIMIT, Scene, entry, many, with};

/// Words of the limits of patterns, of Go's own refusals, and of the API server's.
const REFUSED: &[&str] = &["(limit ", "limit exceeded: ", "Too many", "Too long", "may not be more than"];

/// Regular expressions.
pub const ATTACKS: &[Attack] = &[
    Attack::new("namespace-regexes", r"400 namespaceRegexes of \pL{90} in a store", |s| vec![regexes(s, "s", 400)])
        .one(REFUSED),
    Attack::new("namespace-regexes-many", "300 stores of 20 namespaceRegexes", |s| {
        many(300, |n| regexes(s, n, 20))
    })
    .seconds(10),
    Attack::new("find-classes", r"\pL ten thousand times in find.name.regexp", |s| {
        vec![s.fake("x"), find(s, 0, &r"\pL".repeat(10_000))]
    })
    .each(REFUSED),
    Attack::new("find-ranges", "a class of 3,000 ranges, repeated 100 times", |s| {
        vec![s.fake("x"), find(s, 0, &format!("[{}]{{100}}", ranges(3000)))]
    })
    .each(REFUSED),
    Attack::new("rewrite-classes", r"\pL ten thousand times in rewrite.regexp.source", |s| {
        vec![s.fake(r#"{"a": "b"}"#), rewrite(s, &r"\pL".repeat(10_000), "x")]
    })
    .each(REFUSED),
    Attack::new("match-classes", r"\pL ten thousand times in regexMatch", |s| {
        s.each_template(&[&format!("{{{{ regexMatch `{}` .k }}}}", r"\pL".repeat(10_000))])
    })
    .each(REFUSED),
    Attack::new("match-built", "patterns that a template builds while it runs", |s| {
        s.each_template(&[
            r#"{{ regexMatch (repeat 100000 "\\pL") .k }}"#,
            r#"{{ regexFindAll (printf "(%s){50}" (repeat 1000 "[^a]")) .k -1 }}"#,
            r#"{{ range until 100000 }}{{ regexMatch (printf "%d\\pL{90}" .) "x" }}{{ end }}"#,
        ])
    })
    .each(LIMIT),
    Attack::new("nested-repeats", "repeats within repeats", |s| {
        let patterns = ["((((a{9}){9}){9}){9}){9}", "(((a{1,1000}){1,1000}){1,1000})", "(?:(?:x{0,999}){0,999})*"];
        with([s.fake("x")], patterns.iter().enumerate().map(|(n, pattern)| find(s, n, pattern)))
    })
    .each(&["(limit ", "limit exceeded: ", "repe", "regular expression"]),
    Attack::new("deep-groups", "ten thousand groups within each other", |s| {
        let pattern = format!("{}x{}", "(".repeat(10_000), ")".repeat(10_000));
        vec![s.fake("x"), find(s, 0, &pattern)]
    })
    .each(&["(limit ", "limit exceeded: ", "nest", "Too long"]),
    Attack::new("find-entries", "4,000 find entries with a pattern each", |s| {
        let finds = many(4000, |n| json!({"find": {"name": {"regexp": format!("{n}[a-z]{{500}}")}}}));
        vec![s.fake("x"), s.es(0, json!({ "dataFrom": finds }))]
    })
    .each(REFUSED),
    Attack::new("patterns-of-many", "500 ExternalSecrets with a large pattern each", |s| {
        with([s.fake("x")], many(500, |n| find(s, n, &format!("{n}(?i)[a-z]{{800}}"))))
    })
    .seconds(12),
    Attack::new("slow-matches", "replacements in a text of a MiB, over and over", |s| {
        let text = r#"{{ $x := repeat 500000 "a" }}{{ range until 1000 }}{{ $y := regexReplaceAll "(a*)*b" $x "c" }}{{ end }}"#;
        with([s.fake("x")], many(20, |n| s.template(n, text)))
    })
    .each(LIMIT),
    Attack::new("split-loops", "regexSplit and semver over long texts in loops", |s| {
        s.each_template(&[
            r#"{{ $x := repeat 300000 "a," }}{{ range until 1000 }}{{ $y := regexSplit "," $x -1 }}{{ end }}"#,
            r#"{{ $x := repeat 100000 "1.2.3 || " }}{{ semverCompare (print $x "1.2.3") "9.9.9" }}"#,
        ])
    })
    .each(LIMIT),
];

fn regexes(s: &Scene, part: impl std::fmt::Display, count: usize) -> Value {
    let patterns = many(count, |n| format!(r"{n}\pL{{90}}"));
    let mut store = s.store_named(part, json!({"fake": {"data": [{"key": "k", "value": "v"}]}}));
    store["spec"]["conditions"] = json!([{ "namespaceRegexes": patterns }]);
    store
}

fn find(s: &Scene, part: impl std::fmt::Display, pattern: &str) -> Value {
    s.es(part, json!({"dataFrom": [{"find": {"name": {"regexp": pattern}}}]}))
}

fn rewrite(s: &Scene, source: &str, target: &str) -> Value {
    let rewrite = json!([{"regexp": {"source": source, "target": target}}]);
    s.es(0, json!({"dataFrom": [{"extract": {"key": "k"}, "rewrite": rewrite}], "data": [entry("k", "k")]}))
}

fn ranges(count: usize) -> String {
    (0..count).filter_map(|n| char::from_u32(0x4e00 + 2 * u32::try_from(n).ok()?)).collect()
}
