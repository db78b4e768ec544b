//! What is wrong with a PushSecret by its spec alone. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use keyferry_crds::{
    PushConversion, PushDataTo, PushDeletionPolicy, PushSecret, PushStoreRef, PushUpdatePolicy, StoreKind,
};
use keyferry_limits as limits;
use keyferry_sync::excess::{count, length, selector};

use crate::refers::{is_generated, named_source, selectors, source_selector};

/// What the API server's rules refuse too, but which objects from before the rules may hold; and what no rule can see.
pub fn problems(ps: &PushSecret) -> Vec<String> {
    let spec = &ps.spec;
    // What is too much is not gone through.
    let mut problems = excesses(ps);
    if !problems.is_empty() {
        return problems;
    }
    let mut word = |field: &str, given: &str, known: &[&str]| {
        if !known.contains(&given) {
            problems.push(format!("{field} is {given:?}: use one of {}", known.join(", ")));
        }
    };
    word("spec.updatePolicy", spec.update_policy.as_str(), PushUpdatePolicy::NAMES);
    word("spec.deletionPolicy", spec.deletion_policy.as_str(), PushDeletionPolicy::NAMES);
    let conversions = spec.data.iter().map(|entry| &entry.conversion_strategy);
    for strategy in conversions.chain(spec.data_to.iter().map(|entry| &entry.conversion_strategy)) {
        word("conversionStrategy", strategy.as_str(), PushConversion::NAMES);
    }
    if let Err(problem) = spec.refresh_every() {
        problems.push(format!("spec.refreshInterval: {problem}"));
    }
    problems.extend(selector_problem(ps).map(str::to_owned));
    for (n, reference) in spec.secret_store_refs.iter().enumerate() {
        problems.extend(reference_problem(reference).map(|problem| format!("spec.secretStoreRefs[{n}] {problem}")));
    }
    for (n, entry) in spec.data.iter().enumerate() {
        if entry.matched.remote_ref.remote_key.is_empty() {
            problems.push(format!("spec.data[{n}].match.remoteRef.remoteKey is missing"));
        }
    }
    for (n, entry) in spec.data_to.iter().enumerate() {
        problems.extend(data_to_problem(ps, entry).map(|problem| format!("dataTo[{n}]{problem}")));
    }
    problems
}

/// What its selectors have more of than the limits allow: they are compared with nothing then.
pub fn excesses_of_selectors(ps: &PushSecret) -> Vec<String> {
    let mut found = Vec::new();
    let by_labels = ps.spec.secret_store_refs.iter().filter(|reference| reference.label_selector.is_some());
    count(&mut found, "spec.secretStoreRefs", by_labels.count(), &limits::PUSH_SELECTORS);
    if found.is_empty() {
        selectors(ps).for_each(|(at, by_labels)| selector(&mut found, &at, by_labels));
    }
    found
}

fn excesses(ps: &PushSecret) -> Vec<String> {
    let (spec, mut found) = (&ps.spec, excesses_of_selectors(ps));
    count(&mut found, "spec.secretStoreRefs", spec.secret_store_refs.len(), &limits::PUSH_STORES);
    count(&mut found, "spec.data", spec.data.len(), &limits::PUSH_ENTRIES);
    count(&mut found, "spec.dataTo", spec.data_to.len(), &limits::PUSH_DATA_TO);
    for (n, entry) in spec.data.iter().enumerate().take(limits::PUSH_ENTRIES.size()) {
        let at = format!("spec.data[{n}].match.remoteRef");
        length(&mut found, &at, &entry.matched.remote_ref.remote_key, &limits::REFERENCE_LENGTH);
        length(&mut found, &at, entry.property().unwrap_or_default(), &limits::REFERENCE_LENGTH);
    }
    for (n, entry) in spec.data_to.iter().enumerate().take(limits::PUSH_DATA_TO.size()) {
        let at = format!("spec.dataTo[{n}]");
        length(&mut found, &at, entry.bundle().unwrap_or_default(), &limits::REFERENCE_LENGTH);
        length(&mut found, &at, pattern(entry).unwrap_or_default(), &limits::PATTERN_LENGTH);
        count(&mut found, &at, entry.rewrite.len(), &limits::REWRITES);
        if let Some(by_labels) = entry.store_ref.as_ref().and_then(|store| store.label_selector.as_ref()) {
            selector(&mut found, &format!("{at}.storeRef.labelSelector"), by_labels);
        }
    }
    let from = spec.template.as_ref().map_or(0, |template| template.template_from.len());
    count(&mut found, "spec.template.templateFrom", from, &limits::TEMPLATE_SOURCES);
    let keys = spec.template.as_ref().map_or(0, |template| template.data.len());
    count(&mut found, "spec.template.data", keys, &limits::TEMPLATE_KEYS);
    found
}

/// The pattern of an entry of `dataTo`, where it has one.
pub fn pattern(entry: &PushDataTo) -> Option<&str> {
    entry.matched.as_ref()?.regexp.as_deref().filter(|pattern| !pattern.is_empty())
}

/// Whether a selector says nothing, which would select everything.
fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

