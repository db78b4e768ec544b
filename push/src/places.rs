//! Whether two stores lead to one place, by their specs alone. Pure.
//!
//! Who logs in, and how, says nothing of where that is; an address that differs may be another name of one server. What is
//! wanted in the one is deleted in the other only where something shows that they differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyferry_crds::PushData;
use keyferry_sync::store::{Store, StoreId};
use serde_json::Value;

use crate::expand::{Wanted, elsewhere, own_place};
use crate::look::Look;
use crate::refers::store_key;

/// How the places of two stores stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// They differ for certain.
    Different,
    /// They may be one.
    Unclear,
    /// They are one for certain.
    Same,
}

/// Where a store is: its kind, and its configuration where that is looked at.
struct Site<'a> {
    kind: &'a str,
    config: Value,
}

/// The places of a store that are wanted there, with the entry of each where that is known.
type Places<'a> = BTreeMap<&'a str, Option<&'a PushData>>;

/// A store that something is wanted in.
struct Filled<'a> {
    store: &'a Store,
    site: Option<Site<'a>>,
    own: Option<String>,
    places: Places<'a>,
}

impl<'a> Filled<'a> {
    fn new(store: &'a Store, places: Places<'a>) -> Self {
        Self { store, site: site(store), own: own_place(store), places }
    }
}

/// The stores that something is wanted in, and where they are.
pub struct Sites<'a>(Vec<Filled<'a>>);

/// A store that something is deleted in, beside all that something is wanted in.
pub struct Leaving<'a> {
    sites: &'a Sites<'a>,
    store: &'a Store,
    site: Option<Site<'a>>,
    own: Option<String>,
}

/// `None` where it can't be told, or its spec does.
fn site(store: &Store) -> Option<Site<'_>> {
    let spec = store.spec.as_ref().ok()?;
    let mut names = spec.provider.names();
    match (names.next()?, names.next()) {
        // All that it holds stands there, and may be long.
        (FAKE, None) => Some(Site { kind: FAKE, config: Value::Null }),
        (_, Some(_)) => None,
        (_, None) => spec.the_provider().ok().map(|(kind, config)| Site { kind, config }),
    }
}

impl<'a> Sites<'a> {
    /// Takes the stores of a layout.
    pub fn of(look: &'a Look, layout: &'a BTreeMap<StoreId, Wanted>) -> Self {
        let known = layout.iter().filter_map(|(id, wanted)| {
            let (store, _) = look.stores.get(id)?;
            let entries = wanted.entries.iter().map(|(place, entry)| (place.as_str(), Some(&entry.data)));
            let failed = wanted.failed.keys().map(|place| (place.as_str(), None));
            Some(Filled::new(store, failed.chain(entries).collect()))
        });
        Self(known.collect())
    }

    /// Takes what is recorded of these stores for what is wanted there: so it is once all is pushed.
    pub fn recorded(look: &'a Look, stores: impl Iterator<Item = &'a Arc<Store>>) -> Self {
        let recorded = look.ps.status.as_ref().map(|status| &status.synced_push_secrets);
        let known = stores.filter_map(|store| {
            let places = recorded?.get(&store_key(&store.id))?;
            Some(Filled::new(store, places.iter().map(|(place, data)| (place.as_str(), Some(data))).collect()))
        });
        Self(known.collect())
    }

    /// Beside this store.
    pub fn leaving(&'a self, store: &'a Store) -> Leaving<'a> {
        // Nobody else wants anything: nothing is compared.
        let site = if self.0.is_empty() { None } else { site(store) };
        Leaving { sites: self, store, site, own: own_place(store) }
    }
}

impl<'a> Leaving<'a> {
    /// The store, of those that may lead there, in which what was pushed to this place is wanted, and how far that is so.
    pub fn wanted_through(&self, place: &str, data: &PushData) -> Option<(&'a StoreId, Likeness)> {
        let mut best = None;
        for (other, _, likeness) in self.through(place, data) {
            if likeness != Likeness::Different && best.is_none_or(|(_, known)| known < likeness) {
                best = Some((other, likeness));
            }
        }
        best
    }

