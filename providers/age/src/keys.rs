//! What opens documents: identities, and services that keep keys.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_documents::place::Source;
use keyferry_documents::sops::{Calls, Encrypted, Key, Keyring, Service};
use keyferry_documents::{Format, Identities, Tries, envelope, open, values};
use keyferry_provider_core::{BuildContext, Error, ErrorKind, KeyService, SecretBytes};
use keyferry_provider_session::turns::Turns;

use crate::config::{Config, Kind};

/// All that a store opens documents with.
pub struct Keys {
    kind: Kind,
    identities: Vec<(String, Source)>,
    services: Vec<(&'static str, Arc<dyn KeyService>)>,
}

/// The identities that could be read.
pub struct Held {
    /// Those.
    pub identities: Arc<Identities>,
    /// Why the first of those that could not be read could not.
    unread: Option<Error>,
}

impl Held {
    /// Why a document did not open: it may be for an identity that was passed over.
    pub fn why(&self, error: Error) -> Error {
        match &self.unread {
            Some(unread) if error.kind() == ErrorKind::Denied => {
                Error::new(error.kind(), format!("{error}; and an identity could not be read: {unread}"))
            }
            _ => error,
        }
    }
}

impl Keys {
    /// From the spec, logged in where a service needs it.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let mut identities = Vec::new();
        for (field, place) in &config.identities {
            identities.push((field.clone(), Source::new(place, field, ctx).await?));
        }
        let mut services = Vec::new();
        for (name, spec) in &config.services {
            let at = format!("{}.{name}", config.kind);
            let service = (ctx.key_services)(name)
                .ok_or_else(|| Error::invalid(format!("{at}: this build of keyferry has no provider {name:?}")))?;
            let built = (service.build)(spec, ctx.clone()).await;
            services.push((*name, built.map_err(|error| error.at(&format!("spec.provider.{name}"), &at))?));
        }
        Ok(Self { kind: config.kind, identities, services })
    }

    /// The identities as they are now. One that can't be read is passed over where anything else may open.
    pub fn identities(&self) -> Result<Held, Error> {
        let (mut all, mut unread) = (Identities::default(), None);
        for (field, source) in &self.identities {
            let added = source.read().and_then(|file| all.add(&file).map_err(|error| error.context(field)));
            unread = unread.or(added.err());
        }
        match unread {
            Some(error) if all.is_empty() && self.services.is_empty() => Err(error),
            unread => Ok(Held { identities: Arc::new(all), unread }),
        }
    }

    /// Checks that the services know us.
    pub async fn check(&self) -> Result<(), Error> {
        for (_, service) in &self.services {
            service.check().await?;
        }
        Ok(())
    }

    /// What services say of whom they take us for.
    pub fn identity_note(&self) -> Option<String> {
        self.services.iter().find_map(|(_, service)| service.identity_note())
    }

    /// Opens a file of SOPS as far as keys go.
    pub async fn data_key(&self, document: &Encrypted, opener: Opener<'_>) -> Result<SecretBytes, Error> {
        document.data_key(&mut Ring { keys: self, opener }).await
    }
}

/// All that a store has, for one document.
struct Ring<'a> {
    keys: &'a Keys,
    opener: Opener<'a>,
}

#[async_trait]
impl Keyring for Ring<'_> {
    async fn unwrap(&mut self, key: &Key) -> Result<SecretBytes, Error> {
        let (kind, opener) = (self.keys.kind, &mut self.opener);
        match key.service {
            Service::Age | Service::Pgp if opener.identities.is_empty() => {
                Err(Error::new(ErrorKind::Denied, format!("{}: set {kind}.identities", named(key))))
            }
            Service::Pgp => {
                opener.open(key).await.map_err(|error| Error::new(error.kind(), format!("{}: {error}", named(key))))
            }
            Service::Age => opener.open(key).await.map_err(|error| {
                let what = if error.kind() == ErrorKind::Denied {
                    "no identity of the store belongs to it".to_owned()
                } else {
                    error.to_string()
                };
                Error::new(error.kind(), format!("{}: {what}", named(key)))
            }),
            Service::Other(_) | Service::Aws | Service::Azure | Service::Google | Service::Vault => {
                let named = key.service.asked().ok_or_else(|| key.refusal())?;
                let Some((_, service)) = self.keys.services.iter().find(|(name, _)| *name == named) else {
                    let message = format!("{named} key {:?}: set {kind}.{named}", key.name);
                    return Err(Error::new(ErrorKind::Denied, message));
                };
                opener.calls.unwrap(&**service, key).await
            }
        }
    }
}

