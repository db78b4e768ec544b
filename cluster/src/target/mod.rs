//! Writing targets into a cluster: one writer, and two shapes of what it writes.
//!
//! Targets are never server-side applied: External Secrets Operator's managed fields are of plain updates, and whoever
//! goes back to it must find its own. Every write names the uid and resourceVersion that it was decided on.
//!
//! Modules, in reading order: [`writer`] reads and writes, [`shape`] is what it leaves open, [`secret`] and [`object`] fill
//! that in, with [`kinds`] for the latter. What they decide is pure: [`desired`] for Secrets, with [`rotation`] when their data
//! change, [`manifest`] for other kinds, [`ownership`] for both.

pub mod writer;
pub mod shape;
pub mod secret;
pub mod object;
pub mod kinds;
pub mod desired;
pub mod rotation;
pub mod manifest;
pub mod ownership;

#[cfg(test)]
pub(crate) mod fake_api;
#[cfg(test)]
mod stages_tests;

use keyferry_crds::ExternalSecret;

use self::kinds::Kinds;
use self::object::ObjectShape;
use self::rotation::{Clock, Rotations};
use self::secret::SecretShape;
use self::writer::Writer;
use crate::client::Turns;
use keyferry_sync::ports::{Output, Outputs};
use keyferry_sync::settings::Adopt;

/// The port for targets, over the API server.
pub struct ClusterTargets {
    /// The client.
    pub client: kube::Client,
    /// How many requests go out at once.
    pub turns: Turns,
    /// The kinds of targets that are not Secrets.
    pub kinds: Kinds,
    /// Which targets of others may be taken over.
    pub adopt: Adopt,
    /// The clock, where it is noted in Secrets when their data change.
    pub rotations: Option<Clock>,
}

impl Outputs for ClusterTargets {
    fn of<'a>(&'a self, es: &'a ExternalSecret) -> Box<dyn Output + 'a> {
        of(&self.client, &self.turns, &self.kinds, es, self.adopt, self.rotations)
    }
}

/// The target of `es`, of whichever kind it is.
pub fn of<'a>(
    client: &'a kube::Client,
    turns: &Turns,
    kinds: &'a Kinds,
    es: &'a ExternalSecret,
    adopt: Adopt,
    rotations: Option<Clock>,
) -> Box<dyn Output + 'a> {
    let turns = &turns.of(es.metadata.namespace.as_deref().unwrap_or_default());
    match es.target_manifest() {
        None => Box::new(Writer::new(
            es,
            turns,
            SecretShape { client, es, adopt, rotations: rotations.map(Rotations::new) },
        )),
        Some(manifest) => {
            let shape = ObjectShape { client, turns: turns.clone(), kinds, es, manifest, adopt };
            Box::new(Writer::new(es, turns, shape))
        }
    }
}
