//! What one look may take: whatever a spec asks for, it ends soon, in bounded memory, with the limit's name; and nothing of a
//! value is ever told, whichever way it fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use keyferry_builders::{es, key, store};
use keyferry_crds::{DeletionPolicy, ExternalSecret};
use keyferry_limits::{self as limits, Budget};
use keyferry_provider_core::{Dialect, PropertyLookup, SecretBytes};
use keyferry_sync::content::Content;
use keyferry_sync::data::Sources;
use keyferry_sync::dependency::{Dependency, Kind};
use keyferry_sync::engine::{Engine, Means};
use keyferry_sync::outcome::{Failure, Outcome, Synced, TargetChange};
use keyferry_sync::record;
use keyferry_sync::render::{Answers, render};
use keyferry_sync::request::{Origin, Wanted, requests};
use keyferry_sync::store::{Readiness, Store};
use keyferry_sync::template::content;
use serde_json::{Value, json};

/// What a store holds, by name: every key of the spec is answered.
type Held<'a> = &'a [(&'a str, &'a str)];

/// All that is told of an outcome: conditions, events, and the log line.
fn all_told(es: &ExternalSecret, outcome: &Outcome) -> String {
    let status = record::status(es, outcome, "1", Timestamp::UNIX_EPOCH, None).map(|status| json!(status).to_string());
    let notes = record::notes(es, outcome).into_iter().map(|note| note.message.into_string());
    status.into_iter().chain(notes).chain([format!("{outcome:?}")]).collect::<Vec<_>>().join("\n")
}

/// What the pure stages make of a spec. Searches find all that is held.
fn made(
    spec: Value,
    held: Held<'_>,
    (sources, dialect): (&Sources, Dialect),
    budget: &Budget,
) -> Result<Content, Failure> {
    let mut spec = spec;
    spec["secretStoreRef"] = json!({"name": "s"});
    let es: ExternalSecret = es(spec);
    let store = Arc::new(Store::namespaced(store(json!({"provider": {"fake": {}}}))));
    let stores = [(store.id.clone(), (store.clone(), Readiness::Ready))].into_iter().collect();
    let engine = Engine::new("{{", "}}");
    let means = Means { engine: &engine, now: Timestamp::UNIX_EPOCH, budget };
    let requests = requests(&es, &stores);
    let mut answers = Answers::default();
    answers.dialects.insert(store.id.clone(), dialect);
    for (place, request) in requests.iter().enumerate() {
        if matches!(request.origin, Origin::Store(_, Wanted::Query(_))) {
            answers.found.insert(place, Ok(held.iter().map(|(name, _)| key(*name)).collect()));
        }
    }
    for (name, value) in held {
        answers.values.insert((store.id.clone(), key(*name)), Ok(SecretBytes::from(*value)));
    }
    let rendered = render(&requests, &answers, &DeletionPolicy::Retain, &means)?;
    content(&es, rendered.data, sources, &means)
}

fn refused(spec: Value, held: Held<'_>, budget: Budget) -> String {
    let failure = made(spec, held, (&Sources::new(), Dialect::default()), &budget).expect_err("it is too much");
    failure.to_string()
}

fn entries(count: usize, remote: &Value) -> Value {
    (0..count).map(|n| json!({"secretKey": format!("k{n}"), "remoteRef": remote})).collect()
}

