//! Who may reach a Secret, by RBAC: directly, and by what lets them become somebody who may. Pure: over roles and bindings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject as Named,
};
use kube::ResourceExt as _;
use serde::Serialize;

/// The roles and bindings of a cluster.
#[derive(Default)]
pub struct Rbac {
    roles: BTreeMap<(String, String), Vec<PolicyRule>>,
    cluster_roles: BTreeMap<String, Vec<PolicyRule>>,
    bindings: Vec<Binding>,
}

/// A RoleBinding, or with no namespace a ClusterRoleBinding.
struct Binding {
    namespace: Option<String>,
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// Who a binding names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", content = "name")]
pub enum Subject {
    /// A user, by name.
    User(String),
    /// All of a group.
    Group(String),
    /// A ServiceAccount, by namespace and name.
    ServiceAccount(String, String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "User {name}"),
            Self::Group(name) => write!(f, "Group {name}"),
            Self::ServiceAccount(namespace, name) => write!(f, "ServiceAccount {namespace}/{name}"),
        }
    }
}

/// What names of the system's own users and groups begin with: its components, its nodes, its ServiceAccounts.
const SYSTEM: [&str; 4] = ["system:kube-", "system:node", "system:controller:", "system:serviceaccount:kube-system:"];

impl Subject {
    fn of(named: &Named, of: Option<&str>) -> Option<Self> {
        match named.kind.as_str() {
            "User" => Some(Self::User(named.name.clone())),
            "Group" => Some(Self::Group(named.name.clone())),
            "ServiceAccount" => {
                let namespace = named.namespace.clone().or_else(|| of.map(str::to_owned))?;
                Some(Self::ServiceAccount(namespace, named.name.clone()))
            }
            _ => None,
        }
    }

    /// Whether it is the system's own. Not all that begins with `system:` is: everybody is one of `system:authenticated`.
    pub fn is_system(&self) -> bool {
        match self {
            Self::User(name) | Self::Group(name) => {
                name == "system:masters" || SYSTEM.iter().any(|begin| name.starts_with(begin))
            }
            Self::ServiceAccount(namespace, _) => namespace == "kube-system",
        }
    }

    /// As an API server is asked about it: the user's name, and the groups that are certain.
    pub fn identity(&self) -> (String, Vec<String>) {
        let all = "system:authenticated".to_owned();
        match self {
            Self::User(name) => (name.clone(), vec![all]),
            Self::Group(name) => ("somebody".to_owned(), vec![name.clone(), all]),
            Self::ServiceAccount(namespace, name) => {
                let of_namespace = format!("system:serviceaccounts:{namespace}");
                let groups = vec!["system:serviceaccounts".to_owned(), of_namespace, all];
                (format!("system:serviceaccount:{namespace}:{name}"), groups)
            }
        }
    }

    /// Whether this is, or takes in, who is asked for.
    fn takes_in(&self, (user, groups): &(String, Vec<String>)) -> bool {
        match self {
            Self::User(name) => name == user,
            Self::Group(name) => groups.contains(name),
            Self::ServiceAccount(namespace, name) => *user == format!("system:serviceaccount:{namespace}:{name}"),
        }
    }
}

/// What somebody would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act<'a> {
    /// The verb.
    pub verb: &'a str,
    /// The group; empty for the core.
    pub group: &'a str,
    /// The resource, with its subresource: `secrets`, `pods/exec`.
    pub resource: &'a str,
    /// The name, where one object is meant.
    pub name: &'a str,
}

impl fmt::Display for Act<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

/// Whether a rule allows something: as the API server's own authorizer has it.
fn allows(rule: &PolicyRule, act: &Act<'_>) -> bool {
    let names = rule.resource_names.as_deref().unwrap_or_default();
    is_of(rule, act) && (names.is_empty() || names.iter().any(|name| name == act.name))
}

/// The names that a rule allows something for, of an act that names none; empty where it is for all. `None` where it is for nothing.
fn names<'a>(rule: &'a PolicyRule, act: &Act<'_>) -> Option<&'a [String]> {
    let names = rule.resource_names.as_deref().unwrap_or_default();
    // What is created has no name yet when it is judged, unless it is made of an object that there is.
    let has_name = act.verb != "create" || act.resource.contains('/');
    (is_of(rule, act) && (names.is_empty() || has_name)).then_some(names)
}

