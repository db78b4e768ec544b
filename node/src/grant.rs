//! Who may mount: what a ServiceAccount must be allowed, as a rule that is printed where it is not, and as the objects that allow
//! it. Pure.

use keyferry_crds::{ExternalSecret, GeneratorRef, generator_field, names};
use keyferry_sync::dependency::Kind;
use keyferry_sync::hash::data_hash;
use keyferry_sync::request::{generator, sources_of};
use keyferry_sync::spec::CLUSTER_GENERATOR;
use keyferry_sync::store::Store;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

/// The ClusterRole of the chart that lets read what a mount needs.
pub const CLUSTER_ROLE: &str = "keyferry-mount";

const GROUP: &str = "external-secrets.io";

/// One thing that is to be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The API group.
    pub group: String,
    /// The resource, in the plural.
    pub resource: String,
    /// The name.
    pub name: String,
}

impl Rule {
    /// Of our own API.
    pub fn ours(resource: &str, name: &str) -> Self {
        Self { group: GROUP.to_owned(), resource: resource.to_owned(), name: name.to_owned() }
    }

    /// Of the core API.
    pub fn core(resource: &str, name: &str) -> Self {
        Self { group: String::new(), resource: resource.to_owned(), name: name.to_owned() }
    }

    /// That of a generator.
    pub fn generator(kind: &str, name: &str) -> Self {
        let (group, resource) = (names::GENERATORS_GROUP.to_owned(), generator_resource(kind).plural);
        Self { group, resource, name: name.to_owned() }
    }

    /// Whether it is of no namespace.
    fn is_of_cluster(&self) -> bool {
        ["clustersecretstores", "clustergenerators"].contains(&self.resource.as_str())
    }

    /// As it stands in a Role.
    pub fn json(&self) -> Value {
        json!({
            "apiGroups": [self.group],
            "resources": [self.resource],
            "resourceNames": [self.name],
            "verbs": ["get"],
        })
    }

    /// What is told where it is missing. What has an ExternalSecret of its own has a command that grants all of it.
    pub fn missing(&self, namespace: &str, account: &str, external_secret: Option<&str>) -> String {
        let where_ = if self.is_of_cluster() { "ClusterRole" } else { "Role" };
        let command = external_secret.map_or_else(String::new, |name| {
            format!("; `keyferry grant {name} --to {account} --namespace {namespace}` prints all that it needs")
        });
        format!(
            "ServiceAccount {account:?} may not get {} {:?}: bind it to a {where_} with the rule {}{command}",
            self.resource,
            self.name,
            self.json()
        )
    }
}

/// Generators of this kind, as the API server knows them.
pub fn generator_resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(names::GENERATORS_GROUP, "v1alpha1", kind))
}

/// The generators that an ExternalSecret names.
pub fn generators(es: &ExternalSecret) -> impl Iterator<Item = &GeneratorRef> {
    es.spec.data_from.iter().filter_map(generator)
}

/// Providers that look for what a ServiceAccount is in their cloud among its annotations.
const BY_ANNOTATIONS: [&str; 3] = ["aws", "azurekv", "gcpsm"];

/// Generators that do.
const GENERATORS_BY_ANNOTATIONS: [&str; 4] =
    ["ACRAccessToken", "ECRAuthorizationToken", "GCRAccessToken", "STSSessionToken"];

/// All that `account` must be allowed to read to mount `es` of these stores and generators (by their kinds, names and specs), in
/// its namespace.
pub fn rules<'a>(
    es: &ExternalSecret,
    stores: impl IntoIterator<Item = &'a Store>,
    generators: &[(String, String, Value)],
    account: &str,
) -> Vec<Rule> {
    let mut rules = vec![Rule::ours("externalsecrets", es.metadata.name.as_deref().unwrap_or_default())];
    for source in sources_of(es) {
        let resource = if source.kind == Kind::Secret { "secrets" } else { "configmaps" };
        rules.push(Rule::core(resource, &source.name));
    }
    for store in stores {
        let resource = if store.id.namespace.is_some() { "secretstores" } else { "clustersecretstores" };
        rules.push(Rule::ours(resource, &store.id.name));
        let Some((provider, config)) = store.spec.as_ref().ok().and_then(|spec| spec.the_provider().ok()) else {
            continue;
        };
        if BY_ANNOTATIONS.contains(&provider) {
            rules.push(Rule::core("serviceaccounts", account));
        }
        rules.extend(authority(es, &config));
    }
    for (kind, name, spec) in generators {
        rules.push(Rule::generator(kind, name));
        let (kind, spec) = if kind == CLUSTER_GENERATOR {
            let held = spec["kind"].as_str().unwrap_or_default();
            (held, &spec["generator"][generator_field(held).unwrap_or_default()])
        } else {
            (kind.as_str(), spec)
        };
        if GENERATORS_BY_ANNOTATIONS.contains(&kind) {
            rules.push(Rule::core("serviceaccounts", account));
        }
        rules.extend(authority(es, &spec["provider"]));
    }
    rules.sort();
    rules.dedup();
    rules
}

/// Where the certificates of a server are read. Of another namespace than the pod's, where something of the cluster names one,
/// nobody can be let read here.
fn authority(es: &ExternalSecret, config: &Value) -> Option<Rule> {
    let is_here = |of: &&Value| of.get("namespace").is_none_or(|of| of == &json!(es.metadata.namespace));
    let authority = config.get("caProvider").filter(is_here)?;
    let name = authority["name"].as_str().filter(|_| authority["type"] == "ConfigMap")?;
    Some(Rule::core("configmaps", name))
}

