//! What is wrong with a cluster as a whole: what `keyferry doctor` finds. Pure: over what was read.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keyferry_crds::CreationPolicy;
use keyferry_sync::dependency::name_of;
use serde::Serialize;
use serde_json::Value;

use super::access::{Act, Rbac, Subject};
use super::snapshot::Snapshot;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It wants attention.
    Warning,
    /// It could not be found out.
    Unknown,
    /// It is well.
    Good,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// How bad it is.
    pub level: Level,
    /// The check.
    pub check: &'static str,
    /// What was found, and what to do.
    pub message: String,
    /// The objects that it is about, not more than can be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
}

impl Fault {
    fn new(level: Level, check: &'static str, message: impl Into<String>) -> Self {
        Self { level, check, message: message.into(), objects: Vec::new() }
    }

    fn about(self, objects: impl IntoIterator<Item = String>) -> Self {
        Self { objects: objects.into_iter().collect(), ..self }
    }
}

/// What was read besides a snapshot; `None` where it may not be.
#[derive(Default)]
pub struct Cluster {
    /// The text of the API server's own metrics.
    pub metrics: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Roles and bindings.
    pub rbac: Option<Rbac>,
    /// The names of the CustomResourceDefinitions, each with the versions that it serves.
    pub kinds: Option<Vec<(String, Vec<String>)>>,
}

/// All that is found, the worst first.
pub fn of(snapshot: &Snapshot, cluster: &Cluster, now: Timestamp) -> Vec<Fault> {
    let mut found = vec![
        version(cluster.version.as_deref()),
        encryption(cluster.metrics.as_deref()),
        readers(cluster.rbac.as_ref()),
        static_logins(snapshot),
        never_refreshed(snapshot, now),
        unused(snapshot),
    ];
    found.extend(kinds(cluster.kinds.as_deref()));
    found.sort_by_key(|fault| fault.level);
    found
}

fn version(version: Option<&str>) -> Fault {
    let minor = |text: &str| text.trim_start_matches("v1.").split(['.', '+', '-']).next()?.parse::<u32>().ok();
    match version.map(|text| (text, minor(text))) {
        Some((text, Some(minor))) if minor < 33 => {
            Fault::new(Level::Warning, "version", format!("the API server is {text}: keyferry is for 1.33 and newer"))
        }
        Some((text, Some(_))) => Fault::new(Level::Good, "version", format!("the API server is {text}")),
        Some((text, None)) => {
            Fault::new(Level::Unknown, "version", format!("the API server is {text:?}, of no known form"))
        }
        None => Fault::new(Level::Unknown, "version", "the API server does not tell its version"),
    }
}

/// What its own metrics tell of how Secrets lie in etcd: how often they were transformed, and by what.
fn encryption(metrics: Option<&str>) -> Fault {
    let unknown = "whether Secrets are encrypted in etcd can't be seen from here: ask your provider, or see --encryption-provider-config";
    let Some(metrics) = metrics else { return Fault::new(Level::Unknown, "encryption", unknown) };
    let transformed =
        metrics.lines().filter(|line| line.starts_with("apiserver_storage_transformation_operations_total{"));
    let encrypts = transformed.filter(|line| {
        // Other kinds may be encrypted where Secrets are not.
        line.contains("resource=\"secrets\"")
            && line.contains("transformer_prefix=\"k8s:enc:")
            && line.contains("transformation_type=\"to_storage\"")
    });
    let prefixes: BTreeSet<&str> =
        encrypts.filter_map(|line| line.split("transformer_prefix=\"").nth(1)?.split('"').next()).collect();
    if prefixes.is_empty() {
        return Fault::new(Level::Unknown, "encryption", unknown);
    }
    let by: Vec<&str> = prefixes.into_iter().collect();
    Fault::new(
        Level::Good,
        "encryption",
        format!("the API server encrypts Secrets that it stores, by {}", by.join(", ")),
    )
}

fn readers(rbac: Option<&Rbac>) -> Fault {
    let Some(rbac) = rbac else {
        return Fault::new(
            Level::Unknown,
            "readers",
            "roles and bindings can't be read: who can read Secrets at large is not known",
        );
    };
    let may = |subject: &&Subject| {
        let act = |verb| Act { verb, group: "", resource: "secrets", name: "" };
        ["get", "list", "watch"].into_iter().any(|verb| rbac.may(subject, None, &act(verb)))
    };
    let subjects = rbac.subjects().into_iter().filter(|subject| !subject.is_system());
    let large: Vec<String> = subjects.filter(may).map(ToString::to_string).collect();
    if large.is_empty() {
        return Fault::new(Level::Good, "readers", "nobody but the system reads Secrets of all namespaces");
    }
    let message = format!(
        "{} can read Secrets of all namespaces: an operator of Secrets has to, see that all of them do",
        large.len()
    );
    Fault::new(Level::Warning, "readers", message).about(large)
}

