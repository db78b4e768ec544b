//! Which way a case is run: through `keyferry render`, at the API server, or both. What a case uses decides, never its name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::case::Case;

/// The ways of one case; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roads {
    /// Through `keyferry render`.
    pub render: bool,
    /// By the operator, at the API server.
    pub server: bool,
}

/// The roads of each case, by its name.
///
/// What can't be rendered is run at the API server. Of what can be, so is the first case that shows a part of the wiring
/// that no case before it shows; with `all`, every one. A case that speaks to the server of a store takes one road only:
/// on two at once it would disturb itself.
pub fn roads<'a>(cases: &[(&'a str, &Case)], all: bool) -> BTreeMap<&'a str, Roads> {
    let (pure, rest): (Vec<_>, Vec<_>) = cases.iter().partition(|(_, case)| needs(case).is_empty());
    let mut shown: BTreeSet<String> = rest.iter().flat_map(|(_, case)| wiring(case)).collect();
    let mut roads: BTreeMap<_, _> =
        rest.iter().map(|(name, _)| (*name, Roads { render: false, server: true })).collect();
    for (name, case) in pure {
        let parts = wiring(case);
        let server = all || !parts.is_subset(&shown);
        shown.extend(parts);
        roads.insert(name, Roads { render: !(server && asks_servers(case)), server });
    }
    roads
}

/// Whether a case speaks to the server of a store.
pub fn asks_servers(case: &Case) -> bool {
    !case.setup.is_empty() || providers(case).any(|(provider, _)| provider != "fake")
}

/// What a case needs that only the API server and an operator have; empty where it can be rendered.
pub fn needs(case: &Case) -> Vec<&'static str> {
    let [step] = case.steps.as_slice() else { return vec!["a state that changes"] };
    let is_one_of = |object: &&Value, kinds: &[&str]| kinds.iter().any(|kind| object["kind"] == **kind);
    let mut needs = Vec::new();
    let mut need = |what, is_needed: bool| needs.extend(is_needed.then_some(what));
    need("a state that changes", step.patch.is_some() || step.delete.is_some());
    let accepted = step.expect["accepted"].as_object();
    need("admission", accepted.into_iter().flatten().any(|(_, accepted)| *accepted != true));
    let known = ["ExternalSecret", "SecretStore", "ClusterSecretStore", "Secret", "ConfigMap"];
    let is_generator = |object: &&Value| api_version(object).starts_with("generators.external-secrets.io/");
    need("objects of other kinds", step.apply.iter().any(|o| !is_one_of(&o, &known) && !is_generator(&o)));
    let rendered = ["fake", "vault", "aws"];
    need("a store that is an API server", providers(case).any(|(provider, _)| !rendered.contains(&provider)));
    let statuses = step.expect["status"].as_object();
    let stores = statuses.into_iter().flatten().filter(|(name, _)| is_store(name));
    need("the check of a store", stores.into_iter().any(|(_, status)| is_ready(status) != Some(true)));
    let secrets = || step.apply.iter().filter(|object| object["kind"] == "Secret");
    let mut targets = BTreeSet::new();
    for es in external_secrets(case) {
        let target = &es["spec"]["target"];
        need("a target that is not a Secret", !target["manifest"].is_null());
        let name = target["name"].as_str().or_else(|| es.pointer("/metadata/name")?.as_str()).unwrap_or_default();
        need("a target that two want", !targets.insert(name));
        let is_there = secrets().any(|secret| secret["metadata"]["name"] == name);
        let status = &step.expect["status"][es["metadata"]["name"].as_str().unwrap_or_default()];
        let is_written = is_ready(status) == Some(true) && target["creationPolicy"] != "None";
        let retains = target["deletionPolicy"].as_str().is_none_or(|policy| policy == "Retain");
        need("a target that is marked, and not written", is_there && !(is_written && retains));
    }
    needs
}

/// The parts of the operator's wiring that a case shows.
fn wiring(case: &Case) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    parts.extend(providers(case).map(|(provider, service)| format!("store {provider} {service}")));
    let objects = |kind: &'static str| case.objects().filter(move |object| object["kind"] == kind);
    let fails = case.steps.iter().any(|step| {
        let statuses = step.expect["status"].as_object();
        statuses.into_iter().flatten().any(|(name, status)| !is_store(name) && is_ready(status) == Some(false))
    });
    let mut part = |name: &str, is_shown: bool| parts.extend(is_shown.then(|| name.to_owned()));
    part("a failure", fails);
    part("a ClusterSecretStore that lets in", objects("ClusterSecretStore").next().is_some() && !fails);
    part(
        "conditions of a ClusterSecretStore",
        objects("ClusterSecretStore").any(|store| !store["spec"]["conditions"].is_null()),
    );
    for es in external_secrets(case) {
        let target = &es["spec"]["target"];
        for policy in ["creationPolicy", "deletionPolicy"] {
            part(&format!("{policy} {}", target[policy].as_str().unwrap_or_default()), true);
        }
        let from = target["template"]["templateFrom"].as_array();
        for source in ["configMap", "secret"] {
            part(&format!("templates from {source}"), from.into_iter().flatten().any(|from| !from[source].is_null()));
        }
        let data_from = es["spec"]["dataFrom"].as_array();
        let generates = |entry: &Value| !entry["sourceRef"]["generatorRef"].is_null();
        part("a generator", data_from.into_iter().flatten().any(generates));
    }
    parts
}