/// A key that we may have ourselves, for messages.
fn named(key: &Key) -> String {
    let kind = if key.service == Service::Pgp { "PGP key" } else { "recipient" };
    format!("{kind} {}", key.name)
}

/// What opens the keys of one document that are of age or PGP.
pub struct Opener<'a> {
    identities: Arc<Identities>,
    turns: &'a Turns,
    tries: Tries,
    calls: Calls,
}

impl<'a> Opener<'a> {
    /// With these identities, in these turns.
    pub fn new(identities: Arc<Identities>, turns: &'a Turns) -> Self {
        Self { identities, turns, tries: Tries::default(), calls: Calls::default() }
    }

    async fn open(&mut self, key: &Key) -> Result<SecretBytes, Error> {
        let (identities, sealed, mut tries) = (self.identities.clone(), key.bytes(), std::mem::take(&mut self.tries));
        let is_of_pgp = key.service == Service::Pgp;
        let opened = self.turns.compute(move || {
            let sealed = sealed.expose();
            let opened =
                if is_of_pgp { identities.open_pgp(sealed, &mut tries) } else { open(sealed, &identities, &mut tries) };
            Ok((opened, tries))
        });
        let (opened, tries) = opened.await?;
        self.tries = tries;
        opened
    }
}

/// Opens a document of age: as a whole, or its sealed values.
pub fn open_of_age(bytes: &SecretBytes, format: Format, identities: &Identities) -> Result<SecretBytes, Error> {
    let mut tries = Tries::default();
    if envelope::is_sealed(bytes.expose()) {
        let plain = open(bytes.expose(), identities, &mut tries)?;
        return if format == Format::Binary { Ok(plain) } else { Ok(format.read(plain.expose())?.to_json()) };
    }
    if format == Format::Binary {
        return Err(nothing_sealed());
    }
    let mut document = format.read(bytes.expose())?;
    match values::open_all(&mut document, identities, &mut tries)? {
        0 => Err(nothing_sealed()),
        _ => Ok(document.to_json()),
    }
}

/// What nobody encrypted is not answered: it was forgotten, or is no document at all.
fn nothing_sealed() -> Error {
    Error::new(
        ErrorKind::Malformed,
        "nothing in it is encrypted by age: seal what is secret with `keyferry seal`, or `keyferry edit` it",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use keyferry_limits::DOCUMENT_CALLS;
    use keyferry_provider_core::Wrapped;

    use super::*;

    /// Counts how often it is asked, and refuses.
    #[derive(Default)]
    struct Refuses(AtomicUsize);

    #[async_trait]
    impl KeyService for Refuses {
        async fn unwrap(&self, _: &Wrapped) -> Result<SecretBytes, Error> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(Error::new(ErrorKind::Denied, "no"))
        }

        async fn check(&self) -> Result<(), Error> {
            Ok(())
        }

        fn identity_note(&self) -> Option<String> {
            None
        }
    }

    #[tokio::test]
    async fn a_document_of_many_keys_asks_no_service_for_all_of_them() {
        let many = "    - arn: x\n      enc: y\n".repeat(50);
        let text = format!("a: b\nsops:\n  kms:\n{many}  mac: x\n  lastmodified: y\n");
        let document = Encrypted::read(text.as_bytes(), Format::Yaml).unwrap();
        let service = Arc::new(Refuses::default());
        let asked: Arc<dyn KeyService> = service.clone();
        let keys = Keys { kind: Kind::Sops, identities: Vec::new(), services: vec![("aws", asked)] };
        let turns = Turns::of(None);
        let error = keys.data_key(&document, Opener::new(Arc::default(), &turns)).await.unwrap_err();
        assert_eq!((service.0.load(Ordering::Relaxed), error.kind()), (DOCUMENT_CALLS.size(), ErrorKind::Denied));
        assert_eq!(error.message().matches("limit document-calls").count(), 1, "{error}");
    }
}
