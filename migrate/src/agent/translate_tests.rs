use super::super::inputs::Inputs;
use super::*;

fn ours(template: &str) -> Result<(String, Vec<serde_json::Value>), String> {
    let mut inputs = Inputs::default();
    translate(template, &mut inputs).map(|text| (text, inputs.data(|_| None)))
}

#[track_caller]
fn becomes(theirs: &str, expected: &str) {
    assert_eq!(ours(theirs).map(|(text, _)| text).as_deref(), Ok(expected), "{theirs}");
}

#[test]
fn fields_stand_where_they_are_used_and_white_space_goes_as_before() {
    let (text, data) = ours(
        "{{- with secret \"secret/data/db\" -}}\nurl=postgres://{{ .Data.data.user }}:{{ .Data.data.password | toUpper }}@db/{{ .Data.data.user }}\n{{- end -}}\n",
    )
    .unwrap();
    assert_eq!(
        text,
        "{{- /* secret/data/db */ -}}\nurl=postgres://{{ $.v0 }}:{{ upper $.v1 }}@db/{{ $.v0 }}\n{{- /* end */ -}}\n"
    );
    assert_eq!(
        data,
        [
            serde_json::json!({"secretKey": "v0", "remoteRef": {"key": "db", "property": "user"}}),
            serde_json::json!({"secretKey": "v1", "remoteRef": {"key": "db", "property": "password"}}),
        ]
    );
}

#[test]
fn what_may_be_missing_is_looked_for_in_all_of_the_secret() {
    becomes(
        "{{ with secret \"kv/app\" }}{{ if .Data.x }}{{ .Data.x }}{{ else if eq .Data.y \"1\" }}y{{ else }}-{{ end }}{{ end }}",
        "{{/* kv/app */}}{{ if (get (mustFromJson $.v0) \"x\") }}{{ (ternary (mustToRawJson (get (mustFromJson $.v0) \"x\")) (get (mustFromJson $.v0) \"x\") (kindIs \"float64\" (get (mustFromJson $.v0) \"x\"))) }}{{ else if eq (get (mustFromJson $.v0) \"y\") \"1\" }}y{{ else }}-{{ end }}{{/* end */}}",
    );
    becomes(
        "{{ with secret \"kv/app\" }}{{ or .Data.a.b `z` }}{{ .Data.c | sprig_default \"d\" }}{{ end }}",
        "{{/* kv/app */}}{{ or (dig \"a\" \"b\" \"\" (mustFromJson $.v0)) `z` }}{{ default \"d\" (get (mustFromJson $.v0) \"c\") }}{{/* end */}}",
    );
}

/// Asked for by its name, what is not there would be an error of all files.
#[test]
fn what_a_condition_asks_for_is_no_property() {
    for theirs in [
        "{{ with secret \"kv/app\" }}{{ if .Data.x }}{{ .Data.x | toUpper }}{{ end }}{{ end }}",
        "{{ with secret \"kv/app\" }}{{ .Data.x }}{{ if eq .Data.x \"1\" }}{{ end }}{{ end }}",
        "{{ with secret \"kv/app\" }}{{ if .Data.x }}{{ .Data.x.y }}{{ index .Data \"x\" }}{{ end }}{{ end }}",
    ] {
        assert_eq!(
            ours(theirs).unwrap().1,
            [serde_json::json!({"secretKey": "v0", "remoteRef": {"key": "app"}})],
            "{theirs}"
        );
    }
    // What stands beside it, or in another secret, is asked for by its name still.
    let beside = "{{ with secret \"kv/app\" }}{{ if .Data.x.y }}{{ .Data.x.z }}{{ end }}{{ end }}{{ (secret \"kv/b\").Data.x.y }}";
    let properties: Vec<_> =
        ours(beside).unwrap().1.iter().map(|entry| entry["remoteRef"]["property"].clone()).collect();
    assert_eq!(properties, [serde_json::Value::Null, "x.z".into(), "x.y".into()]);
}

