//! What the store answers: documents by their names.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use keyferry_documents::Format;
use keyferry_documents::place::Source;
use keyferry_documents::sops::Encrypted;
use keyferry_limits::LOOK_BYTES;
use keyferry_provider_core::{
    Answer, Capabilities, Dialect, Error, ErrorKind, Key, Metadata, Page, PropertyLookup, Provider, Push, Query, Reach,
    Remote, SecretBytes,
};
use keyferry_provider_core::{BuildContext, Room};
use keyferry_provider_session::turns::Turns;

use crate::config::{Config, Kind};
use crate::keys::{Held, Keys, Opener, open_of_age};

/// What the store can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    max_batch: 100,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    find_all: true,
    ..Capabilities::READ_ONLY
};

/// How many documents are opened at once: each may wait for a service, and all are held until they are answered.
const AT_ONCE: usize = 4;

/// The documents that a store's spec names.
pub struct Store {
    kind: Kind,
    documents: Vec<Document>,
    keys: Keys,
    room: Arc<dyn Room>,
    turns: Turns,
}

struct Document {
    name: String,
    format: Format,
    source: Source,
}

impl Store {
    /// From the spec.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let keys = Keys::new(&config, &ctx).await?;
        let mut documents = Vec::new();
        for crate::config::Document { name, format, place, field } in config.documents {
            documents.push(Document { source: Source::new(&place, &field, &ctx).await?, name, format });
        }
        let turns = Turns::of(ctx.caller.namespace.as_deref());
        Ok(Self { kind: config.kind, documents, keys, room: ctx.room, turns })
    }

    async fn answer(&self, key: &Key, held: &Result<Held, Error>) -> Answer {
        let Some(document) = self.documents.iter().find(|document| document.name == key.name) else {
            return Err(Error::new(ErrorKind::NotFound, format!("{}.documents names no such document", self.kind)));
        };
        let held = held.as_ref().map_err(Clone::clone)?;
        let opened = self.open(document, held).await.map_err(|error| held.why(error));
        opened.map(Into::into).map_err(|error| error.context(format_args!("document {:?}", document.name)))
    }

    async fn open(&self, document: &Document, held: &Held) -> Result<SecretBytes, Error> {
        let bytes = document.source.read()?;
        // What is decrypted is about as long as what it is decrypted from, and is there twice for a moment.
        let room = || self.room.take(2 * bytes.len());
        let (format, identities) = (document.format, held.identities.clone());
        match self.kind {
            Kind::Age => {
                let _room = room().await;
                let sealed = bytes.clone();
                self.turns.compute(move || open_of_age(&sealed, format, &identities)).await
            }
            Kind::Sops => {
                let keys = {
                    let _room = room().await;
                    let sealed = bytes.clone();
                    let keys = move || Encrypted::read(sealed.expose(), format).map(Encrypted::without_values);
                    self.turns.compute(keys).await?
                };
                // While a service is asked nothing is held but what the document says of its keys, and no room.
                let key = self.keys.data_key(&keys, Opener::new(identities, &self.turns)).await?;
                let _room = room().await;
                let sealed = bytes.clone();
                self.turns.compute(move || Encrypted::read(sealed.expose(), format)?.open(&key)).await
            }
        }
    }
}

#[async_trait]
impl Provider for Store {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::ExactThenPath, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        true
    }

    /// One document that does not open says nothing of the others.
    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let held = self.keys.identities();
        let opening: Vec<_> = keys.iter().map(|key| self.answer(key, &held)).collect();
        let mut opening = std::pin::pin!(stream::iter(opening).buffered(AT_ONCE));
        let (mut answers, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        while let Some(answer) = opening.next().await {
            bytes += answer.as_ref().map_or(0, |found| found.value.len());
            if bytes > LOOK_BYTES.size() {
                return Err(Error::limit(&LOOK_BYTES));
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn find(&self, query: &Query, _: &[String]) -> Result<Page, Error> {
        let names = self.documents.iter().map(|document| document.name.clone());
        Ok(Page::of_names(names.filter(|name| query.matches(name)), []))
    }

    async fn push(&self, _: &Push) -> Result<(), Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn delete(&self, _: &Remote, _: Reach) -> Result<(), Error> {
        Err(Error::cannot("deleted from"))
    }

    async fn exists(&self, _: &Remote) -> Result<bool, Error> {
        Err(Error::cannot("pushed to"))
    }

    /// Whether there is any document that opens: one that does not is told to who asks for it.
    async fn validate(&self) -> Result<(), Error> {
        self.keys.check().await?;
        let held = Ok(self.keys.identities()?);
        let mut first = None;
        for document in &self.documents {
            let key = Key { name: document.name.clone(), version: None, metadata: false };
            match self.answer(&key, &held).await {
                Ok(_) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn identity_note(&self) -> Option<String> {
        self.keys.identity_note()
    }
}
