//! What templates ask Vault for, as entries of an ExternalSecret.

use serde_json::{Value, json};

/// A secret of Vault's key-value engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Where the engine is mounted.
    pub mount: String,
    /// What the secret is called there.
    pub key: String,
    /// Which version of it; the current one where none is named.
    pub version: Option<String>,
    /// Whether it is of the engine's second version.
    pub is_second: bool,
}

impl Secret {
    /// Of a path as Vault Agent reads it. `is_second` says that what is read of it has a `.Data.data`. The error says why it is none.
    pub fn of(path: &str, is_second: bool) -> Result<Self, String> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let path = path.trim_matches('/');
        let version = match query.map(|query| query.split_once('=')) {
            None => None,
            Some(Some(("version", version))) if version.bytes().all(|b| b.is_ascii_digit()) => Some(version.to_owned()),
            Some(_) => return Err(format!("{path:?} is asked for with more than a version")),
        };
        if let Some(what) = engine(path, is_second) {
            return Err(format!(
                "{path:?} is no key-value secret but {what}, which Vault makes anew for each who asks: what it makes can't be mounted; make a \
                 VaultDynamicSecret and an ExternalSecret of it, which come to a Secret"
            ));
        }
        let parts = path.split_once("/data/").or_else(|| path.split_once('/'));
        let (mount, key) = parts.ok_or_else(|| format!("{path:?} names no secret in an engine"))?;
        let is_second = is_second || path.contains("/data/");
        Ok(Self {
            mount: mount.to_owned(),
            key: key.to_owned(),
            version: version.filter(|version| version != "0"),
            is_second,
        })
    }
}

/// What makes secrets, by how its paths look: what it is asked for stands behind its mount. Key-value secrets may be called so, too; one
/// of which a `.Data.data` is read is one of those.
fn engine(path: &str, is_second: bool) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').collect();
    if is_second || path.contains("/data/") {
        return None;
    }
    let has = |word: &str| parts.get(1) == Some(&word);
    [
        ("creds", "a login"),
        ("static-creds", "a login"),
        ("issue", "a certificate"),
        ("sign", "a certificate"),
        ("sts", "a login"),
        ("cert", "a certificate of the engine itself"),
        ("code", "a one-time password"),
        ("encrypt", "an answer"),
        ("decrypt", "an answer"),
    ]
    .into_iter()
    .find_map(|(word, what)| has(word).then_some(what))
    .or_else(|| ["auth", "sys", "identity", "cubbyhole"].contains(&parts[0]).then_some("Vault's own"))
}

/// All that is asked for. What is asked for twice is one entry.
#[derive(Default)]
pub struct Inputs {
    all: Vec<(Secret, Option<String>)>,
}

impl Inputs {
    /// The name by which a template has a field of a secret, or all of it as JSON.
    pub fn name(&mut self, secret: &Secret, field: Option<&str>) -> String {
        let wanted = (secret.clone(), field.map(str::to_owned));
        let at = self.all.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            self.all.push(wanted);
            self.all.len() - 1
        });
        format!("v{at}")
    }

    /// How many there are: what is added later can be taken back with [`Inputs::forget`].
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes back what was added after there were so many.
    pub fn forget(&mut self, len: usize) {
        self.all.truncate(len);
    }

    /// The secrets, in the order in which they were asked for first.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.all.iter().map(|(secret, _)| secret)
    }

    /// The entries of `spec.data`; `store` gives what an entry says of its store, where that is not the ExternalSecret's.
    pub fn data(&self, mut store: impl FnMut(&Secret) -> Option<Value>) -> Vec<Value> {
        let entry = |(at, (secret, field)): (usize, &(Secret, Option<String>))| {
            let mut reference = json!({"key": secret.key});
            if let Some(field) = field {
                reference["property"] = json!(field);
            }
            if let Some(version) = &secret.version {
                reference["version"] = json!(version);
            }
            let mut entry = json!({"secretKey": format!("v{at}"), "remoteRef": reference});
            if let Some(store) = store(secret) {
                entry["sourceRef"] = json!({ "storeRef": store });
            }
            entry
        };
        self.all.iter().enumerate().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_an_engine_and_a_key() {
        let of = |path: &str, is_second| {
            Secret::of(path, is_second).map(|secret| (secret.mount, secret.key, secret.version, secret.is_second))
        };
        let parts = |mount: &str, key: &str, version: Option<&str>, second| {
            Ok((mount.to_owned(), key.to_owned(), version.map(str::to_owned), second))
        };
        assert_eq!(of("secret/data/team/app", false), parts("secret", "team/app", None, true));
        assert_eq!(of("/kv/team/data/app?version=3", true), parts("kv/team", "app", Some("3"), true));
        assert_eq!(of("secret/data/app?version=0", true), parts("secret", "app", None, true));
        // Vault Agent finds out which version an engine is of, and asks for what is meant.
        assert_eq!(of("secret/app", true), parts("secret", "app", None, true));
        assert_eq!(of("secret/app/x", false), parts("secret", "app/x", None, false));
        assert_eq!(of("secret/data/creds/x", false), parts("secret", "creds/x", None, true));
        // Secrets may be called as what other engines make.
        assert_eq!(of("kv/app/cert", false), parts("kv", "app/cert", None, false));
        assert_eq!(of("kv/cert/app", true), parts("kv", "cert/app", None, true));
        for (path, says) in [
            ("database/creds/app", "is no key-value secret but a login"),
            ("pki/issue/app", "a certificate"),
            ("auth/token/lookup-self", "Vault's own"),
            ("secret", "names no secret"),
            ("secret/data/app?a=b", "more than a version"),
        ] {
            assert!(Secret::of(path, false).is_err_and(|why| why.contains(says)), "{path}");
        }
    }
}
