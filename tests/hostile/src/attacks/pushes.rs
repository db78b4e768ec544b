//! Pushes: what is written elsewhere, compared, selected and undone.

use serde_json::{Value, json};

use crate::attack::{Attack, LIMIT, Press, keys, many, with};

/// What is refused by a limit: by the operator, or by the API server.
const REFUSED: &[&str] = &["(limit ", "Too many", "Too long", "must have at most"];

/// An entry of a PushSecret.
fn pushed(key: &str, remote: &str, property: Option<String>) -> Value {
    json!({"match": {"secretKey": key, "remoteRef": {"remoteKey": remote, "property": property.unwrap_or_default()}}})
}

/// A selector of so many labels, of which all but the last are borne.
fn nearly(labels: usize) -> Value {
    let mut selector = keys(labels, "v");
    selector["zz"] = json!("another");
    json!({ "matchLabels": selector })
}

/// Pushes.
pub const ATTACKS: &[Attack] = &[
    Attack::new(
        "relabelled-store",
        "a store of 1,000 labels that change all the time, and 500 PushSecrets that nearly select it",
        |s| {
            let mut store = s.fake("v");
            store["metadata"]["labels"] = keys(1_000, "v");
            let refs = many(10, |_| json!({"labelSelector": nearly(19)}));
            let all = many(500, |n| {
                s.ps(n, json!({"refreshInterval": "1h", "secretStoreRefs": refs, "data": [pushed("k", "k", None)]}))
            });
            with([store, s.source("src", json!({"k": "v"}))], all)
        },
    )
    .press(Press::Patch("SecretStore", "s", |round| json!({"metadata": {"labels": {"round": round.to_string()}}})))
    .seconds(12),
    Attack::new(
        "selected-among-many",
        "1,000 stores, and 100 PushSecrets that nearly select each of them, and change all the time",
        |s| {
            let stores = many(1_000, |n| {
                let mut store = s.store_named(n, json!({"fake": {"data": []}}));
                store["metadata"]["labels"] = keys(20, "v");
                store
            });
            let refs = many(10, |_| json!({"labelSelector": nearly(19)}));
            let all = many(100, |n| s.ps(n, json!({"secretStoreRefs": refs, "data": [pushed("k", "k", None)]})));
            with(stores, with([s.source("src", json!({"k": "v"}))], all))
        },
    )
    .press(Press::Patch("PushSecret", "0", |round| json!({"metadata": {"labels": {"round": round.to_string()}}})))
    .seconds(12)
    .one(LIMIT),
    Attack::new("endless-selectors", "selectors of 30,000 values, for stores and for Secrets", |s| {
        let values = many(30_000, |n| format!("value-{n}"));
        let selector = json!({"matchExpressions": [{"key": "push", "operator": "In", "values": values}]});
        let entry = json!([pushed("k", "k", None)]);
        vec![
            s.fake("v"),
            s.ps(0, json!({"secretStoreRefs": [{"labelSelector": selector}], "data": entry})),
            s.ps(1, json!({"selector": {"secret": {"selector": selector}}, "data": entry})),
        ]
    })
    .each(REFUSED),
    Attack::new(
        "compared-anew",
        "a store that is read and never written, and queries that compare what it answers each second",
        |s| {
            let path = |n: usize| format!(r#"a.#(b>{n})#|@reverse|@pretty|@ugly|#(c%"*x*y*x*")#|@tostr|@fromstr"#);
            let data = many(100, |n| pushed("k", "k", Some(path(n))));
            let all = many(20, |n| s.ps(n, json!({ "data": data })));
            with(s.vault("unwritable"), with([s.source("src", json!({"k": "v"}))], all))
        },
    )
    .seconds(15),
    Attack::new(
        "full-sources-pushed",
        "40 PushSecrets, each of the same 40 Secrets of 900 KiB, by their labels",
        |s| {
            let text = "x".repeat(900 << 10);
            let sources = many(40, |n| s.source(format!("src-{n}"), json!({ "k": text })));
            let selector = json!({"secret": {"selector": {"matchLabels": {"push": s.attack}}}});
            let data = json!([pushed("k", "k", None)]);
            let all = many(40, |n| s.ps(n, json!({ "selector": selector, "data": data })));
            with([s.fake("v")], sources.into_iter().chain(all))
        },
    )
    .seconds(15),
    Attack::new("absent-entries", "1,000 entries that no Secret has, of 200 Secrets, into 20 stores", |s| {
        let stores = many(20, |n| s.store_named(n, json!({"fake": {"data": []}})));
        let sources = many(200, |n| s.source(format!("src-{n}"), json!({"k": "v"})));
        let refs = many(20, |n| json!({"name": s.name(n)}));
        let data = many(1_000, |n| pushed(&format!("absent-{n}"), &format!("k{n}"), None));
        let selector = json!({"secret": {"selector": {"matchLabels": {"push": s.attack}}}});
        let all = many(5, |n| s.ps(n, json!({"secretStoreRefs": refs, "selector": selector, "data": data})));
        with(stores, with(sources, all))
    })
    .seconds(12)
    .one(LIMIT),
    Attack::new("converted-keys", "a Secret of 20,000 keys that each of 1,000 entries converts, into 20 stores", |s| {
        let stores = many(20, |n| s.store_named(n, json!({"fake": {"data": []}})));
        let refs = many(20, |n| json!({"name": s.name(n)}));
        let data = many(1_000, |n| {
            let mut entry = pushed("absent", &format!("k{n}"), None);
            entry["conversionStrategy"] = json!("ReverseUnicode");
            entry
        });
        let all = many(10, |n| s.ps(n, json!({"secretStoreRefs": refs, "data": data})));
        with(stores, with([s.source("src", keys(20_000, ""))], all))
    })
    .seconds(12),
    Attack::new("keys-of-values", "a template that makes 5,000 keys of values, none of which can be written", |s| {
        let literal = "{{ range $key, $value := . }}{{ $key }}-{{ $value }}: \"x\"\n{{ end }}";
        let to = json!([{"storeRef": {"name": s.name("s")}}]);
        let template = json!({"templateFrom": [{"literal": literal}]});
        let all = many(10, |n| s.ps(n, json!({"dataTo": to, "template": template})));
        with(s.vault("unwritable"), with([s.source("src", keys(5_000, "a-value-of-some-length"))], all))
    })
    .seconds(12),
];
