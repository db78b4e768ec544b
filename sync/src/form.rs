//! What the schema refuses today, and an object from before it may hold: names that are none, and more of something
//! than the limits allow. Pure.

use keyferry_crds::{ExternalSecret, GeneratorRef, Rewrite, SourceRef, TemplateFrom};
use keyferry_limits as limits;

use crate::address::{self, ApiVersion, NoAddress};
use crate::excess::{MOST, count, is_longer, length};
use crate::request::generator;

/// Where a spec holds more than the limits allow.
pub fn excesses(es: &ExternalSecret) -> Vec<String> {
    let spec = &es.spec;
    let mut found = Vec::new();
    // Whatever goes over the entries must not be asked of so many.
    count(&mut found, "spec.data", spec.data.len(), &limits::DATA_ENTRIES);
    count(&mut found, "spec.dataFrom", spec.data_from.len(), &limits::DATA_FROM_ENTRIES);
    if !found.is_empty() {
        return found;
    }
    for (n, entry) in spec.data.iter().enumerate() {
        references(
            &mut found,
            || format!("spec.data[{n}].remoteRef"),
            &[Some(&entry.remote_ref.key), entry.remote_ref.property.as_ref(), entry.remote_ref.version.as_ref()],
        );
    }
    for (n, entry) in spec.data_from.iter().enumerate() {
        if let Some(remote) = &entry.extract {
            references(
                &mut found,
                || format!("spec.dataFrom[{n}].extract"),
                &[Some(&remote.key), remote.property.as_ref(), remote.version.as_ref()],
            );
        }
        if let Some(find) = &entry.find {
            let at = format!("spec.dataFrom[{n}].find");
            references(&mut found, || at.clone(), &[find.path.as_ref()]);
            let regexp = find.name.as_ref().and_then(|name| name.regexp.as_deref()).unwrap_or_default();
            length(&mut found, &at, regexp, &limits::PATTERN_LENGTH);
            count(&mut found, &at, find.tags.len(), &limits::FIND_TAGS);
        }
        let at = format!("spec.dataFrom[{n}].rewrite");
        count(&mut found, &at, entry.rewrite.len(), &limits::REWRITES);
        for change in entry.rewrite.iter().take(limits::REWRITES.size()) {
            rewrite(&mut found, &at, change);
        }
    }
    let windows = spec.sync_windows.iter().map(|windows| windows.windows.len()).sum();
    count(&mut found, "spec.syncWindows", windows, &limits::SYNC_WINDOWS);
    for window in spec.sync_windows.iter().flat_map(|windows| &windows.windows).take(limits::SYNC_WINDOWS.size()) {
        length(&mut found, "spec.syncWindows", &window.schedule, &limits::WORD_LENGTH);
        length(&mut found, "spec.syncWindows", &window.duration, &limits::WORD_LENGTH);
    }
    template(&mut found, es);
    found
}

fn template(found: &mut Vec<String>, es: &ExternalSecret) {
    let Some(template) = &es.spec.target.template else { return };
    let at = "spec.target.template";
    let metadata = &template.metadata;
    for (field, keys) in [
        ("data", &template.data),
        ("metadata.annotations", &metadata.annotations),
        ("metadata.labels", &metadata.labels),
    ] {
        count(found, &format!("{at}.{field}"), keys.len(), &limits::TEMPLATE_KEYS);
    }
    count(found, &format!("{at}.metadata.finalizers"), metadata.finalizers.len(), &limits::TEMPLATE_FINALIZERS);
    length(found, &format!("{at}.type"), template.type_.as_deref().unwrap_or_default(), &limits::WORD_LENGTH);
    let at = format!("{at}.templateFrom");
    count(found, &at, template.template_from.len(), &limits::TEMPLATE_SOURCES);
    for (n, from) in template.template_from.iter().enumerate().take(limits::TEMPLATE_SOURCES.size()) {
        let items = from.config_map.iter().chain(&from.secret).map(|reference| reference.items.len()).max();
        count(found, &format!("{at}[{n}]"), items.unwrap_or_default(), &limits::TEMPLATE_SOURCES);
    }
}

