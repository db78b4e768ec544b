//! Writes down what was pushed and what was deleted, one record each.

use keyferry_crds::{PushSecret, names};
use keyferry_provider_core::{Error, Payload, SecretBytes};
use keyferry_sync::audit::{Action, Delivery, Object, Secret, Source};
use keyferry_sync::compute::are_few;
use keyferry_sync::outcome::{Failure, Headline, Retry};
use keyferry_sync::redact::blank;
use keyferry_sync::told::Told;

use crate::expand::Entry;
use crate::look::World;
use crate::refers::store_of;

/// The store of this key in a status, as records name it.
pub fn store(key: &str, namespace: &str) -> Object {
    store_of(key, namespace).as_ref().map(Object::store).unwrap_or_default()
}

/// What of a push may not be told: its values, and what the template made of them.
pub fn untold(entry: &Entry) -> Vec<SecretBytes> {
    let values = match &entry.push.payload {
        Payload::Value(value) => vec![value.clone()],
        Payload::Fields(fields) => fields.values().cloned().collect(),
    };
    values.into_iter().chain(entry.names_made()).collect()
}

/// Why it failed, without the values.
fn reason(error: &Error, values: &[SecretBytes]) -> Told {
    if !are_few(values) {
        return "the condition of the PushSecret tells why".into();
    }
    let failure = blank(Failure::new(Headline::Fetch, Told::from(error), Retry::Soon), values);
    failure.causes.into_iter().next().unwrap_or_else(|| "it failed".into())
}

/// Writes down what was done at one place of a store, with these values.
pub fn tell(
    world: &World,
    ps: &PushSecret,
    action: Action,
    store: Object,
    secret: Secret,
    result: &Result<(), Error>,
    values: &[SecretBytes],
) {
    let object = Object::new(names::KIND_PUSH_SECRET, &ps.metadata);
    let sources = vec![Source { object: store, keys: vec![secret] }];
    let delivery = Delivery { sources, ..Delivery::new((world.settings.now)(), action, object) };
    world.ports.sync.audit.take(match result {
        Ok(()) => delivery,
        Err(error) => delivery.failed(&reason(error, values)),
    });
}
