//! Errors say where and what, and never show a value.

mod support;

use std::collections::BTreeMap;

use keyferry_template::{Env, ErrorKind, Functions, MissingKey, Options, Template};

const SECRET: &str = "s3cr3t";

fn fails(text: &str) -> keyferry_template::Error {
    let mut options = Options::new(Functions::builtin().into());
    options.missing_key = MissingKey::Error;
    let data = [("k", SECRET), ("n", "7"), ("bin", "\u{fffd}")];
    Template::parse("t.tmpl", text, &options)
        .and_then(|template| template.render_strings(data, &mut Env::default()))
        .expect_err(text)
}

#[test]
fn the_place_and_the_part_are_named() {
    let error = fails("one\ntwo {{ .k.name | print }}");
    assert_eq!((error.kind(), error.line(), error.column()), (ErrorKind::Render, 2, Some(9)));
    assert_eq!((error.template(), error.part()), ("t.tmpl", Some(".k.name")));
    assert_eq!(
        error.to_string(),
        "template: t.tmpl:2:9: executing \"t.tmpl\" at <.k.name>: can't evaluate field name in type string"
    );
    assert_eq!(fails("\n{{ nope }}").to_string(), "template: t.tmpl:2: function \"nope\" not defined");
    assert_eq!(
        fails("{{ define \"x\" }}{{ index . 1 }}{{ end }}{{ template \"x\" . }}").to_string(),
        "template: t.tmpl:1:19: executing \"x\" at <index . 1>: error calling index: value has type int; should be string"
    );
}

#[test]
fn no_error_shows_a_value() {
    for text in [
        "{{ .k.x }}",
        "{{ index .k .k }}",
        "{{ index . .k \"x\" }}",
        "{{ index .k 100 }}",
        "{{ slice .k 100 }}",
        "{{ range .k }}{{ end }}",
        "{{ range $i, $x := len .k }}{{ end }}",
        "{{ call .k }}",
        "{{ call (print .k) }}",
        "{{ eq .k 1 }}",
        "{{ lt .k 1 }}",
        "{{ eq . . }}",
        "{{ len 1 }}",
        "{{ .k 1 }}",
        "{{ .k | .n }}",
        "{{ printf .k | .k }}",
        "{{ printf (len .k) }}",
        "{{ not }}",
        "{{ template \"none\" .k }}",
        "{{ $x := .k }}{{ $x.y }}",
        "{{ with .k }}{{ .y }}{{ end }}",
        "{{ (print .k).y }}",
    ] {
        let error = fails(text);
        for shown in [error.to_string(), format!("{error:?}"), error.with_detail()] {
            assert!(!shown.contains(SECRET), "{text}: {shown}");
        }
    }
}

/// What all the corpus makes of data that has a mark: in front, behind, or in the midst of JSON and YAML that can be
/// read.
#[test]
fn no_function_shows_a_value() {
    const MARK: &str = "Qz7vX9w";
    type Marked = fn(&str) -> String;
    let ways: [Marked; 3] = [
        |value| format!("{MARK}{value}"),
        |value| format!("{value}{MARK}"),
        |value| {
            ["admin", "deep", "two", "line2", "hé", "s3cr3t"]
                .iter()
                .fold(value.to_owned(), |value, word| value.replace(word, MARK))
        },
    ];
    let options = support::ours::options(&support::oracle::Options::default());
    let templates = support::corpus::all();
    let mut failed = 0;
    for mark in ways {
        let data: BTreeMap<String, Vec<u8>> = support::corpus::data()
            .into_iter()
            .map(|(name, value)| match String::from_utf8(value) {
                Ok(text) => (name, mark(&text).into_bytes()),
                Err(other) => (name, [other.as_bytes(), MARK.as_bytes()].concat()),
            })
            .collect();
        let root = support::ours::root(&data);
        // Hashes that take long fail on nothing but the number of their arguments.
        for case in templates.iter().filter(|case| !case.template.contains("derivePassword")) {
            let rendered = Template::parse("t.tmpl", &case.template, &options)
                .and_then(|template| template.render(&root, &mut Env::default()));
            let Err(error) = rendered else { continue };
            failed += 1;
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.to_lowercase().contains(&MARK.to_lowercase()), "{}: {shown}", case.template);
            }
        }
    }
    assert!(failed > 10_000, "only {failed} failed");
}

#[test]
fn long_parts_are_shortened() {
    let error = fails(&format!("{{{{ index . 1 {} }}}}", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaé\" ".repeat(1000)));
    assert!(error.to_string().len() < 500);
}
