//! Writing targets into a cluster: one writer, and two shapes of what it writes.
//!
//! Targets are never server-side applied: External Secrets Operator's managed fields are of plain updates, and whoever
//! goes back to it must find its own. Every write names the uid and resourceVersion that it was decided on.
//!
//! Modules, in reading order: [`writer`] reads and writes, [`shape`] is what it leaves open, [`secret`] and [`object`] fill
//! that in, with [`kinds`] for the latter. What they decide is pure: [`desired`] for Secrets, [`manifest`] for other kinds,
//! [`ownership`] for both.

pub mod writer;

pub mod shape;

pub mod secret;

pub mod object;

pub mod kinds;

pub mod desired;

pub mod manifest;

pub mod ownership;

#[cfg(test)]
mod fake_api;

use keyferry_crds::ExternalSecret;

use self::kinds::Kinds;
use self::object::ObjectShape;
use self::secret::SecretShape;
use self::writer::Writer;
use super::output::Output;
use crate::cli::Adopt;
use crate::kubernetes::Slots;

/// The target of `es`, of whichever kind it is.
pub fn of<'a>(
    client: &'a kube::Client,
    slots: &'a Slots,
    kinds: &'a Kinds,
    es: &'a ExternalSecret,
    adopt: Adopt,
) -> Box<dyn Output + 'a> {
    match es.target_manifest() {
        None => Box::new(Writer::new(es, slots, SecretShape { client, es, adopt })),
        Some(manifest) => Box::new(Writer::new(es, slots, ObjectShape { client, slots, kinds, es, manifest, adopt })),
    }
}
