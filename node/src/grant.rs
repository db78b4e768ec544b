//! Who may mount: what a ServiceAccount must be allowed, as a rule that is printed where it is not, and as the objects that allow
//! it. Pure.

use keyferry_crds::ExternalSecret;
use keyferry_sync::dependency::Kind;
use keyferry_sync::request::sources_of;
use keyferry_sync::store::Store;
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
        let where_ = if self.resource == "clustersecretstores" { "ClusterRole" } else { "Role" };
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

/// Providers that look for what a ServiceAccount is in their cloud among its annotations.
const BY_ANNOTATIONS: [&str; 3] = ["aws", "azurekv", "gcpsm"];

/// All that `account` must be allowed to read to mount `es` of these stores, in its namespace.
pub fn rules<'a>(es: &ExternalSecret, stores: impl IntoIterator<Item = &'a Store>, account: &str) -> Vec<Rule> {
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
        // Of another namespace than the pod's, where a store of the cluster names one, nobody can be let read here.
        let authority = config
            .get("caProvider")
            .filter(|of| of.get("namespace").is_none_or(|of| of == &json!(es.metadata.namespace)));
        if let Some(name) = authority.filter(|of| of["type"] == "ConfigMap").and_then(|of| of["name"].as_str()) {
            rules.push(Rule::core("configmaps", name));
        }
    }
    rules.sort();
    rules.dedup();
    rules
}

/// The objects that let `account` mount an ExternalSecret: a Role and a RoleBinding, and the same of the cluster where a rule is
/// not of a namespace.
pub fn objects(namespace: &str, external_secret: &str, account: &str, rules: &[Rule]) -> Vec<Value> {
    let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": namespace});
    let (of_cluster, of_namespace): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| rule.resource == "clustersecretstores");
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
    add("Role", format!("{CLUSTER_ROLE}-{external_secret}-{account}"), &of_namespace, Some(namespace));
    add("ClusterRole", format!("{CLUSTER_ROLE}-{namespace}-{external_secret}-{account}"), &of_cluster, None);
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
    fn rules_of_the_cluster_are_granted_there() {
        let rules = [Rule::ours("externalsecrets", "app"), Rule::ours("clustersecretstores", "vault")];
        let objects = objects("team", "app", "web", &rules);
        let kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
        assert_eq!(kinds, ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]);
        assert_eq!(objects[0]["metadata"]["namespace"], "team");
        assert_eq!(objects[3]["metadata"].get("namespace"), None);
        assert_eq!(objects[3]["subjects"][0]["namespace"], "team");
    }
}