fn external_secrets(case: &Case) -> impl Iterator<Item = &Value> {
    case.objects().filter(|object| object["kind"] == "ExternalSecret")
}

/// The providers of all stores, with the service where a provider has several.
fn providers(case: &Case) -> impl Iterator<Item = (&str, &str)> {
    let stores = case.objects().filter(|o| o["kind"] == "SecretStore" || o["kind"] == "ClusterSecretStore");
    stores
        .filter_map(|store| store["spec"]["provider"].as_object())
        .flatten()
        .map(|(provider, spec)| (provider.as_str(), spec["service"].as_str().unwrap_or_default()))
}

fn api_version(object: &Value) -> &str {
    object["apiVersion"].as_str().unwrap_or_default()
}

fn is_store(name: &str) -> bool {
    name.starts_with("store/") || name.starts_with("clusterstore")
}

/// What a recorded status says of Ready; `None` where it says nothing.
pub fn is_ready(status: &Value) -> Option<bool> {
    let ready = status["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Ready")?;
    Some(ready["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn case(objects: Value, status: Value) -> Case {
        let step = json!({"apply": objects, "expect": {"accepted": {}, "secrets": {}, "status": status}});
        serde_json::from_value(json!({"namespace": "n", "steps": [step]})).unwrap()
    }

    fn store(provider: &str) -> Value {
        json!({"kind": "SecretStore", "metadata": {"name": "s"}, "spec": {"provider": {provider: {}}}})
    }

    fn es(name: &str, target: Value) -> Value {
        json!({"kind": "ExternalSecret", "metadata": {"name": name}, "spec": {"target": target}})
    }

    fn ready(status: &str) -> Value {
        json!({"conditions": [{"type": "Ready", "status": status}]})
    }

    #[test]
    fn what_only_an_api_server_has_is_not_rendered() {
        let there = json!({"kind": "Secret", "metadata": {"name": "t"}});
        let fine = json!({"e": ready("True"), "store/s": ready("True")});
        for (objects, status, needed) in [
            (json!([store("fake"), es("e", json!({}))]), fine.clone(), ""),
            (json!([store("vault"), es("e", json!({}))]), fine.clone(), ""),
            (json!([store("fake"), there, es("e", json!({"name": "t", "creationPolicy": "Merge"}))]), fine.clone(), ""),
            (json!([store("kubernetes"), es("e", json!({}))]), fine.clone(), "a store that is an API server"),
            (json!([store("fake"), es("e", json!({}))]), json!({"store/s": ready("False")}), "the check of a store"),
            (json!([es("e", json!({"manifest": {"kind": "X"}}))]), fine.clone(), "a target that is not a Secret"),
            (json!([es("e", json!({})), es("f", json!({"name": "e"}))]), fine.clone(), "a target that two want"),
            (json!([{"kind": "PushSecret"}]), fine.clone(), "objects of other kinds"),
            (
                json!([there, es("e", json!({"name": "t"}))]),
                json!({"e": ready("False")}),
                "a target that is marked, and not written",
            ),
        ] {
            let needs = needs(&case(objects, status)).join(", ");
            assert_eq!(needs, needed);
        }
        let mut refused = case(json!([es("e", json!({}))]), fine.clone());
        refused.steps[0].expect["accepted"] = json!({"ExternalSecret/e": false});
        assert_eq!(needs(&refused), ["admission"]);
        let mut changed = case(json!([]), fine);
        changed.steps.push(changed.steps[0].clone());
        assert_eq!(needs(&changed), ["a state that changes"]);
    }

    #[test]
    fn the_api_server_has_what_can_not_be_rendered_and_each_part_of_the_wiring_once() {
        let status = json!({"e": ready("True"), "store/s": ready("True")});
        let of = |provider| case(json!([store(provider), es("e", json!({}))]), status.clone());
        let mut drift = of("fake");
        drift.steps.push(drift.steps[0].clone());
        let (fake, vault) = (of("fake"), of("vault"));
        let cases = [("drift", &drift), ("fake", &fake), ("vault", &vault), ("vault2", &vault)];
        let told = |all| roads(&cases, all).into_values().map(|r| (r.render, r.server)).collect::<Vec<_>>();
        assert_eq!(told(false), [(false, true), (true, false), (false, true), (true, false)]);
        assert_eq!(told(true), [(false, true), (true, true), (false, true), (false, true)]);
    }
}
