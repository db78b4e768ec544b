//! The generators. Those that are built have a schema; their rules are those of External Secrets Operator: none; what
//! can't be made becomes a condition of the ExternalSecret that asks for it. The others are open, so that nothing is lost
//! while they are not built: who refers to one is told.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::node::*;
use super::shared::conditions;
use super::specs;
use super::{CLUSTER, NAMESPACED, Names, version, without_rule};
use crate::names;

/// A kind of generator.
struct Generator {
    kind: &'static str,
    plural: &'static str,
    /// Where its spec stands in a ClusterGenerator.
    field: &'static str,
    description: &'static str,
    /// Its spec, where it is built.
    spec: Option<fn() -> Node>,
}

/// The kinds, in alphabetical order, but for ClusterGenerator, which holds one of them.
const ALL: &[Generator] = &[
    built(
        "ACRAccessToken",
        "acraccesstokens",
        "acrAccessTokenSpec",
        "Gets tokens of Azure Container Registry.",
        specs::acr,
    ),
    unbuilt(
        "BeyondtrustWorkloadCredentialsDynamicSecret",
        "beyondtrustworkloadcredentialsdynamicsecrets",
        "beyondtrustWorkloadCredentialsDynamicSecretSpec",
        "Gets temporary credentials of BeyondTrust Workload Credentials.",
    ),
    built(
        "CloudsmithAccessToken",
        "cloudsmithaccesstokens",
        "cloudsmithAccessTokenSpec",
        "Gets tokens of Cloudsmith.",
        specs::cloudsmith,
    ),
    built(
        "ECRAuthorizationToken",
        "ecrauthorizationtokens",
        "ecrAuthorizationTokenSpec",
        "Gets tokens of Amazon's container registry.",
        specs::ecr,
    ),
    built("Fake", "fakes", "fakeSpec", "Gives the values that are written down in it.", fake),
    built(
        "GCRAccessToken",
        "gcraccesstokens",
        "gcrAccessTokenSpec",
        "Gets tokens of Google's container registry.",
        specs::gcr,
    ),
    built(
        "GithubAccessToken",
        "githubaccesstokens",
        "githubAccessTokenSpec",
        "Gets tokens of a GitHub App.",
        specs::github,
    ),
    built(
        "GitlabDeployToken",
        "gitlabdeploytokens",
        "gitlabDeployTokenSpec",
        "Makes deploy tokens in GitLab, and revokes them.",
        specs::gitlab,
    ),
    built(
        "Grafana",
        "grafanas",
        "grafanaSpec",
        "Makes tokens of a service account in Grafana, and revokes them.",
        specs::grafana,
    ),
    built("MFA", "mfas", "mfaSpec", "Makes one-time passwords.", specs::mfa),
    built("Password", "passwords", "passwordSpec", "Makes random passwords.", password),
    built("QuayAccessToken", "quayaccesstokens", "quayAccessTokenSpec", "Gets tokens of Quay.", specs::quay),
    built("SSHKey", "sshkeys", "sshKeySpec", "Makes pairs of SSH keys.", specs::ssh),
    built("STSSessionToken", "stssessiontokens", "stsSessionTokenSpec", "Gets session tokens of AWS.", specs::sts),
    built("UUID", "uuids", "uuidSpec", "Makes a random UUID.", uuid),
    built(
        "VaultDynamicSecret",
        "vaultdynamicsecrets",
        "vaultDynamicSecretSpec",
        "Gets what an engine of Vault makes up at each request; leases are prolonged, and revoked.",
        specs::vault,
    ),
    built("Webhook", "webhooks", "webhookSpec", "Gets values of any HTTP service.", specs::webhook),
];

const fn built(
    kind: &'static str,
    plural: &'static str,
    field: &'static str,
    description: &'static str,
    spec: fn() -> Node,
) -> Generator {
    Generator { kind, plural, field, description, spec: Some(spec) }
}

const fn unbuilt(
    kind: &'static str,
    plural: &'static str,
    field: &'static str,
    description: &'static str,
) -> Generator {
    Generator { kind, plural, field, description, spec: None }
}

impl Generator {
    fn spec(&self) -> Node {
        match self.spec {
            Some(spec) => spec(),
            None => anything(&format!("How: see External Secrets Operator's {}; it is not built here yet.", self.kind)),
        }
    }
}

