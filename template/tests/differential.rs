//! Every template of the corpus, in Go and here: the same bytes, or an error on both sides.
#![expect(clippy::print_stdout, reason = "how many templates were compared is worth telling")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use keyferry_template::Functions;
use support::{Answer, corpus, here, known, oracle, ours};

/// Compares all cases, writes what differs to a file, and returns how many differ without excuse.
fn compare(name: &str, cases: &[corpus::Case], options: &oracle::Options) -> usize {
    let data = corpus::data();
    let table = known::table();
    let templates: Vec<&str> = cases.iter().map(|case| case.template.as_str()).collect();
    let go = oracle::ask(&templates, &data, options);
    let rust = ours::ask(&templates, &data, options);
    let mut report = String::new();
    let mut by_function: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut different, mut excused) = (0, 0);
    for ((case, go), rust) in cases.iter().zip(&go).zip(&rust) {
        if go.agrees(rust) {
            continue;
        }
        if known::excused(&table, &case.template) {
            excused += 1;
            continue;
        }
        different += 1;
        *by_function.entry(case.origin.split(':').next().unwrap_or_default()).or_default() += 1;
        let template = case.template.replace('\n', "⏎");
        report += &format!("{} {template}\n    Go   {}\n    ours {}\n", case.origin, go.show(), rust.show());
    }
    let rendered = go.iter().filter(|answer| answer.is_output()).count();
    let file = here("../.cache").join(format!("template-{name}.diff"));
    fs::write(&file, &report).expect("the report can be written");
    let first: String = report.lines().take(60).map(|line| format!("{line}\n")).collect();
    assert!(
        different == 0,
        "{different} of {} templates differ, by origin {by_function:?}; all are in {}\n{first}",
        cases.len(),
        file.display(),
    );
    println!("{name}: {} templates, {rendered} render in Go, {excused} known differences", cases.len());
    cases.len()
}

/// The written templates without those that take seconds in a debug build, and have nothing to do with the language.
fn quick() -> Vec<corpus::Case> {
    let mut cases = corpus::written();
    cases.retain(|case| !case.template.contains("derivePassword"));
    cases
}

#[test]
fn written_templates() {
    compare("written", &corpus::written(), &oracle::Options::default());
}

#[test]
fn every_function_with_all_kinds_of_arguments() {
    compare("functions", &support::tables::functions(), &oracle::Options::default());
}

#[test]
fn every_verb_with_every_kind() {
    compare("verbs", &support::tables::verbs(), &oracle::Options::default());
}

#[test]
fn other_delimiters() {
    for (left, right) in
        [("[[", "]]"), ("<%", "%>"), ("{{{", "}}}"), ("$", "$"), ("<<<<<<<<", ">>>>>>>>"), ("\"", "\"")]
    {
        let mut cases = quick();
        for case in &mut cases {
            case.template = case.template.replace("{{", left).replace("}}", right);
        }
        let options = oracle::Options { left: Some(left.into()), right: Some(right.into()), ..Default::default() };
        compare("delimiters", &cases, &options);
    }
}

#[test]
fn other_answers_to_missing_keys() {
    for missingkey in ["zero", "default", "invalid"] {
        let options = oracle::Options { missingkey: Some(missingkey.into()), ..Default::default() };
        compare(missingkey, &quick(), &options);
    }
}

#[test]
fn every_function_is_asked_for() {
    let table = support::tables::load();
    let names: BTreeSet<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
    let standard = Functions::standard();
    let missing: Vec<&str> = standard.names().into_iter().filter(|name| !names.contains(name)).collect();
    assert!(missing.is_empty(), "functions.tbl does not ask for {missing:?}");
    assert_eq!(oracle::names(), standard.names(), "the functions of Go and ours");
}

#[test]
fn there_are_enough() {
    let count = corpus::all().len();
    assert!(count >= 1_500, "only {count} templates");
}

#[test]
fn known_differences_differ() {
    let table = known::table();
    let data = corpus::data();
    for row in &table {
        assert!(row.pattern.is_match(&row.example), "the pattern is not that of its example {}", row.example);
        let go = oracle::ask(&[&row.example], &data, &oracle::Options::default());
        let rust = ours::one(&row.example, &data, &oracle::Options::default());
        assert!(!go[0].agrees(&rust), "{} no longer differs: take the row out of the README", row.example);
    }
}

#[test]
fn the_oracle_answers() {
    let data = corpus::data();
    let answers = oracle::ask(&["{{ .a }}", "{{ .no }}"], &data, &oracle::Options::default());
    assert_eq!(answers[0], Answer::Output(b"x".to_vec()));
    assert!(!answers[1].is_output());
}