#[test]
fn variables_and_parentheses_name_secrets_too() {
    becomes("{{ $s := secret \"kv/app\" }}{{ $s.Data.x }}", "{{/* $s */}}{{ $.v0 }}");
    becomes("{{ (secret \"kv/app\").Data.x }}", "{{ $.v0 }}");
    becomes(
        "{{ with $s := secret \"kv/app\" }}{{ index $s.Data \"a-b\" }}{{ end }}",
        "{{/* kv/app */}}{{ $.v0 }}{{/* end */}}",
    );
    becomes(
        "{{ with (secret \"kv/data/app\").Data.data }}{{ .x }}{{ range $k, $v := . }}{{ $k }}{{ end }}{{ end }}",
        "{{ with (mustFromJson $.v0) }}{{ $.v1 }}{{ range $k, $v := (mustFromJson $.v0) }}{{ $k }}{{ end }}{{ end }}",
    );
    becomes(
        "{{ with secret \"kv/app\" }}{{ range .Data.list }}{{ .name }}{{ . }}{{ end }}{{ with .Data.x }}{{ . }}{{ end }}{{ end }}",
        "{{/* kv/app */}}{{ range (index (mustFromJson $.v0) \"list\") }}{{ .name }}{{ . }}{{ end }}{{ with (get (mustFromJson $.v0) \"x\") }}{{ . }}{{ end }}{{/* end */}}",
    );
}

#[test]
fn functions_are_called_as_ours_are() {
    becomes(
        "{{ with secret \"kv/app\" }}{{ .Data | toJSON }}{{ .Data.x | indent 2 }}{{ regexReplaceAll `a` \"b\" .Data.x }}{{ trim \"x\" .Data.x }}{{ end }}",
        "{{/* kv/app */}}{{ mustToJson (mustFromJson $.v0) }}{{ mustRegexReplaceAll \"(?m)^[^\\\\n]\" $.v1 \"  ${0}\" }}{{ mustRegexReplaceAll `a` $.v1 \"b\" }}{{ trimAll \"x\" $.v1 }}{{/* end */}}",
    );
    becomes("{{ printf \"%s\" (secret \"kv/app\").Data.x | sprig_quote }}", "{{ quote (printf \"%s\" $.v0) }}");
}

#[test]
fn what_can_t_be_the_same_is_refused_with_what_to_do() {
    for (template, says) in [
        ("{{ with secret \"pki/issue/x\" \"common_name=a\" }}{{ .Data.certificate }}{{ end }}", "writes to Vault"),
        ("{{ with secret \"database/creds/x\" }}{{ .Data.username }}{{ end }}", "VaultDynamicSecret"),
        ("{{ with pkiCert \"pki/issue/x\" }}{{ .Cert }}{{ end }}", "cert-manager"),
        ("{{ range secrets \"kv/\" }}{{ . }}{{ end }}", "dataFrom.find"),
        ("{{ with secret (printf \"kv/%s\" \"x\") }}{{ .Data.x }}{{ end }}", "write its path"),
        ("{{ with secret \"kv/app\" }}{{ .LeaseID }}{{ end }}", ".LeaseID is about Vault's answer"),
        ("{{ with secret \"kv/data/app\" }}{{ .Data.metadata.version }}{{ end }}", "metadata can't be had"),
        (
            "{{ with secret \"kv/data/app\" }}{{ range $k, $v := .Data }}{{ $k }}{{ end }}{{ end }}",
            "range of all of Vault's answer",
        ),
        ("{{ with secret \"kv/app\" }}{{ . }}{{ end }}", "writes all of Vault's answer"),
        ("{{ with secret \"kv/app\" }}a{{ else }}b{{ end }}", "an error here: take it out"),
        ("{{ key \"a\" }}", "asks Consul"),
        ("{{ env \"HOME\" }}", "the agent's environment"),
        ("{{ sprig_env \"HOME\" }}", "look for one among sprig's"),
        ("{{ with secret \"kv/app\" }}{{ .Data | toYAML }}{{ end }}", "toYAML: no function of ours"),
        ("{{ define \"x\" }}{{ end }}", "templates within a template"),
        ("{{ . }}", "the dot is nothing here"),
        ("{{ $x.y }}", "$x is nothing here"),
        ("{{ if true }}", "a block has no end"),
        ("{{ end }}", "end of nothing"),
        ("{{ (secret \"kv/app\" }}", "is not closed"),
        ("{{ $s := secret \"kv/a\" }}{{ $s = secret \"kv/b\" }}", "use two"),
        ("{{ scratch.Set \"a\" 1 }}", "scratch: there is nothing like it"),
        ("{{ with secret \"kv/app\" }}{{ split \",\" .Data.x }}{{ end }}", "split: no function of ours"),
    ] {
        let why = ours(template).expect_err(template);
        assert!(why.contains(says), "{template}: {why}");
    }
}
