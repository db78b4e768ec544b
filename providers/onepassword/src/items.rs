//! Where an item is, and reading it: titles and ids looked up in the store's vaults, in their order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyferry_provider_core::{Blame, Error, ErrorKind};
use keyferry_provider_session::{Held, Session};
use tokio::time::sleep;

use crate::answers::{self, Item, Summary, Vault, is_id};
use crate::client::{Call, Client};
use crate::recent::Recent;
use crate::vaults::Listing;

/// How often we look for what we wrote where the server does not show it yet, and after which pauses: each is twice as long
/// as the one before, up to a bound.
const LOOKS: u32 = 11;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the store's vaults, counted from the first.
    pub rank: usize,
    /// The id of the vault.
    pub vault: String,
    /// The id of the item.
    pub item: String,
}

/// The items of the store's vaults.
pub struct Items {
    /// The way to the server.
    pub client: Arc<Client>,
    vaults: Session<Vec<Vault>>,
    recent: Mutex<Recent>,
}

/// What was looked up in the lists: for each name where it is, or nothing yet.
type Found = Vec<Option<Result<Place, Error>>>;

impl Items {
    /// Of these vaults, by name or id.
    pub fn new(client: Client, vaults: Vec<String>) -> Self {
        let client = Arc::new(client);
        let vaults = Session::new(Listing::new(client.clone(), vaults));
        Self { client, vaults, recent: Mutex::default() }
    }

    /// What we wrote a moment ago.
    pub fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vaults, in their order.
    pub async fn vaults(&self) -> Result<Held<Vec<Vault>>, Error> {
        self.vaults.get().await
    }

    /// The vaults, as they are now.
    pub async fn vaults_now(&self) -> Result<Held<Vec<Vault>>, Error> {
        if let Some(held) = self.vaults.held() {
            self.vaults.forget(held.number());
        }
        self.vaults.get().await
    }

    /// Where these items are. Many are looked up by one list of each vault; what such a list does not show is asked for by
    /// itself, so that one name means the same alone and among others.
    pub async fn locate(&self, names: &[&str]) -> Result<Vec<Result<Place, Error>>, Error> {
        let mut found: Found = vec![None; names.len()];
        if names.len() > 1 {
            self.look_through_lists(names, &mut found).await?;
        }
        let mut places = Vec::with_capacity(names.len());
        for (name, found) in names.iter().zip(found) {
            places.push(match found {
                Some(place) => place,
                None => match self.locate_one(name).await {
                    Err(error) if error.kind().concerns_store() => return Err(error),
                    place => place,
                },
            });
        }
        Ok(places)
    }

    async fn look_through_lists(&self, names: &[&str], found: &mut Found) -> Result<(), Error> {
        let vaults = self.vaults().await?;
        for (rank, vault) in vaults.iter().enumerate() {
            if found.iter().all(Option::is_some) {
                break;
            }
            let listed = match self.list(vault, None).await {
                Err(error) if error.kind().concerns_store() => return Err(error),
                // What is in this vault, or would be, is asked for one by one: that tells what is wrong, too.
                Err(_) => break,
                Ok(listed) => listed,
            };
            for (name, found) in names.iter().zip(found.iter_mut()).filter(|(_, found)| found.is_none()) {
                let by_id = listed.iter().filter(|item| is_id(name) && item.id == **name);
                let by_title = listed.iter().filter(|item| item.title == **name);
                *found = one_of(by_id, name, rank, vault).or_else(|| one_of(by_title, name, rank, vault));
            }
        }
        Ok(())
    }

