//! Asks the generators: values that are made up at each refresh, or written down beside it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyferry_crds::{ExternalSecret, GeneratorRef, generator_field, names};
use keyferry_limits::{Budget, Exceeded, GENERATOR_STATES};
use keyferry_provider_core::{Error, ErrorKind, Made};
use serde_json::Value;

use crate::address::{ApiVersion, NoAddress};
use crate::audit::{Action, Delivery, Object, Source};
use crate::data::Data;
use crate::engine::ENTRY;
use crate::keep::Keeper;
use crate::ports::{Generator, Ports};
use crate::request::{Entry, Origin, Request};
use crate::settings::Settings;
use crate::spec::CLUSTER_GENERATOR;
use crate::states::{MadeFor, Marks, NewState};
use crate::time::later;

/// Asks the generators of `requests`, one after the other, as long as the budget can pay for what they made; the answers are
/// by place. `None` where one of them belongs to another controller class, and with it the ExternalSecret. `has_failed` says
/// whether another entry failed already; `under_way` takes what is written down, whoever stops waiting.
///
/// What one of them makes is made where it is asked: limits keep it small ([`PASSWORD_BYTES`](keyferry_limits::PASSWORD_BYTES)),
/// and between two of them others have their turn, since each is read first.
pub async fn make(
    ports: &Ports,
    settings: &Settings,
    es: &ExternalSecret,
    requests: &[Request],
    budget: &Budget,
    mut has_failed: bool,
    under_way: &mut UnderWay,
) -> Result<Option<HashMap<usize, Result<Data, Error>>>, Exceeded> {
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let mut all = HashMap::new();
    for (place, request) in requests.iter().enumerate() {
        let Origin::Generator(generator) = &request.origin else { continue };
        let made = match read(ports, namespace, generator).await {
            Ok((_, spec)) if !is_of_class(&spec, &settings.class) => return Ok(None),
            Ok((kind, spec)) => {
                let generator = Generator { namespace, kind: &kind, name: &generator.name, spec: &spec };
                let made = one(ports, settings, es, &generator, request, has_failed, under_way).await;
                if made.is_ok() {
                    audit(ports, settings, Object::new("ExternalSecret", &es.metadata), &generator);
                }
                made
            }
            Err(error) => Err(error),
        };
        has_failed |= made.is_err();
        let values = made.iter().flat_map(Data::values);
        budget.bytes(values.map(|value| value.len() + ENTRY).sum())?;
        all.insert(place, made);
    }
    Ok(Some(all))
}

/// What is made while an ExternalSecret is refreshed, and its states.
#[derive(Default)]
pub struct UnderWay {
    /// What is, or was, made in this look.
    pub keepers: Vec<Arc<Keeper>>,
    /// How many states there are of it already.
    pub states: usize,
    /// By when the first of what has no state is to be replaced.
    pub ends: Option<Timestamp>,
}

impl UnderWay {
    /// By owner key, the names of the states that were written down.
    pub fn made(&self) -> MadeFor {
        self.keepers.iter().filter_map(|keeper| Some((keeper.key().to_owned(), keeper.written()?.0))).collect()
    }

    /// By when the first of what was made is to be replaced.
    pub fn refresh_by(&self) -> Option<Timestamp> {
        self.keepers.iter().filter_map(|keeper| keeper.written()?.1.refresh_by).chain(self.ends).min()
    }

    /// Takes what was made and has no state, which works for this long.
    fn take(&mut self, made: Made, now: Timestamp) -> Data {
        let replaced_by = Marks::of(made.term, now).refresh_by;
        self.ends = self.ends.into_iter().chain(replaced_by).min();
        made.values
    }
}

/// Asks one generator. One whose values somebody must revoke is not asked in vain: not where the refresh fails anyway.
async fn one(
    ports: &Ports,
    settings: &Settings,
    es: &ExternalSecret,
    generator: &Generator<'_>,
    request: &Request,
    has_failed: bool,
    under_way: &mut UnderWay,
) -> Result<Data, Error> {
    let entry = match request.entry {
        Entry::Generator(entry) if ports.stores.has_state(generator.kind) => entry,
        _ => {
            let made = ports.stores.make(generator, Arc::new(())).await?;
            return Ok(under_way.take(made, (settings.now)()));
        }
    };
    if has_failed {
        let message = "it is not asked while another entry fails, since nobody would use what it makes";
        return Err(Error::new(ErrorKind::Unverified, message));
    }
    let new = NewState::new(es, entry, generator.kind, generator.name, generator.spec);
    kept(ports, settings, new, generator, under_way).await
}

/// Asks one generator for a PushSecret, `pusher`. `None` where it belongs to another controller class. `under_way` takes what
/// is written down.
pub async fn make_one(
    ports: &Ports,
    settings: &Settings,
    pusher: &ObjectMeta,
    generator: &GeneratorRef,
    budget: &Budget,
    under_way: &mut UnderWay,
) -> Result<Option<Result<Data, Error>>, Exceeded> {
    let namespace = pusher.namespace.as_deref().unwrap_or_default();
    let made = match read(ports, namespace, generator).await {
        Ok((_, spec)) if !is_of_class(&spec, &settings.class) => return Ok(None),
        Ok((kind, spec)) => {
            let generator = Generator { namespace, kind: &kind, name: &generator.name, spec: &spec };
            let made = if ports.stores.has_state(&kind) {
                let new = NewState::of_push(pusher, &kind, generator.name, &spec);
                kept(ports, settings, new, &generator, under_way).await
            } else {
                let made = ports.stores.make(&generator, Arc::new(())).await;
                made.map(|made| under_way.take(made, (settings.now)()))
            };
            if made.is_ok() {
                audit(ports, settings, Object::new(names::KIND_PUSH_SECRET, pusher), &generator);
            }
            made
        }
        Err(error) => Err(error),
    };
    let values = made.iter().flat_map(Data::values);
    budget.bytes(values.map(|value| value.len() + ENTRY).sum())?;
    Ok(Some(made))
}

