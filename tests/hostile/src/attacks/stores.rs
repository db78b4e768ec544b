//! Stores: servers that answer late, never, too much, or with what means something else.

use serde_json::{Value, json};

use crate::attack::{Attack, Scene, entry, many, with};

/// What is told where a server does not answer in time.
const LATE: &[&str] = &["(limit ", "limit exceeded: ", "in time", "timed out", "did not answer", "no answer", "within"];

/// What is told where a server asks for patience.
const BUSY: &[&str] = &["(limit ", "limit exceeded: ", "throttl", "too many requests", "429", "slow down", "rate"];

/// Ill stores.
pub const ATTACKS: &[Attack] = &[
    Attack::new("hang", "1,000 ExternalSecrets of a store that never answers", |s| crowd(s, "hang", 1000)).seconds(20),
    Attack::new("dead", "1,000 ExternalSecrets of a store that does not even know who logs in", |s| {
        crowd(s, "dead", 1000)
    })
    .seconds(15),
    Attack::new("busy-login", "a store that asks for a year of patience at its login", |s| logins(s, "busy"))
        .seconds(15)
        .one(BUSY),
    Attack::new("hang-each", "300 stores that never answer, each with an ExternalSecret", |s| {
        let stores = many(300, |n| s.store_named(format!("s{n}"), s.vault_provider(&s.server.url("hang"))));
        let secrets = many(300, |n| {
            s.es(n, json!({"secretStoreRef": {"name": s.name(format!("s{n}"))}, "data": [entry("k", "k")]}))
        });
        with([s.token()], [stores, secrets].concat())
    })
    .seconds(20),
    Attack::new("hang-once", "one ExternalSecret of a store that never answers", |s| crowd(s, "hang", 1))
        .seconds(40)
        .each(LATE),
    Attack::new("search-hangs", "searches in a store that never answers", |s| {
        let find = json!([{"find": {"name": {"regexp": ".*"}}}]);
        with(s.vault("hang"), many(50, |n| s.es(n, json!({ "dataFrom": find }))))
    })
    .seconds(20),
    Attack::new("trickle", "bodies that come a byte at a time", |s| crowd(s, "trickle", 200)).seconds(20),
    Attack::new("retry-year", "1,000 ExternalSecrets of a store that asks for a year of patience", |s| {
        crowd(s, "retry-year", 1000)
    })
    .seconds(20)
    .one(BUSY),
    Attack::new("retry-huge", "one that asks for more seconds than there are", |s| crowd(s, "retry-huge", 50))
        .seconds(15)
        .one(BUSY),
    Attack::new("retry-date", "one that asks for patience until the year 9999", |s| crowd(s, "retry-date", 50))
        .seconds(15)
        .one(BUSY),
    Attack::new("endless-folders", "folders within folders without end", |s| search(s, "endless")).seconds(15),
    Attack::new("wide-folders", "a thousand folders in each folder", |s| search(s, "wide")).seconds(15),
    Attack::new("endless-pages", "pages of an API server without end", |s| {
        let find = json!([{"find": {"name": {"regexp": ".*"}}}]);
        let store = s.store(s.kubernetes_provider(&s.server.url("pages")));
        with([s.token(), store], many(20, |n| s.es(n, json!({ "dataFrom": find }))))
    })
    .seconds(15),
    Attack::new("garbage", "answers that nobody understands", |s| crowd(s, "garbage", 50)).one(&[
        "no Vault",
        "not a Vault",
        "understand",
        "JSON",
        "malformed",
        "no answer of",
        "answer",
    ]),
    Attack::new("redirect-loop", "redirects that lead in a circle", |s| crowd(s, "loop", 50)).one(&["redirect"]),
    Attack::new("redirect-away", "redirects to where clouds keep their metadata", |s| crowd(s, "away", 50))
        .one(&["redirect"]),
    Attack::new("endless-lease", "a login that lasts 2^63 seconds", |s| logins(s, "lease")),
    Attack::new("brief-lease", "logins that last a second each", |s| logins(s, "brief")).seconds(12),
    Attack::new("metadata-addresses", "stores at the metadata addresses of clouds, in every spelling", |s| {
        let stores = METADATA.iter().enumerate().map(|(n, host)| {
            let provider = s.vault_provider(&format!("http://{host}/"));
            s.store_named(format!("s{n}"), provider)
        });
        let secrets = many(METADATA.len(), |n| {
            s.es(n, json!({"secretStoreRef": {"name": s.name(format!("s{n}"))}, "data": [entry("k", "k")]}))
        });
        with([s.token()], stores.chain(secrets))
    })
    .each(&["link-local", "refused to stores", "not allowed", "--allow-store-addresses"]),
];

/// Metadata services, by address and by name.
const METADATA: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "0xa9fea9fe",
    "2852039166",
    "169.254.43518",
    "0251.0376.0251.0376",
    "169.254.169.254.",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    "[2002:a9fe:a9fe::1]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "100.100.100.200",
    "168.63.129.16",
];

/// So many ExternalSecrets of a store that answers like this.
fn crowd(s: &Scene, answers: &str, count: usize) -> Vec<Value> {
    with(s.vault(answers), many(count, |n| s.es(n, json!({"data": [entry("k", format!("k{n}"))]}))))
}

fn search(s: &Scene, answers: &str) -> Vec<Value> {
    let find = json!([{"find": {"path": "a", "name": {"regexp": ".*"}}}]);
    with(s.vault(answers), many(20, |n| s.es(n, json!({ "dataFrom": find }))))
}

fn logins(s: &Scene, answers: &str) -> Vec<Value> {
    let mut provider = s.vault_provider(&s.server.url(answers));
    let secret = json!({"name": s.name("token"), "key": "token"});
    provider["vault"]["auth"] = json!({"appRole": {"path": "approle", "roleId": "role", "secretRef": secret}});
    let secrets = many(20, |n| s.es(n, json!({"data": [entry("k", format!("k{n}"))], "refreshInterval": "1s"})));
    with([s.token(), s.store(provider)], secrets)
}
