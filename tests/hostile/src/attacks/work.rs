//! Work: what is short to write and long to compute.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::attack::{Attack, LIMIT, keys, many, with};

/// A limit, or the deadline.
const STOPPED: &[&str] = &["(limit ", "limit exceeded: ", "too long"];

/// Long work.
pub const ATTACKS: &[Attack] = &[
    Attack::new("nested-loops", "loops within loops within loops, in twenty ExternalSecrets", |s| {
        let text = "{{ range until 10000 }}{{ range until 10000 }}{{ range until 10000 }}{{ end }}{{ end }}{{ end }}";
        with([s.fake("v")], many(20, |n| s.template(n, text)))
    })
    .each(STOPPED),
    Attack::new("many-loops", "a thousand templates, each just below the limit of one", |s| {
        let text = "{{ range until 1000 }}{{ range until 300 }}{{ end }}{{ end }}";
        with([s.fake("v")], many(5, |n| s.templates(n, keys(1000, text))))
    })
    .each(STOPPED),
    Attack::new("many-actions", "a template of a hundred thousand actions", |s| {
        with([s.fake("v")], many(5, |n| s.template(n, "{{ .k }}".repeat(100_000))))
    }),
    Attack::new("deep-ifs", "ten thousand conditions within each other", |s| {
        s.each_template(&[
            &format!("{}{}", "{{ if true }}".repeat(10_000), "{{ end }}".repeat(10_000)),
            &format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
            &format!("{{{{ print {} }}}}", "1 | print ".repeat(20_000)),
        ])
    }),
    Attack::new("template-recursion", "templates that call themselves and each other", |s| {
        s.each_template(&[
            r#"{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}"#,
            r#"{{ define "x" }}{{ template "y" . }}{{ template "y" . }}{{ end }}{{ define "y" }}{{ template "x" . }}{{ end }}{{ template "x" . }}"#,
        ])
    })
    .each(&["(limit ", "limit exceeded: ", "deep", "depth", "within each other", "exceeded"]),
    Attack::new("rsa-keys", "RSA keys, certificates and CAs in loops, in twenty ExternalSecrets", |s| {
        let texts = [
            r#"{{ range until 100 }}{{ genPrivateKey "rsa" }}{{ end }}"#,
            r#"{{ range until 100 }}{{ (genCA "x" 365).Cert }}{{ end }}"#,
            r#"{{ range until 100 }}{{ (genSelfSignedCert "x" nil nil 365).Key }}{{ end }}"#,
            r#"{{ range until 100 }}{{ genPrivateKey "dsa" }}{{ end }}"#,
        ];
        with([s.fake("v")], many(20, |n| s.template(n, texts[n % texts.len()])))
    })
    .seconds(20)
    .each(STOPPED),
    Attack::new("slow-hashes", "bcrypt, htpasswd and derivePassword in loops, in twenty ExternalSecrets", |s| {
        let texts = [
            r#"{{ range until 10000 }}{{ bcrypt "x" }}{{ end }}"#,
            r#"{{ range until 10000 }}{{ htpasswd "a" "b" }}{{ end }}"#,
            r#"{{ range until 10000 }}{{ derivePassword 1 "long" "p" "u" "s" }}{{ end }}"#,
        ];
        with([s.fake("v")], many(20, |n| s.template(n, texts[n % texts.len()])))
    })
    // Each computes as much as it may, which takes a core two to four seconds.
    .seconds(60)
    .each(STOPPED),
    Attack::new("slow-hashes-once", "one derivePassword each in 200 ExternalSecrets: 32 MiB at once", |s| {
        let text = r#"{{ derivePassword 1 "long" "p" "u" "s" }}"#;
        with([s.fake("v")], many(200, |n| s.template(n, text)))
    })
    .seconds(15),
    Attack::new("pkcs12-iterations", "a PKCS#12 file whose password takes two thousand million rounds", |s| {
        let text = "{{ .k | b64dec | pkcs12key }}";
        with([s.fake(&STANDARD.encode(pkcs12()))], many(10, |n| s.template(n, text)))
    })
    .each(&["(limit ", "limit exceeded: ", "template", "too long", "PKCS"]),
    Attack::new("sync-windows", "windows that open each minute for a thousand hours, in 100 ExternalSecrets", |s| {
        let windows = many(50, |_| json!({"schedule": "* * * * *", "duration": "1000h"}));
        let deny = many(50, |n| json!({"schedule": format!("{} 0 29 2 *", n % 60), "duration": "1m"}));
        with([s.fake("v")], many(100, |n| {
            let (kind, windows) = if n % 2 == 0 { ("deny", &windows) } else { ("allow", &deny) };
            s.es(n, json!({"syncWindows": {"kind": kind, "windows": windows}, "refreshInterval": "1s"}))
        }))
    }),
    Attack::new("queries", "queries within queries over a large JSON, 1,000 times", |s| {
        let value = json!({"a": many(8000, |n| json!({"b": n, "c": "x".repeat(60)}))}).to_string();
        let path = |n: usize| format!(r#"a.#(b>{n})#|@reverse|@pretty|@ugly|#(c%"*x*y*x*")#|@tostr|@fromstr"#);
        let data = many(1000, |n| json!({"secretKey": format!("k{n}"), "remoteRef": {"key": "k", "property": path(n)}}));
        with([s.fake(&value)], many(3, |n| s.es(n, json!({ "data": data }))))
    })
    .seconds(12)
    .each(&["(limit ", "limit exceeded: ", "too long", "Too many"]),
    Attack::new("small-queries", "patterns over a small JSON, each below its limit, each second in 200 ExternalSecrets", |s| {
        let value = json!({"a": format!("{}!", "x".repeat(60_000))}).to_string();
        let path = |n: usize| format!(r#"[a].#(%"*x*x*x*{n}").0"#);
        let data = many(32, |n| json!({"secretKey": format!("k{n}"), "remoteRef": {"key": "k", "property": path(n)}}));
        with([s.fake(&value)], many(200, |n| s.es(n, json!({"data": data, "refreshInterval": "1s"}))))
    })
    .seconds(15),
    Attack::new("filters-in-filters", "a webhook whose JSONPath has filters within filters, each from the root", |s| {
        let path = format!("$[?{}(@==2){}]", "($[?".repeat(5), "])".repeat(5));
        let store = |name: &str| {
            s.store_named(name, json!({"webhook": {"url": s.server.url(name), "result": {"jsonPath": path}}}))
        };
        let names = ["list", "long-list"];
        with(
            names.map(store),
            many(20, |n| {
                let store = s.name(names[n % names.len()]);
                s.es(n, json!({"refreshInterval": "1s", "secretStoreRef": {"name": store}}))
            }),
        )
    })
    .each(&["leads to too much", "(limit "]),
    Attack::new("transform-loops", "a transformation that loops, for 10,000 keys", |s| {
        let transform = json!({"transform": {"template": "{{ range until 10000 }}{{ end }}{{ .value }}"}});
        let from = json!([{"extract": {"key": "k"}, "rewrite": [transform, transform]}]);
        with([s.fake(&keys(10_000, "v").to_string())], many(5, |n| s.es(n, json!({ "dataFrom": from }))))
    })
    .each(STOPPED),
    Attack::new("rewrite-loops", "300 rewrites of 10,000 keys", |s| {
        let rewrite = many(300, |_| json!({"regexp": {"source": "(.*)(.*)(k[0-9]*)", "target": "${3}"}}));
        let from = json!([{"extract": {"key": "k"}, "rewrite": rewrite}]);
        with([s.fake(&keys(10_000, "v").to_string())], many(5, |n| s.es(n, json!({ "dataFrom": from }))))
    })
    .seconds(12),
    Attack::new("values-in-words", "ten thousand values, of which a failing template's message must hold none", |s| {
        let text = format!("{}{{{{ fail .k1 }}}}", "{{ .k0 }}".repeat(1000));
        let extract = json!([{"extract": {"key": "k"}}]);
        let target = json!({"template": {"data": {"v": text}}});
        with(
            [s.fake(&keys(10_000, "a-value-of-some-length").to_string())],
            many(10, |n| s.es(n, json!({"dataFrom": extract, "target": target}))),
        )
    }),
    Attack::new("many-failing", "2,000 entries that fail, of a value of 900 KiB", |s| {
        let data = many(2000, |n| json!({"secretKey": format!("k{n}"), "remoteRef": {"key": "k", "property": format!("a.{n}.b")}}));
        with([s.fake(&keys(9000, &"v".repeat(80)).to_string())], many(5, |n| s.es(n, json!({ "data": data }))))
    })
    .seconds(10),
    Attack::new("loops-of-many", "500 ExternalSecrets whose templates meet their limit, each second", |s| {
        let text = "{{ range until 10000 }}{{ range until 10000 }}{{ end }}{{ end }}";
        with([s.fake("v")], many(500, |n| {
            let target = json!({"template": {"data": {"v": text}}});
            s.es(n, json!({"target": target, "refreshInterval": "1s"}))
        }))
    })
    .seconds(20)
    .one(LIMIT),
];

/// A PKCS#12 file without contents: what it has is a MAC, made with as many iterations as a 32-bit number can say.
fn pkcs12() -> Vec<u8> {
    let der = |tag: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
        let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, content.to_vec()].concat()
    };
    let sequence = |parts: &[Vec<u8>]| der(0x30, &parts.concat());
    let data = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
    let sha1 = [0x2b, 0x0e, 0x03, 0x02, 0x1a];
    let content = der(0xa0, &der(0x04, &sequence(&[])));
    let algorithm = sequence(&[der(0x06, &sha1), der(0x05, &[])]);
    let digest = sequence(&[algorithm, der(0x04, &[0; 20])]);
    let iterations = der(0x02, &[0x7f, 0xff, 0xff, 0xff]);
    let mac = sequence(&[digest, der(0x04, &[1; 8]), iterations]);
    sequence(&[der(0x02, &[3]), sequence(&[der(0x06, &data), content]), mac])
}
