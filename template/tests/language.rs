//! The language: one rule of Go's, one line. What Go answers was asked of Go; the corpus of `differential.rs` asks more.

use keyferry_template::{Env, Functions, MissingKey, Options, Template, Value};

fn with(options: &Options, text: &str) -> String {
    let data = [("a", "x"), ("b", ""), ("bin", "\u{0}")];
    let rendered =
        Template::parse("t", text, options).and_then(|template| template.render_strings(data, &mut Env::default()));
    match rendered {
        Ok(output) => String::from_utf8_lossy(&output).into_owned(),
        Err(_) => "ERROR".to_owned(),
    }
}

fn check(cases: &[(&str, &str)]) {
    let options = Options::new(Functions::builtin().into());
    for (text, expected) in cases {
        assert_eq!(with(&options, text), *expected, "{text}");
    }
}

#[test]
fn trimming_and_comments() {
    check(&[
        ("a {{- 1 -}} b", "a1b"),
        ("a {{/* c */}} b", "a  b"),
        ("a {{- /* c */ -}} b", "ab"),
        ("{{-1}}", "-1"),
        ("{{ `a}}` }}", "a}}"),
        ("a\n\n{{- \"x\" }}\n", "ax\n"),
    ]);
}

#[test]
fn variables() {
    check(&[
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"),
        ("{{ with $x := .a }}{{ $x }}{{ . }}{{ end }}", "xx"),
        ("{{ with $x := .b }}{{ else }}[{{ $x }}]{{ end }}", "[]"),
        ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "ERROR"),
        ("{{ if true }}{{ else }}{{ $x := 1 }}{{ end }}", ""),
        ("{{ if false }}{{ $x := 1 }}{{ else }}{{ $x }}{{ end }}", "ERROR"),
        ("{{ $x = 1 }}", "ERROR"),
        ("{{ ($x := 3) }}{{ $x }}", "33"),
        ("{{ define \"d\" }}{{ $.a }}{{ end }}{{ template \"d\" . }}", "x"),
        ("{{ $x := 1 }}{{ define \"d\" }}{{ $x }}{{ end }}", "ERROR"),
    ]);
}

#[test]
fn branches() {
    check(&[
        ("{{ if .b }}1{{ else if .a }}2{{ else }}3{{ end }}", "2"),
        ("{{ with .b }}1{{ else with .a }}{{ . }}{{ end }}", "x"),
        ("{{ if 0 }}t{{ else }}f{{ end }}{{ if 0.0 }}t{{ else }}f{{ end }}{{ if nil }}{{ end }}", "ERROR"),
        ("{{ if .b }}{{ else with .a }}{{ end }}", "ERROR"),
        ("{{ if 1 }}{{ else }}{{ else }}{{ end }}", "ERROR"),
        ("{{ if 1 }}", "ERROR"),
        ("{{ end }}", "ERROR"),
    ]);
}

