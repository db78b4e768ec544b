//! From `spec.provider.aws` to plain data that is known to make sense.

use std::collections::BTreeMap;

use keyferry_provider_core::{Caller, Error, ErrorKind, SecretRef, ServiceAccountRef, filled};
use serde::Deserialize;

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// Which service keeps the secrets.
    pub service: String,
    /// The region, which is a label of a host name and nothing else.
    pub region: String,
    /// Stands before every key.
    pub prefix: String,
    /// Whom we are at first.
    pub identity: Identity,
    /// The roles that we assume one after another.
    pub roles: Vec<Role>,
    /// What becomes of what is deleted from Secrets Manager.
    pub deletion: Deletion,
}

/// What becomes of what is deleted from Secrets Manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletion {
    /// It can be restored for as long as AWS thinks, which is thirty days.
    #[default]
    Usual,
    /// It can be restored for so many days.
    Days(i64),
    /// It is gone.
    AtOnce,
}

/// Whom we are at first.
#[derive(Debug)]
pub enum Identity {
    /// Who has these keys.
    Keys {
        /// The access key id.
        id: SecretRef,
        /// The secret access key.
        secret: SecretRef,
        /// The session token of temporary keys.
        token: Option<SecretRef>,
    },
    /// The role that a ServiceAccount is annotated with.
    ServiceAccount(ServiceAccountRef),
    /// Whom AWS takes the operator itself for.
    Operator,
}