fn selector_problem(ps: &PushSecret) -> Option<&'static str> {
    let both = ps.spec.selector.secret.is_some() && ps.spec.selector.generator_ref.is_some();
    let twice = ps.spec.selector.secret.as_ref().is_some_and(|secret| secret.selector.is_some());
    match (named_source(ps), source_selector(ps)) {
        _ if both => Some("spec.selector has both secret and generatorRef: keep one"),
        (Some(_), _) if twice => Some("spec.selector.secret has both name and selector: keep one"),
        (Some(_), _) => None,
        (None, Some(selector)) if is_empty(selector) => Some(
            "spec.selector.secret.selector is empty, which would push every Secret of the namespace: say which labels \
             they must have",
        ),
        (None, None) if !is_generated(ps) => Some("spec.selector names no source: set secret or generatorRef"),
        (None, _) => None,
    }
}

fn reference_problem(reference: &PushStoreRef) -> Option<String> {
    if let StoreKind::Unknown(kind) = &reference.kind {
        return Some(format!("has kind {kind:?}: use SecretStore or ClusterSecretStore"));
    }
    let is_named = reference.name().is_some() || reference.label_selector.is_some();
    (!is_named).then(|| "names no store: set name or labelSelector".to_owned())
}

fn data_to_problem(ps: &PushSecret, entry: &PushDataTo) -> Option<String> {
    let Some(store) = &entry.store_ref else { return Some(": storeRef is missing".to_owned()) };
    if let Some(problem) = reference_problem(store) {
        return Some(format!(": storeRef {problem}"));
    }
    // Labels select among them whatever they select; a name that is none of them is a slip. The words are External Secrets
    // Operator's.
    let stores = &ps.spec.secret_store_refs;
    let is_among = |known: &PushStoreRef, name| {
        known.kind == store.kind && (known.label_selector.is_some() || known.name() == Some(name))
    };
    if let Some(name) = store.name()
        && !stores.iter().any(|known| is_among(known, name))
    {
        return Some(format!(": storeRef {name:?} not found in secretStoreRefs"));
    }
    if entry.bundle().is_some() && !entry.rewrite.is_empty() {
        return Some(": remoteKey and rewrite are mutually exclusive".to_owned());
    }
    if entry.rewrite.iter().any(|change| change.regexp.is_some() == change.transform.is_some()) {
        return Some(".rewrite: set exactly one of regexp and transform".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problem(spec: Value) -> String {
        let mut whole = json!({"secretStoreRefs": [{"name": "s"}], "selector": {"secret": {"name": "a"}}});
        whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        let ps = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": whole})).unwrap();
        problems(&ps).join("; ")
    }

    #[test]
    fn what_is_too_much_is_told_by_its_limit() {
        let entry = json!({"match": {"secretKey": "a", "remoteRef": {"remoteKey": "k"}}});
        for (field, item, limit) in [
            ("data", entry, &limits::PUSH_ENTRIES),
            ("dataTo", json!({"storeRef": {"name": "s"}}), &limits::PUSH_DATA_TO),
            ("secretStoreRefs", json!({"name": "s"}), &limits::PUSH_STORES),
        ] {
            let many = |count: usize| problem(json!({field: vec![item.clone(); count]}));
            assert_eq!(many(limit.size()), "", "{field}");
            let told = many(limit.size() + 1);
            assert!(told.starts_with(&format!("spec.{field}: ")) && told.contains(limit.name), "{told}");
        }
    }

    #[test]
    fn selectors_of_any_place_compare_so_much() {
        let labels = |count: usize| -> Value {
            (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
        };
        let over = json!({"matchLabels": labels(limits::SELECTOR_TERMS.size() + 1)});
        for (spec, at) in [
            (json!({"secretStoreRefs": [{"labelSelector": over}]}), "spec.secretStoreRefs[0].labelSelector: "),
            (json!({"selector": {"secret": {"selector": over}}}), "spec.selector.secret.selector: "),
            (json!({"dataTo": [{"storeRef": {"labelSelector": over}}]}), "spec.dataTo[0].storeRef.labelSelector: "),
        ] {
            let told = problem(spec);
            assert!(told.starts_with(at) && told.contains("(limit selector-terms)"), "{told}");
        }
        let refs = vec![json!({"labelSelector": {"matchLabels": {"a": "b"}}}); limits::PUSH_SELECTORS.size() + 1];
        assert!(problem(json!({"secretStoreRefs": refs})).contains("(limit push-selectors)"));
    }

    #[test]
    fn what_objects_from_before_the_rules_hold_is_told() {
        let to = |more: Value| {
            let mut entry = json!({"storeRef": {"name": "s"}});
            entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            json!({ "dataTo": [entry] })
        };
        for (spec, word) in [
            (json!({"selector": {"secret": {"selector": {}}}}), "is empty, which would push every Secret"),
            (json!({"selector": {}}), "names no source"),
            (json!({"secretStoreRefs": [{}]}), "secretStoreRefs[0] names no store"),
            (json!({"refreshInterval": "soon"}), "spec.refreshInterval"),
            (json!({"deletionPolicy": "Merge"}), "spec.deletionPolicy is \"Merge\""),
            (to(json!({"storeRef": {"name": "other"}})), "\"other\" not found in secretStoreRefs"),
            (to(json!({"remoteKey": "k", "rewrite": [{"transform": {"template": "x"}}]})), "mutually exclusive"),
        ] {
            assert!(problem(spec.clone()).contains(word), "{spec}: {}", problem(spec.clone()));
        }
    }
}
