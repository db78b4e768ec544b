//! Bytes: what is small where it is written, and grows where it is fetched, rewritten, rendered or made.

use serde_json::{Value, json};

use crate::attack::{Attack, LIMIT, Scene, entry, keys, many, with};

/// What is too large for a limit, or for a Secret.
const TOO_LARGE: &[&str] = &["(limit ", "limit exceeded: ", "Too many", "1 MiB", "too large", "1048576"];

/// Growing bytes.
pub const ATTACKS: &[Attack] = &[
    Attack::new("rewrite-grows", "three rewrites, each repeating its match a thousand times", |s| {
        let grow = json!({"regexp": {"source": "(.+)", "target": "${1}".repeat(1000)}});
        let from = json!([{"extract": {"key": "k"}, "rewrite": [grow, grow, grow]}]);
        vec![s.fake(r#"{"a-name-of-some-length": "b"}"#), s.es(0, json!({ "dataFrom": from }))]
    })
    .each(TOO_LARGE),
    Attack::new("rewrite-transform-grows", "a transformation that makes names of a MiB, for 1,000 keys", |s| {
        let transform = json!({"transform": {"template": r#"{{ .value }}{{ repeat 1000000 "x" }}"#}});
        let from = json!([{"extract": {"key": "k"}, "rewrite": [transform]}]);
        vec![s.fake(&keys(1000, "v").to_string()), s.es(0, json!({ "dataFrom": from }))]
    })
    .each(TOO_LARGE),
    Attack::new("password-times-keys", "passwords of 65,536 characters under 20,000 keys", |s| {
        let names = many(20_000, |n| format!("k{n}"));
        let spec = json!({"length": 65_536, "allowRepeat": true, "secretKeys": names});
        vec![s.fake("v"), s.generator("Password", "p", spec), generated(s, 0, "Password", "p")]
    })
    .each(TOO_LARGE),
    Attack::new("password-same-keys", "20,000 times the same key for a password", |s| {
        let spec = json!({"length": 8, "secretKeys": many(20_000, |n| format!("k{}", n / 2))});
        vec![s.fake("v"), s.generator("Password", "p", spec), generated(s, 0, "Password", "p")]
    }),
    Attack::new("one-value-often", "10,000 entries of one large value", |s| {
        let data = many(10_000, |n| entry(n, "k"));
        vec![s.fake(&"v".repeat(900_000)), s.es(0, json!({ "data": data }))]
    })
    .each(TOO_LARGE),
    Attack::new("extracted-often", "2,000 times all keys of one large value", |s| {
        let from = many(2000, |_| json!({"extract": {"key": "k"}}));
        vec![s.fake(&keys(1000, &"v".repeat(700)).to_string()), s.es(0, json!({ "dataFrom": from }))]
    })
    .each(TOO_LARGE),
    Attack::new("big-bodies", "15 MiB for each of 200 keys", |s| {
        with(s.vault("big"), [s.es(0, json!({"data": many(200, |n| property(n, "value"))}))])
    })
    .seconds(15)
    .each(TOO_LARGE),
    Attack::new("big-bodies-of-many", "15 MiB for each of 100 ExternalSecrets", |s| {
        let secrets = many(100, |n| s.es(n, json!({"dataFrom": [{"extract": {"key": format!("k{n}")}}]})));
        with(s.vault("big"), secrets)
    })
    // A core needs four tenths of a second for each.
    .seconds(40)
    .each(TOO_LARGE),
    Attack::new("big-body-of-all", "the same 15 MiB for 100 ExternalSecrets", |s| {
        let secrets = many(100, |n| s.es(n, json!({"dataFrom": [{"extract": {"key": "k"}}]})));
        with(s.vault("big"), secrets)
    })
    .seconds(15)
    .each(TOO_LARGE),
    Attack::new("value-of-all", "the same 900 KiB for 200 ExternalSecrets, ten times each", |s| {
        let data = many(10, |n| entry(n, "k"));
        with([s.fake(&"v".repeat(900_000))], many(200, |n| s.es(n, json!({ "data": data }))))
    })
    .seconds(15)
    .each(TOO_LARGE),
    Attack::new("million-keys", "a secret of a million keys", |s| {
        with(s.vault("million-keys"), many(10, |n| s.es(n, json!({"dataFrom": [{"extract": {"key": "k"}}]}))))
    })
    .seconds(10)
    .each(&["(limit ", "limit exceeded: ", "Too many", "1 MiB", "too large", "keys"]),
    Attack::new("failing-list", "a failing extract of a list of 15 MiB", |s| {
        let extract = json!([{"extract": {"key": "k", "property": "value"}}]);
        with(s.vault("big-list"), many(10, |n| s.es(n, json!({ "dataFrom": extract }))))
    })
    .seconds(10)
    .each(&["(limit ", "limit exceeded: ", "object", "map", "too large"]),
    Attack::new("deep-json", "JSON of seven million levels", |s| {
        let paths = ["value", "value.0.0.0", "value.#.#"];
        with(s.vault("deep"), paths.iter().enumerate().map(|(n, path)| s.es(n, json!({"data": [property("k", path)]}))))
    })
    .each(&["(limit ", "limit exceeded: ", "deep", "nest", "too large", "no JSON", "JSON", "not found", "no property"]),
    Attack::new("many-names", "a search that finds 800,000 names", |s| {
        with(s.vault("names"), many(10, |n| s.es(n, json!({"dataFrom": [{"find": {"name": {"regexp": ".*"}}}]}))))
    })
    .seconds(12)
    .each(&["(limit ", "limit exceeded: ", "more than"]),
    Attack::new("merge-of-many", "a merge of 300 large objects", |s| {
        let merge = json!([{"merge": {"into": "all", "strategy": "JSON", "conflictPolicy": "Ignore"}}]);
        let from = many(300, |_| json!({"extract": {"key": "k"}, "rewrite": merge}));
        let value = keys(1000, &json!({"a": "v".repeat(700)}).to_string());
        vec![s.fake(&value.to_string()), s.es(0, json!({ "dataFrom": from }))]
    })
    .each(TOO_LARGE),
    Attack::new("template-repeats", "a thousand templates that repeat a letter a million times", |s| {
        let one = r#"{{ repeat 1000000 "x" }}"#;
        vec![s.fake("v"), s.templates(0, keys(1000, one))]
    })
    .each(TOO_LARGE),
    Attack::new("template-repeats-of-many", "15 templates that repeat a letter four million times, of 100 ExternalSecrets", |s| {
        let one = r#"{{ repeat 4000000 "x" }}"#;
        with([s.fake("v")], many(100, |n| s.templates(n, keys(15, one))))
    })
    .seconds(15)
    .each(TOO_LARGE),
    Attack::new("template-growers", "functions that make much of little", |s| s.each_template(GROWERS)).each(TOO_LARGE),
    Attack::new("json-bomb", "values that hold themselves twice, over and over, written as JSON", |s| {
        s.each_template(&[
            r#"{{ $x := dict }}{{ range until 60 }}{{ $x = dict "a" $x "b" $x }}{{ end }}{{ toJson $x }}"#,
            r#"{{ $x := list 1 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ toYaml $x }}"#,
            r#"{{ $x := list 1 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ $x }}"#,
            r#"{{ $x := dict }}{{ range until 60 }}{{ $x = dict "a" $x "b" $x }}{{ end }}{{ deepEqual $x (deepCopy $x) }}"#,
        ])
    })
    .each(LIMIT),
    Attack::new("deep-values", "values a million levels deep, and their end", |s| {
        s.each_template(&[
            r#"{{ $x := list }}{{ range until 300000 }}{{ $x = list $x }}{{ end }}{{ toJson $x | len }}"#,
            r#"{{ $x := dict }}{{ range until 300000 }}{{ $x = dict "a" $x }}{{ end }}{{ $x | toYaml | len }}"#,
            r#"{{ $x := list }}{{ range until 300000 }}{{ $x = list $x }}{{ end }}done"#,
            r#"{{ repeat 400000 "[" | fromJson }}"#,
            r#"{{ repeat 400000 "{a: " | fromYaml }}"#,
        ])
    }),
    Attack::new("yaml-bombs", "aliases of aliases in YAML", |s| {
        let bomb = (1..12).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
        let bomb = format!("a0: &a0 [x]\n{}", bomb.collect::<String>());
        let literal = json!({"template": {"templateFrom": [{"target": "Data", "literal": bomb}]}});
        let text = format!("{{{{ fromYaml {} | toJson }}}}", serde_json::to_string(&bomb).unwrap_or_default());
        vec![s.fake("v"), s.es(0, json!({ "target": literal })), s.template(1, text)]
    })
    .one(&["(limit ", "limit exceeded: ", "alias", "YAML", "text", "string"]),
    Attack::new("configmap-ranges", "a template of 900 KiB with loops in a ConfigMap", |s| {
        let text = "{{ range until 1000000 }}xxxxxxxx{{ end }}".repeat(20_000);
        let template = json!({"templateFrom": [{"configMap": {"name": s.name("c"), "items": [{"key": "t"}]}}]});
        vec![s.fake("v"), s.config_map("c", json!({ "t": text })), s.es(0, json!({"target": {"template": template}}))]
    })
    .each(LIMIT),
    Attack::new("empty-keys", "templates from 20 ConfigMaps of 40,000 keys without values", |s| {
        let maps = many(20, |n| s.config_map(format!("c{n}"), keys(40_000, "")));
        let from = many(20, |n| json!({"configMap": {"name": s.name(format!("c{n}")), "items": [{"key": "k0"}]}}));
        let target = json!({"template": {"templateFrom": from}});
        with([s.fake("v")], maps.into_iter().chain(many(5, |n| s.es(n, json!({ "target": target })))))
    })
    .seconds(12)
    .each(LIMIT),
    Attack::new("full-sources", "40 ExternalSecrets, each with templates from the same 20 ConfigMaps of 900 KiB", |s| {
        let text = "x".repeat(450 << 10);
        let maps = many(20, |n| s.config_map(format!("c{n}"), json!({ format!("a{n}"): text, format!("b{n}"): text })));
        let items = |n: usize| json!([{ "key": format!("a{n}") }, { "key": format!("b{n}") }]);
        let from = many(20, |n| json!({"configMap": {"name": s.name(format!("c{n}")), "items": items(n)}}));
        let target = json!({"template": {"templateFrom": from}});
        with([s.fake("v")], maps.into_iter().chain(many(40, |n| s.es(n, json!({ "target": target })))))
    })
    .seconds(15)
    .each(TOO_LARGE),
    Attack::new("huge-metadata", "50 ExternalSecrets with 240 KiB of annotations, copied to their targets", |s| {
        with([s.fake("v")], many(50, |n| {
            let mut secret = s.es(n, json!({}));
            secret["metadata"]["annotations"] = json!({"a/b": "x".repeat(240_000)});
            secret["metadata"]["labels"] = keys(1000, "l");
            secret
        }))
    })
    .seconds(10),
    Attack::new("objects-at-rest", "300 ExternalSecrets and 100 stores of 900 KiB each", |s| {
        let text = "x".repeat(450 << 10);
        let stores = many(100, |n| {
            let data = json!([{"key": "k", "value": text}, {"key": "l", "value": text}]);
            s.store_named(n, json!({"fake": {"data": data}}))
        });
        with(stores, with([s.fake("v")], many(300, |n| s.templates(n, json!({"a": text, "b": text})))))
    })
    .seconds(20)
    .one(LIMIT),
    Attack::new("cached-templates", "400 ExternalSecrets with a template of 100 KiB each", |s| {
        with([s.fake("v")], many(400, |n| s.template(n, format!("{n}{}", "{{ .k }}".repeat(12_000)))))
    })
    .seconds(15),
];

/// Each makes hundreds of MiB at least.
const GROWERS: &[&str] = &[
    r#"{{ repeat 1000 (repeat 1000 (repeat 1000 "x")) | len }}"#,
    r#"{{ len (until 2000000000) }}"#,
    r#"{{ seq 1 1 999999999 | len }}"#,
    r#"{{ untilStep 0 1000000000 1 | len }}"#,
    r#"{{ indent 1000000000 "x" | len }}"#,
    r#"{{ nindent 1000000000 "x" | len }}"#,
    r#"{{ randAlphaNum 1000000000 | len }}"#,
    r#"{{ replace "" (repeat 10000 "y") (repeat 100000 "x") | len }}"#,
    r#"{{ range until 1000 }}{{ printf "%999999d" 1 }}{{ end }}"#,
    r#"{{ regexReplaceAll "" (repeat 100000 "x") (repeat 10000 "y") | len }}"#,
    r#"{{ $x := "xxxxxxxx" }}{{ range until 60 }}{{ $x = print $x $x }}{{ end }}{{ len $x }}"#,
    r#"{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = concat $x $x }}{{ end }}{{ len $x }}"#,
    r#"{{ splitList "" (repeat 5000000 "x") | join (repeat 1000 "y") | len }}"#,
    r#"{{ wrapWith 1 (repeat 100000 "y") (repeat 100000 "x ") | len }}"#,
    r#"{{ $x := "x" }}{{ range until 60 }}{{ $x = $x | b64enc | quote | toJson }}{{ end }}{{ len $x }}"#,
    r#"{{ range until 100000 }}{{ repeat 100000 "x" }}{{ end }}"#,
];

fn generated(s: &Scene, part: impl std::fmt::Display, kind: &str, name: &str) -> Value {
    let generator = json!({
        "apiVersion": "generators.external-secrets.io/v1alpha1", "kind": kind, "name": s.name(name),
    });
    s.es(part, json!({"dataFrom": [{"sourceRef": {"generatorRef": generator}}]}))
}

fn property(n: impl std::fmt::Display, path: &str) -> Value {
    json!({"secretKey": format!("k{n}"), "remoteRef": {"key": format!("k{n}"), "property": path}})
}
