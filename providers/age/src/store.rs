//! What the store answers: documents by their names.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use keyferry_documents::sops::Encrypted;
use keyferry_documents::{Format, Identities};
use keyferry_provider_core::{
    Answer, Capabilities, Dialect, Error, ErrorKind, Key, Metadata, Page, PropertyLookup, Provider, Push, Query, Reach,
    Remote, SecretBytes,
};
use keyferry_provider_core::{BuildContext, Room};

use crate::config::{Config, Kind};
use crate::keys::{Keys, Opener, open_of_age};
use crate::source::Source;
use crate::turns::Turns;

/// What the store can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    max_batch: 100,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    find_all: true,
    ..Capabilities::READ_ONLY
};

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

    async fn answer(&self, key: &Key, identities: &Result<Arc<Identities>, Error>) -> Answer {
        let Some(document) = self.documents.iter().find(|document| document.name == key.name) else {
            return Err(Error::new(ErrorKind::NotFound, format!("{}.documents names no such document", self.kind)));
        };
        let identities = identities.clone()?;
        let opened = self.open(document, identities).await;
        opened.map(Into::into).map_err(|error| error.context(format_args!("document {:?}", document.name)))
    }

    async fn open(&self, document: &Document, identities: Arc<Identities>) -> Result<SecretBytes, Error> {
        let bytes = document.source.read()?;
        // What is decrypted is about as long as what it is decrypted from, and is there twice for a moment.
        let _room = self.room.take(2 * bytes.len()).await;
        let format = document.format;
        match self.kind {
            Kind::Age => self.turns.compute(move || open_of_age(&bytes, format, &identities)).await,
            Kind::Sops => {
                let encrypted = self.turns.compute(move || Encrypted::read(bytes.expose(), format)).await?;
                let key = self.keys.data_key(&encrypted, Opener::new(identities, &self.turns)).await?;
                self.turns.compute(move || encrypted.open(&key)).await
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
        let identities = self.keys.identities().map(Arc::new);
        Ok(join_all(keys.iter().map(|key| self.answer(key, &identities))).await)
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
        let identities = Ok(Arc::new(self.keys.identities()?));
        let mut first = None;
        for document in &self.documents {
            let key = Key { name: document.name.clone(), version: None, metadata: false };
            match self.answer(&key, &identities).await {
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
