//! Reading, searching and writing.

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use keyferry_provider_core::body::{MAX_BODY, attempt};
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata as Known, Page,
    PropertyLookup, Provider, Push, Query, Reach, Remote, SecretBytes,
};
use reqwest::Method;
use tokio::sync::Mutex;

use crate::answers::{self, Summary};
use crate::client::{Call, Client};
use crate::config::Config;
use crate::items::{Items, Place};
use crate::written::{self, Left, Metadata, PASSWORD};

/// How many items are looked up together.
const BATCH: usize = 50;

/// How many items of a batch are read at the same time.
const AT_ONCE: usize = 4;

/// What the store can do. What is left out is refused before we are asked.
pub const CAPABILITIES: Capabilities = Capabilities {
    max_batch: BATCH,
    metadata: Known::PassedOver,
    find_by_name: true,
    find_by_path: true,
    find_by_tags: true,
    find_all: true,
    push: true,
    delete: true,
    ..Capabilities::READ_ONLY
};

/// The items of some vaults, as one token sees them.
pub struct OnePassword {
    items: Items,
    names: Vec<String>,
    /// One writes at a time: who makes an item must know that nobody else makes it meanwhile.
    writing: Mutex<()>,
}

impl OnePassword {
    /// From the spec, with the token.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let client = Client::new(&config, &ctx).await?;
        Ok(Self { items: Items::new(client, config.vaults.clone()), names: config.vaults, writing: Mutex::new(()) })
    }

    async fn read(&self, name: &str, place: &Place) -> Answer {
        let item = self.items.read(place, name).await?;
        let (mut contents, mut left) = (Vec::new(), MAX_BODY);
        for file in item.files.iter().filter(|file| file.is_read()) {
            let path = ["vaults", &place.vault, "items", &place.item, "files", &file.id, "content"];
            let call = Call::get("GetFileContent", path);
            let what = format!("file {:?} of item {name:?}", file.name);
            let body = self.items.client.success(&call, &what).await?.body;
            // There is room for one answer, and all of them are there at once.
            left = left.checked_sub(body.len()).ok_or_else(|| {
                let message = format!("the files of item {name:?} are larger than 16 MiB together: split the item");
                Error::invalid(message).with_blame(Blame::Request)
            })?;
            contents.push(body);
        }
        let version = item.version.map(|version| version.to_string());
        Ok(Fetched::from(answers::parts(&item, contents, place.rank).write()).of_version(version))
    }

    /// Where this item is, where there is one.
    async fn look_for(&self, name: &str) -> Result<Option<Place>, Error> {
        match self.items.locate_one(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            place => place.map(Some),
        }
    }

    /// Makes an item.
    async fn make(&self, title: &str, fields: &written::Fields, metadata: &Metadata) -> Result<(), Error> {
        let vaults = self.items.vaults().await?;
        let rank = match &metadata.vault {
            None => 0,
            Some(wanted) => self.names.iter().position(|name| name == wanted).ok_or_else(|| {
                let message = format!("metadata: spec.vault {wanted:?} is none of spec.provider.onepassword.vaults");
                Error::invalid(message).with_blame(Blame::Request)
            })?,
        };
        let vault = &vaults[rank].id;
        let body = written::new_item(title, vault, fields, metadata)?;
        let call = Call::change("CreateItem", Method::POST, ["vaults", vault, "items"], Some(body));
        let answer = self.items.client.success(&call, &format!("a new item {title:?}")).await?;
        let (item, version) = answers::written(&answer.body).ok_or_else(|| self.items.client.malformed(&answer))?;
        let mut recent = self.items.recent();
        version.into_iter().for_each(|version| recent.wrote(&item, version));
        recent.made(title, Place { rank, vault: vault.clone(), item });
        Ok(())
    }

    /// Writes an item as a whole.
    async fn replace(&self, place: &Place, body: SecretBytes, name: &str) -> Result<(), Error> {
        let path = ["vaults", &place.vault, "items", &place.item];
        let call = Call::change("UpdateItem", Method::PUT, path, Some(body));
        let answer = self.items.client.success(&call, &format!("item {name:?}")).await?;
        // An answer that tells no version costs nothing but what we could have remembered.
        if let Some((_, Some(version))) = answers::written(&answer.body) {
            self.items.recent().wrote(&place.item, version);
        }
        Ok(())
    }

    async fn remove(&self, place: &Place, name: &str) -> Result<(), Error> {
        let path = ["vaults", &place.vault, "items", &place.item];
        let call = Call::change("DeleteItem", Method::DELETE, path, None);
        let answer = self.items.client.send(&call).await?;
        match answer.status {
            200..300 => {}
            // Somebody was faster.
            _ if answer.says_not_there() => {}
            _ => return Err(self.items.client.refusal(&answer, &format!("item {name:?}"))),
        }
        self.items.recent().deleted(&place.item);
        Ok(())
    }
}