/// Whether a rule is for something, by whatever name.
fn is_of(rule: &PolicyRule, act: &Act<'_>) -> bool {
    let has =
        |list: &Option<Vec<String>>, wanted: &str| list.iter().flatten().any(|given| given == "*" || given == wanted);
    let subresource = act.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    let is_resource = rule
        .resources
        .iter()
        .flatten()
        .any(|given| given == "*" || given == act.resource || subresource.as_ref().is_some_and(|all| given == all));
    rule.verbs.iter().any(|verb| verb == "*" || verb == act.verb) && has(&rule.api_groups, act.group) && is_resource
}

/// One way in which somebody reaches a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// Who.
    #[serde(flatten)]
    pub who: Subject,
    /// Whether by reading it, and not by becoming somebody else.
    pub is_direct: bool,
    /// What they may do; where that is allowed for some names only, with these.
    pub by: String,
    /// What that comes to.
    pub so: &'static str,
    /// The bindings that allow it.
    pub bindings: BTreeSet<String>,
}

/// What it takes to reach a Secret, besides reading it.
const INDIRECT: &[(&[&str], &str, &[&str], &str)] = &[
    (&["create"], "", &["pods", "replicationcontrollers"], "they can run a pod that mounts it"),
    (
        &["create"],
        "apps",
        &["deployments", "statefulsets", "daemonsets", "replicasets"],
        "they can run a pod that mounts it",
    ),
    (&["create"], "batch", &["jobs", "cronjobs"], "they can run a pod that mounts it"),
    (
        &["update", "patch"],
        "apps",
        &["deployments", "statefulsets", "daemonsets", "replicasets"],
        "they can make pods mount it",
    ),
    (&["update", "patch"], "batch", &["cronjobs"], "they can make pods mount it"),
    (&["create", "get"], "", &["pods/exec", "pods/attach"], "they can look into pods that mount it"),
    (&["update", "patch"], "", &["pods/ephemeralcontainers"], "they can look into pods that mount it"),
    (
        &["create", "update", "patch"],
        "external-secrets.io",
        &["pushsecrets"],
        "they can have it pushed to where they can read it",
    ),
    (&["create"], "", &["serviceaccounts/token"], "they can be any ServiceAccount of the namespace"),
    (&["impersonate"], "", &["serviceaccounts"], "they can be any ServiceAccount of the namespace"),
    (&["escalate", "bind"], "rbac.authorization.k8s.io", &["roles"], "they can give themselves the right to read it"),
    (
        &["escalate", "bind"],
        "rbac.authorization.k8s.io",
        &["clusterroles"],
        "they can give themselves the right to read it",
    ),
];

/// What takes no namespace: it is allowed by ClusterRoleBindings only.
const OF_CLUSTER: &[(&[&str], &str, &[&str], &str)] = &[
    (&["impersonate"], "", &["users", "groups"], "they can be anybody"),
    (
        &["escalate", "bind"],
        "rbac.authorization.k8s.io",
        &["clusterroles"],
        "they can give themselves the right to read it",
    ),
];

impl Rbac {
    /// Takes what was listed.
    pub fn new(
        roles: Vec<Role>,
        cluster_roles: Vec<ClusterRole>,
        role_bindings: Vec<RoleBinding>,
        cluster_role_bindings: Vec<ClusterRoleBinding>,
    ) -> Self {
        let of_role = |role: Role| {
            ((role.namespace().unwrap_or_default(), role.name_any()), role.rules.clone().unwrap_or_default())
        };
        let bound = |namespace: Option<String>, name: String, role: RoleRef, subjects: Option<Vec<Named>>| {
            let subjects = subjects.iter().flatten().filter_map(|named| Subject::of(named, namespace.as_deref()));
            Binding { subjects: subjects.collect(), namespace, name, role }
        };
        let of_namespace = role_bindings.into_iter().map(|binding| {
            bound(binding.namespace().or(Some(String::new())), binding.name_any(), binding.role_ref, binding.subjects)
        });
        let of_cluster = cluster_role_bindings
            .into_iter()
            .map(|binding| bound(None, binding.name_any(), binding.role_ref, binding.subjects));
        Self {
            roles: roles.into_iter().map(of_role).collect(),
            cluster_roles: cluster_roles
                .into_iter()
                .map(|role| (role.name_any(), role.rules.unwrap_or_default()))
                .collect(),
            bindings: of_namespace.chain(of_cluster).collect(),
        }
    }