#[test]
fn a_look_has_so_many_bytes() {
    let large = "v".repeat(1 << 16);
    let object = format!("{{\"p\":\"{large}\"}}");
    let held = [("large", large.as_str()), ("object", object.as_str()), ("small", "1")];
    let rewrites = |operation: Value, times: usize| json!([{"find": {"name": {"regexp": "small"}}, "rewrite": vec![operation; times]}]);
    let large_target = json!({"regexp": {"source": "(.+)", "target": "$1".repeat(1000)}});
    let templates: BTreeMap<String, String> =
        (0..1000).map(|n| (format!("k{n}"), "{{ repeat 100000 .k0 }}".to_owned())).collect();
    let literal =
        json!({"literal": format!("a: &a {}\nb: [{}]", "{{ .k0 }}", vec!["*a"; 900].join(",")), "target": "spec.x"});
    for spec in [
        json!({"data": entries(1000, &json!({"key": "large"}))}),
        json!({"data": entries(1000, &json!({"key": "object", "property": "p"}))}),
        json!({"data": entries(1000, &json!({"key": "object", "property": "[@this,@this,@this]"}))}),
        json!({"data": entries(1000, &json!({"key": "large", "decodingStrategy": "Auto"}))}),
        json!({"dataFrom": rewrites(large_target, 4)}),
        json!({"data": entries(1, &json!({"key": "small"})), "target": {"template": {"data": templates}}}),
        json!({"data": entries(1, &json!({"key": "large"})),
            "target": {"manifest": {"apiVersion": "v1", "kind": "X"}, "template": {"templateFrom": [literal]}}}),
        json!({"dataFrom": (0..200).map(|_| json!({"extract": {"key": "object"}})).collect::<Value>()}),
    ] {
        let message = refused(spec.clone(), &held, Budget::new(4 << 20, 200_000_000));
        assert!(
            message.contains("(limit look-bytes)"),
            "{}: {message}",
            &spec.to_string()[..300.min(spec.to_string().len())]
        );
    }
}

#[test]
fn what_is_merged_again_and_again_is_paid_for_each_time() {
    let object = format!("{{\"p\":\"{}\"}}", "v".repeat(1 << 16));
    let merge =
        json!({"priority": vec!["object"; 1000], "conflictPolicy": "Ignore", "priorityPolicy": "IgnoreNotFound"});
    let find = json!([{"find": {"name": {"regexp": "object"}}, "rewrite": [{"merge": merge}]}]);
    let message =
        refused(json!({"data": [], "dataFrom": find}), &[("object", &object)], Budget::new(4 << 20, 200_000_000));
    assert!(message.contains("rewrite[0]: what one refresh") && message.contains("(limit look-bytes)"), "{message}");
}

#[test]
fn a_look_has_so_many_steps_all_templates_together() {
    let all = |text: &str, count: usize| {
        let data: BTreeMap<String, &str> = (0..count).map(|n| (format!("k{n}"), text)).collect();
        json!({"data": entries(1, &json!({"key": "small"})), "target": {"template": {"data": data}}})
    };
    for text in [
        r#"{{ genPrivateKey "rsa" }}"#,
        r#"{{ htpasswd "a" .k0 }}"#,
        r#"{{ derivePassword 1 "long" "a" "b" "c" }}"#,
        r#"{{ (genCA "a" 1).Key }}"#,
        "{{ range 100000 }}{{ end }}",
        r#"{{ range 1000 }}{{ regexMatch "(a|b|ab)*c" "ab" }}{{ end }}"#,
    ] {
        let message = refused(all(text, 1000), &[("small", "1")], Budget::new(64 << 20, 5_000_000));
        assert!(message.contains("(limit look-steps)"), "{text}: {message}");
        assert!(message.contains("spec.target.template.data[\"k"), "{text}: {message}");
    }
}

