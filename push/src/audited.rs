//! Writes down what was pushed and what was deleted, one record each.

use keyferry_crds::{PushRemoteRef, PushSecret, names};
use keyferry_provider_core::Error;
use keyferry_sync::audit::{Action, Delivery, Object, Secret, Source};
use keyferry_sync::told::Told;

use crate::look::World;
use crate::refers::store_of;

/// The store of this key in a status, as records name it.
pub fn store(key: &str, namespace: &str) -> Object {
    store_of(key, namespace).as_ref().map(Object::store).unwrap_or_default()
}

/// Writes down what was done at one place of a store.
pub fn tell(
    world: &World,
    ps: &PushSecret,
    action: Action,
    store: Object,
    remote: &PushRemoteRef,
    result: &Result<(), Error>,
) {
    let secret = Secret { key: remote.remote_key.clone(), property: remote.property.clone(), version: None };
    let object = Object::new(names::KIND_PUSH_SECRET, &ps.metadata);
    let sources = vec![Source { object: store, keys: vec![secret] }];
    let delivery = Delivery { sources, ..Delivery::new((world.settings.now)(), action, object) };
    world.ports.sync.audit.take(match result {
        Ok(()) => delivery,
        Err(error) => delivery.failed(&Told::from(error)),
    });
}