    fn rules(&self, binding: &Binding) -> &[PolicyRule] {
        let found = match (binding.role.kind.as_str(), &binding.namespace) {
            ("ClusterRole", _) => self.cluster_roles.get(&binding.role.name),
            (_, Some(namespace)) => self.roles.get(&(namespace.clone(), binding.role.name.clone())),
            (_, None) => None,
        };
        found.map(Vec::as_slice).unwrap_or_default()
    }

    /// The bindings that allow something in a namespace, or, where that is none, in the cluster.
    fn allowing<'a>(&'a self, namespace: Option<&'a str>, act: &'a Act<'_>) -> impl Iterator<Item = &'a Binding> {
        self.reaching(namespace).filter(move |binding| self.rules(binding).iter().any(|rule| allows(rule, act)))
    }

    /// The bindings that count in a namespace, or, where that is none, in the cluster.
    fn reaching<'a>(&'a self, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Binding> {
        self.bindings.iter().filter(move |binding| match &binding.namespace {
            None => true,
            Some(of) => Some(of.as_str()) == namespace,
        })
    }

    /// Whether somebody may do something in a namespace, or, where that is none, in the cluster.
    pub fn may(&self, who: &Subject, namespace: Option<&str>, act: &Act<'_>) -> bool {
        let who = who.identity();
        self.allowing(namespace, act).any(|binding| binding.subjects.iter().any(|subject| subject.takes_in(&who)))
    }

    /// Everybody that a binding names.
    pub fn subjects(&self) -> BTreeSet<&Subject> {
        self.bindings.iter().flat_map(|binding| &binding.subjects).collect()
    }

