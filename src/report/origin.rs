//! What each key of a target comes from. Values are no part of it.

use keyferry_crds::{DataFromEntry, ExternalSecret, MergePolicy, RemoteRef, SecretStoreRef, SourceRef};
use keyferry_sync::request::generator;
use keyferry_sync::store::StoreId;
use serde::Serialize;

/// Where one key, or several, come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The key; `*` where the store or a template decides which there are.
    pub key: String,
    /// The entry of the spec.
    pub entry: String,
    /// The store or generator; empty where a template makes it of other keys.
    pub source: String,
    /// The name of the secret there, or what is searched for.
    pub remote_key: String,
    /// The field inside of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub property: String,
    /// The version that is asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Whether a template takes it in, and the target has what that makes.
    pub feeds_template: bool,
}

/// Where the keys of the target come from, in the order of the spec: what is fetched, then what templates make of it.
pub fn of(es: &ExternalSecret) -> Vec<Origin> {
    let template = es.spec.target.template.as_ref();
    let templated = template.filter(|template| !template.data.is_empty() || !template.template_from.is_empty());
    let feeds = templated.is_some_and(|template| template.merge_policy != MergePolicy::Merge);
    let data = es.spec.data.iter().enumerate().map(|(n, entry)| Origin {
        key: entry.secret_key.clone(),
        entry: format!("spec.data[{n}]"),
        source: store(es, entry.source_ref.as_ref()),
        ..remote(&entry.remote_ref)
    });
    let from = es.spec.data_from.iter().enumerate().map(|(n, entry)| data_from(es, n, entry));
    let fetched = data.chain(from).map(|origin| Origin { feeds_template: feeds, ..origin });
    let made = templated.into_iter().flat_map(|template| {
        let keys = template.data.keys().map(|key| Origin {
            key: key.clone(),
            entry: "spec.target.template.data".to_owned(),
            ..Origin::default()
        });
        let from = template.template_from.iter().enumerate().map(|(n, _)| Origin {
            key: "*".to_owned(),
            entry: format!("spec.target.template.templateFrom[{n}]"),
            ..Origin::default()
        });
        keys.chain(from).collect::<Vec<_>>()
    });
    fetched.chain(made).collect()
}

fn remote(remote: &RemoteRef) -> Origin {
    Origin {
        remote_key: remote.key.clone(),
        property: remote.property.clone().unwrap_or_default(),
        version: remote.version.clone().unwrap_or_default(),
        ..Origin::default()
    }
}

fn data_from(es: &ExternalSecret, n: usize, entry: &DataFromEntry) -> Origin {
    let at = |part: &str| Origin {
        key: "*".to_owned(),
        entry: format!("spec.dataFrom[{n}].{part}"),
        source: store(es, entry.source_ref.as_ref()),
        ..Origin::default()
    };
    if let Some(generator) = generator(entry) {
        let source = format!("{} {}", generator.kind, generator.name);
        return Origin { source, ..at("sourceRef.generatorRef") };
    }
    if let Some(find) = &entry.find {
        let name = find.name.as_ref().and_then(|name| name.regexp.as_deref());
        let tags: Vec<String> = find.tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
        let parts = [find.path.as_deref().map(|path| format!("path {path}")), name.map(|name| format!("name {name}"))];
        let tags = Some(format!("tags {}", tags.join(","))).filter(|_| !tags.is_empty());
        let parts: Vec<String> = parts.into_iter().chain([tags]).flatten().collect();
        return Origin { remote_key: parts.join(", "), ..at("find") };
    }
    let extracted = entry.extract.as_ref().map(remote).unwrap_or_default();
    Origin {
        remote_key: extracted.remote_key,
        property: extracted.property,
        version: extracted.version,
        ..at("extract")
    }
}

fn store(es: &ExternalSecret, source: Option<&SourceRef>) -> String {
    let own = source.and_then(|source| source.store_ref.as_ref());
    let Some(SecretStoreRef { name, kind }) = own.or(es.spec.secret_store_ref.as_ref()) else { return String::new() };
    let namespace = es.metadata.namespace.clone().filter(|_| *kind != keyferry_crds::StoreKind::ClusterSecretStore);
    StoreId { namespace, name: name.clone() }.to_string()
}

#[cfg(test)]
mod tests {
    use keyferry_builders::es;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_entry_says_where_its_keys_come_from() {
        let spec = json!({
            "secretStoreRef": {"name": "s"},
            "data": [
                {"secretKey": "a", "remoteRef": {"key": "app", "property": "p", "version": "3"}},
                {"secretKey": "b", "remoteRef": {"key": "app"},
                 "sourceRef": {"storeRef": {"name": "c", "kind": "ClusterSecretStore"}}},
            ],
            "dataFrom": [
                {"extract": {"key": "whole"}},
                {"find": {"path": "x/", "name": {"regexp": "^y"}, "tags": {"t": "v"}}},
                {"sourceRef": {"generatorRef": {"kind": "Password", "name": "g"}}},
            ],
            "target": {"template": {"data": {"url": "{{ .a }}"}}},
        });
        let told: Vec<String> = of(&es(spec))
            .into_iter()
            .map(|o| {
                format!("{} <- {} {} {} {} {}", o.key, o.entry, o.source, o.remote_key, o.property, o.version)
                    .trim_end()
                    .to_owned()
            })
            .collect();
        assert_eq!(
            told,
            [
                "a <- spec.data[0] SecretStore \"s\" app p 3",
                "b <- spec.data[1] ClusterSecretStore \"c\" app",
                "* <- spec.dataFrom[0].extract SecretStore \"s\" whole",
                "* <- spec.dataFrom[1].find SecretStore \"s\" path x/, name ^y, tags t=v",
                "* <- spec.dataFrom[2].sourceRef.generatorRef Password g",
                "url <- spec.target.template.data",
            ]
        );
        assert!(of(&es(json!({"target": {"template": {"data": {"x": "y"}}}})))[0].feeds_template);
        assert!(!of(&es(json!({})))[0].feeds_template);
    }
}