fn rewrite(found: &mut Vec<String>, at: &str, change: &Rewrite) {
    if let Some(merge) = &change.merge {
        count(found, at, merge.priority.len(), &limits::PRIORITIES);
    }
    if let Some(regexp) = &change.regexp {
        length(found, at, &regexp.source, &limits::PATTERN_LENGTH);
        length(found, at, &regexp.target, &limits::RENAME_LENGTH);
    }
    if let Some(transform) = &change.transform {
        length(found, at, &transform.template, &limits::RENAME_LENGTH);
    }
}

fn references(found: &mut Vec<String>, at: impl Fn() -> String, texts: &[Option<&String>]) {
    if found.len() < MOST && texts.iter().flatten().any(|text| is_longer(text, &limits::REFERENCE_LENGTH)) {
        found.push(format!("{}: {}", at(), limits::REFERENCE_LENGTH));
    }
}

/// The names in a spec that can't be those of objects, kinds or versions. One that is missing is told elsewhere.
pub fn bad_names(es: &ExternalSecret) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(reference) = &es.spec.secret_store_ref {
        check(&mut found, &reference.name, is_object, || "spec.secretStoreRef.name".to_owned());
    }
    for (n, entry) in es.spec.data.iter().enumerate() {
        check(&mut found, own_store(&entry.source_ref), is_object, || format!("spec.data[{n}].{OWN_STORE}"));
    }
    for (n, entry) in es.spec.data_from.iter().enumerate() {
        check(&mut found, own_store(&entry.source_ref), is_object, || format!("spec.dataFrom[{n}].{OWN_STORE}"));
    }
    for (n, entry) in es.spec.data_from.iter().enumerate() {
        let Some(GeneratorRef { api_version, kind, name }) = generator(entry) else { continue };
        let at = |field: &str| format!("spec.dataFrom[{n}].sourceRef.generatorRef.{field}");
        check(&mut found, api_version.as_deref().unwrap_or_default(), is_version, || at("apiVersion"));
        check(&mut found, kind, is_kind, || at("kind"));
        check(&mut found, name, is_object, || at("name"));
    }
    let target = &es.spec.target;
    check(&mut found, target.name.as_deref().unwrap_or_default(), is_object, || "spec.target.name".to_owned());
    if let Some(manifest) = &target.manifest {
        let at = |field: &str| format!("spec.target.manifest.{field}");
        check(&mut found, &manifest.api_version, is_version, || at("apiVersion"));
        check(&mut found, &manifest.kind, is_kind, || at("kind"));
    }
    let sources = target.template.iter().flat_map(|template| &template.template_from).enumerate();
    for (n, TemplateFrom { config_map, secret, .. }) in sources {
        for (field, reference) in [("configMap", config_map), ("secret", secret)] {
            let name = reference.as_ref().map(|reference| reference.name.as_str()).unwrap_or_default();
            let at = || format!("spec.target.template.templateFrom[{n}].{field}.name");
            check(&mut found, name, is_object, at);
        }
    }
    found
}

/// Where an entry names a store of its own.
const OWN_STORE: &str = "sourceRef.storeRef.name";

fn own_store(source: &Option<SourceRef>) -> &str {
    source.as_ref().and_then(|source| source.store_ref.as_ref()).map(|store| store.name.as_str()).unwrap_or_default()
}

type Parse = fn(&str) -> Result<(), NoAddress>;

fn check(found: &mut Vec<String>, text: &str, parse: Parse, at: impl FnOnce() -> String) {
    if !text.is_empty()
        && found.len() < MOST
        && let Err(problem) = parse(text)
    {
        found.push(format!("{} {problem}", at()));
    }
}

fn is_object(text: &str) -> Result<(), NoAddress> {
    address::name(text).map(drop)
}

fn is_kind(text: &str) -> Result<(), NoAddress> {
    address::kind(text).map(drop)
}

fn is_version(text: &str) -> Result<(), NoAddress> {
    ApiVersion::parse(text).map(drop)
}

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;
