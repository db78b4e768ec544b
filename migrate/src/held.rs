//! What a release holds besides CRDs: which objects, whether they stay, and which template made them.
//!
//! Of a document only its kind and its metadata are read: the rest may be a Secret's.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::facts::Held;
use crate::helm::POLICY;

/// The objects of these documents that come from templates that are asked for. `namespace` is that of the release.
pub fn objects(documents: &[&str], namespace: &str, is_asked: impl Fn(&str) -> bool) -> Vec<Held> {
    let mut all = Vec::new();
    let mut template = "";
    for document in documents {
        // One template may make several documents; Helm says its name before each, and what was split here has it once.
        template = document.lines().find_map(|line| line.strip_prefix("# Source: ")).map_or(template, str::trim);
        if !is_asked(template) {
            continue;
        }
        let Ok(read) = serde_saphyr::from_str::<Head>(&head(document)) else { continue };
        let metadata = read.metadata;
        if read.kind.is_empty() || metadata.name.is_empty() || read.kind == "CustomResourceDefinition" {
            continue;
        }
        let policy = metadata.annotations.as_ref().and_then(|all| all.get(POLICY));
        let keeps =
            policy.is_some_and(|policy| matches!(policy, Scalar::Text(p) if p.trim().eq_ignore_ascii_case("keep")));
        all.push(Held {
            group: read.api_version.rsplit_once('/').map(|(group, _)| group.to_owned()).unwrap_or_default(),
            kind: read.kind,
            namespace: metadata.namespace.filter(|own| !own.is_empty()).unwrap_or_else(|| namespace.to_owned()),
            name: metadata.name,
            keeps,
            template: template.rsplit('/').next().unwrap_or_default().to_owned(),
        });
    }
    all
}

/// The parts of a document that say what it is.
fn head(document: &str) -> String {
    let mut is_wanted = false;
    let mut head = String::new();
    for line in document.lines() {
        if line.starts_with(|letter: char| letter.is_ascii_alphabetic() || "\"'{".contains(letter)) {
            let key = line.split(':').next().unwrap_or_default().trim_matches(['"', '\'', ' ']);
            is_wanted = ["apiVersion", "kind", "metadata"].contains(&key);
        }
        if is_wanted {
            head.push_str(line);
            head.push('\n');
        }
    }
    head
}

#[derive(Deserialize)]
struct Head {
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    annotations: Option<BTreeMap<String, Scalar>>,
}

/// A value that should be a text, and need not be.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Other(IgnoredAny),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helm::documents;

    #[test]
    fn what_a_release_holds() {
        let manifest = "---
# Source: external-secrets/templates/serviceaccount.yaml
apiVersion: v1
kind: ServiceAccount
metadata:
  name: external-secrets
  namespace: secrets
  annotations:
    helm.sh/resource-policy: keep
---
# Source: external-secrets/templates/extra-objects.yaml
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: vault}
spec: {not: [read}
---
kind: Secret
apiVersion: v1
stringData:
  metadata: hunter2
  kind: |
    not: this
metadata:
  name: 'token'
---
# Source: external-secrets/templates/crds/x.yaml
kind: CustomResourceDefinition
metadata: {name: x}
---
# Source: external-secrets/templates/webhook-service.yaml
metadata: {name: [odd]}
kind: Service
";
        let found = objects(&documents(manifest), "eso", |_| true);
        let told: Vec<String> = found.iter().map(|held| format!("{held} {} {}", held.keeps, held.template)).collect();
        assert_eq!(
            told,
            [
                "ServiceAccount secrets/external-secrets true serviceaccount.yaml",
                "ClusterSecretStore vault false extra-objects.yaml",
                "Secret eso/token false extra-objects.yaml",
            ]
        );
        assert_eq!(found[1].resource(), "clustersecretstore.external-secrets.io");
        assert!(!head(manifest).contains("hunter2"));
        let part = objects(&documents(manifest), "eso", |template| template.contains("extra"));
        assert_eq!(part.len(), 2);
    }
}