    /// Where this item is. [`NotFound`](ErrorKind::NotFound) only where each vault that is the store's now says that it has
    /// none.
    pub async fn locate_one(&self, name: &str) -> Result<Place, Error> {
        let vaults = self.vaults().await?;
        // The server may take titles that differ in case for the same: those count where there is no other.
        let mut alike = None;
        for (rank, vault) in vaults.iter().enumerate() {
            if is_id(name) && self.has(vault, name).await? {
                return Ok(Place { rank, vault: vault.id.clone(), item: name.to_owned() });
            }
            let listed = self.list(vault, Some(answers::of_title(name))).await?;
            let same = listed.iter().filter(|item| item.title == name);
            if let Some(place) = one_of(same, name, rank, vault) {
                return place;
            }
            let like = listed.iter().filter(|item| item.title.to_lowercase() == name.to_lowercase());
            alike = alike.or_else(|| one_of(like, name, rank, vault));
        }
        if let Some(place) = alike {
            return place;
        }
        if let Some(place) = self.recent().where_made(name) {
            return Ok(place);
        }
        let names: Vec<_> = vaults.iter().map(|vault| vault.name.as_str()).collect();
        let missing = format!("there is no item {name:?} in the vaults {}", names.join(", "));
        // A vault that is not ours any more is no vault without items.
        if **self.vaults_now().await? == **vaults {
            Err(Error::new(ErrorKind::NotFound, missing))
        } else {
            Err(Error::new(ErrorKind::Unavailable, "the vaults were changed while an item was looked for"))
        }
    }

    /// All items of a vault, or those that the filter lets through, but for those that we deleted.
    pub async fn list(&self, vault: &Vault, filter: Option<String>) -> Result<Vec<Summary>, Error> {
        let call = Call { filter, ..Call::get("GetItems", ["vaults", &vault.id, "items"]) };
        let answer = self.client.success(&call, &format!("the items of vault {:?}", vault.name)).await?;
        let mut items = answers::summaries(&answer.body).ok_or_else(|| self.client.malformed(&answer))?;
        let recent = self.recent();
        items.retain(|item| !recent.is_deleted(&item.id));
        Ok(items)
    }

    /// Whether a vault has an item of this id.
    async fn has(&self, vault: &Vault, id: &str) -> Result<bool, Error> {
        if self.recent().is_deleted(id) {
            return Ok(false);
        }
        let answer = self.client.send(&Call::get("GetItem", ["vaults", &vault.id, "items", id])).await?;
        match answer.status {
            200 => Ok(true),
            404 if answer.says_not_there() => Ok(false),
            _ => Err(self.client.refusal(&answer, &format!("item {id:?}"))),
        }
    }

    /// An item, not older than what we wrote.
    pub async fn read(&self, place: &Place, name: &str) -> Result<Item, Error> {
        let call = Call::get("GetItem", ["vaults", &place.vault, "items", &place.item]);
        for look in 0..LOOKS {
            if look > 0 {
                sleep((FIRST_PAUSE * 2u32.pow(look - 1)).min(LONGEST_PAUSE)).await;
            }
            let answer = self.client.send(&call).await?;
            let is_ours = self.recent().where_made(name).is_some_and(|made| made == *place);
            if answer.says_not_there() && is_ours {
                continue;
            }
            if answer.status != 200 {
                return Err(self.client.refusal(&answer, &format!("item {name:?}")));
            }
            let item = answers::item(&answer.body).ok_or_else(|| self.client.malformed(&answer))?;
            if !self.recent().is_behind(&place.item, item.version) {
                return Ok(item);
            }
        }
        let message = format!("the server does not show yet what was written to item {name:?}");
        Err(Error::new(ErrorKind::Unavailable, message))
    }
}

/// The one item among these, where there is any.
fn one_of<'a>(
    mut items: impl Iterator<Item = &'a Summary>,
    name: &str,
    rank: usize,
    vault: &Vault,
) -> Option<Result<Place, Error>> {
    let first = items.next()?;
    let others = items.count();
    if others == 0 {
        return Some(Ok(Place { rank, vault: vault.id.clone(), item: first.id.clone() }));
    }
    let message = format!(
        "vault {:?} has {} items with the title {name:?}: rename all but one, or name the one that is meant by its id",
        vault.name,
        others + 1
    );
    Some(Err(Error::invalid(message).with_blame(Blame::Request)))
}