#[test]
fn ranges() {
    check(&[
        ("{{ range . }}[{{ . }}]{{ end }}", "[x][][\0]"),
        ("{{ range $k, $v := . }}{{ $k }}={{ $v }};{{ end }}", "a=x;b=;bin=\0;"),
        ("{{ range $i := 3 }}{{ $i }}{{ end }}", "012"),
        ("{{ range $i, $j := 3 }}{{ end }}", "ERROR"),
        ("{{ range 0 }}x{{ else }}none{{ end }}", "none"),
        ("{{ range -1 }}x{{ else }}none{{ end }}", "none"),
        (
            "{{ range 5 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        ("{{ range 2 }}{{ range 0 }}{{ else }}{{ break }}{{ end }}{{ . }}{{ end }}", "01"),
        ("{{ range 2 }}{{ range 0 }}{{ else }}{{ continue }}{{ end }}{{ . }}{{ end }}", ""),
        ("{{ $i := 9 }}{{ range $i = 2 }}{{ end }}{{ $i }}", "1"),
        ("{{ break }}", "ERROR"),
        ("{{ range 1 }}{{ block \"x\" . }}{{ break }}{{ end }}{{ end }}", "ERROR"),
        ("{{ range .a }}{{ end }}", "ERROR"),
        ("{{ range nil }}{{ end }}", "ERROR"),
    ]);
}

#[test]
fn definitions() {
    check(&[
        ("{{ define \"d\" }}<{{ . }}>{{ end }}{{ template \"d\" .a }}{{ template \"d\" }}", "<x><<no value>>"),
        ("{{ block \"d\" .a }}({{ . }}){{ end }}", "(x)"),
        ("{{ template \"none\" }}", "ERROR"),
        ("{{ define \"t\" }}mine{{ end }}", "mine"),
        ("{{ define \"d\" }}1{{ end }}{{ define \"d\" }}2{{ end }}", "ERROR"),
        ("{{ define \"d\" }}1{{ end }}{{ define \"d\" }} {{ end }}{{ template \"d\" }}", "1"),
        ("{{ if true }}{{ define \"d\" }}{{ end }}{{ end }}", "ERROR"),
    ]);
}

#[test]
fn pipelines_and_arguments() {
    check(&[
        ("{{ 1 | printf \"%d-%d\" 2 }}", "2-1"),
        ("{{ and 1 0 2 }}{{ or \"\" 0 \"z\" }}{{ and false (index . 1) }}", "0zfalse"),
        ("{{ 1 | 2 }}", "ERROR"),
        ("{{ .a | .b }}", "ERROR"),
        ("{{ printf 1 }}", "ERROR"),
        ("{{ nil }}", "ERROR"),
        ("{{ print nil }}", "<nil>"),
        ("{{ len }}", "ERROR"),
        ("{{ slice \"abc\" 1 2 }}{{ index \"abc\" 1 }}", "b98"),
        ("{{ print \"a\" 1 2 \"b\" \"c\" true nil }}", "a1 2bctrue <nil>"),
        ("{{ eq 1 1.0 }}", "ERROR"),
        ("{{ eq \"a\" nil }}{{ eq nil nil }}", "falsetrue"),
        ("{{ 1e6 }} {{ 0x10 }} {{ 'a' }} {{ 1_000 }} {{ 2i }} {{ 1e21 }} {{ 100000.0 }}", {
            "1e+06 16 97 1000 (0+2i) 1e+21 100000"
        }),
    ]);
}

#[test]
fn missing_keys() {
    let mut options = Options::new(Functions::builtin().into());
    let results: Vec<_> = [MissingKey::Default, MissingKey::Zero, MissingKey::Error]
        .into_iter()
        .map(|missing_key| {
            options.missing_key = missing_key;
            ["{{ .none }}", "{{ .none.x }}", "{{ index . \"none\" }}"].map(|text| with(&options, text))
        })
        .collect();
    assert_eq!(results[0], ["<no value>", "<no value>", ""]);
    assert_eq!(results[1], ["", "ERROR", ""]);
    assert_eq!(results[2], ["ERROR", "ERROR", ""]);
}

#[test]
fn delimiters() {
    let mut options = Options::new(Functions::builtin().into());
    (options.left_delim, options.right_delim) = ("<<".to_owned(), "->".to_owned());
    assert_eq!(with(&options, "{{ <<.a-> << .b -> <<- .a --> }}"), "{{ x x}}");
    (options.left_delim, options.right_delim) = ("|".to_owned(), "|".to_owned());
    assert_eq!(with(&options, "|.a| |1|"), "x 1");
}

#[test]
fn the_root_may_be_any_value_and_templates_are_shared_between_threads() {
    let template = Template::parse("t", "{{ .value }}", &Options::new(Functions::builtin().into())).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let data = Value::dict([("value", Value::strings(["a", "b"]))]);
                assert_eq!(&**template.render(&data, &mut Env::default()).unwrap(), b"[a b]");
            });
        }
    });
}
