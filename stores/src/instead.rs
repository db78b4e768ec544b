//! Objects as they would be if one of them held something else: what a login is tried with before it is written.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use keyferry_crds::ExternalSecret;
use keyferry_sync::data::{Data, StringMap};
use keyferry_sync::dependency::{Dependency, Version};
use keyferry_sync::ports::{Change, Objects, Problem, Turn};
use serde_json::Value;

/// The port for objects, but for one of them.
pub struct Instead {
    objects: Arc<dyn Objects>,
    object: Dependency,
    data: Data,
}

impl Instead {
    /// `objects`, once this is changed.
    pub fn of(objects: Arc<dyn Objects>, change: Change<'_>) -> Self {
        Self { objects, object: change.object.clone(), data: change.data.clone() }
    }
}

#[async_trait]
impl Objects for Instead {
    async fn turn(&self, namespace: &str) -> Turn {
        self.objects.turn(namespace).await
    }

    async fn source(&self, source: &Dependency) -> Result<Option<(Option<Version>, Data)>, Problem> {
        if *source == self.object { Ok(Some((None, self.data.clone()))) } else { self.objects.source(source).await }
    }

    async fn labels(&self, object: &Dependency) -> Result<Option<StringMap>, Problem> {
        self.objects.labels(object).await
    }

    async fn generator(
        &self,
        namespace: Option<&str>,
        version: &str,
        kind: &str,
        name: &str,
    ) -> Result<Option<Value>, Problem> {
        self.objects.generator(namespace, version, kind, name).await
    }

    async fn changed_at(&self, es: &ExternalSecret) -> Result<Option<Timestamp>, Problem> {
        self.objects.changed_at(es).await
    }
}