/// Writes down that a generator made something for this object.
fn audit(ports: &Ports, settings: &Settings, object: Object, generator: &Generator<'_>) {
    let maker = Object { kind: generator.kind.to_owned(), name: generator.name.to_owned(), ..Object::default() };
    let sources = vec![Source { object: maker, keys: Vec::new() }];
    ports.audit.take(Delivery { sources, ..Delivery::new((settings.now)(), Action::Generated, object) });
}

/// Asks a generator whose values somebody must revoke, and has that written down.
async fn kept(
    ports: &Ports,
    settings: &Settings,
    new: NewState,
    generator: &Generator<'_>,
    under_way: &mut UnderWay,
) -> Result<Data, Error> {
    if settings.generator_grace.is_none() {
        let made = ports.stores.make(generator, Arc::new(())).await?;
        return Ok(under_way.take(made, (settings.now)()));
    }
    if under_way.states >= GENERATOR_STATES.size() {
        let hint = "what it made before waits to be revoked: see the conditions of its GeneratorStates";
        return Err(Error::limit(&GENERATOR_STATES).with_hint(hint));
    }
    let keeper = Arc::new(Keeper::new(ports.states.clone(), new, settings.now));
    under_way.keepers.push(keeper.clone());
    let made = ports.stores.make(generator, keeper.clone()).await?;
    if made.state.is_none() {
        keeper.forget().await;
        return Ok(under_way.take(made, (settings.now)()));
    }
    Ok(made.values)
}

/// The kind and spec of a generator that an object in `namespace` refers to.
async fn read(ports: &Ports, namespace: &str, generator: &GeneratorRef) -> Result<(String, Value), Error> {
    let version = generator.api_version.as_deref().filter(|version| !version.is_empty());
    let version = version.unwrap_or(names::GENERATORS_API_VERSION);
    let invalid = |problem: NoAddress| Error::invalid(format!("its reference can't be followed: {problem}"));
    let parsed = ApiVersion::parse(version).map_err(invalid)?;
    if parsed.group != names::GENERATORS_GROUP {
        let known = names::GENERATORS_API_VERSION;
        return Err(Error::invalid(format!("its apiVersion is {version:?}: use {known}")));
    }
    let is_cluster = generator.kind == CLUSTER_GENERATOR;
    let namespace = Some(namespace).filter(|_| !is_cluster);
    let found = ports.objects.generator(namespace, parsed.version, &generator.kind, &generator.name).await;
    let spec = found.map_err(|problem| {
        let kind = if problem.is_temporary { ErrorKind::Unavailable } else { ErrorKind::Denied };
        Error::new(kind, format!("can't be read: {problem}"))
    })?;
    let Some(spec) = spec else {
        let message = "there is none of this name; create it, or install the CustomResourceDefinitions of generators";
        return Err(Error::new(ErrorKind::Denied, message));
    };
    if is_cluster {
        let kind = spec["kind"].as_str().unwrap_or_default();
        // Whose class it is counts also where the kind is not built.
        let field = ports.stores.generator_field(kind).or(generator_field(kind)).unwrap_or_default();
        Ok((kind.to_owned(), spec["generator"][field].clone()))
    } else {
        Ok((generator.kind.clone(), spec))
    }
}

fn is_of_class(spec: &Value, class: &str) -> bool {
    matches!(spec["controller"].as_str(), None | Some("")) || spec["controller"] == class
}

/// When an object was last changed in more than its status, by its managed fields.
pub fn changed_at(metadata: &ObjectMeta) -> Option<Timestamp> {
    let changes = metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let changed = changes.filter_map(|entry| entry.time.as_ref()).max_by_key(|time| time.0);
    changed.or(metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

/// Whether a target that was written at this time (to the second) holds what the refresh that is due now would make:
/// written since the ExternalSecret was last `changed`, and, where its last known sync was of the same version of it,
/// since the refresh fell `due`.
pub fn is_that_of_now(written: Timestamp, changed: Option<Timestamp>, due: Option<Timestamp>) -> bool {
    let within_its_second = later(written, Duration::from_secs(1));
    changed.is_some_and(|changed| changed <= written) && due.is_none_or(|due| due < within_its_second)
}

#[cfg(test)]
mod tests {
    use keyferry_builders::at;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_written_before_a_crash_is_known_by_its_time() {
        let es = |changes: &[(&str, i64)]| -> ObjectMeta {
            let fields = changes.iter().map(|(subresource, second)| {
                json!({"manager": "m", "time": at(*second).to_string(), "subresource": Some(subresource).filter(|s| !s.is_empty())})
            });
            serde_json::from_value(json!({
                "creationTimestamp": at(100).to_string(), "managedFields": fields.collect::<Vec<_>>(),
            }))
            .unwrap()
        };
        let created = es(&[("", 100)]);
        assert!(is_that_of_now(at(100), changed_at(&created), None), "just created");
        let edited = es(&[("", 100), ("", 500), ("status", 900)]);
        assert!(!is_that_of_now(at(100), changed_at(&edited), None), "edited since");
        assert!(is_that_of_now(at(500), changed_at(&edited), None), "written for the edit; a status is no edit");
        assert!(!is_that_of_now(at(500), changed_at(&edited), Some(at(4100))), "that was the refresh before");
        let due = at(4100) + Duration::from_millis(300);
        assert!(is_that_of_now(at(4100), changed_at(&edited), Some(due)), "times of writes are cut to seconds");
    }
}
