//! Crowds: nothing that is wrong by itself, many times or all the time.

use serde_json::json;

use crate::attack::{Attack, Press, entry, keys, many, with};

/// Many of everything.
pub const ATTACKS: &[Attack] = &[
    Attack::new("tiny-interval", "200 ExternalSecrets that refresh each nanosecond", |s| {
        let secrets = many(200, |n| s.es(n, json!({"refreshInterval": "1ns", "data": [entry("k", format!("k{n}"))]})));
        with(s.vault("good"), secrets)
    })
    .seconds(10),
    Attack::new("tiny-interval-of-stores", "100 stores that are checked each nanosecond", |s| {
        let stores = many(100, |n| {
            let mut store = s.store_named(n, s.vault_provider(&s.server.url("good")));
            store["spec"]["refreshInterval"] = json!("1ns");
            store
        });
        with([s.token()], stores)
    })
    .seconds(10),
    Attack::new("many-stores", "10,000 stores", |s| {
        many(10_000, |n| s.store_named(n, json!({"fake": {"data": [{"key": "k", "value": "v"}]}})))
    })
    .seconds(10),
    Attack::new("many-clients", "1,000 stores with a connection each", |s| {
        let stores = many(1000, |n| s.store_named(n, s.vault_provider(&s.server.url("good"))));
        with([s.token()], stores)
    })
    .seconds(15),
    Attack::new("many-secrets", "2,000 ExternalSecrets at once", |s| {
        with([s.fake("v")], many(2000, |n| s.es(n, json!({"refreshInterval": "10s"}))))
    })
    .seconds(10),
    Attack::new("missing-entries", "5,000 entries that are not there", |s| {
        with([s.fake("v")], many(3, |n| s.es(n, json!({"data": many(5000, |n| entry(n, format!("missing-{n}")))}))))
    })
    .seconds(10),
    Attack::new("events-of-many", "1,000 ExternalSecrets of 20 entries that are not there, each second", |s| {
        let data = many(20, |n| entry(n, format!("missing-{n}")));
        with([s.fake("v")], many(1000, |n| s.es(n, json!({"data": data, "refreshInterval": "1s"}))))
    })
    .seconds(12),
    Attack::new("flap", "200 ExternalSecrets that come and go", |s| {
        with([s.fake("v")], many(200, |n| s.es(n, json!({}))))
    })
    .press(Press::Flap)
    .seconds(15),
    Attack::new("finalizer-storm", "200 ExternalSecrets that are deleted and stay", |s| {
        let secrets = many(200, |n| {
            let mut secret = s.es(n, json!({"target": {"deletionPolicy": "Delete"}, "refreshInterval": "1s"}));
            secret["metadata"]["finalizers"] = json!(["attacker.example/stay"]);
            secret
        });
        with([s.fake("v")], secrets)
    })
    .press(Press::Delete)
    .seconds(10),
    Attack::new("forced-syncs", "an ExternalSecret of 1,000 entries that is forced to sync all the time", |s| {
        with(s.vault("good"), [s.es(0, json!({"data": many(1000, |n| entry(n, format!("k{n}")))}))])
    })
    .press(Press::Patch("ExternalSecret", "0", |round| {
        json!({"metadata": {"annotations": {"external-secrets.io/force-sync": round.to_string()}}})
    }))
    .seconds(12),
    Attack::new("edited-targets", "a target that is edited all the time", |s| {
        let mut secret = s.es("e", json!({"dataFrom": [{"extract": {"key": "k"}}]}));
        secret["spec"]["target"] = json!({"name": s.name("target")});
        vec![s.fake(&keys(1000, &"v".repeat(500)).to_string()), secret]
    })
    .press(Press::Patch("Secret", "target", |round| json!({"stringData": {"k0": format!("edited {round}")}})))
    .seconds(12),
    Attack::new("busy-source", "a ConfigMap that 300 ExternalSecrets are made from, and that changes all the time", |s| {
        let template = json!({"templateFrom": [{"configMap": {"name": s.name("c"), "items": [{"key": "t"}]}}]});
        let secrets = many(300, |n| s.es(n, json!({"target": {"template": template}})));
        with([s.fake("v"), s.config_map("c", json!({"t": "a: {{ .k }}"}))], secrets)
    })
    .press(Press::Patch("ConfigMap", "c", |round| json!({"data": {"t": format!("a{round}: {{{{ .k }}}}")}})))
    .seconds(12),
    Attack::new("busy-store", "a store that 300 ExternalSecrets use, and that changes all the time", |s| {
        with([s.fake("v")], many(300, |n| s.es(n, json!({"refreshInterval": "1s"}))))
    })
    .press(Press::Patch("SecretStore", "s", |round| {
        json!({"spec": {"provider": {"fake": {"data": [{"key": "k", "value": round.to_string()}]}}}})
    }))
    .seconds(12),
    Attack::new("fighting-owners", "100 pairs that write the same key of the same Secret", |s| {
        let secrets = many(200, |n| {
            let target = json!({"name": s.name(format!("target-{}", n / 2)), "creationPolicy": "CreateOrMerge",
                "template": {"data": {"v": format!("of {n}")}}});
            s.es(n, json!({"target": target, "refreshInterval": "1s"}))
        });
        with([s.fake("v")], secrets)
    })
    .seconds(12),
    Attack::new("own-source", "100 ExternalSecrets whose template is their own target, which grows", |s| {
        let secrets = many(100, |n| {
            let name = s.name(format!("target-{n}"));
            let source = json!({"secret": {"name": name, "items": [{"key": "t"}]}});
            let literal = json!({"literal": "t: 'x{{ `{{ .k }}` }}x'"});
            s.es(n, json!({"target": {"name": name, "template": {"templateFrom": [literal, source]}}}))
        });
        with([s.fake("v")], secrets)
    })
    .seconds(12),
    Attack::new("circle-of-sources", "ExternalSecrets in a circle, each made from the target of the one before", |s| {
        let secrets = many(50, |n| {
            let source = json!({"secret": {"name": s.name(format!("target-{}", (n + 49) % 50)), "items": [{"key": "v"}]}});
            let template = json!({"templateFrom": [source], "data": {"v": "v: '{{ now }}'"}});
            s.es(n, json!({"refreshInterval": "1s", "target": {"name": s.name(format!("target-{n}")), "template": template}}))
        });
        with([s.fake("v")], secrets)
    })
    .seconds(12),
];