#[test]
fn a_template_that_meets_a_limit_of_its_own_is_told_which() {
    let small = [("small", "1")];
    for (text, limit) in [
        ("{{ range 9000000000000000000 }}{{ end }}", &limits::TEMPLATE_STEPS),
        (r#"{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}"#, &limits::TEMPLATE_DEPTH),
        (r#"{{ range 90 }}{{ repeat 100000 "a" }}{{ end }}"#, &limits::TEMPLATE_OUTPUT),
        (r#"{{ repeat 5000000 "a" }}"#, &limits::TEMPLATE_VALUE),
        (r#"{{ range 1000 }}{{ $x := repeat 1000000 "a" }}{{ end }}"#, &limits::TEMPLATE_MEMORY),
        ("{{ until 1000000 }}", &limits::TEMPLATE_LIST),
        (r#"{{ regexMatch "(\\pL{500}){2}" "a" }}"#, &limits::TEMPLATE_PATTERN),
        (&format!("{{{{ {}1{} }}}}", "(".repeat(101), ")".repeat(101)), &limits::TEMPLATE_NESTING),
        (&" ".repeat(limits::TEMPLATE_TEXT.size() + 1), &limits::TEMPLATE_TEXT),
    ] {
        let template = json!({"template": {"data": {"x": text}}});
        let spec = json!({"data": entries(1, &json!({"key": "small"})), "target": template});
        let message = refused(spec, &small, Budget::new(1 << 40, 1 << 40));
        assert!(message.contains("spec.target.template.data[\"x\"]"), "{limit}: {message}");
        assert!(message.contains(&limit.to_string()), "{limit}: {message}");
    }
}

#[test]
fn keys_that_are_no_keys_are_not_computed_with() {
    let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n", "AAAA".repeat(100_000));
    let template = r#"{{ rsaDecrypt "RSA-OAEP" "SHA256" "x" .k0 }}"#;
    let spec = json!({"data": entries(1, &json!({"key": "pem"})), "target": {"template": {"data": {"x": template}}}});
    assert!(refused(spec, &[("pem", &pem)], Budget::default()).contains("(limit look-steps)"));
}

#[test]
fn what_is_stopped_stops() {
    let (engine, budget) = (Engine::new("{{", "}}"), Budget::default());
    let means = Means { engine: &engine, now: Timestamp::UNIX_EPOCH, budget: &budget };
    let es = es(json!({"target": {"template": {"data": {"x": "{{ range 1000 }}{{ . }}{{ end }}"}}}}));
    assert!(content(&es, BTreeMap::new(), &Sources::new(), &means).is_ok());
    budget.stop();
    let failure = content(&es, BTreeMap::new(), &Sources::new(), &means).unwrap_err().to_string();
    assert!(failure.contains("spec.target.template.data[\"x\"]: line 1"), "{failure}");
    assert!(failure.contains(&limits::COMPUTE_TIME.to_string()), "{failure}");
}

/// Stands in every value, and nowhere else.
const CANARY: &str = "7Q3ZxW9Kp5Vd";

/// Whether four bytes of the canary, or of what templates make of it, are told.
fn tells(message: &str) -> bool {
    let forms = [CANARY.to_owned(), CANARY.to_lowercase(), CANARY.to_uppercase(), CANARY.chars().rev().collect()];
    forms
        .iter()
        .any(|form| form.as_bytes().windows(4).any(|part| message.as_bytes().windows(4).any(|told| told == part)))
}

/// Whole templates that fail, or do not, each over a value in its own way.
fn templates() -> Vec<String> {
    let value =
        ["v", "(fromJson .obj)"].map(|name| if name.starts_with('(') { name.to_owned() } else { format!(".{name}") });
    let functions = keyferry_template::Functions::standard();
    let mut all = Vec::new();
    for name in functions.names() {
        for value in &value {
            all.push(format!("{{{{ {name} {value} }}}}"));
            all.push(format!("{{{{ {name} {value} {value} {value} }}}}"));
        }
    }
    for text in [
        "{{ index (fromJson .obj) .v .v }}",
        "{{ fail .v }}",
        "{{ template .v }}",
        "{{ (fromJson .obj).k.x.y }}",
        "{{ index (list 1 2) (atoi .num) }}",
        "{{ slice .v (atoi .num) }}",
        "{{ range (atoi .v) }}{{ .x }}{{ end }}",
        "{{ .v | nindent -1 }}",
        "{{ printf \"%d\" .v | atoi | div 0 }}",
        "{{ required .v nil }}",
        "{{ must .v }}",
        "{{ .v }}: {{ .v }}",
        "{{ .v }}: [",
        "{{ .v }}:\n - a",
        "? {{ .v }}",
        "{{ .v }}: *{{ .v }}",
        "x: !!{{ .v }} y",
        "a b{{ .v }}: 1",
        "{{ .v }}/x: 1",
        "- {{ .v }}",
        "\"{{ .v }}",
        "{{ .v }}\t: x",
        "x: {{ .v | b64enc }}",
        "{{ .missing }}",
        "{{ .v.x }}",
        "{{ with .v }}{{ .y }}{{ end }}",
        "{{ $x := .v }}{{ $x.y }}",
        "{{ .v | reverse }}/: 1",
    ] {
        all.push(text.to_owned());
    }
    all
}

/// All ways to look up a property.
const LOOKUPS: [PropertyLookup; 8] = [
    PropertyLookup::Path,
    PropertyLookup::ExactThenPath,
    PropertyLookup::Base64Fields,
    PropertyLookup::DottedKeyThenPath,
    PropertyLookup::Parts,
    PropertyLookup::Items,
    PropertyLookup::ValueAndFields,
    PropertyLookup::OfTheStore,
];

#[test]
fn nothing_of_a_value_is_told_whichever_way_it_fails() {
    let object = json!({"k": CANARY, "deep": {"x": [CANARY, 1]}}).to_string();
    let pem = format!("-----BEGIN {CANARY}-----\n{CANARY}\n-----END {CANARY}-----\n");
    let held = [("v", CANARY), ("obj", &object), ("num", "73914628"), ("pem", &pem)];
    let data: Value = held.iter().map(|(name, _)| json!({"secretKey": name, "remoteRef": {"key": name}})).collect();
    let secret = Dependency { kind: Kind::Secret, namespace: "ns".into(), name: "t".into() };
    let (mut failed, mut complained) = (0, 0);
    let mut check = |spec: Value, sources: &Sources, dialect: Dialect| {
        let outcome = match made(spec.clone(), &held, (sources, dialect), &Budget::new(64 << 20, 1_000_000)) {
            Ok(content) => {
                complained += usize::from(!content.complaints.is_empty());
                let (change, complaints) = (TargetChange::Updated, content.complaints);
                Outcome::Synced(Synced { change, complaints, ..Synced::unchanged() })
            }
            Err(failure) => {
                failed += 1;
                Outcome::Failed(failure)
            }
        };
        let told = all_told(&es(spec.clone()), &outcome);
        assert!(!tells(&told) && !told.contains("7391"), "{spec}: {told}");
    };
    for text in templates() {
        let of = |template: Value| json!({"data": data, "target": {"template": template}});
        let item = |how: &str| json!({"secret": {"name": "t", "items": [{"key": "k", "templateAs": how}]}});
        let sources: Sources = [(secret.clone(), [("k".to_owned(), SecretBytes::from(text.as_str()))].into())].into();
        check(of(json!({"data": {"x": text}})), &sources, Dialect::default());
        check(of(json!({"templateFrom": [{"literal": text}]})), &sources, Dialect::default());
        check(of(json!({"templateFrom": [item("KeysAndValues")]})), &sources, Dialect::default());
        check(of(json!({"templateFrom": [{"literal": text, "target": "Labels"}]})), &sources, Dialect::default());
        let rewrite = json!([{"transform": {"template": text.replace(".v", ".value")}}, {"merge": {}}]);
        let find = json!({"dataFrom": [{"find": {"name": {"regexp": ".*"}}, "rewrite": rewrite}]});
        check(find, &sources, Dialect::default());
    }
    // A template's text that comes from a Secret is a value itself.
    for text in [format!("{{{{ .{CANARY} }}}}"), format!("{{{{ {CANARY} }}}}"), format!("{{{{ if {CANARY}")] {
        let sources: Sources = [(secret.clone(), [("k".to_owned(), SecretBytes::from(text.as_str()))].into())].into();
        let from = json!([{"secret": {"name": "t", "items": [{"key": "k"}]}}]);
        check(json!({"data": data, "target": {"template": {"templateFrom": from}}}), &sources, Dialect::default());
    }
    for remote in [
        json!({"key": "v", "property": "k.x"}),
        json!({"key": "obj", "property": "k.nope"}),
        json!({"key": "obj", "property": "deep.x.#(=="}),
        json!({"key": "obj", "decodingStrategy": "Base64"}),
        json!({"key": "pem", "decodingStrategy": "Base64URL"}),
        json!({"key": "v", "property": "[@this|@valid"}),
    ] {
        for property in LOOKUPS {
            let dialect = Dialect { property, ..Dialect::default() };
            check(json!({"data": [{"secretKey": "x", "remoteRef": remote}]}), &Sources::new(), dialect);
            check(json!({"dataFrom": [{"extract": remote}]}), &Sources::new(), dialect);
        }
    }
    assert!(failed > 1000 && complained > 0, "{failed} failures, {complained} complaints: nothing was tested");
}