    /// Whether one of the others is the same place for certain, and what it calls that is among these.
    pub fn is_among(&self, place: &str, data: &PushData, known: impl Fn(&StoreId, &str) -> bool) -> bool {
        self.through(place, data).any(|(other, there, likeness)| likeness == Likeness::Same && known(other, there))
    }

    /// The other stores that have a place of the name that this one would have there: what it is called, and how they stand to
    /// each other.
    fn through(&self, place: &str, data: &PushData) -> impl Iterator<Item = (&'a StoreId, &'a str, Likeness)> {
        self.sites.0.iter().filter(move |filled| filled.store.id != self.store.id).filter_map(move |filled| {
            let Filled { store: other, site, own, places } = filled;
            let specs = other.spec.as_ref().ok().zip(self.store.spec.as_ref().ok());
            let is_equal = specs.is_some_and(|(a, b)| a.provider == b.provider);
            let there = match (&self.site, site) {
                (Some(a), Some(b)) => through(a, b, place),
                _ => Some(place.to_owned()),
            };
            let (there, entry) = places.get_key_value(there?.as_str())?;
            let namespace = |data: &PushData, own: &Option<String>| {
                elsewhere(data, own.as_deref()).map(str::to_owned).or_else(|| own.clone())
            };
            let is_apart = entry.is_some_and(|entry| namespace(entry, own) != namespace(data, &self.own));
            let likeness = match (&self.site, site) {
                _ if is_apart => Likeness::Different,
                _ if is_equal => Likeness::Same,
                (Some(a), Some(b)) => likeness(a, b, &data.matched.remote_ref.remote_key),
                // Of what can't be read nothing is known.
                _ => Likeness::Unclear,
            };
            Some((&other.id, *there, likeness))
        })
    }
}

const FAKE: &str = "fake";
const AWS: &str = "aws";

/// By store, the fields of its spec that say where it is, the one that must be there first.
const WHERE: [(&str, &[&str]); 5] = [
    ("vault", &["server", "path", "namespace", "version"]),
    ("openBao", &["server", "path", "namespace", "version"]),
    ("azurekv", &["vaultUrl", "environmentType"]),
    ("gcpsm", &["projectID", "location"]),
    ("onepassword", &["connectHost", "vaults"]),
];

/// By store, the fields of its spec, written as JSON pointers, of which each shows that two places differ where both have it
/// and it is another; several are one where they are never there together.
const APART: [(&str, &[&[&str]]); 12] = [
    (AWS, &[&["/service"], &["/region"]]),
    ("alibaba", &[&["/regionID"]]),
    ("barbican", &[&["/tenantName"]]),
    ("bitwarden", &[&["/organizationID"], &["/projectID"]]),
    ("conjur", &[&["/auth/apikey/account", "/auth/jwt/account", "/auth/cert/account"]]),
    ("doppler", &[&["/project"], &["/config"]]),
    ("github", &[&["/organization"], &["/repository"], &["/environment"]]),
    (
        "infisical",
        &[&["/secretsScope/projectSlug"], &["/secretsScope/environmentSlug"], &["/secretsScope/secretsPath"]],
    ),
    ("ngrok", &[&["/vault/name"]]),
    ("oracle", &[&["/region"], &["/vault"]]),
    ("ovh", &[&["/okmsid"]]),
    ("scaleway", &[&["/region"], &["/projectId"]]),
];

/// What a field stands for where it is not there.
const DEFAULTS: [(&str, &str, &str); 4] = [
    (AWS, "/service", "SecretsManager"),
    ("github", "/repository", ""),
    ("github", "/environment", ""),
    ("infisical", "/secretsScope/secretsPath", ""),
];