/// Whether an item answers a search; names are those of its fields, which lists do not show. A tag is a word: what a search
/// gives as its value means nothing, as in External Secrets Operator.
fn answers_to(query: &Query, item: &Summary) -> bool {
    let tags = item.tags.as_deref().unwrap_or_default();
    query.path().is_none_or(|title| item.title == title) && query.tags.keys().all(|tag| tags.contains(tag))
}

#[async_trait]
impl Provider for OnePassword {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::Parts, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        true
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        let places = self.items.locate(&names).await?;
        // Each keeps room for its own answer.
        let reads = keys.iter().zip(places);
        let reads = reads.map(|(key, place)| attempt(async move { self.read(&key.name, &place?).await }));
        let reads: Vec<_> = reads.collect();
        let answers: Vec<Answer> = stream::iter(reads).buffered(AT_ONCE).collect().await;
        let whole = |error: &Error| error.kind().concerns_store() && !error.is_temporary();
        match answers.iter().find_map(|answer| answer.as_ref().err().filter(|error| whole(error))) {
            Some(error) => Err(error.clone()),
            None => Ok(answers),
        }
    }

    /// A vault is a page. Items are found by their ids: a title may be there twice.
    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let vaults = self.items.vaults().await?;
        let rank: usize = at.first().and_then(|at| at.parse().ok()).unwrap_or_default();
        let Some(vault) = vaults.get(rank) else { return Ok(Page::default()) };
        let items = self.items.list(vault, None).await?;
        let found = items.into_iter().filter(|item| answers_to(query, item)).map(|item| item.id);
        let next = (rank + 1 < vaults.len()).then(|| (rank + 1).to_string());
        Ok(Page::of_names(found, next))
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        let Remote { key, property, .. } = &push.remote;
        let metadata = Metadata::new(&push.remote)?;
        let fields = written::fields_of(&push.payload, property.as_deref())?;
        let _alone = self.writing.lock().await;
        let Some(place) = self.look_for(key).await? else { return self.make(key, &fields, &metadata).await };
        let item = self.items.read(&place, key).await?;
        match written::with_fields(&item, &fields, &metadata, key)? {
            Some(body) => self.replace(&place, body, key).await,
            None => Ok(()),
        }
    }

    async fn delete(&self, remote: &Remote, _: Reach) -> Result<(), Error> {
        let _alone = self.writing.lock().await;
        let Some(place) = self.look_for(&remote.key).await? else { return Ok(()) };
        let item = self.items.read(&place, &remote.key).await?;
        // Nothing tells our items from others': without a property no more goes than a push without one has written.
        let field = remote.property.as_deref().filter(|property| !property.is_empty()).unwrap_or(PASSWORD);
        match written::without_field(&item, field, &remote.key)? {
            Left::All => Ok(()),
            Left::Item(body) => self.replace(&place, body, &remote.key).await,
            Left::Nothing => self.remove(&place, &remote.key).await,
        }
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        let Some(place) = self.look_for(&remote.key).await? else { return Ok(false) };
        let Some(field) = remote.property.as_deref().filter(|property| !property.is_empty()) else { return Ok(true) };
        let item = self.items.read(&place, &remote.key).await?;
        Ok(item.fields.iter().any(|there| there.label == field))
    }

    async fn validate(&self) -> Result<(), Error> {
        self.items.vaults_now().await.map(drop)
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}