/// A role to assume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What the owner of another account wants to hear.
    pub external_id: Option<String>,
    /// Tags of the session.
    pub tags: Vec<(String, String)>,
    /// Those of the tags that go along when the session assumes a further role.
    pub transitive: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    service: Option<String>,
    region: Option<String>,
    auth: Option<AuthSpec>,
    role: Option<String>,
    additional_roles: Option<Vec<String>>,
    #[serde(rename = "externalID")]
    external_id: Option<String>,
    session_tags: Option<Vec<TagSpec>>,
    transitive_tag_keys: Option<Vec<String>>,
    session_tags_policy: Option<String>,
    custom_session_tags: Option<BTreeMap<String, String>>,
    prefix: Option<String>,
    secrets_manager: Option<DeletionSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeletionSpec {
    force_delete_without_recovery: Option<bool>,
    recovery_window_in_days: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSpec {
    secret_ref: Option<KeysSpec>,
    jwt: Option<JwtSpec>,
}

#[derive(Deserialize)]
struct KeysSpec {
    #[serde(rename = "accessKeyIDSecretRef")]
    id: Option<SecretRef>,
    #[serde(rename = "secretAccessKeySecretRef")]
    secret: Option<SecretRef>,
    #[serde(rename = "sessionTokenSecretRef")]
    token: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JwtSpec {
    service_account_ref: Option<ServiceAccountRef>,
}

#[derive(Deserialize)]
struct TagSpec {
    key: String,
    value: String,
}

impl Config {
    /// Checks a spec as a whole; every refusal names the field. `caller` is whom session tags may tell of.
    pub fn new(spec: &serde_json::Value, caller: &Caller) -> Result<Self, Error> {
        // The parser's own error would quote what it stumbles over.
        let mut spec = Spec::deserialize(spec).map_err(|_| {
            Error::invalid("spec.provider.aws does not have the form of an AWS store: check the types of its fields")
        })?;
        Ok(Self {
            service: spec.service.take().unwrap_or_default(),
            region: region(spec.region.take())?,
            prefix: spec.prefix.take().unwrap_or_default(),
            identity: identity(spec.auth.take())?,
            deletion: deletion(spec.secrets_manager.take())?,
            roles: roles(spec, caller)?,
        })
    }
}

/// The region becomes part of the host that signed requests go to: anything but a label could lead them elsewhere.
fn region(region: Option<String>) -> Result<String, Error> {
    let region = filled(region).ok_or_else(|| Error::invalid("spec.provider.aws.region is empty"))?;
    let label = region.len() <= 63
        && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !region.starts_with('-')
        && !region.ends_with('-');
    if label {
        Ok(region)
    } else {
        Err(Error::invalid("spec.provider.aws.region is not the name of a region, such as eu-west-1"))
    }
}

fn deletion(spec: Option<DeletionSpec>) -> Result<Deletion, Error> {
    let Some(spec) = spec else { return Ok(Deletion::Usual) };
    // No days are none, as in External Secrets Operator.
    let days = spec.recovery_window_in_days.filter(|days| *days != 0);
    match (spec.force_delete_without_recovery.unwrap_or_default(), days) {
        (false, None) => Ok(Deletion::Usual),
        (true, None) => Ok(Deletion::AtOnce),
        (false, Some(days @ 7..=30)) => Ok(Deletion::Days(days)),
        (false, Some(_)) => {
            Err(Error::invalid("spec.provider.aws.secretsManager.recoveryWindowInDays must be from 7 to 30"))
        }
        (true, Some(_)) => Err(Error::invalid(
            "spec.provider.aws.secretsManager sets both forceDeleteWithoutRecovery and recoveryWindowInDays: remove one",
        )),
    }
}

fn identity(auth: Option<AuthSpec>) -> Result<Identity, Error> {
    match auth {
        None | Some(AuthSpec { jwt: None, secret_ref: None }) => Ok(Identity::Operator),
        Some(AuthSpec { jwt: Some(jwt), .. }) => match jwt.service_account_ref {
            Some(account) => Ok(Identity::ServiceAccount(account)),
            None => Err(Error::invalid("spec.provider.aws.auth.jwt has no serviceAccountRef")),
        },
        Some(AuthSpec { secret_ref: Some(keys), .. }) => match (keys.id, keys.secret) {
            (Some(id), Some(secret)) => Ok(Identity::Keys { id, secret, token: keys.token }),
            _ => Err(Error::invalid(
                "spec.provider.aws.auth.secretRef needs both accessKeyIDSecretRef and secretAccessKeySecretRef",
            )),
        },
    }
}

fn roles(spec: Spec, caller: &Caller) -> Result<Vec<Role>, Error> {
    let plain = |arn: String| Role { arn, ..Role::default() };
    let mut roles: Vec<Role> = spec.additional_roles.into_iter().flatten().map(plain).collect();
    if roles.iter().any(|role| role.arn.is_empty()) {
        return Err(Error::invalid("spec.provider.aws.additionalRoles holds an empty role"));
    }
    // As in External Secrets Operator, the tags and the external id are for this last role only.
    if let Some(arn) = filled(spec.role) {
        let tags = tags(spec.session_tags, spec.session_tags_policy, spec.custom_session_tags, caller)?;
        let transitive = spec.transitive_tag_keys.unwrap_or_default();
        if let Some(unknown) = transitive.iter().find(|key| !tags.iter().any(|(tag, _)| tag == *key)) {
            return Err(Error::invalid(format!(
                "spec.provider.aws.transitiveTagKeys names {unknown:?}, which is no session tag"
            )));
        }
        roles.push(Role { arn, external_id: filled(spec.external_id), tags, transitive });
    }
    Ok(roles)
}

fn tags(
    plain: Option<Vec<TagSpec>>,
    policy: Option<String>,
    custom: Option<BTreeMap<String, String>>,
    caller: &Caller,
) -> Result<Vec<(String, String)>, Error> {
    let mut tags: Vec<_> = plain.into_iter().flatten().map(|tag| (tag.key, tag.value)).collect();
    let told = |namespace: &str| {
        let values = [namespace, &caller.store, caller.store_kind];
        ["esoNamespace", "esoStoreName", "esoStoreKind"].map(str::to_owned).into_iter().zip(values.map(str::to_owned))
    };
    let policy = policy.unwrap_or_default();
    match (policy.as_str(), &caller.namespace) {
        ("" | "None", _) => {}
        ("Simple", Some(namespace)) => tags.extend(told(namespace)),
        ("Custom", Some(namespace)) => tags.extend(told(namespace).chain(custom.into_iter().flatten())),
        // Sharing one session between namespaces would tell AWS of the wrong one.
        ("Simple" | "Custom", None) => {
            let message =
                "the session tags name the namespace of the ExternalSecret: each namespace has its own session";
            return Err(Error::new(ErrorKind::Referent, message));
        }
        _ => return Err(Error::invalid("spec.provider.aws.sessionTagsPolicy must be None, Simple or Custom")),
    }
    // AWS takes keys that differ only in case for the same. A second esoNamespace would be a lie.
    for (n, (key, _)) in tags.iter().enumerate() {
        if tags[..n].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(key)) {
            return Err(Error::invalid(format!("spec.provider.aws sets the session tag {key:?} twice")));
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config_for(more: Value, namespace: Option<&str>) -> Result<Config, Error> {
        let mut spec = json!({"service": "SecretsManager", "region": "eu-west-1"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let namespace = namespace.map(str::to_owned);
        Config::new(&spec, &Caller { store_kind: "ClusterSecretStore", store: "s".into(), namespace })
    }

    fn config(more: Value) -> Result<Config, Error> {
        config_for(more, Some("team"))
    }

    #[test]
    fn a_region_is_a_label() {
        for region in ["eu-west-1", "us-gov-east-1", "cn-north-1", "eusc-de-east-1"] {
            assert_eq!(config(json!({ "region": region })).unwrap().region, region);
        }
        for region in ["", "eu west", "x.evil.com/", "evil.com#", "user@evil.com:443/", "EU-WEST-1", "-a", "ü"] {
            let error = config(json!({ "region": region })).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{region}");
            assert!(region.is_empty() || !error.message().contains(region), "{error}");
        }
    }

    #[test]
    fn a_service_account_goes_before_keys_and_keys_before_the_operator() {
        let keys = json!({"accessKeyIDSecretRef": {"name": "a"}, "secretAccessKeySecretRef": {"name": "b"}});
        let jwt = json!({"serviceAccountRef": {"name": "sa"}});
        let identity = |auth| config(json!({ "auth": auth })).map(|config| config.identity);
        assert!(matches!(identity(json!({"secretRef": keys, "jwt": jwt})), Ok(Identity::ServiceAccount(_))));
        assert!(matches!(identity(json!({ "secretRef": keys })), Ok(Identity::Keys { token: None, .. })));
        assert!(matches!(identity(json!({})), Ok(Identity::Operator)));
        assert!(matches!(identity(Value::Null), Ok(Identity::Operator)));
        let error = identity(json!({"secretRef": {"accessKeyIDSecretRef": {"name": "a"}}})).unwrap_err();
        assert!(error.message().contains("needs both"), "{error}");
        assert!(identity(json!({"jwt": {}})).unwrap_err().message().contains("no serviceAccountRef"));
    }

    #[test]
    fn what_is_deleted_can_be_restored_unless_the_store_says_otherwise() {
        let deletion = |spec| config(json!({ "secretsManager": spec })).map(|config| config.deletion);
        assert_eq!(deletion(Value::Null).unwrap(), Deletion::Usual);
        assert_eq!(deletion(json!({"recoveryWindowInDays": 0})).unwrap(), Deletion::Usual);
        assert_eq!(deletion(json!({"recoveryWindowInDays": 7})).unwrap(), Deletion::Days(7));
        assert_eq!(deletion(json!({"forceDeleteWithoutRecovery": true})).unwrap(), Deletion::AtOnce);
        for (spec, word) in [
            (json!({"recoveryWindowInDays": 6}), "from 7 to 30"),
            (json!({"recoveryWindowInDays": 31}), "from 7 to 30"),
            (json!({"recoveryWindowInDays": 7, "forceDeleteWithoutRecovery": true}), "remove one"),
        ] {
            let error = deletion(spec).unwrap_err();
            assert!(error.kind() == ErrorKind::Invalid && error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn tags_and_external_id_are_for_the_last_role() {
        let roles = config(json!({
            "additionalRoles": ["r1", "r2"], "role": "r3", "externalID": "x",
            "sessionTags": [{"key": "k", "value": "v"}], "transitiveTagKeys": ["k"],
        }));
        let last = Role {
            arn: "r3".into(),
            external_id: Some("x".into()),
            tags: vec![("k".into(), "v".into())],
            transitive: vec!["k".into()],
        };
        let plain = |arn: &str| Role { arn: arn.into(), ..Role::default() };
        assert_eq!(roles.unwrap().roles, [plain("r1"), plain("r2"), last]);
    }

    #[test]
    fn policies_tell_who_asks() {
        let tags = |more: Value, namespace| {
            let mut all = json!({"role": "r", "sessionTagsPolicy": "Simple", "customSessionTags": {"a": "b"}});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            config_for(all, namespace).map(|mut config| config.roles.remove(0).tags)
        };
        let own = [("esoNamespace", "team"), ("esoStoreName", "s"), ("esoStoreKind", "ClusterSecretStore")];
        let mut own: Vec<_> = own.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(tags(json!({}), Some("team")).unwrap(), own);
        own.push(("a".into(), "b".into()));
        assert_eq!(tags(json!({"sessionTagsPolicy": "Custom"}), Some("team")).unwrap(), own);
        assert_eq!(tags(json!({"sessionTagsPolicy": "None"}), None).unwrap(), []);
        assert_eq!(tags(json!({}), None).unwrap_err().kind(), ErrorKind::Referent);
        // Without a role there is no session to tag, and one client is good for all.
        assert!(config_for(json!({"sessionTagsPolicy": "Simple"}), None).unwrap().roles.is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        let lie = json!({"role": "r", "sessionTagsPolicy": "Custom", "customSessionTags": {"ESONamespace": "other"}});
        for (more, word) in [
            (lie, "twice"),
            (json!({"role": "r", "sessionTags": [{"key": "a", "value": "1"}, {"key": "A", "value": "2"}]}), "twice"),
            (json!({"role": "r", "transitiveTagKeys": ["a"]}), "transitiveTagKeys"),
            (json!({"role": "r", "sessionTagsPolicy": "All"}), "sessionTagsPolicy"),
            (json!({"additionalRoles": [""]}), "additionalRoles"),
            (json!({"prefix": 7}), "types"),
        ] {
            let error = config(more.clone()).unwrap_err();
            assert_eq!((error.kind(), error.message().contains(word)), (ErrorKind::Invalid, true), "{more}: {error}");
        }
    }
}