fn text<'v>(config: &'v Value, pointer: &str) -> Option<&'v str> {
    config.pointer(pointer)?.as_str()
}

/// What a place in the one store is called in the other, where it can be called anything there.
fn through(a: &Site<'_>, b: &Site<'_>, place: &str) -> Option<String> {
    if a.kind != b.kind || a.kind != AWS {
        return Some(place.to_owned());
    }
    let prefix = |site: &Site<'_>| text(&site.config, "/prefix").unwrap_or_default().to_owned();
    format!("{}{place}", prefix(a)).strip_prefix(&prefix(b)).map(str::to_owned)
}

/// How two stores stand to each other, for what is called so in them.
fn likeness(a: &Site<'_>, b: &Site<'_>, key: &str) -> Likeness {
    // What was equal has been found out before.
    if !are_of_one_kind(a, b) || a.kind == FAKE || is_apart(a, b, key) {
        return Likeness::Different;
    }
    if is_one_place(a.kind, &a.config, &b.config) { Likeness::Same } else { Likeness::Unclear }
}

/// Whether what the one holds may be in the other: an OpenBao may be taken for a Vault.
fn are_of_one_kind(a: &Site<'_>, b: &Site<'_>) -> bool {
    let is_vault = |site: &Site<'_>| ["vault", "openBao"].contains(&site.kind);
    a.kind == b.kind || is_vault(a) && is_vault(b)
}

/// Whether two stores of this kind lead to the same place for certain.
fn is_one_place(kind: &str, a: &Value, b: &Value) -> bool {
    let fields = WHERE.iter().find(|(known, _)| *known == kind).map(|(_, fields)| *fields).unwrap_or_default();
    let field = |config: &Value, name: &str| match config.get(name) {
        // With or without a slash at its end it is the same URL, and the same path.
        Some(Value::String(text)) => Value::from(text.trim_end_matches('/')),
        other => other.cloned().unwrap_or_default(),
    };
    let is_known = fields.first().is_some_and(|first| !field(a, first).is_null());
    is_known && fields.iter().all(|name| field(a, name) == field(b, name))
}

/// Whether two stores of one kind lead to different places for certain.
fn is_apart(a: &Site<'_>, b: &Site<'_>, key: &str) -> bool {
    let kind = a.kind;
    let fields = APART.iter().find(|(known, _)| *known == kind).map(|(_, fields)| *fields).unwrap_or_default();
    let value = |site: &Site<'_>, pointers: &[&str]| {
        let given = pointers.iter().find_map(|pointer| text(&site.config, pointer));
        let default = || {
            let is_it = |(of, pointer, _): &&(&str, &str, &str)| *of == kind && pointers.contains(pointer);
            DEFAULTS.iter().find(is_it).map(|(.., default)| *default)
        };
        // Names of these kinds are the same in either case, or differ in more than that.
        given.or_else(default).map(|text| text.trim_matches('/').to_ascii_lowercase())
    };
    let differs = |pointers: &&[&str]| value(a, pointers).zip(value(b, pointers)).is_some_and(|(a, b)| a != b);
    // A key that is a whole path, or an id, is the same one in whichever folder or project a store looks for names.
    let is_of_all = |pointers: &[&str]| match kind {
        "infisical" => pointers.contains(&"/secretsScope/secretsPath") && key.starts_with('/'),
        "bitwarden" => pointers.contains(&"/projectID") && is_uuid(key),
        _ => false,
    };
    if fields.iter().filter(|pointers| !is_of_all(pointers)).any(differs) {
        return true;
    }
    let both = |of: fn(&Value) -> Option<String>| of(&a.config).zip(of(&b.config)).is_some_and(|(a, b)| a != b);
    match kind {
        // A name that tells the account is of that one, whoever asks.
        AWS => !key.starts_with("arn:") && both(account),
        "azurekv" => both(vault_name),
        "gcpsm" => {
            both(|config| Some(text(config, "/location").unwrap_or_default().to_owned())) || is_other_project(a, b)
        }
        "vault" | "openBao" => both(mount),
        "onepassword" => is_other_vault(a, b),
        _ => false,
    }
}