/// The kinds that a generatorRef may name, in alphabetical order.
pub(super) fn kinds() -> Vec<&'static str> {
    let mut kinds: Vec<_> = ALL.iter().map(|generator| generator.kind).chain([CLUSTER_GENERATOR]).collect();
    kinds.sort_unstable();
    kinds
}

/// Whether a kind of the generators' group is built.
pub(super) fn is_built(kind: &str) -> bool {
    [CLUSTER_GENERATOR, names::KIND_GENERATOR_STATE].contains(&kind)
        || ALL.iter().any(|generator| generator.kind == kind && generator.spec.is_some())
}

/// The field of `spec.generator` in which a ClusterGenerator holds the spec of a generator of this kind; `None` where
/// there is no such kind.
pub fn generator_field(kind: &str) -> Option<&'static str> {
    ALL.iter().find(|generator| generator.kind == kind).map(|generator| generator.field)
}

const CLUSTER_GENERATOR: &str = "ClusterGenerator";

pub(super) fn crds() -> Vec<CustomResourceDefinition> {
    let of_kind = |generator: &Generator| {
        let names = Names { kind: generator.kind, plural: generator.plural, short: None, scope: NAMESPACED };
        crd(&names, generator.description, generator.spec())
    };
    let cluster_names = Names { kind: CLUSTER_GENERATOR, plural: "clustergenerators", short: None, scope: CLUSTER };
    let description = "A generator for the ExternalSecrets of all namespaces.";
    ALL.iter().map(of_kind).chain([crd(&cluster_names, description, cluster()), state()]).collect()
}

fn crd(names: &Names, description: &str, spec: Node) -> CustomResourceDefinition {
    of_group(names, version(names::GENERATORS_VERSION, without_rule(description, spec)))
}

fn of_group(names: &Names, version: Value) -> CustomResourceDefinition {
    let categories = [names::CATEGORY, names::CATEGORY_GENERATORS];
    names.of_group(names::GENERATORS_GROUP, &categories, vec![version])
}

fn fake() -> Node {
    object("The values.")
        .field("controller", string("Controller class that looks after it; empty is any."))
        .field("data", map_of_strings("Values by key."))
}

fn password() -> Node {
    object("What the passwords are made of.")
        .field("length", integer("Number of characters.").default(json!(24)))
        .field("digits", integer("Number of digits among them; a quarter if not set."))
        .field("symbols", integer("Number of symbols among them; a quarter if not set."))
        .field("symbolCharacters", string("The symbols to choose from."))
        .field("noUpper", boolean("Use no capital letters.").default(json!(false)))
        .field("allowRepeat", boolean("Let a character come more than once.").default(json!(false)))
        .field(
            "secretKeys",
            strings("A password of its own under each of these keys; under password if not set.")
                .set("minItems", json!(1)),
        )
        .field("prefix", string("Put before each password, once it is encoded."))
        .field("suffix", string("Put after each password, once it is encoded."))
        .field(
            "encoding",
            word("How to encode the passwords.", &["raw", "base64", "base64url", "base32", "hex"])
                .default(json!("raw")),
        )
}

fn uuid() -> Node {
    object("Nothing to say.")
}

fn cluster() -> Node {
    let kinds: Vec<_> = ALL.iter().map(|generator| generator.kind).collect();
    let generator = ALL
        .iter()
        .fold(object("Its spec, under a field named after its kind."), |node, generator| {
            node.field(generator.field, generator.spec())
        })
        .exactly_one_field();
    object("The generator.")
        .required("kind", word("Kind of the generator, such as Password.", &kinds))
        .required("generator", generator)
}

/// What a generator leaves, so that it can be revoked.
fn state() -> CustomResourceDefinition {
    let spec = object("What was generated.")
        .field("garbageCollectionDeadline", time("When to revoke it."))
        .required("resource", any_value("The generator that made it."))
        .required("state", any_value("What it takes to revoke it."));
    let status = object("What the operator last saw.").field("conditions", conditions(string("What is said.")));
    let schema = without_rule("What it takes to revoke what a generator made.", spec).field("status", status);
    let mut version = version(names::GENERATORS_VERSION, schema);
    // Its status is a part of it as any other: so it is in External Secrets Operator.
    version.as_object_mut().map(|version| version.remove("subresources"));
    version["additionalPrinterColumns"] = json!([
        {"name": "GC Deadline", "type": "string", "jsonPath": ".spec.garbageCollectionDeadline"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]);
    let names = Names { kind: "GeneratorState", plural: "generatorstates", short: Some("gs"), scope: NAMESPACED };
    of_group(&names, version)
}
