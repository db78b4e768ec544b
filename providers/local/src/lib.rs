//! Generators that need nobody: values that are made up at each refresh, or written down in the generator's own spec.
//!
//! Modules, in reading order: `password` passwords of every kind, `encoding` how they are written,
//! `mfa` codes of the moment, `ssh` pairs of keys. What is made here
//! has no state and no end, so there is nothing to revoke.

#![forbid(unsafe_code)]

mod password;
mod encoding;
mod mfa;
mod ssh;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{Built, Error, Generator, GeneratorRegistration, Keep, Made, SecretBytes, State, Term};
use rand::{CryptoRng, Rng as _};
use serde_json::Value;

/// What stands in its spec, for tests and demonstrations.
pub const FAKE: GeneratorRegistration =
    GeneratorRegistration { kind: "Fake", field: "fakeSpec", has_state: false, build: |spec, _| build(fake, spec) };

/// One-time passwords.
pub const MFA: GeneratorRegistration =
    GeneratorRegistration { kind: "MFA", field: "mfaSpec", has_state: false, build: mfa::build };

/// Pairs of SSH keys.
pub const SSH_KEY: GeneratorRegistration =
    GeneratorRegistration { kind: "SSHKey", field: "sshKeySpec", has_state: false, build: ssh::build };

/// Passwords.
pub const PASSWORD: GeneratorRegistration = GeneratorRegistration {
    kind: "Password",
    field: "passwordSpec",
    has_state: false,
    build: |spec, _| build(password::passwords, spec),
};

/// UUIDs.
pub const UUID: GeneratorRegistration =
    GeneratorRegistration { kind: "UUID", field: "uuidSpec", has_state: false, build: |spec, _| build(uuid, spec) };

/// Values by key.
type Values = BTreeMap<String, SecretBytes>;

/// Makes values by a spec. Pure but for the randomness that it is given.
type Draw = fn(&Value, &mut dyn CryptoRng) -> Result<Values, Error>;

struct Local {
    draw: Draw,
    spec: Value,
    /// Where randomness comes from: seeded in tests.
    random: fn() -> Box<dyn CryptoRng>,
}

fn build(draw: Draw, spec: &Value) -> Built {
    Ok(Arc::new(Local { draw, spec: spec.clone(), random: || Box::new(rand::rng()) }))
}

#[async_trait]
impl Generator for Local {
    async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
        (self.draw)(&self.spec, &mut *(self.random)()).map(Made::from)
    }

    async fn revoke(&self, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}

fn fake(spec: &Value, _: &mut dyn CryptoRng) -> Result<Values, Error> {
    let data = spec["data"].as_object().into_iter().flatten();
    Ok(data.map(|(key, value)| (key.clone(), SecretBytes::from(value.as_str().unwrap_or_default()))).collect())
}

/// Version 4 of RFC 9562.
fn uuid(_: &Value, random: &mut dyn CryptoRng) -> Result<Values, Error> {
    let mut bytes: [u8; 16] = random.random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = encoding::hex(&bytes);
    let text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    Ok([("uuid".to_owned(), SecretBytes::new(text.into_bytes()))].into())
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;