fn is_uuid(key: &str) -> bool {
    let parts: Vec<usize> = key.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && key.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The account of the role that is assumed last.
fn account(config: &Value) -> Option<String> {
    let mut parts = text(config, "/role")?.split(':').skip(4);
    parts.next().filter(|account| !account.is_empty()).map(str::to_owned)
}

/// The name of a vault of Azure: the first label below one of the suffixes of its clouds.
fn vault_name(config: &Value) -> Option<String> {
    let url = text(config, "/vaultUrl")?.trim_start_matches("https://");
    let host = url.split(['/', ':']).next()?.to_ascii_lowercase();
    let (name, suffix) = host.split_once('.')?;
    let is_azure = suffix.starts_with("vault.") || suffix.starts_with("managedhsm.");
    (is_azure && !name.is_empty()).then(|| host.clone())
}

/// A project has a name and a number: of which project a number is, nobody says.
fn is_other_project(a: &Site<'_>, b: &Site<'_>) -> bool {
    let project = |site: &Site<'_>| text(&site.config, "/projectID").filter(|id| !id.is_empty()).map(str::to_owned);
    let is_number = |id: &str| id.bytes().all(|byte| byte.is_ascii_digit());
    project(a).zip(project(b)).is_some_and(|(a, b)| a != b && is_number(&a) == is_number(&b))
}

/// The path of the engine with that of its namespace: each can be written as a part of the other.
fn mount(config: &Value) -> Option<String> {
    let path = text(config, "/path")?.trim_matches('/');
    let namespace = text(config, "/namespace").unwrap_or_default().trim_matches('/');
    (!path.is_empty()).then(|| format!("{namespace}/{path}").trim_start_matches('/').to_owned())
}

/// A vault has a name and an id: of which vault an id is, nobody says.
fn is_other_vault(a: &Site<'_>, b: &Site<'_>) -> bool {
    let vaults = |site: &Site<'_>| -> Vec<String> {
        let all = site.config.get("vaults").and_then(Value::as_object);
        all.into_iter().flat_map(|all| all.keys().cloned()).collect()
    };
    let is_id =
        |name: &String| name.len() == 26 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let (a, b) = (vaults(a), vaults(b));
    let are_alike = a.iter().chain(&b).all(is_id) || !a.iter().chain(&b).any(is_id);
    are_alike && !a.is_empty() && !b.is_empty() && !a.iter().any(|name| b.contains(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_shows_that_two_places_differ() {
        use Likeness::{Different, Same, Unclear};
        let vault = |path: &str, namespace: &str| json!({"server": "https://v", "path": path, "namespace": namespace});
        let role = |account: &str| json!({"service": "SecretsManager", "region": "r", "role": format!("arn:aws:iam::{account}:role/a")});
        let azure = |url: &str| json!({ "vaultUrl": url });
        let google = |project: &str, location: Value| json!({"projectID": project, "location": location});
        let one = |vault: &str| json!({"connectHost": "http://c", "vaults": {vault: 1}});
        let id = "abcdefghijklmnopqrstuvwxy1";
        for (kind, a, b, expected) in [
            (
                "aws",
                json!({"region": "r", "auth": {"secretRef": {}}}),
                json!({"region": "r", "role": "arn:aws:iam::1:role/a"}),
                Unclear,
            ),
            ("aws", json!({"region": "r"}), json!({"region": "s"}), Different),
            ("aws", json!({"region": "r"}), json!({"region": "r", "service": "ParameterStore"}), Different),
            ("aws", role("1"), role("2"), Different),
            ("aws", role("1"), json!({"region": "r", "role": "arn:aws:iam::1:role/b"}), Unclear),
            ("vault", vault("kv", ""), vault("kv/", ""), Same),
            ("vault", vault("kv", ""), vault("other", ""), Different),
            ("vault", vault("b/kv", "a"), vault("kv", "a/b"), Unclear),
            ("vault", vault("kv", ""), json!({"server": "https://v"}), Unclear),
            ("vault", vault("kv", ""), json!({"server": "https://w", "path": "kv"}), Unclear),
            ("azurekv", azure("https://a.vault.azure.net"), azure("https://a.vault.azure.net/"), Same),
            ("azurekv", azure("https://a.vault.azure.net"), azure("https://b.vault.azure.net"), Different),
            ("azurekv", azure("https://a.vault.azure.net"), azure("https://proxy:8443"), Unclear),
            ("gcpsm", google("a", json!(null)), google("b", json!(null)), Different),
            ("gcpsm", google("a", json!(null)), google("a", json!("europe-west1")), Different),
            ("gcpsm", google("a", json!(null)), google("123", json!(null)), Unclear),
            ("onepassword", one("a"), one("b"), Different),
            ("onepassword", one("a"), one(id), Unclear),
            ("github", json!({"organization": "O", "repository": "a"}), json!({"organization": "o"}), Different),
            ("github", json!({"organization": "O"}), json!({"organization": "o", "url": "https://x"}), Unclear),
            (
                "conjur",
                json!({"auth": {"apikey": {"account": "a"}}}),
                json!({"auth": {"jwt": {"account": "b"}}}),
                Different,
            ),
            ("infisical", json!({"secretsScope": {"secretsPath": "/"}}), json!({"secretsScope": {}}), Unclear),
            ("infisical", json!({"secretsScope": {"secretsPath": "/a"}}), json!({"secretsScope": {}}), Different),
            ("webhook", json!({"url": "https://a"}), json!({"url": "https://b"}), Unclear),
            ("fake", json!(null), json!(null), Different),
        ] {
            let site = |config: &Value| Site { kind, config: config.clone() };
            for (a, b) in [(&a, &b), (&b, &a)] {
                assert_eq!(likeness(&site(a), &site(b), "k"), expected, "{kind}: {a} {b}");
            }
        }
        let of = |kind, config: &Value| Site { kind, config: config.clone() };
        assert_eq!(likeness(&of("vault", &vault("kv", "")), &of("openBao", &vault("kv", "")), "k"), Same);
        assert_eq!(likeness(&of("vault", &vault("kv", "")), &of("kubernetes", &json!({})), "k"), Different);
        let site = |config: Value| Site { kind: "aws", config };
        assert_eq!(likeness(&site(role("1")), &site(role("2")), "arn:aws:secretsmanager:r:1:secret:k"), Unclear);
        let scope = |folder: &str| json!({"secretsScope": {"secretsPath": folder}});
        let (a, b) = (scope("/a"), scope("/b"));
        assert_eq!(likeness(&of("infisical", &a), &of("infisical", &b), "/shared/k"), Unclear);
        let project = |id: &str| json!({"organizationID": "o", "projectID": id});
        let (a, b) = (project("a"), project("b"));
        assert_eq!(likeness(&of("bitwarden", &a), &of("bitwarden", &b), "k"), Different);
        let id = "0f6e2f0e-5a0c-4f7e-9d5e-b2a1004c1c11";
        assert_eq!(likeness(&of("bitwarden", &a), &of("bitwarden", &b), id), Unclear);
        let prefixed = |prefix: &str| site(json!({"region": "r", "prefix": prefix}));
        assert_eq!(through(&prefixed("team/"), &prefixed(""), "k").as_deref(), Some("team/k"));
        assert_eq!(through(&prefixed(""), &prefixed("team/"), "team/k").as_deref(), Some("k"));
        assert_eq!(through(&prefixed(""), &prefixed("team/"), "k"), None);
    }
}
