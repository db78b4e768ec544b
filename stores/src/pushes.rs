//! The clients of stores, for who writes. What is written waits for room as a search does.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{Answer, Capabilities, Dialect, Error, Key, Provider as _, Push, Reach, Remote};
use keyferry_push::ports::{Opened, Stores};
use keyferry_sync::asking::Asking;
use keyferry_sync::ports::{Entered, Planning};
use keyferry_sync::store::Store;

use crate::pool::{Pool, StoreClient};

#[async_trait]
impl Stores for Pool {
    async fn open(&self, store: &Store, namespace: &str) -> Result<Arc<dyn Opened>, Error> {
        Ok(self.client(store, Some(namespace)).await?)
    }
}

#[async_trait]
impl Opened for StoreClient {
    fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    fn dialect(&self) -> Dialect {
        self.provider.dialect()
    }

    async fn fetch(&self, asking: &Arc<Asking>, keys: Vec<Key>, planning: Planning) -> HashMap<Key, Answer> {
        Entered::fetch(self, asking, keys, planning).await
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        let _call = self.door.call().await;
        let pushed = self.provider.push(push).await;
        self.note(pushed.as_ref().err());
        pushed
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        let _call = self.door.call().await;
        let deleted = self.provider.delete(remote, reach).await;
        self.note(deleted.as_ref().err());
        deleted
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        let _call = self.door.call().await;
        let exists = self.provider.exists(remote).await;
        self.note(exists.as_ref().err());
        exists
    }
}