/// Fields of a provider that name a Secret to log in with.
fn is_static(provider: &Value) -> bool {
    match provider {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let is_reference = value["name"].is_string() && value["key"].is_string();
            is_reference && !name.starts_with("ca") || is_static(value)
        }),
        Value::Array(items) => items.iter().any(is_static),
        _ => false,
    }
}

fn static_logins(snapshot: &Snapshot) -> Fault {
    let logs_in = |store: &&std::sync::Arc<keyferry_sync::store::Store>| {
        store.spec.as_ref().is_ok_and(|spec| spec.the_provider().is_ok_and(|(_, provider)| is_static(&provider)))
    };
    let named: Vec<String> = snapshot.stores.iter().filter(logs_in).map(|store| full(&store.id)).collect();
    if named.is_empty() && (snapshot.misses("SecretStores") || snapshot.misses("ClusterSecretStores")) {
        return Fault::new(Level::Unknown, "static-logins", "not all stores can be read: how they log in is not known");
    }
    let unclear = snapshot.stores.iter().filter(|store| store.spec.is_err()).map(|store| full(&store.id));
    let unclear: Vec<String> = unclear.collect();
    if named.is_empty() && !unclear.is_empty() {
        let message =
            format!("{} stores are not of the form of their kind: how they log in is not known", unclear.len());
        return Fault::new(Level::Unknown, "static-logins", message).about(unclear);
    }
    if named.is_empty() {
        return Fault::new(Level::Good, "static-logins", "no store logs in with a key that is kept in a Secret");
    }
    let message = format!(
        "{} stores log in with a key that is kept in a Secret: a ServiceAccount's token ends by itself, where the store takes one",
        named.len()
    );
    Fault::new(Level::Warning, "static-logins", message).about(named)
}

fn full(id: &keyferry_sync::store::StoreId) -> String {
    match &id.namespace {
        Some(namespace) => format!("SecretStore {namespace}/{}", id.name),
        None => format!("ClusterSecretStore {}", id.name),
    }
}

fn never_refreshed(snapshot: &Snapshot, now: Timestamp) -> Fault {
    let readable = || snapshot.external_secrets.iter().filter_map(|es| es.as_ref().ok());
    let is_young = |created: Timestamp| now.duration_since(created).as_secs() < 300;
    let never = readable().filter(|es| {
        let created = es.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let refreshed = es.status.as_ref().and_then(|status| status.refresh_time.as_ref());
        refreshed.is_none() && !created.is_some_and(is_young)
    });
    let named: Vec<String> = never
        .map(|es| {
            let (namespace, name) = name_of(&es.metadata);
            format!("ExternalSecret {namespace}/{name}")
        })
        .collect();
    if named.is_empty() && snapshot.misses("ExternalSecrets") {
        return Fault::new(
            Level::Unknown,
            "never-refreshed",
            "ExternalSecrets can't be read: when they were refreshed is not known",
        );
    }
    let unclear = snapshot.external_secrets.iter().filter_map(|es| es.as_ref().err()).map(|metadata| {
        let (namespace, name) = name_of(metadata);
        format!("ExternalSecret {namespace}/{name}")
    });
    let unclear: Vec<String> = unclear.collect();
    if named.is_empty() && !unclear.is_empty() {
        let message =
            format!("{} ExternalSecrets are not of the form of their kind: nothing refreshes them", unclear.len());
        return Fault::new(Level::Warning, "never-refreshed", message).about(unclear);
    }
    if named.is_empty() {
        return Fault::new(Level::Good, "never-refreshed", "every ExternalSecret was refreshed once");
    }
    let message = format!("{} ExternalSecrets were never refreshed: `keyferry explain NAME` says why", named.len());
    Fault::new(Level::Warning, "never-refreshed", message).about(named)
}

/// What uses Secrets.
pub const USERS: [&str; 7] = ["pods", "deployments", "replicasets", "statefulsets", "daemonsets", "cronjobs", "jobs"];

