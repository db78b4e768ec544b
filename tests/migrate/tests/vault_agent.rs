//! What templates of Consul Template come to after `keyferry migrate vault-agent`: the same, byte for byte. What is expected is what
//! Consul Template's own documentation and Go's say.

use std::sync::Arc;

use keyferry_migrate::agent::inputs::Inputs;
use keyferry_migrate::agent::translate::translate;
use keyferry_template::{Env, Functions, MissingKey, Options, Template};
use serde_json::{Value, json};

/// What the template renders after the migration, of a secret that has this.
fn rendered(theirs: &str, secret: &Value) -> Result<String, String> {
    let mut inputs = Inputs::default();
    let ours = translate(theirs, &mut inputs)?;
    let mut options = Options::new(Arc::new(Functions::standard()));
    // As the pipeline has it.
    options.missing_key = MissingKey::Error;
    let template = Template::parse("file", &ours, &options).map_err(|error| format!("{ours}: {error}"))?;
    // As a store gives it: a text as it is, all else as JSON, and of what is not there nothing at all.
    let given = |entry: Value| {
        let value = match entry["remoteRef"]["property"].as_str() {
            None => Some(secret),
            Some(name) if secret.get(name).is_some() => secret.get(name),
            Some(path) => path.split('.').try_fold(secret, |value, part| value.get(part)),
        };
        let value = value.ok_or_else(|| format!("{ours}: no property {}", entry["remoteRef"]["property"]))?;
        let name = entry["secretKey"].as_str().expect("a name").to_owned();
        Ok((name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    };
    let data: Vec<(String, String)> = inputs.data(|_| None).into_iter().map(given).collect::<Result<_, String>>()?;
    let output = template.render_strings(data, &mut Env::default()).map_err(|error| format!("{ours}: {error}"))?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

#[track_caller]
fn same(theirs: &str, secret: &Value, expected: &str) {
    assert_eq!(rendered(theirs, secret).as_deref(), Ok(expected), "{theirs}");
}

fn within(theirs: &str) -> String {
    format!("{{{{ with secret \"kv/data/app\" }}}}{theirs}{{{{ end }}}}")
}

#[test]
fn what_the_documentation_shows() {
    let wifi = json!({"wifi": "FORWARDSoneword"});
    same("{{ with secret \"secret/passwords\" }}\n{{ .Data.wifi }}{{ end }}", &wifi, "\nFORWARDSoneword");
    same(
        "{{ with secret \"secret/passwords?version=1\" }}\n{{ .Data.data.wifi }}{{ end }}",
        &wifi,
        "\nFORWARDSoneword",
    );
    let guarded = "{{ with secret \"secret/foo\"}}\n{{ if .Data.password }}\npassword = \"{{ .Data.password }}\"\n{{ end }}\n{{ end }}";
    same(guarded, &json!({"password": "x"}), "\n\npassword = \"x\"\n\n");
    same(guarded, &json!({"other": "x"}), "\n\n");
    let or_none = "{{ with secret \"secret/foo\" }}{{ if .Data.password }}yes{{ else }}no{{ end }}{{ end }}";
    same(or_none, &json!({"other": "x"}), "no");
    same(or_none, &json!({"password": ""}), "no");
    let uses = json!({"username": "u", "password": "p"});
    same(
        "{{- with secret \"database/data/config\" -}}\npostgresql://{{ .Data.data.username }}:{{ .Data.data.password }}@postgres:5432/wizard\n{{- end -}}\n",
        &uses,
        "postgresql://u:p@postgres:5432/wizard",
    );
    same("{{ $x := secret \"secret/foo\" }}{{ $x.Data.username }}", &uses, "u");
}

#[test]
fn keys_are_in_go_s_order_and_white_space_is_what_it_was() {
    let secret = json!({"b": "2", "a": "1", "Z": "3", "a-b": "4", "n": 5432, "t": true});
    let exports = within("\n  {{- range $k, $v := .Data.data }}\nexport {{ $k }}=\"{{ $v }}\"\n  {{- end }}\n");
    let expected =
        "\nexport Z=\"3\"\nexport a=\"1\"\nexport a-b=\"4\"\nexport b=\"2\"\nexport n=\"5432\"\nexport t=\"true\"\n";
    same(&exports, &secret, expected);
    same(&within("{{ range $_, $v := .Data.data }}{{ $v }},{{ else }}none{{ end }}"), &json!({}), "none");
    same(&within("{{ index .Data.data \"a-b\" }}{{ .Data.data.n }}{{ .Data.data.t }}"), &secret, "45432true");
    // The injector's own template, for the first version.
    let own = "{{ with secret \"kv/app\" }}{{ range $k, $v := .Data }}{{ $k }}: {{ $v }}\n{{ end }}{{ end }}";
    same(own, &json!({"user": "u", "password": "p"}), "password: p\nuser: u\n");
    same(
        "{{ with secret \"kv/app\" }}{{ .Data | toJSON }}\n{{ end }}",
        &json!({"b": "<", "a": 1}),
        "{\"a\":1,\"b\":\"\\u003c\"}\n",
    );
}

/// A number is written as it is in Vault, where it is asked for by its name.
#[test]
fn numbers_are_written_as_they_are_kept() {
    let secret: Value =
        serde_json::from_str(r#"{"big": 12345678901234567890, "million": 1000000, "part": 1.5}"#).expect("JSON");
    same(
        &within("{{ .Data.data.big }} {{ .Data.data.million }} {{ .Data.data.part }}"),
        &secret,
        "12345678901234567890 1000000 1.5",
    );
    same(&within("{{ with .Data.data }}{{ .million }}{{ end }}"), &secret, "1000000");
    same(&within("{{ if .Data.data.million }}{{ .Data.data.million }}{{ end }}"), &secret, "1000000");
    same(&within("{{ if .Data.data.part }}{{ .Data.data.part }}{{ end }}"), &secret, "1.5");
}

#[test]
fn functions_give_the_same() {
    let secret = json!({
        "text": "<a> & \"b\"", "pem": "-----\nAAAA\n\nBBBB\n", "spaced": "  x y\t\n", "x": "xxaxbxx", "b64": "aGVsbG8=",
        "json": "{\"foo\": {\"bar\": 1000000, \"list\": [\"p\", \"q\"]}}", "list": ["p", "q"], "deep": {"er": "d"},
    });
    for (theirs, expected) in [
        ("{{ .Data.data.text | toJSON }}", r#""\u003ca\u003e \u0026 \"b\"""#),
        ("{{ .Data.data.text | toUnescapedJSON }}", r#""<a> & \"b\"""#),
        ("{{ .Data.data.deep | toJSON }}", r#"{"er":"d"}"#),
        ("{{ .Data.data.list | toJSON }}{{ len .Data.data.list }}{{ index .Data.data.list 1 }}", r#"["p","q"]2q"#),
        ("{{ range $i, $v := .Data.data.list }}{{ $i }}{{ $v }}{{ end }}", "0p1q"),
        ("{{ .Data.data.pem | indent 4 }}", "    -----\n    AAAA\n\n    BBBB\n"),
        ("{{ indent 2 .Data.data.pem }}", "  -----\n  AAAA\n\n  BBBB\n"),
        ("[{{ .Data.data.spaced | trimSpace }}]", "[x y]"),
        ("{{ .Data.data.x | trim \"x\" }}", "axb"),
        ("{{ .Data.data.x | trimPrefix \"x\" }} {{ trimSuffix \"xx\" .Data.data.x }}", "xaxbxx xxaxb"),
        ("{{ .Data.data.x | replaceAll \"x\" \"-\" }}", "--a-b--"),
        ("{{ .Data.data.x | toUpper | toLower }}", "xxaxbxx"),
        ("{{ .Data.data.b64 | base64Decode }} {{ base64Encode \"hello\" }}", "hello aGVsbG8="),
        ("{{ \"foo.bar\" | regexReplaceAll \"foo([.a-z]+)\" \"$1\" }}", ".bar"),
        ("{{ if .Data.data.x | regexMatch \"a.b\" }}yes{{ end }}", "yes"),
        ("{{ sha256Hex \"abc\" }}", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("{{ with $d := .Data.data.json | parseJSON }}{{ $d.foo.bar }}{{ end }}", "1e+06"),
        ("{{ with .Data.data.json | parseJSON }}{{ range .foo.list }}{{ . }};{{ end }}{{ end }}", "p;q;"),
        ("{{ .Data.data.deep.er }}{{ printf \"%s-%s\" .Data.data.x \"y\" }}", "dxxaxbxx-y"),
        ("{{ or .Data.data.none .Data.data.x }} {{ .Data.data.none | sprig_default \"z\" }}", "xxaxbxx z"),
        ("{{ if and .Data.data.x (eq .Data.data.x \"xxaxbxx\") }}1{{ else }}2{{ end }}", "1"),
        ("{{ if not .Data.data.none }}1{{ end }}{{ with .Data.data.x }}{{ . }}{{ end }}", "1xxaxbxx"),
        ("{{ $v := .Data.data.x }}{{ $v }}{{ $v | sprig_quote }}", "xxaxbxx\"xxaxbxx\""),
        ("{{/* said }} */}}{{ \"}}\" }}", "}}"),
    ] {
        same(&within(theirs), &secret, expected);
    }
    let pretty = "{\n  \"a\": \"\\u003c\",\n  \"b\": \"x\"\n}";
    same(&within("{{ .Data.data | toJSONPretty }}"), &json!({"b": "x", "a": "<"}), pretty);
}

/// What a condition asks for may be missing, wherever else it stands.
#[test]
fn what_may_be_missing_is_no_error() {
    let secret = json!({"x": "y", "deep": {"er": "d"}});
    for (theirs, expected) in [
        ("{{ if .Data.data.none }}{{ .Data.data.none }}{{ else }}-{{ end }}", "-"),
        ("{{ if .Data.data.none }}{{ .Data.data.none | toUpper }}{{ end }}{{ .Data.data.x }}", "y"),
        ("{{ if .Data.data.x }}{{ .Data.data.x | toUpper }}{{ end }}", "Y"),
        ("{{ if .Data.data.none }}{{ .Data.data.none.er }}{{ end }}", ""),
        ("{{ if .Data.data.deep }}{{ .Data.data.deep.er }}{{ end }}", "d"),
        ("{{ if .Data.data.deep.none }}{{ .Data.data.deep.none }}{{ else }}-{{ end }}", "-"),
        ("{{ if index .Data.data \"a-b\" }}{{ index .Data.data \"a-b\" }}{{ end }}.", "."),
        ("{{ with .Data.data.none }}{{ . }}{{ else }}-{{ end }}", "-"),
        ("{{ $v := .Data.data.none }}{{ if $v }}{{ $v }}{{ else }}-{{ end }}", "-"),
        ("{{ .Data.data.none }}{{ $v := .Data.data.none }}{{ $v | sprig_default \"z\" }}", "z"),
        ("{{ $v := .Data.data.x }}{{ if $v }}{{ $v | toUpper }}{{ end }}", "Y"),
    ] {
        same(&within(theirs), &secret, expected);
    }
    rendered(&within("{{ .Data.data.none }}"), &secret).expect_err("nothing says that it may be missing");
}

/// Consul Template writes `<no value>` for what is not there, which nobody wants: files stay as they are, and it is told.
#[test]
fn what_is_not_there_is_an_error_and_no_text() {
    let mut inputs = Inputs::default();
    let ours = translate(&within("{{ .Data.data.none }}"), &mut inputs).expect("it is translated");
    let mut options = Options::new(Arc::new(Functions::standard()));
    options.missing_key = MissingKey::Error;
    let template = Template::parse("file", &ours, &options).expect("it is a template");
    let nothing: [(&str, &str); 0] = [];
    template.render_strings(nothing, &mut Env::default()).expect_err("a field that is not there");
}
