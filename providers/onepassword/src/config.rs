//! From `spec.provider.onepassword` to plain data that is known to make sense.

use std::collections::BTreeMap;

use keyferry_provider_core::{Error, SecretRef, filled};
use keyferry_provider_http::{Fields, Way, server_url};
use serde::Deserialize;

/// What messages call the fields that lead to the server.
const FIELDS: Fields = Fields {
    server: "spec.provider.onepassword.connectHost",
    ca: "the certificates of the system",
    identity: "spec.provider.onepassword",
};

/// Where the token is named.
pub const TOKEN: &str = "spec.provider.onepassword.auth.secretRef.connectTokenSecretRef";

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The way to the Connect server.
    pub way: Way,
    /// The token.
    pub token: SecretRef,
    /// The vaults by name or id, in the order in which they are looked through.
    pub vaults: Vec<String>,
}

/// `spec.provider.onepassword`. Nulls are taken as absent, as the API server leaves them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    connect_host: Option<String>,
    vaults: Option<BTreeMap<String, Option<i64>>>,
    auth: Option<Auth>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    secret_ref: Option<AuthSecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSecretRef {
    connect_token_secret_ref: Option<SecretRef>,
}

impl Config {
    /// Reads the spec.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote the value it stumbles over.
        let spec = Spec::deserialize(spec)
            .map_err(|_| Error::invalid("spec.provider.onepassword is not of the form that the documentation gives"))?;
        let host = filled(spec.connect_host).ok_or_else(|| Error::invalid(format!("{} is missing", FIELDS.server)))?;
        let server = server_url(&host, FIELDS.server, "http://onepassword-connect:8080")?;
        let token = spec.auth.and_then(|auth| auth.secret_ref).and_then(|refs| refs.connect_token_secret_ref);
        let token = token.ok_or_else(|| Error::invalid(format!("{TOKEN} is missing")))?;
        for (field, text) in [("name", &token.name), ("key", &token.key)] {
            if text.as_ref().is_none_or(String::is_empty) {
                return Err(Error::invalid(format!("{TOKEN}.{field} is missing")));
            }
        }
        Ok(Self { way: Way::new(server, FIELDS), token, vaults: in_order(spec.vaults.unwrap_or_default())? })
    }
}

/// The names of the vaults, in their order.
fn in_order(vaults: BTreeMap<String, Option<i64>>) -> Result<Vec<String>, Error> {
    let refuse = |problem: &str| Err(Error::invalid(format!("spec.provider.onepassword.vaults {problem}")));
    let mut by_order = BTreeMap::new();
    for (name, order) in vaults {
        if name.is_empty() {
            return refuse("holds a vault without a name");
        }
        if by_order.insert(order.unwrap_or_default(), name).is_some() {
            return refuse("gives two vaults the same order: give each its own number, the least comes first");
        }
    }
    if by_order.is_empty() {
        return refuse("names no vault");
    }
    Ok(by_order.into_values().collect())
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Blame, ErrorKind};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        let auth = json!({"secretRef": {"connectTokenSecretRef": {"name": "connect", "key": "token"}}});
        let without = |field: &str| {
            let mut auth = auth.clone();
            auth["secretRef"]["connectTokenSecretRef"][field] = json!(null);
            auth
        };
        let vaults = json!({"v": 1});
        for (spec, words) in [
            (json!("canary"), "not of the form"),
            (json!({"connectHost": ["canary"]}), "not of the form"),
            (json!({"connectHost": "http://c", "auth": auth, "vaults": {"v": "canary"}}), "not of the form"),
            (json!({"connectHost": "", "auth": auth, "vaults": vaults}), "connectHost is missing"),
            (json!({"connectHost": "ftp://canary", "auth": auth, "vaults": vaults}), "connectHost must begin with"),
            (json!({"connectHost": "http://c", "auth": null, "vaults": vaults}), "connectTokenSecretRef is missing"),
            (json!({"connectHost": "http://c", "auth": without("name"), "vaults": vaults}), "Ref.name is missing"),
            (json!({"connectHost": "http://c", "auth": without("key"), "vaults": vaults}), "Ref.key is missing"),
            (json!({"connectHost": "http://c", "auth": auth, "vaults": null}), "names no vault"),
            (json!({"connectHost": "http://c", "auth": auth, "vaults": {}}), "names no vault"),
            (json!({"connectHost": "http://c", "auth": auth, "vaults": {"": 1}}), "without a name"),
            (json!({"connectHost": "http://c", "auth": auth, "vaults": {"a": 1, "b": 1}}), "the same order"),
        ] {
            let error = Config::new(&spec).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Spec), "{spec}");
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
        }
    }

    #[test]
    fn vaults_come_in_their_order_and_not_by_their_names() {
        let vaults = [("a", 3), ("b", -1), ("c", 2)].map(|(name, order)| (name.to_owned(), Some(order)));
        assert_eq!(in_order(vaults.into()).unwrap(), ["b", "c", "a"]);
    }
}