fn unused(snapshot: &Snapshot) -> Fault {
    if snapshot.misses("ExternalSecrets") || USERS.iter().any(|kinds| snapshot.misses(kinds)) {
        let message = "not all ExternalSecrets, pods and workloads can be read: who uses which target is not known";
        return Fault::new(Level::Unknown, "unused", message);
    }
    if snapshot.users.is_empty() {
        return Fault::new(
            Level::Unknown,
            "unused",
            "no pods or workloads could be seen: who uses which target is not known",
        );
    }
    let used: BTreeSet<(&str, &str)> = snapshot
        .users
        .iter()
        .flat_map(|user| user.secrets.iter().map(|(name, _)| (user.namespace.as_str(), name.as_str())))
        .collect();
    let readable = snapshot.external_secrets.iter().filter_map(|es| es.as_ref().ok());
    let of_secrets =
        readable.filter(|es| es.target_manifest().is_none() && es.spec.target.creation_policy != CreationPolicy::None);
    let unused = of_secrets.filter_map(|es| {
        let (namespace, _) = name_of(&es.metadata);
        (!used.contains(&(namespace.as_str(), es.target_name())))
            .then(|| format!("Secret {namespace}/{}", es.target_name()))
    });
    let named: Vec<String> = unused.collect();
    if named.is_empty() {
        return Fault::new(Level::Good, "unused", "every target is used by a pod or workload");
    }
    let message =
        format!("{} targets are used by no pod or workload (what reads them by the API is not seen)", named.len());
    Fault::new(Level::Warning, "unused", message).about(named)
}

/// Kinds of operators that did the same before.
const OTHERS: [(&str, &str); 3] = [
    (
        "externalsecrets.kubernetes-client.io",
        "kubernetes-external-secrets: `keyferry migrate kes` makes ExternalSecrets of its objects",
    ),
    (
        "sealedsecrets.bitnami.com",
        "Sealed Secrets: `keyferry run --enable-sealed-secrets` takes the place of its controller",
    ),
    ("awssecrets.mumoshu.github.io", "aws-secret-operator"),
];