    /// All ways to a Secret.
    pub fn ways(&self, namespace: &str, secret: &str) -> Vec<Way> {
        let mut found: BTreeMap<(Subject, bool, String, &'static str), BTreeSet<String>> = BTreeMap::new();
        let mut take = |binding: &Binding, is_direct: bool, by: &str, so: &'static str| {
            for subject in &binding.subjects {
                let key = (subject.clone(), is_direct, by.to_owned(), so);
                found.entry(key).or_default().insert(binding.to_string());
            }
        };
        let reading = [
            ("get", "they can read it"),
            ("list", "they can read it"),
            ("watch", "they can read it"),
            ("patch", "a patch is answered with all of it"),
        ];
        for (verb, so) in reading {
            let act = Act { verb, group: "", resource: "secrets", name: secret };
            self.allowing(Some(namespace), &act).for_each(|binding| take(binding, true, &act.to_string(), so));
        }
        for (place, ways) in [(Some(namespace), INDIRECT), (None, OF_CLUSTER)] {
            for (verbs, group, resources, so) in ways {
                for verb in *verbs {
                    for resource in *resources {
                        let act = Act { verb, group, resource, name: "" };
                        for binding in self.reaching(place) {
                            for named in self.rules(binding).iter().filter_map(|rule| names(rule, &act)) {
                                let only = if named.is_empty() { "" } else { " (only " };
                                let end = if named.is_empty() { "" } else { ")" };
                                take(binding, false, &format!("{act}{only}{}{end}", named.join(", ")), so);
                            }
                        }
                    }
                }
            }
        }
        let ways =
            found.into_iter().map(|((who, is_direct, by, so), bindings)| Way { who, is_direct, by, so, bindings });
        ways.collect()
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
        write!(f, "{kind} {} ({} {})", self.name, self.role.kind, self.role.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rbac(rules: Value, binding: &str, subject: Value) -> Rbac {
        let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": "r"}, "rules": rules})).unwrap();
        let bound = json!({
            "metadata": {"name": "b", "namespace": "ns"}, "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        });
        let (mut of_namespace, mut of_cluster) = (Vec::new(), Vec::new());
        match binding {
            "namespace" => of_namespace.push(serde_json::from_value(bound).unwrap()),
            _ => of_cluster.push(serde_json::from_value(bound).unwrap()),
        }
        Rbac::new(Vec::new(), vec![role], of_namespace, of_cluster)
    }

    fn ways(rules: Value, binding: &str) -> Vec<String> {
        let rbac = rbac(rules, binding, json!({"kind": "ServiceAccount", "name": "a", "namespace": "ns"}));
        rbac.ways("ns", "s").into_iter().map(|way| format!("{} {} {}", way.who, way.is_direct, way.by)).collect()
    }

    #[test]
    fn every_way_to_a_secret_is_seen() {
        for (rules, binding, expected) in [
            (
                json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]),
                "namespace",
                &["ServiceAccount ns/a true get secrets"][..],
            ),
            (
                json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["s"], "verbs": ["get"]}]),
                "cluster",
                &["ServiceAccount ns/a true get secrets"],
            ),
            (
                json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["t"], "verbs": ["*"]}]),
                "cluster",
                &[],
            ),
            (
                json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["create"]}]),
                "namespace",
                &["ServiceAccount ns/a false create deployments"],
            ),
            (
                json!([{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}]),
                "namespace",
                &["ServiceAccount ns/a false create serviceaccounts/token"],
            ),
            (
                json!([{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}]),
                "cluster",
                &["ServiceAccount ns/a false impersonate users"],
            ),
            (json!([{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}]), "namespace", &[]),
            (
                json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["bind"]}]),
                "namespace",
                &["ServiceAccount ns/a false bind roles"],
            ),
            (
                json!([{"apiGroups": [""], "resources": ["*/exec"], "verbs": ["create"]}]),
                "namespace",
                &["ServiceAccount ns/a false create pods/exec"],
            ),
            (json!([{"apiGroups": ["batch"], "resources": ["secrets"], "verbs": ["get"]}]), "namespace", &[]),
            (
                json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["patch"]}]),
                "namespace",
                &["ServiceAccount ns/a true patch secrets"],
            ),
            (
                json!([{"apiGroups": ["external-secrets.io"], "resources": ["pushsecrets"], "verbs": ["create"]}]),
                "namespace",
                &["ServiceAccount ns/a false create pushsecrets"],
            ),
            (
                json!([{"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["x", "y"], "verbs": ["create"]}]),
                "namespace",
                &["ServiceAccount ns/a false create serviceaccounts/token (only x, y)"],
            ),
            (
                json!([{"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"], "verbs": ["create", "patch"]}]),
                "namespace",
                &["ServiceAccount ns/a false patch deployments (only web)"],
            ),
        ] {
            assert_eq!(ways(rules.clone(), binding), expected, "{rules}");
        }
    }

    #[test]
    fn the_system_is_what_nobody_else_can_be() {
        let account = |namespace: &str| Subject::ServiceAccount(namespace.to_owned(), "a".to_owned());
        assert!(account("kube-system").is_system() && !account("ns").is_system());
        for (name, is_system) in [
            ("system:masters", true),
            ("system:kube-scheduler", true),
            ("system:nodes", true),
            ("system:node:n1", true),
            ("system:controller:job-controller", true),
            ("system:serviceaccount:kube-system:a", true),
            ("system:serviceaccount:ns:a", false),
            ("system:serviceaccounts", false),
            ("system:serviceaccounts:ns", false),
            ("system:authenticated", false),
            ("system:unauthenticated", false),
            ("system:anonymous", false),
            ("ops", false),
        ] {
            assert_eq!(Subject::Group(name.to_owned()).is_system(), is_system, "{name}");
            assert_eq!(Subject::User(name.to_owned()).is_system(), is_system, "{name}");
        }
    }

    #[test]
    fn a_role_binding_reaches_its_namespace_and_a_group_its_members() {
        let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
        let act = Act { verb: "get", group: "", resource: "secrets", name: "s" };
        let group = json!({"kind": "Group", "name": "system:serviceaccounts:ns"});
        let rbac = rbac(rules, "namespace", group);
        let account = |namespace: &str| Subject::ServiceAccount(namespace.to_owned(), "x".to_owned());
        assert!(rbac.may(&account("ns"), Some("ns"), &act) && !rbac.may(&account("ns"), Some("other"), &act));
        assert!(!rbac.may(&account("other"), Some("ns"), &act) && !rbac.may(&account("ns"), None, &act));
    }
}