/// The longest name, before its hash.
const LONGEST: usize = 200;

/// A name for what is granted by these names. Where it could be that of others, since a dash of theirs looks like one between
/// them, a hash tells them apart.
fn name_of(parts: &[&str]) -> String {
    let plain = format!("{CLUSTER_ROLE}-{}", parts.join("-"));
    if plain.len() <= LONGEST && !parts.iter().any(|part| part.contains('-')) {
        return plain;
    }
    // No name has a slash.
    let hash = data_hash([("", parts.join("/").as_bytes())]);
    format!("{}-{}", plain.chars().take(LONGEST).collect::<String>(), &hash[..10])
}

/// The objects that let `account` mount an ExternalSecret: a Role and a RoleBinding, and the same of the cluster where a rule is
/// not of a namespace.
pub fn objects(namespace: &str, external_secret: &str, account: &str, rules: &[Rule]) -> Vec<Value> {
    let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": namespace});
    let (of_cluster, of_namespace): (Vec<&Rule>, Vec<&Rule>) = rules.iter().partition(|rule| rule.is_of_cluster());
    let mut objects = Vec::new();
    let mut add = |kind: &str, name: String, rules: &[&Rule], namespace: Option<&str>| {
        if rules.is_empty() {
            return;
        }
        let mut metadata = json!({"name": name});
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        let group = "rbac.authorization.k8s.io";
        let api = format!("{group}/v1");
        let all: Vec<Value> = rules.iter().map(|rule| rule.json()).collect();
        objects.push(json!({"apiVersion": api, "kind": kind, "metadata": metadata, "rules": all}));
        objects.push(json!({
            "apiVersion": api,
            "kind": format!("{kind}Binding"),
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": kind, "name": name},
            "subjects": [subject],
        }));
    };
    add("Role", name_of(&[external_secret, account]), &of_namespace, Some(namespace));
    add("ClusterRole", name_of(&[namespace, external_secret, account]), &of_cluster, None);
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_a_rule_and_a_command() {
        let told = Rule::ours("externalsecrets", "app").missing("team", "web", Some("app"));
        for part in ["\"resourceNames\":[\"app\"]", "keyferry grant app --to web --namespace team", "bind it to a Role"]
        {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn names_are_of_one_grant_each() {
        assert_eq!(name_of(&["app", "web"]), "keyferry-mount-app-web");
        let names = [
            name_of(&["a-b", "c"]),
            name_of(&["a", "b-c"]),
            name_of(&["a", "b", "c"]),
            name_of(&["a-b-c", "d"]),
            name_of(&["a", "b-c-d"]),
            name_of(&["a", "b-c", "d"]),
            name_of(&["a", &names_tail(&["a-b", "c"])]),
            name_of(&[&"x".repeat(253), "y"]),
            name_of(&[&"x".repeat(253), "z"]),
        ];
        let apart: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(apart.len(), names.len(), "{names:?}");
        assert_eq!(name_of(&["a-b", "c"]), names[0], "it is the same each time");
        assert!(names.iter().all(|name| name.len() <= 253 && name.is_ascii()), "{names:?}");
    }

    /// What is behind the first part of somebody else's name.
    fn names_tail(parts: &[&str]) -> String {
        name_of(parts).trim_start_matches("keyferry-mount-a-").to_owned()
    }

    #[test]
    fn generators_are_granted_with_what_they_are_made_with() {
        let es = keyferry_builders::es(json!({}));
        let here = json!(es.metadata.namespace);
        let authority = |namespace: &Value| json!({"provider": {"caProvider": {"type": "ConfigMap", "name": "ca", "namespace": namespace}}});
        let of = |kind: &str, spec: Value| {
            let generators = [(kind.to_owned(), "g".to_owned(), spec)];
            let rules = rules(&es, [], &generators, "web").into_iter();
            rules
                .filter(|rule| rule.resource != "externalsecrets")
                .map(|rule| format!("{}/{}", rule.resource, rule.name))
                .collect::<Vec<_>>()
        };
        assert_eq!(of("VaultDynamicSecret", authority(&here)), ["configmaps/ca", "vaultdynamicsecrets/g"]);
        assert_eq!(of("VaultDynamicSecret", authority(&json!("elsewhere"))), ["vaultdynamicsecrets/g"]);
        assert_eq!(of("STSSessionToken", json!({})), ["serviceaccounts/web", "stssessiontokens/g"]);
        let held = json!({"kind": "VaultDynamicSecret", "generator": {"vaultDynamicSecretSpec": authority(&here)}});
        assert_eq!(of("ClusterGenerator", held), ["configmaps/ca", "clustergenerators/g"]);
    }

    #[test]
    fn rules_of_the_cluster_are_granted_there() {
        let rules = [
            Rule::ours("externalsecrets", "app"),
            Rule::ours("clustersecretstores", "vault"),
            Rule::generator("ClusterGenerator", "g"),
        ];
        let objects = objects("team", "app", "web", &rules);
        let kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
        assert_eq!(kinds, ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]);
        assert_eq!(objects[0]["metadata"]["namespace"], "team");
        assert_eq!(objects[3]["metadata"].get("namespace"), None);
        assert_eq!(objects[2]["rules"][1]["resources"], json!(["clustergenerators"]));
        assert_eq!(objects[3]["subjects"][0]["namespace"], "team");
    }
}