fn kinds(kinds: Option<&[(String, Vec<String>)]>) -> Vec<Fault> {
    let Some(kinds) = kinds else {
        return vec![Fault::new(Level::Unknown, "kinds", "CustomResourceDefinitions can't be read")];
    };
    let mut found = Vec::new();
    let ours = kinds.iter().find(|(name, _)| name == "externalsecrets.external-secrets.io");
    found.push(match ours {
        None => Fault::new(
            Level::Warning,
            "kinds",
            "there are no ExternalSecrets: `keyferry crds | kubectl apply -f -` installs the kinds",
        ),
        Some((_, served)) if !served.iter().any(|version| version == "v1") => Fault::new(
            Level::Warning,
            "kinds",
            "v1 of ExternalSecret is not served: `keyferry crds | kubectl apply -f -` brings it",
        ),
        Some(_) => Fault::new(Level::Good, "kinds", "v1 of ExternalSecret is served"),
    });
    for (name, what) in OTHERS.iter().filter(|(name, _)| kinds.iter().any(|(other, _)| other == name)) {
        let message = format!("kinds of another operator are there: {what}");
        found.push(Fault::new(Level::Warning, "other-operators", message).about([(*name).to_owned()]));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyferry_builders::{at, es, store};
    use keyferry_sync::store::Store;
    use serde_json::json;

    use super::super::users::{Use, User};
    use super::*;

    fn level(found: &[Fault], check: &str) -> (Level, usize) {
        let fault = found.iter().find(|fault| fault.check == check).unwrap();
        (fault.level, fault.objects.len())
    }

    #[test]
    fn nothing_that_could_not_be_read_is_taken_for_well() {
        let found = of(&Snapshot::default(), &Cluster::default(), at(0));
        for check in ["version", "encryption", "readers", "unused", "kinds"] {
            assert_eq!(level(&found, check).0, Level::Unknown, "{check}");
        }
        assert!(found.iter().any(|fault| fault.message.contains("ask your provider")));
    }

    #[test]
    fn a_kind_that_could_not_be_read_is_not_known() {
        let user = User {
            kind: "Pod".into(),
            namespace: "ns".into(),
            name: "p".into(),
            service_account: "default".into(),
            secrets: [("e".to_owned(), Use::Volume)].into(),
            mounts: Default::default(),
        };
        for (kinds, check) in [
            ("SecretStores", "static-logins"),
            ("ClusterSecretStores", "static-logins"),
            ("ExternalSecrets", "never-refreshed"),
            ("ExternalSecrets", "unused"),
            ("cronjobs", "unused"),
            ("pods", "unused"),
        ] {
            let mut snapshot = Snapshot { users: vec![user.clone()], ..Snapshot::default() };
            assert_eq!(level(&of(&snapshot, &Cluster::default(), at(0)), check).0, Level::Good, "{check}");
            snapshot.unread.insert(kinds);
            assert_eq!(level(&of(&snapshot, &Cluster::default(), at(0)), check).0, Level::Unknown, "{kinds}: {check}");
        }
        let odd = keyferry_builders::store(json!({"provider": {"fake": {}}})).metadata;
        let snapshot = Snapshot {
            external_secrets: vec![Err(Box::new(odd.clone()))],
            stores: vec![Arc::new(Store::undecodable(odd))],
            ..Snapshot::default()
        };
        let found = of(&snapshot, &Cluster { version: Some("odd".to_owned()), ..Cluster::default() }, at(0));
        assert_eq!(level(&found, "static-logins"), (Level::Unknown, 1));
        assert_eq!(level(&found, "never-refreshed"), (Level::Warning, 1));
        assert_eq!(level(&found, "version"), (Level::Unknown, 0));
    }

    #[test]
    fn what_other_kinds_are_encrypted_by_says_nothing_of_secrets() {
        let metric = |resource: &str| {
            format!(
                "apiserver_storage_transformation_operations_total{{resource=\"{resource}\",status=\"OK\",transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:kms:v2:\"}} 3\n"
            )
        };
        assert_eq!(encryption(Some(&metric("configmaps"))).level, Level::Unknown);
        assert_eq!(encryption(Some(&metric("secrets"))).level, Level::Good);
    }

    #[test]
    fn who_may_get_or_watch_secrets_of_all_namespaces_reads_them_too() {
        for verb in ["get", "list", "watch"] {
            let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": [verb]}]});
            let binding = json!({
                "metadata": {"name": "b"}, "subjects": [{"kind": "Group", "name": "system:authenticated"}],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
            });
            let (role, binding) = (serde_json::from_value(role).unwrap(), serde_json::from_value(binding).unwrap());
            let rbac = Rbac::new(Vec::new(), vec![role], Vec::new(), vec![binding]);
            assert_eq!(readers(Some(&rbac)).objects, ["Group system:authenticated"], "{verb}");
        }
    }

    #[test]
    fn what_is_wrong_is_found_with_its_objects() {
        let login = json!({"provider": {"vault": {"auth": {"tokenSecretRef": {"name": "t", "key": "k"}}}}});
        let account = json!({"provider": {"vault": {"caProvider": {"name": "t", "key": "k"}, "auth": {"kubernetes": {"serviceAccountRef": {"name": "a"}}}}}});
        let user = User {
            kind: "Pod".into(),
            namespace: "ns".into(),
            name: "p".into(),
            service_account: "default".into(),
            secrets: [("other".to_owned(), Use::Volume)].into(),
            mounts: Default::default(),
        };
        let snapshot = Snapshot {
            external_secrets: vec![Ok(es(json!({})))],
            stores: vec![Arc::new(Store::namespaced(store(login))), Arc::new(Store::namespaced(store(account)))],
            users: vec![user],
            ..Snapshot::default()
        };
        let served = vec![
            ("externalsecrets.external-secrets.io".to_owned(), vec!["v1beta1".to_owned()]),
            ("sealedsecrets.bitnami.com".to_owned(), vec![]),
        ];
        let encrypted = "apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:aesgcm:v1:\"} 3\n";
        let cluster = Cluster {
            metrics: Some(encrypted.to_owned()),
            version: Some("v1.31.2".to_owned()),
            rbac: Some(Rbac::default()),
            kinds: Some(served),
        };
        let found = of(&snapshot, &cluster, at(10_000));
        for (check, expected) in [
            ("version", (Level::Warning, 0)),
            ("encryption", (Level::Good, 0)),
            ("readers", (Level::Good, 0)),
            ("static-logins", (Level::Warning, 1)),
            ("never-refreshed", (Level::Warning, 1)),
            ("unused", (Level::Warning, 1)),
            ("kinds", (Level::Warning, 0)),
            ("other-operators", (Level::Warning, 1)),
        ] {
            assert_eq!(level(&found, check), expected, "{check}");
        }
        assert_eq!(found[0].level, Level::Warning, "the worst first");
    }
}
